//! What a worker looks at once a second: deadlines of connections, and figures that nothing announces.
//!
//! Responsible for keeping that bounded: a worker that serves thousands must not pause for any of it. Not responsible for
//! what expires in the server, which has a timeout of its own.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use taciturn_protocol::time::Now;

use super::Worker;

/// Relayed sockets whose drops are read in a sweep, one system call each.
const SOCKETS_PER_SWEEP: usize = 512;
/// An allocation that carries nothing for so many sweeps, half a minute, is idle: each sweep looks at one of as many parts.
const ACTIVITY_PARTS: usize = 30;

/// Where the sweeps have come to.
#[derive(Debug)]
pub(super) struct Sweeping {
    // What the kernel had dropped on each listener at the last look.
    listener_drops: Vec<u64>,
    next_slot: usize,
    // How many of each part were active at the last look.
    active: [usize; ACTIVITY_PARTS],
    next_part: usize,
}

impl Sweeping {
    pub(super) fn new(listeners: usize) -> Self {
        Self {
            listener_drops: vec![0; listeners],
            next_slot: 0,
            active: [0; ACTIVITY_PARTS],
            next_part: 0,
        }
    }
}

impl Worker {
    /// One sweep.
    pub(super) fn sweep(&mut self, now: Now) {
        self.sweep_streams(now);
        self.count_kernel_drops();
        self.sweep_crowds(now);
        self.show_load(now);
        self.switch.tally(false);
        self.switch.counters.cpu_nanos.set(thread_cpu_nanos());
        self.show_activity();
    }

    fn show_activity(&mut self) {
        let part = self.sweeping.next_part;
        let activity = self.switch.routes.sweep_activity_of(part, ACTIVITY_PARTS);
        self.sweeping.active[part] = activity.active;
        self.sweeping.next_part = (part + 1) % ACTIVITY_PARTS;
        let active: usize = self.sweeping.active.iter().sum();
        self.switch.counters.active.set(active as u64);
    }

    fn sweep_streams(&mut self, now: Now) {
        let mut due = Vec::new();
        self.switch.streams.expired(now.instant, &mut due);
        for slot in due {
            let Some(connection) = self.switch.streams.get_mut(slot) else {
                continue;
            };
            match connection.handle_timeout(now.instant) {
                Ok(()) => self.switch.streams.look_again(slot),
                Err(reason) => self.close_stream(now, slot, reason),
            }
        }
    }

    fn count_kernel_drops(&mut self) {
        let sockets = &mut self.switch.sockets;
        let mut dropped = 0;
        for (listener, seen) in sockets
            .listeners()
            .iter()
            .zip(&mut self.sweeping.listener_drops)
        {
            let drops = listener.kernel_drops().unwrap_or(*seen);
            dropped += drops.saturating_sub(*seen);
            *seen = drops;
        }
        let (next, of_relayed) =
            sockets.sweep_kernel_drops(self.sweeping.next_slot, SOCKETS_PER_SWEEP);
        self.sweeping.next_slot = next;
        self.switch.counters.kernel_drops.add(dropped + of_relayed);
    }

    fn show_load(&self, now: Now) {
        let (load, counters) = (self.switch.server.load(), &self.switch.counters);
        for (gauge, value) in [
            (&counters.pending, load.pending),
            (&counters.reserved, load.reserved),
            (&counters.permissions, load.permissions),
            (&counters.channels, load.channels),
            (&counters.ports_free, load.ports_free),
            (&counters.ports_used, load.ports_used),
            (&counters.ports_resting, load.ports_quarantined),
        ] {
            gauge.set(value as u64);
        }
        let taken = self.switch.server.ports_taken();
        for (gauge, value) in counters.ports_taken.iter().zip(taken) {
            gauge.set(value as u64);
        }
        let age = self
            .switch
            .server
            .oldest()
            .map_or(Duration::ZERO, |created| {
                now.instant.saturating_since(created)
            });
        counters.oldest_allocation_seconds.set(age.as_secs());
    }
}

/// How long the calling thread has run.
fn thread_cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanos
}
