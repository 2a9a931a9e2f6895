//! The self-test's routes over real connections, on the API's listener and on one of their own.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use taciturn_plane::{Bounded, Limits, Listener, PreparedAccess, Token};
use taciturn_protocol::time::Now;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::hand::Hand;
use crate::self_test::{Minted, Reachable, TICKET_USES, TicketKey};

const OPERATOR: &str = "an-operators-token-of-more-than-32-bytes";
const SUBJECT: &str = "a-signalling-servers-token-of-32-bytes-or-so";
const READER: &str = "a-readers-token-of-more-than-32-bytes-here";
const TRY: &str = "/v1/self-test/ice-servers";
const TICKETS: &str = "/v1/self-test/tickets";
const JSON: &str = "Content-Type: application/json\r\n";

/// One relay, and a password that can be looked for.
#[derive(Debug)]
struct Minting(bool);

impl Mint for Minting {
    fn mint(&self, user: &str, ttl: Duration, now: Now) -> Result<Minted, Denied> {
        if !self.0 {
            return Err(Denied::NoRelay);
        }
        Ok(Minted {
            username: format!("1:{user}"),
            credential: "a-password".to_owned(),
            expires: now.unix.plus_secs(ttl.as_secs()),
            relays: vec![Reachable {
                relay: "i-1".to_owned(),
                urls: vec!["turn:192.0.2.1:3478?transport=udp".to_owned()],
            }],
        })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// On the API's listener, on which these prove something.
    Api,
    /// On the API's listener on loopback, where nobody does.
    OpenApi,
    /// On the listener of its own.
    Own,
}

struct Served {
    address: SocketAddr,
    desk: TestDesk,
    hand: &'static Hand,
}

impl Served {
    async fn at(place: Where) -> Self {
        Self::with(place, Minting(true)).await
    }

    async fn with(place: Where, minting: Minting) -> Self {
        let (clock, hand) = Hand::clock();
        let desk = TestDesk {
            tests: Arc::new(SelfTest::new(TicketKey::new([9; TicketKey::BYTES]))),
            mint: Arc::new(minting),
            url: Some("https://test.example.org".to_owned()),
            encrypted: false,
            clock,
        };
        let terms = PreparedAccess::new(None, None);
        let (terms, routes): (_, fn(TestDesk, Arc<Access>) -> Router) = match place {
            Where::Own => (terms.closed(), router),
            Where::OpenApi => (terms, on_the_api),
            Where::Api => {
                let operator = Token::new(OPERATOR.as_bytes());
                let terms = PreparedAccess::new(Some(operator), None)
                    .with_subject("signalling-1", Token::new(SUBJECT.as_bytes()))
                    .with_reader(Token::new(READER.as_bytes()));
                (terms, on_the_api)
            }
        };
        let access = Arc::new(Access::new(terms));
        let routes = routes(desk.clone(), Arc::clone(&access));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Bounded::within(Limits::VISITORS, Listener::Tcp(listener), access);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            address,
            desk,
            hand,
        }
    }

    /// Status, headers in small letters, and body.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, head.to_lowercase(), body.to_owned())
    }

    async fn try_with(&self, ticket: &str) -> (u16, String, Value) {
        let headers = format!("{JSON}Authorization: Bearer {ticket}\r\n");
        let (code, head, body) = self.ask("POST", TRY, &headers, "{}").await;
        (code, head, serde_json::from_str(&body).unwrap())
    }

    fn ticket(&self) -> String {
        let now = self.desk.clock.now();
        self.desk.tests.ticket(TICKET_TTL, now).unwrap().0
    }
}

/// As the API has them, with its audiences.
fn on_the_api(desk: TestDesk, access: Arc<Access>) -> Router {
    let routes = pages().route(TICKETS, post(ticket));
    guarded_for(routes, access, "", crate::api::audience).with_state(desk)
}

#[tokio::test]
async fn the_page_is_for_everybody_and_takes_nothing_from_elsewhere() {
    for place in [Where::Api, Where::OpenApi, Where::Own] {
        let served = Served::at(place).await;
        for (path, kind) in [
            ("/self-test", "text/html"),
            ("/assets/self-test/page.css", "text/css"),
            ("/assets/self-test/page.js", "text/javascript"),
            ("/assets/self-test/trial.js", "text/javascript"),
            ("/assets/self-test/words.js", "text/javascript"),
        ] {
            let (code, head, body) = served.ask("GET", path, "", "").await;
            assert_eq!(code, 200, "{path}");
            assert!(head.contains(&format!("content-type: {kind}")), "{head}");
            assert!(head.contains("connect-src 'self'"), "{head}");
            assert!(head.contains("default-src 'none'"), "{head}");
            assert!(head.contains("x-content-type-options: nosniff"), "{head}");
            assert!(head.contains("referrer-policy: no-referrer"), "{head}");
            assert!(!head.contains("set-cookie"), "{head}");
            for stored in [
                "localStorage",
                "sessionStorage",
                "indexedDB",
                "document.cookie",
                "https://",
            ] {
                assert!(!body.contains(stored), "{path}: {stored}");
            }
        }
    }
}

