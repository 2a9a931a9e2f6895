//! House rules that a compiler does not check: file length, names, where `unsafe` and clocks live, what is left lying around.
//!
//! Responsible for rules about text; not for taste, which is what reviews are for.

mod dependencies;
mod figures;
mod rules;
mod supply;
#[path = "../tree/mod.rs"]
mod tree;

use rules::Fault;
use tree::SourceFile;

fn assert_none(rule: &str, check: impl Fn(&SourceFile) -> Vec<Fault>, endings: &[&str]) {
    let files = tree::files(endings);
    assert!(files.len() > 1, "the walk finds the repository");
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = &file.path;
            let at = move |fault: Fault| format!("{path}:{}: {}", fault.line, fault.what);
            check(file).into_iter().map(at)
        })
        .collect();
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

/// Everything that people write here.
const TEXT: [&str; 24] = [
    ".rs",
    ".py",
    ".sh",
    ".md",
    ".toml",
    ".html",
    ".js",
    ".css",
    ".service",
    ".socket",
    ".conf",
    ".ini",
    ".txt",
    ".yml",
    ".ci/run",
    "Containerfile",
    "packaging/check-deb",
    "packaging/container-root",
    "scripts/assure",
    "scripts/coverage",
    "scripts/deny",
    "scripts/install-test-tools",
    "scripts/instrumented",
    "scripts/test",
];

#[test]
fn no_source_file_is_longer_than_800_lines() {
    assert_none("split by concept", rules::too_long, &[".rs"]);
}

#[test]
fn every_source_file_says_what_it_is_responsible_for() {
    assert_none("open with `//!`", rules::no_header, &[".rs"]);
}

#[test]
fn no_public_item_and_no_file_has_a_name_that_says_nothing() {
    assert_none("name the thing", rules::empty_names, &[".rs"]);
}

#[test]
fn unsafe_lives_in_one_directory() {
    assert_none(
        "only relay/src/net talks to the kernel",
        rules::stray_unsafe,
        &[".rs"],
    );
}

#[test]
fn clocks_are_read_in_one_file() {
    assert_none("time is an argument", rules::stray_clocks, &[".rs"]);
}

#[test]
fn what_decides_for_a_fleet_is_pure() {
    assert_none(
        "time, randomness and what was seen are arguments",
        rules::impure_decisions,
        &[".rs"],
    );
}

#[test]
fn nothing_is_left_for_later() {
    assert_none("finish it or write it down", rules::leftovers, &TEXT);
}

#[test]
fn no_text_names_a_place_on_one_machine() {
    assert_none(
        "paths are relative to the repository",
        rules::machine_paths,
        &TEXT,
    );
}

#[test]
fn no_text_names_a_page_that_is_not_here() {
    let pages = tree::files(&[".md"]);
    let names: Vec<&str> = pages
        .iter()
        .filter_map(|page| page.path.rsplit('/').next())
        .collect();
    let check = |file: &SourceFile| rules::unknown_pages(file, &names);
    assert_none("say it in this repository's own pages", check, &TEXT);
}
