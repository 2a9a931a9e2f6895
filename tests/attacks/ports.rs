//! The relay as a scanner and as a reflector: ports that no media uses, and TCP.
//!
//! Not responsible for addresses (`forbidden`).

use std::net::{IpAddr, SocketAddr, TcpListener};

use sha1::{Digest, Sha1};
use taciturn_protocol::wire::{Method, Writer};

use crate::client::{Client, peer_at, receive_from};
use crate::namespace::inside;
use crate::running::eventually;
use crate::scale::scale;
use crate::sink::{MARKER, Sink, Way};

const CHANNEL: u16 = 0x4000;
const CONTROL: u16 = 0x4FFF;
const PUBLIC: [&str; 2] = ["101.33.7.9", "2400:cb00::7"];

/// Those of services and of what is known to amplify.
fn closed_ports() -> impl Iterator<Item = u16> {
    let amplifiers = [1900, 3283, 3702, 5353, 5683, 10_001, 11_211, 37_810];
    (0..1024).filter(|port| *port != 443).chain(amplifiers)
}

/// each port of a service that reflects, and each below 1024 but 443, is closed on every peer, by channel and by
/// indication, over every transport; next to them ports are open.
#[test]
fn ports_of_services_are_closed_on_every_peer() {
    if !inside("ports::ports_of_services_are_closed_on_every_peer") {
        return;
    }
    let sink = Sink::new();
    let relay = Sink::setup(1).start();
    let allowed = sink.lab.peer("10.77.0.20");
    let mut dropped = 0;
    for way in Way::ALL {
        for host in PUBLIC {
            let host: IpAddr = host.parse().unwrap();
            let mut client = sink.client(&relay, way, "10.77.0.1", "mallory");
            client.allocate_both();
            client.bind(CONTROL, allowed.local_addr().unwrap());
            client.permit(SocketAddr::new(host, 0));
            for port in closed_ports() {
                let peer = SocketAddr::new(host, port);
                assert_eq!(client.try_bind(CHANNEL, peer), 403, "{way:?} {peer}");
                client.send_indication(peer, MARKER.as_bytes());
                dropped += 1;
                if port % 32 == 31 || port > 1024 {
                    let control = format!("control {port:06}");
                    client.send_channel(CONTROL, control.as_bytes());
                    assert_eq!(receive_from(&allowed).0, control.as_bytes());
                    assert_eq!(sink.leaked(control.as_bytes()), vec![], "{way:?} {peer}");
                }
            }
            for (number, port) in [443, 1024, 1899, 1901, 5354, 10_000]
                .into_iter()
                .enumerate()
            {
                let peer = SocketAddr::new(host, port);
                let number = CHANNEL + 1 + u16::try_from(number).unwrap();
                let socket = sink.lab.outside.enter(|| peer_at(any_with(peer)));
                client.bind(number, peer);
                client.send_channel(number, b"open");
                assert_eq!(receive_from(&socket).0, b"open", "{way:?} {peer}");
            }
            client.release();
        }
    }
    eventually("the count of what was not sent", || {
        relay.dropped("forbidden_peer") == dropped
    });
}

/// The wildcard address of the same family, with the same port.
fn any_with(peer: SocketAddr) -> SocketAddr {
    let any = if peer.is_ipv4() { "0.0.0.0" } else { "::" };
    SocketAddr::new(any.parse().unwrap(), peer.port())
}

/// HMAC-SHA1 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block
            .iter_mut()
            .zip(key)
            .for_each(|(byte, of_key)| *byte ^= of_key);
        block
    };
    let inner = Sha1::new()
        .chain_update(padded(0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha1::new()
        .chain_update(padded(0x5C))
        .chain_update(inner)
        .finalize();
    outer.to_vec()
}

/// A request of a method that the client does not know, about one peer, with all the proof that the relay asks for.
fn of_method(client: &mut Client, method: u16, peer: SocketAddr) -> Vec<u8> {
    let peer = |w: &mut Writer<'_>| w.xor_peer_address(peer);
    let (_, mut bytes) = client.request_bytes(Method::CreatePermission, peer);
    let key = client
        .secrets()
        .pop()
        .expect("a client that was challenged");
    let signed = bytes.len() - 24;
    // It is signed as it was made, so that this is known to sign as the client does.
    assert_eq!(hmac(&key, &bytes[..signed]), bytes[signed + 4..]);
    bytes[..2].copy_from_slice(&method.to_be_bytes());
    let code = hmac(&key, &bytes[..signed]);
    bytes[signed + 4..].copy_from_slice(&code);
    bytes
}

/// there are no TCP allocations (RFC 6062). Who asks for one is told 442; Connect and ConnectionBind get the same silence
/// for open, refusing and silent ports, over and over, and not one segment leaves for any of them.
#[test]
fn tcp_ports_cannot_be_scanned() {
    if !inside("ports::tcp_ports_cannot_be_scanned") {
        return;
    }
    let sink = Sink::new();
    let relay = Sink::setup(1).start();
    let allowed = sink.lab.peer("10.77.0.20");
    let [open, refusing, silent] =
        ["10.77.0.20:4001", "10.77.0.20:4002", "10.78.0.9:4003"].map(|at| at.parse().unwrap());
    let listener = sink.lab.outside.enter(|| TcpListener::bind(open).unwrap());
    listener.set_nonblocking(true).unwrap();
    // Nobody answers there, not even to say so.
    sink.lab.outside.ip("route add blackhole 10.78.0.0/24");
    let targets = [open, refusing, silent];
    let rounds = scale(20, 400);
    for way in Way::ALL {
        let mut client = sink.client(&relay, way, "10.77.0.1", "mallory");
        client.challenge();
        let answer = client.request(Method::Allocate, |w| w.requested_transport(6));
        assert_eq!(answer.code(), 442, "{way:?}");
        client.allocate();
        client.bind(CONTROL, allowed.local_addr().unwrap());
        for round in 0..rounds {
            for peer in targets {
                // Connect, ConnectionBind, and ConnectionAttempt, which only a server sends.
                for method in [0x00A, 0x00B, 0x00C] {
                    let request = of_method(&mut client, method, peer);
                    client.send(&request);
                }
            }
            let control = format!("control {round:06}");
            client.send_channel(CONTROL, control.as_bytes());
            assert_eq!(receive_from(&allowed).0, control.as_bytes());
            let seen = sink.seen_on_host(control.as_bytes());
            let stray = seen.iter().find(|packet| targets.contains(&packet.to));
            assert_eq!(stray, None, "{way:?}");
        }
        // Answers come in order, and there is none before this one's.
        let (id, refresh) = client.request_bytes(Method::Refresh, |_| {});
        client.send(&refresh);
        let first = client.receive().expect("the answer to the last request");
        assert_eq!(first[8..20], id.0, "{way:?}");
    }
    assert!(listener.accept().is_err());
}
