//! Programs, our own pages and everybody else's, told apart by headers.

use axum::http::{HeaderName, HeaderValue};

use super::*;

fn judged(method: &Method, headers: &[(&'static str, &'static str)]) -> Option<u16> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    refusal(method, &headers, Names::Own, Audience::Operator).map(|(_, status, _)| status.as_u16())
}

/// Host rebinding is refused; an address and localhost are what a local program names.
#[test]
fn a_host_that_is_a_name_is_refused() {
    for host in [
        "127.0.0.1",
        "127.0.0.1:9641",
        "[::1]:9641",
        "localhost",
        "LocalHost:80",
    ] {
        assert_eq!(judged(&Method::GET, &[("host", host)]), None, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9641",
        "127.0.0.1.evil.example",
        "",
        "localhost.evil.example:1",
        "localhost:",
        "localhost:evil",
        "127.0.0.1:80.evil.example",
    ] {
        assert_eq!(judged(&Method::GET, &[("host", host)]), Some(421), "{host}");
    }
}

#[test]
fn whoever_must_prove_who_they_are_may_use_any_name() {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("relay-1.example.org:9641"));
    assert_eq!(
        refusal(&Method::GET, &headers, Names::Any, Audience::Operator),
        None
    );
    headers.insert("origin", HeaderValue::from_static("https://evil.example"));
    let refused = refusal(&Method::GET, &headers, Names::Any, Audience::Operator);
    assert_eq!(refused.map(|(_, status, _)| status.as_u16()), Some(403));
}

#[test]
fn a_web_page_is_refused_whatever_it_asks() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
        for sign in [
            ("origin", "http://127.0.0.1:9641"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "None"),
        ] {
            assert_eq!(
                judged(&method, &[JSON, sign]),
                Some(403),
                "{method} {sign:?}"
            );
        }
        let typed_by_hand = [JSON, ("sec-fetch-site", "none")];
        assert_eq!(judged(&method, &typed_by_hand), None, "{method}");
    }
    let twice = [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
    assert_eq!(judged(&Method::GET, &twice), Some(403));
}

/// What a form on a page can send is not JSON.
#[test]
fn a_body_that_is_not_declared_as_json_is_refused() {
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/jsonp",
        "",
    ] {
        let headers = [("content-type", kind)];
        assert_eq!(judged(&Method::POST, &headers), Some(415), "{kind}");
    }
    assert_eq!(judged(&Method::POST, &[]), Some(415));
    assert_eq!(
        judged(&Method::DELETE, &[("content-length", "2")]),
        Some(415)
    );
    assert_eq!(
        judged(&Method::DELETE, &[("transfer-encoding", "chunked")]),
        Some(415)
    );
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        let headers = [("content-type", kind), ("content-length", "2")];
        assert_eq!(judged(&Method::POST, &headers), None, "{kind}");
    }
    assert_eq!(judged(&Method::DELETE, &[("content-length", "0")]), None);
}

const JSON: (&str, &str) = ("content-type", "application/json");
const HOST: (&str, &str) = ("host", "127.0.0.1:9640");
const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

fn admitted(audience: Audience, method: &Method, signs: &[(&'static str, &'static str)]) -> bool {
    let headers: HeaderMap = [HOST, JSON]
        .iter()
        .filter(|(name, _)| signs.iter().all(|(given, _)| given != name))
        .chain(signs)
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    refusal(method, &headers, Names::Own, audience).is_none()
}

/// a page that this program has served may look, and use a ticket; it orders nothing, and mints nothing else.
#[test]
fn own_pages_look_and_use_tickets_and_do_nothing_else() {
    let origin = ("origin", "http://127.0.0.1:9640");
    let own = [OWN, origin];
    for (audience, get, post) in [
        (Audience::Everybody, false, false),
        (Audience::Page, true, false),
        (Audience::Reader, true, false),
        (Audience::Subject, false, false),
        (Audience::Ticket, true, true),
        (Audience::Operator, false, false),
    ] {
        assert_eq!(
            admitted(audience, &Method::GET, &[OWN]),
            get,
            "{audience:?}"
        );
        assert_eq!(
            admitted(audience, &Method::POST, &own),
            post,
            "{audience:?}"
        );
        assert!(!admitted(audience, &Method::DELETE, &own) || audience == Audience::Ticket);
    }
    let proxied = [
        ("host", "Test.example.org"),
        OWN,
        ("origin", "https://test.example.org"),
    ];
    let headers = proxied.map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    let headers: HeaderMap = headers.into_iter().collect();
    assert_eq!(asker(&headers), Asker::OwnPage);
}

