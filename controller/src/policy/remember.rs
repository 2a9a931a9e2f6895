//! What the next plan has to know of this one, and of what became of it.
//!
//! Responsible for everything that is written to [`History`], and for forgetting what no rule asks for. Not responsible for
//! what relays and provider report (`observe`).

use std::time::Duration;

use taciturn_protocol::time::{Instant, Now};

use super::brakes;
use super::hands;
use super::plan::{Act, Action, Outcome, Plan, Reason};
use super::settings::Policy;
use super::unfinished;
use super::unhealthy;
use super::view::{Standing, View};
use crate::fleet::{
    Backoff, Expected, Fleet, Hand, History, InstanceId, Launch, LaunchToken, Loads, Ordered,
    Refusal, Unconfirmed, ZoneId,
};

const HOUR: Duration = Duration::from_secs(3600);

/// The first pause after a launch that failed, and may be tried again.
const SHORT_PAUSE: Duration = Duration::from_secs(30);

/// Own changes that the provider has not shown after this time never will.
const UNSEEN: Duration = Duration::from_secs(600);

/// A change by another hand is reported for this long.
const HAND: Duration = Duration::from_secs(1800);

/// Brings `history` up to date after a round: `fleet` as it was planned for, `plan`, and what became of its actions.
pub fn remember(
    history: &mut History,
    fleet: &Fleet,
    plan: &Plan,
    outcomes: &[(Action, Outcome)],
    policy: &Policy,
    now: Now,
) {
    let view = View::of(fleet, policy, now);
    let mut writer = Writer {
        history,
        policy,
        now,
    };
    writer.group(&view);
    writer.figures(&view, plan);
    writer.relays(&view);
    for (action, outcome) in outcomes {
        writer.outcome(action, outcome, &view);
    }
    writer.chosen(plan);
    writer.forget(&view);
}

/// The provider knows the launch of this token after all: it has happened, whatever was heard when it was asked for.
pub fn confirm(history: &mut History, token: &LaunchToken, instances: &[InstanceId]) {
    let Some(at) = history.unconfirmed.iter().position(|it| it.token == *token) else {
        return;
    };
    let launch = history.unconfirmed.remove(at);
    for id in instances {
        let expected = Expected {
            at: launch.at,
            zone: launch.zone.clone(),
            failed: false,
        };
        history.expected.entry(id.clone()).or_insert(expected);
    }
    history.launches.push_back(Launch {
        at: launch.at,
        zone: launch.zone,
        count: launch.count,
        instances: instances.to_vec(),
    });
}

struct Writer<'h> {
    history: &'h mut History,
    policy: &'h Policy,
    now: Now,
}

