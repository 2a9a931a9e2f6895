//! What is asked of the fleet: the load of every relay that has one, also of those that take no new calls any more.
//!
//! Scaling rules, decision: demand counts serving, draining and silent relays; a silent one at its last known load, and at
//! no less than all it can carry where relays are to be taken away. Not responsible for how many relays that takes
//! (`headroom`).

use std::time::Duration;

use super::rounding::{divisor, figure, figures, within};
use super::view::{Seen, Standing, View};
use crate::fleet::{Dimension, Loads};

/// The demand, in the dimensions' own units; cores in those of the kind that is launched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Demand {
    /// As it was measured: what the trend is taken of.
    pub(crate) measured: Loads,
    /// When relays are added: one that drops packets counts as full.
    pub(crate) upward: Loads,
    /// When relays are taken away: one that is silent counts as full too.
    pub(crate) downward: Loads,
}

/// Windows of the trend whose demand is remembered.
pub(crate) const KEPT_WINDOWS: u32 = 3;

pub(crate) fn demand(view: &View<'_>) -> Demand {
    let carrying = view.relays.iter().filter(|seen| carries_calls(seen));
    carrying.fold(Demand::default(), |sum, seen| {
        let full = in_units(seen, seen.carries);
        let measured = in_units(seen, seen.load);
        let upward = if seen.full {
            measured.greater(full)
        } else {
            measured
        };
        // One that answers without a single figure says no more than one that does not.
        let silent = seen.ought_to_report() && (!seen.fresh || seen.load == Loads::default());
        let downward = if silent { upward.greater(full) } else { upward };
        Demand {
            measured: sum.measured.plus(measured),
            upward: sum.upward.plus(upward),
            downward: sum.downward.plus(downward),
        }
    })
}

/// What is gone or set aside counts for as long as it is heard of; its calls come back elsewhere.
fn carries_calls(seen: &Seen<'_>) -> bool {
    match seen.standing {
        Standing::Gone | Standing::Aside => seen.fresh,
        Standing::Launching
        | Standing::NeverReady
        | Standing::Serving
        | Standing::Unready
        | Standing::Stale
        | Standing::Draining
        | Standing::Ending => true,
    }
}

/// A share of a core of a greater machine is more than the same share of a smaller one's.
fn in_units(seen: &Seen<'_>, loads: Loads) -> Loads {
    loads.with(Dimension::Core, loads.core.map(|core| core * seen.units))
}

/// What the measured demand will have grown by when a relay that is launched now serves; zero where it falls.
///
/// Growth is what goes beyond all that was there in the two windows before this one, so that calls which come back after a
/// short fault are none. It is spread over the whole window, also where less of it has been seen yet: two samples ten seconds
/// apart are no trend.
pub(crate) fn growth(view: &View<'_>, measured: Loads) -> Loads {
    let policy = view.policy;
    let window = policy.trend_window;
    let since = |at| view.now.instant.saturating_since(at);
    let samples = &view.fleet.history.demand;
    let kept = window.saturating_mul(KEPT_WINDOWS);
    let old = |at| since(at) >= window / 10 * 9 && since(at) <= kept;
    let earlier = samples.iter().filter(|(at, _)| old(*at));
    let before = earlier.fold(Loads::default(), |most, (_, loads)| {
        most.greater(figures(*loads))
    });
    let oldest = samples.iter().find(|(at, _)| since(*at) <= window);
    let before = before.or(oldest.map_or_else(Loads::default, |(_, loads)| *loads));
    let ahead = policy.lead.as_secs_f64() / window.max(Duration::from_secs(1)).as_secs_f64();
    Dimension::ALL
        .into_iter()
        .fold(Loads::default(), |growth, dimension| {
            let change = figure(before.of(dimension))
                .zip(measured.of(dimension))
                .map(|(before, now)| (now - before).max(0.0) * within(ahead, 0.0, 100.0));
            growth.with(dimension, change)
        })
}

/// How many relays' worth of what they may carry this is, along one dimension; `None`: not known, so no reason to act.
pub(crate) fn relays_worth(view: &View<'_>, loads: Loads, dimension: Dimension) -> Option<f64> {
    Some(loads.of(dimension)? / divisor(view.unit.of(dimension))?)
}
