//! Good streams in odd pieces: byte by byte and cut at every place, in the clear, inside TLS, and below it.
//!
//! Not responsible for the framing itself, which the crates show; this is about every listener of the program.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use taciturn_protocol::wire::Method;

use crate::calls::Call;
use crate::client::{
    Client, Link, Over, binding, connect, receive_from, send_indication, tls_connection,
};
use crate::running::{Running, Setup};

/// Long enough for the first part to have been read in most cases; right or wrong does not depend on it.
const GAP: Duration = Duration::from_micros(300);

/// Two requests that are answered without credentials.
fn opening() -> Vec<u8> {
    let mut stream = binding(1);
    stream.extend([0, 3, 0, 8, 0x21, 0x12, 0xA4, 0x42]);
    stream.extend([2; 12]);
    stream.extend([0, 0x19, 0, 4, 17, 0, 0, 0]);
    stream
}

/// The two answers have come, and they are right.
fn assert_answered(client: &mut Client, at: usize) {
    let first = client.receive().unwrap_or_else(|| panic!("cut at {at}"));
    assert_eq!(
        (&first[..2], &first[8..20]),
        (&[1, 1][..], &[1; 12][..]),
        "cut at {at}"
    );
    let second = client.receive().unwrap_or_else(|| panic!("cut at {at}"));
    assert_eq!(
        (&second[..2], &second[8..20]),
        (&[1, 0x13][..], &[2; 12][..]),
        "cut at {at}"
    );
}

fn write_in_two(stream: &mut impl Write, bytes: &[u8], at: usize) {
    stream.write_all(&bytes[..at]).unwrap();
    thread::sleep(GAP);
    stream.write_all(&bytes[at..]).unwrap();
}

fn write_bytewise(stream: &mut impl Write, bytes: &[u8]) {
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
    }
}

/// S-18: any split point of the first messages gives identical results, on every stream listener.
#[test]
fn an_opening_may_be_cut_anywhere() {
    let mut relay = Setup::on_loopback(2).start();
    let bytes = opening();
    for name in ["tcp", "auto"] {
        for at in 0..bytes.len() {
            let mut stream = connect(relay.listener(name));
            write_in_two(&mut stream, &bytes, at);
            assert_answered(&mut Client::new(Link::Tcp(stream, Vec::new()), "alice"), at);
        }
        let mut stream = connect(relay.listener(name));
        write_bytewise(&mut stream, &bytes);
        assert_answered(&mut Client::new(Link::Tcp(stream, Vec::new()), "alice"), 0);
    }
    for name in ["tls", "auto"] {
        for at in 0..bytes.len() {
            let mut client = Client::tls(&relay, relay.listener(name), "alice");
            let Link::Tls(stream, _) = &mut client.link else {
                unreachable!("it is over TLS")
            };
            write_in_two(stream, &bytes, at);
            assert_answered(&mut client, at);
        }
        let mut client = Client::tls(&relay, relay.listener(name), "alice");
        let Link::Tls(stream, _) = &mut client.link else {
            unreachable!("it is over TLS")
        };
        write_bytewise(stream, &bytes);
        assert_answered(&mut client, 0);
    }
    relay.assert_alive();
}

/// A TLS client whose records leave in the pieces that `write` makes of them.
fn below_tls(relay: &Running, stream: TcpStream, write: impl Fn(&mut TcpStream, &[u8])) -> Client {
    let mut tls = tls_connection(&relay.certificate, &[]);
    let mut stream = stream;
    let mut written = false;
    while tls.is_handshaking() || !written {
        if !tls.is_handshaking() {
            // The first messages leave with the last words of the handshake.
            tls.writer().write_all(&opening()).unwrap();
            written = true;
        }
        let mut records = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut records).unwrap();
        }
        if !records.is_empty() {
            write(&mut stream, &records);
        }
        if tls.is_handshaking() {
            assert_ne!(tls.read_tls(&mut stream).unwrap(), 0);
            tls.process_new_packets().unwrap();
        }
    }
    let stream = rustls::StreamOwned::new(tls, stream);
    Client::new(Link::Tls(Box::new(stream), Vec::new()), "alice")
}

/// S-18, A-18: TLS records cut at every place, and one byte at a time, from the hello to the first messages.
#[test]
fn records_may_be_cut_anywhere() {
    let mut relay = Setup::on_loopback(2).start();
    for name in ["tls", "auto"] {
        let server = relay.listener(name);
        let mut client = below_tls(&relay, connect(server), |stream, records| {
            write_bytewise(stream, records);
        });
        assert_answered(&mut client, 0);
        // The hello is the longest of the flights; the others are cut at the same places as far as they go.
        for at in (0..1800).step_by(13) {
            let mut client = below_tls(&relay, connect(server), |stream, records| {
                write_in_two(stream, records, at.min(records.len()));
            });
            assert_answered(&mut client, at);
        }
    }
    relay.assert_alive();
}

/// S-18, T-71: any split of the frames of a call gives the same payloads in the same order.
#[test]
fn the_frames_of_a_call_may_be_cut_anywhere() {
    let mut relay = Setup::on_loopback(2).start();
    for over in [Over::Tcp, Over::Tls] {
        let mut call = Call::open(&relay, over, "alice");
        let to = call.peer.local_addr().unwrap();
        let mut bytes = Vec::new();
        let payloads: [&[u8]; 6] = [b"", b"1", b"22", b"333", b"4444", b"55555"];
        for payload in payloads {
            bytes.extend(call.client.channel_bytes(0x4ABC, payload));
        }
        bytes.extend(send_indication(to, b"by indication", |_| {}));
        let (request, request_bytes) = call
            .client
            .request_bytes(Method::Refresh, |w| w.lifetime(600));
        bytes.extend(request_bytes);
        for at in 0..=bytes.len() {
            let cut = |stream: &mut dyn Write| {
                if at == bytes.len() {
                    bytes
                        .iter()
                        .try_for_each(|byte| stream.write_all(&[*byte]))
                        .unwrap();
                } else {
                    stream.write_all(&bytes[..at]).unwrap();
                    thread::sleep(GAP);
                    stream.write_all(&bytes[at..]).unwrap();
                }
            };
            match &mut call.client.link {
                Link::Udp(_) => unreachable!("it is a stream"),
                Link::Tcp(stream, _) => cut(stream),
                Link::Tls(stream, _) => cut(stream),
            }
            for payload in payloads.into_iter().chain([&b"by indication"[..]]) {
                assert_eq!(receive_from(&call.peer).0, payload, "cut at {at}");
            }
            assert_eq!(call.client.answer(request).code(), 0);
        }
        call.exchange();
    }
    relay.assert_alive();
}
