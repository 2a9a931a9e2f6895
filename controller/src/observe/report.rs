//! Reads what a relay says of itself (`GET /v1/status`), trusting none of it.
//!
//! Responsible for bounds: size, numbers, length and characters of texts. What is not known stays unknown; what a newer relay
//! says besides is passed over; what cannot be is refused as a whole. Not responsible for freshness (`picture`).

use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::Deserialize;
use taciturn_protocol::credentials::ListVersion;
use taciturn_protocol::status::Phase;
use taciturn_protocol::time::UnixTime;

use crate::fleet::{
    DrainReport, Endpoints, Listening, Loads, Report, Transport, ZoneId, is_address, is_dns_name,
};

/// Longest status that is read.
pub const REPORT_BYTES: usize = 64 * 1024;
/// Longest text that is kept of it, in bytes; what is longer is cut.
const TEXT_BYTES: usize = 256;
/// Reasons for not being ready that are kept.
const MOST_REASONS: usize = 16;
/// Addresses, listeners and names of its endpoints that are kept, of each.
const MOST_ENDPOINTS: usize = 16;
/// Above everything that a machine can carry: bits in a second, allocations, whatever it is.
const MOST: f64 = 1e15;
/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// Why a status cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Longer than [`REPORT_BYTES`].
    #[error("the status is longer than 64 KiB")]
    Long,
    /// It is no JSON, or has another form.
    #[error("the status cannot be read: {0}")]
    Form(String),
    /// A number cannot be.
    #[error("the status says that {0} is a number that cannot be")]
    Number(&'static str),
    /// A text cannot be.
    #[error("the status has a {0} that cannot be")]
    Text(&'static str),
}

/// What the relay says.
#[derive(Deserialize)]
struct Written {
    phase: Phase,
    boot_id: String,
    sequence: u64,
    time: u64,
    ready: bool,
    #[serde(default)]
    not_ready_because: Vec<String>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    zone_id: Option<String>,
    load: WrittenLoad,
    #[serde(default)]
    capacity: WrittenLoad,
    #[serde(default)]
    utilisation: Option<f64>,
    #[serde(default)]
    full_now: bool,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    drain: Option<WrittenDrain>,
    #[serde(default)]
    endpoints: WrittenEndpoints,
    #[serde(default)]
    revocations: Option<ListVersion>,
}

/// `load` and `capacity`, which differ in how they call ports.
#[derive(Default, Deserialize)]
struct WrittenLoad {
    #[serde(default)]
    allocations: Option<f64>,
    #[serde(default)]
    ports_used: Option<f64>,
    #[serde(default)]
    ports: Option<f64>,
    #[serde(default)]
    packets_per_second: Option<f64>,
    #[serde(default)]
    bits_per_second: Option<f64>,
    #[serde(default)]
    busiest_core: Option<f64>,
}

#[derive(Deserialize)]
struct WrittenDrain {
    source: String,
    started: u64,
    deadline: u64,
    #[serde(default)]
    reason: String,
    epoch: u64,
    allocations_remaining: u64,
    #[serde(default)]
    idle_allocations: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenEndpoints {
    addresses: Vec<String>,
    listeners: Vec<WrittenListener>,
    tls_names: Vec<String>,
}

#[derive(Deserialize)]
struct WrittenListener {
    transport: String,
    port: u16,
}

/// Reads a status.
///
/// # Errors
/// Why none of it is believed.
pub fn report(json: &[u8]) -> Result<Report, ReportError> {
    if json.len() > REPORT_BYTES {
        return Err(ReportError::Long);
    }
    let written: Written = serde_json::from_slice(json)
        .map_err(|error| ReportError::Form(short(&error.to_string())))?;
    if written.boot_id.is_empty() || written.boot_id.len() > TEXT_BYTES {
        return Err(ReportError::Text("boot_id"));
    }
    // Said by nobody of himself: see `Phase`.
    if written.phase == Phase::Lost {
        return Err(ReportError::Text("phase"));
    }
    let zone_id = written.zone_id.map(ZoneId::try_from).transpose();
    let reasons = written.not_ready_because.iter().take(MOST_REASONS);
    Ok(Report {
        boot_id: short(&written.boot_id),
        sequence: written.sequence,
        time: time(written.time, "time")?,
        phase: written.phase,
        ready: written.ready,
        not_ready_because: reasons.map(|reason| short(reason)).collect(),
        version: short(&written.version),
        zone_id: zone_id.map_err(|_| ReportError::Text("zone_id"))?,
        load: written.load.loads(|load| load.ports_used)?,
        capacity: written.capacity.loads(|load| load.ports)?,
        utilisation: number(written.utilisation, "utilisation")?,
        full_now: written.full_now,
        epoch: written.epoch,
        drain: written.drain.map(WrittenDrain::report).transpose()?,
        endpoints: written.endpoints.endpoints(),
        // What cannot be is not known, and is not obeyed.
        revocations: written.revocations.filter(|stamp| stamp.is_plausible()),
    })
}

impl WrittenLoad {
    fn loads(&self, ports: impl Fn(&Self) -> Option<f64>) -> Result<Loads, ReportError> {
        Ok(Loads {
            packets: number(self.packets_per_second, "packets_per_second")?,
            bits: number(self.bits_per_second, "bits_per_second")?,
            core: number(self.busiest_core, "busiest_core")?,
            allocations: number(self.allocations, "allocations")?,
            ports: number(ports(self), "ports")?,
        })
    }
}

impl WrittenDrain {
    fn report(self) -> Result<DrainReport, ReportError> {
        Ok(DrainReport {
            source: short(&self.source),
            started: time(self.started, "drain.started")?,
            deadline: time(self.deadline, "drain.deadline")?,
            reason: short(&self.reason),
            epoch: self.epoch,
            allocations_remaining: self.allocations_remaining,
            idle_allocations: self.idle_allocations,
        })
    }
}

impl WrittenEndpoints {
    /// What stands in URLs later: only what is an address, a port, a transport that is known or a name. The rest is passed
    /// over, as a newer relay may say more.
    fn endpoints(&self) -> Endpoints {
        let addresses = self.addresses.iter().filter_map(|text| {
            let address: IpAddr = text.parse().ok()?;
            is_address(&address).then_some(address)
        });
        let listeners = self.listeners.iter().filter_map(|listener| {
            let transport = match listener.transport.as_str() {
                "udp" => Transport::Udp,
                "tcp" => Transport::Tcp,
                "tls" => Transport::Tls,
                "auto" => Transport::Auto,
                _ => return None,
            };
            let port = NonZeroU16::new(listener.port)?;
            Some(Listening { transport, port })
        });
        let names = self.tls_names.iter();
        let names = names.filter(|name| is_dns_name(name)).cloned();
        Endpoints {
            addresses: each_once(addresses),
            listeners: each_once(listeners),
            tls_names: each_once(names),
        }
    }
}

/// The first of them, none of them twice.
fn each_once<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if kept.len() == MOST_ENDPOINTS {
            break;
        }
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// Not negative, and not more than anything can be; JSON has no NaN, and what is too great for a float is refused before.
fn number(value: Option<f64>, name: &'static str) -> Result<Option<f64>, ReportError> {
    match value {
        Some(value) if !(0.0..=MOST).contains(&value) => Err(ReportError::Number(name)),
        Some(_) | None => Ok(value),
    }
}

fn time(seconds: u64, name: &'static str) -> Result<UnixTime, ReportError> {
    if seconds > LAST_SECOND {
        Err(ReportError::Number(name))
    } else {
        Ok(UnixTime::from_secs(seconds))
    }
}

/// Cut to a length that fits a log, without what would break or turn its lines.
pub(super) fn short(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}');
    let cut = &text[..text.floor_char_boundary(TEXT_BYTES)];
    cut.chars()
        .map(|c| if c.is_control() || turns(c) { ' ' } else { c })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
