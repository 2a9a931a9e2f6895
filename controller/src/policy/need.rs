//! How many relays are needed, by every reason for some: the greatest counts, within minimum and maximum.
//!
//! Responsible for putting the reasons together. Not responsible for any of them (`headroom`, `zones`, `schedule`), nor for
//! the season's figures (`season`).

use std::collections::BTreeMap;

use super::demand::{Demand, demand, growth};
use super::headroom::{crowded, relays_for};
use super::launches;
use super::plan::{Need, Reason};
use super::rounding::{figures, filled, within};
use super::settings::ForecastMode;
use super::view::View;
use super::{schedule, zones};
use crate::fleet::{Loads, ZoneId};

/// What is needed, and figures that only the rules need.
#[derive(Debug)]
pub(crate) struct Reckoning {
    pub(crate) need: Need,
    pub(crate) demand: Demand,
    /// What would be needed if there were no maximum.
    pub(crate) unbounded: u32,
    /// What the need is for.
    pub(crate) reason: Reason,
    /// Relays' worth that must be left when a zone is lost, silent relays counted as full.
    pub(crate) crowded_down: u32,
    /// Capacity there is or will be soon, in relays of the kind that is launched.
    pub(crate) units: f64,
    /// The same, in relays: what the minimum and the maximum count.
    pub(crate) count: u32,
}

impl Reckoning {
    /// Relays that are missing, in units and against the minimum.
    pub(crate) fn missing(&self) -> u32 {
        let by_units = self.need.need.saturating_sub(self.need.have);
        by_units.max(self.need.minimum.saturating_sub(self.count))
    }
}

/// `trend`: whether the demand of before is known well enough to follow its trend.
pub(crate) fn reckon(view: &View<'_>, trend: Trend) -> Reckoning {
    let policy = view.policy;
    let demand = demand(view);
    let growth = match trend {
        Trend::Followed => growth(view, demand.measured),
        Trend::Unknown => Loads::default(),
    };
    let (reactive, dimension) = relays_for(view, demand.upward, growth, policy.headroom_up);
    let (reactive_down, _) = relays_for(view, demand.downward, growth, policy.headroom_down);
    let forecast = forecast(view);
    let forecast_floor = match policy.forecast.mode {
        ForecastMode::Floor => forecast,
        ForecastMode::Off | ForecastMode::Observe => 0,
    };
    let zone_loss = zones::floor(view, crowded(view, demand.upward));
    let crowded_down = crowded(view, demand.downward);
    let zone_loss_down = zones::floor(view, crowded_down);
    let schedule = schedule::minimum(&policy.schedule, view.now.unix);
    let least = policy.min.min(policy.max);
    let floors = forecast_floor.max(schedule).max(least);
    let unbounded = reactive.max(zone_loss).max(floors);
    let unbounded_down = reactive_down.max(zone_loss_down).max(floors);
    let need = unbounded.min(policy.max);
    // More headroom never takes away what less of it asks for, whatever the two are set to.
    let need_down = unbounded_down.max(unbounded).min(policy.max);
    let supply = supply(view);
    let have = filled(supply.units);
    Reckoning {
        reason: [
            (least, Reason::Minimum),
            (reactive, Reason::Load),
            (zone_loss, Reason::ZoneLoss),
            (schedule, Reason::Schedule),
            (forecast_floor, Reason::Forecast),
        ]
        .into_iter()
        .find(|(relays, _)| *relays >= unbounded)
        .map_or(Reason::Minimum, |(_, reason)| reason),
        need: Need {
            reactive,
            dimension,
            forecast: match policy.forecast.mode {
                ForecastMode::Off => 0,
                ForecastMode::Floor | ForecastMode::Observe => forecast,
            },
            zone_loss,
            schedule,
            minimum: least,
            need,
            need_down,
            held: held(view, need_down, have),
            have,
            demand: demand.upward,
            capacity: supply.capacity,
            by_zone: supply.by_zone,
        },
        demand,
        unbounded,
        crowded_down,
        units: supply.units,
        count: supply.count,
    }
}

/// Whether the demand of before can be compared with today's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trend {
    /// Every relay has been heard of.
    Followed,
    /// They are still being heard of, one after another: that is no growth.
    Unknown,
}

/// The season's load, with its margin.
fn forecast(view: &View<'_>) -> u32 {
    let margin = within(view.policy.forecast.margin, 1.0, 10.0);
    let outlook = figures(view.fleet.outlook);
    let (relays, _) = relays_for(view, outlook.times(margin), Loads::default(), 0.0);
    relays
}

/// The greatest need of the window. A window that has not begun is as if all that is here had been needed.
fn held(view: &View<'_>, need_down: u32, have: u32) -> u32 {
    let history = &view.fleet.history;
    let since = |at| view.now.instant.saturating_since(at);
    let within = history
        .needs
        .iter()
        .filter(|(at, _)| since(*at) <= view.policy.window);
    let before = within.map(|(_, need)| *need).max();
    need_down.max(before.unwrap_or(have))
}

struct Supply {
    units: f64,
    count: u32,
    capacity: Loads,
    by_zone: BTreeMap<ZoneId, u32>,
}

fn supply(view: &View<'_>) -> Supply {
    let mut supply = Supply {
        units: 0.0,
        count: 0,
        capacity: Loads::default(),
        by_zone: BTreeMap::new(),
    };
    let fill = within(view.policy.fill_target, 0.01, 1.0);
    for seen in &view.relays {
        let serves = seen.is_capacity();
        if serves || seen.is_coming() {
            supply.units += seen.units;
            supply.count += 1;
            *supply.by_zone.entry(seen.relay.zone.clone()).or_default() += 1;
        }
        if serves {
            supply.capacity = supply.capacity.plus(seen.carries.times(fill));
        }
    }
    for (zone, count) in launches::on_their_way(view) {
        supply.units += f64::from(count);
        supply.count = supply.count.saturating_add(count);
        let here = supply.by_zone.entry(zone.clone()).or_default();
        *here = here.saturating_add(count);
    }
    supply
}
