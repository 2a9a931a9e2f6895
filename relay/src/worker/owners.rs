//! Which worker holds a relayed address of this relay.
//!
//! The port alone would tell, as each worker has its own slice of the range, were it not for reservations: the odd port
//! of a pair moves to the worker that its client's second Allocate reaches. So the workers share one byte a port.
//!
//! Responsible for finding the worker. Not responsible for whether an allocation is there: that worker knows.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::relayed::RelayedAddresses;

/// No worker.
const NOBODY: u8 = u8::MAX;

/// One byte for each port of each relayed address. Written by the worker that binds or closes the port, read by all.
#[derive(Debug)]
pub struct Owners {
    // A bound address and the advertised one that stands for it share a row.
    addresses: Vec<(IpAddr, usize)>,
    rows: Vec<Box<[AtomicU8]>>,
}

impl Owners {
    /// No port is held yet. 64 KiB for each relayed address.
    pub fn new(relayed: &RelayedAddresses) -> Self {
        let mut addresses = Vec::new();
        let mut rows = Vec::new();
        for (row, pair) in relayed.pairs().iter().enumerate() {
            addresses.push((pair.bind, row));
            if pair.advertise != pair.bind {
                addresses.push((pair.advertise, row));
            }
            rows.push((0..=u16::MAX).map(|_| AtomicU8::new(NOBODY)).collect());
        }
        Self { addresses, rows }
    }

    /// The worker that holds this address, bound or advertised.
    #[inline]
    pub fn owner_of(&self, address: SocketAddr) -> Option<u8> {
        let owner = self.port(address)?.load(Ordering::Relaxed);
        (owner != NOBODY).then_some(owner)
    }

    /// `worker` holds this address from now on.
    pub fn set(&self, address: SocketAddr, worker: u8) {
        if let Some(port) = self.port(address) {
            port.store(worker, Ordering::Relaxed);
        }
    }

    /// `worker` has closed this address; without effect when another holds it by now.
    pub fn clear(&self, address: SocketAddr, worker: u8) {
        if let Some(port) = self.port(address) {
            // Losing the exchange means that the port has a new owner, which is what it should say.
            let _ = port.compare_exchange(worker, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn port(&self, address: SocketAddr) -> Option<&AtomicU8> {
        let (_, row) = self.addresses.iter().find(|(ip, _)| *ip == address.ip())?;
        self.rows.get(*row)?.get(usize::from(address.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relayed::AddressPair;

    #[test]
    fn a_port_is_found_by_its_bound_and_by_its_advertised_address() {
        let bind = IpAddr::from([10, 0, 0, 5]);
        let advertise = IpAddr::from([203, 0, 113, 5]);
        let owners = Owners::new(&RelayedAddresses::from_pairs(vec![AddressPair {
            bind,
            advertise,
        }]));
        owners.set(SocketAddr::new(bind, 50_000), 3);
        assert_eq!(owners.owner_of(SocketAddr::new(advertise, 50_000)), Some(3));
        assert_eq!(owners.owner_of(SocketAddr::new(bind, 50_001)), None);
        owners.clear(SocketAddr::new(bind, 50_000), 2);
        assert_eq!(
            owners.owner_of(SocketAddr::new(bind, 50_000)),
            Some(3),
            "only its owner gives a port up"
        );
        owners.clear(SocketAddr::new(bind, 50_000), 3);
        assert_eq!(owners.owner_of(SocketAddr::new(bind, 50_000)), None);
        assert_eq!(
            owners.owner_of(SocketAddr::from(([192, 0, 2, 1], 50_000))),
            None
        );
    }
}
