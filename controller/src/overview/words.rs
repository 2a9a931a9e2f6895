//! The state of the whole: one word and one sentence.
//!
//! What stops the fleet from following its load comes before what it does about it. Not responsible for the reasons, which
//! are the plan's own words.

use super::{Condition, Totals};
use crate::policy::{Brake, Outcome};
use crate::reconcile::Published;
use crate::shown::State;

pub(super) fn condition(latest: &Published, totals: &Totals, doubted: bool) -> Condition {
    let just_started = |brake: &Brake| matches!(brake, Brake::JustStarted { .. });
    let brakes = &latest.plan.brakes;
    if latest.counters.rounds == 0 {
        Condition::Starting
    } else if doubted {
        Condition::Stuck
    } else if !latest.snapshot.fleet.leadership.held {
        Condition::Standby
    } else if brakes.iter().any(|brake| !just_started(brake)) {
        Condition::Frozen
    } else if coming(latest, totals) > 0 {
        Condition::Growing
    } else if totals.relays == 0 {
        Condition::Empty
    } else if leaving(totals) > 0 {
        Condition::Shrinking
    } else if brakes.iter().any(just_started) {
        Condition::Starting
    } else {
        Condition::Steady
    }
}

pub(super) fn headline(
    condition: Condition,
    latest: &Published,
    totals: &Totals,
    doubt: Option<&str>,
) -> String {
    let (coming, leaving) = (coming(latest, totals), leaving(totals));
    let on_their_way = match coming {
        1 => "1 relay is on its way".to_owned(),
        _ => format!("{coming} relays are on their way"),
    };
    let drain = match leaving {
        1 => "1 relay is leaving".to_owned(),
        _ => format!("{leaving} relays are leaving"),
    };
    match condition {
        Condition::Starting if latest.counters.rounds == 0 => {
            "The first look at the fleet is not over yet".to_owned()
        }
        Condition::Starting => "Just started: nothing is taken away yet".to_owned(),
        Condition::Stuck => {
            let why = doubt.unwrap_or("no round has come lately");
            format!("What is shown is old: {why}")
        }
        Condition::Standby => "This controller only watches; another acts, or may".to_owned(),
        Condition::Frozen => match latest.plan.brakes.len() {
            1 => "Nothing is taken away, for the reason below".to_owned(),
            _ => "Nothing is taken away, for the reasons below".to_owned(),
        },
        Condition::Empty => "There is no relay, and none is on its way".to_owned(),
        Condition::Growing if leaving > 0 => format!("{on_their_way}, {drain}"),
        Condition::Growing => on_their_way,
        Condition::Shrinking if leaving == 1 => format!("{drain}; its calls go on"),
        Condition::Shrinking => format!("{drain}; their calls go on"),
        Condition::Steady => "There are as many relays as are needed".to_owned(),
    }
}

/// Relays that boot, and those that were launched in this round and are not listed yet.
fn coming(latest: &Published, totals: &Totals) -> usize {
    let launched = latest
        .outcomes
        .iter()
        .flat_map(|(_, outcome)| match outcome {
            Outcome::Done { instances } => instances.as_slice(),
            Outcome::Nothing
            | Outcome::NoCapacity { .. }
            | Outcome::Refused { .. }
            | Outcome::Failed { .. }
            | Outcome::Unknown { .. }
            | Outcome::OlderEpoch { .. }
            | Outcome::DryRun => &[],
        });
    let relays = &latest.snapshot.fleet.relays;
    let unlisted = launched.filter(|id| !relays.contains_key(*id));
    of(totals, &[State::Launching]) + unlisted.count()
}

fn leaving(totals: &Totals) -> usize {
    of(totals, &[State::Draining, State::Drained, State::Ending])
}

fn of(totals: &Totals, states: &[State]) -> usize {
    let counts = states
        .iter()
        .filter_map(|state| totals.states.get(state.as_str()));
    counts.sum()
}