/// a browser that tells of nothing but the origin gets its user as far as a ticket does, and to nothing that is read.
#[test]
fn an_own_page_in_an_old_browser_uses_a_ticket_alone() {
    let own = [("origin", "http://127.0.0.1:9640")];
    for (audience, method, let_in) in [
        (Audience::Ticket, Method::POST, true),
        (Audience::Page, Method::GET, false),
        (Audience::Reader, Method::GET, false),
        (Audience::Subject, Method::POST, false),
        (Audience::Operator, Method::POST, false),
        (Audience::Everybody, Method::GET, false),
    ] {
        assert_eq!(admitted(audience, &method, &own), let_in, "{audience:?}");
    }
}

/// another page is not taken for one of our own by part of what it sends.
#[test]
fn a_page_of_another_origin_is_not_our_own() {
    for signs in [
        &[("origin", "http://127.0.0.1:9641")][..],
        &[OWN, ("origin", "http://127.0.0.1:9641")],
        &[OWN, ("origin", "http://127.0.0.1")],
        &[OWN, ("origin", "http://127.0.0.1:96400")],
        &[OWN, ("origin", "http://evil.example")],
        &[OWN, ("origin", "127.0.0.1:9640")],
        &[OWN, ("origin", "ftp://127.0.0.1:9640")],
        &[OWN, ("origin", "https://")],
        &[OWN, ("origin", "null")],
        &[OWN, ("origin", "")],
        &[("sec-fetch-site", "Same-Origin")],
        &[("sec-fetch-site", "same-site")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://127.0.0.1:9640"),
        ],
        &[
            ("sec-fetch-site", "none"),
            ("origin", "http://127.0.0.1:9640"),
        ],
    ] {
        for audience in [Audience::Page, Audience::Reader, Audience::Ticket] {
            let method = if audience == Audience::Ticket {
                Method::POST
            } else {
                Method::GET
            };
            assert!(
                !admitted(audience, &method, signs),
                "{audience:?} {signs:?}"
            );
        }
    }
    let mut headers = HeaderMap::new();
    for site in ["same-origin", "cross-site"] {
        headers.append("sec-fetch-site", HeaderValue::from_static(site));
    }
    assert_eq!(asker(&headers), Asker::OtherPage);
    // A page whose own name resolves to this host is of one origin with it, and has the wrong name.
    let rebound = [OWN, ("host", "evil.example:9640")];
    assert!(!admitted(Audience::Reader, &Method::GET, &rebound));
}

#[test]
fn a_link_leads_to_a_page_and_to_nothing_that_is_read() {
    let link = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    let framed = [link[0], link[1], ("sec-fetch-dest", "iframe")];
    let posted = [
        link[0],
        link[1],
        link[2],
        ("origin", "https://evil.example"),
    ];
    assert!(admitted(Audience::Page, &Method::GET, &link));
    assert!(!admitted(Audience::Page, &Method::GET, &framed));
    assert!(!admitted(Audience::Page, &Method::POST, &posted));
    assert!(!admitted(Audience::Page, &Method::POST, &link));
    for audience in [
        Audience::Reader,
        Audience::Subject,
        Audience::Ticket,
        Audience::Operator,
    ] {
        assert!(!admitted(audience, &Method::GET, &link), "{audience:?}");
    }
}

#[test]
fn a_key_is_found_where_it_stands() {
    assert_eq!(key_of(None), None);
    assert_eq!(key_of(Some("service=turn&key=abc&ttl=5")), Some("abc"));
    assert_eq!(key_of(Some("monkey=abc")), None);
    assert_eq!(key_of(Some("key=")), Some(""));
}
