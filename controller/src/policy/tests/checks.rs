//! Every contradiction in a policy is said, with its key, its value and a remedy.

use std::time::Duration;

use super::*;
use crate::policy::Schedule;

fn faults(change: impl FnOnce(&mut Policy)) -> Vec<String> {
    let mut policy = policy();
    change(&mut policy);
    policy.check()
}

fn one(change: impl FnOnce(&mut Policy)) -> String {
    let faults = faults(change);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().next().expect("one")
}

#[test]
fn the_defaults_make_sense() {
    assert_eq!(Policy::default().check(), Vec::<String>::new());
    assert_eq!(faults(|_| {}), Vec::<String>::new());
}

#[test]
fn each_contradiction_names_key_value_and_remedy() {
    type Change = fn(&mut Policy);
    let table: [(Change, &str); 24] = [
        (|p| p.min = 21, "min = 21: "),
        (|p| p.up_step = 0, "up-step = 0: "),
        (|p| p.down_step = 0, "down-step = 0: "),
        (|p| p.launches_per_hour = 0, "launches-per-hour = 0: "),
        (|p| p.breaker_after = 0, "breaker-after = 0: "),
        (|p| p.max = 1_000_000, "max = 1000000: "),
        (|p| p.surge = 1_000_000, "surge = 1000000: "),
        (|p| p.fill_target = 0.0, "fill-target = 0: "),
        (|p| p.fill_target = f64::NAN, "fill-target = NaN: "),
        (|p| p.up_share = -0.1, "up-share = -0.1: "),
        (|p| p.stale_share = 1.1, "stale-share = 1.1: "),
        (|p| p.unhealthy_share = 0.6, "unhealthy-share = 0.6: "),
        (|p| p.slack = f64::INFINITY, "slack = inf: "),
        (|p| p.headroom_down = 0.2, "headroom-down = 0.2: "),
        (|p| p.stale_after = Duration::ZERO, "stale-after = 0s: "),
        (|p| p.ready_timeout = Duration::ZERO, "ready-timeout = 0s: "),
        (|p| p.window = seconds(700_000), "window = 700000s: "),
        (|p| p.backoff_max = seconds(60), "backoff-max = 1m: "),
        (|p| p.drain_deadline = seconds(10), "drain-deadline = 10s: "),
        (
            |p| p.forecast.timezone = "Sydney".to_owned(),
            "forecast.timezone = \"Sydney\": ",
        ),
        (
            |p| {
                p.forecast.holidays.insert("25.12.2026".to_owned());
            },
            "forecast.holidays = \"25.12.2026\": ",
        ),
        (
            |p| p.forecast.percentile = 90.0,
            "forecast.percentile = 90: ",
        ),
        (|p| p.forecast.margin = 0.9, "forecast.margin = 0.9: "),
        (|p| p.forecast.days = 0, "forecast.days = 0: "),
    ];
    for (change, start) in table {
        let fault = one(change);
        assert!(fault.starts_with(start), "{fault}");
        assert!(fault.contains("; write "), "{fault}");
    }
}

#[test]
fn capacities_are_above_zero() {
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let fault = one(|policy| {
            let capacity = policy.capacity.get_mut("default").expect("is there");
            capacity.bits = Some(wrong);
        });
        assert!(fault.starts_with("capacity.default.bits = "), "{fault}");
    }
    let empty = one(|policy| {
        policy
            .capacity
            .insert("c7gn".to_owned(), Capacity::default());
    });
    assert!(empty.starts_with("capacity.c7gn = "), "{empty}");
    let cores = one(|policy| {
        let capacity = policy.capacity.get_mut("default").expect("is there");
        capacity.core = Some(4.0);
    });
    assert!(cores.starts_with("capacity.default.core = 4: "), "{cores}");
}

#[test]
fn a_schedule_names_days_times_a_zone_and_no_more_than_the_maximum() {
    let entry = Schedule {
        days: BTreeSet::from(["mon".to_owned(), "sunday".to_owned()]),
        from: "8:00".to_owned(),
        to: "24:00".to_owned(),
        timezone: "Australia/Sidney".to_owned(),
        min: 21,
    };
    let faults = faults(|policy| policy.schedule = vec![entry]);
    let starts = [
        "schedule[0].days = \"sunday\": ",
        "schedule[0].from = \"8:00\": ",
        "schedule[0].to = \"24:00\": ",
        "schedule[0].timezone = \"Australia/Sidney\": ",
        "schedule[0].min = 21: ",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}");
    }
}

#[test]
fn all_contradictions_come_at_once() {
    let all = faults(|policy| {
        policy.min = 30;
        policy.headroom_up = 0.9;
        policy.backoff = Duration::ZERO;
    });
    assert_eq!(all.len(), 3, "{all:?}");
}
