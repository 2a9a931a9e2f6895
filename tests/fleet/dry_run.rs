//! `--dry-run`: everything is looked at and planned, and nothing is done.
//!
//! Not responsible for the wrappers that hold it back (`controller/src/provider/dry_run.rs`).

use crate::controllers::Controller;
use crate::crowd::Crowd;
use crate::lab::{Lab, eventually};
use crate::settings::Settings;

#[test]
fn a_dry_run_shows_its_plan_and_does_none_of_it() {
    let lab = Lab::new();
    let acting = Settings::local(&lab);
    let controller = Controller::start(&lab, &acting);
    eventually("one relay in each zone", || {
        controller.offered(&lab).len() == 3
    });
    controller.crash();

    let watching = Settings {
        name: "dry",
        dry_run: true,
        ..acting
    };
    let controller = Controller::start(&lab, &watching);
    eventually("three relays", || controller.offered(&lab).len() == 3);
    let mut crowd = Crowd::default();
    crowd.grow_to(28, &controller.offered(&lab));
    eventually("a plan to launch", || controller.planned("launch") > 0);
    let rounds = controller.rounds();
    eventually("more rounds", || controller.rounds() >= rounds + 3.0);
    assert_eq!(lab.relays().len(), 3);
    crowd.await_more();
    crowd.finish();

    // One too many, for whoever would act.
    let fewer = Settings {
        name: "fewer",
        ..watching
    }
    .policy("min", "1")
    .policy("zone-loss-floor", "false");
    drop(controller);
    let controller = Controller::start(&lab, &fewer);
    eventually("a plan to remove", || controller.planned("withhold") > 0);
    let rounds = controller.rounds();
    eventually("more rounds", || controller.rounds() >= rounds + 4.0);
    assert_eq!(lab.live().len(), 3);
    for relay in lab.live() {
        let status = relay.status().unwrap();
        assert!(status["drain"].is_null(), "{status}");
    }
    assert_eq!(
        controller.done("drain").len() + controller.done("terminate").len(),
        0
    );
    controller.assert_audited(&lab);
}
