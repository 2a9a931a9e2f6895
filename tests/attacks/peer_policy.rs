//! Forbidden peers on the running relay: refused over every transport, and not one packet leaves.
//!
//! The sniffer stands on the relay's own host, so it sees what goes out as well as what the host would send to itself.
//! Responsible for the program with its real interfaces; the policy's own tests judge every range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::client::{Client, Over, is_silent, peer_at, receive_from, send_indication};
use crate::lab::{Lab, PORT};
use crate::namespace::{inside, ip};
use crate::running::eventually;
use crate::sniffer::{Packet, Sniffer};

const CHANNEL: u16 = 0x4000;
const CONTROL: u16 = 0x4FFF;
const MARKER: &[u8] = b"must not leave";

const FORBIDDEN_V4: [&str; 29] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "10.0.0.1",
    "10.78.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "192.88.99.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.175.48.1",
    // The relay's host itself: its second address, and a subnet's broadcast address.
    "10.77.0.2",
    "10.77.0.255",
];

const FORBIDDEN_V6: [&str; 19] = [
    "::",
    "::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "100:0:0:1::1",
    "2001:2::1",
    "5f00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fc00::1",
    "fd78::1",
    "2001:db8::1",
    "3fff::1",
    "2620:4f:8000::1",
    "4000::1",
    "fd77::2",
];

/// An IPv4 address in every IPv6 dress that some host or router may take off again, the lab's own NAT64 prefix last.
fn encodings(v4: Ipv4Addr) -> [Ipv6Addr; 10] {
    let bits = v4.to_bits();
    let [high, low] = [bits >> 16, bits & 0xFFFF].map(|half| u16::try_from(half).unwrap());
    [
        [0, 0, 0, 0, 0, 0xFFFF, high, low],
        [0, 0, 0, 0, 0, 0, high, low],
        [0, 0, 0, 0, 0xFFFF, 0, high, low],
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low],
        [0x64, 0xFF9B, 1, 0, 0, 0, high, low],
        [0x2002, high, low, 0, 0, 0, 0, 1],
        [0x2001, 0, high, low, 0, 0, 0, 0],
        [0x2001, 0, 0x4136, 0xE378, 0x8000, 0x63BF, !high, !low],
        [0x2A01, 0x77, 0, 0, 0x0200, 0x5EFE, high, low],
        [0x2A01, 0x64, 0, 0, 0, 0, high, low],
    ]
    .map(Ipv6Addr::from)
}

fn forbidden() -> Vec<IpAddr> {
    let v4 = FORBIDDEN_V4.map(|text| text.parse::<Ipv4Addr>().unwrap());
    let v6 = FORBIDDEN_V6.map(|text| text.parse::<IpAddr>().unwrap());
    let dressed = v4.into_iter().flat_map(encodings).map(IpAddr::from);
    v4.map(IpAddr::from)
        .into_iter()
        .chain(v6)
        .chain(dressed)
        .collect()
}

/// A lab whose relay has a second address of each family and knows of a NAT64 prefix.
fn lab() -> (Lab, crate::running::Setup) {
    let lab = Lab::new();
    ip("addr add 10.77.0.2/24 dev r0");
    ip("addr add fd77::2/64 dev r0 nodad");
    let mut setup = Lab::setup(1);
    setup.peers += "\nnat64-prefixes = [\"2a01:64::/96\"]";
    setup.admin = Some(([127, 0, 0, 1], 9641).into());
    (lab, setup)
}

/// What relayed sockets sent until the control payload, that excepted.
fn leaked(sniffer: &Sniffer, control: &[u8]) -> Vec<Packet> {
    let is_relayed = |packet: &Packet| (20_000..=20_999).contains(&packet.from.port());
    let packets = sniffer.packets_until(|packet| is_relayed(packet) && packet.contains(control));
    let is_leak = |packet: &Packet| is_relayed(packet) && !packet.contains(b"control");
    packets.into_iter().filter(is_leak).collect()
}

