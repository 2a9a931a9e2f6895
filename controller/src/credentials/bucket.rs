//! How often one subject may ask: a token bucket, without a lock.
//!
//! Responsible for the reckoning. Not responsible for whose bucket it is (`desk`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taciturn_protocol::time::Instant;

use super::Limit;

/// When the bucket will be full again, in nanoseconds of the monotonic clock: one number says all that there is to know.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one, or says after how long there will be one again.
    ///
    /// # Errors
    /// It is empty.
    pub fn take(&self, now: Instant, limit: Limit) -> Result<(), Duration> {
        let one = 1_000_000_000 / u64::from(limit.rate.max(1));
        let most = one.saturating_mul(u64::from(limit.burst.max(1)));
        let now = now.as_nanos();
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| {
                let full = full.max(now).saturating_add(one);
                (full - now <= most).then_some(full)
            });
        taken.map(drop).map_err(|full| {
            let wait = full.saturating_add(one).saturating_sub(now);
            Duration::from_nanos(wait.saturating_sub(most))
        })
    }
}
