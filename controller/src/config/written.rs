//! The configuration as it is written: every key optional, so that what is missing is said in our words.
//!
//! Not responsible for what values mean together (`judge` and its neighbours).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::durations;

/// A duration in the form of `durations::human`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Human(pub(super) Duration);

impl<'de> Deserialize<'de> for Human {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        durations::human::deserialize(deserializer).map(Self)
    }
}

/// The keys before the first section, and the sections.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    pub(super) fleet: Option<String>,
    pub(super) state_directory: Option<String>,
    pub(super) interval: Option<Human>,
    pub(super) api: Api,
    pub(super) log: super::Log,
    pub(super) relays: Relays,
    pub(super) sovereignty: Sovereignty,
    pub(super) lease: Lease,
    pub(super) provider: Provider,
    pub(super) credentials: Option<Credentials>,
    pub(super) self_test: Option<SelfTest>,
    pub(super) policy: crate::policy::Policy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Api {
    pub(super) address: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) reader_token_file: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
    pub(super) client_ca: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Relays {
    pub(super) admin_port: Option<u16>,
    pub(super) token_file: Option<String>,
    pub(super) ca: Option<String>,
    pub(super) server_name: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
    pub(super) timeout: Option<Human>,
    pub(super) probe_port: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Sovereignty {
    pub(super) allowed_zone_ids: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Lease {
    pub(super) kind: Option<LeaseWord>,
    pub(super) file: Option<String>,
    pub(super) bucket: Option<String>,
    pub(super) key: Option<String>,
    pub(super) region: Option<String>,
    pub(super) ttl: Option<Human>,
    pub(super) renew: Option<Human>,
    pub(super) holder: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LeaseWord {
    #[default]
    None,
    File,
    S3,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Provider {
    pub(super) kind: Option<ProviderWord>,
    pub(super) local: Option<Local>,
    pub(super) aws: Option<Aws>,
    #[serde(rename = "static")]
    pub(super) fixed: Option<Static>,
    pub(super) exec: Option<Exec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProviderWord {
    Local,
    Aws,
    Static,
    Exec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Local {
    pub(super) zones: Option<Vec<String>>,
    pub(super) network: Option<String>,
    pub(super) program: Option<String>,
    pub(super) directory: Option<String>,
    pub(super) relay_config: Option<String>,
    pub(super) boot_time: Option<Human>,
    pub(super) image: Option<String>,
    pub(super) per_zone: Option<u8>,
    pub(super) metadata_port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AwsLaunchWord {
    Automatic,
    LaunchInstances,
    DesiredCapacity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Aws {
    pub(super) auto_scaling_group: Option<String>,
    pub(super) region: Option<String>,
    pub(super) termination_hook: Option<String>,
    pub(super) attempt_timeout: Option<Human>,
    pub(super) operation_timeout: Option<Human>,
    pub(super) launch: Option<AwsLaunchWord>,
    pub(super) address: Option<String>,
    pub(super) zone_ids: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Static {
    pub(super) relay: Vec<StaticRelay>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct StaticRelay {
    pub(super) id: Option<String>,
    pub(super) zone_id: Option<String>,
    pub(super) admin: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Exec {
    pub(super) list: Vec<String>,
    pub(super) launch: Vec<String>,
    pub(super) terminate: Vec<String>,
    pub(super) extend: Vec<String>,
    pub(super) finish: Vec<String>,
    pub(super) timeout: Option<Human>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Credentials {
    pub(super) ttl: Option<Human>,
    pub(super) max_ttl: Option<Human>,
    pub(super) host: Option<String>,
    pub(super) tls_by_address: bool,
    pub(super) relays: Option<u8>,
    pub(super) query_key: bool,
    pub(super) secret: Vec<Secret>,
    pub(super) subject: Vec<Subject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Secret {
    pub(super) id: Option<String>,
    pub(super) file: Option<String>,
    pub(super) value: Option<Hidden>,
    pub(super) hash: Option<HashWord>,
}

/// A secret that stands in the configuration itself; never printed.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Hidden(pub(super) String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(..)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HashWord {
    Sha256,
    Sha1,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Subject {
    pub(super) name: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) certificate_name: Option<String>,
    pub(super) rate: Option<u32>,
    pub(super) burst: Option<u32>,
    pub(super) max_ttl: Option<Human>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SelfTest {
    pub(super) address: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
    pub(super) url: Option<String>,
}
