//! ChannelBind and ChannelData: RFC 8656 §12.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use super::sim::{Choices, Outcome, Sim, addr, channel_message};
use crate::address::ChannelRange;
use crate::forward::{DropReason, Framing, PeerVerdict};
use crate::server::Limits;
use crate::wire::Method;

const PEER: &str = "8.8.8.8:5000";

fn framing(verdict: &PeerVerdict) -> Option<Framing> {
    match verdict {
        PeerVerdict::ToClient { framing, .. } => Some(*framing),
        PeerVerdict::Drop(_) => None,
    }
}

/// T-60: a number outside 0x4000-0x4FFF, a missing number or peer: 400. With `rfc5766` numbers up to 0x7FFF are taken.
#[test]
fn channel_numbers_are_kept_within_their_range() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    for number in [0, 0x3fff, 0x5000, 0x7fff, 0x8000, 0xffff] {
        assert_eq!(
            sim.bind(&mut client, number, addr(PEER)),
            Some(400),
            "{number:#x}"
        );
    }
    let no_peer = sim.request(&mut client, Method::ChannelBind, |w| {
        w.channel_number(0x4000)
    });
    assert_eq!(no_peer.code(), Some(400));
    let no_number = sim.request(&mut client, Method::ChannelBind, |w| {
        w.xor_peer_address(addr(PEER))
    });
    assert_eq!(no_number.code(), Some(400));
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    assert_eq!(sim.bind(&mut client, 0x4fff, addr("8.8.8.9:5000")), None);

    let mut old = Sim::with(Choices {
        channels: ChannelRange::Rfc5766,
        ..Choices::default()
    });
    let mut client = old.client(1);
    old.allocate(&mut client);
    assert_eq!(old.bind(&mut client, 0x7fff, addr(PEER)), None);
    assert_eq!(
        old.bind(&mut client, 0x8000, addr("8.8.8.9:5000")),
        Some(400)
    );
    assert!(matches!(
        old.channel(&client, 0x7fff, b"x"),
        Outcome::ToPeer(_)
    ));
}

/// T-61: a number stands for one peer and a peer for one number.
#[test]
fn a_number_and_its_peer_belong_together() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    assert_eq!(
        sim.bind(&mut client, 0x4000, addr("8.8.8.8:5001")),
        Some(400)
    );
    assert_eq!(sim.bind(&mut client, 0x4001, addr(PEER)), Some(400));
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    assert_eq!(
        sim.bind(&mut client, 0x4001, addr("8.8.8.8:5001")),
        None,
        "another port is another peer"
    );
}

/// T-63, T-83: the other family is 443, a forbidden peer 403, a full table 508, a tunnelled client 403.
#[test]
fn channels_to_bad_peers_are_refused() {
    let limits = Limits {
        channels_per_allocation: 2,
        unauthenticated_per_second: 0,
        ..Limits::default()
    };
    let mut sim = Sim::with(Choices {
        limits,
        ..Choices::default()
    });
    let mut client = sim.client(1);
    let own = sim.allocate(&mut client);
    assert_eq!(
        sim.bind(&mut client, 0x4000, addr("[2606:4700::1]:5000")),
        Some(443)
    );
    assert_eq!(
        sim.bind(&mut client, 0x4000, addr("10.0.0.1:5000")),
        Some(403)
    );
    assert_eq!(sim.bind(&mut client, 0x4000, addr("8.8.8.8:53")), Some(403));
    assert_eq!(
        sim.bind(&mut client, 0x4000, own),
        Some(403),
        "A-13: its own peer"
    );
    let other_port = SocketAddr::new(own.ip(), 3478);
    assert_eq!(
        sim.bind(&mut client, 0x4000, other_port),
        Some(403),
        "A-13: outside the relayed range"
    );
    for number in 0..2 {
        let peer = SocketAddr::new(Ipv4Addr::new(8, 8, 8, 10).into(), 5000 + number);
        assert_eq!(sim.bind(&mut client, 0x4000 + number, peer), None);
    }
    assert_eq!(sim.bind(&mut client, 0x4100, addr(PEER)), Some(508));
    assert_eq!(
        sim.bind(&mut client, 0x4000, addr("8.8.8.10:5000")),
        None,
        "a refresh needs no place"
    );
    assert_eq!(sim.server.load().permissions, 1);
}

/// T-44, T-62: ChannelBind refreshes channel and permission.
#[test]
fn a_channel_bind_refreshes_channel_and_permission() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let relayed = sim.allocate(&mut client);
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    sim.advance(Duration::from_secs(290));
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    sim.advance(Duration::from_secs(290));
    assert_eq!(
        framing(&sim.peer_sends(addr(PEER), relayed)),
        Some(Framing::Channel(number(0x4000)))
    );
    assert_eq!(
        framing(&sim.peer_sends(addr("8.8.8.8:9"), relayed)),
        Some(Framing::Indication),
        "T-52"
    );
}

