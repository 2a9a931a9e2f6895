//! How long payloads have waited for a client to take them, as a distribution.
//!
//! Responsible for the bounds of its buckets. Not responsible for the queue (`queue`), nor for what was given up: that is
//! counted as dropped.

use std::time::Duration;

/// Payloads that left a queue, by how long they had been in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// As many as waited no longer than the bound of the same position in [`Waits::BOUNDS`], and longer than the one
    /// before; the last are those beyond all bounds.
    pub counts: [u32; Self::BUCKETS],
    /// What they waited in all, in nanoseconds.
    pub nanos: u64,
}

impl Waits {
    /// Upper bounds: from what nobody hears to what nobody bears.
    pub const BOUNDS: [Duration; 7] = [
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(20),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(200),
        Duration::from_millis(500),
    ];

    /// One for each bound, and one beyond.
    pub const BUCKETS: usize = Self::BOUNDS.len() + 1;

    /// One payload left after this long.
    #[inline]
    pub(super) fn left_after(&mut self, waited: Duration) {
        let bucket = Self::BOUNDS
            .iter()
            .position(|bound| waited <= *bound)
            .unwrap_or(Self::BOUNDS.len());
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.nanos = self.nanos.saturating_add(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_counted_below_its_bound_and_a_long_one_beyond_all() {
        let mut waits = Waits::default();
        for millis in [0, 5, 6, 500, 501] {
            waits.left_after(Duration::from_millis(millis));
        }
        assert_eq!(waits.counts, [2, 1, 0, 0, 0, 0, 1, 1]);
        assert_eq!(waits.nanos, 1_012_000_000);
    }
}
