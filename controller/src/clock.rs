//! The controller's clocks: the only place that reads them.
//!
//! Responsible for turning the machine's clocks into [`Now`]. Not responsible for what happens at a point in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use taciturn_protocol::time::{Instant, Now, UnixTime};

/// Both clocks of one controller. Copies share their start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now, at one second: no instant is ever reckoned from before the start.
    pub fn start() -> Self {
        let start = std::time::Instant::now();
        Self {
            start: start.checked_sub(Duration::from_secs(1)).unwrap_or(start),
        }
    }

    /// Both clocks, read once for a round.
    pub fn now(&self) -> Now {
        Now {
            instant: self.instant(),
            unix: self.unix(),
        }
    }

    /// The monotonic clock. It goes on while the process is stopped, so that a lease that ran out meanwhile is noticed.
    pub fn instant(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The wall clock; one that is set before 1970 reads as 1970.
    pub fn unix(&self) -> UnixTime {
        UnixTime::from_secs(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        )
    }
}