/// T-64, T-65: without a permission the channel is silent both ways; at 600 s it is gone, whatever was sent, and number
/// and peer are free.
#[test]
fn a_channel_lives_600_seconds_and_needs_its_permission() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let relayed = sim.allocate(&mut client);
    sim.refresh(&mut client, Some(3600));
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    for _ in 0..29 {
        sim.advance(Duration::from_secs(10));
        assert!(matches!(
            sim.channel(&client, 0x4000, b"x"),
            Outcome::ToPeer(_)
        ));
    }
    sim.advance(Duration::from_secs(11));
    assert_eq!(
        sim.channel(&client, 0x4000, b"x"),
        Outcome::Dropped(DropReason::NoPermission)
    );
    assert_eq!(framing(&sim.peer_sends(addr(PEER), relayed)), None);
    assert_eq!(sim.permit(&mut client, &[addr(PEER)]), None);
    assert!(matches!(
        sim.channel(&client, 0x4000, b"x"),
        Outcome::ToPeer(_)
    ));
    sim.advance(Duration::from_secs(250));
    assert_eq!(sim.permit(&mut client, &[addr(PEER)]), None);
    sim.advance(Duration::from_millis(48_900));
    assert!(
        matches!(sim.channel(&client, 0x4000, b"x"), Outcome::ToPeer(_)),
        "599.9 s"
    );
    sim.advance(Duration::from_millis(600));
    assert_eq!(
        sim.channel(&client, 0x4000, b"x"),
        Outcome::Dropped(DropReason::UnboundChannel)
    );
    assert_eq!(
        framing(&sim.peer_sends(addr(PEER), relayed)),
        Some(Framing::Indication),
        "the permission lives on"
    );
    client.nonce = super::allocate::nonce(&mut sim, &client);
    assert_eq!(sim.bind(&mut client, 0x4000, addr("8.8.8.9:5000")), None);
    assert_eq!(sim.bind(&mut client, 0x4001, addr(PEER)), None);
}

/// T-70, A-24: a length beyond the datagram is dropped; bytes beyond the length are not relayed; length 0 is an empty
/// datagram; an unbound number is dropped.
#[test]
fn channel_data_is_relayed_by_its_length() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    let good = channel_message(0x4000, b"hello");
    assert_eq!(
        sim.deliver(client.five_tuple, &good)
            .relayed_payload()
            .payload,
        b"hello"
    );
    let padded = [&good[..], &[1, 2, 3]].concat();
    assert_eq!(
        sim.deliver(client.five_tuple, &padded)
            .relayed_payload()
            .payload,
        b"hello"
    );
    assert_eq!(
        sim.channel(&client, 0x4000, b"").relayed_payload().payload,
        b""
    );
    let mut long = good;
    long[3] = 6;
    let outcome = sim.deliver(client.five_tuple, &long);
    assert_eq!(outcome, Outcome::Dropped(DropReason::MalformedChannelData));
    for length in 0..4 {
        let outcome = sim.deliver(client.five_tuple, &long[..length]);
        assert!(matches!(outcome, Outcome::Dropped(_)));
    }
    assert_eq!(
        sim.channel(&client, 0x4001, b"x"),
        Outcome::Dropped(DropReason::UnboundChannel)
    );
    assert_eq!(
        sim.channel(&client, 0x4fff, b"x"),
        Outcome::Dropped(DropReason::UnboundChannel)
    );
    let most = [7_u8; 65_503];
    assert_eq!(
        sim.channel(&client, 0x4000, &most)
            .relayed_payload()
            .payload
            .len(),
        most.len()
    );
}

/// T-83: a peer behind 6to4 or Teredo gets neither a channel nor a permission.
#[test]
fn tunnelled_peers_are_refused() {
    let mut sim = Sim::new();
    let mut v6 = sim.client(3);
    sim.request(&mut v6, Method::Allocate, |w| {
        w.requested_transport(17);
        w.requested_family(2);
    });
    for peer in ["[2002:808:808::1]:5000", "[2001::1]:5000"] {
        assert_eq!(sim.bind(&mut v6, 0x4000, addr(peer)), Some(403));
        assert_eq!(sim.permit(&mut v6, &[addr(peer)]), Some(403));
    }
}

fn number(value: u16) -> crate::address::ChannelNumber {
    crate::address::ChannelNumber::new(value, ChannelRange::Rfc8656).unwrap()
}
