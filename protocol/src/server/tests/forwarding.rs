//! Both parties on one relay, and what the table remembers.

use alloc::vec;
use core::time::Duration;

use super::sim::{Choices, Client, Outcome, Sim, addr, credentials};
use crate::address::{PeerAddr, RelayedAddr};
use crate::forward::{
    Bandwidth, ClientVerdict, Destination, DropReason, Framing, PeerVerdict, Traffic,
};
use crate::server::Event;

/// a permission for a relayed address of this relay is granted, and data to it is for handing over inside, never
/// for the network; both sides' permissions count.
#[test]
fn two_allocations_can_be_each_others_peers() {
    let mut sim = Sim::new();
    let mut a = sim.client(1);
    let mut b = sim.client(2);
    let at_a = sim.allocate(&mut a);
    let at_b = sim.allocate(&mut b);
    assert_eq!(sim.permit(&mut a, &[at_b]), None);
    let message = super::sim::channel_message(0x4000, b"x");
    assert_eq!(sim.bind(&mut a, 0x4000, at_b), None);
    let ClientVerdict::ToPeer {
        destination, peer, ..
    } = sim
        .table
        .from_client(sim.now.instant, &a.five_tuple, &message)
    else {
        panic!("not relayed");
    };
    assert_eq!(
        (destination, peer),
        (Destination::OwnRelayed, PeerAddr(at_b))
    );
    let there = sim.table.relayed_at(at_b).unwrap();
    // B has no permission for A yet.
    let verdict = sim
        .table
        .from_peer(sim.now.instant, there, PeerAddr(at_a), 1);
    assert_eq!(verdict, PeerVerdict::Drop(DropReason::PeerNotPermitted));
    assert_eq!(sim.permit(&mut b, &[at_a]), None);
    let verdict = sim
        .table
        .from_peer(sim.now.instant, there, PeerAddr(at_a), 1);
    assert_eq!(
        verdict,
        PeerVerdict::ToClient {
            client: b.five_tuple,
            framing: Framing::Indication,
            synthetic: false,
        }
    );
    // A port on the relayed address that holds no allocation is nobody's.
    assert_eq!(sim.table.relayed_at(addr("13.54.7.7:22")), None);
    assert_eq!(
        sim.send(&a, at_a, b"x"),
        Outcome::Dropped(DropReason::ForbiddenPeer),
        "its own peer"
    );
}

/// where the only peers are listed, two clients of the relay are not each other's, unless its address is
/// on the list: no permission, no channel, and a call that goes on between them ends with the reload; the SFU is reached.
#[test]
fn a_list_of_the_only_peers_parts_two_allocations() {
    let mut sim = Sim::new();
    let mut a = sim.client(1);
    let mut b = sim.client(2);
    let at_a = sim.allocate(&mut a);
    let at_b = sim.allocate(&mut b);
    let sfu = addr("8.8.8.8:5000");
    assert_eq!(sim.bind(&mut a, 0x4000, at_b), None);
    assert_eq!(sim.bind(&mut a, 0x4001, sfu), None);
    assert_eq!(sim.permit(&mut b, &[at_a]), None);
    let outcome = sim.replace_policy(|rules, _| rules.only = vec!["8.8.8.8/32".parse().unwrap()]);
    assert_eq!((outcome.permissions, outcome.channels), (2, 1));
    assert_eq!(
        sim.channel(&a, 0x4000, b"x"),
        Outcome::Dropped(DropReason::UnboundChannel)
    );
    assert_eq!(
        sim.send(&a, at_b, b"x"),
        Outcome::Dropped(DropReason::NoPermission)
    );
    assert_eq!(sim.permit(&mut a, &[at_b]), Some(403));
    assert_eq!(sim.permit(&mut a, &[sfu, at_b]), Some(403));
    assert_eq!(sim.bind(&mut a, 0x4000, at_b), Some(403));
    assert!(matches!(sim.channel(&a, 0x4001, b"x"), Outcome::ToPeer(_)));
    sim.replace_policy(|rules, _| rules.only.push(at_b.ip().into()));
    assert_eq!(sim.bind(&mut a, 0x4000, at_b), None);
}

