//! What becomes of the IP header between a client's leg and a peer's: DSCP, ECN, DF, TTL, and the family itself.
//!
//! The packets are read off the wire outside the relay's host. Not responsible for ICMP (`icmp`).

use std::net::{SocketAddr, UdpSocket};

use socket2::SockRef;

use crate::client::{Client, Link, Over, receive_from, send_indication};
use crate::lab::Lab;
use crate::namespace::{inside, set};
use crate::running::eventually;
use crate::sniffer::{Packet, Sniffer};

const CHANNEL: u16 = 0x4000;
const CLIENT_HOSTS: [&str; 2] = ["10.77.0.1", "fd77::1"];
const PEER_HOSTS: [&str; 2] = ["10.77.0.20", "fd77::20"];

fn set_class(socket: &UdpSocket, class: u8) {
    let is_v4 = socket.local_addr().unwrap().is_ipv4();
    let socket = SockRef::from(socket);
    if is_v4 {
        socket.set_tos_v4(u32::from(class)).unwrap();
    } else {
        socket.set_tclass_v6(u32::from(class)).unwrap();
    }
}

fn udp(client: &Client) -> &UdpSocket {
    match &client.link {
        Link::Udp(socket) => socket,
        Link::Tcp(..) | Link::Tls(..) => unreachable!("the client is over UDP"),
    }
}

/// A client of this family over UDP, a peer of that, a channel between them, and the relayed address towards the peer.
fn joined(
    lab: &Lab,
    relay: &crate::running::Running,
    over: Over,
    client_host: &str,
    peer_host: &str,
) -> (Client, UdpSocket, SocketAddr) {
    let mut client = lab.client(relay, over, client_host, "alice");
    let peer = lab.peer(peer_host);
    let to = peer.local_addr().unwrap();
    let relayed = client.allocate_both()[usize::from(to.is_ipv6())];
    client.bind(CHANNEL, to);
    (client, peer, relayed)
}

/// The packet from `from` that carries this marker.
fn seen(sniffer: &Sniffer, from: SocketAddr, marker: &[u8]) -> Packet {
    sniffer.await_packet(|packet| packet.from == from && packet.contains(marker))
}

fn name(counter: &mut u32) -> Vec<u8> {
    *counter += 1;
    format!("marker {counter:08}").into_bytes()
}

/// T-66, T-69: between UDP legs DSCP and ECN are carried both ways, over IPv4, IPv6 and from each to the other (RFC 8656 §13, §14).
#[test]
fn dscp_and_ecn_are_carried_across() {
    if !inside("translation::dscp_and_ecn_are_carried_across") {
        return;
    }
    let lab = Lab::new();
    let mut number = 0;
    for workers in [1, 2] {
        let relay = Lab::setup(workers).start();
        let sniffer = lab.sniffer_outside();
        for client_host in CLIENT_HOSTS {
            for peer_host in PEER_HOSTS {
                let (mut client, peer, relayed) =
                    joined(&lab, &relay, Over::Udp, client_host, peer_host);
                let server = udp(&client).peer_addr().unwrap();
                for class in [
                    0,
                    1,
                    2,
                    3,
                    46 << 2,
                    46 << 2 | 1,
                    34 << 2 | 2,
                    63 << 2 | 3,
                    8 << 2,
                ] {
                    set_class(udp(&client), class);
                    set_class(&peer, class ^ 0b101);
                    let marker = name(&mut number);
                    client.send_channel(CHANNEL, &marker);
                    assert_eq!(seen(&sniffer, relayed, &marker).traffic_class, class);
                    assert_eq!(receive_from(&peer).0, marker);
                    let marker = name(&mut number);
                    client.send_indication(peer.local_addr().unwrap(), &marker);
                    assert_eq!(seen(&sniffer, relayed, &marker).traffic_class, class);
                    assert_eq!(receive_from(&peer).0, marker);
                    let marker = name(&mut number);
                    peer.send_to(&marker, relayed).unwrap();
                    assert_eq!(seen(&sniffer, server, &marker).traffic_class, class ^ 0b101);
                    assert_eq!(client.channel_payload(CHANNEL), marker);
                }
            }
        }
    }
}

