//! `GET /v1/decisions`: what was decided lately and why, the latest first.
//!
//! Not responsible for which decisions are kept (`reconcile`), nor for keeping them for good (`audit`).

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use taciturn_plane::{Query, Refusal};

use super::Api;

/// Decisions in an answer where the query does not say.
const PAGE: usize = 100;

pub(super) async fn list(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    let asked = Query::parse(query.as_deref(), &["limit", "before"])
        .and_then(|query| Ok((query.number("limit")?, query.number("before")?)));
    let (limit, before) = match asked {
        Ok(asked) => asked,
        Err(words) => return Refusal::bad(words).into_response(),
    };
    let limit = limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let latest = api.rounds.latest();
    let page: Vec<_> = latest
        .decisions
        .iter()
        .rev()
        .filter(|decision| before.is_none_or(|before| decision.round < before))
        .take(limit)
        .map(|decision| json!(**decision))
        .collect();
    Json(json!({ "decisions": page })).into_response()
}
