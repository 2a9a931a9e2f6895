//! Time as the pure code sees it: an argument, never a call.
//!
//! Responsible for the two notions of time that the protocol needs. Not responsible for reading a clock: whoever owns
//! one passes [`Now`] in, so that every scenario can be replayed.

use core::ops::Add;
use core::time::Duration;

/// A point on a monotonic clock: nanoseconds since a start that only its owner knows. Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Instant(u64);

impl Instant {
    /// The clock's start.
    pub const ZERO: Self = Self(0);

    /// The instant `nanos` nanoseconds after the start; a `u64` lasts for 584 years.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of the clock.
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Wall-clock time: whole seconds since 1970-01-01 UTC. Only credentials and nonces read it, as their expiry is agreed
/// between machines; lifetimes use [`Instant`], so that a clock step never ends a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct UnixTime(u64);

impl UnixTime {
    /// The time `seconds` seconds after 1970-01-01 UTC.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01 UTC.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This time moved later by `seconds`; saturates.
    #[must_use]
    pub const fn plus_secs(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// Both clocks, read once for a batch of input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Now {
    /// The monotonic clock.
    pub instant: Instant,
    /// The wall clock.
    pub unix: UnixTime,
}
