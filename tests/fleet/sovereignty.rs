//! Zones that are not allowed: a configuration that names them, a relay that finds itself in one, an instance that appears.
//!
//! Not responsible for which zones a cloud has.

use std::process::Command;

use crate::broker::{Broker, relay_at};
use crate::controllers::Controller;
use crate::crowd::{Caller, Crowd};
use crate::lab::{Lab, ZONES, eventually};
use crate::metadata::{self, Metadata};
use crate::running::loopback;
use crate::settings::{Settings, local};

/// what was started abroad is never offered.
/// scaling rules, chaos: offshore instance appears: it is never offered, it is drained, and somebody is called.
#[test]
fn an_instance_in_a_zone_that_is_not_allowed_is_drained_and_never_offered() {
    let lab = Lab::new();
    let broker = Broker::new(&lab);
    let controller = Controller::start(&lab, &Settings::with(broker.provider()));
    eventually("one relay in each zone", || {
        controller.offered_ids().len() == 3
    });
    let address = loopback();
    let stranger = broker.intrude("offshore-1", relay_at(address, "offshore-1"), address);
    // It has a call before anybody has seen it, which is not cut.
    let caller = Caller::try_open(address).unwrap();
    eventually("an alarm", || {
        assert!(!controller.offered_ids().contains(&stranger));
        controller.alarms().contains(&"sovereignty".to_owned())
    });
    eventually("its drain", || {
        assert!(!controller.offered_ids().contains(&stranger));
        Caller::try_open(address).is_none()
    });
    assert!(
        controller
            .brakes()
            .contains(&"sovereignty_violation".to_owned())
    );
    assert_eq!(
        controller.metric("taciturn_controller_sovereignty_violations"),
        1.0
    );
    let rounds = controller.rounds();
    eventually("more rounds", || controller.rounds() >= rounds + 3.0);
    assert_eq!(controller.offered_ids().len(), 3);
    assert!(broker.ended().is_empty());
    caller.hang_up();
    controller.assert_audited(&lab);
}

/// scaling rules, sovereignty: each relay about itself: one that finds itself elsewhere refuses to serve and says why, and the
/// controller does not wait for it for ever.
#[test]
fn a_relay_that_finds_itself_in_a_zone_that_is_not_allowed_refuses_to_serve() {
    let lab = Lab::new();
    for zone in 0..3 {
        for number in 1..=4 {
            let own = if zone == 1 {
                "offshore-1"
            } else {
                ZONES[usize::from(zone)]
            };
            Metadata::tell(lab.address(zone, number), own);
        }
    }
    let settings = Settings {
        provider: local(
            &lab,
            &format!("metadata-port = {}\nper-zone = 4\n", metadata::PORT),
        ),
        ..Settings::local(&lab)
            .policy("ready-timeout", "\"4s\"")
            .policy("max", "4")
    };
    let controller = Controller::start(&lab, &settings);
    eventually("two zones that serve", || {
        controller.offered(&lab).len() >= 2
    });
    eventually("the end of the third", || !lab.ended().is_empty());
    for relay in lab.ended() {
        assert_eq!(relay.zone, "test-b");
        let log = relay.log();
        assert!(
            log.contains("offshore-1") && log.contains("allowed-zone-ids"),
            "{log}"
        );
    }
    let mut crowd = Crowd::default();
    crowd.grow_to(4, &controller.offered(&lab));
    crowd.await_more();
    crowd.finish();
    assert!(
        controller
            .offered(&lab)
            .iter()
            .all(|address| address.octets()[2] != 2)
    );
    controller.assert_consistent(&lab);
}

#[test]
fn a_configuration_whose_zones_are_not_allowed_is_refused() {
    let lab = Lab::new();
    let settings = Settings {
        allowed: vec!["elsewhere-1"],
        ..Settings::local(&lab)
    };
    let config = lab.write("refused.toml", &settings.text(&lab));
    let none = Settings {
        allowed: Vec::new(),
        ..Settings::local(&lab)
    };
    let nowhere = lab.write("nowhere.toml", &none.text(&lab));
    for (config, words) in [
        (config, "provider.local.zones"),
        (nowhere, "sovereignty.allowed-zone-ids"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_taciturn"))
            .args(["controller", "--config"])
            .arg(config)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(lab.relays().len(), 0);
}
