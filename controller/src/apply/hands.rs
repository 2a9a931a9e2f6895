//! One function for each act.
//!
//! Responsible for what is asked of whom, and for what an answer means as an [`Outcome`].

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use taciturn_protocol::time::UnixTime;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::end::{LastLook, listed, may_end};
use super::{AuditSink, Requests};
use crate::clock::Clock;
use crate::fleet::{Fleet, InstanceId, LaunchToken, Relay, Report, ZoneId};
use crate::lease::Keeper;
use crate::observe::{DrainOrder, RelayError, Relays};
use crate::policy::{Act, Action, Outcome, Plan, Policy};
use crate::provider::{Ended, LaunchOrder, Listing, Provider, ProviderError};

/// Actions of one kind that are under way at once, so that a relay that hangs does not hold up the others.
const AT_ONCE: usize = 16;
/// How long the audit trail may take.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a plan is carried out with.
#[derive(Clone, Debug)]
pub struct Hands {
    /// The machines.
    pub provider: Arc<dyn Provider>,
    /// The relays.
    pub relays: Arc<dyn Relays>,
    /// Whether anything may be done at this moment.
    pub keeper: Arc<Keeper>,
    /// Where it is written down.
    pub audit: Arc<dyn AuditSink>,
    /// The time.
    pub clock: Clock,
    /// The policy: zones in which relays may be, whatever a plan says, and when a drain is over.
    pub policy: Arc<Policy>,
    /// How long one call to the provider may take.
    pub provider_timeout: Duration,
    /// How long one call to a relay may take.
    pub relay_timeout: Duration,
    /// Nothing is to be done; the wrappers of provider and relays enforce it.
    pub dry_run: bool,
    /// Counts calls.
    pub requests: Arc<Requests>,
    /// The process is to end: nothing more is begun.
    pub stopping: Arc<AtomicBool>,
}

/// Carries out `plan`, which was made of `fleet`. Returns what was tried, in the plan's order; what is missing was not begun.
///
/// Actions of one kind that follow each other are done side by side, but launches one after the other: some providers have
/// one number of wanted instances, and two that raise it at once would raise it once.
pub async fn apply(plan: &Plan, fleet: &Fleet, hands: &Hands) -> Vec<(Action, Outcome)> {
    let mut outcomes = Vec::new();
    for kind in plan
        .actions
        .chunk_by(|one, next| one.act.as_str() == next.act.as_str())
    {
        let ends = matches!(kind, [first, ..] if matches!(first.act, Act::Terminate { .. }));
        let fresh = if ends && hands.may_begin(fleet.leadership.epoch).is_ok() {
            Some(Arc::new(hands.list().await))
        } else {
            None
        };
        let launches = matches!(kind, [first, ..] if matches!(first.act, Act::Launch { .. }));
        for batch in kind.chunks(if launches { 1 } else { AT_ONCE }) {
            let tried = side_by_side(batch, fleet, fresh.as_ref(), hands).await;
            let hangs = launches && matches!(tried.as_slice(), [(_, Outcome::Unknown { .. })]);
            outcomes.extend(tried);
            if hangs {
                // The next would hang as well, and every round has to end.
                break;
            }
        }
    }
    outcomes
}

async fn side_by_side(
    batch: &[Action],
    fleet: &Fleet,
    fresh: Option<&Arc<Result<Listing, ProviderError>>>,
    hands: &Hands,
) -> Vec<(Action, Outcome)> {
    let mut under_way = JoinSet::new();
    for (place, action) in batch.iter().enumerate() {
        let one = One {
            action: action.clone(),
            relay: action
                .act
                .relay()
                .and_then(|id| fleet.relays.get(id))
                .cloned(),
            ordered: action
                .act
                .relay()
                .and_then(|id| fleet.history.orders.get(id))
                .map(|ordered| ordered.deadline),
            epoch: fleet.leadership.epoch,
            known: fleet.relays.len(),
            fresh: fresh.cloned(),
            hands: hands.clone(),
        };
        under_way.spawn(async move { (place, one.carry_out().await) });
    }
    let mut tried: Vec<(usize, Outcome)> = Vec::new();
    while let Some(joined) = under_way.join_next().await {
        match joined {
            Ok((place, Some(outcome))) => tried.push((place, outcome)),
            Ok((_, None)) => {}
            Err(error) => tracing::error!(%error, "an action ended without an outcome"),
        }
    }
    tried.sort_by_key(|(place, _)| *place);
    let actions = tried
        .into_iter()
        .filter_map(|(place, outcome)| Some((batch.get(place)?.clone(), outcome)));
    actions.collect()
}

