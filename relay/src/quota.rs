//! One quota for all workers.
//!
//! A user's allocations are spread over the workers by the kernel, so the count is shared: a lock, taken when an
//! allocation begins or ends and never for a packet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taciturn_protocol::credentials::UserName;
use taciturn_protocol::server::{LocalQuota, Quota, QuotaExceeded};

/// The relay's quota, as one worker sees it.
#[derive(Clone, Debug)]
pub struct SharedQuota(Arc<Mutex<LocalQuota>>);

impl SharedQuota {
    /// Shares this quota between all clones.
    pub fn new(quota: LocalQuota) -> Self {
        Self(Arc::new(Mutex::new(quota)))
    }

    /// Other limits for all workers, from the next allocation on. Allocations that are held beyond them stay.
    pub fn limit(&self, per_user: u32, total: u32) {
        self.lock().limit(per_user, total);
    }

    fn lock(&self) -> MutexGuard<'_, LocalQuota> {
        // A worker that panics takes the process with it, so nobody reads a half-made count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quota for SharedQuota {
    fn reserve(&mut self, user: &UserName) -> Result<(), QuotaExceeded> {
        self.lock().reserve(user)
    }

    fn release(&mut self, user: &UserName) {
        self.lock().release(user);
    }
}
