//! Users and secrets that are revoked on a whole fleet: on relays that run, that start again and that come later.
//!
//! Not responsible for one relay (`tests/system/revocations.rs`), nor for the order of what is told to whom
//! (`controller/src/reconcile`).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;
use taciturn_protocol::wire::Method;

use crate::client::{Client, Link, peer_of};
use crate::controllers::Controller;
use crate::crowd::{Caller, Crowd, answers};
use crate::lab::{Found, Lab, eventually};
use crate::settings::Settings;

/// Nobody else has them, so that they are found wherever they get.
const LOST: &str = "patient-4711";
const KEPT: &str = "patient-4712";
fn client(relay: Ipv4Addr, user: &str) -> Client {
    let server = SocketAddr::from((relay, 3478));
    let socket = peer_of(server);
    socket.connect(server).unwrap();
    Client::new(Link::Udp(socket), user)
}

/// What a client that is new gets for an Allocate: 0 for success.
fn newcomer(relay: Ipv4Addr, user: &str) -> u16 {
    let mut client = client(relay, user);
    let code = client.try_allocate(|_| {}).code();
    if code == 0 {
        client.release();
    }
    code
}

fn each(relays: &[Ipv4Addr], user: &str) -> Vec<u16> {
    let codes = relays.iter().map(|relay| newcomer(*relay, user));
    codes.collect()
}

/// Revokes, and waits until all relays refuse; says how long that took from before the request.
fn revoke(controller: &Controller, body: &str, relays: &[Ipv4Addr], user: &str) {
    let begun = Instant::now();
    let (code, text) = controller.http("POST", "/v1/revocations", body);
    assert_eq!(code, 200, "{text}");
    let answered = begun.elapsed();
    // Whoever refuses is not asked again: a name that fails too often is held off.
    let mut waited_for = relays.to_vec();
    eventually("a refusal by every relay", || {
        waited_for.retain(|relay| newcomer(*relay, user) != 401);
        waited_for.is_empty()
    });
    eprintln!(
        "revoked on {} relays: answered after {answered:?}, refused by all after {:?}",
        relays.len(),
        begun.elapsed()
    );
}

fn assert_private(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", path.display());
}

/// A relay that the test started on the configuration of another.
struct Again(Child);

impl Again {
    fn start(relay: &Found) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_taciturn"))
            .args(["relay", "--config"])
            .arg(relay.home.join("relay.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One user and then the secret are revoked on a fleet with calls of both: every relay refuses new allocations, no call loses
/// anything, and a relay that starts again and one that comes later know it too.
#[test]
fn what_is_revoked_begins_nothing_on_any_relay_and_no_call_is_cut() {
    let lab = Lab::new();
    let mut settings = Settings::local(&lab);
    let controller = Controller::start(&lab, &settings);
    eventually("three relays", || controller.offered(&lab).len() == 3);
    let relays = controller.offered(&lab);
    let mut crowd = Crowd::default();
    for relay in &relays {
        for user in [LOST, KEPT] {
            let caller = Caller::try_with(client(*relay, user), *relay);
            crowd.callers.push(caller.expect("a relay with room"));
        }
    }
    let mut held = client(relays[0], LOST);
    held.allocate();

    // One by name.
    let body = json!({ "user": LOST }).to_string();
    revoke(&controller, &body, &relays, LOST);
    assert_eq!(each(&relays, KEPT), [0; 3]);
    let refreshed = held.request(Method::Refresh, |w| w.lifetime(600));
    assert_eq!(refreshed.code(), 0, "what is held goes on");
    crowd.await_more();

    // Everybody by the secret.
    let body = json!({ "key_id": "local" }).to_string();
    revoke(&controller, &body, &relays, KEPT);
    crowd.await_more();
    eventually("the same list everywhere", || {
        let shown = controller.get("/v1/revocations");
        let theirs = shown["relays"].as_array().unwrap().clone();
        theirs.len() == 3 && theirs.iter().all(|relay| relay["in_force"] == true)
    });

    // While no controller is there, a relay that starts again knows it by itself.
    let log = controller.stop();
    let restarted = lab.live().remove(0);
    restarted.signal(Signal::KILL);
    crowd.give_up(restarted.address);
    drop(held);
    let mut again = Again::start(&restarted);
    let server = SocketAddr::from((restarted.address, 3478));
    eventually("the relay that starts again", || {
        // Until the kernel has taken the one before apart, its ports and its directory are not free.
        if again.has_ended() {
            again = Again::start(&restarted);
        }
        answers(server)
    });
    assert_eq!(newcomer(restarted.address, LOST), 401);
    assert_eq!(newcomer(restarted.address, KEPT), 401);

    // A controller that starts again knows it, and tells a relay that it launches.
    settings = settings.policy("min", "4");
    let controller = Controller::start(&lab, &settings);
    let newest = || {
        let offered = controller.offered(&lab);
        offered.into_iter().find(|relay| !relays.contains(relay))
    };
    eventually("a relay that is launched later", || newest().is_some());
    let newest = newest().unwrap();
    assert_eq!(newcomer(newest, LOST), 401);
    assert_eq!(newcomer(newest, KEPT), 401);

    // Lifted again, everywhere.
    let all: Vec<Ipv4Addr> = relays.iter().copied().chain([newest]).collect();
    for path in [format!("users/{LOST}"), "keys/local".to_owned()] {
        let (code, text) = controller.http("DELETE", &format!("/v1/revocations/{path}"), "");
        assert_eq!(code, 200, "{text}");
    }
    eventually("no refusal any more", || {
        let codes = [each(&all, LOST), each(&all, KEPT)];
        codes.iter().flatten().all(|code| *code == 0)
    });
    crowd.await_more();
    crowd.finish();

    // Whoever is revoked is named in the lists alone, which are nobody else's to read.
    let trail = fs::read_to_string(lab.directory().join("controller/audit.jsonl")).unwrap();
    assert!(trail.contains("revoke-user") && trail.contains("lift-key"));
    let (_, metrics) = controller.http("GET", "/metrics", "");
    let relay_logs = lab.live().into_iter().map(|relay| relay.log());
    for text in [log, trail, metrics].into_iter().chain(relay_logs) {
        assert!(!text.contains(LOST) && !text.contains(KEPT));
    }
    assert_private(&lab.directory().join("controller/revocations.json"));
    for relay in lab.live() {
        assert_private(&relay.home.join("state/revocations.json"));
    }
    controller.assert_audited(&lab);
    drop(again);
}
