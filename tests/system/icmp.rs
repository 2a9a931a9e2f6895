//! ICMP errors from real hosts and routers, as the clients hear of them.
//!
//! ```text
//!   the test's own namespace     outside, a router            beyond
//!   relay  r0 ------------------ o0   o1 -------------------- b0 10.88.0.2, fd77:88::2
//! ```
//!
//! Not responsible for which errors are passed on (`protocol/src/server`), nor for forged ones (`relay/src/net`).

use std::net::SocketAddr;

use taciturn_protocol::wire::{Method, Writer};

use crate::client::{Over, peer_at, receive_from, send_indication};
use crate::lab::Lab;
use crate::namespace::{Namespace, inside, set};
use crate::running::Running;

const CHANNEL: u16 = 0x4000;

struct Beyond {
    lab: Lab,
    beyond: Namespace,
    relay: Running,
}

impl Beyond {
    fn new() -> Self {
        let lab = Lab::new();
        let beyond = Namespace::new();
        lab.outside.join_with("o1", &beyond, "b0");
        for words in [
            "addr add 10.88.0.1/24 dev o1",
            "addr add fd77:88::1/64 dev o1 nodad",
            "route add unreachable 10.88.1.0/24",
            "route add prohibit 10.88.2.0/24",
            "route add unreachable fd77:88:1::/64",
            "route add prohibit fd77:88:2::/64",
        ] {
            lab.outside.ip(words);
        }
        for words in [
            "addr add 10.88.0.2/24 dev b0",
            "addr add fd77:88::2/64 dev b0 nodad",
            "route add default via 10.88.0.1",
            "route add default via fd77:88::1",
        ] {
            beyond.ip(words);
        }
        lab.outside.set("ipv4/ip_forward", "1");
        lab.outside.set("ipv6/conf/all/forwarding", "1");
        for namespace in [&lab.outside, &beyond] {
            // Several errors within a second, and each is to be seen.
            namespace.set("ipv4/icmp_ratelimit", "0");
            namespace.set("ipv6/icmp/ratelimit", "0");
        }
        let mut setup = Lab::setup(2);
        setup.peers = "allow = [\"10.77.0.0/16\", \"10.88.0.0/16\", \"fd77::/16\"]".to_owned();
        let relay = setup.start();
        Self { lab, beyond, relay }
    }

    /// What a client of this family hears after sending this much to this peer: type, code and data.
    fn heard(
        &self,
        over: Over,
        host: &str,
        to: SocketAddr,
        length: usize,
        more: impl Fn(&mut Writer<'_>),
    ) -> (u8, u8, u32) {
        let mut client = self.lab.client(&self.relay, over, host, "alice");
        client.allocate_both();
        // A channel changes nothing about the form of the indication.
        client.bind(CHANNEL, to);
        client.send(&send_indication(to, &vec![1; length], more));
        let (peer, kind, code, data) = client.icmp_indication();
        assert_eq!(peer, to, "the inner destination");
        // The allocation is none the worse for it.
        let healthy = self.lab.peer("10.77.0.20");
        client.bind(CHANNEL + 1, healthy.local_addr().unwrap());
        client.send_channel(CHANNEL + 1, b"still here");
        assert_eq!(receive_from(&healthy).0, b"still here");
        assert_eq!(client.request(Method::Refresh, |_| {}).code(), 0);
        (kind, code, data)
    }
}

/// T-53: a closed port, a router without a route, and one that prohibits, reach the client as Data indications with type and code,
/// over every transport and between the families.
#[test]
fn unreachable_peers_are_told_to_the_client() {
    if !inside("icmp::unreachable_peers_are_told_to_the_client") {
        return;
    }
    let network = Beyond::new();
    for over in Over::ALL {
        for host in ["10.77.0.1", "fd77::1"] {
            for (to, expected) in [
                ("10.88.0.2:40001", (3, 3, 0)),
                ("10.88.1.5:40000", (3, 1, 0)),
                ("10.88.2.5:40000", (3, 13, 0)),
                ("[fd77:88::2]:40001", (1, 4, 0)),
                ("[fd77:88:1::5]:40000", (1, 0, 0)),
                ("[fd77:88:2::5]:40000", (1, 1, 0)),
            ] {
                let to: SocketAddr = to.parse().unwrap();
                // A router over IPv4 sends few of these at once, whatever it is told about rates.
                if over != Over::Udp && to.port() == 40_000 {
                    continue;
                }
                let heard = network.heard(over, host, to, 100, |_| {});
                assert_eq!(heard, expected, "{over:?} {host} {to}");
            }
        }
    }
}

/// T-53: time exceeded in transit reaches the client as a Data indication (11/0, and 3/0 over IPv6).
#[test]
fn exceeded_hops_are_told_to_the_client() {
    if !inside("icmp::exceeded_hops_are_told_to_the_client") {
        return;
    }
    let network = Beyond::new();
    set("ipv4/ip_default_ttl", "1");
    set("ipv6/conf/r0/hop_limit", "1");
    for (to, expected) in [
        ("10.88.0.2:40000", (11, 0, 0)),
        ("[fd77:88::2]:40000", (3, 0, 0)),
    ] {
        let heard = network.heard(Over::Udp, "10.77.0.1", to.parse().unwrap(), 100, |_| {});
        assert_eq!(heard, expected, "{to}");
    }
}

/// T-53, T-69: a router's MTU reaches the client unchanged: 3/4 for a payload that must not be fragmented, 2/0 over IPv6.
#[test]
fn a_narrow_link_is_told_to_the_client_with_its_mtu() {
    if !inside("icmp::a_narrow_link_is_told_to_the_client_with_its_mtu") {
        return;
    }
    let network = Beyond::new();
    network.lab.outside.ip("link set o1 mtu 1300");
    network.beyond.ip("link set b0 mtu 1300");
    let peers = ["10.88.0.2:40000", "[fd77:88::2]:40000"].map(|address| {
        let address = address.parse().unwrap();
        network.beyond.enter(|| peer_at(address))
    });
    let [v4, v6] = peers.each_ref().map(|peer| peer.local_addr().unwrap());
    for over in Over::ALL {
        let dont_fragment = |w: &mut Writer<'_>| w.dont_fragment();
        assert_eq!(
            network.heard(over, "10.77.0.1", v4, 1400, dont_fragment),
            (3, 4, 1300)
        );
    }
    let heard = network.heard(Over::Udp, "fd77::1", v6, 1400, |_| {});
    assert_eq!(heard, (2, 0, 1300));
    // Without DONT-FRAGMENT the router cuts it, over IPv6 the relay's host does, and the peer puts it together.
    for peer in &peers {
        let to = peer.local_addr().unwrap();
        let mut client = network
            .lab
            .client(&network.relay, Over::Udp, "10.77.0.1", "bob");
        client.allocate_both();
        client.bind(CHANNEL, to);
        client.send_channel(CHANNEL, &[7; 1400]);
        assert_eq!(receive_from(peer).0, [7; 1400], "{to}");
    }
}
