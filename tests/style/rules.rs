//! One function per rule: a file in, its faults out.
//!
//! Responsible for the rules alone; which files they see is `main`'s choice.

use crate::tree::{Blank, SourceFile, blank};

/// A broken rule, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) what: String,
}

const LONGEST: usize = 800;

/// Words that say nothing about the thing they name.
const EMPTY_NOUNS: [&str; 15] = [
    "manager", "helper", "helpers", "util", "utils", "common", "misc", "base", "context", "info",
    "handler", "service", "engine", "impl", "session",
];

/// First words of function names that hide what the function does.
const EMPTY_VERBS: [&str; 5] = ["get", "process", "do", "perform", "manage"];

/// Product code outside `relay/src/clock.rs` that may read a clock, with the reason.
const CLOCKS_ELSEWHERE: [(&str, &str); 8] = [
    (
        "examples/",
        "programs of others, that ask and mint as signalling servers do",
    ),
    ("controller/src/clock.rs", "the controller's own clock"),
    (
        "controller/cloud-sim/",
        "a stand-in of a cloud for tests, with a clock as the cloud has one",
    ),
    (
        "plane/src/bounded.rs",
        "deadlines of the admin plane's connections, on the control runtime",
    ),
    (
        "relay/src/listener/opening.rs",
        "deadlines of handshakes, on the control runtime",
    ),
    ("src/credentials.rs", "credentials minted by hand begin now"),
    (
        "src/demo",
        "a client of the relay, outside everything that decides",
    ),
    ("src/top", "how old what stands on a screen is"),
];

/// The length of a file's product code.
pub(crate) fn too_long(file: &SourceFile) -> Vec<Fault> {
    let lines = product_code(file).lines().count();
    if lines <= LONGEST {
        return Vec::new();
    }
    vec![Fault {
        line: lines,
        what: format!("{lines} lines, and {LONGEST} is the limit"),
    }]
}

/// The first line of a file. Unit tests in a file of their own are introduced by the module that they test.
pub(crate) fn no_header(file: &SourceFile) -> Vec<Fault> {
    if is_test_file(&file.path) && !file.path.starts_with("tests/") {
        return Vec::new();
    }
    let first = file.text.lines().next().unwrap_or_default();
    if first.starts_with("//!") {
        return Vec::new();
    }
    fault(1, "the file does not open with what it is responsible for")
}

/// Names of files, modules and public items.
pub(crate) fn empty_names(file: &SourceFile) -> Vec<Fault> {
    let mut faults = Vec::new();
    for part in file.path.trim_end_matches(".rs").split('/') {
        for word in words(part) {
            if EMPTY_NOUNS.contains(&word.as_str()) || part == "data" {
                faults.extend(fault(1, &format!("`{part}` in the path says nothing")));
            }
        }
    }
    for (number, line) in numbered(&blank(&file.text, Blank::StringsAndComments)) {
        let Some((kind, name)) = public_item(&line) else {
            continue;
        };
        let words = words(name);
        let empty = words
            .iter()
            .find(|word| EMPTY_NOUNS.contains(&word.as_str()));
        if let Some(word) = empty {
            faults.extend(fault(
                number,
                &format!("`{word}` in {kind} {name} says nothing"),
            ));
        }
        let verb = words
            .first()
            .filter(|word| EMPTY_VERBS.contains(&word.as_str()));
        // The standard library's own name for a look-up by key.
        let is_lookup = ["get", "get_mut"].contains(&name);
        if let (Some(verb), "fn", false) = (verb, kind, is_lookup) {
            faults.extend(fault(
                number,
                &format!("`{verb}` in fn {name} hides what it does"),
            ));
        }
    }
    faults
}

/// `unsafe` outside the one directory.
pub(crate) fn stray_unsafe(file: &SourceFile) -> Vec<Fault> {
    if file.path.starts_with("relay/src/net/") {
        return Vec::new();
    }
    let code = blank(&file.text, Blank::StringsAndComments);
    let has_unsafe = |line: &str| identifiers(line).any(|word| word == "unsafe");
    let lines = numbered(&code).filter(|(_, line)| has_unsafe(line));
    lines
        .flat_map(|(number, _)| fault(number, "unsafe"))
        .collect()
}

