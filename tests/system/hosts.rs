//! Hosts with several addresses, and hosts behind a NAT.
//!
//! Not responsible for which peers are allowed (`tests/attacks`).

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use taciturn_protocol::wire::Method;

use crate::calls::Call;
use crate::client::{Client, Over, binding, receive_from};
use crate::lab::{Lab, PORT, TLS_PORT};
use crate::namespace::{inside, ip, set};
use crate::running::{Setup, eventually};

const CHANNEL: u16 = 0x4000;

/// S-15: on a host with several addresses, a wildcard listener answers from the address that was asked, and so does all that
/// follows.
#[test]
fn answers_come_from_the_address_that_was_asked() {
    if !inside("hosts::answers_come_from_the_address_that_was_asked") {
        return;
    }
    let lab = Lab::new();
    for words in [
        "addr add 10.77.0.3/24 dev r0",
        "addr add 10.77.0.4/32 dev lo",
        "addr add fd77::3/64 dev r0 nodad",
        "addr add fd77:0:0:1::4/128 dev lo",
    ] {
        ip(words);
    }
    lab.outside.ip("route add 10.77.0.4 via 10.77.0.1");
    lab.outside.ip("route add fd77:0:0:1::4 via fd77::1");
    for workers in [1, 2] {
        let mut setup = Setup::empty(workers);
        for host in ["0.0.0.0", "[::]"] {
            for (transport, port) in [("udp", PORT), ("tcp", PORT), ("tls", TLS_PORT)] {
                setup = setup.listener(transport, &format!("{host}:{port}"));
            }
        }
        setup.relayed =
            "addresses = [\"10.77.0.1\", \"fd77::1\"]\nports = \"20000-20999\"".to_owned();
        setup.peers = "allow = [\"10.77.0.0/16\", \"fd77::/16\"]".to_owned();
        let relay = setup.start();
        for host in [
            "10.77.0.1",
            "10.77.0.3",
            "10.77.0.4",
            "fd77::1",
            "fd77::3",
            "fd77:0:0:1::4",
        ] {
            for over in Over::ALL {
                // A connected socket hears its own server only, so a wrong source would be silence.
                let mut client = lab.client(&relay, over, host, "alice");
                let answer = client.request(Method::Binding, |_| {});
                let mapped = answer.attributes().xor_mapped_address().unwrap().unwrap();
                let outside = ["10.77.0.10", "fd77::10", "fd77::20", "10.77.0.20"];
                assert!(
                    outside.contains(&mapped.ip().to_string().as_str()),
                    "{mapped}"
                );
                let mut call = Call::between(client, lab.peer("10.77.0.20"));
                for _ in 0..5 {
                    call.exchange();
                }
            }
        }
    }
}

/// behind a NAT, clients are told the advertised address and reach each other by it, inside, without a packet leaving.
#[test]
fn clients_behind_one_relay_meet_at_its_advertised_address() {
    if !inside("hosts::clients_behind_one_relay_meet_at_its_advertised_address") {
        return;
    }
    let lab = Lab::new();
    let mut setup = Lab::setup(2);
    // A public address: nothing has to be allowed for it.
    setup.relayed += "\nadvertise = [\"198.41.0.77\", \"2a01:77::1\"]";
    let relay = setup.start();
    let sniffer = lab.sniffer_outside();
    for turn in 0..12 {
        let over = Over::ALL[turn % 3];
        let mut alice = lab.client(&relay, over, "10.77.0.1", "alice");
        let mut bob = lab.client(&relay, Over::ALL[turn / 3 % 3], "fd77::1", "bob");
        let (at_alice, at_bob) = (alice.allocate_both(), bob.allocate_both());
        for half in 0..2 {
            let expected = ["198.41.0.77", "2a01:77::1"][half];
            assert_eq!(at_alice[half].ip().to_string(), expected);
            assert_eq!(at_bob[half].ip().to_string(), expected);
            let number = CHANNEL + u16::try_from(half).unwrap();
            alice.bind(number, at_bob[half]);
            bob.permit(at_alice[half]);
            alice.send_channel(number, b"hello");
            assert_eq!(bob.data_indication(), (at_alice[half], b"hello".to_vec()));
            bob.send_indication(at_alice[half], b"and hello");
            assert_eq!(alice.channel_payload(number), b"and hello");
        }
        // A peer outside sees the bound address, as no NAT is between in this lab.
        let peer = lab.peer("10.77.0.20");
        alice.bind(0x4100, peer.local_addr().unwrap());
        alice.send_channel(0x4100, b"last");
        let bound = SocketAddr::new("10.77.0.1".parse().unwrap(), at_alice[0].port());
        assert_eq!(receive_from(&peer), (b"last".to_vec(), bound));
    }
    let marks_end = |packet: &crate::sniffer::Packet| {
        packet.to.ip().to_string() == "10.77.0.20" && packet.contains(b"last")
    };
    for packet in sniffer.packets_until(marks_end) {
        let to = packet.to.ip().to_string();
        assert!(
            !["198.41.0.77", "2a01:77::1"].contains(&to.as_str()),
            "{packet:?}"
        );
    }
}