/// CreatePermission and ChannelBind for a forbidden peer, plain or in any encoding → 403, Send → silence, and
/// no packet leaves the host or reaches the host itself.
#[test]
fn forbidden_peers_are_refused_and_nothing_leaves() {
    if !inside("peer_policy::forbidden_peers_are_refused_and_nothing_leaves") {
        return;
    }
    let (lab, setup) = lab();
    let relay = setup.start();
    let allowed = lab.peer("10.77.0.20");
    for over in Over::ALL {
        let mut client = lab.client(&relay, over, "10.77.0.1", "alice");
        client.allocate_both();
        client.bind(CONTROL, allowed.local_addr().unwrap());
        let sniffer = Sniffer::new();
        for (number, address) in forbidden().into_iter().enumerate() {
            let peer = SocketAddr::new(address, 40_000);
            assert_eq!(
                client.try_permit(peer),
                403,
                "{over:?} permission for {address}"
            );
            assert_eq!(
                client.try_bind(CHANNEL, peer),
                403,
                "{over:?} channel to {address}"
            );
            client.send_channel(CHANNEL, MARKER);
            client.send_indication(peer, MARKER);
            let control = format!("control {number}.").into_bytes();
            client.send_channel(CONTROL, &control);
            assert_eq!(receive_from(&allowed).0, control);
            let leaked = leaked(&sniffer, &control);
            assert!(leaked.is_empty(), "{over:?} {address}: {leaked:?}");
        }
    }
}

/// by the name of the relayed address no other program on the host is reached, nor a listener, nor the admin API; an
/// allocation on it is.
#[test]
fn services_of_the_host_are_out_of_reach() {
    if !inside("peer_policy::services_of_the_host_are_out_of_reach") {
        return;
    }
    let (lab, mut setup) = lab();
    setup.workers = 2;
    let relay = setup.start();
    let services: Vec<_> = [
        "10.77.0.1:5555",
        "10.77.0.1:20998",
        "10.77.0.2:5555",
        "10.77.0.2:20998",
        "127.0.0.1:5555",
        "[fd77::1]:5555",
        "[fd77::1]:20998",
        "[::1]:5555",
    ]
    .map(|address| peer_at(address.parse().unwrap()))
    .into_iter()
    .collect();
    let allowed = lab.peer("10.77.0.20");
    for over in Over::ALL {
        let mut client = lab.client(&relay, over, "10.77.0.1", "alice");
        let own = client.allocate_both();
        client.bind(CONTROL, allowed.local_addr().unwrap());
        let sniffer = Sniffer::new();
        for relayed in own {
            // The permission is for calls within this relay; ports decide.
            client.permit(relayed);
            for port in [5555, 20_998, 20_999, PORT, 9641, 443] {
                client.send_indication(SocketAddr::new(relayed.ip(), port), MARKER);
            }
            for port in [5555, PORT, 9641, 1023] {
                let peer = SocketAddr::new(relayed.ip(), port);
                assert_eq!(client.try_bind(CHANNEL, peer), 403, "{peer}");
            }
            let number = CHANNEL + 1 + u16::from(relayed.is_ipv6());
            client.bind(number, SocketAddr::new(relayed.ip(), 20_998));
            client.send_channel(number, MARKER);
        }
        for service in &services {
            let address = service.local_addr().unwrap();
            if !own.map(|relayed| relayed.ip()).contains(&address.ip()) {
                assert_eq!(client.try_permit(address), 403, "{address}");
                client.send_indication(address, MARKER);
            }
        }
        client.send_channel(CONTROL, b"control end.");
        assert_eq!(receive_from(&allowed).0, b"control end.");
        assert_eq!(leaked(&sniffer, b"control end."), vec![]);
        assert!(services.iter().all(is_silent));
        // The same permission carries a call to an allocation that is there.
        let mut other = lab.client(&relay, over, "fd77::1", "bob");
        for (at_other, own) in other.allocate_both().into_iter().zip(own) {
            other.permit(own);
            client.send_indication(at_other, b"hello");
            assert_eq!(other.data_indication(), (own, b"hello".to_vec()));
        }
    }
    let refused = relay.dropped("no_such_relayed") + relay.dropped("forbidden_peer");
    assert!(refused >= 3 * 2 * 6, "{refused}");
}

