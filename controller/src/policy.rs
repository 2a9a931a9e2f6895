//! What to do about a fleet: [`plan()`] is synchronous, total and pure.
//!
//! Responsible for the decision, and for explaining it: every action carries a reason that a person can read. Not
//! responsible for carrying it out (`apply`), which has no choices left.

mod alarms;
mod brakes;
mod check;
mod demand;
mod draft;
mod hands;
mod headroom;
mod launches;
mod need;
mod offer;
mod plan;
mod preflight;
mod remember;
mod rounding;
mod schedule;
mod season;
mod settings;
mod sovereignty;
mod summary;
mod supply;
mod surplus;
mod unfinished;
mod unhealthy;
mod upkeep;
mod victims;
pub(crate) mod view;
mod zones;

#[cfg(test)]
pub(crate) mod tests;

use taciturn_protocol::time::Now;

use crate::fleet::Fleet;
use draft::Draft;
use need::Trend;
use view::View;

pub use plan::{Act, Action, Alarm, AlarmKind, Brake, Need, Outcome, Plan, Reason};
pub use remember::{confirm, remember};
pub use season::Season;
pub use settings::{Capacity, Forecast, ForecastMode, HandChanges, Policy, Schedule};

/// What to do now. Brakes first; then what is missing, as that can wait the least; then what was begun, and at last what may
/// go. The same arguments give the same plan, and every argument gives one.
pub fn plan(fleet: &Fleet, policy: &Policy, now: Now) -> Plan {
    let view = View::of(fleet, policy, now);
    let brakes = brakes::brakes(&view);
    let trend = match brakes::all_sampled(&view) {
        true => Trend::Followed,
        false => Trend::Unknown,
    };
    let reckoning = need::reckon(&view, trend);
    let mut draft = Draft {
        view,
        brakes,
        reckoning,
        actions: Vec::new(),
        alarms: Vec::new(),
        chosen: Vec::new(),
    };
    sovereignty::sovereignty(&mut draft);
    supply::supply(&mut draft);
    unfinished::unfinished(&mut draft);
    unhealthy::unhealthy(&mut draft);
    surplus::surplus(&mut draft);
    alarms::alarms(&mut draft);
    let offered = offer::offered(&draft);
    let summary = summary::summary(&draft);
    Plan {
        actions: draft.actions,
        need: draft.reckoning.need,
        brakes: draft.brakes.on,
        alarms: draft.alarms,
        offered,
        chosen: draft.chosen,
        summary,
    }
}
