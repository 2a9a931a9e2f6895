//! Headers, attribute lengths, order and fingerprints.

use alloc::vec;
use alloc::vec::Vec;

use super::super::{Class, FirstByte, FrameError, Framed, Method, attribute, indication};
use super::{ID, fix_length, message, request, types};
use crate::address::ChannelRange;

fn error_of(bytes: &[u8]) -> FrameError {
    Framed::parse(bytes).unwrap_err()
}

/// S-01, T-73: first byte 0-3 is STUN, 20-63 DTLS, 64-79 ChannelData, the rest nothing (RFC 7983 §7).
#[test]
fn every_first_byte_is_told_apart() {
    for byte in 0..=u8::MAX {
        let expected = match byte {
            0..=3 => FirstByte::Stun,
            4..=19 | 80..=255 => FirstByte::Other,
            20..=63 => FirstByte::Dtls,
            64..=79 => FirstByte::ChannelData,
        };
        assert_eq!(FirstByte::classify(byte, ChannelRange::Rfc8656), expected);
        let wider = if (80..=127).contains(&byte) {
            FirstByte::ChannelData
        } else {
            expected
        };
        assert_eq!(FirstByte::classify(byte, ChannelRange::Rfc5766), wider);
    }
    let mut bytes = request(|_| {});
    for bits in [0x40, 0x80, 0xC0] {
        bytes[0] = bits;
        assert_eq!(error_of(&bytes), FrameError::FirstBits);
    }
}

