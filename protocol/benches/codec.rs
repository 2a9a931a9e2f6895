//! Nanoseconds for what the codec does most, ours against `stun-types`, as medians of alternating rounds.
//!
//! Run with `cargo bench -p taciturn-protocol --bench codec`. Prints one line for each measurement; judges nothing.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for people at a terminal"
)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use stun_types::attribute::{Nonce, Realm, Username};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials,
};
use taciturn_protocol::credentials::{LongTermKey, PasswordAlgorithm, Realm as OurRealm};
use taciturn_protocol::wire::{
    Class, Framed, Method, TransactionId, Writer, channel_data, indication,
};
use turn_types::attribute::{Data, Lifetime, RequestedTransport, XorPeerAddress};
use turn_types::channel::ChannelData;

const ROUNDS: usize = 61;
const CALLS: u32 = 2_000;

/// Measures two ways in turn, so that both meet the same weather, and prints the medians.
fn compare(name: &str, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
    let mut medians = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        medians[0].push(round(&mut ours));
        medians[1].push(round(&mut theirs));
    }
    let [ours, theirs] = medians.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("{name:44} ours {ours:8.1} ns   stun-types {theirs:8.1} ns");
}

fn round(call: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn write(class: Class, method: Method, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let mut writer = Writer::new(&mut buffer, class, method, TransactionId([7; 12]));
    fill(&mut writer);
    let len = writer.finish().unwrap();
    buffer.truncate(len);
    buffer
}

fn main() {
    let username = "1700003600:alice";
    let realm = OurRealm::new("example.org").unwrap();
    let key = LongTermKey::derive(
        PasswordAlgorithm::Md5,
        username.as_bytes(),
        &realm,
        "password",
    )
    .unwrap();
    let credentials: MessageIntegrityCredentials =
        LongTermKeyCredentials::new(username.into(), "password".into(), "example.org".into())
            .into();
    let their_key = credentials.make_key(IntegrityAlgorithm::Sha1);
    let request = write(Class::Request, Method::Allocate, |writer| {
        writer.requested_transport(17);
        writer.lifetime(600);
        writer.username(username.as_bytes());
        writer.realm(b"example.org");
        writer.nonce(b"obMatJos2gAAAZUDjBwAAAAH0123456789012345678901234");
        writer.message_integrity(key.as_bytes());
    });
    let fields_ours = |framed: &Framed<'_>| {
        let (credentials, attributes) = (framed.credentials(), framed.unauthenticated());
        black_box((credentials.name, credentials.realm, credentials.nonce));
        black_box((attributes.requested_transport(), attributes.lifetime()));
    };
    let fields_theirs = |message: &Message<'_>| {
        black_box((
            message.attribute::<Username>().is_ok(),
            message.attribute::<Realm>().is_ok(),
        ));
        black_box((
            message.attribute::<Nonce>().is_ok(),
            message.attribute::<Lifetime>().is_ok(),
        ));
        black_box(message.attribute::<RequestedTransport>().is_ok());
    };
    compare(
        "Allocate: parse and fields",
        || fields_ours(&Framed::parse(black_box(&request)).unwrap()),
        || fields_theirs(&Message::from_bytes(black_box(&request)).unwrap()),
    );
    compare(
        "Allocate: parse, fields and integrity",
        || {
            let framed = Framed::parse(black_box(&request)).unwrap();
            fields_ours(&framed);
            assert!(framed.verify(key.as_bytes()).is_some());
        },
        || {
            let message = Message::from_bytes(black_box(&request)).unwrap();
            fields_theirs(&message);
            assert!(message.validate_integrity_with_key(&their_key).is_ok());
        },
    );

    let peer: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let payload = [0x5A; 160];
    let send = write(Class::Indication, Method::Send, |writer| {
        writer.xor_peer_address(peer);
        writer.data(&payload);
    });
    compare(
        "Send indication, 160 bytes",
        || {
            let send = indication::parse_send(black_box(&send)).unwrap();
            black_box((send.peer, send.data.len()));
        },
        || {
            let message = Message::from_bytes(black_box(&send)).unwrap();
            let peer = message
                .attribute::<XorPeerAddress>()
                .unwrap()
                .addr(message.transaction_id());
            black_box((peer, message.attribute::<Data<'_>>().unwrap().data().len()));
        },
    );

    let mut channel = vec![0x40, 1, 0, 160];
    channel.extend(payload);
    compare(
        "ChannelData, 160 bytes",
        || {
            let channel = channel_data::parse(black_box(&channel)).unwrap();
            black_box((channel.number, channel.payload.len()));
        },
        || {
            let channel = ChannelData::parse(black_box(&channel)).unwrap();
            black_box((channel.id(), channel.data().len()));
        },
    );
}
