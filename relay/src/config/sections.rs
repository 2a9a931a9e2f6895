//! The whole configuration, put together from its sections.
//!
//! Responsible for the keys without a place elsewhere (realm, limits, log...) and for refusing everything when anything
//! is wrong. Not for addresses (`network`) or for keys (`keys`).

use core::num::NonZeroUsize;
use core::time::Duration;
use std::io;
use std::path::Path;

use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::credentials::Realm;
use toml::de::DeValue;

use super::admin::admin;
use super::error::{ConfigError, ConfigErrors, ConfigWarning};
use super::files::FileRead;
use super::keys::{Files, nonce_key, secrets, tls, users};
use super::log::log;
use super::network::{listeners, refuse_admin_on_listener, refuse_relayed_on_listener, relayed};
use super::operation;
use super::peers::peers;
use super::section::{Document, Section, Wrong};
use super::value::{boolean, duration, integer, text, word};
use super::{Config, CredentialLimits, Dscp, Limits, MetadataProvider, Nonce, Sovereignty};

/// The longest realm in bytes, so that the largest 401 stays below the 548 bytes that fit any IPv4 path (RFC 8489 §6.1).
///
/// ```text
/// 20 header + 20 ERROR-CODE + 52 NONCE + 12 PASSWORD-ALGORITHMS + 8 FINGERPRINT + 4 + realm, padded < 548
/// ```
pub const MAX_REALM_BYTES: usize = 428;

/// The longest SOFTWARE text in bytes, for the same reason: it rides on the largest Allocate success.
const MAX_SOFTWARE_BYTES: usize = 127;

/// The longest that a worker looks for more to do before it sleeps: longer than any gap at which that is cheaper than waking.
const MAX_BUSY_POLL: Duration = Duration::from_millis(1);

/// How long a busy worker lets datagrams gather unless configured. Longer gains little: by then there are enough.
const COALESCE: Duration = Duration::from_micros(50);
/// And the most: ten times as long as network cards hold back an interrupt.
const MAX_COALESCE: Duration = Duration::from_micros(500);

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn parse(
    file: &FileRead,
    origin: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<FileRead>,
) -> Result<Config, ConfigErrors> {
    let Ok(text) = str::from_utf8(&file.bytes) else {
        return Err(ConfigErrors::new(vec![ConfigError {
            file: origin.to_path_buf(),
            line: 0,
            column: 0,
            key: String::new(),
            value: None,
            problem: "is not UTF-8 text".to_owned(),
            remedy: "write it as UTF-8".to_owned(),
        }]));
    };
    let document = Document::new(text, origin);
    if file.writable_by_others {
        document
            .warnings
            .borrow_mut()
            .push(ConfigWarning(ConfigError {
                file: origin.to_path_buf(),
                line: 0,
                column: 0,
                key: String::new(),
                value: None,
                problem:
                    "can be written by everybody on this machine, who then say what the relay does"
                        .to_owned(),
                remedy: "run chmod o-w on it".to_owned(),
            }));
    }
    let mut files = Files {
        read,
        origin_open_to_others: file.open_to_others,
    };
    let config = document
        .tables()
        .and_then(|tables| assemble(&document.top(&tables), &mut files));
    match config {
        Some(config) if document.errors.borrow().is_empty() => {
            let (files, digests) = document.files.into_inner().into_iter().unzip();
            Ok(Config {
                files,
                digests,
                warnings: document.warnings.into_inner(),
                ..config
            })
        }
        _ => Err(ConfigErrors::new(document.errors.into_inner())),
    }
}

