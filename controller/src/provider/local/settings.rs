//! `[provider.local]`.
//!
//! Not responsible for the rest of the file (`config`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::durations::human;
use crate::fleet::ZoneId;

/// The longest boot time that makes sense.
const LONGEST_BOOT: Duration = Duration::from_secs(3600);

/// How relays are run on this host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LocalSettings {
    /// The zones, at most 254; the order tells their addresses.
    pub zones: Vec<ZoneId>,
    /// The first half of the addresses: relay n of zone z listens on `network`.z.n.
    pub network: Network,
    /// Most relays in a zone, 1 to 254.
    pub per_zone: u8,
    /// The program; left out: this one.
    pub program: Option<PathBuf>,
    /// Where relays are kept; left out: `relays` in the state directory.
    pub directory: Option<PathBuf>,
    /// Keys of relays' configurations, in place of those that they have otherwise.
    pub relay_config: toml::Table,
    /// How long a relay is said to boot before its process starts, up to an hour.
    #[serde(with = "human")]
    pub boot_time: Duration,
    /// What is said to be the image; relays with another are replaced when the policy says so.
    pub image: String,
    /// Relays ask for instance metadata at their own address and this port; left out: not at all.
    pub metadata_port: Option<u16>,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            network: Network([127, 0]),
            per_zone: 8,
            program: None,
            directory: None,
            relay_config: toml::Table::new(),
            boot_time: Duration::ZERO,
            image: env!("CARGO_PKG_VERSION").to_owned(),
            metadata_port: None,
        }
    }
}

impl LocalSettings {
    /// Everything that makes no sense: `key = value: what is wrong; remedy`.
    pub fn check(&self, allowed: &BTreeSet<ZoneId>) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.zones.is_empty() {
            wrong.push(
                "provider.local.zones: is missing; name the zones, such as [\"local-a\", \"local-b\"]".to_owned(),
            );
        }
        if self.zones.len() > 254 {
            wrong.push(format!(
                "provider.local.zones = {} of them: is more than 254; name fewer",
                self.zones.len()
            ));
        }
        let mut names = BTreeSet::new();
        for zone in &self.zones {
            if !names.insert(zone) {
                wrong.push(format!(
                    "provider.local.zones = \"{zone}\": is named twice; name each zone once"
                ));
            }
            if !allowed.contains(zone) {
                wrong.push(format!(
                    "provider.local.zones = \"{zone}\": is not among sovereignty.allowed-zone-ids; leave it out, or allow it if \
                     relays may be there"
                ));
            }
        }
        if self.per_zone == 0 || self.per_zone == 255 {
            wrong.push(format!(
                "provider.local.per-zone = {}: is not 1 to 254; write how many relays a zone may have",
                self.per_zone
            ));
        }
        if self.boot_time > LONGEST_BOOT {
            wrong.push(format!(
                "provider.local.boot-time = \"{}\": is longer than an hour; write a shorter one",
                crate::durations::words(self.boot_time)
            ));
        }
        if self.metadata_port == Some(0) {
            wrong.push(
                "provider.local.metadata-port = 0: is no port; write the port where metadata is told, or leave it out"
                    .to_owned(),
            );
        }
        for key in [
            "listener",
            "state-directory",
            "secret",
            "sovereignty",
            "metadata",
            "admin",
        ] {
            if self.relay_config.contains_key(key) {
                wrong.push(format!(
                    "provider.local.relay-config.{key}: is written by the controller for each relay; leave it out"
                ));
            }
        }
        wrong
    }

    /// What the relay at this address finds in its environment beside what this process has.
    pub(super) fn environment(&self, address: Ipv4Addr) -> BTreeMap<&'static str, String> {
        let endpoint = |port| {
            (
                "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                format!("http://{address}:{port}"),
            )
        };
        self.metadata_port.map(endpoint).into_iter().collect()
    }
}

/// The first two bytes of relays' addresses: "127.0" to "127.255".
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network([u8; 2]);

impl Network {
    /// The address of relay `number` in the zone at this place of the list, counted from 0.
    pub(super) fn address(self, zone: usize, number: u8) -> Option<Ipv4Addr> {
        let Self([first, second]) = self;
        let zone = u8::try_from(zone).ok()?.checked_add(1)?;
        Some(Ipv4Addr::new(first, second, zone, number))
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let second = text
            .strip_prefix("127.")
            .filter(|rest| rest.chars().all(|c| c.is_ascii_digit()))
            .and_then(|rest| rest.parse().ok());
        match second {
            Some(second) => Ok(Self([127, second])),
            None => Err(format!(
                "\"{text}\" is not the first half of loopback addresses: write \"127.0\" to \"127.255\""
            )),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([first, second]) = self;
        write!(f, "{first}.{second}")
    }
}
