use std::collections::BTreeSet;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use taciturn_cloud_sim::{Group, Pace, Server, Trouble};

use super::*;

fn server() -> Server {
    Server::start(Group::good("relays", 0, 9), Pace::Still).unwrap()
}

fn lease(server: &Server) -> S3Lease {
    let credentials = Credentials::new("AKIDEXAMPLE", "not-a-secret", None, None, "test");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("ap-southeast-2"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(server.url())
        .build();
    S3Lease::over(&sdk, None, "relays", "fleet/lease.json", "ap-southeast-2").unwrap()
}

fn record(holder: &str, renewals: u64) -> Record {
    Record {
        holder: holder.to_owned(),
        epoch: 1_800_000_000,
        renewals,
    }
}

#[tokio::test]
async fn what_is_written_is_read_back_and_each_write_has_another_version() {
    let server = server();
    let lease = lease(&server);
    assert_eq!(lease.read().await, Ok(None));
    let first = lease.write(None, &record("a", 0)).await.unwrap();
    let seen = lease.read().await.unwrap().unwrap();
    assert_eq!(
        (seen.record, seen.version.as_str()),
        (record("a", 0), first.as_str())
    );
    let second = lease.write(Some(&first), &record("a", 1)).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(
        lease.write(Some(&first), &record("b", 2)).await,
        Err(LeaseError::Conflict)
    );
    assert_eq!(
        lease.write(None, &record("b", 2)).await,
        Err(LeaseError::Conflict)
    );
    assert_eq!(lease.read().await.unwrap().unwrap().record, record("a", 1));
    let asked = server.asked("PUT");
    assert_eq!(asked[0].parameter("if-none-match"), "*");
    assert_eq!(asked[1].parameter("if-match"), first);
    assert_eq!(asked[0].parameter("path"), "/relays/fleet/lease.json");
}

/// scaling rules, lease: of any number of writers one has written.
#[tokio::test]
async fn of_sixteen_writers_one_wins_each_time() {
    let server = server();
    let lease = Arc::new(lease(&server));
    let mut version: Option<String> = None;
    for round in 0..5 {
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..16 {
            let (lease, version) = (Arc::clone(&lease), version.clone());
            writers.spawn(async move {
                let record = record(&format!("writer-{number}"), round);
                lease.write(version.as_deref(), &record).await
            });
        }
        let answers = writers.join_all().await;
        let won: BTreeSet<String> = answers.iter().filter_map(|it| it.clone().ok()).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        let lost = answers
            .iter()
            .filter(|it| **it == Err(LeaseError::Conflict));
        assert_eq!(lost.count(), 15, "{answers:?}");
        version = won.into_iter().next();
        assert_eq!(
            lease.read().await.unwrap().unwrap().version,
            *version.as_ref().unwrap()
        );
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown_and_a_read_shows_it() {
    let server = server();
    let lease = lease(&server);
    server.fail("PUT", Trouble::DroppedAfter, 1);
    let lost = lease.write(None, &record("a", 0)).await;
    assert!(matches!(lost, Err(LeaseError::Unknown(_))), "{lost:?}");
    assert_eq!(lease.read().await.unwrap().unwrap().record, record("a", 0));
    server.fail("PUT", Trouble::Page { status: 503 }, 1);
    let failed = lease.write(None, &record("a", 0)).await;
    assert!(matches!(failed, Err(LeaseError::Unknown(_))), "{failed:?}");
}

#[tokio::test]
async fn a_read_that_fails_is_no_absence() {
    let server = server();
    let lease = lease(&server);
    lease.write(None, &record("a", 0)).await.unwrap();
    for trouble in [
        Trouble::Dropped,
        Trouble::Torn { permille: 500 },
        Trouble::Page { status: 404 },
        Trouble::Page { status: 500 },
        Trouble::Late(PATIENCE + Duration::from_secs(2)),
    ] {
        server.fail("GET", trouble.clone(), 1);
        let answer = lease.read().await;
        assert!(
            matches!(answer, Err(LeaseError::Failed(_))),
            "{trouble:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_record_is_left_alone() {
    let server = server();
    let lease = lease(&server);
    for text in [
        "",
        "{",
        "[]",
        "{\"holder\":\"a\"}",
        "{\"holder\":\"a\",\"epoch\":-1,\"renewals\":0}",
    ] {
        let object = (text.to_owned(), "\"1\"".to_owned());
        let path = "/relays/fleet/lease.json".to_owned();
        server.cloud().bucket.objects.insert(path, object);
        let answer = lease.read().await;
        assert!(
            matches!(answer, Err(LeaseError::Unreadable(_))),
            "{text}: {answer:?}"
        );
    }
    let long = ("x".repeat(MOST + 1), "\"1\"".to_owned());
    server
        .cloud()
        .bucket
        .objects
        .insert("/relays/fleet/lease.json".to_owned(), long);
    assert!(lease.read().await.is_err());
    assert_eq!(server.cloud().bucket.writes, 0);
}

#[tokio::test]
async fn a_denial_and_a_missing_bucket_say_what_to_do() {
    let server = server();
    let lease = lease(&server);
    server.cloud().bucket.denied = true;
    let words = lease.read().await.unwrap_err().to_string();
    assert!(
        words.contains("allow s3:GetObject and s3:PutObject"),
        "{words}"
    );
    server.cloud().bucket.denied = false;
    let missing = Trouble::Refused {
        status: 404,
        code: "NoSuchBucket".to_owned(),
        message: "The specified bucket does not exist".to_owned(),
    };
    server.fail("", missing, 2);
    for answer in [
        lease.read().await.map(|_| ()),
        lease.write(None, &record("a", 0)).await.map(|_| ()),
    ] {
        let words = answer.unwrap_err().to_string();
        assert!(words.contains("create the bucket"), "{words}");
    }
}

#[tokio::test]
async fn nobody_there_is_a_failure_and_nothing_was_written() {
    let lease = {
        let server = server();
        lease(&server)
    };
    let answer = lease.write(None, &record("a", 0)).await;
    assert!(matches!(answer, Err(LeaseError::Failed(_))), "{answer:?}");
}
