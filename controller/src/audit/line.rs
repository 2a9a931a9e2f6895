//! One line: written so that there is one way to write it, and taken apart without trusting it.
//!
//! Not responsible for files (`ledger`), nor for what comes before the line (`verify`).

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Head;

/// What the first line has for the hash of the line before it.
pub(super) const FIRST_PREV: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// The longest line that is written or read, without its end. A fleet's whole plan is a few kilobytes.
pub(super) const LONGEST: usize = 256 * 1024;

const BEFORE_HASH: &str = ",\"hash\":\"";
const AFTER_HASH: &str = "\"}";

/// A line and the head that it makes; the line has its end.
pub(super) fn write(after: &Head, time: &str, kind: &str, body: &Value) -> (String, Head) {
    let seq = after.seq.saturating_add(1);
    let mut line = begun(seq, time, &after.hash, kind, body);
    if line.len() > LONGEST - BEFORE_HASH.len() - 64 - AFTER_HASH.len() {
        // Better a line that says so than one that no reader takes.
        let short = serde_json::json!({ "left_out_bytes": line.len() });
        line = begun(seq, time, &after.hash, kind, &short);
    }
    let hash = hex(&Sha256::digest(line.as_bytes()));
    line.push_str(BEFORE_HASH);
    line.push_str(&hash);
    line.push_str(AFTER_HASH);
    line.push('\n');
    (line, Head { seq, hash })
}

fn begun(seq: u64, time: &str, prev: &str, kind: &str, body: &Value) -> String {
    // As JSON strings, in which nothing can end early.
    let (time, kind) = (Value::from(time), Value::from(kind));
    format!("{{\"seq\":{seq},\"time\":{time},\"prev\":\"{prev}\",\"kind\":{kind},\"body\":{body}")
}

/// What a line says, as far as its own hash vouches for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) seq: u64,
    pub(super) time: String,
    pub(super) prev: String,
    pub(super) kind: String,
    pub(super) body: Value,
    pub(super) hash: String,
}

/// Takes a line, without its end, apart.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(line: &[u8]) -> Result<Line, String> {
    if line.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    let length = BEFORE_HASH.len() + 64 + AFTER_HASH.len();
    let (hashed, tail) = line
        .split_at_checked(line.len().saturating_sub(length))
        .ok_or("is too short")?;
    let hash = tail
        .strip_prefix(BEFORE_HASH.as_bytes())
        .and_then(|tail| tail.strip_suffix(AFTER_HASH.as_bytes()))
        .ok_or("does not end with its hash")?;
    if hash != hex(&Sha256::digest(hashed)).as_bytes() {
        return Err("does not match its hash: it was changed after it was written".to_owned());
    }
    serde_json::from_slice(line).map_err(|error| format!("is no record of a trail: {error}"))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
