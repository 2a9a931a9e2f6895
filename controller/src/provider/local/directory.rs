//! What is kept of the relays on this host: one directory for each, so that any controller finds all of them.
//!
//! Responsible for files, each written whole or not at all, and for the lock. Not responsible for processes.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::processes::{Run, SinceBoot};
use crate::durations::seconds;
use crate::fleet::{InstanceId, LaunchToken, ZoneId};
use crate::provider::ProviderError;

/// How many of those that have ended are kept: their tokens stay known, and their logs can be looked at.
const ENDED_KEPT: usize = 100;
/// A lock is held for milliseconds; whoever holds it longer is stopped or stuck.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What was launched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) id: InstanceId,
    pub(super) zone: ZoneId,
    pub(super) address: Ipv4Addr,
    pub(super) token: LaunchToken,
    pub(super) image: String,
    pub(super) launched: SinceBoot,
    #[serde(with = "seconds")]
    pub(super) boot: Duration,
}

/// All that is kept of one relay.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) record: Record,
    /// Its configuration, which its command line names.
    pub(super) config: PathBuf,
    pub(super) run: Option<Run>,
    pub(super) ending: Option<SinceBoot>,
}

/// The directory of all of them.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

/// Other controllers wait until it is dropped.
pub(super) struct Lock {
    _file: File,
}

