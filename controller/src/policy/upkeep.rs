//! What is launched while there is time: one relay at a time, so that another may go.
//!
//! Responsible for relays of the current image in place of those of a retired one, and for a zone that has too few to
//! survive the loss of another. Not responsible for those that go in exchange (`surplus`).

use super::draft::Draft;
use super::launches;
use super::plan::Reason;
use super::supply::{is_retired, launch};
use super::surplus::is_quiet;
use super::view::Seen;
use super::zones;

pub(crate) fn upkeep(draft: &mut Draft<'_>) {
    let withheld = draft.view.relays.iter().any(Seen::withheld);
    if !draft.brakes.removes || withheld || draft.view.fleet.group.fixed || !is_quiet(draft) {
        return;
    }
    if draft.reckoning.count >= draft.view.policy.max {
        return;
    }
    let view = &draft.view;
    let serving = || view.relays.iter().filter(|seen| seen.is_capacity());
    let filled = super::headroom::crowded(view, draft.reckoning.demand.upward);
    // One zone alone does not get better by more relays.
    let open = (view.zones.iter()).filter(|zone| launches::pause_in(view, zone).is_none());
    let lopsided = view.policy.zone_loss_floor
        && open.count() > 1
        && zones::left_after_a_loss(serving()) + 1e-9 < f64::from(filled);
    if lopsided {
        let why = format!(
            "the loss of the fullest zone would leave less than the {filled} that the load fills"
        );
        return launch(draft, 1, 0, Reason::ZoneLoss, &why);
    }
    let need = &draft.reckoning.need;
    // With more than are needed, one of the retired goes without another in its place.
    if need.have > need.held {
        return;
    }
    let image = view.fleet.group.image.as_deref();
    let retired = serving().filter(|seen| {
        let ripe = seen.relay.age >= view.policy.min_age && !seen.relay.keep;
        ripe && is_retired(image, &seen.relay.image)
    });
    let retired = retired.count();
    if retired > 0 && view.policy.replace_images {
        let why =
            format!("{retired} relays are not of the current image, and one of it comes first");
        launch(draft, 1, 0, Reason::Image, &why);
    }
}
