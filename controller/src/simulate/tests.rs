//! Whole simulations: a month, special days, everything that can go wrong, and one day's log of decisions.

mod controllers;
mod provider;
mod relays;
mod weeks;

use std::collections::BTreeSet;

use super::fault::{Fault, Mishap};
use super::ledger::{Deed, Ledger, Note};
use super::testing::{plain, settings};
use super::*;
use crate::fleet::InstanceId;
use crate::policy::{AlarmKind, ForecastMode};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// Defaults, for relays of 50 allocations in three zones, without a forecast.
fn policy() -> Policy {
    let mut policy = Policy {
        fleet: "simulated".to_owned(),
        min: 2,
        max: 40,
        allowed_zones: settings().zones.into_iter().collect(),
        ..Policy::default()
    };
    policy.forecast.mode = ForecastMode::Off;
    policy
}

/// 200 live allocations, which take seven relays, after the first half hour: four hours.
fn steady() -> Trace {
    plain(&[(240, 10.0)])
}

/// From 40 live allocations to 400 and on, within four hours; the rise begins after one.
fn rise() -> Trace {
    plain(&[(60, 2.0), (30, 8.0), (150, 20.0)])
}

/// From 240 live allocations down to 40, within six hours; the fall begins after two.
fn fall() -> Trace {
    plain(&[(120, 12.0), (240, 2.0)])
}

fn mishap(at: u64, lasts: u64, fault: Fault) -> Mishap {
    Mishap { at, lasts, fault }
}

fn replay(trace: &Trace, policy: &Policy, mishaps: &[Mishap]) -> Ledger {
    with_policy(trace, policy, &settings(), mishaps)
}

impl Ledger {
    /// What happened of this kind from `from` up to, not including, `until`.
    fn between(&self, act: &str, from: u64, until: u64) -> Vec<&Deed> {
        self.done(act)
            .filter(|deed| (from..until).contains(&deed.at))
            .collect()
    }

    /// Everything that takes relays away.
    fn removals(&self, from: u64, until: u64) -> Vec<&Deed> {
        ["drain", "terminate", "finish"]
            .iter()
            .flat_map(|act| self.between(act, from, until))
            .collect()
    }

    fn launched(&self, from: u64, until: u64) -> usize {
        let launches = self.between("launch", from, until);
        launches.iter().map(|deed| deed.relays.len()).sum()
    }

    /// Brakes that were on at any time from `from` up to `until`.
    fn brakes(&self, from: u64, until: u64) -> BTreeSet<&'static str> {
        self.noted(from, until)
            .flat_map(|note| note.brakes.clone())
            .collect()
    }

    fn alarms(&self, from: u64, until: u64) -> BTreeSet<AlarmKind> {
        self.noted(from, until)
            .flat_map(|note| note.alarms.clone())
            .collect()
    }

    /// Notes of that time, and the one that was in force when it began.
    fn noted(&self, from: u64, until: u64) -> impl Iterator<Item = &Note> {
        let next = |at: usize| self.notes.get(at + 1).map_or(u64::MAX, |note| note.at);
        let within = move |(at, note): &(usize, &Note)| note.at < until && next(*at) > from;
        self.notes
            .iter()
            .enumerate()
            .filter(within)
            .map(|(_, note)| note)
    }

    /// What holds whatever goes wrong: no call is cut before a deadline, and nothing ends twice.
    fn assert_gentle(&self) {
        assert_eq!(
            self.cut_early, 0,
            "calls cut before their deadline: {:#?}",
            self.decisions
        );
        let mut ended = BTreeSet::new();
        for deed in self.done("terminate").chain(self.done("finish")) {
            assert!(ended.insert(deed.relays.clone()), "ended twice: {deed:?}");
        }
    }
}

fn relay(number: usize) -> InstanceId {
    InstanceId::try_from(format!("sim-{number:05}")).expect("a plain name")
}

#[test]
fn the_same_seed_gives_the_same_day_and_another_seed_another() {
    let mishaps = [mishap(HOUR, HOUR, Fault::Throttled)];
    let decisions = |seed| {
        let settings = Settings { seed, ..settings() };
        with_policy(&rise(), &policy(), &settings, &mishaps).decisions
    };
    assert_eq!(decisions(1), decisions(1));
    assert_ne!(decisions(1), decisions(2));
    assert!(decisions(1).len() > 5);
}
