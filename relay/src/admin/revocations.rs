//! `GET` and `PUT /v1/revocations`: the whole list, as a controller keeps it.
//!
//! Not responsible for what a revocation does (`taciturn_protocol::credentials`), nor for keeping the list
//! (`crate::revocations`).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use taciturn_plane::{json_of, refusal};
use taciturn_protocol::credentials::RevocationList;

use super::Admin;
use crate::revocations::RevocationRefused;

/// The list with its names: whoever may ask for it may change it.
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Response {
    Json(admin.revocations.list()).into_response()
}

/// Answers when every worker refuses what is in the list.
pub(super) async fn replace(
    State(admin): State<Arc<Admin>>,
    read: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match read {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let words = format!(
                "the list is longer than {} bytes; rotate the secret instead",
                RevocationList::BYTES
            );
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, &words);
        }
        Err(_) => return refusal(StatusCode::BAD_REQUEST, "the body cannot be read"),
    };
    let list: RevocationList = match json_of(&body) {
        Ok(list) => list,
        Err(refused) => return refused.into_response(),
    };
    match admin.revocations.replace(list).await {
        Ok(()) => Json(admin.revocations.status()).into_response(),
        Err(why) => refusal(status_of(&why), &why.to_string()),
    }
}

const fn status_of(why: &RevocationRefused) -> StatusCode {
    match why {
        RevocationRefused::Older { .. } | RevocationRefused::Another { .. } => StatusCode::CONFLICT,
        RevocationRefused::List(_) => StatusCode::BAD_REQUEST,
        RevocationRefused::Unanswered => StatusCode::SERVICE_UNAVAILABLE,
    }
}
