//! What of the page is about relays: each of them, zones, drains, sums.
//!
//! Not responsible for the plan's side of it (`of_round`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Drain, Relay, Totals, Zone, rounded};
use crate::fleet::{Dimension, Loads};
use crate::reconcile::Published;
use crate::shown::{Shown, State};

/// Those in trouble first, then those that leave and come, then by zone.
pub(super) fn relays(latest: &Published, shown: &[Shown<'_>]) -> Vec<Relay> {
    let mut sorted: Vec<&Shown<'_>> = shown.iter().collect();
    sorted.sort_by_key(|shown| (urgency(shown), &shown.relay.zone, &shown.relay.id));
    sorted
        .into_iter()
        .map(|shown| relay(latest, shown))
        .collect()
}

fn urgency(shown: &Shown<'_>) -> u8 {
    match shown.state {
        _ if shown.offshore && shown.state != State::Gone => 0,
        State::Lost | State::NeverReady | State::Unready => 1,
        State::Draining | State::Drained | State::Ending => 2,
        State::Launching => 3,
        State::Ready => 4,
        State::Aside => 5,
        State::Gone => 6,
    }
}

fn relay(latest: &Published, shown: &Shown<'_>) -> Relay {
    let relay = shown.relay;
    let report = relay.report.as_ref();
    let load = report.map_or_else(Loads::default, |report| report.load);
    Relay {
        id: relay.id.clone(),
        zone: relay.zone.clone(),
        state: shown.state.as_str().to_owned(),
        offered: latest.plan.offered.contains(&relay.id),
        offshore: shown.offshore,
        age_seconds: rounded(relay.age.as_secs_f64()),
        silent_seconds: relay.report_age.map(|age| rounded(age.as_secs_f64())),
        load: Dimension::ALL.into_iter().fold(load, |load, dimension| {
            load.with(dimension, load.of(dimension).map(rounded))
        }),
        full: full(load, shown.carries).map(rounded),
        not_ready_because: report.map_or_else(Vec::new, |report| report.not_ready_because.clone()),
        version: report.map_or_else(String::new, |report| report.version.clone()),
        image: relay.image.clone(),
        cordoned: relay.cordoned,
        keep: relay.keep,
    }
}

/// The dimension that is fullest counts.
fn full(load: Loads, carries: Loads) -> Option<f64> {
    let shares = Dimension::ALL.into_iter().filter_map(|dimension| {
        let share = load.of(dimension)? / carries.of(dimension)?;
        share.is_finite().then_some(share)
    });
    shares.reduce(f64::max)
}

/// The one that is to be over first at the top.
pub(super) fn drains(latest: &Published, shown: &[Shown<'_>]) -> Vec<Drain> {
    let now = latest.snapshot.now.unix.as_secs();
    let mut drains: Vec<Drain> = shown
        .iter()
        .filter(|shown| shown.state != State::Gone)
        .filter_map(|shown| {
            let drain = shown.relay.report.as_ref()?.drain.as_ref()?;
            Some(Drain {
                relay: shown.relay.id.clone(),
                zone: shown.relay.zone.clone(),
                state: shown.state.as_str().to_owned(),
                source: drain.source.clone(),
                reason: drain.reason.clone(),
                allocations_remaining: drain.allocations_remaining,
                idle_allocations: drain.idle_allocations,
                started: drain.started,
                deadline: drain.deadline,
                seconds_left: signed(drain.deadline.as_secs()).saturating_sub(signed(now)),
                silent_seconds: shown.relay.report_age.map(|age| rounded(age.as_secs_f64())),
            })
        })
        .collect();
    drains.sort_by(|a, b| (a.deadline, &a.relay).cmp(&(b.deadline, &b.relay)));
    drains
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

pub(super) fn totals(latest: &Published, shown: &[Shown<'_>]) -> Totals {
    let all: Vec<&Shown<'_>> = shown.iter().collect();
    Totals {
        relays: existing(&all),
        states: states(&all),
        offered: latest.plan.offered.len(),
        allocations: allocations(&all),
    }
}

pub(super) fn zones(latest: &Published, shown: &[Shown<'_>]) -> Vec<Zone> {
    let allowed = &latest.policy.allowed_zones;
    let found = shown.iter().map(|shown| &shown.relay.zone);
    let zones: BTreeSet<_> = allowed.iter().chain(found).collect();
    let zones = zones.into_iter().map(|zone| {
        let here: Vec<&Shown<'_>> = shown
            .iter()
            .filter(|shown| shown.relay.zone == *zone)
            .collect();
        let offered = here
            .iter()
            .filter(|shown| latest.plan.offered.contains(&shown.relay.id));
        Zone {
            zone: zone.to_string(),
            allowed: allowed.contains(zone),
            relays: existing(&here),
            offered: offered.count(),
            states: states(&here),
            allocations: allocations(&here),
        }
    });
    zones.collect()
}

fn existing(shown: &[&Shown<'_>]) -> usize {
    shown
        .iter()
        .filter(|shown| shown.state != State::Gone)
        .count()
}

fn states(shown: &[&Shown<'_>]) -> BTreeMap<String, usize> {
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for shown in shown {
        *states.entry(shown.state.as_str().to_owned()).or_default() += 1;
    }
    states
}

/// What is not known of one is left out; `None`: it is known of none.
fn allocations(shown: &[&Shown<'_>]) -> Option<f64> {
    let known = shown
        .iter()
        .filter(|shown| shown.state != State::Gone)
        .filter_map(|shown| shown.relay.report.as_ref()?.load.allocations);
    known.reduce(|sum, one| sum + one)
}
