//! The systemd files: units, drop-ins and kernel settings, judged by systemd's own tools and against the configuration.
//!
//! Not responsible for running them (`booted`). Without the tools a test says that it was not run, or fails (`scale`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::running::fresh_directory;
use crate::scale::not_run;

/// The most that the unit may be exposed, in systemd's tenths: 2.0.
const EXPOSURE: &str = "20";

/// The repository's directory of systemd files.
pub(crate) fn systemd_files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// The version of this machine's systemd; `None`, outside CI alone, without one.
pub(crate) fn systemd_version(test: &str) -> Option<u32> {
    let Ok(output) = Command::new("systemd-analyze").arg("--version").output() else {
        not_run(test, "systemd-analyze");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.split_whitespace().nth(1)?.parse().unwrap())
}

/// A directory of its own with the units as this version of systemd can know them, and a program that exists in them.
///
/// systemd before 253 does not know `Type=notify-reload`. There, and there alone, this line is left out of the copy that is
/// judged; that such a systemd passes it over by itself, `booted` shows.
fn copied(version: u32, drop_ins: &[&str]) -> PathBuf {
    let directory = fresh_directory();
    for unit in ["taciturn.service", "taciturn-controller.service"] {
        let text = fs::read_to_string(systemd_files().join(unit)).unwrap();
        let program = env!("CARGO_BIN_EXE_taciturn");
        let mut text = text.replacen(
            "ExecStart=/usr/bin/taciturn",
            &format!("ExecStart={program}"),
            1,
        );
        if version < 253 {
            text = text.replacen("\nType=notify-reload\n", "\n", 1);
        }
        assert!(text.contains(program) && text.contains("\nType=notify"));
        fs::write(directory.join(unit), text).unwrap();
    }
    let socket = systemd_files().join("taciturn.socket");
    fs::copy(socket, directory.join("taciturn.socket")).unwrap();
    for drop_in in drop_ins {
        let target = directory.join(drop_in);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(systemd_files().join(drop_in), target).unwrap();
    }
    directory
}

fn analyze(words: &[&str], files: &[PathBuf]) -> Output {
    Command::new("systemd-analyze")
        .args(words)
        .args(files)
        .output()
        .unwrap()
}

#[test]
fn systemd_finds_nothing_to_remark_in_the_units_and_their_drop_ins() {
    let Some(version) = systemd_version("units::systemd_finds_nothing_to_remark") else {
        return;
    };
    let ipv6 = "taciturn.socket.d/ipv6.conf";
    for drop_ins in [
        &[][..],
        &["taciturn.service.d/before-253.conf", ipv6],
        &["taciturn.service.d/privileged-ports.conf"],
        &[
            "taciturn.service.d/large-buffers.conf",
            "taciturn.service.d/privileged-ports.conf",
        ],
    ] {
        let directory = copied(version, drop_ins);
        let units = [
            "taciturn.service",
            "taciturn.socket",
            "taciturn-controller.service",
        ]
        .map(|name| directory.join(name));
        let output = analyze(&["verify", "--man=no"], &units);
        let remarks = String::from_utf8(output.stderr).unwrap();
        // Other units of this machine that these depend on are not ours to mend.
        let ours: Vec<&str> = remarks
            .lines()
            .filter(|line| line.contains("taciturn"))
            .collect();
        assert!(ours.is_empty(), "{drop_ins:?}: {remarks}");
        assert!(output.status.success(), "{drop_ins:?}: {remarks}");
        fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn the_units_expose_little_of_the_machine() {
    let Some(version) = systemd_version("units::the_units_expose_little_of_the_machine") else {
        return;
    };
    let judge = |file: PathBuf| {
        let threshold = format!("--threshold={EXPOSURE}");
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let output = analyze(
            &["security", "--offline=true", "--no-pager", &threshold],
            &[file],
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains(&format!("Overall exposure level for {name}")),
            "{text}"
        );
        (output.status.success(), text)
    };
    let directory = copied(version, &[]);
    for unit in ["taciturn.service", "taciturn-controller.service"] {
        let unit = directory.join(unit);
        let (passed, text) = judge(unit.clone());
        assert!(passed, "{text}");
        // The same without what keeps the machine from it, so that the judge is seen to judge.
        let bare = fs::read_to_string(&unit).unwrap();
        let bare: Vec<&str> = bare
            .lines()
            .filter(|line| !line.starts_with("SystemCall") && !line.starts_with("Protect"))
            .collect();
        fs::write(&unit, bare.join("\n")).unwrap();
        assert!(!judge(unit).0);
    }
    fs::remove_dir_all(directory).unwrap();
}

/// The settings of a unit with this key.
fn settings(file: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(systemd_files().join(file)).unwrap();
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

fn example() -> toml::Table {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/relay.toml"));
    text.unwrap().parse().unwrap()
}

#[test]
fn systemd_waits_longer_for_a_stop_than_the_relay_for_its_calls() {
    let waits = &settings("taciturn.service", "TimeoutStopSec")[0];
    let waits: u32 = waits.strip_suffix("min").unwrap().parse().unwrap();
    let example = example();
    let drains = example["drain"]["stop-after"].as_str().unwrap();
    let drains: u32 = drains.strip_suffix('m').unwrap().parse().unwrap();
    assert!(waits > drains, "{waits} {drains}");
    // And not for a relay that the watchdog has found dead.
    let aborts = &settings("taciturn.service", "TimeoutAbortSec")[0];
    assert!(aborts.strip_suffix('s').unwrap().parse::<u32>().unwrap() <= 30);
}

#[test]
fn kernel_settings_are_those_that_the_relay_asks_for_and_each_has_a_reason() {
    let text = fs::read_to_string(systemd_files().join("sysctl.d/90-taciturn.conf")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        assert!(lines[index - 1].starts_with("# "), "no reason: {line}");
        found.push(line.split_once(" = ").unwrap());
    }
    let value = |key: &str| found.iter().find(|(name, _)| *name == key).unwrap().1;
    // What the listeners ask for, and what the socket unit has systemd set: 4 MiB.
    for key in ["net.core.rmem_max", "net.core.wmem_max"] {
        assert_eq!(value(key).parse::<usize>().unwrap(), 4 << 20);
    }
    assert_eq!(settings("taciturn.socket", "ReceiveBuffer"), ["4M"]);
    assert_eq!(settings("taciturn.socket", "SendBuffer"), ["4M"]);
    let relayed = example()["relayed"]["ports"].as_str().unwrap().to_owned();
    assert_eq!(value("net.ipv4.ip_local_reserved_ports"), relayed);
    assert_eq!(found.len(), 4);
}
