//! What a server counts of what it proved and refused, each at the one place where it belongs; and serials.

use alloc::string::ToString;
use alloc::vec;
use core::time::Duration;

use super::sim::{Choices, Client, Sim, addr, credentials, five_tuple, write};
use crate::address::Transport;
use crate::server::{Authentication, Drain, EndCause, Limits, Refusal};
use crate::wire::{Class, Method};

fn limits() -> Limits {
    Limits {
        permissions_per_allocation: 2,
        channels_per_allocation: 1,
        unauthenticated_per_second: 0,
        ..Limits::default()
    }
}

fn allocate(sim: &mut Sim, client: &mut Client) -> Option<u16> {
    sim.request(client, Method::Allocate, |w| w.requested_transport(17))
        .code()
}

/// Runs `step` and says which refusal it counted, and what the client was told.
fn refusal(sim: &mut Sim, step: impl FnOnce(&mut Sim) -> Option<u16>) -> (&'static str, u16) {
    let before = sim.server.tallies().refusals;
    let code = step(sim).unwrap();
    let after = sim.server.tallies().refusals;
    let mut counted = Refusal::ALL
        .iter()
        .filter(|refusal| after[refusal.index()] != before[refusal.index()]);
    let one = counted.next().unwrap();
    assert_eq!(counted.next(), None, "one request, one refusal");
    assert_eq!(after[one.index()], before[one.index()] + 1);
    (one.as_str(), code)
}

/// A-27, T-22, T-28, A-29: every refusal by a limit or a policy is counted once, under the word for what refused it.
#[test]
fn every_refusal_is_counted_under_its_reason() {
    let mut sim = Sim::with(Choices {
        limits: limits(),
        per_user: 2,
        total: 4,
        ..Choices::default()
    });
    let mut first = sim.client(1);
    sim.allocate(&mut first);
    let mut second = sim.client(2);
    sim.allocate(&mut second);
    let mut third = sim.client(3);
    assert_eq!(
        refusal(&mut sim, |sim| allocate(sim, &mut third)),
        ("user_quota", 486)
    );
    let hour = Duration::from_secs(3600);
    for number in 4..6_u8 {
        let mut other = Client::new(number, &credentials(&number.to_string(), hour));
        sim.allocate(&mut other);
    }
    let mut stranger = Client::new(9, &credentials("bob", hour));
    assert_eq!(
        refusal(&mut sim, |sim| allocate(sim, &mut stranger)),
        ("total_quota", 508)
    );
    assert_eq!(
        refusal(&mut sim, |sim| sim
            .permit(&mut first, &[addr("10.0.0.1:1")])),
        ("forbidden_peer", 403)
    );
    assert_eq!(
        refusal(&mut sim, |sim| sim.bind(
            &mut first,
            0x4000,
            addr("8.8.8.8:53")
        )),
        ("forbidden_peer", 403)
    );
    let peers = ["8.8.8.8:1", "8.8.8.9:1", "8.8.8.10:1"].map(addr);
    assert_eq!(
        refusal(&mut sim, |sim| sim.permit(&mut first, &peers)),
        ("permissions", 508)
    );
    assert_eq!(sim.permit(&mut first, &peers[..2]), None);
    assert_eq!(
        refusal(&mut sim, |sim| sim.bind(
            &mut first,
            0x4000,
            addr("9.9.9.9:5000")
        )),
        ("permissions", 508)
    );
    assert_eq!(sim.bind(&mut first, 0x4000, addr("8.8.8.8:5000")), None);
    assert_eq!(
        refusal(&mut sim, |sim| sim.bind(
            &mut first,
            0x4001,
            addr("8.8.8.9:5000")
        )),
        ("channels", 508)
    );
    sim.server.drain(Some(Drain::default()));
    assert_eq!(
        refusal(&mut sim, |sim| allocate(sim, &mut stranger)),
        ("drain", 508)
    );
    sim.server.drain(None);
    sim.server.shed(true);
    assert_eq!(
        refusal(&mut sim, |sim| allocate(sim, &mut stranger)),
        ("overload", 508)
    );
    sim.server.shed(false);
    let mut tunnelled = Client::new(8, &credentials("bob", hour));
    tunnelled.five_tuple = five_tuple(Transport::Udp, "[2002::1]:4000");
    assert_eq!(
        refusal(&mut sim, |sim| allocate(sim, &mut tunnelled)),
        ("forbidden_client", 403)
    );
}

