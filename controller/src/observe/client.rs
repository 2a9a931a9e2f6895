//! HTTP to the relays' admin APIs, and a STUN question to their data path.
//!
//! Responsible for bounds: in time, in bytes, and in how many are asked at once. Not responsible for what the answers mean
//! (`report`).

use std::net::SocketAddr;

use async_trait::async_trait;

use super::{DrainOrder, RelayError, Relays};
use crate::config;
use crate::fleet::{InstanceId, Report};

/// Why the `[relays]` section's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The TLS library refuses.
    #[error("[relays] certificate, key or ca cannot be used")]
    Tls(#[from] rustls::Error),
}

/// Asks relays as `[relays]` says.
#[derive(Debug)]
pub struct RelayClient {}

impl RelayClient {
    /// A client that has asked nothing yet.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(_relays: &config::Relays) -> Result<Self, ClientError> {
        Ok(Self {})
    }
}

#[async_trait]
impl Relays for RelayClient {
    async fn status(&self, _id: &InstanceId, _admin: SocketAddr) -> Result<Report, RelayError> {
        Err(RelayError::DryRun)
    }

    async fn drain(
        &self,
        _id: &InstanceId,
        _admin: SocketAddr,
        _order: &DrainOrder,
    ) -> Result<(), RelayError> {
        Err(RelayError::DryRun)
    }

    async fn undrain(
        &self,
        _id: &InstanceId,
        _admin: SocketAddr,
        _epoch: u64,
    ) -> Result<(), RelayError> {
        Err(RelayError::DryRun)
    }

    async fn stun(&self, _id: &InstanceId, _admin: SocketAddr) -> bool {
        false
    }
}