/// T-66: with `dscp` set, that DSCP is sent whatever came in, and ECN is still carried.
#[test]
fn a_configured_dscp_replaces_what_came_in() {
    if !inside("translation::a_configured_dscp_replaces_what_came_in") {
        return;
    }
    let lab = Lab::new();
    let mut setup = Lab::setup(1);
    setup.top = "dscp = 34".to_owned();
    let relay = setup.start();
    let sniffer = lab.sniffer_outside();
    let mut number = 0;
    for (client_host, peer_host) in CLIENT_HOSTS.into_iter().zip(PEER_HOSTS) {
        let (mut client, peer, relayed) = joined(&lab, &relay, Over::Udp, client_host, peer_host);
        let server = udp(&client).peer_addr().unwrap();
        for class in [0, 46 << 2 | 1, 8 << 2 | 3] {
            set_class(udp(&client), class);
            set_class(&peer, class);
            let expected = 34 << 2 | class & 3;
            let marker = name(&mut number);
            client.send_channel(CHANNEL, &marker);
            assert_eq!(seen(&sniffer, relayed, &marker).traffic_class, expected);
            let marker = name(&mut number);
            peer.send_to(&marker, relayed).unwrap();
            assert_eq!(seen(&sniffer, server, &marker).traffic_class, expected);
        }
    }
}

/// T-66: from TCP and TLS to UDP, ECN is 00 and DSCP best effort; from UDP to TCP both are ignored (RFC 8656 §15, §16).
#[test]
fn streams_neither_give_nor_take_a_traffic_class() {
    if !inside("translation::streams_neither_give_nor_take_a_traffic_class") {
        return;
    }
    let lab = Lab::new();
    let relay = Lab::setup(1).start();
    let sniffer = lab.sniffer_outside();
    let mut number = 0;
    for over in [Over::Tcp, Over::Tls] {
        for client_host in CLIENT_HOSTS {
            for peer_host in PEER_HOSTS {
                let (mut client, peer, relayed) =
                    joined(&lab, &relay, over, client_host, peer_host);
                set_class(&peer, 46 << 2 | 3);
                let marker = name(&mut number);
                client.send_channel(CHANNEL, &marker);
                assert_eq!(seen(&sniffer, relayed, &marker).traffic_class, 0);
                assert_eq!(receive_from(&peer).0, marker);
                let marker = name(&mut number);
                peer.send_to(&marker, relayed).unwrap();
                if let Link::Tcp(stream, _) = &client.link {
                    let server = stream.peer_addr().unwrap();
                    assert_eq!(seen(&sniffer, server, &marker).traffic_class, 0);
                }
                assert_eq!(client.channel_payload(CHANNEL), marker);
            }
        }
    }
}

/// T-68: TTL and hop limit are the platform's default on both legs, whatever the sender's were.
#[test]
fn hops_are_counted_anew_on_each_leg() {
    if !inside("translation::hops_are_counted_anew_on_each_leg") {
        return;
    }
    let lab = Lab::new();
    // Others than the usual ones, so that they are seen to be the platform's.
    set("ipv4/ip_default_ttl", "99");
    set("ipv6/conf/r0/hop_limit", "77");
    let relay = Lab::setup(1).start();
    let sniffer = lab.sniffer_outside();
    let default = |address: SocketAddr| if address.is_ipv4() { 99 } else { 77 };
    let mut number = 0;
    for client_host in CLIENT_HOSTS {
        for peer_host in PEER_HOSTS {
            let (mut client, peer, relayed) =
                joined(&lab, &relay, Over::Udp, client_host, peer_host);
            let server = udp(&client).peer_addr().unwrap();
            for hops in [1, 2, 200, 255] {
                for socket in [udp(&client), &peer] {
                    let is_v4 = socket.local_addr().unwrap().is_ipv4();
                    let socket = SockRef::from(socket);
                    if is_v4 {
                        socket.set_ttl_v4(hops).unwrap();
                    } else {
                        socket.set_unicast_hops_v6(hops).unwrap();
                    }
                }
                let marker = name(&mut number);
                client.send_channel(CHANNEL, &marker);
                assert_eq!(seen(&sniffer, relayed, &marker).hops, default(relayed));
                let marker = name(&mut number);
                peer.send_to(&marker, relayed).unwrap();
                assert_eq!(seen(&sniffer, server, &marker).hops, default(server));
            }
        }
    }
}