/// T-28, T-15, T-33: what fails for want of ports, sockets or a reservation is told apart.
#[test]
fn want_of_ports_and_of_sockets_are_told_apart() {
    let mut sim = Sim::with(Choices {
        ports: 50_000..=50_007,
        relayed: vec![super::sim::RELAYED_V4],
        ..Choices::default()
    });
    let mut client = sim.client(1);
    sim.exhausted = true;
    assert_eq!(
        refusal(&mut sim, |sim| allocate(sim, &mut client)),
        ("sockets", 508)
    );
    sim.exhausted = false;
    sim.advance(Duration::from_secs(61));
    let by_token = |sim: &mut Sim| {
        let answer = sim.request(&mut client, Method::Allocate, |w| {
            w.requested_transport(17);
            w.reservation_token([0; 8]);
        });
        answer.code()
    };
    assert_eq!(refusal(&mut sim, by_token), ("reservation", 508));
    for number in 1..=8 {
        let mut client = sim.client(number);
        sim.allocate(&mut client);
        sim.refresh(&mut client, Some(0));
    }
    let mut client = sim.client(9);
    assert_eq!(
        refusal(&mut sim, |sim| allocate(sim, &mut client)),
        ("ports_at_rest", 486)
    );
    let mut other = Client::new(10, &credentials("bob", Duration::from_secs(3600)));
    assert_eq!(
        refusal(&mut sim, |sim| allocate(sim, &mut other)),
        ("ports", 508)
    );
}

/// A-27, S-21, S-23, S-27, S-28, T-05, A-01: every proof is counted once, under what became of it.
#[test]
fn every_proof_is_counted_under_its_outcome() {
    let mut sim = Sim::with(Choices {
        limits: Limits {
            unauthenticated_per_second: 1,
            ..Limits::default()
        },
        ..Choices::default()
    });
    let counted = |sim: &Sim| {
        let tallies = sim.server.tallies().authentications;
        Authentication::ALL.map(|outcome| (outcome.as_str(), tallies[outcome.index()]))
    };
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    let mut other = Client::new(1, &credentials("bob", Duration::from_secs(3600)));
    other.nonce = client.nonce.clone();
    assert_eq!(sim.refresh(&mut other, None).code(), Some(441));
    let mut wrong = sim.client(1);
    wrong.nonce = client.nonce.clone();
    wrong.password.push('x');
    assert_eq!(sim.refresh(&mut wrong, None).code(), Some(401));
    let mut stale = sim.client(1);
    stale.nonce = vec![b'x'; 47];
    assert_eq!(sim.refresh(&mut stale, None).code(), Some(438));
    let id = sim.transaction();
    let bytes = write(Class::Request, Method::Refresh, id, |w| {
        w.message_integrity(client.key().as_bytes());
    });
    let malformed = sim.deliver(client.five_tuple, &bytes).answer();
    assert_eq!(malformed.code(), Some(400));
    let expected = [
        ("success", 1),
        ("challenged", 1),
        ("wrong_credentials", 1),
        ("stale_nonce", 1),
        ("malformed", 1),
        ("wrong_user", 1),
        ("silenced", 0),
        ("held_off", 0),
    ];
    assert_eq!(counted(&sim), expected);

    let unknown = sim.client(7);
    for _ in 0..30 {
        let id = sim.transaction();
        let bytes = write(Class::Request, Method::Allocate, id, |w| {
            w.requested_transport(17);
        });
        drop(sim.deliver(unknown.five_tuple, &bytes));
    }
    assert_eq!(counted(&sim)[1], ("challenged", 21));
    assert_eq!(counted(&sim)[6], ("silenced", 10));
}

/// Names are used again, serials are not: whoever saw an allocation cannot end the one that came after it.
#[test]
fn an_old_serial_ends_no_newer_allocation() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let mut held = [None; 2];
    for slot in &mut held {
        sim.allocate(&mut client);
        let view = sim.server.allocations().next().unwrap();
        *slot = Some((view.allocation, view.serial));
        if slot.unwrap().1 == 1 {
            sim.refresh(&mut client, Some(0));
        }
    }
    let [(name, old), (same, new)] = held.map(Option::unwrap);
    assert_eq!(name, same);
    assert!(new > old);
    assert!(!sim.server.end(sim.now, name, old));
    assert_eq!(sim.refresh(&mut client, None).code(), None);
    assert!(sim.server.end(sim.now, name, new));
    sim.pump();
    assert!(!sim.server.end(sim.now, name, new));
    assert_eq!(sim.ended().last().unwrap().1, EndCause::Operator);
}
