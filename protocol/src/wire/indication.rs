//! Send and Data indications (RFC 8656 §11): the packet path of clients that bind no channel.
//!
//! Responsible for reading a Send indication in one pass and for the header of a Data indication. Says nothing that
//! [`Framed`](super::Framed) would not say, only sooner. Not responsible for permissions.

use core::fmt;
use core::net::SocketAddr;

use super::address::{self, Encoded, Mask};
use super::attribute;
use super::fingerprint;
use super::header::{self, Class, FrameError, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId};

/// A Send indication that is whole and names a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendIndication<'a> {
    /// XOR-PEER-ADDRESS.
    pub peer: SocketAddr,
    /// DATA, a part of the datagram; may be empty.
    pub data: &'a [u8],
    /// Whether DONT-FRAGMENT is there.
    pub dont_fragment: bool,
}

impl fmt::Debug for SendIndication<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendIndication")
            .field("len", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// Why a datagram is no Send indication to be relayed. The sender is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendError {
    /// The framing is wrong.
    Frame(FrameError),
    /// Some other message; its attributes were not looked at.
    NotSend,
    /// An unknown comprehension-required attribute.
    UnknownAttribute,
    /// No XOR-PEER-ADDRESS.
    MissingPeer,
    /// An XOR-PEER-ADDRESS of unknown family or wrong length.
    MalformedPeer,
    /// No DATA.
    MissingData,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::NotSend => f.write_str("not a send indication"),
            Self::UnknownAttribute => f.write_str("unknown comprehension-required attribute"),
            Self::MissingPeer => f.write_str("no peer address"),
            Self::MalformedPeer => f.write_str("malformed peer address"),
            Self::MissingData => f.write_str("no data"),
        }
    }
}

impl core::error::Error for SendError {}

/// Reads a Send indication: all framing checks and all attributes in one pass.
///
/// # Errors
///
/// The datagram is to be dropped in silence, unless it is [`SendError::NotSend`].
#[inline]
pub fn parse_send(datagram: &[u8]) -> Result<SendIndication<'_>, SendError> {
    let head = header::split(datagram).map_err(SendError::Frame)?;
    if head.kind != header::message_type(Method::Send, Class::Indication) {
        return Err(SendError::NotSend);
    }
    let mut peer: Option<&[u8]> = None;
    let mut data: Option<&[u8]> = None;
    let mut dont_fragment = false;
    let mut sealed = false;
    let mut unknown = false;
    let mut left = head.attributes;
    while !left.is_empty() {
        let Some((kind, value, rest)) = attribute::split_first(left) else {
            return Err(SendError::Frame(FrameError::AttributeOverrun));
        };
        match kind {
            attribute::FINGERPRINT if rest.is_empty() => check_fingerprint(datagram, left, value)?,
            // What follows an integrity attribute is ignored, unknown or not (RFC 8489 §14.5).
            _ if sealed => {}
            attribute::DATA => data = data.or(Some(value)),
            attribute::XOR_PEER_ADDRESS => peer = peer.or(Some(value)),
            attribute::DONT_FRAGMENT => dont_fragment = true,
            attribute::MESSAGE_INTEGRITY | attribute::MESSAGE_INTEGRITY_SHA256 => sealed = true,
            _ => unknown |= attribute::is_unknown_required(kind),
        }
        left = rest;
    }
    if unknown {
        return Err(SendError::UnknownAttribute);
    }
    let peer = peer.ok_or(SendError::MissingPeer)?;
    let data = data.ok_or(SendError::MissingData)?;
    let peer =
        address::parse(peer, Mask::of(&TransactionId(*head.id))).ok_or(SendError::MalformedPeer)?;
    Ok(SendIndication {
        peer,
        data,
        dont_fragment,
    })
}

#[cold]
#[inline(never)]
fn check_fingerprint(datagram: &[u8], left: &[u8], value: &[u8]) -> Result<(), SendError> {
    let before = datagram
        .get(..datagram.len().saturating_sub(left.len()))
        .unwrap_or_default();
    if value == fingerprint::fingerprint(before).to_be_bytes() {
        Ok(())
    } else {
        Err(SendError::Frame(FrameError::Fingerprint))
    }
}

/// The longest header of a Data indication in bytes: 20 of STUN, 24 of an IPv6 XOR-PEER-ADDRESS, 4 of DATA.
pub const DATA_HEADER_MAX: usize = 48;

/// Writes everything of a Data indication that precedes its payload, into the last bytes of `out`.
///
/// ```text
/// out: | unused | STUN header | XOR-PEER-ADDRESS | DATA type, length | payload of the caller | padding |
///               <------------- first number of the result ----------->                      <- second ->
/// ```
///
/// The result is the header's length and how many zero bytes (0-3) go behind the payload. `None` when a payload of
/// `payload_len` bytes does not fit into a STUN message.
#[inline]
pub fn write_data_header(
    out: &mut [u8; DATA_HEADER_MAX],
    id: TransactionId,
    peer: SocketAddr,
    payload_len: usize,
) -> Option<(usize, usize)> {
    let peer = Encoded::new(peer, Mask::of(&id));
    let peer_value = peer.as_bytes();
    let data_len = u16::try_from(payload_len).ok()?;
    let padded = payload_len.next_multiple_of(4);
    let header_len = HEADER_LEN.checked_add(8)?.checked_add(peer_value.len())?;
    let length = u16::try_from(header_len.checked_add(padded)?.checked_sub(HEADER_LEN)?).ok()?;
    let start = DATA_HEADER_MAX.checked_sub(header_len)?;

    let (head, rest) = out
        .get_mut(start..)?
        .split_first_chunk_mut::<HEADER_LEN>()?;
    let [t0, t1] = header::message_type(Method::Data, Class::Indication).to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    let [c0, c1, c2, c3] = MAGIC_COOKIE.to_be_bytes();
    let [h0, h1, h2, h3, h4, h5, h6, h7, head_id @ ..] = head;
    (*h0, *h1, *h2, *h3) = (t0, t1, l0, l1);
    (*h4, *h5, *h6, *h7) = (c0, c1, c2, c3);
    *head_id = id.0;

    let (peer_head, rest) = rest.split_first_chunk_mut::<4>()?;
    *peer_head = attribute_head(
        attribute::XOR_PEER_ADDRESS,
        u16::try_from(peer_value.len()).ok()?,
    );
    let (peer_out, data_head) = rest.split_at_mut_checked(peer_value.len())?;
    peer_out.copy_from_slice(peer_value);
    *data_head.first_chunk_mut::<4>()? = attribute_head(attribute::DATA, data_len);
    Some((header_len, padded.saturating_sub(payload_len)))
}

#[inline]
const fn attribute_head(kind: u16, len: u16) -> [u8; 4] {
    let ([t0, t1], [l0, l1]) = (kind.to_be_bytes(), len.to_be_bytes());
    [t0, t1, l0, l1]
}
