//! As much of STUN and TURN as a client needs, written apart from the product so that neither hides the other's mistakes.
//!
//! Responsible for building requests, indications and ChannelData and for reading answers. Not responsible for
//! retransmission (see `client`) nor for judging payloads.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a STUN header (RFC 8489 §5).
pub(crate) const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// Message types: method and class in one number (RFC 8489 §5, RFC 8656 §17).
pub(crate) mod kind {
    pub(crate) const BINDING: u16 = 0x0001;
    pub(crate) const ALLOCATE: u16 = 0x0003;
    pub(crate) const REFRESH: u16 = 0x0004;
    pub(crate) const CREATE_PERMISSION: u16 = 0x0008;
    pub(crate) const CHANNEL_BIND: u16 = 0x0009;
    pub(crate) const SEND_INDICATION: u16 = 0x0016;
    pub(crate) const DATA_INDICATION: u16 = 0x0017;

    /// The success response to a request.
    pub(crate) const fn success(request: u16) -> u16 {
        request | 0x0100
    }

    /// The error response to a request.
    pub(crate) const fn error(request: u16) -> u16 {
        request | 0x0110
    }
}

/// Attribute types (RFC 8489 §18.3, RFC 8656 §18).
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000C;
    pub(crate) const LIFETIME: u16 = 0x000D;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
}

/// 96 bits that tie an answer to its request.
pub(crate) type TransactionId = [u8; 12];

/// Writes the header of a message whose attributes take `body_len` bytes.
pub(crate) fn write_header(out: &mut Vec<u8>, kind: u16, id: TransactionId, body_len: u16) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&body_len.to_be_bytes());
    out.extend_from_slice(&MAGIC_COOKIE);
    out.extend_from_slice(&id);
}

/// Writes the type and length of an attribute.
pub(crate) fn write_attribute_header(out: &mut Vec<u8>, kind: u16, len: u16) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
}

/// A message being written.
#[derive(Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    id: TransactionId,
}

impl Message {
    /// Starts a message of the given type.
    pub(crate) fn new(kind: u16, id: TransactionId) -> Self {
        let mut bytes = Vec::with_capacity(256);
        write_header(&mut bytes, kind, id, 0);
        Self { bytes, id }
    }

    /// Appends one attribute, padded to four bytes.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len()).expect("an attribute of a request is short");
        write_attribute_header(&mut self.bytes, kind, len);
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.patch_length(0);
        self
    }

    /// Appends an address, hidden by the cookie and the transaction id (RFC 8489 §14.2).
    pub(crate) fn xor_address(self, kind: u16, address: SocketAddr) -> Self {
        let (value, len) = xor_address(address, self.id);
        self.attribute(kind, &value[..len])
    }

    /// Appends MESSAGE-INTEGRITY over everything before it (RFC 8489 §14.5).
    pub(crate) fn integrity(mut self, key: &[u8]) -> Self {
        self.patch_length(24);
        let tag = hmac_sha1(key, &[&self.bytes]);
        self.attribute(attribute::MESSAGE_INTEGRITY, &tag)
    }

    /// The finished message.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn patch_length(&mut self, extra: usize) {
        let len = u16::try_from(self.bytes.len() - HEADER_LEN + extra)
            .expect("a request is far below 64 KiB");
        self.bytes[2..4].copy_from_slice(&len.to_be_bytes());
    }
}

/// The XOR-ed form of an address: the bytes and how many of them count (8 or 20).
pub(crate) fn xor_address(address: SocketAddr, id: TransactionId) -> ([u8; 20], usize) {
    let mut value = [0_u8; 20];
    let port = address.port() ^ 0x2112;
    value[2..4].copy_from_slice(&port.to_be_bytes());
    let mask = address_mask(id);
    let len = match address.ip() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            value[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            value[4..20].copy_from_slice(&ip.octets());
            20
        }
    };
    for (byte, mask) in value[4..len].iter_mut().zip(mask) {
        *byte ^= mask;
    }
    (value, len)
}

