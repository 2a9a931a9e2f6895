//! A TURN client of another author against this server and its forwarding table, on virtual time.
//!
//! Responsible for whole calls by the public API alone: whatever both sides here misread in the same way would pass in
//! tests that write both sides. Not responsible for single rules; those are next to the code.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that fails is a test that panics"
)]

#[path = "third_party_client/sim.rs"]
mod sim;

use std::net::SocketAddr;
use std::time::Duration;

use sim::{Answered, FAIR, FOUL, STATIC_USER, Sim, time_limited};
use taciturn_protocol::address::Transport;
use taciturn_protocol::forward::Framing;
use taciturn_protocol::server::{EndCause, Limits};
use taciturn_protocol::wire::{Integrity, Method};
use turn_client_proto::api::{TurnConfig, TurnEvent};
use turn_client_proto::prelude::TurnClientApi;
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::types::stun::message::IntegrityAlgorithm;
use turn_client_proto::types::{AddressFamily, TransportType, TurnCredentials};

const UDP: TransportType = TransportType::Udp;
const PATIENCE: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits {
        unauthenticated_per_second: 0,
        ..Limits::default()
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn peer_of_family(relayed: SocketAddr) -> SocketAddr {
    match relayed {
        SocketAddr::V4(_) => addr("8.8.8.8:5000"),
        SocketAddr::V6(_) => addr("[2606:4700::1]:5000"),
    }
}

fn config(families: &[AddressFamily]) -> TurnConfig {
    let mut config = TurnConfig::new(time_limited("alice", 4));
    config.set_address_family(families[0]);
    for &family in &families[1..] {
        config.add_address_family(family);
    }
    config.set_supported_integrity(IntegrityAlgorithm::Sha256);
    config.set_anonymous_username(Feature::Disabled);
    config
}

/// Lets a client allocate; its relayed addresses, IPv4 first.
fn allocate(sim: &mut Sim, number: usize) -> Vec<SocketAddr> {
    let done = sim.until(PATIENCE, |sim| !sim.relayed(number).is_empty());
    assert!(done, "{:?} {:?}", sim.ends[number].events, sim.dropped);
    sim.relayed(number)
}

fn permit(sim: &mut Sim, number: usize, peer: SocketAddr) {
    sim.act(number, |client, now| {
        client.create_permission(UDP, peer.ip(), now)
    })
    .unwrap();
    let done = sim.until(PATIENCE, |sim| {
        sim.ends[number].client.have_permission(UDP, peer.ip())
    });
    assert!(done, "{:?}", sim.ends[number].events);
}

fn bind(sim: &mut Sim, number: usize, peer: SocketAddr) {
    sim.act(number, |client, now| client.bind_channel(UDP, peer, now))
        .unwrap();
    let done = sim.until(PATIENCE, |sim| {
        let mut events = sim.ends[number].events.iter();
        events.any(|event| matches!(event, TurnEvent::ChannelCreated(_, bound) if *bound == peer))
    });
    assert!(done, "{:?}", sim.ends[number].events);
}

fn delete(sim: &mut Sim, number: usize) {
    sim.act(number, |client, now| client.delete(now)).unwrap();
    let done = sim.until(PATIENCE, |sim| sim.ends[number].closed);
    assert!(done, "{:?}", sim.ends[number].events);
}

/// A payload there and one back, over links that lose nothing.
fn exchange(sim: &mut Sim, number: usize, peer: SocketAddr, over_channel: bool) {
    let relayed = sim.relayed(number);
    let relayed = relayed
        .into_iter()
        .find(|relayed| relayed.is_ipv4() == peer.is_ipv4())
        .unwrap();
    // This client frames ChannelData on a stream by its length alone: whole words need no padding.
    let whole_words = over_channel && sim.ends[number].client.transport() == TransportType::Tcp;
    for length in [0, 5, 172, 1201] {
        let length = if whole_words { length / 4 * 4 } else { length };
        let payload: Vec<u8> = (0..length).map(|byte: u16| byte.to_le_bytes()[0]).collect();
        let (at_peers, framings) = (sim.at_peers.len(), sim.framings.len());
        let received = sim.ends[number].received.len();
        assert_eq!(sim.send(number, peer, &payload), over_channel);
        sim.advance(Duration::from_secs(1));
        assert_eq!(sim.at_peers.len(), at_peers + 1, "{:?}", sim.dropped);
        let there = sim.at_peers.last().unwrap();
        assert_eq!((there.from, there.peer), (relayed, peer));
        assert_eq!(there.payload, payload);

        sim.peer_sends(peer, relayed, &payload);
        sim.advance(Duration::from_secs(1));
        assert_eq!(sim.framings.len(), framings + 1, "{:?}", sim.dropped);
        let framing = sim.framings.last().unwrap();
        assert_eq!(matches!(framing, Framing::Channel(_)), over_channel);
        assert_eq!(sim.ends[number].received.len(), received + 1);
        assert_eq!(
            *sim.ends[number].received.last().unwrap(),
            (peer, payload),
            "what the peer sent"
        );
    }
}

/// A short call from beginning to end: every address family asked for, indications first, then a channel.
fn call(transport: Transport, families: &[AddressFamily], integrity: IntegrityAlgorithm) -> Sim {
    let mut sim = Sim::new(FAIR, 1, limits());
    let mut config = config(families);
    config.set_supported_integrity(integrity);
    let caller = sim.join(transport, config);
    let relayed = allocate(&mut sim, caller);
    assert_eq!(relayed.len(), families.len());
    assert_eq!(sim.server.load().allocations, 1);
    for &relayed in &relayed {
        let peer = peer_of_family(relayed);
        permit(&mut sim, caller, peer);
        exchange(&mut sim, caller, peer, false);
    }
    // One channel: this client numbers its channels anew for each family.
    let peer = peer_of_family(*relayed.last().unwrap());
    bind(&mut sim, caller, peer);
    exchange(&mut sim, caller, peer, true);
    let stranger = addr("9.9.9.9:5000");
    let received = sim.ends[caller].received.len();
    let relayed = sim.relayed(caller)[0];
    sim.peer_sends(stranger, relayed, b"who is not permitted");
    sim.advance(Duration::from_secs(1));
    assert_eq!(sim.ends[caller].received.len(), received);
    delete(&mut sim, caller);
    assert_eq!(sim.ended, [EndCause::Client]);
    sim
}

const V4: &[AddressFamily] = &[AddressFamily::IPV4];
const V6: &[AddressFamily] = &[AddressFamily::IPV6];
const BOTH: &[AddressFamily] = &[AddressFamily::IPV4, AddressFamily::IPV6];

/// S-18, S-30, T-18, T-21, T-52: whichever family was asked for, or both, carries indications and ChannelData, all signed with SHA-256 (RFC 8656 §7, §11, §12)
#[test]
fn a_foreign_client_holds_a_call_in_every_family() {
    for families in [V4, V6, BOTH] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut sim = call(transport, families, IntegrityAlgorithm::Sha256);
            let (first, others) = sim.answered.split_first().unwrap();
            assert_eq!(
                (first.integrity, first.code),
                (Integrity::Absent, Some(401))
            );
            assert!(others.len() >= 4);
            for answer in others {
                assert_eq!(
                    (answer.integrity, answer.code),
                    (Integrity::Sha256, None),
                    "{answer:?}"
                );
            }
            sim.assert_nothing_left();
        }
    }
}

