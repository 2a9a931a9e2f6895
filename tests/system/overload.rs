//! A relay with more to do than it should have: who is turned away, and who is not.
//!
//! Responsible for the running program: that a busy worker is noticed, told and acted on, and that all of it ends. Not
//! responsible for when exactly (`relay/src/load`), nor for how fast anything is answered meanwhile (`benches/load`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use taciturn_protocol::wire::{Method, Writer};

use crate::client::{Client, Link, Over, peer};
use crate::running::{Running, Setup};

/// How long the relay may take to find out, and to come round again: seconds on an idle machine.
const FOUND_OUT: Duration = Duration::from_secs(60);
const CHANNEL: u16 = 0x4000;

/// A client that relays to another allocation of the same relay, so that all the work is the relay's.
fn talker(relay: &Running, number: usize) -> (Client, Client) {
    let [mut from, mut to] =
        ["from", "to"].map(|end| Client::of(relay, Over::Udp, &format!("{end}-{number}")));
    let [source, target] = [from.allocate(), to.allocate()];
    from.bind(CHANNEL, target);
    to.bind(CHANNEL, source);
    (from, to)
}

fn await_ready(relay: &Running, code: u16) -> String {
    let deadline = Instant::now() + FOUND_OUT;
    loop {
        let (found, text) = relay.http("GET", "/ready");
        if found == code {
            return text;
        }
        assert!(Instant::now() < deadline, "still {found}: {text}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// One request, over UDP sent again until it is answered, as a client does (RFC 8489 §6.2.1): the flood may have taken its
/// place in the relay's receive buffer.
fn insist(client: &mut Client, method: Method, attributes: impl Fn(&mut Writer<'_>)) -> u16 {
    if !matches!(client.link, Link::Udp(_)) {
        return client.request(method, attributes).code();
    }
    let (id, bytes) = client.request_bytes(method, attributes);
    let deadline = Instant::now() + FOUND_OUT;
    while Instant::now() < deadline {
        client.send(&bytes);
        client.set_timeout(Duration::from_millis(200));
        if let Some(answer) = client.try_answer(id) {
            return answer.code();
        }
    }
    panic!("no answer to {method:?}");
}

/// New allocations are shed while established ones are served, and let in again afterwards.
#[test]
fn an_overloaded_relay_turns_new_clients_away_and_serves_those_it_has() {
    let relay = Setup {
        // Low, so that it is reached beside whatever else this machine is doing.
        overload: "busiest-core = 0.05".to_owned(),
        ..Setup::on_loopback(1)
    }
    .start();
    let target = peer().local_addr().unwrap();
    let mut established = Over::ALL.map(|over| {
        let mut client = Client::of(&relay, over, "established");
        client.allocate();
        client.permit(target);
        client
    });
    let mut talkers: Vec<_> = (0..4).map(|number| talker(&relay, number)).collect();
    assert_eq!(relay.metric("taciturn_relay_overloaded "), 0);

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Ends the flood when an assertion below fails, too.
        let _ended = Stop(&stop);
        let flooding = Instant::now();
        for pair in talkers.chunks_mut(2) {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) && flooding.elapsed() < 4 * FOUND_OUT {
                    for (from, _) in &mut *pair {
                        from.send_channel(CHANNEL, &[0x16; 200]);
                    }
                }
            });
        }
        let text = await_ready(&relay, 503);
        assert_eq!(text, "overload\n");

        for over in [Over::Tcp, Over::Tls] {
            let answer = Client::of(&relay, over, "newcomer").try_allocate(|_| {});
            assert_eq!(answer.code(), 508, "{over:?}");
        }
        for (over, client) in Over::ALL.into_iter().zip(&mut established) {
            for round in 0..5 {
                let refreshed = insist(client, Method::Refresh, |w| w.lifetime(600));
                assert_eq!(refreshed, 0, "Refresh {round} over {over:?}");
                let permitted = insist(client, Method::CreatePermission, |w| {
                    w.xor_peer_address(target);
                });
                assert_eq!(permitted, 0, "CreatePermission {round} over {over:?}");
            }
        }
        assert_eq!(relay.metric("taciturn_relay_overloaded "), 1);
        assert_eq!(relay.metric("taciturn_relay_ready "), 0);
        let (_, status) = relay.http("GET", "/v1/status");
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["phase"], "ready", "the phase is another matter");
        assert_eq!(status["overloaded"], true);
        assert_eq!(status["not_ready_because"][0], "overload");
    });

    await_ready(&relay, 200);
    assert_eq!(relay.metric("taciturn_relay_overloaded "), 0);
    Client::of(&relay, Over::Udp, "newcomer").allocate();
    let log = relay.log();
    for line in ["\"parts\":\"busiest_core\"", "no longer overloaded"] {
        assert!(log.contains(line), "no {line} in\n{log}");
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What can be counted is shed when it is nearly full, and the reason is told while it lasts.
#[test]
fn a_relay_whose_allocations_are_taken_is_not_ready() {
    let relay = Setup {
        limits: "unauthenticated-per-second = 0\nallocations = 2".to_owned(),
        overload: "busiest-core = 1.0".to_owned(),
        ..Setup::on_loopback(1)
    }
    .start();
    let mut clients = [0, 1].map(|number| {
        let mut client = Client::of(&relay, Over::Tcp, &format!("user-{number}"));
        client.allocate();
        client
    });
    assert_eq!(await_ready(&relay, 503), "overload\n");
    let answer = Client::of(&relay, Over::Tcp, "user-2").try_allocate(|_| {});
    assert_eq!(answer.code(), 508);
    clients.iter_mut().for_each(Client::release);
    await_ready(&relay, 200);
    Client::of(&relay, Over::Tcp, "user-3").allocate();
}
