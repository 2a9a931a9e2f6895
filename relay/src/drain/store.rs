//! The file that a drain order survives a restart in.
//!
//! Responsible for writing it so that a crash leaves the old one or the new one, and for reading it with suspicion: a
//! bounded number of bytes, and nothing in it can keep the relay from starting. Not responsible for what the orders mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{CurrentDrain, DrainSource};

/// Far more than the orders of all sources take.
const MOST_BYTES: u64 = 16 * 1024;
/// The form of the file. A later program that writes another one says so.
const VERSION: u32 = 1;
const NAME: &str = "drain.json";
const UNFINISHED: &str = "drain.json.new";
const ASIDE: &str = "drain.json.unreadable";

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The highest epoch seen.
    pub(super) epoch: u64,
    /// The orders in force, in the order in which they began.
    pub(super) orders: Vec<CurrentDrain>,
}

/// The same as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    epoch: u64,
    orders: Vec<CurrentDrain>,
}

/// The state directory.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    file: PathBuf,
}

impl Store {
    /// The store in this directory, and what it holds. A file that makes no sense is put aside and reported.
    pub(super) fn open(directory: &Path) -> (Self, Kept) {
        let store = Self {
            directory: directory.to_path_buf(),
            file: directory.join(NAME),
        };
        let kept = match store.read() {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !directory.is_dir() {
                    warn!(
                        directory = %directory.display(),
                        "state-directory is not a directory: a drain would not survive a restart"
                    );
                }
                Kept::default()
            }
            Err(error) => {
                warn!(
                    file = %store.file.display(), %error,
                    "the kept drain orders cannot be read: starting as if nothing had been ordered; the file is put aside"
                );
                // Should that fail too, the next order replaces the file.
                let _ = fs::rename(&store.file, directory.join(ASIDE));
                Kept::default()
            }
        };
        (store, kept)
    }

    /// Where the orders are kept.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Replaces what the file says. When this returns, it is on the disk.
    pub(super) fn write(&self, kept: &Kept) -> io::Result<()> {
        let written = Written {
            version: VERSION,
            epoch: kept.epoch,
            orders: kept.orders.clone(),
        };
        let text = serde_json::to_vec(&written).map_err(io::Error::other)?;
        let unfinished = self.directory.join(UNFINISHED);
        // What a crash has left there, or somebody else has put there: a symlink would lead the relay to write elsewhere, and
        // a pipe would have it wait for ever.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.file)?;
        // The name is on the disk when its directory is.
        File::open(&self.directory)?.sync_all()
    }

    fn read(&self) -> io::Result<Kept> {
        let mut text = Vec::new();
        // Not a name that leads elsewhere, and not a pipe that would be waited on for ever.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(&self.file)?;
        if !file.metadata()?.is_file() {
            return Err(invalid("it is not a file"));
        }
        file.take(MOST_BYTES + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MOST_BYTES {
            return Err(invalid("it is longer than any that the relay writes"));
        }
        let written: Written = serde_json::from_slice(&text).map_err(io::Error::other)?;
        if written.version != VERSION {
            return Err(invalid("another version of the relay wrote it"));
        }
        let each_once = DrainSource::ALL.iter().all(|source| {
            let orders = written.orders.iter();
            orders.filter(|order| order.source == *source).count() <= 1
        });
        if !each_once {
            return Err(invalid("a source has more than one order in it"));
        }
        for order in &written.orders {
            order.order.check_form().map_err(io::Error::other)?;
        }
        Ok(Kept {
            epoch: written.epoch,
            orders: written.orders,
        })
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
