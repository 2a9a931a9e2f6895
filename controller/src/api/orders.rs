//! Orders of operators about one relay: to drain it, and to keep it.
//!
//! ```text
//!   POST   /v1/relays/{id}/drain    no new calls; drained and ended as soon as the fleet can spare it
//!   DELETE /v1/relays/{id}/drain    taken back, at once
//!   POST   /v1/relays/{id}/keep     no plan drains it
//!   DELETE /v1/relays/{id}/keep     taken back
//! ```
//!
//! Responsible for reading them. Not responsible for carrying them out, nor for writing them down: the loop does both, as
//! only the controller that leads may.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use taciturn_plane::{Query, Refusal, body, json_of};

use super::Api;
use crate::fleet::InstanceId;
use crate::observe::Mark;
use crate::reconcile::Wish;

type Id = Result<Path<String>, PathRejection>;
type Body = Result<Bytes, BytesRejection>;

pub(super) async fn drain(api: State<Arc<Api>>, id: Id, query: RawQuery, read: Body) -> Response {
    order(api, id, query, read, Wish::Drain).await
}

pub(super) async fn undrain(api: State<Arc<Api>>, id: Id, query: RawQuery, read: Body) -> Response {
    order(api, id, query, read, Wish::Undrain).await
}

pub(super) async fn keep(api: State<Arc<Api>>, id: Id, query: RawQuery, read: Body) -> Response {
    order(api, id, query, read, Wish::Mark(Mark::Keep)).await
}

pub(super) async fn release(api: State<Arc<Api>>, id: Id, query: RawQuery, read: Body) -> Response {
    order(api, id, query, read, Wish::Mark(Mark::Release)).await
}

async fn order(
    State(api): State<Arc<Api>>,
    id: Id,
    RawQuery(query): RawQuery,
    read: Body,
    wish: Wish,
) -> Response {
    let relay = match relay(id, query.as_deref(), read) {
        Ok(relay) => relay,
        Err(refused) => return refused.into_response(),
    };
    if !api
        .rounds
        .latest()
        .snapshot
        .fleet
        .relays
        .contains_key(&relay)
    {
        return Refusal::new(
            StatusCode::NOT_FOUND,
            format!("there is no relay {relay} in this fleet; /v1/fleet has those that there are"),
        )
        .into_response();
    }
    match api.rounds.order(relay.clone(), wish).await {
        Ok(words) => {
            Json(json!({ "relay": relay, "order": wish.as_str(), "answer": words })).into_response()
        }
        Err(words) => Refusal::new(StatusCode::CONFLICT, words).into_response(),
    }
}

fn relay(id: Id, query: Option<&str>, read: Body) -> Result<InstanceId, Refusal> {
    Query::parse(query, &[])
        .map_err(|_| Refusal::bad("there is nothing to ask in a query here"))?;
    let Path(id) = id.map_err(|_| Refusal::bad("the relay's id in the path cannot be read"))?;
    let id = InstanceId::try_from(id)
        .map_err(|error| Refusal::bad(format!("the relay's id in the path {error}")))?;
    let body = body(read)?;
    if !body.is_empty() {
        // Read so that what is meant by one that says something is not passed over.
        let said: Map<String, Value> = json_of(&body)?;
        if let Some(key) = said.keys().next() {
            let key: String = key.chars().take(40).collect();
            return Err(Refusal::bad(format!(
                "{key:?} in the body means nothing here; send {{}}"
            )));
        }
    }
    Ok(id)
}
