//! Fewer relays: those that are not needed, whose image is retired, or that an operator wants gone.
//!
//! Scaling rules, decision: only after the whole window, with nobody on the way, one after another, and after a second
//! look. Responsible for when one goes. Not responsible for which (`victims`), nor for how (`unfinished`).

use super::draft::Draft;
use super::plan::{Act, Reason};
use super::victims;
use super::view::Seen;
use crate::words::counted;

pub(crate) fn surplus(draft: &mut Draft<'_>) {
    if !draft.brakes.removes || draft.reckoning.missing() > 0 {
        return;
    }
    let policy = draft.view.policy;
    let history = &draft.view.fleet.history;
    let since = |at| draft.view.now.instant.saturating_since(at);
    let lately = history
        .drains
        .iter()
        .filter(|at| since(**at) < policy.down_period);
    let lately = u32::try_from(lately.count()).unwrap_or(u32::MAX);
    let mut budget = policy.down_step.saturating_sub(lately);
    for reason in [Reason::Cordoned, Reason::Image, Reason::Surplus] {
        let fixed = draft.view.fleet.group.fixed;
        if reason != Reason::Cordoned && (fixed || !is_quiet(draft)) {
            return;
        }
        while budget > 0 && remove_one(draft, reason) {
            budget -= 1;
        }
        if !draft.chosen.is_empty() {
            return;
        }
    }
}

/// Nobody is on the way, nothing was launched lately, and what somebody else brought about is not taken back at once: the
/// window begins anew for it.
pub(crate) fn is_quiet(draft: &Draft<'_>) -> bool {
    let view = &draft.view;
    let history = &view.fleet.history;
    let since = |at| view.now.instant.saturating_since(at);
    let mut launches = history.launches.iter();
    let launched = launches.any(|launch| since(launch.at) < view.policy.quiet_after_launch);
    let coming = view.relays.iter().any(Seen::is_coming);
    let other_hand = history
        .hand
        .iter()
        .any(|hand| since(hand.at) < view.policy.window);
    !launched && !coming && !other_hand && history.unconfirmed.is_empty()
}

/// Whether one was taken out of the list; one that waits for its second look is chosen, and is not.
fn remove_one(draft: &mut Draft<'_>, reason: Reason) -> bool {
    let view = &draft.view;
    let remaining: Vec<&Seen<'_>> = (view.relays.iter())
        .filter(|seen| seen.is_capacity() && !draft.is_dealt_with(seen.id))
        .collect();
    let victims = victims::in_order(draft, reason, &remaining);
    let cordoned = reason == Reason::Cordoned;
    let spare = |seen: &&&Seen<'_>| cordoned || victims::is_spare(draft, seen, &remaining);
    let Some(victim) = victims.iter().find(spare) else {
        return false;
    };
    let since = |at| view.now.instant.saturating_since(at);
    let chosen = view.fleet.history.chosen.get(victim.id);
    let looked = chosen.is_some_and(|at| since(*at) >= view.policy.second_look);
    let relay = victim.id.clone();
    let words = words(draft, victim, reason, remaining.len());
    draft.chosen.push(relay.clone());
    if looked {
        draft.act(Act::Withhold { relay }, reason, words);
    }
    looked
}

fn words(draft: &Draft<'_>, victim: &Seen<'_>, reason: Reason, serving: usize) -> String {
    let need = &draft.reckoning.need;
    let calls = victim.allocations().unwrap_or(0.0);
    let what = if reason == Reason::Cordoned {
        "an operator wants it gone".to_owned()
    } else if reason == Reason::Image {
        format!("its image {} is not the current one", victim.relay.image)
    } else {
        format!("at most {} were needed for the whole window", need.held)
    };
    format!(
        "{what}, and {serving} serve; it has {}, in {}",
        counted(calls, "allocation"),
        victim.relay.zone
    )
}
