//! The relay's own self-check among users: served like one, counted like none.

use alloc::vec::Vec;
use core::time::Duration;

use super::sim::{Choices, Client, Outcome, Sim, addr, channel_message, directory, five_tuple};
use crate::address::Transport;
use crate::credentials::Nonces;
use crate::forward::{Activity, Bandwidth, ClientVerdict, PeerVerdict};
use crate::server::{Drain, Event, IcmpError, Revoked, Tallies, Verdict};
use crate::wire::Method;

const SELF_CHECK: (&str, &str) = ("4f1c-self-check", "made at random for this start");

fn with_self_check(choices: Choices) -> Sim {
    Sim::with(Choices {
        self_check: Some(SELF_CHECK),
        ..choices
    })
}

fn checker(number: u8) -> Client {
    Client::new(number, &(SELF_CHECK.0.into(), SELF_CHECK.1.into()))
}

/// The self-check holds nothing that users are counted by: no quota, no allocation, permission or channel in the load, no
/// port at rest; and leaves nothing.
#[test]
fn a_self_check_is_in_nobodys_count() {
    let mut sim = with_self_check(Choices {
        per_user: 0,
        total: 0,
        ports: 50_000..=50_001,
        relayed: [super::sim::RELAYED_V4].into(),
        ..Choices::default()
    });
    for _ in 0..50 {
        let (mut first, mut second) = (checker(1), checker(2));
        let at = [sim.allocate(&mut first), sim.allocate(&mut second)];
        assert_eq!(sim.bind(&mut first, 0x4000, at[1]), None);
        assert_eq!(sim.permit(&mut second, &[at[0]]), None);
        let load = sim.server.load();
        assert_eq!(
            (load.synthetic, load.allocations, load.by_transport),
            (2, 0, [0; 3])
        );
        assert_eq!((load.permissions, load.channels), (0, 0));
        assert_eq!((load.ports_used, load.ports_quarantined), (2, 0));
        sim.refresh(&mut first, Some(0));
        sim.refresh(&mut second, Some(0));
        assert_eq!(sim.server.load().ports_free, 2, "no port rests");
    }
    let mut user = sim.client(3);
    let refused = sim.request(&mut user, Method::Allocate, |w| w.requested_transport(17));
    assert_eq!(refused.code(), Some(508), "the quota is there for users");
    sim.assert_nothing_left();
}

/// the self-check relays between its own two ends where the only peers of users are others; users do not.
#[test]
fn a_self_check_goes_on_where_the_only_peers_are_listed() {
    let mut sim = with_self_check(Choices::default());
    sim.replace_policy(|rules, _| rules.only.push("8.8.8.8/32".parse().unwrap()));
    let (mut first, mut second, mut user) = (checker(1), checker(2), sim.client(3));
    let at = [sim.allocate(&mut first), sim.allocate(&mut second)];
    sim.allocate(&mut user);
    assert_eq!(sim.bind(&mut first, 0x4000, at[1]), None);
    assert_eq!(sim.permit(&mut second, &[at[0]]), None);
    assert_eq!(sim.bind(&mut user, 0x4000, at[1]), Some(403));
    assert_eq!(sim.permit(&mut user, &[at[0]]), Some(403));
    // Another policy leaves a check that is under way alone.
    let revoked = sim.replace_policy(|rules, _| rules.only.push("9.9.9.9/32".parse().unwrap()));
    assert_eq!(revoked, Revoked::default());
}

/// A reserved port of the self-check costs no quota and does not rest either, claimed or not.
#[test]
fn a_reserved_port_of_a_self_check_is_in_nobodys_count() {
    let mut sim = with_self_check(Choices {
        per_user: 0,
        total: 0,
        ..Choices::default()
    });
    for is_claimed in [false, true] {
        let mut client = checker(1);
        let answer = sim.request(&mut client, Method::Allocate, |w| {
            w.requested_transport(17);
            w.even_port(true);
        });
        assert_eq!(answer.code(), None);
        if is_claimed {
            let mut second = checker(2);
            let token = answer.token();
            let answer = sim.request(&mut second, Method::Allocate, |w| {
                w.requested_transport(17);
                w.reservation_token(token);
            });
            assert_eq!(answer.code(), None);
            sim.refresh(&mut second, Some(0));
        }
        sim.refresh(&mut client, Some(0));
        sim.advance(Duration::from_secs(31));
        sim.assert_nothing_left();
    }
}