/// Clocks read outside the one file, tests and benches excepted.
pub(crate) fn stray_clocks(file: &SourceFile) -> Vec<Fault> {
    let elsewhere = CLOCKS_ELSEWHERE
        .iter()
        .any(|(path, _)| file.path.starts_with(path));
    let measures = is_test_file(&file.path) || file.path.split('/').any(|part| part == "benches");
    if elsewhere || measures || file.path == "relay/src/clock.rs" {
        return Vec::new();
    }
    let code = blank(product_code(file), Blank::StringsAndComments);
    let reads = |line: &str| line.contains("Instant::now") || line.contains("SystemTime::now");
    let lines = numbered(&code).filter(|(_, line)| reads(line));
    lines
        .flat_map(|(number, _)| fault(number, "reads a clock"))
        .collect()
}

/// What decides for a fleet: the same input gives the same plan, or no scenario could be replayed.
const DECIDES: [&str; 7] = [
    "controller/src/fleet",
    "controller/src/policy",
    "controller/src/observe/picture",
    "controller/src/lease/tenure",
    "controller/src/simulate",
    // These decide nothing, and are shown the same way for the same round.
    "controller/src/overview",
    "controller/src/trend",
];

/// Clocks, sockets, threads, randomness from outside and maps without an order, where a fleet's plan is made.
pub(crate) fn impure_decisions(file: &SourceFile) -> Vec<Fault> {
    if !DECIDES.iter().any(|path| file.path.starts_with(path)) || is_test_file(&file.path) {
        return Vec::new();
    }
    let words = [
        "tokio",
        "HashMap",
        "HashSet",
        "getrandom",
        "TcpStream",
        "UdpSocket",
        "std::thread",
        "std::fs",
        "std::env",
        "async fn",
        "Instant::now",
        "SystemTime",
    ];
    found(
        &blank(product_code(file), Blank::StringsAndComments),
        &words,
    )
}

/// Promises to finish something later, and tests that never run.
pub(crate) fn leftovers(file: &SourceFile) -> Vec<Fault> {
    // Spelled in two halves, as the words are looked for in comments and in other languages too.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ig", "nore"),
    ];
    if file.path.ends_with(".rs") {
        return found(&blank(&file.text, Blank::Strings), &words);
    }
    found(&file.text, &words)
}

/// Paths that exist on one machine only.
pub(crate) fn machine_paths(file: &SourceFile) -> Vec<Fault> {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tm", "p/"),
        concat!("/ho", "me/"),
        concat!("arti", "factory"),
    ];
    found(&file.text, &words)
}

/// Names of pages (`*.md`) that are none of `pages`.
pub(crate) fn unknown_pages(file: &SourceFile, pages: &[&str]) -> Vec<Fault> {
    let of_line = |(number, line): (usize, String)| {
        let tokens = line.split(|c: char| !c.is_alphanumeric() && !"_-.".contains(c));
        let names = tokens.map(|token| token.trim_end_matches('.'));
        let unknown = names.filter(|name| {
            let stem = name.strip_suffix(".md").unwrap_or_default();
            !stem.is_empty() && !pages.contains(name)
        });
        unknown
            .flat_map(|name| fault(number, name))
            .collect::<Vec<_>>()
    };
    numbered(&file.text).flat_map(of_line).collect()
}

fn found(text: &str, words: &[&str]) -> Vec<Fault> {
    let lines = numbered(text);
    let of_line = |(number, line): (usize, String)| {
        let hits = words.iter().filter(move |word| line.contains(**word));
        hits.flat_map(move |word| fault(number, word))
            .collect::<Vec<_>>()
    };
    lines.flat_map(of_line).collect()
}

fn fault(line: usize, what: &str) -> Vec<Fault> {
    let what = what.to_owned();
    vec![Fault { line, what }]
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, String)> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines
        .into_iter()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// Everything before the unit tests, which stand last; nothing of a test file.
fn product_code(file: &SourceFile) -> &str {
    if is_test_file(&file.path) {
        return "";
    }
    match file.text.find("\n#[cfg(test)]\n") {
        Some(at) if file.text[at..].contains("\nmod tests") => &file.text[..at],
        _ => &file.text,
    }
}

fn is_test_file(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"))
}

/// The kind and the name of a public item that a line declares.
fn public_item(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    let mut parts = rest
        .split_whitespace()
        .skip_while(|word| ["const", "async", "unsafe", "extern"].contains(word));
    let first = parts.next()?;
    let kinds = [
        "fn", "struct", "enum", "trait", "mod", "type", "static", "union",
    ];
    let (kind, name) = match kinds.iter().find(|kind| **kind == first) {
        Some(_) => (first, parts.next()?),
        // `pub const NAME: T`; anything else with a colon is a field.
        None if rest.trim_start().starts_with("const ") => ("const", first),
        None => return None,
    };
    Some((kind, identifiers(name).next()?))
}

fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty())
}

/// The words of a snake, camel or upper case name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous_is_lower = false;
    for c in name.chars() {
        let begins = words.is_empty() || (c.is_uppercase() && previous_is_lower);
        if c == '_' || c == '-' || c == '.' {
            words.push(String::new());
        } else if begins {
            words.push(c.to_lowercase().collect());
        } else if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
        previous_is_lower = c.is_lowercase() || c.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        let (path, text) = (path.to_owned(), text.to_owned());
        SourceFile { path, text }
    }

    fn lines(faults: &[Fault]) -> Vec<usize> {
        faults.iter().map(|fault| fault.line).collect()
    }

    #[test]
    fn length_counts_product_code_only() {
        let long = "x\n".repeat(801);
        assert_eq!(too_long(&file("relay/src/a.rs", &long)).len(), 1);
        assert!(too_long(&file("relay/src/a/tests.rs", &long)).is_empty());
        let with_tests = format!("x\n\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(too_long(&file("relay/src/a.rs", &with_tests)).is_empty());
    }

    #[test]
    fn a_header_is_wanted_on_the_first_line() {
        assert!(no_header(&file("a.rs", "//! Reads.\n")).is_empty());
        assert_eq!(
            lines(&no_header(&file("a.rs", "use std;\n//! Reads.\n"))),
            [1]
        );
    }

    #[test]
    fn empty_names_are_found_in_items_and_paths_and_nowhere_else() {
        let text = "pub struct PortManager;\npub(crate) const fn get_port() {}\nfn get_it() {}\n// pub struct Helper;\n\
                    pub const BASE_PORT: u16 = 1;\npub base: u16,\npub fn get_mut() {}\npub mod util;\n";
        assert_eq!(
            lines(&empty_names(&file("relay/src/a.rs", text))),
            [1, 2, 5, 8]
        );
        assert_eq!(empty_names(&file("relay/src/utils.rs", "")).len(), 1);
        assert_eq!(empty_names(&file("relay/src/data/mod.rs", "")).len(), 1);
        assert!(empty_names(&file("protocol/src/wire/channel_data.rs", "")).is_empty());
    }

    #[test]
    fn unsafe_is_found_in_code_and_not_in_prose_or_lints() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\nlet s = \"unsafe\";\nunsafe { f() }\n";
        assert_eq!(lines(&stray_unsafe(&file("relay/src/a.rs", text))), [4]);
        assert!(stray_unsafe(&file("relay/src/net/a.rs", text)).is_empty());
    }

    #[test]
    fn clocks_are_found_outside_their_file_and_tests() {
        let text =
            "let a = Instant::now();\n\n#[cfg(test)]\nmod tests {\n let b = Instant::now();\n}\n";
        assert_eq!(lines(&stray_clocks(&file("relay/src/a.rs", text))), [1]);
        assert!(stray_clocks(&file("relay/src/clock.rs", text)).is_empty());
        assert!(stray_clocks(&file("tests/a.rs", text)).is_empty());
    }

    #[test]
    fn a_decision_that_could_not_be_replayed_is_found() {
        let text = "use std::collections::HashMap;\n// HashMap\nlet now = clock.now();\n";
        let faults = impure_decisions(&file("controller/src/policy/zones.rs", text));
        assert_eq!(lines(&faults), [1]);
        assert!(impure_decisions(&file("controller/src/apply.rs", text)).is_empty());
    }

    #[test]
    fn leftovers_and_machine_paths_are_found() {
        let text = ["// TO", "DO: later\nlet a = \"/ho", "me/somebody\";\n"].concat();
        assert_eq!(lines(&leftovers(&file("a.rs", &text))), [1]);
        assert_eq!(lines(&machine_paths(&file("a.rs", &text))), [2]);
    }

    #[test]
    fn a_page_that_is_not_here_is_found() {
        let text = "[a](../b/README.md), `*.md`.\nSee OTHER\u{2e}md.\n";
        let faults = unknown_pages(&file("a.rs", text), &["README.md"]);
        assert_eq!(lines(&faults), [2]);
    }

    #[test]
    fn comments_strings_and_lifetimes_are_told_apart() {
        let text =
            "let a: &'a str = r#\"x \" unsafe\"#; /* a /* b */ unsafe */ let c = '\"'; unsafe\n";
        let code = blank(text, Blank::StringsAndComments);
        assert_eq!(code.matches("unsafe").count(), 1);
        assert!(code.contains("let c ="));
    }
}
