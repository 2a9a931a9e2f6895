//! The page of a fleet that a test makes up: each state in a word, everything bounded, nothing made up.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use taciturn_protocol::status::Phase;
use taciturn_protocol::time::{Instant, Now, UnixTime};

use super::*;
use crate::fleet::{Dimension, Fleet, InstanceId, LaunchToken, Lifecycle, Loads, Snapshot, ZoneId};
use crate::policy::{
    Act, Action, Alarm, AlarmKind, Brake, Need, Outcome, Plan, Policy, Reason as Why,
};
use crate::reconcile::{Counters, Decision, Tried};
use crate::trend::Trend;

const NOW: u64 = 1_790_000_000;

fn id(id: &str) -> InstanceId {
    InstanceId::try_from(id).unwrap()
}

fn relay(id: &str, zone: &str, phase: Phase) -> crate::fleet::Relay {
    let drain = (phase == Phase::Draining).then(|| {
        json!({"source": "operator", "started": NOW - 60, "deadline": NOW + 540, "reason": "surplus", "epoch": 3,
            "allocations_remaining": 4, "idle_allocations": 1})
    });
    serde_json::from_value(json!({
        "id": id, "zone": zone, "instance_type": "c7gn.large", "image": "lt-1/7", "lifecycle": "in-service", "age": 900.0,
        "report": {
            "boot_id": "b", "sequence": 9, "time": NOW, "phase": phase, "ready": phase == Phase::Ready, "version": "0.1.0",
            "load": {"allocations": 4.0, "packets": 123.456789}, "capacity": {"allocations": 8.0}, "drain": drain,
        },
        "report_age": 1.0, "samples": 9, "was_ready": phase != Phase::Launching,
    }))
    .unwrap()
}

fn published(relays: Vec<crate::fleet::Relay>) -> Published {
    let mut fleet = Fleet::default();
    fleet.listing.complete_for = Some(Duration::from_secs(2));
    fleet.leadership.held = true;
    fleet.leadership.epoch = 3;
    let mut policy = Policy {
        fleet: "test".to_owned(),
        ..Policy::default()
    };
    for zone in ["az1", "az2"] {
        policy.allowed_zones.insert(ZoneId::try_from(zone).unwrap());
    }
    let offered = relays.iter().filter(|relay| {
        let report = relay.report.as_ref();
        report.is_some_and(|report| report.ready)
    });
    let plan = Plan {
        summary: "nothing to do".to_owned(),
        offered: offered.map(|relay| relay.id.clone()).collect(),
        ..Plan::default()
    };
    for relay in relays {
        fleet.relays.insert(relay.id.clone(), relay);
    }
    Published {
        snapshot: Snapshot {
            format: Snapshot::FORMAT.to_owned(),
            now: Now {
                instant: Instant::ZERO + Duration::from_secs(1_000),
                unix: UnixTime::from_secs(NOW),
            },
            fleet,
        },
        plan,
        policy: Arc::new(policy),
        outcomes: Vec::new(),
        decisions: VecDeque::new(),
        trend: Arc::default(),
        counters: Counters {
            rounds: 7,
            ..Counters::default()
        },
        dry_run: false,
        lease_seconds: 20.0,
    }
}

fn page(latest: &Published) -> Overview {
    overview(latest, Duration::from_millis(1_234), None)
}

fn ready() -> Vec<crate::fleet::Relay> {
    vec![
        relay("i-1", "az1", Phase::Ready),
        relay("i-2", "az2", Phase::Ready),
    ]
}

