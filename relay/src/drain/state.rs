//! What has been ordered, as one value under one lock.
//!
//! Not responsible for acting on it.

use taciturn_protocol::status::Phase;
use taciturn_protocol::time::Instant;

use super::store::Kept;
use super::{CurrentDrain, DrainRefused, DrainSource};

/// What has been ordered.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The order of each source, in the order in which they began.
    pub(super) orders: Vec<CurrentDrain>,
    /// The highest epoch of any order or cancellation.
    pub(super) epoch: u64,
    /// Whether the file says what stands here.
    pub(super) kept: bool,
    /// When the drain by signal is over, by the clock that nobody sets: a wall clock that is put right must not cut calls.
    pub(super) stop_at: Instant,
    /// Whether a signal has ever asked for the end: whoever sent it may be waiting, and kill the process when it is not gone
    /// in time.
    pub(super) stop_asked: bool,
    /// Counts changes of the orders.
    pub(super) turn: u64,
    /// The drain by signal is over: nothing can be undone any more.
    pub(super) ended: bool,
}

impl State {
    /// The phase that follows from the orders; whether a drain has come to its end follows from the allocations.
    pub(super) const fn phase(&self) -> Phase {
        if self.orders.is_empty() {
            Phase::Ready
        } else {
            Phase::Draining
        }
    }

    /// An epoch below the highest is refused; this one becomes the highest.
    pub(super) fn admit(&mut self, epoch: u64) -> Result<(), DrainRefused> {
        if epoch < self.epoch {
            return Err(DrainRefused::OlderEpoch {
                given: epoch,
                seen: self.epoch,
            });
        }
        self.epoch = epoch;
        Ok(())
    }

    /// The order of this source.
    pub(super) fn of(&self, source: DrainSource) -> Option<&CurrentDrain> {
        self.orders.iter().find(|order| order.source == source)
    }

    /// Takes the order of this source away.
    pub(super) fn remove(&mut self, source: DrainSource) -> Option<CurrentDrain> {
        let place = self
            .orders
            .iter()
            .position(|order| order.source == source)?;
        Some(self.orders.remove(place))
    }

    /// Whether a signal's order has been undone, so that the process goes on.
    pub(super) fn stop_is_undone(&self) -> bool {
        self.stop_asked && self.of(DrainSource::Signal).is_none()
    }

    /// The order of a signal, which ends the process, or the one that was begun last.
    pub(super) fn shown(&self) -> Option<&CurrentDrain> {
        self.of(DrainSource::Signal).or_else(|| self.orders.last())
    }

    /// What must survive a restart.
    pub(super) fn to_keep(&self) -> Kept {
        let orders = self.orders.iter();
        Kept {
            epoch: self.epoch,
            orders: orders
                .filter(|order| order.source != DrainSource::Signal)
                .cloned()
                .collect(),
        }
    }
}
