//! The addresses and ports that relayed sockets may have, resolved once at start.
//!
//! Responsible for turning wildcards into addresses of this machine and for dividing the port range among the workers.
//! Not responsible for choosing a port (the server does, at random) nor for binding it (the worker).

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use taciturn_protocol::address::Family;

use crate::config;
use crate::net;

/// A relayed address as it is bound and as peers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPair {
    /// The local address.
    pub bind: IpAddr,
    /// The public address; `bind` itself where no NAT is between.
    pub advertise: IpAddr,
}

/// All relayed addresses of this relay, the default of each family first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayedAddresses {
    pairs: Vec<AddressPair>,
}

/// Why the relayed addresses or ports cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayedError {
    /// A wildcard, but the machine has no address of that family that leads anywhere.
    #[error(
        "[relayed] addresses has {0}, but this machine has no such address with a route; name the address to use"
    )]
    NoAddress(IpAddr),
    /// Fewer port pairs than workers.
    #[error(
        "[relayed] ports has {ports} ports, too few for {workers} workers; widen it, or set `workers` lower"
    )]
    TooFewPorts {
        /// How many ports there are.
        ports: usize,
        /// How many workers there are.
        workers: usize,
    },
}

impl RelayedAddresses {
    /// Resolves the configured addresses: a wildcard becomes the machine's primary address of its family. The wildcard
    /// of a family that the machine does not have is an error, as an operator who wrote it expects that family.
    pub fn resolve(configured: &[config::RelayedAddress]) -> Result<Self, RelayedError> {
        let mut pairs: Vec<AddressPair> = Vec::with_capacity(configured.len());
        for address in configured {
            let bind = if address.bind.is_unspecified() {
                let family = Family::of(&SocketAddr::new(address.bind, 0));
                net::primary_address(family).ok_or(RelayedError::NoAddress(address.bind))?
            } else {
                address.bind
            };
            let pair = AddressPair {
                bind,
                advertise: address.advertise.unwrap_or(bind),
            };
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        Ok(Self { pairs })
    }

    /// These pairs, already resolved.
    pub const fn from_pairs(pairs: Vec<AddressPair>) -> Self {
        Self { pairs }
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> &[AddressPair] {
        &self.pairs
    }
}

/// Divides `ports` into one contiguous slice a worker. Every slice after the first begins at an even port, so that an
/// even port and the odd one after it (EVEN-PORT, RFC 8656 §7.2) are in one slice.
pub fn slices(
    ports: &RangeInclusive<u16>,
    workers: usize,
) -> Result<Vec<RangeInclusive<u16>>, RelayedError> {
    let first = usize::from(*ports.start());
    let count = ports.len();
    if workers == 0 || count < 2 * workers {
        return Err(RelayedError::TooFewPorts {
            ports: count,
            workers,
        });
    }
    let boundary = |worker: usize| {
        let port = first + count * worker / workers;
        if worker == 0 || worker == workers {
            port
        } else {
            port & !1
        }
    };
    let slice = |worker: usize| {
        let start = u16::try_from(boundary(worker)).ok()?;
        let end = u16::try_from(boundary(worker + 1) - 1).ok()?;
        (start <= end).then_some(start..=end)
    };
    (0..workers)
        .map(slice)
        .collect::<Option<_>>()
        .ok_or(RelayedError::TooFewPorts {
            ports: count,
            workers,
        })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_the_range_once_and_keep_pairs_together() {
        for (range, workers) in [
            (49_152..=65_535, 1),
            (49_152..=65_535, 7),
            (50_001..=50_040, 4),
            (1_024..=1_031, 4),
        ] {
            let slices = slices(&range, workers).unwrap();
            assert_eq!(slices.len(), workers);
            let covered: Vec<u16> = slices.iter().cloned().flatten().collect();
            assert_eq!(covered, range.collect::<Vec<_>>());
            assert!(slices.iter().skip(1).all(|slice| slice.start() % 2 == 0));
        }
    }

    #[test]
    fn too_few_ports_for_the_workers_is_an_error() {
        assert!(slices(&(50_000..=50_005), 4).is_err());
        assert!(slices(&(50_000..=50_005), 0).is_err());
    }
}
