//! `GET /v1/openapi.json`: what this API is, for programs that read descriptions.
//!
//! Responsible for serving it as it stands in `docs/openapi.json`, which tests hold against the routes and against the
//! running controller.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The description.
pub(super) const TEXT: &str = include_str!("../../../docs/openapi.json");

pub(super) async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT).into_response()
}
