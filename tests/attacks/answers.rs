//! What the relay's own bytes and records give away: padding, names, versions.
//!
//! Not responsible for which answer is right.

use std::io::Read;

use taciturn_protocol::wire::{Class, Method, TransactionId, Writer, attribute};

use crate::client::{Client, Link, Over, binding, connect, peer};
use crate::running::{Running, Setup, eventually};

const CHANNEL: u16 = 0x4000;

/// The padding of every attribute of a message is zero.
fn assert_zero_padding(message: &[u8]) {
    let mut rest = &message[20..];
    while let [_, _, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let padded = length.next_multiple_of(4);
        let padding = &behind[length..padded];
        assert!(padding.iter().all(|byte| *byte == 0), "{message:02x?}");
        rest = &behind[padded..];
    }
}

/// A-22, S-08: padding is zero in everything that the relay sends, for every remainder, whatever its buffers held before.
#[test]
fn padding_is_zero_whatever_was_there_before() {
    let relay = Setup::on_loopback(1).start();
    for over in Over::ALL {
        // Names of every length, so that those who come before leave other bytes at other places.
        for length in 0..6 {
            let mut client = Client::of(&relay, over, &"u".repeat(1 + length));
            client.challenge();
            for answer in [
                client.request(Method::Binding, |_| {}),
                client.request(Method::Allocate, |_| {}),
                client.try_allocate(|w| w.even_port(true)),
                client.try_allocate(|_| {}),
                client.request(Method::Refresh, |w| w.requested_family(2)),
                client.request(Method::CreatePermission, |_| {}),
                client.request(Method::Refresh, |w| w.raw(0x7ABC, &[0xFF; 3])),
            ] {
                assert_zero_padding(answer.bytes());
            }
        }
        let mut client = Client::of(&relay, over, "alice");
        assert_zero_padding(client.try_allocate(|_| {}).bytes());
        let source = peer();
        let relayed = allocated(&mut client);
        client.permit(source.local_addr().unwrap());
        for length in 0..9 {
            for payload in [vec![0xFF; 1200], vec![0xEE; length]] {
                source.send_to(&payload, relayed).unwrap();
                assert_zero_padding(&client.receive().unwrap());
            }
        }
        client.bind(CHANNEL, source.local_addr().unwrap());
        for length in 0..9 {
            for payload in [vec![0xFF; 1200], vec![0xEE; length]] {
                source.send_to(&payload, relayed).unwrap();
                let expected = client.channel_bytes(CHANNEL, &payload);
                assert_eq!(raw(&mut client, expected.len()), expected);
            }
        }
    }
}

/// The relayed address of an allocation that exists: of a new one after it.
fn allocated(client: &mut Client) -> std::net::SocketAddr {
    client.release();
    client.allocate()
}

/// The next bytes of a stream as they are, padding included, or the next datagram.
fn raw(client: &mut Client, length: usize) -> Vec<u8> {
    let mut bytes = vec![0x55; length];
    match &mut client.link {
        Link::Udp(socket) => assert_eq!(socket.recv(&mut bytes).unwrap(), length),
        Link::Tcp(stream, _) => stream.read_exact(&mut bytes).unwrap(),
        Link::Tls(stream, _) => stream.read_exact(&mut bytes).unwrap(),
    }
    bytes
}

fn link(relay: &Running, over: Over) -> Link {
    Client::of(relay, over, "nobody").link
}

