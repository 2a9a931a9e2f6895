//! What is revoked makes nothing new, on every worker and over every transport, and nobody who holds something notices.
//!
//! Responsible for the running program. Not responsible for every form of a list (`relay/src/revocations`), nor for what a
//! request costs (`protocol/src/credentials`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use taciturn_protocol::wire::Method;

use crate::calls::{Call, Canaries};
use crate::client::{Client, Over};
use crate::running::{Running, Setup, eventually, fresh_directory};

const LATER: u64 = 4_102_444_800;
/// Nobody else has it, so that it is found wherever it gets.
const USER: &str = "patient-4711";
/// The id of the secret of every relay here.
const KEY: &str = "test";

fn put(relay: &Running, version: u64, users: &[&str], keys: &[&str]) -> (u16, Value) {
    let list = json!({
        "epoch": 3,
        "version": version,
        "users": users.iter().map(|user| json!({"user": user, "until": LATER})).collect::<Vec<_>>(),
        "key_ids": keys.iter().map(|key| json!({"key_id": key})).collect::<Vec<_>>(),
    });
    let (code, text) = relay.http_with("PUT", "/v1/revocations", &list.to_string());
    (code, serde_json::from_str(&text).unwrap())
}

/// What a client that is new gets for an Allocate: 0 for success.
fn newcomer(relay: &Running, over: Over, user: &str) -> u16 {
    let mut client = Client::of(relay, over, user);
    let code = client.try_allocate(|_| {}).code();
    if code == 0 {
        client.release();
    }
    code
}

/// From many ports, so that every worker is asked.
fn newcomers(relay: &Running, user: &str) -> Vec<u16> {
    let everywhere = (0..24).map(|_| newcomer(relay, Over::Udp, user));
    let streams = [Over::Tcp, Over::Tls].map(|over| newcomer(relay, over, user));
    everywhere.chain(streams).collect()
}

/// A directory for the relay's state that outlives the relay.
struct StateDirectory(PathBuf);

