//! Time-limited credentials: a user name that says when it ends, and a password that proves it (TURN REST).
//!
//! Responsible for the text of both. A signalling server mints them, the relay verifies them (`directory`); they share a
//! secret and nothing else.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;

use super::opaque_string::{OpaqueStringError, prepare_opaque_string};
use super::secret::{HmacHash, Password, SharedSecret};
use crate::time::UnixTime;

/// The longest USERNAME that may be sent, in bytes: fewer than 509 (RFC 8489 §14.3).
pub(super) const USERNAME_MAX: usize = 508;

/// A user name and password to be given to a client.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `expiry:user`, or only `expiry` when there is no user.
    pub username: String,
    /// 28 or 44 characters of base64.
    pub password: String,
    /// The last second in which they are good for an allocation.
    pub expires: UnixTime,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Why no credentials were minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MintError {
    /// The secret does not allow this hash.
    Hash,
    /// They would end at once.
    Lifetime,
    /// The user name would be longer than 508 bytes.
    TooLong,
    /// The user is no OpaqueString.
    User(OpaqueStringError),
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash => f.write_str("the secret does not allow this hash"),
            Self::Lifetime => f.write_str("lifetime is zero or beyond all clocks"),
            Self::TooLong => write!(f, "user name is longer than {USERNAME_MAX} bytes"),
            Self::User(error) => write!(f, "user: {error}"),
        }
    }
}

impl core::error::Error for MintError {}

/// Mints credentials that end `ttl` after `now`. `user` may have colons. The relay counts quotas by it, whatever the
/// expiry, so give one person the same `user`; without one, each credential is a user of its own.
///
/// ```
/// use core::time::Duration;
/// use taciturn_protocol::credentials::{Hashes, HmacHash, SharedSecret, mint};
/// use taciturn_protocol::time::UnixTime;
///
/// let secret = SharedSecret::new("2026-11", b"0123456789abcdef0123456789abcdef", Hashes::SHA256)?;
/// let now = UnixTime::from_secs(1_700_000_000);
/// let credentials = mint(&secret, HmacHash::Sha256, "alice", Duration::from_secs(3600), now)?;
/// assert_eq!(credentials.username, "1700003600:alice");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
///
/// See [`MintError`].
pub fn mint(
    secret: &SharedSecret,
    hash: HmacHash,
    user: &str,
    ttl: Duration,
    now: UnixTime,
) -> Result<Credentials, MintError> {
    if !secret.hashes().accepts(hash) {
        return Err(MintError::Hash);
    }
    let expires = now.plus_secs(ttl.as_secs());
    let username = if user.is_empty() {
        expires.as_secs().to_string()
    } else {
        let user = prepare_opaque_string(user).map_err(MintError::User)?;
        format!("{}:{user}", expires.as_secs())
    };
    if username.len() > USERNAME_MAX {
        return Err(MintError::TooLong);
    }
    if expires <= now || time_limited_expiry(username.as_bytes()) != Some(expires) {
        return Err(MintError::Lifetime);
    }
    let password = to_text(&secret.password(hash, username.as_bytes()));
    Ok(Credentials {
        username,
        password,
        expires,
    })
}

/// The password that belongs to a user name, for any secret: `base64(HMAC(secret, username))`.
pub fn password_for(secret_bytes: &[u8], hash: HmacHash, username: &[u8]) -> String {
    to_text(&Password::new(secret_bytes, hash, username))
}

fn to_text(password: &Password) -> String {
    String::from_utf8_lossy(password.as_bytes()).into_owned()
}

/// When a time-limited user name ends: 1-19 decimal digits, then the end or a colon. Anything else has no expiry.
pub fn time_limited_expiry(username: &[u8]) -> Option<UnixTime> {
    let digits = username.split(|&byte| byte == b':').next()?;
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(digits)
        .ok()?
        .parse()
        .ok()
        .map(UnixTime::from_secs)
}
