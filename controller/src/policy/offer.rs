//! Which relays credentials may name.
//!
//! Scaling rules, credentials: relays that serve, are heard of, and are in an allowed zone by the provider's word and by
//! their own. Not responsible for which of them a client gets.

use std::time::Duration;

use super::draft::Draft;
use super::plan::Act;
use super::view::{Seen, Standing, View};
use crate::fleet::{InstanceId, Lifecycle};

/// While nobody at all is heard of, what was known last goes on being offered for this long.
const LAST_KNOWN: Duration = Duration::from_secs(300);

pub(crate) fn offered(draft: &Draft<'_>) -> Vec<InstanceId> {
    let view = &draft.view;
    let restored = |seen: &Seen<'_>| {
        draft
            .actions
            .iter()
            .any(|action| matches!(&action.act, Act::Restore { relay } if relay == seen.id))
    };
    let leaving = |seen: &Seen<'_>| {
        draft.actions.iter().any(|action| {
            matches!(&action.act, Act::Withhold { relay } | Act::Drain { relay, .. } if relay == seen.id)
        })
    };
    let may = |seen: &&Seen<'_>| {
        !seen.offshore
            && !seen.relay.cordoned
            && !leaving(seen)
            && (!seen.withheld() || restored(seen))
    };
    let serving = |seen: &&Seen<'_>| {
        seen.standing == Standing::Serving && seen.report().is_some_and(|report| report.ready)
    };
    let mut offered: Vec<InstanceId> = (view.relays.iter())
        .filter(may)
        .filter(serving)
        .map(|seen| seen.id.clone())
        .collect();
    if offered.is_empty() && nobody_is_heard_of(view) {
        // It is the monitoring that has failed. Calls are not to fail with it.
        let silent = view
            .relays
            .iter()
            .filter(may)
            .filter(|seen| last_known(seen));
        offered.extend(silent.map(|seen| seen.id.clone()));
    }
    offered
}

fn nobody_is_heard_of(view: &View<'_>) -> bool {
    let (stale, of) = view.stale();
    of > 0 && stale == of
}

fn last_known(seen: &Seen<'_>) -> bool {
    let was_well = seen
        .report()
        .is_some_and(|report| report.ready && report.drain.is_none());
    let lately = seen.relay.report_age.is_some_and(|age| age <= LAST_KNOWN);
    let answers = match seen.relay.answers_stun {
        Some(answers) => answers,
        None => lately,
    };
    seen.standing == Standing::Stale
        && seen.relay.lifecycle == Lifecycle::InService
        && was_well
        && answers
}
