//! `POST` and `DELETE /v1/drain`.
//!
//! Not responsible for what a drain is (`crate::drain`).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use taciturn_plane::{Query, Refusal, body, json_of, refusal};

use super::Admin;
use crate::drain::{DrainControl, DrainOrder, DrainRefused, DrainSource};

pub(super) async fn begin(
    State(admin): State<Arc<Admin>>,
    read: Result<Bytes, BytesRejection>,
) -> Response {
    let order: DrainOrder = match body(read).and_then(|body| json_of(&body)) {
        Ok(order) => order,
        Err(refused) => return refused.into_response(),
    };
    ordered(admin, move |drain| {
        drain.begin(order, DrainSource::Operator)
    })
    .await
}

/// The end of a drain, as a controller orders it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndOrder {
    epoch: u64,
}

/// An epoch may come in the query, as not every HTTP client sends a body with DELETE. Without one it is an operator's
/// own decision, which is newer than every order there was.
pub(super) async fn end(
    State(admin): State<Arc<Admin>>,
    RawQuery(query): RawQuery,
    read: Result<Bytes, BytesRejection>,
) -> Response {
    match epoch(query.as_deref(), read) {
        Ok(epoch) => ordered(admin, move |drain| drain.cancel(epoch)).await,
        Err(refused) => refused.into_response(),
    }
}

fn epoch(query: Option<&str>, read: Result<Bytes, BytesRejection>) -> Result<Option<u64>, Refusal> {
    let query = Query::parse(query, &["epoch"]).map_err(Refusal::bad)?;
    let in_query = query.number("epoch").map_err(Refusal::bad)?;
    let body = body(read)?;
    if body.is_empty() {
        return Ok(in_query);
    }
    let order: EndOrder = json_of(&body)?;
    if in_query.is_some_and(|epoch| epoch != order.epoch) {
        return Err(Refusal::bad(
            "epoch stands in the query and, with another value, in the body",
        ));
    }
    Ok(Some(order.epoch))
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
        Ok(Err(why)) => refusal(status_of(why), &why.to_string()),
        Err(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the relay is ending; nothing was ordered",
        ),
    }
}

const fn status_of(why: DrainRefused) -> StatusCode {
    match why {
        DrainRefused::OlderEpoch { .. } => StatusCode::CONFLICT,
        DrainRefused::NotServing | DrainRefused::Ending => StatusCode::SERVICE_UNAVAILABLE,
        DrainRefused::LongReason
        | DrainRefused::ControlCharacters
        | DrainRefused::DeadlineInPast
        | DrainRefused::DeadlineFar => StatusCode::BAD_REQUEST,
    }
}
