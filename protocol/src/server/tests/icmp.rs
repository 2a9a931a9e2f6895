//! ICMP errors: RFC 8656 §11.5.

use core::time::Duration;

use super::sim::{Answer, Client, Sim, addr};
use crate::forward::RelayedId;
use crate::server::{IcmpError, Reply};
use crate::wire::{Class, Icmp, Method};

fn tell(sim: &mut Sim, error: IcmpError) -> Option<Answer> {
    sim.advance(Duration::from_secs(1));
    let mut reply = Reply::new();
    let id: RelayedId = *sim.sockets.keys().next().unwrap();
    let to = sim.server.handle_icmp(sim.now, id, error, &mut reply);
    to.map(|_| Answer(reply.as_bytes().to_vec()))
}

fn v4(kind: u8, code: u8) -> IcmpError {
    IcmpError {
        peer: addr("8.8.8.8:5000"),
        kind,
        code,
        mtu: 1400,
    }
}

fn allocated(family: u8, peer: &str) -> (Sim, Client) {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let answer = sim.request(&mut client, Method::Allocate, |w| {
        w.requested_transport(17);
        w.requested_family(family);
    });
    assert_eq!(answer.code(), None);
    assert_eq!(sim.permit(&mut client, &[addr(peer)]), None);
    (sim, client)
}

/// T-53: an ICMP error about a permitted peer becomes a Data indication with ICMP and without DATA, a bound channel
/// notwithstanding; the MTU stands only where the error has one.
#[test]
fn an_icmp_error_is_told_to_the_client() {
    let (mut sim, mut client) = allocated(1, "8.8.8.8:5000");
    assert_eq!(sim.bind(&mut client, 0x4000, addr("8.8.8.8:5000")), None);
    for (kind, code, data) in [(3, 3, 0), (3, 4, 1400), (11, 0, 0)] {
        let told = tell(&mut sim, v4(kind, code)).unwrap();
        assert_eq!(
            (told.framed().class(), told.framed().method()),
            (Class::Indication, Method::Data)
        );
        assert_eq!(
            told.attributes().xor_peer_address(),
            Some(Ok(addr("8.8.8.8:5000")))
        );
        assert_eq!(
            told.attributes().icmp(),
            Some(Ok(Icmp { kind, code, data }))
        );
        assert_eq!(told.attributes().data(), None);
    }
    let (mut sim, _) = allocated(2, "[2606:4700::1]:5000");
    for (kind, data) in [(1, 0), (2, 1400), (3, 0)] {
        let error = IcmpError {
            peer: addr("[2606:4700::1]:0"),
            kind,
            code: 0,
            mtu: 1400,
        };
        let told = tell(&mut sim, error).unwrap();
        assert_eq!(
            told.attributes().icmp(),
            Some(Ok(Icmp {
                kind,
                code: 0,
                data
            }))
        );
        assert_eq!(
            told.attributes().xor_peer_address(),
            Some(Ok(addr("[2606:4700::1]:0")))
        );
    }
}

/// T-53: other types, and errors about peers without a permission, are not told.
#[test]
fn other_icmp_messages_are_not_told() {
    let (mut sim, _) = allocated(1, "8.8.8.8:5000");
    for kind in [0, 4, 5, 8, 12, 13] {
        assert!(tell(&mut sim, v4(kind, 0)).is_none(), "{kind}");
    }
    let stranger = IcmpError {
        peer: addr("8.8.8.9:5000"),
        ..v4(3, 3)
    };
    assert!(tell(&mut sim, stranger).is_none());
    let (mut sim, _) = allocated(2, "[2606:4700::1]:5000");
    for kind in [0, 4, 128, 129] {
        let error = IcmpError {
            peer: addr("[2606:4700::1]:5000"),
            ..v4(kind, 0)
        };
        assert!(tell(&mut sim, error).is_none(), "{kind}");
    }
}

/// T-54: ICMP errors are told at a bounded rate and change nothing.
#[test]
fn icmp_errors_are_told_at_a_bounded_rate() {
    let (mut sim, client) = allocated(1, "8.8.8.8:5000");
    let mut other = sim.client(2);
    sim.allocate(&mut other);
    assert_eq!(sim.permit(&mut other, &[addr("8.8.8.8:5000")]), None);
    let before = sim.server.load();
    assert!(tell(&mut sim, v4(3, 3)).is_some());
    let id: RelayedId = *sim.sockets.keys().next().unwrap();
    let mut reply = Reply::new();
    let told = (0..1000)
        .filter(|_| {
            sim.server
                .handle_icmp(sim.now, id, v4(3, 3), &mut reply)
                .is_some()
        })
        .count();
    assert_eq!(told, 0);
    let other_socket: RelayedId = *sim.sockets.keys().nth(1).unwrap();
    let to = sim
        .server
        .handle_icmp(sim.now, other_socket, v4(3, 3), &mut reply);
    assert_eq!(
        to,
        Some(other.five_tuple),
        "the other allocation has its own rate"
    );
    assert_eq!(sim.server.load(), before);
    assert_eq!(
        sim.send(&client, addr("8.8.8.8:5000"), b"x")
            .relayed_payload()
            .payload,
        b"x"
    );
}
