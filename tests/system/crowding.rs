//! One client that sends more over UDP than the relay can carry, and calls beside it.
//!
//! Not responsible for rates, nor for how soon anything is noticed; what is asserted are counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::calls::{Call, Stop};
use crate::client::{Client, Link, Over, receive_from};
use crate::running::{Running, Setup};

/// How long the relay may take for anything here: seconds on an idle machine.
const LONG: Duration = Duration::from_secs(90);
const CHANNEL: u16 = 0x4ABC;

/// Lets the relay run for a small part of the time, so that one thread can send more than it can carry.
fn brake(relay: &Running, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        relay.signal(Signal::STOP);
        thread::sleep(Duration::from_millis(12));
        relay.signal(Signal::CONT);
        thread::sleep(Duration::from_millis(3));
    }
}

/// Sends as fast as it can.
fn flood(client: &Client, stop: &AtomicBool) {
    let Link::Udp(socket) = &client.link else {
        panic!("not over UDP");
    };
    let datagram = client.channel_bytes(CHANNEL, &[7; 172]);
    while !stop.load(Ordering::Relaxed) {
        socket.send(&datagram).unwrap();
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "no {what} in time");
        thread::sleep(Duration::from_millis(100));
    }
}

fn dropped(relay: &Running, of: &str) -> u64 {
    relay.metric(&format!("taciturn_relay_{of}dropped_packets_total "))
}

/// The flooder is set apart, its neighbours lose nothing from then on, its own allocation goes on with what they leave, and
/// when it is calm it goes back.
#[test]
fn a_client_that_crowds_others_out_is_set_apart_and_taken_back() {
    let mut relay = Setup::on_loopback(1).start();
    let mut flooder = Call::open(&relay, Over::Udp, "flooder");
    let mut calls: Vec<_> = (0..4)
        .map(|number| Call::open(&relay, Over::Udp, &format!("caller-{number}")))
        .collect();
    let apart = |relay: &Running| relay.metric("taciturn_relay_crowding_flows ");
    assert_eq!(apart(&relay), 0);

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ended = Stop(&stop);
        scope.spawn(|| brake(&relay, &stop));
        scope.spawn(|| flood(&flooder.client, &stop));
        wait_until("flow set apart", || apart(&relay) > 0);
        // What was queued before is worked off once the queue of those set apart runs over and the other does not.
        wait_until("end of the others' losses", || {
            let before = ["kernel_", "crowding_"].map(|of| dropped(&relay, of));
            thread::sleep(Duration::from_millis(2200));
            let after = ["kernel_", "crowding_"].map(|of| dropped(&relay, of));
            before[0] == after[0] && before[1] < after[1]
        });
        let before = dropped(&relay, "kernel_");
        for round in 0..50_u64 {
            for call in &mut calls {
                call.client.send_channel(CHANNEL, &round.to_be_bytes());
            }
            thread::sleep(Duration::from_millis(5));
        }
        for call in &calls {
            for round in 0..50_u64 {
                assert_eq!(receive_from(&call.peer).0, round.to_be_bytes());
            }
        }
        thread::sleep(Duration::from_millis(2200));
        assert_eq!(dropped(&relay, "kernel_"), before);
        assert_eq!(apart(&relay), 1, "the flooder and nobody else");
    });

    // Its peer, who did not listen meanwhile, hears it.
    while flooder
        .peer
        .recv_from(&mut [0; 2048])
        .is_ok_and(|(length, _)| length == 172)
    {
        flooder
            .peer
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
    }
    flooder.peer.set_read_timeout(Some(LONG)).unwrap();
    flooder.exchange();
    wait_until("end of it", || apart(&relay) == 0);
    flooder.exchange();
    calls.iter_mut().for_each(Call::exchange);
    assert_eq!(relay.metric("taciturn_relay_set_apart_flows_total "), 1);
    let log = relay.log();
    let line = log
        .lines()
        .find(|line| line.contains("a client crowds others out"))
        .expect("a line in the log");
    let source = match &flooder.client.link {
        Link::Udp(socket) => socket.local_addr().unwrap(),
        Link::Tcp(..) | Link::Tls(..) => panic!("not over UDP"),
    };
    assert!(line.contains("\"client\":\"") && !line.contains(&source.port().to_string()));
    assert!(log.contains("a client crowds nobody out any more"));
    relay.assert_alive();
}
