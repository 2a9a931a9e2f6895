//! A configuration that changes under a relay with live calls: what is applied, what is refused, and who notices.
//!
//! Not responsible for what each key does, which the crates' own tests show.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use taciturn_protocol::wire::Method;

use crate::calls::Call;
use crate::changes::{
    FAILED, NEW_SECRET, UNAUTHENTICATED, allocate_with, certified, change, configuration, reloads,
    said_of, shown,
};
use crate::client::{Client, Over, connect, receive_from};
use crate::lab::Lab;
use crate::namespace::{inside, ip};
use crate::running::{Running, SECRET, Setup, eventually};
use crate::scale::not_run;

/// A certificate without its key, or with another's, is refused, and the one before it stays.
#[test]
fn a_certificate_whose_key_is_another_is_refused() {
    let relay = Setup::on_loopback(1).start();
    let (_, chain, _) = certified();
    relay.rewrite("cert.pem", &chain);
    eventually("a refusal", || relay.metric(FAILED) == 1);
    let said = said_of(&relay, "tls");
    let said = said[0]["message"].as_str().unwrap();
    assert!(
        said.contains("the private key does not belong to the first certificate"),
        "{said}"
    );
    // The client trusts the old certificate alone.
    let mut call = Call::open(&relay, Over::Tls, "alice");
    call.exchange();
    let (certificate, chain, key) = certified();
    relay.rewrite("cert.pem", &chain);
    relay.rewrite("key.pem", &key);
    eventually("the new certificate", || relay.metric(FAILED) == 0);
    call.exchange();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert_eq!(shown(&relay, &Arc::new(config)), certificate);
}

/// A-15: a peer that a new policy forbids is out of reach at once, whatever was permitted before; calls with others go on.
#[test]
fn a_policy_that_forbids_a_live_peer_ends_it_at_once() {
    if !inside("reload::a_policy_that_forbids_a_live_peer_ends_it_at_once") {
        return;
    }
    let lab = Lab::new();
    let relay = Lab::setup(1).start();
    let (forbidden, allowed) = (lab.peer("10.77.0.20"), lab.peer("10.77.0.10"));
    let at_forbidden = forbidden.local_addr().unwrap();
    for over in Over::ALL {
        let mut client = lab.client(&relay, over, "10.77.0.1", "alice");
        let relayed = client.allocate();
        client.bind(0x4000, at_forbidden);
        client.bind(0x4001, allowed.local_addr().unwrap());
        client.send_channel(0x4000, b"before");
        assert_eq!(receive_from(&forbidden).0, b"before");

        let text = configuration(&relay);
        change(
            &relay,
            &text.replace("[peers]\n", "[peers]\ndeny = [\"10.77.0.20\"]\n"),
            "applied",
        );
        client.send_channel(0x4000, b"after");
        client.send_indication(at_forbidden, b"after");
        assert_eq!(client.try_permit(at_forbidden), 403, "{over:?}");
        assert_eq!(client.try_bind(0x4000, at_forbidden), 403, "{over:?}");
        // Nothing that came from there reaches the client, and what goes to the other peer does.
        forbidden.send_to(b"not any more", relayed).unwrap();
        client.send_channel(0x4001, b"still here");
        assert_eq!(receive_from(&allowed).0, b"still here");
        allowed.send_to(b"so am I", relayed).unwrap();
        assert_eq!(client.channel_payload(0x4001), b"so am I");
        assert!(crate::client::is_silent(&forbidden), "{over:?}");

        change(&relay, &text, "applied");
        client.bind(0x4000, at_forbidden);
        client.send_channel(0x4000, b"again");
        assert_eq!(receive_from(&forbidden).0, b"again");
        client.release();
    }
    assert!(
        relay
            .log()
            .contains("the peer policy now forbids some peers")
    );
}