fn read_xor_address(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0, p1]) ^ 0x2112;
    let mask = address_mask(id);
    let ip: IpAddr = match (family, ip.len()) {
        (1, 4) => Ipv4Addr::from(std::array::from_fn(|at| ip[at] ^ mask[at])).into(),
        (2, 16) => Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|at| ip[at] ^ mask[at])).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn address_mask(id: TransactionId) -> [u8; 16] {
    let mut mask = [0_u8; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(&id);
    mask
}

/// HMAC-SHA1 over the concatenation of `parts`.
pub(crate) fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A received STUN message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    bytes: &'a [u8],
}

impl<'a> Received<'a> {
    /// Accepts a datagram that is one STUN message with sound framing; `None` for anything else.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_LEN>()?;
        let body_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let sound = header[0] < 0x40
            && header[4..8] == MAGIC_COOKIE
            && bytes.len() == HEADER_LEN + body_len
            && body_len % 4 == 0;
        sound.then_some(Self { bytes })
    }

    /// The message type.
    pub(crate) const fn kind(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// The transaction id.
    pub(crate) fn id(&self) -> TransactionId {
        std::array::from_fn(|at| self.bytes[8 + at])
    }

    /// The value of the first attribute of a type.
    pub(crate) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.position(kind).map(|(_, value)| value)
    }

    /// The first attribute of a type, read as a hidden address.
    pub(crate) fn xor_address(&self, kind: u16) -> Option<SocketAddr> {
        read_xor_address(self.attribute(kind)?, self.id())
    }

    /// The number in ERROR-CODE.
    pub(crate) fn error_code(&self) -> Option<u16> {
        let value = self.attribute(attribute::ERROR_CODE)?;
        Some(u16::from(*value.get(2)? & 7) * 100 + u16::from(*value.get(3)?))
    }

    /// Whether MESSAGE-INTEGRITY is there and right.
    pub(crate) fn is_proved_by(&self, key: &[u8]) -> bool {
        let Some((at, tag)) = self.position(attribute::MESSAGE_INTEGRITY) else {
            return false;
        };
        let Ok(covered_len) = u16::try_from(at + 24 - HEADER_LEN) else {
            return false;
        };
        let expected = hmac_sha1(
            key,
            &[
                &self.bytes[..2],
                &covered_len.to_be_bytes(),
                &self.bytes[4..at],
            ],
        );
        tag == expected
    }

    /// Where the first attribute of a type begins, and its value.
    fn position(&self, wanted: u16) -> Option<(usize, &'a [u8])> {
        let mut at = HEADER_LEN;
        loop {
            let (&[k0, k1, l0, l1], rest) = self.bytes.get(at..)?.split_first_chunk::<4>()?;
            let len = usize::from(u16::from_be_bytes([l0, l1]));
            if u16::from_be_bytes([k0, k1]) == wanted {
                return Some((at, rest.get(..len)?));
            }
            at += 4 + len.next_multiple_of(4);
        }
    }
}

/// The payload and number of a ChannelData message, from a datagram or cut from a stream (RFC 8656 §12.4).
pub(crate) fn parse_channel_data(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (&[n0, n1, l0, l1], rest) = bytes.split_first_chunk::<4>()?;
    let number = u16::from_be_bytes([n0, n1]);
    let payload = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
    (0x4000..=0x7FFF)
        .contains(&number)
        .then_some((number, payload))
}

/// Length on the wire of the message at the start of a stream, padding included, and of the message alone.
/// `Ok(None)` when more bytes are needed, `Err` when no message of ours can start so.
pub(crate) fn frame_len(buffered: &[u8]) -> Result<Option<(usize, usize)>, BadFrame> {
    let Some(&[first, _, l0, l1]) = buffered.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let (total, message) = match first {
        0..=3 => (HEADER_LEN + len, HEADER_LEN + len),
        0x40..=0x7F => ((4 + len).next_multiple_of(4), 4 + len),
        _ => return Err(BadFrame),
    };
    Ok((buffered.len() >= total).then_some((total, message)))
}

