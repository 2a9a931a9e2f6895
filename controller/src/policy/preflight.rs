//! What has to be true of the group and of a relay before anything is begun that ends with its termination.
//!
//! Scaling rules, drain, step 1: a drain that cannot be finished is not begun. Not responsible for the brakes.

use super::draft::Draft;
use super::view::{Seen, Standing, View};
use crate::fleet::Lifecycle;

/// Whether a removal of this relay could be carried through. Where nothing can be ended, an operator's own order to drain is
/// still carried out.
pub(crate) fn passes(draft: &Draft<'_>, seen: &Seen<'_>) -> bool {
    let view = &draft.view;
    seen.relay.lifecycle == Lifecycle::InService
        && !seen.relay.terminate_asked
        && seen
            .relay
            .newer_epoch
            .is_none_or(|epoch| epoch <= view.fleet.leadership.epoch)
        && view.policy.allowed_zones.contains(&seen.relay.zone)
        && (seen.relay.cordoned && view.fleet.group.fixed
            || may_shrink(view, begun(draft).saturating_add(1)))
}

/// Whether the provider would end `relays` more, and not replace them.
pub(crate) fn may_shrink(view: &View<'_>, relays: u32) -> bool {
    let group = &view.fleet.group;
    // Ends that were asked for and that its figures do not show yet.
    let unseen = view.fleet.history.own_changes.iter();
    let unseen = unseen
        .filter(|(_, change)| *change < 0)
        .fold(relays, |sum, (_, change)| {
            sum.saturating_add(change.unsigned_abs())
        });
    let above_minimum = group
        .min
        .zip(group.desired)
        .is_none_or(|(min, desired)| desired.checked_sub(unseen).is_some_and(|left| left >= min));
    !group.fixed && !group.terminate_suspended && above_minimum
}

/// Removals that are on their way and have not lowered the desired number yet.
fn begun(draft: &Draft<'_>) -> u32 {
    let leaving = draft.view.relays.iter().filter(|seen| {
        let withheld = seen.standing != Standing::Gone && seen.withheld();
        let draining = seen.standing == Standing::Draining;
        let newly = draft.is_dealt_with(seen.id);
        (withheld || draining || newly) && seen.is_live()
    });
    u32::try_from(leaving.count()).unwrap_or(u32::MAX)
}
