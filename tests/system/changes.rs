//! A configuration, or a certificate, exchanged under a relay that runs, and what the relay says of it.
//!
//! Not responsible for what a change is to bring about.

use std::fs;
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection};

use crate::client::{Client, Link, connect, peer_of};
use crate::running::{REALM, Running, eventually};

pub(crate) const NEW_SECRET: &str = "fedcba9876543210fedcba9876543210";
pub(crate) const FAILED: &str = "taciturn_relay_config_reload_failed";
/// What an Allocate is answered with that proves no credentials.
pub(crate) const UNAUTHENTICATED: u16 = 401;

pub(crate) fn reloads(relay: &Running, outcome: &str) -> u64 {
    relay.metric(&format!(
        "taciturn_relay_config_reloads_total{{outcome=\"{outcome}\"}}"
    ))
}

pub(crate) fn configuration(relay: &Running) -> String {
    fs::read_to_string(relay.directory().join("relay.toml")).unwrap()
}

/// Changes the configuration and waits until that has come to `outcome`.
#[track_caller]
pub(crate) fn change(relay: &Running, text: &str, outcome: &str) {
    let before = reloads(relay, outcome);
    relay.rewrite("relay.toml", text);
    eventually(&format!("a reload that is {outcome}"), || {
        reloads(relay, outcome) > before
    });
}

/// The events of the log that name this key.
pub(crate) fn said_of(relay: &Running, key: &str) -> Vec<serde_json::Value> {
    let log = relay.log();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &serde_json::Value| line["key"] == key)
        .collect()
}

/// A client over UDP whose credentials were minted with `secret`, and how its Allocate is answered.
pub(crate) fn allocate_with(relay: &Running, secret: &str) -> (Client, u16) {
    let server = relay.listener("udp");
    let socket = peer_of(server);
    socket.connect(server).unwrap();
    let mut client = Client::with_secret(Link::Udp(socket), "alice", secret);
    let code = client.try_allocate(|_| {}).code();
    (client, code)
}

/// A certificate for the relay, and its key, both in PEM.
pub(crate) fn certified() -> (CertificateDer<'static>, String, String) {
    let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
        rcgen::generate_simple_self_signed([REALM.to_owned()]).unwrap();
    (cert.der().clone(), cert.pem(), signing_key.serialize_pem())
}

/// One TLS handshake: the certificate that the relay shows.
pub(crate) fn shown(relay: &Running, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let name = ServerName::try_from(REALM).unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = connect(relay.listener("tls"));
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).expect("a handshake");
    }
    let chain = tls.peer_certificates().unwrap();
    chain[0].clone().into_owned()
}
