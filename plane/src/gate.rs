//! Who may speak to the API: programs that may, and never a web page that a browser on this host shows.
//!
//! Responsible for judging a request by its headers, before anything reads its body. Not responsible for what it asks, nor
//! for what proves that a program may (`access`).
//!
//! Any page may make a browser send requests to loopback. Browsers say so: every request across origins that could
//! change something carries `Origin`, and current ones send `Sec-Fetch-Site` with all. A page also cannot set the
//! content type to JSON without asking first by `OPTIONS`, which is refused like the rest. A page that this program has
//! served itself is told from all others by both: `Sec-Fetch-Site: same-origin`, which no page can write, and where there is
//! an `Origin`, one that names the host that is asked. Such pages may look, and use tickets; they order nothing. Browsers that
//! are some years old send no `Sec-Fetch-Site`, and none send it in the clear beyond loopback: there the `Origin` alone, which no
//! page can write either, lets a page of our own use a ticket, and do nothing else.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::{NotKnown, Shown};
use super::bounded::now;
use super::caller::looks;
use super::peer::Peer;
use super::refused::Refused;
use super::{Access, Audience, Audiences, Caller, Role};

/// What a gate judges by.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) access: Arc<Access>,
    pub(super) audiences: Audiences,
}

/// Lets a request through, or answers why not.
pub(super) async fn judge(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let access = &gate.access;
    let audience = (gate.audiences)(request.uri().path());
    let names = if access.is_guarded() {
        Names::Any
    } else {
        Names::Own
    };
    if let Some((refused, status, why)) =
        refusal(request.method(), request.headers(), names, audience)
    {
        access.refuse(refused);
        return super::refusal(status, why);
    }
    let peer = request.extensions().get::<ConnectInfo<Peer>>().cloned();
    let peer = peer.as_ref().map(|ConnectInfo(peer)| peer);
    let caller = match caller(access, audience, &request, peer) {
        Ok(caller) if caller.may(audience, request.method()) => caller,
        Ok(caller) if caller.role != Role::Stranger => {
            access.refuse(Refused::Role);
            return super::refusal(StatusCode::FORBIDDEN, why_not(caller.role));
        }
        Ok(_) | Err(NotKnown) => {
            access.refuse(Refused::Token);
            let refused = super::refusal(
                StatusCode::UNAUTHORIZED,
                "the token of token-file is asked for: Authorization: Bearer <token>",
            );
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"taciturn\"")];
            return (challenge, refused).into_response();
        }
    };
    if let Some(peer) = peer
        && caller.role != Role::Stranger
    {
        peer.life.asks(now());
    }
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    if peer.is_some_and(|peer| peer.life.is_old(now())) {
        let close = header::HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Who asks, as far as the audience makes that matter: a wrong token keeps nobody from what is for everybody.
fn caller(
    access: &Access,
    audience: Audience,
    request: &Request,
    peer: Option<&Peer>,
) -> Result<Caller, NotKnown> {
    let mut authorizations = request.headers().get_all(header::AUTHORIZATION).iter();
    let shown = match (authorizations.next(), authorizations.next()) {
        (None, _) if audience == Audience::Subject && looks(request.method()) => {
            key_of(request.uri().query()).map_or(Shown::Nothing, Shown::Key)
        }
        (None, _) => Shown::Nothing,
        (Some(only), None) => Shown::Authorization(only.as_bytes()),
        (Some(_), Some(_)) => return Err(NotKnown),
    };
    let found = access.caller(shown, peer);
    match audience {
        Audience::Everybody | Audience::Page | Audience::Ticket => {
            Ok(found.unwrap_or_else(|NotKnown| Caller::stranger()))
        }
        Audience::Reader | Audience::Subject | Audience::Operator => found,
    }
}

/// What stands at `key=` in a query, as it is written.
fn key_of(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("key="))
}

/// Why somebody who is known is not served.
const fn why_not(role: Role) -> &'static str {
    match role {
        Role::Reader => "a reader's token is for looking (GET); this takes the operator's",
        Role::Subject | Role::Operator | Role::Stranger => {
            "a signalling server's token or certificate is for credentials; this takes the operator's"
        }
    }
}

