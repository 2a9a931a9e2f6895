//! What of the page is about the round: need, loads, the picture of the last hours, brakes, alarms, decisions.
//!
//! Not responsible for relays (`of_relays`).

use std::collections::BTreeMap;

use super::{
    Acted, Chart, Decided, Leads, Line, MOST_ACTIONS, MOST_DECISIONS, Marked, Needed, Note, Reason,
    rounded,
};
use crate::fleet::{Dimension, Loads};
use crate::policy::{Act, Brake, ForecastMode, Outcome};
use crate::reconcile::{Decision, Published, Tried, outcome_word};
use crate::trend::Point;

pub(super) fn leadership(latest: &Published) -> Leads {
    let leadership = &latest.snapshot.fleet.leadership;
    let words = match (&leadership.obstacle, leadership.held) {
        (_, true) => "this controller acts".to_owned(),
        (Some(obstacle), false) => format!("this controller does not act: {obstacle}"),
        (None, false) => "this controller does not act".to_owned(),
    };
    Leads {
        held: leadership.held,
        epoch: leadership.epoch,
        lease_seconds: rounded(latest.lease_seconds),
        words,
    }
}

pub(super) fn brakes(latest: &Published) -> Vec<Note> {
    let brakes = latest.plan.brakes.iter().map(|brake| Note {
        kind: brake.as_str().to_owned(),
        relay: None,
        words: brake.words(),
    });
    brakes.collect()
}

pub(super) fn alarms(latest: &Published) -> Vec<Note> {
    let alarms = latest.plan.alarms.iter().map(|alarm| Note {
        kind: alarm.kind.as_str().to_owned(),
        relay: alarm.relay.clone(),
        words: alarm.words.clone(),
    });
    alarms.collect()
}

pub(super) fn need(latest: &Published) -> Needed {
    let (need, policy) = (&latest.plan.need, &latest.policy);
    let observed = policy.forecast.mode == ForecastMode::Observe;
    let by = need
        .dimension
        .map_or_else(String::new, |dimension| format!(", by {dimension}"));
    let forecast = if observed {
        "what this time of the week has asked for; observed only"
    } else {
        "what this time of the week has asked for"
    };
    let reasons = [
        (
            "load",
            format!("what is carried now, with headroom{by}"),
            need.reactive,
        ),
        ("forecast", forecast.to_owned(), need.forecast),
        (
            "zone_loss",
            "to survive the loss of one zone".to_owned(),
            need.zone_loss,
        ),
        (
            "schedule",
            "what the schedule sets for this time".to_owned(),
            need.schedule,
        ),
        (
            "minimum",
            "the least that the policy allows".to_owned(),
            need.minimum,
        ),
    ];
    let counts = |reason: &str| !(observed && reason == "forecast");
    // As the plan has it: of several that ask for as many, this one comes first.
    let order = ["minimum", "load", "zone_loss", "schedule", "forecast"];
    let asks = |reason: &str| {
        let mut reasons = reasons.iter();
        let found = reasons.find(|(name, _, _)| *name == reason && counts(name));
        found.map_or(0, |(_, _, relays)| *relays)
    };
    let most = order.into_iter().map(asks).max().unwrap_or(0);
    let decides = order
        .into_iter()
        .find(|reason| most > 0 && asks(reason) == most);
    Needed {
        need: need.need,
        have: need.have,
        held: need.held,
        min: policy.min,
        max: policy.max,
        fill_target: policy.fill_target,
        reasons: reasons
            .into_iter()
            .map(|(reason, words, relays)| Reason {
                decides: Some(reason) == decides,
                reason: reason.to_owned(),
                words,
                relays,
            })
            .collect(),
    }
}

