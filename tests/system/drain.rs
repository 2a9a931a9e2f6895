//! A relay that is taken away while calls go on: by order and by signal, undone, resumed, and across a restart.
//!
//! Responsible for the running program. Not responsible for which orders make sense (`relay/src/drain`), nor for every
//! form of a refusal (`protocol/src/server`).

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};
use taciturn_protocol::wire::Method;

use crate::calls::{Call, Canaries};
use crate::client::{Client, Over, peer};
use crate::running::{Running, Setup, assert_stopped, eventually, fresh_directory};

const LATER: u64 = 4_102_444_800;

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn order(deadline: u64, epoch: u64) -> String {
    json!({ "deadline": deadline, "reason": "scale in", "epoch": epoch }).to_string()
}

fn begin(relay: &Running, deadline: u64, epoch: u64) -> (u16, Value) {
    let (code, text) = relay.http_with("POST", "/v1/drain", &order(deadline, epoch));
    (code, serde_json::from_str(&text).unwrap())
}

fn status(relay: &Running) -> Value {
    let (code, text) = relay.http("GET", "/v1/status");
    assert_eq!(code, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// What a client that is new gets for an Allocate: 0 for success.
fn newcomer(relay: &Running, over: Over) -> u16 {
    let mut client = Client::of(relay, over, "newcomer");
    let code = client.try_allocate(|_| {}).code();
    if code == 0 {
        client.release();
    }
    code
}

/// A directory for the relay's state that outlives the relay.
struct StateDirectory(PathBuf);

impl StateDirectory {
    fn new() -> Self {
        Self(fresh_directory())
    }

    fn setup(&self) -> Setup {
        Setup {
            top: format!("state-directory = \"{}\"", self.0.display()),
            ..Setup::on_loopback(2)
        }
    }

    fn file(&self) -> PathBuf {
        self.0.join("drain.json")
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// T-29: calls lose nothing while drains begin and end, what they hold is refreshed, and newcomers alone are refused.
#[test]
fn calls_over_every_transport_lose_nothing_while_the_relay_drains() {
    let relay = Setup::on_loopback(2).start();
    let canaries = Canaries::start(&relay);
    let mut held = Over::ALL.map(|over| Call::open(&relay, over, "held"));
    for epoch in 1..6 {
        let (code, answer) = begin(&relay, LATER, epoch);
        assert_eq!((code, &answer["phase"]), (200, &json!("draining")));
        for (over, call) in Over::ALL.into_iter().zip(&mut held) {
            assert_eq!(newcomer(&relay, over), 508, "{over:?}");
            let client = &mut call.client;
            let refreshed = client.request(Method::Refresh, |w| w.lifetime(600));
            assert_eq!(refreshed.code(), 0, "Refresh over {over:?}");
            let another = peer();
            client.permit(another.local_addr().unwrap());
            let number = 0x4100 + u16::try_from(epoch).unwrap();
            client.bind(number, another.local_addr().unwrap());
            client.send_channel(number, b"to a channel of the drain");
            call.exchange();
        }
        let during = status(&relay);
        assert_eq!(during["phase"], "draining");
        assert_eq!(during["ready"], false);
        let drain = &during["drain"];
        assert_eq!(drain["deadline"], LATER);
        assert_eq!(drain["reason"], "scale in");
        assert_eq!(drain["epoch"], epoch);
        assert_eq!(drain["source"], "operator");
        assert_eq!(drain["deadline_passed"], false);
        assert_eq!(drain["allocations_remaining"], 6);
        assert!(drain["started"].as_u64().unwrap() <= now());
        assert_eq!(relay.http("GET", "/ready"), (503, "draining\n".to_owned()));
        assert_eq!(relay.metric("taciturn_relay_phase{phase=\"draining\"}"), 1);
        assert_eq!(relay.metric("taciturn_relay_phase{phase=\"ready\"}"), 0);
        assert_eq!(
            relay.metric("taciturn_relay_drain_remaining_allocations "),
            6
        );

        let (code, answer) = relay.http("DELETE", "/v1/drain");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((code, &answer["phase"]), (200, &json!("ready")));
        assert_eq!(answer["drain"], Value::Null);
        for over in Over::ALL {
            assert_eq!(newcomer(&relay, over), 0, "{over:?}");
        }
    }
    canaries.finish();
    let begun = relay.metric("taciturn_relay_drains_total{source=\"operator\"}");
    assert_eq!(begun, 5);
    let log = relay.log();
    assert_eq!(log.matches("drain begun").count(), 5, "{log}");
    assert_eq!(log.matches("drain undone").count(), 5, "{log}");
    assert!(!log.contains("drained"), "{log}");
}

/// S-36, T-29: newcomers over UDP and TCP are sent to an alternate of their transport and family, once it is known who they
/// are; over TLS, where an address could not match a certificate, they get 508.
#[test]
fn newcomers_are_sent_to_the_alternates_that_are_configured() {
    let mut setup = Setup::on_loopback(2);
    for transport in ["udp", "tcp"] {
        setup = setup.listener(transport, "[::1]:0");
    }
    setup.drain += r#"
        alternates = [
            { transport = "udp", address = "192.0.2.8:3478" },
            { transport = "tcp", address = "192.0.2.9:443" },
            { transport = "udp", address = "[2001:db8::8]:3478" },
        ]"#;
    let relay = setup.start();
    let six = relay.listeners("udp")[1];
    let (mut held, mut held_in_tls) = (
        Call::open(&relay, Over::Udp, "held"),
        Call::open(&relay, Over::Tls, "held"),
    );
    assert_eq!(begin(&relay, LATER, 1).0, 200);
    for (mut client, expected) in [
        (
            Client::of(&relay, Over::Udp, "newcomer"),
            vec!["192.0.2.8:3478", "[2001:db8::8]:3478"],
        ),
        (
            Client::udp(six, "newcomer"),
            vec!["[2001:db8::8]:3478", "192.0.2.8:3478"],
        ),
        (
            Client::of(&relay, Over::Tcp, "newcomer"),
            vec!["192.0.2.9:443"],
        ),
    ] {
        // Without credentials the answer is a challenge, drain or not.
        client.challenge();
        let answer = client.try_allocate(|_| {});
        assert_eq!(answer.code(), 300);
        let servers = answer.attributes().alternate_servers();
        let servers: Vec<_> = servers.map(|server| server.unwrap().to_string()).collect();
        assert_eq!(servers, expected);
        assert!(client.trusts(&answer));
    }
    assert_eq!(newcomer(&relay, Over::Tls), 508);
    let other_family = relay.listeners("tcp")[1];
    let answer = Client::tcp(other_family, "newcomer").try_allocate(|_| {});
    assert_eq!(answer.code(), 508, "no alternate over TCP and IPv6");
    held.exchange();
    held_in_tls.exchange();
    assert_eq!(relay.http("DELETE", "/v1/drain").0, 200);
    assert_eq!(newcomer(&relay, Over::Udp), 0);
}

#[test]
fn a_drain_that_was_ordered_goes_on_after_a_crash_and_so_do_its_epochs() {
    let state = StateDirectory::new();
    let relay = state.setup().start();
    let (code, answer) = begin(&relay, LATER, 7);
    assert_eq!(code, 200);
    assert_eq!(answer["drain"]["survives_restart"], true);
    relay.crash();

    let relay = state.setup().start();
    assert_eq!(relay.http("GET", "/ready"), (503, "drained\n".to_owned()));
    let again = status(&relay);
    assert_eq!(again["phase"], "drained");
    assert_eq!(again["drain"]["deadline"], LATER);
    assert_eq!(again["drain"]["epoch"], 7);
    for over in Over::ALL {
        assert_eq!(newcomer(&relay, over), 508, "{over:?}");
    }
    assert!(
        relay
            .log()
            .contains("the drain that was ordered before the restart goes on")
    );
    for (method, path, body) in [
        ("POST", "/v1/drain", order(LATER, 6)),
        ("DELETE", "/v1/drain", r#"{"epoch": 6}"#.to_owned()),
        ("DELETE", "/v1/drain?epoch=6", String::new()),
    ] {
        let (code, text) = relay.http_with(method, path, &body);
        assert_eq!(code, 409, "{method} {path}: {text}");
        assert!(text.contains("epoch 6 is older than 7"), "{text}");
    }
    assert_eq!(status(&relay)["phase"], "drained");
    assert_eq!(relay.http("DELETE", "/v1/drain?epoch=8").0, 200);
    assert_eq!(newcomer(&relay, Over::Udp), 0);
    drop(relay);

    let relay = state.setup().start();
    assert_eq!(relay.http("GET", "/ready").0, 200);
    assert_eq!(begin(&relay, LATER, 7).0, 409);
    assert_eq!(newcomer(&relay, Over::Udp), 0);
    assert_eq!(begin(&relay, LATER, 8).0, 200);
}

#[test]
fn a_state_that_cannot_be_read_is_reported_and_stops_nothing() {
    let state = StateDirectory::new();
    fs::write(state.file(), "{\"version\":1,\"epoch\":").unwrap();
    let relay = state.setup().start();
    assert_eq!(relay.http("GET", "/ready").0, 200);
    let log = relay.log();
    assert!(
        log.contains("the kept drain orders cannot be read"),
        "{log}"
    );
    assert_eq!(newcomer(&relay, Over::Udp), 0);
    assert_eq!(begin(&relay, LATER, 1).0, 200);
    drop(relay);
    let relay = state.setup().start();
    assert_eq!(status(&relay)["phase"], "drained");
}

/// A directory that is not there any more must not keep anybody from draining the relay.
#[test]
fn an_order_that_cannot_be_kept_is_obeyed_and_the_answer_says_so() {
    let state = StateDirectory::new();
    let relay = state.setup().start();
    fs::remove_dir_all(&state.0).unwrap();
    let (code, answer) = begin(&relay, LATER, 1);
    assert_eq!(code, 200);
    assert_eq!(answer["phase"], "drained");
    assert_eq!(answer["drain"]["survives_restart"], false);
    assert!(relay.log().contains("the drain order cannot be kept"));
    let without = Setup::on_loopback(1).start();
    let (_, answer) = begin(&without, LATER, 1);
    assert_eq!(answer["drain"]["survives_restart"], false);
}

/// T-29: the relay ends with its last call, not before, and says that it cut none.
#[test]
fn sigterm_waits_for_the_end_of_the_last_call() {
    let relay = Setup {
        drain: "stop-after = \"10m\"".to_owned(),
        ..Setup::on_loopback(2)
    }
    .start();
    let mut calls = Over::ALL.map(|over| Call::open(&relay, over, "held"));
    relay.signal(Signal::TERM);
    eventually("the drain", || status(&relay)["phase"] == "draining");
    let drain = &status(&relay)["drain"];
    assert_eq!(drain["source"], "signal");
    assert_eq!(drain["stopping"], true);
    assert_eq!(drain["survives_restart"], false);
    assert!(drain["deadline"].as_u64().unwrap() > now());
    assert_eq!(
        relay.metric("taciturn_relay_drains_total{source=\"signal\"}"),
        1
    );
    // Asked twice, it says so, and nothing else happens.
    relay.signal(Signal::TERM);
    eventually("the answer to the second", || {
        relay.log().contains("stopping already")
    });
    for (over, call) in Over::ALL.into_iter().zip(&mut calls) {
        assert_eq!(newcomer(&relay, over), 508);
        let refreshed = call.client.request(Method::Refresh, |w| w.lifetime(600));
        assert_eq!(refreshed.code(), 0);
        call.client.permit(peer().local_addr().unwrap());
        for _ in 0..50 {
            call.exchange();
        }
    }
    let [mut udp, mut tcp, mut tls] = calls;
    udp.client.release();
    tcp.client.release();
    for _ in 0..50 {
        tls.exchange();
    }
    tls.client.release();
    let log = relay.ended();
    assert_stopped(&log, "drained", 0);
}

#[test]
fn a_stop_by_signal_can_be_undone() {
    let relay = Setup {
        drain: "stop-after = \"10m\"".to_owned(),
        ..Setup::on_loopback(1)
    }
    .start();
    let mut call = Call::open(&relay, Over::Udp, "held");
    relay.signal(Signal::TERM);
    eventually("the drain", || status(&relay)["phase"] == "draining");
    assert_eq!(relay.http("DELETE", "/v1/drain").0, 200);
    call.exchange();
    call.client.release();
    // With no allocation left it would end, had it not been undone.
    eventually("a new client", || newcomer(&relay, Over::Tcp) == 0);
    let mut call = Call::open(&relay, Over::Udp, "held");
    relay.signal(Signal::TERM);
    eventually("the drain again", || status(&relay)["phase"] == "draining");
    call.exchange();
    call.client.release();
    relay.ended();
}

#[test]
fn at_its_deadline_a_stop_cuts_what_is_left_and_says_how_much() {
    let relay = Setup {
        drain: "stop-after = \"2s\"".to_owned(),
        ..Setup::on_loopback(2)
    }
    .start();
    let mut calls = Over::ALL.map(|over| Call::open(&relay, over, "held"));
    relay.signal(Signal::TERM);
    for call in &mut calls {
        call.exchange();
    }
    let log = relay.ended();
    assert_stopped(&log, "deadline", 3);
    // Who is cut off is told: a stream that ended any other way would be an error to rustls.
    let [_, mut tcp, mut tls] = calls;
    assert!(tcp.client.is_closed_in_order());
    assert!(tls.client.is_closed_in_order());
}

#[test]
fn a_second_interrupt_stops_at_once() {
    let relay = Setup {
        drain: "stop-after = \"10m\"".to_owned(),
        ..Setup::on_loopback(1)
    }
    .start();
    let mut call = Call::open(&relay, Over::Udp, "held");
    relay.signal(Signal::INT);
    eventually("what to do about it", || {
        relay.log().contains("a second SIGINT stops at once")
    });
    call.exchange();
    relay.signal(Signal::INT);
    let log = relay.ended();
    assert_stopped(&log, "interrupted", 1);
}

#[test]
fn a_relay_without_calls_ends_at_the_first_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let relay = Setup {
            drain: "stop-after = \"10m\"".to_owned(),
            ..Setup::on_loopback(2)
        }
        .start();
        relay.signal(signal);
        assert_stopped(&relay.ended(), "drained", 0);
    }
}

/// Whoever ordered the drain ends the host; the relay cuts nobody off by itself.
#[test]
fn the_deadline_of_an_order_is_reported_and_ends_no_call() {
    let relay = Setup::on_loopback(1).start();
    let mut call = Call::open(&relay, Over::Tls, "held");
    assert_eq!(begin(&relay, now() + 2, 1).0, 200);
    eventually("the deadline", || {
        relay.metric("taciturn_relay_drain_deadline_passed ") == 1
    });
    eventually("a line on it", || {
        relay.log().contains("the deadline of the drain has passed")
    });
    let drain = &status(&relay)["drain"];
    assert_eq!(drain["deadline_passed"], true);
    assert_eq!(drain["allocations_remaining"], 1);
    for _ in 0..20 {
        call.exchange();
    }
    let refreshed = call.client.request(Method::Refresh, |w| w.lifetime(600));
    assert_eq!(refreshed.code(), 0);
    assert_eq!(newcomer(&relay, Over::Udp), 508);
    call.client.release();
    eventually("the end of the drain", || {
        status(&relay)["phase"] == "drained"
    });
    let drained = |line: &str| line.contains("phase changed") && line.contains("drained");
    eventually("a line on it", || relay.log().lines().any(drained));
}
