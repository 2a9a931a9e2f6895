//! Users and secrets that operators revoke.

use super::*;

#[tokio::test]
async fn users_and_secrets_are_revoked_listed_and_lifted() {
    let clock = Clock::start();
    let mut behind = relay("i-1", Phase::Ready);
    let report = behind.report.as_mut().unwrap();
    report.revocations = Some(taciturn_protocol::credentials::ListVersion::default());
    let latest = round(clock, vec![behind, relay("i-2", Phase::Ready)]);
    let served = Served::with(latest, clock, None).await;
    let post = async |body: &str| served.ask("POST", "/v1/revocations", JSON, body).await;
    let (code, body) = post(r#"{"user": "alice@ward/7"}"#).await;
    assert_eq!(code, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&answer["relays"], &answer["relays_told"]),
        (&2.into(), &1.into())
    );
    assert_eq!(post(r#"{"key_id": "2026-10"}"#).await.0, 200);
    let list = served.json("/v1/revocations").await;
    assert_eq!(list["users"][0]["user"], "alice@ward/7");
    let until = list["users"][0]["until"].as_u64().unwrap();
    let left = until - clock.unix().as_secs();
    assert!((86_000..=86_400).contains(&left), "{left}");
    assert_eq!(list["key_ids"][0]["key_id"], "2026-10");
    assert_eq!(list["key_ids"][0]["until"], Value::Null);
    assert_eq!(list["relays"][0]["in_force"], false);
    assert_eq!(list["relays"][1]["in_force"], Value::Null);
    for path in ["users/alice%40ward%2F7", "keys/2026-10"] {
        let path = format!("/v1/revocations/{path}");
        assert_eq!(served.ask("DELETE", &path, "", "").await.0, 200, "{path}");
        assert_eq!(served.ask("DELETE", &path, "", "").await.0, 404, "{path}");
    }
    assert_eq!(
        served.json("/v1/revocations").await["users"],
        Value::Array(vec![])
    );
    let (_, metrics) = served.ask("GET", "/metrics", "", "").await;
    assert!(metrics.contains("taciturn_controller_revocations{kind=\"user\"} 0\n"));
}

#[tokio::test]
async fn a_revocation_that_is_not_meant_is_refused() {
    let clock = Clock::start();
    let served = Served::with(round(clock, vec![]), clock, None).await;
    for wrong in [
        "",
        "{}",
        r#"{"user": ""}"#,
        r#"{"user": "tab\there"}"#,
        r#"{"user": "a", "key_id": "b"}"#,
        r#"{"user": "a", "until": 1}"#,
        r#"{"user": "a", "until": 9999999999999}"#,
        r#"{"user": "a", "reason": "b"}"#,
        r#"{"key_id": ""}"#,
    ] {
        let (code, body) = served.ask("POST", "/v1/revocations", JSON, wrong).await;
        assert_eq!(code, 400, "{wrong}: {body}");
    }
    assert!(served.told.revocations.list().is_empty());
}
