//! The published test vectors (RFC 5769, RFC 8489 appendix B.1).

use alloc::vec;
use alloc::vec::Vec;

use super::super::{
    Class, FrameError, Framed, Integrity, Method, Name, TransactionId, Writer, attribute,
};
use super::hex;

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const ID: TransactionId = TransactionId([
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
]);
const LONG_TERM_ID: TransactionId = TransactionId([
    0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e,
]);

fn request() -> Vec<u8> {
    hex("000100582112a442b7e7a701bc34d686fa87dfae
         802200105354554e207465737420636c69656e74
         002400046e0001ff 80290008932ff9b151263b36
         000600096576746a3a68367659202020
         000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
         80280004e57a3bcf")
}

fn response_v4() -> Vec<u8> {
    hex("0101003c2112a442b7e7a701bc34d686fa87dfae
         8022000b7465737420766563746f7220
         002000080001a147e112a643
         000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7
         80280004c07d4c96")
}

fn response_v6() -> Vec<u8> {
    hex("010100482112a442b7e7a701bc34d686fa87dfae
         8022000b7465737420766563746f7220
         002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
         00080014a382954e4be67bf11784c97c8292c275bfe3ed41
         80280004c8fb0b4c")
}

pub(super) fn long_term() -> Vec<u8> {
    hex("000100602112a44278ad3433c6ad72c029da412e
         00060012e3839ee38388e383aae38383e382afe382b90000
         0015001c662f2f3439396b393534643 64f4c33346f4c39465354767936347341
         0014000b6578616d706c652e6f726700
         00080014f67024656dd64a3e02b8e0712e85c9a28ca89666")
}

const USERHASH: &str = "4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704";
const NONCE: &[u8] = b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA";

/// Appendix B.1 with the verified erratum: PASSWORD-ALGORITHM is there and Length is right.
pub(super) fn userhash_corrected() -> Vec<u8> {
    let mut bytes = hex("000100902112a44278ad3433c6ad72c029da412e 001e0020");
    bytes.extend(hex(USERHASH));
    bytes.extend(hex("00150029"));
    bytes.extend(NONCE);
    bytes.extend(hex(
        "000000 0014000b6578616d706c652e6f726700 001d000400020000 001c0020
                      b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65",
    ));
    bytes
}

fn userhash_as_printed() -> Vec<u8> {
    let mut bytes = hex("0001009c2112a44278ad3433c6ad72c029da412e 001e0020");
    bytes.extend(hex(USERHASH));
    bytes.extend(hex("00150029"));
    bytes.extend(NONCE);
    bytes.extend(hex(
        "000000 0014000b6578616d706c652e6f726700 001c0020
                      e4686c8f0edeb59013e07090010a93efccbccc544c0a45d9f830aa6d6f735a01",
    ));
    bytes
}

/// S-14, S-31: the sample request verifies and its FINGERPRINT is right (RFC 5769 §2.1).
#[test]
fn the_sample_request_verifies() {
    let bytes = request();
    assert_eq!(bytes.len(), 108);
    let framed = Framed::parse(&bytes).unwrap();
    assert_eq!(
        (framed.method(), framed.class()),
        (Method::Binding, Class::Request)
    );
    assert_eq!(framed.transaction_id(), ID);
    assert!(framed.has_fingerprint());
    assert_eq!(framed.integrity(), Integrity::Sha1);
    assert_eq!(
        framed.credentials().name,
        Some(Name::Username(b"evtj:h6vY"))
    );
    let checked = framed.verify(PASSWORD).unwrap();
    let attributes = checked.attributes();
    assert_eq!(
        attributes.first(attribute::SOFTWARE),
        Some(&b"STUN test client"[..])
    );
    assert_eq!(
        attributes.first(0x0024),
        Some(&[0x6e, 0x00, 0x01, 0xff][..])
    );
    assert!(framed.verify(b"VOkJxbRl1RmTxUk/WvJxBu").is_none());
}

/// S-15, S-31: the sample IPv4 response verifies and its address is unmasked (RFC 5769 §2.2).
#[test]
fn the_sample_ipv4_response_verifies() {
    let bytes = response_v4();
    assert_eq!(bytes.len(), 80);
    let checked = Framed::parse(&bytes).unwrap().verify(PASSWORD).unwrap();
    assert_eq!(
        (checked.class(), checked.has_fingerprint()),
        (Class::Success, true)
    );
    assert_eq!(
        checked.attributes().xor_mapped_address(),
        Some(Ok("192.0.2.1:32853".parse().unwrap()))
    );
}

/// S-15, S-31: the sample IPv6 response verifies; its address is masked with cookie and transaction id (RFC 5769 §2.3).
#[test]
fn the_sample_ipv6_response_verifies() {
    let bytes = response_v6();
    assert_eq!(bytes.len(), 92);
    let checked = Framed::parse(&bytes).unwrap().verify(PASSWORD).unwrap();
    assert_eq!(
        checked.attributes().xor_mapped_address(),
        Some(Ok("[2001:db8:1234:5678:11:2233:4455:6677]:32853"
            .parse()
            .unwrap()))
    );
}

/// The address attributes of both sample responses are written byte for byte (RFC 5769 §2.2, §2.3).
#[test]
fn the_sample_addresses_are_written_as_published() {
    for (sample, len) in [(response_v4(), 12), (response_v6(), 24)] {
        let addr = Framed::parse(&sample)
            .unwrap()
            .unauthenticated()
            .xor_mapped_address()
            .unwrap()
            .unwrap();
        let mut buffer = [0xAA; 64];
        let mut writer = Writer::new(&mut buffer, Class::Success, Method::Binding, ID);
        writer.xor_mapped_address(addr);
        assert_eq!(writer.finish(), Ok(20 + len));
        assert_eq!(buffer[20..20 + len], sample[36..36 + len]);
    }
}

/// S-31, S-34: the long-term sample verifies with a non-ASCII user, and comes out byte for byte when written (RFC 5769 §2.4).
#[test]
fn the_long_term_sample_verifies_and_is_reproduced() {
    let bytes = long_term();
    assert_eq!(bytes.len(), 116);
    let key = hex("e8ca7ad59d5eb0518e312911d2dab2a9");
    let framed = Framed::parse(&bytes).unwrap();
    let credentials = framed.credentials();
    assert_eq!(
        credentials.name,
        Some(Name::Username("マトリックス".as_bytes()))
    );
    assert_eq!(credentials.realm, Some(&b"example.org"[..]));
    assert_eq!(
        credentials.nonce,
        Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..])
    );
    assert!(framed.verify(&key).is_some());

    let mut buffer = vec![0xAA; 116];
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::Binding, LONG_TERM_ID);
    writer.username("マトリックス".as_bytes());
    writer.nonce(b"f//499k954d6OL34oL9FSTvy64sA");
    writer.realm(b"example.org");
    writer.message_integrity(&key);
    assert_eq!(writer.finish(), Ok(116));
    assert_eq!(buffer, bytes);
}

/// S-32, S-33: the corrected USERHASH sample verifies with MESSAGE-INTEGRITY-SHA256 and is reproduced (RFC 8489 §B.1).
#[test]
fn the_corrected_userhash_sample_verifies_and_is_reproduced() {
    let bytes = userhash_corrected();
    assert_eq!(bytes.len(), 164);
    let key = hex("dd295a613b9058c3c23d6dc7165bda072304d989c9d0af3a8c7e184b4f9bb4a1");
    let framed = Framed::parse(&bytes).unwrap();
    assert_eq!(framed.integrity(), Integrity::Sha256);
    assert_eq!(
        framed.credentials().name,
        Some(Name::Userhash(&hex(USERHASH)))
    );
    assert_eq!(framed.credentials().algorithm, Some(&[0, 2, 0, 0][..]));
    assert!(framed.verify(&key).is_some());

    let mut buffer = vec![0xAA; 164];
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::Binding, LONG_TERM_ID);
    writer.userhash(&hex(USERHASH).try_into().unwrap());
    writer.nonce(NONCE);
    writer.realm(b"example.org");
    writer.password_algorithm(2);
    writer.message_integrity_sha256(&key);
    assert_eq!(writer.finish(), Ok(164));
    assert_eq!(buffer, bytes);
}

/// S-03: the USERHASH sample as printed says a Length that passes its end, and is refused (RFC 8489 §B.1).
#[test]
fn the_userhash_sample_as_printed_is_refused() {
    let bytes = userhash_as_printed();
    assert_eq!(bytes.len(), 156);
    assert_eq!(Framed::parse(&bytes).unwrap_err(), FrameError::Length);
}
