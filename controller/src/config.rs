//! `controller.toml` as the controller uses it: read once, judged whole, then plain values.
//!
//! Responsible for the keys, their defaults, and errors that name file, line, key, value and remedy; it also reads the
//! tokens and certificates that the file names. Not responsible for acting on it, nor for the numbers of `[policy]`, which
//! the policy judges itself.
//!
//! A file that is not right in every part is refused whole, with all that is wrong in it at once.

mod access;
mod credentials;
mod document;
mod error;
mod files;
mod judge;
mod provider;
mod schema;
mod written;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::fleet::{InstanceId, ZoneId};
use crate::policy::Policy;

pub(crate) use credentials::one_line_end_off;
pub use credentials::{
    Credentials, LiveCredentials, Proof, Secret, SelfTest, Subject, secret_of_file,
};
pub use error::{ConfigError, ConfigErrors};
pub use files::{FileRead, SecretBytes, read_file};
pub use schema::{is_controller, keys};
pub use taciturn_plane::{LogFormat, LogLevel};

/// A controller's whole configuration, parsed and judged.
#[derive(Debug)]
pub struct ControllerConfig {
    /// The fleet's name: part of launch tokens, of tags and of the audit trail.
    pub fleet: String,
    /// Where the controller keeps its audit trail, the season and, by default, the lease and local relays; `None`: neither
    /// the file nor `$STATE_DIRECTORY` says, and then the controller does not start.
    pub state_directory: Option<PathBuf>,
    /// From one round of observe, plan and apply to the next.
    pub interval: Duration,
    /// The controller's own API.
    pub api: Api,
    /// What is written to the log, and how.
    pub log: Log,
    /// How relays are reached.
    pub relays: Relays,
    /// Zones in which relays may be; never empty. Also in `policy`.
    pub allowed_zones: BTreeSet<ZoneId>,
    /// How one of several controllers is made the one that acts.
    pub lease: Lease,
    /// Who has the machines.
    pub provider: Provider,
    /// Every number that a decision depends on, with the fleet's name and the allowed zones.
    pub policy: Policy,
    /// What is minted for signalling servers; `None`: nothing is.
    pub credentials: Option<Arc<Credentials>>,
    /// The page with which people try their network, where it is not simply the API's.
    pub self_test: Option<SelfTest>,
    /// Every file that was read to make this, the configuration itself first, and the SHA-256 of each.
    pub files: Vec<(PathBuf, [u8; 32])>,
    /// What is not wrong, but should be looked at.
    pub warnings: Vec<ConfigError>,
}

impl ControllerConfig {
    /// `name` in the state directory; `None` without one.
    pub fn in_state_directory(&self, name: &str) -> Option<PathBuf> {
        self.state_directory
            .as_ref()
            .map(|directory| directory.join(name))
    }

    /// How long one call to the provider may take: what the lease has to outlast.
    pub fn provider_timeout(&self) -> Duration {
        self.provider.timeout()
    }

    /// The sections and keys in which `other` differs from this one and which a running controller cannot take over. What is
    /// left are `[policy]`, the allowed zones, `[credentials]`, and tokens and certificates of `[api]` and `[self-test]`.
    pub fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        // Nobody who is connected could be told that it is encrypted from now on.
        let api = |config: &Self| (config.api.address.clone(), config.api.tls.is_some());
        let page = |config: &Self| {
            let page = config.self_test.as_ref();
            page.map(|page| (page.address, page.identity.is_some(), page.url.clone()))
        };
        let same = [
            ("fleet", self.fleet == other.fleet),
            (
                "state-directory",
                self.state_directory == other.state_directory,
            ),
            ("interval", self.interval == other.interval),
            (
                "[api] address, or whether there is TLS",
                api(self) == api(other),
            ),
            (
                "[self-test] address, url, or whether there is TLS",
                page(self) == page(other),
            ),
            ("[log]", self.log == other.log),
            ("[relays]", self.relays.is_like(&other.relays)),
            ("[lease]", self.lease == other.lease),
            ("[provider]", self.provider == other.provider),
        ];
        same.into_iter()
            .filter(|(_, same)| !same)
            .map(|(name, _)| name)
            .collect()
    }
}

