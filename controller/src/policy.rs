//! What to do about a fleet: [`plan`] is synchronous, total and pure.
//!
//! Responsible for the decision, and for explaining it: every action carries a reason that a person can read. Not
//! responsible for carrying it out (`apply`), which has no choices left.

mod plan;
mod settings;

pub use plan::{Act, Action, Alarm, AlarmKind, Brake, Need, Outcome, Plan, Reason};
pub use settings::{Capacity, Forecast, ForecastMode, HandChanges, Policy, Schedule};

use taciturn_protocol::time::Now;

use crate::fleet::{Fleet, History};

/// What to do about `fleet` at `now`.
pub fn plan(_fleet: &Fleet, _policy: &Policy, _now: Now) -> Plan {
    Plan::default()
}

/// Keeps what later plans depend on.
pub fn remember(
    _history: &mut History,
    _fleet: &Fleet,
    _plan: &Plan,
    _outcomes: &[(Action, Outcome)],
    _policy: &Policy,
    _now: Now,
) {
}