/// T-29: the self-check is neither drained nor shed, so that a relay that takes no users can still be seen to work.
#[test]
fn a_self_check_is_served_while_users_are_sent_away() {
    let mut sim = with_self_check(Choices::default());
    sim.server.drain(Some(Drain::default()));
    sim.server.shed(true);
    sim.allocate(&mut checker(1));
    let mut user = sim.client(2);
    let refused = sim.request(&mut user, Method::Allocate, |w| w.requested_transport(17));
    assert_eq!(refused.code(), Some(508));
}

/// Whoever should learn the self-check's key has sixteen allocations, not the relay.
#[test]
fn a_self_check_holds_sixteen_at_most() {
    let mut sim = with_self_check(Choices::default());
    let mut clients: Vec<Client> = (1..=17).map(checker).collect();
    let (last, held) = clients.split_last_mut().unwrap();
    held.iter_mut()
        .for_each(|client| assert!(sim.allocate(client).port() > 0));
    let refused = sim.request(last, Method::Allocate, |w| w.requested_transport(17));
    assert_eq!(refused.code(), Some(486));
    sim.refresh(&mut held[0], Some(0));
    sim.allocate(last);
    assert_eq!(sim.server.load().synthetic, 16);
}

/// T-81: the self-check's payloads pass whatever the limits, are marked both ways, and make no allocation active.
#[test]
fn a_self_checks_payloads_are_told_apart() {
    let mut sim = with_self_check(Choices::default());
    sim.table.limit_bandwidth(Bandwidth {
        bits_per_second_per_user: 8,
        bits_per_second_per_allocation: 8,
    });
    let peer = addr("8.8.8.8:5000");
    let (mut check, mut user) = (checker(1), sim.client(2));
    let relayed = [sim.allocate(&mut check), sim.allocate(&mut user)];
    for (client, at, expected) in [
        (&mut check, relayed[0], true),
        (&mut user, relayed[1], false),
    ] {
        assert_eq!(sim.bind(client, 0x4000, peer), None);
        let message = channel_message(0x4000, b"x");
        let from = client.five_tuple;
        match sim.table.from_client(sim.now.instant, &from, &message) {
            ClientVerdict::ToPeer { synthetic, .. } => assert_eq!(synthetic, expected),
            ClientVerdict::Control | ClientVerdict::Drop(_) => panic!("not relayed"),
        }
        sim.advance(Duration::from_secs(2));
        match sim.peer_sends(peer, at) {
            PeerVerdict::ToClient { synthetic, .. } => assert_eq!(synthetic, expected),
            PeerVerdict::Drop(reason) => panic!("not relayed: {reason}"),
        }
    }
    let activity = sim.table.sweep_activity();
    assert_eq!(activity, Activity { active: 1, idle: 0 });
    for _ in 0..100 {
        assert!(matches!(
            sim.channel(&check, 0x4000, &[0; 1000]),
            Outcome::ToPeer(_)
        ));
    }
    assert!(matches!(
        sim.channel(&user, 0x4000, &[0; 1000]),
        Outcome::Dropped(_)
    ));
    let activity = sim.table.sweep_activity();
    assert_eq!(activity, Activity { active: 0, idle: 1 });
}

