//! The relay as its own client: it finds what does not work, and is in nobody's figures.

use std::fs;
use std::net::UdpSocket;

use crate::client::{Client, Over};
use crate::lab::{Lab, PORT};
use crate::namespace::{inside, ip};
use crate::running::{Running, SECRET, Setup, eventually, write_certificate};

const OFTEN: &str = "interval = \"100ms\"";

fn checks(relay: &Running, outcome: &str) -> u64 {
    relay.metric(&format!(
        "taciturn_relay_self_check_checks_total{{outcome=\"{outcome}\"}}"
    ))
}

fn success(relay: &Running, transport: &str) -> u64 {
    relay.metric(&format!(
        "taciturn_relay_self_check_success{{transport=\"{transport}\"}}"
    ))
}

fn advertised(relay: &Running, result: &str) -> u64 {
    relay.metric(&format!(
        "taciturn_relay_self_check_advertised{{result=\"{result}\"}}"
    ))
}

/// Waits for so many further successful checks: each path of a relay with five has had one.
fn await_successes(relay: &Running, count: u64) {
    let before = checks(relay, "success");
    eventually("self-checks", || checks(relay, "success") >= before + count);
}

/// Everything that a user could see of a check, in the order of the metrics' text.
fn users_figures(relay: &Running) -> String {
    let (code, text) = relay.http("GET", "/metrics");
    assert_eq!(code, 200);
    let of_users = [
        "taciturn_relay_allocations",
        "taciturn_relay_connections",
        "taciturn_relay_forwarded_",
        "taciturn_relay_dropped_",
        "taciturn_relay_responses_total",
        "taciturn_relay_handshakes_total",
        "taciturn_relay_authentications_total",
        "taciturn_relay_refusals_total",
        "taciturn_relay_closed_connections_total",
        "taciturn_relay_send_failures_total",
    ];
    let lines = text
        .lines()
        .filter(|line| of_users.iter().any(|name| line.starts_with(name)));
    let figures: Vec<&str> = lines.collect();
    assert!(figures.len() > of_users.len(), "{text}");
    figures.join("\n")
}

#[test]
fn every_listener_is_checked_in_turn_and_no_figure_of_users_moves() {
    let setup = Setup {
        self_check: OFTEN.to_owned(),
        ..Setup::on_loopback(2)
    };
    let relay = setup.start();
    // UDP, TCP, TLS, and auto by TCP and by TLS.
    await_successes(&relay, 10);
    for transport in ["udp", "tcp", "tls"] {
        assert_eq!(success(&relay, transport), 1, "{transport}");
    }
    assert_eq!(checks(&relay, "failure") + checks(&relay, "full"), 0);
    for line in users_figures(&relay).lines() {
        assert!(line.ends_with(" 0"), "{line}");
    }
    let (code, text) = relay.http("GET", "/v1/allocations");
    assert!(code != 200 || !text.contains("\"id\""), "{text}");
}

/// What an operator or a crowd of clients leaves of a limit is for users to feel, not a reason to send them away.
#[test]
fn limits_as_low_as_they_go_fail_no_check() {
    let setup = Setup {
        limits: "unauthenticated-per-second = 1\nconnections-per-source = 1\nallocations = 1\nallocations-per-user = \
                 1\npermissions-per-allocation = 1\nchannels-per-allocation = 1\nbits-per-second-per-user = \
                 1\nbits-per-second-per-allocation = 1"
            .to_owned(),
        self_check: OFTEN.to_owned(),
        ..Setup::on_loopback(2)
    };
    let relay = setup.start();
    // One user takes all that users may have.
    Client::of(&relay, Over::Tcp, "user").allocate();
    await_successes(&relay, 10);
    assert_eq!(checks(&relay, "failure"), 0, "{}", relay.log());
}