/// What a request may call this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// An address or localhost. A page that has its own name resolve to loopback would call it by that.
    Own,
    /// Anything: what such a page lacks is the token, or TLS under its own name.
    Any,
}

fn refusal(
    method: &Method,
    headers: &HeaderMap,
    names: Names,
    audience: Audience,
) -> Option<(Refused, StatusCode, &'static str)> {
    if names == Names::Own
        && !headers
            .get_all(header::HOST)
            .iter()
            .all(|host| host.to_str().is_ok_and(is_address_or_localhost))
    {
        return Some((
            Refused::Host,
            StatusCode::MISDIRECTED_REQUEST,
            "Host names neither an address nor localhost",
        ));
    }
    let let_in = match asker(headers) {
        Asker::Program => true,
        Asker::OwnPage => match audience {
            Audience::Page | Audience::Reader => looks(method),
            Audience::Ticket => true,
            Audience::Everybody | Audience::Subject | Audience::Operator => false,
        },
        Asker::OwnPageByOrigin => audience == Audience::Ticket,
        Asker::Follower => audience == Audience::Page && looks(method),
        Asker::OtherPage => false,
    };
    if !let_in {
        return Some((
            Refused::WebPage,
            StatusCode::FORBIDDEN,
            "this is not for web pages (Origin, Sec-Fetch-Site)",
        ));
    }
    if has_body(method, headers) && !is_json(headers) {
        return Some((
            Refused::MediaType,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a body must be declared as JSON (Content-Type: application/json)",
        ));
    }
    None
}

/// What sends a request, as browsers tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// None, or a person who has typed the address.
    Program,
    /// A page that came from the very host and port that are asked.
    OwnPage,
    /// The same, in a browser that says no more than the origin.
    OwnPageByOrigin,
    /// A person who follows a link from another page, to see this one in its place.
    Follower,
    /// Another page.
    OtherPage,
}

fn asker(headers: &HeaderMap) -> Asker {
    let site = only(headers, "sec-fetch-site");
    let origin = only(headers, header::ORIGIN.as_str());
    match (site, origin) {
        (Found::None | Found::One("none"), Found::None) => Asker::Program,
        (Found::One("same-origin"), Found::None) => Asker::OwnPage,
        (Found::One("same-origin"), Found::One(origin)) if is_own(headers, origin) => {
            Asker::OwnPage
        }
        (Found::None, Found::One(origin)) if is_own(headers, origin) => Asker::OwnPageByOrigin,
        (Found::One("cross-site" | "same-site"), Found::None)
            if only(headers, "sec-fetch-mode") == Found::One("navigate")
                && only(headers, "sec-fetch-dest") == Found::One("document") =>
        {
            Asker::Follower
        }
        _ => Asker::OtherPage,
    }
}

/// Whether an origin is that of the host that is asked. Which of http and https it was is not to be seen behind a proxy.
fn is_own(headers: &HeaderMap, origin: &str) -> bool {
    let name = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    match (name, only(headers, header::HOST.as_str())) {
        (Some(name), Found::One(host)) => !name.is_empty() && name.eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// A header that makes sense once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found<'h> {
    None,
    One(&'h str),
    /// Several, or no text.
    Odd,
}

fn only<'h>(headers: &'h HeaderMap, name: &str) -> Found<'h> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Found::None,
        (Some(value), None) => value.to_str().map_or(Found::Odd, Found::One),
        (Some(_), Some(_)) => Found::Odd,
    }
}

/// A POST counts as one with a body even when it is empty: all of ours need one.
fn has_body(method: &Method, headers: &HeaderMap) -> bool {
    let empty = headers
        .get(header::CONTENT_LENGTH)
        .is_none_or(|length| length.as_bytes() == b"0");
    method == Method::POST || !empty || headers.contains_key(header::TRANSFER_ENCODING)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = only.to_str().unwrap_or_default();
    let essence = essence.split_once(';').map_or(essence, |(kind, _)| kind);
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn is_address_or_localhost(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        Some(_) | None => host,
    };
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod asked;
#[cfg(test)]
mod tests;
