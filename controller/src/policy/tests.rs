//! The rules, one by one and over random histories.
//!
//! Responsible for fleets as examples begin with them: calm, seen in full, with nothing to do. Not responsible for fleets
//! that move (`world`).

mod absurd;
mod brakes;
mod checks;
mod drains;
mod forecasts;
mod hands;
mod invariants;
mod more;
mod need;
mod offer;
mod surplus;
mod unhealthy;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use taciturn_protocol::status::Phase;
use taciturn_protocol::time::{Instant, Now, UnixTime};

use super::{Act, Action, AlarmKind, Capacity, Forecast, ForecastMode, Plan, Policy, Reason, plan};
use crate::fleet::{
    DrainReport, Fleet, Group, History, InstanceId, Leadership, Lifecycle, ListingState, Loads,
    Relay, Report, ZoneId,
};

/// A Monday, 9 o'clock in UTC, and a controller that has run for two hours.
pub(crate) const NOW: Now = Now {
    instant: Instant::from_nanos(7_200_000_000_000),
    unix: UnixTime::from_secs(1_791_190_800),
};

pub(crate) fn zone(name: &str) -> ZoneId {
    ZoneId::try_from(name).expect(name)
}

pub(crate) fn id(name: &str) -> InstanceId {
    InstanceId::try_from(name).expect(name)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So long before now.
pub(crate) fn ago(seconds: u64) -> Instant {
    Instant::from_nanos(NOW.instant.as_nanos() - seconds * 1_000_000_000)
}

/// Relays of 100 calls, to be filled with 75; three zones; no forecast; no slack, so that the sums are plain.
pub(crate) fn policy() -> Policy {
    let capacity = Capacity {
        allocations: Some(100.0),
        ..Capacity::default()
    };
    Policy {
        fleet: "example".to_owned(),
        allowed_zones: ["a", "b", "c"].into_iter().map(zone).collect(),
        slack: 0.0,
        capacity: BTreeMap::from([("default".to_owned(), capacity)]),
        forecast: Forecast {
            mode: ForecastMode::Off,
            ..Forecast::default()
        },
        ..Policy::default()
    }
}

pub(crate) fn relay(name: &str, zone_id: &str, calls: f64) -> Relay {
    Relay {
        id: id(name),
        zone: zone(zone_id),
        instance_type: "plain".to_owned(),
        image: "one".to_owned(),
        lifecycle: Lifecycle::InService,
        age: seconds(7200),
        admin: None,
        report: Some(Report {
            boot_id: name.to_owned(),
            sequence: 7000,
            time: NOW.unix,
            phase: Phase::Ready,
            ready: true,
            load: Loads {
                allocations: Some(calls),
                ..Loads::default()
            },
            ..Report::default()
        }),
        report_age: Some(seconds(1)),
        samples: 50,
        was_ready: true,
        answers_stun: None,
        unhealthy: false,
        cordoned: false,
        keep: false,
        withheld_for: None,
        terminate_asked: false,
        newer_epoch: None,
    }
}

/// `count` relays named r0, r1, .. in turn in the zones a, b and c, each with `calls`; nothing is to be done about it as
/// long as no more than what is here was needed in the window.
pub(crate) fn calm(count: usize, calls: f64) -> Fleet {
    let zones = ["a", "b", "c"];
    let relays = (0..count).map(|nth| {
        let name = format!("r{nth}");
        (id(&name), relay(&name, zones[nth % 3], calls))
    });
    let desired = u32::try_from(count).expect("few");
    let group = Group {
        min: Some(0),
        max: Some(40),
        desired: Some(desired),
        zones: zones.into_iter().map(zone).collect(),
        image: Some("one".to_owned()),
        instance_type: Some("plain".to_owned()),
        ..Group::default()
    };
    Fleet {
        relays: relays.collect(),
        listing: ListingState {
            complete_for: Some(seconds(2)),
            fault: None,
        },
        leadership: Leadership {
            held: true,
            epoch: 7,
            obstacle: None,
        },
        history: History {
            needs: [(ago(1700), 0)].into(),
            desired: group.desired,
            bounds: Some((group.min, group.max)),
            ..History::default()
        },
        group,
        running_for: seconds(7200),
        clock_jump: Some(Duration::ZERO),
        ..Fleet::default()
    }
}

/// Six relays where three would do, one of which was chosen 20 s ago: the next plan withholds it.
pub(crate) fn one_too_many() -> Fleet {
    let mut fleet = calm(6, 30.0);
    fleet.history.chosen.insert(id("r0"), ago(20));
    fleet
}

pub(crate) fn edit<'f>(fleet: &'f mut Fleet, name: &str) -> &'f mut Relay {
    fleet.relays.get_mut(&id(name)).expect(name)
}