/// A raw UDP datagram over IPv4 without a checksum, from wherever it says.
fn forged(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = |header: usize| u16::try_from(header + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0];
    // The kernel fills in what is zero: id and checksum.
    packet.extend(length(28));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(length(8));
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// Answers that cannot be sent, to port 0 or to where no route leads, are counted and cost nobody else's answer.
#[test]
fn answers_to_impossible_sources_cost_nobody_anything() {
    if !inside("hosts::answers_to_impossible_sources_cost_nobody_anything") {
        return;
    }
    let lab = Lab::new();
    // What comes from there is believed, and nothing can be sent back.
    for words in [
        "route add unreachable 10.66.0.0/16",
        "route add prohibit 10.67.0.0/16",
    ] {
        ip(words);
    }
    set("ipv4/conf/all/rp_filter", "0");
    set("ipv4/conf/r0/rp_filter", "0");
    for workers in [1, 2] {
        let mut setup = Lab::setup(workers);
        setup.limits = "unauthenticated-per-second = 0".to_owned();
        let mut relay = setup.start();
        let raw = lab.outside.enter(|| {
            let protocol = Some(Protocol::from(255));
            Socket::new(Domain::IPV4, Type::RAW, protocol).unwrap()
        });
        let server = SocketAddrV4::new([10, 77, 0, 1].into(), PORT);
        let mut calls = Over::ALL.map(|over| {
            Call::between(
                lab.client(&relay, over, "10.77.0.1", "alice"),
                lab.peer("10.77.0.20"),
            )
        });
        for round in 0..200_u8 {
            for (host, port) in [
                ([10, 77, 0, 99], 0),
                ([10, 66, 0, round], 4000),
                ([10, 67, 0, round], 4000),
                ([10, 77, 0, 98], 0),
            ] {
                let from = SocketAddrV4::new(host.into(), port);
                let packet = forged(from, server, &binding(round));
                raw.send_to(&packet, &SockAddr::from(server)).unwrap();
            }
            for call in &mut calls {
                call.exchange();
            }
        }
        eventually("the count of answers that could not be sent", || {
            relay.metric("taciturn_relay_send_failures_total") >= 400
        });
        relay.assert_alive();
    }
}

/// S-15: clients on link-local IPv6 addresses are answered, on the link that they came from.
#[test]
fn link_local_clients_are_answered() {
    if !inside("hosts::link_local_clients_are_answered") {
        return;
    }
    let lab = Lab::new();
    ip("addr add fe80::77:1/64 dev r0 nodad");
    let mut setup = Lab::setup(1);
    setup.listeners = [("udp", PORT), ("tcp", PORT), ("tls", TLS_PORT)]
        .map(|(transport, port)| (transport, format!("[::]:{port}")))
        .to_vec();
    let relay = setup.start();
    for over in Over::ALL {
        let port = if over == Over::Tls { TLS_PORT } else { PORT };
        let client = lab.outside.enter(|| {
            let text = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
            let line = text.lines().find(|line| line.ends_with(" o0")).unwrap();
            let index = u32::from_str_radix(line.split(' ').nth(1).unwrap(), 16).unwrap();
            let server = SocketAddrV6::new("fe80::77:1".parse().unwrap(), port, 0, index);
            Client::at(&relay, over, server.into(), "alice")
        });
        Call::between(client, lab.peer("10.77.0.20")).exchange();
    }
}
