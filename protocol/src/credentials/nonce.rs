//! Nonces that the relay can check without having kept them (RFC 8489 §9.2).
//!
//! Responsible for their text, their binding to a client address and their age. Not responsible for when a request needs one.
//!
//! ```text
//! obMatJos2 | gAAA | base64( time, 4 | random, 4 | list, 1 | HMAC-SHA256(key, address, port, all before)[..16] )
//! ---------   ----
//! fixed       security features: 24 bits in base64, bit 0 first
//! ```

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base64ct::{Base64Unpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::secret::{SECRET_MIN, SecretError};
use crate::time::UnixTime;

const COOKIE: &[u8; 9] = b"obMatJos2";
const COOKIE_LEN: usize = 13;
const TAG_LEN: usize = 16;
/// Time, random and list.
const BODY_LEN: usize = 9;
const SEALED_LEN: usize = 25;

/// Length of a nonce's text in bytes: the cookie's 13, and 34 of base64.
pub const NONCE_LEN: usize = 47;

/// How far ahead the clock of another relay that minted a nonce may be, in seconds.
const SKEW_SECS: u32 = 5;

/// The list of password algorithms that goes with the feature bit. Another list would get another number, and this one
/// would stay known for as long as nonces live.
const LIST_OFFERED: u8 = 1;
const LIST_NONE: u8 = 0;

/// The STUN security features that a nonce announces (RFC 8489 §18.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// Bit 0: PASSWORD-ALGORITHMS is in the same response.
    pub password_algorithms: bool,
    /// Bit 1: USERHASH is understood.
    pub username_anonymity: bool,
}

impl Features {
    const fn as_text(self) -> &'static [u8; 4] {
        match (self.password_algorithms, self.username_anonymity) {
            (false, false) => b"AAAA",
            (true, false) => b"gAAA",
            (false, true) => b"QAAA",
            (true, true) => b"wAAA",
        }
    }

    const fn list(self) -> u8 {
        if self.password_algorithms {
            LIST_OFFERED
        } else {
            LIST_NONE
        }
    }
}

/// The key under which nonces are sealed, shared by all relays of a fleet. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct NonceKey {
    bytes: Zeroizing<[u8; 32]>,
    /// What HMAC makes of the key before it sees a message: made once, not for every nonce.
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(..)")
    }
}

impl NonceKey {
    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self {
            keyed: KeyInit::new_from_slice(&*bytes).expect("hmac takes keys of every length"),
            bytes,
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&*other.bytes).into()
    }

    /// A key from a secret of at least 32 bytes, such as the text of a key file.
    ///
    /// # Errors
    ///
    /// The secret is too short.
    pub fn from_secret(secret: &[u8]) -> Result<Self, SecretError> {
        if secret.len() < SECRET_MIN {
            return Err(SecretError::TooShort {
                length: secret.len(),
            });
        }
        Ok(Self::new(
            Sha256::new()
                .chain_update(b"taciturn nonce key")
                .chain_update(secret)
                .finalize()
                .into(),
        ))
    }
}

/// The text of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce([u8; NONCE_LEN]);

impl Nonce {
    /// The text, all ASCII.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why a nonce is not valid. The client gets a new one in any case; the reason is for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NonceError {
    /// Not of the form that this relay mints.
    Malformed,
    /// Not sealed with a live key for this client and these features.
    Forged,
    /// Older than the lifetime.
    Stale,
    /// From the future, by more than clocks may differ.
    Future,
}

impl fmt::Display for NonceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed nonce",
            Self::Forged => "nonce of another client, key or feature set",
            Self::Stale => "stale nonce",
            Self::Future => "nonce from the future",
        })
    }
}

impl core::error::Error for NonceError {}

/// Mints nonces under the current key and accepts those of the previous one too.
#[derive(Clone, Debug)]
pub struct Nonces {
    current: NonceKey,
    previous: Option<NonceKey>,
    /// The key that was current before these took its place, and until when.
    outgoing: Option<(NonceKey, UnixTime)>,
    lifetime: Duration,
}

impl Nonces {
    /// The lifetime when nothing else is configured.
    pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

    /// `lifetime` should not be longer than an hour (RFC 8656 §5).
    pub const fn new(current: NonceKey, previous: Option<NonceKey>, lifetime: Duration) -> Self {
        Self {
            current,
            previous,
            outgoing: None,
            lifetime,
        }
    }

    /// These, in the place of `old`: nonces under its current key stay good for their lifetime, although the key may not
    /// be among these any more.
    #[must_use]
    pub fn succeeding(mut self, old: &Self, now: UnixTime) -> Self {
        let is_known = |key: &NonceKey| {
            key.is(&self.current)
                || self
                    .previous
                    .as_ref()
                    .is_some_and(|previous| key.is(previous))
        };
        self.outgoing = if is_known(&old.current) {
            old.outgoing
                .clone()
                .filter(|(key, until)| now <= *until && !is_known(key))
        } else {
            Some((old.current.clone(), now.plus_secs(old.lifetime.as_secs())))
        };
        self
    }

