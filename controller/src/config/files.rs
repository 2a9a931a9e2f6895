//! Reading the files that a configuration consists of.
//!
//! Responsible for bounds and for noticing careless file modes. Not for what the files mean.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The longest file that is read. A certificate chain is a few kilobytes; this bounds what a wrong name can cost.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A file's contents.
pub struct FileRead {
    /// The bytes as they are in the file.
    pub bytes: Vec<u8>,
    /// Whether the file's mode lets everybody on the machine read or write it.
    pub open_to_others: bool,
}

impl fmt::Debug for FileRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRead")
            .field("length", &self.bytes.len())
            .field("open_to_others", &self.open_to_others)
            .finish()
    }
}

/// A secret that is used as it is, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// These bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes themselves, for a header or a comparison that takes the same time whatever they are.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// Reads a file of at most one mebibyte.
///
/// # Errors
/// What the system says, or that the file is longer, or none.
pub fn read_file(path: &Path) -> io::Result<FileRead> {
    // Without waiting: a pipe that nobody writes to would be waited on for ever.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a pipe or a device, which cannot be read again when it changes",
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "longer than 1 MiB",
        ));
    }
    Ok(FileRead {
        bytes,
        open_to_others: metadata.permissions().mode() & 0o006 != 0,
    })
}
