//! The admin API: health, metrics, status, drain, and allocations by pseudonym.
//!
//! Responsible for HTTP on the admin address: loopback or a Unix socket. Not responsible for what the figures mean
//! (`metrics`, `taciturn_protocol::status`), nor for when a drain ends.
//!
//! It is reached by programs on this host only, and still trusts none of them with time or memory: a connection lives for
//! a minute, bodies are small, and there is a bound on connections. What a web page in a browser on this host
//! makes it send is refused, by `gate`.

mod bounded;
mod gate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use taciturn_protocol::forward::AllocationId;
use taciturn_protocol::status::{Load, Phase};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::counters::Totals;
use crate::drain::{DrainControl, DrainOrder, DrainRefused, DrainSource};
use crate::load::{LoadSampler, Parts};
use crate::metrics::Metrics;
use crate::readiness::SharedReadiness;
use crate::worker::{self, Message, Outbox};

pub use bounded::{AdminListener, Bounded, Timed};

/// Longest request body.
const BODY_BYTES: usize = 16 * 1024;
/// How long a worker may take to answer. Only a worker that is stuck takes longer than a round.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// What the relay can hold, for `capacity` in the status.
#[derive(Clone, Copy, Debug, Serialize)]
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

/// What the admin API shows and changes.
#[derive(Debug)]
pub struct Admin {
    /// Whether new clients should come.
    pub readiness: Arc<SharedReadiness>,
    /// How full the relay is.
    pub load: Arc<LoadSampler>,
    /// The counters of all workers.
    pub totals: Totals,
    /// The same, and more, as Prometheus sees it.
    pub metrics: Metrics,
    /// The workers.
    pub outboxes: Vec<Outbox>,
    /// What the relay can hold.
    pub capacity: Capacity,
    /// The zone that the relay is in, where known.
    pub zone_id: Option<String>,
    /// A random name of this start of the process, so that counters that began again are told from ones that fell.
    pub boot_id: String,
    /// The relay's clock.
    pub clock: Clock,
    /// Begins and ends drains, and knows the phase.
    pub drain: Arc<DrainControl>,
}

impl Admin {
    /// Where the relay is.
    pub fn phase(&self) -> Phase {
        self.drain.phase()
    }

    /// Every worker's answer; `None` when one does not answer.
    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Message) -> Option<Vec<T>> {
        worker::ask(&self.outboxes, question).await
    }
}

/// The routes of the admin API.
pub fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/drain", post(begin_drain).delete(end_drain))
        .route("/v1/allocations", get(allocations))
        .route("/v1/allocations/{id}", delete(end_allocation))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn(gate::judge))
        .with_state(admin)
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let readiness = admin.readiness.read();
    if readiness.ready {
        return "ready\n".into_response();
    }
    let reasons: Vec<&str> = readiness.words().collect();
    let text = format!("{}\n", reasons.join("\n"));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match admin.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    let Some(loads) = admin.ask(Message::Load).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let load = loads.into_iter().fold(Load::default(), Load::plus);
    let sample = admin.load.latest();
    let readiness = admin.readiness.read();
    Json(json!({
        "phase": admin.phase().as_str(),
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
        },
        "capacity": admin.capacity,
        "utilisation": sample.utilisation(),
        "utilisation_parts": by_part(&sample.smoothed),
        "utilisation_parts_now": by_part(&sample.now),
        "full_now": sample.full_now,
        "overloaded": sample.overloaded,
        "drain": admin.drain.status(),
    }))
    .into_response()
}

/// What is not known is not there.
fn by_part(parts: &Parts) -> BTreeMap<&'static str, f64> {
    parts
        .known()
        .map(|(part, value)| (part.as_str(), value))
        .collect()
}

async fn begin_drain(State(admin): State<Arc<Admin>>, body: Bytes) -> Response {
    let order: DrainOrder = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    ordered(admin, move |drain| {
        drain.begin(order, DrainSource::Operator)
    })
    .await
}

async fn end_drain(State(admin): State<Arc<Admin>>) -> Response {
    ordered(admin, |drain| drain.cancel(None)).await
}

/// Carries out an order, which may write a file, where waiting for the disk keeps nobody else waiting.
async fn ordered(
    admin: Arc<Admin>,
    order: impl FnOnce(&DrainControl) -> Result<(), DrainRefused> + Send + 'static,
) -> Response {
    let drain = Arc::clone(&admin.drain);
    match tokio::task::spawn_blocking(move || order(&drain)).await {
        Ok(Ok(())) => Json(json!({
            "phase": admin.phase().as_str(),
            "drain": admin.drain.status(),
        }))
        .into_response(),
        Ok(Err(why)) => {
            let status = match why {
                DrainRefused::OlderEpoch { .. } => StatusCode::CONFLICT,
                DrainRefused::NotServing => StatusCode::SERVICE_UNAVAILABLE,
                DrainRefused::LongReason
                | DrainRefused::ControlCharacters
                | DrainRefused::DeadlineInPast
                | DrainRefused::DeadlineFar => StatusCode::BAD_REQUEST,
            };
            refusal(status, &why.to_string())
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn allocations(State(admin): State<Arc<Admin>>) -> Response {
    let Some(reports) = admin.ask(Message::Report).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let listed = reports.iter().enumerate().flat_map(|(worker, report)| {
        report.allocations.iter().map(move |allocation| {
            json!({
                "id": format!("{worker}-{}-{}", allocation.allocation.0, allocation.serial),
                "transport": allocation.transport.as_str(),
                "age_seconds": allocation.age.as_secs(),
                "to_peer": { "packets": allocation.traffic.to_peer_packets, "bytes": allocation.traffic.to_peer_bytes },
                "to_client":
                    { "packets": allocation.traffic.to_client_packets, "bytes": allocation.traffic.to_client_bytes },
            })
        })
    });
    Json(json!({ "allocations": listed.collect::<Vec<Value>>() })).into_response()
}

async fn end_allocation(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Response {
    let named = id.split_once('-').and_then(|(worker, named)| {
        let (allocation, serial) = named.split_once('-')?;
        Some((
            admin.outboxes.get(worker.parse::<usize>().ok()?)?,
            AllocationId(allocation.parse().ok()?),
            serial.parse().ok()?,
        ))
    });
    let Some((outbox, allocation, serial)) = named else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (sender, answer) = oneshot::channel();
    outbox.send(Message::End(allocation, serial, sender));
    match tokio::time::timeout(REPORT_TIMEOUT, answer).await {
        Ok(Ok(true)) => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(false)) => StatusCode::NOT_FOUND.into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
