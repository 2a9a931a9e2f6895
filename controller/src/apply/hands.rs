//! What a plan is carried out with, and in which order.
//!
//! Responsible for what goes side by side and what one after the other, and for bounds in time. Not responsible for a single
//! action (`one`).

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taciturn_protocol::credentials::RevocationList;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::one::One;
use super::{AuditSink, Requests};
use crate::clock::Clock;
use crate::fleet::{Fleet, InstanceId, Report};
use crate::lease::Keeper;
use crate::observe::{RelayError, Relays};
use crate::policy::{Act, Action, Outcome, Plan, Policy};
use crate::provider::{Listing, Provider, ProviderError};

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

    /// Tells a relay who may make nothing new, within the time that a call may take.
    ///
    /// # Errors
    /// See [`Relays::revoke`].
    pub async fn revoke(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
        list: &RevocationList,
    ) -> Result<(), RelayError> {
        self.tell("revoke", self.relays.revoke(id, admin, list))
            .await
    }

    /// Whom a relay refuses, within the time that a call may take.
    ///
    /// # Errors
    /// See [`Relays::revocations`].
    pub async fn revocations(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
    ) -> Result<RevocationList, RelayError> {
        self.tell("revocations", self.relays.revocations(id, admin))
            .await
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

    pub(super) async fn ask<T>(
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

    pub(super) async fn tell<T>(
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
