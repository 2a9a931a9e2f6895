//! Refresh: RFC 8656 §8.

use core::time::Duration;

use super::sim::{Choices, Sim, addr};
use crate::forward::DropReason;
use crate::server::EndCause;
use crate::wire::{Method, attribute};

/// T-30: 0 ends the allocation, an absent lifetime is 600 s, others are kept within bounds.
#[test]
fn a_refresh_sets_the_lifetime() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    for (asked, granted) in [
        (None, 600),
        (Some(100), 600),
        (Some(1800), 1800),
        (Some(u32::MAX), 3600),
    ] {
        let answer = sim.refresh(&mut client, asked);
        assert_eq!(
            (answer.code(), answer.lifetime()),
            (None, granted),
            "{asked:?}"
        );
    }
    let answer = sim.refresh(&mut client, Some(0));
    assert_eq!((answer.code(), answer.lifetime()), (None, 0));
    assert_eq!(sim.ended()[0].1, EndCause::Client);
    sim.advance(Duration::from_secs(61));
    sim.assert_nothing_left();
}

/// T-26: a refreshed lifetime counts from the refresh, and may become shorter.
#[test]
fn a_refreshed_lifetime_counts_from_the_refresh() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    assert_eq!(sim.refresh(&mut client, Some(3600)).lifetime(), 3600);
    sim.advance(Duration::from_secs(100));
    assert_eq!(sim.refresh(&mut client, None).lifetime(), 600);
    sim.advance(Duration::from_millis(599_900));
    assert_eq!(sim.server.load().allocations, 1);
    sim.advance(Duration::from_millis(200));
    assert_eq!(sim.server.load().allocations, 0);
}

/// T-32: after the end any Refresh is 437, and the 5-tuple may allocate at once.
#[test]
fn a_five_tuple_may_allocate_again_at_once() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let first = sim.allocate(&mut client);
    assert_eq!(sim.refresh(&mut client, Some(0)).code(), None);
    assert_eq!(sim.refresh(&mut client, Some(0)).code(), Some(437));
    let second = sim.allocate(&mut client);
    assert_ne!(first, second, "T-33: the old port is in quarantine");
}

/// T-31: a family that is not the allocation's is 443; a malformed attribute 400.
#[test]
fn a_refresh_of_another_family_is_refused() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    for (family, code) in [(1, None), (2, Some(443)), (0, Some(443)), (9, Some(443))] {
        let answer = sim.request(&mut client, Method::Refresh, |w| w.requested_family(family));
        assert_eq!(answer.code(), code, "{family}");
    }
    let bad = sim.request(&mut client, Method::Refresh, |w| {
        w.raw(attribute::LIFETIME, &[0; 3])
    });
    assert_eq!(bad.code(), Some(400));
}

/// T-82: each family of a dual allocation has its own life; the end of one leaves the peers of the other.
#[test]
fn each_family_has_its_own_life() {
    let mut sim = Sim::with(Choices::default());
    let mut client = sim.client(1);
    let answer = sim.request(&mut client, Method::Allocate, |w| {
        w.requested_transport(17);
        w.additional_family(2);
    });
    assert_eq!(answer.relayed().len(), 2);
    let (v4, v6) = (addr("8.8.8.8:5000"), addr("[2606:4700::1]:5000"));
    assert_eq!(sim.bind(&mut client, 0x4000, v4), None);
    assert_eq!(sim.bind(&mut client, 0x4001, v6), None);
    let longer = sim.request(&mut client, Method::Refresh, |w| {
        w.requested_family(2);
        w.lifetime(3600);
    });
    assert_eq!(longer.lifetime(), 3600);
    sim.advance(Duration::from_secs(200));
    // The permissions live 300 s; keep them.
    assert_eq!(sim.permit(&mut client, &[v4, v6]), None);
    let ended = sim.request(&mut client, Method::Refresh, |w| {
        w.requested_family(1);
        w.lifetime(0);
    });
    assert_eq!((ended.code(), ended.lifetime()), (None, 0));
    assert_eq!(
        sim.channel(&client, 0x4001, b"x").relayed_payload().peer,
        v6
    );
    let gone = sim.channel(&client, 0x4000, b"x");
    assert_eq!(
        gone,
        super::sim::Outcome::Dropped(DropReason::UnboundChannel)
    );
    let again = sim.request(&mut client, Method::Refresh, |w| w.requested_family(1));
    assert_eq!(again.code(), Some(443));
    assert_eq!(sim.permit(&mut client, &[v4]), Some(443));
    assert!(sim.ended().is_empty());
    sim.advance(Duration::from_secs(3500));
    assert_eq!(sim.ended()[0].1, EndCause::Expired);
}