/// Every section is read whatever is wrong with the others, so that all errors are found at once.
fn assemble(top: &Section<'_>, files: &mut Files<'_>) -> Option<Config> {
    let realm = top.require(
        "realm",
        "write your domain, e.g. realm = \"turn.example.org\"",
        realm,
    );
    let metadata = operation::metadata(top);
    let workers = top
        .read("workers", integer(0..=255))
        .and_then(NonZeroUsize::new);
    let pin_workers = top.read("pin-workers", boolean).unwrap_or_default();
    let busy_poll = top
        .read("busy-poll", duration(Duration::ZERO..=MAX_BUSY_POLL))
        .unwrap_or_default();
    let coalesce = top
        .read("coalesce", duration(Duration::ZERO..=MAX_COALESCE))
        .unwrap_or(COALESCE);
    let listeners = listeners(top);
    let (admin, admin_field) = admin(top, files);
    refuse_admin_on_listener((&admin, admin_field), &listeners);
    let (relayed, relayed_ports) = relayed(top);
    refuse_relayed_on_listener((&relayed, relayed_ports), &listeners, (&admin, admin_field));
    let secrets = secrets(top, files);
    let users = users(top, realm.as_ref(), files);
    if !top.has("secret") && !top.has("user") {
        let remedy =
            "write [[secret]] with id and file; taciturn credentials secret --out FILE makes one";
        top.missing(
            "secret",
            "is missing: without a secret or a user nobody could be let in",
            remedy,
        );
    }
    Some(Config {
        channel_numbers: top
            .read("channel-numbers", word(CHANNEL_NUMBERS))
            .unwrap_or_default(),
        software: top.read("software", software).flatten(),
        dscp: top.read("dscp", dscp).unwrap_or_default(),
        relayed,
        tls: tls(top, files),
        nonce: nonce(top, files),
        credentials: credentials(top),
        peers: peers(top, &listeners, &admin),
        limits: limits(top),
        sovereignty: sovereignty(top, metadata),
        state_directory: operation::state_directory(top),
        drain: operation::drain(top),
        metadata,
        self_check: operation::self_check(top),
        overload: operation::overload(top),
        capacity: operation::capacity(top),
        log: log(top, files),
        workers,
        pin_workers,
        busy_poll,
        coalesce,
        listeners: listeners
            .into_iter()
            .map(|(listener, _)| listener)
            .collect(),
        secrets,
        users,
        admin,
        files: Vec::new(),
        digests: Vec::new(),
        warnings: Vec::new(),
        realm: realm?,
    })
}

const CHANNEL_NUMBERS: &[(&str, ChannelRange)] = &[
    ("rfc8656", ChannelRange::Rfc8656),
    ("rfc5766", ChannelRange::Rfc5766),
];

fn realm(value: &DeValue<'_>) -> Result<Realm, Wrong> {
    let remedy = "write your domain, e.g. realm = \"turn.example.org\"";
    let written = text(value)?;
    let realm = Realm::new(written)
        .map_err(|error| Wrong::new(format!("is not a realm: {error}"), remedy))?;
    if realm.as_str().len() > MAX_REALM_BYTES {
        let problem = format!(
            "has more than {MAX_REALM_BYTES} bytes, so that a 401 would not fit every path"
        );
        return Err(Wrong::new(problem, remedy));
    }
    Ok(realm)
}

/// The empty text says: no SOFTWARE.
fn software(value: &DeValue<'_>) -> Result<Option<String>, Wrong> {
    let software = text(value)?;
    if software.len() > MAX_SOFTWARE_BYTES || software.chars().any(char::is_control) {
        let problem =
            format!("must be at most {MAX_SOFTWARE_BYTES} bytes without control characters");
        return Err(Wrong::new(
            problem,
            "shorten it, or write software = \"\" to say nothing",
        ));
    }
    Ok((!software.is_empty()).then(|| software.to_owned()))
}

fn dscp(value: &DeValue<'_>) -> Result<Dscp, Wrong> {
    if value.as_str() == Some("copy") {
        return Ok(Dscp::Copy);
    }
    let fixed = integer(0..=63u8)(value).map(Dscp::Fixed);
    fixed.map_err(|_| {
        Wrong::new(
            "must be \"copy\" or 0 to 63",
            "write dscp = \"copy\", or e.g. dscp = 46",
        )
    })
}

fn nonce(top: &Section<'_>, files: &mut Files<'_>) -> Nonce {
    let section = top.once("nonce");
    let section = section.as_ref();
    let key = section.and_then(|section| nonce_key(section, "key-file", files));
    let previous_key = section.and_then(|section| nonce_key(section, "previous-key-file", files));
    if let Some(section) = section
        && let (Some(previous), None) = (
            section.field("previous-key-file"),
            section.field("key-file"),
        )
    {
        let wrong = Wrong::new(
            "has no key-file that follows it",
            "write key-file too, or take this away",
        );
        previous.refuse(wrong);
    }
    let lifetime = section.and_then(|section| section.read("lifetime", duration(MINUTE..=HOUR)));
    Nonce {
        key,
        previous_key,
        lifetime: lifetime.unwrap_or(10 * MINUTE),
    }
}

fn credentials(top: &Section<'_>) -> CredentialLimits {
    let section = top.once("credentials");
    let max_ttl = section.and_then(|section| section.read("max-ttl", duration(MINUTE..=365 * DAY)));
    CredentialLimits {
        max_ttl: max_ttl.unwrap_or(DAY),
    }
}