/// on a listener of its own there is the page and its ticket route, and nothing else of the controller, whatever is shown.
#[tokio::test]
async fn nothing_else_answers_on_a_listener_of_its_own() {
    let served = Served::at(Where::Own).await;
    for token in ["", OPERATOR, SUBJECT] {
        for path in [
            "/",
            "/live",
            "/ready",
            "/metrics",
            "/v1/fleet",
            "/v1/overview",
            "/v1/decisions",
            "/v1/audit",
            "/v1/prometheus/targets",
            "/v1/ice-servers",
            "/v1/turn",
            "/v1/snapshot",
            "/v1/openapi.json",
            "/v1/relays/i-1/drain",
            "/v1/revocations",
            TICKETS,
            "/assets/",
            "/assets/dashboard/page.js",
            "//v1/fleet",
            "/self-test/../v1/fleet",
            "/assets/self-test/../../v1/fleet",
            "/%76%31/fleet",
        ] {
            for method in ["GET", "POST", "DELETE"] {
                let headers = format!("{JSON}Authorization: Bearer {token}\r\n");
                let (code, _, body) = served.ask(method, path, &headers, "").await;
                assert_eq!(code, 404, "{method} {path}: {body}");
                assert!(
                    !body.contains("i-1\"") && !body.contains("/v1/fleet and"),
                    "{body}"
                );
            }
        }
    }
    let denied = served.ask("POST", TRY, JSON, "{}").await;
    assert_eq!(denied.0, 401, "{}", denied.2);
    assert_eq!(served.try_with(&served.ticket()).await.0, 200);
}

