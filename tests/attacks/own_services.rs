//! The relay as the attacker's way to the relay's own host: its services, its listeners, itself.
//!
//! The sniffer stands on the relay's host, so it sees what goes out as well as what the host would send to itself.
//! Responsible for what an own relayed address opens. Not responsible for the host's other addresses (`forbidden`).

use std::net::SocketAddr;

use crate::client::{Over, is_silent, peer_at, receive_from};
use crate::lab::{Lab, PORT};
use crate::namespace::{inside, ip};
use crate::running::{Setup, eventually};
use crate::sniffer::{Packet, Sniffer};

const CHANNEL: u16 = 0x4000;
const CONTROL: u16 = 0x4FFF;
const MARKER: &[u8] = b"must not leave";

/// A lab whose relay has a second address of each family.
fn lab() -> (Lab, Setup) {
    let lab = Lab::new();
    ip("addr add 10.77.0.2/24 dev r0");
    ip("addr add fd77::2/64 dev r0 nodad");
    let mut setup = Lab::setup(1);
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

/// by the name of the relayed address no other program on the host is reached, nor a listener, nor the admin API; an
/// allocation on it is.
#[test]
fn services_of_the_host_are_out_of_reach() {
    if !inside("own_services::services_of_the_host_are_out_of_reach") {
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

/// where the operator lists the only peers, the relayed address, plainly named, is none: two clients do not tunnel
/// to each other through the relay, by no method and over no transport; the SFU is reached, and the check of itself goes on.
#[test]
fn two_clients_of_a_relay_for_one_sfu_do_not_meet() {
    if !inside("own_services::two_clients_of_a_relay_for_one_sfu_do_not_meet") {
        return;
    }
    let (lab, mut setup) = lab();
    setup.peers = "only = [\"10.77.0.20\"]".to_owned();
    setup.self_check = "interval = \"100ms\"".to_owned();
    let relay = setup.start();
    let sfu = lab.peer("10.77.0.20");
    for over in Over::ALL {
        let mut alice = lab.client(&relay, over, "10.77.0.1", "alice");
        let mut bob = lab.client(&relay, over, "fd77::1", "bob");
        let (at_alice, at_bob) = (alice.allocate_both(), bob.allocate_both());
        alice.bind(CONTROL, sfu.local_addr().unwrap());
        let sniffer = Sniffer::new();
        for (to_alice, to_bob) in at_alice.into_iter().zip(at_bob) {
            for (client, peer) in [(&mut bob, to_alice), (&mut alice, to_bob)] {
                assert_eq!(client.try_permit(peer), 403, "{over:?}: {peer}");
                assert_eq!(client.try_bind(CHANNEL, peer), 403, "{over:?}: {peer}");
                client.send_indication(peer, MARKER);
                client.send_channel(CHANNEL, MARKER);
            }
        }
        alice.send_channel(CONTROL, b"control end.");
        assert_eq!(receive_from(&sfu).0, b"control end.");
        assert_eq!(leaked(&sniffer, b"control end."), vec![], "{over:?}");
        // Answered after all that was sent before it.
        let refresh = taciturn_protocol::wire::Method::Refresh;
        for client in [&mut alice, &mut bob] {
            assert_eq!(client.request(refresh, |_| {}).code(), 0);
            client.set_timeout(std::time::Duration::from_millis(100));
            assert_eq!(client.receive(), None, "{over:?}");
        }
    }
    let checks = |outcome| {
        relay.metric(&format!(
            "taciturn_relay_self_check_checks_total{{outcome=\"{outcome}\"}}"
        ))
    };
    eventually("self-checks", || checks("success") >= 6);
    assert_eq!(checks("failure"), 0);
}

/// an allocation is not its own peer.
#[test]
fn an_allocation_does_not_reach_itself() {
    if !inside("own_services::an_allocation_does_not_reach_itself") {
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
