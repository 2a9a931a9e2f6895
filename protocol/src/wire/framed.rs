//! A structurally sound STUN message, and the proof of its integrity.
//!
//! Responsible for framing, for which integrity attribute counts, and for keeping everything else unreadable until a key has
//! verified it. Not responsible for finding the key (`credentials`).

use core::fmt;

use subtle::ConstantTimeEq;

use super::attribute;
use super::attributes::Attributes;
use super::header::{self, Class, FrameError, Method, TransactionId};
use super::{fingerprint, integrity};

/// The longest USERNAME, REALM and NONCE that is read, in bytes (RFC 8489 §14.3, §14.9, §14.10).
const LONGEST_TEXT: usize = 763;

/// Which integrity attribute counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// Neither is there.
    Absent,
    /// MESSAGE-INTEGRITY.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256, which prevails when both are there.
    Sha256,
}

/// How a request names its user; when it does so twice, the first counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// The value of USERNAME.
    Username(&'a [u8]),
    /// The value of USERHASH, of whatever length it came.
    Userhash(&'a [u8]),
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Username(_) => "Username(..)",
            Self::Userhash(_) => "Userhash(..)",
        })
    }
}

/// The attributes that say which key to verify with: all that may be read before the key is known.
///
/// They come from the range that integrity covers. Of each the first counts.
#[derive(Clone, Copy, Default)]
pub struct CredentialAttributes<'a> {
    /// USERNAME or USERHASH.
    pub name: Option<Name<'a>>,
    /// REALM.
    pub realm: Option<&'a [u8]>,
    /// NONCE.
    pub nonce: Option<&'a [u8]>,
    /// The raw value of PASSWORD-ALGORITHM.
    pub algorithm: Option<&'a [u8]>,
    /// The raw value of PASSWORD-ALGORITHMS.
    pub algorithms: Option<&'a [u8]>,
    /// USERNAME, REALM or NONCE is longer than 763 bytes: to be refused, never compared by a part.
    pub oversized: bool,
}

impl fmt::Debug for CredentialAttributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialAttributes")
            .field("name", &self.name)
            .field("realm", &self.realm.is_some())
            .field("nonce", &self.nonce.is_some())
            .field("oversized", &self.oversized)
            .finish_non_exhaustive()
    }
}

impl<'a> CredentialAttributes<'a> {
    #[inline]
    fn observe(&mut self, kind: u16, value: &'a [u8]) {
        match kind {
            attribute::USERNAME if self.name.is_none() => {
                self.name = Some(Name::Username(value));
                self.oversized |= value.len() > LONGEST_TEXT;
            }
            attribute::USERHASH if self.name.is_none() => self.name = Some(Name::Userhash(value)),
            attribute::REALM if self.realm.is_none() => {
                self.realm = Some(value);
                self.oversized |= value.len() > LONGEST_TEXT;
            }
            attribute::NONCE if self.nonce.is_none() => {
                self.nonce = Some(value);
                self.oversized |= value.len() > LONGEST_TEXT;
            }
            attribute::PASSWORD_ALGORITHM if self.algorithm.is_none() => {
                self.algorithm = Some(value)
            }
            attribute::PASSWORD_ALGORITHMS if self.algorithms.is_none() => {
                self.algorithms = Some(value)
            }
            _ => {}
        }
    }
}

/// An integrity attribute: its value, and the message up to it.
#[derive(Clone, Copy)]
struct Seal<'a> {
    before: &'a [u8],
    value: &'a [u8],
}

/// A message that is structurally sound, and nothing more is known about it.
#[derive(Clone, Copy)]
pub struct Framed<'a> {
    method: Method,
    class: Class,
    id: TransactionId,
    /// The attributes before the first integrity attribute, a final FINGERPRINT excluded.
    covered: &'a [u8],
    credentials: CredentialAttributes<'a>,
    sha1: Option<Seal<'a>>,
    sha256: Option<Seal<'a>>,
    has_fingerprint: bool,
}

impl fmt::Debug for Framed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed")
            .field("method", &self.method)
            .field("class", &self.class)
            .field("integrity", &self.integrity())
            .finish_non_exhaustive()
    }
}

