//! How relays are asked, and told to drain: the one seam to their admin APIs.
//!
//! Responsible for the trait, for its words, and for the dry run. Not responsible for HTTP (`client`).

use std::net::SocketAddr;

use async_trait::async_trait;
use serde::Serialize;
use taciturn_protocol::credentials::RevocationList;
use taciturn_protocol::time::UnixTime;

use crate::fleet::{InstanceId, Report};

/// The relays of a fleet. Every call is bounded in time, and may be repeated: a drain that is ordered again is the same drain.
#[async_trait]
pub trait Relays: Send + Sync + std::fmt::Debug {
    /// What the relay says of itself (`GET /v1/status`).
    ///
    /// # Errors
    /// Nothing new is known of it then.
    async fn status(&self, id: &InstanceId, admin: SocketAddr) -> Result<Report, RelayError>;

    /// Orders a drain, or gives the one under way another deadline (`POST /v1/drain`).
    ///
    /// # Errors
    /// See [`RelayError`].
    async fn drain(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
        order: &DrainOrder,
    ) -> Result<(), RelayError>;

    /// Takes the order back (`DELETE /v1/drain`).
    ///
    /// # Errors
    /// See [`RelayError`].
    async fn undrain(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
        epoch: u64,
    ) -> Result<(), RelayError>;

    /// Puts the whole list in force (`PUT /v1/revocations`).
    ///
    /// # Errors
    /// See [`RelayError`].
    async fn revoke(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
        list: &RevocationList,
    ) -> Result<(), RelayError>;

    /// The list that is in force (`GET /v1/revocations`).
    ///
    /// # Errors
    /// See [`RelayError`].
    async fn revocations(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
    ) -> Result<RevocationList, RelayError>;

    /// Whether the data path of the relay whose admin API is at `admin` answers a STUN Binding request; `None`: it is
    /// not tried. That tells a relay whose admin API is down from one that is down.
    async fn stun(&self, id: &InstanceId, admin: SocketAddr) -> Option<bool>;
}

/// A drain as it is ordered: the body of `POST /v1/drain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrainOrder {
    /// When the relay may be ended with allocations left.
    pub deadline: UnixTime,
    /// Why, for people; at most 256 bytes, as relays refuse longer ones.
    pub reason: String,
    /// This controller's epoch.
    pub epoch: u64,
}

impl DrainOrder {
    /// Longest reason that a relay takes.
    pub const REASON_BYTES: usize = 256;
}

/// Why a relay did not answer, or did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// No connection; nothing happened.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time, or the connection broke: an order may have been obeyed.
    #[error("no answer that can be used: {0}")]
    Unknown(String),
    /// It has obeyed an order of a newer epoch.
    #[error("it has obeyed epoch {seen}, which is newer")]
    OlderEpoch {
        /// That epoch.
        seen: u64,
    },
    /// It refuses, in its words.
    #[error("refused: {0}")]
    Refused(String),
    /// It cannot now, and may later, in its words.
    #[error("not now: {0}")]
    NotNow(String),
    /// It was not asked: a dry run.
    #[error("not asked: this is a dry run")]
    DryRun,
}

/// Relays that are looked at and never told anything.
#[derive(Debug)]
pub struct DryRunRelays<R>(pub R);

#[async_trait]
impl<R: Relays> Relays for DryRunRelays<R> {
    async fn status(&self, id: &InstanceId, admin: SocketAddr) -> Result<Report, RelayError> {
        self.0.status(id, admin).await
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

    async fn revoke(
        &self,
        _id: &InstanceId,
        _admin: SocketAddr,
        _list: &RevocationList,
    ) -> Result<(), RelayError> {
        Err(RelayError::DryRun)
    }

    async fn revocations(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
    ) -> Result<RevocationList, RelayError> {
        self.0.revocations(id, admin).await
    }

    async fn stun(&self, id: &InstanceId, admin: SocketAddr) -> Option<bool> {
        self.0.stun(id, admin).await
    }
}
