//! A lease in a file, for controllers on one host.
//!
//! Responsible for reading it whole and for changing it at once or not at all: a lock beside it makes look and change one
//! step, a rename makes the change visible whole, and both survive a crash. Not for file systems of a network, whose locks
//! differ.
//!
//! A process may be stopped at any instruction, also between its look and its rename, and would keep the lock for as long as it
//! sleeps. So whoever has waited for longer than a look and a rename take breaks the lock, and safety does not rest on it: each
//! change begins by removing what all others were about to put in place.
//!
//! ```text
//!   sleeper   lock A - remove others' - look ....................................... rename: there is no such file
//!   other                 wait - take A's name away - lock B - remove others' - look - rename
//! ```
//!
//! What the sleeper has seen may be out of date when it wakes, but what it would put in place is gone. If it wakes before that,
//! its change is made, and the other, who looks after that, sees it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::{Lease, LeaseError, Record, Seen};

/// Longest file that is read: a record is a line.
const FILE_BYTES: u64 = 4096;
/// How often the lock is tried before it is broken, and how long each wait is: whoever holds it does so for a look and a rename.
const LOCK_TRIES: u32 = 20;
const LOCK_WAIT: Duration = Duration::from_millis(25);

/// A lease in a file. `<file>.lock` stands beside it, and while it is changed `<file>.new.<random>`.
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
        // What waits for the disk is done before and after the lock, which is not to be held for long.
        // Never a name that another has or had: in two containers both are process 1, and whoever wakes from a long sleep would
        // put in place what is not its own.
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| LeaseError::Failed(format!("no random name: {error}")))?;
        let new = self.beside(&format!(".new.{:016x}", u64::from_ne_bytes(random)));
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
        let is_expected = || {
            let stands = self.read_now()?.map(|seen| seen.version);
            Ok(stands.as_deref() == expected)
        };
        // Twice: who comes too late takes nothing from anybody.
        if !is_expected()? {
            return Err(LeaseError::Conflict);
        }
        self.disarm_others(new)
            .map_err(|error| failed(&self.file, &error))?;
        if !is_expected()? {
            return Err(LeaseError::Conflict);
        }
        match fs::rename(new, &self.file) {
            Ok(()) => Ok(()),
            // Another was faster, and took it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LeaseError::Conflict),
            Err(error) => Err(failed(&self.file, &error)),
        }
    }

    /// A rename that a power failure takes back would take an epoch back.
    fn keep(&self) -> io::Result<()> {
        File::open(directory_of(&self.file))?.sync_all()
    }

    /// The lock, to be held for as long as it takes to change the file.
    fn lock(&self) -> Result<File, LeaseError> {
        let path = self.beside(".lock");
        let fail = |error: io::Error| failed(&path, &error);
        let mut waits = 0;
        let mut waited_for = None;
        for _ in 0..3 * LOCK_TRIES {
            let lock = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(fail)?;
            let id = Some(id_of(&lock.metadata().map_err(fail)?));
            let is_there = || id_at(&path).map(|there| there == id).map_err(fail);
            match lock.try_lock() {
                // One whose name was taken away meanwhile keeps nobody out.
                Ok(()) if is_there()? => return Ok(lock),
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(fail(error)),
            }
            // Another lock may have been put there by somebody who has waited as long.
            if waited_for != id {
                (waited_for, waits) = (id, 0);
            }
            waits += 1;
            if waits < LOCK_TRIES {
                std::thread::sleep(LOCK_WAIT);
            } else if is_there()? {
                tracing::warn!(
                    lock = %path.display(),
                    "the lease is locked by a controller that is stopped, or very slow: its lock is broken"
                );
                unless_gone(fs::remove_file(&path)).map_err(fail)?;
            }
        }
        Err(LeaseError::Failed(format!(
            "{} is locked by another controller",
            path.display()
        )))
    }

    /// Removes what all others were about to put in place, and what a crash has left.
    fn disarm_others(&self, mine: &Path) -> io::Result<()> {
        let prefix = self.beside(".new.");
        let directory = directory_of(&self.file);
        for entry in fs::read_dir(directory)? {
            let path = directory.join(entry?.file_name());
            let is_new = path
                .file_name()
                .zip(prefix.file_name())
                .is_some_and(|(name, prefix)| {
                    name.as_encoded_bytes()
                        .starts_with(prefix.as_encoded_bytes())
                });
            if is_new && path.file_name() != mine.file_name() {
                unless_gone(fs::remove_file(&path))?;
            }
        }
        Ok(())
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

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        Some(_) | None => Path::new("."),
    }
}

/// Which file it is, whatever it is called.
fn id_of(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Which file has this name, if one has.
fn id_at(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match fs::metadata(path) {
        Ok(named) => Ok(Some(id_of(&named))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
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
