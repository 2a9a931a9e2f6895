//! Passwords that are guessed: who has to wait for it, and who has not.
//!
//! Not responsible for how long the waits are (`failures`).

use alloc::vec::Vec;
use alloc::{format, vec};
use core::time::Duration;

use super::sim::{Choices, Client, Outcome, Sim, credentials, five_tuple, write};
use crate::address::Transport;
use crate::forward::DropReason;
use crate::server::{Authentication, Limits};
use crate::wire::{Class, Method, TransactionId};

const HOUR: Duration = Duration::from_secs(3600);

/// A server that bounds what it answers to strangers, at a rate that no test here reaches.
fn server() -> Sim {
    Sim::with(Choices {
        limits: Limits {
            unauthenticated_per_second: 1000,
            ..Limits::default()
        },
        ..Choices::default()
    })
}

/// A client of this address that knows the password of `user`, or not, and has a nonce of its own.
fn at(sim: &mut Sim, transport: Transport, address: &str, user: &str, knows: bool) -> Client {
    let mut client = Client::new(1, &credentials(user, HOUR));
    client.five_tuple = five_tuple(transport, address);
    if !knows {
        client.password.push('x');
    }
    let id = sim.transaction();
    let bytes = write(Class::Request, Method::Allocate, id, |w| {
        w.requested_transport(17);
    });
    let answer = sim.deliver(client.five_tuple, &bytes).answer();
    client.nonce = answer.attributes().nonce().unwrap().to_vec();
    client
}

/// What becomes of one Allocate: its code, 0 for success, or `None` when it is held off.
fn ask(sim: &mut Sim, client: &Client) -> Option<u16> {
    let id = sim.transaction();
    let bytes = client.sign(Method::Allocate, id, |w| w.requested_transport(17));
    outcome(sim.deliver(client.five_tuple, &bytes))
}

fn outcome(outcome: Outcome) -> Option<u16> {
    match outcome {
        Outcome::Answer(answer) => Some(answer.code().unwrap_or(0)),
        Outcome::Dropped(DropReason::HeldOff) => None,
        other @ (Outcome::Dropped(_) | Outcome::ToPeer(_) | Outcome::Silence) => {
            panic!("{other:?}")
        }
    }
}

/// after a few wrong passwords a name is met with silence from that source, right password or not, over every
/// transport; from another address it is served at once, as another name is from the same; a wait that is over is over.
#[test]
fn a_name_is_held_off_where_it_was_guessed_alone() {
    for transport in Transport::ALL {
        let mut sim = server();
        let guesser = at(&mut sim, transport, "198.51.100.9:1000", "alice", false);
        let answers: Vec<_> = (0..50).map(|_| ask(&mut sim, &guesser)).collect();
        assert_eq!(answers[..6], [Some(401); 6], "{transport:?}");
        assert_eq!(answers[6..], [None; 44]);
        let counted = sim.server.tallies().authentications;
        assert_eq!(counted[Authentication::WrongCredentials.index()], 6);
        assert_eq!(counted[Authentication::HeldOff.index()], 44);

        // Another port of the same address is the same source.
        let same = at(&mut sim, transport, "198.51.100.9:1001", "alice", true);
        assert_eq!(ask(&mut sim, &same), None);
        let neighbour = at(&mut sim, transport, "198.51.100.9:1002", "bob", true);
        assert_eq!(ask(&mut sim, &neighbour), Some(0));
        let victim = at(&mut sim, transport, "198.51.100.10:1000", "alice", true);
        assert_eq!(ask(&mut sim, &victim), Some(0));

        sim.advance(Duration::from_secs(1));
        assert_eq!(ask(&mut sim, &same), Some(0), "the wait is over");
    }
}

/// a thousand wrong passwords for a user who is in a call, from the same address, do not touch the call.
#[test]
fn who_is_in_a_call_goes_on_with_it() {
    let mut sim = server();
    let mut caller = at(&mut sim, Transport::Udp, "198.51.100.9:1000", "alice", true);
    sim.allocate(&mut caller);
    let guesser = at(
        &mut sim,
        Transport::Udp,
        "198.51.100.9:2000",
        "alice",
        false,
    );
    for _ in 0..1000 {
        ask(&mut sim, &guesser);
    }
    assert_eq!(ask(&mut sim, &guesser), None);
    assert_eq!(sim.refresh(&mut caller, Some(600)).code(), None);
    let peer = super::sim::addr("192.0.9.9:9");
    assert_eq!(sim.permit(&mut caller, &[peer]), None);
    // The place of another's allocation is no shelter for guesses at other names.
    let mut intruder = caller.clone();
    let (username, password) = credentials("bob", HOUR);
    (intruder.username, intruder.password) = (username.into_bytes(), password + "x");
    let answers: Vec<_> = (0..10)
        .map(|_| {
            let id = sim.transaction();
            let bytes = intruder.sign(Method::Refresh, id, |w| w.lifetime(0));
            outcome(sim.deliver(intruder.five_tuple, &bytes))
        })
        .collect();
    assert_eq!(answers[5..], [Some(401), None, None, None, None]);
}