pub(crate) fn report<'f>(fleet: &'f mut Fleet, name: &str) -> &'f mut Report {
    edit(fleet, name).report.as_mut().expect(name)
}

/// The relay has not been heard of for 100 s.
pub(crate) fn silence(fleet: &mut Fleet, name: &str) {
    edit(fleet, name).report_age = Some(seconds(100));
}

/// The relay drains since `since` s ago, by an order of a controller, and may go on for another hour.
pub(crate) fn drains(fleet: &mut Fleet, name: &str, since: u64, calls: u64) {
    let drain = DrainReport {
        source: "operator".to_owned(),
        started: UnixTime::from_secs(NOW.unix.as_secs() - since),
        deadline: NOW.unix.plus_secs(3600),
        reason: "surplus".to_owned(),
        epoch: 7,
        allocations_remaining: calls,
        idle_allocations: 0,
    };
    let report = report(fleet, name);
    report.phase = if calls == 0 {
        Phase::Drained
    } else {
        Phase::Draining
    };
    report.ready = false;
    report.load.allocations =
        Some(std::iter::repeat_n(1.0, usize::try_from(calls).expect("few")).sum());
    report.drain = Some(drain);
}

pub(crate) fn planned(fleet: &Fleet) -> Plan {
    plan(fleet, &policy(), NOW)
}

/// The words and relays of a plan's actions: "withhold r0", "launch 2 in a".
pub(crate) fn acts(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(said).collect()
}

fn said(action: &Action) -> String {
    let act = &action.act;
    if let Act::Launch { zone, count, .. } = act {
        return format!("launch {count} in {zone}");
    }
    let relay = act.relay().map_or("nothing", InstanceId::as_str);
    format!("{} {relay}", act.as_str())
}

pub(crate) fn reasons(plan: &Plan) -> BTreeSet<Reason> {
    plan.actions.iter().map(|action| action.reason).collect()
}

pub(crate) fn alarms(plan: &Plan) -> BTreeSet<AlarmKind> {
    plan.alarms.iter().map(|alarm| alarm.kind).collect()
}

/// Takes a relay away, or is a step to it.
pub(crate) fn is_removal(action: &Action) -> bool {
    match action.act {
        Act::Withhold { .. } | Act::Drain { .. } | Act::Terminate { .. } | Act::Finish { .. } => {
            true
        }
        Act::Launch { .. } | Act::Restore { .. } | Act::Undrain { .. } | Act::Extend { .. } => {
            false
        }
    }
}

#[test]
fn a_calm_fleet_is_left_alone() {
    let mut fleet = calm(6, 50.0);
    fleet.history.needs = [(ago(100), 6)].into();
    let plan = planned(&fleet);
    assert_eq!(acts(&plan), Vec::<String>::new());
    assert_eq!(plan.brakes, []);
    assert_eq!(plan.alarms, []);
    assert_eq!(plan.offered.len(), 6);
    assert!(plan.summary.contains("nothing to do"), "{}", plan.summary);
}

#[test]
fn every_action_says_why_with_its_figures() {
    let mut fleet = calm(6, 90.0);
    drains(&mut fleet, "r1", 600, 0);
    let plan = planned(&fleet);
    assert!(!plan.actions.is_empty());
    for action in &plan.actions {
        assert!(
            action.words.bytes().any(|byte| byte.is_ascii_digit()),
            "{}",
            action.words
        );
    }
}