impl Hands {
    /// Whether something may be begun now that was decided in `epoch`.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn may_begin(&self, epoch: u64) -> Result<(), String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("the controller is ending".to_owned());
        }
        self.keeper.may_act(epoch)
    }

    /// What exists, within the time that a call may take.
    ///
    /// # Errors
    /// See [`Provider::list`].
    pub async fn list(&self) -> Result<Listing, ProviderError> {
        self.ask("list", self.provider.list()).await
    }

    /// What a relay says, within the time that a call may take.
    ///
    /// # Errors
    /// See [`Relays::status`].
    pub async fn status(&self, id: &InstanceId, admin: SocketAddr) -> Result<Report, RelayError> {
        self.tell("status", self.relays.status(id, admin)).await
    }

    /// Whether a relay's data path answers, within the time that a call may take; `None`: it is not tried.
    pub async fn stun(&self, id: &InstanceId, admin: SocketAddr) -> Option<bool> {
        let asked = timeout(self.relay_timeout, self.relays.stun(id, admin)).await;
        asked.unwrap_or(Some(false))
    }

    /// Appends to the audit trail where that keeps nobody else waiting.
    ///
    /// # Errors
    /// It could not be written, in words.
    pub async fn write_down(
        &self,
        kind: &'static str,
        body: serde_json::Value,
    ) -> Result<(), String> {
        let audit = Arc::clone(&self.audit);
        let written = spawn_blocking(move || audit.append(kind, &body));
        let written = match timeout(AUDIT_TIMEOUT, written).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) => Err("the process is ending".to_owned()),
            Err(_) => Err(format!("nothing within {} s", AUDIT_TIMEOUT.as_secs())),
        };
        if let Err(why) = &written {
            tracing::error!(kind, %why, "the audit trail cannot be written");
            self.requests.audit_failed();
        }
        written
    }

    async fn ask<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, ProviderError>> + Send,
    ) -> Result<T, ProviderError> {
        let answer = timeout(self.provider_timeout, call).await;
        let answer = answer.unwrap_or_else(|_| {
            let seconds = self.provider_timeout.as_secs_f64();
            Err(ProviderError::Unknown(format!("none within {seconds} s")))
        });
        self.requests.provider(operation, &answer);
        answer
    }

    async fn tell<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, RelayError>> + Send,
    ) -> Result<T, RelayError> {
        let answer = timeout(self.relay_timeout, call).await;
        let answer = answer.unwrap_or_else(|_| {
            let seconds = self.relay_timeout.as_secs_f64();
            Err(RelayError::Unknown(format!("none within {seconds} s")))
        });
        self.requests.relay(operation, &answer);
        answer
    }
}

/// One action, with all that it needs.
struct One {
    action: Action,
    relay: Option<Relay>,
    ordered: Option<UnixTime>,
    epoch: u64,
    known: usize,
    fresh: Option<Arc<Result<Listing, ProviderError>>>,
    hands: Hands,
}

/// Why an action does not come to its point.
enum Stopped {
    /// It has this outcome without it.
    Outcome(Outcome),
    /// It may not be begun now.
    NotBegun(String),
}

