//! What people should look at, beside what the rules say where they act.
//!
//! Each says what is the matter and what to do. Not responsible for who is told (`alerts/`).

use super::draft::Draft;
use super::hands;
use super::plan::AlarmKind;
use super::settings::{ForecastMode, HandChanges};
use super::view::{Seen, Standing};
use super::zones;

pub(crate) fn alarms(draft: &mut Draft<'_>) {
    relays(draft);
    maximum(draft);
    spread(draft);
    hand(draft);
    breaker(draft);
    forecast(draft);
}

fn relays(draft: &mut Draft<'_>) {
    for seen in draft.view.relays.clone() {
        let relay = seen.id;
        if seen.standing == Standing::Aside {
            let words = format!(
                "{relay} is set aside at the provider: this controller leaves it alone; end it or put it back by hand"
            );
            draft.alarm(AlarmKind::Foreign, Some(relay), words);
        } else if is_foreign(&seen) {
            let words = format!(
                "{relay} answers, and the provider does not list it: this controller leaves it alone; find out whose it is"
            );
            draft.alarm(AlarmKind::Foreign, Some(relay), words);
        }
        if seen.ought_to_report() && !seen.fresh {
            let words = match (seen.relay.report_age, seen.relay.answers_stun) {
                (Some(age), Some(true)) => format!(
                    "{relay} has not been heard of for {} s, and its data path answers: see its admin API",
                    age.as_secs()
                ),
                (Some(age), _) => format!(
                    "{relay} has not been heard of for {} s: see whether it lives",
                    age.as_secs()
                ),
                (None, _) => {
                    format!("{relay} has never been heard of: see its admin API and the way to it")
                }
            };
            draft.alarm(AlarmKind::Stale, Some(relay), words);
        }
        if let Some(refusal) = draft.view.fleet.history.refused.get(relay) {
            let words = format!(
                "{}; it goes on as it is, and is told again in a minute if that is still wanted: see its log, or do it by hand",
                refusal.words
            );
            draft.alarm(AlarmKind::DrainOverdue, Some(relay), words);
        }
        if seen.full && seen.is_live() {
            let words = format!(
                "{relay} is full: it drops packets or refuses calls; more relays are asked for, and its capacity in the policy \
                 may be too great"
            );
            draft.alarm(AlarmKind::Full, Some(relay), words);
        }
    }
}

fn is_foreign(seen: &Seen<'_>) -> bool {
    seen.relay.lifecycle == crate::fleet::Lifecycle::Unlisted
        && seen.fresh
        && !seen.relay.terminate_asked
}

fn maximum(draft: &mut Draft<'_>) {
    let (wanted, max) = (draft.reckoning.unbounded, draft.view.policy.max);
    if wanted > max {
        let words = format!(
            "{wanted} relays are needed, and the maximum is {max}: raise it, in the policy and at the provider"
        );
        draft.alarm(AlarmKind::AtMaximum, None, words);
    }
}

fn spread(draft: &mut Draft<'_>) {
    let view = &draft.view;
    if !view.policy.zone_loss_floor {
        return;
    }
    let serving = || view.relays.iter().filter(|seen| seen.is_capacity());
    let left = zones::left_after_a_loss(serving());
    let filled = super::headroom::crowded(view, draft.reckoning.demand.upward);
    let words = if view.zones.len() < 2 {
        Some("relays can be in one zone only, whose loss nothing survives: allow another, or set zone-loss-floor = false".to_owned())
    } else if left + 1e-9 < f64::from(filled) {
        Some(format!(
            "{left:.1} relays' worth would be left if the fullest zone were lost, and the load fills {filled}: see which zones get no \
             relays, and why"
        ))
    } else {
        None
    };
    if let Some(words) = words {
        draft.alarm(AlarmKind::ZoneSpread, None, words);
    }
}

fn hand(draft: &mut Draft<'_>) {
    let Some(what) = hands::change(&draft.view) else {
        return;
    };
    let then = match draft.view.policy.hand_changes {
        HandChanges::Honour => "it is lived with; see who did it",
        HandChanges::Freeze => {
            "nothing is removed: see who did it, then restart the controller to go on from there"
        }
    };
    let words = format!("somebody else changed {what}: {then}");
    draft.alarm(AlarmKind::OtherHand, None, words);
}

fn breaker(draft: &mut Draft<'_>) {
    let failed = draft.view.fleet.history.never_ready;
    if failed >= draft.view.policy.breaker_after.max(1) {
        let words = format!(
            "the last {failed} instances that were launched never became ready: one at a time is tried now; see the image"
        );
        draft.alarm(AlarmKind::NeverReady, None, words);
    }
}

fn forecast(draft: &mut Draft<'_>) {
    let expected = draft.reckoning.need.forecast;
    let bare = super::headroom::bare(&draft.view, draft.reckoning.demand.measured);
    let off = draft.view.policy.forecast.mode == ForecastMode::Off || expected == 0;
    if !off && f64::from(bare) > 1.5 * f64::from(expected) && bare > expected.saturating_add(1) {
        let words = format!(
            "the load is worth {bare} relays, and the season promised {expected}: nothing is to be done unless it stays so"
        );
        draft.alarm(AlarmKind::ForecastMiss, None, words);
    }
}
