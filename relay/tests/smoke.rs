//! A whole relay in this process, on loopback: packets cross it both ways over every path.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use taciturn_protocol::forward::DropReason;
use taciturn_protocol::wire::Method;
use taciturn_relay::config::{AdminAddress, Tls, TlsProfile};
use taciturn_relay::counters::{Direction, Flow, Path};
use taciturn_relay::run::{Relay, StartError};

use support::{Client, eventually, http, http_with, peer, start, tcp_listener, udp_listener};

fn packets(relay: &Relay, direction: Direction, path: Path) -> u64 {
    Flow::all()
        .filter(|flow| flow.direction == direction && flow.path == path)
        .map(|flow| relay.totals().packets(flow))
        .sum()
}

/// S-15: a Binding request is answered with the observed source, from the address it was sent to.
#[test]
fn binding_tells_the_observed_source() {
    let relay = start(2, "");
    let mut client = Client::udp(udp_listener(&relay), "alice");
    let answer = client.request(Method::Binding, |_| {});
    assert_eq!(answer.code(), 0);
    assert!(
        answer
            .attributes()
            .xor_mapped_address()
            .unwrap()
            .unwrap()
            .ip()
            .is_loopback()
    );
}

/// T-52: peer → client without channel is a Data indication, with channel ChannelData.
#[test]
fn payloads_cross_both_ways_over_udp() {
    let relay = start(1, "");
    let peer = peer();
    let peer_address = peer.local_addr().unwrap();
    let mut client = Client::udp(udp_listener(&relay), "alice");
    let relayed = client.allocate();
    client.permit(peer_address);
    client.send_indication(peer_address, b"by indication");
    let mut buffer = [0; 2048];
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"by indication"[..], relayed));
    for payload in [&b"a"[..], b"ab", b"abc", b"abcd", b""] {
        peer.send_to(payload, relayed).unwrap();
        assert_eq!(client.data_indication(), (peer_address, payload.to_vec()));
    }
    client.bind(0x4000, peer_address);
    client.send_channel(0x4000, b"by channel");
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"by channel"[..], relayed));
    peer.send_to(b"back", relayed).unwrap();
    assert_eq!(client.channel_payload(0x4000), b"back");
    assert_eq!(packets(&relay, Direction::ToPeer, Path::Socket), 2);
    assert_eq!(packets(&relay, Direction::ToClient, Path::Socket), 6);
    assert_eq!(relay.totals().allocations(), 1);
}

#[test]
fn bursts_of_many_flows_arrive_whole_and_unmixed() {
    let relay = start(2, "");
    let mut calls: Vec<_> = (0..16_u16)
        .map(|number| {
            let peer = peer();
            let mut client = Client::udp(udp_listener(&relay), &format!("user-{number}"));
            let relayed = client.allocate();
            client.bind(0x4000 + number, peer.local_addr().unwrap());
            (client, peer, relayed, 0x4000 + number)
        })
        .collect();
    for size in [10, 172, 1200] {
        for (client, _, _, number) in &mut calls {
            for sequence in 0..20_u8 {
                let mut payload = vec![sequence; size];
                payload[0] = number.to_be_bytes()[1];
                client.send_channel(*number, &payload);
            }
        }
        for (client, peer, relayed, number) in &mut calls {
            let mut buffer = [0; 2048];
            for sequence in 0..20_u8 {
                let (length, from) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!((length, from), (size, *relayed));
                assert_eq!((buffer[0], buffer[1]), (number.to_be_bytes()[1], sequence));
                peer.send_to(&buffer[..length], *relayed).unwrap();
            }
            for sequence in 0..20_u8 {
                assert_eq!(client.channel_payload(*number)[1], sequence);
            }
        }
    }
}

/// T-71: over TCP, ChannelData is padded to 4 in both directions; all 4 remainders.
#[test]
fn payloads_cross_both_ways_over_tcp() {
    let relay = start(2, "");
    let peer = peer();
    let peer_address = peer.local_addr().unwrap();
    let mut client = Client::tcp(tcp_listener(&relay), "alice");
    let relayed = client.allocate();
    client.bind(0x4001, peer_address);
    let mut buffer = [0; 2048];
    for payload in [&b"a"[..], b"ab", b"abc", b"abcd", b""] {
        client.send_channel(0x4001, payload);
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (payload, relayed));
        peer.send_to(payload, relayed).unwrap();
        assert_eq!(client.channel_payload(0x4001), payload);
    }
    assert_eq!(relay.totals().allocations(), 1);
    drop(client);
    eventually("the end of the allocation with its connection", || {
        relay.totals().allocations() == 0
    });
}

