//! What a worker does when the kernel refuses: it drops, counts, and goes on with the same sockets.
//!
//! Which error means what, and trains that are taken apart, are tests of `net`; streams are not shared, and theirs of
//! `stream`.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::{Duration, Instant};

use taciturn_protocol::forward::DropReason;
use taciturn_protocol::wire::{Class, Method, TransactionId, Writer};

use crate::counters::{Direction, Totals};
use crate::net::SendFailure;
use crate::net::faults::{Faults, Operation};

use super::support::{Client, peer};
use super::{AtEnd, Bench};

const ERRORS: [(i32, SendFailure); 8] = [
    (libc::ENOBUFS, SendFailure::NoBuffers),
    (libc::ENOMEM, SendFailure::NoBuffers),
    (libc::EAGAIN, SendFailure::WouldBlock),
    (libc::EPERM, SendFailure::Denied),
    (libc::ECONNREFUSED, SendFailure::Refused),
    (libc::EMSGSIZE, SendFailure::TooLarge),
    (libc::ENETUNREACH, SendFailure::Unreachable),
    (libc::EHOSTUNREACH, SendFailure::Unreachable),
];
const CHANNEL: u16 = 0x4000;
/// Packets sent into a fault.
const BURST: u64 = 8;
/// How often one receive is repeated at most (`net::udp`).
const ATTEMPTS: u64 = 4;

/// A worker with two calls, and what makes the sockets of the first, and those that both share, fail.
struct Afflicted {
    bench: Bench,
    totals: Totals,
    media: Arc<Faults>,
    requests: Arc<Faults>,
    relayed: Arc<Faults>,
    call: Call,
    neighbour: Call,
}

/// A client with an allocation, and its peer.
struct Call {
    client: Client,
    peer: UdpSocket,
    relayed: SocketAddr,
}

impl Call {
    fn begin(mut client: Client) -> Self {
        let peer = peer();
        let relayed = client.allocate();
        client.bind(CHANNEL, peer.local_addr().expect("bound"));
        Self {
            client,
            peer,
            relayed,
        }
    }

    fn send_to_peer(&mut self, payload: &[u8]) {
        self.client.send_channel(CHANNEL, payload);
    }

    fn send_to_client(&self, payload: &[u8]) {
        let sent = self.peer.send_to(payload, self.relayed);
        assert_eq!(sent.expect("loopback sends"), payload.len());
    }

    fn reaches_peer(&self, payload: &[u8]) {
        let mut buffer = [0; 2048];
        let (length, from) = self.peer.recv_from(&mut buffer).expect("the payload");
        assert_eq!((&buffer[..length], from), (payload, self.relayed));
    }

    /// Both directions and a request, each answered by exactly what was sent last: nothing of what was dropped comes late.
    fn works(&mut self) {
        self.send_to_peer(b"hither");
        self.reaches_peer(b"hither");
        self.send_to_client(b"thither");
        assert_eq!(self.client.channel_payload(CHANNEL), b"thither");
        let answer = self.client.request(Method::Refresh, |w| w.lifetime(600));
        assert_eq!(answer.code(), 0);
    }
}

impl Afflicted {
    fn new(call: impl FnOnce(&Bench) -> Client) -> Self {
        let mut bench = Bench::new(1);
        let client = call(&bench);
        let call = bench.while_turning(|| Call::begin(client));
        let [media, requests, relayed] = [Faults::new(), Faults::new(), Faults::new()];
        let sockets = &mut bench.workers[0].switch.sockets;
        sockets.inject([&media, &requests, &relayed]);
        // Its relayed socket comes later, and is sound.
        let client = Client::udp(bench.udp, "bob");
        let neighbour = bench.while_turning(|| Call::begin(client));
        let totals = bench.totals.clone();
        Self {
            bench,
            totals,
            media,
            requests,
            relayed,
            call,
            neighbour,
        }
    }

    fn udp() -> Self {
        Self::new(|bench| Client::udp(bench.udp, "alice"))
    }
}

impl Bench {
    /// What `script` returns, while the workers are turned.
    fn while_turning<R: Send>(&mut self, script: impl FnOnce() -> R + Send) -> R {
        let ended = AtomicU32::new(0);
        thread::scope(|scope| {
            let script = scope.spawn(|| {
                let _end = AtEnd(&ended);
                script()
            });
            self.turn_until(&ended, u32::MAX);
            script.join().expect("the script's own message says why")
        })
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        thread::sleep(Duration::from_millis(1));
    }
}

fn fail_sends(faults: &Faults, errno: i32, per_thousand: u32) {
    for operation in [Operation::Send, Operation::SendTrain] {
        faults.set(operation, errno, per_thousand);
    }
}

fn refused_sends(faults: &Faults) -> u64 {
    faults.injected(Operation::Send) + faults.injected(Operation::SendTrain)
}

fn send_failed(totals: &Totals, direction: Direction) -> u64 {
    crate::counters::DropSite::all_of(DropReason::SendFailed)
        .filter(|site| site.direction == direction)
        .map(|site| totals.dropped_at(DropReason::SendFailed, site)[0])
        .sum()
}

