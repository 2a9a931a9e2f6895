//! Several workers behind one address: calls across them, reservations across them, and the ports that they share.
//!
//! Not responsible for which worker takes whom; with this many clients each has some.

use std::net::SocketAddr;

use taciturn_protocol::wire::Writer;

use crate::client::{Client, Over, peer, receive_from};
use crate::running::{Setup, eventually};

const CHANNEL: u16 = 0x4000;

/// forty-eight clients over all transports, paired with one another on one relay, reach each other by channels both ways.
#[test]
fn pairs_call_each_other_across_workers() {
    for (workers, top) in [
        (1, ""),
        (2, ""),
        (2, "pin-workers = true"),
        (5, "pin-workers = true"),
    ] {
        let mut setup = Setup::on_loopback(workers);
        setup.top = top.to_owned();
        let relay = setup.start();
        let mut clients: Vec<(Client, SocketAddr)> = (0..48)
            .map(|number| {
                let over = Over::ALL[number % 3];
                let mut client = Client::of(&relay, over, &format!("user-{number}"));
                let relayed = client.allocate();
                (client, relayed)
            })
            .collect();
        assert_eq!(relay.metric("taciturn_relay_allocations "), 48);
        // Neighbours at every distance: UDP with TCP, TCP with TLS, each with its own kind.
        for distance in [1, 2, 3, 7] {
            for one in 0..clients.len() {
                let other = (one + distance) % clients.len();
                let number = CHANNEL + u16::try_from(distance).unwrap();
                let [at_one, at_other] = [one, other].map(|index| clients[index].1);
                clients[one].0.bind(number, at_other);
                clients[other].0.bind(number + 0x100, at_one);
                for round in 0..3_u8 {
                    let payload = [&[round][..], &one.to_be_bytes()].concat();
                    clients[one].0.send_channel(number, &payload);
                    assert_eq!(clients[other].0.channel_payload(number + 0x100), payload);
                    clients[other].0.send_channel(number + 0x100, &payload);
                    assert_eq!(clients[one].0.channel_payload(number), payload);
                }
            }
        }
        let handed_over = |direction: &str| -> u64 {
            let (_, text) = relay.http("GET", "/metrics");
            let beginning =
                format!("taciturn_relay_forwarded_packets_total{{direction=\"{direction}\"");
            text.lines()
                .filter(|line| line.starts_with(&beginning) && line.contains("path=\"handover\""))
                .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
                .sum()
        };
        let expected = 4 * 48 * 3 * 2;
        assert_eq!(handed_over("to_peer"), expected);
        assert_eq!(handed_over("to_client"), expected);
        for (client, _) in &mut clients {
            client.release();
        }
        eventually("the end of all allocations", || {
            relay.metric("taciturn_relay_allocations ") == 0
        });
    }
}

/// T-24: a reserved port is claimed over any transport, on whichever worker its 5-tuple falls.
#[test]
fn a_reservation_is_claimed_from_any_transport_and_worker() {
    let relay = Setup::on_loopback(2).start();
    for turn in 0..18 {
        let [over, claimed_over] = [Over::ALL[turn % 3], Over::ALL[turn / 3 % 3]];
        let mut first = Client::of(&relay, over, "alice");
        let answer = first.try_allocate(|w| w.even_port(true));
        assert_eq!(answer.code(), 0);
        let token = answer.attributes().reservation_token().unwrap().unwrap();
        let even = answer.relayed()[0];
        assert_eq!(even.port() % 2, 0);
        let claim = |w: &mut Writer<'_>| w.reservation_token(token);
        let mut second = Client::of(&relay, claimed_over, "alice");
        let answer = second.try_allocate(claim);
        assert_eq!(answer.code(), 0, "{over:?} then {claimed_over:?}");
        let odd = answer.relayed()[0];
        assert_eq!((odd.ip(), odd.port()), (even.ip(), even.port() + 1));
        // Once only.
        let mut third = Client::of(&relay, over, "alice");
        assert_eq!(third.try_allocate(claim).code(), 508);
        for (client, relayed) in [(&mut first, even), (&mut second, odd)] {
            let peer = peer();
            client.bind(CHANNEL, peer.local_addr().unwrap());
            client.send_channel(CHANNEL, b"there");
            assert_eq!(receive_from(&peer), (b"there".to_vec(), relayed));
            peer.send_to(b"and back", relayed).unwrap();
            assert_eq!(client.channel_payload(CHANNEL), b"and back");
        }
        first.release();
        second.release();
    }
    eventually("the end of all allocations", || {
        relay.metric("taciturn_relay_allocations ") == 0
    });
}

/// T-28, T-33: no port left → 508, whichever worker is asked, and a port that was given back rests before it is given again.
#[test]
fn a_short_range_is_used_up_and_refused() {
    let mut setup = Setup::on_loopback(2);
    setup.relayed = setup.relayed.replace("20000-29999", "20000-20015");
    let relay = setup.start();
    let mut clients = Vec::new();
    let mut refused = 0;
    let mut ports = Vec::new();
    // Clients fall on workers by chance, and each worker has half of the ports.
    for number in 0..64 {
        // Each a user of its own: who has worn out many ports alone is told so instead.
        let mut client = Client::of(&relay, Over::ALL[number % 3], &format!("user-{number}"));
        let answer = client.try_allocate(|_| {});
        match answer.code() {
            0 => {
                ports.push(answer.relayed()[0].port());
                clients.push(client);
            }
            508 => refused += 1,
            other => panic!("{other}"),
        }
    }
    ports.sort_unstable();
    assert_eq!(
        ports,
        (20_000..=20_015).collect::<Vec<_>>(),
        "each port once"
    );
    assert_eq!(refused, 48);
    assert_eq!(relay.metric("taciturn_relay_allocations "), 16);
    let (code, status) = relay.http("GET", "/v1/status");
    assert_eq!(code, 200);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["load"]["allocations"], 16, "{status}");
    for client in &mut clients {
        client.release();
        let mut other = Client::of(&relay, Over::Udp, "nobody-yet");
        assert_eq!(
            other.try_allocate(|_| {}).code(),
            508,
            "a port rests for a minute"
        );
    }
    assert_eq!(relay.metric("taciturn_relay_allocations "), 0);
    assert_eq!(relay.metric("taciturn_relay_bind_failures_total "), 0);
}
