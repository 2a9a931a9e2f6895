//! What never worked, and what has stopped working.
//!
//! Scaling rules: silence is not death; one that is silent is replaced only if its data path is silent too, for long, and
//! never more than a share of the fleet at a time. Not responsible for pausing launches after failures (`launches`).

use super::draft::Draft;
use super::plan::{Act, AlarmKind, Reason};
use super::preflight;
use super::rounding::{filled, within};
use super::unfinished;
use super::view::{Seen, Standing, View};
use crate::fleet::Lifecycle;

pub(crate) fn unhealthy(draft: &mut Draft<'_>) {
    let mut in_hand = in_hand(draft);
    let allowed = most_at_a_time(&draft.view);
    for seen in draft.view.relays.clone() {
        match seen.standing {
            Standing::NeverReady => never_ready(draft, &seen, &mut in_hand, allowed),
            Standing::Stale | Standing::Unready if has_failed(&draft.view, &seen) => {
                failed(draft, &seen, &mut in_hand, allowed);
            }
            Standing::Launching
            | Standing::Serving
            | Standing::Unready
            | Standing::Stale
            | Standing::Draining
            | Standing::Ending
            | Standing::Gone
            | Standing::Aside => {}
        }
    }
}

/// It has had no call, as it was never ready: there is nothing to drain.
fn never_ready(draft: &mut Draft<'_>, seen: &Seen<'_>, in_hand: &mut u32, allowed: u32) {
    let minutes = seen.relay.age.as_secs() / 60;
    let words = format!(
        "{} has not become ready in {minutes} min: see its console and the log of its relay",
        seen.id
    );
    draft.alarm(AlarmKind::NeverReady, Some(seen.id), words);
    let ends = *in_hand < allowed && !seen.relay.keep && !seen.offshore;
    if ends && has_room(draft) {
        let before = draft.actions.len();
        let words = format!("it has not become ready in {minutes} min, and carries nothing");
        unfinished::terminate(draft, seen, Reason::Unhealthy, words);
        *in_hand += u32::from(draft.actions.len() > before);
    }
}

/// It has carried calls: it is withheld, drained if it can be reached, and ended at its deadline.
fn failed(draft: &mut Draft<'_>, seen: &Seen<'_>, in_hand: &mut u32, allowed: u32) {
    let begins = draft.brakes.removes
        && *in_hand < allowed
        && !seen.withheld()
        && !seen.relay.keep
        && !seen.offshore
        && seen.relay.lifecycle == Lifecycle::InService
        && !draft.view.fleet.history.orders.contains_key(seen.id)
        && !draft.is_dealt_with(seen.id)
        && preflight::passes(draft, seen)
        && has_room(draft);
    if begins {
        let what = if seen.standing == Standing::Stale {
            match seen.relay.answers_stun {
                Some(_) => "neither its admin API nor its data path answers",
                None => "its admin API does not answer, and the provider says that it is not well",
            }
        } else {
            "it is not ready"
        };
        let minutes = seen.ailing_for.unwrap_or_default().as_secs() / 60;
        let relay = seen.id.clone();
        let words = format!("{what}, for {minutes} min");
        draft.act(Act::Withhold { relay }, Reason::Unhealthy, words);
        *in_hand += 1;
    }
}

/// It has been ailing for as long as a new one may take to become ready.
pub(crate) fn has_failed(view: &View<'_>, seen: &Seen<'_>) -> bool {
    is_ailing(seen) && (seen.ailing_for).is_some_and(|time| time >= view.policy.ready_timeout)
}

/// What may be a failure if it lasts.
pub(crate) fn is_ailing(seen: &Seen<'_>) -> bool {
    match seen.standing {
        // Where nobody tries its data path, the provider's word stands in for it.
        Standing::Stale => match seen.relay.answers_stun {
            Some(answers) => !answers,
            None => seen.relay.unhealthy,
        },
        Standing::Unready => true,
        Standing::Launching
        | Standing::NeverReady
        | Standing::Serving
        | Standing::Draining
        | Standing::Ending
        | Standing::Gone
        | Standing::Aside => false,
    }
}

fn most_at_a_time(view: &View<'_>) -> u32 {
    let living = view.relays.iter().filter(|seen| seen.is_live()).count();
    let living = u32::try_from(living).unwrap_or(u32::MAX);
    filled(within(view.policy.unhealthy_share, 0.0, 1.0) * f64::from(living)).max(1)
}

/// Those that are being replaced.
fn in_hand(draft: &Draft<'_>) -> u32 {
    let leaving = draft.view.relays.iter().filter(|seen| {
        let ordered = draft.view.fleet.history.orders.contains_key(seen.id);
        let ailing = matches!(seen.standing, Standing::Stale | Standing::Unready);
        ailing && (seen.withheld() || ordered)
    });
    u32::try_from(leaving.count()).unwrap_or(u32::MAX)
}

/// Removals are counted together, whatever they are for.
fn has_room(draft: &Draft<'_>) -> bool {
    let policy = draft.view.policy;
    let since = |at| draft.view.now.instant.saturating_since(at);
    let drains = draft.view.fleet.history.drains.iter();
    let lately = drains.filter(|at| since(**at) < policy.down_period).count();
    u32::try_from(lately).unwrap_or(u32::MAX) < policy.down_step.max(1)
}
