//! The text of a configuration: where each key stands, which keys nobody knows, and all that has been found wrong so far.
//!
//! Responsible for places and for going on after an error, so that all of them are said at once. Not for what a value must
//! be: the callers say so.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use taciturn_plane::printable;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::error::{ConfigError, ConfigErrors};
use super::schema::{OPEN, keys, remedy_for};

/// The text and what has been found in it so far.
#[derive(Debug)]
pub(super) struct Document<'a> {
    text: &'a str,
    origin: &'a Path,
    root: Spanned<DeValue<'a>>,
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<ConfigError>>,
    files: RefCell<Vec<(PathBuf, [u8; 32])>>,
}

impl<'a> Document<'a> {
    /// Parses `bytes` and takes out, as errors, what the schema does not know; `section` is where the text's first keys
    /// belong.
    pub(super) fn new(
        bytes: &'a [u8],
        origin: &'a Path,
        section: &str,
    ) -> Result<Self, ConfigErrors> {
        let text = str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            ConfigErrors::new(vec![ConfigError {
                file: origin.to_path_buf(),
                line,
                key: String::new(),
                value: None,
                words: "is not UTF-8; save the file as UTF-8".to_owned(),
            }])
        })?;
        let (tables, errors) = DeTable::parse_recoverable(text);
        let span = tables.span();
        let document = Self {
            text,
            origin,
            root: Spanned::new(span, DeValue::Table(tables.into_inner())),
            errors: RefCell::default(),
            warnings: RefCell::default(),
            files: RefCell::new(vec![(origin.to_path_buf(), Sha256::digest(bytes).into())]),
        };
        if errors.is_empty() {
            return Ok(document.known_keys_only(section));
        }
        let mut last_line = 0;
        for error in errors {
            let line = document.line(error.span().unwrap_or(0..0).start);
            if line != last_line {
                last_line = line;
                let words = format!("is not TOML: {}; mend the line", error.message());
                document.report(&document.errors, line, String::new(), None, words);
            }
        }
        Err(ConfigErrors::new(document.errors.into_inner()))
    }

    fn known_keys_only(mut self, section: &str) -> Self {
        let mut unknown = Vec::new();
        take_unknown(&mut self.root, section, section, &mut unknown);
        for Unknown {
            at,
            section,
            path,
            key,
        } in unknown
        {
            let words = format!(
                "is not a key of the configuration; {}",
                remedy_for(&section, &key)
            );
            self.report(
                &self.errors,
                self.line(at),
                joined(&path, &key),
                None,
                words,
            );
        }
        self
    }

    /// What stands at `name`, dotted, or its default. What is of the wrong kind is said, and read as
    /// if it were not there.
    pub(super) fn read<T: DeserializeOwned + Default>(&self, name: &str) -> T {
        let Some(value) = find(&self.root, name) else {
            return T::default();
        };
        self.read_value(value, name)
    }

    /// The whole text as one section.
    pub(super) fn read_whole<T: DeserializeOwned + Default>(&self) -> T {
        self.read_value(&self.root, "")
    }

    fn read_value<T: DeserializeOwned + Default>(
        &self,
        value: &Spanned<DeValue<'a>>,
        name: &str,
    ) -> T {
        let mut value = value.clone();
        // Each error takes a value out, of which there are fewer than the text has bytes.
        for _ in 0..self.text.len() {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(read) => return read,
                Err(error) => error,
            };
            let place = error.span().unwrap_or_else(|| value.span());
            let taken = take_at(&mut value, &place);
            let (path, wrong) = match &taken {
                Some((path, taken)) => (path.as_str(), taken.get_ref()),
                None => ("", value.get_ref()),
            };
            let (missing, words) = in_our_words(error.message());
            let key = joined(&joined(name, path), missing.unwrap_or_default()).replace(".[", "[");
            let value = shown(&key, wrong);
            self.report(&self.errors, self.line(place.start), key, value, words);
            if taken.is_none() {
                break;
            }
        }
        T::default()
    }

    /// `name` as seen from the configuration's directory.
    pub(super) fn resolve(&self, name: &str) -> PathBuf {
        self.origin
            .parent()
            .map_or_else(|| PathBuf::from(name), |directory| directory.join(name))
    }

    /// Whether `key`, dotted, is written.
    pub(super) fn has(&self, key: &str) -> bool {
        find(&self.root, key).is_some()
    }

    /// Refuses the value of `key`, dotted and with `[n]` for the n-th of a list; a key that is not written has the place of
    /// the section that it belongs in. `words`: what is wrong; and the remedy.
    pub(super) fn refuse(&self, key: &str, words: impl Into<String>) {
        self.about(&self.errors, key, words.into());
    }

    /// As [`Document::refuse`], for what should be looked at.
    pub(super) fn warn(&self, key: &str, words: impl Into<String>) {
        self.about(&self.warnings, key, words.into());
    }

    /// Refuses in the form of `Policy::check`: `key = value: words` or `key: words`, with `key` as seen from `section`.
    pub(super) fn refuse_sentence(&self, section: &str, sentence: &str) {
        let (head, words) = sentence.split_once(": ").unwrap_or(("", sentence));
        let (key, value) = match head.split_once(" = ") {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (head, None),
        };
        let key = joined(section, key);
        let line = self.line_at_or_around(&key);
        self.report(&self.errors, line, key, value, words.to_owned());
    }

    fn about(&self, list: &RefCell<Vec<ConfigError>>, key: &str, words: String) {
        let value = find(&self.root, key);
        let shown = value.and_then(|value| shown(key, value.get_ref()));
        let line = self.line_at_or_around(key);
        self.report(list, line, key.to_owned(), shown, words);
    }

    /// The line of a key, or of the section that it is in; 0 where neither is written.
    fn line_at_or_around(&self, key: &str) -> usize {
        let mut around = Some(key);
        while let Some(path) = around {
            if let Some(line) = self.line_of(path) {
                return line;
            }
            around = path.rsplit_once(['.', '[']).map(|(outer, _)| outer);
        }
        0
    }

    fn report(
        &self,
        list: &RefCell<Vec<ConfigError>>,
        line: usize,
        key: String,
        value: Option<String>,
        words: String,
    ) {
        list.borrow_mut().push(ConfigError {
            file: self.origin.to_path_buf(),
            line,
            key,
            value,
            words,
        });
    }

    /// A file was read for the configuration.
    pub(super) fn note_file(&self, path: PathBuf, bytes: &[u8]) {
        let digest = Sha256::digest(bytes).into();
        self.files.borrow_mut().push((path, digest));
    }

    /// What was found: the files that were read and the warnings.
    ///
    /// # Errors
    /// All errors, if there are any.
    #[expect(
        clippy::type_complexity,
        reason = "a pair of lists that is taken apart at once"
    )]
    pub(super) fn verdict(
        self,
    ) -> Result<(Vec<(PathBuf, [u8; 32])>, Vec<ConfigError>), ConfigErrors> {
        let errors = self.errors.into_inner();
        if errors.is_empty() {
            Ok((self.files.into_inner(), self.warnings.into_inner()))
        } else {
            Err(ConfigErrors::new(errors))
        }
    }

    fn line_of(&self, key: &str) -> Option<usize> {
        find(&self.root, key).map(|value| self.line(value.span().start))
    }

    fn line(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }
}