impl StateDirectory {
    fn setup(&self) -> Setup {
        Setup {
            top: format!("state-directory = \"{}\"", self.0.display()),
            ..Setup::on_loopback(4)
        }
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// H-03: the calls of a revoked user lose nothing and are refreshed; every worker refuses a new one from the answer on.
#[test]
fn a_revoked_user_keeps_its_calls_and_begins_none() {
    let relay = Setup::on_loopback(4).start();
    let canaries = Canaries::start(&relay);
    let mut held = Over::ALL.map(|over| Call::open(&relay, over, USER));
    for version in (1..=5).map(|round| 2 * round) {
        let (code, answer) = put(&relay, version, &[USER, "somebody-else"], &[]);
        assert_eq!(code, 200, "{answer}");
        assert_eq!(
            (&answer["version"], &answer["users"]),
            (&version.into(), &2.into())
        );
        assert_eq!(newcomers(&relay, USER), [401; 26]);
        assert_eq!(newcomers(&relay, "patient-4712"), [0; 26]);
        for call in &mut held {
            let refreshed = call.client.request(Method::Refresh, |w| w.lifetime(600));
            assert_eq!(refreshed.code(), 0);
            call.exchange();
        }
        assert_eq!(put(&relay, version + 1, &[], &[]).0, 200);
        assert_eq!(newcomers(&relay, USER), [0; 26], "lifted");
    }
    canaries.finish();
}

/// H-03: the same of a secret.
#[test]
fn a_revoked_secret_keeps_its_calls_and_begins_none() {
    let relay = Setup::on_loopback(2).start();
    let canaries = Canaries::start(&relay);
    let mut call = Call::open(&relay, Over::Udp, USER);
    assert_eq!(put(&relay, 1, &[], &["another"]).0, 200);
    assert_eq!(newcomers(&relay, USER), [0; 26]);
    assert_eq!(put(&relay, 2, &[], &[KEY]).0, 200);
    assert_eq!(newcomers(&relay, USER), [401; 26]);
    call.exchange();
    let refreshed = call.client.request(Method::Refresh, |w| w.lifetime(600));
    assert_eq!(refreshed.code(), 0);
    canaries.finish();
}

#[test]
fn a_restart_and_a_reload_lift_nothing() {
    let directory = StateDirectory(fresh_directory());
    let relay = directory.setup().start();
    assert_eq!(put(&relay, 7, &[USER], &[]).0, 200);
    assert_eq!(newcomers(&relay, USER), [401; 26]);
    let file = directory.0.join("revocations.json");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(relay);

    let relay = directory.setup().start();
    assert_eq!(newcomers(&relay, USER), [401; 26]);
    let config = fs::read_to_string(relay.directory().join("relay.toml")).unwrap();
    relay.rewrite(
        "relay.toml",
        &config.replace("[limits]\n", "[limits]\nallocations = 500\n"),
    );
    relay.hang_up();
    eventually("the reload", || {
        relay.metric("taciturn_relay_config_reloads_total{outcome=\"applied\"}") == 1
    });
    assert_eq!(newcomers(&relay, USER), [401; 26]);
    let (code, answer) = put(&relay, 6, &[], &[]);
    assert_eq!(code, 409, "{answer}");
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("epoch 3 version 7")
    );
    assert_eq!(put(&relay, 7, &[], &[]).0, 409);
    assert_eq!(put(&relay, 7, &[USER], &[]).0, 200);
    assert_eq!(newcomers(&relay, USER), [401; 26]);
}

#[test]
fn a_list_that_cannot_be_meant_changes_nothing() {
    let relay = Setup::on_loopback(1).start();
    assert_eq!(put(&relay, 1, &[USER], &[]).0, 200);
    let many: Vec<String> = (0..1001).map(|number| format!("user-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(put(&relay, 2, &many, &[]).0, 400);
    assert_eq!(put(&relay, 2, &["x", "x"], &[]).0, 400);
    assert_eq!(put(&relay, 2, &[""], &[]).0, 400);
    let long = "x".repeat(70_000);
    for (body, expected) in [
        ("", 400),
        ("{}", 400),
        ("[]", 400),
        (
            r#"{"epoch":9,"version":9,"users":[],"key_ids":[],"more":1}"#,
            400,
        ),
        (r#"{"epoch":9,"version":-1,"users":[],"key_ids":[]}"#, 400),
        (&long, 413),
    ] {
        let (code, text) = relay.http_with("PUT", "/v1/revocations", body);
        assert_eq!(code, expected, "{text}");
    }
    let (_, text) = relay.http("GET", "/v1/revocations");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["users"], json!([{"user": USER, "until": LATER}]));
    assert_eq!((&list["epoch"], &list["version"]), (&3.into(), &1.into()));
    // The longest list that fits: 1,000 users with ids of 24 characters.
    let full: Vec<String> = (0..1000).map(|number| format!("{number:024}")).collect();
    let full: Vec<&str> = full.iter().map(String::as_str).collect();
    let (code, answer) = put(&relay, 2, &full, &[]);
    assert_eq!(code, 200, "{answer}");
}

/// What anybody may see of a relay says how many are revoked, and never who.
#[test]
fn nobody_is_named_but_to_who_asks_for_the_list() {
    let relay = Setup::on_loopback(2).start();
    assert_eq!(put(&relay, 1, &[USER], &["2026-10"]).0, 200);
    assert_eq!(newcomer(&relay, Over::Udp, USER), 401);
    assert_eq!(put(&relay, 0, &[USER], &[]).0, 409);
    let status: Value = serde_json::from_str(&relay.http("GET", "/v1/status").1).unwrap();
    let expected = json!({
        "epoch": 3, "version": 1, "users": 1, "key_ids": 1, "survives_restart": false,
    });
    assert_eq!(status["revocations"], expected);
    let (_, metrics) = relay.http("GET", "/metrics");
    assert!(metrics.contains("taciturn_relay_revocations{kind=\"user\"} 1\n"));
    for text in [metrics, status.to_string(), relay.log()] {
        assert!(!text.contains(USER), "{text}");
    }
}

/// The status says where clients reach the relay, so that whoever hands out credentials need not be told.
#[test]
fn the_status_says_where_clients_reach_the_relay() {
    let relay = Setup::on_loopback(1).start();
    let status: Value = serde_json::from_str(&relay.http("GET", "/v1/status").1).unwrap();
    let endpoints = &status["endpoints"];
    let host = relay.listener("udp").ip().to_string();
    assert_eq!(endpoints["addresses"], json!([host]));
    for transport in ["udp", "tcp", "tls", "auto"] {
        let listener = json!({"transport": transport, "port": relay.listener(transport).port()});
        let listeners = endpoints["listeners"].as_array().unwrap();
        assert!(listeners.contains(&listener), "{endpoints}");
    }
    let names = endpoints["tls_names"].as_array().unwrap();
    assert!(names.contains(&json!(crate::running::REALM)), "{endpoints}");
}
