//! The fleet on one page: the document that the dashboard and `taciturn top` both show.
//!
//! Responsible for what is worth showing, in words and figures, and for how much of it at most; pure: a round and its age
//! in, a document out. Not responsible for how it looks, nor for who may read it (`api`).

mod document;
mod of_relays;
mod of_round;
mod words;

use std::time::Duration;

pub use document::{
    Acted, Chart, Condition, Decided, Drain, Leads, Left, Line, Listed, Marked, Minted, Needed,
    Note, Overview, Reason, Relay, Totals, Zone,
};

use crate::reconcile::Published;
use crate::shown;

/// Most relays, drains, alarms and decisions on the page: whoever has more of them wants them sorted by a monitoring system.
pub const MOST_RELAYS: usize = 300;
/// See [`MOST_RELAYS`].
pub const MOST_DRAINS: usize = 100;
/// See [`MOST_RELAYS`].
pub const MOST_ALARMS: usize = 50;
/// See [`MOST_RELAYS`].
pub const MOST_DECISIONS: usize = 20;
/// Most actions of one decision.
pub const MOST_ACTIONS: usize = 12;

/// The page of a round that was seen `age` ago. `doubt`: why it cannot be taken for what is so now. Credentials, which are no
/// part of a round, are left out.
pub fn overview(latest: &Published, age: Duration, doubt: Option<String>) -> Overview {
    let shown = shown::relays(latest);
    let (relays, drains) = (
        of_relays::relays(latest, &shown),
        of_relays::drains(latest, &shown),
    );
    let totals = of_relays::totals(latest, &shown);
    let condition = words::condition(latest, &totals, doubt.is_some());
    let (relays, relays_left) = at_most(MOST_RELAYS, relays);
    let (drains, drains_left) = at_most(MOST_DRAINS, drains);
    let (alarms, alarms_left) = at_most(MOST_ALARMS, of_round::alarms(latest));
    let fleet = &latest.snapshot.fleet;
    Overview {
        format: Overview::FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fleet: latest.policy.fleet.clone(),
        time: latest.snapshot.now.unix,
        age_seconds: rounded(age.as_secs_f64()),
        headline: words::headline(condition, latest, &totals, doubt.as_deref()),
        condition,
        doubt,
        summary: latest.plan.summary.clone(),
        dry_run: latest.dry_run,
        leadership: of_round::leadership(latest),
        configuration_error: fleet.configuration_error.clone(),
        listing: Listed {
            age_seconds: fleet
                .listing
                .complete_for
                .map(|age| rounded(age.as_secs_f64())),
            fault: fleet.listing.fault.clone(),
        },
        rounds: latest.counters.rounds,
        totals,
        brakes: of_round::brakes(latest),
        alarms,
        zones: of_relays::zones(latest, &shown),
        need: of_round::need(latest),
        loads: of_round::lines(latest),
        chart: of_round::chart(latest),
        drains,
        decisions: of_round::decisions(latest),
        credentials: None,
        relays,
        left_out: Left {
            relays: relays_left,
            drains: drains_left,
            alarms: alarms_left,
        },
    }
}

/// The first of them, and how many are left out.
fn at_most<T>(most: usize, mut all: Vec<T>) -> (Vec<T>, usize) {
    let left = all.len().saturating_sub(most);
    all.truncate(most);
    (all, left)
}

/// Few digits, as nobody reads more and the page is asked for every two seconds.
fn rounded(value: f64) -> f64 {
    if value.abs() < 100.0 {
        (value * 1_000.0).round() / 1_000.0
    } else {
        value.round()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
