//! What must hold for every input.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use super::super::indication::SendError;
use super::super::stream::{self, Step};
use super::super::{
    Class, FirstByte, Framed, Method, TransactionId, Writer, attribute, channel_data, indication,
};
use super::fix_length;
use crate::address::ChannelRange;

pub(super) fn any_address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn any_pair() -> impl Strategy<Value = (Method, Class)> {
    use Class::{Error, Indication, Request, Success};
    use Method::{Allocate, Binding, ChannelBind, CreatePermission, Data, Refresh, Send};
    let mut pairs = vec![
        (Binding, Indication),
        (Send, Indication),
        (Data, Indication),
    ];
    for method in [Binding, Allocate, Refresh, CreatePermission, ChannelBind] {
        pairs.extend([(method, Request), (method, Success), (method, Error)]);
    }
    proptest::sample::select(pairs)
}

fn any_kind() -> impl Strategy<Value = u16> {
    prop_oneof![
        4 => proptest::sample::select(vec![
            attribute::USERNAME, attribute::MESSAGE_INTEGRITY, attribute::ERROR_CODE, attribute::CHANNEL_NUMBER,
            attribute::LIFETIME, attribute::XOR_PEER_ADDRESS, attribute::DATA, attribute::REALM, attribute::NONCE,
            attribute::EVEN_PORT, attribute::DONT_FRAGMENT, attribute::MESSAGE_INTEGRITY_SHA256, attribute::USERHASH,
            attribute::PASSWORD_ALGORITHM, attribute::PASSWORD_ALGORITHMS, attribute::ICMP, attribute::FINGERPRINT,
        ]),
        1 => any::<u16>(),
    ]
}

/// Attributes of legal structure, whatever they say.
pub(super) fn any_message() -> impl Strategy<Value = Vec<u8>> {
    (
        any_pair(),
        any::<[u8; 12]>(),
        vec_of((any_kind(), vec_of(any::<u8>(), 0..40)), 0..8),
        0..4_u8,
    )
        .prop_map(|((method, class), id, attributes, seals)| {
            let mut buffer = vec![0; 1024];
            let mut writer = Writer::new(&mut buffer, class, method, TransactionId(id));
            for (kind, value) in attributes {
                writer.raw(kind, &value);
            }
            if seals & 1 != 0 {
                writer.message_integrity(b"key");
            }
            if seals & 2 != 0 {
                writer.fingerprint();
            }
            let len = writer.finish().unwrap();
            buffer.truncate(len);
            buffer
        })
}

