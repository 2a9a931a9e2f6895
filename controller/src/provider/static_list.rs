//! Relays that somebody else runs, named in the configuration: nothing is launched or ended, but they can be drained.
//!
//! Responsible for listing them. Not responsible for whether they live (`observe`).

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Capabilities, Ended, Instance, LaunchOrder, Listing, Provider, ProviderError};
use crate::config::StaticRelay;
use crate::fleet::{Group, InstanceId, Lifecycle};

/// The relays of the configuration.
#[derive(Debug)]
pub struct Static {
    relays: Vec<StaticRelay>,
}

impl Static {
    /// Those that the configuration names.
    pub fn new(relays: Vec<StaticRelay>) -> Self {
        Self { relays }
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
            zone: relay.zone.clone(),
            lifecycle: Lifecycle::InService,
            instance_type: String::new(),
            image: String::new(),
            age: None,
            admin: Some(relay.admin),
            unhealthy: false,
        };
        Ok(Listing {
            complete: true,
            group: Group {
                fixed: true,
                zones: self.relays.iter().map(|relay| relay.zone.clone()).collect(),
                ..Group::default()
            },
            instances: self.relays.iter().map(instance).collect(),
            launched: BTreeMap::new(),
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
    use crate::fleet::ZoneId;

    #[tokio::test]
    async fn what_is_written_is_listed_and_nothing_can_be_launched_or_ended() {
        let relay = StaticRelay {
            id: InstanceId::try_from("r-1").expect("an id"),
            zone: ZoneId::try_from("z-1").expect("a zone"),
            admin: ([10, 0, 0, 1], 9641).into(),
        };
        let provider = Static::new(vec![relay.clone()]);
        let listing = provider.list().await.expect("a list");
        assert!(listing.complete && listing.group.fixed);
        assert_eq!(listing.instances[0].id, relay.id);
        assert_eq!(listing.instances[0].zone, relay.zone);
        assert_eq!(listing.instances[0].admin, Some(relay.admin));
        let order = LaunchOrder {
            zone: relay.zone,
            count: 1,
            token: crate::fleet::LaunchToken::try_from("t-1").expect("a token"),
        };
        let never = ProviderError::Unsupported("static");
        assert_eq!(provider.launch(&order).await, Err(never.clone()));
        assert_eq!(provider.terminate(&relay.id).await, Err(never.clone()));
        assert_eq!(provider.extend(&relay.id).await, Err(never.clone()));
        assert_eq!(provider.finish(&relay.id).await, Err(never));
    }
}
