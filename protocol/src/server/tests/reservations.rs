//! EVEN-PORT and RESERVATION-TOKEN: RFC 8656 §7.2, within a worker and across two.

use alloc::vec::Vec;
use core::time::Duration;

use super::sim::{Answer, Choices, Client, Sim, credentials};
use crate::server::{BindError, Effect, Limits, Reply};
use crate::wire::{Framed, Method};

fn even(sim: &mut Sim, client: &mut Client, reserve: bool) -> Answer {
    sim.request(client, Method::Allocate, |w| {
        w.requested_transport(17);
        w.even_port(reserve);
    })
}

fn by_token(sim: &mut Sim, client: &mut Client, token: [u8; 8]) -> Answer {
    sim.request(client, Method::Allocate, |w| {
        w.requested_transport(17);
        w.reservation_token(token);
    })
}

/// T-23: EVEN-PORT without R gives an even port, no token, and leaves the odd sibling free.
#[test]
fn an_even_port_reserves_nothing_by_itself() {
    let mut sim = Sim::with(Choices {
        ports: 50_000..=50_001,
        ..Choices::default()
    });
    let mut client = sim.client(1);
    let answer = even(&mut sim, &mut client, false);
    assert_eq!(answer.relayed()[0].port(), 50_000);
    assert_eq!(answer.attributes().reservation_token(), None);
    let mut second = sim.client(2);
    assert_eq!(even(&mut sim, &mut second, false).code(), Some(508), "T-19");
    assert_eq!(sim.allocate(&mut second).port(), 50_001);
}

/// T-24: R holds the next port, open, for 30 s even when the first allocation is gone; its token gives it to any 5-tuple
/// of the same user, once.
#[test]
fn a_reserved_port_is_held_open_for_its_token() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let answer = even(&mut sim, &mut client, true);
    let first = answer.relayed()[0];
    assert_eq!(first.port() % 2, 0);
    assert_eq!(sim.sockets.len(), 2, "the reserved socket is open");
    assert_eq!(sim.refresh(&mut client, Some(0)).code(), None);
    sim.advance(Duration::from_millis(29_900));
    let mut elsewhere = sim.client(2);
    let second = by_token(&mut sim, &mut elsewhere, answer.token());
    assert_eq!(second.code(), None);
    assert_eq!(second.relayed()[0].port(), first.port() + 1);
    assert_eq!(second.relayed()[0].ip(), first.ip());
    let mut third = sim.client(3);
    assert_eq!(
        by_token(&mut sim, &mut third, answer.token()).code(),
        Some(508),
        "single use"
    );
    sim.advance(Duration::from_secs(700));
    sim.assert_nothing_left();
}

/// T-15, A-12: an unknown, expired or another user's token is 508, and the reservation stays its owner's.
#[test]
fn a_token_serves_its_user_only() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let token = even(&mut sim, &mut client, true).token();
    let mut thief = Client::new(2, &credentials("mallory", Duration::from_secs(3600)));
    assert_eq!(by_token(&mut sim, &mut thief, token).code(), Some(508));
    let mut guess = token;
    for value in 0..=255 {
        guess[7] = value;
        if guess != token {
            assert_eq!(by_token(&mut sim, &mut thief, guess).code(), Some(508));
        }
    }
    let mut late = sim.client(3);
    sim.advance(Duration::from_millis(30_100));
    assert_eq!(by_token(&mut sim, &mut late, token).code(), Some(508));
    assert_eq!(sim.sockets.len(), 1);
}

/// T-19, T-28: when the second port of a pair is somebody else's, another pair is found; when no pair can be had, 508 and
/// nothing is left open.
#[test]
fn a_pair_is_had_whole_or_not_at_all() {
    let mut sim = Sim::with(Choices {
        ports: 50_000..=50_003,
        ..Choices::default()
    });
    sim.in_use = [50_001].into();
    let mut client = sim.client(1);
    assert_eq!(
        even(&mut sim, &mut client, true).relayed()[0].port(),
        50_002
    );
    let mut second = sim.client(2);
    assert_eq!(even(&mut sim, &mut second, true).code(), Some(508));
    assert_eq!(sim.sockets.len(), 2);
    sim.advance(Duration::from_secs(700));
    sim.assert_nothing_left();
}

