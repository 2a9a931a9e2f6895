//! A lease in a file, for controllers on one host.
//!
//! Responsible for reading it whole and for changing it at once or not at all: a lock beside it makes look and change one
//! step, a rename makes the change visible whole, and both survive a crash. Not for file systems of a network, whose locks
//! differ.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{Lease, LeaseError, Record, Seen};

/// Longest file that is read: a record is a line.
const FILE_BYTES: u64 = 4096;
/// How often the lock is tried, and how long each wait is: whoever holds it does so for a look and a rename.
const LOCK_TRIES: u32 = 40;
const LOCK_WAIT: Duration = Duration::from_millis(25);
/// Makes names: an attempt that took too long may still be under way when the next one begins.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// A lease in a file. `<file>.lock` stands beside it, and while it is changed `<file>.new.<process>.<n>`.
#[derive(Clone, Debug)]
pub struct FileLease {
    file: PathBuf,
}

impl FileLease {
    /// A lease in `file`, whose directory exists.
    pub const fn new(file: PathBuf) -> Self {
        Self { file }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    fn read_now(&self) -> Result<Option<Seen>, LeaseError> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&self.file, &error)),
        };
        let mut text = String::new();
        let read = file.take(FILE_BYTES).read_to_string(&mut text);
        read.map_err(|error| failed(&self.file, &error))?;
        let record = serde_json::from_str(&text).map_err(|error| {
            LeaseError::Unreadable(format!(
                "{}: {error}; put it aside if no controller runs, and its epoch begins anew",
                self.file.display()
            ))
        })?;
        Ok(Some(Seen {
            record,
            version: text,
        }))
    }

    fn write_now(&self, expected: Option<&str>, record: &Record) -> Result<String, LeaseError> {
        let text = serde_json::to_string(record).map_err(|error| {
            LeaseError::Failed(format!("the record cannot be written: {error}"))
        })?;
        // What waits for the disk is done before and after the lock: a process that is stopped while it has that would keep
        // all others from the lease for as long as it sleeps.
        let (process, nth) = (std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed));
        let new = self.beside(&format!(".new.{process}.{nth}"));
        let changed = write_durably(&new, &text)
            .map_err(|error| failed(&new, &error))
            .and_then(|()| self.exchange(expected, &new));
        if changed.is_err() {
            // What cannot be taken away either is a few bytes that nobody reads.
            let _ = fs::remove_file(&new);
        }
        changed?;
        self.keep().map_err(|error| failed(&self.file, &error))?;
        Ok(text)
    }

    /// Puts `new` in the file's place if that is still what is expected.
    fn exchange(&self, expected: Option<&str>, new: &Path) -> Result<(), LeaseError> {
        // Given back when it is closed, by a process that dies as well.
        let _lock = self.lock()?;
        let stands = self.read_now()?.map(|seen| seen.version);
        if stands.as_deref() != expected {
            return Err(LeaseError::Conflict);
        }
        fs::rename(new, &self.file).map_err(|error| failed(&self.file, &error))
    }

    /// A rename that a power failure takes back would take an epoch back.
    fn keep(&self) -> io::Result<()> {
        match self.file.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => {
                File::open(directory)?.sync_all()
            }
            Some(_) | None => File::open(".")?.sync_all(),
        }
    }

    fn lock(&self) -> Result<File, LeaseError> {
        let path = self.beside(".lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(&path, &error))?;
        for _ in 0..LOCK_TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
                Err(TryLockError::Error(error)) => return Err(failed(&path, &error)),
            }
        }
        Err(LeaseError::Failed(format!(
            "{} is locked by another controller",
            path.display()
        )))
    }

    /// Carries out what waits for a disk where it keeps nobody else waiting.
    async fn beside_the_rounds<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Self) -> Result<T, LeaseError> + Send + 'static,
    ) -> Result<T, LeaseError> {
        let lease = self.clone();
        tokio::task::spawn_blocking(move || ask(&lease))
            .await
            .unwrap_or_else(|_| Err(LeaseError::Unknown("the controller is ending".to_owned())))
    }
}

#[async_trait]
impl Lease for FileLease {
    fn kind(&self) -> &'static str {
        "file"
    }

    async fn read(&self) -> Result<Option<Seen>, LeaseError> {
        self.beside_the_rounds(Self::read_now).await
    }

    async fn write(&self, expected: Option<&str>, record: &Record) -> Result<String, LeaseError> {
        let expected = expected.map(str::to_owned);
        let record = record.clone();
        self.beside_the_rounds(move |lease| lease.write_now(expected.as_deref(), &record))
            .await
    }
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn failed(path: &Path, error: &io::Error) -> LeaseError {
    LeaseError::Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
