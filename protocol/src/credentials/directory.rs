//! Everything that can prove a name: shared secrets and static users.
//!
//! Responsible for verifying a request's integrity against all keys that its name could have, with the same work whether
//! the name is known, unknown, expired or nonsense. Not responsible for which error is sent.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use sha2::{Digest, Sha256};

use super::by_hash::ByHash;
use super::key::{LongTermKey, PasswordAlgorithm};
use super::realm::{Realm, strip};
use super::revocations::Revocations;
use super::secret::{HmacHash, SharedSecret};
use super::static_user::StaticUser;
use super::time_limited::time_limited_expiry;
use crate::time::UnixTime;
use crate::wire::{Framed, IntegrityChecked, Name};

/// Whether a time-limited name may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It must be good now.
    Enforced,
    /// It may have ended, or have been revoked: a live allocation is being refreshed, not a new one made.
    Lapsed,
}

/// The name that a user is known by, for quotas and ownership: the same however it was sent. Never printed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct UserName(Box<[u8]>);

impl UserName {
    /// A name from its bytes, from which the caller has taken quotes and trailing NULs.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whom the name stands for: of a time-limited name `expiry:id` the id, since the expiry differs with each
    /// credential of one user; else the whole name.
    pub fn subject(&self) -> &[u8] {
        subject(self.as_bytes())
    }
}

fn subject(name: &[u8]) -> &[u8] {
    let mut parts = name.splitn(2, |&byte| byte == b':');
    let (expiry, id) = (parts.next(), parts.next());
    let is_expiry = |text: &&[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    match (expiry.filter(is_expiry), id) {
        (Some(_), Some(id)) if !id.is_empty() => id,
        _ => name,
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserName(..)")
    }
}

/// A request whose sender proved a name.
#[derive(Clone, Debug)]
pub struct Verified<'m> {
    /// The request, readable now.
    pub request: IntegrityChecked<'m>,
    /// The key that verified it and that signs the answer.
    pub key: LongTermKey,
    /// The proven name.
    pub user: UserName,
    /// Whether it is the relay's own self-check that proved it.
    pub synthetic: bool,
}

/// No key that the name could have fits. Why is not said, and must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongCredentials;

impl fmt::Display for WrongCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrong credentials")
    }
}

impl core::error::Error for WrongCredentials {}

/// All credentials of a realm.
#[derive(Clone)]
pub struct Directory {
    realm: Realm,
    secrets: Vec<SharedSecret>,
    users: Vec<StaticUser>,
    /// How many of them are the operator's; the one after them is the relay's own self-check.
    operators: usize,
    /// Positions in `users` by USERHASH. Names are looked up by their hash too, so that the time tells nothing about them.
    by_hash: ByHash<usize>,
    max_ttl: Duration,
    revocations: Arc<Revocations>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("realm", &self.realm)
            .field("secrets", &self.secrets)
            .field("users", &self.operators)
            .field("max_ttl", &self.max_ttl)
            .field("revocations", &self.revocations)
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// `secrets` newest first. Of two users of one name the first counts. A time-limited name that ends later than `max_ttl`
    /// from now is refused.
    pub fn new(
        realm: Realm,
        secrets: Vec<SharedSecret>,
        users: Vec<StaticUser>,
        max_ttl: Duration,
    ) -> Self {
        let numbered = users.iter().enumerate();
        let by_hash = numbered
            .map(|(position, user)| (userhash(user.name.as_bytes(), &realm), position))
            .collect();
        Self {
            realm,
            secrets,
            operators: users.len(),
            users,
            by_hash,
            max_ttl,
            revocations: Arc::default(),
        }
    }

    /// From now on these are refused, and those that were before and are not among them no longer. Secrets and users stay.
    pub fn revoke(&mut self, revocations: Arc<Revocations>) {
        self.revocations = revocations;
    }

    /// These credentials, and a user by whose name the relay checks itself: no user of the operator's, so USERHASH is not
    /// offered for it, and what it holds is counted apart. One of the operator's users that should have the same name goes
    /// before it; make the name at random. A second one takes the first's place.
    #[must_use]
    pub fn with_self_check(mut self, user: StaticUser) -> Self {
        let operators = self.operators;
        self.users.truncate(operators);
        self.by_hash.retain(|position| *position < operators);
        let hash = userhash(user.name.as_bytes(), &self.realm);
        self.by_hash.add(hash, operators);
        self.users.push(user);
        self
    }

    /// These credentials in the place of `old`, whose self-check user stays where these have none, and whose revocations
    /// stay in any case.
    #[must_use]
    pub fn succeeding(mut self, old: &Self) -> Self {
        self.revocations = Arc::clone(&old.revocations);
        match old.users.get(old.operators) {
            Some(user) if self.users.len() == self.operators => self.with_self_check(user.clone()),
            Some(_) | None => self,
        }
    }

    /// The realm.
    pub const fn realm(&self) -> &Realm {
        &self.realm
    }

    /// Whether USERHASH can find anybody: only names that are stored can be found by their hash.
    pub const fn offers_userhash(&self) -> bool {
        self.operators > 0
    }

