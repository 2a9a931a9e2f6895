//! `POST /v1/ice-servers`: credentials and relays for one client of a signalling server, as browsers take them.
//!
//! Responsible for reading the question and for the answer's headers. Not responsible for minting (`credentials`).
//!
//! What was sent is never repeated: somebody may have put a password where a name belongs.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use taciturn_plane::{Query, Refusal, body};

use super::{Api, asker};
use crate::credentials::{Hint, Refused, Wanted};

/// The longest region or zone that is looked at.
const PLACE: usize = 64;

/// What may be asked; every key may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    user: Option<String>,
    ttl: Option<u64>,
    region: Option<String>,
    zone: Option<String>,
    relays: Option<u8>,
}

pub(super) async fn mint(
    State(api): State<Arc<Api>>,
    asker: asker::Asker,
    RawQuery(query): RawQuery,
    read: Result<Bytes, BytesRejection>,
) -> Response {
    let now = api.clock.now();
    if let Err(why) = api.desk.admit(&asker.0, now) {
        return uncached(refused(why));
    }
    let wanted = match wanted(query.as_deref(), read) {
        Ok(wanted) => wanted,
        Err(refusal) => {
            api.desk.unreadable();
            return uncached(refusal.into_response());
        }
    };
    match api.desk.mint(&asker.0, &wanted, now) {
        Ok(answer) => json(answer.ice_servers()),
        Err(why) => uncached(refused(why)),
    }
}

fn wanted(query: Option<&str>, read: Result<Bytes, BytesRejection>) -> Result<Wanted, Refusal> {
    Query::parse(query, &[])
        .map_err(|_| Refusal::bad("what is asked for stands in the body, not in a query"))?;
    let body = body(read)?;
    let asked: Asked = match body.trim_ascii_start().first() {
        None if body.is_empty() => Asked::default(),
        // Values in a list, in the order of the keys, would be taken for the object too.
        Some(b'[') => return Err(Refusal::bad("the body is a list; write an object, {}")),
        None | Some(_) => serde_json::from_slice(&body).map_err(|error| words(&error))?,
    };
    let hint = Hint {
        region: place("region", asked.region)?,
        zone: place("zone", asked.zone)?,
    };
    if asked.user.as_deref() == Some("") {
        return Err(Refusal::bad(
            "user is empty; leave it out, and each answer is for somebody else",
        ));
    }
    Ok(Wanted {
        user: asked.user,
        ttl: asked.ttl.map(Duration::from_secs),
        relays: asked.relays.map(usize::from),
        hint,
    })
}

/// What is wrong with a body, and where, without any of it.
fn words(error: &serde_json::Error) -> Refusal {
    let what = if error.is_data() {
        "has a key that is none of user, ttl, region, zone and relays, one twice, or one with a value of another kind: user, \
         region and zone are texts, ttl (seconds) and relays whole numbers"
    } else {
        "is not JSON"
    };
    Refusal::bad(format!(
        "the body {what} (line {}, column {})",
        error.line(),
        error.column()
    ))
}

pub(super) fn place(name: &str, text: Option<String>) -> Result<Option<String>, Refusal> {
    let plain = |text: &String| {
        (1..=PLACE).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
    };
    match text {
        Some(text) if !plain(&text) => Err(Refusal::bad(format!(
            "{name} is not 1 to {PLACE} letters, digits and - _ . : /"
        ))),
        text => Ok(text),
    }
}

/// An answer that nobody keeps.
pub(super) fn json(text: String) -> Response {
    uncached(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

pub(super) fn uncached(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Why there is no answer.
pub(super) fn refused(refused: Refused) -> Response {
    let unavailable = |words: String| (StatusCode::SERVICE_UNAVAILABLE, words);
    let mut retry = None;
    let (status, words) = match refused {
        Refused::NotConfigured => unavailable(
            "this controller mints no credentials; write [credentials] in its configuration"
                .to_owned(),
        ),
        Refused::Rate(wait) => {
            retry = Some(wait);
            (
                StatusCode::TOO_MANY_REQUESTS,
                "you ask more often than the configuration allows; try again after Retry-After seconds".to_owned(),
            )
        }
        Refused::Wrong(words) => (StatusCode::BAD_REQUEST, words),
        Refused::RevokedUser => (StatusCode::FORBIDDEN, "this user is revoked".to_owned()),
        Refused::NoSecret => unavailable(
            "no secret may be minted with: each is revoked, or cannot be used".to_owned(),
        ),
        Refused::NoFleet(words) => {
            retry = Some(Duration::from_secs(5));
            unavailable(format!("{words}; use the snapshot that you have"))
        }
        Refused::NoRelay => {
            retry = Some(Duration::from_secs(5));
            unavailable("no relay in an allowed zone takes new calls now".to_owned())
        }
    };
    let mut response = taciturn_plane::refusal(status, &words);
    if let Some(wait) = retry {
        let seconds = wait.as_millis().div_ceil(1000).max(1).to_string();
        if let Ok(value) = HeaderValue::from_str(&seconds) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    response
}
