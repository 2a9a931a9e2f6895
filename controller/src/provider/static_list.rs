//! Relays that somebody else runs, named in the configuration: nothing is launched or ended, but they can be drained.
//!
//! Responsible for listing them. Not responsible for whether they live (`observe`).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use async_trait::async_trait;
use serde::Deserialize;

use super::{Capabilities, Ended, Instance, LaunchOrder, Listing, Provider, ProviderError};
use crate::fleet::{Group, InstanceId, Lifecycle, ZoneId};

/// `[provider.static]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StaticSettings {
    /// The relays.
    #[serde(default)]
    pub relay: Vec<StaticRelay>,
}

/// `[[provider.static.relay]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StaticRelay {
    /// A name, told from all others.
    pub id: InstanceId,
    /// Where it is.
    pub zone_id: ZoneId,
    /// Where its admin API is.
    pub admin: SocketAddr,
    /// Its type, for its capacity; empty: the default one.
    #[serde(default)]
    pub instance_type: String,
}

impl StaticSettings {
    /// Everything that makes no sense: `key = value: what is wrong; remedy`.
    pub fn check(&self, allowed: &BTreeSet<ZoneId>) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.relay.is_empty() {
            wrong.push("provider.static.relay: is missing; name at least one relay".to_owned());
        }
        let mut ids = BTreeSet::new();
        for relay in &self.relay {
            if !ids.insert(&relay.id) {
                wrong.push(format!(
                    "provider.static.relay.id = \"{}\": names two relays; give each a name of its own",
                    relay.id
                ));
            }
            if !allowed.contains(&relay.zone_id) {
                wrong.push(format!(
                    "provider.static.relay.zone-id = \"{}\": is not among sovereignty.allowed-zone-ids; leave out the relay \
                     \"{}\", or allow its zone if it may be used",
                    relay.zone_id, relay.id
                ));
            }
            if super::is_no_destination(relay.admin) {
                wrong.push(format!(
                    "provider.static.relay.admin = \"{}\": is no address that can be asked; write that of the relay \"{}\"",
                    relay.admin, relay.id
                ));
            }
        }
        wrong
    }
}

/// The relays of the configuration.
#[derive(Debug)]
pub struct Static {
    relays: Vec<StaticRelay>,
}

impl Static {
    /// Those of `settings`.
    pub fn new(settings: StaticSettings) -> Self {
        Self {
            relays: settings.relay,
        }
    }
}

#[async_trait]
impl Provider for Static {
    fn name(&self) -> &'static str {
        "static"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            launches: false,
            terminates: false,
            hooks: false,
        }
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        let instance = |relay: &StaticRelay| Instance {
            id: relay.id.clone(),
            zone: relay.zone_id.clone(),
            lifecycle: Lifecycle::InService,
            instance_type: relay.instance_type.clone(),
            image: String::new(),
            age: None,
            admin: Some(relay.admin),
            unhealthy: false,
        };
        Ok(Listing {
            complete: true,
            group: Group {
                fixed: true,
                zones: self
                    .relays
                    .iter()
                    .map(|relay| relay.zone_id.clone())
                    .collect(),
                ..Group::default()
            },
            instances: self.relays.iter().map(instance).collect(),
            launched: std::collections::BTreeMap::default(),
        })
    }

    async fn launch(&self, _: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError> {
        Err(ProviderError::Unsupported("static"))
    }

    async fn terminate(&self, _: &InstanceId) -> Result<Ended, ProviderError> {
        Err(ProviderError::Unsupported("static"))
    }

    async fn extend(&self, _: &InstanceId) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported("static"))
    }

    async fn finish(&self, _: &InstanceId) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported("static"))
    }
}
