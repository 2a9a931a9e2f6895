//! State that outlives the process.

use alloc::vec::Vec;
use core::time::Duration;

use super::sim::{Choices, Client, Sim, addr};
use crate::server::RestoreError;
use crate::wire::Method;

/// An allocation taken over by a successor goes on: same address, permissions, channels, user and deadlines.
#[test]
fn a_successor_goes_on_with_an_allocation() {
    let mut old = Sim::new();
    let mut client = old.client(1);
    let answer = old.request(&mut client, Method::Allocate, |w| {
        w.requested_transport(17);
        w.additional_family(2);
    });
    let relayed = answer.relayed();
    let peer = addr("8.8.8.8:5000");
    assert_eq!(old.bind(&mut client, 0x4000, peer), None);
    old.advance(Duration::from_secs(100));
    let states: Vec<_> = old.server.snapshot(old.now).collect();

    let mut new = Sim::with(Choices {
        seed: 9,
        ..Choices::default()
    });
    new.now = old.now;
    let names = new.server.restore(new.now, &states[0]).unwrap();
    for (name, state) in names.iter().zip(&states[0].relayed) {
        new.sockets.insert(*name, state.bound);
    }
    new.pump();
    assert_eq!(
        new.server.restore(new.now, &states[0]),
        Err(RestoreError::Taken)
    );
    assert_eq!(new.server.snapshot(new.now).collect::<Vec<_>>(), states);
    let out = new.channel(&client, 0x4000, b"x").relayed_payload();
    assert_eq!((out.from, out.peer), (relayed[0], peer));
    assert_eq!(new.refresh(&mut client, None).code(), None);
    new.advance(Duration::from_millis(200_100));
    assert!(
        matches!(
            new.channel(&client, 0x4000, b"x"),
            super::sim::Outcome::Dropped(_)
        ),
        "the permission's 300 s"
    );
    new.advance(Duration::from_secs(500));
    new.assert_nothing_left();
}

/// Serials go with the allocation, and a successor gives none of them out again; the self-check's allocations stay apart.
#[test]
fn serials_go_on_in_the_successor() {
    let choices = || Choices {
        self_check: Some(("check", "x")),
        ..Choices::default()
    };
    let mut old = Sim::with(choices());
    for number in 1..=3 {
        let mut client = old.client(number);
        old.allocate(&mut client);
    }
    old.allocate(&mut Client::new(4, &("check".into(), "x".into())));
    let states: Vec<_> = old.server.snapshot(old.now).collect();
    let serials: Vec<u64> = states.iter().map(|state| state.serial).collect();
    assert_eq!(serials, [1, 2, 3, 4]);
    let mut new = Sim::with(choices());
    new.now = old.now;
    for state in states.iter().rev() {
        for name in new.server.restore(new.now, state).unwrap() {
            new.sockets.insert(name, state.relayed[0].bound);
        }
    }
    new.pump();
    let mut restored: Vec<_> = new.server.snapshot(new.now).collect();
    restored.sort_by_key(|state| state.serial);
    assert_eq!(restored, states);
    let load = new.server.load();
    assert_eq!((load.allocations, load.synthetic), (3, 1));
    let mut client = new.client(9);
    new.allocate(&mut client);
    let newest = new.server.allocations().map(|held| held.serial).max();
    assert_eq!(newest, Some(5));
    new.advance(Duration::from_secs(700));
    new.assert_nothing_left();
}

/// What does not fit is refused whole.
#[test]
fn what_does_not_fit_is_not_restored() {
    let mut old = Sim::new();
    let mut client = old.client(1);
    old.allocate(&mut client);
    let state = old.server.snapshot(old.now).next().unwrap();
    let mut elsewhere = Sim::with(Choices {
        ports: 60_000..=60_001,
        ..Choices::default()
    });
    let outcome = elsewhere.server.restore(elsewhere.now, &state);
    assert_eq!(outcome, Err(RestoreError::RelayedAddress));
    let mut full = Sim::with(Choices {
        total: 0,
        ..Choices::default()
    });
    assert_eq!(
        full.server.restore(full.now, &state),
        Err(RestoreError::Quota)
    );
    let mut odd = state;
    odd.algorithm = 9;
    assert_eq!(full.server.restore(full.now, &odd), Err(RestoreError::Key));
    elsewhere.assert_nothing_left();
    full.assert_nothing_left();
}
