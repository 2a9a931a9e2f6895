//! Connections that are not established yet, oldest first, at most so many of them.
//!
//! Responsible for the cap. Not responsible for the deadlines, which every opening keeps for itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

use super::FrontCounters;

/// What happens at the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HalfOpenPolicy {
    /// The oldest half-open connection makes room: a flood of silent connections ages out, a client that speaks at
    /// once gets in.
    #[default]
    DropOldest,
    /// The newcomer is turned away.
    Refuse,
}

/// The half-open connections.
#[derive(Debug)]
pub(super) struct HalfOpen {
    open: Mutex<Openings>,
    counters: Arc<FrontCounters>,
}

#[derive(Debug, Default)]
struct Openings {
    next: u64,
    /// Ids only grow, so that the first entry is the oldest. `None` until the task's handle is known.
    tasks: BTreeMap<u64, Option<AbortHandle>>,
}

/// A place among the half-open connections; dropping it gives it back.
#[derive(Debug)]
pub(super) struct HalfOpenPlace {
    among: Arc<HalfOpen>,
    pub(super) id: u64,
}

impl HalfOpen {
    pub(super) fn new(counters: Arc<FrontCounters>) -> Self {
        Self {
            open: Mutex::default(),
            counters,
        }
    }

    /// A place for a newcomer, and whether the oldest lost its own for it; `None` when it is turned away.
    pub(super) fn enter(
        self: &Arc<Self>,
        most: usize,
        policy: HalfOpenPolicy,
    ) -> Option<(HalfOpenPlace, bool)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut displaced = false;
        if open.tasks.len() >= most {
            if policy == HalfOpenPolicy::Refuse {
                return None;
            }
            let (_, oldest) = open.tasks.pop_first()?;
            if let Some(task) = oldest {
                task.abort();
            }
            displaced = true;
        }
        let id = open.next;
        open.next += 1;
        open.tasks.insert(id, None);
        self.counters.set_half_open(open.tasks.len());
        Some((
            HalfOpenPlace {
                among: Arc::clone(self),
                id,
            },
            displaced,
        ))
    }

    /// Tells which task holds the place `id`, so that it can be displaced.
    pub(super) fn set_task(&self, id: u64, task: AbortHandle) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.tasks.get_mut(&id) {
            Some(slot) => *slot = Some(task),
            // Displaced before it began; or finished already, and then this does nothing.
            None => task.abort(),
        }
    }

    /// Ends every opening.
    pub(super) fn abort_all(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for task in open.tasks.values().flatten() {
            task.abort();
        }
    }
}

impl Drop for HalfOpenPlace {
    fn drop(&mut self) {
        let mut open = self
            .among
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.tasks.remove(&self.id);
        self.among.counters.set_half_open(open.tasks.len());
    }
}
