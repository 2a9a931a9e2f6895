//! CreatePermission and what a permission is: RFC 8656 §9 and §10.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use super::sim::{Choices, Outcome, Sim, addr};
use crate::forward::{DropReason, PeerVerdict};
use crate::server::Limits;
use crate::wire::{Method, attribute};

const PEER: &str = "8.8.8.8:5000";

fn silent_peer(verdict: &PeerVerdict) -> bool {
    *verdict == PeerVerdict::Drop(DropReason::PeerNotPermitted)
}

/// T-40, T-41, T-42: no peer, a malformed one, an unknown family: 400; the other family: 443; a forbidden peer: 403; a
/// full table: 508; in this order.
#[test]
fn bad_peers_are_refused_in_order() {
    let limits = Limits {
        permissions_per_allocation: 2,
        unauthenticated_per_second: 0,
        ..Limits::default()
    };
    let mut sim = Sim::with(Choices {
        limits,
        ..Choices::default()
    });
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    assert_eq!(sim.permit(&mut client, &[]), Some(400));
    for value in [
        &[0_u8, 1, 0, 0, 1, 2, 3][..],
        &[0, 3, 0, 0, 1, 2, 3, 4],
        &[0, 2, 0, 0, 1, 2, 3, 4],
        &[],
    ] {
        let answer = sim.request(&mut client, Method::CreatePermission, |w| {
            w.xor_peer_address(addr("[2606:4700::1]:1"));
            w.raw(attribute::XOR_PEER_ADDRESS, value);
        });
        assert_eq!(answer.code(), Some(400), "{value:?}");
    }
    assert_eq!(
        sim.permit(
            &mut client,
            &[addr("127.0.0.1:1"), addr("[2606:4700::1]:1")]
        ),
        Some(443)
    );
    assert_eq!(
        sim.permit(&mut client, &[addr(PEER), addr("127.0.0.1:1")]),
        Some(403)
    );
    let three = [addr("8.8.8.1:1"), addr("8.8.8.2:1"), addr("8.8.8.3:1")];
    assert_eq!(sim.permit(&mut client, &three), Some(508));
    assert_eq!(sim.permit(&mut client, &three[..2]), None);
    assert_eq!(
        sim.permit(&mut client, &three[1..2]),
        None,
        "what is held can be refreshed"
    );
    assert_eq!(sim.permit(&mut client, &three[2..]), Some(508));
}

/// T-43: of several peers one bad one prevents all.
#[test]
fn one_bad_peer_prevents_all() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let relayed = sim.allocate(&mut client);
    assert_eq!(
        sim.permit(&mut client, &[addr(PEER), addr("10.0.0.1:5000")]),
        Some(403)
    );
    assert!(matches!(
        sim.send(&client, addr(PEER), b"x"),
        Outcome::Dropped(DropReason::NoPermission)
    ));
    assert!(silent_peer(&sim.peer_sends(addr(PEER), relayed)));
    assert_eq!(
        sim.permit(&mut client, &[addr(PEER), addr("9.9.9.9:1")]),
        None
    );
    assert_eq!(sim.server.load().permissions, 2);
}

/// T-41: a dual allocation takes peers of both families in one request.
#[test]
fn a_dual_allocation_takes_both_families() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let answer = sim.request(&mut client, Method::Allocate, |w| {
        w.requested_transport(17);
        w.additional_family(2);
    });
    assert_eq!(answer.code(), None);
    let v6 = addr("[2606:4700::1]:5000");
    assert_eq!(sim.permit(&mut client, &[addr(PEER), v6]), None);
    let [a, b] = answer.relayed()[..] else {
        panic!("two addresses")
    };
    assert_eq!(
        sim.send(&client, addr(PEER), b"x").relayed_payload().from,
        a
    );
    assert_eq!(sim.send(&client, v6, b"x").relayed_payload().from, b);
}

/// T-44, T-45: a permission is for an address whatever its port, lives exactly 300 s, and is refreshed by
/// CreatePermission and ChannelBind only.
#[test]
fn a_permission_lives_300_seconds() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let relayed = sim.allocate(&mut client);
    sim.refresh(&mut client, Some(3600));
    assert_eq!(sim.permit(&mut client, &[addr("8.8.8.8:0")]), None);
    let passes = |sim: &mut Sim, peer: &str| {
        let to = sim.peer_sends(addr(peer), relayed);
        matches!(to, PeerVerdict::ToClient { .. })
    };
    assert!(passes(&mut sim, PEER) && passes(&mut sim, "8.8.8.8:9"));
    assert!(!passes(&mut sim, "8.8.8.9:5000"));
    sim.advance(Duration::from_millis(299_900));
    assert!(passes(&mut sim, PEER));
    // Data does not refresh it (T-51).
    assert!(matches!(
        sim.send(&client, addr(PEER), b"x"),
        Outcome::ToPeer(_)
    ));
    sim.advance(Duration::from_millis(600));
    assert!(!passes(&mut sim, PEER));
    assert!(matches!(
        sim.send(&client, addr(PEER), b"x"),
        Outcome::Dropped(DropReason::NoPermission)
    ));

    assert_eq!(sim.permit(&mut client, &[addr(PEER)]), None);
    sim.advance(Duration::from_secs(240));
    assert_eq!(sim.permit(&mut client, &[addr(PEER)]), None);
    sim.advance(Duration::from_millis(299_900));
    assert!(passes(&mut sim, PEER));
    sim.advance(Duration::from_millis(600));
    assert!(!passes(&mut sim, PEER));
}

