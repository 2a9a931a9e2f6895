//! The main story: calls come, relays are launched; calls go, relays drain, and no call notices anything.
//!
//! Not responsible for faults (`faults` and its neighbours).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::controllers::Controller;
use crate::crowd::{Caller, Crowd};
use crate::lab::{Lab, eventually};
use crate::settings::Settings;

/// scaling rules, E: load rises, relays are launched; load falls, relays drain with live allocations; nothing is lost on
/// allocations that live through it, and no call is cut before its deadline.
#[test]
fn a_fleet_grows_and_shrinks_with_its_calls_and_none_loses_a_packet() {
    let lab = Lab::new();
    let controller = Controller::start(&lab, &Settings::local(&lab));
    eventually("one relay in each zone", || {
        controller.offered(&lab).len() == 3
    });
    let mut crowd = Crowd::default();
    eventually("six relays that serve", || {
        crowd.grow_to(28, &controller.offered(&lab));
        controller.offered(&lab).len() == 6
    });
    assert_eq!(
        by_zone(&lab),
        [("test-a", 2), ("test-b", 2), ("test-c", 2)].into()
    );
    crowd.reach_each(&controller.offered(&lab));
    let all: Vec<Ipv4Addr> = lab.live().iter().map(|relay| relay.address).collect();
    crowd.await_more();

    // Every relay keeps one call: half of them have to go, and cannot until it ends.
    crowd.shrink_to(1);
    eventually("three relays that drain", || draining(&lab).len() == 3);
    let leaving = draining(&lab);
    for _ in 0..3 {
        crowd.await_more();
        let offered = controller.offered(&lab);
        assert!(
            leaving.iter().all(|relay| !offered.contains(relay)),
            "{offered:?} {leaving:?}"
        );
        assert_eq!(
            controller.scraped(),
            addresses(&all),
            "who drains is still looked at"
        );
    }
    for relay in &leaving {
        assert!(Caller::try_open(*relay).is_none(), "{relay} drains");
    }
    assert_eq!((lab.live().len(), lab.ended().len()), (6, 0));

    // More calls: what drains is taken back, and nothing is launched.
    eventually("all six again", || {
        crowd.grow_to(30, &controller.offered(&lab));
        controller.offered(&lab).len() == 6
    });
    assert!(draining(&lab).is_empty());
    assert_eq!(lab.relays().len(), 6);

    crowd.shrink_to(1);
    eventually("three relays that drain again", || {
        draining(&lab).len() == 3
    });
    for relay in draining(&lab) {
        crowd.hang_up(relay);
    }
    eventually("the end of three", || lab.ended().len() == 3);
    let left: Vec<Ipv4Addr> = lab.live().iter().map(|relay| relay.address).collect();
    assert_eq!(left.len(), 3);
    assert_eq!(by_zone(&lab).len(), 3, "one in each zone");
    eventually("a list of three", || {
        controller.scraped() == addresses(&left)
    });
    crowd.await_more();
    crowd.finish();
    controller.assert_consistent(&lab);
}

/// Relays with a process, by zone.
fn by_zone(lab: &Lab) -> BTreeMap<&'static str, usize> {
    let mut zones = BTreeMap::new();
    for relay in lab.live() {
        let zone = crate::lab::ZONES
            .into_iter()
            .find(|zone| *zone == relay.zone);
        *zones.entry(zone.unwrap()).or_default() += 1;
    }
    zones
}

/// Relays that drain by their own word.
fn draining(lab: &Lab) -> Vec<Ipv4Addr> {
    let drains = |relay: &crate::lab::Found| {
        let status = relay.status();
        status.is_some_and(|status| status["drain"].is_object())
    };
    let relays = lab.live();
    relays
        .iter()
        .filter(|relay| drains(relay))
        .map(|relay| relay.address)
        .collect()
}

fn addresses(relays: &[Ipv4Addr]) -> Vec<String> {
    let mut text: Vec<String> = relays.iter().map(|relay| format!("{relay}:9641")).collect();
    text.sort();
    text
}
