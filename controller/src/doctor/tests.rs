use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::config::parse;

/// A directory of one test, removed when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let name = format!("taciturn-doctor-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(text: &str) -> ControllerConfig {
    let parsed = parse(text, Path::new("controller.toml"), &mut |path| {
        panic!("{} is read", path.display())
    });
    parsed.unwrap_or_else(|errors| panic!("{errors}"))
}

/// A fleet of relays that are there and stay there.
fn fixed(directory: &Path, relays: &[SocketAddr]) -> ControllerConfig {
    let mut text = format!(
        "fleet = \"test\"\nstate-directory = \"{}\"\n[sovereignty]\nallowed-zone-ids = [\"rack-1\"]\n[lease]\nkind = \"file\"\n\
         file = \"{}\"\n[provider]\nkind = \"static\"\n",
        directory.display(),
        directory.join("lease.json").display()
    );
    for (number, admin) in relays.iter().enumerate() {
        text += &format!(
            "[[provider.static.relay]]\nid = \"relay-{number}\"\nzone-id = \"rack-1\"\nadmin = \"{admin}\"\n"
        );
    }
    config(&text)
}

/// Answers every request with this status, for as long as the test runs.
fn relay(status: Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = status.to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

fn status(zone: Option<&str>, seconds_ahead: u64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    json!({
        "phase": "ready", "version": "0.1.0", "boot_id": "0f0e", "ready": true, "not_ready_because": [], "sequence": 7,
        "time": now.as_secs() + seconds_ahead, "zone_id": zone, "load": {"allocations": 0},
    })
}

fn wrong(findings: &[Finding]) -> Vec<&Finding> {
    let wrong = findings.iter().filter(|it| it.verdict != Verdict::Good);
    wrong.collect()
}

#[tokio::test]
async fn a_fleet_that_answers_from_where_it_should_has_nothing_to_be_mended() {
    let directory = Directory::new("good");
    let relays = [
        relay(status(Some("rack-1"), 0)),
        relay(status(Some("rack-1"), 2)),
    ];
    let findings = examine(&fixed(&directory.0, &relays)).await;
    assert_eq!(worst(&findings), Verdict::Good, "{findings:#?}");
    let words: Vec<&str> = findings.iter().map(|it| it.words.as_str()).collect();
    assert!(
        words.contains(&"2 relays are listed, 2 answer, each in an allowed zone"),
        "{words:#?}"
    );
    let left: Vec<_> = std::fs::read_dir(&directory.0).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Sovereignty: relays are held to what they say of themselves too.
#[tokio::test]
async fn a_relay_elsewhere_without_a_zone_with_another_clock_or_without_an_answer_is_named() {
    let directory = Directory::new("bad");
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let relays = [
        relay(status(Some("rack-9"), 0)),
        relay(status(None, 0)),
        relay(status(Some("rack-1"), 3600)),
        closed,
        relay(json!({"phase": "dancing"})),
    ];
    let findings = examine(&fixed(&directory.0, &relays)).await;
    let wrong = wrong(&findings);
    let has = |verdict, words: &str| {
        let mut these = wrong.iter().filter(|it| it.verdict == verdict);
        assert!(
            these.any(|it| it.words.contains(words)),
            "{words}: {wrong:#?}"
        );
    };
    has(
        Verdict::Bad,
        "relay-0 says that it is in rack-9, and the provider says rack-1",
    );
    has(
        Verdict::Doubtful,
        "relay-1 does not know in which zone it is",
    );
    has(
        Verdict::Bad,
        "the clocks of relay-2 and of this machine differ by",
    );
    has(Verdict::Bad, "relay-3 does not answer");
    has(Verdict::Bad, "relay-4 does not answer");
    assert_eq!(wrong.len(), 5, "{wrong:#?}");
    assert!(wrong.iter().all(|it| it.remedy.is_some()), "{wrong:#?}");
}

#[tokio::test]
async fn what_cannot_be_written_is_said_before_it_matters() {
    // Where nobody can make anything, root included.
    let nowhere = Path::new("/proc/taciturn-doctor-no-such-directory");
    let relays = [0, 0].map(|ahead| relay(status(Some("rack-1"), ahead)));
    let findings = examine(&fixed(nowhere, &relays)).await;
    let checks: Vec<&str> = wrong(&findings).iter().map(|it| it.check).collect();
    assert_eq!(checks, ["audit", "lease"], "{findings:#?}");
    for finding in wrong(&findings) {
        let remedy = finding.remedy.as_deref().unwrap();
        assert!(remedy.contains("install -d -o USER"), "{remedy}");
    }
}

/// A start of the controller makes its state directory: before the first one nothing is amiss.
#[tokio::test]
async fn a_state_directory_that_the_first_start_makes_is_no_fault() {
    let directory = Directory::new("first-start");
    let relays = [0, 0].map(|ahead| relay(status(Some("rack-1"), ahead)));
    let findings = examine(&fixed(&directory.0.join("not/yet"), &relays)).await;
    assert_eq!(worst(&findings), Verdict::Good, "{findings:#?}");
    assert!(
        !directory.0.join("not").exists(),
        "the doctor changes nothing"
    );
}

fn zones(allowed: &str, lease: &str) -> Vec<Finding> {
    sovereignty::examine(&config(&format!(
        "fleet = \"test\"\n[sovereignty]\nallowed-zone-ids = [{allowed}]\n{lease}\n[provider]\nkind = \"aws\"\n[provider.aws]\n\
         auto-scaling-group = \"relays\"\nregion = \"ap-southeast-2\"\ntermination-hook = \"drain\"\n"
    )))
}

/// Sovereignty: Local Zones inside an allowed region are not allowed by accident.
#[test]
fn zones_of_two_countries_are_not_allowed_by_accident() {
    let good = zones("\"apse2-az1\", \"apse2-per1-az1\", \"apse4-az1\"", "");
    assert_eq!(worst(&good), Verdict::Good, "{good:#?}");
    let named = good
        .iter()
        .any(|it| it.words.contains("apse2-akl1-az1 (Auckland, New Zealand)"));
    assert!(named, "{good:#?}");
    let two = zones("\"apse2-az1\", \"apse2-akl1-az1\"", "");
    assert_eq!(worst(&two), Verdict::Bad);
    let words = &wrong(&two)[0].words;
    assert!(words.contains("New Zealand: apse2-akl1-az1"), "{words}");
    let unknown = zones("\"apse2-az1\", \"apse2-xyz1-az1\"", "");
    assert_eq!(worst(&unknown), Verdict::Doubtful, "{unknown:#?}");
}

#[test]
fn a_lease_that_is_kept_abroad_is_named() {
    let lease = |region: &str| {
        format!(
            "[lease]\nkind = \"s3\"\nbucket = \"fleet-control\"\nkey = \"lease.json\"\nregion = \"{region}\""
        )
    };
    assert_eq!(
        worst(&zones("\"apse2-az1\"", &lease("ap-southeast-4"))),
        Verdict::Good
    );
    let abroad = zones("\"apse2-az1\"", &lease("us-east-1"));
    assert!(
        wrong(&abroad)[0]
            .words
            .contains("us-east-1 (United States)"),
        "{abroad:#?}"
    );
}

#[test]
fn the_worst_of_nothing_is_good() {
    assert_eq!(worst(&[]), Verdict::Good);
    let findings = [Finding::doubtful("a", "b", "c"), Finding::good("a", "b")];
    assert_eq!(worst(&findings), Verdict::Doubtful);
}