/// Answers and events of the self-check are marked as soon as it has proved its name; it has no tally of its own but the
/// challenge, which is everybody's first answer.
#[test]
fn a_self_checks_answers_and_events_are_told_apart() {
    let mut sim = with_self_check(Choices::default());
    let mut check = checker(1);
    check.nonce = super::allocate::nonce(&mut sim, &check);
    assert!(!sim.reply.is_synthetic(), "nobody yet");
    let challenged = *sim.server.tallies();
    assert_ne!(challenged, Tallies::default());

    let relayed = sim.allocate(&mut check);
    assert!(sim.reply.is_synthetic());
    let mut user = sim.client(2);
    sim.allocate(&mut user);
    assert!(!sim.reply.is_synthetic());
    assert_eq!(sim.permit(&mut check, &[addr("10.0.0.1:1")]), Some(403));
    assert!(sim.reply.is_synthetic());
    assert_eq!(sim.permit(&mut check, &[addr("8.8.8.8:1")]), None);
    let socket = *sim
        .sockets
        .iter()
        .find(|(_, at)| **at == relayed)
        .unwrap()
        .0;
    let error = IcmpError {
        peer: addr("8.8.8.8:5000"),
        kind: 3,
        code: 3,
        mtu: 0,
    };
    let garbage = sim
        .server
        .handle_message(sim.now, check.five_tuple, &[0; 3], &mut sim.reply);
    assert!(matches!(garbage, Verdict::Drop(_)) && !sim.reply.is_synthetic());
    assert!(
        sim.server
            .handle_icmp(sim.now, socket, error, &mut sim.reply)
            .is_some()
    );
    assert!(sim.reply.is_synthetic());
    sim.refresh(&mut check, Some(0));
    sim.refresh(&mut user, Some(0));

    let told: Vec<_> = sim
        .events
        .iter()
        .map(|event| match event {
            Event::AllocationCreated {
                serial,
                synthetic,
                client,
                user,
                ..
            }
            | Event::AllocationEnded {
                serial,
                synthetic,
                client,
                user,
                ..
            } => (*serial, *synthetic, *client, user.as_bytes().to_vec()),
        })
        .collect();
    let by_check = (1, true, check.five_tuple, check.username);
    let by_user = (2, false, user.five_tuple, user.username);
    assert_eq!(told, [by_check.clone(), by_user.clone(), by_check, by_user]);
    let mut others = *sim.server.tallies();
    // The user: challenge, Allocate, Refresh.
    others.authentications[1] -= 1;
    others.authentications[0] -= 2;
    assert_eq!(others, challenged);
}

/// S-33, S-45: the self-check's user is not the operator's: USERHASH is not offered for it. An operator's user of the same
/// name goes before it.
#[test]
fn a_self_check_user_is_not_an_operators() {
    let mut sim = with_self_check(Choices::default());
    let nonce = super::allocate::nonce(&mut sim, &checker(1));
    let features = Nonces::features_as_sent(&nonce).unwrap();
    assert!(!features.username_anonymity);
    let mut sim = with_self_check(Choices {
        static_user: Some((SELF_CHECK.0, "the operator's")),
        ..Choices::default()
    });
    let mut namesake = Client::new(2, &(SELF_CHECK.0.into(), "the operator's".into()));
    sim.allocate(&mut namesake);
    assert_eq!(sim.server.load().allocations, 1);
    let refused = sim.request(&mut checker(3), Method::Allocate, |w| {
        w.requested_transport(17)
    });
    assert_eq!(refused.code(), Some(401));
}

/// The self-check's user outlives every replacement, and a new one takes its place.
#[test]
fn a_self_check_user_stays_when_credentials_change() {
    let mut sim = with_self_check(Choices::default());
    for users in [&[][..], &[("carol", "x")], &[]] {
        sim.replace(|replacement| replacement.directory = directory(&[], users));
        let mut check = checker(1);
        sim.allocate(&mut check);
        assert_eq!(sim.server.load().synthetic, 1);
        sim.refresh(&mut check, Some(0));
    }
    sim.replace(|replacement| {
        let other = super::sim::static_user("another", "password");
        replacement.directory = directory(&[], &[]).with_self_check(other);
    });
    let mut old = checker(1);
    let refused = sim.request(&mut old, Method::Allocate, |w| w.requested_transport(17));
    assert_eq!(refused.code(), Some(401));
    let mut new = Client::new(2, &("another".into(), "password".into()));
    new.five_tuple = five_tuple(Transport::Tls, "198.51.100.2:4000");
    sim.allocate(&mut new);
    assert_eq!(sim.server.load().synthetic, 1);
}