/// Touches every accessor.
fn read_everything(bytes: &[u8]) {
    let _ = indication::parse_send(bytes);
    let _ = channel_data::parse(bytes);
    let _ = stream::next_frame(bytes, ChannelRange::Rfc5766);
    let Ok(framed) = Framed::parse(bytes) else {
        return;
    };
    let _ = (
        framed.method(),
        framed.class(),
        framed.transaction_id(),
        framed.credentials(),
        framed.integrity(),
    );
    let _ = framed.verify(b"key");
    let attributes = framed.unauthenticated();
    let _ = (
        attributes.lifetime(),
        attributes.requested_transport(),
        attributes.requested_family(),
    );
    let _ = (
        attributes.additional_family(),
        attributes.even_port(),
        attributes.reservation_token(),
    );
    let _ = (
        attributes.channel_number(),
        attributes.xor_peer_address(),
        attributes.xor_peer_addresses().count(),
    );
    let _ = (
        attributes.data(),
        attributes.dont_fragment(),
        attributes.xor_mapped_address(),
    );
    let _ = (
        attributes.xor_relayed_addresses().count(),
        attributes.alternate_servers().count(),
    );
    let _ = (
        attributes.error_code(),
        attributes.address_error_code(),
        attributes.realm(),
        attributes.nonce(),
    );
    let _ = (attributes.password_algorithms(), attributes.icmp());
    let _ = attributes.unknown_attributes().map(Iterator::count);
    let _ = attributes.unknown_required(&mut [0; 4]);
    let total: usize = attributes.iter().map(|(_, value)| value.len()).sum();
    assert!(total <= bytes.len());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec_of(any::<u8>(), 0..200)) {
        read_everything(&bytes);
    }

    #[test]
    fn arbitrary_attributes_never_panic(pair in any_pair(), body in vec_of(any::<u8>(), 0..200)) {
        let mut bytes = vec![0; 20];
        let len = Writer::new(&mut bytes, pair.1, pair.0, TransactionId([0; 12])).finish().unwrap();
        prop_assert_eq!(len, 20);
        bytes.extend(body);
        bytes.truncate(bytes.len() & !3);
        fix_length(&mut bytes);
        read_everything(&bytes);
    }

    #[test]
    fn mutated_messages_never_panic(
        mut bytes in any_message(),
        flips in vec_of((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
        repair in any::<bool>(),
    ) {
        for (position, value) in flips {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if repair && bytes.len() >= 20 {
            bytes.truncate(bytes.len() & !3);
            fix_length(&mut bytes);
        }
        read_everything(&bytes);
    }

    /// What was written is read back, each value from its own attribute.
    #[test]
    fn what_is_written_is_read_back(
        pair in any_pair(),
        id in any::<[u8; 12]>(),
        (peer, mapped, relayed) in (any_address(), any_address(), any_address()),
        (lifetime, channel, code) in (any::<u32>(), any::<u16>(), 300..700_u16),
        (protocol, family, reserve) in (any::<u8>(), any::<u8>(), any::<bool>()),
        token in any::<[u8; 8]>(),
        data in vec_of(any::<u8>(), 0..50),
        (user, realm, nonce) in ("[ -~]{0,40}", "\\PC{0,40}", "[ -~]{0,40}"),
        key in vec_of(any::<u8>(), 0..70),
        with_fingerprint in any::<bool>(),
    ) {
        let mut buffer = vec![0xAA; 2048];
        let mut writer = Writer::new(&mut buffer, pair.1, pair.0, TransactionId(id));
        writer.error_code(code, "why");
        writer.username(user.as_bytes());
        writer.realm(realm.as_bytes());
        writer.nonce(nonce.as_bytes());
        writer.xor_peer_address(peer);
        writer.xor_mapped_address(mapped);
        writer.xor_relayed_address(relayed);
        writer.lifetime(lifetime);
        writer.channel_number(channel);
        writer.requested_transport(protocol);
        writer.requested_family(family);
        writer.even_port(reserve);
        writer.reservation_token(token);
        writer.data(&data);
        writer.message_integrity(&key);
        writer.message_integrity_sha256(&key);
        if with_fingerprint {
            writer.fingerprint();
        }
        let len = writer.finish().unwrap();
        let framed = Framed::parse(&buffer[..len]).unwrap();
        prop_assert_eq!((framed.method(), framed.class()), pair);
        prop_assert_eq!(framed.transaction_id(), TransactionId(id));
        prop_assert_eq!(framed.has_fingerprint(), with_fingerprint);
        let attributes = framed.verify(&key).unwrap().attributes();
        prop_assert_eq!(attributes.error_code(), Some(Ok((code, &b"why"[..]))));
        prop_assert_eq!(attributes.realm(), Some(realm.as_bytes()));
        prop_assert_eq!(attributes.nonce(), Some(nonce.as_bytes()));
        prop_assert_eq!(attributes.xor_peer_address(), Some(Ok(peer)));
        prop_assert_eq!(attributes.xor_mapped_address(), Some(Ok(mapped)));
        prop_assert_eq!(attributes.xor_relayed_addresses().next(), Some(Ok(relayed)));
        prop_assert_eq!(attributes.lifetime(), Some(Ok(lifetime)));
        prop_assert_eq!(attributes.channel_number(), Some(Ok(channel)));
        prop_assert_eq!(attributes.requested_transport(), Some(Ok(protocol)));
        prop_assert_eq!(attributes.requested_family(), Some(Ok(family)));
        prop_assert_eq!(attributes.even_port(), Some(Ok(reserve)));
        prop_assert_eq!(attributes.reservation_token(), Some(Ok(token)));
        prop_assert_eq!(attributes.data(), Some(&data[..]));
    }

    /// The fast path says exactly what the general parser and the rules for indications say.
    #[test]
    fn the_fast_path_agrees_with_the_general_parser(mut bytes in any_message(), force in any::<bool>()) {
        if force {
            bytes[..2].copy_from_slice(&[0x00, 0x16]);
        }
        let fast = indication::parse_send(&bytes);
        match Framed::parse(&bytes) {
            Ok(framed) if framed.method() == Method::Send => {
                let attributes = framed.unauthenticated();
                match fast {
                    Ok(send) => {
                        prop_assert_eq!(attributes.xor_peer_address(), Some(Ok(send.peer)));
                        prop_assert_eq!(attributes.data(), Some(send.data));
                        prop_assert_eq!(attributes.dont_fragment(), send.dont_fragment);
                        prop_assert_eq!(attributes.unknown_required(&mut [0]), 0);
                    }
                    Err(SendError::UnknownAttribute) => prop_assert_eq!(attributes.unknown_required(&mut [0]), 1),
                    Err(SendError::MissingPeer) => prop_assert!(attributes.xor_peer_address().is_none()),
                    Err(SendError::MissingData) => prop_assert!(attributes.data().is_none()),
                    Err(SendError::MalformedPeer) => prop_assert!(attributes.xor_peer_address().unwrap().is_err()),
                    Err(SendError::NotSend | SendError::Frame(_)) => prop_assert!(false, "{:?}", fast),
                }
            }
            Ok(_) => prop_assert_eq!(fast, Err(SendError::NotSend)),
            Err(error) => prop_assert!(fast == Err(SendError::Frame(error)) || fast == Err(SendError::NotSend)),
        }
    }

    /// S-18, T-71: any split point gives identical frames (RFC 8489 §6.2.2, RFC 8656 §12.5).
    #[test]
    fn any_split_gives_identical_frames(
        frames in vec_of(
            prop_oneof![
                any_message(),
                (0x4000..0x5000_u16, vec_of(any::<u8>(), 0..40)).prop_map(|(number, payload)| {
                    let mut bytes = vec![0; 4 + channel_data::padded(payload.len())];
                    let mut header = [0; 4];
                    channel_data::write_header(&mut header, number, u16::try_from(payload.len()).unwrap());
                    bytes[..4].copy_from_slice(&header);
                    bytes[4..4 + payload.len()].copy_from_slice(&payload);
                    bytes
                }),
            ],
            0..6,
        ),
        chunks in vec_of(1..30_usize, 1..60),
        tail in vec_of(any::<u8>(), 0..12),
    ) {
        let mut whole: Vec<u8> = frames.concat();
        whole.extend(&tail);
        let (at_once, _) = follow(&whole, &[whole.len().max(1)]);
        let (in_pieces, asked_in_vain) = follow(&whole, &chunks);
        prop_assert_eq!(&at_once, &in_pieces);
        prop_assert!(!asked_in_vain, "a frame came before the bytes that were said to be needed");
        for (frame, (kind, len, bytes)) in frames.iter().zip(&at_once) {
            prop_assert_eq!(frame, bytes);
            prop_assert!(*len <= bytes.len() && matches!(kind, FirstByte::Stun | FirstByte::ChannelData));
        }
        prop_assert!(at_once.len() >= frames.len());
    }
}

type Frames = Vec<(FirstByte, usize, Vec<u8>)>;

/// Feeds a stream in chunks; returns its frames up to the end or the first error, and whether a hint was ever too large.
fn follow(stream_bytes: &[u8], chunks: &[usize]) -> (Frames, bool) {
    let (mut frames, mut buffer, mut needed, mut vain) = (Vec::new(), Vec::new(), 0, false);
    let mut fed = 0;
    for size in chunks.iter().cycle() {
        if fed == stream_bytes.len() {
            break;
        }
        let end = (fed + size).min(stream_bytes.len());
        buffer.extend_from_slice(&stream_bytes[fed..end]);
        fed = end;
        loop {
            match stream::next_frame(&buffer, ChannelRange::Rfc8656) {
                Ok(Step::Frame { kind, len, total }) => {
                    vain |= buffer.len() < needed;
                    frames.push((kind, len, buffer.drain(..total).collect()));
                    needed = 0;
                }
                Ok(Step::Incomplete { needed: more }) => {
                    vain |= more <= buffer.len();
                    needed = more;
                    break;
                }
                Err(_) => return (frames, vain),
            }
        }
    }
    (frames, vain)
}