#[test]
fn each_state_of_the_whole_has_a_word_and_a_sentence() {
    let mut first = published(vec![]);
    first.counters.rounds = 0;
    let mut standby = published(ready());
    standby.snapshot.fleet.leadership.held = false;
    standby.snapshot.fleet.leadership.obstacle = Some("held by controller-2".to_owned());
    standby.plan.brakes.push(Brake::NotLeading {
        words: "held by controller-2".to_owned(),
    });
    let mut frozen = published(ready());
    frozen
        .plan
        .brakes
        .push(Brake::StaleRelays { stale: 3, of: 4 });
    let mut started = published(ready());
    started.plan.brakes.push(Brake::JustStarted {
        words: "a list".to_owned(),
    });
    let mut growing = published(ready());
    let mut booting = relay("i-3", "az1", Phase::Launching);
    booting.lifecycle = Lifecycle::Pending;
    booting.age = Duration::from_secs(5);
    growing.snapshot.fleet.relays.insert(id("i-3"), booting);
    let mut launched = published(ready());
    let launch = Action {
        act: Act::Launch {
            zone: ZoneId::try_from("az1").unwrap(),
            count: 1,
            token: LaunchToken::try_from("t".to_owned()).unwrap(),
        },
        reason: Why::Load,
        words: String::new(),
    };
    let came = Outcome::Done {
        instances: vec![id("i-9")],
    };
    launched.outcomes.push((launch, came));
    let leaving = published(vec![
        relay("i-1", "az1", Phase::Ready),
        relay("i-2", "az2", Phase::Draining),
    ]);
    for (latest, condition, words) in [
        (published(ready()), "steady", "as many relays as are needed"),
        (first, "starting", "first look"),
        (standby, "standby", "only watches"),
        (frozen, "frozen", "Nothing is taken away"),
        (started, "starting", "Just started"),
        (growing, "growing", "1 relay is on its way"),
        (launched, "growing", "1 relay is on its way"),
        (leaving, "shrinking", "1 relay is leaving; its calls go on"),
        (published(vec![]), "empty", "no relay"),
    ] {
        let page = page(&latest);
        assert_eq!(page.condition.as_str(), condition, "{}", page.headline);
        assert!(page.headline.contains(words), "{}", page.headline);
        assert_eq!(json!(page.condition), condition);
    }
    let doubt = Some("the latest round was 90 s ago".to_owned());
    let old = overview(&published(ready()), Duration::from_secs(90), doubt);
    assert_eq!(old.condition, Condition::Stuck);
    assert!(old.headline.contains("90 s ago"), "{}", old.headline);
}

/// What others read is written down here: a field that is gone or renamed breaks them.
#[test]
fn the_document_is_as_its_readers_know_it() {
    let mut latest = published(vec![
        relay("i-1", "az1", Phase::Ready),
        relay("i-2", "az1", Phase::Draining),
    ]);
    let mut trend = Trend::default();
    latest.plan.need = Need {
        reactive: 2,
        dimension: Some(Dimension::Allocations),
        minimum: 1,
        need: 2,
        held: 2,
        have: 1,
        demand: Loads {
            allocations: Some(8.0),
            ..Loads::default()
        },
        capacity: Loads {
            allocations: Some(6.0),
            ..Loads::default()
        },
        ..Need::default()
    };
    trend.round(
        Instant::ZERO + Duration::from_secs(990),
        &Fleet::default(),
        &latest.plan.need,
        &[],
    );
    latest.trend = Arc::new(trend);
    latest.plan.alarms.push(Alarm {
        kind: AlarmKind::Stale,
        relay: Some(id("i-1")),
        words: "not heard of".to_owned(),
    });
    let whole = json!(page(&latest));
    let part = |path: &str| {
        whole
            .pointer(path)
            .cloned()
            .unwrap_or_else(|| panic!("no {path}"))
    };
    for (path, value) in [
        ("/format", json!("taciturn-overview/1")),
        ("/fleet", json!("test")),
        ("/time", json!(NOW)),
        ("/age_seconds", json!(1.234)),
        ("/condition", json!("shrinking")),
        ("/doubt", Value::Null),
        ("/dry_run", json!(false)),
        (
            "/leadership",
            json!({"held": true, "epoch": 3, "lease_seconds": 20.0, "words": "this controller acts"}),
        ),
        ("/rounds", json!(7)),
        (
            "/totals",
            json!({"relays": 2, "states": {"ready": 1, "draining": 1}, "offered": 1, "allocations": 8.0}),
        ),
        (
            "/alarms",
            json!([{"kind": "stale", "relay": "i-1", "words": "not heard of"}]),
        ),
        ("/brakes", json!([])),
        ("/zones/0/zone", json!("az1")),
        ("/zones/0/states", json!({"ready": 1, "draining": 1})),
        (
            "/zones/1",
            json!({"zone": "az2", "allowed": true, "states": {}, "relays": 0, "offered": 0, "allocations": null}),
        ),
        ("/need/reasons/0/reason", json!("load")),
        ("/need/reasons/0/decides", json!(true)),
        ("/need/reasons/4/decides", json!(false)),
        (
            "/loads",
            json!([{"dimension": "allocations", "demand": 8.0, "capacity": 6.0, "share": 1.333, "decides": true}]),
        ),
        ("/chart/times", json!([NOW - 10])),
        ("/chart/demand", json!({"allocations": [8.0]})),
        ("/chart/need", json!([2])),
        (
            "/drains/0",
            json!({
                "relay": "i-2", "zone": "az1", "state": "draining", "source": "operator", "reason": "surplus",
                "allocations_remaining": 4, "idle_allocations": 1, "started": NOW - 60, "deadline": NOW + 540, "seconds_left": 540,
                "silent_seconds": 1.0,
            }),
        ),
        ("/relays/0/id", json!("i-2")),
        ("/relays/0/full", json!(0.5)),
        ("/relays/0/load/packets", json!(123.0)),
        ("/left_out", json!({"relays": 0, "drains": 0, "alarms": 0})),
    ] {
        assert_eq!(part(path), value, "{path}");
    }
    let read: Overview = serde_json::from_value(whole).unwrap();
    assert_eq!(read, page(&latest));
}

