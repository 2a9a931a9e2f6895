//! Names that a client says in the hope that the relay looks them up.
//!
//! Not responsible for names in logs (`answers`), nor for addresses (`forbidden`).

use std::net::UdpSocket;

use taciturn_protocol::wire::{Class, Method, TransactionId, Writer};

use crate::client::{Client, receive_from};
use crate::namespace::inside;
use crate::sink::{Sink, Way};
use crate::sniffer::Packet;

const CONTROL: u16 = 0x4FFF;
const NAME: &str = "metadata.attacker.example";

/// DNS in its forms, NetBIOS, mDNS and LLMNR.
const RESOLVERS: [u16; 5] = [53, 853, 137, 5353, 5355];

/// Attributes whose value may be a name: some of STUN and TURN, and others that are only like those.
const NAMED: [u16; 9] = [
    0x8003, // ALTERNATE-DOMAIN
    0x8022, // SOFTWARE
    0x802F, // ORIGIN
    0x802E, // THIRD-PARTY-AUTHORIZATION
    0x8023, // ALTERNATE-SERVER
    0xC057, // of experiments
    0x8070, 0xC0DE, 0xFFFF,
];

fn name_many(w: &mut Writer<'_>) {
    for kind in NAMED {
        w.raw(kind, NAME.as_bytes());
    }
}

fn asks_a_resolver(packet: &Packet) -> bool {
    RESOLVERS.contains(&packet.to.port()) || packet.contains(b"metadata\x08attacker")
}

/// a peer is an address in XOR-PEER-ADDRESS and nothing else. Names in its place, or in any attribute beside it, or as the
/// user's name, are never looked up: no question to a resolver leaves the host.
#[test]
fn no_name_is_looked_up_for_a_client() {
    if !inside("names::no_name_is_looked_up_for_a_client") {
        return;
    }
    let sink = Sink::new();
    let relay = Sink::setup(2).start();
    let allowed = sink.lab.peer("10.77.0.20");
    let to = allowed.local_addr().unwrap();
    // The sniffer does see such questions.
    let asking = UdpSocket::bind("0.0.0.0:0").unwrap();
    asking
        .send_to(b"\0\x01metadata\x08attacker", "101.33.7.9:53")
        .unwrap();
    asking.send_to(b"control", to).unwrap();
    let seen = sink.seen_on_host(b"control");
    assert_eq!(
        seen.iter().filter(|packet| asks_a_resolver(packet)).count(),
        1
    );
    assert_eq!(receive_from(&allowed).0, b"control");
    for way in Way::ALL {
        let link = sink.client(&relay, way, "10.77.0.1", "").link;
        let user = format!("mallory@{NAME}");
        let mut client = Client::strangely_named(link, user.as_bytes());
        assert_eq!(client.try_allocate(name_many).code(), 0, "{way:?}");
        client.bind(CONTROL, to);
        // A name where the address belongs is no address.
        let code = client
            .request(Method::CreatePermission, |w| {
                w.raw(0x0012, NAME.as_bytes());
                name_many(w);
            })
            .code();
        assert_eq!(code, 400, "{way:?}");
        let code = client
            .request(Method::ChannelBind, |w| {
                w.channel_number(0x4000);
                w.raw(0x0012, NAME.as_bytes());
            })
            .code();
        assert_eq!(code, 400, "{way:?}");
        let beside = client.request(Method::CreatePermission, |w| {
            w.xor_peer_address(to);
            name_many(w);
        });
        assert_eq!(beside.code(), 0, "{way:?}");
        let mut bytes = [0; 1024];
        let id = TransactionId([4; 12]);
        let mut writer = Writer::new(&mut bytes, Class::Indication, Method::Send, id);
        writer.raw(0x0012, NAME.as_bytes());
        writer.data(b"to a name");
        let length = writer.finish().unwrap();
        client.send(&bytes[..length]);
        client.send_channel(CONTROL, b"control");
        assert_eq!(receive_from(&allowed).0, b"control");
        let seen = sink.seen_on_host(b"control");
        let question = seen.iter().find(|packet| asks_a_resolver(packet));
        assert_eq!(question, None, "{way:?}");
        assert!(
            !seen
                .iter()
                .any(|packet| packet.contains(b"to a name") && packet.to == to)
        );
        client.release();
    }
}
