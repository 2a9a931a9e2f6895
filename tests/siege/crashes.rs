//! A relay that is killed and started again, and clients that come back.
//!
//! Not responsible for who starts it again (`tests/system/units.rs`).

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::Call;
use crate::client::{Over, binding, peer_of};
use crate::running::{PATIENCE, Setup, loopback};
use crate::scale::{is_long, scale};
use crate::vitals::{load, record};

/// How long after `since` a Binding is first answered; it is asked again and again.
fn answered_after(server: SocketAddr, since: Instant) -> Duration {
    let socket = peer_of(server);
    socket
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    while since.elapsed() < 3 * PATIENCE {
        // Refused, while nobody is there.
        let _ = socket.send_to(&binding(8), server);
        if socket.recv_from(&mut [0; 64]).is_ok() {
            return since.elapsed();
        }
    }
    panic!("no answer");
}

/// G-15: a relay that is killed and started again answers, takes allocations and carries calls again, on every transport; no port
/// and no allocation of before is held.
#[test]
fn a_relay_that_is_killed_and_started_again_serves_at_once() {
    let host = loopback();
    let setup = || Setup {
        listeners: [("udp", 3478), ("tcp", 3478), ("tls", 5349)]
            .map(|(transport, port)| (transport, format!("{host}:{port}")))
            .to_vec(),
        // As many as the calls take, so that each must be free again.
        relayed: format!("addresses = [\"{host}\"]\nports = \"20000-20002\""),
        ..Setup::on_loopback(1)
    };
    let mut relay = setup().start();
    let server = relay.listener("udp");
    let mut slowest = [Duration::ZERO; 3];
    for _ in 0..scale(3, 50) {
        let mut calls = Over::ALL.map(|over| Call::open(&relay, over, "alice"));
        calls.iter_mut().for_each(Call::exchange);
        let killed = Instant::now();
        relay.crash();
        let asking = thread::spawn(move || answered_after(server, killed));
        relay = setup().start();
        let answered = asking.join().unwrap();
        let mut over_udp = Call::open(&relay, Over::Udp, "alice");
        let allocated = killed.elapsed();
        over_udp.exchange();
        let mut streams = [Over::Tcp, Over::Tls].map(|over| Call::open(&relay, over, "alice"));
        streams.iter_mut().for_each(Call::exchange);
        let back = killed.elapsed();
        let held = ["allocations", "ports_used"].map(|part| load(&relay, part));
        assert_eq!(held, [3, 3]);
        for (worst, time) in slowest.iter_mut().zip([answered, allocated, back]) {
            *worst = (*worst).max(time);
        }
        // The next round's calls need the ports, which would rest for a while after these.
        relay.crash();
        relay = setup().start();
    }
    record(
        "slowest from kill -9 to Binding, Allocate, and media over UDP, TCP and TLS",
        format!("{slowest:?}"),
    );
    if is_long() {
        for (time, most) in slowest.into_iter().zip([1, 2, 5]) {
            assert!(time <= Duration::from_secs(most), "{time:?}");
        }
    }
    relay.assert_alive();
}
