//! What happens to a drain by itself: its last allocation ends, its deadline passes.
//!
//! Responsible for noticing, for saying so once, and for telling `run` when a drain by signal is over. Not responsible
//! for orders.

use std::sync::Arc;
use std::time::Duration;

use taciturn_protocol::status::Phase;
use taciturn_protocol::time::Instant;
use tokio::time::sleep;
use tracing::{info, warn};

use super::state::State;
use super::{CurrentDrain, DrainControl, DrainSource};
use crate::supervisor::Supervisor;
use crate::worker::{self, Message};

/// How often a drain is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// After a stop that was undone the supervisor is asked for this much time, again and again: its stop cannot be undone, and
/// it would kill the process with all calls that have come since.
const RESPITE: Duration = Duration::from_secs(600);
/// As often as this, so that several may be lost.
const PLEA: Duration = Duration::from_secs(120);
/// A line on progress comes no more often than this.
const PROGRESS: Duration = Duration::from_secs(60);

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told to, and no allocation is left.
    Drained,
    /// It was told to, and the deadline has come with allocations left.
    Deadline,
    /// It was told to twice at the keyboard.
    Interrupted,
}

impl Ending {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Deadline => "deadline",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What has been said about the drain that is under way.
#[derive(Debug)]
struct Said {
    drain: CurrentDrain,
    drained: bool,
    deadline: bool,
    next_progress: Instant,
}

impl DrainControl {
    /// Watches every drain for as long as the relay runs: logs how it gets on, and tells the supervisor.
    pub async fn watch(self: Arc<Self>, supervisor: Supervisor) {
        let mut changes = self.changes();
        let mut said: Option<Said> = None;
        let mut shown = String::new();
        let mut next_plea = Instant::ZERO;
        loop {
            let undone = self.lock().stop_is_undone();
            let now = self.clock.instant();
            if undone && next_plea <= now {
                supervisor.extend_stop(RESPITE);
                next_plea = now + PLEA;
            }
            said = self.look(said);
            let line = self.status_line();
            if line != shown {
                supervisor.status(&line);
                shown = line;
            }
            tokio::select! {
                // An error means that the control is gone, which this task keeps from happening.
                _ = changes.changed() => {}
                () = sleep(LOOK), if said.is_some() => {}
                () = sleep(PLEA), if undone => {}
            }
        }
    }

    fn look(&self, said: Option<Said>) -> Option<Said> {
        let drain = self.current()?;
        let now = self.clock.now();
        let drained_before = said.as_ref().is_some_and(|said| said.drained);
        let mut said = said.filter(|said| said.drain == drain).unwrap_or(Said {
            drain,
            drained: drained_before,
            deadline: false,
            next_progress: now.instant + PROGRESS,
        });
        let allocations = self.totals.allocations();
        let drained = self.phase() == Phase::Drained;
        if drained && !said.drained {
            info!(phase = Phase::Drained.as_str(), "phase changed");
        }
        said.drained = drained;
        let order = &said.drain.order;
        if !said.deadline && order.deadline <= now.unix.as_secs() {
            said.deadline = true;
            if allocations > 0 {
                warn!(allocations, "the deadline of the drain has passed");
            } else {
                info!(allocations, "the deadline of the drain has passed");
            }
        } else if !drained && said.next_progress <= now.instant {
            said.next_progress = now.instant + PROGRESS;
            info!(
                allocations,
                seconds_left = order.deadline.saturating_sub(now.unix.as_secs()),
                "draining"
            );
        }
        Some(said)
    }

    /// Waits until a drain by signal is over.
    pub async fn ended(&self) -> Ending {
        let mut changes = self.changes();
        loop {
            let turn = self.lock().turn;
            let stops = self.is_stopping();
            if stops {
                if self.is_empty().await && self.seal(|state| state.turn == turn) {
                    return Ending::Drained;
                }
                let now = self.clock.instant();
                if self.seal(|state| state.stop_at <= now) {
                    return Ending::Deadline;
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(LOOK), if stops => {}
            }
        }
    }

    /// Makes the end final when it is still ordered and `holds`: from then on nobody is told that it was undone. Before,
    /// whoever has undone it has a relay that goes on, with the allocations that have come since.
    fn seal(&self, holds: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        let ends = state.of(DrainSource::Signal).is_some() && holds(&state);
        state.ended |= ends;
        ends
    }

    /// Whether no worker has an allocation or is about to have one, and none can come. The counters alone could be read before a worker hears of
    /// the drain; its answer comes after it has.
    async fn is_empty(&self) -> bool {
        self.totals.allocations() == 0
            && worker::ask(&self.outboxes, Message::Load)
                .await
                .is_some_and(|loads| {
                    loads
                        .iter()
                        .all(|load| load.allocations + load.pending == 0)
                })
    }
}
