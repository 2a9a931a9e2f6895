//! What was begun, here or by a controller before this one, goes on: withheld, drained, ended, the hook answered.
//!
//! ```text
//!   withheld --list-ttl--> drain asked --> draining --empty, or its deadline passed--> terminate, once, by id
//!      |                       | no answer: asked again each minute; at the deadline it is ended all the same
//!      +-- needed after all: restored                     TerminatingWait: extend while calls go on, then finish
//! ```
//!
//! Scaling rules, drain. Responsible for each step that follows from the one before. Not responsible for who is to go
//! (`surplus`, `unhealthy`, `sovereignty`).

use std::time::Duration;

use taciturn_protocol::status::Phase;
use taciturn_protocol::time::UnixTime;

use super::draft::Draft;
use super::plan::{Act, AlarmKind, Reason};
use super::preflight;
use super::supply::is_retired;
use super::unhealthy;
use super::view::{Seen, Standing};
use crate::fleet::{DrainReport, Lifecycle};
use crate::words::counted;

/// A relay that did not take its order is asked again after this time.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(60);

pub(crate) fn unfinished(draft: &mut Draft<'_>) {
    if !draft.brakes.acts {
        return;
    }
    for seen in draft.view.relays.clone() {
        if draft.is_dealt_with(seen.id) {
            continue;
        }
        if seen.relay.lifecycle == Lifecycle::TerminatingWait {
            ending(draft, &seen);
        } else if seen.standing == Standing::Draining {
            draining(draft, &seen);
        } else if seen.is_live() && ordered(draft, &seen) && !seen.fresh {
            hung(draft, &seen);
        } else if seen.is_live() && seen.withheld() {
            withheld(draft, &seen);
        }
    }
}

/// The second step: the lists that clients have are old enough by now.
fn withheld(draft: &mut Draft<'_>, seen: &Seen<'_>) {
    let relay = seen.id.clone();
    let Some(reason) = still_to_go(draft, seen) else {
        let words = "nothing asks for its removal any more".to_owned();
        return draft.act(Act::Restore { relay }, Reason::Unfinished, words);
    };
    let waited = seen.relay.withheld_for.unwrap_or_default();
    let fixed = draft.view.fleet.group.fixed && reason == Reason::Cordoned;
    let ripe =
        waited >= draft.view.policy.list_ttl && (fixed || preflight::may_shrink(&draft.view, 1));
    if draft.brakes.removes && ripe && may_ask(draft, seen) {
        let deadline = deadline(draft, seen);
        let words = format!(
            "no credentials have named it for {} s; its calls may go on for {} min",
            waited.as_secs(),
            deadline
                .as_secs()
                .saturating_sub(draft.view.now.unix.as_secs())
                / 60
        );
        draft.act(Act::Drain { relay, deadline }, reason, words);
    }
}

/// Why a withheld relay is to go, as of now; `None`: it is not.
fn still_to_go(draft: &Draft<'_>, seen: &Seen<'_>) -> Option<Reason> {
    let reckoning = &draft.reckoning;
    let spare = reckoning.need.have >= reckoning.need.need_down;
    let retired = is_retired(draft.view.fleet.group.image.as_deref(), &seen.relay.image);
    if seen.relay.keep {
        None
    } else if unhealthy::has_failed(&draft.view, seen) {
        Some(Reason::Unhealthy)
    } else if seen.relay.cordoned {
        Some(Reason::Cordoned)
    } else if spare && retired {
        Some(Reason::Image)
    } else {
        spare.then_some(Reason::Surplus)
    }
}

/// The third: its calls end by themselves, or the deadline comes.
fn draining(draft: &mut Draft<'_>, seen: &Seen<'_>) {
    let ours = seen.drain().is_some_and(is_a_controllers);
    let overdue = is_past(draft, seen);
    let calls = seen.drain().map_or(0, |drain| drain.allocations_remaining);
    let calls = counted(calls, "allocation");
    if overdue {
        let words = format!(
            "{} drains beyond its deadline, with {calls}: what is left is cut when it ends; see why calls last so long",
            seen.id
        );
        draft.alarm(AlarmKind::DrainOverdue, Some(seen.id), words);
    }
    let ends = ours
        && seen.relay.lifecycle == Lifecycle::InService
        && !seen.offshore
        && !seen.relay.keep
        && (overdue || is_empty(draft, seen));
    if ends {
        let words = match overdue {
            true => format!("its deadline has passed, with {calls} left"),
            false => "it is drained: no call is left on it".to_owned(),
        };
        terminate(draft, seen, Reason::Unfinished, words);
    }
}

/// A person who drains a relay without a controller writes no epoch: that is theirs to end, and theirs to take back.
pub(crate) fn is_a_controllers(drain: &DrainReport) -> bool {
    drain.source == "operator" && drain.epoch > 0
}

/// It was told to drain and has not been heard of since.
fn hung(draft: &mut Draft<'_>, seen: &Seen<'_>) {
    if seen.relay.keep {
        return;
    }
    let silent_for = seen.relay.report_age.unwrap_or(Duration::MAX);
    if is_past(draft, seen) && silent_for >= draft.view.policy.ready_timeout {
        let words = format!(
            "{} was told to drain and has not answered up to its deadline; it is ended: look for its logs",
            seen.id
        );
        draft.alarm(AlarmKind::DrainOverdue, Some(seen.id), words);
        let words = "it was told to drain, is silent, and its deadline has passed".to_owned();
        terminate(draft, seen, Reason::Unfinished, words);
    } else if draft.brakes.removes && may_ask(draft, seen) {
        let act = Act::Drain {
            relay: seen.id.clone(),
            deadline: deadline(draft, seen),
        };
        let words =
            "it has not acknowledged its drain: asked again, with the same deadline".to_owned();
        draft.act(act, Reason::Unfinished, words);
    }
}

