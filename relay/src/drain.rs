//! Draining: taking the relay away without cutting a call.
//!
//! ```text
//!             begin                      last allocation ends
//!   Ready ------------> Draining ------------------------------> Drained
//!     ^                    |  cancel                                |
//!     +--------------------+----------------------------------------+
//! ```
//!
//! Responsible for who has ordered a drain and until when, for the epochs that tell a late order from a new one, for
//! telling the workers, and for what everybody else reads of it: phase, status, metrics, log. Not responsible for how a new
//! allocation is refused (`taciturn_protocol::server`), nor for ending the process (`run`).
//!
//! Each [`DrainSource`] has an order of its own, so that what one of them withdraws leaves the others' in force; the relay
//! drains while there is any. Shown is the one that was begun last, or that of a signal: a drain ends no allocation, and at
//! its deadline the relay says so, for whoever ordered it to end the host; only a drain by signal, which asks the process to
//! end, ends it then.

mod figures;
mod order;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taciturn_protocol::server::Drain;
use taciturn_protocol::status::Phase;
use taciturn_protocol::time::Now;
use tokio::sync::watch as channel;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::counters::Totals;
use crate::phase::SharedPhase;
use crate::worker::{Message, Outbox};

pub use order::{CurrentDrain, DrainOrder, DrainRefused, DrainSource, DrainStatus};
pub use watch::Ending;

#[cfg(test)]
pub(crate) use tests::fixture;

use state::State;
use store::{Kept, Store};

/// The drain of one relay, shared by all that may order it and all that show it.
#[derive(Debug)]
pub struct DrainControl {
    state: Mutex<State>,
    /// Held while what is ordered at that time is written down. A disk that hangs keeps those waiting who want to hear that
    /// their order is on it, and no order from being carried out.
    store: Mutex<Option<Store>>,
    phase: Arc<SharedPhase>,
    totals: Totals,
    outboxes: Vec<Outbox>,
    clock: Clock,
    stop_after: Mutex<Duration>,
    begun: [AtomicU64; DrainSource::ALL.len()],
    changes: channel::Sender<u64>,
}

/// What a [`DrainControl`] is made of.
#[derive(Debug)]
pub struct DrainParts<'a> {
    /// Where the relay is in its life.
    pub phase: Arc<SharedPhase>,
    /// The counters of all workers.
    pub totals: Totals,
    /// The workers.
    pub outboxes: Vec<Outbox>,
    /// The relay's clock.
    pub clock: Clock,
    /// How long a drain by signal or instance metadata may take.
    pub stop_after: Duration,
    /// Where orders are kept; `None`: they do not survive a restart.
    pub state_directory: Option<&'a Path>,
}

impl DrainControl {
    /// A relay that is launching, with the orders that the last run was under.
    ///
    /// A file that cannot be read is no reason not to start, nor to refuse every client of this host: it is reported, put
    /// aside, and the relay starts as if nothing had been ordered. Whoever ordered a drain sees that it is not under way.
    pub fn new(parts: DrainParts<'_>) -> Self {
        let (store, kept) = match parts.state_directory {
            Some(directory) => {
                let (store, kept) = Store::open(directory);
                (Some(store), kept)
            }
            None => (None, Kept::default()),
        };
        let control = Self {
            state: Mutex::new(State {
                orders: kept.orders,
                epoch: kept.epoch,
                kept: store.is_some(),
                ..State::default()
            }),
            store: Mutex::new(store),
            phase: parts.phase,
            totals: parts.totals,
            outboxes: parts.outboxes,
            clock: parts.clock,
            stop_after: Mutex::new(parts.stop_after),
            begun: Default::default(),
            changes: channel::Sender::new(0),
        };
        if let Some(drain) = control.current() {
            control.tell(Some(Drain::default()));
            warn!(
                source = drain.source.as_str(),
                deadline = drain.order.deadline,
                reason = drain.order.reason.as_str(),
                epoch = drain.order.epoch,
                "the drain that was ordered before the restart goes on; DELETE /v1/drain ends it"
            );
        }
        control
    }

