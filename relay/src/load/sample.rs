//! What a sample of the load says.
//!
//! Not responsible for measuring (`reading`) nor for judging (`meter`, `overload`).

use taciturn_protocol::time::UnixTime;

use super::reading::Process;

/// What fills up. A relay is as full as the fullest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The share of a core that the busiest worker thread takes.
    BusiestCore,
    /// Datagrams received in a second, of `[capacity] packets-per-second`.
    Packets,
    /// Payload bits passed on in a second, of `[capacity] bits-per-second`.
    Bits,
    /// Live allocations, of `[limits] allocations`.
    Allocations,
    /// Relayed ports that are used or kept back after use, of all of their family; of two families the fuller one.
    Ports,
    /// Open descriptors, of those that the process may open.
    Fds,
}

impl Part {
    /// Every part, in the order of its index.
    pub const ALL: [Self; 6] = [
        Self::BusiestCore,
        Self::Packets,
        Self::Bits,
        Self::Allocations,
        Self::Ports,
        Self::Fds,
    ];

    /// The metric label, and the key in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BusiestCore => "busiest_core",
            Self::Packets => "packets",
            Self::Bits => "bits",
            Self::Allocations => "allocations",
            Self::Ports => "ports",
            Self::Fds => "fds",
        }
    }
}

/// One value for each part, as far as it is known. What is missing is not zero: it is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts([Option<f64>; Part::ALL.len()]);

impl Parts {
    /// The value of one part; `None` while nobody knows it.
    pub const fn part(&self, part: Part) -> Option<f64> {
        self.0[part as usize]
    }

    /// Sets one part.
    pub(crate) const fn set(&mut self, part: Part, value: Option<f64>) {
        self.0[part as usize] = value;
    }

    /// The known parts.
    pub fn known(&self) -> impl Iterator<Item = (Part, f64)> {
        Part::ALL
            .into_iter()
            .filter_map(|part| Some((part, self.part(part)?)))
    }

    /// The fullest of the known parts; `None` when none is known.
    pub fn fullest(&self) -> Option<f64> {
        self.known().map(|(_, value)| value).reduce(f64::max)
    }
}

/// The load of the relay over about a second.
#[derive(Clone, Debug)]
pub struct LoadSample {
    /// Counts samples from 1. A reader that sees the same number twice sees the same sample: the relay may hang.
    pub sequence: u64,
    /// When it was taken.
    pub taken: UnixTime,
    /// Shares of each part's limit in the last second: 0 is empty, 1 is full, more is possible.
    pub now: Parts,
    /// The same as a moving average over 30 seconds, which is what a fleet is scaled by.
    pub smoothed: Parts,
    /// What the parts are shares of, in their own units, where that is known.
    pub limits: Parts,
    /// Datagrams received and payload bits passed on in a second, as moving averages over 30 seconds; of the other parts
    /// nothing. Known whether or not the host has been measured.
    pub rates: Parts,
    /// Datagrams were lost in the last 10 seconds because the kernel or the cloud's network card had no room: whatever
    /// the parts say, the relay is full now.
    pub full_now: bool,
    /// New allocations are shed.
    pub overloaded: bool,
    /// The process.
    pub process: Process,
    /// Datagrams that the cloud's network cards queued or dropped beyond what this machine is entitled to, by allowance
    /// ([`super::ALLOWANCES`]); `None` on a host whose cards do not count them.
    pub allowance_exceeded: Option<[u64; super::ALLOWANCES.len()]>,
}

impl LoadSample {
    /// How full the relay is: 0 when empty, 1 when full, more when it carries more than it was measured for.
    pub fn utilisation(&self) -> f64 {
        let fullest = self.smoothed.fullest().unwrap_or(0.0);
        if self.full_now {
            fullest.max(1.0)
        } else {
            fullest
        }
    }
}
