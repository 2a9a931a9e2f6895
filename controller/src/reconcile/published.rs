//! What others may read of the loop: one value, exchanged whole at the end of each round.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use taciturn_protocol::time::UnixTime;

use super::Counters;
use crate::fleet::Snapshot;
use crate::policy::{Action, Alarm, Brake, Need, Outcome, Plan, Policy};
use crate::trend::Trend;

/// The latest round.
#[derive(Clone, Debug)]
pub struct Published {
    /// The fleet, and when it was seen.
    pub snapshot: Snapshot,
    /// What was planned for it.
    pub plan: Plan,
    /// The policy that it was planned by.
    pub policy: Arc<Policy>,
    /// What was tried of it.
    pub outcomes: Vec<(Action, Outcome)>,
    /// Rounds in which something changed, and one now and then in which nothing did; the latest last.
    pub decisions: VecDeque<Arc<Decision>>,
    /// Demand and capacity over the last hours.
    pub trend: Arc<Trend>,
    /// Totals.
    pub counters: Counters,
    /// Nothing is done: a dry run.
    pub dry_run: bool,
    /// How much longer the lease is good, in seconds; zero where it is not held.
    pub lease_seconds: f64,
}

impl Published {
    /// Most decisions that are kept.
    pub const MOST_DECISIONS: usize = 500;
}

/// One round's decision, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// Its number since the start of this controller.
    pub round: u64,
    /// When.
    pub time: UnixTime,
    /// The epoch it was made in.
    pub epoch: u64,
    /// One sentence.
    pub summary: String,
    /// What was needed.
    pub need: Need,
    /// What was held back, and why.
    pub brakes: Vec<Brake>,
    /// What people should look at.
    pub alarms: Vec<Alarm>,
    /// What was planned, and what became of each; `None`: it was not begun, as the lease or the process ended.
    pub actions: Vec<Tried>,
}

/// An action and its outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// What was to be done.
    #[serde(flatten)]
    pub action: Action,
    /// What became of it.
    pub outcome: Option<Outcome>,
}
