//! Whether every attack has its test here.
//!
//! Not responsible for what counts as a mark beyond this directory (`tests/compliance`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The lines, and which of them are not claimed.
fn requirements() -> BTreeMap<String, Option<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/requirements.toml");
    let text = fs::read_to_string(path).unwrap();
    let mut lines = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            let id = header
                .strip_prefix("section.lines.")
                .and_then(|rest| rest.strip_suffix(']'));
            current = id.filter(|id| id.starts_with("A-")).map(str::to_owned);
            if let Some(id) = &current {
                lines.insert(id.clone(), None);
            }
        } else if let (Some(id), Some(reason)) = (&current, line.strip_prefix("not-claimed = ")) {
            lines.insert(id.clone(), Some(reason.trim_matches('"').to_owned()));
        }
    }
    lines
}

/// The attacks that the tests of one file name: `/// A-01, G-11: sentence` in the comment right above `#[test]`.
fn named_by_tests(text: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let mut pending = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("/// ") {
            let ids = comment.split_once(": ").map_or("", |(ids, _)| ids);
            pending.extend(
                ids.split(", ")
                    .filter(|id| id.starts_with("A-"))
                    .map(str::to_owned),
            );
        } else if line == "#[test]" {
            named.extend(pending.drain(..));
        } else if !line.starts_with("#[") {
            pending.clear();
        }
    }
    named
}

/// The attacks that have no test here although they are claimed, and those that are not claimed and say no reason.
fn unanswered(
    requirements: &BTreeMap<String, Option<String>>,
    named: &BTreeSet<String>,
) -> Vec<String> {
    (1..=41)
        .map(|number| format!("A-{number:02}"))
        .filter(|id| match requirements.get(id) {
            None => true,
            Some(Some(reason)) => reason.len() < 10,
            Some(None) => !named.contains(id),
        })
        .collect()
}

#[test]
fn every_attack_has_a_test_here_or_a_reason_why_not() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            named.extend(named_by_tests(&fs::read_to_string(path).unwrap()));
        }
    }
    let missing = unanswered(&requirements(), &named);
    assert!(
        missing.is_empty(),
        "no test in tests/attacks for {missing:?}"
    );
}

#[test]
fn an_attack_without_a_test_is_found() {
    let text =
        "/// A-01, G-01: a sentence.\n#[test]\nfn a() {}\n/// A-02: of no test.\nfn b() {}\n";
    let named = named_by_tests(text);
    assert_eq!(named, BTreeSet::from(["A-01".to_owned()]));
    let missing = unanswered(&requirements(), &named);
    assert!(missing.contains(&"A-02".to_owned()));
    assert!(!missing.contains(&"A-01".to_owned()));
    let unknown = unanswered(&BTreeMap::new(), &named);
    assert_eq!(unknown.len(), 41);
}
