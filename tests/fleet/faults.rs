//! A provider that fails in every way while calls go on: hangs, half an answer, no machines, answers that are lost.
//!
//! Not responsible for relays that fail (`monitoring`, `drains`).

use std::net::Ipv4Addr;

use crate::broker::{Broker, Fault};
use crate::controllers::Controller;
use crate::crowd::Crowd;
use crate::lab::{Lab, eventually};
use crate::settings::Settings;

fn offered(controller: &Controller, broker: &Broker) -> Vec<Ipv4Addr> {
    let instances = broker.instances();
    let mut addresses: Vec<Ipv4Addr> = controller
        .offered_ids()
        .iter()
        .filter_map(|id| instances.get(id).copied())
        .collect();
    addresses.sort();
    addresses
}

/// scaling rules, chaos: API throttling, hang; list truncated, empty or incomplete: nothing is removed, calls and the list for
/// credentials stay as they are, the loop goes on.
#[test]
fn a_list_in_doubt_freezes_the_fleet_and_loses_no_call() {
    let lab = Lab::new();
    let broker = Broker::new(&lab);
    let settings = Settings::with(broker.provider());
    let controller = Controller::start(&lab, &settings);
    eventually("one relay in each zone", || {
        offered(&controller, &broker).len() == 3
    });
    let mut crowd = Crowd::default();
    eventually("six relays", || {
        crowd.grow_to(28, &offered(&controller, &broker));
        offered(&controller, &broker).len() == 6
    });
    for fault in [
        Fault::Hang,
        Fault::Throttled,
        Fault::Truncated,
        Fault::Incomplete,
        Fault::Empty,
    ] {
        let before = offered(&controller, &broker);
        broker.set(fault.clone());
        eventually("the brake", || {
            controller.brakes().contains(&"listing_in_doubt".to_owned())
        });
        // With hardly a call left half of them would go.
        crowd.shrink_to(1);
        let rounds = controller.rounds();
        eventually("more rounds", || controller.rounds() >= rounds + 4.0);
        crowd.await_more();
        assert_eq!(offered(&controller, &broker), before, "{fault:?}");
        assert_eq!(controller.acts("drain"), 0, "{fault:?}");
        assert_eq!(broker.ended().len(), 0, "{fault:?}");
        assert_eq!(
            broker.instances().len(),
            6,
            "{fault:?}: none is launched twice either"
        );
        crowd.grow_to(28, &before);
        broker.set(Fault::None);
        eventually("trust again", || controller.brakes().is_empty());
    }
    crowd.finish();
    controller.assert_audited(&lab);
}

/// scaling rules, chaos: launch accepted, response lost: the same token is asked again, and there is one instance.
#[test]
fn a_launch_whose_answer_is_lost_happens_once() {
    let lab = Lab::new();
    let broker = Broker::new(&lab);
    broker.set(Fault::LostLaunches(2));
    let settings = Settings::with(broker.provider());
    let controller = Controller::start(&lab, &settings);
    eventually("one relay in each zone", || {
        offered(&controller, &broker).len() == 3
    });
    let rounds = controller.rounds();
    eventually("more rounds", || controller.rounds() >= rounds + 4.0);
    assert_eq!(broker.instances().len(), 3);
    assert!(broker.asked("launch") as usize >= 3);
    let ids: Vec<String> = broker.launched().into_values().flatten().collect();
    assert_eq!(ids.len(), 3, "{:?}", broker.launched());
    controller.assert_audited(&lab);
}

/// scaling rules, chaos: ICE in one AZ: the next zone is taken, and people are told.
#[test]
fn a_zone_without_machines_is_made_up_for_by_the_others() {
    let lab = Lab::new();
    let broker = Broker::new(&lab);
    broker.set(Fault::NoCapacity("test-b"));
    let settings = Settings::with(broker.provider());
    let controller = Controller::start(&lab, &settings);
    let mut crowd = Crowd::default();
    eventually("six relays", || {
        crowd.grow_to(28, &offered(&controller, &broker));
        offered(&controller, &broker).len() == 6
    });
    for id in controller.offered_ids() {
        assert_ne!(broker.zone_of(&id).as_deref(), Some("test-b"));
    }
    assert!(
        controller.said_alarm("zone_spread"),
        "two zones carry what three should"
    );
    controller.assert_audited(&lab);
}

/// scaling rules, chaos: instance never healthy: it is removed by its id, launching pauses after some of them, and the healthy
/// fleet is left alone.
#[test]
fn instances_that_never_serve_are_ended_by_id_and_launching_pauses() {
    let lab = Lab::new();
    let broker = Broker::new(&lab);
    let settings = Settings::with(broker.provider())
        .policy("ready-timeout", "\"3s\"")
        .policy("backoff", "\"10m\"")
        .policy("backoff-max", "\"10m\"");
    let controller = Controller::start(&lab, &settings);
    eventually("one relay in each zone", || {
        offered(&controller, &broker).len() == 3
    });
    let healthy = broker.instances();
    let mut crowd = Crowd::default();
    broker.set(Fault::StillBorn("test-a"));
    eventually("an instance that was ended", || {
        crowd.grow_to(30, &offered(&controller, &broker));
        !broker.ended().is_empty()
    });
    eventually("an alarm", || {
        let alarms = controller.alarms();
        alarms
            .iter()
            .any(|kind| kind == "never_ready" || kind == "cannot_launch")
    });
    let rounds = controller.rounds();
    eventually("more rounds", || controller.rounds() >= rounds + 6.0);
    crowd.await_more();
    for (id, times) in broker.ended() {
        assert_eq!(times, 1, "{id}");
        assert!(!healthy.contains_key(&id), "{id} was well");
    }
    crowd.finish();
    controller.assert_audited(&lab);
}
