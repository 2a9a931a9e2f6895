//! Credentials that somebody abuses: minted for ever, guessed from a weak secret, shared by many.
//!
//! Not responsible for passwords that are guessed (`guessing`), nor for who may mint (`tests/fleet`).

use std::net::SocketAddr;

use taciturn_protocol::credentials::{HmacHash, password_for};
use taciturn_relay::clock::Clock;

use crate::client::{Client, Link, Over, peer_at};
use crate::running::{Running, SECRET, Setup};

/// What an Allocate with this user name gets, signed with the password that belongs to it.
fn code_for(relay: &Running, over: Over, name: &str) -> u16 {
    let password = password_for(SECRET.as_bytes(), HmacHash::Sha256, name.as_bytes());
    let link = Client::of(relay, over, "anybody").link;
    let mut client = Client::known_as(link, name.as_bytes().to_vec(), password);
    client.try_allocate(|_| {}).code()
}

/// A-30, H-06: a name that was minted for longer than a day is refused although its password is right, as are those without
/// a time and with one that overflows; one for an hour is taken.
#[test]
fn a_name_for_ever_is_refused() {
    let relay = Setup::on_loopback(1).start();
    let now = Clock::start().unix().as_secs();
    for over in Over::ALL {
        for (expires, expected) in [
            ((now + 3600).to_string(), 0),
            ((now + 2 * 86_400).to_string(), 401),
            ("4102444800".to_owned(), 401),
            (u64::MAX.to_string(), 401),
            ("18446744073709551616".to_owned(), 401),
            ((now - 60).to_string(), 401),
            ("-1".to_owned(), 401),
            (String::new(), 401),
        ] {
            let name = format!("{expires}:alice");
            assert_eq!(code_for(&relay, over, &name), expected, "{name}");
        }
        assert_eq!(code_for(&relay, over, "alice"), 401);
    }
}

/// secrets that can be guessed are refused at start, by their length, and not repeated.
#[test]
fn a_secret_that_can_be_guessed_is_refused_at_start() {
    for weak in ["north", "", "0123456789abcdef0123456789abcde"] {
        let mut setup = Setup::on_loopback(1);
        setup.more = format!("[[secret]]\nid = \"weak\"\nvalue = \"{weak}\"\n");
        let said = setup.refused();
        assert!(said.contains("32"), "{said}");
        assert!(weak.is_empty() || !said.contains(weak), "{said}");
    }
}

/// one credential that is passed around: from ever new addresses, over every transport, its user gets as many
/// allocations as one user may have and is refused then (486), which is counted; others are not touched.
#[test]
fn a_shared_credential_ends_at_its_users_quota() {
    let mut setup = Setup::on_loopback(1);
    setup.limits += "\nallocations-per-user = 12";
    let mut relay = setup.start();
    let mut held = Vec::new();
    let mut codes = Vec::new();
    for address in 0..100_u8 {
        let over = Over::ALL[usize::from(address % 3)];
        let mut client = if over == Over::Udp {
            let socket = peer_at(SocketAddr::from(([127, 0, 16, address + 1], 0)));
            socket.connect(relay.listener("udp")).unwrap();
            Client::new(Link::Udp(socket), "shared")
        } else {
            Client::of(&relay, over, "shared")
        };
        codes.push(client.try_allocate(|_| {}).code());
        held.push(client);
    }
    assert_eq!(codes[..12], [0; 12]);
    assert!(codes[12..].iter().all(|code| *code == 486), "{codes:?}");
    let counted = relay.metric("taciturn_relay_refusals_total{reason=\"user_quota\"}");
    assert_eq!(
        counted, 88,
        "what the alert TaciturnRelayUserAtQuota looks at"
    );
    Client::of(&relay, Over::Udp, "another").allocate();
    relay.assert_alive();
}
