//! The realm: the name under which passwords are valid (RFC 8489 §14.9).
//!
//! Responsible for its being well formed; not for which realm a relay has.

use alloc::boxed::Box;
use core::fmt;

use super::opaque_string::{OpaqueStringError, prepare_opaque_string};

/// A realm, prepared: not empty, fewer than 128 characters, no quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Realm(Box<str>);

/// Why a text is no realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealmError {
    /// 128 characters or more.
    TooLong,
    /// A double quote or backslash, which SIP's grammar would need to escape.
    Quote,
    /// Not an OpaqueString.
    Text(OpaqueStringError),
}

impl fmt::Display for RealmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("realm has 128 characters or more"),
            Self::Quote => f.write_str("realm has a quote or backslash"),
            Self::Text(error) => write!(f, "realm: {error}"),
        }
    }
}

impl core::error::Error for RealmError {}

impl Realm {
    /// Prepares `text` with OpaqueString.
    ///
    /// # Errors
    ///
    /// When the result could not be sent as REALM.
    pub fn new(text: &str) -> Result<Self, RealmError> {
        let prepared = prepare_opaque_string(text).map_err(RealmError::Text)?;
        if prepared.contains(['"', '\\']) {
            return Err(RealmError::Quote);
        }
        if prepared.chars().nth(127).is_some() {
            return Err(RealmError::TooLong);
        }
        Ok(Self(prepared.into()))
    }

    /// The prepared text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes a pair of enclosing double quotes and trailing NULs off a received user name or realm (RFC 8489 §9.2.2).
pub(crate) fn strip(mut received: &[u8]) -> &[u8] {
    while let [shorter @ .., 0] = received {
        received = shorter;
    }
    match received {
        [b'"', inner @ .., b'"'] => inner,
        _ => received,
    }
}