/// S-02: a cookie that differs in any bit is refused (RFC 8489 §6.3).
#[test]
fn a_wrong_cookie_is_refused() {
    for bit in 0..32 {
        let mut bytes = request(|_| {});
        bytes[4 + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(error_of(&bytes), FrameError::Cookie);
    }
}

/// S-03: Length must be a multiple of four and end exactly with the datagram (RFC 8489 §5).
#[test]
fn length_must_fit_the_datagram() {
    let good = request(|writer| writer.lifetime(600));
    for (length, expected) in [
        (7, FrameError::Length),
        (9, FrameError::Length),
        (12, FrameError::Length),
        (0xFFFC, FrameError::Length),
        (4, FrameError::TrailingBytes),
        (0, FrameError::TrailingBytes),
    ] {
        let mut bytes = good.clone();
        bytes[2..4].copy_from_slice(&u16::to_be_bytes(length));
        assert_eq!(error_of(&bytes), expected, "length {length}");
        assert_eq!(
            Framed::parse(&good).unwrap().unauthenticated().lifetime(),
            Some(Ok(600))
        );
    }
    let mut longer = good;
    longer.push(0);
    assert_eq!(error_of(&longer), FrameError::TrailingBytes);
}

/// S-04: whatever is shorter than a header is refused.
#[test]
fn short_datagrams_are_refused() {
    let whole = request(|_| {});
    assert_eq!(whole.len(), 20);
    for len in 0..20 {
        assert_eq!(error_of(&whole[..len]), FrameError::TooShort);
    }
}

/// S-05: unknown methods and classes that a method does not have are refused (RFC 8489 §6.3).
#[test]
fn only_known_pairs_of_method_and_class_pass() {
    let mut accepted: Vec<(u16, Method, Class)> = Vec::new();
    for kind in 0..0x4000_u16 {
        let mut bytes = request(|_| {});
        bytes[..2].copy_from_slice(&kind.to_be_bytes());
        match Framed::parse(&bytes) {
            Ok(framed) => accepted.push((kind, framed.method(), framed.class())),
            Err(error) => assert!(matches!(
                error,
                FrameError::UnknownMethod | FrameError::IllegalClass
            )),
        }
    }
    use Class::{Error, Indication, Request, Success};
    use Method::{Allocate, Binding, ChannelBind, CreatePermission, Data, Refresh, Send};
    let expected = vec![
        (0x0001, Binding, Request),
        (0x0003, Allocate, Request),
        (0x0004, Refresh, Request),
        (0x0008, CreatePermission, Request),
        (0x0009, ChannelBind, Request),
        (0x0011, Binding, Indication),
        (0x0016, Send, Indication),
        (0x0017, Data, Indication),
        (0x0101, Binding, Success),
        (0x0103, Allocate, Success),
        (0x0104, Refresh, Success),
        (0x0108, CreatePermission, Success),
        (0x0109, ChannelBind, Success),
        (0x0111, Binding, Error),
        (0x0113, Allocate, Error),
        (0x0114, Refresh, Error),
        (0x0118, CreatePermission, Error),
        (0x0119, ChannelBind, Error),
    ];
    assert_eq!(accepted, expected);
}

/// S-07: an attribute that passes the end of the message, with or without its padding, discards the message (RFC 8489 §14).
#[test]
fn an_attribute_that_passes_the_end_discards_the_message() {
    for claimed in [1_u16, 4, 5, 100, 0xFFFF] {
        let mut bytes = request(|writer| writer.lifetime(600));
        bytes.extend([0x80, 0x22]);
        bytes.extend(claimed.to_be_bytes());
        fix_length(&mut bytes);
        assert_eq!(
            error_of(&bytes),
            FrameError::AttributeOverrun,
            "claimed {claimed}"
        );
        // After an integrity attribute nothing counts, but the structure still must hold.
        let mut sealed = request(|writer| writer.message_integrity(b"key"));
        sealed.extend([0x80, 0x22]);
        sealed.extend(claimed.to_be_bytes());
        fix_length(&mut sealed);
        assert_eq!(error_of(&sealed), FrameError::AttributeOverrun);
    }
}

/// S-08: padding is written as zeros, read as anything, and never part of a value (RFC 8489 §14).
#[test]
fn padding_is_zero_when_written_and_anything_when_read() {
    for len in 0..=8_usize {
        let value = vec![0x55; len];
        let mut bytes = request(|writer| writer.raw(0x8022, &value));
        let padding = (4 - len % 4) % 4;
        assert_eq!(bytes.len(), 24 + len + padding);
        assert_eq!(usize::from(u16::from_be_bytes([bytes[22], bytes[23]])), len);
        let start = bytes.len() - padding;
        assert!(bytes[start..].iter().all(|&byte| byte == 0));
        bytes[start..].fill(0xEE);
        let framed = Framed::parse(&bytes).unwrap();
        assert_eq!(framed.unauthenticated().first(0x8022), Some(&value[..]));
    }
}

/// S-09: each unknown comprehension-required type is listed once, in order, and no more than there is room for (RFC 8489 §6.3).
#[test]
fn unknown_required_attributes_are_listed_once() {
    let bytes = request(|writer| {
        for kind in [
            0x0024,
            attribute::LIFETIME,
            0x7FFF,
            0x0024,
            0x8ABC,
            0x0003,
            0x001B,
            0x0026,
            0x0027,
            0x002A,
        ] {
            writer.raw(kind, &[]);
        }
    });
    let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
    let mut out = [0; 16];
    let found = attributes.unknown_required(&mut out);
    assert_eq!(
        out[..found],
        [0x0024, 0x7FFF, 0x0003, 0x001B, 0x0026, 0x0027, 0x002A]
    );
    let mut short = [0; 2];
    assert_eq!(attributes.unknown_required(&mut short), 2);
    assert_eq!(short, [0x0024, 0x7FFF]);
    assert_eq!(attributes.unknown_required(&mut []), 0);
}

/// S-09, S-13: what follows MESSAGE-INTEGRITY does not count as unknown (RFC 8489 §14.5).
#[test]
fn unknown_attributes_after_integrity_do_not_count() {
    let bytes = request(|writer| {
        writer.message_integrity(b"key");
        writer.raw(0x0024, &[]);
    });
    let mut out = [0; 4];
    assert_eq!(
        Framed::parse(&bytes)
            .unwrap()
            .unauthenticated()
            .unknown_required(&mut out),
        0
    );
}

/// S-40: every attribute that the relay knows is known everywhere, expected or not (RFC 8489 §6.3).
#[test]
fn known_attributes_are_never_unknown() {
    let bytes = request(|writer| {
        writer.channel_number(0x4000);
        writer.error_code(400, "Bad Request");
        writer.raw(attribute::MAPPED_ADDRESS, &[]);
        writer.xor_relayed_address("192.0.2.1:1".parse().unwrap());
        writer.raw(attribute::USERHASH, &[]);
        writer.password_algorithm(1);
    });
    assert_eq!(
        Framed::parse(&bytes)
            .unwrap()
            .unauthenticated()
            .unknown_required(&mut [0; 8]),
        0
    );
}

/// S-11: an unknown comprehension-optional attribute changes nothing (RFC 8489 §6.3.1).
#[test]
fn unknown_optional_attributes_are_ignored() {
    for kind in [0x8024, 0x802E, 0x8030, 0xC057, 0xFFFF] {
        let bytes = request(|writer| {
            writer.raw(kind, b"whatever");
            writer.lifetime(10);
        });
        let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
        assert_eq!(attributes.unknown_required(&mut [0; 4]), 0);
        assert_eq!(attributes.lifetime(), Some(Ok(10)));
    }
}

/// S-12: of equal attributes the first counts, even when it is malformed (RFC 8489 §14).
#[test]
fn the_first_of_equal_attributes_counts() {
    let bytes = request(|writer| {
        writer.lifetime(1);
        writer.lifetime(2);
        writer.realm(b"one");
        writer.realm(b"two");
        writer.raw(attribute::CHANNEL_NUMBER, &[1]);
        writer.channel_number(0x4000);
    });
    let framed = Framed::parse(&bytes).unwrap();
    assert_eq!(framed.unauthenticated().lifetime(), Some(Ok(1)));
    assert_eq!(framed.credentials().realm, Some(&b"one"[..]));
    assert!(framed.unauthenticated().channel_number().unwrap().is_err());
}

/// S-14: a wrong FINGERPRINT at the end drops the message, none at all is fine (RFC 8489 §14.7).
#[test]
fn a_wrong_fingerprint_is_refused() {
    let bytes = request(|writer| {
        writer.lifetime(600);
        writer.fingerprint();
    });
    assert!(Framed::parse(&bytes).unwrap().has_fingerprint());
    assert!(!Framed::parse(&request(|_| {})).unwrap().has_fingerprint());
    for position in 8..bytes.len() {
        // Attribute headers aside, which would change the structure.
        if (20..24).contains(&position) || (28..32).contains(&position) {
            continue;
        }
        let mut wrong = bytes.clone();
        wrong[position] ^= 1;
        assert_eq!(error_of(&wrong), FrameError::Fingerprint, "byte {position}");
    }
    for len in [0, 3, 5, 8] {
        let odd = request(|writer| writer.raw(attribute::FINGERPRINT, &vec![0; len]));
        assert_eq!(error_of(&odd), FrameError::Fingerprint);
    }
}

/// S-14: a FINGERPRINT that is not last is not honoured, right or wrong, and hides nothing (RFC 8489 §14.7).
#[test]
fn a_fingerprint_that_is_not_last_is_not_honoured() {
    let bytes = request(|writer| {
        writer.fingerprint();
        writer.lifetime(600);
    });
    let framed = Framed::parse(&bytes).unwrap();
    assert!(!framed.has_fingerprint());
    assert_eq!(framed.unauthenticated().lifetime(), Some(Ok(600)));
}

/// S-13: the readable range ends with the first integrity attribute or the final FINGERPRINT.
#[test]
fn the_readable_range_ends_where_integrity_begins() {
    let bytes = request(|writer| {
        writer.lifetime(600);
        writer.message_integrity(b"key");
        writer.channel_number(0x4000);
        writer.message_integrity_sha256(b"key");
        writer.dont_fragment();
        writer.fingerprint();
    });
    assert_eq!(types(&bytes), [attribute::LIFETIME]);
    let bytes = request(|writer| {
        writer.lifetime(600);
        writer.fingerprint();
    });
    assert_eq!(types(&bytes), [attribute::LIFETIME]);
}

/// The fast path refuses what the general parser refuses, for the same reason.
#[test]
fn the_fast_path_checks_the_same_framing() {
    let good = message(Class::Indication, Method::Send, |writer| {
        writer.xor_peer_address("192.0.2.1:9".parse().unwrap());
        writer.data(b"payload");
        writer.fingerprint();
    });
    assert!(indication::parse_send(&good).is_ok());
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[position] ^= 1 << bit;
            match (Framed::parse(&bytes), indication::parse_send(&bytes)) {
                (Err(expected), Err(indication::SendError::Frame(found))) => {
                    assert_eq!(expected, found)
                }
                // Method and class: to the fast path it is merely some other message.
                (_, Err(indication::SendError::NotSend)) => assert!(position < 2),
                (Ok(_), _) => {}
                (expected, found) => panic!("{expected:?} against {found:?} at {position}.{bit}"),
            }
        }
    }
    assert_eq!(Framed::parse(&good).unwrap().transaction_id(), ID);
}
