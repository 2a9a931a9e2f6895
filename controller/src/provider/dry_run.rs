//! A provider that is looked at and never touched: `--dry-run` is enforced here, whatever the caller does.
//!
//! Responsible for letting no mutation through. Not responsible for orders to relays (`observe`), which are held back there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::{Capabilities, Ended, LaunchOrder, Listing, Provider, ProviderError};
use crate::fleet::InstanceId;

/// Lists what `inner` lists; everything else is refused as [`ProviderError::DryRun`] and counted.
#[derive(Debug)]
pub struct DryRun {
    inner: Arc<dyn Provider>,
    refused: AtomicU64,
}

impl DryRun {
    /// Around `inner`.
    pub fn new(inner: Arc<dyn Provider>) -> Self {
        Self {
            inner,
            refused: AtomicU64::new(0),
        }
    }

    /// Mutations that were held back so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn refuse<T>(&self) -> Result<T, ProviderError> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(ProviderError::DryRun)
    }
}

#[async_trait]
impl Provider for DryRun {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        self.inner.list().await
    }

    async fn launch(&self, _: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError> {
        self.refuse()
    }

    async fn terminate(&self, _: &InstanceId) -> Result<Ended, ProviderError> {
        self.refuse()
    }

    async fn extend(&self, _: &InstanceId) -> Result<(), ProviderError> {
        self.refuse()
    }

    async fn finish(&self, _: &InstanceId) -> Result<(), ProviderError> {
        self.refuse()
    }
}
