//! Who goes first, and who does not go at all.
//!
//! Scaling rules, decision: failed > cordoned by an operator > of a retired image > in the fullest zone > fewest
//! allocations > oldest. How long a drain would take is not known of any relay but by its allocations. Not responsible for
//! whether anybody has to go (`surplus`), nor for what has failed (`unhealthy`).

use std::cmp::Reverse;

use super::draft::Draft;
use super::launches;
use super::plan::Reason;
use super::preflight;
use super::rounding::enough;
use super::supply::is_retired;
use super::view::{Seen, Standing, View};
use super::zones;

/// The relays that may go for this reason, the first first.
pub(crate) fn in_order<'d, 'a>(
    draft: &'d Draft<'a>,
    reason: Reason,
    remaining: &[&'d Seen<'a>],
) -> Vec<&'d Seen<'a>> {
    let view = &draft.view;
    let in_zone = |seen: &Seen<'_>| {
        let same = remaining
            .iter()
            .filter(|it| it.relay.zone == seen.relay.zone);
        same.count()
    };
    let mut victims: Vec<&Seen<'a>> = view
        .relays
        .iter()
        .filter(|seen| belongs(view, seen, reason))
        .filter(|seen| !is_protected(view, seen, reason, in_zone(seen)))
        .filter(|seen| !draft.is_dealt_with(seen.id) && preflight::passes(draft, seen))
        .collect();
    victims.sort_by_key(|seen| {
        (
            // Who has been chosen stays chosen, or nobody would be looked at twice.
            !view.fleet.history.chosen.contains_key(seen.id),
            Reverse(in_zone(seen)),
            enough(seen.allocations().unwrap_or(f64::MAX)),
            Reverse(seen.relay.age),
            seen.id,
        )
    });
    victims
}

fn belongs(view: &View<'_>, seen: &Seen<'_>, reason: Reason) -> bool {
    let here = seen.standing == Standing::Serving && !seen.withheld() && !seen.offshore;
    let retired = is_retired(view.fleet.group.image.as_deref(), &seen.relay.image);
    match reason {
        Reason::Cordoned => {
            let silent = matches!(seen.standing, Standing::Unready);
            (here || silent) && seen.relay.cordoned && !seen.withheld() && !seen.offshore
        }
        Reason::Image => here && !seen.relay.cordoned && retired && view.policy.replace_images,
        Reason::Surplus => here && !seen.relay.cordoned,
        Reason::Load
        | Reason::Forecast
        | Reason::ZoneLoss
        | Reason::Schedule
        | Reason::Minimum
        | Reason::Unhealthy
        | Reason::Sovereignty
        | Reason::Unfinished
        | Reason::ExternalEnd => false,
    }
}

fn is_protected(view: &View<'_>, seen: &Seen<'_>, reason: Reason, in_zone: usize) -> bool {
    let ordered = reason == Reason::Cordoned;
    let young = seen.relay.age < view.policy.min_age;
    let zones = u32::try_from(view.zones.len()).unwrap_or(u32::MAX);
    // A minimum below the number of zones says that zones may be empty.
    let last = in_zone <= 1 && view.policy.min >= zones;
    seen.relay.keep || seen.ailing_for.is_some() || (!ordered && (young || last))
}

/// Whether the fleet does without this very relay: need, minimum and the loss of any zone.
pub(crate) fn is_spare(draft: &Draft<'_>, victim: &Seen<'_>, remaining: &[&Seen<'_>]) -> bool {
    let reckoning = &draft.reckoning;
    let rest = || {
        remaining
            .iter()
            .copied()
            .filter(|seen| seen.id != victim.id)
    };
    let units: f64 = rest().map(|seen| seen.units).sum();
    let count = u32::try_from(rest().count()).unwrap_or(u32::MAX);
    let enough_units = units + 1e-9 >= f64::from(reckoning.need.held);
    let enough_relays = count >= reckoning.need.minimum.max(reckoning.need.schedule);
    enough_units && enough_relays && survives(draft, victim, remaining)
}

/// The loss of the fullest zone is survived afterwards. Where relays can be in one zone only for now, it is enough if it
/// is no worse than before.
fn survives(draft: &Draft<'_>, victim: &Seen<'_>, remaining: &[&Seen<'_>]) -> bool {
    let view = &draft.view;
    if !view.policy.zone_loss_floor || view.zones.len() < 2 {
        return true;
    }
    let before = zones::left_after_a_loss(remaining.iter().copied());
    let rest = remaining
        .iter()
        .copied()
        .filter(|seen| seen.id != victim.id);
    let after = zones::left_after_a_loss(rest);
    let open = (view.zones.iter()).filter(|zone| launches::pause_in(view, zone).is_none());
    let stuck = open.count() < 2;
    after + 1e-9 >= f64::from(draft.reckoning.crowded_down) || (stuck && after + 1e-9 >= before)
}
