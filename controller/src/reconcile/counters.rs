//! What the loop counts, for metrics.
//!
//! Responsible for holding it; every key is of a closed set of words. Not responsible for the exposition (`metrics`).

use std::collections::BTreeMap;
use std::time::Duration;

use taciturn_protocol::time::UnixTime;

use crate::policy::{Action, Outcome};

/// Totals since the start of this controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Counters {
    /// Actions that were tried: `Act::as_str`, `Reason::as_str`, [`outcome_word`].
    pub actions: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    /// Calls to the provider: operation and outcome, see [`crate::apply::Requests`].
    pub provider_requests: BTreeMap<(&'static str, &'static str), u64>,
    /// Questions to relays, the same.
    pub relay_requests: BTreeMap<(&'static str, &'static str), u64>,
    /// From the order of a launch to a relay that is ready.
    pub launch_seconds: Histogram,
    /// From the start of a drain to the end of the instance.
    pub drain_seconds: Histogram,
    /// Drains that were taken back.
    pub undrains: u64,
    /// Instances that were ended at their deadline with allocations left.
    pub deadline_hits: u64,
    /// Rounds that came to their end.
    pub rounds: u64,
    /// Rounds whose list was complete and that led to their end without a failure to look.
    pub last_successful: Option<UnixTime>,
    /// How long the latest round took.
    pub round_seconds: f64,
    /// Entries that could not be written to the audit trail.
    pub audit_failures: u64,
    /// Reloads of the configuration that were taken, and those that were refused.
    pub reloads: (u64, u64),
}

/// A cumulative histogram, as Prometheus has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper bounds in seconds, without the infinite one.
    pub bounds: &'static [f64],
    /// Observations at or below each bound.
    pub counts: Vec<u64>,
    /// All observations.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

/// From a process that starts to an image that takes long.
const LAUNCH_BOUNDS: [f64; 9] = [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0];
/// From an empty relay to the longest deadlines.
const DRAIN_BOUNDS: [f64; 9] = [
    30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 5_400.0, 7_200.0, 14_400.0,
];

impl Default for Counters {
    fn default() -> Self {
        Self {
            actions: BTreeMap::new(),
            provider_requests: BTreeMap::new(),
            relay_requests: BTreeMap::new(),
            launch_seconds: Histogram::new(&LAUNCH_BOUNDS),
            drain_seconds: Histogram::new(&DRAIN_BOUNDS),
            undrains: 0,
            deadline_hits: 0,
            rounds: 0,
            last_successful: None,
            round_seconds: 0.0,
            audit_failures: 0,
            reloads: (0, 0),
        }
    }
}

impl Counters {
    /// Counts what was tried.
    pub(super) fn tried(&mut self, action: &Action, outcome: &Outcome) {
        let key = (
            action.act.as_str(),
            action.reason.as_str(),
            outcome_word(outcome),
        );
        *self.actions.entry(key).or_default() += 1;
    }
}

impl Histogram {
    /// Nothing observed yet.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len()],
            count: 0,
            sum: 0.0,
        }
    }

    /// Adds one observation.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        for (bound, count) in self.bounds.iter().zip(&mut self.counts) {
            *count += u64::from(seconds <= *bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// The word for an outcome in metrics and logs.
pub const fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Nothing => "nothing",
        Outcome::NoCapacity { .. } => "no_capacity",
        Outcome::Refused { .. } => "refused",
        Outcome::Failed { .. } => "failed",
        Outcome::Unknown { .. } => "unknown",
        Outcome::OlderEpoch { .. } => "older_epoch",
        Outcome::DryRun => "dry_run",
    }
}
