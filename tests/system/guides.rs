//! The pages for auditors and for those who harden, held against the repository: what they name is there, and what they tell
//! people to write is accepted.
//!
//! Not responsible for whether the advice is good, nor for links (`operations_page`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::running::{fresh_directory, write_certificate};

const PAGES: [&str; 3] = ["threat-model.md", "hardening.md", "assurance.md"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between single backticks, outside of blocks, with the page that it stands on.
fn spans() -> Vec<(&'static str, String)> {
    let mut spans = Vec::new();
    for page in PAGES {
        let text = read(&format!("docs/{page}"));
        let prose = text.split("```").step_by(2).collect::<String>();
        let quoted = prose.split('`').skip(1).step_by(2);
        spans.extend(quoted.map(|span| (page, span.to_owned())));
    }
    assert!(spans.len() > 200, "{}", spans.len());
    spans
}

/// The text of all files below here with one of these endings.
fn below(directory: &Path, endings: &[&str]) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if !["target", "corpus"].contains(&name.as_str()) {
                text += &below(&path, endings);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let directories = [
        "protocol",
        "plane",
        "relay",
        "controller",
        "src",
        "tests",
        "benches",
    ];
    let code: String = directories
        .map(|directory| below(&root().join(directory), &[".rs", ".py"]))
        .concat();
    let known: BTreeSet<&str> = code
        .lines()
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches("async ");
            let function = line
                .strip_prefix("fn ")
                .or_else(|| line.strip_prefix("def "));
            let name = function?;
            name.split('(').next()
        })
        .collect();
    let is_sentence = |span: &str| {
        span.matches('_').count() >= 2
            && !span.starts_with("taciturn_")
            && span
                .bytes()
                .all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let mut seen = 0;
    for (page, span) in spans().iter().filter(|(_, span)| is_sentence(span)) {
        seen += 1;
        assert!(known.contains(span.as_str()), "{page}: no test {span}");
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn every_place_that_a_page_names_is_there() {
    let roots = [
        "alerts/",
        "benches/",
        "configs/",
        "controller/",
        "docs/",
        "packaging/",
        "plane/",
        "protocol/",
        "relay/",
        "scripts/",
        "src/",
        "systemd/",
        "tests/",
    ];
    let mut seen = 0;
    for (page, span) in spans() {
        let word = span.split([' ', '[']).next().unwrap();
        if roots.iter().any(|root| word.starts_with(root)) {
            seen += 1;
            assert!(root().join(word).exists(), "{page}: no {word}");
        }
    }
    assert!(seen > 40, "{seen}");
}

/// A figure is of a command that can be run again; where there is none yet, there may be no command either.
#[test]
fn every_figure_has_a_command_that_can_be_run_again() {
    let script = read("scripts/assure");
    let (_, list) = script.split_once("<<'LIST'\n").unwrap();
    let (list, _) = list.split_once("\nLIST\n").unwrap();
    let known: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split_once(" | ").map(|(name, _)| name))
        .collect();
    let page = read("docs/assurance.md");
    let (mut rows, mut seen) = (0, 0);
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let row = row.replace("\\|", "/");
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 6, "{row}");
        let [goal, _, command, figure, when, met] = cells[..] else {
            unreachable!("six of them")
        };
        rows += 1;
        if goal == "goal" || met == "not yet measured" {
            continue;
        }
        seen += 1;
        assert!(
            ["yes", "below"].contains(&met),
            "{goal}: {met:?} is no verdict"
        );
        assert!(
            !figure.is_empty() && when.contains("20"),
            "{goal}: a figure of when?"
        );
        for span in command.split('`').skip(1).step_by(2) {
            let names = span.strip_prefix("scripts/assure ").unwrap_or_default();
            for name in names.split(' ').filter(|name| !name.is_empty()) {
                assert!(
                    known.contains(&name),
                    "{goal}: scripts/assure has no {name}"
                );
            }
        }
    }
    assert!(rows > 30 && seen > 5, "{rows} rows, {seen} figures");
}