impl<'a> Framed<'a> {
    /// Checks the structure of a whole datagram, or of one frame of a stream (RFC 8489 §6.3).
    ///
    /// Every class and every [`Method`] passes that go together; who may send what is for the caller to judge.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong. The sender is to be told nothing.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, FrameError> {
        let head = header::split(datagram)?;
        let (method, class) = header::method_and_class(head.kind)?;
        let mut framed = Self {
            method,
            class,
            id: TransactionId(*head.id),
            covered: head.attributes,
            credentials: CredentialAttributes::default(),
            sha1: None,
            sha256: None,
            has_fingerprint: false,
        };
        framed.walk(datagram, head.attributes)?;
        Ok(framed)
    }

    /// The one walk over the attributes: each must fit, and those that matter before verification are noted.
    fn walk(&mut self, datagram: &'a [u8], attributes: &'a [u8]) -> Result<(), FrameError> {
        let mut left = attributes;
        while !left.is_empty() {
            let Some((kind, value, rest)) = attribute::split_first(left) else {
                return Err(FrameError::AttributeOverrun);
            };
            let sealed = self.sha1.is_some() || self.sha256.is_some();
            match kind {
                attribute::MESSAGE_INTEGRITY if !sealed => {
                    self.covered = before(attributes, left);
                    self.sha1 = Some(Seal {
                        before: before(datagram, left),
                        value,
                    });
                }
                attribute::MESSAGE_INTEGRITY_SHA256 if self.sha256.is_none() => {
                    if !sealed {
                        self.covered = before(attributes, left);
                    }
                    self.sha256 = Some(Seal {
                        before: before(datagram, left),
                        value,
                    });
                }
                // Not at the end it is one more unknown optional attribute (RFC 8489 §14.7).
                attribute::FINGERPRINT if rest.is_empty() => {
                    if value != fingerprint::fingerprint(before(datagram, left)).to_be_bytes() {
                        return Err(FrameError::Fingerprint);
                    }
                    self.has_fingerprint = true;
                    if !sealed {
                        self.covered = before(attributes, left);
                    }
                }
                _ if !sealed => self.credentials.observe(kind, value),
                _ => {}
            }
            left = rest;
        }
        Ok(())
    }

    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The class.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// The transaction id.
    pub const fn transaction_id(&self) -> TransactionId {
        self.id
    }

    /// Whether the message ends with a right FINGERPRINT, so that its answer needs one too.
    pub const fn has_fingerprint(&self) -> bool {
        self.has_fingerprint
    }

    /// Which integrity attribute counts; says nothing about its being right.
    pub const fn integrity(&self) -> Integrity {
        match (&self.sha256, &self.sha1) {
            (Some(_), _) => Integrity::Sha256,
            (None, Some(_)) => Integrity::Sha1,
            (None, None) => Integrity::Absent,
        }
    }

    /// The attributes that name the key.
    pub const fn credentials(&self) -> CredentialAttributes<'a> {
        self.credentials
    }

    /// Checks the integrity attribute that counts with `key`, in time that does not depend on where they differ.
    ///
    /// `None` when it does not match, when its length is not the one of its kind, or when there is none.
    pub fn verify(&self, key: &[u8]) -> Option<IntegrityChecked<'a>> {
        let right = match (&self.sha256, &self.sha1) {
            (Some(seal), _) => {
                seal.value.len() == integrity::SHA256_LEN
                    && bool::from(
                        integrity::sha256(seal.before, key)?
                            .as_slice()
                            .ct_eq(seal.value),
                    )
            }
            (None, Some(seal)) => {
                seal.value.len() == integrity::SHA1_LEN
                    && bool::from(
                        integrity::sha1(seal.before, key)?
                            .as_slice()
                            .ct_eq(seal.value),
                    )
            }
            (None, None) => false,
        };
        right.then(|| IntegrityChecked {
            method: self.method,
            class: self.class,
            attributes: self.unauthenticated(),
            integrity: self.integrity(),
            has_fingerprint: self.has_fingerprint,
        })
    }

    /// The attributes as they came, for what is never authenticated (Binding, indications) and for clients that check
    /// an answer in another way. A server reads requests through [`Framed::verify`] only.
    ///
    /// What follows an integrity attribute is left out here too.
    pub const fn unauthenticated(&self) -> Attributes<'a> {
        Attributes::new(self.covered, self.id)
    }
}

/// The part of `whole` before `tail`, one of its suffixes.
#[inline(always)]
fn before<'a>(whole: &'a [u8], tail: &[u8]) -> &'a [u8] {
    whole
        .get(..whole.len().saturating_sub(tail.len()))
        .unwrap_or_default()
}

/// A message whose integrity was verified with a key: proof that its sender knows the password.
#[derive(Clone, Copy)]
pub struct IntegrityChecked<'a> {
    method: Method,
    class: Class,
    attributes: Attributes<'a>,
    integrity: Integrity,
    has_fingerprint: bool,
}

impl fmt::Debug for IntegrityChecked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntegrityChecked")
            .field("method", &self.method)
            .field("class", &self.class)
            .field("integrity", &self.integrity)
            .finish_non_exhaustive()
    }
}

impl<'a> IntegrityChecked<'a> {
    /// The attributes that integrity covers.
    pub const fn attributes(&self) -> Attributes<'a> {
        self.attributes
    }

    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The class.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// The transaction id.
    pub const fn transaction_id(&self) -> TransactionId {
        self.attributes.transaction_id()
    }

    /// Whether the message ends with a right FINGERPRINT, so that its answer needs one too.
    pub const fn has_fingerprint(&self) -> bool {
        self.has_fingerprint
    }

    /// Which integrity attribute was verified.
    pub const fn integrity(&self) -> Integrity {
        self.integrity
    }
}
