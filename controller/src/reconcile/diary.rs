//! What is worth telling of a round: decisions that differ from the one before, and figures for metrics.
//!
//! Responsible for the ring of decisions, the counters, the trend and the log lines. Not responsible for the audit trail's actions
//! (`apply`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use taciturn_protocol::time::{Instant, Now};

use super::published::{Decision, Published, Tried};
use super::{Counters, outcome_word};
use crate::fleet::{Fleet, InstanceId};
use crate::policy::{Act, Action, Alarm, AlarmKind, Brake, Outcome, Plan};
use crate::trend::Trend;

/// A round in which nothing changed is told this often.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// A launch that is not ready by then is not timed any more.
const FORGET_LAUNCH: Duration = Duration::from_secs(3600);

/// What was told, and what is counted.
#[derive(Debug, Default)]
pub(super) struct Diary {
    pub(super) decisions: VecDeque<Arc<Decision>>,
    pub(super) counters: Counters,
    pub(super) trend: Arc<Trend>,
    shown: Option<(Shape, Instant)>,
    launched: BTreeMap<InstanceId, Instant>,
}

/// What makes two decisions different: not the figures in the sentences, which differ each time.
#[derive(Debug, PartialEq)]
struct Shape {
    leads: bool,
    need: u32,
    have: u32,
    brakes: Vec<&'static str>,
    alarms: Vec<(AlarmKind, Option<InstanceId>)>,
    acts: Vec<(Act, Option<&'static str>)>,
}

impl Diary {
    /// Takes the round in. Returns the decision if it is worth writing down.
    pub(super) fn round(
        &mut self,
        now: Now,
        fleet: &Fleet,
        plan: &Plan,
        outcomes: &[(Action, Outcome)],
        dry_run: bool,
    ) -> Option<Arc<Decision>> {
        self.counters.rounds += 1;
        if fleet.listing.fault.is_none() && fleet.listing.complete_for.is_some() {
            self.counters.last_successful = Some(now.unix);
        }
        self.count(now, fleet, outcomes);
        Arc::make_mut(&mut self.trend).round(now.instant, fleet, &plan.need, outcomes);
        let shape = Shape::of(fleet, plan, outcomes);
        let (changed, beat, new_alarms) = match &self.shown {
            None => (true, true, plan.alarms.iter().collect()),
            Some((before, at)) => (
                *before != shape,
                now.instant.saturating_since(*at) >= HEARTBEAT,
                plan.alarms
                    .iter()
                    .filter(|alarm| !before.has(alarm))
                    .collect::<Vec<_>>(),
            ),
        };
        for alarm in new_alarms {
            tracing::warn!(kind = alarm.kind.as_str(), "{}", alarm.words);
        }
        let before = self.shown.as_ref().map(|(before, _)| before);
        for brake in &plan.brakes {
            if before.is_none_or(|before| !before.brakes.contains(&brake.as_str())) {
                tell_brake(brake);
            }
        }
        if !changed && !beat {
            return None;
        }
        let done_before = self
            .shown
            .as_ref()
            .is_some_and(|(before, _)| *before == shape);
        self.shown = Some((shape, now.instant));
        let decision = Arc::new(decision(self.counters.rounds, now, fleet, plan, outcomes));
        self.tell(&decision, dry_run);
        if self.decisions.len() == Published::MOST_DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back(Arc::clone(&decision));
        (!done_before).then_some(decision)
    }

    fn tell(&self, decision: &Decision, dry_run: bool) {
        tracing::info!(
            round = decision.round,
            epoch = decision.epoch,
            need = decision.need.need,
            have = decision.need.have,
            dry_run,
            "{}",
            decision.summary
        );
        for Tried { action, outcome } in &decision.actions {
            tracing::info!(
                act = action.act.as_str(),
                relay = action.act.relay().map(tracing::field::display),
                reason = action.reason.as_str(),
                outcome = outcome.as_ref().map(outcome_word),
                "{}",
                action.words
            );
        }
    }

