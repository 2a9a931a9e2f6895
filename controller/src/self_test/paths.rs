//! The ways from a browser to the relays, one by one.
//!
//! Responsible for naming them as people who open firewalls do ("UDP 3478", "TLS 443"), and for their order. Not responsible
//! for which relays there are, nor for trying anything.

use std::collections::BTreeMap;

use serde::Serialize;
use taciturn_protocol::uri::{ServerUri, UriTransport};

use super::Reachable;

/// Relays named for one path: the second tells a network that blocks from a relay that is gone.
const RELAYS_OF_A_PATH: usize = 2;
/// More paths than any fleet has listeners for.
const MOST_PATHS: usize = 8;

/// One way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestPath {
    /// What IT calls it.
    pub name: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    /// The port at the relay.
    pub port: u16,
    /// Where to try it, the first first.
    pub relays: Vec<TestRelay>,
}

/// A relay at the end of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestRelay {
    /// As the provider calls it.
    pub relay: String,
    /// Its name or address, as a firewall's rule would have it.
    pub host: String,
    /// The one URI of this path.
    pub url: String,
}

/// The paths that these relays offer.
pub(super) fn of(relays: &[Reachable]) -> Vec<TestPath> {
    let mut paths: BTreeMap<(u8, u16), TestPath> = BTreeMap::new();
    for reachable in relays {
        for url in &reachable.urls {
            let Ok(uri) = url.parse::<ServerUri>() else {
                continue;
            };
            if !uri.scheme.is_relay() {
                continue;
            }
            let transport = match (uri.scheme.is_secure(), uri.transport_or_default()) {
                (false, UriTransport::Udp) => "udp",
                (false, UriTransport::Tcp) => "tcp",
                (true, UriTransport::Tcp) => "tls",
                // DTLS: no browser speaks it to a relay.
                (true, UriTransport::Udp) => continue,
            };
            let port = uri.port_or_default();
            let path = paths
                .entry((rank(transport, port), port))
                .or_insert_with(|| TestPath {
                    name: format!("{} {port}", transport.to_uppercase()),
                    transport,
                    port,
                    relays: Vec::new(),
                });
            let known = path.relays.iter().any(|each| each.relay == reachable.relay);
            if !known && path.relays.len() < RELAYS_OF_A_PATH {
                path.relays.push(TestRelay {
                    relay: reachable.relay.clone(),
                    host: uri.host.to_string(),
                    url: url.clone(),
                });
            }
        }
    }
    paths.into_values().take(MOST_PATHS).collect()
}

/// The order in which a firewall's owner would rather open them; others after those that everybody has.
fn rank(transport: &str, port: u16) -> u8 {
    match (transport, port) {
        ("udp", 3478) => 0,
        ("udp", 443) => 1,
        ("tcp", 443) => 2,
        ("tls", 443) => 3,
        ("udp", _) => 4,
        ("tcp", _) => 5,
        _ => 6,
    }
}
