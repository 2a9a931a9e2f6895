//! What must not be guessed: relayed ports, nonces, reservation tokens; and how many ports one user can hold.
//!
//! Not responsible for the generators themselves (`protocol`).

use std::collections::HashSet;
use std::net::SocketAddr;

use taciturn_protocol::credentials::{
    Features, LongTermKey, NonceKey, Nonces, PasswordAlgorithm, Realm,
};
use taciturn_protocol::time::UnixTime;
use taciturn_protocol::wire::{Class, Method, TransactionId, Writer};
use taciturn_relay::clock::Clock;

use crate::client::{Client, Link, Over};
use crate::running::{REALM, Running, Setup};
use crate::scale::scale;

/// 486 and 508.
const QUOTA: u16 = 486;
const CAPACITY: u16 = 508;

fn ports(relay: &Running, state: &str) -> u64 {
    relay.metric(&format!("taciturn_relay_ports{{state=\"{state}\"}}"))
}

/// a user who allocates from ever new ports is refused at the user's quota, users together at the relay's; those who
/// have something are refreshed all the while, and in the end every port is free or at rest.
#[test]
fn loops_of_allocations_end_at_the_quotas() {
    let mut setup = Setup::on_loopback(1);
    setup.limits += "\nallocations-per-user = 20\nallocations = 60";
    let mut relay = setup.start();
    let all = ports(&relay, "free");
    let mut held = Vec::new();
    let mut refused = 0;
    for turn in 0..scale(300, 20_000) {
        let mut client = Client::of(&relay, Over::Udp, "greedy");
        // Pairs and single even ports among them, some of which reserve.
        let answer = client.try_allocate(|w| match turn % 3 {
            0 => {}
            1 => w.even_port(false),
            _ => w.even_port(true),
        });
        match answer.code() {
            0 => held.push(client),
            QUOTA => refused += 1,
            code => panic!("{code} at {turn}"),
        }
    }
    assert!((10..=20).contains(&held.len()), "{} held", held.len());
    assert!(refused >= 280);
    for user in 0..50 {
        let mut client = Client::of(&relay, Over::Udp, &format!("user-{user}"));
        match client.try_allocate(|_| {}).code() {
            0 => held.push(client),
            CAPACITY => {}
            code => panic!("{code} for user {user}"),
        }
    }
    assert!(held.len() <= 60);
    let mut late = Client::of(&relay, Over::Tcp, "late");
    assert_eq!(late.try_allocate(|_| {}).code(), CAPACITY);
    for client in &mut held {
        assert_eq!(
            client.request(Method::Refresh, |w| w.lifetime(600)).code(),
            0
        );
    }
    for mut client in held.drain(..) {
        client.release();
    }
    // What was reserved and not claimed is given back after half a minute; that much is still used.
    let used = ports(&relay, "used");
    assert!(used <= 20, "{used}");
    assert_eq!(ports(&relay, "free") + ports(&relay, "resting") + used, all);
    late.allocate();
    relay.assert_alive();
}

/// relayed ports are spread evenly, one says nothing about the next, and none comes back at once.
#[test]
fn relayed_ports_do_not_tell_the_next() {
    let relay = Setup::on_loopback(1).start();
    let count = usize::try_from(scale(2_000, 6_000)).unwrap();
    let mut drawn = Vec::new();
    for turn in 0..count {
        // Ports at rest count for their user, so there is another user now and then.
        let mut client = Client::of(&relay, Over::Udp, &format!("user-{}", turn / 50));
        drawn.push(client.allocate().port() - 20_000);
        client.release();
    }
    let expected = count as f64 / 50.0;
    let mut bins = [0.0_f64; 50];
    for port in &drawn {
        bins[usize::from(*port) / 200] += 1.0;
    }
    let chi: f64 = bins
        .iter()
        .map(|bin| (bin - expected).powi(2) / expected)
        .sum();
    // 49 degrees of freedom: beyond 130 in one of some 10^9 runs.
    assert!(chi < 130.0, "{chi}");
    let seen: Vec<_> = drawn.iter().map(|port| f64::from(*port)).collect();
    let mean = 5_000.0;
    let covariance: f64 = seen
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    let variance: f64 = seen.iter().map(|port| (port - mean).powi(2)).sum();
    let correlation = covariance / variance;
    assert!(
        correlation.abs() < 6.5 / (count as f64).sqrt(),
        "{correlation}"
    );
    let next = seen
        .windows(2)
        .filter(|pair| (pair[1] - pair[0]).abs() < 1.5)
        .count();
    assert!(next < 15, "{next} neighbours in a row");
    for some in drawn.windows(100) {
        let distinct: HashSet<_> = some.iter().collect();
        assert_eq!(distinct.len(), 100, "one that rests is not given");
    }
}

