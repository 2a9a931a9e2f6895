//! Which integrity attribute counts, and what it covers.

use alloc::vec;

use super::super::{BufferFull, Class, Framed, Integrity, Method, Name, Writer, attribute};
use super::{ID, fix_length, request};

const KEY: &[u8] = b"0123456789abcdef";

/// S-13: MESSAGE-INTEGRITY-SHA256 and FINGERPRINT count after MESSAGE-INTEGRITY, nothing else does (RFC 8489 §14.5).
#[test]
fn after_integrity_only_sha256_and_fingerprint_count() {
    let bytes = request(|writer| {
        writer.username(b"alice");
        writer.message_integrity(KEY);
        writer.realm(b"realm");
        writer.nonce(b"nonce");
        writer.lifetime(0);
        writer.fingerprint();
    });
    let framed = Framed::parse(&bytes).unwrap();
    assert_eq!(framed.integrity(), Integrity::Sha1);
    assert!(framed.has_fingerprint());
    let credentials = framed.credentials();
    assert_eq!(credentials.name, Some(Name::Username(b"alice")));
    assert_eq!((credentials.realm, credentials.nonce), (None, None));
    let checked = framed.verify(KEY).unwrap();
    assert_eq!(checked.attributes().lifetime(), None);
    assert_eq!(checked.attributes().iter().count(), 1);
}

/// S-12: of attributes that name the key twice the first count, each kind of them.
#[test]
fn the_first_of_each_credential_attribute_counts() {
    let bytes = request(|writer| {
        writer.username(b"alice");
        writer.realm(b"first realm");
        writer.nonce(b"first nonce");
        writer.password_algorithms(&[2, 1]);
        writer.password_algorithm(2);
        writer.userhash(&[7; 32]);
        writer.username(b"mallory");
        writer.realm(b"second realm");
        writer.nonce(b"second nonce");
        writer.password_algorithms(&[1]);
        writer.password_algorithm(1);
        writer.message_integrity(KEY);
    });
    let framed = Framed::parse(&bytes).unwrap();
    let credentials = framed.credentials();
    assert_eq!(credentials.name, Some(Name::Username(b"alice")));
    assert_eq!(credentials.realm, Some(&b"first realm"[..]));
    assert_eq!(credentials.nonce, Some(&b"first nonce"[..]));
    assert_eq!(credentials.algorithm, Some(&[0, 2, 0, 0][..]));
    assert_eq!(credentials.algorithms, Some(&[0, 2, 0, 0, 0, 1, 0, 0][..]));
}

/// S-27, S-13: with both attributes MESSAGE-INTEGRITY-SHA256 decides, and nothing between the two is read (RFC 8489 §9.2.4).
#[test]
fn sha256_prevails_over_sha1() {
    let bytes = request(|writer| {
        writer.message_integrity(b"a wrong key");
        writer.lifetime(1);
        writer.message_integrity_sha256(KEY);
    });
    let framed = Framed::parse(&bytes).unwrap();
    assert_eq!(framed.integrity(), Integrity::Sha256);
    let checked = framed.verify(KEY).unwrap();
    assert_eq!(checked.integrity(), Integrity::Sha256);
    assert_eq!(checked.attributes().lifetime(), None);
    assert!(framed.verify(b"a wrong key").is_none());
}

/// S-13: a MESSAGE-INTEGRITY behind MESSAGE-INTEGRITY-SHA256 is ignored, and so are second ones (RFC 8489 §14.6).
#[test]
fn integrity_behind_sha256_is_ignored() {
    let bytes = request(|writer| {
        writer.message_integrity_sha256(b"a wrong key");
        writer.message_integrity(KEY);
        writer.message_integrity_sha256(KEY);
    });
    let framed = Framed::parse(&bytes).unwrap();
    assert_eq!(framed.integrity(), Integrity::Sha256);
    assert!(framed.verify(KEY).is_none());
    assert!(framed.verify(b"a wrong key").is_some());

    let twice = request(|writer| {
        writer.message_integrity(b"a wrong key");
        writer.message_integrity(KEY);
    });
    assert!(Framed::parse(&twice).unwrap().verify(KEY).is_none());
}

/// S-31: the code covers the message up to itself, with Length as if it ended there, whatever follows (RFC 8489 §14.5).
#[test]
fn integrity_covers_the_message_up_to_itself() {
    let bare = request(|writer| {
        writer.lifetime(600);
        writer.message_integrity(KEY);
    });
    let mut longer = bare.clone();
    longer.extend([0x80, 0x22, 0, 4, 1, 2, 3, 4]);
    fix_length(&mut longer);
    assert!(Framed::parse(&longer).unwrap().verify(KEY).is_some());
    for position in 8..bare.len() {
        if (20..24).contains(&position) || (28..32).contains(&position) {
            continue;
        }
        let mut wrong = longer.clone();
        wrong[position] ^= 0x80;
        assert!(
            Framed::parse(&wrong).unwrap().verify(KEY).is_none(),
            "byte {position}"
        );
    }
    // Method and class are covered too.
    let mut refresh = longer;
    refresh[1] = 4;
    assert!(Framed::parse(&refresh).unwrap().verify(KEY).is_none());
}

