//! What the hot path costs the heap: workers turned by hand on the test's thread, clients and peers on another.

mod deadlines;
mod faults;
mod figures;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use taciturn_protocol::address::Transport;

use crate::clock::Clock;
use crate::counters::{Counters, Path, Totals};
use crate::events::{EventLog, LevelSwitch};
use crate::listener::{ConnectionSlot, Established};
use crate::net::allocations;
use crate::relayed::{self, RelayedAddresses};
use crate::run::inherited::Inherited;
use crate::run::{bind, build};
use crate::self_check::SelfCheckSources;

use super::{Inbox, Outbox, Worker};
use support::{Client, config, peer};

/// Workers that nobody has started.
struct Bench {
    workers: Vec<Worker>,
    outboxes: Vec<Outbox>,
    totals: Totals,
    sources: SelfCheckSources,
    udp: SocketAddr,
}

impl Bench {
    fn new(workers: usize) -> Self {
        let config = config(workers, "");
        let addresses = RelayedAddresses::resolve(&config.relayed.addresses).expect("loopback");
        let slices = relayed::slices(&config.relayed.ports, workers).expect("ports enough");
        let sockets = bind::all(&config, workers, Inherited::default()).expect("loopback binds");
        let counters: Vec<Arc<Counters>> = (0..workers).map(|_| Arc::default()).collect();
        let (inboxes, outboxes): (Vec<Inbox>, Vec<Outbox>) = (0..workers)
            .map(|_| Inbox::new().expect("descriptors"))
            .unzip();
        let sources = SelfCheckSources::default();
        let own = crate::own_addresses::collect(&addresses, &[]).expect("interfaces");
        let policy = taciturn_protocol::server::PeerPolicy::new(build::peer_rules(&config), own);
        let clock = Clock::start();
        let events = EventLog::new(&config.log, LevelSwitch::fixed(), clock);
        let shared = build::Shared {
            config: &config,
            addresses: &addresses,
            policy: &policy,
            outboxes: &outboxes,
            counters: &counters,
            events: &Arc::new(events.expect("randomness")),
            quota: &build::quota(&config).expect("randomness"),
            nonce_key: &build::nonce_key().expect("randomness"),
            revocations: Arc::default(),
            drain: None,
            clock,
            self_check_sources: sources.clone(),
            self_check_user: None,
        };
        let workers = build::workers(&shared)
            .prepare(slices, sockets.udp, inboxes)
            .expect("descriptors");
        let udp = sockets.listeners[0].address;
        Self {
            workers,
            outboxes,
            totals: Totals::new(counters),
            sources,
            udp,
        }
    }

    /// A client over TCP, its other end given to the first worker.
    fn tcp(&self, user: &str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback binds");
        let server = listener.local_addr().expect("bound");
        let client = Client::tcp(server, user);
        let (stream, from) = listener.accept().expect("just connected");
        self.adopt(stream, from, server);
        client
    }

    /// Gives the first worker a connection as if it came from `client`.
    fn adopt(&self, stream: TcpStream, client: SocketAddr, server: SocketAddr) {
        stream.set_nonblocking(true).expect("a socket");
        self.outboxes[0].adopt(Established {
            stream,
            tls: None,
            early: Vec::new(),
            transport: Transport::Tcp,
            client,
            server,
            slot: ConnectionSlot::uncounted(),
        });
    }

    /// Turns all workers until the script has come to `step`. Returns how often the heap was asked meanwhile.
    fn turn_until(&mut self, reached: &AtomicU32, step: u32) -> u64 {
        allocations::count(|| {
            while reached.load(Ordering::Acquire) < step {
                for worker in &mut self.workers {
                    // A wait that ends at once: the other worker may have something to do.
                    worker.inbox.come_back();
                    assert!(worker.turn() == super::Flow::GoOn);
                }
            }
        })
    }

