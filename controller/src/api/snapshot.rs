//! `GET /v1/snapshot`: the fleet as a signed text that a signalling server keeps, and mints from while nobody answers here.
//!
//! Responsible for caching: it changes once a round, and may be made use of for ten minutes after. Not responsible for what is
//! in it, nor for its signature (`credentials`).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::ice_servers::{refused, uncached};
use super::{Api, asker};

const CACHING: &str = "private, max-age=5, stale-while-revalidate=30, stale-if-error=600";

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    asker: asker::Asker,
    headers: HeaderMap,
) -> Response {
    let now = api.clock.now();
    let snapshot = api
        .desk
        .admit(&asker.0, now)
        .and_then(|()| api.desk.snapshot(now));
    let text = match snapshot {
        Ok(text) => text,
        Err(why) => return uncached(refused(why)),
    };
    // The signature stands for the whole text.
    let tag = format!("\"{}\"", text.rsplit('.').next().unwrap_or_default());
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|other| other == tag || other == "*");
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = [(header::CONTENT_TYPE, "application/jose")];
        (kind, String::from(&*text)).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHING));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}