/// S-30: a client that chooses MD5 by name and checks SHA-1 only holds a call as well (RFC 8489 §9.2.4)
#[test]
fn a_foreign_client_that_knows_sha1_only_holds_a_call() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut sim = call(transport, V4, IntegrityAlgorithm::Sha1);
        sim.assert_nothing_left();
    }
}

/// S-16, T-10: a client that signs with MD5 and SHA-1 is authenticated, and each retransmission gets the first success again (RFC 8489 §6.3.1)
#[test]
fn a_foreign_client_that_names_md5_gets_one_allocation() {
    let mut sim = Sim::new(FAIR, 8, limits());
    let mut old = config(V4);
    old.set_supported_integrity(IntegrityAlgorithm::Sha1);
    let caller = sim.join(Transport::Udp, old);
    sim.advance(PATIENCE);
    let (_, signed) = sim.answered.split_first().unwrap();
    let granted = &signed[0];
    assert_eq!((granted.integrity, granted.code), (Integrity::Sha1, None));
    assert_eq!((granted.client, granted.relayed.len()), (caller, 1));
    assert!(signed.iter().all(|answer| answer == granted));
    assert_eq!(sim.server.load().allocations, 1);
}

/// S-33: a stored user proves itself by USERHASH (RFC 8489 §9.2.3.2, §14.4)
#[test]
fn a_foreign_client_allocates_without_naming_its_user() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut sim = Sim::new(FAIR, 2, limits());
        let mut anonymous = TurnConfig::new(TurnCredentials::new(STATIC_USER.0, STATIC_USER.1));
        anonymous.set_supported_integrity(IntegrityAlgorithm::Sha256);
        anonymous.set_anonymous_username(Feature::Required);
        let caller = sim.join(transport, anonymous);
        allocate(&mut sim, caller);
        let granted = sim.answered.last().unwrap();
        assert!(granted.by_hash && granted.code.is_none(), "{granted:?}");
        delete(&mut sim, caller);
        sim.assert_nothing_left();
    }
}

