//! The brakes: when nothing is taken away, whatever else is known.
//!
//! Scaling rules, freeze: what is not known for sure is no ground for a removal. One rule, one function. Not responsible for
//! what a removal takes besides (`surplus`, `unfinished`).

use std::time::Duration;

use super::plan::Brake;
use super::settings::HandChanges;
use super::view::{Standing, View};
use crate::fleet::{InstanceId, Lifecycle};

/// A clock that moves by more than this jumps.
const JUMP: Duration = Duration::from_secs(30);

/// The brakes that hold, and what they leave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Brakes {
    pub(crate) on: Vec<Brake>,
    /// Anything may be done at all: this controller leads, and no other does.
    pub(crate) acts: bool,
    /// Relays may be withheld, drained and ended.
    pub(crate) removes: bool,
    /// What is offshore may be drained.
    pub(crate) clears_offshore: bool,
    /// Relays may be launched.
    pub(crate) launches: Launches,
}

/// How much may be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Launches {
    /// Nothing: nobody knows what there is.
    None,
    /// A small step at a time.
    Capped,
    /// As the policy has it.
    Free,
}

pub(crate) fn brakes(view: &View<'_>) -> Brakes {
    let listing = listing_in_doubt(view);
    let leading = not_leading(view);
    let newer = newer_epoch(view);
    let config = configuration_invalid(view);
    let acts = leading.is_none() && newer.is_none();
    let known = view.fleet.listing.complete_for.is_some();
    let nowhere = view.policy.allowed_zones.is_empty();
    let clears_offshore = acts && listing.is_none() && known && !nowhere;
    let blind = matches!(view.stale(), (stale, of) if of > 0 && stale == of);
    let on: Vec<Brake> = [
        leading,
        newer,
        listing,
        just_started(view),
        stale_relays(view),
        refresh_active(view),
        sovereignty_violation(view),
        clock_jump(view),
        config,
        changed_by_hand(view),
    ]
    .into_iter()
    .flatten()
    .collect();
    let removes = acts && on.is_empty();
    let launches = match (acts && known && !blind, removes) {
        (false, _) => Launches::None,
        (true, false) => Launches::Capped,
        (true, true) => Launches::Free,
    };
    Brakes {
        on,
        acts,
        removes,
        clears_offshore,
        launches,
    }
}

fn not_leading(view: &View<'_>) -> Option<Brake> {
    let leadership = &view.fleet.leadership;
    (!leadership.held).then(|| Brake::NotLeading {
        words: leadership
            .obstacle
            .clone()
            .unwrap_or_else(|| "the lease is not held".to_owned()),
    })
}

/// A relay that obeys somebody newer will not obey this controller, and somebody newer acts.
fn newer_epoch(view: &View<'_>) -> Option<Brake> {
    let own = view.fleet.leadership.epoch;
    let newer = view.relays.iter().filter_map(|seen| {
        let reported = seen.report().map(|report| report.epoch);
        seen.relay
            .newer_epoch
            .max(reported)
            .filter(|epoch| *epoch > own)
    });
    newer.max().map(|seen| Brake::NewerEpoch { seen })
}

fn listing_in_doubt(view: &View<'_>) -> Option<Brake> {
    let listing = &view.fleet.listing;
    let words = listing.fault.clone();
    words.map(|words| Brake::ListingInDoubt { words })
}

/// A controller that has just started knows neither what was going on nor, for a while, what is.
fn just_started(view: &View<'_>) -> Option<Brake> {
    let (policy, running_for) = (view.policy, view.fleet.running_for);
    let words = if view.fleet.listing.complete_for.is_none() {
        "the provider's first complete list".to_owned()
    } else if let Some(seen) = not_sampled_twice(view).next() {
        format!("two samples of {}", seen.id)
    } else if running_for < policy.quiet_after_start {
        let left = policy.quiet_after_start.saturating_sub(running_for);
        format!("the first {} s", left.as_secs() + running_for.as_secs())
    } else {
        return None;
    };
    Some(Brake::JustStarted { words })
}

/// Relays of which there are fewer than two samples, for as long as that may be because the controller has just started.
fn not_sampled_twice<'v, 'a>(
    view: &'v View<'a>,
) -> impl Iterator<Item = &'v super::view::Seen<'a>> {
    let young = view.fleet.running_for <= view.policy.ready_timeout;
    view.relays.iter().filter(move |seen| {
        young
            && seen.relay.lifecycle == Lifecycle::InService
            && seen.is_live()
            && seen.relay.samples < 2
    })
}

/// Whether every relay has been heard of since the controller started.
pub(crate) fn all_sampled(view: &View<'_>) -> bool {
    view.fleet.listing.complete_for.is_some() && not_sampled_twice(view).next().is_none()
}

fn stale_relays(view: &View<'_>) -> Option<Brake> {
    let (stale, of) = view.stale();
    let share = super::rounding::within(view.policy.stale_share, 0.0, 1.0);
    let many = f64::from(stale) > (share * f64::from(of)).max(2.0);
    (many || (of > 0 && stale == of)).then_some(Brake::StaleRelays { stale, of })
}

fn refresh_active(view: &View<'_>) -> Option<Brake> {
    view.fleet
        .group
        .refresh_active
        .then_some(Brake::RefreshActive)
}

fn sovereignty_violation(view: &View<'_>) -> Option<Brake> {
    let offshore = view.relays.iter().filter(|seen| seen.offshore);
    let there = offshore.filter(|seen| seen.standing != Standing::Gone);
    let relays: Vec<InstanceId> = there.map(|seen| seen.id.clone()).collect();
    let violated = !relays.is_empty() && !view.policy.allowed_zones.is_empty();
    violated.then_some(Brake::SovereigntyViolation { relays })
}

fn clock_jump(view: &View<'_>) -> Option<Brake> {
    let jump = view.fleet.clock_jump.filter(|jump| *jump > JUMP)?;
    Some(Brake::ClockJump {
        seconds: jump.as_secs(),
    })
}

fn configuration_invalid(view: &View<'_>) -> Option<Brake> {
    let fault = view.fleet.configuration_error.clone();
    let nowhere = view.policy.allowed_zones.is_empty();
    fault
        .or_else(|| nowhere.then(|| "no zone is allowed".to_owned()))
        .map(|words| Brake::ConfigurationInvalid { words })
}

fn changed_by_hand(view: &View<'_>) -> Option<Brake> {
    match view.policy.hand_changes {
        HandChanges::Honour => None,
        HandChanges::Freeze => {
            super::hands::change(view).map(|words| Brake::ChangedByHand { words })
        }
    }
}
