//! Reading and writing STUN and ChannelData.
//!
//! Responsible for: the reader agrees with the simple-minded one of [`crate::naive`] on every input, by both of its ways;
//! what is written is read again; what was tampered with is not believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use taciturn_protocol::wire::channel_data::{self, ChannelDataError};
use taciturn_protocol::wire::indication::{SendError, parse_send};
use taciturn_protocol::wire::{
    Class, FrameError, Framed, Integrity, Method, Name, TransactionId, Writer, attribute,
};

use crate::bytes::Bytes;
use crate::naive;

const METHODS: [Method; 7] = [
    Method::Binding,
    Method::Allocate,
    Method::Refresh,
    Method::Send,
    Method::Data,
    Method::CreatePermission,
    Method::ChannelBind,
];

/// Any bytes as a STUN message: accepted or refused as the naive reader says, with the same parts, also by the one-pass
/// reader of Send indications.
pub fn decode(input: &[u8]) {
    let expected = naive::read(input);
    match (Framed::parse(input), &expected) {
        (Ok(framed), Ok(message)) => agree(&framed, message),
        (Err(found), Err(wanted)) => assert_eq!(found, *wanted),
        (found, wanted) => panic!("read as {found:?}, not as {wanted:?}"),
    }
    agree_on_send(input, expected);
}

