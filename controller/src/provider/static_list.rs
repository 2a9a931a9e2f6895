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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> StaticSettings {
        toml::from_str(text).expect("settings")
    }

    #[tokio::test]
    async fn what_is_written_is_listed_and_nothing_can_be_launched_or_ended() {
        let provider = Static::new(settings(
            "[[relay]]\nid = \"r-1\"\nzone-id = \"z-1\"\nadmin = \"10.0.0.1:9641\"",
        ));
        let listing = provider.list().await.expect("a list");
        assert!(listing.complete && listing.group.fixed);
        let id = listing.instances[0].id.clone();
        assert_eq!(id.as_str(), "r-1");
        assert_eq!(
            provider.terminate(&id).await,
            Err(ProviderError::Unsupported("static"))
        );
        assert_eq!(
            provider.finish(&id).await,
            Err(ProviderError::Unsupported("static"))
        );
    }

    #[test]
    fn relays_that_make_no_sense_are_all_named() {
        let settings = settings(
            "[[relay]]\nid = \"r-1\"\nzone-id = \"z-1\"\nadmin = \"0.0.0.0:9641\"\n\
             [[relay]]\nid = \"r-1\"\nzone-id = \"z-2\"\nadmin = \"[::1]:9641\"",
        );
        let wrong = settings.check(&ZoneId::try_from("z-1").into_iter().collect());
        for words in [
            "relay.admin = \"0.0.0.0:9641\"",
            "relay.id = \"r-1\"",
            "relay.zone-id = \"z-2\"",
        ] {
            assert!(wrong.iter().any(|line| line.contains(words)), "{wrong:?}");
        }
        assert_eq!(wrong.len(), 3);
        assert_eq!(StaticSettings::default().check(&BTreeSet::new()).len(), 1);
    }
}
