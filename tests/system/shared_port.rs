//! One port for everything: TURN over TCP, TURN over TLS, and HTTPS health checks, told apart by what is said first.
//!
//! Not responsible for handshakes (`relay/src/listener`).

use std::io::{Read, Write};

use rustls::StreamOwned;

use crate::calls::Call;
use crate::client::{Client, Link, binding, connect, peer, tls_connection};
use crate::running::{Running, Setup};

/// What comes back over TLS for these bytes until the relay ends the connection, and the protocol agreed upon.
fn said_over_tls(
    relay: &Running,
    listener: &str,
    protocols: &[&[u8]],
    bytes: &[u8],
) -> std::io::Result<(Option<Vec<u8>>, Vec<u8>)> {
    let stream = connect(relay.listener(listener));
    let mut tls = StreamOwned::new(tls_connection(&relay.certificate, protocols), stream);
    tls.write_all(bytes)?;
    let mut answer = Vec::new();
    if bytes.starts_with(&[0]) {
        answer.resize(32, 0);
        tls.read_exact(&mut answer)?;
    } else {
        tls.read_to_end(&mut answer)?;
    }
    Ok((tls.conn.alpn_protocol().map(<[u8]>::to_vec), answer))
}

/// T-02: an `auto` listener carries calls over TCP and TLS, and answers GET /live over HTTPS, on one port.
#[test]
fn one_port_serves_tcp_tls_and_health_checks() {
    let mut relay = Setup::on_loopback(2).start();
    let server = relay.listener("auto");
    let mut calls: Vec<Call> = (0..4)
        .flat_map(|_| {
            [
                Client::tcp(server, "alice"),
                Client::tls(&relay, server, "alice"),
            ]
        })
        .map(|client| Call::between(client, peer()))
        .collect();
    for round in 0..10 {
        for call in &mut calls {
            call.exchange();
        }
        let path = ["/live", "/ready", "/metrics"][round % 3];
        let request = format!("GET {path} HTTP/1.1\r\nHost: relay.test\r\n\r\n");
        let (_, answer) = said_over_tls(&relay, "auto", &[], request.as_bytes()).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let expected = if path == "/live" {
            "HTTP/1.1 200 OK\r\n"
        } else {
            "HTTP/1.1 404 "
        };
        assert!(answer.starts_with(expected), "{path}: {answer}");
    }
    let established = |transport| {
        relay.metric(&format!(
            "taciturn_relay_established_connections_total{{transport=\"{transport}\"}}"
        ))
    };
    assert_eq!((established("tcp"), established("tls")), (4, 4));
    assert_eq!(relay.metric("taciturn_relay_health_answers_total "), 10);
    // Health checks are for those who come over TLS.
    let mut plain = connect(server);
    plain.write_all(b"GET /live HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    relay.assert_alive();
}

/// The protocols offered, what is said then, and the protocol agreed upon.
type Agreement<'a> = (&'a [&'a [u8]], &'a [u8], Option<&'a [u8]>);

/// U-02: `stun.turn` is selected where it is offered, no ALPN is accepted, foreign ALPN alone is refused.
#[test]
fn protocols_are_agreed_upon() {
    let relay = Setup::on_loopback(1).start();
    let http: &[u8] = b"GET /live HTTP/1.1\r\n\r\n";
    let turn: &[u8] = &binding(1);
    let cases: [Agreement<'_>; 5] = [
        (&[], turn, None),
        (&[b"stun.turn"], turn, Some(b"stun.turn")),
        (
            &[b"h2", b"http/1.1", b"stun.turn"],
            turn,
            Some(b"stun.turn"),
        ),
        (&[], http, None),
        (&[b"h2", b"http/1.1"], http, Some(b"http/1.1")),
    ];
    for listener in ["tls", "auto"] {
        for (offered, said, agreed) in cases {
            let (protocol, answer) = said_over_tls(&relay, listener, offered, said).unwrap();
            assert_eq!(protocol.as_deref(), agreed);
            assert!(answer.starts_with(&[1, 1]) || answer.starts_with(b"HTTP/1.1 200 "));
        }
        for offered in [&[&b"h2"[..]][..], &[b"imap"], &[b"h3", b"smtp"]] {
            let refused = said_over_tls(&relay, listener, offered, turn).unwrap_err();
            assert!(
                refused.to_string().contains("NoApplicationProtocol"),
                "{refused}"
            );
        }
        // Who has agreed on one protocol does not get to speak another.
        for (offered, said) in [(&b"stun.turn"[..], http), (b"http/1.1", turn)] {
            let outcome = said_over_tls(&relay, listener, &[offered], said);
            assert!(outcome.is_err() || outcome.is_ok_and(|(_, answer)| answer.is_empty()));
        }
    }
    // A call over the agreed protocol.
    let stream = connect(relay.listener("auto"));
    let tls = tls_connection(&relay.certificate, &[b"stun.turn"]);
    let link = Link::Tls(Box::new(StreamOwned::new(tls, stream)), Vec::new());
    Call::between(Client::new(link, "alice"), peer()).exchange();
}