/// T-67: DF as DONT-FRAGMENT says from UDP over IPv4 to IPv4, and from TCP and TLS; 0 in all other cases.
#[test]
fn df_is_set_where_it_was_asked_for_and_nowhere_else() {
    if !inside("translation::df_is_set_where_it_was_asked_for_and_nowhere_else") {
        return;
    }
    let lab = Lab::new();
    let relay = Lab::setup(1).start();
    let sniffer = lab.sniffer_outside();
    let mut number = 0;
    for over in Over::ALL {
        for client_host in CLIENT_HOSTS {
            let (mut client, peer, relayed) = joined(&lab, &relay, over, client_host, "10.77.0.20");
            let to = peer.local_addr().unwrap();
            // Cross-family it is ignored over UDP (RFC 8656 §13.3), and honoured from a stream (§15).
            let honoured = over != Over::Udp || client_host == "10.77.0.1";
            for asked in [false, true, false] {
                let marker = name(&mut number);
                let more = |w: &mut taciturn_protocol::wire::Writer<'_>| {
                    if asked {
                        w.dont_fragment();
                    }
                };
                client.send(&send_indication(to, &marker, more));
                let packet = seen(&sniffer, relayed, &marker);
                assert_eq!(
                    packet.dont_fragment,
                    asked && honoured,
                    "{over:?} {client_host}"
                );
            }
            let marker = name(&mut number);
            client.send_channel(CHANNEL, &marker);
            assert!(!seen(&sniffer, relayed, &marker).dont_fragment);
            if over == Over::Udp && client_host == "10.77.0.1" {
                let marker = name(&mut number);
                peer.send_to(&marker, relayed).unwrap();
                let server = udp(&client).peer_addr().unwrap();
                assert!(!seen(&sniffer, server, &marker).dont_fragment);
            }
        }
    }
}

/// T-67, T-50: a payload longer than the link goes in fragments, unless DONT-FRAGMENT applies to it: then it is dropped.
#[test]
fn long_payloads_go_in_fragments_unless_forbidden() {
    if !inside("translation::long_payloads_go_in_fragments_unless_forbidden") {
        return;
    }
    let lab = Lab::new();
    let relay = Lab::setup(1).start();
    let long = vec![0xAB; 4000];
    let mut dropped = 0;
    for over in Over::ALL {
        for client_host in CLIENT_HOSTS {
            for peer_host in PEER_HOSTS {
                let (mut client, peer, relayed) =
                    joined(&lab, &relay, over, client_host, peer_host);
                let to = peer.local_addr().unwrap();
                client.send(&send_indication(to, &long, |w| w.dont_fragment()));
                let both_v4 = client_host == "10.77.0.1" && to.is_ipv4();
                if over != Over::Udp || both_v4 {
                    dropped += 1;
                } else {
                    assert_eq!(
                        receive_from(&peer).0,
                        long,
                        "ignored: {client_host} {peer_host}"
                    );
                }
                client.send_channel(CHANNEL, &long);
                assert_eq!(
                    receive_from(&peer),
                    (long.clone(), relayed),
                    "{over:?} {client_host} {peer_host}"
                );
                peer.send_to(&long, relayed).unwrap();
                assert_eq!(client.channel_payload(CHANNEL), long);
            }
        }
    }
    eventually("the count of what was too long", || {
        relay.metric("taciturn_relay_send_failures_total{class=\"too_large\"}") == dropped
    });
}

/// T-21, T-69: an allocation of both families relays on each of its addresses, to clients of either family, over every transport.
#[test]
fn both_halves_of_an_allocation_carry_calls() {
    if !inside("translation::both_halves_of_an_allocation_carry_calls") {
        return;
    }
    let lab = Lab::new();
    let relay = Lab::setup(2).start();
    for over in Over::ALL {
        for client_host in CLIENT_HOSTS {
            let mut client = lab.client(&relay, over, client_host, "alice");
            let relayed = client.allocate_both();
            let peers = PEER_HOSTS.map(|host| lab.peer(host));
            let numbers = [CHANNEL, CHANNEL + 1];
            for (number, peer) in numbers.into_iter().zip(&peers) {
                client.bind(number, peer.local_addr().unwrap());
            }
            for round in 0..5_u8 {
                for (half, peer) in peers.iter().enumerate() {
                    let number = numbers[half];
                    client.send_channel(number, &[round]);
                    assert_eq!(receive_from(peer), (vec![round], relayed[half]));
                    peer.send_to(&[round, round], relayed[half]).unwrap();
                    assert_eq!(client.channel_payload(number), [round, round]);
                }
            }
            // One half alone, of the family that the client is not.
            let mut other = lab.client(&relay, over, client_host, "alice");
            let family = if client_host == "10.77.0.1" { 2 } else { 1 };
            let answer = other.try_allocate(|w| w.requested_family(family));
            let relayed = answer.relayed();
            assert_eq!((relayed.len(), relayed[0].is_ipv6()), (1, family == 2));
            let peer = &peers[usize::from(family == 2)];
            other.bind(CHANNEL, peer.local_addr().unwrap());
            other.send_channel(CHANNEL, b"across");
            assert_eq!(receive_from(peer), (b"across".to_vec(), relayed[0]));
        }
    }
}
