//! The figures of a simulation, for people and for programs.
//!
//! Responsible for reckoning them from ledgers and for both forms. Not responsible for what happened.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::clairvoyant::Load;
use super::ledger::Ledger;
use super::{Scenario, Settings, Trace};
use crate::policy::Policy;

/// All figures of one trace: a JSON object by serde, a table by `Display`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Always "taciturn-simulation/1".
    pub format: &'static str,
    /// The seed of everything that was left to chance.
    pub seed: u64,
    /// What went wrong.
    pub scenario: &'static str,
    /// What was asked for.
    pub trace: TraceFigures,
    /// Allocations that a relay carried at most.
    pub relay_carries: u32,
    /// Seconds that relays took to boot, on the average.
    pub boot_seconds: u64,
    /// Relay-hours of the clairvoyant optimum, what `ratio` is to: the cheapest that was found for somebody who knows every call
    /// before, boots and drains relays as everybody must, cuts nothing, and keeps to the policy's fill target and minimum.
    pub optimum_relay_hours: f64,
    /// Relay-hours below which nobody comes at that fill target and minimum, even if calls could be moved for nothing.
    pub bound_relay_hours: f64,
    /// That bound with relays filled to the last allocation.
    pub bare_bound_relay_hours: f64,
    /// The policy, and after it what it was compared with.
    pub keepers: Vec<Score>,
    /// What the policy decided, one line for each action; not part of the figures.
    #[serde(skip)]
    pub decisions: Vec<String>,
}

/// The trace in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceFigures {
    /// When it begins, in UTC.
    pub start: String,
    /// How long it is.
    pub days: f64,
    /// Calls.
    pub calls: u64,
    /// Most allocations that are live at a time, if nobody cuts or blocks any.
    pub peak: u32,
}

/// How one keeper of the fleet did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Its name.
    pub name: String,
    /// Calls that no relay admitted, those that came back after a cut included.
    pub blocked: u64,
    /// The same in percent of all calls.
    pub blocked_percent: f64,
    /// Live calls that it cut.
    pub cut: u64,
    /// The same in percent.
    pub cut_percent: f64,
    /// Live calls that were cut by what went wrong.
    pub lost: u64,
    /// Most instances at a time, those that boot or drain included.
    pub most_relays: u32,
    /// Time that instances existed, in sum.
    pub relay_hours: f64,
    /// The same over the clairvoyant optimum.
    pub ratio: f64,
    /// Relays that were launched.
    pub launches: u64,
    /// Drains that were begun.
    pub drains: u64,
    /// Drains that were taken back.
    pub undrains: u64,
    /// Most changes between growing and shrinking within a day.
    pub turns_most: u32,
    /// The same, on the average of all days.
    pub turns_mean: f64,
}

impl Comparison {
    pub(super) fn new(
        trace: &Trace,
        policy: &Policy,
        settings: &Settings,
        load: &Load,
        optimum: &Ledger,
        scenario: Scenario,
    ) -> Self {
        let start = i64::try_from(trace.start.as_secs()).unwrap_or(i64::MAX);
        let start = Timestamp::from_second(start).unwrap_or(Timestamp::MAX);
        let room = f64::from(settings.room);
        Self {
            format: "taciturn-simulation/1",
            seed: settings.seed,
            scenario: scenario.as_str(),
            trace: TraceFigures {
                start: start.to_string(),
                days: rounded(trace.length().as_secs_f64() / 86_400.0),
                calls: 0,
                peak: load.peak().0,
            },
            relay_carries: settings.room,
            boot_seconds: settings.boot,
            optimum_relay_hours: rounded(hours(optimum)),
            bound_relay_hours: rounded(load.least_hours(room * policy.fill_target, settings)),
            bare_bound_relay_hours: rounded(load.least_hours(room, settings)),
            keepers: Vec::new(),
            decisions: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, name: &str, ledger: &Ledger) {
        self.trace.calls = ledger.called;
        let calls = (ledger.called as f64).max(1.0);
        let percent = |count: u64| thousandths(100.0 * count as f64 / calls);
        let hours = hours(ledger);
        let turns = ledger.turns_by_day();
        let launches = ledger
            .done("launch")
            .map(|deed| deed.relays.len() as u64)
            .sum();
        let all_turns: u32 = turns.values().sum();
        self.keepers.push(Score {
            name: name.to_owned(),
            blocked: ledger.blocked,
            blocked_percent: percent(ledger.blocked),
            cut: ledger.cut,
            cut_percent: percent(ledger.cut),
            lost: ledger.lost,
            most_relays: ledger.most_relays,
            relay_hours: rounded(hours),
            ratio: thousandths(hours / self.optimum_relay_hours.max(0.01)),
            launches,
            drains: ledger.done("drain").count() as u64,
            undrains: ledger.done("undrain").count() as u64,
            turns_most: turns.values().copied().max().unwrap_or(0),
            turns_mean: rounded(f64::from(all_turns) / self.trace.days.max(0.01)),
        });
    }
}

fn hours(ledger: &Ledger) -> f64 {
    ledger.relay_seconds as f64 / 3600.0
}

/// To hundredths: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace = &self.trace;
        writeln!(
            f,
            "trace      {} days from {}: {} calls, {} allocations at the peak",
            trace.days, trace.start, trace.calls, trace.peak
        )?;
        writeln!(
            f,
            "relays     carry {} allocations each and boot in {} s; seed {}, scenario {}",
            self.relay_carries, self.boot_seconds, self.seed, self.scenario
        )?;
        writeln!(
            f,
            "optimum    {} relay-hours for somebody who knows every call before, but boots and drains as everybody must",
            self.optimum_relay_hours
        )?;
        writeln!(
            f,
            "bound      {} relay-hours if calls could be moved too; {} with relays filled to the last allocation",
            self.bound_relay_hours, self.bare_bound_relay_hours
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "{:<16} {:>9} {:>8} {:>9} {:>8} {:>8} {:>6} {:>11} {:>9} {:>8} {:>7} {:>8} {:>9}",
            "",
            "blocked",
            "%",
            "cut",
            "%",
            "lost",
            "peak",
            "relay-hours",
            "x optimum",
            "launches",
            "drains",
            "undrains",
            "turns/day"
        )?;
        for score in &self.keepers {
            writeln!(f, "{score}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<16} {:>9} {:>8.3} {:>9} {:>8.3} {:>8} {:>6} {:>11.1} {:>9.2} {:>8} {:>7} {:>8} {:>9}",
            self.name,
            self.blocked,
            self.blocked_percent,
            self.cut,
            self.cut_percent,
            self.lost,
            self.most_relays,
            self.relay_hours,
            self.ratio,
            self.launches,
            self.drains,
            self.undrains,
            format!("{:.1}, {}", self.turns_mean, self.turns_most),
        )
    }
}