/// Sends a burst in this direction into each error, sees it counted as what it is, and the same sockets work again.
fn every_error_on_sending(mut afflicted: Afflicted, direction: Direction) {
    let Afflicted {
        bench,
        totals,
        media,
        relayed,
        call,
        neighbour,
        ..
    } = &mut afflicted;
    bench.while_turning(|| {
        for (errno, failure) in ERRORS {
            let before = (
                totals.send_failures(failure),
                send_failed(totals, direction),
            );
            let (socket, calls) = match direction {
                Direction::ToPeer => (&*relayed, refused_sends(relayed)),
                Direction::ToClient => (&*media, refused_sends(media)),
            };
            fail_sends(socket, errno, 1000);
            for number in 0..BURST {
                // Of one length, so that those that are read together leave as a train.
                let payload = [u8::try_from(number).expect("few"); 100];
                match direction {
                    Direction::ToPeer => call.send_to_peer(&payload),
                    Direction::ToClient => call.send_to_client(&payload),
                }
            }
            until("a burst that is dropped and counted", || {
                totals.send_failures(failure) == before.0 + BURST
            });
            if direction == Direction::ToPeer {
                // Whose own relayed socket is sound.
                neighbour.works();
            }
            fail_sends(socket, errno, 0);
            assert_eq!(send_failed(totals, direction), before.1 + BURST, "{errno}");
            // Each datagram at most twice alone, after at most twice in a train.
            assert!(refused_sends(socket) - calls <= 4 * BURST, "{errno}");
            call.works();
            neighbour.works();
            assert_eq!(totals.send_failures(failure), before.0 + BURST, "{errno}");
        }
    });
}

/// G-20: whatever the kernel answers when a relayed socket sends, the datagrams are dropped and counted, and nobody else is concerned.
#[test]
fn a_relayed_socket_that_cannot_send_drops_and_counts() {
    every_error_on_sending(Afflicted::udp(), Direction::ToPeer);
}

/// G-20: a client over TCP is treated alike; what happens to its peer's socket never ends the connection.
#[test]
fn a_relayed_socket_of_a_stream_that_cannot_send_drops_and_counts() {
    let afflicted = Afflicted::new(|bench| bench.tcp("alice"));
    every_error_on_sending(afflicted, Direction::ToPeer);
}

/// G-20: whatever the kernel answers when a listener sends, the datagrams are dropped and counted, and the socket that all share works on.
#[test]
fn a_listener_that_cannot_send_drops_and_counts() {
    every_error_on_sending(Afflicted::udp(), Direction::ToClient);
}

/// G-20: of a listener whose every other send fails, each datagram arrives or is counted.
#[test]
fn what_a_listener_does_not_send_is_counted_to_the_last_datagram() {
    let mut afflicted = Afflicted::udp();
    let Afflicted {
        bench,
        totals,
        media,
        call,
        ..
    } = &mut afflicted;
    bench.while_turning(|| {
        fail_sends(media, libc::ENOBUFS, 500);
        call.client.set_timeout(Duration::from_millis(500));
        let sent = 200;
        let mut came = 0;
        for number in 0..sent {
            // Of different lengths, so that each leaves alone.
            call.send_to_client(&vec![1; 100 + usize::from(number % 2 == 0)]);
            let counted = || totals.send_failures(SendFailure::NoBuffers);
            let before = counted();
            until("a datagram that leaves or fails", || {
                counted() > before || packets_to_client(totals) > number
            });
        }
        fail_sends(media, 0, 0);
        while call.client.receive().is_some() {
            came += 1;
        }
        let dropped = totals.send_failures(SendFailure::NoBuffers);
        assert_eq!(came + dropped, sent);
        assert!(dropped > 0 && came > 0, "{came} of {sent}");
        call.client.set_timeout(Duration::from_secs(5));
        call.works();
    });
}

fn packets_to_client(totals: &Totals) -> u64 {
    crate::counters::Flow::all()
        .filter(|flow| flow.direction == Direction::ToClient)
        .map(|flow| totals.packets(flow))
        .sum()
}

/// G-20: a Send indication with DONT-FRAGMENT that is refused is dropped once, counted as too large, and costs the next one nothing.
#[test]
fn a_datagram_with_df_that_does_not_fit_is_dropped_and_counted() {
    let mut afflicted = Afflicted::udp();
    let Afflicted {
        bench,
        totals,
        relayed,
        call,
        ..
    } = &mut afflicted;
    bench.while_turning(|| {
        let at = call.peer.local_addr().expect("bound");
        let mut indication = [0; 256];
        let id = TransactionId([5; 12]);
        let mut writer = Writer::new(&mut indication, Class::Indication, Method::Send, id);
        writer.xor_peer_address(at);
        writer.dont_fragment();
        writer.data(b"whole");
        let length = writer.finish().expect("room");
        for (errno, failure) in ERRORS {
            let before = totals.send_failures(failure);
            fail_sends(relayed, errno, 1000);
            call.client.send(&indication[..length]);
            until("an indication that is dropped and counted", || {
                totals.send_failures(failure) == before + 1
            });
            fail_sends(relayed, errno, 0);
            call.client.send(&indication[..length]);
            call.reaches_peer(b"whole");
            call.works();
        }
    });
}

