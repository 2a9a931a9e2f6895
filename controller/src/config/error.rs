//! What is wrong with a configuration, said so that it can be mended: file, line, key, value, problem, remedy.
//!
//! Responsible for the form of the report. Not for finding anything; nothing secret is ever put in here.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The configuration file, as it was named.
    pub file: PathBuf,
    /// Line in it, from 1; 0 when there is no text to point at.
    pub line: usize,
    /// The key with its section, such as `lease.ttl`; empty for the file as a whole.
    pub key: String,
    /// The value as written; `None` when there is none, and when it is long.
    pub value: Option<String>,
    /// What is wrong, and what to write or do instead: `problem; remedy`.
    pub words: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.words)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with a configuration, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|error| error.line);
        Self(errors)
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self(vec![ConfigError {
            file: path.to_path_buf(),
            line: 0,
            key: String::new(),
            value: None,
            words: format!(
                "cannot be read: {error}; name a configuration file that the controller's user may read"
            ),
        }])
    }

    /// The errors in the order of the file.
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    /// One error a line, without a line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