/// S-26, S-27: a wrong password and an unknown user get 401 whatever the client tries, and hold nothing (RFC 8489 §9.2.4)
#[test]
fn a_foreign_client_with_wrong_credentials_is_refused() {
    for (name, password) in [(STATIC_USER.0, "another"), ("nobody", STATIC_USER.1)] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut sim = Sim::new(FAIR, 3, limits());
            let mut wrong = TurnConfig::new(TurnCredentials::new(name, password));
            wrong.set_supported_integrity(IntegrityAlgorithm::Sha256);
            let caller = sim.join(transport, wrong);
            assert!(sim.until(PATIENCE, |sim| sim.ends[caller].closed));
            let events = &sim.ends[caller].events;
            assert!(
                matches!(events[..], [TurnEvent::AllocationCreateFailed(_)]),
                "{events:?}"
            );
            let codes = sim.codes(caller, Method::Allocate);
            assert!(codes.len() >= 2, "{codes:?}");
            assert!(codes.iter().all(|code| *code == Some(401)), "{codes:?}");
            assert_eq!(sim.server.load().allocations, 0);
            sim.assert_nothing_left();
        }
    }
}

/// S-28: a nonce that has outlived its 600 s gets 438, and the client goes on with the new one (RFC 8489 §9.2.5)
#[test]
fn a_foreign_client_follows_a_stale_nonce() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut sim = Sim::new(FAIR, 4, limits());
        let caller = sim.join(transport, config(V4));
        let relayed = allocate(&mut sim, caller);
        sim.advance(Duration::from_secs(700));
        let peer = peer_of_family(relayed[0]);
        permit(&mut sim, caller, peer);
        let codes = sim.codes(caller, Method::CreatePermission);
        assert_eq!(codes, [Some(438), None]);
        sim.advance(Duration::from_secs(700));
        bind(&mut sim, caller, peer);
        exchange(&mut sim, caller, peer, true);
        sim.advance(Duration::from_secs(700));
        delete(&mut sim, caller);
        let codes = sim.codes(caller, Method::Refresh);
        assert_eq!(codes[codes.len() - 2..], [Some(438), None]);
        sim.assert_nothing_left();
    }
}

