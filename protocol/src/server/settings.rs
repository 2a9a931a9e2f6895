//! What a server is told at start: identity, limits, addresses.
//!
//! Not responsible for reading any of it from a file, nor for checking one value against another: the relay's
//! configuration does that before it makes these.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::peers::PeerPolicy;
use crate::address::{ChannelRange, Family};
use crate::credentials::{Directory, Nonces};

/// Everything that a server needs to know.
#[derive(Debug)]
pub struct Settings {
    /// Who may allocate.
    pub directory: Directory,
    /// Keys and lifetime of nonces.
    pub nonces: Nonces,
    /// Whom clients may reach.
    pub peers: PeerPolicy,
    /// Bounds.
    pub limits: Limits,
    /// Which channel numbers are accepted.
    pub channels: ChannelRange,
    /// SOFTWARE on Allocate and Refresh responses; none by default, as it helps attackers more than operators.
    pub software: Option<String>,
    /// The relayed addresses of the host.
    pub relayed: Vec<RelayedIp>,
    /// This worker's part of the relayed ports, the same on every relayed address.
    pub ports: RangeInclusive<u16>,
    /// This worker's number.
    pub worker: u8,
}

/// One relayed address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedIp {
    /// What sockets are bound to.
    pub bind: IpAddr,
    /// What clients and peers know it by: the same, or the public address of a 1:1 NAT in front of the host.
    pub advertised: IpAddr,
}

impl RelayedIp {
    /// Its family; a NAT keeps it.
    pub const fn family(&self) -> Family {
        Family::of_ip(&self.bind)
    }
}

/// Bounds on what clients may hold and ask.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Permissions in one allocation.
    pub permissions_per_allocation: usize,
    /// Channel bindings in one allocation.
    pub channels_per_allocation: usize,
    /// Answers to unauthenticated requests for each source prefix. 0 lifts this limit, and the waits for guessed passwords.
    pub unauthenticated_per_second: u32,
    /// The longest lifetime granted, 600 s to 3600 s (RFC 8656 §7.2).
    pub max_lifetime: Duration,
    /// How long an allocation may be refreshed after its credentials have expired, counted from its beginning.
    pub allocation_max_age: Duration,
    /// How long a freed relayed port is kept back.
    pub quarantine: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            permissions_per_allocation: 64,
            channels_per_allocation: 32,
            unauthenticated_per_second: 10,
            max_lifetime: Duration::from_secs(3600),
            allocation_max_age: Duration::from_secs(24 * 3600),
            quarantine: Duration::from_secs(60),
        }
    }
}
