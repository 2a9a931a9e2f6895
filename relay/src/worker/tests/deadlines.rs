//! Which connections are looked at as time passes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use taciturn_protocol::time::Instant;

use super::super::Flow;
use super::{Bench, connection};
use crate::net::Epoll;
use crate::stream::QueueClass;

const SECOND: Duration = Duration::from_secs(1);

/// A worker with this many connections, and their clients.
fn bench(connections: u16) -> (Bench, Vec<TcpStream>) {
    let mut bench = Bench::new(1);
    let mut clients = Vec::new();
    for port in 4001..4001 + connections {
        let (client, stream) = connection();
        bench.adopt(
            stream,
            ([127, 0, 0, 1], port).into(),
            ([127, 0, 0, 1], 3478).into(),
        );
        clients.push(client);
    }
    turn(&mut bench);
    assert_eq!(
        bench.workers[0].switch.streams.len(),
        usize::from(connections)
    );
    (bench, clients)
}

fn turn(bench: &mut Bench) {
    bench.workers[0].inbox.come_back();
    assert!(bench.workers[0].turn() == Flow::GoOn);
}

/// The connections that are due, lowest slot first, each looked at and kept.
fn due(bench: &mut Bench, now: Instant) -> Vec<usize> {
    let streams = &mut bench.workers[0].switch.streams;
    let mut due = Vec::new();
    streams.expired(now, &mut due);
    for slot in &due {
        // What is due to be closed is only noted here.
        let _ = streams.get_mut(*slot).expect("due").handle_timeout(now);
    }
    due.sort_unstable();
    due
}

/// What looking at every connection would find.
fn due_of_all(bench: &mut Bench, connections: usize, now: Instant) -> Vec<usize> {
    let streams = &mut bench.workers[0].switch.streams;
    let mut is_due = |slot: &usize| {
        let deadline = streams.get_mut(*slot).and_then(|it| it.poll_timeout());
        deadline.is_some_and(|deadline| deadline <= now)
    };
    (0..connections).filter(|slot| is_due(slot)).collect()
}

/// One client is silent, one has begun a frame, one was sent something, one sends now and then, one takes nothing.
#[test]
fn those_that_are_looked_at_are_those_whose_deadline_has_come() {
    let (mut bench, mut clients) = bench(5);
    clients[1].write_all(&[0x40, 0, 0]).expect("room");
    turn(&mut bench);
    let began = bench.workers[0].now.instant;
    let mut was_due = [0; 5];
    for second in 1..=200 {
        let now = began + second * SECOND;
        if second % 7 == 0 {
            clients[3].write_all(&[0x40, 0, 0, 0]).expect("room");
            let worker = &mut bench.workers[0];
            let mut read = worker.now;
            read.instant = now;
            worker.read_stream(read, 3).expect("a frame");
        }
        if second == 20 {
            let worker = &mut bench.workers[0];
            let media = [&[0x40, 0, 0x40, 0][..], &[0; 0x4000]];
            for (slot, frames) in [(2, 1), (4, 400)] {
                let of = worker
                    .switch
                    .streams
                    .get_mut(slot)
                    .expect("it")
                    .five_tuple();
                for _ in 0..frames {
                    let streams = &mut worker.switch.streams;
                    let queued = streams.queue(now, &of, QueueClass::Media, &media);
                    assert_eq!(queued, Ok(()));
                    let mut flushed = worker.now;
                    flushed.instant = now;
                    worker.flush_streams(flushed);
                }
            }
            assert!(worker.switch.streams.get_mut(4).expect("it").wants_write());
        }
        let expected = due_of_all(&mut bench, 5, now);
        let found = due(&mut bench, now);
        assert_eq!(found, expected, "after {second} s");
        for slot in found {
            was_due[slot] += 1;
            bench.workers[0].switch.streams.look_again(slot);
        }
    }
    // Idle from 60 s on, and the frame late from 10 s on; what was sent something gives its buffer back first.
    assert_eq!(was_due[..2], [141, 191]);
    assert!(was_due[2] > 1 && was_due[4] > 1, "{was_due:?}");
    let live = bench.workers[0].switch.streams.get_mut(3).expect("it");
    assert!(live.poll_timeout() > Some(began + 200 * SECOND));
}

/// However often a deadline moves, a connection is waited for once; and not at all once it is gone.
#[test]
fn a_connection_that_is_gone_is_looked_at_no_more() {
    let (mut bench, mut clients) = bench(2);
    for piece in 0..100 {
        // A whole frame in two pieces: the deadline comes nearer, and moves away again.
        let bytes: &[u8] = if piece % 2 == 0 { &[0x40] } else { &[0, 0, 0] };
        clients[0].write_all(bytes).expect("room");
        turn(&mut bench);
        assert_eq!(bench.workers[0].switch.streams.looks(), 2);
    }
    let later = bench.workers[0].now.instant + 3600 * SECOND;
    let worker = &mut bench.workers[0];
    let epoll = Epoll::new().expect("descriptors");
    assert!(worker.switch.streams.remove(0, &epoll).is_some());
    assert_eq!(worker.switch.streams.looks(), 1);
    assert_eq!(due(&mut bench, later), [1]);
    drop(bench);
    assert_eq!(clients[1].read(&mut [0]).expect("an end"), 0);
}
