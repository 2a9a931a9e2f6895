//! What follows the integrity of a message, and so could have been written by anybody on the way.
//!
//! Not responsible for how integrity is checked (`protocol/src/wire`).

use taciturn_protocol::wire::{Method, attribute};

use crate::calls::Call;
use crate::client::{Client, Over, is_silent, peer};
use crate::running::Setup;

/// The same message with these attributes at its end, behind the integrity.
fn extended(mut message: Vec<u8>, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    for (kind, value) in attributes {
        message.extend(kind.to_be_bytes());
        message.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = u16::try_from(message.len() - 20).unwrap();
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

/// A peer's address as an attribute's value (RFC 8489 section 14.2).
fn xored(address: std::net::SocketAddr) -> Vec<u8> {
    let std::net::IpAddr::V4(ip) = address.ip() else {
        unreachable!("peers here are IPv4")
    };
    let port = address.port() ^ 0x2112;
    let ip = ip.to_bits() ^ 0x2112_A442;
    [&[0, 1][..], &port.to_be_bytes(), &ip.to_be_bytes()].concat()
}

/// LIFETIME 0, a second USERNAME, another peer and DATA behind the integrity change nothing: the answer is that to the
/// message without them, the allocation lives, and the other peer is not permitted.
#[test]
fn what_anybody_could_have_added_is_not_read() {
    let mut relay = Setup::on_loopback(1).start();
    for over in Over::ALL {
        let mut call = Call::open(&relay, over, "alice");
        let stranger = peer();
        let elsewhere = stranger.local_addr().unwrap();
        let added = [
            (attribute::LIFETIME, vec![0; 4]),
            (attribute::USERNAME, b"9999999999:mallory".to_vec()),
            (attribute::XOR_PEER_ADDRESS, xored(elsewhere)),
            (attribute::DATA, b"forged".to_vec()),
            // One that would have to be understood.
            (0x7ABC, vec![1]),
        ];
        let client = &mut call.client;
        let (id, bytes) = client.request_bytes(Method::Refresh, |w| w.lifetime(600));
        client.send(&extended(bytes, &added));
        let answer = client.answer(id);
        assert_eq!(answer.code(), 0, "{over:?}");
        assert_eq!(answer.attributes().lifetime().unwrap().unwrap(), 600);
        let permitted = call.peer.local_addr().unwrap();
        let (id, bytes) =
            client.request_bytes(Method::CreatePermission, |w| w.xor_peer_address(permitted));
        client.send(&extended(bytes, &added));
        assert_eq!(client.answer(id).code(), 0);
        let (id, bytes) = client.request_bytes(Method::Refresh, |_| {});
        client.send(&extended(bytes, &added[..1]));
        assert_eq!(client.answer(id).code(), 0);
        // All peers of these tests are on one address, so that the port of a channel tells them apart.
        assert!(is_silent(&stranger));
        call.exchange();
        let mut fresh = Client::of(&relay, over, "bob");
        fresh.challenge();
        let (id, bytes) = fresh.request_bytes(Method::Allocate, |w| w.requested_transport(17));
        fresh.send(&extended(bytes, &[(attribute::EVEN_PORT, vec![0x80])]));
        let answer = fresh.answer(id);
        assert_eq!(answer.code(), 0);
        assert_eq!(answer.attributes().reservation_token(), None);
    }
    relay.assert_alive();
}