/// A-15, A-36: a list of the only peers that comes while two clients of the relay talk ends that, and not what goes to those
/// who are listed; which they are is logged, at the start as well.
#[test]
fn a_list_of_the_only_peers_parts_two_clients_that_talk() {
    if !inside("reload::a_list_of_the_only_peers_parts_two_clients_that_talk") {
        return;
    }
    let listed = |relay: &Running| -> Vec<String> {
        let log = relay.log();
        let lines = log.lines().filter(|line| line.contains("peers are listed"));
        let ranges = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        ranges
            .map(|line| line["range"].as_str().unwrap().to_owned())
            .collect()
    };
    let lab = Lab::new();
    let relay = Lab::setup(1).start();
    let sfu = lab.peer("10.77.0.20");
    let mut alice = lab.client(&relay, Over::Udp, "10.77.0.1", "alice");
    let mut bob = lab.client(&relay, Over::Udp, "10.77.0.1", "bob");
    let (at_alice, at_bob) = (alice.allocate(), bob.allocate());
    alice.bind(0x4000, at_bob);
    alice.bind(0x4001, sfu.local_addr().unwrap());
    bob.permit(at_alice);
    alice.send_channel(0x4000, b"before");
    assert_eq!(bob.data_indication(), (at_alice, b"before".to_vec()));
    assert_eq!(listed(&relay), [""; 0]);

    let text = configuration(&relay);
    let (before, after) = text.split_once("[peers]\nallow = ").unwrap();
    let after = after.split_once('\n').unwrap().1;
    let with = |only: &str| format!("{before}[peers]\nonly = [{only}]\n{after}");
    change(&relay, &with("\"10.77.0.20\""), "applied");
    alice.send_channel(0x4000, b"after");
    alice.send_indication(at_bob, b"after");
    bob.send_indication(at_alice, b"after");
    assert_eq!(alice.try_permit(at_bob), 403);
    assert_eq!(alice.try_bind(0x4000, at_bob), 403);
    assert_eq!(bob.try_permit(at_alice), 403);
    alice.send_channel(0x4001, b"still here");
    assert_eq!(receive_from(&sfu).0, b"still here");
    for client in [&mut alice, &mut bob] {
        client.set_timeout(Duration::from_millis(100));
        assert_eq!(client.receive(), None);
    }
    assert_eq!(listed(&relay), ["10.77.0.20/32"]);

    change(&relay, &with("\"10.77.0.20\", \"10.77.0.1\""), "applied");
    alice.set_timeout(Duration::from_secs(5));
    alice.bind(0x4000, at_bob);
    assert_eq!(listed(&relay), ["10.77.0.20/32", "10.77.0.1/32"]);
    change(&relay, &text, "applied");
    assert!(relay.log().contains("peers are no longer listed"));

    let mut setup = Lab::setup(1);
    setup.peers = "only = [\"10.77.0.20\"]".to_owned();
    drop(relay);
    assert_eq!(listed(&setup.start()), ["10.77.0.20/32"]);
}

/// A-15: an address that the host is given while the relay runs is out of reach as its first ones are.
#[test]
fn an_address_that_the_host_gets_later_is_its_own() {
    if !inside("reload::an_address_that_the_host_gets_later_is_its_own") {
        return;
    }
    let lab = Lab::new();
    let relay = Lab::setup(1).start();
    let mut client = lab.client(&relay, Over::Udp, "10.77.0.1", "alice");
    client.allocate();
    let later = "10.77.0.3:5555".parse().unwrap();
    client.bind(0x4000, later);
    ip("addr add 10.77.0.3/24 dev r0");
    let inside = crate::client::peer_at(later);
    eventually("a refusal", || client.try_permit(later) == 403);
    assert_eq!(client.try_bind(0x4000, later), 403);
    client.send_channel(0x4000, b"must not arrive");
    client.send_indication(later, b"must not arrive");
    // Answered after what was sent before it.
    assert_eq!(client.request(Method::Refresh, |_| {}).code(), 0);
    assert!(crate::client::is_silent(&inside));

    ip("addr del 10.77.0.3/24 dev r0");
    eventually("a permission", || client.try_permit(later) == 0);
}

/// Secrets change without a call or a new client noticing: both are good while both are listed, and a call that began with a
/// secret goes on when it has been taken away.
#[test]
fn a_secret_is_replaced_without_ending_a_call() {
    let relay = Setup::on_loopback(2).start();
    let text = configuration(&relay);
    let (mut old, code) = allocate_with(&relay, SECRET);
    assert_eq!(code, 0);
    assert_eq!(allocate_with(&relay, NEW_SECRET).1, UNAUTHENTICATED);

    let newest = format!("[[secret]]\nid = \"newest\"\nvalue = \"{NEW_SECRET}\"\n[[secret]]\n");
    let both = text.replacen("[[secret]]\n", &newest, 1);
    change(&relay, &both, "applied");
    let (mut new, code) = allocate_with(&relay, NEW_SECRET);
    assert_eq!(code, 0);
    assert_eq!(allocate_with(&relay, SECRET).1, 0);

    change(&relay, &text.replace(SECRET, NEW_SECRET), "applied");
    for client in [&mut old, &mut new] {
        assert_eq!(
            client.request(Method::Refresh, |w| w.lifetime(600)).code(),
            0
        );
        assert_eq!(client.try_permit("127.0.0.1:9".parse().unwrap()), 0);
    }
    assert_eq!(allocate_with(&relay, SECRET).1, UNAUTHENTICATED);
    assert_eq!(allocate_with(&relay, NEW_SECRET).1, 0);
    assert!(!relay.log().contains(SECRET) && !relay.log().contains(NEW_SECRET));
}

