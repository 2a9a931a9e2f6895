//! Allocations that send ten times what they may, and others beside them.
//!
//! Not responsible for how a limit is metered (`protocol/src/forward/meter.rs`), nor for jitter (`benches/load`).

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::Call;
use crate::client::{Client, Over, peer};
use crate::running::{Running, Setup, eventually};
use crate::scale::scale;

/// 800 kbit/s.
const BYTES_PER_SECOND: u64 = 100_000;
const CHANNEL: u16 = 0x4000;
const PAYLOAD: usize = 1000;

/// Ten times the limit, for three seconds or for a minute.
fn sent() -> u64 {
    scale(3000, 60_000)
}

/// Counts what reaches the hog's peer until `done`.
fn count(peer: &UdpSocket, delivered: &AtomicU64, done: &AtomicBool) {
    peer.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let mut buffer = [0; 2048];
    while !done.load(Ordering::Acquire) {
        if let Ok((length, _)) = peer.recv_from(&mut buffer) {
            assert_eq!(length, PAYLOAD);
            delivered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Offers ten times the limit: gets the limit, and every payload beyond it is counted.
fn hog(relay: &Running, over: Over) {
    let mut client = Client::of(relay, over, "hog");
    let peer = peer();
    client.allocate();
    client.bind(CHANNEL, peer.local_addr().unwrap());
    let cut = format!(
        "taciturn_relay_dropped_packets_total{{reason=\"allocation_bandwidth\",direction=\"to_peer\",transport=\"{}\"",
        over.name()
    );
    let (delivered, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| count(&peer, &delivered, &done));
        let begun = Instant::now();
        for _ in 0..sent() / 10 {
            for _ in 0..10 {
                client.send_channel(CHANNEL, &[5; PAYLOAD]);
            }
            thread::sleep(Duration::from_millis(10));
        }
        eventually("every payload of the hog, delivered or counted", || {
            let lost = relay.metric("taciturn_relay_kernel_dropped_packets_total");
            delivered.load(Ordering::Relaxed) + relay.metric(&cut) + lost >= sent()
        });
        let elapsed = begun.elapsed().as_secs() + 1;
        done.store(true, Ordering::Release);
        // Who was silent may send a second's worth at once.
        let allowed = (elapsed + 1) * BYTES_PER_SECOND / PAYLOAD as u64 + 1;
        let delivered = delivered.load(Ordering::Relaxed);
        let at_once = BYTES_PER_SECOND / PAYLOAD as u64;
        assert!((at_once..=allowed).contains(&delivered), "{delivered}");
    });
    assert!(relay.metric(&cut) > 0);
}

/// what is beyond an allocation's limit is dropped and counted, and nobody else loses a packet.
#[test]
fn a_hog_is_cut_to_its_limit_and_its_neighbours_lose_nothing() {
    // One worker, so that they share all that there is to share.
    let mut setup = Setup::on_loopback(1);
    setup.limits += &format!(
        "\nbits-per-second-per-allocation = {}",
        8 * BYTES_PER_SECOND
    );
    let mut relay = setup.start();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let neighbours = Over::ALL.map(|over| {
            let mut call = Call::open(&relay, over, "neighbour");
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Half of the limit, both directions together.
                    call.exchange();
                    thread::sleep(Duration::from_millis(25));
                }
            })
        });
        let relay = &relay;
        let hogs = Over::ALL.map(|over| scope.spawn(move || hog(relay, over)));
        let hogs = hogs.map(|hog| hog.join());
        stop.store(true, Ordering::Relaxed);
        for neighbour in neighbours {
            neighbour.join().expect("a neighbour that lost nothing");
        }
        assert!(hogs.iter().all(Result::is_ok));
    });
    assert_eq!(relay.dropped("bandwidth"), 0);
    relay.assert_alive();
}