impl One {
    /// `None`: it was not begun.
    async fn carry_out(self) -> Option<Outcome> {
        let outcome = match self.checked().await {
            Ok(()) => self.act().await,
            Err(stopped) => Err(stopped),
        };
        match outcome {
            Ok(outcome) | Err(Stopped::Outcome(outcome)) => {
                self.report("outcome", json!({"outcome": outcome})).await;
                Some(outcome)
            }
            Err(Stopped::NotBegun(why)) => {
                tracing::warn!(act = self.action.act.as_str(), %why, "not begun");
                self.report("refusal", json!({"why": why})).await;
                None
            }
        }
    }

    /// Everything that is looked at before the point of no return; the lease is the last of it.
    async fn checked(&self) -> Result<(), Stopped> {
        let gate = || {
            let begin = self.hands.may_begin(self.epoch);
            begin.map_err(Stopped::NotBegun)
        };
        gate()?;
        match &self.action.act {
            Act::Launch { zone, count, .. } => self.may_launch(zone, *count)?,
            Act::Terminate { .. } => {
                self.may_terminate()?;
                self.last_look(false).await?;
            }
            Act::Finish { .. } => self.last_look(true).await?,
            Act::Withhold { .. }
            | Act::Restore { .. }
            | Act::Drain { .. }
            | Act::Undrain { .. }
            | Act::Extend { .. } => {}
        }
        if let Err(why) = self.record("intent", json!({})).await
            && takes_away(&self.action.act)
        {
            return Err(Stopped::Outcome(Outcome::Failed {
                words: format!("the audit trail cannot be written, so nothing is removed: {why}"),
            }));
        }
        gate()
    }

    async fn act(&self) -> Result<Outcome, Stopped> {
        let hands = &self.hands;
        Ok(match &self.action.act {
            Act::Launch { zone, count, token } => self.launch(zone, *count, token).await,
            Act::Withhold { .. } | Act::Restore { .. } if hands.dry_run => Outcome::DryRun,
            // The plan's list of those who are offered is what does it.
            Act::Withhold { .. } | Act::Restore { .. } => done(),
            Act::Drain { relay, deadline } => {
                let order = DrainOrder {
                    deadline: *deadline,
                    reason: self.action.words.clone(),
                    epoch: self.epoch,
                };
                let call = hands.relays.drain(relay, self.admin()?, &order);
                of_relay(hands.tell("drain", call).await)
            }
            Act::Undrain { relay } => {
                let call = hands.relays.undrain(relay, self.admin()?, self.epoch);
                of_relay(hands.tell("undrain", call).await)
            }
            Act::Terminate { relay } => {
                match hands
                    .ask("terminate", hands.provider.terminate(relay))
                    .await
                {
                    Ok(Ended::Ending) => done(),
                    Ok(Ended::Already) => Outcome::Nothing,
                    Err(error) => of_provider(error),
                }
            }
            Act::Extend { relay } => {
                match hands.ask("extend", hands.provider.extend(relay)).await {
                    Ok(()) => done(),
                    Err(error) => of_provider(error),
                }
            }
            Act::Finish { relay } => {
                match hands.ask("finish", hands.provider.finish(relay)).await {
                    Ok(()) => done(),
                    Err(error) => of_provider(error),
                }
            }
        })
    }

    async fn launch(&self, zone: &ZoneId, count: u32, token: &LaunchToken) -> Outcome {
        let order = LaunchOrder {
            zone: zone.clone(),
            count,
            token: token.clone(),
        };
        let call = self.hands.provider.launch(&order);
        match self.hands.ask("launch", call).await {
            Ok(instances) => Outcome::Done { instances },
            Err(error) => of_provider(error),
        }
    }

    /// Sovereignty, once more: no plan launches elsewhere, and if one did, it would not happen.
    fn may_launch(&self, zone: &ZoneId, count: u32) -> Result<(), Stopped> {
        if !self.hands.policy.allowed_zones.contains(zone) {
            return Err(Stopped::Outcome(Outcome::Refused {
                words: format!("{zone} is not one of the allowed zones; nothing is launched there"),
            }));
        }
        if count == 0 {
            return Err(Stopped::Outcome(Outcome::Nothing));
        }
        Ok(())
    }

