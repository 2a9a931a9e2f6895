//! The admin API: health, metrics, status, drain, revocations, and allocations by pseudonym.
//!
//! Responsible for the routes. Not responsible for what the figures mean (`metrics`, `taciturn_protocol::status`), nor for
//! when a drain ends (`crate::drain`), nor for who may ask and what a stranger can hold (`taciturn_plane`).

mod access;
mod allocations;
mod drain;
mod revocations;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use taciturn_plane::{Access, refusal};
use taciturn_protocol::credentials::RevocationList;
use taciturn_protocol::status::Phase;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::counters::Totals;
use crate::drain::DrainControl;
use crate::events::EventLog;
use crate::listener::tls::TlsSettings;
use crate::load::LoadSampler;
use crate::metrics::Metrics;
use crate::readiness::SharedReadiness;
use crate::reload::Reload;
use crate::revocations::RevocationControl;
use crate::worker::{self, Message, Outbox};

pub use access::{AccessError, Refusals, prepare};
pub use status::{Capacity, Endpoints};

/// The paths, for who asks for another.
const PATHS: &str = "/live, /ready, /metrics, /v1/status, /v1/drain, /v1/revocations, /v1/allocations and /v1/allocations/{id}";

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
    /// The configuration in force, and how reloads went.
    pub(crate) reload: Arc<Reload>,
    /// The zone that the relay is in, where known.
    pub zone_id: Option<String>,
    /// A random name of this start of the process, so that counters that began again are told from ones that fell.
    pub boot_id: String,
    /// The relay's clock.
    pub clock: Clock,
    /// Begins and ends drains, and knows the phase.
    pub drain: Arc<DrainControl>,
    /// Who may make nothing new.
    pub revocations: Arc<RevocationControl>,
    /// Knows clients and users by pseudonym.
    pub events: Arc<EventLog>,
    /// Who may ask.
    pub access: Arc<Access>,
    /// Where clients reach the relay.
    pub endpoints: Endpoints,
    /// What the TLS listeners show, when there are any.
    pub tls: Option<Arc<TlsSettings>>,
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
    let access = Arc::clone(&admin.access);
    let routes = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status::show))
        .route("/v1/drain", post(drain::begin).delete(drain::end))
        .route(
            "/v1/revocations",
            get(revocations::show)
                .put(revocations::replace)
                .layer(DefaultBodyLimit::max(RevocationList::BYTES)),
        )
        .route("/v1/allocations", get(allocations::list))
        .route(
            "/v1/allocations/{id}",
            get(allocations::inspect).delete(allocations::end),
        );
    taciturn_plane::guarded(routes, access, PATHS).with_state(admin)
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
        Ok(text) => (
            [(header::CONTENT_TYPE, taciturn_plane::metrics::TEXT_FORMAT)],
            text,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics cannot be written; the log says why",
            )
        }
    }
}

/// A worker did not answer in time. What it holds is not known, and is not zero.
fn unanswered() -> Response {
    refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "a worker does not answer; the relay is overloaded or ending",
    )
}
