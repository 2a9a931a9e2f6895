//! From a configuration to the lease that is kept.
//!
//! Responsible for which lease it is. Not responsible for any of them.

use std::sync::Arc;

use super::{FileLease, Lease, NoLease, S3Lease};
use crate::config::{self, LeaseKind};

/// The lease of `config`. Nothing is read or written yet.
///
/// # Errors
/// It cannot be used, in words: the bucket's endpoint is no URL.
pub async fn open(config: &config::Lease) -> Result<Arc<dyn Lease>, String> {
    Ok(match &config.kind {
        LeaseKind::None => Arc::new(NoLease::default()),
        LeaseKind::File { file } => Arc::new(FileLease::new(file.clone())),
        LeaseKind::S3 {
            bucket,
            key,
            region,
        } => {
            let lease = S3Lease::open(bucket, key, region).await;
            Arc::new(lease.map_err(|error| error.to_string())?)
        }
    })
}
