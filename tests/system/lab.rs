//! A relay's host and the network around it, each in a network namespace.
//!
//! ```text
//!   the test's own namespace          outside
//!   relay   r0 10.77.0.1, fd77::1 --- o0 10.77.0.10 and .20, fd77::10 and ::20
//! ```
//!
//! Responsible for addresses and routes. Not responsible for what the relay is told (`Setup`), beyond a good beginning.

use std::net::{SocketAddr, UdpSocket};

use crate::client::{Client, Over, peer_at};
use crate::namespace::{Namespace, ip};
use crate::running::{Running, Setup};
use crate::sniffer::Sniffer;

pub(crate) const PORT: u16 = 3478;
pub(crate) const TLS_PORT: u16 = 5349;

/// The relay's ports for relayed addresses.
pub(crate) const RELAYED: &str = "20000-20999";

/// The network. The test's own namespace is the relay's host.
pub(crate) struct Lab {
    pub(crate) outside: Namespace,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let outside = Namespace::new();
        outside.join("r0", "o0");
        for words in [
            "addr add 10.77.0.1/24 brd + dev r0",
            "addr add fd77::1/64 dev r0 nodad",
        ] {
            ip(words);
        }
        for words in [
            "addr add 10.77.0.10/24 brd + dev o0",
            "addr add 10.77.0.20/24 brd + dev o0",
            "addr add fd77::10/64 dev o0 nodad",
            "addr add fd77::20/64 dev o0 nodad",
        ] {
            outside.ip(words);
        }
        // Whatever the relay may be made to send beyond this network, outside sees it.
        ip("route add default via 10.77.0.10");
        ip("route add default via fd77::10");
        Self { outside }
    }

    /// A relay on both of the host's addresses, which reaches peers in the lab and no others beyond the public internet.
    pub(crate) fn setup(workers: usize) -> Setup {
        let mut setup = Setup::empty(workers);
        for host in ["10.77.0.1", "[fd77::1]"] {
            for (transport, port) in [("udp", PORT), ("tcp", PORT), ("tls", TLS_PORT)] {
                setup = setup.listener(transport, &format!("{host}:{port}"));
            }
        }
        setup.relayed = format!("addresses = [\"10.77.0.1\", \"fd77::1\"]\nports = \"{RELAYED}\"");
        setup.peers = "allow = [\"10.77.0.0/16\", \"fd77::/16\"]".to_owned();
        setup
    }

    /// A client outside, of the listener at this address of the relay's host.
    pub(crate) fn client(&self, relay: &Running, over: Over, host: &str, user: &str) -> Client {
        let port = if over == Over::Tls { TLS_PORT } else { PORT };
        let server = SocketAddr::new(host.parse().unwrap(), port);
        self.outside.enter(|| Client::at(relay, over, server, user))
    }

    /// A peer outside, at this address.
    pub(crate) fn peer(&self, host: &str) -> UdpSocket {
        let address = SocketAddr::new(host.parse().unwrap(), 0);
        self.outside.enter(|| peer_at(address))
    }

    pub(crate) fn sniffer_outside(&self) -> Sniffer {
        self.outside.enter(Sniffer::new)
    }
}
