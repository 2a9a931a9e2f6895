//! Answers: one buffer, one place that writes class, signature and fingerprint.
//!
//! Not responsible for what an answer says; handlers pass the attributes in.

use alloc::boxed::Box;
use core::fmt;

use super::effect::Verdict;
use crate::credentials::{LongTermKey, PasswordAlgorithm};
use crate::forward::DropReason;
use crate::wire::{Class, Framed, Method, TransactionId, Writer};

/// Larger than any answer: the largest is a 401 with the longest realm (RFC 8489 §6.1 asks for less than 548 bytes).
const CAPACITY: usize = 1536;

/// A buffer for one answer, made once and used for every message.
pub struct Reply {
    bytes: Box<[u8; CAPACITY]>,
    length: usize,
    synthetic: bool,
}

impl Reply {
    /// An empty reply.
    pub fn new() -> Self {
        Self {
            bytes: Box::new([0; CAPACITY]),
            length: 0,
            synthetic: false,
        }
    }

    /// Whether the answer that was written last goes to the relay's own self-check, once it has proved its name.
    pub const fn is_synthetic(&self) -> bool {
        self.synthetic
    }

    /// Says whose the next answer is.
    pub(super) const fn mark(&mut self, synthetic: bool) {
        self.synthetic = synthetic;
    }

    /// The answer that was written last.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Writes an answer to the request that `echo` was taken from.
    pub(super) fn answer(
        &mut self,
        echo: Echo,
        class: Class,
        seal: Seal<'_>,
        attributes: impl FnOnce(&mut Writer<'_>),
    ) -> Verdict {
        let mut writer = Writer::new(&mut self.bytes[..], class, echo.method, echo.id);
        attributes(&mut writer);
        match seal {
            Seal::None => {}
            Seal::Sha1(key) => writer.message_integrity(key.as_bytes()),
            Seal::Sha256(key) => {
                // RFC 8489 §9.2.4 asks for SHA-256 also of clients that chose MD5 by name, and some of those know SHA-1
                // only: they find the attribute that they can check in front of it.
                if key.algorithm() == PasswordAlgorithm::Md5 {
                    writer.message_integrity(key.as_bytes());
                }
                writer.message_integrity_sha256(key.as_bytes());
            }
        }
        // S-14: a client that sends FINGERPRINT gets one back.
        if echo.fingerprint {
            writer.fingerprint();
        }
        match writer.finish() {
            Ok(length) => {
                self.length = length;
                Verdict::Reply
            }
            // Every caller's attributes are bounded well below the buffer; should that ever be wrong, silence is safe.
            Err(_) => {
                self.length = 0;
                Verdict::Drop(DropReason::TooLarge)
            }
        }
    }

    /// Writes an error response.
    pub(super) fn error(&mut self, echo: Echo, seal: Seal<'_>, code: ErrorCode) -> Verdict {
        self.answer(echo, Class::Error, seal, |w| {
            w.error_code(code.number(), code.reason())
        })
    }
}

impl Default for Reply {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} bytes)", self.length)
    }
}

/// What an answer repeats of its request (RFC 8489 §6.3.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo {
    pub(super) method: Method,
    pub(super) id: TransactionId,
    pub(super) fingerprint: bool,
}

impl Echo {
    pub(super) fn of(request: &Framed<'_>) -> Self {
        Self {
            method: request.method(),
            id: request.transaction_id(),
            fingerprint: request.has_fingerprint(),
        }
    }
}

/// How an answer is signed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seal<'k> {
    /// Not at all: nobody has been authenticated.
    None,
    /// MESSAGE-INTEGRITY.
    Sha1(&'k LongTermKey),
    /// MESSAGE-INTEGRITY-SHA256.
    Sha256(&'k LongTermKey),
}

/// The error codes of RFC 8489 §14.8, RFC 8656 §19 and RFC 6062 §6.3 that the relay sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorCode {
    TryAlternate,
    BadRequest,
    Unauthenticated,
    Forbidden,
    UnknownAttribute,
    AllocationMismatch,
    StaleNonce,
    AddressFamilyNotSupported,
    WrongCredentials,
    UnsupportedTransport,
    PeerAddressFamilyMismatch,
    AllocationQuotaReached,
    InsufficientCapacity,
}

impl ErrorCode {
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::TryAlternate => 300,
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::UnknownAttribute => 420,
            Self::AllocationMismatch => 437,
            Self::StaleNonce => 438,
            Self::AddressFamilyNotSupported => 440,
            Self::WrongCredentials => 441,
            Self::UnsupportedTransport => 442,
            Self::PeerAddressFamilyMismatch => 443,
            Self::AllocationQuotaReached => 486,
            Self::InsufficientCapacity => 508,
        }
    }

    /// The reason phrase. It is for people, and left out where an unauthenticated sender would get more back for it.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::TryAlternate => "Try Alternate",
            Self::BadRequest => "Bad Request",
            Self::Unauthenticated | Self::StaleNonce => "",
            Self::Forbidden => "Forbidden",
            Self::UnknownAttribute => "Unknown Attribute",
            Self::AllocationMismatch => "Allocation Mismatch",
            Self::AddressFamilyNotSupported => "Address Family not Supported",
            Self::WrongCredentials => "Wrong Credentials",
            Self::UnsupportedTransport => "Unsupported Transport Protocol",
            Self::PeerAddressFamilyMismatch => "Peer Address Family Mismatch",
            Self::AllocationQuotaReached => "Allocation Quota Reached",
            Self::InsufficientCapacity => "Insufficient Capacity",
        }
    }
}
