//! Revocations, for operators: users and secrets whose credentials make no new allocation.
//!
//! ```text
//!   POST   /v1/revocations                {"user": "..."} or {"key_id": "..."}, "until" if wanted
//!   GET    /v1/revocations                the list, and which relays have it in force
//!   DELETE /v1/revocations/users/{user}   lifted
//!   DELETE /v1/revocations/keys/{key_id}  lifted
//! ```
//!
//! Responsible for reading them, and for how long a revocation lasts where nobody says. Not responsible for the list
//! (`revocations`), nor for telling relays (`reconcile`).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use taciturn_plane::{Query, Refusal, body, json_of};
use taciturn_protocol::credentials::{
    RevocationError, RevokedKey, RevokedUser, prepare_opaque_string,
};

use super::Api;
use crate::reconcile::NotRevoked;
use crate::revocations::{Change, ChangeError};

/// How long the credentials that a user has may still be good where this controller mints none: as long as relays take any.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// What is revoked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    user: Option<String>,
    key_id: Option<String>,
    until: Option<u64>,
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Response {
    let list = api.revocations.list();
    let latest = api.rounds.latest();
    let stamp = list.stamp();
    let relays: Vec<_> = latest
        .snapshot
        .fleet
        .relays
        .values()
        .map(|relay| {
            let theirs = relay.report.as_ref().and_then(|report| report.revocations);
            json!({
                "relay": relay.id,
                "in_force": theirs.map(|theirs| theirs == stamp),
            })
        })
        .collect();
    let shown = json!({
        "epoch": list.epoch,
        "version": list.version,
        "users": list.users,
        "key_ids": list.key_ids,
        "survives_restart": api.revocations.survives_restart(),
        "relays": relays,
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(shown)).into_response()
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    read: Result<Bytes, BytesRejection>,
) -> Response {
    let change = no_query(query.as_deref())
        .and_then(|()| body(read))
        .and_then(|body| json_of(&body))
        .and_then(|written| change(written, &api));
    match change {
        Ok(change) => ordered(&api, change).await,
        Err(refused) => refused.into_response(),
    }
}

pub(super) async fn lift_user(
    State(api): State<Arc<Api>>,
    user: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let lifted = no_query(query.as_deref()).and_then(|()| user.map_err(|_| unreadable()));
    match lifted {
        Ok(Path(user)) => ordered(&api, Change::LiftUser(user)).await,
        Err(refused) => refused.into_response(),
    }
}

pub(super) async fn lift_key(
    State(api): State<Arc<Api>>,
    key_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let lifted = no_query(query.as_deref()).and_then(|()| key_id.map_err(|_| unreadable()));
    match lifted {
        Ok(Path(key_id)) => ordered(&api, Change::LiftKey(key_id)).await,
        Err(refused) => refused.into_response(),
    }
}

fn unreadable() -> Refusal {
    Refusal::bad("what is to be lifted cannot be read from the path; percent-encode it")
}

fn no_query(query: Option<&str>) -> Result<(), Refusal> {
    Query::parse(query, &[])
        .map(drop)
        .map_err(|_| Refusal::bad("there is nothing to ask in a query here"))
}

fn change(written: Written, api: &Api) -> Result<Change, Refusal> {
    let now = api.clock.unix().as_secs();
    if let Some(until) = written.until {
        if until <= now {
            return Err(Refusal::bad(
                "until is not in the future: it is the unix time in seconds",
            ));
        }
        if until > LAST_SECOND {
            return Err(Refusal::bad(
                "until is after the year 9999: it is the unix time in seconds",
            ));
        }
    }
    match (written.user, written.key_id) {
        (Some(user), None) => {
            // As it is prepared before credentials are minted for it.
            let user = prepare_opaque_string(&user)
                .map_err(|error| Refusal::bad(format!("user: {error}")))?;
            let config = api.credentials.load();
            let longest = config.as_ref().map_or(LONGEST, |config| config.max_ttl);
            let until = written
                .until
                .unwrap_or_else(|| now.saturating_add(longest.as_secs()));
            Ok(Change::RevokeUser(RevokedUser {
                user: user.into(),
                until,
            }))
        }
        (None, Some(key_id)) => Ok(Change::RevokeKey(RevokedKey {
            key_id,
            until: written.until,
        })),
        (Some(_), Some(_)) | (None, None) => Err(Refusal::bad(
            "say who or what: {\"user\": \"...\"} or {\"key_id\": \"...\"}, one of them",
        )),
    }
}

async fn ordered(api: &Api, change: Change) -> Response {
    match api.rounds.revoke(change).await {
        Ok(told) => Json(json!({
            "epoch": told.stamp.epoch,
            "version": told.stamp.version,
            "relays": told.relays,
            "relays_told": told.told,
            "survives_restart": told.survives_restart,
        }))
        .into_response(),
        Err(why) => Refusal::new(status_of(&why), why.to_string()).into_response(),
    }
}

const fn status_of(why: &NotRevoked) -> StatusCode {
    match why {
        NotRevoked::NotRead => StatusCode::SERVICE_UNAVAILABLE,
        NotRevoked::NotLeading(_)
        | NotRevoked::Change(ChangeError::Long | ChangeError::List(RevocationError::TooMany)) => {
            StatusCode::CONFLICT
        }
        NotRevoked::Change(ChangeError::NotThere) => StatusCode::NOT_FOUND,
        NotRevoked::Change(ChangeError::List(_)) => StatusCode::BAD_REQUEST,
    }
}
