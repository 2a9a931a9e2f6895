//! `relay.toml` as the relay uses it: read once, judged whole, then plain values.
//!
//! Responsible for the schema, its defaults, and errors that name file, line, key, value and remedy; it also reads the
//! files that the configuration names (certificates, secrets, keys), so that a [`Config`] is complete. Not responsible
//! for acting on it: wildcard addresses are resolved, ports bound and the certificate matched to its key elsewhere.
//!
//! A file that is not right in every part is refused whole, with all that is wrong in it at once.

mod admin;
mod error;
mod files;
mod keys;
mod log;
mod network;
mod operation;
mod peers;
mod schema;
mod section;
mod sections;
mod value;

use core::num::NonZeroUsize;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv6Net};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::credentials::{NonceKey, Realm, SharedSecret, StaticUser};

pub use admin::{Admin, AdminAddress, AdminTls};
pub use error::{ConfigError, ConfigErrors, ConfigWarning};
pub use files::{FileRead, SecretBytes, read_file};
pub use log::Log;
pub use operation::{Capacity, DrainSettings, MetadataProvider, Overload, SelfCheck};
pub use schema::{SCHEMA, SectionSchema};
pub use sections::MAX_REALM_BYTES;
pub use taciturn_plane::{LogFormat, LogLevel};

/// A relay's whole configuration, parsed and judged.
#[derive(Debug)]
pub struct Config {
    /// The realm of the long-term credentials (RFC 8489 §9.2), short enough for the largest 401 to fit an unknown path.
    pub realm: Realm,
    /// Worker threads, at most 255; `None`: one per core.
    pub workers: Option<NonZeroUsize>,
    /// Whether each worker stays on a CPU of its own.
    pub pin_workers: bool,
    /// How long a worker looks for more to do before it sleeps; zero: not at all.
    pub busy_poll: Duration,
    /// How long a busy worker lets datagrams gather; zero: not at all.
    pub coalesce: Duration,
    /// Which channel numbers ChannelBind accepts.
    pub channel_numbers: ChannelRange,
    /// SOFTWARE in authenticated answers; `None`: the relay does not say what it is.
    pub software: Option<String>,
    /// What becomes of the DSCP of relayed packets.
    pub dscp: Dscp,
    /// Where clients are listened to; at least one.
    pub listeners: Vec<Listener>,
    /// Where relayed transport addresses come from.
    pub relayed: Relayed,
    /// The certificate of `tls` and `auto` listeners; present whenever there is one of them.
    pub tls: Option<Tls>,
    /// Secrets of time-limited credentials, in the order of the file: newest first.
    pub secrets: Vec<SharedSecret>,
    /// Users with a stored key.
    pub users: Vec<StaticUser>,
    /// How nonces are made.
    pub nonce: Nonce,
    /// Limits on time-limited credentials.
    pub credentials: CredentialLimits,
    /// Which peers may be reached.
    pub peers: Peers,
    /// Limits on what one user, one connection or all together may hold.
    pub limits: Limits,
    /// Where the relay keeps what must survive a restart; `None`: nowhere, so that nothing does.
    pub state_directory: Option<PathBuf>,
    /// What a drain does beside refusing new allocations.
    pub drain: DrainSettings,
    /// Whom the relay asks about the instance that it runs on.
    pub metadata: MetadataProvider,
    /// How the relay tries itself.
    pub self_check: SelfCheck,
    /// When new allocations are shed.
    pub overload: Overload,
    /// What this host has been measured to carry.
    pub capacity: Capacity,
    /// The admin API.
    pub admin: Admin,
    /// Where the relay is, and where it may be.
    pub sovereignty: Sovereignty,
    /// What is written to the log, and how.
    pub log: Log,
    /// Every file that was read to make this, the configuration itself first: what to watch for a reload.
    pub files: Vec<PathBuf>,
    /// SHA-256 of what was in each of `files`.
    pub digests: Vec<[u8; 32]>,
    /// What is not wrong, but should be looked at.
    pub warnings: Vec<ConfigWarning>,
}

/// One address on which clients are listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken there.
    pub transport: ListenerTransport,
    /// Address and port; the address may be a wildcard, port 0 lets the kernel pick one.
    pub address: SocketAddr,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerTransport {
    /// STUN and TURN over UDP.
    Udp,
    /// STUN and TURN over TCP.
    Tcp,
    /// STUN and TURN over TLS over TCP.
    Tls,
    /// TCP, TLS and plain HTTPS health checks on one port, told apart by the first bytes.
    Auto,
}

impl ListenerTransport {
    /// The word used in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Auto => "auto",
        }
    }

    /// Whether a certificate is needed.
    pub const fn needs_certificate(self) -> bool {
        matches!(self, Self::Tls | Self::Auto)
    }
}

/// Where relayed transport addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// At least one; each family's first is its default.
    pub addresses: Vec<RelayedAddress>,
    /// Ports of relayed sockets, within 1024-65535.
    pub ports: RangeInclusive<u16>,
}

/// An address on which relayed sockets are bound, and the one under which peers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedAddress {
    /// The local address; a wildcard stands for the machine's primary address of that family, found at start.
    pub bind: IpAddr,
    /// The public address of the same family that a NAT puts in front of `bind`; `None`: `bind` itself is seen.
    pub advertise: Option<IpAddr>,
}

/// Certificate, key and what is negotiated.
#[derive(Debug)]
pub struct Tls {
    /// The chain, the relay's own certificate first; at least one.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The private key. Whether it belongs to the certificate is judged where both are used.
    pub key: PrivateKeyDer<'static>,
    /// Versions and suites that are offered.
    pub profile: TlsProfile,
    /// The file of `certificates`.
    pub certificate_file: PathBuf,
    /// The file of `key`.
    pub key_file: PathBuf,
}