/// T-44, T-45: what is refreshed stays where it is: the table is told of a permission and of a channel once.
#[test]
fn a_refresh_changes_no_route() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    let before = sim.routes;
    for _ in 0..3 {
        assert_eq!(sim.permit(&mut client, &[addr(PEER)]), None);
    }
    assert_eq!(sim.routes - before, 1);
    for _ in 0..3 {
        assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    }
    assert_eq!(sim.routes - before, 2);
}

/// T-50, T-51: Send without a peer or data, or to a peer without permission, is dropped; empty data is an empty datagram.
#[test]
fn a_send_indication_is_relayed_or_dropped() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let relayed = sim.allocate(&mut client);
    assert!(matches!(
        sim.send(&client, addr(PEER), b"x"),
        Outcome::Dropped(DropReason::NoPermission)
    ));
    assert_eq!(sim.permit(&mut client, &[addr(PEER)]), None);
    let out = sim.send(&client, addr(PEER), b"hello").relayed_payload();
    assert_eq!(
        (out.from, out.peer, &out.payload[..]),
        (relayed, addr(PEER), &b"hello"[..])
    );
    assert!(!out.dont_fragment);
    assert_eq!(
        sim.send(&client, addr(PEER), b"").relayed_payload().payload,
        b""
    );
    for missing in 0..2 {
        let id = sim.transaction();
        let bytes = super::sim::write(crate::wire::Class::Indication, Method::Send, id, |w| {
            if missing != 0 {
                w.xor_peer_address(addr(PEER));
            }
            if missing != 1 {
                w.data(b"x");
            }
        });
        let outcome = sim.deliver(client.five_tuple, &bytes);
        assert_eq!(outcome, Outcome::Dropped(DropReason::MalformedSend));
    }
    let id = sim.transaction();
    let bytes = super::sim::write(crate::wire::Class::Indication, Method::Send, id, |w| {
        w.dont_fragment();
        w.xor_peer_address(addr(PEER));
        w.data(b"x");
    });
    assert!(
        sim.deliver(client.five_tuple, &bytes)
            .relayed_payload()
            .dont_fragment,
        "T-67"
    );
}

/// a Send indication to a closed port is dropped although its address is permitted.
#[test]
fn a_send_to_a_closed_port_is_dropped() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    assert_eq!(sim.permit(&mut client, &[addr(PEER)]), None);
    for port in [0, 53, 123, 1900, 11_211] {
        let peer = SocketAddr::new(addr(PEER).ip(), port);
        assert_eq!(
            sim.send(&client, peer, b"x"),
            Outcome::Dropped(DropReason::ForbiddenPeer),
            "{port}"
        );
    }
}

/// permissions of one allocation are bounded, and many in one request install nothing beyond the bound.
#[test]
fn permissions_are_bounded() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    let many: Vec<SocketAddr> = (0..65_u8)
        .map(|n| SocketAddr::new(Ipv4Addr::new(8, 8, 4, n).into(), 5000))
        .collect();
    assert_eq!(sim.permit(&mut client, &many), Some(508));
    assert_eq!(sim.permit(&mut client, &many[..64]), None);
    assert_eq!(sim.server.load().permissions, 64);
}

/// T-03: data is bound to the 5-tuple: another client's permission and channel serve nobody else.
#[test]
fn data_is_bound_to_its_five_tuple() {
    let mut sim = Sim::new();
    let mut first = sim.client(1);
    let mut second = sim.client(2);
    sim.allocate(&mut first);
    sim.allocate(&mut second);
    assert_eq!(sim.bind(&mut first, 0x4000, addr(PEER)), None);
    assert!(matches!(
        sim.channel(&first, 0x4000, b"x"),
        Outcome::ToPeer(_)
    ));
    assert!(matches!(
        sim.channel(&second, 0x4000, b"x"),
        Outcome::Dropped(DropReason::UnboundChannel)
    ));
    assert!(matches!(
        sim.send(&second, addr(PEER), b"x"),
        Outcome::Dropped(DropReason::NoPermission)
    ));
}
