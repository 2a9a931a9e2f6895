//! The relay's clocks: the only place that reads them.
//!
//! Responsible for turning the machine's clocks into [`Now`]. Not responsible for what happens at a point in time: every
//! deadline belongs to whoever owns what expires.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_getres};
use taciturn_protocol::time::{Instant, Now, UnixTime};

/// Both clocks of one relay. Copies share their start, so that instants of different workers can be compared.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now, at one second: no deadline is ever computed from before the start.
    pub fn start() -> Self {
        let start = std::time::Instant::now();
        Self {
            start: start.checked_sub(Duration::from_secs(1)).unwrap_or(start),
        }
    }

    /// Both clocks. Read once for a batch of input.
    pub fn now(&self) -> Now {
        Now {
            instant: self.instant(),
            unix: self.unix(),
        }
    }

    /// The monotonic clock.
    pub fn instant(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The wall clock. One that is set before 1970 reads as 1970: credentials then look far in the future and are
    /// refused, which is the safe side.
    pub fn unix(&self) -> UnixTime {
        UnixTime::from_secs(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        )
    }
}

/// Whether the system wakes a thread that sleeps for some microseconds when it is meant to. Without timers of their own
/// resolution, which few systems lack, it would do so at its next tick, milliseconds later.
pub(crate) fn wakes_on_time() -> bool {
    is_fine(&clock_getres(ClockId::Monotonic))
}

const fn is_fine(resolution: &Timespec) -> bool {
    resolution.tv_sec == 0 && resolution.tv_nsec <= 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_not_fine_and_a_nanosecond_is() {
        let resolution = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        assert!(is_fine(&resolution(0, 1)));
        assert!(!is_fine(&resolution(0, 4_000_000)));
        assert!(!is_fine(&resolution(1, 0)));
    }

    #[test]
    fn the_monotonic_clock_never_goes_back_and_copies_share_it() {
        let clock = Clock::start();
        let copy = clock;
        let first = clock.instant();
        let second = copy.instant();
        assert!(second >= first);
        assert!(first >= Instant::from_nanos(0));
    }
}
