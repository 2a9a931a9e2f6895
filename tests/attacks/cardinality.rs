//! What a scrape costs, whoever calls: as many series after a city's worth of users as before the first.
//!
//! Not responsible for what the figures say.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use taciturn_protocol::wire::{Class, Framed, Method, TransactionId, Writer};
use taciturn_relay::clock::Clock;

use crate::calls::Call;
use crate::client::{Client, Over};
use crate::running::{REALM, Running, Setup, eventually};

const USERS: u32 = 100_000;
const SOCKETS: u32 = 4;
/// Requests that one socket has under way: all of them and their answers fit the kernel's smallest buffers.
const WINDOW: u32 = 100;
const HELD: usize = 300;

/// Every series of a scrape: name and labels, without the value.
fn series(relay: &Running) -> BTreeSet<String> {
    let (code, text) = relay.http("GET", "/metrics");
    assert_eq!(code, 200);
    assert!(text.len() <= 1 << 20, "{} bytes", text.len());
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<_> = samples
        .map(|line| line.rsplit_once(' ').expect("name and value").0.to_owned())
        .collect();
    let distinct: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(names.len(), distinct.len(), "a series is shown once");
    distinct
}

/// An Allocate of this user, whose password its sender does not know.
fn request(user: u32, expires: u64, nonce: &[u8]) -> (TransactionId, Vec<u8>) {
    let mut id = [1; 12];
    id[8..].copy_from_slice(&user.to_be_bytes());
    let id = TransactionId(id);
    let mut bytes = vec![0; 512];
    let mut writer = Writer::new(&mut bytes, Class::Request, Method::Allocate, id);
    writer.requested_transport(17);
    writer.username(format!("{expires}:distinct-user-{user}").as_bytes());
    writer.realm(REALM.as_bytes());
    writer.nonce(nonce);
    writer.message_integrity(b"not this user's key");
    let length = writer.finish().unwrap();
    bytes.truncate(length);
    (id, bytes)
}

/// Has each of these users ask once, and be refused.
fn ask_for(server: SocketAddr, users: std::ops::Range<u32>) {
    let mut client = Client::udp(server, "nobody");
    let challenge = client.request(Method::Allocate, |w| w.requested_transport(17));
    let nonce = challenge.attributes().nonce().unwrap().to_vec();
    let expires = Clock::start().unix().as_secs() + 3600;
    client.set_timeout(Duration::from_secs(1));
    for first in users.clone().step_by(WINDOW as usize) {
        let mut open: HashMap<_, _> = (first..users.end.min(first + WINDOW))
            .map(|user| request(user, expires, &nonce))
            .map(|(id, bytes)| (id.0, bytes))
            .collect();
        // What the kernel drops is sent again, as by any client.
        for _ in 0..30 {
            for bytes in open.values() {
                client.send(bytes);
            }
            while !open.is_empty() {
                let Some(answer) = client.receive() else {
                    break;
                };
                let framed = Framed::parse(&answer).unwrap();
                let (code, _) = framed.unauthenticated().error_code().unwrap().unwrap();
                assert_eq!(code, 401);
                open.remove(&framed.transaction_id().0);
            }
            if open.is_empty() {
                break;
            }
        }
        assert!(open.is_empty(), "{} requests unanswered", open.len());
    }
}

/// names by the hundred thousand, true and false, over every transport, and not one series more.
#[test]
fn a_scrape_has_the_same_series_whoever_calls() {
    let mut relay = Setup::on_loopback(2).start();
    // A rate needs two samples, and is not shown as nothing before there are.
    eventually("the first rates", || {
        let shown = series(&relay);
        shown.contains("taciturn_relay_utilisation_part{part=\"busiest_core\"}")
    });
    let before = series(&relay);
    let server = relay.listener("udp");
    thread::scope(|scope| {
        for socket in 0..SOCKETS {
            let share = USERS / SOCKETS;
            scope.spawn(move || ask_for(server, socket * share..(socket + 1) * share));
        }
    });
    let refused =
        relay.metric("taciturn_relay_authentications_total{result=\"wrong_credentials\"}");
    assert!(refused >= u64::from(USERS), "{refused}");
    let mut held: Vec<_> = (0..HELD)
        .map(|number| {
            Call::open(
                &relay,
                Over::ALL[number % 3],
                &format!("true-user-{number}"),
            )
        })
        .collect();
    for call in &mut held {
        call.exchange();
    }
    assert_eq!(
        relay.metric("taciturn_relay_allocations "),
        u64::try_from(HELD).unwrap()
    );
    let during = series(&relay);
    drop(held);
    let added: Vec<_> = during.symmetric_difference(&before).collect();
    assert!(added.is_empty(), "{added:?}");
    assert!(!during.iter().any(|name| name.contains("user-")));
    relay.assert_alive();
}
