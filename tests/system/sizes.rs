//! Payloads of every size that fits, whole; and larger ones, which are dropped and counted and never cut.
//!
//! Not responsible for how large a message may be before authentication (`bad_input`).

use std::net::SocketAddr;

use crate::client::{Client, Over, peer, receive_from};
use crate::running::{Running, Setup, eventually};

/// The largest UDP payload over IPv4.
const LARGEST: usize = 65_507;
/// What frames a payload in ChannelData.
const HEADER: usize = 4;
/// What frames a payload in a Data indication from an IPv4 peer: header, XOR-PEER-ADDRESS, DATA.
const INDICATION: usize = 20 + 12 + 4;

const CHANNEL: u16 = 0x4000;

fn numbered(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
        .collect()
}

fn send_failures(relay: &Running) -> u64 {
    relay.metric("taciturn_relay_send_failures_total{class=\"too_large\"}")
        + relay.dropped("too_large")
}

/// payloads up to the largest that a datagram holds pass whole, to the peer and to the client.
#[test]
fn payloads_pass_whole_up_to_the_largest() {
    let relay = Setup::on_loopback(2).start();
    for over in Over::ALL {
        let mut client = Client::of(&relay, over, "alice");
        let relayed = client.allocate();
        let peer = peer();
        let to = peer.local_addr().unwrap();
        client.bind(CHANNEL, to);
        let overhead = if over == Over::Udp { HEADER } else { 0 };
        let largest = LARGEST - overhead;
        for length in [
            0, 1, 2, 3, 4, 1200, 1472, 1473, 8972, 16_384, 16_385, 32_768, 65_000,
        ]
        .into_iter()
        .chain(largest - 5..=largest)
        {
            let payload = numbered(length);
            client.send_channel(CHANNEL, &payload);
            let (received, from) = receive_from(&peer);
            assert!(
                received == payload && from == relayed,
                "{over:?}, {length} to the peer"
            );
            peer.send_to(&payload, relayed).unwrap();
            assert!(
                client.channel_payload(CHANNEL) == payload,
                "{over:?}, {length} to the client"
            );
        }
    }
    assert_eq!(send_failures(&relay), 0);
}

/// A-33, T-50: the same by indication, for which there is less room over UDP.
#[test]
fn payloads_pass_whole_by_indication() {
    let relay = Setup::on_loopback(2).start();
    for over in Over::ALL {
        let mut client = Client::of(&relay, over, "alice");
        let relayed = client.allocate();
        let peer = peer();
        let to = peer.local_addr().unwrap();
        client.permit(to);
        // Padding counts: DATA is followed by up to three bytes.
        let largest = if over == Over::Udp {
            (LARGEST - INDICATION) / 4 * 4
        } else {
            LARGEST
        };
        for length in [
            0,
            1,
            2,
            3,
            4,
            1200,
            9000,
            40_000,
            largest - 4,
            largest - 3,
            largest - 1,
            largest,
        ] {
            let payload = numbered(length);
            client.send_indication(to, &payload);
            let (received, from) = receive_from(&peer);
            assert!(
                received == payload && from == relayed,
                "{over:?}, {length} to the peer"
            );
            peer.send_to(&payload, relayed).unwrap();
            let (from, received) = client.data_indication();
            assert!(
                received == payload && from == to,
                "{over:?}, {length} to the client"
            );
        }
    }
    assert_eq!(send_failures(&relay), 0);
}

/// what does not fit the datagram that would carry it is dropped and counted, never cut.
#[test]
fn payloads_that_do_not_fit_are_dropped_whole_and_counted() {
    let relay = Setup::on_loopback(2).start();
    let mut expected = 0;
    // From the peer, the largest datagram has no room for a header any more.
    for (channel, lengths) in [
        (true, vec![LARGEST - HEADER + 1, LARGEST]),
        (false, vec![(LARGEST - INDICATION) / 4 * 4 + 1, LARGEST]),
    ] {
        let mut client = Client::of(&relay, Over::Udp, "alice");
        let relayed = client.allocate();
        let peer = peer();
        let to = peer.local_addr().unwrap();
        if channel {
            client.bind(CHANNEL, to);
        } else {
            client.permit(to);
        }
        for length in lengths {
            peer.send_to(&numbered(length), relayed).unwrap();
            expected += 1;
            eventually("the count of a dropped payload", || {
                send_failures(&relay) == expected
            });
        }
        peer.send_to(b"fits", relayed).unwrap();
        assert_next(&mut client, channel, to);
    }
    // From the client, a stream can frame more than a datagram holds.
    for over in [Over::Tcp, Over::Tls] {
        let mut client = Client::of(&relay, over, "alice");
        client.allocate();
        let peer = peer();
        client.bind(CHANNEL, peer.local_addr().unwrap());
        for length in [LARGEST + 1, LARGEST + 20, 65_535] {
            client.send_channel(CHANNEL, &numbered(length));
            expected += 1;
        }
        client.send_channel(CHANNEL, b"fits");
        assert_eq!(receive_from(&peer).0, b"fits");
    }
    eventually("the count of dropped payloads", || {
        send_failures(&relay) == expected
    });
}

fn assert_next(client: &mut Client, channel: bool, peer: SocketAddr) {
    if channel {
        assert_eq!(client.channel_payload(CHANNEL), b"fits");
    } else {
        assert_eq!(client.data_indication(), (peer, b"fits".to_vec()));
    }
}
