//! Payloads of every size that fits, whole; and larger ones, which are dropped and counted and never cut.
//!
//! Not responsible for how large a message may be before authentication (`bad_input`).

use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};

use crate::client::{Client, Link, Over, peer, receive_from};
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

/// Sends these bytes as a train: datagrams of `segment` bytes and one with the rest, in one call, as the kernel of a fast peer
/// does it; the relay's kernel may hand them over in one piece.
fn send_train(socket: &UdpSocket, to: SocketAddr, bytes: &[u8], segment: i32) {
    setsockopt(socket, sockopt::UdpGsoSegment, &segment).unwrap();
    assert_eq!(socket.send_to(bytes, to).unwrap(), bytes.len());
    setsockopt(socket, sockopt::UdpGsoSegment, &0).unwrap();
}

/// trains whose last datagram is shorter than the others, down to a byte, are relayed datagram by datagram, both ways; none
/// is joined to another, cut, or given bytes of its neighbour.
#[test]
fn trains_with_a_short_end_keep_their_boundaries() {
    let relay = Setup::on_loopback(1).start();
    let mut client = Client::of(&relay, Over::Udp, "alice");
    let relayed = client.allocate();
    let peer = peer();
    client.bind(CHANNEL, peer.local_addr().unwrap());
    for segment in [1, 8, 172, 1200, 1472] {
        for last in [1, 2, 3, segment / 2, segment - 1, segment] {
            if last == 0 || last > segment {
                continue;
            }
            let payloads: Vec<_> = (0..11_usize)
                .map(|number| {
                    let length = if number == 10 { last } else { segment };
                    numbered(length)
                        .iter()
                        .map(|byte| byte ^ number.to_le_bytes()[0])
                        .collect::<Vec<_>>()
                })
                .collect();
            send_train(
                &peer,
                relayed,
                &payloads.concat(),
                i32::try_from(segment).unwrap(),
            );
            for payload in &payloads {
                assert_eq!(
                    client.channel_payload(CHANNEL),
                    *payload,
                    "{segment} {last}"
                );
            }
            let frames: Vec<_> = payloads
                .iter()
                .map(|payload| client.channel_bytes(CHANNEL, payload))
                .collect();
            let Link::Udp(socket) = &client.link else {
                unreachable!("the client is over UDP");
            };
            let framed = i32::try_from(segment + HEADER).unwrap();
            send_train(socket, relay.listener("udp"), &frames.concat(), framed);
            for payload in &payloads {
                assert_eq!(
                    receive_from(&peer),
                    (payload.clone(), relayed),
                    "{segment} {last}"
                );
            }
        }
    }
    assert_eq!(send_failures(&relay), 0);
}
