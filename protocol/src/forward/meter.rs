//! How much payload a user, and one allocation, may have relayed in a second.
//!
//! Soft limits: what is beyond them is dropped, and nothing else happens. Control messages are never metered, nor is the
//! relay's own self-check. Not responsible for knowing users; the server gives each a number.

use alloc::vec::Vec;
use core::time::Duration;

use super::DropReason;
use crate::time::Instant;

/// Names one user's meter. Numbers are small and are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterId(pub u32);

/// Limits of relayed payload, both directions together, in bits per second; 0 lifts one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// For all allocations of one user on this worker.
    pub bits_per_second_per_user: u64,
    /// For one allocation.
    pub bits_per_second_per_allocation: u64,
}

/// Who was silent may send this much of its limit at once: a key frame is many times the mean.
const BURST: Duration = Duration::from_secs(1);

/// What one allocation's payloads are charged to.
#[derive(Debug)]
pub(super) struct Account {
    user: MeterId,
    /// Until when its own limit is spent.
    spent_until: Instant,
    /// The relay's own self-check's: charged nothing.
    pub(super) synthetic: bool,
}

impl Account {
    pub(super) const fn new(user: MeterId, synthetic: bool) -> Self {
        Self {
            user,
            spent_until: Instant::ZERO,
            synthetic,
        }
    }

    /// Forgets what was spent.
    pub(super) const fn clear(&mut self) {
        self.spent_until = Instant::ZERO;
    }
}

/// The meters of one worker: for each user the time up to which its limit is spent.
#[derive(Debug, Default)]
pub(super) struct Meters {
    limits: Bandwidth,
    spent_until: Vec<Instant>,
}

impl Meters {
    /// Other limits, from the next packet on. `true` when they differ from those before, and the users' accounts have
    /// been cleared; the allocations' are the caller's to clear.
    pub(super) fn limit(&mut self, limits: Bandwidth) -> bool {
        let differs = self.limits != limits;
        if differs {
            self.limits = limits;
            self.spent_until.fill(Instant::ZERO);
        }
        differs
    }

    /// A meter is about to be used. What is left of its last user's second is that small a debt that it stays.
    pub(super) fn prepare(&mut self, meter: MeterId) {
        let index = meter.0 as usize;
        if self.spent_until.len() <= index {
            self.spent_until.resize(index + 1, Instant::ZERO);
        }
    }

    /// Counts `bytes` of payload, when they are still within both limits. What one limit refuses is not charged to the
    /// other: an allocation beyond its own limit takes nothing from its user's other calls.
    #[inline]
    pub(super) fn admit(
        &mut self,
        account: &mut Account,
        now: Instant,
        bytes: usize,
    ) -> Result<(), DropReason> {
        let Bandwidth {
            bits_per_second_per_user,
            bits_per_second_per_allocation,
        } = self.limits;
        let is_unlimited = bits_per_second_per_user == 0 && bits_per_second_per_allocation == 0;
        if is_unlimited || account.synthetic {
            return Ok(());
        }
        let own = charged(
            account.spent_until,
            bits_per_second_per_allocation,
            now,
            bytes,
        )
        .ok_or(DropReason::AllocationBandwidth)?;
        if let Some(user) = self.spent_until.get_mut(account.user.0 as usize) {
            *user = charged(*user, bits_per_second_per_user, now, bytes)
                .ok_or(DropReason::Bandwidth)?;
        }
        account.spent_until = own;
        Ok(())
    }
}

/// Until when a limit is spent after `bytes` more; `None` when it is spent already.
#[inline]
fn charged(
    spent_until: Instant,
    bits_per_second: u64,
    now: Instant,
    bytes: usize,
) -> Option<Instant> {
    if bits_per_second == 0 {
        return Some(spent_until);
    }
    let spent = spent_until.max(now);
    if spent.saturating_since(now) > BURST {
        return None;
    }
    // At most 64 KiB: the product stays below 2^53.
    Some(spent + Duration::from_nanos(bytes as u64 * 8_000_000_000 / bits_per_second))
}