impl Writer<'_> {
    fn since(&self, at: Instant) -> Duration {
        self.now.instant.saturating_since(at)
    }

    fn group(&mut self, view: &View<'_>) {
        if !hands::known(view) {
            return;
        }
        let group = &view.fleet.group;
        let reading = hands::read(self.history, group);
        spend(self.history, reading.raised, true);
        spend(self.history, reading.lowered, false);
        // Who does not lead sees the leader's changes: those are nobody else's.
        if let Some(words) = reading.foreign.filter(|_| view.fleet.leadership.held) {
            self.history.hand = Some(Hand {
                at: self.now.instant,
                words,
            });
        }
        self.history.desired = group.desired.or(self.history.desired);
        self.history.bounds = Some((group.min, group.max));
    }

    fn figures(&mut self, view: &View<'_>, plan: &Plan) {
        let (instant, window) = (self.now.instant, self.policy.window);
        let starting = plan
            .brakes
            .iter()
            .any(|brake| matches!(brake, super::plan::Brake::JustStarted { .. }));
        // Until it is known what was needed before, what is here was.
        let need = match starting || self.history.needs.is_empty() {
            true => plan.need.need_down.max(plan.need.have),
            false => plan.need.need_down,
        };
        let needs = &mut self.history.needs;
        while needs.back().is_some_and(|(_, before)| *before <= need) {
            needs.pop_back();
        }
        needs.push_back((instant, need));
        while needs
            .front()
            .is_some_and(|(at, _)| instant.saturating_since(*at) > window)
        {
            needs.pop_front();
        }
        if brakes::all_sampled(view) {
            self.demand(view);
        }
    }

    /// At most thirty samples in each of the trend's windows.
    fn demand(&mut self, view: &View<'_>) {
        let (instant, window) = (self.now.instant, self.policy.trend_window);
        let measured = super::demand::demand(view).measured;
        let demand = &mut self.history.demand;
        let due = demand
            .back()
            .is_none_or(|(at, _)| instant.saturating_since(*at) >= window / 30);
        if measured != Loads::default() && due {
            demand.push_back((instant, measured));
        }
        let kept = window.saturating_mul(super::demand::KEPT_WINDOWS);
        while demand
            .front()
            .is_some_and(|(at, _)| instant.saturating_since(*at) > kept)
        {
            demand.pop_front();
        }
    }

    fn relays(&mut self, view: &View<'_>) {
        for seen in &view.relays {
            match unhealthy::is_ailing(seen) {
                true => {
                    let since = self.history.ailing.entry(seen.id.clone());
                    since.or_insert(self.now.instant);
                }
                false => {
                    self.history.ailing.remove(seen.id);
                }
            }
            if let Some(drain) = seen.drain() {
                self.adopt(seen.id, drain.deadline);
            }
            self.arrival(seen.id, seen.standing, seen.relay.was_ready);
        }
        let gone: Vec<InstanceId> = (self.history.expected.iter())
            .filter(|(id, expected)| {
                let missing = !view.fleet.relays.contains_key(*id);
                missing && self.since(expected.at) > self.policy.ready_timeout
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.arrival(&id, Standing::Gone, false);
        }
    }

    /// A drain that is running: its deadline on this controller's own clock, from when it was first seen.
    fn adopt(&mut self, id: &InstanceId, deadline: taciturn_protocol::time::UnixTime) {
        let known = self.history.orders.get(id);
        if known.is_some_and(|known| known.deadline == deadline) {
            return;
        }
        let left = deadline.as_secs().saturating_sub(self.now.unix.as_secs());
        let order = Ordered {
            asked: self.now.instant,
            deadline,
            until: self.now.instant + Duration::from_secs(left),
        };
        self.history.orders.insert(id.clone(), order);
    }

    /// An instance that was launched here becomes ready, or fails to.
    fn arrival(&mut self, id: &InstanceId, standing: Standing, was_ready: bool) {
        let Some(expected) = self.history.expected.get(id).cloned() else {
            return;
        };
        let ready = was_ready || matches!(standing, Standing::Serving | Standing::Draining);
        let late = self.since(expected.at) > self.policy.ready_timeout;
        let failed = matches!(
            standing,
            Standing::Gone | Standing::Ending | Standing::NeverReady
        ) || late;
        if ready {
            self.history.expected.remove(id);
            self.history.never_ready = 0;
            self.history
                .backoff
                .retain(|it| it.zone.is_some() && it.zone.as_ref() != Some(&expected.zone));
        } else if failed && !expected.failed {
            self.history.never_ready = self.history.never_ready.saturating_add(1);
            let what = format!("{id} never became ready");
            let broken = self.history.never_ready >= self.policy.breaker_after.max(1);
            let zone = (!broken).then(|| expected.zone.clone());
            self.pause(zone, self.policy.backoff, what);
            if let Some(expected) = self.history.expected.get_mut(id) {
                expected.failed = true;
            }
        }
    }

    fn outcome(&mut self, action: &Action, outcome: &Outcome, view: &View<'_>) {
        let asked = matches!(
            outcome,
            Outcome::Done { .. } | Outcome::Nothing | Outcome::Unknown { .. }
        );
        match &action.act {
            Act::Launch { zone, count, token } => self.launched(zone, *count, token, outcome, view),
            Act::Withhold { .. } if asked => self.history.drains.push_back(self.now.instant),
            Act::Drain { relay, deadline } => {
                let tried = asked || matches!(outcome, Outcome::Failed { .. });
                self.refusal(relay, "drain", outcome, false);
                if tried {
                    self.adopt(relay, *deadline);
                    if let Some(order) = self.history.orders.get_mut(relay) {
                        order.asked = self.now.instant;
                    }
                }
            }
            Act::Undrain { relay } => {
                self.refusal(relay, "take its drain back", outcome, true);
                if asked {
                    self.history.orders.remove(relay);
                }
            }
            // An order that never came through is not repeated to one that serves again.
            Act::Restore { relay } if asked => {
                self.history.orders.remove(relay);
                self.history.refused.remove(relay);
            }
            // Whatever came of it: the list shows it late.
            Act::Finish { relay } => {
                self.history
                    .finished
                    .insert(relay.clone(), self.now.instant);
            }
            Act::Terminate { .. } if asked => {
                if action.reason == Reason::Unhealthy {
                    self.history.drains.push_back(self.now.instant);
                }
                if !matches!(outcome, Outcome::Nothing) {
                    self.own_change(-1);
                }
            }
            Act::Extend { relay } if asked => {
                self.history
                    .extended
                    .insert(relay.clone(), self.now.instant);
            }
            Act::Withhold { .. }
            | Act::Restore { .. }
            | Act::Terminate { .. }
            | Act::Extend { .. } => {}
        }
    }

    /// Whether the relay takes its orders. `failed_too`: what failed counts as much as what was refused.
    fn refusal(&mut self, relay: &InstanceId, what: &str, outcome: &Outcome, failed_too: bool) {
        let why = match outcome {
            Outcome::Refused { words } => words,
            Outcome::Failed { words } if failed_too => words,
            Outcome::Done { .. } | Outcome::Nothing => {
                self.history.refused.remove(relay);
                return;
            }
            Outcome::Failed { .. }
            | Outcome::NoCapacity { .. }
            | Outcome::Unknown { .. }
            | Outcome::OlderEpoch { .. }
            | Outcome::DryRun => return,
        };
        let refusal = Refusal {
            at: self.now.instant,
            words: format!("{relay} was told to {what}, and did not: {why}"),
        };
        self.history.refused.insert(relay.clone(), refusal);
    }

    fn launched(
        &mut self,
        zone: &ZoneId,
        count: u32,
        token: &LaunchToken,
        outcome: &Outcome,
        view: &View<'_>,
    ) {
        let before = self
            .history
            .unconfirmed
            .iter()
            .position(|it| it.token == *token);
        let before = before.map(|at| self.history.unconfirmed.remove(at));
        if before.is_none() && !matches!(outcome, Outcome::DryRun) {
            self.history.next_launch = self.history.next_launch.saturating_add(1);
        }
        let at = before.as_ref().map_or(self.now.instant, |before| before.at);
        let raised = i32::try_from(count).unwrap_or(i32::MAX);
        match outcome {
            Outcome::Done { instances } => {
                if before.is_none() {
                    self.own_change(raised);
                }
                for id in instances {
                    let ready = view.relay(id).is_some_and(|seen| seen.relay.was_ready);
                    if !ready {
                        let expected = Expected {
                            at,
                            zone: zone.clone(),
                            failed: false,
                        };
                        self.history.expected.insert(id.clone(), expected);
                    }
                }
                self.history.launches.push_back(Launch {
                    at,
                    zone: zone.clone(),
                    count,
                    instances: instances.clone(),
                });
            }
            Outcome::Unknown { .. } => {
                if before.is_none() {
                    self.own_change(raised);
                }
                let tries = before.map_or(0, |before| before.tries).saturating_add(1);
                self.history.unconfirmed.push(Unconfirmed {
                    at,
                    token: token.clone(),
                    zone: zone.clone(),
                    count,
                    tries,
                });
            }
            Outcome::NoCapacity { words } => {
                self.pause(Some(zone.clone()), self.policy.backoff, words.clone());
            }
            Outcome::Refused { words } => {
                self.pause(Some(zone.clone()), self.policy.backoff, words.clone());
                // It is the asking that was refused: what was asked before may still have happened.
                if let Some(before) = before {
                    let tries = before.tries.saturating_add(1);
                    self.history
                        .unconfirmed
                        .push(Unconfirmed { tries, ..before });
                }
            }
            Outcome::Failed { words } => {
                // What was asked before without an answer may still have happened.
                if let Some(before) = before {
                    let tries = before.tries.saturating_add(1);
                    self.history
                        .unconfirmed
                        .push(Unconfirmed { tries, ..before });
                } else {
                    let pause = SHORT_PAUSE.min(self.policy.backoff);
                    self.pause(Some(zone.clone()), pause, words.clone());
                }
            }
            Outcome::Nothing | Outcome::OlderEpoch { .. } | Outcome::DryRun => {}
        }
    }

    fn own_change(&mut self, change: i32) {
        self.history
            .own_changes
            .push_back((self.now.instant, change));
    }

    /// Another failure of this zone, or of all: twice as long a pause as the last time.
    fn pause(&mut self, zone: Option<ZoneId>, first: Duration, what: String) {
        let most = self.policy.backoff_max.max(first);
        let before = self.history.backoff.iter_mut().find(|it| it.zone == zone);
        let failures = before
            .as_ref()
            .map_or(0, |it| it.failures)
            .saturating_add(1);
        let doubled = first.saturating_mul(1_u32 << failures.saturating_sub(1).min(16));
        let until = self.now.instant + doubled.min(most);
        match before {
            Some(before) => {
                *before = Backoff {
                    zone,
                    failures,
                    until: before.until.max(until),
                    what,
                };
            }
            None => self.history.backoff.push(Backoff {
                zone,
                failures,
                until,
                what,
            }),
        }
    }

    fn chosen(&mut self, plan: &Plan) {
        let now = self.now.instant;
        let before = std::mem::take(&mut self.history.chosen);
        for id in &plan.chosen {
            let since = before.get(id).copied().unwrap_or(now);
            self.history.chosen.insert(id.clone(), since);
        }
    }

    fn forget(&mut self, view: &View<'_>) {
        let (now, policy) = (self.now.instant, self.policy);
        let since = |at: Instant| now.saturating_since(at);
        let patience = HOUR
            .max(policy.ready_timeout)
            .max(policy.quiet_after_launch);
        let history = &mut *self.history;
        history
            .launches
            .retain(|launch| since(launch.at) < patience);
        history
            .unconfirmed
            .retain(|launch| since(launch.at) <= patience);
        history.drains.retain(|at| since(*at) < policy.down_period);
        history.own_changes.retain(|(at, _)| since(*at) < UNSEEN);
        history
            .backoff
            .retain(|it| now < it.until + policy.backoff_max);
        if policy.hand_changes == super::settings::HandChanges::Honour {
            history.hand = history.hand.take().filter(|hand| since(hand.at) < HAND);
        }
        let here = |id: &InstanceId| {
            view.relay(id)
                .is_some_and(|seen| seen.standing != Standing::Gone)
        };
        let ordered = |id: &InstanceId, order: &Ordered| {
            let forgotten = view.relay(id).is_some_and(|seen| {
                // It is heard of, and has not taken the order: somebody took it back, or it never came.
                seen.fresh
                    && seen.drain().is_none()
                    && since(order.asked) > policy.stale_after.saturating_mul(2)
            });
            here(id) && !forgotten
        };
        history.orders.retain(|id, order| ordered(id, order));
        history.extended.retain(|id, _| here(id));
        history.finished.retain(|id, _| here(id));
        // It is asked again each minute, if it still is to.
        history
            .refused
            .retain(|id, refusal| here(id) && since(refusal.at) < unfinished::ASK_AGAIN * 2);
        history.ailing.retain(|id, _| here(id));
        history.expected.retain(|id, it| {
            view.fleet.relays.contains_key(id)
                || since(it.at) <= policy.ready_timeout.saturating_mul(2)
        });
    }
}

fn spend(history: &mut History, mut shown: u32, raise: bool) {
    for (_, change) in &mut history.own_changes {
        if (*change > 0) == raise {
            let spent = shown.min(change.unsigned_abs());
            shown -= spent;
            let spent = i32::try_from(spent).unwrap_or(i32::MAX);
            *change -= spent * change.signum();
        }
    }
    history.own_changes.retain(|(_, change)| *change != 0);
}
