//! Ports that are closed, with constant-time look-up.
//!
//! Not responsible for which ports are closed by default (`server::peers`).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::ops::RangeInclusive;

const WORDS: usize = 65_536 / 64;

/// A set of UDP ports: 8 KiB, one bit each; nothing while it is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PortSet(Option<Box<[u64; WORDS]>>);

impl PortSet {
    /// The ports of these ranges.
    pub fn from_ranges(ranges: &[RangeInclusive<u16>]) -> Self {
        if ranges.is_empty() {
            return Self(None);
        }
        let mut words = Box::new([0_u64; WORDS]);
        for port in ranges.iter().cloned().flatten() {
            words[usize::from(port) / 64] |= 1 << (port % 64);
        }
        Self(Some(words))
    }

    /// Whether `port` is in the set.
    #[inline]
    pub fn contains(&self, port: u16) -> bool {
        self.0
            .as_ref()
            .is_some_and(|words| words[usize::from(port) / 64] >> (port % 64) & 1 == 1)
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: u32 = self
            .0
            .iter()
            .flat_map(|words| words.iter())
            .map(|word| word.count_ones())
            .sum();
        write!(f, "PortSet({count} ports)")
    }
}

/// Ports that no payload is sent to, whatever its peer address: a channel to one is refused by the server, a Send
/// indication is stopped here, as it names its port per packet.
#[derive(Clone, Debug, Default)]
pub struct PortRules {
    /// Peer ports that are closed on every address.
    pub denied: PortSet,
    /// The relay's own listeners and admin address, where loopback peers are allowed.
    pub own_sockets: Vec<SocketAddr>,
}

impl PortRules {
    /// Whether a payload may be sent to this address.
    pub fn allow(&self, peer: SocketAddr) -> bool {
        !self.denied.contains(peer.port()) && !is_among(&self.own_sockets, peer)
    }
}

/// Whether this is the address of one of these sockets, of which some may listen on every address.
pub(crate) fn is_among(sockets: &[SocketAddr], address: SocketAddr) -> bool {
    sockets.iter().any(|own| {
        own.port() == address.port() && (own.ip() == address.ip() || own.ip().is_unspecified())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// no payload to a closed port, nor to a socket of the relay's own, on its address or on all of them; to everything
    /// beside them, yes.
    #[test]
    fn closed_ports_and_own_sockets_get_nothing() {
        let socket = |text: &str| text.parse::<SocketAddr>().expect("written here");
        let rules = PortRules {
            denied: PortSet::from_ranges(&[53..=53, 127..=128]),
            own_sockets: vec![socket("127.0.0.1:3478"), socket("0.0.0.0:9090")],
        };
        for (peer, allowed) in [
            ("127.0.0.1:3478", false),
            ("127.0.0.1:3479", true),
            ("127.0.0.2:3478", true),
            ("[::1]:3478", true),
            ("127.0.0.2:9090", false),
            ("[::1]:9090", false),
            ("127.0.0.2:9091", true),
            ("127.0.0.2:53", false),
            ("127.0.0.2:52", true),
            ("127.0.0.2:126", true),
            ("127.0.0.2:127", false),
            ("127.0.0.2:128", false),
            ("127.0.0.2:129", true),
        ] {
            assert_eq!(rules.allow(socket(peer)), allowed, "{peer}");
        }
        assert!(PortRules::default().allow(socket("127.0.0.1:53")));
    }
}