/// T-26, T-30, T-44, T-62: the client's own timers keep allocation, permissions and channel alive (RFC 8656 §8, §10, §12)
#[test]
fn a_foreign_client_keeps_a_call_of_forty_minutes() {
    let shortest = Limits {
        max_lifetime: Duration::from_secs(600),
        ..limits()
    };
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut sim = Sim::new(FAIR, 5, shortest);
        let caller = sim.join(transport, config(BOTH));
        let relayed = allocate(&mut sim, caller);
        let (by_channel, by_indication) = (peer_of_family(relayed[0]), peer_of_family(relayed[1]));
        bind(&mut sim, caller, by_channel);
        permit(&mut sim, caller, by_indication);
        for _ in 0..40 {
            sim.advance(Duration::from_secs(60));
            let load = sim.server.load();
            assert_eq!(
                (load.allocations, load.permissions, load.channels),
                (1, 2, 1)
            );
        }
        assert_eq!(sim.relayed(caller), relayed);
        exchange(&mut sim, caller, by_channel, true);
        exchange(&mut sim, caller, by_indication, false);
        // Each nonce lived for 600 s, and everything was refreshed beyond its own lifetime.
        let successes = |method| {
            let codes = sim.codes(caller, method);
            codes.iter().filter(|code| code.is_none()).count()
        };
        assert!(successes(Method::Refresh) >= 4);
        assert!(successes(Method::CreatePermission) >= 2 * 8);
        assert!(successes(Method::ChannelBind) >= 5);
        let stale = sim.answered.iter().filter(|a| a.code == Some(438)).count();
        assert!((3..=8).contains(&stale), "{stale} stale nonces");
        assert_eq!(sim.ended, []);
        delete(&mut sim, caller);
        sim.assert_nothing_left();
    }
}

/// T-84: a client that falls silent loses its allocation at the end of its lifetime, and nothing of it stays (RFC 8656 §6)
#[test]
fn a_foreign_client_that_vanishes_leaves_nothing() {
    let mut sim = Sim::new(FAIR, 6, limits());
    let caller = sim.join(Transport::Udp, config(V4));
    let relayed = allocate(&mut sim, caller);
    bind(&mut sim, caller, peer_of_family(relayed[0]));
    sim.ends[caller].closed = true;
    sim.advance(Duration::from_secs(1700));
    assert_eq!(
        (sim.server.load().allocations, &sim.ended[..]),
        (1, &[][..])
    );
    sim.advance(Duration::from_secs(200));
    assert_eq!(sim.ended, [EndCause::Expired]);
    sim.assert_nothing_left();
}

/// T-84: the end of a client's connection is the end of its allocation (RFC 8656 §6)
#[test]
fn a_foreign_client_whose_connection_breaks_leaves_nothing() {
    let mut sim = Sim::new(FAIR, 9, limits());
    let caller = sim.join(Transport::Tcp, config(V4));
    let relayed = allocate(&mut sim, caller);
    bind(&mut sim, caller, peer_of_family(relayed[0]));
    sim.disconnect(caller);
    assert_eq!(sim.ended, [EndCause::Disconnected]);
    sim.assert_nothing_left();
}

/// T-52: two clients of one relay are each other's peers, by indications and channels, over UDP and TCP (RFC 8656 §11)
#[test]
fn two_foreign_clients_are_each_others_peers() {
    let mut sim = Sim::new(FAIR, 7, limits());
    let left = sim.join(Transport::Udp, config(BOTH));
    let right = sim.join(Transport::Tcp, config(BOTH));
    let (of_left, of_right) = (allocate(&mut sim, left), allocate(&mut sim, right));
    let payload = b"a payload of 24 bytes..!";
    for (as_channel, family) in [(false, 0), (false, 1), (true, 1)] {
        let (of_left, of_right) = (of_left[family], of_right[family]);
        if as_channel {
            bind(&mut sim, left, of_right);
            bind(&mut sim, right, of_left);
        } else {
            permit(&mut sim, left, of_right);
            permit(&mut sim, right, of_left);
        }
        for (from, to, of_from, of_to) in [
            (left, right, of_left, of_right),
            (right, left, of_right, of_left),
        ] {
            let received = sim.ends[to].received.len();
            assert_eq!(sim.send(from, of_to, payload), as_channel);
            sim.advance(Duration::from_secs(1));
            assert_eq!(
                sim.ends[to].received[received..],
                [(of_from, payload.to_vec())]
            );
        }
    }
    assert!(sim.at_peers.is_empty(), "nothing left the relay");
    delete(&mut sim, left);
    delete(&mut sim, right);
    sim.assert_nothing_left();
}

