//! What is launched while there is time: one relay at a time, so that another may go.
//!
//! Responsible for relays of the current image in place of those of a retired one, and for a zone that has too few to
//! survive the loss of another. Not responsible for those that go in exchange (`surplus`).

use super::draft::Draft;
use super::launches;
use super::plan::Reason;
use super::supply::{is_retired, launch_in, launch_one};
use super::surplus::is_quiet;
use super::view::{Seen, View};
use super::zones;
use crate::fleet::ZoneId;

pub(crate) fn upkeep(draft: &mut Draft<'_>) {
    let view = &draft.view;
    let withheld = view.relays.iter().any(Seen::withheld);
    let full = draft.reckoning.count >= view.policy.max;
    if !draft.brakes.removes || withheld || full || view.fleet.group.fixed || !is_quiet(draft) {
        return;
    }
    let filled = super::headroom::crowded(view, draft.reckoning.demand.upward);
    if is_lopsided(view, filled) {
        let why = format!(
            "the loss of the fullest zone would leave less than the {filled} that the load fills"
        );
        return launch_one(draft, Reason::ZoneLoss, &why);
    }
    let need = &draft.reckoning.need;
    // With more than are needed, one of the retired goes without another in its place.
    let replaces = need.have <= need.held && view.policy.replace_images;
    if let Some((zone, count)) = retired(view).filter(|_| replaces) {
        let why = format!("{count} relays are not of the current image, and one of it comes first");
        launch_in(draft, &zone, Reason::Image, &why);
    }
}

/// More relays in other zones than the fullest would make a difference, and can be had.
fn is_lopsided(view: &View<'_>, filled: u32) -> bool {
    let open = (view.zones.iter()).filter(|zone| launches::pause_in(view, zone).is_none());
    let serving = view.relays.iter().filter(|seen| seen.is_capacity());
    // One zone alone does not get better by more relays.
    view.policy.zone_loss_floor
        && open.count() > 1
        && zones::left_after_a_loss(serving) + 1e-9 < f64::from(filled)
}

/// Where the next one of a retired image is to go, and how many there are. Another comes into its own zone, or its going
/// would thin that zone.
fn retired(view: &View<'_>) -> Option<(ZoneId, usize)> {
    let serving = || view.relays.iter().filter(|seen| seen.is_capacity());
    let image = view.fleet.group.image.as_deref();
    let retired: Vec<&Seen<'_>> = serving()
        .filter(|seen| seen.relay.age >= view.policy.min_age && !seen.relay.keep)
        .filter(|seen| is_retired(image, &seen.relay.image))
        .collect();
    let in_zone = |seen: &&&Seen<'_>| {
        let same = serving().filter(|it| it.relay.zone == seen.relay.zone);
        same.count()
    };
    let next = retired.iter().max_by_key(in_zone)?;
    Some((next.relay.zone.clone(), retired.len()))
}
