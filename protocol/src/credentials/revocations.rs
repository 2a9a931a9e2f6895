//! Names and secrets that prove nothing any more, before their time.
//!
//! Responsible for the list as an operator's programs exchange it, for its bounds, and for looking names up in it at the
//! same cost whether they are in it or not. Not responsible for what a revoked name may still do (`directory`), nor for
//! keeping the list.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};

use super::by_hash::ByHash;
use super::opaque_string::prepare_opaque_string;
use super::time_limited::USERNAME_MAX;
use crate::time::UnixTime;

/// Longest id of a secret, in bytes.
const KEY_ID_MAX: usize = 128;

/// Which list is newer: by epoch, and within one by version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ListVersion {
    /// The epoch of the controller that changed it last; 0: nobody has.
    pub epoch: u64,
    /// Grows by one with each change.
    pub version: u64,
}

/// A user whose credentials are refused.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct RevokedUser {
    /// Of a time-limited name `expiry:id` the id; of a static user the name.
    pub user: String,
    /// Refused until then: seconds since 1970-01-01 UTC.
    pub until: u64,
}

/// A shared secret whose credentials are refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct RevokedKey {
    /// The secret's id.
    pub key_id: String,
    /// Refused until then; `None`: until it is lifted.
    #[cfg_attr(feature = "serde", serde(default))]
    pub until: Option<u64>,
}

/// The whole list. Its `Debug` form names no user.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct RevocationList {
    /// The epoch of the controller that changed it last.
    pub epoch: u64,
    /// Grows by one with each change.
    pub version: u64,
    /// Users, each once.
    pub users: Vec<RevokedUser>,
    /// Secrets, each once.
    pub key_ids: Vec<RevokedKey>,
}

/// Why a list is not taken. Names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationError {
    /// More than [`RevocationList::MOST`] entries.
    TooMany,
    /// A user is no OpaqueString, is empty or too long, or is not written as it is prepared (RFC 8265).
    User,
    /// A key id is empty, too long, or has control characters.
    KeyId,
    /// Somebody is listed twice.
    Twice,
    /// Epoch or version leave no room for newer ones ([`ListVersion::is_plausible`]).
    Version,
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "more than {} revocations", RevocationList::MOST),
            Self::User => f.write_str("a user is no name that credentials could have"),
            Self::KeyId => f.write_str("a key id is no name that a secret could have"),
            Self::Twice => f.write_str("a user or key id is listed twice"),
            Self::Version => f.write_str("an epoch or version that no controller gives"),
        }
    }
}

impl core::error::Error for RevocationError {}

impl ListVersion {
    /// Whether a list can have this version: one that nothing newer could follow would be there for good.
    pub const fn is_plausible(self) -> bool {
        const MOST: u64 = 1 << 53;
        self.epoch < MOST && self.version < MOST
    }
}

impl RevocationList {
    /// Most entries: whoever has more to revoke rotates the secret.
    pub const MOST: usize = 1000;
    /// Longest list as JSON, in bytes.
    pub const BYTES: usize = 64 * 1024;

    /// Which list it is.
    pub const fn stamp(&self) -> ListVersion {
        ListVersion {
            epoch: self.epoch,
            version: self.version,
        }
    }

    /// Entries.
    pub const fn len(&self) -> usize {
        self.users.len().saturating_add(self.key_ids.len())
    }

    /// Whether nobody is revoked.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it can be used.
    ///
    /// # Errors
    ///
    /// See [`RevocationError`].
    pub fn check(&self) -> Result<(), RevocationError> {
        if !self.stamp().is_plausible() {
            return Err(RevocationError::Version);
        }
        if self.len() > Self::MOST {
            return Err(RevocationError::TooMany);
        }
        if !self.users.iter().all(|entry| is_user(&entry.user)) {
            return Err(RevocationError::User);
        }
        if !self.key_ids.iter().all(|entry| is_key_id(&entry.key_id)) {
            return Err(RevocationError::KeyId);
        }
        let mut users: Vec<&str> = self.users.iter().map(|entry| &*entry.user).collect();
        let mut keys: Vec<&str> = self.key_ids.iter().map(|entry| &*entry.key_id).collect();
        users.sort_unstable();
        keys.sort_unstable();
        let twice = |sorted: &[&str]| sorted.windows(2).any(|pair| pair.first() == pair.last());
        if twice(&users) || twice(&keys) {
            return Err(RevocationError::Twice);
        }
        Ok(())
    }

    /// Takes out what is over at `now`.
    pub fn forget_ended(&mut self, now: UnixTime) {
        self.users.retain(|entry| entry.until > now.as_secs());
        self.key_ids
            .retain(|entry| entry.until.is_none_or(|until| until > now.as_secs()));
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("epoch", &self.epoch)
            .field("version", &self.version)
            .field("users", &self.users.len())
            .field("key_ids", &self.key_ids.len())
            .finish()
    }
}

impl fmt::Debug for RevokedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevokedUser")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Whether a user can be revoked by this text: prepared as a name is before it is minted for (RFC 8265).
fn is_user(text: &str) -> bool {
    text.len() <= USERNAME_MAX && prepare_opaque_string(text).is_ok_and(|prepared| prepared == text)
}

/// Whether a secret could have this id.
fn is_key_id(text: &str) -> bool {
    (1..=KEY_ID_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The list as requests are judged by it. Users are kept by their hashes, so that the time of a look-up tells nothing of
/// their names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    users: ByHash<UnixTime>,
    keys: BTreeMap<Box<str>, UnixTime>,
}

impl Revocations {
    /// What `list` says. Of one that is listed twice the later end counts.
    pub fn of(list: &RevocationList) -> Self {
        let mut users = BTreeMap::new();
        for entry in &list.users {
            let until = UnixTime::from_secs(entry.until);
            let held = users.entry(hash(entry.user.as_bytes())).or_insert(until);
            *held = until.max(*held);
        }
        let mut keys: BTreeMap<Box<str>, UnixTime> = BTreeMap::new();
        for entry in &list.key_ids {
            let until = UnixTime::from_secs(entry.until.unwrap_or(u64::MAX));
            let held = keys.entry(entry.key_id.as_str().into()).or_insert(until);
            *held = until.max(*held);
        }
        Self {
            users: users.into_iter().collect(),
            keys,
        }
    }

    /// Whether this subject ([`super::UserName::subject`]) is refused at `now`: one hash and one look-up for every subject,
    /// or neither for any while nobody is revoked.
    pub fn covers_user(&self, subject: &[u8], now: UnixTime) -> bool {
        if self.users.is_empty() {
            return false;
        }
        let nearest = self.users.nearest(&hash(subject));
        nearest.is_some_and(|(until, is_it)| is_it & (now < *until))
    }

    /// Whether the secret of this id is refused at `now`.
    pub fn covers_key(&self, id: &str, now: UnixTime) -> bool {
        self.keys.get(id).is_some_and(|until| now < *until)
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("users", &self.users.len())
            .field("key_ids", &self.keys.len())
            .finish()
    }
}

fn hash(subject: &[u8]) -> [u8; 32] {
    Sha256::digest(subject).into()
}