/// user names made to break logs, formats, terminals and databases authenticate like any other, and appear nowhere.
#[test]
fn hostile_user_names_reach_no_record() {
    let mut setup = Setup::on_loopback(2);
    setup.log_level = "trace";
    let mut relay = setup.start();
    let long = [&b"Xq7evil"[..], &[b'a'; 480]].concat();
    let names: [&[u8]; 12] = [
        b"Xq7evil\r\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
        b"Xq7evil\x1B[2J\x1B]0;title\x07",
        b"Xq7evil%n%s%x%p%99999999d",
        b"Xq7evil'; DROP TABLE users; --",
        b"Xq7evil\"}\",{",
        b"Xq7evil\0behind",
        "Xq7evil\u{202E}txt.exe".as_bytes(),
        b"Xq7evil\xFF\xFE\x80 not utf-8",
        b"Xq7evil${jndi:ldap://192.0.2.1/x}",
        b"../../../../etc/Xq7evil",
        b"Xq7evil{user}{{user}}\\u0000\\n",
        &long,
    ];
    let mut allocated = 0;
    for over in Over::ALL {
        for name in names {
            let mut client = Client::strangely_named(link(&relay, over), name);
            client.allocate();
            allocated += 1;
            let (code, list) = relay.http("GET", "/v1/allocations");
            assert_eq!(code, 200);
            assert!(!list.contains("Xq7evil"));
            client.release();
        }
    }
    assert_eq!(allocated, Over::ALL.len() * names.len());
    assert!(!relay.http("GET", "/metrics").1.contains("Xq7evil"));
    let created = |log: &str| log.matches("\"allocation created\"").count();
    eventually("a record of each allocation", || {
        created(&relay.log()) == allocated
    });
    let log = relay.log();
    assert!(!log.contains("Xq7evil") && !log.contains("forged"));
    for line in log.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(record.is_object(), "{line}");
    }
    relay.assert_alive();
}

/// names, realms and origins that were said without credentials do not stick to the 5-tuple.
#[test]
fn what_a_stranger_says_does_not_stick() {
    let relay = Setup::on_loopback(1).start();
    for over in Over::ALL {
        let mut client = Client::of(&relay, over, "alice");
        for (kind, value) in [
            (attribute::REALM, &b"evil.test"[..]),
            (attribute::USERNAME, b"9999999999:mallory"),
            (attribute::NONCE, b"obMatJos2AAAAevil"),
            (attribute::SOFTWARE, b"evil 1.0"),
            (0x802F, b"https://evil.test"),
        ] {
            let say = |w: &mut Writer<'_>| {
                w.requested_transport(17);
                w.raw(kind, value);
            };
            let answer = client.request(Method::Allocate, say);
            assert_eq!(answer.code(), 401);
            assert_eq!(answer.attributes().realm(), Some(&b"relay.test"[..]));
            assert!(!answer.bytes().windows(4).any(|window| window == b"evil"));
        }
        client.allocate();
    }
}

/// no answer, to strangers or to users, names the program or its version; nor does a health check.
#[test]
fn nothing_on_the_wire_names_the_program() {
    let relay = Setup::on_loopback(1).start();
    let assert_silent_about_itself = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        assert!(!text.contains("taciturn") && !text.contains(env!("CARGO_PKG_VERSION")));
        assert!(!text.contains("rust") && !text.contains("server:"));
    };
    for over in Over::ALL {
        let mut client = Client::of(&relay, over, "alice");
        let mut malformed = [0; 64];
        let id = TransactionId([3; 12]);
        let mut writer = Writer::new(&mut malformed, Class::Request, Method::Allocate, id);
        writer.raw(attribute::MESSAGE_INTEGRITY, &[0; 20]);
        let length = writer.finish().unwrap();
        client.send(&malformed[..length]);
        assert_silent_about_itself(&client.receive().unwrap());
        client.send(&binding(4));
        assert_silent_about_itself(&client.receive().unwrap());
        let challenge = client.request(Method::Allocate, |w| w.requested_transport(17));
        client.challenge();
        for answer in [
            challenge,
            client.try_allocate(|_| {}),
            client.try_allocate(|_| {}),
            client.request(Method::Refresh, |_| {}),
        ] {
            assert_eq!(
                answer
                    .attributes()
                    .iter()
                    .find(|(kind, _)| *kind == attribute::SOFTWARE),
                None
            );
            assert_silent_about_itself(answer.bytes());
        }
    }
    let stream = connect(relay.listener("tls"));
    let tls = crate::client::tls_connection(&relay.certificate, &[]);
    let mut health = rustls::StreamOwned::new(tls, stream);
    std::io::Write::write_all(&mut health, b"GET /live HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    health.read_to_end(&mut answer).unwrap();
    assert_silent_about_itself(&answer);
}