/// S-37: a nonce is good for its lifetime although its key has been replaced, and the key before it is named nowhere.
#[test]
fn a_nonce_outlives_the_key_that_it_was_made_with() {
    let mut setup = Setup::on_loopback(1);
    setup.more = "[nonce]\nkey-file = \"nonce.key\"\n".to_owned();
    setup.files = vec![(
        "nonce.key",
        "a nonce key of at least 32 bytes, the first".to_owned(),
    )];
    let relay = setup.start();
    let mut client = Client::of(&relay, Over::Udp, "alice");
    client.challenge();
    relay.rewrite("nonce.key", "a nonce key of at least 32 bytes, the second");
    eventually("the new key", || reloads(&relay, "applied") == 1);
    // An Allocate with a nonce that is not known would be answered with 438.
    client.allocate();
    Client::of(&relay, Over::Udp, "bob").allocate();
}

#[test]
fn limits_change_for_what_comes_and_leave_what_is() {
    let relay = Setup::on_loopback(2).start();
    let text = configuration(&relay);
    let mut calls: Vec<_> = (0..3)
        .map(|_| Call::open(&relay, Over::Udp, "alice"))
        .collect();
    let fewer = "[limits]\nallocations-per-user = 2\npermissions-per-allocation = 1\nconnections-per-source = 1\n";
    change(&relay, &text.replace("[limits]\n", fewer), "applied");
    let mut another = Client::of(&relay, Over::Udp, "alice");
    assert_eq!(another.try_allocate(|_| {}).code(), 486);
    for call in &mut calls {
        call.exchange();
        assert_eq!(
            call.client
                .request(Method::Refresh, |w| w.lifetime(600))
                .code(),
            0
        );
        // The one that it has is the one that it may have.
        assert_eq!(call.client.try_permit("127.0.0.1:9".parse().unwrap()), 0);
    }
    let mut first = Call::open(&relay, Over::Tcp, "bob");
    first.exchange();
    let refused = "taciturn_relay_refused_connections_total{reason=\"source_cap\"}";
    assert_eq!(relay.metric(refused), 0);
    drop(connect(relay.listener("tcp")));
    eventually("a refused connection", || relay.metric(refused) == 1);

    change(&relay, &text, "applied");
    assert_eq!(another.try_allocate(|_| {}).code(), 0);
}

/// What is shown and what clients are told follow the configuration in force, as the log does.
#[test]
fn status_alternates_and_log_follow_the_configuration() {
    let relay = Setup::on_loopback(1).start();
    let text = configuration(&relay);
    let status = || -> serde_json::Value {
        serde_json::from_str(&relay.http("GET", "/v1/status").1).unwrap()
    };
    assert_eq!(status()["capacity"]["connections"], 10_000);
    let order = r#"{"deadline": 4000000000, "reason": "test", "epoch": 1}"#;
    let mut refused = Client::of(&relay, Over::Udp, "alice");
    let changed = text
        .replace("[limits]\n", "[limits]\nconnections = 77\n")
        .replace("level = \"info\"", "level = \"debug\"")
        + "\n[[drain.alternates]]\ntransport = \"udp\"\naddress = \"192.0.2.7:3478\"\n";
    change(&relay, &changed, "applied");
    assert_eq!(status()["capacity"]["connections"], 77);
    assert_eq!(status()["config"]["reload_failed"], false);
    assert!(!relay.log().contains("allocation created"));
    Call::open(&relay, Over::Udp, "bob").exchange();
    eventually("a line at debug level", || {
        relay.log().contains("allocation created")
    });

    let (code, said) = relay.http_with("POST", "/v1/drain", order);
    assert_eq!(code, 200, "{said}");
    let answer = refused.try_allocate(|_| {});
    assert_eq!(answer.code(), 300);
    let alternate = answer
        .attributes()
        .alternate_servers()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(alternate, "192.0.2.7:3478".parse().unwrap());
    let elsewhere = changed.replace("192.0.2.7:3478", "192.0.2.8:3478");
    change(&relay, &elsewhere, "applied");
    let answer = refused.try_allocate(|_| {});
    let alternate = answer
        .attributes()
        .alternate_servers()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(alternate, "192.0.2.8:3478".parse().unwrap());
    relay.rewrite("relay.toml", "nonsense");
    eventually("a refusal", || status()["config"]["reload_failed"] == true);
    change(&relay, &text, "applied");
    assert_eq!(refused.try_allocate(|_| {}).code(), 508);
    assert_eq!(relay.http("DELETE", "/v1/drain").0, 200);
}

