//! `GET /v1/fleet`: the fleet at one look, for people and for `taciturn plan`.
//!
//! Not responsible for what the words and figures mean (`fleet`, `policy`).

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use taciturn_plane::{Query, Refusal};

use super::Api;
use crate::reconcile::Published;
use crate::shown::{self, Shown};

pub(super) async fn show(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    let query = match Query::parse(query.as_deref(), &["form"]) {
        Ok(query) => query,
        Err(words) => return Refusal::bad(words).into_response(),
    };
    let latest = api.rounds.latest();
    match query.text("form") {
        None => {
            let age = api
                .clock
                .instant()
                .saturating_since(latest.snapshot.now.instant);
            Json(page(&latest, age.as_secs_f64())).into_response()
        }
        Some("snapshot") => Json(&latest.snapshot).into_response(),
        Some(_) => Refusal::bad(
            "form in the query is not snapshot; leave it out for the page of all relays",
        )
        .into_response(),
    }
}

fn page(latest: &Published, age: f64) -> Value {
    let fleet = &latest.snapshot.fleet;
    let relays: Vec<Value> = shown::relays(latest)
        .iter()
        .map(|shown| relay(latest, shown))
        .collect();
    json!({
        "fleet": latest.policy.fleet,
        "time": latest.snapshot.now.unix.as_secs(),
        "age_seconds": age,
        "dry_run": latest.dry_run,
        "summary": latest.plan.summary,
        "leadership": fleet.leadership,
        "lease_seconds": latest.lease_seconds,
        "listing": fleet.listing,
        "group": fleet.group,
        "allowed_zones": latest.policy.allowed_zones,
        "configuration_error": fleet.configuration_error,
        "need": latest.plan.need,
        "brakes": latest.plan.brakes,
        "alarms": latest.plan.alarms,
        "offered": latest.plan.offered,
        "relays": relays,
    })
}

fn relay(latest: &Published, shown: &Shown<'_>) -> Value {
    let relay = shown.relay;
    let report = relay.report.as_ref();
    let alarms: Vec<&str> = latest
        .plan
        .alarms
        .iter()
        .filter(|alarm| alarm.relay.as_ref() == Some(&relay.id))
        .map(|alarm| alarm.words.as_str())
        .collect();
    json!({
        "id": relay.id,
        "zone": relay.zone,
        "state": shown.state.as_str(),
        "lifecycle": relay.lifecycle,
        "phase": report.map(|report| report.phase.as_str()),
        "offered": latest.plan.offered.contains(&relay.id),
        "offshore": shown.offshore,
        "instance_type": relay.instance_type,
        "image": relay.image,
        "admin": relay.admin,
        "age_seconds": relay.age.as_secs_f64(),
        "report_age_seconds": relay.report_age.map(|age| age.as_secs_f64()),
        "not_ready_because": report.map(|report| &report.not_ready_because),
        "answers_stun": relay.answers_stun,
        "version": report.map(|report| &report.version),
        "load": report.map(|report| report.load),
        "capacity": shown.carries,
        "utilisation": report.and_then(|report| report.utilisation),
        "full_now": report.map(|report| report.full_now),
        "drain": report.and_then(|report| report.drain.as_ref()),
        "cordoned": relay.cordoned,
        "keep": relay.keep,
        "alarms": alarms,
    })
}