/// A-08, T-28: mixes of EVEN-PORT with and without R leave exactly the ports that there were.
#[test]
fn mixed_reservations_leak_no_port() {
    let limits = Limits {
        unauthenticated_per_second: 0,
        ..Limits::default()
    };
    let mut sim = Sim::with(Choices {
        ports: 50_000..=50_063,
        limits,
        ..Choices::default()
    });
    let free = sim.server.load().ports_free;
    for round in 0..50_u8 {
        for number in 1..=20 {
            let mut client = sim.client(number);
            let answer = match (round + number) % 3 {
                0 => even(&mut sim, &mut client, true),
                1 => even(&mut sim, &mut client, false),
                _ => sim.request(&mut client, Method::Allocate, |w| w.requested_transport(17)),
            };
            if answer.code().is_none() && number % 2 == 0 {
                assert_eq!(sim.refresh(&mut client, Some(0)).code(), None);
            }
        }
        sim.advance(Duration::from_secs(700));
    }
    sim.assert_nothing_left();
    assert_eq!(sim.server.load().ports_free, free);
}

/// T-24: a token works at another worker: the socket moves, and the port comes back to its owner at the end.
#[test]
fn a_token_works_at_another_worker() {
    let mut owner = Sim::with(Choices {
        worker: 0,
        ports: 50_000..=50_099,
        ..Choices::default()
    });
    let mut taker = Sim::with(Choices {
        worker: 1,
        ports: 50_100..=50_199,
        seed: 2,
        ..Choices::default()
    });
    let mut client = owner.client(1);
    let answer = even(&mut owner, &mut client, true);
    let (token, reserved) = (answer.token(), answer.relayed()[0].port() + 1);

    let mut second = taker.client(2);
    second.nonce = super::allocate::nonce(&mut taker, &second);
    let id = taker.transaction();
    let bytes = second.sign(Method::Allocate, id, |w| {
        w.requested_transport(17);
        w.reservation_token(token);
    });
    assert_eq!(
        taker.deliver(second.five_tuple, &bytes),
        super::sim::Outcome::Silence
    );
    assert_eq!(
        taker.deliver(second.five_tuple, &bytes),
        super::sim::Outcome::Silence,
        "a retransmission waits"
    );
    let (name_there, asked, token, user) = taker.claims.pop().unwrap();
    assert_eq!(asked, 0);

    let (name_here, port) = owner.server.release_reservation(token, &user).unwrap();
    let socket = owner.sockets.remove(&name_here).unwrap();
    assert_eq!(socket.port(), reserved);
    taker.sockets.insert(name_there, socket);
    let mut reply = Reply::new();
    let to = taker
        .server
        .reservation_claimed(taker.now, name_there, Some(port), &mut reply);
    taker.pump();
    assert_eq!(to, Some(second.five_tuple));
    assert_eq!(
        Answer(reply.as_bytes().to_vec()).relayed()[0].port(),
        reserved
    );

    assert_eq!(taker.refresh(&mut second, Some(0)).code(), None);
    assert_eq!(taker.returned, [port]);
    owner.server.port_returned(owner.now, port);
    owner.advance(Duration::from_secs(700));
    taker.advance(Duration::from_secs(700));
    owner.assert_nothing_left();
    taker.assert_nothing_left();
}

fn claims(sim: &mut Sim, client: &Client) -> crate::forward::RelayedId {
    let id = sim.transaction();
    let bytes = client.sign(Method::Allocate, id, |w| {
        w.requested_transport(17);
        w.reservation_token([0; 8]);
    });
    let outcome = sim.deliver(client.five_tuple, &bytes);
    assert_eq!(outcome, super::sim::Outcome::Silence);
    sim.claims.pop().unwrap().0
}

fn over_tcp(sim: &mut Sim, number: u8) -> Client {
    let mut client = sim.client(number).over(crate::address::Transport::Tcp);
    client.nonce = super::allocate::nonce(sim, &client);
    client
}

/// T-15, T-24: a claim that fails is 508; one that is never answered ends by itself.
#[test]
fn a_claim_may_fail_or_stay_unanswered() {
    let mut sim = Sim::with(Choices {
        worker: 1,
        ..Choices::default()
    });
    let client = over_tcp(&mut sim, 1);
    let claim = claims(&mut sim, &client);
    let mut reply = Reply::new();
    let to = sim
        .server
        .reservation_claimed(sim.now, claim, None, &mut reply);
    assert_eq!(to, Some(client.five_tuple));
    assert_eq!(Answer(reply.as_bytes().to_vec()).code(), Some(508));
    let unanswered = claims(&mut sim, &client);
    sim.advance(Duration::from_secs(6));
    assert_eq!(
        sim.server
            .reservation_claimed(sim.now, unanswered, None, &mut reply),
        None
    );
    sim.assert_nothing_left();
}