/// `[api]`.
#[derive(Debug)]
pub struct Api {
    /// Where it listens.
    pub address: ApiAddress,
    /// The token that every request but `/live` and `/ready` must carry (RFC 6750 §2.1), at least 32 bytes.
    pub token: Option<SecretBytes>,
    /// The token of those who look and change nothing, at least 32 bytes.
    pub reader_token: Option<SecretBytes>,
    /// How it is encrypted; `None`: it is not. Only ever present over TCP.
    pub tls: Option<ApiTls>,
}

/// Where the controller's API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiAddress {
    /// HTTP over TCP; port 0 lets the kernel pick one. Beyond loopback there is a token or a `client_ca`.
    Tcp(SocketAddr),
    /// HTTP on a Unix socket.
    Unix(PathBuf),
}

/// The API's certificate, and whose clients it serves.
#[derive(Debug)]
pub struct ApiTls {
    /// Its certificate.
    pub identity: Identity,
    /// Those whose certificates clients must present; empty: none is asked for.
    pub client_ca: Vec<CertificateDer<'static>>,
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    /// The chain, its own certificate first; at least one.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// One line for people, one JSON object for each event, or fields for the journal.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
}

/// `[relays]`: how the relays' admin APIs are reached.
#[derive(Debug)]
pub struct Relays {
    /// The port of their admin API, where the provider knows only the host.
    pub admin_port: u16,
    /// Their token; `None`: they ask for none.
    pub token: Option<SecretBytes>,
    /// How they are spoken to; `None`: in the clear.
    pub tls: Option<RelaysTls>,
    /// How long one of them may take to answer.
    pub timeout: Duration,
    /// The port that is asked whether the data path answers (a STUN Binding over UDP); `None`: it is not asked.
    pub probe_port: Option<u16>,
}

impl Relays {
    /// Whether both ask in the same way, what is in the files of certificates left aside.
    fn is_like(&self, other: &Self) -> bool {
        let name = |relays: &Self| relays.tls.as_ref().map(|tls| tls.server_name.clone());
        self.admin_port == other.admin_port
            && self.timeout == other.timeout
            && self.probe_port == other.probe_port
            && self.token == other.token
            && name(self) == name(other)
    }
}

/// TLS towards the relays.
#[derive(Debug)]
pub struct RelaysTls {
    /// Those whose certificates relays present; at least one.
    pub ca: Vec<CertificateDer<'static>>,
    /// The name in all relays' certificates; `None`: each has its own address in it.
    pub server_name: Option<String>,
    /// What the controller presents; `None`: nothing.
    pub identity: Option<Identity>,
}

/// `[lease]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Where it is kept.
    pub kind: LeaseKind,
    /// For how long it is good without being renewed.
    pub ttl: Duration,
    /// From one renewal to the next.
    pub renew: Duration,
    /// This controller's name in it; `None`: the host's name and the number of the process.
    pub holder: Option<String>,
}

/// Where the lease is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseKind {
    /// Nowhere: there is one controller.
    None,
    /// In a file, for controllers on one machine.
    File {
        /// It.
        file: PathBuf,
    },
    /// In an object of an S3 bucket, by conditional writes.
    S3 {
        /// The bucket.
        bucket: String,
        /// The object.
        key: String,
        /// The bucket's region.
        region: String,
    },
}

/// `[provider]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// Relays as processes of this machine.
    Local(Local),
    /// An Auto Scaling group.
    Aws(Aws),
    /// Relays that are there and stay there.
    Static(Vec<StaticRelay>),
    /// Commands of the operator.
    Exec(Exec),
}

impl Provider {
    /// The word in the configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Aws(_) => "aws",
            Self::Static(_) => "static",
            Self::Exec(_) => "exec",
        }
    }

    /// How long one call may take: what the lease has to outlast.
    pub const fn timeout(&self) -> Duration {
        match self {
            Self::Aws(aws) => aws.operation_timeout,
            Self::Exec(exec) => exec.timeout,
            Self::Local(_) | Self::Static(_) => Duration::from_secs(6),
        }
    }
}

/// `[provider.local]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Pretended zones; the first is number 1. At least one.
    pub zones: Vec<ZoneId>,
    /// Relay n of zone z listens on `network.0.0` with z and n in its last two bytes; always within 127.0.0.0/8.
    pub network: [u8; 2],
    /// The relay; `None`: this program itself.
    pub program: Option<PathBuf>,
    /// Where each relay has its configuration and state; `None`: `relays` in the state directory.
    pub directory: Option<PathBuf>,
    /// TOML whose keys go over those of each relay's configuration.
    pub relay_config: String,
    /// How long a launch pretends to take.
    pub boot_time: Duration,
    /// The image that launched relays pretend to be of.
    pub image: String,
    /// Most relays in a zone: 1 to 254.
    pub per_zone: u8,
    /// Relays ask for instance metadata at their own address and this port; `None`: not at all.
    pub metadata_port: Option<u16>,
}