/// Joins until there is an allocation. A challenge that arrives twice makes this client begin a second transaction; when
/// that one's 437 overtakes the first one's success it gives up, and its user tries another port (RFC 8656 §7.4).
fn allocate_somehow(sim: &mut Sim, config: &TurnConfig) -> usize {
    for _ in 0..5 {
        let number = sim.join(Transport::Udp, config.clone());
        let settled = sim.until(PATIENCE, |sim| {
            sim.ends[number].closed || !sim.relayed(number).is_empty()
        });
        assert!(settled);
        if !sim.ends[number].closed {
            return number;
        }
        assert!(
            sim.codes(number, Method::Allocate).contains(&Some(437)),
            "given up without a reason"
        );
    }
    panic!("refused five times")
}

/// How many repeated requests got their first success again: those to allocate, and the others. Makes sure that none of
/// them got a second allocation or lost its first.
fn repeated_successes(answered: &[Answered]) -> [usize; 2] {
    let mut repeated = [0; 2];
    for (position, answer) in answered.iter().enumerate() {
        let same = |other: &&Answered| (other.client, other.id) == (answer.client, answer.id);
        let Some(first) = answered[..position].iter().find(same) else {
            continue;
        };
        if answer.method == Method::Allocate {
            assert_eq!(answer, first);
        } else if first.code.is_some() {
            assert_eq!(answer.code, first.code, "{answer:?}");
        }
        if (first.code, answer.code) == (None, None) {
            repeated[usize::from(answer.method != Method::Allocate)] += 1;
        }
    }
    repeated
}

/// S-16, T-10: with every tenth datagram lost, some repeated and all reordered, retransmissions bring every request to the same end (RFC 8489 §6.2.1, RFC 8656 §7.2)
#[test]
fn foreign_clients_hold_a_call_over_bad_links() {
    let mut repeated = [0; 2];
    let mut refused = 0;
    for seed in 0..40 {
        let mut sim = Sim::new(FOUL, seed, limits());
        let config = config(V4);
        let left = allocate_somehow(&mut sim, &config);
        let right = allocate_somehow(&mut sim, &config);
        refused += sim.ends.len() - 2;
        let (of_left, of_right) = (sim.relayed(left)[0], sim.relayed(right)[0]);
        let outside = peer_of_family(of_left);
        permit(&mut sim, left, outside);
        bind(&mut sim, left, of_right);
        bind(&mut sim, right, of_left);
        sim.advance(Duration::from_secs(40 * 60));
        assert_eq!(
            (sim.relayed(left)[0], sim.relayed(right)[0]),
            (of_left, of_right)
        );
        let before = [left, right].map(|number| sim.ends[number].received.len());
        for number in 0..200_u32 {
            let payload = number.to_be_bytes();
            sim.send(left, of_right, &payload);
            sim.send(right, of_left, &payload);
            sim.peer_sends(outside, of_left, b"from outside");
            sim.send(left, outside, b"to the outside");
            sim.advance(Duration::from_millis(20));
        }
        sim.advance(Duration::from_secs(1));
        for (to, peer, before) in [(left, of_right, before[0]), (right, of_left, before[1])] {
            let received = &sim.ends[to].received[before..];
            let of_peer = received.iter().filter(|(from, _)| *from == peer);
            let numbers: Vec<u32> = of_peer
                .map(|(_, payload)| u32::from_be_bytes(payload[..].try_into().unwrap()))
                .collect();
            assert!(numbers.iter().all(|number| *number < 200));
            assert!((120..240).contains(&numbers.len()), "{}", numbers.len());
        }
        assert!(
            (120..240).contains(&sim.at_peers.len()),
            "{}",
            sim.at_peers.len()
        );
        let more = repeated_successes(&sim.answered);
        repeated = [repeated[0] + more[0], repeated[1] + more[1]];
        delete(&mut sim, left);
        delete(&mut sim, right);
        // An allocation whose client gave up lives to the end of its lifetime.
        sim.advance(Duration::from_secs(1800));
        sim.assert_nothing_left();
    }
    let [allocates, others] = repeated;
    assert!(allocates >= 5 && others >= 100, "{repeated:?} repeated");
    assert!(refused <= 4, "{refused} clients gave up");
}
