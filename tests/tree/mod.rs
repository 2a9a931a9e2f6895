//! The files of this repository as the tests about the repository see them: walked once, with strings or comments blanked.
//!
//! Responsible for finding files and for telling code from comments and strings; not for judging either.

use std::fs;
use std::path::{Path, PathBuf};

/// One text file: its path from the root, with `/` on every system, and its text.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Directories that hold nothing of ours.
const FOREIGN: [&str; 8] = [
    "target",
    ".git",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    "corpus",
    "artifacts",
];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file whose path ends in one of `endings`, sorted by path.
pub(crate) fn files(endings: &[&str]) -> Vec<SourceFile> {
    let root = root();
    let mut found = Vec::new();
    walk(&root, &root, endings, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(root: &Path, directory: &Path, endings: &[&str], found: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(directory).expect("a directory of the repository can be read") {
        let path = entry.expect("a directory entry can be read").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !FOREIGN.contains(&name.as_str()) {
                walk(root, &path, endings, found);
            }
            continue;
        }
        let relative = path
            .strip_prefix(root)
            .expect("the walk stays below the root");
        let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
        let relative = parts.join("/");
        if endings.iter().any(|ending| relative.ends_with(ending)) {
            // A file that is not UTF-8 is no source text (recorded packets, pictures).
            if let Ok(text) = fs::read_to_string(&path) {
                let path = relative;
                found.push(SourceFile { path, text });
            }
        }
    }
}

/// What [`blank`] takes out of Rust source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blank {
    /// The inside of string literals.
    Strings,
    /// The inside of string literals, and comments.
    StringsAndComments,
}

/// Rust source with every byte of the blanked kind replaced by a space; lines keep their numbers.
pub(crate) fn blank(source: &str, what: Blank) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let previous = at.checked_sub(1).map(|i| chars[i]);
        let (len, blanked) = if rest.starts_with(&['/', '/']) {
            (line_comment(rest), what == Blank::StringsAndComments)
        } else if rest.starts_with(&['/', '*']) {
            (block_comment(rest), what == Blank::StringsAndComments)
        } else if let Some(len) = raw_string(rest, previous) {
            (len, true)
        } else if rest[0] == '"' {
            (quoted(rest, '"'), true)
        } else if rest[0] == '\'' && is_char_literal(rest) {
            (quoted(rest, '\''), true)
        } else {
            (1, false)
        };
        for &c in &rest[..len] {
            out.push(if blanked && c != '\n' { ' ' } else { c });
        }
        at += len;
    }
    out
}

fn line_comment(rest: &[char]) -> usize {
    rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a raw string (`r"…"`, `br#"…"#`) that begins here, with its quotes.
fn raw_string(rest: &[char], previous: Option<char>) -> Option<usize> {
    if previous.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let prefix = match rest {
        ['r', ..] => 1,
        ['b' | 'c', 'r', ..] => 2,
        _ => return None,
    };
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let mut close = vec!['"'];
    close.resize(hashes + 1, '#');
    let mut at = open + 1;
    while at < rest.len() {
        if rest[at..].starts_with(&close) {
            return Some(at + close.len());
        }
        at += 1;
    }
    Some(rest.len())
}

/// The length of a literal with escapes, with its quotes.
fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `'x'` and `'\n'` are literals; `'a` in `&'a str` is a lifetime.
fn is_char_literal(rest: &[char]) -> bool {
    matches!(rest, ['\'', '\\', ..] | ['\'', _, '\'', ..])
}
