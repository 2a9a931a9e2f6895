//! What the instance metadata means for the relay that starts: its zone and the addresses under which it is seen.
//!
//! Responsible for comparing it with the configuration, and for refusing to serve where the relay must not be. Not
//! responsible for reading it (`metadata`).

use core::time::Duration;
use std::net::IpAddr;
use std::sync::Arc;

use tracing::{info, warn};

use crate::config::{Config, MetadataProvider};
use crate::metadata::{Endpoint, Instance, MetadataClient, MetadataError, MetadataRequests};
use crate::relayed::{AddressPair, RelayedAddresses};

use super::StartError;

/// How long everything together may take; each request has its own bound.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a relay does not start on this instance.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// The endpoint that the environment names is none.
    #[error(transparent)]
    Endpoint(MetadataError),
    /// The metadata cannot be read.
    #[error(
        "[metadata] provider = \"aws\", but the instance metadata at {endpoint} cannot be read; elsewhere than on EC2 write \
         provider = \"none\" and sovereignty.zone-id"
    )]
    Metadata {
        /// Where it was asked for.
        endpoint: Endpoint,
        /// What went wrong.
        #[source]
        source: MetadataError,
    },
    /// The configuration was written for another zone.
    #[error(
        "[sovereignty] zone-id = \"{written}\", but the instance metadata says that this is {found}; take zone-id away, or \
         run the relay where it says"
    )]
    OtherZone {
        /// The zone of the configuration.
        written: String,
        /// The zone of the instance.
        found: String,
    },
    /// The relay must not be here.
    #[error(
        "this instance is in the zone {zone}, which is not among [sovereignty] allowed-zone-ids ({allowed}); run the relay \
         in an allowed zone, or add this one"
    )]
    ForbiddenZone {
        /// The zone of the instance.
        zone: String,
        /// Those that are allowed, with commas between them.
        allowed: String,
    },
}

/// The relay's place in the world.
#[derive(Debug)]
pub(crate) struct Place {
    /// The zone, where known.
    pub(crate) zone_id: Option<String>,
    /// Relayed addresses as they are seen from outside.
    pub(crate) addresses: RelayedAddresses,
    /// To ask on; `None` without a provider.
    pub(crate) metadata: Option<MetadataClient>,
}

/// Asks the provider that the configuration names, if any, and judges what it says.
///
/// # Errors
/// The metadata cannot be read, or says that the relay is where it should not be.
pub(crate) fn find(
    config: &Config,
    addresses: RelayedAddresses,
    requests: &Arc<MetadataRequests>,
) -> Result<Place, StartError> {
    match config.metadata {
        MetadataProvider::None => Ok(Place {
            zone_id: config.sovereignty.zone_id.clone(),
            addresses,
            metadata: None,
        }),
        MetadataProvider::Aws => {
            let endpoint = Endpoint::of_environment().map_err(InstanceError::Endpoint)?;
            ask(config, addresses, endpoint, requests)
        }
    }
}

fn ask(
    config: &Config,
    addresses: RelayedAddresses,
    endpoint: Endpoint,
    requests: &Arc<MetadataRequests>,
) -> Result<Place, StartError> {
    let metadata = MetadataClient::new(endpoint.clone(), Arc::clone(requests));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system(
            "the instance metadata cannot be asked for",
        ))?;
    let instance = runtime
        .block_on(async { tokio::time::timeout(TIMEOUT, Instance::read(&metadata)).await })
        .unwrap_or(Err(MetadataError::Timeout))
        .map_err(|source| InstanceError::Metadata { endpoint, source })?;
    judge_zone(config, &instance.zone_id)?;
    info!(
        zone = instance.zone_id,
        instance = instance.instance_id,
        "the instance metadata tells where this is"
    );
    Ok(Place {
        addresses: seen_from_outside(config, &addresses, &instance),
        zone_id: Some(instance.zone_id),
        metadata: Some(metadata),
    })
}

/// The zone of the instance counts, whatever is written; what is written must not contradict it.
fn judge_zone(config: &Config, found: &str) -> Result<(), InstanceError> {
    let sovereignty = &config.sovereignty;
    if let Some(written) = sovereignty
        .zone_id
        .as_ref()
        .filter(|written| *written != found)
    {
        return Err(InstanceError::OtherZone {
            written: written.clone(),
            found: found.to_owned(),
        });
    }
    let allowed = &sovereignty.allowed_zone_ids;
    if !allowed.is_empty() && !allowed.iter().any(|zone| zone == found) {
        return Err(InstanceError::ForbiddenZone {
            zone: found.to_owned(),
            allowed: allowed.join(", "),
        });
    }
    Ok(())
}

