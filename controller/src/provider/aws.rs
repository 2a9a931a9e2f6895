//! Provider `aws`: an EC2 Auto Scaling group, through the Auto Scaling API alone.
//!
//! ```text
//!   list       DescribeAutoScalingGroups, DescribeInstanceRefreshes, DescribeAutoScalingInstances (launched, not listed yet)
//!   launch     LaunchInstances with a client token; or SetDesiredCapacity, upward only
//!   terminate  DescribeAutoScalingInstances, then TerminateInstanceInAutoScalingGroup by id, with one less desired
//!   extend     RecordLifecycleActionHeartbeat             finish   CompleteLifecycleAction CONTINUE
//! ```
//!
//! Responsible for saying these in a way that can be said twice, within a bounded time, and for the truth of a list: what was
//! not read whole is not complete. The desired capacity is never written downward: the group would choose who ends. Not
//! responsible for what is asked of it (`policy`), nor for the group's settings (`doctor`).

mod addresses;
mod books;
mod call;
mod launch;
mod memory;
mod settings;
mod terminate;
mod whole;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::types::AutoScalingGroup;

use self::addresses::Addresses;
use self::books::{Books, Zones};
use self::memory::Memory;
use super::{Capabilities, Ended, LaunchOrder, Listing, Provider, ProviderError};
use crate::clock::Clock;
use crate::fleet::{InstanceId, ZoneId};

pub(crate) use self::books::{refreshes, template};
pub(crate) use self::call::{Again, Calls, Fault, Meaning, plain};
pub use self::settings::Settings;

/// Pages that are followed before a list that does not end is given up.
const MOST_PAGES: u32 = 200;
/// The longest that a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Ids that one call takes.
const IDS_AT_ONCE: usize = 50;

/// The provider.
pub struct Aws {
    client: Client,
    calls: Calls,
    settings: Settings,
    allowed: BTreeSet<ZoneId>,
    zones: Zones,
    addresses: Addresses,
    clock: Clock,
    memory: Mutex<Memory>,
    /// One raise or decrement at a time where capacity is reckoned: each starts from what the one before has done.
    reckoning: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Aws {
    /// Finds credentials and endpoints as every AWS tool does: environment, profile, container, instance. Nothing is called
    /// before there is something to ask.
    pub async fn open(settings: &Settings, allowed: &BTreeSet<ZoneId>, admin_port: u16) -> Self {
        let sdk = sdk_config(&settings.region).await;
        Self::over(&sdk, settings, allowed, admin_port)
    }

    /// The provider over credentials and an endpoint that are given.
    pub fn over(
        sdk: &SdkConfig,
        settings: &Settings,
        allowed: &BTreeSet<ZoneId>,
        admin_port: u16,
    ) -> Self {
        let clock = Clock::start();
        Self {
            client: client(sdk, settings),
            calls: Calls::new(settings),
            settings: settings.clone(),
            allowed: allowed.clone(),
            zones: Zones::new(&settings.zone_ids),
            addresses: Addresses::new(settings, admin_port, clock),
            clock,
            memory: Mutex::default(),
            reckoning: tokio::sync::Mutex::default(),
        }
    }

    /// What is remembered; whole between two statements, even where a thread ended badly between them.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group as described now.
    async fn describe(&self) -> Result<Books, Fault> {
        let name = &self.settings.auto_scaling_group;
        let (pages, end) = group_pages(&self.client, &self.calls, name).await?;
        let mut books = Books::read(name, &pages, &self.zones)
            .map_err(|words| Fault::new(Meaning::Refused, words))?;
        books.gaps.extend(end.err());
        Ok(books)
    }

    /// Adds to `books` what was launched and is not described with the group yet.
    async fn add_missing(&self, books: &mut Books) -> Result<(), Fault> {
        let missing = self.memory().missing(&books.ids(), self.clock.instant());
        for ids in missing.chunks(IDS_AT_ONCE) {
            for details in self.details(ids).await? {
                if details.auto_scaling_group_name()
                    == Some(self.settings.auto_scaling_group.as_str())
                {
                    books.detailed(&details, &self.zones);
                }
            }
        }
        Ok(())
    }

    /// Whether somebody replaces all instances.
    async fn refresh_active(&self) -> Result<bool, Fault> {
        let call = || {
            self.client
                .describe_instance_refreshes()
                .auto_scaling_group_name(&self.settings.auto_scaling_group)
                .max_records(5)
                .send()
        };
        // The newest come first, and one that is not over is never behind five that are.
        let answer = self
            .calls
            .call("DescribeInstanceRefreshes", Again::Reads, call)
            .await?;
        let Some(refreshes) = &answer.instance_refreshes else {
            return Err(Fault::new(
                Meaning::Failed,
                "DescribeInstanceRefreshes: the answer names no refreshes at all",
            ));
        };
        Ok(refreshes
            .iter()
            .any(|refresh| books::refreshes(refresh.status())))
    }
}

#[async_trait]
impl Provider for Aws {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            launches: true,
            terminates: true,
            hooks: true,
        }
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        let (books, refresh) = tokio::join!(self.describe(), self.refresh_active());
        let (mut books, refresh) = (books?, refresh?);
        books.group.refresh_active = refresh;
        self.memory().arrived(&books.ids());
        self.add_missing(&mut books).await?;
        let addresses = self.addresses.of(&books.ids()).await;
        for gap in &books.gaps {
            tracing::warn!(
                group = self.settings.auto_scaling_group,
                gap,
                "incomplete list"
            );
        }
        let mut listing = books.listing();
        for instance in &mut listing.instances {
            instance.admin = addresses.get(&instance.id).copied();
        }
        listing.launched = self.memory().launched();
        Ok(listing)
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError> {
        self.launch_allowed(order).await
    }

