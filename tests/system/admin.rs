//! The admin API of the running program: what it says, and what an operator does with it.
//!
//! Not responsible for drains (`drain`), nor for figures (`overload`), nor for those who may not ask (`tests/attacks`).

use serde_json::{Value, json};
use taciturn_protocol::wire::Method;

use crate::calls::Call;
use crate::client::{Client, Over};
use crate::running::{Running, Setup, eventually};

#[test]
fn the_status_says_what_a_controller_has_to_know() {
    let mut setup = Setup::on_loopback(2);
    setup.more = "[sovereignty]\nzone-id = \"apse2-az1\"".to_owned();
    let relay = setup.start();
    let mut call = Call::open(&relay, Over::Tcp, "alice");
    let status = || -> Value { serde_json::from_str(&relay.http("GET", "/v1/status").1).unwrap() };
    let first = status();
    assert_eq!(first["phase"], "ready");
    assert_eq!(first["ready"], true);
    assert_eq!(first["not_ready_because"], json!([]));
    assert_eq!(first["zone_id"], "apse2-az1");
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first["load"]["allocations"], 1);
    assert_eq!(first["load"]["connections"], 1);
    assert_eq!(first["capacity"]["workers"], 2);
    assert!(first["utilisation"].as_f64().unwrap() >= 0.0);
    assert_eq!(first["drain"], Value::Null);
    assert_eq!(first["epoch"], 0, "no order yet");
    assert_eq!(first["capacity"]["busiest_core"], 1.0);
    assert_eq!(
        first["capacity"]["packets_per_second"],
        Value::Null,
        "not measured, so not known"
    );
    let boot = first["boot_id"].as_str().unwrap();
    assert_eq!(boot.len(), 32);
    eventually("the next sample", || {
        let later = status();
        assert_eq!(later["boot_id"], first["boot_id"]);
        later["sequence"].as_u64() > first["sequence"].as_u64()
    });
    // Rates are known in their own units, although the host's capacity is not.
    eventually("the rates of the call", || {
        call.exchange();
        let load = status()["load"].take();
        let more = |key: &str| load[key].as_f64().is_some_and(|rate| rate > 0.0);
        more("packets_per_second") && more("bits_per_second") && load["busiest_core"].is_f64()
    });
    let order = json!({"deadline": 4_000_000_000_u64, "reason": "test", "epoch": 17});
    let (code, text) = relay.http_with("POST", "/v1/drain", &order.to_string());
    assert_eq!(code, 200, "{text}");
    assert_eq!(status()["epoch"], 17);
}

fn listed(relay: &Running, query: &str) -> Value {
    let (code, text) = relay.http("GET", &format!("/v1/allocations{query}"));
    assert_eq!(code, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn allocations_are_listed_by_page_and_shown_without_names_or_addresses() {
    let relay = Setup::on_loopback(2).start();
    let mut calls: Vec<_> = (0..3)
        .flat_map(|_| Over::ALL)
        .map(|over| Call::open(&relay, over, "alice-in-confidence"))
        .collect();
    for call in &mut calls {
        call.exchange();
    }
    let mut ids: Vec<String> = Vec::new();
    let mut query = "?limit=2".to_owned();
    // One page more than there can be.
    for _ in 0..6 {
        let page = listed(&relay, &query);
        let allocations = page["allocations"].as_array().unwrap();
        assert!(allocations.len() <= 2);
        ids.extend(
            allocations
                .iter()
                .map(|a| a["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => query = format!("?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), 9);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 9);

    let (_, all) = relay.http("GET", "/v1/allocations");
    for secret in ["alice", "127.", "relay.test"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    for call in &calls {
        assert!(!all.contains(&call.relayed.port().to_string()));
    }
    let all: Value = serde_json::from_str(&all).unwrap();
    let names = |key: &str| {
        let all = all["allocations"].as_array().unwrap();
        let mut names: Vec<_> = all.iter().map(|a| a[key].to_string()).collect();
        names.sort();
        names.dedup();
        names.len()
    };
    assert_eq!(
        (names("client"), names("user"), names("transport")),
        (1, 1, 3)
    );
    let (code, one) = relay.http("GET", &format!("/v1/allocations/{}", ids[0]));
    assert_eq!(code, 200);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["id"], ids[0].as_str());
    assert_eq!(
        (&one["permissions"], &one["channels"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(one["state"], "active");
    assert_eq!(one["relayed"][0]["family"], "ipv4");
    assert_eq!(one["to_peer"]["packets"], 1);
    assert_eq!(one["to_client"]["bytes"], 8);
}

/// An id that is used late must not end the call that has the place by then.
#[test]
fn an_id_never_ends_the_allocation_that_came_after_it() {
    let relay = Setup::on_loopback(1).start();
    let id = || {
        listed(&relay, "")["allocations"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut first = Client::of(&relay, Over::Udp, "alice");
    first.allocate();
    let old = id();
    first.release();
    let mut call = Call::open(&relay, Over::Udp, "bob");
    let new = id();
    assert_eq!(
        old.rsplit_once('-').unwrap().0,
        new.rsplit_once('-').unwrap().0,
        "the place is used again"
    );
    let path = |id: &str| format!("/v1/allocations/{id}");
    assert_eq!(relay.http("GET", &path(&old)).0, 404);
    assert_eq!(relay.http("DELETE", &path(&old)).0, 404);
    call.exchange();
    assert_eq!(relay.http("GET", &path(&new)).0, 200);
    assert_eq!(relay.http("DELETE", &path(&new)).0, 204);
    assert_eq!(relay.http("DELETE", &path(&new)).0, 404);
    let refreshed = call.client.request(Method::Refresh, |w| w.lifetime(600));
    assert_eq!(refreshed.code(), 437);
    assert_eq!(listed(&relay, "")["allocations"], json!([]));
}
