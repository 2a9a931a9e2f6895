//! One controller: its rounds, and what is asked of it between them.
//!
//! Keeps nothing that a successor needs: what was begun stands in the provider's books and with the relays, and is found
//! there again. Rounds do not overlap, and each of their steps is bounded in time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use taciturn_protocol::time::Now;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::diary::Diary;
use super::handle::{MOST_ORDERS, Wake};
use super::look::look;
use super::revoking::Revoking;
use super::season_file::SeasonFile;
use super::{Counters, Handle, Order, Published, Wish};
use crate::apply::{AuditSink, Hands, Requests, apply};
use crate::clock::Clock;
use crate::fleet::{Fleet, InstanceId, Snapshot};
use crate::lease::Keeper;
use crate::observe::{Mark, Picture, Relays};
use crate::policy::{Act, Action, Outcome, Plan, Policy, Reason, plan};
use crate::provider::Provider;
use crate::revocations::Revocations;

/// The forecast is asked for a little more than the time until a new relay serves.
const OUTLOOK_MORE: Duration = Duration::from_secs(300);

/// Reads the configuration again: the policy, with the allowed zones in it, or everything that is wrong.
pub type Reread = Box<dyn Fn() -> Result<Policy, String> + Send + Sync>;

/// What a controller is made of.
pub struct Parts {
    /// The machines; in a dry run wrapped in [`crate::provider::dry_run::DryRun`].
    pub provider: Arc<dyn Provider>,
    /// The relays; in a dry run wrapped in [`crate::observe::DryRunRelays`].
    pub relays: Arc<dyn Relays>,
    /// The lease.
    pub keeper: Arc<Keeper>,
    /// The audit trail.
    pub audit: Arc<dyn AuditSink>,
    /// The clock, which the keeper's is a copy of.
    pub clock: Clock,
    /// The policy to start with, with the fleet's name and the allowed zones.
    pub policy: Policy,
    /// Who may make nothing new.
    pub revocations: Arc<Revocations>,
    /// What happens at [`Handle::reload`]; `None`: nothing.
    pub reread: Option<Reread>,
    /// The rest.
    pub settings: Settings,
}

/// How the loop runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the start of one round to that of the next.
    pub interval: Duration,
    /// Nothing is done. Said here for people and the history; the wrappers enforce it.
    pub dry_run: bool,
    /// Where the season is kept; `None`: in memory.
    pub state_directory: Option<PathBuf>,
    /// How long one call to the provider may take; at most what the lease calls its longest operation.
    pub provider_timeout: Duration,
    /// The same for one call to a relay.
    pub relay_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            dry_run: false,
            state_directory: None,
            provider_timeout: Duration::from_secs(10),
            relay_timeout: Duration::from_secs(3),
        }
    }
}

/// The loop.
pub struct Controller {
    hands: Hands,
    revoking: Revoking,
    picture: Picture,
    season: SeasonFile,
    diary: Diary,
    publisher: watch::Sender<Arc<Published>>,
    orders: mpsc::Receiver<Order>,
    /// Drains that an operator takes back in the next round.
    undrains: Vec<(InstanceId, oneshot::Sender<Result<String, String>>)>,
    wake: Arc<Wake>,
    reread: Option<Reread>,
    settings: Settings,
    /// The epoch in which it led in the round before; `None`: it did not.
    led: Option<u64>,
}

impl Controller {
    /// A controller that has looked at nothing yet, and its handle.
    pub fn new(parts: Parts) -> (Self, Handle) {
        let now = parts.clock.now();
        let policy = Arc::new(parts.policy);
        let stopping = Arc::new(AtomicBool::new(false));
        let wake = Arc::new(Wake::default());
        let nothing = Published {
            snapshot: snapshot(now, Fleet::default()),
            plan: Plan::default(),
            policy: Arc::clone(&policy),
            outcomes: Vec::new(),
            decisions: std::collections::VecDeque::new(),
            trend: Arc::default(),
            counters: Counters::default(),
            dry_run: parts.settings.dry_run,
            lease_seconds: 0.0,
        };
        let (publisher, published) = watch::channel(Arc::new(nothing));
        let (sender, orders) = mpsc::channel(MOST_ORDERS);
        let hands = Hands {
            provider: parts.provider,
            relays: parts.relays,
            keeper: parts.keeper,
            audit: parts.audit,
            clock: parts.clock,
            policy,
            provider_timeout: parts.settings.provider_timeout,
            relay_timeout: parts.settings.relay_timeout,
            dry_run: parts.settings.dry_run,
            requests: Arc::new(Requests::default()),
            stopping: Arc::clone(&stopping),
        };
        let revoking = Revoking::new(hands.clone(), parts.revocations);
        let wakes = Arc::clone(&wake);
        let handle = Handle::new(published, sender, stopping, wakes, revoking.clone());
        let controller = Self {
            hands,
            revoking,
            picture: Picture::new(now),
            season: SeasonFile::open(parts.settings.state_directory.as_deref(), now),
            diary: Diary::default(),
            publisher,
            orders,
            undrains: Vec::new(),
            wake,
            reread: parts.reread,
            settings: parts.settings,
            led: None,
        };
        (controller, handle)
    }

