//! From a configuration to the lease that is kept.
//!
//! Responsible for which lease it is. Not responsible for any of them.

use std::sync::Arc;

use super::{FileLease, Lease, NoLease, PlaceError, S3Lease};
use crate::config::LeaseKind;

/// The lease of this kind. Nothing is read or written yet.
///
/// # Errors
/// There is no such place: a bucket or an endpoint that has no URL.
pub async fn open(kind: &LeaseKind) -> Result<Arc<dyn Lease>, PlaceError> {
    Ok(match kind {
        LeaseKind::None => Arc::new(NoLease::default()),
        LeaseKind::File { file } => Arc::new(FileLease::new(file.clone())),
        LeaseKind::S3 {
            bucket,
            key,
            region,
        } => Arc::new(S3Lease::open(bucket, key, region).await?),
    })
}
