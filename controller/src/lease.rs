//! Who leads: one record that all controllers of a fleet can see, and that changes hands only when its holder is silent.
//!
//! Responsible for the record, for renewing it beside the rounds ([`Keeper`]), and for saying whether this controller may
//! act at this moment. Not responsible for what makes an overlap harmless all the same, as no cloud takes a fencing token:
//! launch tokens, calls by id, and the epochs that relays check.
//!
//! [`Tenure`] is the rule, pure; [`Lease`] is where the record is kept.

mod file;
mod keeper;
mod none;
mod opened;
mod s3;
mod tenure;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use file::FileLease;
pub use keeper::Keeper;
pub use none::NoLease;
pub use opened::open;
pub use s3::{PlaceError, S3Lease};
pub use tenure::{Step, Tenure, Terms};

/// What is kept. Never deleted, as the epoch would be lost with it: a lease that is given up has no holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The process that holds it; empty: nobody does.
    pub holder: String,
    /// Grows each time it changes hands, and is at least the unix time in seconds then.
    pub epoch: u64,
    /// Grows each time it is renewed, so that every write changes the record.
    pub renewals: u64,
}

/// A record and the version that a write has to name, such as an ETag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What stands there.
    pub record: Record,
    /// Which write put it there. Differs for each write.
    pub version: String,
}

/// Why a lease could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Something else stands there than the writer expected; nothing was written.
    #[error("somebody else has written it")]
    Conflict,
    /// What stands there is no record of a lease; nothing is done to it.
    #[error("what stands there cannot be read: {0}")]
    Unreadable(String),
    /// It failed; nothing was written.
    #[error("failed: {0}")]
    Failed(String),
    /// No answer: it may have been written.
    #[error("no answer: {0}")]
    Unknown(String),
}

/// Where the record is kept: reading, and writing on a condition.
#[async_trait]
pub trait Lease: Send + Sync + std::fmt::Debug {
    /// "none", "file" or "s3".
    fn kind(&self) -> &'static str;

    /// What stands there; `None`: nothing has ever been written.
    ///
    /// # Errors
    /// It cannot be read now.
    async fn read(&self) -> Result<Option<Seen>, LeaseError>;

    /// Writes `record` if the version that stands there is still `expected`; `None`: if nothing does. Returns the version
    /// that stands there now.
    ///
    /// # Errors
    /// [`LeaseError::Conflict`] when something else stands there; after [`LeaseError::Unknown`] it is read again.
    async fn write(&self, expected: Option<&str>, record: &Record) -> Result<String, LeaseError>;
}
