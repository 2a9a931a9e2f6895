//! Slips in a configuration: at the start and under calls, and what PROXY headers make of a relay that knows none.
//!
//! Not responsible for every key (`tests/config.rs`).

use std::fs;

use crate::calls::Canaries;
use crate::running::{Setup, eventually};

/// What is wrong, and the words that the refusal has to have.
const SLIPS: [(&str, &str, &[&str]); 7] = [
    (
        "peers",
        "deny = [\"10.0.0.0/33\"]",
        &["10.0.0.0/33", "deny"],
    ),
    (
        "peers",
        "deny = [\"10.0.0-10.1\"]",
        &["10.0.0-10.1", "deny"],
    ),
    (
        "peers",
        "allow = [\"10.0.0.1/8x\"]",
        &["10.0.0.1/8x", "allow"],
    ),
    ("peers", "dney = []", &["dney"]),
    (
        "limits",
        "allocation-per-user = 5",
        &["allocation-per-user"],
    ),
    (
        "sovereignty",
        "allowed-zone-ids = [\"\"]",
        &["allowed-zone-ids"],
    ),
    (
        "sovereignty",
        "zone-id = \"\"\nallowed-zone-ids = [\"a\"]",
        &["zone-id"],
    ),
];

/// The setup with this line in this section.
fn with(section: &str, line: &str) -> Setup {
    let mut setup = Setup::on_loopback(1);
    match section {
        "peers" => setup.peers = format!("{}\n{line}", setup.peers),
        "limits" => setup.limits = format!("{}\n{line}", setup.limits),
        other => setup.more = format!("[{other}]\n{line}\n"),
    }
    setup
}

/// a range that means nothing, an unknown key, an empty zone: the relay does not start, and says line, key and value.
#[test]
fn a_slip_refuses_to_start() {
    for (section, line, words) in SLIPS {
        let said = with(section, line).refused();
        for word in words {
            assert!(said.contains(word), "{line}: {said}");
        }
        let names_a_line = said
            .split(':')
            .any(|part| part.trim().parse::<u32>().is_ok_and(|number| number > 1))
            || said.contains("line");
        assert!(names_a_line, "{said}");
    }
}

/// the same under calls: refused whole, the old configuration stays in force, no call notices, and the alert that
/// tells somebody is raised until it is mended.
#[test]
fn a_slip_under_calls_changes_nothing() {
    let mut relay = Setup::on_loopback(1).start();
    let canaries = Canaries::start(&relay);
    let good = fs::read_to_string(relay.directory().join("relay.toml")).unwrap();
    let refused = || relay.metric("taciturn_relay_config_reloads_total{outcome=\"refused\"}");
    for (section, line, words) in &SLIPS[..5] {
        let before = refused();
        let header = format!("[{section}]\n");
        assert!(good.contains(&header));
        relay.rewrite(
            "relay.toml",
            &good.replace(&header, &format!("{header}{line}\n")),
        );
        relay.hang_up();
        eventually("its refusal", || refused() > before);
        assert_eq!(relay.metric("taciturn_relay_config_reload_failed"), 1);
        let log = relay.log();
        assert!(words.iter().all(|word| log.contains(word)), "{line}: {log}");
        assert_eq!(relay.http("GET", "/ready").0, 200);
    }
    relay.rewrite("relay.toml", &good);
    relay.hang_up();
    eventually("the end of the alert", || {
        relay.metric("taciturn_relay_config_reload_failed") == 0
    });
    canaries.finish();
    relay.assert_alive();
}
