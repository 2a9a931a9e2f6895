//! Attribute values, read and written.

use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::super::{BufferFull, Class, Framed, Icmp, Malformed, Method, Writer, attribute};
use super::{ID, message, request};

/// T-85: reserved parts are read as anything (RFC 8656 §18).
#[test]
fn reserved_parts_are_ignored() {
    let bytes = request(|writer| {
        writer.raw(attribute::CHANNEL_NUMBER, &[0x40, 1, 0xFF, 0xFF]);
        writer.raw(attribute::REQUESTED_TRANSPORT, &[17, 1, 2, 3]);
        writer.raw(attribute::EVEN_PORT, &[0xFF]);
        writer.raw(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 9, 9, 9]);
        writer.raw(attribute::ADDITIONAL_ADDRESS_FAMILY, &[1, 9, 9, 9]);
        writer.raw(
            attribute::XOR_PEER_ADDRESS,
            &[0xFF, 1, 0x21, 0x12, 0x21, 0x12, 0xA4, 0x42],
        );
    });
    let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
    assert_eq!(attributes.channel_number(), Some(Ok(0x4001)));
    assert_eq!(attributes.requested_transport(), Some(Ok(17)));
    assert_eq!(attributes.even_port(), Some(Ok(true)));
    assert_eq!(attributes.requested_family(), Some(Ok(2)));
    assert_eq!(attributes.additional_family(), Some(Ok(1)));
    assert_eq!(
        attributes.xor_peer_address(),
        Some(Ok("0.0.0.0:0".parse().unwrap()))
    );
    let bytes = request(|writer| writer.raw(attribute::EVEN_PORT, &[0x7F]));
    assert_eq!(
        Framed::parse(&bytes).unwrap().unauthenticated().even_port(),
        Some(Ok(false))
    );
}

/// T-85: reserved parts are written as zero (RFC 8656 §18).
#[test]
fn reserved_parts_are_written_as_zero() {
    let bytes = request(|writer| {
        writer.channel_number(0x4FFF);
        writer.requested_transport(17);
        writer.requested_family(1);
        writer.additional_family(2);
        writer.even_port(true);
        writer.even_port(false);
        writer.xor_peer_address("[::1]:5".parse().unwrap());
    });
    let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
    let values: Vec<&[u8]> = attributes.iter().map(|(_, value)| value).collect();
    assert_eq!(values[0], [0x4F, 0xFF, 0, 0]);
    assert_eq!(values[1], [17, 0, 0, 0]);
    assert_eq!(values[2], [1, 0, 0, 0]);
    assert_eq!(values[3], [2, 0, 0, 0]);
    assert_eq!(values[4], [0x80]);
    assert_eq!(values[5], [0]);
    assert_eq!(values[6][..2], [0, 2]);
}

/// Values of a wrong length are malformed, not absent (RFC 8656 §18).
#[test]
fn values_of_a_wrong_length_are_malformed() {
    for len in [0, 1, 2, 3, 5, 7, 9, 12, 19, 21, 24] {
        let value = vec![1; len];
        let bytes = request(|writer| {
            for kind in [
                attribute::LIFETIME,
                attribute::REQUESTED_TRANSPORT,
                attribute::REQUESTED_ADDRESS_FAMILY,
                attribute::ADDITIONAL_ADDRESS_FAMILY,
                attribute::CHANNEL_NUMBER,
                attribute::RESERVATION_TOKEN,
                attribute::XOR_PEER_ADDRESS,
                attribute::XOR_MAPPED_ADDRESS,
                attribute::ICMP,
            ] {
                writer.raw(kind, &value);
            }
        });
        let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
        assert_eq!(attributes.lifetime(), Some(Err(Malformed)));
        assert_eq!(attributes.requested_transport(), Some(Err(Malformed)));
        assert_eq!(attributes.requested_family(), Some(Err(Malformed)));
        assert_eq!(attributes.additional_family(), Some(Err(Malformed)));
        assert_eq!(attributes.channel_number(), Some(Err(Malformed)));
        assert_eq!(attributes.reservation_token(), Some(Err(Malformed)));
        assert_eq!(attributes.xor_peer_address(), Some(Err(Malformed)));
        assert_eq!(attributes.xor_mapped_address(), Some(Err(Malformed)));
        assert_eq!(attributes.icmp(), Some(Err(Malformed)));
    }
}

