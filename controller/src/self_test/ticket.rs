//! What a ticket says, and how nobody else can say it.
//!
//! ```text
//!   version 1 | id 12 | expires 8 | uses 2 | HMAC-SHA-256 of these, cut to 16       39 bytes, 52 characters of base64url
//! ```
//!
//! Responsible for the text of tickets. Not responsible for when one is honoured (`uses`). 39 bytes are a whole number of
//! characters, so that there are no bits over in which two texts of one ticket could differ.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use taciturn_protocol::time::UnixTime;
use zeroize::Zeroizing;

/// Another form of tickets would have another number.
const VERSION: u8 = 1;
const ID_BYTES: usize = 12;
const SIGNED_BYTES: usize = 1 + ID_BYTES + 8 + 2;
/// Half of the hash (RFC 2104 §5).
const TAG_BYTES: usize = 16;
const TICKET_BYTES: usize = SIGNED_BYTES + TAG_BYTES;
const TICKET_CHARACTERS: usize = TICKET_BYTES.div_ceil(3) * 4;

/// What tells one ticket from another; random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TicketId(pub [u8; ID_BYTES]);

impl fmt::Debug for TicketId {
    /// Nothing of it: it is in a link that somebody holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketId(..)")
    }
}

/// A ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which.
    pub id: TicketId,
    /// From then on it is not honoured.
    pub expires: UnixTime,
    /// How often it is, until then.
    pub uses: u16,
}

/// What makes tickets ours; wiped when dropped.
#[derive(Clone)]
pub struct TicketKey(Zeroizing<[u8; Self::BYTES]>);

impl TicketKey {
    /// Its length.
    pub const BYTES: usize = 32;

    /// These bytes, which nobody else knows.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A ticket as text: letters, digits, `-` and `_`.
    pub fn seal(&self, ticket: &Ticket) -> String {
        let mut bytes = Vec::with_capacity(TICKET_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&ticket.id.0);
        bytes.extend_from_slice(&ticket.expires.as_secs().to_be_bytes());
        bytes.extend_from_slice(&ticket.uses.to_be_bytes());
        let tag = self.hmac(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..TAG_BYTES]);
        Base64UrlUnpadded::encode_string(&bytes)
    }

    /// The ticket that this text is; `None`: it is none that was made with this key. How long that takes says nothing of
    /// what would be right.
    pub fn open(&self, text: &[u8]) -> Option<Ticket> {
        if text.len() != TICKET_CHARACTERS {
            return None;
        }
        let mut bytes = [0; TICKET_BYTES];
        Base64UrlUnpadded::decode(text, &mut bytes).ok()?;
        let (signed, tag) = bytes.split_at(SIGNED_BYTES);
        self.hmac(signed).verify_truncated_left(tag).ok()?;
        let (&version, rest) = signed.split_first()?;
        let (&id, rest) = rest.split_first_chunk()?;
        let (&expires, rest) = rest.split_first_chunk()?;
        let (&uses, _) = rest.split_first_chunk()?;
        (version == VERSION).then_some(Ticket {
            id: TicketId(id),
            expires: UnixTime::from_secs(u64::from_be_bytes(expires)),
            uses: u16::from_be_bytes(uses),
        })
    }

    fn hmac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(&self.0[..]).expect("HMAC takes keys of any length");
        hmac.update(bytes);
        hmac
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(..)")
    }
}