/// Each IPv4 address under the public one that the network gives it, unless the configuration says how it is seen.
fn seen_from_outside(
    config: &Config,
    addresses: &RelayedAddresses,
    instance: &Instance,
) -> RelayedAddresses {
    let is_configured = config
        .relayed
        .addresses
        .iter()
        .any(|address| address.advertise.is_some());
    let pairs = addresses.pairs().iter().map(|pair| {
        let IpAddr::V4(private) = pair.bind else {
            return *pair;
        };
        match instance.public_of(private).map(IpAddr::V4) {
            Some(public) if is_configured && public != pair.advertise => {
                warn!(
                    bind = %pair.bind,
                    advertise = %pair.advertise,
                    metadata = %public,
                    "[relayed] advertise says otherwise than the instance metadata; it is followed all the same"
                );
                *pair
            }
            None if !is_configured && private.is_private() => {
                warn!(
                    bind = %pair.bind,
                    "the instance metadata knows no public address for this one: peers outside will not reach it"
                );
                *pair
            }
            Some(public) if !is_configured => AddressPair {
                advertise: public,
                ..*pair
            },
            Some(_) | None => *pair,
        }
    });
    RelayedAddresses::from_pairs(pairs.collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::metadata::PublicAddress;

    fn config(more: &str) -> Config {
        let text = format!(
            "realm = \"r\"\n[[listener]]\ntransport = \"udp\"\naddress = \"127.0.0.1:0\"\n[[secret]]\nid = \"a\"\n\
             value = \"0123456789abcdef0123456789abcdef\"\n[metadata]\nprovider = \"aws\"\n{more}"
        );
        let mut read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        crate::config::parse(&text, Path::new("relay.toml"), &mut read).unwrap()
    }

    fn instance() -> Instance {
        Instance {
            zone_id: "apse2-az1".to_owned(),
            instance_id: "i-1".to_owned(),
            public_addresses: vec![PublicAddress {
                private: [10, 0, 0, 7].into(),
                public: [203, 0, 113, 7].into(),
            }],
        }
    }

    #[test]
    fn the_zone_that_is_found_must_be_the_one_that_is_written_and_an_allowed_one() {
        let judged = |more: &str| judge_zone(&config(more), "apse2-az1").map_err(|e| e.to_string());
        assert_eq!(judged(""), Ok(()));
        assert_eq!(judged("[sovereignty]\nzone-id = \"apse2-az1\""), Ok(()));
        assert_eq!(
            judged("[sovereignty]\nallowed-zone-ids = [\"apse2-az2\", \"apse2-az1\"]"),
            Ok(()),
            "without zone-id, as the metadata says it"
        );
        let other = judged("[sovereignty]\nzone-id = \"apse2-az2\"").unwrap_err();
        assert!(
            other.contains("apse2-az2") && other.contains("apse2-az1"),
            "{other}"
        );
        let forbidden =
            judged("[sovereignty]\nallowed-zone-ids = [\"apse4-az1\", \"apse4-az2\"]").unwrap_err();
        assert!(
            forbidden.contains("apse2-az1") && forbidden.contains("apse4-az1, apse4-az2"),
            "{forbidden}"
        );
    }

    #[test]
    fn an_address_behind_nat_is_advertised_as_the_metadata_says() {
        let seen = |more: &str, bind: &str| {
            let config = config(more);
            let pair = |bind: IpAddr| AddressPair {
                bind,
                advertise: config.relayed.addresses[0].advertise.unwrap_or(bind),
            };
            let addresses = RelayedAddresses::from_pairs(vec![pair(bind.parse().unwrap())]);
            let seen = seen_from_outside(&config, &addresses, &instance());
            seen.pairs()[0].advertise.to_string()
        };
        let on = |address: &str| format!("[relayed]\naddresses = [\"{address}\"]");
        assert_eq!(seen(&on("10.0.0.7"), "10.0.0.7"), "203.0.113.7");
        assert_eq!(seen(&on("10.0.0.8"), "10.0.0.8"), "10.0.0.8");
        assert_eq!(seen(&on("2001:db8::7"), "2001:db8::7"), "2001:db8::7");
        let configured = format!("{}\nadvertise = [\"198.51.100.1\"]", on("10.0.0.7"));
        assert_eq!(
            seen(&configured, "10.0.0.7"),
            "198.51.100.1",
            "the operator's word counts, with a warning"
        );
    }
}
