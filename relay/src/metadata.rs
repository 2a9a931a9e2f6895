//! What the cloud says about the instance that the relay runs on: zone, public addresses, and whether it is to end.
//!
//! ```text
//!   client     HTTP to the metadata endpoint: bounded in time, bytes and tries; a token for each reader (IMDSv2)
//!   instance   read once at start: zone id, instance id, public addresses
//!   lifecycle  read every few seconds: is the instance to be terminated?
//! ```
//!
//! Responsible for reading it and for believing only what has the right form. Not responsible for what it means for the
//! relay's zone and addresses (`run`), nor for a drain (`drain`).
//!
//! The endpoint answers whatever runs on the instance. That is why no client may ever reach it through the relay (A-03),
//! whether it is used here or not.

mod client;
mod instance;
mod lifecycle;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;

use crate::metrics::{Family, Source};

pub use client::{Endpoint, MetadataClient};
pub use instance::{Instance, PublicAddress};
pub(crate) use lifecycle::watch;

/// Why the instance metadata cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The endpoint in the environment is none.
    #[error(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT is not an address such as http://127.0.0.1:1338; only http is spoken, and no path \
         may follow"
    )]
    Endpoint,
    /// Nothing answers there.
    #[error(
        "no connection; is this an EC2 instance with its metadata enabled? in a container the instance needs a hop limit of 2"
    )]
    Unreachable(#[source] io::Error),
    /// An answer that does not come.
    #[error(
        "no answer in time; is this an EC2 instance with its metadata enabled? in a container the instance needs a hop limit of 2"
    )]
    Timeout,
    /// What answers does not speak HTTP, or breaks off.
    #[error("the answer is not HTTP")]
    Http(#[source] hyper::Error),
    /// An answer longer than any that is expected.
    #[error("the answer about {0} is longer than 4 KiB")]
    TooLong(&'static str),
    /// The endpoint refuses.
    #[error("the answer about {what} has the status {status}")]
    Status {
        /// What was asked for.
        what: &'static str,
        /// What came back.
        status: StatusCode,
    },
    /// Something that is there on every instance is not.
    #[error("it knows no {0}")]
    Missing(&'static str),
    /// A value that cannot be one. It is not repeated: it may be anything.
    #[error("it says something about {0} that cannot be so")]
    Value(&'static str),
}

/// How a request ended, for the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    /// There is no such item, which is an answer too.
    NotFound,
    /// The token has ended before its time and is renewed.
    Unauthorized,
    Timeout,
    Unreachable,
    /// Another status, no HTTP, or too much of it.
    BadAnswer,
}

impl Outcome {
    const ALL: [Self; 6] = [
        Self::Success,
        Self::NotFound,
        Self::Unauthorized,
        Self::Timeout,
        Self::Unreachable,
        Self::BadAnswer,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::BadAnswer => "bad_answer",
        }
    }
}

/// Requests to the endpoint by how they ended. All stay zero while there is no provider.
#[derive(Debug, Default)]
pub struct MetadataRequests([AtomicU64; Outcome::ALL.len()]);

impl MetadataRequests {
    fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Source for MetadataRequests {
    fn families(&self) -> Vec<Family> {
        vec![Family::counters(
            "taciturn_relay_metadata_requests_total",
            "Requests to the instance metadata, by outcome.",
            ["outcome"],
            Outcome::ALL.map(|outcome| {
                let count = self.0[outcome as usize].load(Ordering::Relaxed);
                ([outcome.as_str()], count)
            }),
        )]
    }
}
