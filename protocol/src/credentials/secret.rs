//! Secrets shared between the relay and whoever mints credentials.
//!
//! Responsible for keeping them; the relay reads and rotates them.

use alloc::boxed::Box;
use core::fmt;

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The fewest bytes of a secret: 256 bits, so that one captured message cannot be searched for it.
pub(super) const SECRET_MIN: usize = 32;

/// The hash in the HMAC that makes a password from a user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HmacHash {
    /// HMAC-SHA1: what most signalling servers make.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
}

/// Which hashes a secret is accepted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashes {
    /// HMAC-SHA1.
    pub sha1: bool,
    /// HMAC-SHA256.
    pub sha256: bool,
}

impl Hashes {
    /// Both, for signalling servers that know SHA-1 only.
    pub const BOTH: Self = Self {
        sha1: true,
        sha256: true,
    };
    /// SHA-256 only.
    pub const SHA256: Self = Self {
        sha1: false,
        sha256: true,
    };

    /// Whether `hash` is accepted.
    pub const fn accepts(self, hash: HmacHash) -> bool {
        match hash {
            HmacHash::Sha1 => self.sha1,
            HmacHash::Sha256 => self.sha256,
        }
    }
}

/// Why bytes are not taken as a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// Fewer than 32 bytes.
    TooShort {
        /// How many bytes there are.
        length: usize,
    },
    /// No hash is allowed, so that no password could be right.
    NoHash,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { length } => write!(f, "secret has {length} bytes, needs {SECRET_MIN}"),
            Self::NoHash => f.write_str("secret is allowed with no hash"),
        }
    }
}

impl core::error::Error for SecretError {}

/// A secret under a name that may be printed. It is kept as what HMAC makes of it before it sees a message, so that this is
/// made once and not for every user name; wiped when dropped and never printed.
#[derive(Clone)]
pub struct SharedSecret {
    id: Box<str>,
    sha1: Hmac<Sha1>,
    sha256: Hmac<Sha256>,
    hashes: Hashes,
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret")
            .field("id", &self.id)
            .field("hashes", &self.hashes)
            .finish_non_exhaustive()
    }
}

impl SharedSecret {
    /// A secret of at least 32 bytes, used as they are.
    ///
    /// # Errors
    ///
    /// The secret is too short, or no hash is allowed.
    pub fn new(id: &str, bytes: &[u8], hashes: Hashes) -> Result<Self, SecretError> {
        if bytes.len() < SECRET_MIN {
            return Err(SecretError::TooShort {
                length: bytes.len(),
            });
        }
        if !hashes.sha1 && !hashes.sha256 {
            return Err(SecretError::NoHash);
        }
        Ok(Self {
            id: id.into(),
            sha1: keyed(bytes),
            sha256: keyed(bytes),
            hashes,
        })
    }

    /// The name, for logs and metrics.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The hashes that it is accepted with.
    pub const fn hashes(&self) -> Hashes {
        self.hashes
    }

    pub(super) fn password(&self, hash: HmacHash, username: &[u8]) -> Password {
        match hash {
            HmacHash::Sha1 => Password::of(self.sha1.clone(), username),
            HmacHash::Sha256 => Password::of(self.sha256.clone(), username),
        }
    }
}

/// A time-limited password in base64, on the stack and wiped when dropped.
pub(super) struct Password {
    text: Zeroizing<[u8; 44]>,
    len: usize,
}

impl Password {
    pub(super) fn new(secret: &[u8], hash: HmacHash, username: &[u8]) -> Self {
        match hash {
            HmacHash::Sha1 => Self::of(keyed::<Hmac<Sha1>>(secret), username),
            HmacHash::Sha256 => Self::of(keyed::<Hmac<Sha256>>(secret), username),
        }
    }

    fn of(mac: impl Mac, username: &[u8]) -> Self {
        let code = mac.chain_update(username).finalize().into_bytes();
        let mut text = Zeroizing::new([0; 44]);
        let len = Base64::encode(&code, &mut *text)
            .expect("32 bytes make 44 characters")
            .len();
        Self { text, len }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

fn keyed<M: KeyInit>(secret: &[u8]) -> M {
    M::new_from_slice(secret).expect("hmac takes keys of every length")
}
