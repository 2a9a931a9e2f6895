//! `taciturn plan` and `taciturn simulate` as a person or a script runs them: the real binary, real files.
#![cfg(feature = "controller")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of one test, removed when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("decisions-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn taciturn(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_taciturn"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "{output:?}");
    for word in words {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
}

fn example(name: &str) -> String {
    format!("{}/configs/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_plan_for_the_example_takes_a_drain_back_before_it_launches() {
    let fleet = example("fleet.example.json");
    let text = stdout(&taciturn(&["plan", "--fleet", &fleet]));
    assert!(text.contains("undrain i-03 [load]"), "{text}");
    assert!(text.contains("offered    i-01 i-02\n"), "{text}");

    let json = stdout(&taciturn(&["plan", "--fleet", &fleet, "--json"]));
    let plan: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(plan["actions"][0]["act"]["undrain"]["relay"], "i-03");
    assert_eq!(plan["need"]["need"], 4);
    assert!(plan["summary"].is_string());
}

#[test]
fn a_policy_that_needs_more_launches_more() {
    let directory = Directory::new("policy");
    let policy = directory.file("policy.toml", "min = 6\nmax = 10\n");
    let fleet = example("fleet.example.json");
    let text = stdout(&taciturn(&["plan", "--fleet", &fleet, "--policy", &policy]));
    assert!(text.contains("\n  launch [minimum]"), "{text}");
}

#[test]
fn a_snapshot_that_is_none_is_refused_with_its_place() {
    let directory = Directory::new("snapshot");
    let plan = |text: &str| taciturn(&["plan", "--fleet", &directory.file("f.json", text)]);
    let good = fs::read_to_string(example("fleet.example.json")).unwrap();
    assert_refused(&plan(""), 1, &["f.json: ", "line 1 column 0", "/v1/fleet"]);
    assert_refused(&plan(&good[..good.len() / 2]), 1, &["f.json:", "EOF"]);
    assert_refused(
        &plan(&good.replace("taciturn-fleet/1", "taciturn-fleet/9")),
        1,
        &["format", "taciturn-fleet/1"],
    );
    assert_refused(
        &plan(&good.replace("\"age\": 20", "\"age\": -20")),
        1,
        &["-20", "zero or more"],
    );
    assert_refused(
        &plan(&good.replace("\"running_for\"", "\"runing_for\"")),
        1,
        &["runing_for"],
    );
    assert_refused(
        &taciturn(&["plan", "--fleet", "no-such-file.json"]),
        1,
        &["no-such-file.json", "cannot be opened"],
    );
}

#[test]
fn a_trace_that_was_made_is_replayed_with_the_same_figures_each_time() {
    let directory = Directory::new("replay");
    let made = taciturn(&[
        "simulate",
        "--generate",
        "plain-week",
        "--peak",
        "60",
        "--seed",
        "7",
    ]);
    let text = stdout(&made);
    assert!(
        text.starts_with("# made up from seed 7, about 60"),
        "{text}"
    );
    // The first day of it.
    let day: Vec<&str> = text.lines().take(2 + 1440).collect();
    let trace = directory.file("day.csv", day.join("\n"));
    let policy = example("policy.telehealth.toml");
    let decisions = directory.file("decisions.log", "");
    let run = || {
        taciturn(&[
            "simulate",
            "--trace",
            &trace,
            "--policy",
            &policy,
            "--relay-carries",
            "10",
            "--interval",
            "30s",
            "--json",
            "--compare",
            "--decisions",
            &decisions,
        ])
    };
    let json = stdout(&run());
    assert_eq!(json, stdout(&run()));
    let figures: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(figures["format"], "taciturn-simulation/1");
    assert_eq!(figures["keepers"][0]["name"], "taciturn");
    assert_eq!(figures["keepers"][0]["cut"], 0);
    assert_eq!(figures["keepers"].as_array().unwrap().len(), 5);
    let hours = |name: &str| figures[name].as_f64().unwrap();
    assert!(hours("bare_bound_relay_hours") <= hours("bound_relay_hours"));
    assert!(hours("bound_relay_hours") <= hours("optimum_relay_hours"));
    let log = fs::read_to_string(&decisions).unwrap();
    assert!(log.lines().any(|line| line.contains(" launch ")), "{log}");

    let table = stdout(&taciturn(&[
        "simulate",
        "--trace",
        &trace,
        "--policy",
        &policy,
        "--scenario",
        "zone-loss",
    ]));
    assert!(
        table.contains("scenario zone-loss") && table.contains("\ntaciturn "),
        "{table}"
    );
}

#[test]
fn what_is_wrong_with_a_simulation_is_said_with_its_place_and_remedy() {
    let directory = Directory::new("wrong");
    let policy = example("policy.telehealth.toml");
    let simulate = |trace: &str| taciturn(&["simulate", "--trace", trace, "--policy", &policy]);
    let gap =
        "time,started\n2026-03-30T08:00:00Z,1\n2026-03-30T08:01:00Z,1\n2026-03-30T08:05:00Z,1\n";
    assert_refused(
        &simulate(&directory.file("t.csv", gap)),
        1,
        &["t.csv:4: ", "no gaps"],
    );
    assert_refused(
        &simulate(&directory.file("t.csv", [0xff, 0xfe])),
        1,
        &["t.csv", "UTF-8"],
    );
    assert_refused(
        &simulate("no-such-file.csv"),
        1,
        &["no-such-file.csv", "cannot be opened"],
    );

    let trace = directory.file(
        "good.csv",
        "time,started\n2026-03-30T08:00:00Z,1\n2026-03-30T08:01:00Z,1\n",
    );
    let with = |text: &str| {
        let policy = directory.file("p.toml", text);
        taciturn(&["simulate", "--trace", &trace, "--policy", &policy])
    };
    assert_refused(&with("max = 1\nmin = 2\n"), 1, &["p.toml", "max"]);
    assert_refused(&with("maximum = 1\n"), 1, &["p.toml", "maximum"]);

    assert_refused(&taciturn(&["simulate"]), 2, &["--trace"]);
    assert_refused(
        &taciturn(&["simulate", "--trace", &trace]),
        2,
        &["--policy"],
    );
    let odd = [
        "simulate",
        "--trace",
        &trace,
        "--policy",
        &policy,
        "--scenario",
        "rain",
    ];
    assert_refused(&taciturn(&odd), 2, &["zone-loss"]);
    let odd = [
        "simulate", "--trace", &trace, "--policy", &policy, "--boot", "2h",
    ];
    assert_refused(&taciturn(&odd), 2, &["1s to 1h"]);
}
