//! A walk through the parsed text that collects every error instead of stopping at the first.
//!
//! Responsible for places (line, column), for unknown and missing keys, and for keeping secrets out of errors. Not for
//! what a value must be: the callers say so.

use core::cell::RefCell;
use core::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use taciturn_plane::printable;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigWarning};
use super::schema::{has_section, keys_of, remedy_for};

/// Why a value is refused.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// The text and what has been found in it so far.
#[derive(Debug)]
pub(super) struct Document<'a> {
    text: &'a str,
    origin: &'a Path,
    pub(super) errors: RefCell<Vec<ConfigError>>,
    pub(super) warnings: RefCell<Vec<ConfigWarning>>,
    pub(super) files: RefCell<Vec<(PathBuf, [u8; 32])>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str, origin: &'a Path) -> Self {
        Self {
            text,
            origin,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            files: RefCell::new(vec![(
                origin.to_path_buf(),
                Sha256::digest(text.as_bytes()).into(),
            )]),
        }
    }

    /// `name` as seen from the configuration's directory.
    pub(super) fn resolve(&self, name: &str) -> PathBuf {
        self.origin
            .parent()
            .map_or_else(|| PathBuf::from(name), |directory| directory.join(name))
    }

    /// Refuses something at `span` (its key and value already in words).
    pub(super) fn refuse(
        &self,
        span: &Range<usize>,
        key: String,
        value: Option<String>,
        wrong: Wrong,
    ) {
        self.errors
            .borrow_mut()
            .push(self.error(span, key, value, wrong));
    }

    fn error(
        &self,
        span: &Range<usize>,
        key: String,
        value: Option<String>,
        wrong: Wrong,
    ) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before
            .get(line_start..)
            .map_or(0, |line| line.chars().count())
            + 1;
        let line = before.matches('\n').count() + 1;
        let Wrong { problem, remedy } = wrong;
        ConfigError {
            file: self.origin.to_path_buf(),
            line,
            column,
            key,
            value,
            problem,
            remedy,
        }
    }

    /// The text's tables; syntax errors are reported, one a line.
    pub(super) fn tables(&self) -> Option<DeTable<'a>> {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        let mut last_line = 0;
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            // The parser's message says what it expected; the text itself may hold a secret and is not repeated.
            let wrong = Wrong::new(format!("is not TOML: {}", error.message()), "mend the line");
            let found = self.error(&span, String::new(), None, wrong);
            if found.line != last_line {
                last_line = found.line;
                self.errors.borrow_mut().push(found);
            }
        }
        errors.is_empty().then(|| root.into_inner())
    }

    /// The keys before the first section; reports unknown keys and sections.
    pub(super) fn top<'t>(&'t self, tables: &'t DeTable<'t>) -> Section<'t> {
        let section = Section {
            document: self,
            name: "",
            table: tables,
            span: 0..0,
        };
        section.report_unknown();
        section
    }
}

/// One table of the text.
#[derive(Clone, Debug)]
pub(super) struct Section<'t> {
    pub(super) document: &'t Document<'t>,
    name: &'static str,
    table: &'t DeTable<'t>,
    span: Range<usize>,
}

