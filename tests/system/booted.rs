//! The service as systemd runs it: the unit with everything in it, under a systemd that the test starts for itself as process
//! 1 of namespaces of its own (`booted/boot.sh`).
//!
//! It needs a root that may mount and make namespaces, and systemd. A machine without them cannot be given them by installing
//! something, so that this test, unlike the others, is not run there, in CI too, and says so.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::getuid;

use crate::running::fresh_directory;
use crate::units::systemd_files;

const CONFIGURATION: &str = r#"
realm = "relay.test"
workers = 2
[[listener]]
transport = "udp"
address = "0.0.0.0:443"
[[listener]]
transport = "tcp"
address = "0.0.0.0:443"
[[listener]]
transport = "udp"
address = "0.0.0.0:3478"
[relayed]
addresses = ["100.20.30.40"]
[[secret]]
id = "trial"
file = "secret.key"
[admin]
address = "unix:/run/taciturn/admin.sock"
[self-check]
interval = "1s"
"#;

/// Facts in the order in which `booted/trial.sh` finds them, where the value is the same on every machine.
const FACTS: [&str; 24] = [
    "start 0",
    "CapInh 0000000000000000",
    "CapPrm 0000000000000000",
    "CapEff 0000000000000000",
    "CapBnd 0000000000000000",
    "CapAmb 0000000000000000",
    "NoNewPrivs 1",
    "Seccomp 2",
    "a user of its own",
    "inherited transport=\"udp\" address=0.0.0.0:443 sockets=8",
    "inherited transport=\"tcp\" address=0.0.0.0:443 sockets=1",
    "admin 200 ready",
    "state 700 taciturn",
    "runtime 750 taciturn",
    "reload 0 active",
    "risen config_reloads_total{outcome=\"applied\"}",
    "risen self_check_checks_total{outcome=\"success\"}",
    "after a restart 503 drain",
    "then 200 ready",
    "a hung worker had the relay restarted",
    "by the watchdog",
    "then 0101",
    "credentials 0",
    "stop 0 success inactive",
];

fn can_boot() -> bool {
    let may = Command::new("unshare")
        .args([
            "--mount", "--pid", "--fork", "--cgroup", "mount", "-t", "tmpfs", "tmpfs", "/mnt",
        ])
        .stderr(Stdio::null())
        .status();
    getuid().is_root()
        && may.is_ok_and(|status| status.success())
        && Path::new("/lib/systemd/systemd").exists()
}

#[test]
fn the_unit_works_under_systemd_with_all_of_its_restrictions() {
    if !can_boot() {
        eprintln!("not run for want of a systemd and of a root that may start one: booted");
        return;
    }
    let directory = fresh_directory();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/booted");
    fs::write(directory.join("relay.toml"), CONFIGURATION).unwrap();
    fs::write(directory.join("trial.log"), "").unwrap();
    fs::copy(source.join("trial.sh"), directory.join("trial.sh")).unwrap();
    let output = Command::new("bash")
        .arg(source.join("boot.sh"))
        .arg(&directory)
        .arg(env!("CARGO_BIN_EXE_taciturn"))
        .arg(systemd_files())
        .output()
        .unwrap();
    let log = fs::read_to_string(directory.join("trial.log")).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    let all = || format!("{log}\n{}", String::from_utf8_lossy(&output.stderr));
    let facts: Vec<&str> = log
        .lines()
        .filter_map(|line| line.strip_prefix("fact: "))
        .collect();
    let mut rest = facts.iter();
    for expected in FACTS {
        assert!(
            rest.any(|fact| fact.starts_with(expected)),
            "no {expected}\n{}",
            all()
        );
    }
    // Twenty clients over UDP, on whichever of the eight sockets, and one over TCP: binding success, all of them.
    let answers = format!("stun{}", " 0101".repeat(21));
    assert!(facts.contains(&answers.as_str()), "{}", all());
    assert!(
        facts.iter().any(|fact| fact.starts_with("status ready")),
        "{}",
        all()
    );
    // What the relay says when a system call, a kind of socket or a directory is kept from it.
    for want in [
        "the interfaces cannot be read",
        "changes of the configuration's files are not reported",
        "the drain order cannot be kept",
        "the supervisor cannot be told",
    ] {
        assert!(!log.contains(want), "{}", all());
    }
}
