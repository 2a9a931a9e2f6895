//! The self-test over HTTP: the page and what it is made of, tickets for those who run calls, and the one route of the page.
//!
//! ```text
//!   GET  /self-test, /assets/self-test/..    the page, without data, for everybody
//!   POST /v1/self-test/tickets               {"ttl"?} -> {"url", "expires"}: for operators and signalling servers
//!   POST /v1/self-test/ice-servers           {} with a ticket -> paths one by one, and credentials for five minutes
//! ```
//!
//! Responsible for what these say and for their headers, also on a listener of their own that has nothing else
//! ([`router`]). Not responsible for tickets and paths (`self_test`). Whoever asks is written down nowhere.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRef, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use taciturn_plane::{Access, Audience, Caller, Query, Refusal, Role, body, guarded_for, json_of};

use super::pages::file;
use crate::clock::Clock;
use crate::self_test::{Asker, Denied, LONGEST_TICKET_TTL, Mint, SelfTest, TICKET_TTL};

const PAGE: &str = include_str!("pages/self-test/index.html");
const STYLE: &str = include_str!("pages/self-test/page.css");
const SCRIPT: &str = include_str!("pages/self-test/page.js");
const TRIAL: &str = include_str!("pages/self-test/trial.js");
const WORDS: &str = include_str!("pages/self-test/words.js");

/// The paths of the listener of its own, for who asks for another.
const PATHS: &str = "/self-test and what belongs to it";

/// What the routes know.
#[derive(Clone, Debug)]
pub struct TestDesk {
    /// Tickets.
    pub tests: Arc<SelfTest>,
    /// Who mints.
    pub mint: Arc<dyn Mint>,
    /// Where visitors find the page, without a final slash; `None`: where whoever asks for a ticket has found the API.
    pub url: Option<String>,
    /// The scheme of the latter.
    pub encrypted: bool,
    /// The clock.
    pub clock: Clock,
}

/// The routes of the page itself, for whichever listener.
pub(super) fn pages<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    TestDesk: FromRef<S>,
{
    let file = |kind, text| get(async move || file(kind, text));
    Router::new()
        .route("/self-test", file("text/html; charset=utf-8", PAGE))
        .route(
            "/assets/self-test/page.css",
            file("text/css; charset=utf-8", STYLE),
        )
        .route(
            "/assets/self-test/page.js",
            file("text/javascript; charset=utf-8", SCRIPT),
        )
        .route(
            "/assets/self-test/trial.js",
            file("text/javascript; charset=utf-8", TRIAL),
        )
        .route(
            "/assets/self-test/words.js",
            file("text/javascript; charset=utf-8", WORDS),
        )
        .route("/v1/self-test/ice-servers", post(ice_servers))
}

/// All there is on a listener of its own: no ticket is made there, and nothing of the fleet is shown.
pub fn router(desk: TestDesk, access: Arc<Access>) -> Router {
    guarded_for(pages(), access, PATHS, audience).with_state(desk)
}

fn audience(path: &str) -> Audience {
    match path {
        "/v1/self-test/ice-servers" => Audience::Ticket,
        // What is not there is said to everybody: a stranger learns nothing from a question for a token.
        _ => Audience::Page,
    }
}

/// What may be asked of a ticket.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// Seconds.
    ttl: Option<u64>,
}

/// `POST /v1/self-test/tickets`.
pub(super) async fn ticket(
    State(desk): State<TestDesk>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    read: Result<Bytes, BytesRejection>,
) -> Response {
    match made(&desk, &caller, &headers, query.as_deref(), read) {
        Ok(answer) => ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
        Err(refused) => refused.into_response(),
    }
}

