//! The page for operators, held against the relay: every metric and every alert is on it, and its links lead somewhere.
//!
//! Not responsible for whether the advice is good.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::running::Setup;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The name that a heading is linked by: lower case, words joined by hyphens, anything else left out.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter(|line| line.starts_with('#'))
        .map(anchor)
        .collect()
}

#[test]
fn every_metric_of_a_scrape_is_explained_to_operators() {
    let page = read("docs/operations.md");
    let relay = Setup::on_loopback(1).start();
    let (code, scrape) = relay.http("GET", "/metrics");
    assert_eq!(code, 200);
    let families = scrape.lines().filter_map(|line| {
        line.strip_prefix("# TYPE taciturn_relay_")?
            .split(' ')
            .next()
    });
    let mut seen = 0;
    for family in families {
        seen += 1;
        assert!(
            page.contains(&format!("`{family}`")) || page.contains(&format!("`{family}{{")),
            "docs/operations.md does not say what taciturn_relay_{family} means and what to do about it"
        );
    }
    assert!(seen > 50, "a scrape of {seen} metrics");
}

#[test]
fn every_alert_has_its_place_on_the_page() {
    let anchors = anchors(&read("docs/operations.md"));
    let rules = read("alerts/relay.yml") + &read("alerts/controller.yml");
    let mut seen = 0;
    for line in rules.lines() {
        if let Some(place) = line.trim().strip_prefix("runbook: docs/operations.md#") {
            seen += 1;
            assert!(anchors.contains(place), "no heading for the alert {place}");
        }
    }
    let alerts = rules
        .lines()
        .filter(|line| line.trim().starts_with("- alert: "));
    assert_eq!(seen, alerts.count(), "an alert leads nowhere");
    assert!(seen > 20, "only {seen} alerts");
}

#[test]
fn what_the_pages_link_to_is_there() {
    for name in [
        "operations.md",
        "aws.md",
        "integration.md",
        "scaling.md",
        "threat-model.md",
        "hardening.md",
        "assurance.md",
    ] {
        let page = read(&format!("docs/{name}"));
        let here = anchors(&page);
        for link in page
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let known = if file.is_empty() {
                here.clone()
            } else {
                let path = root().join("docs").join(file);
                assert!(path.exists(), "{name}: {link}: no such file");
                if place.is_empty() {
                    continue;
                }
                anchors(&std::fs::read_to_string(Path::new(&path)).unwrap())
            };
            assert!(known.contains(place), "{name}: {link}: no such heading");
        }
    }
}

/// The same list stands in the example, and is what `relay/src/reload/restart.rs` compares.
#[test]
fn what_takes_a_restart_is_said_to_operators_whole() {
    let page = read("docs/operations.md");
    let row = page
        .lines()
        .skip_while(|line| !line.starts_with("| takes effect by reload |"))
        .nth(2)
        .unwrap();
    let restart = row.split('|').nth(2).unwrap();
    let judged = read("relay/src/reload/restart.rs");
    let (judged, _) = judged.split_once("#[cfg(test)]").unwrap();
    let keys: BTreeSet<&str> = judged
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            text.bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"-.".contains(&byte))
        })
        .map(|key| key.split('.').next().unwrap())
        .collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        assert!(
            restart.contains(&format!("`{key}`")) || restart.contains(&format!("[{key}]")),
            "docs/operations.md does not say that {key} takes a restart"
        );
    }
}