/// A-13: two allocations A↔B are each other's peers: allowed, counted, both sides' permissions and limits apply.
#[test]
fn two_allocations_of_one_relay_reach_each_other_inside() {
    let relay = start(4, "");
    for pair in 0..12_u16 {
        let mut alice = Client::udp(udp_listener(&relay), "alice");
        let mut bob = if pair % 3 == 0 {
            Client::tcp(tcp_listener(&relay), "bob")
        } else {
            Client::udp(udp_listener(&relay), "bob")
        };
        let (at_alice, at_bob) = (alice.allocate(), bob.allocate());
        alice.bind(0x4000, at_bob);
        alice.send_channel(0x4000, b"too early");
        eventually("the drop for want of bob's permission", || {
            relay.totals().dropped(DropReason::PeerNotPermitted) == u64::from(pair) + 1
        });
        bob.permit(at_alice);
        alice.send_channel(0x4000, b"hello");
        assert_eq!(bob.data_indication(), (at_alice, b"hello".to_vec()));
        bob.bind(0x4fff, at_alice);
        alice.send_channel(0x4000, b"again");
        assert_eq!(bob.channel_payload(0x4fff), b"again");
        bob.send_channel(0x4fff, b"and back");
        assert_eq!(alice.channel_payload(0x4000), b"and back");
    }
    // What came too early was never handed over.
    assert_eq!(packets(&relay, Direction::ToPeer, Path::Handover), 3 * 12);
    assert_eq!(packets(&relay, Direction::ToClient, Path::Handover), 3 * 12);
    assert_eq!(
        packets(&relay, Direction::ToPeer, Path::Socket),
        0,
        "nothing was sent out and back"
    );
}

/// T-24: EVEN-PORT R=1 → N even, N+1 held, and given to the same user on any 5-tuple, whichever worker that is.
#[test]
fn a_reserved_port_is_claimed_across_workers() {
    let relay = start(4, "");
    for _ in 0..12 {
        let mut first = Client::udp(udp_listener(&relay), "alice");
        first.challenge();
        let answer = first.request(Method::Allocate, |w| {
            w.requested_transport(17);
            w.even_port(true);
        });
        assert_eq!(answer.code(), 0);
        let token = answer.attributes().reservation_token().unwrap().unwrap();
        let even = answer.relayed();
        assert_eq!(even.port() % 2, 0);

        let mut thief = Client::udp(udp_listener(&relay), "mallory");
        thief.challenge();
        let claim = |w: &mut taciturn_protocol::wire::Writer<'_>| {
            w.requested_transport(17);
            w.reservation_token(token);
        };
        assert_eq!(thief.request(Method::Allocate, claim).code(), 508);

        let mut second = Client::udp(udp_listener(&relay), "alice");
        second.challenge();
        let answer = second.request(Method::Allocate, claim);
        assert_eq!(answer.code(), 0);
        let odd = answer.relayed();
        assert_eq!(odd.port(), even.port() + 1);

        let peer = peer();
        second.bind(0x4000, peer.local_addr().unwrap());
        second.send_channel(0x4000, b"through the moved socket");
        let mut buffer = [0; 64];
        assert_eq!(peer.recv_from(&mut buffer).unwrap().1, odd);
        peer.send_to(b"back", odd).unwrap();
        assert_eq!(second.channel_payload(0x4000), b"back");
        assert_eq!(second.request(Method::Refresh, |w| w.lifetime(0)).code(), 0);
        assert_eq!(first.request(Method::Refresh, |w| w.lifetime(0)).code(), 0);
    }
    eventually("the end of all allocations", || {
        relay.totals().allocations() == 0
    });
}