/// The stream holds neither STUN nor ChannelData at a message boundary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadFrame;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = *b"abcdefghijkl";

    /// RFC 5769 §2.4: a request with long-term authentication.
    #[test]
    fn integrity_matches_the_published_long_term_vector() {
        let bytes: [u8; 116] = [
            0x00, 0x01, 0x00, 0x60, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad,
            0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e, 0x00, 0x06, 0x00, 0x12, 0xe3, 0x83, 0x9e, 0xe3,
            0x83, 0x88, 0xe3, 0x83, 0xaa, 0xe3, 0x83, 0x83, 0xe3, 0x82, 0xaf, 0xe3, 0x82, 0xb9,
            0x00, 0x00, 0x00, 0x15, 0x00, 0x1c, 0x66, 0x2f, 0x2f, 0x34, 0x39, 0x39, 0x6b, 0x39,
            0x35, 0x34, 0x64, 0x36, 0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46, 0x53, 0x54,
            0x76, 0x79, 0x36, 0x34, 0x73, 0x41, 0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d,
            0x70, 0x6c, 0x65, 0x2e, 0x6f, 0x72, 0x67, 0x00, 0x00, 0x08, 0x00, 0x14, 0xf6, 0x70,
            0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02, 0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9, 0xa2,
            0x8c, 0xa8, 0x96, 0x66,
        ];
        let key = crate::credentials::long_term_key(
            "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}",
            b"example.org",
            "TheMatrIX",
        );
        let message = Received::parse(&bytes).expect("the vector is sound");
        assert!(message.is_proved_by(&key));
        assert!(!message.is_proved_by(b"another key"));
        assert_eq!(
            message.attribute(attribute::REALM),
            Some(&b"example.org"[..])
        );
    }

    #[test]
    fn a_written_request_reads_back() {
        let peer: SocketAddr = "192.0.2.1:32853".parse().expect("literal");
        let bytes = Message::new(kind::ALLOCATE, ID)
            .attribute(attribute::USERNAME, b"seven c")
            .xor_address(attribute::XOR_PEER_ADDRESS, peer)
            .integrity(b"key")
            .into_bytes();
        let message = Received::parse(&bytes).expect("sound");
        assert_eq!((message.kind(), message.id()), (kind::ALLOCATE, ID));
        assert_eq!(
            message.attribute(attribute::USERNAME),
            Some(&b"seven c"[..])
        );
        assert_eq!(message.xor_address(attribute::XOR_PEER_ADDRESS), Some(peer));
        assert!(message.is_proved_by(b"key"));
        assert_eq!(message.attribute(attribute::DATA), None);
    }

    #[test]
    fn addresses_of_both_families_survive_the_mask() {
        for text in ["127.0.0.1:3478", "[2001:db8::1]:49152"] {
            let address: SocketAddr = text.parse().expect("literal");
            let (value, len) = xor_address(address, ID);
            assert_eq!(read_xor_address(&value[..len], ID), Some(address));
        }
    }

    #[test]
    fn an_error_code_is_class_and_number() {
        let bytes = Message::new(kind::error(kind::ALLOCATE), ID)
            .attribute(attribute::ERROR_CODE, &[0, 0, 4, 38])
            .into_bytes();
        assert_eq!(
            Received::parse(&bytes).and_then(|message| message.error_code()),
            Some(438)
        );
    }

    #[test]
    fn streams_are_cut_at_padded_boundaries() {
        let frame = [
            0x40, 0x01, 0x00, 0x05, b'h', b'e', b'l', b'l', b'o', 0, 0, 0,
        ];
        assert_eq!(frame_len(&frame[..3]), Ok(None));
        assert_eq!(frame_len(&frame[..9]), Ok(None));
        assert_eq!(frame_len(&frame), Ok(Some((12, 9))));
        assert_eq!(
            parse_channel_data(&frame[..9]),
            Some((0x4001, &b"hello"[..]))
        );
        assert_eq!(frame_len(&[0x16, 3, 1, 0]), Err(BadFrame));
    }

    #[test]
    fn cut_messages_are_refused() {
        let bytes = Message::new(kind::ALLOCATE, ID)
            .attribute(attribute::LIFETIME, &[0; 4])
            .into_bytes();
        for len in 0..bytes.len() {
            assert!(Received::parse(&bytes[..len]).is_none());
        }
        assert!(parse_channel_data(&[0x40, 0, 0, 9, 1]).is_none());
    }
}