    /// A nonce for `client`. `random` makes two of the same second differ.
    pub fn mint(
        &self,
        now: UnixTime,
        client: SocketAddr,
        features: Features,
        random: u32,
    ) -> Nonce {
        let [t0, t1, t2, t3] = stamp(now).to_be_bytes();
        let [r0, r1, r2, r3] = random.to_be_bytes();
        let body = [t0, t1, t2, t3, r0, r1, r2, r3, features.list()];
        let mut sealed = [0; SEALED_LEN];
        let (body_out, tag_out) = sealed.split_at_mut(BODY_LEN);
        body_out.copy_from_slice(&body);
        tag_out.copy_from_slice(&tag(&self.current, client, features, &body));

        let mut text = [0; NONCE_LEN];
        let (cookie_out, rest) = text.split_at_mut(COOKIE.len());
        let (features_out, sealed_out) = rest.split_at_mut(4);
        cookie_out.copy_from_slice(COOKIE);
        features_out.copy_from_slice(features.as_text());
        Base64Unpadded::encode(&sealed, sealed_out).expect("25 bytes make 34 characters");
        Nonce(text)
    }

    /// The features in a nonce as it was sent, valid or not; `None` when it does not begin with a nonce cookie.
    ///
    /// Decides how a request is to be read before it is known who sent it (RFC 8489 §9.2.4).
    pub fn features_as_sent(nonce: &[u8]) -> Option<Features> {
        let text = nonce.strip_prefix(COOKIE)?.first_chunk::<4>()?;
        let mut bits = [0; 3];
        let [first, _, _] = Base64Unpadded::decode(text, &mut bits)
            .ok()?
            .first_chunk::<3>()?;
        Some(Features {
            password_algorithms: first & 0x80 != 0,
            username_anonymity: first & 0x40 != 0,
        })
    }

    /// Checks a nonce of `client` and returns its features.
    ///
    /// # Errors
    ///
    /// See [`NonceError`].
    pub fn check(
        &self,
        nonce: &[u8],
        client: SocketAddr,
        now: UnixTime,
    ) -> Result<Features, NonceError> {
        let (features, sealed) = open(nonce).ok_or(NonceError::Malformed)?;
        let (Some(body), Some(received)) = (
            sealed.first_chunk::<BODY_LEN>(),
            sealed.last_chunk::<TAG_LEN>(),
        ) else {
            return Err(NonceError::Malformed);
        };
        let &[t0, t1, t2, t3, _, _, _, _, list] = body;
        let outgoing = self.outgoing.as_ref().filter(|(_, until)| now <= *until);
        let genuine = [
            Some(&self.current),
            self.previous.as_ref(),
            outgoing.map(|(key, _)| key),
        ]
        .into_iter()
        .flatten()
        .any(|key| bool::from(tag(key, client, features, body).ct_eq(received)));
        if !genuine || list != features.list() {
            return Err(NonceError::Forged);
        }
        let (minted, now) = (u32::from_be_bytes([t0, t1, t2, t3]), stamp(now));
        if minted > now.saturating_add(SKEW_SECS) {
            return Err(NonceError::Future);
        }
        if u64::from(now.saturating_sub(minted)) > self.lifetime.as_secs() {
            return Err(NonceError::Stale);
        }
        Ok(features)
    }
}

/// Takes a nonce apart; only the four feature texts that are minted pass.
fn open(nonce: &[u8]) -> Option<(Features, [u8; SEALED_LEN])> {
    let nonce: &[u8; NONCE_LEN] = nonce.try_into().ok()?;
    let features = Nonces::features_as_sent(nonce)?;
    let (cookie, sealed_text) = nonce.split_at_checked(COOKIE_LEN)?;
    if !cookie.ends_with(features.as_text()) {
        return None;
    }
    let mut sealed = [0; SEALED_LEN];
    Base64Unpadded::decode(sealed_text, &mut sealed).ok()?;
    Some((features, sealed))
}

/// Seconds since 1970 in 32 bits: enough until 2106, and saturating then.
fn stamp(now: UnixTime) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

fn tag(
    key: &NonceKey,
    client: SocketAddr,
    features: Features,
    body: &[u8; BODY_LEN],
) -> [u8; TAG_LEN] {
    let mac = key.keyed.clone();
    // The address is preceded by its family, so that no two clients make the same bytes.
    let mac = match client.ip() {
        IpAddr::V4(ip) => mac.chain_update([4]).chain_update(ip.octets()),
        IpAddr::V6(ip) => mac.chain_update([6]).chain_update(ip.octets()),
    };
    let full: [u8; 32] = mac
        .chain_update(client.port().to_be_bytes())
        .chain_update(features.as_text())
        .chain_update(body)
        .finalize()
        .into_bytes()
        .into();
    let mut tag = [0; TAG_LEN];
    for (slot, byte) in tag.iter_mut().zip(full) {
        *slot = byte;
    }
    tag
}
