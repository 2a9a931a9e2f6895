//! The key of tickets in its file.
//!
//! Responsible for making it once, readable by its owner alone, and for reading it. Controllers that are to honour each
//! other's tickets are given the same file by their operator.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::ticket::TicketKey;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file system says no.
    #[error("{0} cannot be read or made")]
    File(PathBuf, #[source] io::Error),
    /// It was not made by us, or only half of it.
    #[error(
        "{0} is not 32 bytes long; remove it, and a new one is made: links that were given out are then refused"
    )]
    Length(PathBuf),
    /// Whoever reads it makes tickets.
    #[error("{0} may be read by others than its owner; chmod 600 it")]
    Open(PathBuf),
}

/// The key in this file, which is made where it is not there.
pub(super) fn open(path: &Path) -> Result<TicketKey, KeyError> {
    let failed = |error| KeyError::File(path.to_path_buf(), error);
    match OpenOptions::new().read(true).open(path) {
        Ok(file) => {
            if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
                return Err(KeyError::Open(path.to_path_buf()));
            }
            let mut bytes = Zeroizing::new(Vec::with_capacity(TicketKey::BYTES + 1));
            let most = TicketKey::BYTES as u64 + 1;
            file.take(most).read_to_end(&mut bytes).map_err(failed)?;
            let bytes: [u8; TicketKey::BYTES] = bytes[..]
                .try_into()
                .map_err(|_| KeyError::Length(path.to_path_buf()))?;
            Ok(TicketKey::new(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => made(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Whole before it has its name, so that a crash leaves either no key or all of it.
fn made(path: &Path) -> io::Result<TicketKey> {
    let bytes = Zeroizing::new(super::random::<{ TicketKey::BYTES }>()?);
    taciturn_plane::replace(path, &bytes[..])?;
    Ok(TicketKey::new(*bytes))
}