    fn may_terminate(&self) -> Result<(), Stopped> {
        let relay = self.known()?;
        if relay.terminate_asked {
            return Err(Stopped::Outcome(Outcome::Nothing));
        }
        let Some(fresh) = &self.fresh else {
            return Err(Stopped::NotBegun(
                "nobody looked at the list again".to_owned(),
            ));
        };
        listed(fresh, relay, self.known).map_err(Stopped::Outcome)
    }

    async fn last_look(&self, ends_anyway: bool) -> Result<(), Stopped> {
        let relay = self.known()?;
        let (status, stun) = match relay.admin {
            Some(admin) => {
                let status = self.hands.status(&relay.id, admin).await;
                let stun = match &status {
                    Ok(_) => None,
                    Err(_) => self.hands.stun(&relay.id, admin).await,
                };
                (status, stun)
            }
            None => {
                let words = "its address is not known".to_owned();
                (Err(RelayError::Unreachable(words)), None)
            }
        };
        let look = LastLook {
            relay,
            status: &status,
            stun,
            reason: self.action.reason,
            ends_anyway,
            ordered: self.ordered,
            end_idle: self.hands.policy.end_idle_drains,
            now: self.hands.clock.unix(),
        };
        may_end(&look).map_err(|words| Stopped::Outcome(Outcome::Failed { words }))
    }

    fn known(&self) -> Result<&Relay, Stopped> {
        self.relay.as_ref().ok_or_else(|| {
            Stopped::Outcome(Outcome::Refused {
                words: "the relay is not one of this fleet".to_owned(),
            })
        })
    }

    fn admin(&self) -> Result<SocketAddr, Stopped> {
        self.known()?.admin.ok_or_else(|| {
            Stopped::Outcome(Outcome::Failed {
                words: "the address of its admin API is not known".to_owned(),
            })
        })
    }

    /// The same, where a failure changes nothing any more; the log and a counter have it.
    async fn report(&self, kind: &'static str, more: serde_json::Value) {
        let _ = self.record(kind, more).await;
    }

    /// Writes down the action with what is said of it. A dry run does nothing, and has nothing to write down but its
    /// decisions.
    async fn record(&self, kind: &'static str, more: serde_json::Value) -> Result<(), String> {
        if self.hands.dry_run {
            return Ok(());
        }
        let mut body = json!({"epoch": self.epoch, "action": self.action});
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        self.hands.write_down(kind, body).await
    }
}

/// Whether fewer clients can be served after it.
const fn takes_away(act: &Act) -> bool {
    match act {
        Act::Drain { .. } | Act::Terminate { .. } | Act::Finish { .. } => true,
        Act::Launch { .. }
        | Act::Withhold { .. }
        | Act::Restore { .. }
        | Act::Undrain { .. }
        | Act::Extend { .. } => false,
    }
}

const fn done() -> Outcome {
    Outcome::Done {
        instances: Vec::new(),
    }
}

fn of_provider(error: ProviderError) -> Outcome {
    let words = error.to_string();
    match error {
        ProviderError::NoCapacity(_) => Outcome::NoCapacity { words },
        ProviderError::Refused(_) | ProviderError::Unsupported(_) => Outcome::Refused { words },
        ProviderError::Throttled(_) | ProviderError::Failed(_) => Outcome::Failed { words },
        ProviderError::Unknown(_) => Outcome::Unknown { words },
        ProviderError::DryRun => Outcome::DryRun,
    }
}

fn of_relay(answer: Result<(), RelayError>) -> Outcome {
    let Err(error) = answer else {
        return done();
    };
    let words = error.to_string();
    match error {
        RelayError::Unreachable(_) | RelayError::NotNow(_) => Outcome::Failed { words },
        RelayError::Unknown(_) => Outcome::Unknown { words },
        RelayError::OlderEpoch { seen } => Outcome::OlderEpoch { seen },
        RelayError::Refused(_) => Outcome::Refused { words },
        RelayError::DryRun => Outcome::DryRun,
    }
}
