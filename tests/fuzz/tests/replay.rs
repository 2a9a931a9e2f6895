//! Every input of every corpus, tried once more.
//!
//! Responsible for: what a fuzzer has once found stays found, on machines without one. Not responsible for finding more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use taciturn_fuzz::TARGETS;

/// The most inputs that one corpus keeps, and their bytes.
const MOST_INPUTS: usize = 300;
const MOST_BYTES: usize = 1 << 20;

fn names_in(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).expect("the folder is there");
    entries
        .map(|entry| entry.expect("a folder that can be read").path())
        .map(|path| {
            let name = path.file_stem().expect("a name");
            name.to_string_lossy().into_owned()
        })
        .collect()
}

#[test]
fn every_target_has_a_binary_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(names_in("corpus"), targets);
    assert_eq!(names_in("fuzz_targets"), targets);
}

#[test]
fn no_input_that_was_found_breaks_a_property() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target.name);
        let mut paths: Vec<_> = fs::read_dir(folder)
            .expect("a corpus is there")
            .map(|entry| entry.expect("a corpus that can be read").path())
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} has no inputs", target.name);
        assert!(
            paths.len() <= MOST_INPUTS,
            "{} is not minimised",
            target.name
        );
        let mut bytes = 0;
        for path in paths {
            let input = fs::read(&path).expect("an input that can be read");
            bytes += input.len();
            // Whose input it is, if it breaks something.
            let tried = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(tried.is_ok(), "{} breaks {}", path.display(), target.name);
        }
        assert!(bytes <= MOST_BYTES, "{} is too large", target.name);
    }
}

/// Inputs that nobody found and that everybody tries first.
#[test]
fn the_dullest_inputs_break_nothing() {
    for target in TARGETS {
        (target.run)(&[]);
        for byte in [0, 1, b'0', b'{', b'[', 0x7F, 0x80, 0xFF] {
            for length in [1, 2, 4, 20, 21, 64, target.longest] {
                (target.run)(&vec![byte; length.min(target.longest)]);
            }
        }
    }
}
