//! Long-term keys: what a password becomes before it is used (RFC 8489 §9.2.2, §18.5.1).
//!
//! Responsible for the derivation. Passwords are not kept anywhere.

use core::fmt;

use md5::{Digest, Md5};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::opaque_string::{OpaqueStringError, prepare_opaque_string};
use super::realm::Realm;

/// How a key is derived from a password (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PasswordAlgorithm {
    /// Number 1; what browsers use. The key has 16 bytes.
    Md5 = 1,
    /// Number 2. The key has 32 bytes.
    Sha256 = 2,
}

/// The list that this implementation sends in PASSWORD-ALGORITHMS, preferred first.
pub const OFFERED_ALGORITHMS: [PasswordAlgorithm; 2] =
    [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];

impl PasswordAlgorithm {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The algorithm with this number.
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Md5),
            2 => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Reads the raw value of PASSWORD-ALGORITHM; `None` when the number is unknown or parameters are there, as neither
    /// algorithm has any.
    pub const fn from_attribute(value: &[u8]) -> Option<Self> {
        match value {
            &[high, low, 0, 0] => Self::from_number(u16::from_be_bytes([high, low])),
            _ => None,
        }
    }

    /// Whether the raw value of PASSWORD-ALGORITHMS repeats `list` as it was sent: same entries, same order.
    pub fn list_matches(value: &[u8], list: &[Self]) -> bool {
        let (entries, tail) = value.as_chunks::<4>();
        tail.is_empty()
            && entries
                .iter()
                .map(|entry| Self::from_attribute(entry))
                .eq(list.iter().copied().map(Some))
    }

    /// Length of a key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha256 => 32,
        }
    }
}

/// The key of a user in a realm. Wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct LongTermKey {
    /// The key; with MD5 the second half stays zero.
    bytes: [u8; 32],
    #[zeroize(skip)]
    algorithm: PasswordAlgorithm,
}

impl fmt::Debug for LongTermKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongTermKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl LongTermKey {
    /// Derives the key of `username`, which its sender has prepared, from a password, which is prepared here.
    ///
    /// # Errors
    ///
    /// The password is no OpaqueString.
    pub fn derive(
        algorithm: PasswordAlgorithm,
        username: &[u8],
        realm: &Realm,
        password: &str,
    ) -> Result<Self, OpaqueStringError> {
        let password = prepare_opaque_string(password.trim_end_matches('\0'))?;
        Ok(Self::from_prepared(
            algorithm,
            username,
            realm,
            password.as_bytes(),
        ))
    }

    /// Derives the key from a password that needs no preparation, such as base64.
    pub(super) fn from_prepared(
        algorithm: PasswordAlgorithm,
        username: &[u8],
        realm: &Realm,
        password: &[u8],
    ) -> Self {
        let parts = [username, b":", realm.as_str().as_bytes(), b":", password];
        match algorithm {
            PasswordAlgorithm::Md5 => Self::filled(algorithm, &digest::<Md5>(parts)),
            PasswordAlgorithm::Sha256 => Self::filled(algorithm, &digest::<Sha256>(parts)),
        }
    }

    /// A key from storage; `None` when its length is not the algorithm's.
    pub fn from_bytes(algorithm: PasswordAlgorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.key_len()).then(|| Self::filled(algorithm, bytes))
    }

    fn filled(algorithm: PasswordAlgorithm, bytes: &[u8]) -> Self {
        let mut key = Self {
            bytes: [0; 32],
            algorithm,
        };
        for (slot, byte) in key.bytes.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        key
    }

    /// 16 or 32 bytes, to be used as the HMAC key.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.algorithm.key_len())
            .unwrap_or_default()
    }

    /// How the key was derived.
    pub const fn algorithm(&self) -> PasswordAlgorithm {
        self.algorithm
    }
}

fn digest<D: Digest>(parts: [&[u8]; 5]) -> md5::digest::Output<D> {
    parts
        .iter()
        .fold(D::new(), |digest, part| digest.chain_update(part))
        .finalize()
}
