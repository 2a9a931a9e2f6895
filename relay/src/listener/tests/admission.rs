//! Caps and deadlines: what clients that mean harm, or only dawdle, can cost.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use taciturn_protocol::address::Transport;

use super::super::counters::{FrontCounters, HandshakeFailure, Refusal};
use super::super::opening::Terms;
use super::super::{FrontLimits, HalfOpenPolicy, ListenTransport};
use super::{BINDING, NAME, Profile, Relay, fixtures, read_to_end, wait_until};

fn limited(limits: FrontLimits) -> Relay {
    Relay::with(ListenTransport::Auto, Profile::Modern, limits)
}

/// A client with a short hello.
fn short_hello(relay: &Relay) -> ClientConfig {
    let mut config = relay.client_config();
    let provider = rustls::crypto::CryptoProvider {
        kx_groups: vec![kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(relay.certificate.der.clone()).unwrap();
    config.clone_from(
        &ClientConfig::builder_with_provider(std::sync::Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    );
    config
}

fn hello_bytes(config: &ClientConfig) -> Vec<u8> {
    let mut bytes = Vec::new();
    fixtures::client(config, NAME)
        .write_tls(&mut bytes)
        .unwrap();
    bytes
}

/// no buffer waits for what a silent client may say: what an opening holds is little beside the TLS library's own.
#[tokio::test]
async fn an_opening_that_waits_is_small() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let counters = FrontCounters::default();
    let terms = Terms {
        transport: ListenTransport::Auto,
        limits: &FrontLimits::default(),
        tls: None,
        counters: &counters,
    };
    let held = size_of_val(&terms.open(stream));
    assert!(held <= 4096, "{held} bytes");
}

/// hello split at every byte offset.
#[test]
fn a_hello_may_be_split_anywhere() {
    let relay = limited(FrontLimits::default());
    let config = short_hello(&relay);
    let len = hello_bytes(&config).len();
    for at in 1..len {
        let mut tls = fixtures::client(&config, NAME);
        let mut stream = relay.connect();
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        stream.write_all(&hello[..at]).unwrap();
        std::thread::sleep(Duration::from_micros(300));
        stream.write_all(&hello[at..]).unwrap();
        rustls::Stream::new(&mut tls, &mut stream)
            .write_all(&BINDING)
            .unwrap();
        assert_eq!(relay.delivered().early, BINDING, "split at {at}");
    }
}

/// 1 record per byte.
#[test]
fn a_hello_may_come_in_records_of_one_byte() {
    let relay = limited(FrontLimits::default());
    let mut tls = fixtures::client(&short_hello(&relay), NAME);
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let records: Vec<u8> = hello[5..]
        .iter()
        .flat_map(|byte| [0x16, 3, 1, 0, 1, *byte])
        .collect();
    let mut stream = relay.connect();
    stream.write_all(&records).unwrap();
    rustls::Stream::new(&mut tls, &mut stream)
        .write_all(&BINDING)
        .unwrap();
    assert_eq!(relay.delivered().early, BINDING);
}

/// close at every byte: of the hello, and of the client's second flight.
#[test]
fn a_client_may_go_away_at_any_byte_of_the_handshake() {
    let relay = limited(FrontLimits::default());
    let config = short_hello(&relay);
    let len = hello_bytes(&config).len();
    for at in 0..=len {
        let mut stream = relay.connect();
        stream.write_all(&hello_bytes(&config)[..at]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        if at % 2 == 0 {
            read_to_end(stream);
        }
    }
    for at in 0..64 {
        let mut tls = fixtures::client(&config, NAME);
        let mut stream = relay.connect();
        while tls.is_handshaking() {
            tls.write_tls(&mut stream).unwrap();
            tls.read_tls(&mut stream).unwrap();
            tls.process_new_packets().unwrap();
        }
        let mut flight = Vec::new();
        tls.write_tls(&mut flight).unwrap();
        stream.write_all(&flight[..at.min(flight.len())]).unwrap();
    }
    wait_until("all are gone", || relay.counters().connections() == 0);
    relay.nothing_is_delivered();
    assert_eq!(
        relay.counters().refused(Refusal::ClosedEarly),
        len as u64 + 1 + 64
    );
    relay.serves(&config);
}

/// L-08: handshake deadline.
#[test]
fn a_handshake_that_dawdles_meets_its_deadline() {
    let deadline = Duration::from_millis(400);
    let relay = limited(FrontLimits {
        handshake: deadline,
        ..FrontLimits::default()
    });
    let hello = hello_bytes(&relay.client_config());
    let begun = Instant::now();
    let silent = relay.connect();
    let mut trickling = relay.connect();
    let mut half = relay.connect();
    half.write_all(&hello[..100]).unwrap();
    let mut waiting = relay.connect();
    waiting.write_all(&hello).unwrap();
    // A byte every 20 ms: were the deadline counted from the last byte, the whole hello would get through.
    let sent = hello.iter().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        trickling.write_all(&[**byte]).is_ok()
    });
    assert!(sent.count() < hello.len(), "bytes do not renew a deadline");
    for stream in [&silent, &half, &waiting, &trickling] {
        read_to_end(stream);
        assert!(begun.elapsed() >= deadline);
    }
    wait_until("four deadlines", || {
        relay.counters().refused(Refusal::Deadline) == 4
    });
    assert_eq!(relay.counters().half_open(), 0);
}

/// L-08: a client that completes its handshake and then says nothing has a deadline as well.
#[test]
fn a_client_that_says_nothing_after_the_handshake_is_closed() {
    let relay = limited(FrontLimits {
        first_message: Duration::from_millis(200),
        ..FrontLimits::default()
    });
    let mut client = relay.tls(&relay.client_config());
    client.conn.complete_io(&mut client.sock).unwrap();
    read_to_end(&mut client.sock);
    wait_until("one deadline", || {
        relay.counters().refused(Refusal::Deadline) == 1
    });
    relay.nothing_is_delivered();
}

/// L-08: ClientHello ≤16 KB.
#[test]
fn a_hello_over_16_kib_is_refused() {
    let relay = limited(FrontLimits::default());
    // A hello of 60,000 bytes, begun in records of 4,000.
    let mut bytes = vec![0x16, 3, 1, 0x0F, 0xA0, 1, 0, 0xEA, 0x60, 3, 3];
    bytes.resize(4005, 0);
    for _ in 0..4 {
        bytes.extend_from_slice(&[0x16, 3, 1, 0x0F, 0xA0]);
        bytes.resize(bytes.len() + 4000, 0);
    }
    let mut stream = relay.connect();
    stream.write_all(&bytes).unwrap();
    read_to_end(stream);
    wait_until("one refusal", || {
        relay
            .counters()
            .handshake_failures(HandshakeFailure::HelloTooLong)
            == 1
    });
}

/// L-08, A-18: half-open cap: the oldest makes room, so that a flood of silent connections keeps nobody out.
#[test]
fn a_flood_of_silent_connections_keeps_nobody_out() {
    let relay = limited(FrontLimits {
        half_open: 20,
        ..FrontLimits::default()
    });
    let mut flood: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        flood.push(relay.connect());
    }
    wait_until("all are accepted", || relay.counters().accepted() == 200);
    assert!(relay.counters().half_open() <= 20);
    wait_until("180 made room", || relay.counters().connections() == 20);
    assert_eq!(relay.counters().refused(Refusal::HalfOpenOldest), 180);
    relay.serves(&relay.client_config());
    assert_eq!(
        relay.counters().refused(Refusal::Deadline),
        0,
        "served while the flood still holds its places"
    );
    assert_eq!(read_to_end(&flood[0]), b"", "the oldest is gone");
    flood[199]
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    assert!(
        (&flood[199]).read(&mut [0]).is_err(),
        "the newest is still there"
    );
}

