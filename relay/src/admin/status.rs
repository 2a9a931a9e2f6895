//! `GET /v1/status`: the relay at one look, for a controller and for people.
//!
//! Not responsible for measuring (`load`, `taciturn_protocol::status`).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use taciturn_protocol::status::Load;

use super::{Admin, unanswered};
use crate::load::{LoadSample, Part, Parts};
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
    }))
    .into_response()
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