/// Words with a hyphen are keys of a configuration, or stand in a unit; words before an equals sign are keys.
#[test]
fn every_setting_that_a_page_names_is_there() {
    let configs = below(&root().join("configs"), &[".toml"]);
    let units = below(&root().join("systemd"), &[".service", ".socket", ".conf"]);
    let mut seen = 0;
    for (page, span) in spans() {
        let key = span.split(" = ").next().unwrap();
        let is_key = key.bytes().all(|b| b == b'-' || b.is_ascii_lowercase());
        if !is_key || !(key.contains('-') || span.contains(" = ")) {
            continue;
        }
        seen += 1;
        let is_documented = configs.lines().any(|line| {
            let line = line.trim_start_matches('#');
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(" = "))
        });
        assert!(
            is_documented || units.contains(key),
            "{page}: no setting {key}"
        );
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn every_alert_that_a_page_names_is_there() {
    let rules = read("alerts/relay.yml") + &read("alerts/controller.yml");
    let mut seen = 0;
    for (page, span) in spans() {
        if span.starts_with("Taciturn") {
            seen += 1;
            assert!(
                rules.contains(&format!("alert: {span}\n")),
                "{page}: no alert {span}"
            );
        }
    }
    assert!(seen > 0);
}

#[test]
#[cfg(feature = "controller")]
fn every_command_that_a_page_tells_people_to_run_is_there_with_its_options() {
    let mut seen = 0;
    for (page, span) in spans() {
        let Some(words) = span.strip_prefix("taciturn ") else {
            continue;
        };
        let is_name = |word: &&str| {
            word.bytes().all(|b| b == b'-' || b.is_ascii_lowercase()) && !word.starts_with('-')
        };
        let words: Vec<&str> = words.split(' ').collect();
        // Commands of two words have the second in front of anything else.
        let deep = ["audit", "credentials"].contains(&words[0]);
        let commands = words
            .iter()
            .take(1 + usize::from(deep))
            .filter(|word| is_name(word));
        let help = Command::new(env!("CARGO_BIN_EXE_taciturn"))
            .args(commands)
            .arg("--help")
            .output()
            .unwrap();
        assert!(help.status.success(), "{page}: {span}");
        let help = String::from_utf8(help.stdout).unwrap();
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{page}: {span}: no {option}");
        }
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

/// The strict profile is taken as it stands, without a warning.
#[test]
#[cfg(feature = "controller")]
fn the_strict_profile_is_accepted() {
    let page = read("docs/hardening.md");
    let directory = fresh_directory();
    write_certificate(&directory);
    let copy = |from: &str, names: &[&str]| {
        for name in names {
            fs::copy(directory.join(from), directory.join(name)).unwrap();
        }
    };
    copy(
        "cert.pem",
        &[
            "fullchain.pem",
            "admin.pem",
            "controller.pem",
            "operators-ca.pem",
        ],
    );
    copy("key.pem", &["privkey.pem", "admin.key", "controller.key"]);
    for name in [
        "secret.key",
        "nonce.key",
        "admin.token",
        "controller.token",
        "reader.token",
    ] {
        fs::write(directory.join(name), format!("{name:*<40}")).unwrap();
    }
    for name in ["relay.toml", "controller.toml"] {
        let (_, block) = page.split_once(&format!("`{name}`:\n")).unwrap();
        let (_, block) = block.split_once("```toml\n").unwrap();
        let (block, _) = block.split_once("```\n").unwrap();
        fs::write(directory.join(name), block).unwrap();
    }
    for entry in fs::read_dir(&directory).unwrap() {
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(entry.unwrap().path(), private).unwrap();
    }
    for name in ["relay.toml", "controller.toml"] {
        let output = Command::new(env!("CARGO_BIN_EXE_taciturn"))
            .arg("check-config")
            .arg(directory.join(name))
            .env("STATE_DIRECTORY", &directory)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with("ok: "), "{name}: {said}");
        let whom = "  peers      10.20.30.0/28, and no other\n";
        assert_eq!(said.contains(whom), name == "relay.toml", "{said}");
    }
    fs::remove_dir_all(&directory).unwrap();
}