/// The client that the relay uses asks for IPv4 by itself.
#[test]
fn a_relay_of_ipv6_alone_checks_itself() {
    let mut setup = Setup::empty(1)
        .listener("udp", "[::1]:0")
        .listener("tcp", "[::1]:0");
    setup.relayed = "addresses = [\"::1\"]\nports = \"20000-29999\"".to_owned();
    setup.self_check = OFTEN.to_owned();
    let relay = setup.start();
    await_successes(&relay, 4);
    assert_eq!(checks(&relay, "failure"), 0, "{}", relay.log());
    for line in users_figures(&relay).lines() {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

/// The certificate that is expected is the one in force, so a change of certificates is no failure; and other secrets do not
/// take away the user by whom the relay checks itself.
#[test]
fn a_reload_of_certificate_and_secrets_fails_no_check() {
    let setup = Setup {
        self_check: OFTEN.to_owned(),
        ..Setup::on_loopback(1)
    };
    let relay = setup.start();
    await_successes(&relay, 5);
    write_certificate(relay.directory());
    let text = fs::read_to_string(relay.directory().join("relay.toml")).unwrap();
    let other = text.replace(SECRET, "fedcba9876543210fedcba9876543210");
    relay.rewrite("relay.toml", &other);
    relay.hang_up();
    eventually("a reload", || {
        relay.metric("taciturn_relay_config_reloads_total{outcome=\"applied\"}") > 0
    });
    await_successes(&relay, 10);
    assert_eq!(checks(&relay, "failure"), 0, "{}", relay.log());
    for transport in ["udp", "tcp", "tls"] {
        assert_eq!(success(&relay, transport), 1, "{transport}");
    }
}

#[test]
fn a_drained_relay_that_checks_itself_stays_drained_and_ready_returns_after_it() {
    let setup = Setup {
        self_check: OFTEN.to_owned(),
        limits: "unauthenticated-per-second = 0\nallocations = 1\nallocations-per-user = 1"
            .to_owned(),
        ..Setup::on_loopback(1)
    };
    let relay = setup.start();
    let (code, text) = relay.http_with(
        "POST",
        "/v1/drain",
        "{\"deadline\":99999999999,\"reason\":\"test\",\"epoch\":1}",
    );
    assert!(code < 300, "{code} {text}");
    await_successes(&relay, 10);
    assert_eq!(
        relay.metric("taciturn_relay_phase{phase=\"drained\"}"),
        1,
        "a check is no call"
    );
    let (code, _) = relay.http("DELETE", "/v1/drain");
    assert!(code < 300);
    // Checks that go on all the while take nothing of the only place that there is.
    let mut client = Client::of(&relay, Over::Udp, "alice");
    for _ in 0..20 {
        client.allocate();
        client.release();
    }
    await_successes(&relay, 1);
    assert_eq!(checks(&relay, "failure"), 0);
}

#[test]
fn a_listener_that_does_not_work_takes_readiness_away_until_it_does() {
    if !inside("self_check::a_listener_that_does_not_work_takes_readiness_away_until_it_does") {
        return;
    }
    let mut setup = Setup::empty(1);
    ip("addr add 10.77.0.1/24 dev lo");
    setup = setup.listener("udp", "10.77.0.1:3478");
    setup = setup.listener("tcp", "127.0.0.1:3478");
    setup.relayed = "addresses = [\"10.77.0.1\"]\nports = \"20000-20999\"".to_owned();
    setup.self_check = OFTEN.to_owned();
    let relay = setup.start();
    await_successes(&relay, 4);
    assert_eq!(relay.http("GET", "/ready").0, 200);
    // Who asks the wrong address is not answered: nothing leads to the listener any more.
    ip("addr del 10.77.0.1/24 dev lo");
    eventually("an unready relay", || relay.http("GET", "/ready").0 == 503);
    assert!(relay.http("GET", "/ready").1.contains("self_check"));
    assert_eq!(success(&relay, "udp"), 0);
    assert!(relay.log().contains("self-check fails"));
    ip("addr add 10.77.0.1/24 dev lo");
    eventually("a ready relay", || relay.http("GET", "/ready").0 == 200);
    assert!(relay.log().contains("self-check works again"));
}

/// The relay's host with an advertised address that leads to whatever is outside.
fn behind(advertise: &str) -> Setup {
    let mut setup = Setup::empty(1).listener("udp", &format!("10.77.0.1:{PORT}"));
    setup.relayed = format!(
        "addresses = [\"10.77.0.1\"]\nadvertise = [\"{advertise}\"]\nports = \"20000-20999\""
    );
    setup.self_check = OFTEN.to_owned();
    setup
}

#[test]
fn a_wrong_advertised_address_is_found_and_named() {
    if !inside("self_check::a_wrong_advertised_address_is_found_and_named") {
        return;
    }
    let lab = Lab::new();
    // The address in the configuration is another relay's, which knows the same secret: it answers as a relay does.
    let other = lab.outside.enter(|| {
        let mut setup = Setup::empty(1).listener("udp", &format!("10.77.0.20:{PORT}"));
        setup.relayed = "addresses = [\"10.77.0.20\"]\nports = \"20000-20999\"".to_owned();
        setup.start()
    });
    let relay = behind("10.77.0.20").start();
    eventually("a wrong advertised address", || {
        advertised(&relay, "foreign") == 1
    });
    eventually("an unready relay", || relay.http("GET", "/ready").0 == 503);
    assert!(relay.http("GET", "/ready").1.contains("self_check"));
    let log = relay.log();
    let named = log
        .lines()
        .find(|line| line.contains("another server answers at the advertised address"));
    assert!(
        named.is_some_and(|line| line.contains("10.77.0.20:3478")),
        "{log}"
    );
    assert_eq!(success(&relay, "udp"), 1, "the listener itself works");
    drop(other);
}

#[test]
fn an_advertised_address_that_leads_back_is_proved_and_a_silent_one_is_only_a_warning() {
    if !inside(
        "self_check::an_advertised_address_that_leads_back_is_proved_and_a_silent_one_is_only_a_warning",
    ) {
        return;
    }
    let lab = Lab::new();
    // Nothing answers and nothing refuses there.
    let silent = lab
        .outside
        .enter(|| UdpSocket::bind(("10.77.0.20", PORT)).unwrap());
    let relay = behind("10.77.0.20").start();
    eventually("a silent advertised address", || {
        advertised(&relay, "silent") == 1
    });
    await_successes(&relay, 2);
    assert_eq!(relay.http("GET", "/ready").0, 200);
    assert!(
        relay
            .log()
            .contains("nothing answers at the advertised address")
    );
    drop((relay, silent));
    // One to one NAT that leads back: what is sent to 10.77.0.20 is the relay's.
    ip("addr add 10.77.0.21/32 dev r0");
    let mut setup = Setup::empty(1).listener("udp", &format!("0.0.0.0:{PORT}"));
    setup.relayed =
        "addresses = [\"10.77.0.1\"]\nadvertise = [\"10.77.0.21\"]\nports = \"20000-20999\""
            .to_owned();
    setup.self_check = OFTEN.to_owned();
    let relay = setup.start();
    eventually("a proved advertised address", || {
        advertised(&relay, "ok") == 1
    });
    assert_eq!(relay.http("GET", "/ready").0, 200);
    for line in users_figures(&relay).lines() {
        assert!(line.ends_with(" 0"), "{line}");
    }
}
