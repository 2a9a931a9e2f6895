//! What the provider needs to know: which group, where, how long a call may take, and how a relay is reached.
//!
//! Responsible for holding it, with what no operator writes. Not responsible for what may be written (`config`), nor for
//! credentials: those are found as every AWS tool finds them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Aws, AwsAddress, AwsLaunch};
use crate::fleet::{InstanceId, ZoneId};

/// Settings of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The Auto Scaling group's name.
    pub auto_scaling_group: String,
    /// Its region, such as `ap-southeast-2`. Zones decide what is allowed, not this.
    pub region: String,
    /// The hook that holds an instance while its relay drains.
    pub termination_hook: String,
    /// How instances are launched.
    pub launch: AwsLaunch,
    /// How a relay's address is found from its instance id.
    pub address: AwsAddress,
    /// Admin addresses of single instances, before `address` is asked: for tests without a resolver.
    pub addresses: BTreeMap<InstanceId, SocketAddr>,
    /// Ids of this account's zones by their names, for where the API gives names alone.
    pub zone_ids: BTreeMap<String, ZoneId>,
    /// The longest that one call may take, its further tries included.
    pub operation_timeout: Duration,
    /// The longest that one try may take.
    pub attempt_timeout: Duration,
    /// How often a call is tried where trying again is harmless; at least once.
    pub tries: u32,
}

impl From<&Aws> for Settings {
    fn from(written: &Aws) -> Self {
        Self {
            auto_scaling_group: written.auto_scaling_group.clone(),
            region: written.region.clone(),
            termination_hook: written.termination_hook.clone(),
            launch: written.launch,
            address: written.address.clone(),
            addresses: BTreeMap::new(),
            zone_ids: written.zone_ids.clone(),
            operation_timeout: written.operation_timeout,
            attempt_timeout: written.attempt_timeout,
            tries: 3,
        }
    }
}

impl Settings {
    /// The host name of an instance.
    pub fn host(&self, id: &InstanceId) -> String {
        match &self.address {
            // The first region keeps its old domain.
            AwsAddress::ResourceNameDns if self.region == "us-east-1" => {
                format!("{id}.ec2.internal")
            }
            AwsAddress::ResourceNameDns => format!("{id}.{}.compute.internal", self.region),
            AwsAddress::Name(name) => name.replace("{id}", id.as_str()),
        }
    }
}
