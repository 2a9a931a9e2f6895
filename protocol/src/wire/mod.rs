//! The bytes of STUN (RFC 8489), TURN (RFC 8656) and ChannelData: reading them without trust, writing them without surprise.
//!
//! Responsible for framing, attributes, message integrity and fingerprints. Input is borrowed, output goes into the caller's
//! buffer, nothing is allocated and nothing panics. Not responsible for what a message means, for who may send it, or for
//! where keys come from (`credentials`).
//!
//! A message passes through stages, so that bytes which integrity does not cover cannot be read by accident:
//!
//! ```text
//! datagram --parse--> Framed --verify(key)--> IntegrityChecked --attributes()--> Attributes
//!                       |                                                            ^
//!                       +--unauthenticated() (Binding, indications, clients)---------+
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod address;
pub mod attribute;
mod attributes;
pub mod channel_data;
mod fingerprint;
mod framed;
mod header;
pub mod indication;
mod integrity;
pub mod stream;
mod writer;

#[cfg(test)]
mod tests;

pub use attributes::{Attributes, Icmp, Malformed};
pub use framed::{CredentialAttributes, Framed, Integrity, IntegrityChecked, Name};
pub use header::{Class, FirstByte, FrameError, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId};
pub use writer::{BufferFull, Writer};
