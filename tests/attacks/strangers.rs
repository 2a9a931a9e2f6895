//! Whoever knows a relayed address and was not permitted: racing, flooding, and coming too late.
//!
//! Not responsible for floods at listeners (`tests/siege`), nor for what owners of allocations send (`forbidden`).

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::calls::{Call, Stop};
use crate::client::{Client, Over, peer, peer_at, send_indication};
use crate::lab::Lab;
use crate::namespace::inside;
use crate::running::{Running, Setup, eventually};
use crate::scale::{is_long, scale};

const CHANNEL: u16 = 0x4000;
/// What a DTLS ClientHello begins with.
const HELLO: &[u8] = b"\x16\xFE\xFD\0\0\0\0\0\0\0\0\0\x5A\x01";

/// A-06, T-45: a DTLS hello that races the real one, from an address without permission, never reaches the client, whatever it
/// looks like; nor does anything else.
#[test]
fn strangers_do_not_reach_a_client() {
    if !inside("strangers::strangers_do_not_reach_a_client") {
        return;
    }
    let lab = Lab::new();
    let relay = Lab::setup(1).start();
    let allowed = lab.peer("10.77.0.20");
    let stranger = lab.peer("10.77.0.10");
    for over in Over::ALL {
        let mut client: Client = lab.client(&relay, over, "10.77.0.1", "alice");
        let relayed = client.allocate();
        client.permit(allowed.local_addr().unwrap());
        let before = relay.dropped("peer_not_permitted");
        let inner = send_indication(allowed.local_addr().unwrap(), HELLO, |_| {});
        for datagram in [HELLO, &inner, b"", &[0x40, 0, 0, 0]] {
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

/// a channel carries what its one peer sends. A hello from another port of the same host is not taken for the peer's: it
/// comes as an indication that names where it is from.
#[test]
fn a_channel_is_one_peers_alone() {
    let relay = Setup::on_loopback(1).start();
    for over in Over::ALL {
        let mut client = Client::of(&relay, over, "alice");
        let (true_peer, racer) = (peer(), peer());
        let relayed = client.allocate();
        client.bind(CHANNEL, true_peer.local_addr().unwrap());
        racer.send_to(HELLO, relayed).unwrap();
        let (from, payload) = client.data_indication();
        assert_eq!((from, &payload[..]), (racer.local_addr().unwrap(), HELLO));
        true_peer.send_to(HELLO, relayed).unwrap();
        assert_eq!(client.channel_payload(CHANNEL), HELLO);
    }
}

/// Sends hellos from each of these sockets in turn until `stop`, and counts them.
fn flood(strangers: &[UdpSocket], relayed: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        for stranger in strangers {
            if stranger.send_to(HELLO, relayed).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        // A relay on a machine with other work to do has time to take these in.
        thread::sleep(Duration::from_millis(1));
    }
}

/// strangers flood the port of a call. Each of their datagrams is counted and dropped, the call loses nothing, neither do
/// others, and the log does not grow with it.
#[test]
fn a_flooded_port_costs_its_owner_nothing() {
    let mut relay = Setup::on_loopback(1).start();
    let mut calls = Over::ALL.map(|over| Call::open(&relay, over, "victim"));
    let mut neighbour = Call::open(&relay, Over::Udp, "neighbour");
    // 127.0.0.1 is permitted, as the call's own peer is there.
    let strangers: Vec<_> = (2..10)
        .map(|host| peer_at(([127, 0, 0, host], 0).into()))
        .collect();
    let lines = |relay: &Running| relay.log().lines().count();
    let before = lines(&relay);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let ended = Stop(&stop);
        let flooded: Vec<_> = calls.iter().map(|call| call.relayed).collect();
        for relayed in flooded {
            let (strangers, stop, sent) = (&strangers, &stop, &sent);
            scope.spawn(move || flood(strangers, relayed, stop, sent));
        }
        for _ in 0..scale(300, 30_000) {
            calls.iter_mut().for_each(Call::exchange);
            neighbour.exchange();
        }
        drop(ended);
    });
    let sent = sent.load(Ordering::Relaxed);
    eventually("a count of every datagram of the flood", || {
        let lost = relay.metric("taciturn_relay_kernel_dropped_packets_total ");
        relay.dropped("peer_not_permitted") + lost >= sent
    });
    assert!(sent > 1000, "{sent}");
    // A busy machine may be worth a line, a datagram never.
    assert!(lines(&relay) < before + 10, "{}", relay.log());
    relay.assert_alive();
}

/// A relay with few ports.
fn narrow(ports: &str) -> Running {
    let mut setup = Setup::on_loopback(1);
    setup.relayed = setup.relayed.replace("20000-29999", ports);
    setup.start()
}

/// A-39, T-33: what comes late for a port that was given back reaches nobody: the port rests, whoever asks meanwhile gets
/// another or none, and the one who has it next hears nothing from peers that it has not permitted itself.
#[test]
fn late_datagrams_do_not_reach_the_next_owner() {
    let relay = narrow("20000-20001");
    let late = peer();
    let to = late.local_addr().unwrap();
    let mut alice = Client::of(&relay, Over::Udp, "alice");
    let first = alice.allocate();
    alice.bind(CHANNEL, to);
    late.send_to(b"in time", first).unwrap();
    assert_eq!(alice.channel_payload(CHANNEL), b"in time");
    alice.release();

    let mut bob = Client::of(&relay, Over::Udp, "bob");
    let second = bob.allocate();
    assert_ne!(first.port(), second.port());
    bob.permit(to);
    let mut carol = Client::of(&relay, Over::Udp, "carol");
    assert_eq!(carol.try_allocate(|_| {}).code(), 508, "the port rests");
    for _ in 0..50 {
        // Nobody is there; the kernel may say so to the sender.
        let _ = late.send_to(b"too late", first);
    }
    late.send_to(b"for bob", second)
        .or_else(|_| late.send_to(b"for bob", second))
        .unwrap();
    assert_eq!(bob.data_indication(), (to, b"for bob".to_vec()));
    alice.set_timeout(Duration::from_millis(50));
    assert_eq!(alice.receive(), None);

    if is_long() {
        thread::sleep(Duration::from_secs(61));
        let third = carol.allocate();
        assert_eq!(third, first, "after its rest");
        let before = relay.dropped("peer_not_permitted");
        late.send_to(b"much too late", third).unwrap();
        eventually("the count of what came too late", || {
            relay.dropped("peer_not_permitted") == before + 1
        });
        // A permission of its own is another matter.
        carol.permit(to);
        late.send_to(b"for carol", third).unwrap();
        assert_eq!(carol.data_indication(), (to, b"for carol".to_vec()));
    }
}
