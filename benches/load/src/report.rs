//! The result of a run, as it is printed: one line of JSON.
//!
//! Responsible for the names and units of the figures. Not responsible for measuring them.

use crate::histogram::Histogram;
use crate::ledger::Tally;
use crate::server_use::Usage;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;

/// Traffic over flows.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TrafficReport {
    /// Flows in the run.
    pub(crate) flows: usize,
    /// Bytes of each payload.
    pub(crate) payload_bytes: usize,
    /// Counts over the whole run, warm-up included.
    #[serde(flatten)]
    pub(crate) tally: Tally,
    /// Sent but never delivered.
    pub(crate) lost: u64,
    /// Length of the measured interval.
    pub(crate) seconds: f64,
    /// Verified payloads each second of the measured interval.
    pub(crate) packets_per_second: f64,
    /// The part of the time in which the generator had something to do: at 1 the server may have waited for it.
    pub(crate) generator_utilisation: f64,
    /// Times that a flow took its whole window for lost.
    pub(crate) stalls: u64,
    /// One-way latencies; `None` when nothing arrived.
    pub(crate) latency: Option<Latency>,
    /// What the server used in the measured interval, where its process is known.
    pub(crate) server: Option<ServerShare>,
}

/// One-way latency through the relay, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Half of the payloads were at least as fast.
    pub(crate) p50_us: f64,
    /// 99 % were.
    pub(crate) p99_us: f64,
    /// 99.9 % were.
    pub(crate) p999_us: f64,
}

impl Latency {
    /// Reads the three quantiles.
    pub(crate) fn of(histogram: &Histogram) -> Option<Self> {
        Some(Self {
            p50_us: histogram.quantile_micros(500)?,
            p99_us: histogram.quantile_micros(990)?,
            p999_us: histogram.quantile_micros(999)?,
        })
    }
}

/// The server's share of the work.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ServerShare {
    /// CPU time for each delivered payload, all threads, in nanoseconds.
    pub(crate) cpu_ns_per_packet: f64,
    /// The part of it in user space.
    pub(crate) user_ns_per_packet: f64,
    /// The part of it in the kernel.
    pub(crate) system_ns_per_packet: f64,
    /// Busy cores: 1.0 is one core at its limit.
    pub(crate) utilisation: f64,
    /// The same, of what the load beside it left of its core.
    pub(crate) utilisation_of_rest: f64,
    /// Resident memory at the end, in KiB.
    pub(crate) resident_kib: Option<u64>,
}

impl ServerShare {
    /// Divides what was used by what was delivered.
    pub(crate) fn new(
        used: &Usage,
        delivered: u64,
        seconds: f64,
        taken_cores: f64,
        resident_kib: Option<u64>,
    ) -> Self {
        let total = per(used.run_nanos as f64, delivered);
        let utilisation = if seconds > 0.0 {
            used.run_nanos as f64 / 1e9 / seconds
        } else {
            0.0
        };
        Self {
            cpu_ns_per_packet: total,
            user_ns_per_packet: total * used.user_share(),
            system_ns_per_packet: total * (1.0 - used.user_share()),
            utilisation,
            utilisation_of_rest: utilisation / (1.0 - taken_cores).max(0.05),
            resident_kib,
        }
    }
}

/// Many allocations.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AllocationsReport {
    /// Allocations asked for.
    pub(crate) requested: usize,
    /// Allocations granted, each with a relayed address and a proof of the key.
    pub(crate) granted: usize,
    /// Allocations refused or never answered.
    pub(crate) failed: usize,
    /// Relayed addresses that two living allocations had at once: always a defect.
    pub(crate) shared_relayed_addresses: usize,
    /// Requests that had to be sent again.
    pub(crate) retransmitted: u64,
    /// Refusals by error code; 0 counts answers without a proof, an address or a challenge.
    pub(crate) refusals: BTreeMap<u16, u64>,
    /// Time for all of them, 401 exchange included.
    pub(crate) seconds: f64,
    /// Granted allocations each second.
    pub(crate) allocations_per_second: f64,
    /// Deletions each second.
    pub(crate) deletions_per_second: f64,
    /// What each cost the server, where its process is known.
    pub(crate) server: Option<AllocationCost>,
}

/// The server's cost of one allocation.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct AllocationCost {
    /// CPU time from the first request to the success response, in microseconds.
    pub(crate) cpu_us_per_allocation: f64,
    /// CPU time of the Refresh with lifetime 0, in microseconds.
    pub(crate) cpu_us_per_deletion: f64,
    /// Growth of resident memory, in KiB.
    pub(crate) resident_kib_per_allocation: f64,
    /// Growth of open file descriptors.
    pub(crate) descriptors_per_allocation: f64,
}

/// A quotient that is 0 when there is nothing to divide by.
pub(crate) fn per(amount: f64, count: u64) -> f64 {
    if count == 0 {
        0.0
    } else {
        amount / count as f64
    }
}

impl TrafficReport {
    /// Whether the server relayed something, and nothing wrongly.
    pub(crate) const fn is_sound(&self) -> bool {
        self.tally.is_sound()
    }

    /// Packets that a whole second of one core is worth to the server: what it could carry, where the one-core generator is
    /// too slow to fill it.
    ///
    /// # Errors
    ///
    /// When its processor time was not measured.
    pub(crate) fn packets_per_core_second(&self) -> Result<f64> {
        let server = self.server.as_ref();
        server
            .map(|server| 1e9 / server.cpu_ns_per_packet)
            .filter(|packets| packets.is_finite())
            .context("the server's processor time is not known")
    }
}

impl AllocationsReport {
    /// Whether every allocation was granted, each at an address of its own.
    pub(crate) const fn is_sound(&self) -> bool {
        self.granted == self.requested && self.shared_relayed_addresses == 0
    }
}
