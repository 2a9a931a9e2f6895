//! The gate in front of routes, asked over HTTP: who is let in to what, what the others are told, and whose asking counts.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, Extension};
use axum::routing::any;
use axum::{Router, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{Limits, PreparedAccess, Token, guarded_for};

const OPERATOR: &str = "operator-operator-operator-operator";
const READER: &str = "reader-reader-reader-reader-reader";
const SUBJECT: &str = "subject-subject-subject-subject-su";

/// Routes for each audience, which answer who asks.
fn routes(access: &Arc<Access>) -> Router {
    let who = |Extension(caller): Extension<Caller>| async move {
        format!("{} {}", caller.role.as_str(), caller.name)
    };
    let paths = ["/health", "/page", "/read", "/subject", "/ticket", "/order"];
    let routes = paths
        .into_iter()
        .fold(Router::new(), |routes, path| routes.route(path, any(who)));
    guarded_for(routes, Arc::clone(access), "none", |path| match path {
        "/health" => Audience::Everybody,
        "/page" => Audience::Page,
        "/read" => Audience::Reader,
        "/subject" => Audience::Subject,
        "/ticket" => Audience::Ticket,
        _ => Audience::Operator,
    })
}

async fn listening(routes: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(tokio::spawn(async move { serve(listener, routes).await }));
    address
}

/// Sends one request with these headers, and returns the answer: its head in lower case, and its body.
async fn ask(to: SocketAddr, request: &str, headers: &[&str]) -> (String, String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let headers = headers.join("\r\n");
    let text = format!("{request} HTTP/1.1\r\ncontent-length: 0\r\n{headers}\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length || request.starts_with("HEAD ") {
                return (head, body.to_owned());
            }
        }
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{text}");
    }
}

/// each route serves those whom it is for, and says to the others what they lack. A wrong token keeps nobody from what is
/// for everybody, and two are as good as none.
#[tokio::test]
async fn each_route_serves_whom_it_is_for() {
    let prepared = PreparedAccess::new(Some(Token::new(OPERATOR.as_bytes())), None)
        .with_reader(Token::new(READER.as_bytes()))
        .with_subject("first", Token::new(SUBJECT.as_bytes()))
        .with_query_keys(true);
    let access = Arc::new(Access::new(prepared));
    let to = listening(routes(&access)).await;
    let json = "content-type: application/json";
    let bearing = |token: &str| format!("authorization: Bearer {token}");
    let [operator, reader, subject, wrong] = [OPERATOR, READER, SUBJECT, "wrong"].map(bearing);
    let key = format!("?key={SUBJECT}");
    let cases: &[(&str, &[&str], u16, &str)] = &[
        ("GET /order", &[&operator], 200, "operator operator"),
        ("POST /order", &[&operator, json], 200, "operator operator"),
        ("GET /order", &[], 401, "token-file"),
        ("GET /order", &[&wrong], 401, "token-file"),
        ("GET /order", &[&operator, &operator], 401, "token-file"),
        ("GET /order", &[&reader], 403, "a reader's token"),
        ("GET /order", &[&subject], 403, "a signalling server's"),
        ("GET /read", &[&reader], 200, "reader reader"),
        ("GET /read", &[&operator], 200, "operator operator"),
        ("POST /read", &[&reader, json], 403, "a reader's token"),
        ("GET /read", &[&subject], 403, "a signalling server's"),
        ("GET /read", &[], 401, "token-file"),
        ("GET /subject", &[&subject], 200, "subject first"),
        ("POST /subject", &[&subject, json], 200, "subject first"),
        ("GET /subject", &[&reader], 403, "a reader's token"),
        ("GET /subject", &[&wrong], 401, "token-file"),
        ("GET /health", &[], 200, "stranger stranger"),
        ("GET /health", &[&wrong], 200, "stranger stranger"),
        ("GET /health", &[&subject, &wrong], 401, "token-file"),
        ("GET /page", &[&wrong], 200, "stranger stranger"),
        ("POST /ticket", &[&wrong, json], 200, "stranger stranger"),
        ("POST /ticket", &[&subject, json], 200, "subject first"),
    ];
    for (request, headers, status, says) in cases {
        let headers = [&["host: relay.example.org"], *headers].concat();
        let (head, body) = ask(to, request, &headers).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{request} {headers:?}: {head}"
        );
        assert!(body.contains(says), "{request} {headers:?}: {body}");
        let challenged = head.contains("www-authenticate: bearer realm=\"taciturn\"");
        assert_eq!(challenged, *status == 401, "{head}");
    }
    // In a query a subject's token is good for looking at what is for subjects, and for nothing else.
    for (request, status) in [
        (format!("GET /subject{key}"), 200),
        (format!("HEAD /subject{key}"), 200),
        (format!("POST /subject{key}"), 401),
        (format!("GET /order{key}"), 401),
        (format!("GET /read{key}"), 401),
    ] {
        let (head, _) = ask(to, &request, &["host: x", json]).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{request}: {head}"
        );
    }
    let counted: Vec<_> = access.refusals().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("token", 9), ("role", 5)]);
}

/// without a token, whoever can connect is the operator; so the names that a page could have are refused, and pages are.
#[tokio::test]
async fn where_nothing_proves_who_asks_names_do_not_count() {
    let access = Arc::new(Access::new(PreparedAccess::new(None, None)));
    let to = listening(routes(&access)).await;
    let (head, body) = ask(to, "GET /order", &["host: 127.0.0.1"]).await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, "operator local");
    let (head, _) = ask(to, "GET /order", &["host: evil.example"]).await;
    assert!(head.starts_with("http/1.1 421 "), "{head}");
    let page = ["host: 127.0.0.1", "origin: https://evil.example"];
    let (head, _) = ask(to, "GET /order", &page).await;
    assert!(head.starts_with("http/1.1 403 "), "{head}");
    let counted: Vec<_> = access.refusals().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("host", 1), ("web_page", 1)]);
}

/// whoever is known and asks is waited for anew, a stranger is not; and who has stayed long is told to connect again.
#[tokio::test]
async fn only_those_who_are_known_are_waited_for() {
    let token = Token::new(OPERATOR.as_bytes());
    let access = Arc::new(Access::new(PreparedAccess::new(Some(token), None)));
    let operator = format!("authorization: Bearer {OPERATOR}");
    let began = now().checked_sub(Duration::from_secs(2)).unwrap();
    for (limits, is_old) in [
        (Limits::MANY, false),
        (
            Limits {
                lifetime: Duration::from_secs(61),
                ..Limits::MANY
            },
            true,
        ),
    ] {
        let peer = Peer::new(began, None, limits);
        let to = listening(routes(&access).layer(Extension(ConnectInfo(peer.clone())))).await;
        let before = peer.life.end();
        ask(to, "GET /health", &["host: x"]).await;
        ask(to, "GET /order", &["host: x"]).await;
        assert_eq!(peer.life.end(), before, "of strangers");
        let (head, _) = ask(to, "GET /order", &["host: x", &operator]).await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(peer.life.end() > before);
        assert_eq!(head.contains("connection: close"), is_old, "{head}");
    }
}
