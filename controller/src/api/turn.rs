//! `GET /v1/turn`: the same credentials in the form of draft-uberti-behave-turn-rest-00, for servers that know only that.
//!
//! Responsible for reading the query, which alone of all may have percent-encoding in it: a user's name may need it. Not
//! responsible for minting (`credentials`), nor for a token in the query (`taciturn_plane`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use taciturn_plane::{Query, Refusal};

use super::ice_servers::{json, refused, uncached};
use super::{Api, asker};
use crate::credentials::{Hint, Wanted};

pub(super) async fn mint(
    State(api): State<Arc<Api>>,
    asker: asker::Asker,
    RawQuery(query): RawQuery,
) -> Response {
    let now = api.clock.now();
    if let Err(why) = api.desk.admit(&asker.0, now) {
        return uncached(refused(why));
    }
    let wanted = match wanted(query.as_deref(), api.desk.takes_query_key()) {
        Ok(wanted) => wanted,
        Err(refusal) => {
            api.desk.unreadable();
            return uncached(refusal.into_response());
        }
    };
    match api.desk.mint(&asker.0, &wanted, now) {
        Ok(answer) => json(answer.turn()),
        Err(why) => uncached(refused(why)),
    }
}

fn wanted(query: Option<&str>, key: bool) -> Result<Wanted, Refusal> {
    let query =
        Query::parse(query, &["service", "username", "ttl", "key"]).map_err(Refusal::bad)?;
    if query.text("service") != Some("turn") {
        return Err(Refusal::bad("service in the query is not turn"));
    }
    if query.text("key").is_some() && !key {
        return Err(Refusal::bad(
            "a token in the query ends up in logs and is not taken; send Authorization: Bearer <token>, or set query-key",
        ));
    }
    let user = query.text("username").filter(|name| !name.is_empty());
    let user = user.map(|name| {
        decoded(name)
            .ok_or_else(|| Refusal::bad("username in the query is not percent-encoded UTF-8"))
    });
    let ttl = query.number("ttl").map_err(Refusal::bad)?;
    Ok(Wanted {
        user: user.transpose()?,
        ttl: ttl.map(Duration::from_secs),
        relays: None,
        hint: Hint::default(),
    })
}

/// Percent-encoding taken out (RFC 3986 §2.1); a `+` is a space, as forms have it.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let digits = std::str::from_utf8(digits).ok()?;
                // A sign would be a number too.
                if digits.starts_with('+') {
                    return None;
                }
                u8::from_str_radix(digits, 16).ok()?
            }
            plain => *plain,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_once_and_wholly() {
        for (text, name) in [
            ("alice", Some("alice")),
            ("a+b%20c%2Bd", Some("a b c+d")),
            ("%C3%A4%3a", Some("ä:")),
            ("%2525", Some("%25")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
        ] {
            assert_eq!(decoded(text).as_deref(), name, "{text}");
        }
    }
}