/// The provider waits for our word: whoever began the end, its calls get their time.
fn ending(draft: &mut Draft<'_>, seen: &Seen<'_>) {
    let relay = seen.id.clone();
    let drains = seen.drain().is_some();
    // Only of one that this controller launched is it known that it has had no call.
    let ours = draft.view.fleet.history.expected.contains_key(seen.id);
    let nothing_to_lose = ours && !seen.relay.was_ready && seen.report().is_none();
    let over = is_past(draft, seen) || (drains && is_empty(draft, seen)) || nothing_to_lose;
    if over {
        let finished = draft.view.fleet.history.finished.get(seen.id);
        let since = |at| draft.view.now.instant.saturating_since(at);
        // The list shows it late, and the hook needs to be told once.
        if draft.brakes.removes && finished.is_none_or(|at| since(*at) >= ASK_AGAIN) {
            let words = "nothing is left on it, or its deadline has passed: it may end".to_owned();
            draft.act(Act::Finish { relay }, Reason::ExternalEnd, words);
        }
        return;
    }
    if !drains && draft.brakes.removes && may_ask(draft, seen) {
        let deadline = deadline(draft, seen);
        let words = "the provider is ending it: its calls get their time".to_owned();
        draft.act(Act::Drain { relay, deadline }, Reason::ExternalEnd, words);
        return;
    }
    let history = &draft.view.fleet.history;
    let since = |at| draft.view.now.instant.saturating_since(at);
    let asked = history.extended.get(seen.id);
    if asked.is_none_or(|at| since(*at) >= draft.view.policy.extend_period) {
        let words = "calls go on: the provider is asked to wait".to_owned();
        draft.act(Act::Extend { relay }, Reason::ExternalEnd, words);
    }
}

/// Once, by id; and only what can be ended without being replaced.
pub(crate) fn terminate(draft: &mut Draft<'_>, seen: &Seen<'_>, reason: Reason, words: String) {
    let ends = draft.ends().saturating_add(1);
    if draft.view.fleet.group.fixed || seen.relay.terminate_asked || draft.is_dealt_with(seen.id) {
        return;
    }
    let relay = seen.id.clone();
    if !preflight::may_shrink(&draft.view, ends) {
        let words = format!(
            "{relay} is to be ended ({words}), and the provider would not: its minimum is reached, or terminating is suspended \
             there; lower the one, or resume the other"
        );
        draft.alarm(AlarmKind::DrainOverdue, Some(&relay), words);
    } else if draft.brakes.removes {
        draft.act(Act::Terminate { relay }, reason, words);
    }
}

/// By the relay's own word of just now: nothing is left, and it has drained for long enough by its own clock.
fn is_empty(draft: &Draft<'_>, seen: &Seen<'_>) -> bool {
    let policy = draft.view.policy;
    let Some((report, drain)) = seen.report().zip(seen.drain()) else {
        return false;
    };
    let lasted = report
        .time
        .as_secs()
        .saturating_sub(drain.started.as_secs());
    let counted = seen.allocations().is_none_or(|count| count < 0.5);
    let none = drain.allocations_remaining == 0 && (counted || report.phase == Phase::Drained);
    let idle = policy.end_idle_drains && drain.allocations_remaining <= drain.idle_allocations;
    seen.fresh && lasted >= policy.min_drain.as_secs() && (none || idle)
}

/// By every clock there is: the wall clock, this controller's own since it learnt of the deadline, and the relay's, where
/// it is heard of.
fn is_past(draft: &Draft<'_>, seen: &Seen<'_>) -> bool {
    let view = &draft.view;
    let Some(ordered) = view.fleet.history.orders.get(seen.id) else {
        return false;
    };
    let deadline = seen.drain().map_or(ordered.deadline, |drain| {
        drain.deadline.max(ordered.deadline)
    });
    let silent_for = seen.relay.report_age.unwrap_or(Duration::MAX);
    let by_its_own = seen.report().is_none_or(|report| {
        let its_clock = report.time.plus_secs(silent_for.as_secs());
        silent_for >= view.policy.ready_timeout || its_clock >= deadline
    });
    view.now.unix >= deadline && view.now.instant >= ordered.until && by_its_own
}

fn ordered(draft: &Draft<'_>, seen: &Seen<'_>) -> bool {
    draft.view.fleet.history.orders.contains_key(seen.id)
}

/// It was not asked in the last minute.
pub(crate) fn may_ask(draft: &Draft<'_>, seen: &Seen<'_>) -> bool {
    let since = |at| draft.view.now.instant.saturating_since(at);
    let history = &draft.view.fleet.history;
    let ordered = history.orders.get(seen.id).map(|ordered| ordered.asked);
    let refused = history.refused.get(seen.id).map(|refused| refused.at);
    (ordered.max(refused)).is_none_or(|asked| since(asked) >= ASK_AGAIN)
}

/// The deadline that it was given before, or a new one: a deadline never moves because somebody asks again.
pub(crate) fn deadline(draft: &Draft<'_>, seen: &Seen<'_>) -> UnixTime {
    let view = &draft.view;
    let ordered = view.fleet.history.orders.get(seen.id);
    ordered.map_or_else(
        || {
            view.now
                .unix
                .plus_secs(view.policy.drain_deadline.as_secs())
        },
        |ordered| ordered.deadline,
    )
}
