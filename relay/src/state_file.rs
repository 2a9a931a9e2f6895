//! One file of the state directory: what must survive a restart.
//!
//! Responsible for where it is, and for reading it with suspicion: a bounded number of bytes of a plain file. Not responsible
//! for how it is replaced (`taciturn_plane::replace`), nor for what is in it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is replaced whole.
#[derive(Debug)]
pub(crate) struct StateFile {
    directory: PathBuf,
    name: &'static str,
    most_bytes: usize,
}

impl StateFile {
    /// The file of this name, of which at most `most_bytes` are read.
    pub(crate) fn new(directory: &Path, name: &'static str, most_bytes: usize) -> Self {
        Self {
            directory: directory.to_path_buf(),
            name,
            most_bytes,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(self.name)
    }

    /// Whether there is a directory to keep it in.
    pub(crate) fn can_be_kept(&self) -> bool {
        self.directory.is_dir()
    }

    /// What it says.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Not a name that leads elsewhere, and not a pipe that would be waited on for ever.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(self.path())?;
        if !file.metadata()?.is_file() {
            return Err(invalid("it is not a file"));
        }
        file.take(self.most_bytes as u64 + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() > self.most_bytes {
            return Err(invalid("it is longer than any that the relay writes"));
        }
        Ok(bytes)
    }

    /// Replaces it; only the relay's user may read it. When this returns, it is on the disk.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        taciturn_plane::replace(&self.path(), bytes)
    }

    /// Puts one that cannot be read aside, for people. Should that fail too, the next one replaces it.
    pub(crate) fn put_aside(&self) {
        let aside = self.directory.join(format!("{}.unreadable", self.name));
        let _ = fs::rename(self.path(), aside);
    }
}

/// An error of what was read.
pub(crate) fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