/// A peer of unknown family is malformed (RFC 8656 §10.2).
#[test]
fn a_peer_of_unknown_family_is_malformed() {
    for (family, len) in [(0, 8), (1, 20), (2, 8), (3, 8), (3, 20), (0xFF, 8)] {
        let mut value = vec![0; len];
        value[1] = family;
        let bytes = request(|writer| writer.raw(attribute::XOR_PEER_ADDRESS, &value));
        let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
        assert_eq!(attributes.xor_peer_address(), Some(Err(Malformed)));
    }
}

/// S-12: every XOR-PEER-ADDRESS of a CreatePermission counts (RFC 8656 §10.2).
#[test]
fn all_peers_of_a_create_permission_count() {
    let peers: [SocketAddr; 3] = [
        "192.0.2.1:1".parse().unwrap(),
        "[2001:db8::1]:2".parse().unwrap(),
        "198.51.100.7:65535".parse().unwrap(),
    ];
    let bytes = message(Class::Request, Method::CreatePermission, |writer| {
        writer.xor_peer_address(peers[0]);
        writer.lifetime(0);
        writer.xor_peer_address(peers[1]);
        writer.raw(attribute::XOR_PEER_ADDRESS, &[]);
        writer.xor_peer_address(peers[2]);
    });
    let found: Vec<_> = Framed::parse(&bytes)
        .unwrap()
        .unauthenticated()
        .xor_peer_addresses()
        .collect();
    assert_eq!(
        found,
        [Ok(peers[0]), Ok(peers[1]), Err(Malformed), Ok(peers[2])]
    );
}

/// S-15: an IPv6 address is masked with cookie and transaction id, an IPv4 address with the cookie (RFC 8489 §14.2).
#[test]
fn addresses_are_masked() {
    let bytes = request(|writer| {
        writer.xor_mapped_address("0.0.0.0:0".parse().unwrap());
        writer.xor_relayed_address("[::]:0".parse().unwrap());
        writer.alternate_server("192.0.2.9:3478".parse().unwrap());
    });
    let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
    assert_eq!(
        attributes.first(attribute::XOR_MAPPED_ADDRESS).unwrap(),
        [0, 1, 0x21, 0x12, 0x21, 0x12, 0xA4, 0x42]
    );
    let masked = attributes.first(attribute::XOR_RELAYED_ADDRESS).unwrap();
    assert_eq!(masked[..8], [0, 2, 0x21, 0x12, 0x21, 0x12, 0xA4, 0x42]);
    assert_eq!(masked[8..], ID.0);
    assert_eq!(
        attributes.first(attribute::ALTERNATE_SERVER).unwrap(),
        [0, 1, 0x0D, 0x96, 192, 0, 2, 9]
    );
    assert_eq!(
        attributes.alternate_servers().next(),
        Some(Ok("192.0.2.9:3478".parse().unwrap()))
    );
    assert_eq!(
        attributes.xor_relayed_addresses().next(),
        Some(Ok("[::]:0".parse().unwrap()))
    );
}

/// S-19: ERROR-CODE has class 3-6, number 0-99, zero reserved bits and fewer than 128 characters of reason (RFC 8489 §14.8).
#[test]
fn error_codes_are_bounded() {
    let write = |code: u16, reason: &str| {
        let mut buffer = vec![0; 1024];
        let mut writer = Writer::new(&mut buffer, Class::Error, Method::Allocate, ID);
        writer.error_code(code, reason);
        let len = writer.finish()?;
        buffer.truncate(len);
        Ok::<_, BufferFull>(buffer)
    };
    for code in [
        300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 500, 508, 699,
    ] {
        let bytes = write(code, "reason").unwrap();
        assert_eq!(bytes[24..26], [0, 0]);
        assert_eq!(
            (u16::from(bytes[26]), u16::from(bytes[27])),
            (code / 100, code % 100)
        );
        let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
        assert_eq!(attributes.error_code(), Some(Ok((code, &b"reason"[..]))));
    }
    for code in [0, 99, 299, 700, 1400, 65_535] {
        assert_eq!(write(code, ""), Err(BufferFull));
    }
    assert!(write(400, &"ß".repeat(127)).is_ok());
    assert_eq!(write(400, &"ß".repeat(128)), Err(BufferFull));
    for value in [
        &[0, 0, 2, 0][..],
        &[0, 0, 7, 0],
        &[0, 0, 4, 100],
        &[0, 0, 4],
    ] {
        let bytes = request(|writer| writer.raw(attribute::ERROR_CODE, value));
        assert_eq!(
            Framed::parse(&bytes)
                .unwrap()
                .unauthenticated()
                .error_code(),
            Some(Err(Malformed))
        );
    }
    // Reserved bits are ignored when read.
    let bytes = request(|writer| writer.raw(attribute::ERROR_CODE, &[0xFF, 0xFF, 0xFC, 8]));
    assert_eq!(
        Framed::parse(&bytes)
            .unwrap()
            .unauthenticated()
            .error_code(),
        Some(Ok((408, &b""[..])))
    );
}

