//! `taciturn probe` as a person or a script runs it: the real binary against a relay on loopback, and against networks that
//! are in the way.
//!
//! Responsible for what is printed and for exit codes. Not responsible for the relay's side (tests/system).
#![cfg(feature = "relay")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod networks;
mod relay;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use networks::{Middle, proxy, speaks};
use relay::{ISSUER, Place, SECRET, TestRelay};

fn run(arguments: &[&str], input: &str, password: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taciturn"));
    command.arg("probe").args(arguments);
    command.env_remove("TACITURN_PASSWORD");
    if let Some(password) = password {
        command.env("TACITURN_PASSWORD", password);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that needs no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Runs with `--json` and a few payloads; the exit code and what was found.
fn probed(arguments: &[&str]) -> (i32, Value) {
    let few = ["--json", "--count", "6", "--timeout", "2s"];
    let output = run(&[&few, arguments].concat(), "", None);
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{said}"));
    (output.status.code().unwrap(), value)
}

fn udp(address: SocketAddr) -> String {
    format!("turn:{address}?transport=udp")
}

fn tcp(address: SocketAddr) -> String {
    format!("turn:{address}?transport=tcp")
}

fn tls(address: SocketAddr) -> String {
    format!("turns:{address}")
}

/// A port on loopback where nothing is, or a moment ago was not.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// The code of the only path's problem; the exit code says that no path works.
#[track_caller]
fn problem(arguments: &[&str]) -> Value {
    let (code, found) = probed(arguments);
    assert_eq!(code, 1, "{found:#}");
    assert_eq!(found["result"], "none");
    let path = &found["paths"][0];
    assert_eq!(path["works"], false);
    for figure in ["round_trip_ms", "payloads", "loss", "dscp"] {
        assert!(path[figure].is_null(), "{path:#}");
    }
    for word in ["code", "message", "advice"] {
        assert!(path["problem"][word].is_string(), "{path:#}");
    }
    path["problem"].clone()
}

#[test]
fn every_path_of_a_relay_works_and_the_json_has_its_documented_shape() {
    let relay = TestRelay::start(Place::default());
    let secret = relay.file("secret", SECRET);
    let (code, found) = probed(&[
        "--uri",
        &udp(relay.udp),
        "--uri",
        &tcp(relay.tcp),
        "--uri",
        &format!("turns:localhost:{}", relay.tls.port()),
        "--secret-file",
        &secret,
        "--ca-file",
        &relay.authority,
    ]);
    assert_eq!(code, 0, "{found:#}");
    assert_eq!(found["version"], 1);
    assert_eq!(found["result"], "all");
    let paths = found["paths"].as_array().unwrap();
    assert_eq!(paths.len(), 3);
    for (path, transport) in paths.iter().zip(["udp", "tcp", "tls"]) {
        let mut keys: Vec<&String> = path.as_object().unwrap().keys().collect();
        keys.sort();
        let expected = [
            "address",
            "dscp",
            "host",
            "loss",
            "payloads",
            "port",
            "problem",
            "proxy",
            "round_trip_ms",
            "transport",
            "uri",
            "works",
        ];
        assert_eq!(keys, expected);
        assert_eq!(path["transport"], transport);
        assert_eq!(path["works"], true);
        assert_eq!(path["proxy"], false);
        assert!(path["problem"].is_null());
        assert_eq!(path["payloads"]["sent"], 6);
        assert_eq!(path["payloads"]["received"], 6);
        assert_eq!(path["loss"], 0.0);
        let [median, worst] =
            ["median", "worst"].map(|key| path["round_trip_ms"][key].as_f64().unwrap());
        assert!(median > 0.0 && worst >= median, "{path:#}");
        assert_eq!(path["dscp"]["sent"], 46);
    }
    assert_eq!(paths[0]["dscp"]["outcome"], "kept");
    assert_eq!(paths[0]["dscp"]["received"], 46);
    assert_eq!(paths[0]["address"], relay.udp.to_string());
    assert_eq!(paths[0]["host"], "127.0.0.1");
    assert_eq!(paths[0]["uri"], udp(relay.udp));
    assert_eq!(paths[1]["dscp"]["outcome"], "not_measurable");
    assert!(paths[1]["dscp"]["received"].is_null());
    assert_eq!(paths[2]["host"], "localhost");
}

#[test]
fn the_table_says_what_works_and_what_to_ask_for_where_it_does_not() {
    let relay = TestRelay::start(Place::default());
    let secret = relay.file("secret", SECRET);
    let closed = closed();
    let arguments = [
        "--uri",
        &udp(relay.udp),
        "--uri",
        &tcp(closed),
        "--secret-file",
        &secret,
        "--count",
        "2",
    ];
    let output = run(&arguments, "", None);
    assert_eq!(output.status.code(), Some(3), "some paths work");
    let table = String::from_utf8(output.stdout).unwrap();
    let line = |uri: String| table.lines().find(|line| line.starts_with(&uri));
    let works = line(udp(relay.udp)).unwrap();
    assert!(
        works.contains("works") && works.contains("0 of 2") && works.contains("kept"),
        "{table}"
    );
    let fails = line(tcp(closed)).unwrap();
    assert!(fails.contains("NO") && fails.contains("refused"), "{table}");
    assert!(
        table.contains(&format!("ask to allow outgoing TCP to {closed}")),
        "{table}"
    );
    assert!(
        table.contains("1 of 2 works") && table.contains("crosses the relay twice"),
        "{table}"
    );
}

#[test]
fn silence_is_told_from_a_refusal() {
    let relay = TestRelay::start(Place::default());
    let secret = relay.file("secret", SECRET);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent
        .local_addr()
        .map(|address| (silent, address))
        .unwrap();
    for (uri, expected) in [
        (udp(silent.1), "silent"),
        (udp(closed()), "refused"),
        (tcp(closed()), "refused"),
        (tls(closed()), "refused"),
    ] {
        let problem = problem(&["--uri", &uri, "--secret-file", &secret]);
        assert_eq!(problem["code"], expected, "{uri}");
    }
    let problem = problem(&["--uri", "turn:relay.invalid", "--secret-file", &secret]);
    assert_eq!(problem["code"], "name");
}

#[test]
fn refused_credentials_are_told_from_expired_ones_and_a_network_in_the_way() {
    let relay = TestRelay::start(Place::default());
    let file = relay.file("password", "wrong\nsecond line\n");
    for (user, expected) in [("alice", "credentials"), ("1000000000:alice", "expired")] {
        for uri in [udp(relay.udp), tcp(relay.tcp)] {
            let arguments = ["--uri", &uri, "--username", user, "--password-file", &file];
            let problem = problem(&arguments);
            assert_eq!(problem["code"], expected, "{uri}");
            assert!(
                problem["advice"]
                    .as_str()
                    .unwrap()
                    .contains("network is in order")
            );
        }
    }
}

#[test]
fn a_password_comes_from_a_file_the_environment_or_standard_input() {
    let relay = TestRelay::start(Place::default());
    let (user, password) = relay.credentials("alice");
    let uri = udp(relay.udp);
    let file = relay.file("password", &format!("{password}\n"));
    let arguments = ["--uri", &uri, "--username", &user, "--count", "2"];
    for (more, input, environment) in [
        (&["--password-file", &file][..], "", None),
        (&[], "", Some(password.as_str())),
        (&[], password.as_str(), None),
    ] {
        let output = run(&[&arguments, more].concat(), input, environment);
        assert_eq!(output.status.code(), Some(0));
    }
    let output = run(&arguments, "", None);
    assert_eq!(output.status.code(), Some(2), "no password at all");
}

#[test]
fn an_untrusted_certificate_names_its_issuer_and_other_tls_troubles_are_told_apart() {
    let relay = TestRelay::start(Place::default());
    let secret = relay.file("secret", SECRET);
    let login = ["--secret-file", &secret];
    let foreign = relay.file("foreign.pem", &relay::foreign_authority());
    let untrusted = tls(relay.tls);
    let trouble = problem(&[&["--uri", &untrusted, "--ca-file", &foreign], &login[..]].concat());
    assert_eq!(trouble["code"], "tls_untrusted");
    assert!(trouble["message"].as_str().unwrap().contains(ISSUER));
    assert!(trouble["advice"].as_str().unwrap().contains("intercepted"));

    let trusted = ["--ca-file", &relay.authority];
    let other_name = format!(
        "turns:{}",
        SocketAddr::from(([127, 0, 0, 2], relay.tls.port()))
    );
    let over_http = tls(speaks(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    for (uri, expected) in [
        (other_name.as_str(), "tls_name"),
        (tls(relay.tcp).as_str(), "tls_refused"),
        (over_http.as_str(), "not_tls"),
    ] {
        let trouble = problem(&[&["--uri", uri], &trusted, &login[..]].concat());
        assert_eq!(trouble["code"], expected, "{uri}");
    }
}

#[test]
fn what_answers_in_place_of_a_relay_is_named() {
    let relay = TestRelay::start(Place::default());
    let secret = relay.file("secret", SECRET);
    for (uri, expected) in [
        (tcp(speaks(b"HTTP/1.1 403 Forbidden\r\n\r\n<html>")), "http"),
        (tcp(speaks(b"SSH-2.0-OpenSSH\r\n")), "not_relay"),
        (tcp(speaks(b"")), "closed"),
        (tcp(relay.tls), "closed"),
    ] {
        let trouble = problem(&["--uri", &uri, "--secret-file", &secret]);
        assert_eq!(trouble["code"], expected, "{uri}");
    }
}

#[test]
fn an_http_proxy_carries_tcp_and_tls_or_says_why_not() {
    let relay = TestRelay::start(Place::default());
    let secret = relay.file("secret", SECRET);
    let [udp, tcp] = [udp(relay.udp), tcp(relay.tcp)];
    let tls = format!("turns:localhost:{}", relay.tls.port());
    let login = ["--secret-file", &secret, "--ca-file", &relay.authority];
    let (open, seen) = proxy(200);
    let open = open.to_string();
    let uris = [
        "--uri", &udp, "--uri", &tcp, "--uri", &tls, "--proxy", &open,
    ];
    let (code, found) = probed(&[&uris, &login[..]].concat());
    assert_eq!(code, 0, "{found:#}");
    let used: Vec<bool> = (0..3)
        .map(|at| found["paths"][at]["proxy"] == true)
        .collect();
    assert_eq!(used, [false, true, true], "UDP goes without it");
    let asked = seen.lock().unwrap().clone();
    assert!(asked.contains(&relay.tcp.to_string()), "{asked:?}");
    assert!(
        asked.contains(&format!("localhost:{}", relay.tls.port())),
        "the name is the proxy's to resolve: {asked:?}"
    );
    for (status, expected) in [
        (407, "proxy_login"),
        (403, "proxy_refused"),
        (0, "proxy_nonsense"),
    ] {
        let (closed, _) = proxy(status);
        let closed = closed.to_string();
        let trouble = problem(&[&["--uri", &tcp, "--proxy", &closed], &login[..]].concat());
        assert_eq!(trouble["code"], expected);
    }
    let nobody = closed().to_string();
    let trouble = problem(&[&["--uri", &tcp, "--proxy", &nobody], &login[..]].concat());
    assert_eq!(trouble["code"], "proxy_unreachable");
}

#[test]
fn a_relay_without_room_is_no_trouble_of_the_network() {
    let place = Place {
        limits: "allocations-per-user = 1",
        ..Place::default()
    };
    let relay = TestRelay::start(place);
    let secret = relay.file("secret", SECRET);
    let uri = udp(relay.udp);
    let trouble = problem(&["--uri", &uri, "--secret-file", &secret]);
    assert_eq!(trouble["code"], "quota");
    let full = TestRelay::start(Place {
        limits: "allocations = 1",
        ..Place::default()
    });
    let uri = udp(full.udp);
    let trouble = problem(&["--uri", &uri, "--secret-file", &secret]);
    assert_eq!(trouble["code"], "full");
}

#[test]
fn payloads_that_vanish_or_change_on_the_way_are_found() {
    let relay = TestRelay::start(Place::default());
    let secret = relay.file("secret", SECRET);
    let silencing = Middle::start(relay.udp, |_| false);
    let uri = udp(silencing.address);
    let trouble = problem(&["--uri", &uri, "--secret-file", &secret]);
    assert_eq!(trouble["code"], "nothing_relayed");

    let remarking = Middle::start(relay.udp, |_| true);
    let uri = udp(remarking.address);
    let (code, found) = probed(&["--uri", &uri, "--secret-file", &secret]);
    assert_eq!(code, 0, "{found:#}");
    assert_eq!(found["paths"][0]["dscp"]["outcome"], "changed");
    assert_eq!(found["paths"][0]["dscp"]["received"], 0);

    // The first payloads get through, so that the measurement begins.
    let losing = Middle::start(relay.udp, |count| count < 20 || count % 8 == 0);
    let uri = udp(losing.address);
    let many = [
        "--count",
        "60",
        "--json",
        "--uri",
        &uri,
        "--secret-file",
        &secret,
    ];
    let output = run(&many, "", None);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["paths"][0]["problem"]["code"], "lossy", "{found:#}");
}

#[test]
fn a_relays_own_configuration_says_what_to_try() {
    let relay = TestRelay::start(Place {
        fixed: true,
        ..Place::default()
    });
    let (code, found) = probed(&["--config", &relay.config]);
    assert_eq!(code, 0, "{found:#}");
    let transports: Vec<_> = found["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path["transport"].as_str().unwrap())
        .collect();
    assert_eq!(transports, ["udp", "tcp", "tls"]);
}

#[test]
fn what_a_signalling_server_hands_out_is_tried_as_it_is() {
    let relay = TestRelay::start(Place::default());
    let (username, credential) = relay.credentials("alice");
    let urls = [
        "stun:stun.invalid".to_owned(),
        udp(relay.udp),
        tcp(relay.tcp),
    ];
    let list = serde_json::json!({
        "iceServers": [{ "urls": urls, "username": username, "credential": credential }],
        "ttl": 600,
    });
    let arguments = ["--ice-servers", "-", "--json", "--count", "2"];
    let output = run(&arguments, &list.to_string(), None);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{found:#}");
    assert_eq!(found["paths"].as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_tried_has_its_own_exit_code_and_says_why() {
    let relay = TestRelay::start(Place::default());
    let secret = relay.file("secret", SECRET);
    let uri = udp(relay.udp);
    let nowhere = relay.file("empty.pem", "nothing");
    for (arguments, why) in [
        (
            &["--uri", "turn://a.example", "--secret-file", &secret][..],
            "turn:host",
        ),
        (
            &["--uri", "stun:a.example", "--secret-file", &secret],
            "stun server",
        ),
        (
            &["--uri", "a.example:3478", "--secret-file", &secret],
            "in a uri",
        ),
        (&["--secret-file", &secret], "--uri"),
        (&["--uri", &uri], "credentials are needed"),
        (
            &["--uri", &uri, "--config", "relay.toml"],
            "cannot be used with",
        ),
        (
            &["--uri", &uri, "--secret-file", "/nonexistent"],
            "/nonexistent",
        ),
        (
            &["--uri", &uri, "--secret-file", &secret, "--count", "1001"],
            "1001",
        ),
        (
            &["--uri", &uri, "--secret-file", &secret, "--size", "1201"],
            "1200",
        ),
        (
            &["--uri", &uri, "--secret-file", &secret, "--timeout", "2m"],
            "1m",
        ),
        (
            &["--uri", &uri, "--secret-file", &secret, "--proxy", "a"],
            "host:port",
        ),
        (
            &[
                "--uri",
                &tls(relay.tls),
                "--secret-file",
                &secret,
                "--ca-file",
                &nowhere,
            ],
            "no certificate",
        ),
        (&["--ice-servers", &nowhere], "not JSON"),
        (&["--config", "/nonexistent.toml"], "error"),
    ] {
        let output = run(arguments, "", None);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "nothing was tried");
    }
}
