//! Credentials over HTTP: who gets them, in which form, and how everybody else is answered.
//!
//! Not responsible for what is minted (`credentials::tests`), nor for the binary (`tests/credentials_api.rs`).

use super::*;
use crate::credentials::tests::{round as offered_round, settings};
use crate::credentials::{Payload, SnapshotKey};
use crate::policy::tests::{calm, policy};

const FIRST: &str = "a-token-of-signalling-1-that-is-long";
const SECOND: &str = "a-token-of-signalling-2-that-is-long";

/// Three relays, an operator, and two signalling servers, the second of which may ask three times at once.
async fn minting(clock: Clock) -> Served {
    let access = PreparedAccess::new(Some(Token::new(TOKEN.as_bytes())), None)
        .with_subject("signalling-1", Token::new(FIRST.as_bytes()))
        .with_subject("signalling-2", Token::new(SECOND.as_bytes()));
    let latest = Arc::new(offered_round(calm(3, 10.0), policy(), clock.now()));
    let desk = Desk::new(Some(settings()), [7; 32]);
    desk.see(Arc::clone(&latest));
    let told = Told {
        latest: Mutex::new(latest),
        orders: Mutex::default(),
        revocations: Arc::default(),
        refuses: None,
    };
    Served::by(told, clock, access, desk).await
}

fn post(token: &str, body: &str) -> String {
    format!(
        "POST /v1/ice-servers HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn from(token: &str, path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
    )
}

/// H-08: the endpoint asks who one is, holds each to its own rate, is kept by nobody, and says how long and where to.
#[tokio::test]
async fn credentials_are_for_those_who_may_ask_at_their_rate_and_kept_by_nobody() {
    let clock = Clock::start();
    let served = minting(clock).await;
    for stranger in ["", TOKEN.trim_end_matches('s'), "wrong", &FIRST[1..]] {
        let (code, _, body) = served.whole(&post(stranger, "{}")).await;
        assert_eq!(code, 401, "{body}");
    }
    let (code, head, body) = served
        .whole(&post(FIRST, "{\"user\":\"u\",\"ttl\":600}"))
        .await;
    assert_eq!(code, 200, "{body}");
    assert!(head.contains("\r\ncache-control: no-store"), "{head}");
    assert!(
        head.contains("\r\ncontent-type: application/json"),
        "{head}"
    );
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["ttl"], 600);
    let servers = answer["iceServers"].as_array().unwrap();
    assert_eq!(servers.len(), 2);
    assert!(servers.iter().all(|server| {
        server["urls"][0]
            .as_str()
            .unwrap()
            .starts_with("turn:192.0.2.")
    }));
    let mut codes = Vec::new();
    for _ in 0..6 {
        let (code, head, _) = served.whole(&post(SECOND, "")).await;
        let waits = head.contains("\r\nretry-after: 1");
        assert_eq!(code == 429, waits && head.contains("no-store"), "{head}");
        codes.push(code);
    }
    assert_eq!(codes[..3], [200; 3], "its burst");
    assert!(codes.contains(&429), "{codes:?}");
    // Nobody else waits for that.
    for other in [FIRST, TOKEN] {
        assert_eq!(served.whole(&post(other, "")).await.0, 200);
    }
    assert_eq!(served.ask("GET", "/ready", "", "").await.0, 200);
}

/// H-08: what a signalling server has is good for credentials and for nothing else.
#[tokio::test]
async fn a_subjects_token_opens_nothing_else() {
    let clock = Clock::start();
    let served = minting(clock).await;
    for path in [
        "/v1/fleet",
        "/metrics",
        "/v1/audit",
        "/v1/decisions",
        "/v1/prometheus/targets",
    ] {
        assert_eq!(served.raw(&from(FIRST, path, "")).await.0, 403, "{path}");
    }
    let order = post(FIRST, "{}").replace("/v1/ice-servers", "/v1/relays/r0/drain");
    assert_eq!(served.raw(&order).await.0, 403);
    assert!(served.told.orders.lock().unwrap().is_empty());
}