fn made(
    desk: &TestDesk,
    caller: &Caller,
    headers: &HeaderMap,
    query: Option<&str>,
    read: Result<Bytes, BytesRejection>,
) -> Result<Value, Refusal> {
    nothing_in(query)?;
    let bytes = body(read)?;
    let wanted: Wanted = if bytes.is_empty() {
        Wanted::default()
    } else {
        json_of(&bytes)?
    };
    let ttl = wanted.ttl.map_or(TICKET_TTL, Duration::from_secs);
    if !(Duration::from_secs(60)..=LONGEST_TICKET_TTL).contains(&ttl) {
        return Err(Refusal::bad(format!(
            "ttl is not within 60 to {} seconds",
            LONGEST_TICKET_TTL.as_secs()
        )));
    }
    let page = match &desk.url {
        Some(url) => url.clone(),
        None => {
            let host = headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok());
            let scheme = if desk.encrypted { "https" } else { "http" };
            format!("{scheme}://{}", host.unwrap_or("localhost"))
        }
    };
    let (ticket, expires) = desk.tests.ticket(ttl, desk.clock.now()).map_err(|error| {
        tracing::error!(%error, "no ticket can be made");
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "no ticket can be made; the log says why",
        )
    })?;
    tracing::info!(for_whom = %caller.name, seconds = ttl.as_secs(), "a ticket for the self-test was made");
    Ok(json!({ "url": format!("{page}/self-test#t={ticket}"), "expires": expires }))
}

/// `POST /v1/self-test/ice-servers`.
async fn ice_servers(
    State(desk): State<TestDesk>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    read: Result<Bytes, BytesRejection>,
) -> Response {
    if let Err(refused) = nothing_in(query.as_deref()).and_then(|()| nothing_said(read)) {
        return refused.into_response();
    }
    let test = desk
        .tests
        .test(asker(&caller, &headers), &*desk.mint, desk.clock.now());
    match test {
        Ok(test) => ([(header::CACHE_CONTROL, "no-store")], Json(test)).into_response(),
        Err(denied) => refusal(denied),
    }
}

/// Somebody whose token the gate knows needs no ticket, and neither does this host where the gate asks nobody for anything. A
/// ticket that is shown is judged all the same.
fn asker<'h>(caller: &Caller, headers: &'h HeaderMap) -> Asker<'h> {
    let known = match caller.role {
        Role::Operator | Role::Subject => true,
        Role::Reader | Role::Stranger => false,
    };
    let shown = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    match shown {
        Some(_) if known && &*caller.name != "local" => Asker::Known,
        Some(shown) => Asker::Holder(shown.strip_prefix(b"Bearer ").unwrap_or_default()),
        None if known => Asker::Known,
        None => Asker::Nobody,
    }
}

fn nothing_in(query: Option<&str>) -> Result<(), Refusal> {
    Query::parse(query, &[])
        .map(drop)
        .map_err(|_| Refusal::bad("there is nothing to ask in a query here"))
}

fn nothing_said(read: Result<Bytes, BytesRejection>) -> Result<(), Refusal> {
    let bytes = body(read)?;
    if bytes.is_empty() {
        return Ok(());
    }
    let said: Map<String, Value> = json_of(&bytes)?;
    if said.is_empty() {
        return Ok(());
    }
    Err(Refusal::bad(
        "a key in the body means nothing here; send {}",
    ))
}

/// In words, and by a word for the page, which has words of its own for its visitors.
fn refusal(denied: Denied) -> Response {
    let (status, reason, error) = match denied {
        Denied::NoTicket => (
            StatusCode::UNAUTHORIZED,
            "no-ticket",
            "a ticket is asked for: Authorization: Bearer <ticket>; POST /v1/self-test/tickets makes one",
        ),
        Denied::Forged => (
            StatusCode::UNAUTHORIZED,
            "ticket",
            "this is no ticket of this controller, or not all of one",
        ),
        Denied::Expired => (
            StatusCode::FORBIDDEN,
            "expired",
            "the ticket has expired; ask for another",
        ),
        Denied::UsedUp => (
            StatusCode::TOO_MANY_REQUESTS,
            "used-up",
            "the ticket has been used as often as it may be; ask for another",
        ),
        Denied::TooOften(_) => (
            StatusCode::TOO_MANY_REQUESTS,
            "too-often",
            "too many tests at once; try again after Retry-After seconds",
        ),
        Denied::NoRelay => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no-relay",
            "no relay may be named now, or there is nothing to mint with",
        ),
    };
    let mut response = (status, Json(json!({ "error": error, "reason": reason }))).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        axum::http::HeaderValue::from_static("no-store"),
    );
    let wait = match denied {
        Denied::TooOften(wait) => Some(wait.as_secs().max(1)),
        Denied::NoRelay => Some(5),
        Denied::NoTicket | Denied::Forged | Denied::Expired | Denied::UsedUp => None,
    };
    if let Some(seconds) = wait {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::UNAUTHORIZED {
        let challenge = axum::http::HeaderValue::from_static("Bearer realm=\"taciturn self-test\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