/// an allocation is not its own peer.
#[test]
fn an_allocation_does_not_reach_itself() {
    if !inside("peer_policy::an_allocation_does_not_reach_itself") {
        return;
    }
    let (lab, setup) = lab();
    let relay = setup.start();
    for over in Over::ALL {
        let mut client = lab.client(&relay, over, "10.77.0.1", "alice");
        for own in client.allocate_both() {
            client.permit(own);
            client.send_indication(own, MARKER);
            if client.try_bind(CHANNEL + u16::from(own.is_ipv6()), own) == 0 {
                client.send_channel(CHANNEL + u16::from(own.is_ipv6()), MARKER);
            }
        }
        assert_eq!(
            client
                .request(taciturn_protocol::wire::Method::Refresh, |_| {})
                .code(),
            0
        );
        client.set_timeout(std::time::Duration::from_millis(100));
        assert_eq!(client.receive(), None, "{over:?}");
    }
}

/// the ports of services that reflect are closed on every peer, by channel and by indication.
#[test]
fn ports_of_services_are_closed_on_every_peer() {
    if !inside("peer_policy::ports_of_services_are_closed_on_every_peer") {
        return;
    }
    let (lab, setup) = lab();
    let relay = setup.start();
    let allowed = lab.peer("10.77.0.20");
    let address = allowed.local_addr().unwrap();
    let mut dropped = 0;
    for over in Over::ALL {
        let mut client = lab.client(&relay, over, "fd77::1", "alice");
        client.allocate();
        client.bind(CONTROL, address);
        let sniffer = Sniffer::new();
        for port in [0, 1, 53, 123, 389, 1023, 1900, 3702, 5353, 5683, 11_211] {
            let peer = SocketAddr::new(address.ip(), port);
            assert_eq!(client.try_bind(CHANNEL, peer), 403, "{peer}");
            client.send_indication(peer, MARKER);
            dropped += 1;
        }
        client.send_channel(CONTROL, b"control end.");
        assert_eq!(receive_from(&allowed).0, b"control end.");
        assert_eq!(leaked(&sniffer, b"control end."), vec![]);
    }
    eventually("the count of what was not sent", || {
        relay.dropped("forbidden_peer") == dropped
    });
}

/// A-06, T-45: datagrams from an address without permission never reach the client, whatever they look like.
#[test]
fn strangers_do_not_reach_a_client() {
    if !inside("peer_policy::strangers_do_not_reach_a_client") {
        return;
    }
    let (lab, setup) = lab();
    let relay = setup.start();
    let allowed = lab.peer("10.77.0.20");
    let stranger = lab.peer("10.77.0.10");
    for over in Over::ALL {
        let mut client: Client = lab.client(&relay, over, "10.77.0.1", "alice");
        let relayed = client.allocate();
        client.permit(allowed.local_addr().unwrap());
        let before = relay.dropped("peer_not_permitted");
        let inner = send_indication(allowed.local_addr().unwrap(), MARKER, |_| {});
        for datagram in [
            &b"\x16\xFE\xFD\0\0\0\0\0\0\0\0\0\0"[..],
            &inner,
            b"",
            &[0x40, 0, 0, 0],
        ] {
            stranger.send_to(datagram, relayed).unwrap();
        }
        eventually("the count of what the stranger sent", || {
            relay.dropped("peer_not_permitted") == before + 4
        });
        allowed.send_to(b"first", relayed).unwrap();
        assert_eq!(
            client.data_indication(),
            (allowed.local_addr().unwrap(), b"first".to_vec())
        );
    }
}
