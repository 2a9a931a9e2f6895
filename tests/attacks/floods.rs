//! Strangers who send as fast as they can, and calls beside them.
//!
//! Not responsible for rates; what is asserted holds on a machine of any speed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use taciturn_protocol::wire::Method;

use crate::calls::{Call, Canaries};
use crate::client::{Client, Over, binding, peer, receive_from};
use crate::running::{Running, Setup, eventually};

/// floods at relayed ports cost other calls nothing, over no transport and whatever becomes of the flooded ones.
#[test]
fn a_flood_at_one_relayed_port_costs_the_others_nothing() {
    for workers in [1, 2] {
        let mut relay = Setup::on_loopback(workers).start();
        let canaries = Canaries::start(&relay);
        let victims = Over::ALL.map(|over| Call::open(&relay, over, "victim"));
        let strangers = std::iter::repeat_with(peer).take(3).collect::<Vec<_>>();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for (victim, stranger) in victims.iter().zip(&strangers) {
                let (stop, relayed) = (&stop, victim.relayed);
                scope.spawn(move || {
                    let mut sent = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        // A full queue is the kernel's business.
                        let _ = stranger.send_to(&[0x16; 700], relayed);
                        let _ = victim.peer.send_to(&sent.to_be_bytes(), relayed);
                        sent += 1;
                    }
                });
            }
            thread::sleep(std::time::Duration::from_millis(700));
            stop.store(true, Ordering::Relaxed);
        });
        canaries.finish();
        assert!(relay.metric("taciturn_relay_received_packets_total{") > 500);
        relay.assert_alive();
        drop(victims);
    }
}

/// What the kernel has dropped for want of room, as the relay counts it.
fn dropped_by_kernel(relay: &Running) -> u64 {
    relay.metric("taciturn_relay_kernel_dropped_packets_total ")
}

/// Sends so much to a relay that stands still that the queue of its one worker runs over.
fn overflow(relay: &Running, client: &mut Client, datagram: &[u8]) {
    // 4 MiB are asked for, and the kernel may grant twice that; the smallest datagram takes half a kilobyte of it.
    assert_eq!(dropped_by_kernel(relay), 0);
    relay.signal(Signal::STOP);
    for _ in 0..24_000 {
        client.send(datagram);
    }
}

/// Requests have a queue of their own: one that comes while the queue for media has run over is answered, at the first try.
#[test]
fn a_request_gets_past_a_queue_full_of_media() {
    let mut relay = Setup::on_loopback(1).start();
    let mut flooder = Call::open(&relay, Over::Udp, "flooder");
    let mut calls = Over::ALL.map(|over| Call::open(&relay, over, "caller"));
    let datagram = flooder.client.channel_bytes(0x4ABC, &[7; 172]);
    overflow(&relay, &mut flooder.client, &datagram);
    let asked: Vec<_> = calls
        .iter_mut()
        .map(|call| {
            let (id, bytes) = call
                .client
                .request_bytes(Method::Refresh, |writer| writer.lifetime(600));
            call.client.send(&bytes);
            id
        })
        .collect();
    relay.signal(Signal::CONT);
    for (call, id) in calls.iter_mut().zip(asked) {
        assert_eq!(call.client.answer(id).code(), 0);
    }
    eventually("the count of what the kernel has dropped", || {
        dropped_by_kernel(&relay) > 0
    });
    for call in &mut calls {
        call.exchange();
    }
    relay.assert_alive();
}

/// Nor do media wait behind requests, which anybody may send.
#[test]
fn media_get_past_a_queue_full_of_requests() {
    let mut relay = Setup::on_loopback(1).start();
    let mut stranger = Client::of(&relay, Over::Udp, "stranger");
    let mut calls = Over::ALL.map(|over| Call::open(&relay, over, "caller"));
    overflow(&relay, &mut stranger, &binding(9));
    for call in &mut calls {
        call.client.send_channel(0x4ABC, b"by channel");
    }
    let [by_indication, ..] = &mut calls;
    let to = by_indication.peer.local_addr().unwrap();
    by_indication.client.send_indication(to, b"by indication");
    relay.signal(Signal::CONT);
    for call in &calls {
        assert_eq!(receive_from(&call.peer).0, b"by channel");
    }
    assert_eq!(receive_from(&calls[0].peer).0, b"by indication");
    eventually("the count of what the kernel has dropped", || {
        dropped_by_kernel(&relay) > 0
    });
    relay.assert_alive();
}
