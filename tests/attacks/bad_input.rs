//! Bytes that no client should send, on every listener, beside calls that must not notice.
//!
//! Not responsible for random bytes (`mutations`) nor for good bytes in odd pieces (`splits`).

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::StreamOwned;
use taciturn_protocol::wire::{Class, Method, TransactionId, Writer, attribute};

use crate::calls::{Call, Canaries};
use crate::client::{
    Client, Over, binding, connect, peer_at, receive_from, send_indication, tls_connection,
};
use crate::running::{Running, Setup, eventually};

/// A relay with a long handshake deadline, so that what is closed in time was not closed by it.
fn start() -> Running {
    let mut setup = Setup::on_loopback(2);
    setup.limits += "\nhandshake-timeout = \"1m\"";
    setup.start()
}

/// A STUN header with this Length and cookie, and these bytes behind it.
fn stun(kind: u16, length: u16, cookie: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend([5; 12]);
    bytes.extend(body);
    bytes
}

const COOKIE: u32 = 0x2112_A442;
const BINDING: u16 = 0x0001;
const ALLOCATE: u16 = 0x0003;
const SEND: u16 = 0x0016;

fn client_hello(relay: &Running) -> Vec<u8> {
    let mut hello = Vec::new();
    let mut tls = tls_connection(&relay.certificate, &[]);
    tls.write_tls(&mut hello).unwrap();
    hello
}

/// Openings of other protocols.
fn foreign() -> Vec<Vec<u8>> {
    let mut openings: Vec<Vec<u8>> = [
        &b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n"[..],
        b"POST /admin HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\xC0\0\x02\x01\xC0\0\x02\x02\xDC\x04\x01\xBB",
        b"\x16\xFE\xFD\0\0\0\0\0\0\0\0\0\x20",
        b"\x80\x2E\x01\x03\x01",
        b"\x80\xC8\0\x01\0\0\0\x01\0\0\0\x01",
        b"EHLO relay.test\r\n",
        b"\xFF\xFF\xFF\xFF",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    for byte in [0x04, 0x15, 0x17, 0x3F, 0x80, 0xC0] {
        openings.push(vec![byte; 24]);
    }
    openings
}

/// Frames after which a stream cannot be followed, or that are too long to wait for.
fn misframed() -> Vec<Vec<u8>> {
    vec![
        stun(BINDING, 0, 0, &[]),
        stun(BINDING, 0, COOKIE ^ 1, &[]),
        stun(BINDING, 1, COOKIE, &[0; 4]),
        stun(BINDING, 2, COOKIE, &[]),
        stun(BINDING, 0xFFFF, COOKIE, &[]),
        stun(SEND, 0xFFFD, COOKIE, &[]),
        stun(BINDING, 0xFFFC, COOKIE, &[]),
        stun(ALLOCATE, 0xFFFC, COOKIE, &[0; 64]),
        stun(ALLOCATE, 0x4000, COOKIE, &[0; 64]),
    ]
}

/// Whole STUN messages with attributes that lie about their length: nothing is to come of them.
fn malformed() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for kind in [BINDING, ALLOCATE, SEND, 0x0004, 0x0008, 0x0009] {
        for length in [1, 5, 0x00FF, 0x7FFF, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF_u16] {
            let mut body = 0x0006_u16.to_be_bytes().to_vec();
            body.extend(length.to_be_bytes());
            messages.push(stun(kind, 4, COOKIE, &body));
        }
        // An attribute that passes the end by its padding alone, and half an attribute header, cannot be written with
        // a Length that is a multiple of four; one that ends in the middle of the next header can.
        messages.push(stun(
            kind,
            12,
            COOKIE,
            &[0, 0x13, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8],
        ));
    }
    messages
}

/// What a connection answers until it is closed; fails when it is not.
fn until_closed(stream: &mut (impl Read + Write), bytes: &[u8]) -> Vec<u8> {
    // It may be closed before everything is written.
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("not closed after {:02x?}", &bytes[..bytes.len().min(24)])
            }
            Err(_) => return answer,
        }
    }
}

fn tls_to(relay: &Running, server: SocketAddr) -> StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut tls = StreamOwned::new(tls_connection(&relay.certificate, &[]), connect(server));
    tls.conn.complete_io(&mut tls.sock).unwrap();
    tls
}

/// HTTP, SSH, TLS on a plain port, STUN on the TLS port, a PROXY header → closed without reply.
#[test]
fn wrong_protocols_are_closed_without_a_reply() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    let hello = client_hello(&relay);
    let [tcp, tls, auto] = ["tcp", "tls", "auto"].map(|name| relay.listener(name));
    for opening in foreign() {
        for server in [tcp, tls, auto] {
            assert_eq!(until_closed(&mut connect(server), &opening), b"");
        }
    }
    assert_eq!(until_closed(&mut connect(tcp), &hello), b"");
    assert_eq!(until_closed(&mut connect(tls), &binding(1)), b"");
    assert_eq!(
        until_closed(&mut connect(tls), &[0x40, 0, 0, 4, 1, 2, 3, 4]),
        b""
    );
    // Inside TLS as well, where HTTP alone has one answer.
    for opening in foreign()
        .iter()
        .filter(|opening| !opening.starts_with(b"GET "))
    {
        for server in [tls, auto] {
            assert_eq!(until_closed(&mut tls_to(&relay, server), opening), b"");
        }
    }
    assert_eq!(until_closed(&mut tls_to(&relay, tls), &hello), b"");
    canaries.finish();
    relay.assert_alive();
}