    async fn terminate(&self, id: &InstanceId) -> Result<Ended, ProviderError> {
        self.end(id).await
    }

    async fn extend(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.heartbeat(id).await
    }

    async fn finish(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.complete(id).await
    }
}

/// Credentials and endpoints from where every AWS tool finds them.
pub(crate) async fn sdk_config(region: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .load()
        .await
}

/// A client that gives up in time, leaves trying again to us, and believes no answer that is not whole.
pub(crate) fn client(sdk: &SdkConfig, settings: &Settings) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(settings.attempt_timeout))
        .read_timeout(settings.attempt_timeout)
        .operation_attempt_timeout(settings.attempt_timeout)
        .operation_timeout(settings.operation_timeout)
        .build();
    let config = aws_sdk_autoscaling::config::Builder::from(sdk)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        .interceptor(whole::Whole)
        .build();
    Client::from_conf(config)
}

/// All pages that describe the group `name`, and whether the last of them was reached.
pub(crate) async fn group_pages(
    client: &Client,
    calls: &Calls,
    name: &str,
) -> Result<(Vec<AutoScalingGroup>, Result<(), String>), Fault> {
    let mut pages = Vec::new();
    let mut next: Option<String> = None;
    let mut seen = BTreeSet::new();
    for _ in 0..MOST_PAGES {
        let call = || {
            client
                .describe_auto_scaling_groups()
                .auto_scaling_group_names(name)
                .set_next_token(next.clone())
                .send()
        };
        let answer = match calls
            .call("DescribeAutoScalingGroups", Again::Reads, call)
            .await
        {
            Ok(answer) => answer,
            Err(fault) if pages.is_empty() => return Err(fault),
            Err(fault) => return Ok((pages, Err(fault.words))),
        };
        pages.extend(answer.auto_scaling_groups.unwrap_or_default());
        let Some(token) = answer.next_token.filter(|token| !token.is_empty()) else {
            return Ok((pages, Ok(())));
        };
        if !seen.insert(token.clone()) {
            return Ok((
                pages,
                Err("the pages of the list go in a circle".to_owned()),
            ));
        }
        next = Some(token);
    }
    Ok((pages, Err("the pages of the list do not end".to_owned())))
}