fn agree(framed: &Framed<'_>, message: &naive::Message<'_>) {
    let class = match framed.class() {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    assert_eq!(framed.method().number() | class, message.kind);
    assert_eq!(framed.has_fingerprint(), message.fingerprint);
    let integrity = if message.all().any(|found| found.kind == 0x001C) {
        Integrity::Sha256
    } else if message.all().any(|found| found.kind == 0x0008) {
        Integrity::Sha1
    } else {
        Integrity::Absent
    };
    assert_eq!(framed.integrity(), integrity);

    let attributes = framed.unauthenticated();
    let mut wanted = message.attributes();
    for (kind, value) in attributes.iter() {
        let wanted = wanted.next().expect("no attribute that is not there");
        assert_eq!((kind, value), (wanted.kind, wanted.value));
    }
    assert!(wanted.next().is_none(), "no attribute is left out");

    agree_on_credentials(framed, message);
    let wanted = |kind| message.first(kind);
    let fixed = |kind| wanted(kind).map(|value| <[u8; 4]>::try_from(value).ok());
    assert_eq!(
        attributes.lifetime().map(|read| read.ok()),
        fixed(0x000D).map(|read| read.map(u32::from_be_bytes))
    );
    assert_eq!(
        attributes.channel_number().map(|read| read.ok()),
        fixed(0x000C).map(|read| read.map(|value| u16::from_be_bytes([value[0], value[1]])))
    );
    assert_eq!(
        attributes.requested_transport().map(|read| read.ok()),
        fixed(0x0019).map(|read| read.map(|value| value[0]))
    );
    assert_eq!(
        attributes.requested_family().map(|read| read.ok()),
        fixed(0x0017).map(|read| read.map(|value| value[0]))
    );
    assert_eq!(
        attributes.additional_family().map(|read| read.ok()),
        fixed(0x8000).map(|read| read.map(|value| value[0]))
    );
    assert_eq!(
        attributes.even_port().map(|read| read.ok()),
        wanted(0x0018).map(|value| match value {
            [bits] => Some(*bits >= 128),
            _ => None,
        })
    );
    let id = framed.transaction_id();
    let mut peers = message.attributes().filter(|found| found.kind == 0x0012);
    for read in attributes.xor_peer_addresses() {
        let value = peers.next().expect("no peer that is not there").value;
        assert_eq!(read.ok(), address(value, &id));
    }
    assert!(peers.next().is_none(), "no peer is left out");
    if let Some(Ok((code, reason))) = attributes.error_code() {
        assert!((300..700).contains(&code) && reason.len() <= 763);
    }

    let mut unknown = [0; 8];
    let listed = attributes.unknown_required(&mut unknown);
    let unknown = &unknown[..listed];
    for (position, kind) in unknown.iter().enumerate() {
        assert!(*kind < 0x8000 && !unknown[..position].contains(kind));
        assert!(message.attributes().any(|found| found.kind == *kind));
    }
}

fn agree_on_credentials(framed: &Framed<'_>, message: &naive::Message<'_>) {
    let read = framed.credentials();
    let name = message
        .attributes()
        .find(|found| found.kind == attribute::USERNAME || found.kind == attribute::USERHASH);
    let wanted = name.map(|found| match found.kind {
        attribute::USERNAME => Name::Username(found.value),
        _ => Name::Userhash(found.value),
    });
    assert_eq!(read.name, wanted);
    assert_eq!(read.realm, message.first(attribute::REALM));
    assert_eq!(read.nonce, message.first(attribute::NONCE));
    assert_eq!(read.algorithm, message.first(attribute::PASSWORD_ALGORITHM));
    assert_eq!(
        read.algorithms,
        message.first(attribute::PASSWORD_ALGORITHMS)
    );
    let texts = [
        name.filter(|found| found.kind == attribute::USERNAME)
            .map(|found| found.value),
        read.realm,
        read.nonce,
    ];
    let oversized = texts.into_iter().flatten().any(|text| text.len() > 763);
    assert_eq!(read.oversized, oversized);
}

/// An XOR address by RFC 8489 section 14.2.
fn address(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let mut mask = vec![0x21, 0x12, 0xA4, 0x42];
    mask.extend(id.0);
    let unmasked = |part: &[u8]| -> Vec<u8> {
        part.iter()
            .zip(&mask)
            .map(|(byte, mask)| byte ^ mask)
            .collect()
    };
    let ip = match (value.get(1)?, value.len()) {
        (1, 8) => IpAddr::V4(Ipv4Addr::from(
            <[u8; 4]>::try_from(unmasked(&value[4..])).ok()?,
        )),
        (2, 20) => IpAddr::V6(Ipv6Addr::from(
            <[u8; 16]>::try_from(unmasked(&value[4..])).ok()?,
        )),
        _ => return None,
    };
    let port = <[u8; 2]>::try_from(unmasked(&value[2..4])).ok()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
}

/// The packet path reads Send indications by itself, and must not say anything else.
fn agree_on_send(input: &[u8], expected: Result<naive::Message<'_>, FrameError>) {
    let read = parse_send(input);
    let header_is_wrong = matches!(
        expected,
        Err(FrameError::TooShort
            | FrameError::FirstBits
            | FrameError::Cookie
            | FrameError::Length
            | FrameError::TrailingBytes)
    );
    let is_send = input.starts_with(&[0x00, 0x16]);
    let message = match expected {
        Err(error) if header_is_wrong => {
            return assert_eq!(read, Err(SendError::Frame(error)));
        }
        _ if !is_send => return assert_eq!(read, Err(SendError::NotSend)),
        Err(error) => return assert_eq!(read, Err(SendError::Frame(error))),
        Ok(message) => message,
    };
    let id = TransactionId(input[8..20].try_into().expect("a header has 20 bytes"));
    let unknown = message
        .attributes()
        .any(|found| attribute::is_unknown_required(found.kind));
    let peer = message.first(attribute::XOR_PEER_ADDRESS);
    let wanted = match (peer, message.first(attribute::DATA)) {
        _ if unknown => Err(SendError::UnknownAttribute),
        (None, _) => Err(SendError::MissingPeer),
        (_, None) => Err(SendError::MissingData),
        (Some(peer), Some(payload)) => match address(peer, &id) {
            None => Err(SendError::MalformedPeer),
            Some(peer) => Ok((peer, payload)),
        },
    };
    assert_eq!(read.map(|send| (send.peer, send.data)), wanted);
    if let Ok(send) = read {
        let whole = input.as_ptr_range();
        let part = send.data.as_ptr_range();
        assert!(whole.start <= part.start && part.end <= whole.end);
        assert_eq!(
            send.dont_fragment,
            message.first(attribute::DONT_FRAGMENT).is_some()
        );
    }
}

/// The input says what to write, and how much room there is. What is written is read again, complete; it does not fit only
/// where it cannot; with another key, or one bit changed, it is not believed.
pub fn round_trip(input: &[u8]) {
    let mut input = Bytes(input);
    let method = input.pick(&METHODS);
    let class = input.pick(&[
        Class::Request,
        Class::Indication,
        Class::Success,
        Class::Error,
    ]);
    let id = TransactionId(input.array());
    let seal = input.u8();
    let (sha1, sha256, fingerprint) = (seal & 1 != 0, seal & 2 != 0, seal & 4 != 0);
    let room = usize::from(input.u8()) * 8;
    let (flipped, key) = (input.u16(), input.array::<16>());
    let mut buffer = [0xA5_u8; 2040];

    let mut wanted: [(u16, &[u8]); 8] = [(0, &[]); 8];
    let mut count = 0;
    let mut writer = Writer::new(&mut buffer[..room], class, method, id);
    let mut length = 20;
    while count < wanted.len() && !input.is_empty() {
        let (kind, value) = (input.u16(), input.short());
        // Those three are what the message ends with; here they would end it early.
        let is_seal = [0x0008, 0x001C, 0x8028].contains(&kind);
        let kind = if is_seal { 0x7FFF } else { kind };
        writer.raw(kind, value);
        wanted[count] = (kind, value);
        count += 1;
        length += 4 + value.len().next_multiple_of(4);
    }
    if sha1 {
        writer.message_integrity(&key);
        length += 24;
    }
    if sha256 {
        writer.message_integrity_sha256(&key);
        length += 36;
    }
    if fingerprint {
        writer.fingerprint();
        length += 8;
    }
    let Ok(written) = writer.finish() else {
        return assert!(length > room, "{length} bytes fit into {room}");
    };
    assert_eq!(written, length);
    assert!(written <= room && buffer[room..].iter().all(|byte| *byte == 0xA5));

    let message = &mut buffer[..written];
    if !method.permits(class) {
        assert_eq!(Framed::parse(message).err(), Some(FrameError::IllegalClass));
        return;
    }
    let framed = Framed::parse(message).expect("what is written can be read");
    assert_eq!((framed.method(), framed.class()), (method, class));
    assert_eq!(framed.transaction_id(), id);
    assert_eq!(framed.has_fingerprint(), fingerprint);
    let read = framed.unauthenticated();
    assert!(read.iter().eq(wanted[..count].iter().copied()));
    assert_eq!(framed.verify(&key).is_some(), sha1 || sha256);
    let mut other = key;
    other[usize::from(flipped) % key.len()] ^= 1 << (flipped >> 13);
    assert!(framed.verify(&other).is_none(), "another key");
    if !(sha1 || sha256) {
        return;
    }
    // A fingerprint is for mistakes; integrity alone is asked here.
    let sealed = if fingerprint { written - 8 } else { written };
    // Of two integrity attributes the last counts: what is before it is changed.
    let end = if sha1 && sha256 { sealed - 36 } else { sealed };
    let place = usize::from(flipped) % end;
    message[place] ^= 1 << (flipped >> 13);
    let believed = Framed::parse(message)
        .ok()
        .and_then(|framed| framed.verify(&key).map(|checked| checked.method()));
    assert!(
        believed.is_none(),
        "bit {flipped} was changed in byte {place}"
    );
}

/// ChannelData: the payload is what the Length says, whatever stands behind it; and what is written is read again.
pub fn channel_data(input: &[u8]) {
    let read = channel_data::parse(input);
    let wanted = if input.len() < 4 {
        Err(ChannelDataError::TooShort)
    } else if !(0x40..0x80).contains(&input[0]) {
        Err(ChannelDataError::Number)
    } else {
        let length = usize::from(input[2]) * 256 + usize::from(input[3]);
        if input.len() < 4 + length {
            Err(ChannelDataError::Length)
        } else {
            Ok((
                u16::from(input[0]) * 256 + u16::from(input[1]),
                &input[4..4 + length],
            ))
        }
    };
    assert_eq!(read.map(|found| (found.number, found.payload)), wanted);
    let Ok(found) = read else { return };
    let length = u16::try_from(found.payload.len()).expect("a Length of 16 bits");
    let mut header = [0; channel_data::HEADER_LEN];
    channel_data::write_header(&mut header, found.number, length);
    assert_eq!(header, input[..4]);
    let padded = channel_data::padded(found.payload.len());
    assert!(padded.is_multiple_of(4) && padded - found.payload.len() < 4);
}
