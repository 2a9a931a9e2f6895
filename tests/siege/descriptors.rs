//! A relay that has run out of descriptors.
//!
//! Not responsible for raising the limit; these relays are started with a low one that they cannot raise.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::Call;
use crate::client::{Client, Over, connect};
use crate::running::{Setup, eventually};
use crate::scale::scale;
use crate::vitals::{cpu_ticks, record};

fn start_with_limit(descriptors: u32) -> crate::running::Running {
    let mut setup = Setup::on_loopback(2);
    setup.wrapper = [
        "prlimit".to_owned(),
        format!("--nofile={descriptors}:{descriptors}"),
    ]
    .map(Into::into)
    .to_vec();
    setup.start()
}

/// T-28, G-19: without descriptors → 508 for new allocations, calls go on, nothing is leaked, and it ends when some are given back.
#[test]
fn allocations_are_refused_without_descriptors_and_calls_go_on() {
    let mut relay = start_with_limit(64);
    let mut calls = Over::ALL.map(|over| Call::open(&relay, over, "alice"));
    let mut clients = Vec::new();
    let mut refused = 0;
    for number in 0..70 {
        let mut client = Client::of(&relay, Over::Udp, &format!("user-{}", number % 7));
        match client.try_allocate(|_| {}).code() {
            0 => clients.push(client),
            508 => refused += 1,
            other => panic!("{other}"),
        }
        for call in &mut calls {
            call.exchange();
        }
    }
    assert!(refused >= 10, "{refused} refused");
    let most = clients.len();
    assert!(most >= 10, "{most} allocated");
    // Refused again and again, with one descriptor given back and taken each time: none is lost on the way.
    let turns = scale(20, 500);
    for turn in 0..turns {
        // Of many users, as none may have many ports that rest.
        let back = &mut clients[usize::try_from(turn).unwrap() % most];
        let mut client = Client::of(&relay, Over::Udp, "bob");
        assert_eq!(client.try_allocate(|w| w.additional_family(2)).code(), 508);
        back.release();
        // The relay itself takes one for a moment now and then, as when it looks at its interfaces.
        eventually("the descriptor that was given back", || {
            back.try_allocate(|_| {}).code() == 0
        });
        assert_eq!(client.try_allocate(|_| {}).code(), 508);
    }
    for client in &mut clients {
        client.release();
    }
    for client in &mut clients {
        eventually("every descriptor that was given back", || {
            client.try_allocate(|_| {}).code() == 0
        });
    }
    for client in &mut clients {
        client.release();
    }
    for call in &mut calls {
        call.exchange();
    }
    eventually("the end of the allocations", || {
        relay.metric("taciturn_relay_allocations ") == 3
    });
    assert!(relay.metric("taciturn_relay_bind_failures_total ") >= 30);
    record(
        "allocations within 64 descriptors; times that one was given back",
        format!("{most} {turns}"),
    );
    relay.assert_alive();
}

/// G-19: connections that cannot be accepted keep no processor busy, disturb no call, and are served when others have gone.
#[test]
fn connections_wait_without_descriptors_and_the_processor_rests() {
    let mut relay = start_with_limit(64);
    let mut calls = Over::ALL.map(|over| Call::open(&relay, over, "alice"));
    let server = relay.listener("tcp");
    let mut idle: Vec<_> = (0..80).map(|_| connect(server)).collect();
    let (ticks, begun) = (cpu_ticks(&relay), Instant::now());
    thread::sleep(Duration::from_millis(1500));
    let spent = (cpu_ticks(&relay) - ticks) as u128 * 10;
    let passed = begun.elapsed().as_millis();
    assert!(spent * 4 < passed, "{spent} ms of processor in {passed} ms");
    record(
        "processor while connections wait, ms of ms",
        format!("{spent} {passed}"),
    );
    for call in &mut calls {
        for _ in 0..50 {
            call.exchange();
        }
    }
    // The last in the queue is served once there is room.
    let last = idle.pop().unwrap();
    drop(idle);
    let mut late = Call::between(Client::tcp(server, "bob"), crate::client::peer());
    late.exchange();
    last.set_nonblocking(true).unwrap();
    let still_open = (&last).read(&mut [0; 1]).unwrap_err();
    assert_eq!(still_open.kind(), std::io::ErrorKind::WouldBlock);
    assert!(relay.metric("taciturn_relay_accept_errors_total ") > 0);
    for call in &mut calls {
        call.exchange();
    }
    relay.assert_alive();
}
