//! Who has the machines: the one seam to a cloud.
//!
//! Responsible for the trait and its words. Not responsible for what is asked of a provider (`policy`) nor when (`apply`).
//!
//! Every call is bounded in time by the provider, and may be repeated: a launch by its token, everything else by its id. A
//! call that has no answer is [`ProviderError::Unknown`], never a failure: it may have happened.

pub mod aws;
pub mod dry_run;
pub mod exec;
pub mod limited;
pub mod local;
mod opened;
pub mod static_list;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::fleet::{Group, InstanceId, LaunchToken, Lifecycle, ZoneId};

pub use opened::open;

/// What exists, by the provider's word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Whether this is all there is. One that is not is treated as a failed one: nothing that is missing in it is gone.
    pub complete: bool,
    /// The group.
    #[serde(default)]
    pub group: Group,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Tokens of launches that are known to have happened, and what they launched.
    #[serde(default)]
    pub launched: BTreeMap<LaunchToken, Vec<InstanceId>>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its zone.
    pub zone: ZoneId,
    /// Where it is in the provider's books.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// Its type, where there is one.
    #[serde(default)]
    pub instance_type: String,
    /// Its image, where there is one.
    #[serde(default)]
    pub image: String,
    /// How long it has existed, where the provider knows.
    #[serde(default, with = "crate::durations::seconds")]
    pub age: Option<Duration>,
    /// Where the relay's admin API is, where the provider knows.
    #[serde(default)]
    pub admin: Option<SocketAddr>,
    /// The provider says that it is not well: a sign where nobody tries its data path, and never alone a reason.
    #[serde(default)]
    pub unhealthy: bool,
}

/// A launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchOrder {
    /// Where: always one of the allowed zones.
    pub zone: ZoneId,
    /// How many.
    pub count: u32,
    /// The same token again is the same launch.
    pub token: LaunchToken,
}

/// How an end went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// It is ending now.
    Ending,
    /// It was gone, or ending, before.
    Already,
}

/// What a provider can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// It launches.
    pub launches: bool,
    /// It ends instances.
    pub terminates: bool,
    /// It has termination hooks ([`Provider::extend`], [`Provider::finish`]).
    pub hooks: bool,
}

/// Why a provider did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// Too many calls; nothing happened.
    #[error("the provider throttles: {0}")]
    Throttled(String),
    /// The zone has no machine to give; nothing happened.
    #[error("no capacity: {0}")]
    NoCapacity(String),
    /// It is not allowed or makes no sense, and would be refused again; nothing happened.
    #[error("refused: {0}")]
    Refused(String),
    /// It failed there; nothing happened, and another try may succeed.
    #[error("failed: {0}")]
    Failed(String),
    /// No answer in time, or one that cannot be read: it may have happened.
    #[error("no answer that can be used: {0}")]
    Unknown(String),
    /// This provider does not do that.
    #[error("the provider {0} cannot do that")]
    Unsupported(&'static str),
    /// Nothing was asked of the provider: see [`dry_run`].
    #[error("a dry run: nothing was asked of the provider")]
    DryRun,
}

/// A provider.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug {
    /// Its name: "aws", "local", "static", "exec".
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What exists.
    ///
    /// # Errors
    /// Nothing is known then; an answer that is not complete is no error, but says so.
    async fn list(&self) -> Result<Listing, ProviderError>;

    /// Launches, additively. Returns the ids, as far as they are known at once.
    ///
    /// # Errors
    /// See [`ProviderError`]: after `Unknown` the same token is asked again.
    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError>;

    /// Ends one instance by id and does not replace it.
    ///
    /// # Errors
    /// See [`ProviderError`].
    async fn terminate(&self, id: &InstanceId) -> Result<Ended, ProviderError>;

    /// Asks a termination hook for more time.
    ///
    /// # Errors
    /// See [`ProviderError`].
    async fn extend(&self, id: &InstanceId) -> Result<(), ProviderError>;

    /// Tells a termination hook that the instance may end.
    ///
    /// # Errors
    /// See [`ProviderError`].
    async fn finish(&self, id: &InstanceId) -> Result<(), ProviderError>;
}

/// Whether nothing can be asked at this address: it stands for any, for many, or has no port.
fn is_no_destination(address: SocketAddr) -> bool {
    address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0
}