fn limits(top: &Section<'_>) -> Limits {
    // Generous upper bounds: they are there so that a slip of the finger does not lift a limit.
    const MANY: u32 = 10_000_000;
    let section = top.once("limits");
    let section = section.as_ref();
    let count = |key, most, default| {
        section
            .and_then(|section| section.read(key, integer(1..=most)))
            .unwrap_or(default)
    };
    let period = |key, range, default| {
        section
            .and_then(|section| section.read(key, duration(range)))
            .unwrap_or(default)
    };
    let unauthenticated = section
        .and_then(|section| section.read("unauthenticated-per-second", integer(0..=1_000_000)));
    let bits = |key| {
        section
            .and_then(|section| section.read(key, integer(0..=1_000_000_000_000)))
            .unwrap_or(0)
    };
    // One whole frame of a stream must fit, or nothing would ever be sent: 65535 bytes and a header.
    let queue =
        section.and_then(|section| section.read("queue-bytes", integer(65_600..=1_073_741_824)));
    let connections = count("connections", MANY, 10_000);
    let per_source = section
        .and_then(|section| section.read("connections-per-source", integer(0..=MANY)))
        // Behind one address there may be a whole office, or a carrier's customers.
        .unwrap_or_else(|| (connections / 10).max(100));
    Limits {
        allocations_per_user: count("allocations-per-user", MANY, 100),
        allocations: count("allocations", MANY, 10_000),
        permissions_per_allocation: count("permissions-per-allocation", 65_535, 64),
        channels_per_allocation: count("channels-per-allocation", 16_384, 32),
        unauthenticated_per_second: unauthenticated.unwrap_or(10),
        bits_per_second_per_user: bits("bits-per-second-per-user"),
        bits_per_second_per_allocation: bits("bits-per-second-per-allocation"),
        max_lifetime: period("max-lifetime", 10 * MINUTE..=HOUR, HOUR),
        allocation_max_age: period("allocation-max-age", 10 * MINUTE..=365 * DAY, DAY),
        connections,
        connections_per_source: per_source,
        half_open: count("half-open", MANY, 1000),
        handshake_timeout: period(
            "handshake-timeout",
            Duration::from_millis(100)..=MINUTE,
            5 * SECOND,
        ),
        idle_timeout: period("idle-timeout", SECOND..=DAY, MINUTE),
        queue_bytes: queue.unwrap_or(262_144),
        queue_age: period(
            "queue-age",
            Duration::from_millis(10)..=MINUTE,
            Duration::from_millis(500),
        ),
    }
}

/// A zone that the relay cannot know to be allowed is refused like one that is not. A provider of metadata knows it.
fn sovereignty(top: &Section<'_>, metadata: MetadataProvider) -> Sovereignty {
    let Some(section) = top.once("sovereignty") else {
        return Sovereignty::default();
    };
    let zone = section.read("zone-id", zone_id);
    let allowed = section
        .list("allowed-zone-ids", zone_id)
        .unwrap_or_default();
    let allowed: Vec<String> = allowed.into_iter().map(|(zone, _)| zone).collect();
    match (&zone, section.field("zone-id")) {
        (Some(zone), Some(field)) if !allowed.is_empty() && !allowed.contains(zone) => {
            let remedy = "run the relay in an allowed zone, or add this one to allowed-zone-ids";
            field.refuse(Wrong::new(
                format!("is not among allowed-zone-ids ({})", allowed.join(", ")),
                remedy,
            ));
        }
        (None, None) if !allowed.is_empty() && metadata == MetadataProvider::None => {
            let remedy = "write the zone that this relay runs in, e.g. zone-id = \"apse2-az1\"; on EC2 metadata.provider = \
                          \"aws\" finds it";
            section.missing(
                "zone-id",
                "is missing, so that allowed-zone-ids could not be enforced",
                remedy,
            );
        }
        _ => {}
    }
    Sovereignty {
        zone_id: zone,
        allowed_zone_ids: allowed,
    }
}

fn zone_id(value: &DeValue<'_>) -> Result<String, Wrong> {
    let zone = text(value)?;
    if zone.is_empty()
        || zone.len() > 64
        || !zone
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        return Err(Wrong::new("is not a zone id", "write e.g. \"apse2-az1\""));
    }
    Ok(zone.to_owned())
}
