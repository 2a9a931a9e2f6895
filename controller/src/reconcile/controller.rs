//! One controller: its rounds, and what is asked of it between them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::Published;
use crate::apply::AuditSink;
use crate::clock::Clock;
use crate::fleet::InstanceId;
use crate::lease::Keeper;
use crate::observe::{Mark, Relays};
use crate::policy::Policy;
use crate::provider::Provider;

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
    /// The same for an order to a relay.
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

/// What an operator orders of one relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is cordoned: the plan drains it before others (`POST /v1/relays/{id}/drain`).
    Drain,
    /// It is not, and its drain is taken back (`DELETE /v1/relays/{id}/drain`).
    Undrain,
    /// What [`Mark`] says besides.
    Mark(Mark),
}

/// An order of an operator.
#[derive(Debug)]
pub struct Order {
    /// Which relay.
    pub relay: InstanceId,
    /// What.
    pub wish: Wish,
    /// Told when it is carried out or refused, in words.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// How the rest of the process speaks with the loop.
#[derive(Clone, Debug)]
pub struct Handle {
    published: watch::Receiver<Arc<Published>>,
    orders: mpsc::Sender<Order>,
    stop: Arc<watch::Sender<bool>>,
    reload: Arc<tokio::sync::Notify>,
}

impl Handle {
    /// The latest round; changes once a round, which is what a watchdog waits for.
    pub fn published(&self) -> watch::Receiver<Arc<Published>> {
        self.published.clone()
    }

    /// The latest round.
    pub fn latest(&self) -> Arc<Published> {
        Arc::clone(&self.published.borrow())
    }

    /// Orders something of one relay, and waits for the answer.
    ///
    /// # Errors
    /// Why it is not done, in words.
    pub async fn order(&self, relay: InstanceId, wish: Wish) -> Result<String, String> {
        let ending = || "the controller is ending, or busy; try again".to_owned();
        let (answer, answered) = oneshot::channel();
        let order = Order {
            relay,
            wish,
            answer,
        };
        self.orders.try_send(order).map_err(|_| ending())?;
        answered.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Reads the configuration again before the next round, which comes at once.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Ends the loop after the action that is under way, and gives the lease up.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// The loop.
pub struct Controller {}

impl Controller {
    /// A controller that has looked at nothing yet, and its handle.
    pub fn new(_parts: Parts) -> (Self, Handle) {
        unreachable!("bodies follow")
    }

    /// One round: observe, plan, apply, remember, publish.
    pub async fn round(&mut self) -> Arc<Published> {
        std::future::pending().await
    }

    /// Rounds until [`Handle::stop`]; tends the lease meanwhile, and gives it up at the end.
    pub async fn run(self) {}
}