const NONCE_SECRET: &str = "a nonce key that the attacker has, of 32 bytes and more";

/// Relays with this nonce key.
fn with_nonce_key(workers: usize) -> Setup {
    let mut setup = Setup::on_loopback(workers);
    setup.files.push(("nonce.key", NONCE_SECRET.to_owned()));
    setup.more = "[nonce]\nkey-file = \"nonce.key\"\nlifetime = \"10m\"".to_owned();
    setup
}

/// no nonce comes twice: to no client, over no transport, from neither of two workers, nor from a relay that was started
/// again with the same key, whose first clients are those that the one before it had.
#[test]
fn nonces_are_unique() {
    let (all, each) = (scale(5_000, 1_000_000), scale(25, 100));
    let mut seen = HashSet::new();
    let mut ask = |client: &mut Client| {
        for _ in 0..each {
            let answer = client.request(Method::Allocate, |w| w.requested_transport(17));
            let nonce = answer.attributes().nonce().unwrap().to_vec();
            assert!(seen.insert(nonce), "one of before");
        }
    };
    let mut stay = Vec::new();
    for _ in 0..2 {
        let relay = with_nonce_key(2).start();
        for client in &mut stay {
            let Client {
                link: Link::Udp(socket),
                ..
            } = client
            else {
                unreachable!("they are over UDP")
            };
            socket.connect(relay.listener("udp")).unwrap();
            ask(client);
        }
        stay.resize_with(16, || Client::of(&relay, Over::Udp, "alice"));
        stay.iter_mut().for_each(&mut ask);
        for over in Over::ALL
            .into_iter()
            .cycle()
            .take(usize::try_from(all / each / 2).unwrap())
        {
            ask(&mut Client::of(&relay, over, "alice"));
        }
    }
    assert!(u64::try_from(seen.len()).unwrap() >= all);
}

/// An Allocate with this nonce and the right password.
fn signed(client: &Client, nonce: &[u8], id: u8) -> Vec<u8> {
    let secrets = client.secrets();
    let (name, password) = (&secrets[0], String::from_utf8(secrets[1].clone()).unwrap());
    let realm = Realm::new(REALM).unwrap();
    let key = LongTermKey::derive(PasswordAlgorithm::Md5, name, &realm, &password).unwrap();
    let mut bytes = vec![0; 1024];
    let id = TransactionId([id; 12]);
    let mut writer = Writer::new(&mut bytes, Class::Request, Method::Allocate, id);
    writer.requested_transport(17);
    writer.username(name);
    writer.realm(REALM.as_bytes());
    writer.nonce(nonce);
    writer.message_integrity(key.as_bytes());
    let length = writer.finish().unwrap();
    bytes.truncate(length);
    bytes
}