/// S-18, A-20: wrong cookie, Length alignment, or a frame longer than any request → closed.
#[test]
fn a_stream_that_lost_its_frames_is_closed() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    let [tcp, tls, auto] = ["tcp", "tls", "auto"].map(|name| relay.listener(name));
    for frame in misframed() {
        for server in [tcp, auto] {
            assert_eq!(until_closed(&mut connect(server), &frame), b"");
        }
        for server in [tls, auto] {
            assert_eq!(until_closed(&mut tls_to(&relay, server), &frame), b"");
        }
        // What came before is answered.
        let mut client = Client::of(&relay, Over::Tcp, "alice");
        client.send(&[binding(3), frame].concat());
        assert_eq!(
            client.receive().map(|answer| answer[..2].to_vec()),
            Some(vec![1, 1])
        );
        assert_eq!(client.receive(), None);
    }
    canaries.finish();
    relay.assert_alive();
}

/// S-07: attributes that pass the end of their message → the message is dropped, on every transport; the next is
/// answered.
#[test]
fn messages_with_lying_lengths_are_dropped_alone() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    for over in Over::ALL {
        let mut client = Client::of(&relay, over, "alice");
        for message in malformed() {
            client.send(&message);
        }
        client.send(&binding(9));
        let answer = client.receive().unwrap();
        assert_eq!((&answer[..2], &answer[8..20]), (&[1, 1][..], &[9; 12][..]));
    }
    // On datagrams the Length itself may lie too.
    let mut client = Client::of(&relay, Over::Udp, "alice");
    for message in misframed() {
        client.send(&message);
    }
    for length in [0x0001, 0x0005, 0x7FFF, 0xFFFC, 0xFFFF_u16] {
        client.send(&[&[0x40, 0][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat());
    }
    client.send(&binding(10));
    assert_eq!(client.receive().unwrap()[8..20], [10; 12]);
    canaries.finish();
    relay.assert_alive();
}

/// as many empty attributes as a message can hold → answered or dropped, and the process lives on.
#[test]
fn a_message_full_of_empty_attributes_is_borne() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    let mut client = Client::of(&relay, Over::Udp, "alice");
    for kind in [0x8022_u16, 0x0006, 0x0013, 0x0012, 0x7F00, 0xC057] {
        for message in [BINDING, ALLOCATE, SEND, 0x0008] {
            let attributes = [kind.to_be_bytes(), [0, 0]].concat().repeat(16_000);
            let length = u16::try_from(attributes.len()).unwrap();
            client.send(&stun(message, length, COOKIE, &attributes));
            client.send(&binding(77));
            while client.receive().expect("the last answer")[8..20] != [77; 12] {}
        }
    }
    canaries.finish();
    relay.assert_alive();
}

/// S-04, A-33: datagrams of 0 to 65,507 bytes that are no messages → silence.
#[test]
fn datagrams_of_any_size_are_borne_in_silence() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    let mut client = Client::of(&relay, Over::Udp, "alice");
    let sizes = (0..1600)
        .chain((1600..65_450).step_by(97))
        .chain(65_450..=65_507);
    let (mut answered, mut unanswered) = (0_u8, 0);
    for (turn, size) in sizes.enumerate() {
        let mut datagram = vec![0xA5; size];
        let beginning: &[u8] = match turn % 4 {
            0 => &[0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xA4, 0x42],
            1 => &[0x40, 0x00, 0x05, 0x00],
            2 => &[0x00, 0x16, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x42],
            _ => &[0x16, 0xFE, 0xFD],
        };
        let known = beginning.len().min(size);
        datagram[..known].copy_from_slice(&beginning[..known]);
        // The one that would be a Binding request.
        if size == 20 {
            datagram[0] = 0xFF;
        }
        client.send(&datagram);
        unanswered += size + 1000;
        // Never more on the way than a socket's buffer holds, even where it is small.
        if unanswered > 40_000 {
            unanswered = 0;
            answered = answered.wrapping_add(1);
            client.send(&binding(answered));
            // Nothing but this answer has come.
            assert_eq!(client.receive().unwrap()[8..20], [answered; 12]);
        }
    }
    assert_eq!(
        relay.metric("taciturn_relay_responses_total{method=\"allocate\",code=\"400\"}"),
        0
    );
    canaries.finish();
    relay.assert_alive();
}

