//! Users with a fixed name, known by their keys: a password is never stored.
//!
//! Responsible for the text form of keys; the relay reads the files.

use alloc::string::String;
use core::fmt;
use core::fmt::Write;

use zeroize::Zeroizing;

use super::key::{LongTermKey, PasswordAlgorithm};
use super::opaque_string::{OpaqueStringError, prepare_opaque_string};
use super::realm::Realm;
use super::time_limited::USERNAME_MAX;

/// The keys of one user in one realm.
#[derive(Clone, Debug)]
pub struct StaticKeys {
    md5: Option<LongTermKey>,
    sha256: Option<LongTermKey>,
}

/// A user whose name does not end.
#[derive(Clone)]
pub struct StaticUser {
    /// The prepared name.
    pub name: String,
    keys: StaticKeys,
}

impl fmt::Debug for StaticUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticUser")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// Why a name or a key text is refused. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTextError {
    /// The name or password is no OpaqueString.
    Text(OpaqueStringError),
    /// The name is longer than 508 bytes.
    NameTooLong,
    /// There is no key at all.
    NoKey,
    /// A line is not `md5:` and 32 hexadecimal digits, or `sha256:` and 64.
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A second key of the same kind.
    Repeated {
        /// Counted from 1.
        line: usize,
    },
}

impl fmt::Display for KeyTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(error) => error.fmt(f),
            Self::NameTooLong => write!(f, "name is longer than {USERNAME_MAX} bytes"),
            Self::NoKey => f.write_str("no key"),
            Self::Line { line } => {
                write!(
                    f,
                    "line {line} is not md5: with 32 or sha256: with 64 hexadecimal digits"
                )
            }
            Self::Repeated { line } => write!(f, "line {line} repeats a kind of key"),
        }
    }
}

impl core::error::Error for KeyTextError {}

impl StaticKeys {
    /// Both keys of a user, from a password that is forgotten afterwards.
    ///
    /// # Errors
    ///
    /// Name or password is no OpaqueString, or the name is too long.
    pub fn derive(user: &str, realm: &Realm, password: &str) -> Result<Self, KeyTextError> {
        let name = prepare_name(user)?;
        let derive = |algorithm| {
            LongTermKey::derive(algorithm, name.as_bytes(), realm, password)
                .map(Some)
                .map_err(KeyTextError::Text)
        };
        Ok(Self {
            md5: derive(PasswordAlgorithm::Md5)?,
            sha256: derive(PasswordAlgorithm::Sha256)?,
        })
    }

    /// The text form: a line `md5:<hex>` and a line `sha256:<hex>`. As secret as the password; wiped when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        // Room for both lines, so that no copy is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(128));
        for (kind, key) in [("md5", &self.md5), ("sha256", &self.sha256)] {
            let Some(key) = key else { continue };
            text.push_str(kind);
            text.push(':');
            for byte in key.as_bytes() {
                write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            }
            text.push('\n');
        }
        text
    }

    fn parse(text: &str) -> Result<Self, KeyTextError> {
        let mut keys = Self {
            md5: None,
            sha256: None,
        };
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (kind, hex) = content.split_once(':').ok_or(KeyTextError::Line { line })?;
            let (slot, algorithm) = match kind {
                "md5" => (&mut keys.md5, PasswordAlgorithm::Md5),
                "sha256" => (&mut keys.sha256, PasswordAlgorithm::Sha256),
                _ => return Err(KeyTextError::Line { line }),
            };
            let key = parse_hex(algorithm, hex).ok_or(KeyTextError::Line { line })?;
            if slot.replace(key).is_some() {
                return Err(KeyTextError::Repeated { line });
            }
        }
        if keys.md5.is_none() && keys.sha256.is_none() {
            return Err(KeyTextError::NoKey);
        }
        Ok(keys)
    }
}

impl StaticUser {
    /// A user from its name and the text form of its keys. Empty lines and lines that begin with `#` are skipped; one kind
    /// of key is enough, the user then cannot choose the other.
    ///
    /// # Errors
    ///
    /// See [`KeyTextError`].
    pub fn parse_keys(name: &str, text: &str) -> Result<Self, KeyTextError> {
        Self::new(name, StaticKeys::parse(text)?)
    }

    /// A user from its name and keys that were derived for that name.
    ///
    /// # Errors
    ///
    /// The name is no OpaqueString, or too long.
    pub fn new(name: &str, keys: StaticKeys) -> Result<Self, KeyTextError> {
        Ok(Self {
            name: prepare_name(name)?,
            keys,
        })
    }

    pub(super) const fn key(&self, algorithm: PasswordAlgorithm) -> Option<&LongTermKey> {
        match algorithm {
            PasswordAlgorithm::Md5 => self.keys.md5.as_ref(),
            PasswordAlgorithm::Sha256 => self.keys.sha256.as_ref(),
        }
    }
}

fn prepare_name(name: &str) -> Result<String, KeyTextError> {
    let name = prepare_opaque_string(name)
        .map_err(KeyTextError::Text)?
        .into_owned();
    if name.len() > USERNAME_MAX {
        Err(KeyTextError::NameTooLong)
    } else {
        Ok(name)
    }
}

fn parse_hex(algorithm: PasswordAlgorithm, hex: &str) -> Option<LongTermKey> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    let bytes = bytes.get_mut(..algorithm.key_len())?;
    let (pairs, tail) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !tail.is_empty() {
        return None;
    }
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (
            char::from(high).to_digit(16)?,
            char::from(low).to_digit(16)?,
        );
        *byte = u8::try_from((high << 4) | low).ok()?;
    }
    LongTermKey::from_bytes(algorithm, bytes)
}
