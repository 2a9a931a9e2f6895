//! How the rest of the process speaks with the loop: what is published, orders of operators, reload, stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::Published;
use super::revoking::{Delivered, NotRevoked, Revoking};
use crate::fleet::InstanceId;
use crate::observe::Mark;
use crate::revocations::Change;

/// Orders that wait for the end of a round; more are refused.
pub(super) const MOST_ORDERS: usize = 64;

/// What an operator orders of one relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is cordoned: the plan drains it before others (`POST /v1/relays/{id}/drain`).
    Drain,
    /// It is not, and its drain is taken back (`DELETE /v1/relays/{id}/drain`).
    Undrain,
    /// It is not to be drained by a plan, or may be again.
    Mark(Mark),
}

impl Wish {
    /// The word in logs and the audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Mark(Mark::Cordon) => "cordon",
            Self::Mark(Mark::Uncordon) => "uncordon",
            Self::Mark(Mark::Keep) => "keep",
            Self::Mark(Mark::Release) => "release",
        }
    }
}

/// An order of an operator.
#[derive(Debug)]
pub struct Order {
    /// Which relay.
    pub relay: InstanceId,
    /// What.
    pub wish: Wish,
    /// Delivered what became of it, or why nothing does.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// How the rest of the process speaks with the loop.
#[derive(Clone, Debug)]
pub struct Handle {
    published: watch::Receiver<Arc<Published>>,
    orders: mpsc::Sender<Order>,
    stopping: Arc<AtomicBool>,
    wake: Arc<Wake>,
    revoking: Revoking,
}

/// What wakes the loop between its rounds.
#[derive(Debug, Default)]
pub(super) struct Wake {
    pub(super) stop: Notify,
    pub(super) reload: Notify,
}

impl Handle {
    pub(super) fn new(
        published: watch::Receiver<Arc<Published>>,
        orders: mpsc::Sender<Order>,
        stopping: Arc<AtomicBool>,
        wake: Arc<Wake>,
        revoking: Revoking,
    ) -> Self {
        Self {
            published,
            orders,
            stopping,
            wake,
            revoking,
        }
    }

    /// Changes the list of revocations, and tells the relays at once, whatever the loop is doing.
    ///
    /// # Errors
    /// Why nothing is changed.
    pub async fn revoke(&self, change: Change) -> Result<Delivered, NotRevoked> {
        let latest = self.latest();
        self.revoking.order(&latest.snapshot.fleet, change).await
    }

    /// The rounds as they come; changes once a round, which is what a watchdog waits for.
    pub fn published(&self) -> watch::Receiver<Arc<Published>> {
        self.published.clone()
    }

    /// The latest round.
    pub fn latest(&self) -> Arc<Published> {
        Arc::clone(&self.published.borrow())
    }

    /// Orders something of one relay, and waits for the answer, which comes within a round.
    ///
    /// # Errors
    /// Why it is not done, in words.
    pub async fn order(&self, relay: InstanceId, wish: Wish) -> Result<String, String> {
        let ending = || "the controller is ending, or has too many orders; try again".to_owned();
        let (answer, answered) = oneshot::channel();
        let order = Order {
            relay,
            wish,
            answer,
        };
        self.orders.try_send(order).map_err(|_| ending())?;
        answered.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Reads the configuration again, and begins a round.
    pub fn reload(&self) {
        self.wake.reload.notify_one();
    }

    /// Ends the loop after the action that is under way, and gives the lease up.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake.stop.notify_one();
    }
}