/// ADDRESS-ERROR-CODE names the family and the code (RFC 8656 §18.12).
#[test]
fn an_address_error_names_family_and_code() {
    let bytes = request(|writer| writer.address_error_code(2, 440, "Address Family not Supported"));
    let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
    assert_eq!(
        attributes.first(attribute::ADDRESS_ERROR_CODE).unwrap()[..4],
        [2, 0, 4, 40]
    );
    assert_eq!(attributes.address_error_code(), Some(Ok((2, 440))));
}

/// T-53: ICMP is 16 reserved bits, one byte of type, one of code, 32 bits of data (RFC 8656 §18.13).
#[test]
fn icmp_has_one_byte_each_for_type_and_code() {
    let icmp = Icmp {
        kind: 3,
        code: 4,
        data: 1280,
    };
    let bytes = message(Class::Indication, Method::Data, |writer| writer.icmp(icmp));
    let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
    assert_eq!(
        attributes.first(attribute::ICMP).unwrap(),
        [0, 0, 3, 4, 0, 0, 5, 0]
    );
    assert_eq!(attributes.icmp(), Some(Ok(icmp)));
}

/// S-45: entries of PASSWORD-ALGORITHMS are number and empty parameters, in the order given (RFC 8489 §14.11).
#[test]
fn password_algorithms_have_no_parameters() {
    let bytes = request(|writer| {
        writer.password_algorithms(&[2, 1]);
        writer.password_algorithm(2);
    });
    let credentials = Framed::parse(&bytes).unwrap().credentials();
    assert_eq!(credentials.algorithms, Some(&[0, 2, 0, 0, 0, 1, 0, 0][..]));
    assert_eq!(credentials.algorithm, Some(&[0, 2, 0, 0][..]));
}

/// S-09: UNKNOWN-ATTRIBUTES lists the types (RFC 8489 §14.13).
#[test]
fn unknown_attributes_are_listed() {
    let bytes = request(|writer| writer.unknown_attributes(&[0x0024, 0x7FFF, 0x0003]));
    let attributes = Framed::parse(&bytes).unwrap().unauthenticated();
    let listed: Vec<u16> = attributes.unknown_attributes().unwrap().collect();
    assert_eq!(listed, [0x0024, 0x7FFF, 0x0003]);
    assert_eq!(
        attributes
            .first(attribute::UNKNOWN_ATTRIBUTES)
            .unwrap()
            .len(),
        6
    );
}

#[test]
fn what_does_not_fit_is_told_at_the_end() {
    for size in 0..44 {
        let mut buffer = vec![0; size];
        let mut writer = Writer::new(&mut buffer, Class::Success, Method::Allocate, ID);
        writer.lifetime(1);
        writer.xor_mapped_address("192.0.2.1:1".parse().unwrap());
        assert_eq!(writer.finish().is_ok(), size >= 40, "{size}");
    }
    let mut buffer = vec![0; 200_000];
    let mut writer = Writer::new(&mut buffer, Class::Indication, Method::Data, ID);
    writer.data(&vec![0; 65_528]);
    assert_eq!(writer.finish(), Ok(20 + 65_532));
    let mut writer = Writer::new(&mut buffer, Class::Indication, Method::Data, ID);
    writer.data(&vec![0; 65_529]);
    assert_eq!(writer.finish(), Err(BufferFull));
    let mut writer = Writer::new(&mut buffer, Class::Indication, Method::Data, ID);
    writer.data(&vec![0; 65_520]);
    writer.message_integrity(b"key");
    writer.fingerprint();
    assert_eq!(writer.finish(), Err(BufferFull));
    let mut writer = Writer::new(&mut buffer, Class::Error, Method::Allocate, ID);
    writer.unknown_attributes(&[0; 65]);
    assert_eq!(writer.finish(), Err(BufferFull));
    let mut writer = Writer::new(&mut buffer, Class::Error, Method::Allocate, ID);
    writer.password_algorithms(&[1; 9]);
    assert_eq!(writer.finish(), Err(BufferFull));
}
