//! Controllers that are killed, stopped and doubled, while one fleet goes on.
//!
//! Not responsible for the lease's own rules (`controller/src/lease`).

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::controllers::Controller;
use crate::crowd::Crowd;
use crate::lab::{Found, Lab, eventually};
use crate::settings::Settings;

fn drain_of(relay: &Found) -> Option<serde_json::Value> {
    relay
        .status()
        .map(|status| status["drain"].clone())
        .filter(serde_json::Value::is_object)
}

/// Six relays, each with one call: three of them too many.
fn too_many(lab: &Lab, settings: &Settings, crowd: &mut Crowd) -> Controller {
    let controller = Controller::start(lab, settings);
    eventually("six relays", || {
        crowd.grow_to(28, &controller.offered(lab));
        controller.offered(lab).len() == 6
    });
    crowd.reach_each(&controller.offered(lab));
    controller
}

fn draining(lab: &Lab) -> BTreeMap<String, u64> {
    let relays = lab.live();
    let drains = relays.iter().filter_map(|relay| {
        let deadline = drain_of(relay)?["deadline"].as_u64().unwrap();
        Some((relay.id.clone(), deadline))
    });
    drains.collect()
}

/// Local relays outlive the controller, and whoever ends it is told how to end them as well.
#[test]
fn the_last_words_of_a_controller_name_what_goes_on_without_it() {
    let lab = Lab::new();
    let controller = Controller::start(&lab, &Settings::local(&lab));
    eventually("one relay in each zone", || {
        controller.offered(&lab).len() == 3
    });
    let log = controller.stop();
    let (_, after) = log.split_once("pkill -f '").expect("the command");
    let (pattern, _) = after.split_once('\'').expect("the end of the command");
    let live = lab.live();
    assert_eq!(live.len(), 3);
    for relay in live {
        let file = format!("/proc/{}/cmdline", relay.pid.unwrap());
        let line = std::fs::read_to_string(file).unwrap().replace('\0', " ");
        assert!(line.contains(pattern), "{pattern} does not find {line}");
    }
}

/// scaling rules, chaos: controller killed before drain, mid-drain, after terminate, before audit: its successor finishes what
/// it began, with the same deadlines, and each relay is ended once.
#[test]
fn whenever_a_controller_is_killed_its_successor_finishes_what_it_began() {
    let lab = Lab::new();
    let settings = Settings::local(&lab);
    let mut crowd = Crowd::default();
    let controller = too_many(&lab, &settings, &mut crowd);
    crowd.shrink_to(1);
    // Before the drain: it is only left out of the list.
    eventually("a relay that is withheld", || {
        controller.acts("withhold") > 0
    });
    controller.crash();
    crowd.await_more();
    assert_eq!(lab.live().len(), 6);

    let controller = Controller::start(&lab, &settings);
    eventually("a drain", || !draining(&lab).is_empty());
    let before = draining(&lab);
    controller.crash();
    crowd.await_more();

    // In the middle of drains.
    let controller = Controller::start(&lab, &settings);
    eventually("all three drains", || draining(&lab).len() == 3);
    let after = draining(&lab);
    for (id, deadline) in &before {
        assert_eq!(
            after.get(id),
            Some(deadline),
            "{id} drains to the same deadline"
        );
    }
    for id in after.keys() {
        let relay = lab.relay(id).unwrap();
        crowd.hang_up(relay.address);
    }
    // After the end was asked for: at whatever point it is then, which differs from run to run.
    eventually("an end", || {
        !lab.ended().is_empty()
            || lab
                .relays()
                .iter()
                .any(|relay| relay.home.join("ending").exists())
    });
    controller.crash();

    let controller = Controller::start(&lab, &settings);
    eventually("the end of three", || lab.ended().len() == 3);
    let ended: Vec<String> = lab.ended().into_iter().map(|relay| relay.id).collect();
    assert_eq!(
        ended,
        after.keys().cloned().collect::<Vec<_>>(),
        "those that drained, and no other"
    );
    eventually("three that serve", || controller.offered(&lab).len() == 3);
    let rounds = controller.rounds();
    eventually("more rounds", || controller.rounds() >= rounds + 3.0);
    assert_eq!((lab.live().len(), lab.relays().len()), (3, 3));
    crowd.await_more();
    crowd.finish();
    controller.assert_consistent(&lab);
}

