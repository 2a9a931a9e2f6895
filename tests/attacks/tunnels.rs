//! A user with honest credentials who carries something else than calls: bulk, for long, to one peer.
//!
//! What a relay can do about it without reading payloads: bound it, show it, end it. Nothing here looks into payloads, and
//! nothing claims to tell a tunnel from a call. Not responsible for one allocation's limit (`bandwidth`).

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::calls::Call;
use crate::client::{Client, Over, peer};
use crate::running::{Running, Setup, eventually};
use crate::scale::scale;

const CHANNEL: u16 = 0x4000;
/// 1.6 Mbit/s.
const BYTES_PER_SECOND: u64 = 200_000;
const PAYLOAD: usize = 1000;

fn allocations(relay: &Running) -> Vec<Value> {
    let (code, text) = relay.http("GET", "/v1/allocations");
    assert_eq!(code, 200);
    let mut list: Value = serde_json::from_str(&text).unwrap();
    list["allocations"].take().as_array().unwrap().clone()
}

/// a tunnel of three allocations of one user gets what that user may have and no more, a call of another user beside it
/// loses nothing, the operator sees by pseudonym who carries how much, and ends it with one order.
#[test]
fn a_tunnel_is_bounded_seen_and_ended() {
    let mut setup = Setup::on_loopback(1);
    setup.limits += &format!("\nbits-per-second-per-user = {}", 8 * BYTES_PER_SECOND);
    let relay = setup.start();
    let mut call = Call::open(&relay, Over::Udp, "patient");
    let far_end = peer();
    let mut tunnel = Over::ALL.map(|over| {
        let mut client = Client::of(&relay, over, "tunneller");
        client.allocate();
        client.bind(CHANNEL, far_end.local_addr().unwrap());
        client
    });
    let begun = Instant::now();
    let mut delivered = 0_u64;
    far_end
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    // Ten times what is allowed.
    for _ in 0..scale(200, 6000) {
        for client in &mut tunnel {
            for _ in 0..7 {
                client.send_channel(CHANNEL, &[0xC3; PAYLOAD]);
            }
        }
        call.exchange();
        let tick = Instant::now();
        while tick.elapsed() < Duration::from_millis(10) {
            delivered += u64::from(far_end.recv_from(&mut [0; 2048]).is_ok());
        }
    }
    while far_end.recv_from(&mut [0; 2048]).is_ok() {
        delivered += 1;
    }
    // Who was silent may send a second's worth at once.
    let seconds = begun.elapsed().as_secs() + 2;
    let allowed = seconds * BYTES_PER_SECOND / PAYLOAD as u64 + 1;
    assert!(
        (100..=allowed).contains(&delivered),
        "{delivered} of {allowed}"
    );
    assert!(relay.dropped("bandwidth") > 0);

    let all = allocations(&relay);
    let bytes = |entry: &Value| entry["to_peer"]["bytes"].as_u64().unwrap();
    let greatest = all.iter().max_by_key(|entry| bytes(entry)).unwrap();
    let user = greatest["user"].as_str().unwrap();
    let of_tunnel: Vec<_> = all.iter().filter(|entry| entry["user"] == user).collect();
    assert_eq!((all.len(), of_tunnel.len()), (4, 3));
    let sum: u64 = of_tunnel.iter().map(|entry| bytes(entry)).sum();
    assert!(sum >= delivered * PAYLOAD as u64);
    assert!(!format!("{all:?}").contains("tunneller"));

    for entry in &of_tunnel {
        let path = format!("/v1/allocations/{}", entry["id"].as_str().unwrap());
        assert_eq!(relay.http("DELETE", &path).0, 204);
    }
    assert_eq!(allocations(&relay).len(), 1);
    for client in &mut tunnel {
        client.send_channel(CHANNEL, b"too late");
    }
    call.exchange();
    assert!(crate::client::is_silent(&far_end));
    // Each end is on record, with what it carried, and without a name.
    eventually("the ends in the log", || {
        relay.log().matches("\"cause\":\"operator\"").count() == 3
    });
    assert!(!relay.log().contains("tunneller"));
}

/// A-36, H-06: credentials for longer than the relay takes are refused, so a tunnel has to ask for new ones at every
/// appointment, and who mints them can say no.
#[test]
fn credentials_for_a_standing_tunnel_are_refused() {
    let mut setup = Setup::on_loopback(1);
    setup.more = "[credentials]\nmax-ttl = \"30m\"\n".to_owned();
    let relay = setup.start();
    for over in Over::ALL {
        // Theirs are good for an hour.
        let mut client = Client::of(&relay, over, "tunneller");
        assert_eq!(client.try_allocate(|_| {}).code(), 401, "{over:?}");
    }
}
