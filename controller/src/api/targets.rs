//! `GET /v1/prometheus/targets`: every relay, for Prometheus's HTTP service discovery.
//!
//! Prometheus keeps its list when it gets an error, and forgets everything when it gets `[]`. So whatever is in doubt is
//! 503 with the reason, and `[]` is said only of a provider whose complete and fresh list is empty. Relays that drain are
//! listed until they are gone: those are the ones that people look at.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use taciturn_plane::refusal;

use super::Api;
use crate::reconcile::Published;
use crate::shown::{self, Shown, State as RelayState};

/// A complete list that is older than this is in doubt.
const OLD_LIST: Duration = Duration::from_secs(60);

pub(super) async fn list(State(api): State<Arc<Api>>) -> Response {
    let latest = api.rounds.latest();
    let doubt = api.doubt(&latest).or_else(|| doubt(&latest));
    match doubt.map_or_else(|| targets(&latest), Err) {
        Ok(targets) => Json(targets).into_response(),
        Err(words) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("{words}; keep the targets that you have"),
        ),
    }
}

fn doubt(latest: &Published) -> Option<String> {
    let listing = &latest.snapshot.fleet.listing;
    if let Some(fault) = &listing.fault {
        return Some(format!("the provider's list is in doubt: {fault}"));
    }
    match listing.complete_for {
        None => Some("the provider has not given a complete list yet".to_owned()),
        Some(age) if age > OLD_LIST => Some(format!(
            "the provider's last complete list is {} s old",
            age.as_secs()
        )),
        Some(_) => None,
    }
}

fn targets(latest: &Published) -> Result<Vec<Value>, String> {
    let listed: Vec<Shown<'_>> = shown::relays(latest)
        .into_iter()
        .filter(|shown| shown.state != RelayState::Gone)
        .collect();
    let targets: Vec<Value> = listed
        .iter()
        .filter_map(|shown| {
            let relay = shown.relay;
            let labels = json!({
                "__meta_taciturn_fleet": latest.policy.fleet,
                "__meta_taciturn_instance_id": relay.id,
                "__meta_taciturn_zone_id": relay.zone,
                "__meta_taciturn_state": shown.state.as_str(),
                "__meta_taciturn_image": relay.image,
                "__meta_taciturn_instance_type": relay.instance_type,
            });
            Some(json!({ "targets": [relay.admin?.to_string()], "labels": labels }))
        })
        .collect();
    if targets.is_empty() && !listed.is_empty() {
        return Err(format!(
            "there are {} relays, and the address of none is known",
            listed.len()
        ));
    }
    Ok(targets)
}
