//! Clients that stop reading their TCP or TLS connection, and others that must not notice.
//!
//! Not responsible for the queue itself, which `relay/src/stream` shows frame by frame.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::calls::Call;
use crate::client::{Client, Link, Over, binding, peer};
use crate::running::{PATIENCE, Running, Setup, eventually};

const CHANNEL: u16 = 0x4000;
const SIZE: usize = 1000;

/// A connection that takes little before it is read.
fn narrow(server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn narrow_client(relay: &Running, over: Over) -> Client {
    let stream = narrow(relay.listener(over.name()));
    if over == Over::Tls {
        Client::over_tls(relay, stream, "deaf")
    } else {
        Client::new(Link::Tcp(stream, Vec::new()), "deaf")
    }
}

/// Sends numbered payloads to a client that does not read, and looks after another call meanwhile.
fn flood(relay: &Running, over: Over, count: u32) -> (Client, Call) {
    let mut deaf = narrow_client(relay, over);
    let relayed = deaf.allocate();
    let source = peer();
    deaf.bind(CHANNEL, source.local_addr().unwrap());
    let mut call = Call::open(relay, Over::Udp, "alice");
    let mut neighbour = Call::open(relay, over, "bob");
    let forwarded = || {
        let prefix = "taciturn_relay_forwarded_packets_total{direction=\"to_client\"";
        relay.metric(&format!("{prefix},transport=\"{}\",family=\"", over.name()))
    };
    let before = forwarded();
    for number in 0..count {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(SIZE, number.to_le_bytes()[0]);
        source.send_to(&payload, relayed).unwrap();
        // Little enough at a time that the relayed socket's buffer holds it.
        if number % 32 == 0 {
            call.exchange();
            neighbour.exchange();
        }
    }
    // All of it has been read from the relayed socket, as the drops that are to be counted come after.
    let neighbours = u64::from(count.div_ceil(32));
    eventually("the payloads in the queue", || {
        forwarded() - before >= u64::from(count) + neighbours
    });
    (deaf, call)
}

/// Reads until the payload with this number, and returns the numbers of all.
fn numbers_until(client: &mut Client, last: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let payload = client.channel_payload(CHANNEL);
        let number = u32::from_be_bytes(payload[..4].try_into().unwrap());
        assert_eq!(payload.len(), SIZE);
        assert!(
            payload[4..]
                .iter()
                .all(|byte| *byte == number.to_le_bytes()[0])
        );
        numbers.push(number);
    }
    numbers
}

/// S-18: a client that does not read loses the oldest media, whole frames of it, counted; the others lose nothing, and it hears
/// the newest when it reads on.
#[test]
fn a_client_that_stops_reading_loses_the_oldest_media_alone() {
    for over in [Over::Tcp, Over::Tls] {
        let mut setup = Setup::on_loopback(1);
        setup.limits += "\nqueue-bytes = 65600\nqueue-age = \"1m\"";
        let mut relay = setup.start();
        let count = 12_000;
        let (mut deaf, mut call) = flood(&relay, over, count);
        let numbers = numbers_until(&mut deaf, count - 1);
        assert!(numbers.is_sorted(), "in order");
        let dropped = relay.dropped("queue_full");
        assert_eq!(
            u64::from(count),
            numbers.len() as u64 + dropped,
            "each is received or counted"
        );
        assert!(dropped > 100, "{over:?}: {dropped}");
        // What the kernel held when the client stopped, a gap, and the newest that fit the queue.
        let gaps = numbers
            .windows(2)
            .filter(|pair| pair[1] != pair[0] + 1)
            .count();
        assert!(
            gaps >= 1 && numbers[0] == 0,
            "{gaps} gaps, from {}",
            numbers[0]
        );
        let tail = numbers
            .windows(2)
            .rev()
            .take_while(|pair| pair[1] == pair[0] + 1)
            .count();
        assert!((40..=70).contains(&tail), "the newest {tail} are whole");
        // The connection is as good as before.
        for _ in 0..20 {
            call.exchange();
            deaf.send_channel(CHANNEL, b"here again");
        }
        assert_eq!(
            deaf.request(taciturn_protocol::wire::Method::Refresh, |_| {})
                .code(),
            0
        );
        relay.assert_alive();
    }
}

/// S-18: media that waited longer than `queue-age` for a slow client is dropped and counted, and what is new arrives.
#[test]
fn media_that_waited_too_long_is_dropped() {
    for over in [Over::Tcp, Over::Tls] {
        let mut setup = Setup::on_loopback(1);
        setup.limits += "\nqueue-bytes = 67108864\nqueue-age = \"50ms\"";
        let mut relay = setup.start();
        let count = 8_000;
        let (mut deaf, mut call) = flood(&relay, over, count);
        // Old enough by now, all of it.
        thread::sleep(Duration::from_millis(100));
        let relayed = deaf.request(taciturn_protocol::wire::Method::Refresh, |_| {});
        assert_eq!(relayed.code(), 0, "an answer is never dropped");
        eventually("the count of what was too old", || {
            relay.dropped("queue_age") > 100
        });
        assert_eq!(relay.dropped("queue_full"), 0);
        call.exchange();
        relay.assert_alive();
    }
}

/// S-18: a client that asks and never listens is let go once its answers have piled up; the others notice nothing.
#[test]
fn a_client_that_asks_and_never_listens_is_let_go() {
    let mut relay = Setup::on_loopback(1).start();
    for (turn, over) in [Over::Tcp, Over::Tls].into_iter().enumerate() {
        let mut call = Call::open(&relay, over, "alice");
        let mut deaf = narrow_client(&relay, over);
        deaf.allocate();
        let requests = binding(1).repeat(50);
        let closed = || {
            relay.metric("taciturn_relay_closed_connections_total{reason=\"backlog\"}")
                == turn as u64 + 1
        };
        // Far more than any socket's buffers hold of their answers.
        for _ in 0..20_000 {
            let sent = match &mut deaf.link {
                Link::Udp(_) => unreachable!("it is a stream"),
                Link::Tcp(stream, _) => stream.write_all(&requests),
                Link::Tls(stream, _) => stream.write_all(&requests),
            };
            if sent.is_err() {
                break;
            }
        }
        eventually("the end of its connection", closed);
        eventually("the end of its allocation", || {
            relay.metric("taciturn_relay_allocations ") == 1
        });
        call.exchange();
        drop(call);
        eventually("the end of the call", || {
            relay.metric("taciturn_relay_allocations ") == 0
        });
    }
    relay.assert_alive();
}