/// orders of a controller that lost its lease are repeated by nobody.
/// scaling rules, chaos: two controllers, the leader stopped past its lease: the other takes over, and when the first wakes it
/// launches and drains nothing twice.
#[test]
fn a_leader_that_sleeps_past_its_lease_does_nothing_when_it_wakes() {
    let lab = Lab::new();
    let lease = format!(
        "kind = \"file\"\nfile = \"{}/lease.json\"\nttl = \"8s\"\nrenew = \"1s\"",
        lab.directory().display()
    );
    let first = Settings {
        name: "first",
        lease: format!("{lease}\nholder = \"first\""),
        ..Settings::local(&lab)
    };
    let second = Settings {
        name: "second",
        lease: format!("{lease}\nholder = \"second\""),
        ..Settings::local(&lab)
    };
    let mut crowd = Crowd::default();
    let leader = Controller::start(&lab, &first);
    eventually("one relay in each zone", || leader.offered(&lab).len() == 3);
    let standby = Controller::start(&lab, &second);
    assert!(leader.leads());
    assert!(!standby.leads());
    let first_epoch = leader.epoch();

    // It sleeps in the middle of growing.
    crowd.grow_to(12, &leader.offered(&lab));
    leader.signal(Signal::STOP);
    eventually("the other", || standby.leads());
    assert!(standby.epoch() > first_epoch);
    eventually("six relays", || {
        crowd.grow_to(28, &standby.offered(&lab));
        standby.offered(&lab).len() == 6
    });
    leader.signal(Signal::CONT);
    eventually("its insight", || !leader.leads());
    let rounds = (leader.rounds(), standby.rounds());
    eventually("more rounds of both", || {
        leader.rounds() >= rounds.0 + 4.0 && standby.rounds() >= rounds.1 + 4.0
    });
    assert_eq!(lab.relays().len(), 6, "nothing is launched twice");

    // And in the middle of draining.
    crowd.reach_each(&standby.offered(&lab));
    crowd.shrink_to(1);
    eventually("a drain", || !draining(&lab).is_empty());
    standby.signal(Signal::STOP);
    eventually("the first again", || leader.leads());
    eventually("all three drains", || draining(&lab).len() == 3);
    standby.signal(Signal::CONT);
    eventually("its insight", || !standby.leads());
    let leaving: Vec<String> = draining(&lab).into_keys().collect();
    // Relays have seen a newer epoch than the one of the time before, and refuse that.
    let relay = lab.relay(&leaving[0]).unwrap();
    let late = serde_json::json!({ "deadline": 4_102_444_800_u64, "reason": "late", "epoch": first_epoch });
    let (code, text) = relay.http("POST", "/v1/drain", &late.to_string()).unwrap();
    assert_eq!(code, 409, "{text}");
    for id in &leaving {
        crowd.hang_up(lab.relay(id).unwrap().address);
    }
    eventually("the end of three", || lab.ended().len() == 3);
    let rounds = (leader.rounds(), standby.rounds());
    eventually("more rounds of both", || {
        leader.rounds() >= rounds.0 + 3.0 && standby.rounds() >= rounds.1 + 3.0
    });
    assert_eq!(
        (lab.relays().len(), lab.ended().len()),
        (3, 3),
        "nothing is ended twice"
    );
    crowd.await_more();

    crowd.finish();
    leader.assert_audited(&lab);
    standby.assert_audited(&lab);
    // Each launch and each end stands in one of the two trails, once.
    let mut ended: BTreeMap<String, u32> = leader.done("terminate");
    for (id, times) in standby.done("terminate") {
        *ended.entry(id).or_default() += times;
    }
    assert_eq!(ended.len(), 3);
    assert!(ended.values().all(|times| *times == 1), "{ended:?}");
    assert_eq!(leader.launched() + standby.launched(), 6);
}
