//! `docs/dependencies.md` names every direct dependency of every manifest, and no other.
//!
//! Responsible for keeping the list and the manifests together; licences and sources are `cargo deny`'s.

use crate::tree;
use std::collections::BTreeSet;
use toml::Table;

/// Crates named in the first column of the page's tables.
fn on_page(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect()
}

/// Crates that a manifest asks for itself, our own excepted.
fn in_manifest(text: &str) -> BTreeSet<String> {
    let manifest: Table = text.parse().expect("a manifest that Cargo has read");
    let lists = ["dependencies", "dev-dependencies", "build-dependencies"];
    let of_table = |table: &Table| -> Vec<String> {
        let lists = lists.iter().filter_map(|list| table.get(*list)?.as_table());
        lists.flat_map(|list| list.keys().cloned()).collect()
    };
    let mut names = of_table(&manifest);
    if let Some(targets) = manifest.get("target").and_then(|value| value.as_table()) {
        names.extend(
            targets
                .values()
                .filter_map(|value| value.as_table())
                .flat_map(of_table),
        );
    }
    names.retain(|name| !name.starts_with("taciturn"));
    names.into_iter().collect()
}

#[test]
fn every_direct_dependency_has_its_reason_on_the_page() {
    let manifests = tree::files(&["Cargo.toml"]);
    let wanted: BTreeSet<String> = manifests
        .iter()
        .flat_map(|file| in_manifest(&file.text))
        .collect();
    let page = tree::files(&["docs/dependencies.md"]);
    let given = page
        .first()
        .map(|file| on_page(&file.text))
        .unwrap_or_default();
    let missing: Vec<_> = wanted.difference(&given).collect();
    let gone: Vec<_> = given.difference(&wanted).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/dependencies.md: no reason for {missing:?}; named but in no manifest: {gone:?}"
    );
}

/// The workspace declares versions once; one that no crate uses is a leftover.
#[test]
fn every_declared_version_is_used() {
    let manifests = tree::files(&["Cargo.toml"]);
    let used: BTreeSet<String> = manifests
        .iter()
        .flat_map(|file| in_manifest(&file.text))
        .collect();
    let root = manifests.iter().find(|file| file.path == "Cargo.toml");
    let root: Table = root
        .expect("there is a root manifest")
        .text
        .parse()
        .expect("a sound manifest");
    let declared = root["workspace"]["dependencies"]
        .as_table()
        .expect("the workspace declares versions");
    let unused: Vec<_> = declared
        .keys()
        .filter(|name| !name.starts_with("taciturn") && !used.contains(*name))
        .collect();
    assert!(
        unused.is_empty(),
        "declared in [workspace.dependencies] and used nowhere: {unused:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_manifests_are_read() {
        let page = on_page("| crate | why |\n|---|---|\n| `a` | x |\n| `b-c` | y |\n`d`\n");
        assert_eq!(page.into_iter().collect::<Vec<_>>(), ["a", "b-c"]);
        let manifest = "[dependencies]\na.workspace = true\ntaciturn-x = \"1\"\n[dev-dependencies]\nb = \"1\"\n\
                        [target.'cfg(unix)'.dependencies]\nc = \"1\"\n";
        assert_eq!(
            in_manifest(manifest).into_iter().collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
    }
}
