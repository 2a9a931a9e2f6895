//! The addresses of the relay and its host, which no client may reach through it.
//!
//! Responsible for collecting them. Not responsible for when (`reload`), nor for judging a peer by them (`server::peers`).

use std::io;
use std::net::SocketAddr;

use taciturn_protocol::server::OwnAddresses;

use crate::net::{self, Interface};
use crate::relayed::RelayedAddresses;

/// What of the relay's own does not change while it runs; the host's interfaces do.
#[derive(Clone, Debug)]
pub struct OwnSockets {
    /// Its relayed addresses.
    pub relayed: RelayedAddresses,
    /// Its listeners and its admin address, as they are bound.
    pub sockets: Vec<SocketAddr>,
}

impl OwnSockets {
    /// Everything that is the relay's own as of now.
    ///
    /// # Errors
    /// The interfaces cannot be read.
    pub fn collect(&self) -> io::Result<OwnAddresses> {
        collect(&self.relayed, &self.sockets)
    }
}

/// Everything that is the relay's own: relayed addresses, every address of every interface with its broadcast address,
/// and `sockets`, its listeners and its admin address as they are bound.
///
/// A socket on a wildcard address stands for its port on every interface address, loopback included.
pub fn collect(relayed: &RelayedAddresses, sockets: &[SocketAddr]) -> io::Result<OwnAddresses> {
    Ok(from_interfaces(&net::interfaces()?, relayed, sockets))
}

fn from_interfaces(
    interfaces: &[Interface],
    relayed: &RelayedAddresses,
    sockets: &[SocketAddr],
) -> OwnAddresses {
    let mut own = OwnAddresses::default();
    for pair in relayed.pairs() {
        insert(&mut own.relayed, pair.bind);
        insert(&mut own.relayed, pair.advertise);
    }
    for interface in interfaces {
        insert(&mut own.interfaces, interface.addr);
        if let Some(broadcast) = interface.broadcast {
            insert(&mut own.broadcasts, broadcast);
        }
    }
    for socket in sockets {
        if !socket.ip().is_unspecified() {
            insert(&mut own.sockets, *socket);
            continue;
        }
        // The advertised addresses too: a NAT in front may lead them back to the listener.
        let addresses = own.interfaces.iter().chain(&own.relayed).copied();
        // A dual-stack wildcard would answer on both families, so every address is taken whatever its family.
        for address in addresses.collect::<Vec<_>>() {
            insert(&mut own.sockets, SocketAddr::new(address, socket.port()));
        }
    }
    own
}

fn insert<T: PartialEq>(set: &mut Vec<T>, item: T) {
    if !set.contains(&item) {
        set.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relayed::AddressPair;

    /// every interface address, broadcast address, listener and admin socket is the relay's own; a wildcard listener
    /// stands for its port on each of them.
    #[test]
    fn a_wildcard_listener_is_known_under_every_address_of_the_host() {
        let pair = AddressPair {
            bind: [10, 0, 0, 5].into(),
            advertise: [203, 0, 113, 5].into(),
        };
        let interface = Interface {
            name: "eth0".to_owned(),
            addr: [10, 0, 0, 5].into(),
            netmask: Some([255, 255, 255, 0].into()),
            broadcast: Some([10, 0, 0, 255].into()),
            up: true,
            loopback: false,
        };
        let sockets = [([0, 0, 0, 0], 3478).into(), ([127, 0, 0, 1], 9641).into()];
        let own = from_interfaces(
            &[interface],
            &RelayedAddresses::from_pairs(vec![pair]),
            &sockets,
        );
        assert_eq!(own.relayed, [pair.bind, pair.advertise]);
        assert_eq!(own.interfaces, [pair.bind]);
        assert_eq!(own.broadcasts, [std::net::IpAddr::from([10, 0, 0, 255])]);
        let expected = [
            ([10, 0, 0, 5], 3478),
            ([203, 0, 113, 5], 3478),
            ([127, 0, 0, 1], 9641),
        ];
        assert_eq!(own.sockets, expected.map(SocketAddr::from));
    }
}