#[test]
fn what_takes_a_restart_is_refused_by_name() {
    let relay = Setup::on_loopback(1).start();
    let text = configuration(&relay);
    // The limit beside it is not taken over either.
    let changed = text
        .replace("workers = 1", "workers = 2")
        .replace("20000-29999", "20000-28999")
        .replace("[limits]\n", "[limits]\nallocations-per-user = 1\n");
    change(&relay, &changed, "refused");
    assert_eq!(relay.metric(FAILED), 1);
    for key in ["workers", "relayed.ports"] {
        let said = said_of(&relay, key);
        let said = said[0]["message"].as_str().unwrap();
        assert!(
            said.ends_with(
                "has changed, and a running relay cannot take that over; restart the relay, or write it as it was"
            ),
            "{said}"
        );
    }
    let mut calls: Vec<_> = (0..2)
        .map(|_| Call::open(&relay, Over::Udp, "alice"))
        .collect();
    calls.iter_mut().for_each(Call::exchange);

    change(&relay, &text, "applied");
    assert_eq!(relay.metric(FAILED), 0);
    calls.iter_mut().for_each(Call::exchange);
}

#[test]
fn sighup_reads_again_and_touching_changes_nothing() {
    let relay = Setup::on_loopback(1).start();
    relay.hang_up();
    eventually("an answer to SIGHUP", || reloads(&relay, "unchanged") == 1);
    let text = configuration(&relay);
    relay.rewrite("relay.toml", &text);
    relay.rewrite("unrelated", "of no interest");
    relay.hang_up();
    eventually("another", || reloads(&relay, "unchanged") == 2);
    assert_eq!(reloads(&relay, "applied") + reloads(&relay, "refused"), 0);

    // A refusal is said again to whoever asks again.
    change(&relay, &(text.clone() + "\nnonsense\n"), "refused");
    relay.hang_up();
    eventually("the same refusal", || reloads(&relay, "refused") == 2);
    change(&relay, &text, "applied");
    assert_eq!(relay.metric(FAILED), 0);
}

/// The relay's own client comes in by a user that no configuration names, and trusts the certificate that is in force.
#[test]
fn the_relay_goes_on_checking_itself_after_reloads() {
    let mut setup = Setup::on_loopback(1);
    setup.self_check = "interval = \"100ms\"".to_owned();
    let relay = setup.start();
    let successes = || relay.metric("taciturn_relay_self_check_checks_total{outcome=\"success\"}");
    let text = configuration(&relay);
    let other = text
        .replace(SECRET, NEW_SECRET)
        .replace("[limits]\n", "[limits]\nallocations = 1\n");
    for text in [&other, &text] {
        let (_, chain, key) = certified();
        relay.rewrite("cert.pem", &chain);
        relay.rewrite("key.pem", &key);
        change(&relay, text, "applied");
        eventually("the new certificate", || relay.metric(FAILED) == 0);
        // Each of the five ways in once more, and then again.
        let before = successes();
        eventually("self-checks", || successes() >= before + 10);
    }
    assert!(!relay.log().contains("self-check fails"));
    assert_eq!(relay.http("GET", "/ready").0, 200);
}

/// Where the kernel reports no changes, the files are looked at now and then.
#[test]
fn files_that_nobody_reports_on_are_followed_too() {
    let deaf = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    let words = ["unshare", "-Ur", "sh", "-c", deaf];
    let tried = Command::new(words[0])
        .args(&words[1..])
        .arg("true")
        .status();
    if !tried.is_ok_and(|status| status.success()) {
        not_run(
            "files_that_nobody_reports_on_are_followed_too",
            "user namespaces",
        );
        return;
    }
    let mut setup = Setup::on_loopback(1);
    setup.wrapper = words.map(Into::into).to_vec();
    let relay = setup.start();
    eventually("a word about it", || {
        relay.log().contains("raise fs.inotify.max_user_instances")
    });
    // The first look is at once, and not the one that this is about.
    thread::sleep(Duration::from_secs(1));
    let text = configuration(&relay);
    relay.rewrite(
        "relay.toml",
        &text.replace("[limits]\n", "[limits]\nhalf-open = 77\n"),
    );
    // Half a minute, and as much again for a busy machine.
    for _ in 0..60 {
        if reloads(&relay, "applied") > 0 {
            return;
        }
        thread::sleep(Duration::from_secs(1));
    }
    panic!("the change was not noticed");
}