/// Of the reasons that ask for as many, the one that the plan names decides; one that is only observed never does.
#[test]
fn one_reason_decides() {
    let mut latest = published(ready());
    latest.plan.need = Need {
        reactive: 3,
        forecast: 9,
        zone_loss: 3,
        minimum: 3,
        need: 3,
        ..Need::default()
    };
    let policy = Arc::make_mut(&mut latest.policy);
    policy.forecast.mode = crate::policy::ForecastMode::Observe;
    let decides = |latest: &Published| {
        let reasons = page(latest).need.reasons.into_iter();
        let deciding = reasons
            .filter(|reason| reason.decides)
            .map(|reason| reason.reason);
        deciding.collect::<Vec<_>>()
    };
    assert_eq!(decides(&latest), ["minimum"]);
    Arc::make_mut(&mut latest.policy).forecast.mode = crate::policy::ForecastMode::Floor;
    assert_eq!(decides(&latest), ["forecast"]);
    latest.plan.need = Need::default();
    assert!(decides(&latest).is_empty());
}

#[test]
fn what_does_not_fit_is_counted_and_trouble_comes_first() {
    let mut relays: Vec<_> = (0..400)
        .map(|number| relay(&format!("i-{number:03}"), "az1", Phase::Ready))
        .collect();
    let mut lost = relay("i-999", "az2", Phase::Ready);
    lost.report_age = Some(Duration::from_secs(9_999));
    relays.push(lost);
    let mut offshore = relay("i-998", "az2", Phase::Ready);
    offshore.zone = ZoneId::try_from("elsewhere").unwrap();
    relays.push(offshore);
    let mut latest = published(relays);
    for number in 0..60 {
        latest.plan.alarms.push(Alarm {
            kind: AlarmKind::Full,
            relay: None,
            words: number.to_string(),
        });
        let tried = Tried {
            action: Action {
                act: Act::Terminate { relay: id("i-001") },
                reason: Why::Surplus,
                words: "it is empty".to_owned(),
            },
            outcome: None,
        };
        latest.decisions.push_back(Arc::new(Decision {
            round: number,
            time: UnixTime::from_secs(NOW + number),
            epoch: 1,
            summary: String::new(),
            need: Need::default(),
            brakes: Vec::new(),
            alarms: Vec::new(),
            actions: vec![tried; 20],
        }));
    }
    let page = page(&latest);
    let first: Vec<&str> = page
        .relays
        .iter()
        .take(3)
        .map(|relay| relay.id.as_str())
        .collect();
    assert_eq!(first, ["i-998", "i-999", "i-000"]);
    assert_eq!((page.relays.len(), page.left_out.relays), (300, 102));
    assert_eq!((page.alarms.len(), page.left_out.alarms), (50, 10));
    assert_eq!((page.decisions.len(), page.decisions[0].round), (20, 59));
    assert_eq!(
        (
            page.decisions[0].actions.len(),
            page.decisions[0].actions_left_out
        ),
        (12, 8)
    );
    let elsewhere = page
        .zones
        .iter()
        .find(|zone| zone.zone == "elsewhere")
        .unwrap();
    assert!(!elsewhere.allowed && elsewhere.relays == 1);
    assert_eq!(page.totals.relays, 402);
    // The page of a fleet of any size is a small answer.
    assert!(serde_json::to_vec(&page).unwrap().len() < 200_000);
}

/// What nobody knows is `null`, never zero.
#[test]
fn what_is_not_known_is_not_made_up() {
    let mut silent = relay("i-1", "az1", Phase::Launching);
    silent.report = None;
    silent.report_age = None;
    let page = page(&published(vec![silent]));
    let relay = &page.relays[0];
    assert_eq!(
        (relay.full, relay.silent_seconds, relay.load),
        (None, None, Loads::default())
    );
    assert_eq!(page.totals.allocations, None);
    assert!(page.loads.is_empty() && page.drains.is_empty());
    assert!(page.chart.times.is_empty() && page.chart.demand.is_empty());
}

#[test]
fn a_condition_that_is_not_known_is_read_as_none_of_these() {
    let read: Condition = serde_json::from_str("\"frozen\"").unwrap();
    assert_eq!(read, Condition::Frozen);
    let later: Condition = serde_json::from_str("\"of a later version\"").unwrap();
    assert_eq!(later, Condition::Steady);
}