pub(super) fn lines(latest: &Published) -> Vec<Line> {
    let need = &latest.plan.need;
    let lines = Dimension::ALL.into_iter().filter_map(|dimension| {
        let (demand, capacity) = (need.demand.of(dimension), need.capacity.of(dimension));
        let share = demand
            .zip(capacity)
            .map(|(demand, capacity)| demand / capacity);
        let known = demand.is_some() || capacity.is_some();
        known.then(|| Line {
            dimension: dimension.as_str().to_owned(),
            demand: demand.map(rounded),
            capacity: capacity.map(rounded),
            share: share.filter(|share| share.is_finite()).map(rounded),
            decides: need.dimension == Some(dimension),
        })
    });
    lines.collect()
}

pub(super) fn chart(latest: &Published) -> Chart {
    let (trend, now) = (&latest.trend, latest.snapshot.now);
    // By the monotonic clock, so that a wall clock that was set leaves no gap and no knot.
    let time = |at| {
        let ago = now.instant.saturating_since(at).as_secs();
        now.unix.as_secs().saturating_sub(ago)
    };
    let points: Vec<&Point> = trend.points().collect();
    Chart {
        step_seconds: trend.step().as_secs(),
        times: points.iter().map(|point| time(point.at)).collect(),
        need: points.iter().map(|point| point.need).collect(),
        have: points.iter().map(|point| point.have).collect(),
        demand: columns(&points, |point| point.demand),
        capacity: columns(&points, |point| point.capacity),
        marks: trend
            .marks()
            .map(|mark| Marked {
                time: time(mark.at),
                done: mark.done.as_str().to_owned(),
                relays: mark.relays,
            })
            .collect(),
    }
}

/// A column for each dimension of which anything was known at any time.
fn columns(points: &[&Point], loads: fn(&Point) -> Loads) -> BTreeMap<String, Vec<Option<f64>>> {
    let columns = Dimension::ALL.into_iter().filter_map(|dimension| {
        let column: Vec<Option<f64>> = points
            .iter()
            .map(|point| loads(point).of(dimension).map(rounded))
            .collect();
        let known = column.iter().any(Option::is_some);
        known.then(|| (dimension.as_str().to_owned(), column))
    });
    columns.collect()
}

pub(super) fn decisions(latest: &Published) -> Vec<Decided> {
    let latest = latest.decisions.iter().rev().take(MOST_DECISIONS);
    latest.map(|decision| decided(decision)).collect()
}

fn decided(decision: &Decision) -> Decided {
    Decided {
        round: decision.round,
        time: decision.time,
        summary: decision.summary.clone(),
        actions: decision
            .actions
            .iter()
            .take(MOST_ACTIONS)
            .map(acted)
            .collect(),
        actions_left_out: decision.actions.len().saturating_sub(MOST_ACTIONS),
        brakes: decision.brakes.iter().map(Brake::words).collect(),
    }
}

fn acted(tried: &Tried) -> Acted {
    let action = &tried.action;
    Acted {
        act: action.act.as_str().to_owned(),
        target: target(&action.act),
        reason: action.reason.as_str().to_owned(),
        words: action.words.clone(),
        outcome: tried
            .outcome
            .as_ref()
            .map(|outcome| outcome_word(outcome).to_owned()),
        outcome_words: tried.outcome.as_ref().and_then(outcome_words),
    }
}

fn target(act: &Act) -> String {
    match act {
        Act::Launch { zone, count, .. } => format!("{count} in {zone}"),
        Act::Withhold { relay }
        | Act::Restore { relay }
        | Act::Drain { relay, .. }
        | Act::Undrain { relay }
        | Act::Terminate { relay }
        | Act::Extend { relay }
        | Act::Finish { relay } => relay.to_string(),
    }
}

fn outcome_words(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Done { instances } if instances.is_empty() => None,
        Outcome::Done { instances } => {
            let ids: Vec<&str> = instances.iter().map(|id| id.as_str()).collect();
            Some(ids.join(", "))
        }
        Outcome::Nothing | Outcome::DryRun => None,
        Outcome::NoCapacity { words }
        | Outcome::Refused { words }
        | Outcome::Failed { words }
        | Outcome::Unknown { words } => Some(words.clone()),
        Outcome::OlderEpoch { seen } => Some(format!("the relay has seen epoch {seen}")),
    }
}
