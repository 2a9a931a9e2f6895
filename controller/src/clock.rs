//! The controller's clocks: the only place that reads them.
//!
//! Responsible for turning the machine's clocks into [`Now`]. Not responsible for what happens at a point in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use taciturn_protocol::time::{Instant, Now, UnixTime};

/// Both clocks of one controller. Copies share their start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// By [`since_boot`].
    start: Duration,
    /// Set by a test.
    #[cfg(test)]
    hand: Option<&'static hand::Hand>,
}

impl Clock {
    /// A clock that starts now, at one second: no instant is ever reckoned from before the start.
    pub fn start() -> Self {
        Self {
            start: since_boot(),
            #[cfg(test)]
            hand: None,
        }
    }

    /// Both clocks, read once for a round.
    pub fn now(&self) -> Now {
        Now {
            instant: self.instant(),
            unix: self.unix(),
        }
    }

    /// The monotonic clock. It goes on while the process is stopped and while the machine is suspended, so that a lease that
    /// ran out meanwhile is noticed.
    pub fn instant(&self) -> Instant {
        #[cfg(test)]
        if let Some(hand) = self.hand {
            return hand.instant();
        }
        let running = since_boot().saturating_sub(self.start);
        Instant::from_nanos(1_000_000_000) + running
    }

    /// The wall clock; one that is set before 1970 reads as 1970.
    pub fn unix(&self) -> UnixTime {
        #[cfg(test)]
        if let Some(hand) = self.hand {
            return hand.unix();
        }
        UnixTime::from_secs(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        )
    }
}

/// Unlike the clock of `std`, this one counts the time of a suspended machine.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A clock that a test sets.
#[cfg(test)]
pub(crate) mod hand {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use taciturn_protocol::time::{Instant, UnixTime};

    use super::Clock;

    /// Both clocks, as they are set.
    #[derive(Debug)]
    pub(crate) struct Hand {
        milliseconds: AtomicU64,
        unix: AtomicU64,
    }

    impl Hand {
        /// When all tests begin.
        pub(crate) const BEGIN: u64 = 1_790_000_000;

        /// A clock that stands still at [`Hand::BEGIN`], and what moves it. Both live as long as the test.
        pub(crate) fn clock() -> (Clock, &'static Self) {
            let hand: &'static Self = Box::leak(Box::new(Self {
                milliseconds: AtomicU64::new(1_000),
                unix: AtomicU64::new(Self::BEGIN * 1_000),
            }));
            let clock = Clock {
                hand: Some(hand),
                ..Clock::start()
            };
            (clock, hand)
        }

        /// Time passes.
        pub(crate) fn pass(&self, time: Duration) {
            let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            self.milliseconds.fetch_add(milliseconds, Ordering::SeqCst);
            self.unix.fetch_add(milliseconds, Ordering::SeqCst);
        }

        /// Somebody sets the wall clock forward.
        pub(crate) fn jump(&self, seconds: u64) {
            self.unix.fetch_add(seconds * 1_000, Ordering::SeqCst);
        }

        pub(super) fn instant(&self) -> Instant {
            let milliseconds = self.milliseconds.load(Ordering::SeqCst);
            Instant::from_nanos(milliseconds * 1_000_000)
        }

        pub(super) fn unix(&self) -> UnixTime {
            UnixTime::from_secs(self.unix.load(Ordering::SeqCst) / 1_000)
        }
    }
}
