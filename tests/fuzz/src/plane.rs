//! What the relay and the controller have in common towards their operators: certificates, queries, requests.
//!
//! Responsible for: nothing outside of a certificate is taken for a part of it; a query is read as it stands; an order reaches the
//! program only with the right token, or where none is asked for, never from a web page.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes as Body;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use taciturn_plane::{
    Access, CertificateFacts, PreparedAccess, Query, Token, dns_names, guarded, issuer_name,
    json_of,
};
use taciturn_protocol::credentials::RevocationList;

use crate::http;

/// A token as an operator would make it.
const TOKEN: &str = "an-operators-token-of-more-than-32-bytes";

/// A certificate, as a stranger shows it.
pub fn certificate(input: &[u8]) {
    let within = |part: &[u8]| {
        let (whole, part) = (input.as_ptr_range(), part.as_ptr_range());
        whole.start <= part.start && part.end <= whole.end
    };
    let facts = CertificateFacts::parse(input);
    if let Some(facts) = &facts {
        assert!(within(facts.issuer) && within(facts.subject));
        // The year 9999 has 31 days of December, but an hour may be written as 99.
        let last = 253_402_300_799 + 100 * 3600;
        assert!(facts.not_before <= last && facts.not_after <= last);
    }
    if let Some(name) = issuer_name(input) {
        assert!(facts.is_some() && name.len() <= 3 * input.len());
    }
    let names = dns_names(input);
    let bytes: usize = names.iter().map(String::len).sum();
    assert!(bytes <= input.len(), "names that are not in it");
    for name in names {
        assert!(name.is_ascii() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
}

/// A query, with two keys that are known.
pub fn query(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let known = ["epoch", "user"];
    let read = Query::parse(Some(text), &known);
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let mut sound = true;
    for part in text.split('&') {
        if part.is_empty() {
            continue;
        }
        let (key, value) = match part.find('=') {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, ""),
        };
        sound &= known.contains(&key) && !wanted.iter().any(|(other, _)| *other == key);
        wanted.push((key, value));
    }
    assert_eq!(read.is_ok(), sound, "{text}");
    let Ok(read) = read else { return };
    for key in known {
        let value = wanted
            .iter()
            .find(|(other, _)| *other == key)
            .map(|(_, value)| *value);
        assert_eq!(read.text(key), value);
        match (read.number(key), value) {
            (Ok(None), None) => {}
            (Ok(Some(number)), Some(value)) => {
                let digits = value.strip_prefix('+').unwrap_or(value);
                assert!(digits.trim_start_matches('0') == number.to_string() || number == 0);
            }
            (Err(words), Some(_)) => assert!(words.len() < 100),
            (number, value) => panic!("{value:?} is read as {number:?}"),
        }
    }
}

thread_local! {
    /// How many orders have reached the program.
    static REACHED: Cell<u32> = const { Cell::new(0) };
}

fn reached() {
    REACHED.set(REACHED.get() + 1);
}

async fn order(body: Body) -> Response {
    reached();
    match json_of::<RevocationList>(&body) {
        Ok(list) => {
            assert!(body.len() <= taciturn_plane::BODY_BYTES);
            assert_eq!(body.trim_ascii_start().first(), Some(&b'{'));
            // What is taken can be said again, and is the same.
            let written = serde_json::to_vec(&list).expect("plain values");
            let again = json_of::<RevocationList>(&written).ok();
            assert_eq!(again.as_ref(), Some(&list));
            let _judged = list.check();
            "ordered\n".into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

/// With a token, and without one.
static ROUTES: LazyLock<[Router; 2]> = LazyLock::new(|| {
    [Some(Token::new(TOKEN.as_bytes())), None].map(|token| {
        let access = Arc::new(Access::new(PreparedAccess::new(token, None)));
        let routes = Router::new()
            .route("/live", get(async || "live\n"))
            .route("/v1/list", post(order).put(order).get(async || reached()));
        guarded(routes, access, "/live and /v1/list")
    })
});

/// A connection to an admin API, from its first byte on.
pub fn admin(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let guarded = choice & 1 == 0;
    let (sent, has_token) = http::spelled(input, TOKEN);
    let text = String::from_utf8_lossy(&sent).to_ascii_lowercase();
    REACHED.set(0);
    http::exchange(
        &ROUTES[usize::from(!guarded)],
        sent,
        usize::from(choice >> 1) * 8,
    );
    let reached = REACHED.get();
    if guarded && !has_token {
        assert_eq!(reached, 0, "without the token");
    }
    // Of several requests in a row each has headers of its own.
    if !guarded && text.matches("http/1.").count() == 1 {
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let page = head.lines().any(|line| line.starts_with("origin:"));
        assert!(reached == 0 || !page, "from a web page");
    }
}
