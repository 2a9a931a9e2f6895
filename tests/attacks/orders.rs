//! A controller that was broken into, or that is mistaken: what a relay and a controller's own rules do not let it do.
//!
//! Not responsible for a whole fleet under the same faults: stale figures, frozen figures, two controllers and instances from
//! abroad are in `tests/fleet`, with marks of the same line.

use serde_json::{Value, json};
use taciturn_protocol::wire::Method;

use crate::calls::{Call, Canaries};
use crate::client::{Client, Over};
use crate::running::{Running, Setup};

const LATER: u64 = 4_102_444_800;
/// What a request gets that is older than what was obeyed.
const STALE: u16 = 409;

fn order(relay: &Running, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (code, text) = relay.http_with(method, path, &body.to_string());
    (code, serde_json::from_str(&text).unwrap())
}

fn drain(relay: &Running, epoch: u64) -> u16 {
    let body = json!({"deadline": LATER, "reason": "scale in", "epoch": epoch});
    order(relay, "POST", "/v1/drain", &body).0
}

fn revoke(relay: &Running, epoch: u64, version: u64, user: &str) -> u16 {
    let body = json!({
        "epoch": epoch,
        "version": version,
        "users": [{"user": user, "until": LATER}],
        "key_ids": [],
    });
    order(relay, "PUT", "/v1/revocations", &body).0
}

fn newcomer(relay: &Running, user: &str) -> u16 {
    let mut client = Client::of(relay, Over::Udp, user);
    client.try_allocate(|_| {}).code()
}

/// orders of an earlier epoch, recorded or reordered, are refused and change nothing; those without sense are refused;
/// and whatever is ordered, no call is cut: the relay has no order for that but the one that names the call.
#[test]
fn old_and_absurd_orders_are_refused_and_none_cuts_a_call() {
    let relay = Setup::on_loopback(2).start();
    let canaries = Canaries::start(&relay);
    let mut call = Call::open(&relay, Over::Tls, "patient");
    let phase = || -> Value {
        let status: Value = serde_json::from_str(&relay.http("GET", "/v1/status").1).unwrap();
        status["phase"].clone()
    };
    assert_eq!(drain(&relay, 5), 200);
    assert_eq!(drain(&relay, 5), 200, "the same again is the same");
    assert_eq!(phase(), "draining");
    assert_eq!(
        order(&relay, "DELETE", "/v1/drain", &json!({"epoch": 4})).0,
        STALE
    );
    assert_eq!(phase(), "draining");
    assert_eq!(
        order(&relay, "DELETE", "/v1/drain", &json!({"epoch": 6})).0,
        200
    );
    for recorded in [1, 4, 5] {
        assert_eq!(drain(&relay, recorded), STALE, "epoch {recorded}");
    }
    assert_eq!(phase(), "ready");
    assert_eq!(newcomer(&relay, "newcomer"), 0);
    for absurd in [
        json!({"deadline": 1, "reason": "now", "epoch": 9}),
        json!({"deadline": u64::MAX, "reason": "never", "epoch": 9}),
        json!({"deadline": LATER, "reason": "x".repeat(300), "epoch": 9}),
        json!({"deadline": LATER, "reason": "no epoch"}),
        json!({"deadline": LATER, "reason": "below zero", "epoch": -1}),
        json!([LATER, "in a row", 9]),
    ] {
        assert_eq!(
            order(&relay, "POST", "/v1/drain", &absurd).0,
            400,
            "{absurd}"
        );
    }
    assert_eq!(phase(), "ready");

    assert_eq!(revoke(&relay, 7, 3, "patient"), 200);
    for (epoch, version) in [(7, 2), (6, 4), (0, 1_000_000)] {
        assert_eq!(
            revoke(&relay, epoch, version, "nobody"),
            STALE,
            "{epoch}.{version}"
        );
    }
    assert_eq!(newcomer(&relay, "patient"), 401);
    let refreshed = call.client.request(Method::Refresh, |w| w.lifetime(600));
    assert_eq!(refreshed.code(), 0);
    for _ in 0..10 {
        call.exchange();
    }
    canaries.finish();
    assert_eq!(
        relay.metric("taciturn_relay_ended_allocations_total{cause=\"operator\"}"),
        0
    );
}

/// an image that is started abroad does not serve: the relay has its own list of zones, whoever launched it.
#[test]
fn a_relay_that_is_started_abroad_refuses() {
    let mut setup = Setup::on_loopback(1);
    setup.more =
        "[sovereignty]\nzone-id = \"offshore-1\"\nallowed-zone-ids = [\"home-1\", \"home-2\"]\n"
            .to_owned();
    let said = setup.refused();
    assert!(
        said.contains("offshore-1") && said.contains("home-1"),
        "{said}"
    );
}

/// Whether a controller would start with these keys of its policy, in these zones, and what is said of it.
#[cfg(feature = "controller")]
fn judged(policy: &str, zones: &str) -> (bool, String) {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    let directory = crate::running::fresh_directory();
    let home = directory.display();
    let text = format!(
        "fleet = \"test\"\nstate-directory = \"{home}/state\"\n[api]\naddress = \"unix:{home}/api.sock\"\n\
         [sovereignty]\nallowed-zone-ids = [\"home-1\", \"home-2\"]\n[lease]\nkind = \"none\"\n\
         [provider]\nkind = \"local\"\n[provider.local]\nzones = {zones}\nnetwork = \"127.99\"\n\
         directory = \"{home}/relays\"\nrelay-config = '''\nrealm = \"relay.test\"\n'''\n\
         [policy]\n{policy}\n[policy.capacity.default]\nallocations = 8\n"
    );
    let config = directory.join("controller.toml");
    fs::write(&config, text).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let output = Command::new(crate::running::program())
        .arg("check-config")
        .arg(&config)
        .output()
        .unwrap();
    let _ = fs::remove_dir_all(&directory);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// a policy for no relay, for a million of them, for more than its own bound, or that could never add or remove one, and
/// zones none of which is allowed, are refused before anything is launched or ended, with key and value; a zone abroad among
/// others is named, and nothing is launched there.
#[cfg(feature = "controller")]
#[test]
fn a_controller_refuses_absurd_sizes_and_other_zones() {
    let home = "[\"home-1\", \"home-2\"]";
    let (good, said) = judged("min = 3\nmax = 6", home);
    assert!(good, "{said}");
    for (policy, zones, words) in [
        ("min = 0\nmax = 0", home, ["max", "no relay"]),
        ("min = 3\nmax = 1000000", home, ["max", "1000000"]),
        ("min = 1000000\nmax = 6", home, ["min", "1000000"]),
        (
            "min = 3\nmax = 6\nsurge = 1000000",
            home,
            ["surge", "1000000"],
        ),
        (
            "min = 3\nmax = 6\nlaunches-per-hour = 0",
            home,
            ["launches-per-hour", "0"],
        ),
        ("min = 3\nmax = 6\ndown-step = 0", home, ["down-step", "0"]),
        (
            "min = 3\nmax = 6",
            "[\"offshore-1\"]",
            ["zones", "allowed-zone-ids"],
        ),
    ] {
        let (good, said) = judged(policy, zones);
        assert!(!good, "{policy}, {zones}: {said}");
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{policy}: {said}"
        );
    }
    let (_, said) = judged("min = 3\nmax = 6", "[\"home-1\", \"offshore-1\"]");
    assert!(
        said.contains("offshore-1") && said.contains("nothing is launched there"),
        "{said}"
    );
}