/// L-08: half-open cap, with the other policy: the newcomer is turned away.
#[test]
fn at_the_half_open_cap_a_newcomer_may_be_refused() {
    let limits = FrontLimits {
        half_open: 2,
        half_open_policy: HalfOpenPolicy::Refuse,
        ..FrontLimits::default()
    };
    let relay = limited(limits);
    let first = relay.connect();
    let _second = relay.connect();
    wait_until("two are half open", || relay.counters().half_open() == 2);
    assert_eq!(read_to_end(relay.connect()), b"");
    wait_until("one refusal", || {
        relay.counters().refused(Refusal::HalfOpenCap) == 1
    });
    drop(first);
    wait_until("one is left", || relay.counters().half_open() == 1);
    relay.serves(&relay.client_config());
}

#[test]
fn connections_with_a_worker_count_until_they_are_dropped() {
    let relay = limited(FrontLimits {
        connections: 2,
        ..FrontLimits::default()
    });
    let config = relay.client_config();
    let (_client, first) = relay.serves(&config);
    let _second = relay.serves(&config);
    assert_eq!(read_to_end(relay.connect()), b"");
    wait_until("one refusal", || {
        relay.counters().refused(Refusal::ConnectionCap) == 1
    });
    drop(first);
    relay.serves(&config);
}

