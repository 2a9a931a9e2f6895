//! What is in the program: the bill of materials has its form, and a relay host carries what the page says and no more.
//!
//! Responsible for the list and for the form of the bill. Not responsible for licences and sources, which are `cargo deny`'s, nor
//! for the reasons of direct dependencies (`dependencies`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const PAGE: &str = "docs/dependencies.md";
const BEGIN: &str = "<!-- what a relay host carries: begin -->\n";
const END: &str = "<!-- what a relay host carries: end -->\n";
/// Writes the list anew.
const UPDATE: &str = "UPDATE_DEPENDENCIES";
/// Crates that a relay host may carry. To raise it is a decision of its own; the list below it only says which they are.
const MOST: usize = 190;

/// What `scripts/sbom` says of a build, or `None` where there is no Python to run it with. In CI there is.
fn bill(build: &str) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = Command::new("python3")
        .arg(root.join("scripts/sbom"))
        .arg(build)
        .output();
    let output = match run {
        Ok(output) => output,
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("not run, as there is no python3: {error}");
            return None;
        }
        Err(error) => panic!("python3: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/sbom {build}: {said}");
    Some(serde_json::from_slice(&output.stdout).expect("a bill is JSON"))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What is linked into the program, each with the number of its versions, our own crates excepted.
fn linked(bill: &Value) -> BTreeMap<&str, usize> {
    let mut names = BTreeMap::new();
    let components = list(&bill["components"]).iter();
    for component in components.filter(|component| text(component, "scope") == "required") {
        if !text(component, "name").starts_with("taciturn") {
            *names.entry(text(component, "name")).or_insert(0) += 1;
        }
    }
    names
}

/// The list as the page has it.
fn paragraph(names: &BTreeMap<&str, usize>) -> String {
    let total: usize = names.values().sum();
    let words = names.iter().map(|(name, versions)| match versions {
        1 => format!("`{name}`"),
        several => format!("`{name}` ({several} versions)"),
    });
    let mut text = format!("{total} crates:\n");
    let mut line = String::new();
    let last = names.len().saturating_sub(1);
    for (place, word) in words.enumerate() {
        let word = word + if place == last { "." } else { "," };
        if line.len() + word.len() > 139 {
            text.push_str(&line);
            text.push('\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    text + &line + "\n"
}

/// What a relay host carries is listed, and does not grow unseen.
#[test]
fn a_relay_host_carries_what_the_page_lists() {
    let Some(bill) = bill("relay") else { return };
    let names = linked(&bill);
    let total: usize = names.values().sum();
    assert!(
        (20..=MOST).contains(&total),
        "{total} crates; {MOST} are the most"
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has the list's begin");
    let (found, after) = rest.split_once(END).expect("the page has the list's end");
    let expected = paragraph(&names);
    if found != expected && std::env::var_os(UPDATE).is_some() {
        let page = [before, BEGIN, &expected, END, after].concat();
        std::fs::write(&path, page).expect("the page can be written");
        return;
    }
    assert!(
        found == expected,
        "{PAGE} lists other crates than a relay host carries. If they are meant, and their reasons are good: \
         {UPDATE}=1 cargo test -p taciturn --test style. They are:\n{expected}"
    );
}

/// A bill in the form of CycloneDX 1.5, in which every crate is whole and every name is somebody's.
#[test]
fn a_bill_of_materials_has_its_form() {
    for build in ["relay", "all"] {
        let Some(bill) = bill(build) else { return };
        assert_eq!(
            (text(&bill, "bomFormat"), text(&bill, "specVersion")),
            ("CycloneDX", "1.5")
        );
        assert!(text(&bill, "serialNumber").starts_with("urn:uuid:"));
        let program = &bill["metadata"]["component"];
        assert_eq!(
            (text(program, "name"), text(program, "type")),
            ("taciturn", "application")
        );
        assert_eq!(text(program, "version"), env!("CARGO_PKG_VERSION"));
        let mut known = BTreeSet::from([text(program, "bom-ref")]);
        for component in list(&bill["components"]) {
            let (name, version) = (text(component, "name"), text(component, "version"));
            assert_eq!(
                text(component, "purl"),
                format!("pkg:cargo/{name}@{version}")
            );
            let licence = text(&component["licenses"][0], "expression");
            assert!(
                !licence.is_empty() && !licence.contains('/'),
                "{name}: `{licence}`"
            );
            let hash = text(&component["hashes"][0], "content");
            let is_own = name.starts_with("taciturn");
            assert_eq!(hash.len(), if is_own { 0 } else { 64 }, "{name}");
            assert!(
                known.insert(text(component, "bom-ref")),
                "{name} {version}: twice"
            );
        }
        let direct = |name: &str| linked(&bill).contains_key(name);
        assert!(
            direct("rustls") && !direct("proptest") && !direct("cc"),
            "{build}"
        );
        assert_eq!(direct("aws-sdk-autoscaling"), build == "all", "{build}");
        let mut explained = BTreeSet::new();
        for dependency in list(&bill["dependencies"]) {
            explained.insert(text(dependency, "ref"));
            for on in list(&dependency["dependsOn"]) {
                assert!(
                    known.contains(on.as_str().unwrap_or_default()),
                    "{on} is not in the bill"
                );
            }
        }
        assert_eq!(explained, known, "{build}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_counts_versions_and_breaks_its_lines() {
        let few = BTreeMap::from([("a", 1), ("b", 2)]);
        assert_eq!(paragraph(&few), "3 crates:\n`a`, `b` (2 versions).\n");
        let names: Vec<String> = (0..40).map(|number| format!("crate-{number:02}")).collect();
        let many = names.iter().map(|name| (name.as_str(), 1)).collect();
        assert!(paragraph(&many).lines().all(|line| line.len() <= 140));
    }
}
