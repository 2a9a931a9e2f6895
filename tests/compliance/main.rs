//! `docs/compliance.md` is what the tests show, no more: every claimed requirement has a test that names it.
//!
//! Responsible for comparing marks, requirements and page; not for whether a test shows what its mark says.

mod marks;
mod page;
mod requirements;
#[path = "../tree/mod.rs"]
mod tree;

use requirements::Requirements;
use std::fs;

const PAGE: &str = "docs/compliance.md";

fn read(path: &str) -> String {
    fs::read_to_string(tree::root().join(path)).unwrap_or_default()
}

fn requirements() -> Requirements {
    Requirements::parse(&read("docs/requirements.toml")).expect("docs/requirements.toml is sound")
}

#[test]
fn every_claimed_requirement_is_named_by_a_test() {
    let requirements = requirements();
    let found = marks::in_tree();
    let open = requirements.unshown(&found.marks);
    assert!(
        open.is_empty(),
        "{} claimed requirements have no test that names them (write `/// ID: sentence` right above the test, or say in \
         docs/requirements.toml why the line is not claimed):\n  {}",
        open.len(),
        open.join("\n  ")
    );
}

#[test]
fn every_mark_is_sound_and_names_a_known_requirement() {
    let requirements = requirements();
    let found = marks::in_tree();
    let mut faults = found.faults;
    for mark in &found.marks {
        if !requirements.knows(&mark.id) {
            faults.push(format!(
                "{}: {} names {}, which docs/requirements.toml does not know",
                mark.file, mark.test, mark.id
            ));
        }
    }
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}

#[test]
fn the_compliance_page_is_up_to_date() {
    let wanted = page::write(&requirements(), &marks::in_tree().marks);
    if std::env::var_os("UPDATE_COMPLIANCE").is_some() {
        fs::write(tree::root().join(PAGE), &wanted).expect("the page can be written");
    }
    assert!(
        read(PAGE) == wanted,
        "{PAGE} is out of date: run `UPDATE_COMPLIANCE=1 cargo test --test compliance`"
    );
}