/// A-12, T-28: an answer that comes for a client that has gone is nobody else's, with a socket or without, and leaves
/// nothing behind.
#[test]
fn a_late_claim_is_nobody_elses() {
    for late in [
        None,
        Some(crate::server::RelayedPort {
            address: 0,
            port: 50_001,
            owner: 0,
        }),
    ] {
        let mut sim = Sim::with(Choices {
            worker: 1,
            ..Choices::default()
        });
        let gone = over_tcp(&mut sim, 1);
        let abandoned = claims(&mut sim, &gone);
        sim.server.connection_closed(sim.now, gone.five_tuple);
        // The next client's request takes the place of the one that has gone.
        let waiting = over_tcp(&mut sim, 2);
        let claim = claims(&mut sim, &waiting);
        assert_ne!(claim, abandoned);
        let mut reply = Reply::new();
        if late.is_some() {
            sim.sockets
                .insert(abandoned, super::sim::addr("13.54.7.7:50001"));
        }
        let to = sim
            .server
            .reservation_claimed(sim.now, abandoned, late, &mut reply);
        sim.pump();
        assert_eq!(to, None);
        assert_eq!(sim.returned, late.into_iter().collect::<Vec<_>>());
        let to = sim
            .server
            .reservation_claimed(sim.now, claim, None, &mut reply);
        assert_eq!(to, Some(waiting.five_tuple));
        sim.assert_nothing_left();
    }
}

/// T-28: a client that goes while its socket is being bound leaves nothing, whatever the outcome, of a pair too.
#[test]
fn a_client_may_go_while_its_socket_is_bound() {
    for outcome in [Ok(()), Err(BindError::InUse)] {
        let mut sim = Sim::new();
        let client = over_tcp(&mut sim, 1);
        let id = sim.transaction();
        let bytes = client.sign(Method::Allocate, id, |w| {
            w.requested_transport(17);
            w.even_port(true);
        });
        let mut reply = Reply::new();
        sim.server
            .handle_message(sim.now, client.five_tuple, &bytes, &mut reply);
        let Some(Effect::BindRelayed { relayed, bind }) = sim.server.poll_effect() else {
            panic!("a socket is asked for");
        };
        sim.server.connection_closed(sim.now, client.five_tuple);
        sim.sockets
            .extend(outcome.is_ok().then_some((relayed, bind)));
        assert_eq!(
            sim.server
                .relayed_bound(sim.now, relayed, outcome, &mut reply),
            None
        );
        sim.pump();
        sim.advance(Duration::from_secs(61));
        sim.assert_nothing_left();
    }
}

/// An allocation lives for as long as its client is told, from then on (G-08): however late the second of its sockets is there.
#[test]
fn a_lifetime_begins_with_the_answer_and_not_with_the_first_socket() {
    let mut sim = Sim::new();
    let client = over_tcp(&mut sim, 1);
    let id = sim.transaction();
    let bytes = client.sign(Method::Allocate, id, |w| {
        w.requested_transport(17);
        w.additional_family(2);
    });
    let mut reply = Reply::new();
    sim.server
        .handle_message(sim.now, client.five_tuple, &bytes, &mut reply);
    let mut answered = None;
    for late in [0, 700] {
        let Some(Effect::BindRelayed { relayed, bind }) = sim.server.poll_effect() else {
            panic!("a socket is asked for");
        };
        sim.advance(Duration::from_secs(late));
        sim.sockets.insert(relayed, bind);
        answered = sim
            .server
            .relayed_bound(sim.now, relayed, Ok(()), &mut reply);
    }
    sim.pump();
    assert_eq!(answered, Some(client.five_tuple));
    let answer = Framed::parse(reply.as_bytes()).unwrap();
    assert_eq!(answer.unauthenticated().lifetime(), Some(Ok(600)));
    sim.advance(Duration::from_secs(599));
    assert_eq!(sim.server.load().allocations, 1);
    sim.advance(Duration::from_secs(62));
    sim.assert_nothing_left();
}

/// T-22, A-08: a reserved port counts against its user's quota until it is claimed or lost.
#[test]
fn a_reserved_port_counts() {
    let mut sim = Sim::with(Choices {
        per_user: 3,
        ..Choices::default()
    });
    let mut first = sim.client(1);
    let token = even(&mut sim, &mut first, true).token();
    let mut second = sim.client(2);
    assert_eq!(even(&mut sim, &mut second, true).code(), Some(486));
    sim.allocate(&mut second);
    let mut third = sim.client(3);
    let full = sim.request(&mut third, Method::Allocate, |w| w.requested_transport(17));
    assert_eq!(full.code(), Some(486));
    assert_eq!(
        by_token(&mut sim, &mut third, token).code(),
        None,
        "it has its place already"
    );
    sim.advance(Duration::from_secs(700));
    sim.assert_nothing_left();
}