    /// Runs `script` on a thread of its own, which is to call its argument after its setting-up, its warming-up and its
    /// measured part. Returns the heap allocations of the measured part.
    fn measure(&mut self, script: impl FnOnce(&dyn Fn()) + Send) -> u64 {
        let reached = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A script that panics must not leave the workers turning for ever.
                let _end = AtEnd(&reached);
                script(&|| {
                    reached.fetch_add(1, Ordering::AcqRel);
                });
            });
            self.turn_until(&reached, 2);
            let measured = self.turn_until(&reached, 3);
            self.turn_until(&reached, u32::MAX);
            measured
        })
    }
}

struct AtEnd<'a>(&'a AtomicU32);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(u32::MAX, Ordering::Release);
    }
}

/// One packet from the client to the peer and one back, over a channel.
fn exchange(client: &mut Client, peer: &UdpSocket, buffer: &mut [u8]) {
    client.send_channel(0x4000, &[7; 172]);
    let (length, relayed) = peer.recv_from(buffer).expect("the payload");
    peer.send_to(&buffer[..length], relayed)
        .expect("loopback sends");
    assert_eq!(client.channel_payload(0x4000).len(), 172);
}

fn exchanges(client: &mut Client, peer: &UdpSocket, step: &dyn Fn()) {
    let mut buffer = [0; 2048];
    client.allocate();
    client.bind(0x4000, peer.local_addr().expect("bound"));
    step();
    for _ in 0..2 {
        for _ in 0..200 {
            exchange(client, peer, &mut buffer);
        }
        step();
    }
}

#[test]
fn forwarding_over_udp_allocates_nothing_once_warm() {
    let mut bench = Bench::new(1);
    let mut client = Client::udp(bench.udp, "alice");
    let allocations = bench.measure(|step| exchanges(&mut client, &peer(), step));
    assert_eq!(allocations, 0);
    assert!(packets(&bench, Path::Socket) >= 800);
}

#[test]
fn forwarding_over_tcp_allocates_nothing_once_warm() {
    let mut bench = Bench::new(1);
    let mut client = bench.tcp("alice");
    let allocations = bench.measure(|step| exchanges(&mut client, &peer(), step));
    assert_eq!(allocations, 0);
    assert!(packets(&bench, Path::Socket) >= 800);
}

#[test]
fn data_indications_allocate_nothing_once_warm() {
    let mut bench = Bench::new(1);
    let mut client = Client::udp(bench.udp, "alice");
    let allocations = bench.measure(|step| {
        let peer = peer();
        let at = peer.local_addr().expect("bound");
        let relayed = client.allocate();
        client.permit(at);
        step();
        let mut buffer = [0; 2048];
        for _ in 0..2 {
            for _ in 0..200 {
                client.send_indication(at, &[1; 61]);
                assert_eq!(
                    peer.recv_from(&mut buffer).expect("the payload"),
                    (61, relayed)
                );
                peer.send_to(&buffer[..61], relayed)
                    .expect("loopback sends");
                assert_eq!(client.data_indication().1.len(), 61);
            }
            step();
        }
    });
    assert_eq!(allocations, 0);
}

/// Both parties on one relay, and with four workers mostly on different ones.
#[test]
fn handing_over_inside_allocates_nothing_once_warm() {
    let mut bench = Bench::new(4);
    let udp = bench.udp;
    let allocations = bench.measure(|step| {
        let mut pairs: Vec<(Client, Client)> = (0..8)
            .map(|_| {
                let (mut alice, mut bob) = (Client::udp(udp, "alice"), Client::udp(udp, "bob"));
                let (at_alice, at_bob) = (alice.allocate(), bob.allocate());
                alice.bind(0x4000, at_bob);
                bob.bind(0x4000, at_alice);
                (alice, bob)
            })
            .collect();
        step();
        for _ in 0..2 {
            for _ in 0..50 {
                for (alice, bob) in &mut pairs {
                    alice.send_channel(0x4000, &[3; 300]);
                    assert_eq!(bob.channel_payload(0x4000).len(), 300);
                    bob.send_channel(0x4000, &[4; 200]);
                    assert_eq!(alice.channel_payload(0x4000).len(), 200);
                }
            }
            step();
        }
    });
    assert_eq!(packets(&bench, Path::Socket), 0);
    assert!(packets(&bench, Path::Handover) >= 3200);
    assert_eq!(allocations, 0);
}

