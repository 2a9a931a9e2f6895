//! PROXY protocol headers, which this relay knows nothing of: an address that a client could choose is no address.
//!
//! Not responsible for other foreign openings (`bad_input`).

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls::StreamOwned;

use crate::client::{Client, Over, binding, connect, tls_connection};
use crate::running::{Running, Setup};

/// Headers of version 1 and 2, for IPv4, IPv6, unknown and local.
fn headers() -> Vec<Vec<u8>> {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let v2 = |kind: &[u8], addresses: &[u8]| {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&signature[..], kind, &length, addresses].concat()
    };
    vec![
        b"PROXY TCP4 198.51.100.7 203.0.113.9 40000 3478\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::7 2001:db8::9 40000 3478\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(
            &[0x21, 0x11],
            &[198, 51, 100, 7, 203, 0, 113, 9, 0x9C, 0x40, 0x0D, 0x96],
        ),
        v2(&[0x21, 0x21], &[0x20; 36]),
        v2(&[0x20, 0], &[]),
    ]
}

fn rest_of(mut stream: impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut piece = [0; 512];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return rest,
            Ok(count) => rest.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the connection was not closed")
            }
            Err(_) => return rest,
        }
    }
}

fn assert_closed_without_a_reply(relay: &Running, listener: &str, bytes: &[u8], inside: bool) {
    let stream: TcpStream = connect(relay.listener(listener));
    let rest = if inside {
        let mut tls = StreamOwned::new(tls_connection(&relay.certificate, &[]), stream);
        let _ = tls.write_all(bytes).and_then(|()| tls.flush());
        rest_of(tls)
    } else {
        let mut stream = stream;
        let _ = stream.write_all(bytes);
        rest_of(stream)
    };
    assert_eq!(rest, b"", "{listener}: {bytes:02x?}");
}

/// a PROXY header, of either version, before a good request: the connection is closed without a reply on every stream
/// listener and inside TLS; in a datagram it is silence. Nobody's address is taken from it.
#[test]
fn a_proxy_header_is_no_address() {
    let mut setup = Setup::on_loopback(1);
    setup.limits += "\nhandshake-timeout = \"1m\"";
    let mut relay = setup.start();
    for header in headers() {
        let bytes = [header.clone(), binding(1)].concat();
        for listener in ["tcp", "tls", "auto"] {
            assert_closed_without_a_reply(&relay, listener, &bytes, false);
        }
        for listener in ["tls", "auto"] {
            assert_closed_without_a_reply(&relay, listener, &bytes, true);
        }
        let mut client = Client::of(&relay, Over::Udp, "alice");
        client.send(&bytes);
        client.send(&binding(2));
        // The one answer is that to what came without a header.
        assert_eq!(client.receive().unwrap()[8..20], [2; 12]);
    }
    assert_eq!(
        relay.metric("taciturn_relay_responses_total{method=\"binding\",code=\"success\"}"),
        u64::try_from(headers().len()).unwrap()
    );
    relay.assert_alive();
}

/// nor can it be switched on by a key that is not there.
#[test]
fn no_key_makes_headers_count() {
    for key in ["proxy-protocol = true", "trusted-proxies = [\"0.0.0.0/0\"]"] {
        let mut setup = Setup::on_loopback(1);
        setup.top = key.to_owned();
        let said = setup.refused();
        assert!(said.contains(key.split(' ').next().unwrap()), "{said}");
    }
}
