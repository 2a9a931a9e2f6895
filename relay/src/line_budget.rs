//! How many log lines of one kind the network may cause.
//!
//! Responsible for admitting lines and for counting those that were left out. Not responsible for saying so, which
//! `events` does once a minute.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};

use taciturn_protocol::time::Instant;

/// A budget of lines: so many at once, and then so many a second. Shared; asking takes no lock.
#[derive(Debug)]
pub struct LineBudget {
    interval: Duration,
    burst: Duration,
    /// Up to when the budget is spent, in nanoseconds of the relay's clock.
    spent_until: AtomicU64,
    left_out: AtomicU64,
}

impl LineBudget {
    /// `burst` lines at once, and `per_second` in the long run; both are at least one.
    pub fn new(burst: u32, per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            burst: interval * burst.max(1),
            spent_until: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// Whether one more line may be written now; if not, it is counted as left out.
    pub fn admit(&self, now: Instant) -> bool {
        let spend = |spent: u64| {
            let spent = Instant::from_nanos(spent).max(now) + self.interval;
            (spent.saturating_since(now) <= self.burst).then_some(spent.as_nanos())
        };
        let admitted = self
            .spent_until
            .try_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok();
        if !admitted {
            self.leave_out();
        }
        admitted
    }

    /// A line that was admitted could not be written.
    pub fn leave_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// How many lines were left out since this was last asked.
    pub fn take_left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn admitted(budget: &LineBudget, now: Instant) -> usize {
        (0..1000).filter(|_| budget.admit(now)).count()
    }

    #[test]
    fn a_budget_admits_a_burst_and_then_its_rate() {
        let budget = LineBudget::new(100, 10);
        assert_eq!(admitted(&budget, at(0)), 100);
        assert_eq!(budget.take_left_out(), 900);
        assert_eq!(budget.take_left_out(), 0, "said once");
        assert_eq!(admitted(&budget, at(99)), 0);
        assert_eq!(admitted(&budget, at(1000)), 10);
        assert_eq!(
            admitted(&budget, at(3_600_000)),
            100,
            "an hour of silence saves no more than a burst"
        );
    }

    #[test]
    fn lines_of_several_threads_come_out_of_one_budget() {
        let budget = LineBudget::new(100, 1);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| admitted(&budget, at(0))))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("it does not panic"))
                .sum()
        });
        assert_eq!(admitted, 100);
        assert_eq!(budget.take_left_out(), 3900);
    }
}