/// Both ends of a connection: the client's and the relay's.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback binds");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
    (client, listener.accept().expect("just connected").0)
}

/// A client that comes again from the port of a connection whose end the relay has not read yet.
#[test]
fn a_connection_takes_the_place_of_an_older_one_of_the_same_5_tuple() {
    let mut bench = Bench::new(1);
    let (client, server) = (([127, 0, 0, 1], 4000).into(), ([127, 0, 0, 1], 3478).into());
    let ((mut old_client, old), (_new_client, new)) = (connection(), connection());
    bench.adopt(old, client, server);
    bench.adopt(new, client, server);
    let worker = &mut bench.workers[0];
    assert!(worker.turn() == super::Flow::GoOn);
    assert_eq!(worker.switch.streams.len(), 1);
    assert_eq!(old_client.read(&mut [0]).expect("an orderly end"), 0);
    let from = taciturn_protocol::address::FiveTuple {
        transport: Transport::Tcp,
        client: taciturn_protocol::address::ClientAddr(client),
        server,
    };
    let slot = worker.switch.streams.slot_of(&from).expect("adopted");
    assert_eq!(
        worker
            .switch
            .streams
            .get_mut(slot)
            .expect("it")
            .five_tuple(),
        from
    );
}

/// While a client holds a relayed address, what ends a stranger's connection does not end its call.
#[test]
fn a_connection_is_waited_for_as_long_as_it_holds_an_allocation() {
    let mut bench = Bench::new(1);
    let mut client = bench.tcp("alice");
    let unacknowledged = |bench: &mut Bench| {
        let streams = &mut bench.workers[0].switch.streams;
        let connection = streams.get_mut(0).expect("the only connection");
        let socket = socket2::SockRef::from(&*connection);
        socket.tcp_user_timeout().expect("Linux has it")
    };
    bench.measure(|step| {
        client.allocate();
        step();
    });
    assert!(unacknowledged(&mut bench) >= Some(std::time::Duration::from_secs(3600)));
    bench.measure(|step| {
        client.request(taciturn_protocol::wire::Method::Refresh, |request| {
            request.lifetime(0)
        });
        step();
    });
    assert_eq!(unacknowledged(&mut bench), None);
}

/// One client's flood of tiny frames ends the round's reading; the other is read first in the next.
#[test]
fn streams_take_turns_when_frames_flood() {
    let mut bench = Bench::new(1);
    let mut clients = Vec::new();
    for port in [4001, 4002] {
        let (client, stream) = connection();
        bench.adopt(
            stream,
            ([127, 0, 0, 1], port).into(),
            ([127, 0, 0, 1], 3478).into(),
        );
        clients.push(client);
    }
    let worker = &mut bench.workers[0];
    assert!(worker.turn() == super::Flow::GoOn);
    let frames = [0x40, 0, 0, 0].repeat(4096);
    for client in &mut clients {
        client.write_all(&frames).expect("room in the socket");
    }
    let mut firsts = Vec::new();
    for _ in 0..2 {
        assert!(worker.turn() == super::Flow::GoOn);
        firsts.push(worker.first_stream.first(2));
    }
    assert_eq!(firsts, [1, 0]);
}

fn packets(bench: &Bench, path: Path) -> u64 {
    let flows = crate::counters::Flow::all().filter(|flow| flow.path == path);
    flows.map(|flow| bench.totals.packets(flow)).sum()
}
