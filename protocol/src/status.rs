//! Phase and load, as a relay reports them and a controller reads them.
//!
//! Not responsible for measuring anything.

use core::fmt;

use crate::address::Transport;

/// The life of a relay. The same words stand in metrics, logs, the admin API and the documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Phase {
    /// Not serving yet.
    #[default]
    Launching,
    /// Serving.
    Ready,
    /// No new allocations; everything else as before. Can be undone.
    Draining,
    /// Draining, and no allocation is left.
    Drained,
    /// Nobody has heard of it for too long. A relay never says this of itself.
    Lost,
}

impl Phase {
    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launching => "launching",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one server holds, or all servers of a relay together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Load {
    /// Live allocations, without those of the relay's own self-check, as all counts of what clients hold.
    pub allocations: usize,
    /// Live allocations of the relay's own self-check.
    pub synthetic: usize,
    /// Live allocations by [`Transport::index`].
    pub by_transport: [usize; Transport::ALL.len()],
    /// Allocations that wait for their relayed socket.
    pub pending: usize,
    /// Relayed ports that are held for a reservation token.
    pub reserved: usize,
    /// Live permissions.
    pub permissions: usize,
    /// Live channel bindings.
    pub channels: usize,
    /// Relayed ports that can be given out.
    pub ports_free: usize,
    /// Relayed ports in use, reserved ones included.
    pub ports_used: usize,
    /// Relayed ports that are kept back after use.
    pub ports_quarantined: usize,
}

impl Load {
    /// The sum of two loads.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut by_transport = self.by_transport;
        for (sum, more) in by_transport.iter_mut().zip(other.by_transport) {
            *sum += more;
        }
        Self {
            allocations: self.allocations + other.allocations,
            synthetic: self.synthetic + other.synthetic,
            by_transport,
            pending: self.pending + other.pending,
            reserved: self.reserved + other.reserved,
            permissions: self.permissions + other.permissions,
            channels: self.channels + other.channels,
            ports_free: self.ports_free + other.ports_free,
            ports_used: self.ports_used + other.ports_used,
            ports_quarantined: self.ports_quarantined + other.ports_quarantined,
        }
    }
}
