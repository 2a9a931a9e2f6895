//! What a relay is told about being operated: state, drain, instance metadata, self-check, overload, capacity.
//!
//! Responsible for these sections' values. Not for acting on any of them.

use core::time::Duration;
use std::net::SocketAddr;
use std::path::PathBuf;

use taciturn_protocol::address::Transport;
use taciturn_protocol::server::Alternate;
use toml::de::DeValue;

use super::section::{Section, Wrong, kind};
use super::value::{duration, integer, socket_address, text, word};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How many other relays a client can be told of; it is told of one, and asks again if that fails.
const MAX_ALTERNATES: usize = 16;

/// What a drain does beside refusing new allocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// Other relays that clients are sent to (300, RFC 8489 §10), best first; at most 16, none of them over TLS.
    pub alternates: Vec<Alternate>,
    /// The deadline of a drain that SIGTERM or the instance metadata begins; zero: SIGTERM stops at once.
    pub stop_after: Duration,
}

/// Whom the relay asks about the instance that it runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataProvider {
    /// Nobody.
    #[default]
    None,
    /// Amazon EC2's instance metadata, version 2.
    Aws,
}

impl MetadataProvider {
    /// The word used in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Aws => "aws",
        }
    }
}

/// How the relay tries itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfCheck {
    /// How long it waits between two checks; `None`: it does not.
    pub interval: Option<Duration>,
}

/// When new allocations are shed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overload {
    /// The share of its core, 0.05 to 1, that the busiest worker needs for it; `None`: they
    /// never are, whatever else fills up.
    pub busiest_core: Option<f64>,
}

/// What this host has been measured to carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Datagrams that all workers together receive in a second; 0: unknown.
    pub packets_per_second: u64,
    /// Payload bits that all workers together forward in a second; 0: unknown.
    pub bits_per_second: u64,
}

/// The `state-directory` that is written.
pub(super) fn state_directory(top: &Section<'_>) -> Option<PathBuf> {
    top.read("state-directory", |value| {
        let written = text(value)?;
        if !written.starts_with('/') || written.contains('\0') {
            let problem = "must be the full path of a directory";
            return Err(Wrong::new(problem, "write e.g. \"/var/lib/taciturn\""));
        }
        Ok(PathBuf::from(written))
    })
}

/// The first of the directories that systemd made for `StateDirectory=`.
pub(super) fn inherited_state_directory() -> Option<PathBuf> {
    let listed = std::env::var_os("STATE_DIRECTORY")?;
    let first = std::env::split_paths(&listed).next()?;
    first.is_absolute().then_some(first)
}

/// The `[drain]` section.
pub(super) fn drain(top: &Section<'_>) -> DrainSettings {
    let section = top.once("drain");
    let section = section.as_ref();
    let stop_after = section
        .and_then(|section| section.read("stop-after", duration(Duration::ZERO..=168 * HOUR)));
    DrainSettings {
        alternates: section.map(alternates).unwrap_or_default(),
        stop_after: stop_after.unwrap_or(Duration::from_secs(90 * 60)),
    }
}

/// The `[[drain.alternates]]`, also as a list of `{ transport = ..., address = ... }`.
fn alternates(drain: &Section<'_>) -> Vec<Alternate> {
    let mut alternates = Vec::new();
    for (index, section) in drain.each("drain.alternates").iter().enumerate() {
        let transport = section.require(
            "transport",
            "write e.g. transport = \"udp\"",
            alternate_transport,
        );
        let server = section.require(
            "address",
            "write e.g. address = \"203.0.113.8:3478\"",
            alternate_address,
        );
        if index == MAX_ALTERNATES {
            let problem =
                format!("is one more than the {MAX_ALTERNATES} alternates that there may be");
            section.missing("transport", &problem, "keep the best of them");
        }
        let (Some(transport), Some(server)) = (transport, server) else {
            continue;
        };
        alternates.push(Alternate {
            server,
            transport,
            domain: None,
        });
    }
    alternates
}

fn alternate_transport(value: &DeValue<'_>) -> Result<Transport, Wrong> {
    const WORDS: &[(&str, Transport)] = &[("udp", Transport::Udp), ("tcp", Transport::Tcp)];
    if value.as_str() == Some("tls") {
        return Err(Wrong::new(
            "cannot be an alternate: a client that is sent to an address would find a certificate that does not name it",
            "write \"udp\" or \"tcp\", or take it away; clients over TLS get 508 and try their next server",
        ));
    }
    word(WORDS)(value)
}

fn alternate_address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    let address = socket_address(value)?;
    if address.ip().is_unspecified() || address.port() == 0 {
        let problem = "is no address that clients could send to";
        return Err(Wrong::new(
            problem,
            "write the other relay's public address and port",
        ));
    }
    Ok(address)
}

/// The `[metadata]` section.
pub(super) fn metadata(top: &Section<'_>) -> MetadataProvider {
    const PROVIDERS: &[(&str, MetadataProvider)] = &[
        ("none", MetadataProvider::None),
        ("aws", MetadataProvider::Aws),
    ];
    top.once("metadata")
        .and_then(|section| section.read("provider", word(PROVIDERS)))
        .unwrap_or_default()
}

/// The `[self-check]` section.
pub(super) fn self_check(top: &Section<'_>) -> SelfCheck {
    const SHORTEST: Duration = Duration::from_millis(100);
    let interval = top.once("self-check").and_then(|section| {
        section.read("interval", |value| {
            let interval = duration(Duration::ZERO..=HOUR)(value)?;
            if !interval.is_zero() && interval < SHORTEST {
                let problem = "must be within 100ms to 1h, or 0s";
                return Err(Wrong::new(problem, "write e.g. \"5s\", or \"0s\" for none"));
            }
            Ok(interval)
        })
    });
    let interval = interval.unwrap_or(Duration::from_secs(5));
    SelfCheck {
        interval: (!interval.is_zero()).then_some(interval),
    }
}

/// The `[overload]` section.
pub(super) fn overload(top: &Section<'_>) -> Overload {
    let busiest_core = top
        .once("overload")
        .and_then(|section| section.read("busiest-core", busy_share));
    Overload {
        busiest_core: Some(busiest_core.unwrap_or(0.9)).filter(|share| *share > 0.0),
    }
}

/// A share of a core, or 0. New allocations come back a tenth below it, which must be above nothing.
fn busy_share(value: &DeValue<'_>) -> Result<f64, Wrong> {
    let remedy = "write a fraction without quotes, 0.05 to 1.0, e.g. 0.9, or 0 for never";
    let share = match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(_) => integer(0..=1u8)(value).ok().map(f64::from),
        DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => {
            let problem = format!("must be a fraction, found {}", kind(value));
            return Err(Wrong::new(problem, remedy));
        }
    };
    share
        .filter(|share| *share == 0.0 || (0.05..=1.0).contains(share))
        .ok_or_else(|| Wrong::new("must be within 0.05 to 1.0, or 0", remedy))
}

/// The `[capacity]` section.
pub(super) fn capacity(top: &Section<'_>) -> Capacity {
    let section = top.once("capacity");
    let count = |key, most| {
        section
            .as_ref()
            .and_then(|section| section.read(key, integer(0..=most)))
            .unwrap_or(0)
    };
    Capacity {
        packets_per_second: count("packets-per-second", 1_000_000_000_u64),
        bits_per_second: count("bits-per-second", 10_000_000_000_000),
    }
}
