//! ChannelData, Send and Data indications, and the framing of streams.

use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::super::channel_data::{self, ChannelDataError};
use super::super::indication::{self, DATA_HEADER_MAX, SendError};
use super::super::stream::{self, Step, StreamError};
use super::super::{Class, FirstByte, Framed, Method, Writer, attribute};
use super::{ID, hex, message, request};
use crate::address::ChannelRange;

fn next_frame(buffered: &[u8]) -> Result<Step, StreamError> {
    stream::next_frame(buffered, ChannelRange::Rfc8656)
}

fn peer() -> SocketAddr {
    "192.0.2.1:4000".parse().unwrap()
}

fn send(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    message(Class::Indication, Method::Send, fill)
}

/// T-70: the payload is what Length says; a Length beyond the datagram is refused, bytes behind it are padding (RFC 8656 §12.6).
#[test]
fn channel_data_is_as_long_as_its_length() {
    assert_eq!(
        channel_data::parse(&hex("4001 0003 616263"))
            .unwrap()
            .payload,
        b"abc"
    );
    assert_eq!(
        channel_data::parse(&hex("4001 0003 616263 00 ff ff"))
            .unwrap()
            .payload,
        b"abc"
    );
    assert_eq!(channel_data::parse(&hex("4FFF 0000")).unwrap().payload, b"");
    assert_eq!(
        channel_data::parse(&hex("4001 0004 616263")),
        Err(ChannelDataError::Length)
    );
    for len in 0..4 {
        assert_eq!(
            channel_data::parse(&hex("40010000")[..len]),
            Err(ChannelDataError::TooShort)
        );
    }
    assert_eq!(
        channel_data::parse(&hex("3fff0000")),
        Err(ChannelDataError::Number)
    );
    assert_eq!(
        channel_data::parse(&hex("80000000")),
        Err(ChannelDataError::Number)
    );
    assert_eq!(
        channel_data::parse(&hex("7fff0000")).unwrap().number,
        0x7FFF
    );
}

/// T-71: over TCP and TLS ChannelData is padded to four, and Length leaves the padding out (RFC 8656 §12.5).
#[test]
fn channel_data_is_padded_on_streams() {
    for (len, padded) in [
        (0, 0),
        (1, 4),
        (2, 4),
        (3, 4),
        (4, 4),
        (5, 8),
        (65_535, 65_536),
    ] {
        assert_eq!(channel_data::padded(len), padded);
    }
    let mut header = [0; 4];
    channel_data::write_header(&mut header, 0x4ABC, 0x0102);
    assert_eq!(header, [0x4A, 0xBC, 1, 2]);
    for payload in 0..=4_usize {
        let mut bytes = vec![0; 4 + channel_data::padded(payload)];
        bytes[..4].copy_from_slice(&[0x40, 0, 0, u8::try_from(payload).unwrap()]);
        let expected = Step::Frame {
            kind: FirstByte::ChannelData,
            len: 4 + payload,
            total: bytes.len(),
        };
        assert_eq!(next_frame(&bytes), Ok(expected));
        assert_eq!(
            next_frame(&bytes[..bytes.len() - 1]),
            Ok(Step::Incomplete {
                needed: if payload == 0 { 4 } else { bytes.len() }
            })
        );
    }
}

/// S-18: a wrong first byte, cookie or Length alignment ends a stream as soon as it is seen (RFC 8489 §6.2.2).
#[test]
fn a_stream_that_lost_its_frames_is_refused() {
    for byte in (4..64).chain(80..=255) {
        assert_eq!(next_frame(&[byte]), Err(StreamError::FirstByte));
    }
    for length in [1, 2, 3, 5, 0xFFFF] {
        let [high, low] = u16::to_be_bytes(length);
        assert_eq!(next_frame(&[0, 1, high, low]), Err(StreamError::Length));
    }
    assert_eq!(
        next_frame(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43]),
        Err(StreamError::Cookie)
    );
    assert_eq!(next_frame(&[]), Ok(Step::Incomplete { needed: 4 }));
    assert_eq!(next_frame(&[0, 1, 0]), Ok(Step::Incomplete { needed: 4 }));
    assert_eq!(
        next_frame(&[0, 1, 0, 0]),
        Ok(Step::Incomplete { needed: 8 })
    );
    assert_eq!(
        next_frame(&hex("000100042112a442")),
        Ok(Step::Incomplete { needed: 24 })
    );
    let bytes = request(|writer| writer.lifetime(1));
    assert_eq!(
        next_frame(&bytes),
        Ok(Step::Frame {
            kind: FirstByte::Stun,
            len: 28,
            total: 28
        })
    );
}

