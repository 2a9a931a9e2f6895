//! `GET /v1/status`: the relay at one look, for a controller and for people.
//!
//! Not responsible for measuring (`load`, `taciturn_protocol::status`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use taciturn_protocol::address::Family;
use taciturn_protocol::status::Load;

use super::{Admin, unanswered};
use crate::config::ListenerTransport;
use crate::load::{LoadSample, Part, Parts};
use crate::relayed::RelayedAddresses;
use crate::run::BoundListener;
use crate::worker::Message;

/// What the relay can hold, for `capacity` in the status.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Allocations by configuration.
    pub allocations: usize,
    /// Relayed ports on all relayed addresses.
    pub ports: usize,
    /// TCP and TLS connections by configuration.
    pub connections: usize,
    /// Worker threads.
    pub workers: usize,
}

/// Where clients reach the relay, for `endpoints` in the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Public addresses.
    pub addresses: Vec<IpAddr>,
    /// What is spoken on which port.
    pub listeners: Vec<(ListenerTransport, u16)>,
}

impl Endpoints {
    /// Of a family that a NAT stands before, the addresses that it puts in front; else those that are listened on, or,
    /// where that is a wildcard, the relayed ones. A family that nothing listens on has none.
    pub fn of(bound: &[BoundListener], relayed: &RelayedAddresses) -> Self {
        let mut endpoints = Self::default();
        for family in [Family::V4, Family::V6] {
            let listening: Vec<IpAddr> = bound
                .iter()
                .map(|listener| listener.address.ip())
                .filter(|address| Family::of_ip(address) == family)
                .collect();
            if listening.is_empty() {
                continue;
            }
            let pairs = relayed.pairs().iter();
            let pairs = pairs.filter(|pair| Family::of_ip(&pair.bind) == family);
            let translated = pairs.clone().any(|pair| pair.advertise != pair.bind);
            if translated || listening.iter().all(IpAddr::is_unspecified) {
                pairs.for_each(|pair| once(&mut endpoints.addresses, pair.advertise));
            } else {
                let concrete = listening.into_iter().filter(|ip| !ip.is_unspecified());
                concrete.for_each(|address| once(&mut endpoints.addresses, address));
            }
        }
        for listener in bound {
            let listening = (listener.transport, listener.address.port());
            once(&mut endpoints.listeners, listening);
        }
        endpoints
    }
}

fn once<T: PartialEq>(items: &mut Vec<T>, item: T) {
    if !items.contains(&item) {
        items.push(item);
    }
}

pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Response {
    let Some(loads) = admin.ask(Message::Load).await else {
        return unanswered();
    };
    let load = loads.into_iter().fold(Load::default(), Load::plus);
    let sample = admin.load.latest();
    let readiness = admin.readiness.read();
    Json(json!({
        "phase": admin.phase().as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "boot_id": admin.boot_id,
        "ready": readiness.ready,
        "not_ready_because": readiness.words().collect::<Vec<_>>(),
        "sequence": sample.sequence,
        "time": sample.taken.as_secs(),
        "zone_id": admin.zone_id,
        "load": {
            "allocations": load.allocations,
            "permissions": load.permissions,
            "channels": load.channels,
            "connections": admin.totals.sum(|counters| &counters.connections),
            "ports_free": load.ports_free,
            "ports_used": load.ports_used,
            "ports_quarantined": load.ports_quarantined,
            "packets_per_second": sample.rates.part(Part::Packets),
            "bits_per_second": sample.rates.part(Part::Bits),
            "busiest_core": sample.smoothed.part(Part::BusiestCore),
        },
        "capacity": capacity(admin.reload.capacity(), &sample),
        "config": {
            "loaded": admin.reload.reloads().loaded().as_secs(),
            "reload_failed": admin.reload.reloads().failed(),
        },
        "utilisation": sample.utilisation(),
        "utilisation_parts": by_part(&sample.smoothed),
        "utilisation_parts_now": by_part(&sample.now),
        "full_now": sample.full_now,
        "overloaded": sample.overloaded,
        "drain": admin.drain.status(),
        "epoch": admin.drain.epoch(),
        "endpoints": endpoints(&admin),
        "revocations": admin.revocations.status(),
    }))
    .into_response()
}

fn endpoints(admin: &Admin) -> Value {
    let listeners = admin.endpoints.listeners.iter();
    let listeners: Vec<Value> = listeners
        .map(|(transport, port)| json!({ "transport": transport.as_str(), "port": port }))
        .collect();
    json!({
        "addresses": admin.endpoints.addresses,
        "listeners": listeners,
        "tls_names": admin.tls.as_ref().map_or_else(Vec::new, |tls| tls.names()),
    })
}

/// The limits by configuration, and what the host has been measured to carry; `null` where it has not.
fn capacity(configured: Capacity, sample: &LoadSample) -> Value {
    json!({
        "allocations": configured.allocations,
        "ports": configured.ports,
        "connections": configured.connections,
        "workers": configured.workers,
        "packets_per_second": sample.limits.part(Part::Packets),
        "bits_per_second": sample.limits.part(Part::Bits),
        "busiest_core": sample.limits.part(Part::BusiestCore),
    })
}

/// What is not known is not there.
fn by_part(parts: &Parts) -> BTreeMap<&'static str, f64> {
    parts
        .known()
        .map(|(part, value)| (part.as_str(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relayed::AddressPair;

    fn endpoints(listeners: &[&str], pairs: &[(&str, &str)]) -> Vec<String> {
        let bound: Vec<BoundListener> = listeners
            .iter()
            .map(|address| BoundListener {
                transport: ListenerTransport::Udp,
                address: address.parse().expect("an address"),
            })
            .collect();
        let pairs = pairs.iter().map(|(bind, advertise)| AddressPair {
            bind: bind.parse().expect("an address"),
            advertise: advertise.parse().expect("an address"),
        });
        let relayed = RelayedAddresses::from_pairs(pairs.collect());
        let addresses = Endpoints::of(&bound, &relayed).addresses;
        addresses.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn clients_are_sent_to_what_they_can_reach() {
        let one = &[("10.0.0.5", "10.0.0.5")];
        let behind = &[("10.0.0.5", "203.0.113.5")];
        let both = &[("10.0.0.5", "203.0.113.5"), ("2001:db8::5", "2001:db8::5")];
        assert_eq!(endpoints(&["0.0.0.0:3478"], one), ["10.0.0.5"]);
        assert_eq!(
            endpoints(&["10.0.0.9:3478", "10.0.0.9:443"], one),
            ["10.0.0.9"]
        );
        assert_eq!(endpoints(&["10.0.0.5:3478"], behind), ["203.0.113.5"]);
        assert_eq!(endpoints(&["0.0.0.0:3478"], both), ["203.0.113.5"]);
        assert_eq!(
            endpoints(&["0.0.0.0:3478", "[::]:3478"], both),
            ["203.0.113.5", "2001:db8::5"]
        );
    }

    #[test]
    fn a_port_that_is_listened_on_twice_is_named_once() {
        let listener = |transport, address: &str| BoundListener {
            transport,
            address: address.parse().expect("an address"),
        };
        let bound = [
            listener(ListenerTransport::Udp, "10.0.0.5:3478"),
            listener(ListenerTransport::Udp, "[2001:db8::5]:3478"),
            listener(ListenerTransport::Auto, "10.0.0.5:443"),
        ];
        let found = Endpoints::of(&bound, &RelayedAddresses::from_pairs(Vec::new()));
        assert_eq!(
            found.listeners,
            [
                (ListenerTransport::Udp, 3478),
                (ListenerTransport::Auto, 443)
            ]
        );
    }
}
