//! How many lines refused reloads may write.
//!
//! A program that rewrites a broken file over and over must not fill the disk with the same complaint. Not responsible
//! for the lines.

use std::time::Duration;

use taciturn_protocol::time::Instant;

/// Refusals that are said in full one after another.
const BURST: u32 = 20;
/// One more after this time.
const EVERY: Duration = Duration::from_secs(10);

/// A bucket of refusals that may be said in full.
#[derive(Debug)]
pub(super) struct Limited {
    left: u32,
    filled: Instant,
    suppressed: u64,
}

impl Limited {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
            suppressed: 0,
        }
    }

    /// Whether one more may be said, and how many were not since the last that was; `None`: not now.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        while self.left < BURST && now.saturating_since(self.filled) >= EVERY {
            self.left += 1;
            self.filled = self.filled + EVERY;
        }
        if self.left == BURST {
            self.filled = now;
        }
        if self.left == 0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1;
        Some(core::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_said_and_then_one_in_a_while_with_the_number_of_the_others() {
        let start = Instant::from_nanos(1);
        let mut limited = Limited::new(start);
        for _ in 0..BURST {
            assert_eq!(limited.admit(start), Some(0));
        }
        assert_eq!(limited.admit(start), None);
        assert_eq!(limited.admit(start + EVERY / 2), None);
        assert_eq!(limited.admit(start + EVERY), Some(2));
        assert_eq!(limited.admit(start + EVERY), None);
        let later = start + EVERY * 1000;
        assert_eq!(limited.admit(later), Some(1));
        for _ in 1..BURST {
            assert_eq!(limited.admit(later), Some(0));
        }
        assert_eq!(
            limited.admit(later),
            None,
            "a long silence saves no more than a burst"
        );
    }
}