/// absurd questions get a short answer that repeats nothing of them.
#[tokio::test]
async fn absurd_questions_are_refused_and_not_repeated() {
    let clock = Clock::start();
    let served = minting(clock).await;
    let nested = "[".repeat(8_000);
    let objects = "{\"user\":".repeat(1_000);
    let long = format!("{{\"user\":\"{}\"}}", "Mallory".repeat(80));
    for body in [
        "{",
        "null",
        "[]",
        "\"Mallory\"",
        "7",
        "{}{}",
        "\u{feff}{}",
        nested.as_str(),
        objects.as_str(),
        "{\"Mallory\":1}",
        "{\"user\":\"Mallory\",\"user\":\"Mallory\"}",
        "{\"user\":7}",
        "{\"user\":[\"Mallory\"]}",
        "{\"user\":\"Mallory\\u0000\"}",
        "{\"user\":\"Mallory\\n\"}",
        "{\"user\":\"Mallory\\ud800\"}",
        "{\"user\":\"\"}",
        long.as_str(),
        "{\"ttl\":0}",
        "{\"ttl\":-1}",
        "{\"ttl\":1.5}",
        "{\"ttl\":1e300}",
        "{\"ttl\":\"3600\"}",
        "{\"ttl\":86401}",
        "{\"ttl\":18446744073709551615}",
        "{\"ttl\":184467440737095516160}",
        "{\"relays\":0}",
        "{\"relays\":5}",
        "{\"relays\":-1}",
        "{\"relays\":256}",
        "{\"relays\":true}",
        "{\"region\":\"\"}",
        "{\"region\":\"Mallory \"}",
        "{\"zone\":\"Mallory\\n\"}",
        "{\"zone\":7}",
    ] {
        let (code, head, answer) = served.whole(&post(TOKEN, body)).await;
        let shown = &body[..body.floor_char_boundary(60)];
        assert_eq!(code, 400, "{shown}: {answer}");
        assert!(head.contains("no-store"), "{head}");
        assert!(
            answer.len() < 400 && answer.contains("\"error\""),
            "{shown}: {answer}"
        );
        assert!(!answer.contains("Mallory"), "{shown}: {answer}");
    }
    let query = post(FIRST, "{}").replace("ice-servers", "ice-servers?user=Mallory");
    assert_eq!(served.raw(&query).await.0, 400);
}

#[tokio::test]
async fn the_older_form_says_the_same() {
    let clock = Clock::start();
    let served = minting(clock).await;
    let ask = |query: &str| from(FIRST, &format!("/v1/turn{query}"), "");
    let (code, head, body) = served
        .whole(&ask("?service=turn&username=al%20ice&ttl=60"))
        .await;
    assert_eq!(code, 200, "{body}");
    assert!(head.contains("no-store"));
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert!(answer["username"].as_str().unwrap().ends_with(":al ice"));
    assert_eq!(answer["ttl"], 60);
    assert_eq!(answer["uris"].as_array().unwrap().len(), 2);
    for wrong in [
        "",
        "?service=stun",
        "?service=turn&ttl=x",
        "?service=turn&username=%zz",
        "?service=turn&username=%00",
        "?service=turn&service=turn",
        "?service=turn&x=1",
        "?service=turn&ttl=99999999",
        "?service=turn&key=Mallory",
    ] {
        let (code, _, body) = served.whole(&ask(wrong)).await;
        assert_eq!(code, 400, "{wrong}: {body}");
        assert!(!body.contains("Mallory"), "{body}");
    }
}

#[tokio::test]
async fn a_snapshot_is_kept_until_it_is_another() {
    let clock = Clock::start();
    let served = minting(clock).await;
    let (code, head, text) = served.whole(&from(FIRST, "/v1/snapshot", "")).await;
    assert_eq!(code, 200, "{text}");
    assert!(
        head.contains("\r\ncontent-type: application/jose"),
        "{head}"
    );
    assert!(head.contains("stale-if-error=600"), "{head}");
    let key = SnapshotKey::of(b"0123456789abcdef0123456789abcdef");
    let payload = key.verify(&text, clock.unix()).unwrap();
    assert_eq!(
        (payload.format.as_str(), payload.relays.len()),
        (Payload::FORMAT, 3)
    );
    let tag = format!("\"{}\"", text.rsplit('.').next().unwrap());
    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let header = format!("If-None-Match: {known}\r\n");
        let (code, _, body) = served.whole(&from(FIRST, "/v1/snapshot", &header)).await;
        assert_eq!((code, body.as_str()), (304, ""), "{known}");
    }
    let other = from(FIRST, "/v1/snapshot", "If-None-Match: \"x\"\r\n");
    assert_eq!(served.whole(&other).await.0, 200);
}