    /// Rounds until [`Handle::stop`]; tends the lease beside them, and gives it up at the end.
    pub async fn run(mut self) {
        let body = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "fleet": self.hands.policy.fleet,
            "provider": self.hands.provider.name(),
            "lease": self.hands.keeper.kind(),
            "dry_run": self.settings.dry_run,
        });
        self.write_down("start", body).await;
        let keeper = Arc::clone(&self.hands.keeper);
        keeper.tend().await;
        let tended = {
            let keeper = Arc::clone(&keeper);
            tokio::spawn(async move { keeper.run().await })
        };
        let mut rounds = interval(self.settings.interval.max(Duration::from_millis(10)));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wake = Arc::clone(&self.wake);
        while !self.hands.stopping.load(Ordering::Relaxed) {
            tokio::select! {
                _ = rounds.tick() => {}
                () = wake.stop.notified() => break,
                () = wake.reload.notified() => {
                    self.reload().await;
                    rounds.reset();
                }
                Some(order) = self.orders.recv() => {
                    self.order(order).await;
                    rounds.reset();
                }
            }
            self.round().await;
        }
        tended.abort();
        keeper.release().await;
        self.write_down("stop", json!({"rounds": self.diary.counters.rounds}))
            .await;
    }

    /// One round: observe, plan, apply, remember, publish.
    pub async fn round(&mut self) -> Arc<Published> {
        while let Ok(order) = self.orders.try_recv() {
            self.order(order).await;
        }
        let begun = self.hands.clock.instant();
        let wake = Arc::clone(&self.wake);
        tokio::select! {
            biased;
            () = look(&mut self.picture, &self.hands) => {}
            () = wake.stop.notified() => {
                // Nothing was begun, so nothing is left half done.
                wake.stop.notify_one();
                return Arc::clone(&self.publisher.borrow());
            }
        }
        self.picture.leadership(self.hands.keeper.leadership());
        let now = self.hands.clock.now();
        let policy = Arc::clone(&self.hands.policy);
        let ahead = policy.lead.saturating_add(OUTLOOK_MORE);
        let outlook = self.season.season.outlook(now, ahead, &policy.forecast);
        self.picture.outlook(outlook);

        let fleet = self.picture.fleet(now);
        self.note_leadership(&fleet).await;
        // Before anybody can be sent to a relay that is new.
        self.revoking.follow(&fleet).await;
        let mut plan = plan(&fleet, &policy, now);
        let answers = self.put_first(&fleet, &mut plan);
        let outcomes = apply(&plan, &fleet, &self.hands).await;
        self.picture
            .remember(now, &fleet, &plan, &outcomes, &policy);
        answer(answers, &outcomes);

        self.season.season.record(now, &plan.need.demand);
        self.season.append(now);
        let took = self.hands.clock.instant().saturating_since(begun);
        self.publish(now, fleet, plan, outcomes, took).await
    }

    async fn publish(
        &mut self,
        now: Now,
        fleet: Fleet,
        plan: Plan,
        outcomes: Vec<(Action, Outcome)>,
        took: Duration,
    ) -> Arc<Published> {
        let dry_run = self.settings.dry_run;
        let decision = self.diary.round(now, &fleet, &plan, &outcomes, dry_run);
        if let Some(decision) = decision {
            self.write_down("decision", json!(*decision)).await;
        }
        let counters = &mut self.diary.counters;
        counters.provider_requests = self.hands.requests.of_provider();
        counters.relay_requests = self.hands.requests.of_relays();
        counters.audit_failures = self.hands.requests.audit_failures();
        counters.round_seconds = took.as_secs_f64();
        let published = Arc::new(Published {
            snapshot: snapshot(now, fleet),
            plan,
            policy: Arc::clone(&self.hands.policy),
            outcomes,
            decisions: self.diary.decisions.clone(),
            trend: Arc::clone(&self.diary.trend),
            counters: counters.clone(),
            dry_run,
            lease_seconds: self.hands.keeper.left().as_secs_f64(),
        });
        self.publisher.send_replace(Arc::clone(&published));
        published
    }

    /// What operators want done now, before what the plan wants of the same relays.
    fn put_first(
        &mut self,
        fleet: &Fleet,
        plan: &mut Plan,
    ) -> Vec<(Action, oneshot::Sender<Result<String, String>>)> {
        let mut answers = Vec::new();
        for (relay, told) in std::mem::take(&mut self.undrains) {
            let drains = fleet.relays.get(&relay).is_some_and(|known| {
                known
                    .report
                    .as_ref()
                    .is_none_or(|report| report.drain.is_some())
            });
            // An order without an answer may yet be obeyed.
            let drains = drains || fleet.history.orders.contains_key(&relay);
            let act = if drains {
                Act::Undrain { relay }
            } else {
                Act::Restore { relay }
            };
            plan.actions
                .retain(|planned| planned.act.relay() != act.relay());
            let action = Action {
                act,
                reason: Reason::Cordoned,
                words: "an operator took its drain back".to_owned(),
            };
            plan.actions.insert(0, action.clone());
            answers.push((action, told));
        }
        answers
    }

    async fn order(&mut self, order: Order) {
        let leadership = self.hands.keeper.leadership();
        if !leadership.held {
            let why = leadership.obstacle.unwrap_or_default();
            let _ = order.answer.send(Err(format!(
                "this controller does not lead, and would forget it: {why}"
            )));
            return;
        }
        let mark = match order.wish {
            Wish::Drain => Mark::Cordon,
            Wish::Undrain => Mark::Uncordon,
            Wish::Mark(mark) => mark,
        };
        if !self.picture.mark(&order.relay, mark) {
            let words = format!("there is no relay {} in this fleet", order.relay);
            let _ = order.answer.send(Err(words));
            return;
        }
        let body = json!({"relay": order.relay, "order": order.wish.as_str()});
        self.write_down("operator", body).await;
        match order.wish {
            Wish::Undrain => self.undrains.push((order.relay, order.answer)),
            Wish::Drain => {
                let words =
                    "it gets no new calls, and is drained as soon as the fleet can spare it";
                let _ = order.answer.send(Ok(words.to_owned()));
            }
            Wish::Mark(_) => {
                let _ = order.answer.send(Ok("noted".to_owned()));
            }
        }
    }

    /// Whole or not at all: what is broken leaves what was there in force, and holds removals back.
    async fn reload(&mut self) {
        let Some(reread) = &self.reread else {
            return;
        };
        let read = reread().and_then(|policy| {
            let before = &self.hands.policy.fleet;
            if policy.fleet == *before {
                Ok(policy)
            } else {
                Err(format!(
                    "fleet = \"{}\": another fleet than the \"{before}\" that is run; start another controller for it",
                    policy.fleet
                ))
            }
        });
        match read {
            Ok(policy) => {
                tracing::info!("configuration reloaded");
                let body = json!({
                    "taken": true,
                    "allowed_zones": policy.allowed_zones,
                    "policy": policy,
                });
                self.hands.policy = Arc::new(policy);
                self.picture.configuration(None);
                self.diary.counters.reloads.0 += 1;
                self.write_down("configuration", body).await;
            }
            Err(words) => {
                tracing::error!(%words, "the configuration is refused; the one before stays in force, and nothing is removed");
                self.diary.counters.reloads.1 += 1;
                self.write_down("configuration", json!({"taken": false, "why": words}))
                    .await;
                self.picture.configuration(Some(words));
            }
        }
    }

    async fn note_leadership(&mut self, fleet: &Fleet) {
        let leadership = &fleet.leadership;
        let leads = leadership.held.then_some(leadership.epoch);
        if leads == self.led {
            return;
        }
        match leads {
            Some(epoch) => tracing::info!(epoch, "this controller leads"),
            None => {
                let why = leadership.obstacle.as_deref().unwrap_or_default();
                tracing::warn!(why, "this controller does not lead any more");
            }
        }
        self.led = leads;
        let body = json!({"leads": leadership.held, "epoch": leadership.epoch, "why": leadership.obstacle});
        self.write_down("lease", body).await;
    }

    /// What cannot be written is in the log and counted; what would take something away looks at it (`apply`).
    async fn write_down(&self, kind: &'static str, body: serde_json::Value) {
        let _ = self.hands.write_down(kind, body).await;
    }
}

fn snapshot(now: Now, fleet: Fleet) -> Snapshot {
    Snapshot {
        format: Snapshot::FORMAT.to_owned(),
        now,
        fleet,
    }
}

fn answer(
    answers: Vec<(Action, oneshot::Sender<Result<String, String>>)>,
    outcomes: &[(Action, Outcome)],
) {
    for (action, told) in answers {
        let outcome = outcomes.iter().find(|(tried, _)| *tried == action);
        let words = match outcome.map(|(_, outcome)| outcome) {
            Some(Outcome::Done { .. } | Outcome::Nothing) => {
                Ok("its drain is taken back".to_owned())
            }
            Some(Outcome::DryRun) => Ok("nothing is done: this is a dry run".to_owned()),
            Some(Outcome::OlderEpoch { seen }) => Err(format!(
                "the relay obeys a newer controller, of epoch {seen}"
            )),
            Some(
                Outcome::NoCapacity { words }
                | Outcome::Refused { words }
                | Outcome::Failed { words }
                | Outcome::Unknown { words },
            ) => Err(words.clone()),
            None => Err("this controller does not lead any more, or is ending".to_owned()),
        };
        let _ = told.send(words);
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