    fn count(&mut self, now: Now, fleet: &Fleet, outcomes: &[(Action, Outcome)]) {
        for (action, outcome) in outcomes {
            self.counters.tried(action, outcome);
            match (&action.act, outcome) {
                (Act::Launch { .. }, Outcome::Done { instances }) => {
                    let launched = instances.iter().map(|id| (id.clone(), now.instant));
                    self.launched.extend(launched);
                }
                (Act::Undrain { .. }, Outcome::Done { .. }) => self.counters.undrains += 1,
                (Act::Terminate { relay } | Act::Finish { relay }, Outcome::Done { .. }) => {
                    self.ended(now, fleet, relay);
                }
                _ => {}
            }
        }
        let ready: Vec<InstanceId> = (self.launched.keys())
            .filter(|id| fleet.relays.get(*id).is_some_and(|relay| relay.was_ready))
            .cloned()
            .collect();
        for id in ready {
            if let Some(at) = self.launched.remove(&id) {
                let took = now.instant.saturating_since(at);
                self.counters.launch_seconds.observe(took);
            }
        }
        self.launched
            .retain(|_, at| now.instant.saturating_since(*at) < FORGET_LAUNCH);
    }

    fn ended(&mut self, now: Now, fleet: &Fleet, relay: &InstanceId) {
        let report = fleet.relays.get(relay).and_then(|one| one.report.as_ref());
        let Some(drain) = report.and_then(|report| report.drain.as_ref()) else {
            return;
        };
        let seconds = now.unix.as_secs().saturating_sub(drain.started.as_secs());
        self.counters
            .drain_seconds
            .observe(Duration::from_secs(seconds));
        if drain.allocations_remaining > 0 && drain.deadline <= now.unix {
            self.counters.deadline_hits += 1;
        }
    }
}

/// Why nothing is removed, or nothing done, from this round on.
fn tell_brake(brake: &Brake) {
    let (kind, words) = (brake.as_str(), brake.words());
    match brake {
        // Each start and each standby has these, and a refused configuration is told of when it is read.
        Brake::JustStarted { .. }
        | Brake::NotLeading { .. }
        | Brake::ConfigurationInvalid { .. } => {
            tracing::info!(brake = kind, "{words}");
        }
        Brake::ListingInDoubt { .. }
        | Brake::StaleRelays { .. }
        | Brake::RefreshActive
        | Brake::SovereigntyViolation { .. }
        | Brake::ClockJump { .. }
        | Brake::NewerEpoch { .. }
        | Brake::ChangedByHand { .. } => tracing::warn!(brake = kind, "{words}"),
    }
}

impl Shape {
    fn of(fleet: &Fleet, plan: &Plan, outcomes: &[(Action, Outcome)]) -> Self {
        let acts = plan.actions.iter().map(|action| {
            let outcome = outcome_of(action, outcomes);
            (action.act.clone(), outcome.map(outcome_word))
        });
        Self {
            leads: fleet.leadership.held,
            need: plan.need.need,
            have: plan.need.have,
            brakes: plan.brakes.iter().map(|brake| brake.as_str()).collect(),
            alarms: (plan.alarms.iter())
                .map(|alarm| (alarm.kind, alarm.relay.clone()))
                .collect(),
            acts: acts.collect(),
        }
    }

    fn has(&self, alarm: &Alarm) -> bool {
        let mut known = self.alarms.iter();
        known.any(|(kind, relay)| *kind == alarm.kind && *relay == alarm.relay)
    }
}

fn outcome_of<'a>(action: &Action, outcomes: &'a [(Action, Outcome)]) -> Option<&'a Outcome> {
    let mut tried = outcomes.iter();
    tried
        .find(|(tried, _)| tried == action)
        .map(|(_, outcome)| outcome)
}

fn decision(
    round: u64,
    now: Now,
    fleet: &Fleet,
    plan: &Plan,
    outcomes: &[(Action, Outcome)],
) -> Decision {
    let tried = plan.actions.iter().map(|action| Tried {
        action: action.clone(),
        outcome: outcome_of(action, outcomes).cloned(),
    });
    Decision {
        round,
        time: now.unix,
        epoch: fleet.leadership.epoch,
        summary: plan.summary.clone(),
        need: plan.need.clone(),
        brakes: plan.brakes.clone(),
        alarms: plan.alarms.clone(),
        actions: tried.collect(),
    }
}
