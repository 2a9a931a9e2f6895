//! `/v1/allocations`: what clients hold, by pseudonym, and how to end one.
//!
//! Responsible for names that outlive their allocation harmlessly: an id has a serial in it, so that one that is used
//! late never ends somebody else's call. Not responsible for finding allocations, which are their workers'.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use taciturn_protocol::address::Family;
use taciturn_protocol::forward::AllocationId;

use taciturn_plane::{Query, refusal};

use super::{Admin, unanswered};
use crate::worker::{self, AllocationReport, Message, Outbox, Page};

/// Allocations on a page, unless the request says otherwise.
const PAGE: usize = 100;
/// Most allocations on a page.
const LONGEST_PAGE: usize = 1000;

/// Names one allocation of this run of the relay: `worker-number-serial`, as in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    worker: usize,
    allocation: AllocationId,
    serial: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.worker, self.allocation.0, self.serial)
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '-');
        let mut next = || parts.next().ok_or(());
        Ok(Self {
            worker: next()?.parse().map_err(drop)?,
            allocation: AllocationId(next()?.parse().map_err(drop)?),
            serial: next()?.parse().map_err(drop)?,
        })
    }
}

/// `GET /v1/allocations?limit=N&after=ID`: in the order of ids; `next` is what the next page comes after.
pub(super) async fn list(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    let (limit, after) = match page(query.as_deref()) {
        Ok(page) => page,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error),
    };
    let mut listed: Vec<Value> = Vec::new();
    let mut last = None;
    let first = after.map_or(0, |id| id.worker);
    for (worker, outbox) in admin.outboxes.iter().enumerate().skip(first) {
        let missing = limit - listed.len();
        if missing == 0 {
            break;
        }
        let from = match after {
            Some(id) if id.worker == worker => AllocationId(id.allocation.0.saturating_add(1)),
            Some(_) | None => AllocationId(0),
        };
        let page = Page {
            from,
            limit: missing,
        };
        let Some(reports) = ask(outbox, page).await else {
            return unanswered();
        };
        for report in &reports {
            let id = id_of(worker, report);
            listed.push(shown(&admin, id, report));
            last = Some(id);
        }
    }
    let next = last.filter(|_| listed.len() == limit);
    Json(json!({
        "allocations": listed,
        "next": next.map(|id| id.to_string()),
    }))
    .into_response()
}

fn page(query: Option<&str>) -> Result<(usize, Option<Id>), String> {
    let query = Query::parse(query, &["limit", "after"])?;
    let limit = match query.number("limit")? {
        None => PAGE,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=LONGEST_PAGE).contains(limit))
            .ok_or_else(|| format!("limit is not 1 to {LONGEST_PAGE}"))?,
    };
    let after = query
        .text("after")
        .map(|id| {
            id.parse()
                .map_err(|()| "after is not an id of an allocation".to_owned())
        })
        .transpose()?;
    Ok((limit, after))
}

/// `GET /v1/allocations/{id}`.
pub(super) async fn inspect(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Response {
    let Some((id, outbox)) = find(&admin, &id) else {
        return no_such_allocation();
    };
    let page = Page {
        from: id.allocation,
        limit: 1,
    };
    let Some(reports) = ask(outbox, page).await else {
        return unanswered();
    };
    match reports.first() {
        Some(report) if id_of(id.worker, report) == id => {
            Json(shown(&admin, id, report)).into_response()
        }
        Some(_) | None => no_such_allocation(),
    }
}

/// `DELETE /v1/allocations/{id}`.
pub(super) async fn end(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Response {
    let Some((id, outbox)) = find(&admin, &id) else {
        return no_such_allocation();
    };
    let question = |answer| Message::End(id.allocation, id.serial, answer);
    match worker::ask(std::slice::from_ref(outbox), question).await {
        // The log says it with the allocation's end.
        Some(ended) if ended.contains(&true) => StatusCode::NO_CONTENT.into_response(),
        Some(_) => no_such_allocation(),
        None => unanswered(),
    }
}

async fn ask(outbox: &Outbox, page: Page) -> Option<Vec<AllocationReport>> {
    worker::ask(std::slice::from_ref(outbox), |answer| {
        Message::List(page, answer)
    })
    .await?
    .pop()
}

fn find<'a>(admin: &'a Admin, id: &str) -> Option<(Id, &'a Outbox)> {
    let id: Id = id.parse().ok()?;
    Some((id, admin.outboxes.get(id.worker)?))
}

const fn id_of(worker: usize, report: &AllocationReport) -> Id {
    Id {
        worker,
        allocation: report.allocation,
        serial: report.serial,
    }
}

fn no_such_allocation() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "there is no allocation of this id; it may have ended, GET /v1/allocations lists those that are there",
    )
}

/// One allocation without any address or name.
fn shown(admin: &Admin, id: Id, report: &AllocationReport) -> Value {
    let families: Vec<Value> = [Family::V4, Family::V6]
        .into_iter()
        .filter_map(|family| {
            let left = report.expires[family.index()]?;
            Some(json!({ "family": family.as_str(), "expires_in_seconds": left.as_secs() }))
        })
        .collect();
    let traffic = &report.traffic;
    let pseudonyms = admin.events.pseudonyms();
    json!({
        "id": id.to_string(),
        "client": pseudonyms.client(report.client).to_string(),
        "user": pseudonyms.user(&report.user).to_string(),
        "transport": report.transport.as_str(),
        "state": if report.active { "active" } else { "idle" },
        "age_seconds": report.age.as_secs(),
        "relayed": families,
        "permissions": report.permissions,
        "channels": report.channels,
        "to_peer": { "packets": traffic.to_peer_packets, "bytes": traffic.to_peer_bytes },
        "to_client": { "packets": traffic.to_client_packets, "bytes": traffic.to_client_bytes },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = Id {
            worker: 3,
            allocation: AllocationId(17),
            serial: 4_000_000_000_000,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in [
            "",
            "3",
            "3-17",
            "3-17-",
            "3-17-1-1",
            "-1-1-1",
            "3-17-x",
            "3-4294967296-1",
            "3 -1-1",
        ] {
            assert_eq!(wrong.parse::<Id>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn a_page_is_bounded() {
        assert_eq!(page(None), Ok((100, None)));
        assert_eq!(page(Some("limit=1000")), Ok((1000, None)));
        let after = Id {
            worker: 0,
            allocation: AllocationId(1),
            serial: 2,
        };
        assert_eq!(page(Some("after=0-1-2&limit=1")), Ok((1, Some(after))));
        for wrong in ["limit=0", "limit=1001", "limit=x", "after=1", "page=2"] {
            assert!(page(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