/// G-20: whatever the kernel answers when a worker reads, what waits is read afterwards, every round asks a bounded number of times, and the failures are counted.
#[test]
fn a_socket_that_cannot_be_read_is_read_later() {
    let mut afflicted = Afflicted::udp();
    for (errno, _) in ERRORS {
        for socket in ["media", "requests", "relayed"] {
            let Afflicted {
                bench,
                totals,
                media,
                requests,
                relayed,
                call,
                neighbour,
            } = &mut afflicted;
            // Where requests have no socket of their own they come with the media.
            let apart = bench.workers[0].switch.sockets.listeners()[0]
                .sockets
                .control
                .is_some();
            let faults = match socket {
                "requests" if apart => &*requests,
                "relayed" => &*relayed,
                _ => &*media,
            };
            let failures = || totals.sum(|counters| &counters.receive_failures);
            let (injected, failed) = (faults.injected(Operation::Receive), failures());
            let rounds = bench.workers[0].rounds;
            bench.while_turning(|| {
                faults.set(Operation::Receive, errno, 1000);
                match socket {
                    "media" => call.send_to_peer(b"waits"),
                    "relayed" => call.send_to_client(b"waits"),
                    _ => {}
                }
                if socket != "requests" {
                    until("a read that fails", || {
                        faults.injected(Operation::Receive) >= injected + 20
                    });
                }
                if socket == "relayed" {
                    neighbour.works();
                }
                if socket == "requests" {
                    thread::scope(|scope| {
                        let refresh = scope
                            .spawn(|| call.client.request(Method::Refresh, |w| w.lifetime(600)));
                        until("a read that fails", || {
                            faults.injected(Operation::Receive) >= injected + 20
                        });
                        faults.set(Operation::Receive, errno, 0);
                        let answer = refresh.join().expect("an answer, later");
                        assert_eq!(answer.code(), 0, "{errno}");
                    });
                }
                faults.set(Operation::Receive, errno, 0);
                match socket {
                    "media" => call.reaches_peer(b"waits"),
                    "relayed" => assert_eq!(call.client.channel_payload(CHANNEL), b"waits"),
                    _ => {}
                }
                call.works();
                neighbour.works();
            });
            let rounds = u64::from(bench.workers[0].rounds.wrapping_sub(rounds));
            let calls = faults.injected(Operation::Receive) - injected;
            assert!(
                calls <= ATTEMPTS * rounds,
                "{socket}, {errno}: {calls} calls in {rounds} rounds"
            );
            let counted = failures() - failed;
            if errno == libc::EAGAIN {
                assert_eq!(counted, 0, "{socket}: an empty socket is no failure");
            } else {
                assert!(counted > 0 && counted <= rounds, "{socket}, {errno}");
            }
        }
    }
}

/// What is handed over inside the worker touches no relayed socket, so none of its errors concerns it.
#[test]
fn a_call_inside_the_relay_does_not_depend_on_relayed_sockets() {
    let mut afflicted = Afflicted::udp();
    let Afflicted {
        bench,
        totals,
        relayed,
        call,
        neighbour,
        ..
    } = &mut afflicted;
    bench.while_turning(|| {
        call.client.bind(0x4001, neighbour.relayed);
        neighbour.client.bind(0x4001, call.relayed);
        fail_sends(relayed, libc::ENETUNREACH, 1000);
        relayed.set(Operation::Receive, libc::ENOMEM, 1000);
        for _ in 0..20 {
            call.client.send_channel(0x4001, b"hither");
            assert_eq!(neighbour.client.channel_payload(0x4001), b"hither");
            neighbour.client.send_channel(0x4001, b"thither");
            assert_eq!(call.client.channel_payload(0x4001), b"thither");
        }
        assert_eq!(refused_sends(relayed), 0);
        assert_eq!(totals.dropped(DropReason::SendFailed), 0);
    });
}

/// G-20: a relayed socket with which nothing works costs its own call alone.
#[test]
fn a_socket_with_which_nothing_works_costs_its_own_call_alone() {
    let mut afflicted = Afflicted::udp();
    let Afflicted {
        bench,
        relayed,
        call,
        neighbour,
        ..
    } = &mut afflicted;
    let another = Client::udp(bench.udp, "carol");
    bench.while_turning(|| {
        fail_sends(relayed, libc::ENOBUFS, 1000);
        relayed.set(Operation::Receive, libc::ENOBUFS, 1000);
        for _ in 0..20 {
            call.send_to_peer(b"in vain");
            call.send_to_client(b"in vain");
            neighbour.works();
        }
        Call::begin(another).works();
        assert!(refused_sends(relayed) > 0 && relayed.injected(Operation::Receive) > 0);
    });
}
