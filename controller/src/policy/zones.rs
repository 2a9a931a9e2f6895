//! Zones: how many relays survive the loss of one, and where the next one goes.
//!
//! Scaling rules, decision: `az_floor = ceil(ceil(demand / capacity) * Z / (Z - 1))`, where the capacity is all that a relay
//! can carry: docs/scaling.md has the figures. Not responsible for which zones are allowed (`sovereignty`).

use std::collections::BTreeMap;

use super::view::{Seen, View};
use crate::fleet::ZoneId;

/// Relays such that those outside any one of the zones are `filled` or more, if they are spread evenly. Zero where there is
/// one zone only: nothing survives its loss.
pub(crate) fn floor(view: &View<'_>, filled: u32) -> u32 {
    let zones = u64::try_from(view.zones.len()).unwrap_or(u64::MAX);
    if !view.policy.zone_loss_floor || zones < 2 {
        return 0;
    }
    let relays = (u64::from(filled) * zones).div_ceil(zones - 1);
    u32::try_from(relays).unwrap_or(u32::MAX)
}

/// What would be left of `relays`, in units, when the zone is lost that holds most of them.
pub(crate) fn left_after_a_loss<'s>(relays: impl Iterator<Item = &'s Seen<'s>>) -> f64 {
    let mut by_zone: BTreeMap<&ZoneId, f64> = BTreeMap::new();
    for seen in relays {
        *by_zone.entry(&seen.relay.zone).or_default() += seen.units;
    }
    let total: f64 = by_zone.values().sum();
    let most = by_zone.values().copied().fold(0.0, f64::max);
    total - most
}