impl Directory {
    /// Makes what is missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for part in ["instances", "ended"] {
            builder.create(path.join(part))?;
        }
        let path = fs::canonicalize(path)?;
        if path.to_str().is_none() {
            return Err(io::Error::other("its name is not UTF-8"));
        }
        Ok(Self { path })
    }

    pub(super) fn secret(&self) -> PathBuf {
        self.path.join("secret.key")
    }

    pub(super) fn config(&self, id: &InstanceId) -> PathBuf {
        self.home(id).join("relay.toml")
    }

    pub(super) fn log(&self, id: &InstanceId) -> PathBuf {
        self.home(id).join("relay.log")
    }

    pub(super) fn state(&self, id: &InstanceId) -> PathBuf {
        self.home(id).join("state")
    }

    fn home(&self, id: &InstanceId) -> PathBuf {
        self.path.join("instances").join(id.as_str())
    }

    /// Waits for whoever changes something, but not for ever.
    pub(super) fn lock(&self) -> Result<Lock, ProviderError> {
        let path = self.path.join("lock");
        let failed = |error: io::Error| failed(&path, &error);
        let file = private().open(&path).map_err(failed)?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        Err(ProviderError::Failed(format!(
            "{} stays locked; another controller that is stopped may hold it",
            path.display()
        )))
    }

    /// The secret is made once, and never again while there is one.
    pub(super) fn make_secret(&self) -> Result<(), ProviderError> {
        let path = self.secret();
        if path.exists() {
            return Ok(());
        }
        let random: [u8; 32] = random()?;
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        write_whole(&path, hex.as_bytes())
    }

    /// An instance from now on; its process is not started yet.
    pub(super) fn write(&self, record: &Record, config: &str) -> Result<(), ProviderError> {
        // Under another name first: whoever lists meanwhile sees all of it or nothing.
        let home = self.home(&record.id);
        let unfinished = home.with_file_name(format!(".{}", record.id));
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(unfinished.join("state"));
        made.map_err(|error| failed(&unfinished, &error))?;
        write_whole(&unfinished.join("relay.toml"), config.as_bytes())?;
        write_json(&unfinished.join("instance.json"), record)?;
        fs::rename(&unfinished, &home).map_err(|error| failed(&home, &error))
    }

    pub(super) fn write_run(&self, id: &InstanceId, run: Run) -> Result<(), ProviderError> {
        write_json(&self.home(id).join("run.json"), &run)
    }

    pub(super) fn mark_ending(
        &self,
        id: &InstanceId,
        now: &SinceBoot,
    ) -> Result<(), ProviderError> {
        write_json(&self.home(id).join("ending"), now)
    }

    /// Takes away an instance that never was one.
    pub(super) fn remove(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let home = self.home(id);
        fs::remove_dir_all(&home).map_err(|error| failed(&home, &error))
    }

    /// Puts an instance among those that have ended.
    pub(super) fn bury(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let (home, grave) = (self.home(id), self.path.join("ended").join(id.as_str()));
        fs::rename(&home, &grave).map_err(|error| failed(&home, &error))?;
        self.forget_oldest()
    }

    fn forget_oldest(&self) -> Result<(), ProviderError> {
        let graves = self.path.join("ended");
        let entries = fs::read_dir(&graves).map_err(|error| failed(&graves, &error))?;
        let mut by_age: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        by_age.sort();
        let surplus = by_age.len().saturating_sub(ENDED_KEPT);
        for (_, path) in by_age.iter().take(surplus) {
            fs::remove_dir_all(path).map_err(|error| failed(path, &error))?;
        }
        Ok(())
    }

    /// All that have not ended, by id.
    pub(super) fn instances(&self) -> Result<Vec<Stored>, ProviderError> {
        let mut found = Vec::new();
        for id in self.names("instances")? {
            found.extend(self.instance(&id)?);
        }
        Ok(found)
    }

    /// One of them; `None` when it is not there, or not any more.
    pub(super) fn instance(&self, id: &InstanceId) -> Result<Option<Stored>, ProviderError> {
        // What is no plain name is none of ours, and is not looked for outside of the directory.
        if !is_plain(id) {
            return Ok(None);
        }
        let home = self.home(id);
        let Some(record) = read_json(&home.join("instance.json"))? else {
            return if home.exists() {
                Err(ProviderError::Failed(format!(
                    "{} has no instance.json; end its relay by hand and remove it",
                    home.display()
                )))
            } else {
                Ok(None)
            };
        };
        Ok(Some(Stored {
            record,
            config: self.config(id),
            run: read_json(&home.join("run.json"))?,
            ending: read_json(&home.join("ending"))?,
        }))
    }

    /// Those of late that have ended.
    pub(super) fn ended(&self) -> Result<Vec<Record>, ProviderError> {
        let mut found = Vec::new();
        for id in self.names("ended")? {
            let record = self
                .path
                .join("ended")
                .join(id.as_str())
                .join("instance.json");
            found.extend(read_json(&record)?);
        }
        Ok(found)
    }

    fn names(&self, part: &str) -> Result<Vec<InstanceId>, ProviderError> {
        let path = self.path.join(part);
        let entries = fs::read_dir(&path).map_err(|error| failed(&path, &error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed(&path, &error))?;
            let name = entry.file_name();
            let id = name
                .to_str()
                .and_then(|name| InstanceId::try_from(name).ok());
            names.extend(id.filter(is_plain));
        }
        names.sort();
        Ok(names)
    }
}

/// An id that nobody has had.
pub(super) fn fresh_id(zone: usize, number: u8) -> Result<InstanceId, ProviderError> {
    let random = u32::from_be_bytes(random()?);
    let id = format!("local-{}-{number}-{random:08x}", zone + 1);
    InstanceId::try_from(id).map_err(|error| ProviderError::Failed(error.to_string()))
}

fn random<const N: usize>() -> Result<[u8; N], ProviderError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        ProviderError::Failed(format!("the system gives no random bytes: {error}"))
    })?;
    Ok(bytes)
}

fn is_plain(id: &InstanceId) -> bool {
    !id.as_str().starts_with('.') && !id.as_str().contains('/')
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ProviderError> {
    taciturn_plane::replace(path, bytes).map_err(|error| failed(path, &error))
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), ProviderError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| ProviderError::Failed(format!("{}: {error}", path.display())))?;
    write_whole(path, &text)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ProviderError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, &error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        ProviderError::Failed(format!("{} cannot be read: {error}", path.display()))
    })
}

fn failed(path: &Path, error: &io::Error) -> ProviderError {
    ProviderError::Failed(format!("{}: {error}", path.display()))
}