#[tokio::test]
async fn operators_and_signalling_servers_make_tickets_that_work_as_they_are_linked() {
    let served = Served::at(Where::Api).await;
    for token in [OPERATOR, SUBJECT] {
        let headers = format!("{JSON}Authorization: Bearer {token}\r\n");
        let (code, head, body) = served
            .ask("POST", TICKETS, &headers, "{\"ttl\": 3600}")
            .await;
        assert_eq!(code, 200, "{body}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["expires"], Hand::BEGIN + 3600);
        let url = answer["url"].as_str().unwrap();
        let ticket = url
            .strip_prefix("https://test.example.org/self-test#t=")
            .unwrap();
        let (code, head, test) = served.try_with(ticket).await;
        assert_eq!(code, 200, "{test}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        assert_eq!(test["paths"][0]["name"], "UDP 3478");
        assert_eq!(test["paths"][0]["relays"][0]["host"], "192.0.2.1");
        assert_eq!(
            (&test["ttl"], &test["credential"]),
            (&300.into(), &"a-password".into())
        );
        assert!(
            test["username"]
                .as_str()
                .unwrap()
                .starts_with("1:self-test-")
        );
        // Whoever may make tickets needs none.
        assert_eq!(served.try_with(token).await.0, 200);
    }
    for (headers, code) in [
        (JSON.to_owned(), 401),
        (
            format!("{JSON}Authorization: Bearer {}\r\n", served.ticket()),
            401,
        ),
        (format!("{JSON}Authorization: Bearer {READER}\r\n"), 403),
        (
            format!("{JSON}Origin: https://evil.example\r\nAuthorization: Bearer {OPERATOR}\r\n"),
            403,
        ),
    ] {
        let (answered, _, body) = served.ask("POST", TICKETS, &headers, "{}").await;
        assert_eq!(answered, code, "{headers}: {body}");
        assert!(!body.contains("#t="), "{body}");
    }
}

#[tokio::test]
async fn a_ticket_that_makes_no_sense_is_not_made() {
    let served = Served::at(Where::OpenApi).await;
    for (body, code) in [
        ("{\"ttl\": 59}", 400),
        ("{\"ttl\": 604801}", 400),
        ("{\"ttl\": -1}", 400),
        ("{\"ttl\": 1e3}", 400),
        ("{\"ttl\": \"1h\"}", 400),
        ("{\"uses\": 5}", 400),
        ("{\"ttl\": 60, \"ttl\": 61}", 400),
        ("{", 400),
        ("", 200),
        ("{}", 200),
        ("{\"ttl\": 604800}", 200),
    ] {
        let (answered, _, words) = served.ask("POST", TICKETS, JSON, body).await;
        assert_eq!(answered, code, "{body}: {words}");
    }
    let (code, ..) = served
        .ask("POST", "/v1/self-test/tickets?ttl=60", JSON, "{}")
        .await;
    assert_eq!(code, 400);
    assert_eq!(served.ask("GET", TICKETS, "", "").await.0, 405);
}

/// forged, expired, replayed and missing tickets are told apart in words, and never repeated.
#[tokio::test]
async fn wrong_tickets_are_refused_in_words() {
    for place in [Where::Api, Where::OpenApi, Where::Own] {
        let served = Served::at(place).await;
        let good = served.ticket();
        let (head, tail) = good.split_at(20);
        let bent = format!(
            "{head}{}{}",
            if tail.starts_with('A') { 'B' } else { 'A' },
            &tail[1..]
        );
        for ticket in [bent.as_str(), head, "x", OPERATOR.get(..10).unwrap(), "é"] {
            let (code, head, answer) = served.try_with(ticket).await;
            assert_eq!(code, 401, "{ticket}: {answer}");
            assert_eq!(answer["reason"], "ticket");
            assert!(head.contains("www-authenticate: bearer"), "{head}");
            assert!(
                ticket.len() < 5 || !answer.to_string().contains(ticket),
                "{answer}"
            );
        }
        let (code, _, body) = served.ask("POST", TRY, JSON, "{}").await;
        if place == Where::OpenApi {
            assert_eq!(code, 200, "{body}");
        } else {
            assert_eq!(code, 401, "{body}");
            assert!(body.contains("no-ticket"), "{body}");
        }
        for header in ["Authorization: Basic YTpi\r\n", "Authorization:\r\n"] {
            let (code, _, body) = served
                .ask("POST", TRY, &format!("{JSON}{header}"), "{}")
                .await;
            assert_eq!(code, 401, "{header} {body}");
        }
        assert_eq!(served.try_with(&good).await.0, 200);
        served.hand.pass(TICKET_TTL);
        let (code, _, answer) = served.try_with(&good).await;
        assert_eq!(
            (code, &answer["reason"]),
            (403, &"expired".into()),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_ticket_that_goes_from_hand_to_hand_is_used_up() {
    let served = Served::at(Where::Own).await;
    let now = served.desk.clock.now();
    let (ticket, _) = served.desk.tests.ticket(LONGEST_TICKET_TTL, now).unwrap();
    for _ in 0..5 {
        assert_eq!(served.try_with(&ticket).await.0, 200);
    }
    let (code, head, answer) = served.try_with(&ticket).await;
    assert_eq!((code, &answer["reason"]), (429, &"too-often".into()));
    assert!(head.contains("retry-after: 5"), "{head}");
    // Another's is served meanwhile.
    assert_eq!(served.try_with(&served.ticket()).await.0, 200);
    for _ in 5..TICKET_USES {
        served.hand.pass(Duration::from_secs(5));
        assert_eq!(served.try_with(&ticket).await.0, 200);
    }
    served.hand.pass(Duration::from_secs(60));
    let (code, head, answer) = served.try_with(&ticket).await;
    assert_eq!((code, &answer["reason"]), (429, &"used-up".into()));
    assert!(!head.contains("retry-after"), "{head}");
}

#[tokio::test]
async fn without_a_relay_the_page_is_told_so() {
    let served = Served::with(Where::OpenApi, Minting(false)).await;
    let (code, head, body) = served.ask("POST", TRY, JSON, "{}").await;
    assert_eq!(code, 503);
    assert!(head.contains("retry-after: 5"), "{head}");
    assert!(body.contains("no-relay"), "{body}");
}

/// what a page of another origin makes a browser send is refused, and so is what is no empty question.
#[tokio::test]
async fn only_the_own_page_may_use_a_ticket_in_a_browser() {
    let served = Served::at(Where::Own).await;
    let ticket = format!("Authorization: Bearer {}\r\n", served.ticket());
    let own = "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n";
    for (headers, body, code) in [
        (format!("{JSON}{ticket}{own}"), "{}", 200),
        (
            format!("{JSON}{ticket}Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n"),
            "{}",
            403,
        ),
        (
            format!("{JSON}{ticket}Origin: https://evil.example\r\n"),
            "{}",
            403,
        ),
        (format!("{JSON}{ticket}Origin: null\r\n"), "{}", 403),
        (format!("Content-Type: text/plain\r\n{ticket}"), "{}", 415),
        (format!("{JSON}{ticket}"), "{\"user\": \"somebody\"}", 400),
        (format!("{JSON}{ticket}"), "[]", 400),
    ] {
        let (answered, _, words) = served.ask("POST", TRY, &headers, body).await;
        assert_eq!(answered, code, "{headers} {body}: {words}");
        assert!(code == 200 || !words.contains("a-password"), "{words}");
    }
    let oversized = format!("{{\"x\": \"{}\"}}", "y".repeat(20_000));
    let (code, ..) = served
        .ask("POST", TRY, &format!("{JSON}{ticket}"), &oversized)
        .await;
    assert_eq!(code, 413);
}
