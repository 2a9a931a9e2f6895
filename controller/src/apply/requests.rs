//! Counts what is asked of the provider and of relays, by operation and outcome: both closed sets of words.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::observe::RelayError;
use crate::provider::ProviderError;

/// Calls by operation and outcome.
type Calls = BTreeMap<(&'static str, &'static str), u64>;

/// Totals since the start.
#[derive(Debug, Default)]
pub struct Requests {
    provider: Mutex<Calls>,
    relays: Mutex<Calls>,
    audit_failures: AtomicU64,
}

impl Requests {
    /// A call to the provider: "list", "launch", "terminate", "extend", "finish".
    pub fn provider<T>(&self, operation: &'static str, answer: &Result<T, ProviderError>) {
        let code = answer.as_ref().err().map_or("ok", provider_code);
        count(&self.provider, operation, code);
    }

    /// A call to a relay: "status", "drain", "undrain", "revoke", "revocations".
    pub fn relay<T>(&self, operation: &'static str, answer: &Result<T, RelayError>) {
        let code = answer.as_ref().err().map_or("ok", relay_code);
        count(&self.relays, operation, code);
    }

    /// An entry could not be written to the audit trail.
    pub fn audit_failed(&self) {
        self.audit_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    pub fn audit_failures(&self) -> u64 {
        self.audit_failures.load(Ordering::Relaxed)
    }

    /// Those to the provider so far.
    pub fn of_provider(&self) -> Calls {
        let calls = self.provider.lock();
        calls.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those to relays so far.
    pub fn of_relays(&self) -> Calls {
        let calls = self.relays.lock();
        calls.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn count(calls: &Mutex<Calls>, operation: &'static str, code: &'static str) {
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    *calls.entry((operation, code)).or_default() += 1;
}

/// The word for an error in metrics.
pub const fn provider_code(error: &ProviderError) -> &'static str {
    match error {
        ProviderError::Throttled(_) => "throttled",
        ProviderError::NoCapacity(_) => "no_capacity",
        ProviderError::Refused(_) => "refused",
        ProviderError::Failed(_) => "failed",
        ProviderError::Unknown(_) => "unknown",
        ProviderError::Unsupported(_) => "unsupported",
        ProviderError::DryRun => "dry_run",
    }
}

/// The word for an error in metrics.
pub const fn relay_code(error: &RelayError) -> &'static str {
    match error {
        RelayError::Unreachable(_) => "unreachable",
        RelayError::Unknown(_) => "unknown",
        RelayError::OlderEpoch { .. } => "older_epoch",
        RelayError::Refused(_) => "refused",
        RelayError::NotNow(_) => "not_now",
        RelayError::DryRun => "dry_run",
    }
}
