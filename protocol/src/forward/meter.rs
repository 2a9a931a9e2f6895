//! How much payload a user may have relayed in a second.
//!
//! A soft limit: what is beyond it is dropped, and nothing else happens. Control messages are never metered. Not
//! responsible for knowing users; the server gives each a number.

use alloc::vec::Vec;
use core::time::Duration;

use crate::time::Instant;

/// Names one user's meter. Numbers are small and are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterId(pub u32);

/// A user that was silent may send this much of its limit at once: a key frame is many times the mean.
const BURST: Duration = Duration::from_secs(1);

/// The meters of one worker: for each user the time up to which its limit is spent.
#[derive(Debug, Default)]
pub(super) struct Meters {
    bits_per_second: u64,
    spent_until: Vec<Instant>,
}

impl Meters {
    /// Another limit, from the next packet on; 0 lifts it.
    pub(super) const fn limit(&mut self, bits_per_second: u64) {
        self.bits_per_second = bits_per_second;
    }

    /// A meter is about to be used. What is left of its last user's second is that small a debt that it stays.
    pub(super) fn prepare(&mut self, meter: MeterId) {
        let index = meter.0 as usize;
        if self.spent_until.len() <= index {
            self.spent_until.resize(index + 1, Instant::ZERO);
        }
    }

    /// Whether `bytes` of payload are still within the limit; if so, they are counted.
    #[inline]
    pub(super) fn admit(&mut self, meter: MeterId, now: Instant, bytes: usize) -> bool {
        if self.bits_per_second == 0 {
            return true;
        }
        let Some(spent_until) = self.spent_until.get_mut(meter.0 as usize) else {
            return true;
        };
        let spent = (*spent_until).max(now);
        if spent.saturating_since(now) > BURST {
            return false;
        }
        // At most 64 KiB: the product stays below 2^53.
        *spent_until =
            spent + Duration::from_nanos(bytes as u64 * 8_000_000_000 / self.bits_per_second);
        true
    }
}
