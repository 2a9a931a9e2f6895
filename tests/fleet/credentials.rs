//! Credentials from the controller: what a signalling server gets opens a relay, and whoever is none gets nothing, however it
//! tries.
//!
//! Not responsible for which relays are named (`controller/src/credentials`), nor for the forms of the API one by one
//! (`controller/src/api`).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::calls::Call;
use crate::client::{Client, Link, peer, peer_of};
use crate::controllers::Controller;
use crate::lab::{Lab, eventually};
use crate::running::SECRET;
use crate::settings::Settings;

const OPERATOR: &str = "the-operators-token-in-these-tests";
const FIRST: &str = "the-first-signalling-servers-token";
const SECOND: &str = "the-second-signalling-servers-token";

/// Local relays, an operator, and two signalling servers, the second of which may ask three times at once.
fn settings(lab: &Lab) -> Settings {
    let mut settings = Settings::local(lab);
    settings.token = Some(OPERATOR);
    for (name, token, rate, burst) in [("first", FIRST, 1000, 1000), ("second", SECOND, 1, 3)] {
        let file = lab.write(&format!("{name}.token"), token);
        settings.more += &format!(
            "[[credentials.subject]]\nname = \"{name}\"\ntoken-file = \"{}\"\nrate = {rate}\nburst = {burst}\n",
            file.display()
        );
    }
    settings
}