/// One client cannot take every slot: its connections count as its own, half open or with a worker.
#[test]
fn a_source_has_only_its_share_of_the_connections() {
    let relay = limited(FrontLimits {
        connections_per_source: 2,
        ..FrontLimits::default()
    });
    let config = relay.client_config();
    let (_client, first) = relay.serves(&config);
    let half = relay.connect();
    wait_until("one is half open", || relay.counters().half_open() == 1);
    assert_eq!(read_to_end(relay.connect()), b"");
    wait_until("one refusal", || {
        relay.counters().refused(Refusal::SourceCap) == 1
    });
    assert_eq!(relay.counters().connections(), 2);

    // Another address of this machine is another source.
    let elsewhere =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    elsewhere
        .bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into())
        .unwrap();
    elsewhere.connect(&relay.address.into()).unwrap();
    wait_until("another source is let in", || {
        relay.counters().connections() == 3
    });

    drop((first, half));
    wait_until("places are given back", || {
        relay.counters().connections() == 1
    });
    relay.serves(&config);
}

#[test]
fn without_a_share_one_source_may_have_all() {
    let relay = limited(FrontLimits {
        connections_per_source: 0,
        ..FrontLimits::default()
    });
    let config = relay.client_config();
    let _connections: Vec<_> = (0..5).map(|_| relay.serves(&config)).collect();
    assert_eq!(relay.counters().refused(Refusal::SourceCap), 0);
}

#[test]
fn stopping_closes_what_is_not_established() {
    let relay = limited(FrontLimits::default());
    let (mut client, established) = relay.serves(&relay.client_config());
    let half = relay.connect();
    wait_until("one is half open", || relay.counters().half_open() == 1);
    relay.front.stop();
    assert_eq!(read_to_end(half), b"");
    wait_until("the listener is closed", || {
        TcpStream::connect(relay.address).is_err()
    });
    let (mut tls, mut stream) = (established.tls.unwrap(), established.stream);
    tls.writer().write_all(b"still here").unwrap();
    tls.write_tls(&mut stream).unwrap();
    let mut read = [0; 10];
    client.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"still here");
}

#[test]
fn the_self_check_is_served_and_is_in_no_figure_of_users() {
    let relay = Relay::new(ListenTransport::Tcp);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let source = socket.local_addr().unwrap().as_socket().unwrap();
    let _entry = relay.own.enter(source);
    socket.connect(&relay.address.into()).unwrap();
    let mut own = TcpStream::from(socket);
    own.write_all(&BINDING).unwrap();
    assert_eq!(relay.delivered().client, source);
    let mut user = relay.connect();
    user.write_all(&BINDING).unwrap();
    relay.delivered();
    assert_eq!(relay.counters().accepted(), 1);
    assert_eq!(relay.counters().established(Transport::Tcp), 1);
}

/// A share of one connection, which other programs on this host may have taken, must not make the relay find itself dead.
#[test]
fn the_self_check_is_let_in_beyond_the_share_of_its_source() {
    let relay = limited(FrontLimits {
        connections_per_source: 1,
        ..FrontLimits::default()
    });
    let config = relay.client_config();
    let (_client, _first) = relay.serves(&config);
    let own: Vec<_> = (0..2)
        .map(|_| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket
                .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
                .unwrap();
            let source = socket.local_addr().unwrap().as_socket().unwrap();
            let entry = relay.own.enter(source);
            socket.connect(&relay.address.into()).unwrap();
            let mut stream = TcpStream::from(socket);
            stream.write_all(&BINDING).unwrap();
            let delivered = relay.delivered();
            assert_eq!(delivered.client, source);
            (stream, entry, delivered)
        })
        .collect();
    assert_eq!(read_to_end(relay.connect()), b"", "a stranger is not");
    drop(own);
}
