//! Drains that do not go as they should: relays that restart, hang, or are ended by somebody else.
//!
//! Not responsible for drains that do (`story`).

use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::controllers::Controller;
use crate::crowd::Crowd;
use crate::lab::{Found, Lab, ZONES, eventually};
use crate::metadata::{self, Metadata};
use crate::settings::{Settings, local};

/// Three relays with calls; the first of those that is drained, told by an operator.
fn drained(lab: &Lab, controller: &Controller, crowd: &mut Crowd) -> Found {
    eventually("four relays", || controller.offered(lab).len() == 4);
    crowd.grow_to(4, &controller.offered(lab));
    let relay = lab.live().remove(0);
    let (code, text) = controller.http("POST", &format!("/v1/relays/{}/drain", relay.id), "");
    assert!((200..300).contains(&code), "{code} {text}");
    eventually("the drain, on its disk too", || {
        drain_of(&relay).is_some_and(|drain| drain["survives_restart"] == true)
    });
    relay
}

fn drain_of(relay: &Found) -> Option<serde_json::Value> {
    relay
        .status()
        .map(|status| status["drain"].clone())
        .filter(serde_json::Value::is_object)
}

fn settings(lab: &Lab) -> Settings {
    Settings::local(lab)
        .policy("min", "4")
        .policy("stale-after", "\"3s\"")
}

/// A relay that the test started on the configuration of another.
struct Again(Child);

impl Drop for Again {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// scaling rules, chaos: relay restarts mid-drain: its drain goes on, with its deadline, and it ends as one that is drained.
#[test]
fn a_relay_that_restarts_while_it_drains_goes_on_draining_and_is_ended_once() {
    let lab = Lab::new();
    let controller = Controller::start(&lab, &settings(&lab));
    let mut crowd = Crowd::default();
    let relay = drained(&lab, &controller, &mut crowd);
    let before = drain_of(&relay).unwrap();
    relay.signal(Signal::KILL);
    crowd.give_up(relay.address);
    let again = Command::new(env!("CARGO_BIN_EXE_taciturn"))
        .args(["relay", "--config"])
        .arg(relay.home.join("relay.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut again = Again(again);
    eventually("the same drain", || {
        drain_of(&relay).is_some_and(|drain| drain["deadline"] == before["deadline"])
    });
    eventually("its end", || again.0.try_wait().unwrap().is_some());
    eventually("its burial", || {
        lab.ended().iter().any(|ended| ended.id == relay.id)
    });
    crowd.await_more();
    crowd.finish();
    controller.assert_consistent(&lab);
}

/// scaling rules, chaos: relay ignores drain, hangs: people are told, and at the deadline it is ended all the same.
#[test]
fn a_relay_that_hangs_while_it_drains_is_ended_at_its_deadline() {
    let lab = Lab::new();
    let settings = settings(&lab)
        .policy("drain-deadline", "\"5s\"")
        .policy("ready-timeout", "\"8s\"");
    let controller = Controller::start(&lab, &settings);
    let mut crowd = Crowd::default();
    let relay = drained(&lab, &controller, &mut crowd);
    relay.signal(Signal::STOP);
    eventually("its end", || {
        lab.ended().iter().any(|ended| ended.id == relay.id)
    });
    crowd.give_up(relay.address);
    crowd.await_more();
    crowd.finish();
    assert!(controller.said_alarm("drain_overdue"), "somebody is told");
    controller.assert_consistent(&lab);
}

/// scaling rules, chaos: external terminate: the relay drains by itself, and the controller keeps new calls away from it and
/// makes up for it.
#[test]
fn a_relay_that_somebody_else_ends_drains_by_itself_and_is_made_up_for() {
    let lab = Lab::new();
    let mut told = Vec::new();
    for zone in 0..3 {
        for number in 1..=3 {
            let name = ZONES[usize::from(zone)];
            told.push((
                lab.address(zone, number),
                Metadata::tell(lab.address(zone, number), name),
            ));
        }
    }
    let settings = Settings {
        provider: local(
            &lab,
            &format!("metadata-port = {}\nper-zone = 3\n", metadata::PORT),
        ),
        ..settings(&lab)
    };
    let controller = Controller::start(&lab, &settings);
    eventually("four relays", || controller.offered(&lab).len() == 4);
    let mut crowd = Crowd::default();
    crowd.grow_to(8, &controller.offered(&lab));
    let relay = lab.live().remove(0);
    let (_, metadata) = told
        .iter()
        .find(|(address, _)| *address == relay.address)
        .unwrap();
    metadata.set_state("Terminated");
    eventually("its drain", || {
        drain_of(&relay).is_some_and(|drain| drain["source"] == "metadata")
    });
    eventually("four others", || {
        let offered = controller.offered(&lab);
        offered.len() == 4 && !offered.contains(&relay.address)
    });
    crowd.await_more();
    assert_eq!(controller.acts("terminate"), 0, "whoever ends it does so");
    crowd.finish();
    controller.assert_consistent(&lab);
}
