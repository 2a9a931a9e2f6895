//! A load beside the server on its core, so that a generator of one core can keep the server busy with what is left of it.
//!
//! Responsible for taking as much of the core as would be idle, and for saying how much that was. Not responsible for what the
//! server does with the rest.
//!
//! A server that costs less for each packet than the generator does would else sleep and wake all the time, and pay for that
//! instead of for packets. One that is busy by itself is left alone.

use crate::compare::machine;
use crate::server_use::Usage;
use anyhow::{Context, Result};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// It takes its share once in this time: longer than a server sleeps, shorter than a window of packets lasts.
const PERIOD: Duration = Duration::from_millis(1);
/// Never more of the core than this.
const MOST_PERCENT: u32 = 60;
/// What may be left idle: real-time tasks get 95 % of a core.
const IDLE_PERCENT: f64 = 6.0;

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    percent: AtomicU32,
    used_nanos: AtomicU64,
}

/// The load, until it is dropped. It begins with nothing.
#[derive(Debug)]
pub(crate) struct Ballast {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Ballast {
    /// Sits on this core and does nothing yet.
    pub(crate) fn begin(core: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("ballast".to_owned())
            .spawn(move || {
                // Where there is one core it shares it all the same.
                if machine::pin_if_possible(core).is_ok() {
                    take_turns(&seen);
                }
            })
            .context("cannot start a thread")?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// CPU time that it has taken.
    pub(crate) fn used_nanos(&self) -> u64 {
        self.shared.used_nanos.load(Ordering::Relaxed)
    }

    /// Takes what was idle over the last `elapsed`, in which the server used `server` and this load `own` nanoseconds.
    pub(crate) fn take_idle(&self, elapsed: Duration, server: Usage, own: u64) {
        let percent = self.shared.percent.load(Ordering::Relaxed);
        let idle = idle_percent(elapsed, server.run_nanos + own);
        self.shared
            .percent
            .store(next_percent(percent, idle), Ordering::Relaxed);
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does nothing that could fail.
            let _ = thread.join();
        }
    }
}

fn take_turns(shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let share = PERIOD * shared.percent.load(Ordering::Relaxed) / 100;
        // Its own CPU time, not the clock on the wall: the server may be let in between.
        let begun = own_time();
        while own_time().saturating_sub(begun) < share && !shared.stop.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        thread::sleep(PERIOD - share);
        let used = own_time().saturating_sub(begun);
        let used = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        shared.used_nanos.fetch_add(used, Ordering::Relaxed);
    }
}

fn own_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(tv_sec).unwrap_or(0),
        u32::try_from(tv_nsec).unwrap_or(0),
    )
}

/// The part of `elapsed` in which the core had nothing to do.
fn idle_percent(elapsed: Duration, used_nanos: u64) -> f64 {
    let elapsed = elapsed.as_nanos() as f64;
    if elapsed > 0.0 {
        (100.0 * (1.0 - used_nanos as f64 / elapsed)).max(0.0)
    } else {
        0.0
    }
}

/// The share to take next: more by what was idle, if that was much.
fn next_percent(percent: u32, idle: f64) -> u32 {
    if idle <= IDLE_PERCENT {
        return percent;
    }
    let more = (1..=MOST_PERCENT)
        .rev()
        .find(|more| f64::from(*more) <= idle);
    (percent + more.unwrap_or(0)).min(MOST_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_idle_is_taken_and_a_busy_core_is_left_alone() {
        let millis = Duration::from_millis;
        assert_eq!(idle_percent(millis(10), 5_000_000), 50.0);
        assert_eq!(idle_percent(millis(10), 11_000_000), 0.0);
        assert_eq!(idle_percent(millis(0), 1), 0.0);
        assert_eq!(next_percent(0, 5.0), 0);
        assert_eq!(next_percent(0, 22.5), 22);
        assert_eq!(next_percent(22, 10.0), 32);
        assert_eq!(next_percent(50, 40.0), MOST_PERCENT);
    }
}