impl<'t> Section<'t> {
    /// Whether the section `name` is written, in whatever form.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// The section `[name]` below this one, when it is written.
    pub(super) fn once(&self, name: &'static str) -> Option<Self> {
        let value = self.table.get(name)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_kind(
                name,
                value,
                "a section",
                &format!("write [{name}] and its keys below it"),
            );
            return None;
        };
        Some(self.below(name, table, value.span()))
    }

    /// Every `[[name]]` below this one, in the order of the file; `name` in full, with the sections that it is in.
    pub(super) fn each(&self, name: &'static str) -> Vec<Self> {
        let remedy = format!("write [[{name}]] in double brackets, once for each");
        let key = name.rsplit('.').next().unwrap_or(name);
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(entries) = value.get_ref() else {
            self.wrong_kind(name, value, "a list of sections", &remedy);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for entry in entries.iter() {
            match entry.get_ref().as_table() {
                Some(table) => sections.push(self.below(name, table, entry.span())),
                None => self.wrong_kind(name, entry, "a section", &remedy),
            }
        }
        sections
    }

    fn below(&self, name: &'static str, table: &'t DeTable<'t>, span: Range<usize>) -> Self {
        let section = Self {
            document: self.document,
            name,
            table,
            span,
        };
        section.report_unknown();
        section
    }

    /// No value is shown here: it may be a secret in the wrong place.
    fn wrong_kind(
        &self,
        name: &'static str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
        remedy: &str,
    ) {
        let wrong = Wrong::new(
            format!("must be {wanted}, found {}", kind(value.get_ref())),
            remedy,
        );
        self.document
            .refuse(&value.span(), name.to_owned(), None, wrong);
    }

    fn report_unknown(&self) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if has_section(self.name, name) || keys_of(self.name).contains(&name) {
                continue;
            }
            let wrong = Wrong::new(
                "is not a key of the configuration",
                remedy_for(self.name, &printable(name)),
            );
            self.document
                .refuse(&key.span(), self.path(&printable(name)), None, wrong);
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    /// The value of `key`, when it is written.
    pub(super) fn field(&self, key: &'static str) -> Option<Field<'t>> {
        debug_assert!(
            keys_of(self.name).contains(&key),
            "a key that the schema lacks could never be written"
        );
        let value = self.table.get(key)?;
        Some(Field {
            document: self.document,
            section: self.name,
            key,
            value,
        })
    }

    /// Reports that `key` is missing.
    pub(super) fn missing(&self, key: &str, problem: &str, remedy: &str) {
        self.document.refuse(
            &self.span,
            self.path(key),
            None,
            Wrong::new(problem, remedy),
        );
    }

    /// The value of `key`, judged by `parse`; `None` when it is not written or refused.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&'t DeValue<'t>) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.field(key)?.read(parse)
    }

    /// As [`Section::read`], reporting a missing key.
    pub(super) fn require<T>(
        &self,
        key: &'static str,
        remedy: &str,
        parse: impl FnOnce(&'t DeValue<'t>) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.field(key).is_none() {
            self.missing(key, "is missing", remedy);
        }
        self.read(key, parse)
    }

    /// The items of the list `key`, each judged by `parse`; `None` when it is not written.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&'t DeValue<'t>) -> Result<T, Wrong>,
    ) -> Option<Vec<(T, Field<'t>)>> {
        let field = self.field(key)?;
        let DeValue::Array(items) = field.value.get_ref() else {
            let problem = format!("must be a list, found {}", kind(field.value.get_ref()));
            field.refuse(Wrong::new(problem, format!("write {key} = [...]")));
            return None;
        };
        let items = items.iter().map(|value| Field { value, ..field });
        Some(
            items
                .filter_map(|item| Some((item.read(&parse)?, item)))
                .collect(),
        )
    }
}

/// One value of the text, with its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'t> {
    pub(super) document: &'t Document<'t>,
    section: &'static str,
    key: &'static str,
    value: &'t Spanned<DeValue<'t>>,
}

impl<'t> Field<'t> {
    /// The value, judged by `parse`.
    pub(super) fn read<T>(
        self,
        parse: impl FnOnce(&'t DeValue<'t>) -> Result<T, Wrong>,
    ) -> Option<T> {
        parse(self.value.get_ref())
            .map_err(|wrong| self.refuse(wrong))
            .ok()
    }

    /// Whether it is this boolean.
    pub(super) fn is(self, wanted: bool) -> bool {
        self.value.get_ref().as_bool() == Some(wanted)
    }

    /// Reports this value as wrong.
    pub(super) fn refuse(self, wrong: Wrong) {
        self.document
            .refuse(&self.value.span(), self.path(), self.shown(), wrong);
    }

    /// Reports this value as worth a look.
    pub(super) fn warn(self, wrong: Wrong) {
        let warning = self
            .document
            .error(&self.value.span(), self.path(), self.shown(), wrong);
        self.document
            .warnings
            .borrow_mut()
            .push(ConfigWarning(warning));
    }

    fn path(self) -> String {
        if self.section.is_empty() {
            self.key.to_owned()
        } else {
            format!("{}.{}", self.section, self.key)
        }
    }

    /// The value in words; never a secret, nor anything that would flood a terminal.
    fn shown(self) -> Option<String> {
        const LONGEST: usize = 100;
        if self.section == "secret" && self.key == "value" {
            return None;
        }
        let shown = match self.value.get_ref() {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
        };
        (shown.len() <= LONGEST).then_some(shown)
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
