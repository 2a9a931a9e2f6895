//! `taciturn doctor` as a person or a script runs it: the real binary, a real file, a simulated group.
#![cfg(all(feature = "relay", feature = "controller"))]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use taciturn_cloud_sim::{Group, Pace, Server};

/// A directory of one test, removed when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let name = format!("doctor-{test}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A configuration for the group of the simulator, with its lease in the bucket beside it.
    fn config(&self, more: &str) -> PathBuf {
        let file = self.0.join("controller.toml");
        let text = format!(
            "fleet = \"test\"\nstate-directory = \"{}\"\n[sovereignty]\nallowed-zone-ids = [\"apse2-az1\", \"apse2-az2\", \
             \"apse2-az3\"]\n[lease]\nkind = \"s3\"\nbucket = \"fleet-control\"\nkey = \"lease.json\"\nregion = \
             \"ap-southeast-2\"\n[provider]\nkind = \"aws\"\n[provider.aws]\nauto-scaling-group = \"relays\"\nregion = \
             \"ap-southeast-2\"\ntermination-hook = \"drain\"\naddress = \"{{id}}.invalid\"\n{more}",
            self.0.display()
        );
        std::fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn doctor(server: &Server, config: &Path, arguments: &[&str]) -> Output {
    command(server, config, arguments).output().unwrap()
}

fn command(server: &Server, config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taciturn"));
    // Whatever this machine knows of a cloud is none of this test's business.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .args(["doctor", "--config"])
        .arg(config)
        .args(arguments)
        .env("AWS_ENDPOINT_URL", server.url())
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "not-a-secret")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_good_group_has_nothing_to_be_mended_and_nothing_is_changed() {
    let directory = Directory::new("good");
    let server = Server::start(Group::good("relays", 0, 24), Pace::Still).unwrap();
    let output = doctor(&server, &directory.config(""), &[]);
    let out = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{out}{}",
        text(&output.stderr)
    );
    assert!(out.contains("0 doubtful, 0 bad"), "{out}");
    // The Local Zone that shares the region's name is named, and where it is.
    assert!(out.contains("Auckland, New Zealand"), "{out}");
    let cloud = server.cloud();
    assert_eq!(cloud.bucket.writes, 0);
    let changes: Vec<&str> = cloud
        .requests
        .iter()
        .map(|request| request.action.as_str())
        .filter(|action| !action.starts_with("Describe") && !["GET", "PUT"].contains(action))
        .collect();
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn what_is_wrong_is_said_with_its_remedy_in_both_forms() {
    let directory = Directory::new("bad");
    let mut group = Group::good("relays", 0, 24);
    group.suspended.clear();
    let server = Server::start(group, Pace::Still).unwrap();
    let config = directory.config("");
    let output = doctor(&server, &config, &[]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    let remedy = "aws autoscaling suspend-processes --region ap-southeast-2 --auto-scaling-group-name relays \
                  --scaling-processes AZRebalance";
    assert!(out.contains(remedy), "{out}");

    let output = doctor(&server, &config, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all["worst"], "bad");
    let findings = all["findings"].as_array().unwrap();
    let bad: Vec<_> = findings
        .iter()
        .filter(|it| it["verdict"] == "bad")
        .collect();
    assert_eq!(bad.len(), 1, "{bad:#?}");
    assert_eq!(bad[0]["remedy"], remedy);
}

/// scaling rules, lease: without conditional writes two controllers would both lead.
#[test]
fn a_store_that_ignores_conditions_is_found_without_touching_the_lease() {
    let directory = Directory::new("store");
    let server = Server::start(Group::good("relays", 0, 24), Pace::Still).unwrap();
    server.cloud().bucket.ignores_conditions = true;
    let output = doctor(&server, &directory.config(""), &[]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("in spite of a condition"), "{out}");
    let cloud = server.cloud();
    let written: Vec<&String> = cloud.bucket.objects.keys().collect();
    assert_eq!(written, ["/fleet-control/lease.json.doctor"]);
}

#[test]
fn a_machine_without_credentials_is_told_where_to_get_them() {
    let directory = Directory::new("credentials");
    let server = Server::start(Group::good("relays", 0, 24), Pace::Still).unwrap();
    let mut command = command(&server, &directory.config(""), &[]);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let output = command.output().unwrap();
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert_eq!(
        out.matches("give this machine an instance profile").count(),
        2,
        "{out}"
    );
    assert!(server.cloud().requests.is_empty());
}

#[test]
fn nobody_who_answers_is_said_and_not_waited_for() {
    let directory = Directory::new("silent");
    let config = directory.config("operation-timeout = \"2s\"\nattempt-timeout = \"1s\"\n");
    let server = Server::start(Group::good("relays", 0, 24), Pace::Still).unwrap();
    let trouble = taciturn_cloud_sim::Trouble::Late(std::time::Duration::from_secs(25));
    server.fail("", trouble, 99);
    let output = doctor(&server, &config, &[]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("credentials: Describe"), "{out}");
    assert!(out.contains("lease: "), "{out}");
}

#[test]
fn a_wrong_configuration_is_told_apart_from_a_wrong_world() {
    let directory = Directory::new("wrong");
    let server = Server::start(Group::good("relays", 0, 24), Pace::Still).unwrap();
    let output = doctor(
        &server,
        &directory.config("[policy]\nmin = 9\nmax = 3\n"),
        &[],
    );
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    assert!(
        text(&output.stderr).contains("policy."),
        "{}",
        text(&output.stderr)
    );
    assert!(server.cloud().requests.is_empty());
}