/// who forges a victim's address has no nonce for it, and does not make the victim wait.
#[test]
fn a_forged_source_does_not_make_its_owner_wait() {
    let mut sim = server();
    let mut forger = Client::new(1, &credentials("alice", HOUR));
    forger.five_tuple = five_tuple(Transport::Udp, "198.51.100.9:1000");
    forger.password.push('x');
    forger.nonce = at(&mut sim, Transport::Udp, "203.0.113.5:1", "alice", false).nonce;
    let answers: Vec<_> = (0..50).map(|_| ask(&mut sim, &forger)).collect();
    assert_eq!(answers[6..], [None; 44], "bounded as well");
    let victim = at(&mut sim, Transport::Udp, "198.51.100.9:1000", "alice", true);
    assert_eq!(ask(&mut sim, &victim), Some(0));
}

/// unknown, expired and known names are held off alike: silence tells nobody whether there is such a user.
#[test]
fn silence_does_not_tell_who_exists() {
    let mut sim = Sim::with(Choices {
        limits: Limits {
            unauthenticated_per_second: 1000,
            ..Limits::default()
        },
        static_user: Some(("gateway", "a password of some length")),
        ..Choices::default()
    });
    let mut told = Vec::new();
    for name in ["gateway", "nobody", "1:alice", "no time:alice"] {
        let mut client = at(&mut sim, Transport::Tcp, "198.51.100.9:1", "x", false);
        client.username = name.into();
        told.push((0..20).map(|_| ask(&mut sim, &client)).collect::<Vec<_>>());
    }
    assert!(told.iter().all(|answers| *answers == told[0]), "{told:?}");
    assert_eq!(told[0][5..7], [Some(401), None]);
}

/// quotes around a name and NULs behind it make no other user of it, and no more guesses (RFC 8489 §9.2.2).
#[test]
fn every_spelling_of_a_name_counts_as_that_name() {
    let mut sim = server();
    let guesser = at(&mut sim, Transport::Tcp, "198.51.100.9:1", "alice", false);
    let name = guesser.username.clone();
    let mut answers = Vec::new();
    for nulls in 0..20 {
        for quote in [&b""[..], b"\""] {
            let mut spelled = guesser.clone();
            spelled.username = [quote, &name, quote, &vec![0; nulls]].concat();
            answers.push(ask(&mut sim, &spelled));
        }
    }
    assert_eq!(answers[..6], [Some(401); 6]);
    assert_eq!(answers[6..], [None; 34]);
}

/// one machine with an old password, and others behind the same address with the right one: whoever gets in between two
/// waits ends them.
#[test]
fn a_right_password_ends_the_waits_of_its_name() {
    let mut sim = server();
    let address = "198.51.100.9:1000";
    let old = at(&mut sim, Transport::Udp, address, "gateway", false);
    let new = at(
        &mut sim,
        Transport::Udp,
        "198.51.100.9:2000",
        "gateway",
        true,
    );
    for _ in 0..7 {
        ask(&mut sim, &old);
    }
    assert_eq!(ask(&mut sim, &new), None);
    sim.advance(Duration::from_secs(2));
    assert_eq!(ask(&mut sim, &new), Some(0));
    let again: Vec<_> = (0..7).map(|_| ask(&mut sim, &old)).collect();
    assert_eq!(again[..6], [Some(401); 6]);
    assert_eq!(again[6], None);
}

/// a reload may bring the secret that was missing, so nobody waits after it; and who lifts the limits on strangers
/// lifts this one.
#[test]
fn a_reload_lets_everybody_begin_anew() {
    let mut sim = server();
    let guesser = at(&mut sim, Transport::Tcp, "198.51.100.9:1", "alice", false);
    for _ in 0..20 {
        ask(&mut sim, &guesser);
    }
    assert_eq!(ask(&mut sim, &guesser), None);
    sim.replace(|_| {});
    assert_eq!(ask(&mut sim, &guesser), Some(401));
    sim.replace(|replacement| replacement.limits.unauthenticated_per_second = 0);
    for _ in 0..100 {
        assert_eq!(ask(&mut sim, &guesser), Some(401));
    }
}

/// a thousand users by a thousand passwords from one address over one hour: of a million guesses few are looked at,
/// nothing is left behind, and the same users are served elsewhere throughout.
#[test]
fn a_million_guesses_are_mostly_not_looked_at() {
    let mut sim = server();
    let guessers: Vec<_> = (0..1000)
        .map(|user| {
            at(
                &mut sim,
                Transport::Tls,
                "198.51.100.9:1",
                &format!("user{user}"),
                false,
            )
        })
        .collect();
    // Of the same bytes each time: what is wrong with them does not matter here.
    let requests: Vec<_> = guessers
        .iter()
        .map(|client| {
            client.sign(Method::Allocate, TransactionId([1; 12]), |w| {
                w.requested_transport(17);
            })
        })
        .collect();
    let mut answered = 0;
    for round in 0..200 {
        for (client, bytes) in guessers.iter().zip(&requests) {
            answered += usize::from(outcome(sim.deliver(client.five_tuple, bytes)).is_some());
        }
        if round % 50 == 0 {
            let honest = at(
                &mut sim,
                Transport::Tls,
                &format!("203.0.113.7:{}", 1000 + round),
                &format!("user{round}"),
                true,
            );
            assert_eq!(ask(&mut sim, &honest), Some(0));
        }
        sim.advance(Duration::from_millis(18_000));
    }
    assert!(
        (10_000..30_000).contains(&answered),
        "{answered} of 200,000"
    );
}