/// a connection that ends in the middle of its first message is closed without a reply, after every byte of it.
#[test]
fn truncated_openings_are_closed_without_a_reply() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    let request = stun(ALLOCATE, 8, COOKIE, &[0, 0x19, 0, 4, 17, 0, 0, 0]);
    let hello = client_hello(&relay);
    let cut = |server: SocketAddr, bytes: &[u8]| {
        let mut stream = connect(server);
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        until_closed(&mut stream, &[])
    };
    for length in 0..request.len() {
        for server in ["tcp", "auto"].map(|name| relay.listener(name)) {
            assert_eq!(cut(server, &request[..length]), b"");
        }
    }
    for length in (0..hello.len()).step_by(7) {
        for server in ["tls", "auto"].map(|name| relay.listener(name)) {
            assert_eq!(cut(server, &hello[..length]), b"");
        }
    }
    canaries.finish();
    relay.assert_alive();
}

/// a stranger's frame that is announced and not sent → closed at the frame deadline (10 s); a call that hangs in the middle
/// of a frame for longer goes on where it was.
#[test]
fn an_announced_frame_does_not_keep_its_connection() {
    let mut relay = start();
    let mut calls = [Over::Tcp, Over::Tls].map(|over| {
        let mut call = Call::open(&relay, over, "alice");
        let frame = call.client.channel_bytes(0x4ABC, b"interrupted");
        call.client.send(&frame[..9]);
        (call, frame)
    });
    let begun = Instant::now();
    let mut waiting: Vec<(Client, Over)> = Vec::new();
    for over in [Over::Tcp, Over::Tls] {
        for announced in [
            stun(SEND, 0xFFFC, COOKIE, &[0; 100]),
            vec![0x40, 0x00, 0xFF, 0xFF, 1, 2, 3, 4, 5],
            stun(BINDING, 4, COOKIE, &[]),
        ] {
            let mut stranger = Client::of(&relay, over, "mallory");
            assert_eq!(stranger.request(Method::Binding, |_| {}).code(), 0);
            stranger.send(&announced);
            stranger.set_timeout(Duration::from_secs(40));
            waiting.push((stranger, over));
        }
    }
    for (client, over) in &mut waiting {
        assert_eq!(client.receive(), None);
        let waited = begun.elapsed().as_secs();
        assert!((8..39).contains(&waited), "{over:?}: {waited} s");
    }
    eventually("the count of closed connections", || {
        relay.metric("taciturn_relay_closed_connections_total{reason=\"frame_deadline\"}") == 6
    });
    for (call, frame) in &mut calls {
        call.client.send(&frame[9..]);
        assert_eq!(receive_from(&call.peer).0, b"interrupted");
        call.exchange();
    }
    relay.assert_alive();
}

/// unbound numbers, lengths beyond the datagram, and another client's channel relay nothing.
#[test]
fn channel_data_without_a_channel_relays_nothing() {
    let mut relay = start();
    for over in Over::ALL {
        let mut call = Call::open(&relay, over, "alice");
        let mut stranger = Client::of(&relay, over, "mallory");
        stranger.allocate();
        for number in [0x4000, 0x4FFF, 0x4ABD, 0x4ABC] {
            stranger.send_channel(number, b"not for you");
        }
        for number in [0x4000, 0x4FFF, 0x4ABD] {
            call.client.send_channel(number, b"not for you either");
        }
        if over == Over::Udp {
            // Its own channel, but longer than the datagram.
            call.client.send(&[0x4A, 0xBC, 0, 5, 1, 2, 3, 4]);
            call.client.send(&[0x4A, 0xBC, 0xFF, 0xFF, 1, 2, 3, 4]);
            call.client.send(&[0x4A, 0xBC, 0]);
            call.client.send(&[0x4A]);
        }
        assert_eq!(stranger.request(Method::Binding, |_| {}).code(), 0);
        // The peer gets this and nothing before it.
        call.exchange();
    }
    relay.assert_alive();
}

/// a stranger who says what an allocation's owner would, from another 5-tuple, gets nothing through.
#[test]
fn indications_without_an_allocation_relay_nothing() {
    let mut relay = start();
    let peer = peer_at("127.0.0.1:0".parse().unwrap());
    let to = peer.local_addr().unwrap();
    for over in Over::ALL {
        let mut call = Call::open(&relay, over, "alice");
        call.client.permit(to);
        let mut stranger = Client::of(&relay, over, "mallory");
        stranger.send(&send_indication(to, b"forged", |_| {}));
        let mut long = [0; 64];
        let mut writer = Writer::new(
            &mut long,
            Class::Indication,
            Method::Send,
            TransactionId([1; 12]),
        );
        writer.raw(attribute::XOR_PEER_ADDRESS, &[0, 1, 0, 0]);
        writer.data(b"x");
        let length = writer.finish().unwrap();
        stranger.send(&long[..length]);
        assert_eq!(stranger.request(Method::Binding, |_| {}).code(), 0);
        call.exchange();
    }
    assert!(crate::client::is_silent(&peer));
    relay.assert_alive();
}
