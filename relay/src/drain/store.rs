//! The file that a drain order survives a restart in.
//!
//! Responsible for its form, and for reading it with suspicion: nothing in it can keep the relay from starting. Not
//! responsible for what the orders mean, nor for how a file is replaced (`state_file`).

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{CurrentDrain, DrainSource};
use crate::state_file::{StateFile, invalid};

/// Far more than the orders of all sources take.
const MOST_BYTES: usize = 16 * 1024;
/// The form of the file. A later program that writes another one says so.
const VERSION: u32 = 1;
const NAME: &str = "drain.json";

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

/// The file.
#[derive(Debug)]
pub(super) struct Store(StateFile);

impl Store {
    /// The store in this directory, and what it holds. A file that makes no sense is put aside and reported.
    pub(super) fn open(directory: &Path) -> (Self, Kept) {
        let store = Self(StateFile::new(directory, NAME, MOST_BYTES));
        let kept = match store.read() {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !store.0.can_be_kept() {
                    warn!(
                        directory = %directory.display(),
                        "state-directory is not a directory: a drain would not survive a restart"
                    );
                }
                Kept::default()
            }
            Err(error) => {
                warn!(
                    file = %store.file().display(), %error,
                    "the kept drain orders cannot be read: starting as if nothing had been ordered; the file is put aside"
                );
                store.0.put_aside();
                Kept::default()
            }
        };
        (store, kept)
    }

    /// Where the orders are kept.
    pub(super) fn file(&self) -> PathBuf {
        self.0.path()
    }

    /// Replaces what the file says. When this returns, it is on the disk.
    pub(super) fn write(&self, kept: &Kept) -> io::Result<()> {
        let written = Written {
            version: VERSION,
            epoch: kept.epoch,
            orders: kept.orders.clone(),
        };
        let text = serde_json::to_vec(&written).map_err(io::Error::other)?;
        self.0.write(&text)
    }

    fn read(&self) -> io::Result<Kept> {
        let written: Written = serde_json::from_slice(&self.0.read()?).map_err(io::Error::other)?;
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
