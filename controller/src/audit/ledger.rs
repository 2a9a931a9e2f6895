//! The trail's file: opened and judged at the start, appended to a line at a time, each on the disk before the next.
//!
//! Responsible for a disk that is full or fails: a line that cannot be written waits in memory, in its order, and is tried
//! again with the next one and whenever [`Audit::retry`] is called; when too many wait, the oldest stay and the newest are
//! counted, and a line says so later. Not responsible for rotation: a trail is taken away by its operator while no
//! controller runs, and the next one begins anew.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::line::hex;
use super::verify::{Fault, verify_file};
use super::{Head, kind, line};
use crate::apply::AuditSink;
use crate::clock::Clock;

/// Lines that wait for a disk; a controller that acts writes a few a minute.
const WAITING: usize = 2048;

/// The audit trail of one controller.
#[derive(Debug)]
pub struct Audit {
    clock: Clock,
    ledger: Mutex<Ledger>,
}

/// How the trail is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct AuditState {
    /// Its last line.
    pub head: Head,
    /// Writes that failed since the start.
    pub failures: u64,
    /// Lines that wait to be written.
    pub waiting: usize,
    /// Lines that were given up, as too many waited.
    pub lost: u64,
    /// What is wrong at present, in words.
    pub fault: Option<String>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    /// `None` after an error that may have left it in any state; opened anew then.
    file: Option<File>,
    /// The bytes of all whole lines.
    length: u64,
    head: Head,
    waiting: VecDeque<Waiting>,
    failures: u64,
    lost: u64,
    /// Of `lost`, those that a line has told of.
    told: u64,
    fault: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    time: String,
    kind: String,
    body: Value,
}