    /// What the servers are told before their first packet, which may be read before the first message.
    pub fn at_start(&self) -> Option<Drain> {
        self.current().map(|_| Drain::default())
    }

    /// The relay has started: it is ready, or drains already. Returns which.
    pub fn launched(&self) -> Phase {
        let state = self.lock();
        let phase = state.phase();
        self.phase.set(phase);
        drop(state);
        self.changed();
        phase
    }

    /// Begins a drain, or changes the one that this source has begun.
    ///
    /// The epoch of an order counts for [`DrainSource::Operator`] alone: signals and instance metadata know none, and take
    /// the highest that has been seen.
    ///
    /// Blocks until the order is on the disk, unless it is a signal's.
    ///
    /// # Errors
    /// An order that is older than another one, that makes no sense, or that comes before the relay serves.
    pub fn begin(&self, mut order: DrainOrder, source: DrainSource) -> Result<(), DrainRefused> {
        let Now { instant, unix } = self.clock.now();
        let now = unix.as_secs();
        order.check(source, now)?;
        let mut state = self.lock();
        self.must_serve(&state)?;
        if source == DrainSource::Signal {
            state.stop_asked = true;
            state.stop_at = instant + Duration::from_secs(order.deadline.saturating_sub(now));
        }
        if source == DrainSource::Operator {
            state.admit(order.epoch)?;
        } else {
            order.epoch = state.epoch;
        }
        let before = state.remove(source);
        if before.is_none() {
            self.begun[source.index()].fetch_add(1, Ordering::Relaxed);
        }
        info!(
            source = source.as_str(),
            deadline = order.deadline,
            reason = order.reason.as_str(),
            epoch = order.epoch,
            allocations = self.totals.allocations(),
            "{}",
            if before.is_none() {
                "drain begun"
            } else {
                "drain changed"
            }
        );
        state.orders.push(CurrentDrain {
            source,
            started: before.map_or(now, |before| before.started),
            order,
        });
        // A stop by signal need not survive a restart: what comes after it was asked for.
        self.apply(state, source != DrainSource::Signal);
        Ok(())
    }

    /// Begins a drain for which there is as much time as the configuration gives one (`[drain] stop-after`).
    ///
    /// # Errors
    /// As for [`DrainControl::begin`].
    pub fn begin_now(&self, source: DrainSource, reason: &str) -> Result<(), DrainRefused> {
        let time = self.stop_after();
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let order = DrainOrder {
            deadline: self.clock.unix().as_secs().saturating_add(seconds),
            reason: reason.to_owned(),
            epoch: 0,
        };
        self.begin(order, source)
    }

    /// Ends the drain, whoever began it, a stop by signal included. Blocks until that is on the disk.
    ///
    /// # Errors
    /// An epoch that is older than that of another order, or a relay that does not serve yet or any more.
    pub fn cancel(&self, epoch: Option<u64>) -> Result<(), DrainRefused> {
        let mut state = self.lock();
        self.must_serve(&state)?;
        if let Some(epoch) = epoch {
            state.admit(epoch)?;
        }
        if !state.orders.is_empty() {
            info!(
                epoch = state.epoch,
                allocations = self.totals.allocations(),
                "drain undone"
            );
        }
        state.orders.clear();
        self.apply(state, true);
        Ok(())
    }

    /// Ends the drain that this source has begun; others' go on. Nothing happens when there is none. Blocks
    /// until that is on the disk.
    pub fn withdraw(&self, source: DrainSource) {
        let mut state = self.lock();
        if self.must_serve(&state).is_ok() && state.remove(source).is_some() {
            info!(
                source = source.as_str(),
                allocations = self.totals.allocations(),
                "drain withdrawn"
            );
            self.apply(state, true);
        }
    }

    /// The order that is shown: that of a signal, or the one that was begun last.
    pub fn current(&self) -> Option<CurrentDrain> {
        self.lock().shown().cloned()
    }

    /// The highest epoch of any order so far: what a controller's next order must reach.
    pub fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Where the relay is in its life.
    pub fn phase(&self) -> Phase {
        self.phase.read(&self.totals)
    }