/// T-84: a relayed address leads to one allocation only, and to none when it has ended.
#[test]
fn a_relayed_address_leads_to_one_allocation() {
    let mut sim = Sim::with(Choices::default());
    let mut a = sim.client(1);
    let at_a = sim.allocate(&mut a);
    assert!(sim.table.relayed_at(at_a).is_some());
    assert!(!sim.table.is_empty());
    sim.refresh(&mut a, Some(0));
    assert_eq!(sim.table.relayed_at(at_a), None);
    assert!(sim.table.is_empty());
    let told = sim.events.iter().find_map(|event| match event {
        Event::AllocationEnded { relayed, .. } => Some(*relayed),
        Event::AllocationCreated { .. } => None,
    });
    assert_eq!(told, Some([Some(RelayedAddr(at_a)), None]), "at its end");
}

/// An allocation's traffic is counted by direction, payloads only.
#[test]
fn traffic_is_counted_by_direction() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let relayed = sim.allocate(&mut client);
    sim.bind(&mut client, 0x4000, addr("8.8.8.8:5000"));
    sim.channel(&client, 0x4000, b"12345");
    sim.send(&client, addr("8.8.8.8:5000"), b"123");
    sim.channel(&client, 0x4001, b"dropped");
    sim.peer_sends(addr("8.8.8.8:5000"), relayed);
    sim.peer_sends(addr("8.8.8.9:5000"), relayed);
    let id = sim.server.allocations().next().unwrap().allocation;
    let expected = Traffic {
        to_peer_packets: 2,
        to_peer_bytes: 8,
        to_client_packets: 1,
        to_client_bytes: 100,
    };
    assert_eq!(sim.table.traffic(id), Some(expected));
}

/// T-81: a user's payload beyond the limit is dropped, over all its allocations together; control messages, and other
/// users, are not touched.
#[test]
fn a_users_bandwidth_is_limited() {
    let mut sim = Sim::new();
    sim.table.limit_bandwidth(Bandwidth {
        bits_per_second_per_user: 8_000,
        ..Bandwidth::default()
    });
    let mut first = sim.client(1);
    let mut second = sim.client(2);
    let mut other = Client::new(3, &credentials("bob", Duration::from_secs(3600)));
    for client in [&mut first, &mut second, &mut other] {
        sim.allocate(client);
        assert_eq!(sim.bind(client, 0x4000, addr("8.8.8.8:5000")), None);
    }
    let relayed = |sim: &mut Sim, client: &Client| {
        (0..100)
            .filter(|_| matches!(sim.channel(client, 0x4000, &[0; 100]), Outcome::ToPeer(_)))
            .count()
    };
    // 1000 bytes a second, a second's worth at once.
    assert_eq!(relayed(&mut sim, &first), 11);
    assert_eq!(
        sim.channel(&second, 0x4000, &[0; 100]),
        Outcome::Dropped(DropReason::Bandwidth)
    );
    assert_eq!(relayed(&mut sim, &other), 11);
    assert_eq!(sim.refresh(&mut first, None).code(), None);
    sim.advance(Duration::from_secs(1));
    assert_eq!(relayed(&mut sim, &first) + relayed(&mut sim, &second), 10);
}

/// behind a NAT too an allocation is not its own peer, by neither of its two addresses.
#[test]
fn an_allocation_behind_a_nat_is_not_its_own_peer() {
    let advertised = "52.62.1.9".parse().unwrap();
    let mut sim = Sim::with(Choices {
        advertised: Some(advertised),
        ..Choices::default()
    });
    let mut client = sim.client(1);
    let known = sim.allocate(&mut client);
    assert_eq!(known.ip(), advertised);
    let bound = *sim.sockets.values().next().unwrap();
    assert_eq!(sim.permit(&mut client, &[known, bound]), None);
    for own in [known, bound] {
        assert_eq!(
            sim.send(&client, own, b"x"),
            Outcome::Dropped(DropReason::ForbiddenPeer)
        );
        assert_eq!(sim.bind(&mut client, 0x4000, own), Some(403));
    }
}