impl Local {
    /// The address of relay `number` in the zone with this index, from 0.
    pub fn address(&self, zone: u8, number: u8) -> Ipv4Addr {
        let [first, second] = self.network;
        Ipv4Addr::new(first, second, zone.saturating_add(1), number)
    }
}

/// `[provider.aws]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// The group's name.
    pub auto_scaling_group: String,
    /// Its region.
    pub region: String,
    /// The name of its hook for termination.
    pub termination_hook: String,
    /// For one HTTP request.
    pub attempt_timeout: Duration,
    /// For one call with its repetitions.
    pub operation_timeout: Duration,
    /// How instances are launched.
    pub launch: AwsLaunch,
    /// How an instance's address is found.
    pub address: AwsAddress,
    /// Zone ids by zone name, for this account: the group knows names only.
    pub zone_ids: BTreeMap<String, ZoneId>,
}

/// How instances of a group are launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AwsLaunch {
    /// `LaunchInstances`; where the group or the API cannot do that, the desired capacity is raised.
    #[default]
    Automatic,
    /// `LaunchInstances` alone: into the zone that the plan chose.
    LaunchInstances,
    /// A raise of the desired capacity alone: the group chooses among its zones, which all have to be allowed ones.
    DesiredCapacity,
}

/// How an instance's address is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsAddress {
    /// By EC2's resource name: `i-0123456789abcdef0.ap-southeast-2.compute.internal`.
    ResourceNameDns,
    /// By a name of the operator's, in which `{id}` stands for the instance id.
    Name(String),
}

/// `[[provider.static.relay]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRelay {
    /// Its name.
    pub id: InstanceId,
    /// Its zone; always an allowed one.
    pub zone: ZoneId,
    /// Its admin API.
    pub admin: SocketAddr,
}

/// `[provider.exec]`: each command as its program and arguments, without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Prints the listing; never empty.
    pub list: Vec<String>,
    /// Launches; empty: it cannot.
    pub launch: Vec<String>,
    /// Ends; empty: it cannot.
    pub terminate: Vec<String>,
    /// Asks a termination hook for time; empty: there are no hooks.
    pub extend: Vec<String>,
    /// Lets a termination hook go; empty: there are no hooks.
    pub finish: Vec<String>,
    /// How long a command may take; after that nobody knows what it did.
    pub timeout: Duration,
}

/// Reads and judges the configuration at `path`, with every file that it names. Without `state-directory` the one that
/// systemd made (`$STATE_DIRECTORY`) is taken.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn load(path: &Path) -> Result<ControllerConfig, ConfigErrors> {
    let file = read_file(path).map_err(|error| ConfigErrors::unreadable(path, &error))?;
    let inherited = std::env::var_os("STATE_DIRECTORY")
        // systemd separates several with colons; the unit asks for one.
        .map(|list| PathBuf::from(list.to_string_lossy().split(':').next().unwrap_or_default()))
        .filter(|directory| directory.is_absolute());
    judge::judge(
        &file.bytes,
        path,
        inherited,
        file.open_to_others,
        &mut read_file,
    )
}

/// Judges the configuration `text`. `origin` is the file's name in errors, and relative names are relative to its
/// directory; `read` is asked for every file that the text names.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn parse(
    text: &str,
    origin: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<FileRead>,
) -> Result<ControllerConfig, ConfigErrors> {
    judge::judge(text.as_bytes(), origin, None, false, read)
}

/// Reads a policy by itself, for `taciturn plan` and `taciturn simulate`: either that of a `controller.toml`, of which
/// only `fleet`, `[sovereignty]` and `[policy]` are judged, or a file that has the keys of `[policy]` at its top. A bare
/// policy names no zones: the caller takes those of the fleet or trace.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn load_policy(path: &Path) -> Result<Policy, ConfigErrors> {
    let file = read_file(path).map_err(|error| ConfigErrors::unreadable(path, &error))?;
    judge::policy_alone(&file.bytes, path)
}