/// T-29: during drain → 508 or 300, existing allocations untouched.
#[test]
fn a_drain_refuses_new_allocations_and_can_be_undone() {
    let relay = start(2, "");
    assert_eq!(http(&relay, "GET", "/live", "").0, 200);
    assert_eq!(
        http(&relay, "GET", "/ready", ""),
        (200, "ready\n".to_owned())
    );
    let mut before = Client::udp(udp_listener(&relay), "alice");
    before.allocate();

    let order = r#"{"deadline": 4102444800, "reason": "scale in", "epoch": 7}"#;
    assert_eq!(http(&relay, "POST", "/v1/drain", order).0, 200);
    assert_eq!(
        http(&relay, "GET", "/ready", ""),
        (503, "draining\n".to_owned())
    );
    assert_eq!(
        http(&relay, "POST", "/v1/drain", &order.replace('7', "6")).0,
        409
    );
    let mut late = Client::udp(udp_listener(&relay), "bob");
    late.challenge();
    assert_eq!(
        late.request(Method::Allocate, |w| w.requested_transport(17))
            .code(),
        508
    );
    assert_eq!(
        before.request(Method::Refresh, |w| w.lifetime(600)).code(),
        0
    );

    let (code, status) = http(&relay, "GET", "/v1/status", "");
    assert_eq!(code, 200);
    assert!(
        status.contains(r#""phase":"draining""#) && status.contains(r#""allocations":1"#),
        "{status}"
    );
    assert_eq!(http(&relay, "DELETE", "/v1/drain", "").0, 200);
    assert_eq!(http(&relay, "GET", "/ready", "").0, 200);
    let mut late = Client::udp(udp_listener(&relay), "bob");
    late.allocate();
}

/// A-40: what a web page makes a browser send to loopback is refused.
#[test]
fn a_web_page_cannot_drain_the_relay() {
    let relay = start(1, "");
    let order = r#"{"deadline": 4102444800, "reason": "mischief", "epoch": 7}"#;
    for (headers, code) in [
        ("Content-Type: text/plain\r\n", 415),
        ("", 415),
        (
            "Content-Type: application/json\r\nOrigin: https://evil.example\r\n",
            403,
        ),
        (
            "Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n",
            403,
        ),
    ] {
        assert_eq!(
            http_with(&relay, "POST", "/v1/drain", headers, order).0,
            code,
            "{headers}"
        );
    }
    assert_eq!(http(&relay, "GET", "/ready", "").0, 200);
}

#[test]
fn allocations_are_listed_and_ended_by_pseudonym() {
    let relay = start(2, "");
    let mut client = Client::udp(udp_listener(&relay), "alice-in-confidence");
    let relayed = client.allocate();
    let (code, list) = http(&relay, "GET", "/v1/allocations", "");
    assert_eq!(code, 200);
    assert!(
        !list.contains("alice")
            && !list.contains(&relayed.port().to_string())
            && !list.contains("127.0.0.1")
    );
    let id = list
        .split(r#""id":""#)
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(
        http(&relay, "DELETE", &format!("/v1/allocations/{id}"), "").0,
        204
    );
    assert_eq!(
        http(&relay, "DELETE", &format!("/v1/allocations/{id}"), "").0,
        404
    );
    assert_eq!(
        client.request(Method::Refresh, |w| w.lifetime(600)).code(),
        437
    );
}

/// A-27: labels come from closed sets, so the number of series does not depend on traffic.
#[test]
fn metrics_have_a_constant_number_of_series() {
    let relay = start(2, "");
    let series = || {
        let (code, text) = http(&relay, "GET", "/metrics", "");
        assert_eq!(code, 200);
        assert!(text.len() < 1 << 20);
        (
            text.lines().filter(|line| !line.starts_with('#')).count(),
            text,
        )
    };
    let (before, _) = series();
    let mut client = Client::udp(udp_listener(&relay), "alice");
    client.allocate();
    client.send_channel(0x4000, b"unbound");
    eventually("the drop", || {
        relay.totals().dropped(DropReason::UnboundChannel) == 1
    });
    let (after, text) = series();
    assert_eq!(before, after);
    assert!(text.contains("taciturn_relay_allocations 1\n"));
    assert!(text.contains(
        r#"taciturn_relay_dropped_packets_total{reason="unbound_channel",direction="to_peer",transport="udp",family="ipv4"} 1"#
    ));
    assert!(text.contains(r#"taciturn_relay_responses_total{method="allocate",code="401"} 1"#));
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let relay = start(1, "");
    let address = udp_listener(&relay);
    let mut config = support::config(1, "");
    config.listeners[0].address = address;
    let error = Relay::start(config).unwrap_err();
    assert!(
        matches!(error, StartError::Listen { address: at, .. } if at == address),
        "{error}"
    );
}

#[test]
fn a_start_that_fails_leaves_no_admin_socket() {
    let path = std::env::temp_dir().join(format!("taciturn-start-{}.sock", std::process::id()));
    let config = || {
        let mut config = support::config(1, "");
        config.admin.address = AdminAddress::Unix(path.clone());
        config
    };
    let certified = || rcgen::generate_simple_self_signed(["turn.example.org".to_owned()]).unwrap();
    let (one, other) = (certified(), certified());
    let mut failing = config();
    failing.tls = Some(Tls {
        certificates: vec![one.cert.der().clone()],
        key: PrivateKeyDer::try_from(other.signing_key.serialize_der()).unwrap(),
        profile: TlsProfile::Modern,
        certificate_file: "certificate.pem".into(),
        key_file: "key.pem".into(),
    });
    let error = Relay::start(failing).unwrap_err();
    assert!(matches!(error, StartError::Certificate(_)), "{error}");
    assert!(!path.exists());

    let relay = Relay::start(config()).unwrap();
    assert!(path.exists());
    relay.stop();
    assert!(!path.exists());
}

#[test]
fn a_stopped_relay_frees_its_addresses() {
    let relay = start(2, "");
    let mut config = support::config(2, "");
    for (listener, bound) in config.listeners.iter_mut().zip(relay.listeners()) {
        listener.address = bound.address;
    }
    let mut client = Client::udp(udp_listener(&relay), "alice");
    client.allocate();
    relay.stop();
    let again = Relay::start(config).unwrap();
    let mut client = Client::udp(udp_listener(&again), "alice");
    client.set_timeout(Duration::from_secs(5));
    client.allocate();
}