/// S-32: truncated or overlong codes never match, not even with a right beginning (RFC 8489 §14.6).
#[test]
fn codes_of_another_length_never_match() {
    let whole = request(|writer| writer.message_integrity_sha256(KEY));
    let code = whole[24..56].to_vec();
    for len in [0, 4, 16, 20, 24, 28, 31, 33, 36] {
        let mut value = code.clone();
        value.resize(len, 0);
        let mut buffer = vec![0; 128];
        let mut writer = Writer::new(&mut buffer, Class::Request, Method::Allocate, ID);
        writer.raw(attribute::MESSAGE_INTEGRITY_SHA256, &value);
        let len = writer.finish().unwrap();
        let framed = Framed::parse(&buffer[..len]).unwrap();
        assert_eq!(framed.integrity(), Integrity::Sha256);
        assert!(framed.verify(KEY).is_none());
    }
    let whole = request(|writer| writer.message_integrity(KEY));
    let code = whole[24..44].to_vec();
    for len in [0, 16, 19, 21, 24] {
        let mut value = code.clone();
        value.resize(len, 0);
        let bytes = request(|writer| writer.raw(attribute::MESSAGE_INTEGRITY, &value));
        assert!(Framed::parse(&bytes).unwrap().verify(KEY).is_none());
    }
}

/// A message with neither attribute verifies with no key (RFC 8489 §9.2.4).
#[test]
fn without_integrity_nothing_verifies() {
    let bytes = request(|writer| writer.lifetime(600));
    let framed = Framed::parse(&bytes).unwrap();
    assert_eq!(framed.integrity(), Integrity::Absent);
    assert!(framed.verify(KEY).is_none());
    assert!(framed.verify(b"").is_none());
}

/// S-33: USERNAME and USERHASH together: the first in the message counts, in both orders (RFC 8489 §14.4).
#[test]
fn the_first_name_counts() {
    let hash = [7; 32];
    let name_first = request(|writer| {
        writer.username(b"alice");
        writer.userhash(&hash);
    });
    assert_eq!(
        Framed::parse(&name_first).unwrap().credentials().name,
        Some(Name::Username(b"alice"))
    );
    let hash_first = request(|writer| {
        writer.userhash(&hash);
        writer.username(b"alice");
    });
    assert_eq!(
        Framed::parse(&hash_first).unwrap().credentials().name,
        Some(Name::Userhash(&hash))
    );
}

/// S-20: USERNAME, REALM and NONCE are read up to 763 bytes, and longer ones are reported whole (RFC 8489 §14.3).
#[test]
fn texts_are_read_up_to_763_bytes() {
    for kind in [attribute::USERNAME, attribute::REALM, attribute::NONCE] {
        for (len, oversized) in [(508, false), (763, false), (764, true), (2000, true)] {
            let bytes = request(|writer| writer.raw(kind, &vec![b'x'; len]));
            assert_eq!(
                Framed::parse(&bytes).unwrap().credentials().oversized,
                oversized,
                "{kind:#x} {len}"
            );
        }
    }
    // One that is too long is not made good by another, whichever they are.
    let kinds = [attribute::USERNAME, attribute::REALM, attribute::NONCE];
    for (first, second) in kinds.into_iter().zip(kinds.into_iter().cycle().skip(1)) {
        for lengths in [[764, 764], [764, 1], [1, 764]] {
            let bytes = request(|writer| {
                writer.raw(first, &vec![b'x'; lengths[0]]);
                writer.raw(second, &vec![b'x'; lengths[1]]);
            });
            assert!(Framed::parse(&bytes).unwrap().credentials().oversized);
        }
    }
}

/// S-20: REALM, NONCE, USERNAME and SOFTWARE are sent with at most 509 bytes (RFC 8489 §14.9).
#[test]
fn texts_are_sent_with_at_most_509_bytes() {
    let write = |len: usize| {
        let mut buffer = vec![0; 2048];
        let mut writer = Writer::new(&mut buffer, Class::Error, Method::Allocate, ID);
        writer.realm(&vec![b'x'; len]);
        writer.finish()
    };
    assert!(write(509).is_ok());
    assert_eq!(write(510), Err(BufferFull));
}

/// Messages and their credentials do not show in debug output.
#[test]
fn debug_output_shows_no_bytes() {
    let bytes = request(|writer| {
        writer.username(b"alice");
        writer.message_integrity(KEY);
    });
    let framed = Framed::parse(&bytes).unwrap();
    for text in [
        alloc::format!("{framed:?}"),
        alloc::format!("{:?}", framed.credentials()),
        alloc::format!("{:?}", framed.unauthenticated()),
    ] {
        assert!(
            !text.contains("alice") && !text.contains("97, 108"),
            "{text}"
        );
    }
}
