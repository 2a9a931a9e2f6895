//! Files that are replaced whole: what must survive a restart, and what nobody may read half of.
//!
//! Responsible for leaving the old one or the new one, whatever happens meanwhile, readable by its owner alone. Not
//! responsible for what is in it, nor for two writers at once: whoever shares a file holds a lock around this.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces the file, or makes it, with mode 0600. When this returns, it is on the disk. Blocks for as long as that takes.
///
/// # Errors
/// The old one is there then, or, should only the directory not be written, the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = unfinished(path)?;
    // What a crash has left there, or somebody else has put there: a symlink would lead us to write elsewhere, and a pipe
    // would have us wait for ever.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    // The name is on the disk when its directory is.
    File::open(directory_of(path))?.sync_all()
}

/// Where it is written before it has its name: beside it, as a rename stays within one file system.
fn unfinished(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut name = name.to_owned();
    name.push(".new");
    Ok(path.with_file_name(name))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("kept-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_whole_for_its_owner_alone() {
        let directory = directory("replaced");
        let path = directory.join("state.json");
        replace(&path, b"one").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"one".into(), 0o600)
        );
        // What is there already may be anybody's; its successor is not.
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        replace(&path, b"another").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"another".into(), 0o600)
        );
        let names = fs::read_dir(&directory).unwrap();
        assert_eq!(names.count(), 1, "nothing is left beside it");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_a_crash_or_a_stranger_has_left_is_neither_followed_nor_in_the_way() {
        let directory = directory("left");
        let (path, victim) = (directory.join("key"), directory.join("victim"));
        fs::write(&victim, "another's").unwrap();
        symlink(&victim, directory.join("key.new")).unwrap();
        replace(&path, b"one").unwrap();
        fs::write(directory.join("key.new"), "half of what w").unwrap();
        replace(&path, b"two").unwrap();
        // The name itself may lead elsewhere too: it is replaced, not what it leads to.
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        replace(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read(&victim).unwrap(), b"another's");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn one_that_cannot_be_written_stays_as_it_was() {
        let directory = directory("stays");
        let path = directory.join("state.json");
        replace(&path, b"one").unwrap();
        fs::create_dir(directory.join("state.json.new")).unwrap();
        replace(&path, b"two").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&directory.join("nowhere/state.json"), b"two").unwrap_err();
        replace(Path::new("/"), b"two").unwrap_err();
        fs::remove_dir_all(&directory).unwrap();
    }
}
