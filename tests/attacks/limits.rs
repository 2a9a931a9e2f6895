//! One allocation that asks for more permissions and channels than anybody needs.
//!
//! Not responsible for how many allocations there may be, nor for what a permission costs (`docs/operations.md`).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use taciturn_protocol::wire::Method;

use crate::client::{Client, Over};
use crate::running::{Running, Setup};
use crate::scale::scale;

/// As the relay comes.
const PERMISSIONS: u16 = 64;
const CHANNELS: u16 = 32;
const FIRST_CHANNEL: u16 = 0x4000;

/// The peer of this number: no two have one address.
fn numbered(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    // 127.0.0.0/8, without what relays of this run listen on.
    (Ipv4Addr::new(127, 0x80 | a, b, c), 40_000).into()
}

/// The memory that the relay occupies, in bytes.
fn occupied(relay: &Running) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// What the relay says of its only allocation.
fn held(relay: &Running) -> (u64, u64) {
    let (code, text) = relay.http("GET", "/v1/allocations");
    assert_eq!(code, 200);
    let list: Value = serde_json::from_str(&text).unwrap();
    let all = list["allocations"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{text}");
    let count = |key: &str| all[0][key].as_u64().unwrap();
    (count("permissions"), count("channels"))
}

/// an allocation has 64 permissions and 32 channels and no more: whatever else it asks for, one at a time or many at once,
/// is 508, what it holds can be refreshed, and the relay grows no further.
#[test]
fn permissions_and_channels_of_an_allocation_are_bounded() {
    let mut relay = Setup::on_loopback(1).start();
    let floods = u32::try_from(scale(3000, 100_000)).unwrap();
    for over in Over::ALL {
        let mut client = Client::of(&relay, over, "mallory");
        client.allocate();
        for number in 0..CHANNELS {
            client.bind(FIRST_CHANNEL + number, numbered(number.into()));
        }
        for number in CHANNELS..PERMISSIONS {
            client.permit(numbered(number.into()));
        }
        assert_eq!(held(&relay), (PERMISSIONS.into(), CHANNELS.into()));
        let flood = |client: &mut Client, numbers: std::ops::Range<u32>| {
            for number in numbers {
                let peer = numbered(u32::from(PERMISSIONS) + number);
                assert_eq!(client.try_permit(peer), 508, "{over:?}");
                // With a permission and without, there is no channel left.
                for peer in [peer, numbered(number % 32 + u32::from(CHANNELS))] {
                    let channel = FIRST_CHANNEL + CHANNELS + u16::try_from(number % 3000).unwrap();
                    assert_eq!(client.try_bind(channel, peer), 508, "{over:?}");
                }
            }
        };
        flood(&mut client, 0..500);
        let before = occupied(&relay);
        flood(&mut client, 500..floods);
        let grown = occupied(&relay).saturating_sub(before);
        assert!(grown <= 1 << 20, "{over:?}: {grown} bytes");
        // As many as fit one request, of which nothing is installed either.
        let many = client.request(Method::CreatePermission, |w| {
            for number in 0..80 {
                w.xor_peer_address(numbered(1000 + number));
            }
        });
        assert_eq!(many.code(), 508, "{over:?}");
        for number in 0..CHANNELS {
            client.bind(FIRST_CHANNEL + number, numbered(number.into()));
        }
        for number in 0..PERMISSIONS {
            client.permit(numbered(number.into()));
        }
        assert_eq!(held(&relay), (PERMISSIONS.into(), CHANNELS.into()));
        client.release();
    }
    relay.assert_alive();
}