    /// Live allocations: what is left to wait for while draining.
    pub fn allocations(&self) -> u64 {
        self.totals.allocations()
    }

    /// The drain for the status of the relay; `None` when there is none.
    pub fn status(&self) -> Option<DrainStatus> {
        let state = self.lock();
        let drain = state.shown()?.clone();
        let allocations = self.totals.allocations();
        let active = self.totals.sum(|counters| &counters.active);
        Some(DrainStatus {
            deadline_passed: drain.order.deadline <= self.clock.unix().as_secs(),
            allocations_remaining: allocations,
            idle_allocations: allocations.saturating_sub(active),
            stopping: state.of(DrainSource::Signal).is_some(),
            survives_restart: state.kept && drain.source != DrainSource::Signal,
            drain,
        })
    }

    /// One line on where the relay is, for the supervisor: the phase, and what a drain waits for.
    pub fn status_line(&self) -> String {
        let phase = self.phase();
        let allocations = self.totals.allocations();
        match self.status() {
            Some(drain) if phase == Phase::Draining => {
                let now = self.clock.unix().as_secs();
                let until = if drain.deadline_passed {
                    "the deadline has passed".to_owned()
                } else {
                    let minutes = drain.drain.order.deadline.saturating_sub(now).div_ceil(60);
                    format!("{minutes} min to the deadline")
                };
                format!("{phase}: {allocations} allocations left, {until}")
            }
            Some(_) | None => format!("{phase}: {allocations} allocations"),
        }
    }

    /// Wakes whenever something has been ordered or undone.
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How long a drain by signal or instance metadata may take.
    pub fn stop_after(&self) -> Duration {
        let time = self.stop_after.lock();
        *time.unwrap_or_else(PoisonError::into_inner)
    }

    /// Another time for drains that begin from now on.
    pub fn set_stop_after(&self, time: Duration) {
        let mut held = self
            .stop_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *held = time;
    }

    /// Whether there is a drain that this source has begun.
    pub fn is_ordered_by(&self, source: DrainSource) -> bool {
        self.lock().of(source).is_some()
    }

    /// Whether the process has been told to end.
    pub fn is_stopping(&self) -> bool {
        self.lock().of(DrainSource::Signal).is_some()
    }

    /// Tells the workers, shows it, and then keeps it where it is to be kept.
    fn apply(&self, mut state: MutexGuard<'_, State>, keep: bool) {
        let drains = !state.orders.is_empty();
        state.turn = state.turn.wrapping_add(1);
        self.tell(drains.then(Drain::default));
        let phase = state.phase();
        if (self.phase.read(&self.totals) == Phase::Ready) == drains {
            info!(phase = phase.as_str(), "phase changed");
        }
        self.phase.set(phase);
        if keep {
            state.kept = false;
        }
        drop(state);
        self.changed();
        if keep {
            self.keep();
        }
    }

    /// Writes down what is ordered now, which may be newer than what the caller has ordered.
    fn keep(&self) {
        let store = self.lock_store();
        let Some(store) = &*store else { return };
        let kept = self.lock().to_keep();
        let written = store.write(&kept);
        if let Err(error) = &written {
            warn!(
                file = %store.file().display(), %error,
                "the drain order cannot be kept: it is obeyed, and would not survive a restart"
            );
        }
        let mut state = self.lock();
        // Otherwise whoever has changed it since is waiting to write.
        if state.to_keep() == kept {
            state.kept = written.is_ok();
        }
    }

    /// The workers know the alternates already ([`Message::Alternates`]).
    fn tell(&self, drain: Option<Drain>) {
        for outbox in &self.outboxes {
            outbox.send(Message::Drain(drain.clone()));
        }
    }

    fn changed(&self) {
        self.changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn must_serve(&self, state: &State) -> Result<(), DrainRefused> {
        if state.ended {
            return Err(DrainRefused::Ending);
        }
        match self.phase() {
            Phase::Ready | Phase::Draining | Phase::Drained => Ok(()),
            Phase::Launching | Phase::Lost => Err(DrainRefused::NotServing),
        }
    }

    fn lock_store(&self) -> MutexGuard<'_, Option<Store>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
