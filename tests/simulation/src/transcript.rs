//! What happened, line by line: always as a digest, and as text for who asks.
//!
//! Not responsible for what is worth a line.

use std::fmt::{self, Write};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The record of one storm.
#[derive(Debug)]
pub(crate) struct Transcript {
    digest: Sha256,
    text: Option<String>,
    line: String,
}

impl Transcript {
    pub(crate) fn new(with_text: bool) -> Self {
        Self {
            digest: Sha256::new(),
            text: with_text.then(String::new),
            line: String::new(),
        }
    }

    /// Adds a line, and the bytes that it is about.
    pub(crate) fn add(&mut self, at: Duration, what: fmt::Arguments<'_>, bytes: &[u8]) {
        self.line.clear();
        write!(self.line, "{:>14.6} {what}", at.as_secs_f64())
            .expect("writing to a string cannot fail");
        self.digest.update(self.line.as_bytes());
        self.digest.update(bytes);
        self.digest.update(b"\n");
        if let Some(text) = &mut self.text {
            text.push_str(&self.line);
            if !bytes.is_empty() {
                text.push(' ');
            }
            for byte in bytes {
                write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            }
            text.push('\n');
        }
    }

    /// The digest of all lines, and their text when it was asked for.
    pub(crate) fn finish(self) -> ([u8; 32], Option<String>) {
        (self.digest.finalize().into(), self.text)
    }
}
