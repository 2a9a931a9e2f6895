//! The admin API: health, metrics, status, drain, and allocations by pseudonym.
//!
//! Responsible for the routes, and for answers that are short and say what is wrong. Not responsible for what the figures
//! mean (`metrics`, `taciturn_protocol::status`), nor for when a drain ends (`crate::drain`).
//!
//! By default programs on this host alone reach it, over loopback or a Unix socket; beyond that everybody who asks for
//! more than health proves who they are (`access`). None is trusted with time or memory: a connection lives for a minute,
//! bodies are small, pages are bounded, and so are connections. What a web page in a browser on this host makes it
//! send is refused (`gate`).

mod access;
mod allocations;
mod bounded;
mod drain;
mod gate;
mod query;
mod refused;
mod status;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use taciturn_protocol::status::Phase;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::counters::Totals;
use crate::drain::DrainControl;
use crate::events::EventLog;
use crate::load::LoadSampler;
use crate::metrics::Metrics;
use crate::readiness::SharedReadiness;
use crate::reload::Reload;
use crate::worker::{self, Message, Outbox};

pub use access::{Access, AccessError, PreparedAccess};
pub use bounded::{AdminListener, Bounded, Timed};
pub use status::Capacity;

/// Longest request body.
const BODY_BYTES: usize = 16 * 1024;

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
    /// Knows clients and users by pseudonym.
    pub events: Arc<EventLog>,
    /// Who may ask.
    pub access: Arc<Access>,
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
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status::show))
        .route("/v1/drain", post(drain::begin).delete(drain::end))
        .route("/v1/allocations", get(allocations::list))
        .route(
            "/v1/allocations/{id}",
            get(allocations::inspect).delete(allocations::end),
        )
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(access, gate::judge))
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
            refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics cannot be written; the log says why",
            )
        }
    }
}

async fn no_such_path(uri: Uri) -> Response {
    let cut = uri.path().floor_char_boundary(100);
    let path = &uri.path()[..cut];
    refusal(
        StatusCode::NOT_FOUND,
        &format!(
            "there is no {path}; there are /live, /ready, /metrics, /v1/status, /v1/drain, /v1/allocations and \
             /v1/allocations/{{id}}"
        ),
    )
}

async fn no_such_method(method: Method) -> Response {
    let method = method.as_str();
    let method = &method[..method.floor_char_boundary(20)];
    refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("{method} is not for this path; the Allow header says what is"),
    )
}

/// An error in the form that all of them have.
fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// The same, before it is written down.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    error: String,
}

impl Refused {
    /// The request makes no sense.
    fn bad(error: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: error.into(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refusal(self.status, &self.error)
    }
}

/// A worker did not answer in time. What it holds is not known, and is not zero.
fn unanswered() -> Response {
    refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "a worker does not answer; the relay is overloaded or ending",
    )
}

/// The body, or why it is not taken.
fn body(read: Result<Bytes, BytesRejection>) -> Result<Bytes, Refused> {
    read.map_err(|rejection| match rejection.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => Refused {
            status,
            error: format!("the body is longer than {BODY_BYTES} bytes"),
        },
        _ => Refused::bad("the body cannot be read"),
    })
}
