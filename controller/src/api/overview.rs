//! `GET /v1/overview`: the fleet on one page, for the dashboard and `taciturn top`.
//!
//! Not responsible for what stands there (`overview`).

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use taciturn_plane::{Query, Refusal};

use super::Api;
use crate::overview::{Minted, overview};

pub(super) async fn show(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    if Query::parse(query.as_deref(), &[]).is_err() {
        return Refusal::bad("there is nothing to ask in a query here").into_response();
    }
    let latest = api.rounds.latest();
    let now = api.clock.instant();
    let age = now.saturating_since(latest.snapshot.now.instant);
    let mut page = overview(&latest, age, api.doubt(&latest));
    page.credentials = api.desk.offer().map(|_| {
        let (minted, refused) = api.desk.totals();
        Minted { minted, refused }
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(page)).into_response()
}