/// A key that nobody knows.
struct Unknown {
    /// Where it stands.
    at: usize,
    /// The section that it stands in, as the schema names it, and as it is written.
    section: String,
    path: String,
    key: String,
}

/// Takes out of a table, and of what is in it, every key that `section` does not have; it is written as `path`.
fn take_unknown(
    value: &mut Spanned<DeValue<'_>>,
    section: &str,
    path: &str,
    unknown: &mut Vec<Unknown>,
) {
    match value.get_mut() {
        DeValue::Table(table) => {
            let open = OPEN.contains(&section);
            let known = keys(section);
            if !open && known.is_none() {
                return;
            }
            let names: Vec<(String, usize)> = table
                .keys()
                .map(|key| (key.get_ref().to_string(), key.span().start))
                .collect();
            for (name, at) in names {
                if open || known.is_some_and(|known| known.contains(&name.as_str())) {
                    let below = joined(section, if open { "*" } else { &name });
                    if let Some(value) = table.get_mut(name.as_str()) {
                        let path = joined(path, &printable(&name));
                        take_unknown(value, &below, &path, unknown);
                    }
                } else {
                    table.remove(name.as_str());
                    unknown.push(Unknown {
                        at,
                        section: section.to_owned(),
                        path: path.to_owned(),
                        key: printable(&name),
                    });
                }
            }
        }
        DeValue::Array(entries) => {
            for entry in entries.iter_mut() {
                take_unknown(entry, section, path, unknown);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

/// Both with a dot between them, where both are something.
fn joined(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        ("", only) | (only, "") => only.to_owned(),
        (outer, inner) => format!("{outer}.{inner}"),
    }
}

/// Takes out what is written at `place` within `value`, the innermost of it that can be left out; with its path.
fn take_at<'a>(
    value: &mut Spanned<DeValue<'a>>,
    place: &Range<usize>,
) -> Option<(String, Spanned<DeValue<'a>>)> {
    let covers = |span: Range<usize>| span.start <= place.start && place.end <= span.end;
    match value.get_mut() {
        DeValue::Table(table) => {
            for (key, below) in table.iter_mut() {
                let name = key.get_ref().to_string();
                if let Some((path, taken)) = take_at(below, place) {
                    let dot = if path.starts_with('[') { "" } else { "." };
                    return Some((format!("{name}{dot}{path}"), taken));
                }
            }
            let name = table
                .iter()
                .find(|(key, below)| covers(below.span()) || covers(key.span()))
                .map(|(key, _)| key.get_ref().to_string())?;
            let taken = table.remove(name.as_str())?;
            Some((name, taken))
        }
        DeValue::Array(entries) => {
            for (index, below) in entries.iter_mut().enumerate() {
                if let Some((path, taken)) = take_at(below, place) {
                    return Some((format!("[{index}].{path}"), taken));
                }
            }
            let index = entries.iter().position(|below| covers(below.span()))?;
            let taken = entries.get(index)?.clone();
            let others = entries.iter().enumerate();
            *entries = others
                .filter(|(at, _)| *at != index)
                .map(|(_, entry)| entry.clone())
                .collect();
            Some((format!("[{index}]"), taken))
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

/// What stands at a dotted path. Names of the operator's may have dots themselves.
fn find<'v, 'a>(value: &'v Spanned<DeValue<'a>>, path: &str) -> Option<&'v Spanned<DeValue<'a>>> {
    if path.is_empty() {
        return None;
    }
    match value.get_ref() {
        DeValue::Table(table) => table.iter().find_map(|(key, below)| {
            let name: &str = key.get_ref();
            let quoted = format!("\"{name}\"");
            let rest = path
                .strip_prefix(name)
                .or_else(|| path.strip_prefix(quoted.as_str()))?;
            if rest.is_empty() {
                return Some(below);
            }
            let rest = rest
                .strip_prefix('.')
                .or_else(|| rest.starts_with('[').then_some(rest))?;
            find(below, rest)
        }),
        DeValue::Array(entries) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let entry = entries.get(index.parse::<usize>().ok()?)?;
            match rest.strip_prefix('.') {
                Some(rest) => find(entry, rest),
                None => Some(entry),
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

/// What a deserialiser says, as this program would: the key that is missing, if that is the matter, and `problem; remedy`.
fn in_our_words(message: &str) -> (Option<&str>, String) {
    let message = message.trim();
    let missing = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'));
    let words = match missing {
        Some(_) => "is missing; write it".to_owned(),
        None => of_a_value(message),
    };
    (missing, words)
}

/// What a deserialiser says of a value.
fn of_a_value(message: &str) -> String {
    if let Some((_, words)) = message
        .strip_prefix("unknown variant")
        .and_then(|rest| rest.split_once(", expected "))
    {
        let words = words.trim_start_matches("one of ").replace('`', "\"");
        return format!(
            "is not one of the known words; write {}",
            words.replace(", ", " or ")
        );
    }
    let of_kind = ["invalid type: ", "invalid value: "]
        .into_iter()
        .find_map(|start| message.strip_prefix(start)?.split_once(", expected "));
    if let Some((found, wanted)) = of_kind {
        let found = found.split_once([' ', ':']).map_or(found, |(kind, _)| kind);
        let number = matches!(found, "integer" | "floating");
        let (wanted, remedy) = match wanted {
            "u8" | "u16" | "u32" if number => return out_of_range(wanted, found),
            "u8" => ("a whole number of 0 to 255", "write it without quotes"),
            "u16" => ("a whole number of 0 to 65535", "write it without quotes"),
            "u32" => (
                "a whole number of 0 to 4294967295",
                "write it without quotes",
            ),
            "f64" => ("a number", "write it without quotes"),
            "a boolean" => ("true or false", "write it without quotes"),
            "a string" => ("a string", "put it between double quotes"),
            "a sequence" => ("a list", "write [...]"),
            other => (other, "mend it"),
        };
        return format!("must be {wanted}, found {found}; {remedy}");
    }
    match message.split_once(": write ") {
        Some((problem, remedy)) => format!("{problem}; write {remedy}"),
        None => format!("{message}; mend it"),
    }
}

/// What is wrong with a number that is none of those that the key takes.
fn out_of_range(wanted: &str, found: &str) -> String {
    let greatest = match wanted {
        "u8" => u32::from(u8::MAX),
        "u16" => u32::from(u16::MAX),
        _ => u32::MAX,
    };
    let problem = match found {
        "integer" => "is out of range",
        _ => "is not a whole number",
    };
    format!("{problem}; write a whole number of 0 to {greatest}")
}

/// The value of a key in words; never a secret, nor anything that would flood a terminal.
fn shown(key: &str, value: &DeValue<'_>) -> Option<String> {
    const LONGEST: usize = 100;
    // The only section in which a secret may stand itself. All others are in files, which the configuration names.
    let plain = [".id", ".file", ".hash"];
    if key.starts_with("credentials.secret") && !plain.iter().any(|end| key.ends_with(end)) {
        return None;
    }
    let shown = match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
    };
    (shown.len() <= LONGEST).then_some(shown)
}
