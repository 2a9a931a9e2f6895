//! The page of a fleet that is written here as JSON, as a controller would send it.

use super::*;

const OVERVIEW: &str = r#"{
  "format": "taciturn-overview/1", "version": "0.1.0", "fleet": "clinic", "time": 1790000000, "age_seconds": 1.2,
  "condition": "frozen", "headline": "Nothing is taken away, for the reason below", "summary": "4 needed, 4 here: nothing to do",
  "totals": {"relays": 4, "states": {"ready": 3, "draining": 1}, "offered": 3, "allocations": 12.0},
  "brakes": [{"kind": "stale_relays", "words": "3 of 4 relays have not been heard of lately"}],
  "alarms": [{"kind": "drain_overdue", "relay": "i-2", "words": "it is past its deadline\u001b[2J"}],
  "zones": [
    {"zone": "az1", "allowed": true, "states": {"ready": 2, "draining": 1}, "relays": 3, "offered": 2, "allocations": 8.0},
    {"zone": "az9", "allowed": false, "states": {"ready": 1}, "relays": 1, "offered": 0, "allocations": 4.0}
  ],
  "need": {"need": 4, "have": 4, "min": 3, "max": 9, "reasons": [
    {"reason": "load", "relays": 4, "decides": true}, {"reason": "zone_loss", "relays": 3}]},
  "loads": [{"dimension": "allocations", "demand": 12.0, "capacity": 18.0, "share": 0.667, "decides": true},
    {"dimension": "bits", "demand": 2500000.0, "capacity": null, "share": null, "decides": false}],
  "chart": {"step_seconds": 1, "times": [1789999940, 1789999970, 1790000000], "need": [3, 3, 4], "have": [3, 3, 4],
    "demand": {"allocations": [null, 4.0, 12.0]}, "capacity": {"allocations": [18.0, 18.0, 18.0]}},
  "drains": [{"relay": "i-2", "zone": "az1", "state": "draining", "source": "operator", "reason": "surplus", "allocations_remaining": 4,
    "idle_allocations": 0, "started": 1789999000, "deadline": 1790000065, "seconds_left": 65, "silent_seconds": 1.0}],
  "decisions": [{"round": 7, "time": 1790000000, "summary": "4 needed", "actions": [
    {"act": "launch", "target": "1 in az1", "reason": "load", "words": "more is asked", "outcome": "no_capacity", "outcome_words": "none left"}]}],
  "relays": [{"id": "i-2", "zone": "az1", "state": "draining", "offered": false, "offshore": false, "age_seconds": 3720.0,
    "silent_seconds": 1.0, "load": {"allocations": 4.0}, "full": 0.5, "not_ready_because": [], "version": "0.1.0", "image": "",
    "cordoned": false, "keep": false}]
}"#;

fn text(width: usize, passed: u64, failure: Option<&str>) -> Vec<String> {
    let overview: Overview = serde_json::from_str(OVERVIEW).unwrap();
    let page = Page {
        overview: &overview,
        passed: Duration::from_secs(passed),
        failure,
        width,
        colour: true,
    };
    let lines = page.lines().into_iter();
    lines
        .map(|line| {
            line.spans
                .iter()
                .map(|span| span.content.as_ref())
                .collect()
        })
        .collect()
}

#[test]
fn the_page_says_everything_in_words() {
    for width in [80, 120, 200] {
        let page = text(width, 0, None).join("\n");
        for words in [
            "fleet clinic",
            "‖ FROZEN  Nothing is taken away",
            "✕ alarm, drain overdue: i-2: it is past its deadline",
            "‖ frozen: nothing is taken away: 3 of 4",
            "4 needed, 4 here or on their way",
            "load 4 (decides), zone loss 3",
            "2.50 Mbit/s, capacity not known",
            "12 of 18  67 % (decides)",
            "● 2 ready",
            "✕ not allowed",
            "i-2 in az1: 4 allocations, 1 min 5 s left; surplus",
            "launch 1 in az1: more is asked - no capacity none left",
            "1 h 2 min",
        ] {
            // Where it is wrapped does not matter here.
            let page: String = page.split_whitespace().collect();
            let wanted: String = words.split_whitespace().collect();
            assert!(page.contains(&wanted), "{width}: no {words:?} in\n{page}");
        }
        assert!(!page.contains('\u{1b}'));
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [60, 80, 100, 109, 110, 120, 200] {
        for line in text(width, 50, Some("connection refused")) {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn what_is_old_says_so_and_countdowns_go_on() {
    let page = text(100, 42, Some("connection refused")).join("\n");
    assert!(
        page.contains("last heard 42 s ago (connection refused). Calls are not affected"),
        "{page}"
    );
    assert!(page.contains("23 s left"), "{page}");
    assert!(
        text(100, 70, None)
            .join("\n")
            .contains("5 s past its deadline")
    );
    // One answer that is late is no news.
    assert!(
        !text(100, 3, Some("nothing"))
            .join("\n")
            .contains("last heard")
    );
}

#[test]
fn without_colours_there_are_none() {
    let overview: Overview = serde_json::from_str(OVERVIEW).unwrap();
    let page = Page {
        overview: &overview,
        passed: Duration::ZERO,
        failure: None,
        width: 120,
        colour: false,
    };
    for line in page.lines() {
        assert_eq!(line.style.fg, None);
        assert!(line.spans.iter().all(|span| span.style.fg.is_none()));
    }
}

#[test]
fn an_empty_document_is_shown_too() {
    let overview = Overview::default();
    let page = Page {
        overview: &overview,
        passed: Duration::ZERO,
        failure: None,
        width: 80,
        colour: false,
    };
    assert!(page.lines().len() > 8);
}