/// A question with these headers.
fn question(headers: &str, body: &str) -> String {
    format!(
        "POST /v1/ice-servers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn of(token: &str, body: &str) -> String {
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    question(&headers, body)
}

/// Credentials, and where the relays are that they name.
fn credentials(controller: &Controller, body: &str) -> (String, String, Vec<Ipv4Addr>) {
    let (code, _, text) = controller.whole(&of(FIRST, body));
    assert_eq!(code, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let servers = answer["iceServers"].as_array().unwrap();
    let relays = servers.iter().map(|server| {
        // The first: UDP 3478.
        let url = server["urls"][0].as_str().unwrap();
        let host = url.strip_prefix("turn:").unwrap();
        let host = host.strip_suffix(":3478?transport=udp").unwrap();
        host.parse().unwrap()
    });
    let text = |key: &str| servers[0][key].as_str().unwrap().to_owned();
    (text("username"), text("credential"), relays.collect())
}

fn client(relay: Ipv4Addr, username: &str, password: &str) -> Client {
    let server = SocketAddr::from((relay, 3478));
    let socket = peer_of(server);
    socket.connect(server).unwrap();
    Client::known_as(
        Link::Udp(socket),
        username.as_bytes().to_vec(),
        password.to_owned(),
    )
}

/// H-08: a client with an answer of the endpoint gets an allocation on each relay that it names, in different zones; once a
/// relay drains no answer names it, and its call goes on.
#[test]
fn credentials_open_the_relays_that_they_name_and_name_none_that_drains() {
    let lab = Lab::new();
    let controller = Controller::start(&lab, &settings(&lab));
    eventually("one relay in each zone", || {
        controller.offered(&lab).len() == 3
    });
    eventually("credentials", || {
        controller.whole(&of(FIRST, "{}")).0 == 200
    });
    let (username, password, relays) =
        credentials(&controller, "{\"user\":\"room-7\",\"relays\":2}");
    let zones: BTreeSet<u8> = relays.iter().map(|relay| relay.octets()[2]).collect();
    assert_eq!((relays.len(), zones.len()), (2, 2));
    let mut calls: Vec<Call> = relays
        .iter()
        .map(|relay| Call::try_between(client(*relay, &username, &password), peer()).unwrap())
        .collect();
    calls.iter_mut().for_each(Call::exchange);
    let drained = lab
        .live()
        .into_iter()
        .find(|relay| relay.address == relays[0])
        .unwrap();
    let (code, text) = controller.http("POST", &format!("/v1/relays/{}/drain", drained.id), "");
    assert_eq!(code, 200, "{text}");
    let named = || -> BTreeSet<Ipv4Addr> {
        let answers = (0..20).map(|_| credentials(&controller, "{}").2);
        answers.flatten().collect()
    };
    eventually("answers without it", || !named().contains(&drained.address));
    eventually("its drain", || {
        let rejected = client(drained.address, &username, &password)
            .try_allocate(|_| {})
            .code();
        !named().contains(&drained.address) && rejected != 0
    });
    calls.iter_mut().for_each(Call::exchange);
    // A new call lands elsewhere.
    let (username, password, relays) = credentials(&controller, "{\"user\":\"room-8\"}");
    let mut another = Call::try_between(client(relays[0], &username, &password), peer()).unwrap();
    another.exchange();
}

/// H-08: wrong, missing, repeated and borrowed tokens open nothing; nothing of a token, a secret or a user is in an answer or in
/// the log.
#[test]
fn who_is_no_signalling_server_gets_nothing_and_learns_nothing() {
    let lab = Lab::new();
    let controller = Controller::start(&lab, &settings(&lab));
    eventually("credentials", || {
        controller.whole(&of(FIRST, "{}")).0 == 200
    });
    let json = "Content-Type: application/json\r\n";
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let mut answers = String::new();
    let mut ask = |headers: &str, body: &str| -> u16 {
        let (code, head, text) = controller.whole(&question(headers, body));
        answers += &format!("{head}\n{text}\n");
        code
    };
    for headers in [
        String::new(),
        bearer(&FIRST[1..]),
        bearer(&format!("{FIRST}x")),
        bearer(""),
        bearer(SECRET),
        bearer(FIRST) + &bearer(FIRST),
        bearer(FIRST) + &bearer("wrong"),
        format!("Authorization: Basic {FIRST}\r\n"),
        format!("X-Api-Key: {FIRST}\r\n"),
    ] {
        assert_eq!(ask(&(headers.clone() + json), "{}"), 401, "{headers}");
    }
    let known = bearer(FIRST);
    for (headers, code) in [
        ("", 415),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        (
            "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
            415,
        ),
        (
            "Content-Type: application/json\r\nOrigin: https://evil.example\r\n",
            403,
        ),
        (
            "Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n",
            403,
        ),
    ] {
        assert_eq!(ask(&(known.clone() + headers), "{}"), code, "{headers}");
    }
    let known = known + json;
    let nested = "{\"user\":".repeat(1500);
    let long = format!("{{\"user\":\"{}\"}}", "Mallory".repeat(80));
    for body in [
        "{\"user\":\"Mal",
        "{\"user\":\"Mallory\",}",
        "nonsense",
        "[]",
        "{\"Mallory\":1}",
        nested.as_str(),
        long.as_str(),
        "{\"user\":\"Mallory\",\"user\":\"Mallory\"}",
        "{\"user\":1}",
        "{\"user\":\"Mallory\\u0007\"}",
        "{\"ttl\":0}",
        "{\"ttl\":1e99}",
        "{\"ttl\":99999999999}",
        "{\"relays\":9}",
    ] {
        let shown = &body[..body.len().min(40)];
        assert_eq!(ask(&known, body), 400, "{shown}");
    }
    assert_eq!(ask(&known, &" ".repeat(20_000)), 413);
    // A head that never was one, and a body that breaks off.
    let cut = of(FIRST, "{}").replace("Content-Length: 2", "Content-Length: 200");
    let mut stream = controller.connect();
    stream.write_all(cut.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.contains(" 200 "), "{answer}");
    for (method, path) in [
        ("GET", "/v1/fleet"),
        ("GET", "/metrics"),
        ("GET", "/v1/audit"),
        ("POST", "/v1/relays/x/drain"),
        ("DELETE", "/v1/relays/x/keep"),
    ] {
        let (code, head, text) = controller.whole(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{known}Content-Length: 0\r\n\r\n"
        ));
        assert_eq!(code, 403, "{method} {path}: {text}");
        answers += &format!("{head}\n{text}\n");
    }
    let (code, metrics) = controller.http("GET", "/metrics", "");
    assert_eq!(code, 200);
    assert!(metrics.contains("taciturn_controller_credentials_minted_total{subject=\"first\"}"));
    let log = controller.stop();
    for hidden in [OPERATOR, FIRST, SECOND, SECRET, "Mallory", "127.0.0.1:"] {
        assert!(!answers.contains(hidden), "{hidden} in {answers}");
        assert!(!metrics.contains(hidden), "{hidden} in {metrics}");
    }
    for hidden in [OPERATOR, FIRST, SECOND, SECRET, "Mallory", "room-"] {
        assert!(!log.contains(hidden), "{hidden} in {log}");
    }
}

/// a signalling server that floods is told to wait, and a hundred connections that never come to an end keep nobody else
/// waiting.
#[test]
fn floods_and_slow_clients_keep_no_other_signalling_server_waiting() {
    let lab = Lab::new();
    let controller = Controller::start(&lab, &settings(&lab));
    eventually("credentials", || {
        controller.whole(&of(FIRST, "{}")).0 == 200
    });
    let mut slow: Vec<_> = (0..100).map(|_| controller.connect()).collect();
    let over = AtomicBool::new(false);
    let request = of(FIRST, "{}");
    thread::scope(|scope| {
        scope.spawn(|| {
            for byte in request.as_bytes().iter().take(60) {
                for stream in &mut slow {
                    let _ = stream.write_all(&[*byte]);
                }
                if over.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(Duration::from_secs(1));
            }
        });
        let flood: Vec<u16> = (0..40)
            .map(|_| {
                let (code, head, text) = controller.whole(&of(SECOND, "{}"));
                assert_eq!(
                    code == 429,
                    head.contains("\r\nretry-after: "),
                    "{head}\n{text}"
                );
                code
            })
            .collect();
        assert!(flood.starts_with(&[200; 3]), "its burst: {flood:?}");
        assert!(flood.contains(&429), "{flood:?}");
        assert!(
            flood.iter().all(|code| [200, 429].contains(code)),
            "{flood:?}"
        );
        for _ in 0..20 {
            assert_eq!(controller.whole(&of(FIRST, "{}")).0, 200);
            assert_eq!(controller.http("GET", "/ready", "").0, 200);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(controller.metric("taciturn_controller_credentials_refused_total") >= 1.0);
}

/// Signalling servers and secrets change while the controller runs.
#[test]
fn another_token_counts_from_the_reload_on() {
    const ANOTHER: &str = "another-token-of-the-first-server";
    let lab = Lab::new();
    let controller = Controller::start(&lab, &settings(&lab));
    eventually("credentials", || {
        controller.whole(&of(FIRST, "{}")).0 == 200
    });
    lab.write("first.token", ANOTHER);
    controller.signal(rustix::process::Signal::HUP);
    eventually("the other token", || {
        controller.whole(&of(ANOTHER, "{}")).0 == 200
    });
    assert_eq!(controller.whole(&of(FIRST, "{}")).0, 401);
}