/// Which TLS versions and suites are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsProfile {
    /// TLS 1.3, and TLS 1.2 with ECDHE and an AEAD.
    #[default]
    Modern,
    /// TLS 1.3 with AES-GCM alone.
    Ism,
    /// As `modern`, for the oldest clients that can still be served safely.
    Compat,
}

impl TlsProfile {
    /// The word used in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Ism => "ism",
            Self::Compat => "compat",
        }
    }
}

/// How nonces are made (RFC 8489 §9.2).
#[derive(Debug)]
pub struct Nonce {
    /// The key shared by a fleet; `None`: a random one at each start.
    pub key: Option<NonceKey>,
    /// The key before `key`, still accepted while it is being rotated out.
    pub previous_key: Option<NonceKey>,
    /// How long a nonce is good for; at most one hour.
    pub lifetime: Duration,
}

/// Limits on time-limited credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialLimits {
    /// A credential that expires later than this from now is refused.
    pub max_ttl: Duration,
}

/// Which peers may be reached, beside what is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Opens ranges that are denied by default; never those that are always denied.
    pub allow: Vec<IpNet>,
    /// Denied beside what is denied by default.
    pub deny: Vec<IpNet>,
    /// Where there are any, the only ones that are reached, denied by default or not, other clients of this relay among
    /// them; never those that are always denied.
    pub only: Vec<IpNet>,
    /// Peer ports that are refused, sorted, neither overlapping nor adjacent.
    pub denied_ports: Vec<RangeInclusive<u16>>,
    /// Whether 127.0.0.0/8 and ::1 may be peers; only ever set while all listeners and the admin API are on loopback.
    pub allow_loopback: bool,
    /// The operator's own NAT64 prefixes (RFC 6052 §2.2), whose embedded IPv4 address is judged as well.
    pub nat64_prefixes: Vec<Ipv6Net>,
}

/// Limits on what one user, one connection or all together may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live allocations of one user name.
    pub allocations_per_user: u32,
    /// Live allocations of the whole relay.
    pub allocations: u32,
    /// Permissions of one allocation.
    pub permissions_per_allocation: u32,
    /// Channel bindings of one allocation.
    pub channels_per_allocation: u32,
    /// Answers to unauthenticated requests a second, for each source prefix (/32 or /64); 0 lifts this limit, and the waits for
    /// guessed passwords.
    pub unauthenticated_per_second: u32,
    /// Payload bits a second of one user name, both directions together, on each worker; 0 lifts the limit.
    pub bits_per_second_per_user: u64,
    /// Payload bits a second of one allocation, both directions together; 0 lifts the limit.
    pub bits_per_second_per_allocation: u64,
    /// The longest lifetime that is granted to an allocation at a time; 600 to 3600 seconds.
    pub max_lifetime: Duration,
    /// How old an allocation may be and still be refreshed with credentials that have expired.
    pub allocation_max_age: Duration,
    /// TCP and TLS connections of the whole relay, established or not.
    pub connections: u32,
    /// The same of one source, a /32 or a /64, with those that are not established yet; 0 lifts the limit.
    pub connections_per_source: u32,
    /// Connections of the whole relay that have not completed their TLS handshake or sent their first bytes.
    pub half_open: u32,
    /// How long a connection may take for its TLS handshake or its first bytes.
    pub handshake_timeout: Duration,
    /// How long a connection without an allocation may be silent.
    pub idle_timeout: Duration,
    /// Bytes that wait for a slow TCP or TLS client before the oldest media is dropped.
    pub queue_bytes: usize,
    /// Age at which media that waits for a slow TCP or TLS client is dropped.
    pub queue_age: Duration,
}

/// Where the relay is, and where it may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sovereignty {
    /// The zone that the relay is in; `None`: nobody has said.
    pub zone_id: Option<String>,
    /// Zones that the relay may be in; empty: any.
    pub allowed_zone_ids: Vec<String>,
}

/// What becomes of the DSCP of relayed packets (RFC 8656 §14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dscp {
    /// Taken over from the packet that came in.
    #[default]
    Copy,
    /// Always this value, 0 to 63.
    Fixed(u8),
}

/// Reads and judges the configuration at `path`, with every file that it names. Without `state-directory` the one that
/// systemd made (`$STATE_DIRECTORY`) is taken.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    load_with(path, &mut read_file)
}

/// As [`load`], asking `read` for the configuration itself and for every file that it names.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn load_with(
    path: &Path,
    read: &mut dyn FnMut(&Path) -> std::io::Result<FileRead>,
) -> Result<Config, ConfigErrors> {
    let text = files::read_config(path, read)?;
    let mut config = sections::parse(&text, path, read)?;
    if config.state_directory.is_none() {
        config.state_directory = operation::inherited_state_directory();
    }
    Ok(config)
}

/// Judges the configuration `text`. `origin` is the file's name in errors, and relative names are relative to its
/// directory; `read` is asked for every file that the text names.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn parse(
    text: &str,
    origin: &Path,
    read: &mut dyn FnMut(&Path) -> std::io::Result<FileRead>,
) -> Result<Config, ConfigErrors> {
    let text = FileRead {
        bytes: zeroize::Zeroizing::new(text.as_bytes().to_vec()),
        open_to_others: false,
        writable_by_others: false,
    };
    sections::parse(&text, origin, read)
}
