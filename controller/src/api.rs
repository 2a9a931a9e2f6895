//! The controller's API: health, metrics, the fleet and the decisions about it, targets for Prometheus, orders of operators,
//! credentials for signalling servers, and the page with which clinics try their network.
//!
//! Responsible for the routes. Everything that is shown is what the loop has published last, so that no question waits for a
//! round, and none disturbs one. Not responsible for what is done about an order (`reconcile`), nor for who may ask and what a
//! stranger can hold (`taciturn_plane`).

mod asker;
mod audience;
mod decisions;
mod fleet;
mod ice_servers;
mod openapi;
mod orders;
mod overview;
mod pages;
mod revocations;
pub mod self_test;
mod snapshot;
mod targets;
mod turn;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{FromRef, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use taciturn_plane::metrics::{Metrics, TEXT_FORMAT};
use taciturn_plane::{Access, guarded_for, refusal};

use audience::audience;
use self_test::TestDesk;

use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::LiveCredentials;
use crate::credentials::Desk;
use crate::fleet::InstanceId;
use crate::reconcile::{Delivered, Handle, NotRevoked, Published, Wish};
use crate::revocations::{Change, Revocations};

/// The paths, for who asks for another.
const PATHS: &str = "/, /live, /ready, /metrics, /v1/fleet, /v1/overview, /v1/decisions, /v1/audit, /v1/prometheus/targets, \
                     /v1/ice-servers, /v1/turn, /v1/snapshot, /v1/openapi.json, /self-test, /v1/self-test/tickets, /v1/revocations, \
                     /v1/revocations/users/{user}, /v1/revocations/keys/{key_id}, /v1/relays/{id}/drain and /v1/relays/{id}/keep";

/// What was seen longer ago than this, or this many intervals, is not shown as if it were so now.
const OLD: Duration = Duration::from_secs(60);

/// The loop, as the API and the metrics know it.
#[async_trait]
pub trait Rounds: Send + Sync + fmt::Debug {
    /// The latest round.
    fn latest(&self) -> Arc<Published>;

    /// Orders something of one relay; answers what becomes of it.
    ///
    /// # Errors
    /// Why nothing does, in words.
    async fn order(&self, relay: InstanceId, wish: Wish) -> Result<String, String>;

    /// Changes the list of revocations, and tells the relays.
    ///
    /// # Errors
    /// Why nothing is changed.
    async fn revoke(&self, change: Change) -> Result<Delivered, NotRevoked>;
}

#[async_trait]
impl Rounds for Handle {
    fn latest(&self) -> Arc<Published> {
        Self::latest(self)
    }

    async fn order(&self, relay: InstanceId, wish: Wish) -> Result<String, String> {
        Self::order(self, relay, wish).await
    }

    async fn revoke(&self, change: Change) -> Result<Delivered, NotRevoked> {
        Self::revoke(self, change).await
    }
}

/// What the API shows and orders.
#[derive(Debug)]
pub struct Api {
    /// The loop.
    pub rounds: Arc<dyn Rounds>,
    /// The audit trail, for its head.
    pub audit: Arc<Audit>,
    /// What a scrape shows.
    pub metrics: Metrics,
    /// Who may ask.
    pub access: Arc<Access>,
    /// What is minted, as of the configuration that was read last.
    pub credentials: Arc<LiveCredentials>,
    /// The clock, which the loop's is a copy of.
    pub clock: Clock,
    /// Who may make nothing new.
    pub revocations: Arc<Revocations>,
    /// Where credentials are minted.
    pub desk: Arc<Desk>,
    /// What the self-test page asks for.
    pub self_test: TestDesk,
}

impl FromRef<Arc<Api>> for TestDesk {
    fn from_ref(api: &Arc<Api>) -> Self {
        api.self_test.clone()
    }
}

impl Api {
    /// Why what was published last cannot be taken for what is so now; `None`: it can.
    fn doubt(&self, latest: &Published) -> Option<String> {
        if latest.counters.rounds == 0 {
            return Some("no round has come to its end yet".to_owned());
        }
        let now = self.clock.instant();
        let age = now.saturating_since(latest.snapshot.now.instant);
        (age > OLD).then(|| format!("the latest round was {} s ago", age.as_secs()))
    }
}

/// The routes of the API.
pub fn router(api: Arc<Api>) -> Router {
    let access = Arc::clone(&api.access);
    let routes = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/fleet", get(fleet::show))
        .route("/v1/overview", get(overview::show))
        .route("/v1/decisions", get(decisions::list))
        .route("/v1/audit", get(audit))
        .route("/v1/prometheus/targets", get(targets::list))
        .route("/v1/ice-servers", post(ice_servers::mint))
        .route("/v1/turn", get(turn::mint))
        .route("/v1/snapshot", get(snapshot::show))
        .route("/v1/openapi.json", get(openapi::show))
        .merge(pages::dashboard())
        .merge(self_test::pages())
        .route("/v1/self-test/tickets", post(self_test::ticket))
        .route(
            "/v1/revocations",
            get(revocations::list).post(revocations::revoke),
        )
        .route(
            "/v1/revocations/users/{user}",
            delete(revocations::lift_user),
        )
        .route(
            "/v1/revocations/keys/{key_id}",
            delete(revocations::lift_key),
        )
        .route(
            "/v1/relays/{id}/drain",
            post(orders::drain).delete(orders::undrain),
        )
        .route(
            "/v1/relays/{id}/keep",
            post(orders::keep).delete(orders::release),
        );
    guarded_for(routes, access, PATHS, audience).with_state(api)
}

async fn live() -> &'static str {
    "live\n"
}

/// Whether rounds come to their end. A standby that does not lead is ready too: it would take over.
async fn ready(State(api): State<Arc<Api>>) -> Response {
    match api.doubt(&api.rounds.latest()) {
        None => "ready\n".into_response(),
        Some(words) => (StatusCode::SERVICE_UNAVAILABLE, format!("{words}\n")).into_response(),
    }
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    match api.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics cannot be written; the log says why",
            )
        }
    }
}

/// The trail's head, to be kept elsewhere, and how writing it goes.
async fn audit(State(api): State<Arc<Api>>) -> Response {
    Json(api.audit.state()).into_response()
}
