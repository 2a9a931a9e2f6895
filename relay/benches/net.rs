//! CPU time per forwarded packet of the socket layer, against one system call a packet.
//!
//! A forwarder on core 0 does what a relay's sockets do and nothing else: strip 4 bytes from client to peer, put 4 bytes before
//! from peer to client. A generator on core 1 keeps a window of packets in flight on each flow. Loopback; the figure is the
//! forwarder's CPU time divided by the packets that arrived. Compare ratios, not nanoseconds, between machines.
//!
//! `cargo bench -p taciturn-relay --bench net`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints, and stops when it cannot go on"
)]

use std::{
    net::{SocketAddr, UdpSocket as StdSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use taciturn_relay::net::{
    Destination, Epoll, Events, Interest, Lane, ReceiveBatch, SendBatch, UdpOptions, UdpSocket,
    pin_to_core,
};

const RUN: Duration = Duration::from_millis(1200);
const HEADER: usize = 4;
const LISTENER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    ClientToPeer,
    PeerToClient,
}

/// What the generator sends, and how many of it are in flight.
#[derive(Clone, Copy, Debug)]
struct Load {
    flows: usize,
    window: usize,
    payload: usize,
    /// The generator sends bursts as trains, as a network card's receive offload would deliver them.
    trains: bool,
}

fn main() {
    println!("ns of forwarder CPU per packet: one call a packet | batches (ratio)");
    let audio = Load {
        flows: 16,
        window: 32,
        payload: 172,
        trains: false,
    };
    let loads = [
        ("16 flows, 172 B", audio),
        (
            "16 flows, 1200 B",
            Load {
                payload: 1200,
                ..audio
            },
        ),
        (
            "16 flows, 172 B, trains in",
            Load {
                trains: true,
                ..audio
            },
        ),
        (
            "16 flows, 1200 B, trains in",
            Load {
                payload: 1200,
                trains: true,
                ..audio
            },
        ),
        (
            "250 flows, 2 in flight, 172 B",
            Load {
                flows: 250,
                window: 2,
                ..audio
            },
        ),
    ];
    for (name, load) in loads {
        for direction in [Direction::ClientToPeer, Direction::PeerToClient] {
            let mut pairs: Vec<(f64, f64)> = (0..3)
                .map(|_| {
                    (
                        measure(direction, load, &SINGLE),
                        measure(direction, load, &BATCHES),
                    )
                })
                .collect();
            pairs.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
            let (single, batched) = pairs[1];
            println!(
                "{name:32} {direction:?}: {single:6.0} | {batched:6.0} ({:.2})",
                batched / single
            );
        }
    }
}

/// How the forwarder works.
struct Way {
    forward: fn(&Relay),
    listener: UdpOptions,
    relayed: UdpOptions,
}

const PLAIN: UdpOptions = UdpOptions {
    reuse_port: false,
    receive_buffer: None,
    send_buffer: None,
    packet_info: false,
    traffic_class: false,
    gro: false,
    error_queue: false,
};
static SINGLE: Way = Way {
    forward: single_calls,
    listener: PLAIN,
    relayed: PLAIN,
};
static BATCHES: Way = Way {
    forward: batches,
    listener: UdpOptions::listener(),
    relayed: UdpOptions::relayed(),
};

/// The sockets of the forwarder and where each leads.
struct Relay {
    listener: UdpSocket,
    relayed: Vec<UdpSocket>,
    clients: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
    stop: AtomicBool,
}

fn measure(direction: Direction, load: Load, way: &'static Way) -> f64 {
    let options = UdpOptions {
        receive_buffer: Some(4 << 20),
        gro: false,
        ..UdpOptions::default()
    };
    let local = || "127.0.0.1:0".parse().unwrap();
    let edges = || -> Vec<UdpSocket> {
        (0..load.flows)
            .map(|_| UdpSocket::bind(local(), &options).unwrap())
            .collect()
    };
    let (clients, peers) = (edges(), edges());
    let wide = "0.0.0.0:0".parse().unwrap();
    let big = |options: UdpOptions| UdpOptions {
        receive_buffer: Some(8 << 20),
        ..options
    };
    let relay = Arc::new(Relay {
        listener: UdpSocket::bind(wide, &big(way.listener.clone())).unwrap(),
        relayed: (0..load.flows)
            .map(|_| UdpSocket::bind(wide, &big(way.relayed.clone())).unwrap())
            .collect(),
        clients: clients.iter().map(UdpSocket::local_addr).collect(),
        peers: peers.iter().map(UdpSocket::local_addr).collect(),
        stop: AtomicBool::new(false),
    });
    let worker = Arc::clone(&relay);
    let forwarder = thread::spawn(move || {
        pin_to_core(0).unwrap();
        (way.forward)(&worker);
        cpu_nanoseconds()
    });
    let generated = Arc::clone(&relay);
    let generator = thread::spawn(move || {
        let _ = pin_to_core(1);
        let arrived = match direction {
            Direction::ClientToPeer => generate(direction, load, &generated, &clients, &peers),
            Direction::PeerToClient => generate(direction, load, &generated, &peers, &clients),
        };
        generated.stop.store(true, Ordering::Relaxed);
        arrived
    });
    let arrived = generator.join().unwrap();
    forwarder.join().unwrap() as f64 / arrived as f64
}

fn cpu_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Keeps the windows full; returns how many packets came out at the other side.
fn generate(
    direction: Direction,
    load: Load,
    relay: &Relay,
    sources: &[UdpSocket],
    sinks: &[UdpSocket],
) -> u64 {
    let (mut batch, mut send) = (ReceiveBatch::with_shape(64, 2048), SendBatch::new());
    let mut in_flight = vec![0; load.flows];
    let (mut arrived, mut progress) = (0, Instant::now());
    let end = Instant::now() + RUN;
    while Instant::now() < end {
        for (flow, source) in sources.iter().enumerate() {
            let (port, header) = match direction {
                Direction::ClientToPeer => (relay.listener.local_addr().port(), HEADER),
                Direction::PeerToClient => (relay.relayed[flow].local_addr().port(), 0),
            };
            let mut frame = vec![0; header + load.payload];
            frame[..2].copy_from_slice(&u16::try_from(flow).unwrap().to_be_bytes());
            for number in in_flight[flow]..load.window {
                // Two addresses in turn keep a burst from leaving as a train.
                let last = if load.trains {
                    1
                } else {
                    1 + u8::try_from(number % 2).unwrap()
                };
                send.push_copy(
                    Lane(0),
                    &Destination::new(SocketAddr::from(([127, 0, 0, last], port))),
                    &[&frame],
                );
            }
            if !send.is_empty() {
                send.flush(&batch, |_| Some(source));
            }
            in_flight[flow] = load.window;
        }
        for (flow, sink) in sinks.iter().enumerate() {
            let filled = sink.receive(&mut batch, load.window).unwrap();
            let count = batch.datagrams(filled).count();
            batch.clear();
            in_flight[flow] = in_flight[flow].saturating_sub(count);
            if count > 0 {
                arrived += count as u64;
                progress = Instant::now();
            }
        }
        if progress.elapsed() > Duration::from_millis(50) {
            in_flight.fill(0);
            progress = Instant::now();
        }
    }
    arrived
}

fn watch(relay: &Relay) -> (Epoll, Events) {
    let epoll = Epoll::new().unwrap();
    epoll
        .add(&relay.listener, LISTENER, Interest::Read)
        .unwrap();
    for (flow, socket) in relay.relayed.iter().enumerate() {
        epoll.add(socket, flow as u64, Interest::Read).unwrap();
    }
    (epoll, Events::with_capacity(256))
}

/// The relay's way: recvmmsg with GRO, payloads in place, one flush a round.
fn batches(relay: &Relay) {
    let (epoll, mut events) = watch(relay);
    let (mut batch, mut send) = (ReceiveBatch::new(), SendBatch::new());
    let socket = |lane: Lane| relay.relayed.get(lane.0 as usize).or(Some(&relay.listener));
    while !relay.stop.load(Ordering::Relaxed) {
        epoll
            .wait(&mut events, Some(Duration::from_millis(20)))
            .unwrap();
        for event in events.iter() {
            if batch.room() == 0 {
                send.flush(&batch, socket);
                batch.clear();
            }
            if event.token == LISTENER {
                let filled = relay.listener.receive(&mut batch, usize::MAX).unwrap();
                for datagram in batch.datagrams(filled) {
                    let flow =
                        usize::from(u16::from_be_bytes([datagram.bytes[0], datagram.bytes[1]]));
                    let part = datagram.part(HEADER..datagram.bytes.len()).unwrap();
                    let to = Destination {
                        traffic_class: datagram.traffic_class,
                        ..Destination::new(relay.peers[flow])
                    };
                    send.push(Lane(u32::try_from(flow).unwrap()), &to, &[], part, 0);
                }
            } else {
                let flow = usize::try_from(event.token).unwrap();
                let filled = relay.relayed[flow].receive(&mut batch, 16).unwrap();
                for datagram in batch.datagrams(filled) {
                    let to = Destination {
                        traffic_class: datagram.traffic_class,
                        ..Destination::new(relay.clients[flow])
                    };
                    send.push(Lane(u32::MAX), &to, &[0; HEADER], datagram.payload(), 0);
                }
            }
        }
        send.flush(&batch, socket);
        batch.clear();
    }
}

/// The usual way: one recvfrom and one sendto a packet.
fn single_calls(relay: &Relay) {
    let (epoll, mut events) = watch(relay);
    let own = |socket: &UdpSocket| StdSocket::from(socket.as_fd().try_clone_to_owned().unwrap());
    let listener = own(&relay.listener);
    let relayed: Vec<StdSocket> = relay.relayed.iter().map(own).collect();
    let mut buffer = vec![0; HEADER + 65_536];
    while !relay.stop.load(Ordering::Relaxed) {
        epoll
            .wait(&mut events, Some(Duration::from_millis(20)))
            .unwrap();
        for event in events.iter() {
            for _ in 0..16 {
                if event.token == LISTENER {
                    let Ok((len, _)) = listener.recv_from(&mut buffer) else {
                        break;
                    };
                    let flow = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
                    let _ = relayed[flow].send_to(&buffer[HEADER..len], relay.peers[flow]);
                } else {
                    let flow = usize::try_from(event.token).unwrap();
                    let Ok((len, _)) = relayed[flow].recv_from(&mut buffer[HEADER..]) else {
                        break;
                    };
                    let _ = listener.send_to(&buffer[..HEADER + len], relay.clients[flow]);
                }
            }
        }
    }
}
