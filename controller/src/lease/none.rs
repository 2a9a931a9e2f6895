//! No lease: the only controller there is, by its operator's word.
//!
//! Responsible for a record in memory, so that nothing else has to know the difference. Two controllers without a lease are
//! told apart by relays alone, through the epochs.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Lease, LeaseError, Record, Seen};

/// A record that nobody else sees.
#[derive(Debug, Default)]
pub struct NoLease(Mutex<Option<Record>>);

#[async_trait]
impl Lease for NoLease {
    fn kind(&self) -> &'static str {
        "none"
    }

    async fn read(&self) -> Result<Option<Seen>, LeaseError> {
        let record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(record.clone().map(seen))
    }

    async fn write(&self, expected: Option<&str>, record: &Record) -> Result<String, LeaseError> {
        let mut stands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stands.clone().map(seen).map(|seen| seen.version).as_deref() != expected {
            return Err(LeaseError::Conflict);
        }
        *stands = Some(record.clone());
        Ok(seen(record.clone()).version)
    }
}

fn seen(record: Record) -> Seen {
    Seen {
        version: format!("{}/{}/{}", record.holder, record.epoch, record.renewals),
        record,
    }
}