    /// Whether `name`, as it was received, is this user's.
    pub fn is_name_of(&self, name: Name<'_>, user: &UserName) -> bool {
        match name {
            Name::Username(received) => strip(received) == user.as_bytes(),
            Name::Userhash(received) => received == userhash(user.as_bytes(), &self.realm),
        }
    }

    /// Verifies a request with every key that `name` could have in this realm. A REALM that is missing or another one fails
    /// like a wrong password.
    ///
    /// # Errors
    ///
    /// The name is unknown, has ended or is revoked, or the integrity attribute is not right: always after the same work.
    pub fn verify<'m>(
        &self,
        framed: &Framed<'m>,
        name: Name<'_>,
        algorithm: PasswordAlgorithm,
        now: UnixTime,
        expiry: Expiry,
    ) -> Result<Verified<'m>, WrongCredentials> {
        let (bytes, hash) = match name {
            Name::Username(received) => {
                let bytes = strip(received);
                (bytes, Some(userhash(bytes, &self.realm)))
            }
            Name::Userhash(received) => (received, received.try_into().ok()),
        };
        let ours = framed.credentials().realm.map(strip) == Some(self.realm.as_str().as_bytes());
        let timely = matches!(name, Name::Username(_)) & self.is_timely(bytes, now, expiry);
        let stored = self.stored(hash);
        // Of a hash that is nobody's it is somebody else's name: what that is worth does not matter, only that it is looked at.
        let behind = match (name, &stored) {
            (Name::Userhash(_), Some(stored)) => stored.user.name.as_bytes(),
            (Name::Userhash(_) | Name::Username(_), _) => bytes,
        };
        let enforced = expiry == Expiry::Enforced;
        // `&`, not `&&`, here and around: a branch would be guessed wrong now and then, and that would tell which way it went.
        let revoked = self.revocations.covers_user(subject(behind), now) & enforced;

        let mut proven: Option<Verified<'m>> = None;
        for secret in &self.secrets {
            let good = !(self.revocations.covers_key(secret.id(), now) & enforced);
            for hash in [HmacHash::Sha256, HmacHash::Sha1] {
                if !secret.hashes().accepts(hash) {
                    continue;
                }
                let password = secret.password(hash, bytes);
                let key =
                    LongTermKey::from_prepared(algorithm, bytes, &self.realm, password.as_bytes());
                // Verified in any case, and after a match too: the work must not tell what the name is worth.
                // What else it must be is asked once the proof is right.
                if let Some(request) = framed.verify(key.as_bytes())
                    && proven.is_none()
                    && (ours & timely & good)
                {
                    proven = Some(Verified {
                        request,
                        key,
                        user: UserName::new(bytes),
                        synthetic: false,
                    });
                }
            }
        }
        let by_key = verify_static(framed, stored, algorithm);
        let by_key = by_key.filter(|_| ours);
        // Judged last: a name that is revoked has cost what any other costs.
        let proven = proven.or(by_key).filter(|_| !revoked);
        proven.ok_or(WrongCredentials)
    }

    /// Whom a search for this hash comes upon: whoever has it, or else somebody. `None` when nobody is stored.
    fn stored(&self, hash: Option<[u8; 32]>) -> Option<Stored<'_>> {
        let (&position, is_named) = self.by_hash.nearest(&hash?)?;
        Some(Stored {
            user: self.users.get(position)?,
            synthetic: position == self.operators,
            is_named,
        })
    }

    fn is_timely(&self, name: &[u8], now: UnixTime, expiry: Expiry) -> bool {
        time_limited_expiry(name).is_some_and(|expires| {
            (expires <= now.plus_secs(self.max_ttl.as_secs()))
                & ((expiry == Expiry::Lapsed) | (expires >= now))
        })
    }
}

/// A user that a search came upon.
#[derive(Clone, Copy)]
struct Stored<'a> {
    user: &'a StaticUser,
    synthetic: bool,
    /// It is the one that was searched for.
    is_named: bool,
}

/// Verifies with the key of whoever a search came upon, and judges only then whether that is who was named: an unknown name
/// costs what a known one costs, to the memory that is read.
fn verify_static<'m>(
    framed: &Framed<'m>,
    stored: Option<Stored<'_>>,
    algorithm: PasswordAlgorithm,
) -> Option<Verified<'m>> {
    let key = stored.and_then(|stored| stored.user.key(algorithm));
    // Where nobody has such a key: that it should match proves nothing.
    let dummy = [0; 32];
    let dummy = dummy.get(..algorithm.key_len()).unwrap_or_default();
    let tried = key.map_or(dummy, LongTermKey::as_bytes);
    let request = framed.verify(tried)?;
    let (stored, key) = (stored?, key?);
    stored.is_named.then(|| Verified {
        request,
        key: key.clone(),
        user: UserName::new(stored.user.name.as_bytes()),
        synthetic: stored.synthetic,
    })
}

/// USERHASH of a prepared name (RFC 8489 §14.4).
fn userhash(name: &[u8], realm: &Realm) -> [u8; 32] {
    Sha256::new()
        .chain_update(name)
        .chain_update(b":")
        .chain_update(realm.as_str())
        .finalize()
        .into()
}