/// A stream of a client of RFC 5766 may carry numbers up to 0x7FFF where they are admitted.
#[test]
fn wider_channel_numbers_are_framed_where_admitted() {
    let bytes = hex("7ffe 0001 61 000000");
    let frame = Step::Frame {
        kind: FirstByte::ChannelData,
        len: 5,
        total: 8,
    };
    assert_eq!(stream::next_frame(&bytes, ChannelRange::Rfc5766), Ok(frame));
    assert_eq!(next_frame(&bytes), Err(StreamError::FirstByte));
}

/// T-50: a Send needs peer and data; data may be empty (RFC 8656 §11.2).
#[test]
fn a_send_needs_peer_and_data() {
    let whole = send(|writer| {
        writer.xor_peer_address(peer());
        writer.data(b"hello");
    });
    let parsed = indication::parse_send(&whole).unwrap();
    assert_eq!(
        (parsed.peer, parsed.data, parsed.dont_fragment),
        (peer(), &b"hello"[..], false)
    );
    assert!(whole.as_ptr_range().contains(&parsed.data.as_ptr()));

    let empty = send(|writer| {
        writer.data(b"");
        writer.dont_fragment();
        writer.xor_peer_address("[2001:db8::7]:1".parse().unwrap());
    });
    let parsed = indication::parse_send(&empty).unwrap();
    assert_eq!(
        (parsed.peer, parsed.data),
        ("[2001:db8::7]:1".parse().unwrap(), &b""[..])
    );
    assert!(parsed.dont_fragment);

    let no_peer = send(|writer| writer.data(b"x"));
    assert_eq!(
        indication::parse_send(&no_peer),
        Err(SendError::MissingPeer)
    );
    let no_data = send(|writer| writer.xor_peer_address(peer()));
    assert_eq!(
        indication::parse_send(&no_data),
        Err(SendError::MissingData)
    );
    let bad_peer = send(|writer| {
        writer.raw(attribute::XOR_PEER_ADDRESS, &[0, 3, 0, 0, 0, 0, 0, 0]);
        writer.data(b"x");
    });
    assert_eq!(
        indication::parse_send(&bad_peer),
        Err(SendError::MalformedPeer)
    );
}

/// S-09, S-12, S-13: in a Send an unknown required attribute drops, the first of two counts, and nothing behind integrity does.
#[test]
fn a_send_follows_the_general_rules() {
    let unknown = send(|writer| {
        writer.xor_peer_address(peer());
        writer.data(b"x");
        writer.raw(0x0024, &[]);
    });
    assert_eq!(
        indication::parse_send(&unknown),
        Err(SendError::UnknownAttribute)
    );
    let doubled = send(|writer| {
        writer.raw(0x8ABC, b"optional");
        writer.lifetime(1);
        writer.xor_peer_address(peer());
        writer.xor_peer_address("192.0.2.2:2".parse().unwrap());
        writer.data(b"first");
        writer.data(b"second");
        writer.message_integrity(b"key");
        writer.dont_fragment();
        writer.raw(0x0024, &[]);
    });
    let parsed = indication::parse_send(&doubled).unwrap();
    assert_eq!(
        (parsed.peer, parsed.data, parsed.dont_fragment),
        (peer(), &b"first"[..], false)
    );
    let behind = send(|writer| {
        writer.xor_peer_address(peer());
        writer.message_integrity_sha256(b"key");
        writer.data(b"x");
    });
    assert_eq!(indication::parse_send(&behind), Err(SendError::MissingData));
    let other = message(Class::Indication, Method::Data, |writer| writer.data(b"x"));
    assert_eq!(indication::parse_send(&other), Err(SendError::NotSend));
}

/// The Data header in front of a payload makes the same message as the general writer (RFC 8656 §11.3).
#[test]
fn a_data_header_precedes_its_payload() {
    for peer in [peer(), "[2001:db8::9]:65535".parse().unwrap()] {
        for len in [0_usize, 1, 2, 3, 4, 5, 1200, 65_000] {
            let payload = vec![0x5A; len];
            let mut header = [0xEE; DATA_HEADER_MAX];
            let (used, padding) =
                indication::write_data_header(&mut header, ID, peer, len).unwrap();
            let mut bytes = header[DATA_HEADER_MAX - used..].to_vec();
            bytes.extend(&payload);
            bytes.extend(vec![0; padding]);
            let expected = message(Class::Indication, Method::Data, |writer| {
                writer.xor_peer_address(peer);
                writer.data(&payload);
            });
            assert_eq!(bytes, expected);
            assert!(
                header[..DATA_HEADER_MAX - used]
                    .iter()
                    .all(|&byte| byte == 0xEE)
            );
            let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
            assert_eq!(attributes.data(), Some(&payload[..]));
        }
    }
    let mut header = [0; DATA_HEADER_MAX];
    assert!(indication::write_data_header(&mut header, ID, peer(), 65_516).is_some());
    for len in [65_517, 65_535, 65_536, 1 << 40] {
        assert_eq!(
            indication::write_data_header(&mut header, ID, peer(), len),
            None
        );
    }
}
