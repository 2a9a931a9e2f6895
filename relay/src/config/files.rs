//! Reading the files that a configuration consists of.
//!
//! Responsible for bounds and for noticing careless file modes. Not for what the files mean.

use core::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::error::{ConfigError, ConfigErrors};

/// The longest file that is read. A certificate chain is a few kilobytes; this bounds what a wrong name can cost.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A file's contents; wiped when dropped, as most of them are secret.
pub struct FileRead {
    /// The bytes as they are in the file.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether the file's mode lets everybody on the machine read or write it.
    pub open_to_others: bool,
    /// Whether it lets everybody write it: whoever writes a file that the relay follows says what the relay does.
    pub writable_by_others: bool,
}

impl fmt::Debug for FileRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRead")
            .field("length", &self.bytes.len())
            .field("open_to_others", &self.open_to_others)
            .field("writable_by_others", &self.writable_by_others)
            .finish()
    }
}

/// A secret that is used as it is; wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// These bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes themselves, for a comparison that takes the same time whatever they are.
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
    // Without waiting: a pipe that nobody writes to would be waited on for ever, at a start and at each reload.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a pipe or a device, which cannot be read again when it changes",
        ));
    }
    let mode = metadata.permissions().mode();
    let mut bytes = Zeroizing::new(Vec::new());
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
        open_to_others: mode & 0o006 != 0,
        writable_by_others: mode & 0o002 != 0,
    })
}

/// Reads the configuration itself.
pub(super) fn read_config(
    path: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<FileRead>,
) -> Result<FileRead, ConfigErrors> {
    read(path).map_err(|error| {
        ConfigErrors::new(vec![ConfigError {
            file: path.to_path_buf(),
            line: 0,
            column: 0,
            key: String::new(),
            value: None,
            problem: format!("cannot be read: {error}"),
            remedy: "name a configuration file that this user may read".to_owned(),
        }])
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_pipe_is_refused_and_not_waited_on() {
        let directory = std::env::temp_dir().join(format!("taciturn-files-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        let pipe = directory.join("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let error = read_file(&pipe).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = read_file(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        std::fs::write(directory.join("file"), "x").unwrap();
        assert_eq!(*read_file(&directory.join("file")).unwrap().bytes, b"x");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
