//! A relay that has no port, or no memory, left.
//!
//! What is new is refused with 508 and what is there goes on. Not responsible for descriptors (`descriptors`).

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::client::{Client, Over, connect};
use crate::flock::Flock;
use crate::running::{Running, Setup, eventually};
use crate::scale::{is_long, scale};
use crate::vitals::{load, memory_kib, record, writable_kib};

const CALLS: usize = 6;

/// New clients of this many users in turn, until one is refused with 508.
fn fill(relay: &Running) -> Vec<Client> {
    let mut clients = Vec::new();
    loop {
        let mut client = Client::of(relay, Over::Udp, &format!("user-{}", clients.len() / 50));
        match client.try_allocate(|_| {}).code() {
            0 => clients.push(client),
            508 => return clients,
            other => panic!("{other}"),
        }
    }
}

fn assert_refused(relay: &Running, times: usize) {
    for turn in 0..times {
        let over = Over::ALL[turn % 3];
        let code = Client::of(relay, over, "late").try_allocate(|_| {}).code();
        assert_eq!(code, 508, "{over:?}");
    }
}

/// G-21, G-19: the last port is given out, and whoever asks after that is told so, again and again, while calls go on. A port
/// that is given back rests first, and is then given out again.
#[test]
fn the_last_port_is_given_out_and_the_next_client_refused() {
    let ports = scale(40, 8000);
    let mut setup = Setup::on_loopback(1);
    setup.relayed = setup
        .relayed
        .replace("20000-29999", &format!("20000-{}", 19_999 + ports));
    let mut relay = setup.start();
    let mut flock = Flock::on_loopback(&relay, CALLS);
    let mut clients = fill(&relay);
    assert_eq!((clients.len() + CALLS) as u64, ports, "the last one too");
    assert_eq!(
        [load(&relay, "ports_free"), load(&relay, "ports_used")],
        [0, ports]
    );
    flock.sing(|| true).assert_whole();
    let times = usize::try_from(scale(30, 3000)).unwrap();
    let ((), tally) = flock.beside(|| assert_refused(&relay, times));
    tally.assert_whole();
    record(
        "ports, all given out; payloads of calls meanwhile, lost",
        format!("{ports}; {} {}", tally.sent, tally.lost),
    );

    // They rest, and are nobody's for a while.
    let mut last = clients.pop().unwrap();
    last.release();
    assert_eq!(load(&relay, "ports_quarantined"), 1);
    assert_refused(&relay, 3);
    clients.iter_mut().for_each(Client::release);
    assert_eq!(load(&relay, "ports_used"), CALLS as u64);
    assert_eq!(load(&relay, "ports_quarantined"), ports - CALLS as u64);
    if is_long() {
        let tally = flock.sing(|| load(&relay, "ports_quarantined") == 0);
        tally.assert_whole();
        assert_eq!(fill(&relay).len() + CALLS, usize::try_from(ports).unwrap());
        record(
            "ports given out again after their rest",
            ports - CALLS as u64,
        );
    }
    flock.sing(|| true).assert_whole();
    relay.assert_alive();
}

/// Nothing that the process may write to grows beyond this from now on.
fn limit_memory(relay: &Running, bytes: u64) {
    let status = Command::new("prlimit")
        .args([
            format!("--pid={}", relay.pid()),
            format!("--data={bytes}:{bytes}"),
        ])
        .status();
    assert!(status.unwrap().success());
}

/// G-24: a relay that has as many allocations as it may, and a tenth more memory than they take, refuses the next with 508 and
/// stays there: calls lose nothing, whatever else is tried.
#[test]
fn a_full_relay_lives_with_a_tenth_more_memory_than_it_has() {
    let allocations = usize::try_from(scale(300, 5000)).unwrap();
    let mut setup = Setup::on_loopback(1);
    setup.limits +=
        &format!("\nallocations = {allocations}\nconnections-per-source = 0\nhalf-open = 50");
    let mut relay = setup.start();
    let mut flock = Flock::on_loopback(&relay, CALLS);
    let mut clients = fill(&relay);
    assert_eq!(clients.len() + CALLS, allocations);
    let idle = fill_connections(&relay);
    let (steady, writable) = (memory_kib(&relay), writable_kib(&relay));
    limit_memory(&relay, writable * 1024 / 10 * 11);
    drop(idle);

    let ((), tally) = flock.beside(|| {
        for client in clients
            .iter_mut()
            .take(usize::try_from(scale(3, 200)).unwrap())
        {
            assert_refused(&relay, 6);
            drop(fill_connections(&relay));
            client.release();
            eventually("room for one", || client.try_allocate(|_| {}).code() == 0);
        }
    });
    tally.assert_whole();
    record(
        "allocations; memory in use, and writable, before and after, KiB",
        format!(
            "{allocations}; {steady} {}; {writable} {}",
            memory_kib(&relay),
            writable_kib(&relay)
        ),
    );
    record(
        "payloads of calls meanwhile, lost",
        format!("{} {}", tally.sent, tally.lost),
    );
    relay.assert_alive();
}

/// More connections that say nothing than are borne at a time.
fn fill_connections(relay: &Running) -> Vec<std::net::TcpStream> {
    let connections: Vec<_> = (0..300).map(|_| connect(relay.listener("tcp"))).collect();
    thread::sleep(Duration::from_millis(50));
    connections
}
