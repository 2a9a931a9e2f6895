//! Finds the marks: `/// S-21, S-45: sentence` right above a Rust test, `"""T-02: sentence."""` right below a Python one.
//!
//! Responsible for what counts as a mark; not for which requirements exist.

use crate::tree::{self, Blank, SourceFile, blank};

/// One requirement named by one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) id: String,
    pub(crate) file: String,
    pub(crate) test: String,
}

/// The marks found, and what looks like a mark but is none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) marks: Vec<Mark>,
    pub(crate) faults: Vec<String>,
}

/// Every mark in the repository.
pub(crate) fn in_tree() -> Found {
    let mut found = Found::default();
    for file in tree::files(&[".rs"]) {
        in_rust(&file, &mut found);
    }
    for file in tree::files(&[".py"]) {
        if file.path.starts_with("tests/interop/") {
            in_python(&file, &mut found);
        }
    }
    found
}

/// Reads the marks of one Rust file. Comments and attributes gather until an item begins; only a test function takes them.
///
/// Product code may cite a line in the same form over whatever carries it out: that is no mark, and no fault either.
pub(crate) fn in_rust(file: &SourceFile, found: &mut Found) {
    let text = blank(&file.text, Blank::Strings);
    let mut pending: Vec<(usize, Vec<String>)> = Vec::new();
    let mut is_test = false;
    let mut is_ignored = false;
    let mut among_tests = file
        .path
        .split('/')
        .any(|part| part == "tests" || part == "tests.rs");
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let number = index + 1;
        if let Some(comment) = line.strip_prefix("///") {
            match mark_ids(comment.trim()) {
                MarkShape::Mark(ids) => pending.push((number, ids)),
                MarkShape::Broken => found.faults.push(format!(
                    "{}:{number}: a mark is `ID, ID: sentence`, not `{}`",
                    file.path,
                    comment.trim()
                )),
                MarkShape::Prose => {}
            }
        } else if line.starts_with("#[") {
            among_tests |= line == "#[cfg(test)]";
            is_test |= is_test_attribute(line);
            is_ignored |= line.starts_with("#[ignore");
        } else if let Some(name) = function_name(line) {
            for (number, ids) in pending.drain(..) {
                if !is_test && !among_tests {
                    continue;
                }
                if !is_test || is_ignored {
                    let why = if is_ignored {
                        "is ignored"
                    } else {
                        "is no test"
                    };
                    found.faults.push(format!(
                        "{}:{number}: the mark stands over {name}, which {why}",
                        file.path
                    ));
                    continue;
                }
                for id in ids {
                    found.marks.push(Mark {
                        id,
                        file: file.path.clone(),
                        test: name.to_owned(),
                    });
                }
            }
            (is_test, is_ignored) = (false, false);
        } else if line.starts_with("//") {
            // An ordinary comment between documentation and function changes nothing.
        } else if !is_attribute_tail(line) {
            for (number, _) in pending.drain(..).filter(|_| among_tests) {
                found.faults.push(format!(
                    "{}:{number}: the mark does not stand right above a test",
                    file.path
                ));
            }
            (is_test, is_ignored) = (false, false);
        }
    }
}

/// Reads the marks of one Python file: the first line of a function's docstring.
pub(crate) fn in_python(file: &SourceFile, found: &mut Found) {
    let mut function: Option<String> = None;
    let mut in_signature = false;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if in_signature {
            in_signature = !line.ends_with(':');
            continue;
        }
        let header = line.strip_prefix("async ").unwrap_or(line);
        if let Some(rest) = header.strip_prefix("def ") {
            function = rest.split('(').next().map(str::to_owned);
            in_signature = !line.ends_with(':');
            continue;
        }
        let (Some(name), Some(doc)) = (function.take(), line.strip_prefix("\"\"\"")) else {
            continue;
        };
        match mark_ids(doc) {
            MarkShape::Mark(ids) => found.marks.extend(ids.into_iter().map(|id| Mark {
                id,
                file: file.path.clone(),
                test: name.clone(),
            })),
            MarkShape::Broken => found.faults.push(format!(
                "{}:{}: a mark is `ID, ID: sentence`",
                file.path,
                index + 1
            )),
            MarkShape::Prose => {}
        }
    }
}

enum MarkShape {
    Mark(Vec<String>),
    /// Begins like a mark and goes wrong.
    Broken,
    Prose,
}

fn mark_ids(comment: &str) -> MarkShape {
    // "P-256" is no mark gone wrong.
    let goes_on = comment.chars().nth(4).is_some_and(char::is_alphanumeric);
    if goes_on || !comment.get(..4).is_some_and(is_id) {
        return MarkShape::Prose;
    }
    let Some((ids, sentence)) = comment.split_once(": ") else {
        return MarkShape::Broken;
    };
    let ids: Vec<&str> = ids.split(", ").collect();
    if sentence.trim().is_empty() || !ids.iter().all(|id| is_id(id)) {
        return MarkShape::Broken;
    }
    MarkShape::Mark(ids.into_iter().map(str::to_owned).collect())
}

fn is_id(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b'-', tens, ones]
        if letter.is_ascii_uppercase() && tens.is_ascii_digit() && ones.is_ascii_digit())
}