impl Audit {
    /// Opens the trail at `path`, or begins one for `fleet`. A last line that a crash has cut off, and a trail whose chain is
    /// broken, are set aside beside it and told of in the trail.
    ///
    /// # Errors
    /// It can be neither read nor made.
    pub fn open(path: &Path, fleet: &str, clock: Clock) -> io::Result<Self> {
        let mut first = Vec::new();
        let found = match verify_file(path, None) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(super::verify::Verified::default())
            }
            Err(error) => return Err(error),
        };
        let whole = match found {
            Ok(whole) => whole,
            Err(fault) if fault.last && fault.before.head.seq > 0 => {
                first.push((kind::TORN_LINE, set_tail_aside(path, &fault, clock)?));
                fault.before
            }
            Err(fault) => {
                let before = set_all_aside(path, &fault, clock)?;
                first.push((kind::BEGIN, json!({ "fleet": fleet, "before": before })));
                super::verify::Verified::default()
            }
        };
        if whole.head.seq == 0 && first.is_empty() {
            first.push((kind::BEGIN, json!({ "fleet": fleet })));
        }
        let audit = Self {
            clock,
            ledger: Mutex::new(Ledger {
                path: path.to_path_buf(),
                file: None,
                length: whole.bytes,
                head: whole.head,
                waiting: VecDeque::new(),
                failures: 0,
                lost: 0,
                told: 0,
                fault: None,
            }),
        };
        for (kind, body) in first {
            audit.append(kind, &body).map_err(io::Error::other)?;
        }
        Ok(audit)
    }

    /// Appends one entry and has it on the disk when this returns, or keeps it for later.
    ///
    /// # Errors
    /// It is not on the disk, in words; it is tried again by itself.
    pub fn append(&self, kind: &str, body: &Value) -> Result<(), String> {
        let time = self.time();
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if ledger.waiting.len() < WAITING {
            ledger.waiting.push_back(Waiting {
                time,
                kind: kind.to_owned(),
                body: body.clone(),
            });
        } else {
            ledger.lost = ledger.lost.saturating_add(1);
        }
        ledger.write_waiting(&self.time())
    }

    /// Tries again to write what waits.
    ///
    /// # Errors
    /// Something still waits; why.
    pub fn retry(&self) -> Result<(), String> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.write_waiting(&self.time())
    }

    /// How it is.
    pub fn state(&self) -> AuditState {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        AuditState {
            head: ledger.head.clone(),
            failures: ledger.failures,
            waiting: ledger.waiting.len(),
            lost: ledger.lost,
            fault: ledger.fault.clone(),
        }
    }

    fn time(&self) -> String {
        rfc3339(self.clock)
    }

    #[cfg(test)]
    pub(super) fn ledger_for_test(&self, then: impl FnOnce(&mut Ledger)) {
        then(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl AuditSink for Audit {
    fn append(&self, kind: &str, body: &Value) -> Result<(), String> {
        Self::append(self, kind, body)
    }
}

impl Ledger {
    /// As after a write that failed.
    #[cfg(test)]
    pub(super) fn lose_file(&mut self) {
        self.file = None;
    }

    fn write_waiting(&mut self, now: &str) -> Result<(), String> {
        while let Some(next) = self.waiting.front() {
            let (text, head) = line::write(&self.head, &next.time, &next.kind, &next.body);
            self.write(&text, head)?;
            self.waiting.pop_front();
        }
        if self.lost > self.told {
            let lost = self.lost;
            let body = json!({ "lines_lost": lost - self.told });
            let (text, head) = line::write(&self.head, now, kind::GAP, &body);
            self.write(&text, head)?;
            self.told = lost;
        }
        Ok(())
    }

    fn write(&mut self, text: &str, head: Head) -> Result<(), String> {
        match self.try_write(text.as_bytes()) {
            Ok(()) => {
                let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
                self.length = self.length.saturating_add(length);
                self.head = head;
                self.fault = None;
                Ok(())
            }
            Err(error) => {
                // What of the line is there is cut off before the next try.
                self.file = None;
                self.failures = self.failures.saturating_add(1);
                let words = format!("{}: {error}", self.path.display());
                self.fault = Some(words.clone());
                Err(words)
            }
        }
    }

    fn try_write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(open_at(&self.path, self.length)?);
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        file.write_all(text)?;
        file.sync_data()
    }
}

/// Opens the file for what comes after its first `length` bytes; what is there beyond them is half a line of our own.
fn open_at(path: &Path, length: u64) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let found = file.metadata()?.len();
    if found < length {
        // Somebody has taken lines away, or the whole file. Writing on would leave a hole; a file that is gone is made anew,
        // and `verify` says from which line on it goes.
        return Err(io::Error::other(format!(
            "has {found} bytes where this controller has written {length}: somebody has cut it; move it away and restart the \
             controller"
        )));
    }
    if found > length {
        file.set_len(length)?;
    }
    file.seek(SeekFrom::Start(length))?;
    Ok(file)
}

/// Moves what is behind the last whole line to a file of its own; returns what the trail says of it.
fn set_tail_aside(path: &Path, fault: &Fault, clock: Clock) -> io::Result<Value> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(fault.at))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let aside = beside(path, "torn", clock);
    let mut kept = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    kept.write_all(&tail)?;
    kept.sync_all()?;
    // Only now that it is kept.
    file.set_len(fault.at)?;
    file.sync_all()?;
    Ok(json!({
        "bytes": tail.len(),
        "sha256": hex(&Sha256::digest(&tail)),
        "kept_as": name_of(&aside),
        "words": format!("the last line {}", fault.words),
    }))
}

/// Moves a broken trail away as a whole; returns what the next one says of it.
fn set_all_aside(path: &Path, fault: &Fault, clock: Clock) -> io::Result<Value> {
    let aside = beside(path, "broken", clock);
    fs::rename(path, &aside)?;
    Ok(json!({
        "kept_as": name_of(&aside),
        "line": fault.line,
        "words": format!("line {} {}", fault.line, fault.words),
        "head": fault.before.head,
    }))
}

/// A name beside the trail that no other file has.
fn beside(path: &Path, why: &str, clock: Clock) -> PathBuf {
    let seconds = clock.unix().as_secs();
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{why}-{seconds}"));
        if number > 0 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    (0..1000)
        .map(name)
        .find(|candidate| !candidate.exists())
        .unwrap_or_else(|| name(1000))
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The wall clock as RFC 3339 has it, to the second.
fn rfc3339(clock: Clock) -> String {
    let seconds = i64::try_from(clock.unix().as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
