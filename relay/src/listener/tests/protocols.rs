//! Which protocol gets where on which port.

use std::io::{Read, Write};

use rustls::ClientConfig;
use taciturn_protocol::address::Transport;

use super::super::counters::{HandshakeFailure, Refusal};
use super::super::{Front, FrontLimits, ListenTransport, Listener, ServeError};
use super::hello::answer_to;
use super::{BINDING, Relay, read_to_end, wait_until};
use crate::self_check::SelfCheckSources;

fn offering(relay: &Relay, protocols: &[&str]) -> ClientConfig {
    let mut config = relay.client_config();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    config
}

#[test]
fn turn_over_tcp_is_handed_over_with_its_bytes() {
    for transport in [ListenTransport::Tcp, ListenTransport::Auto] {
        let relay = Relay::new(transport);
        let mut client = relay.connect();
        for split in [&BINDING[..1], &BINDING[1..]] {
            client.write_all(split).unwrap();
        }
        let established = relay.delivered();
        assert_eq!(established.transport, Transport::Tcp);
        assert!(established.tls.is_none());
        assert_eq!(
            (established.client, established.server),
            (client.local_addr().unwrap(), relay.address)
        );
        let mut seen = established.early;
        established.stream.set_nonblocking(false).unwrap();
        while seen.len() < BINDING.len() {
            let mut more = [0; 20];
            let count = (&established.stream).read(&mut more).unwrap();
            seen.extend_from_slice(&more[..count]);
        }
        assert_eq!(seen, BINDING);
        assert_eq!(relay.counters().connections(), 1);
        assert_eq!(relay.counters().half_open(), 0);
        drop(established.slot);
        assert_eq!(relay.counters().connections(), 0);
    }
}

/// U-02: ALPN `stun.turn`, `stun.nat-discovery` (RFC 7443): select `stun.turn` if offered; no ALPN → accept.
#[test]
fn turn_is_selected_whenever_it_is_offered() {
    let cases: [(&[&str], Option<&str>); 5] = [
        (&[], None),
        (&["stun.turn"], Some("stun.turn")),
        (
            &["h2", "http/1.1", "stun.nat-discovery", "stun.turn"],
            Some("stun.turn"),
        ),
        (&["stun.nat-discovery"], Some("stun.nat-discovery")),
        (&["h2", "stun.turn"], Some("stun.turn")),
    ];
    for transport in [ListenTransport::Tls, ListenTransport::Auto] {
        let relay = Relay::new(transport);
        for (offered, selected) in cases {
            let (client, established) = relay.serves(&offering(&relay, offered));
            assert_eq!(
                client.conn.alpn_protocol(),
                selected.map(str::as_bytes),
                "{offered:?}"
            );
            assert_eq!(established.transport, Transport::Tls);
        }
    }
}

/// U-02: only foreign ALPN on a shared 443 → `no_application_protocol` (RFC 7301 §3.2).
#[test]
fn foreign_protocols_alone_are_refused() {
    for transport in [ListenTransport::Tls, ListenTransport::Auto] {
        let relay = Relay::new(transport);
        for offered in [["h2"].as_slice(), &["h2", "h3"], &["imap"]] {
            let mut client = relay.tls(&offering(&relay, offered));
            let error = client
                .write_all(&BINDING)
                .and_then(|()| client.read(&mut [0]))
                .unwrap_err();
            assert!(
                error.to_string().contains("NoApplicationProtocol"),
                "{offered:?}: {error}"
            );
        }
        wait_until("three refusals", || {
            relay.counters().handshake_failures(HandshakeFailure::Alpn) == 3
        });
        relay.nothing_is_delivered();
    }
}

#[test]
fn health_is_answered_over_https() {
    for transport in [ListenTransport::Tls, ListenTransport::Auto] {
        let relay = Relay::new(transport);
        for offered in [[].as_slice(), &["http/1.1"], &["h2", "http/1.1"]] {
            let mut client = relay.tls(&offering(&relay, offered));
            for part in [
                "GET /live HT",
                "TP/1.1\r\nHost: turn.example.org\r\n",
                "\r\n",
            ] {
                client.write_all(part.as_bytes()).unwrap();
                client.flush().unwrap();
            }
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
                "{answer}"
            );
        }
        let mut client = relay.tls(&offering(&relay, &["http/1.1"]));
        client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        wait_until("four answers", || relay.counters().health_answers() == 4);
        relay.nothing_is_delivered();
        wait_until("the connections are gone", || {
            relay.counters().connections() == 0
        });
    }
}

/// HTTP over TLS with a request that never ends gets no answer and no more than its bytes.
#[test]
fn an_endless_health_request_is_closed() {
    let relay = Relay::new(ListenTransport::Auto);
    let mut client = relay.tls(&offering(&relay, &["http/1.1"]));
    client.write_all(b"GET /live HTTP/1.1\r\n").unwrap();
    let mut sent = 0;
    while sent < 1_000_000
        && client
            .write_all(&[b'a'; 1000])
            .and_then(|()| client.flush())
            .is_ok()
    {
        sent += 1000;
    }
    assert_eq!(read_to_end(client), b"");
    wait_until("one refusal", || {
        relay.counters().refused(Refusal::WrongProtocol) == 1
    });
}

/// HTTP, SSH, TLS on a plain port, STUN on the TLS port, proxy-protocol header when not enabled → closed without
/// reply.
#[test]
fn the_wrong_protocol_is_closed_without_reply() {
    let text: [&[u8]; 7] = [
        b"GET /live HTTP/1.1\r\n\r\n",
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C",
        b"\xFF\xFF\xFF\xFF",
    ];
    let hello = [0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    let cases: [(ListenTransport, &[u8]); 3] = [
        (ListenTransport::Tcp, &hello),
        (ListenTransport::Tls, &BINDING),
        (ListenTransport::Auto, &[0x15, 3, 1]),
    ];
    for (transport, wrong) in cases {
        let relay = Relay::new(transport);
        for bytes in text.into_iter().chain([wrong]) {
            assert_eq!(
                answer_to(relay.connect(), bytes),
                b"",
                "{transport:?} {bytes:02x?}"
            );
        }
        wait_until("eight refusals", || {
            relay.counters().refused(Refusal::WrongProtocol) == 8
        });
        relay.nothing_is_delivered();
    }
}

/// what was agreed upon by ALPN is what is spoken inside TLS.
#[test]
fn the_protocol_inside_tls_is_the_one_agreed_upon() {
    let relay = Relay::new(ListenTransport::Auto);
    let cases: [(&[&str], &[u8]); 4] = [
        (&["http/1.1"], &BINDING),
        (&["stun.turn"], b"GET /live HTTP/1.1\r\n\r\n"),
        (&[], b"POST / HTTP/1.1\r\n\r\n"),
        (&[], &[0x16, 3, 1, 0]),
    ];
    for (offered, spoken) in cases {
        let mut client = relay.tls(&offering(&relay, offered));
        client.write_all(spoken).unwrap();
        client.flush().unwrap();
        assert_eq!(read_to_end(client), b"", "{offered:?}");
    }
    relay.nothing_is_delivered();
}

#[test]
fn tls_listeners_need_a_certificate() {
    let front = Front::new(
        FrontLimits::default(),
        None,
        SelfCheckSources::default(),
        std::sync::Arc::new(|_| {}),
    );
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = front.serve(Listener {
        transport: ListenTransport::Tls,
        socket,
    });
    assert!(matches!(refused, Err(ServeError::NoTls)));
}
