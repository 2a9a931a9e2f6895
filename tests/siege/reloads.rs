//! Configurations and certificates that come and go, again and again, under calls and handshakes.
//!
//! Not responsible for what each key does when it changes (`tests/system/reload.rs`).

use std::borrow::Borrow;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::changes::{
    FAILED, NEW_SECRET, UNAUTHENTICATED, allocate_with, certified, change, configuration, reloads,
    said_of, shown,
};
use crate::flock::{Ended, Flock};
use crate::running::{Running, SECRET, Setup, eventually};
use crate::scale::scale;
use crate::vitals::record;

/// As many as both workers and all transports have a part of.
const CALLS: usize = 20;

/// G-18, A-32: configurations that come and go under load cost no packet; a broken one is refused whole, with its key and line, and
/// shown until a good one follows.
#[test]
fn reloads_under_load_lose_no_packet_and_broken_ones_change_nothing() {
    let rounds = scale(50, 1000);
    let relay = Setup::on_loopback(2).start();
    let text = configuration(&relay);
    let mut flock = Flock::on_loopback(&relay, CALLS);
    let mut previous = text.clone();
    let ((), tally) = flock.beside(|| {
        for round in 0..rounds {
            if round % 10 == 9 {
                // Were any of it taken over, nobody could come in any more.
                let broken =
                    previous.replace(SECRET, NEW_SECRET) + "\n[nonce]\nlivetime = \"5m\"\n";
                let line = broken.lines().count();
                change(&relay, &broken, "refused");
                assert_eq!(relay.metric(FAILED), 1, "round {round}");
                let said = said_of(&relay, "nonce.livetime");
                let last = said.last().expect("the key in the log");
                assert_eq!(last["line"], line);
                assert_eq!(last["level"], "ERROR");
                assert!(!relay.log().contains(NEW_SECRET));
                let (mut client, code) = allocate_with(&relay, SECRET);
                assert_eq!(code, 0, "round {round}");
                client.release();
                assert_eq!(allocate_with(&relay, NEW_SECRET).1, UNAUTHENTICATED);
            } else {
                let limits = format!(
                    "[limits]\nqueue-age = \"{}ms\"\nhalf-open = {}\nmax-lifetime = \"{}s\"\n",
                    500 + round,
                    1000 + round,
                    3600 - round
                );
                let changed = text.replace("[limits]\n", &limits);
                change(&relay, &changed, "applied");
                assert_eq!(relay.metric(FAILED), 0, "round {round}");
                previous = changed;
            }
        }
    });
    tally.assert_whole();
    record("reloads, a tenth of them broken", rounds);
    record(
        "payloads of 20 calls meanwhile, lost",
        format!("{} {}", tally.sent, tally.lost),
    );
    assert_eq!(reloads(&relay, "refused"), rounds / 10);
    assert_eq!(reloads(&relay, "applied"), rounds / 10 * 9);
    assert_eq!(reloads(&relay, "unchanged"), 0);
}

/// Exchanges certificate and key at once, as Kubernetes does: both are behind a symlink to a directory.
pub(crate) fn publish(relay: &Running, version: usize, certificate: &str, key: &str) {
    let at = |version: usize| relay.directory().join(format!("..version-{version}"));
    fs::create_dir(at(version)).unwrap();
    fs::write(at(version).join("cert.pem"), certificate).unwrap();
    let at_key = at(version).join("key.pem");
    fs::write(&at_key, key).unwrap();
    fs::set_permissions(&at_key, PermissionsExt::from_mode(0o600)).unwrap();
    let next = relay.directory().join("..next");
    symlink(format!("..version-{version}"), &next).unwrap();
    fs::rename(&next, relay.directory().join("..data")).unwrap();
    if version == 0 {
        for name in ["cert.pem", "key.pem"] {
            let link = relay.directory().join(format!("{name}.link"));
            symlink(format!("..data/{name}"), &link).unwrap();
            fs::rename(&link, relay.directory().join(name)).unwrap();
        }
    } else if version > 1 {
        fs::remove_dir_all(at(version - 2)).unwrap();
    }
}

/// A client's end of TLS that trusts these.
pub(crate) fn trusting(
    certificates: impl IntoIterator<Item: Borrow<CertificateDer<'static>>>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.borrow().clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// L-09, G-17: certificates that are exchanged under handshakes fail none of them and end no connection; whoever comes
/// afterwards sees the new one.
#[test]
fn certificates_change_under_handshakes_and_nobody_notices() {
    let (swaps, handshakes) = (scale(4, 100), scale(500, 5000));
    let relay = Setup::on_loopback(2).start();
    // In turn: a client tries all that it trusts of one name, but not a hundred of them.
    let versions: Vec<_> = (0..4).map(|_| certified()).collect();
    let trusted = versions.iter().map(|(certificate, ..)| certificate);
    let config = trusting(trusted.chain([&relay.certificate]));
    assert_eq!(shown(&relay, &config), relay.certificate);
    let mut flock = Flock::on_loopback(&relay, CALLS);
    let (done, exchanged) = (AtomicU64::new(0), AtomicBool::new(false));
    let handshake = || {
        while !exchanged.load(Ordering::Relaxed) || done.load(Ordering::Relaxed) < handshakes {
            shown(&relay, &config);
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let exchange = || {
        for version in 0..usize::try_from(swaps).unwrap() {
            let (certificate, chain, key) = &versions[version % versions.len()];
            publish(&relay, version, chain, key);
            eventually("the new certificate", || {
                shown(&relay, &config) == *certificate
            });
        }
    };
    let ((), tally) = flock.beside(|| {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(handshake);
            }
            let ended = Ended(&exchanged);
            exchange();
            drop(ended);
        });
    });
    tally.assert_whole();
    record("certificates exchanged", swaps);
    record("handshakes meanwhile", done.into_inner());
    let failures = relay.metric("taciturn_relay_tls_handshake_failures_total");
    assert_eq!(failures, 0);
    record("handshakes that failed", failures);
    assert_eq!(relay.metric(FAILED), 0);
}
