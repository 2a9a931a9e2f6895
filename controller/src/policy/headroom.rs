//! How many relays a demand takes, with room above it.
//!
//! Scaling rules, decision: `max over k of ceil((demand + max(h * demand, z * sqrt(demand)) + growth) / capacity)`. The
//! square root is taken in calls, as it is the calls' comings and goings that it is there for; it matters for a small fleet
//! alone.

use super::demand::relays_worth;
use super::rounding::{divisor, enough, within};
use super::view::View;
use crate::fleet::{Dimension, Loads};

/// Relays for `demand` with `headroom` above it (a share of it), and the dimension that asks for the most.
pub(crate) fn relays_for(
    view: &View<'_>,
    demand: Loads,
    growth: Loads,
    headroom: f64,
) -> (u32, Option<Dimension>) {
    let headroom = within(headroom, 0.0, 100.0);
    let slack = within(view.policy.slack, 0.0, 1000.0);
    let calls = divisor(view.unit.allocations);
    let mut most = (0.0, None);
    for dimension in Dimension::ALL {
        let Some(worth) = relays_worth(view, demand, dimension) else {
            continue;
        };
        let staffing = calls.map_or(0.0, |calls| slack * (worth / calls).sqrt());
        let growth = relays_worth(view, growth, dimension).unwrap_or(0.0);
        let with_room = worth + (headroom * worth).max(staffing) + growth;
        if with_room > most.0 {
            most = (with_room, Some(dimension));
        }
    }
    (enough(most.0), most.1)
}

/// Relays that just carry `demand`, each filled up to the fill target.
pub(crate) fn bare(view: &View<'_>, demand: Loads) -> u32 {
    enough(worth(view, demand))
}

/// Relays that just carry `demand`, each filled to the last allocation: what must be left when a zone is lost. The fill target
/// is for days on which none is; until others have been launched, those that are left may be full.
pub(crate) fn crowded(view: &View<'_>, demand: Loads) -> u32 {
    enough(worth(view, demand) * within(view.policy.fill_target, 0.0, 1.0))
}

fn worth(view: &View<'_>, demand: Loads) -> f64 {
    let worths = Dimension::ALL
        .into_iter()
        .filter_map(|dimension| relays_worth(view, demand, dimension));
    worths.fold(0.0, f64::max)
}