/// even with the relay's own nonce key: one of another address or port, one that is too old, one that is dated ahead by
/// more than the clocks may differ, and one that was changed get 438; what was minted now, or a little ahead, is taken.
#[test]
fn nonces_serve_their_client_and_their_time() {
    let relay = with_nonce_key(1).start();
    let nonces = Nonces::new(
        NonceKey::from_secret(NONCE_SECRET.as_bytes()).unwrap(),
        None,
        std::time::Duration::from_secs(600),
    );
    let mut client = Client::of(&relay, Over::Udp, "alice");
    let Link::Udp(socket) = &client.link else {
        unreachable!("it is over UDP")
    };
    // Bound to the wildcard address, it says 127.0.0.1 to a relay on loopback.
    let port = socket.local_addr().unwrap().port();
    let home = SocketAddr::from(([127, 0, 0, 1], port));
    let features = Features {
        password_algorithms: true,
        username_anonymity: false,
    };
    let now = Clock::start().unix().as_secs();
    let mint = |seconds: u64, client: SocketAddr| {
        let nonce = nonces.mint(UnixTime::from_secs(seconds), client, features, 7);
        nonce.as_bytes().to_vec()
    };
    let mut changed = mint(now, home);
    changed[20] ^= 1;
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], port));
    let other_port = SocketAddr::new(home.ip(), port ^ 1);
    let mut code = |nonce: &[u8], id: u8| {
        let bytes = signed(&client, nonce, id);
        client.send(&bytes);
        client.answer(TransactionId([id; 12])).code()
    };
    for (id, (what, nonce)) in (20..).zip([
        ("of another address", mint(now, elsewhere)),
        ("of another port", mint(now, other_port)),
        ("too old", mint(now - 660, home)),
        ("dated ahead by a minute", mint(now + 60, home)),
        ("dated ahead by a day", mint(now + 86_400, home)),
        ("changed", changed),
    ]) {
        assert_eq!(code(&nonce, id), 438, "{what}");
    }
    assert_eq!(code(&mint(now - 300, home), 40), 0, "five minutes old");
}

/// what one client sent, nonce and all, is worth nothing from another port.
#[test]
fn a_request_that_was_seen_is_worth_nothing_elsewhere() {
    let relay = Setup::on_loopback(2).start();
    let mut client = Client::of(&relay, Over::Udp, "alice");
    client.challenge();
    let (id, seen) = client.request_bytes(Method::Allocate, |w| w.requested_transport(17));
    let mut thief = Client::of(&relay, Over::Udp, "mallory");
    thief.send(&seen);
    assert_eq!(thief.answer(id).code(), 438);
    client.allocate();
}

/// another user's reservation token is 508 and stays its owner's; guesses hit nothing; tokens do not hold their port.
#[test]
fn a_reservation_token_serves_its_owner_alone() {
    let relay = Setup::on_loopback(1).start();
    let mut telling = 0;
    for turn in 0..32 {
        let mut alice = Client::of(&relay, Over::Udp, &format!("alice-{turn}"));
        let answer = alice.try_allocate(|w| w.even_port(true));
        assert_eq!(answer.code(), 0);
        let port = answer.relayed()[0].port();
        let token = answer.attributes().reservation_token().unwrap().unwrap();
        let next = port + 1;
        for bytes in [next.to_be_bytes(), next.to_le_bytes()] {
            telling += usize::from(token.windows(2).any(|pair| pair == bytes));
        }
        let mut bob = Client::of(&relay, Over::Udp, "bob");
        let stolen = bob.try_allocate(|w| w.reservation_token(token));
        assert_eq!(stolen.code(), CAPACITY);
        let mut again = Client::of(&relay, Over::Tcp, &format!("alice-{turn}"));
        let claimed = again.try_allocate(|w| w.reservation_token(token));
        assert_eq!((claimed.code(), claimed.relayed()[0].port()), (0, next));
    }
    // By chance it is once in four hundred tokens or so.
    assert!(telling < 6, "{telling} tokens with their port in them");
    let mut alice = Client::of(&relay, Over::Udp, "alice");
    assert_eq!(alice.try_allocate(|w| w.even_port(true)).code(), 0);
    let mut bob = Client::of(&relay, Over::Udp, "bob");
    for guess in 0..scale(3_000, 1_000_000) {
        let token = (guess.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_be_bytes();
        let answer = bob.try_allocate(|w| w.reservation_token(token));
        assert_eq!(answer.code(), CAPACITY);
    }
}
