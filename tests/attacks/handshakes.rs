//! TLS handshakes that never end, by the hundred, and clients who want theirs meanwhile.
//!
//! Not responsible for hellos cut at every byte, which `tests/system/splits.rs` and the relay's own tests show.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::calls::Call;
use crate::client::{Client, Over, connect, tls_connection};
use crate::running::{Running, Setup, eventually};
use crate::scale::scale;

/// The largest hello that is read, and what a connection costs beside it.
const LARGEST: u64 = 32 * 1024;

fn resident(relay: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Descriptors for both ends of so many connections, as far as the host allows.
fn allow_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(count, |maximum| count.min(maximum));
    if limit.current.is_some_and(|current| current < wanted) {
        let limit = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

/// hundreds of handshakes that get a byte now and then: each is closed at the deadline without a reply, clients get
/// theirs meanwhile, calls lose nothing, and memory stays within what so many hellos can take.
#[test]
fn handshakes_that_never_end_keep_nobody_waiting() {
    let count = scale(240, 4_000);
    allow_descriptors(count + 500);
    let mut setup = Setup::on_loopback(2);
    setup.limits += "\nhandshake-timeout = \"3s\"\nconnections-per-source = 0\nhalf-open = 10000";
    let mut relay = setup.start();
    let mut calls = Over::ALL.map(|over| Call::open(&relay, over, "alice"));
    let mut hello = Vec::new();
    tls_connection(&relay.certificate, &[])
        .write_tls(&mut hello)
        .unwrap();
    let before = resident(&relay);
    let listeners = ["tls", "auto"].map(|name| relay.listener(name));
    let mut slow: Vec<TcpStream> = (0..count)
        .map(|number| connect(listeners[usize::from(number % 2 == 0)]))
        .collect();
    for round in 0..8 {
        for stream in &mut slow {
            // Those whose time is over do not take it any more.
            let _ = stream.write_all(&hello[round..=round]);
        }
        let mut client = Client::of(&relay, Over::Tls, &format!("newcomer-{round}"));
        client.allocate();
        client.release();
        for call in &mut calls {
            call.exchange();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let grown = resident(&relay).saturating_sub(before);
    assert!(
        grown <= count * LARGEST + (1 << 20),
        "{grown} bytes for {count}"
    );
    eventually("the end of all of them", || {
        relay.metric("taciturn_relay_refused_connections_total{reason=\"deadline\"}") >= count
    });
    for stream in &mut slow {
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
    for call in &mut calls {
        call.exchange();
    }
    relay.assert_alive();
}