/// `#[test]`, `#[tokio::test]`, with or without arguments.
fn is_test_attribute(line: &str) -> bool {
    let path: String = line
        .trim_start_matches("#[")
        .chars()
        .take_while(|&c| c.is_alphanumeric() || c == '_' || c == ':')
        .collect();
    path.rsplit("::").next() == Some("test")
}

/// The lines of an attribute that spans several, such as an `expect` with its reason.
fn is_attribute_tail(line: &str) -> bool {
    line == ")]" || line.starts_with("reason =") || line.starts_with("clippy::")
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    for word in [
        "pub(crate) ",
        "pub(super) ",
        "pub ",
        "const ",
        "async ",
        "unsafe ",
    ] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = rest.strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(text: &str) -> Found {
        let mut found = Found::default();
        let (path, text) = ("src/tests.rs".to_owned(), text.to_owned());
        in_rust(&SourceFile { path, text }, &mut found);
        found
    }

    fn python(text: &str) -> Found {
        let mut found = Found::default();
        let (path, text) = ("a.py".to_owned(), text.to_owned());
        in_python(&SourceFile { path, text }, &mut found);
        found
    }

    fn ids(found: &Found) -> Vec<(&str, &str)> {
        let pairs = found
            .marks
            .iter()
            .map(|mark| (mark.id.as_str(), mark.test.as_str()));
        pairs.collect()
    }

    #[test]
    fn a_mark_right_above_a_test_counts_for_each_of_its_lines() {
        let found = rust("/// S-21, S-45: a sentence (RFC 8489 §9.2.4)\n#[test]\nfn a_test() {}\n");
        assert_eq!(ids(&found), [("S-21", "a_test"), ("S-45", "a_test")]);
        assert!(found.faults.is_empty());
    }

    #[test]
    fn a_property_test_and_an_asynchronous_test_count() {
        let text = "proptest! {\n    /// S-07: sentence\n    #[test]\n    fn first(a in 0..9) {}\n}\n\
                    #[tokio::test(start_paused = true)]\n/// S-08: sentence\nasync fn second() {}\n";
        assert_eq!(ids(&rust(text)), [("S-07", "first"), ("S-08", "second")]);
    }

    #[test]
    fn a_mark_over_anything_but_a_test_is_a_fault() {
        for text in [
            "/// S-21: sentence\nfn helper() {}\n",
            "/// S-21: sentence\nstruct Thing;\n",
            "/// S-21: sentence\n#[test]\n#[ignore]\nfn a_test() {}\n",
            "/// S-21: sentence\n\n#[test]\nfn a_test() {}\n",
        ] {
            let found = rust(text);
            assert!(found.marks.is_empty(), "{text}");
            assert_eq!(found.faults.len(), 1, "{text}");
        }
    }

    #[test]
    fn product_code_may_cite_a_line_and_its_unit_tests_may_not_lose_one() {
        let mut found = Found::default();
        let path = "src/a.rs".to_owned();
        let cited = "/// T-26: how long.\nfn lifetime() {}\n";
        let text = format!("{cited}#[cfg(test)]\nmod tests {{\n{cited}}}\n");
        in_rust(&SourceFile { path, text }, &mut found);
        assert!(found.marks.is_empty());
        let lost = ["src/a.rs:5: the mark stands over lifetime, which is no test"];
        assert_eq!(found.faults, lost);
    }

    #[test]
    fn a_broken_mark_is_a_fault_and_prose_is_not() {
        for text in [
            "S-21 and S-45: sentence",
            "S-21, s-45: sentence",
            "S-21:",
            "S-21 sentence",
        ] {
            let found = rust(&format!("/// {text}\n#[test]\nfn a_test() {{}}\n"));
            assert_eq!((found.marks.len(), found.faults.len()), (0, 1), "{text}");
        }
        let found = rust(
            "/// P-256.\n/// See S-21: a sentence.\n/// RFC 8489 §5: S-21.\n#[test]\nfn a_test() {}\n",
        );
        assert_eq!(found, Found::default());
    }

    #[test]
    fn a_mark_inside_a_string_does_not_count() {
        let found =
            rust("const SAMPLE: &str = \"\n/// S-21: sentence\n#[test]\nfn a_test() {}\n\";\n");
        assert_eq!(found, Found::default());
    }

    #[test]
    fn attributes_over_several_lines_keep_the_mark() {
        let text = "/// S-21: sentence\n#[test]\n#[expect(\n    clippy::unwrap_used,\n    reason = \"x\"\n)]\nfn a_test() {}\n";
        assert_eq!(ids(&rust(text)), [("S-21", "a_test")]);
    }

    #[test]
    fn a_docstring_right_below_a_python_function_counts() {
        let text = "async def a_call_holds(\n    relay,\n):\n    \"\"\"T-02, G-25: sentence.\"\"\"\n\ndef b():\n    x = 1\n    \"\"\"T-03: no.\"\"\"\n";
        let found = python(text);
        assert_eq!(
            ids(&found),
            [("T-02", "a_call_holds"), ("G-25", "a_call_holds")]
        );
        assert_eq!(
            python("def a():\n    \"\"\"T-02 sentence\"\"\"\n")
                .faults
                .len(),
            1
        );
    }
}
