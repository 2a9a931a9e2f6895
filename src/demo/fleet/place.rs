//! The private directory of a run, and what is left of runs that were killed.
//!
//! ```text
//!   TMP/taciturn-demo-UID/lock             held while runs are begun and cleared away
//!   TMP/taciturn-demo-UID/run-RANDOM/      one run: its configuration, logs and certificates, and all that its relays keep
//!   TMP/taciturn-demo-UID/run-RANDOM/lock  held for as long as the run lives
//! ```
//!
//! Responsible for the directories and their locks. Not responsible for what is in them, nor for how processes are told
//! (`processes`).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::getuid;

use super::processes;

/// Clearing away what a killed run has left takes seconds; another demo that starts meanwhile waits for so many looks.
const LOOKS: u32 = 300;
const LOOK: Duration = Duration::from_millis(100);

/// The directory of this run, until it is removed.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// Makes a directory for this run, after clearing away what runs that were killed have left. Also returns how many of
    /// those there were.
    pub(crate) async fn make() -> anyhow::Result<(Self, usize)> {
        let name = format!("taciturn-demo-{}", getuid().as_raw());
        Self::make_within(&std::env::temp_dir().join(name)).await
    }

    async fn make_within(parent: &Path) -> anyhow::Result<(Self, usize)> {
        let parent = private_directory(parent)?;
        let _turn = turn(&parent).await?;
        let cleared = clear(&parent).await?;
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes)
            .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
        let path = parent.join(format!("run-{:08x}", u32::from_be_bytes(bytes)));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("{} cannot be made", path.display()))?;
        let lock = lock_file(&path)?;
        lock.try_lock()
            .with_context(|| format!("{} cannot be locked", path.display()))?;
        Ok((Self { path, _lock: lock }, cleared))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that nobody else may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let write = || -> io::Result<()> {
            let mut file = private().create_new(true).open(&path)?;
            file.write_all(text.as_bytes())
        };
        write().with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }

    /// Ends everything that runs from here, and removes the directory. Without `patience` nobody is asked first.
    pub(crate) async fn clear(&self, patience: bool) -> anyhow::Result<()> {
        clear_run(&self.path, patience).await
    }
}

/// Makes the directory of all runs, or makes sure that it is ours alone: everybody may write where it stands.
fn private_directory(path: &Path) -> anyhow::Result<PathBuf> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("{} cannot be made", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(path)
        .with_context(|| format!("{} cannot be looked at", path.display()))?;
    let is_private = found.mode() & 0o077 == 0 && found.uid() == getuid().as_raw();
    if !found.is_dir() || !is_private {
        bail!(
            "{} is no private directory of yours; remove it, or set TMPDIR to another place",
            path.display()
        );
    }
    fs::canonicalize(path).with_context(|| format!("{} cannot be looked at", path.display()))
}

/// Waits until no other demo begins or clears away.
async fn turn(parent: &Path) -> anyhow::Result<File> {
    let file = lock_file(parent)?;
    for _ in 0..LOOKS {
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!(
        "{} stays locked by another demo, which may be stopped",
        parent.display()
    )
}

/// Clears away the runs whose demo does not live any more; how many.
async fn clear(parent: &Path) -> anyhow::Result<usize> {
    let mut runs: Vec<PathBuf> = Vec::new();
    let entries =
        fs::read_dir(parent).with_context(|| format!("{} cannot be read", parent.display()))?;
    runs.extend(
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir()),
    );
    // Somebody may have removed the directory, and not ended what ran in it.
    for config in processes::configurations(parent) {
        runs.extend(
            config
                .ancestors()
                .find(|path| path.parent() == Some(parent))
                .map(Path::to_path_buf),
        );
    }
    runs.sort();
    runs.dedup();
    let mut cleared = 0;
    for run in runs {
        let lives = OpenOptions::new().write(true).open(run.join("lock"));
        if lives.is_ok_and(|lock| lock.try_lock().is_err()) {
            continue;
        }
        clear_run(&run, true).await?;
        cleared += 1;
    }
    Ok(cleared)
}

async fn clear_run(run: &Path, patience: bool) -> anyhow::Result<()> {
    let left = processes::end_all(run, patience).await;
    if left > 0 {
        bail!("{left} processes of {} do not end", run.display());
    }
    match fs::remove_dir_all(run) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", run.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn lock_file(directory: &Path) -> anyhow::Result<File> {
    let path = directory.join("lock");
    private()
        .create(true)
        .open(&path)
        .with_context(|| format!("{} cannot be opened", path.display()))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("taciturn-place-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[tokio::test]
    async fn a_run_that_lives_is_left_alone_and_one_that_does_not_is_cleared_away() {
        let parent = parent("clear");
        let (first, cleared) = Place::make_within(&parent).await.expect("a place");
        assert_eq!(cleared, 0);
        let (second, cleared) = Place::make_within(&parent).await.expect("another");
        assert_eq!(cleared, 0);
        // As after a kill -9: the directory stays, and the lock is nobody's.
        let left = first.path().to_path_buf();
        drop(first);
        let (third, cleared) = Place::make_within(&parent).await.expect("a third");
        assert_eq!(
            (cleared, left.exists(), second.path().exists()),
            (1, false, true)
        );
        for place in [second, third] {
            place.clear(true).await.expect("nothing in the way");
        }
        fs::remove_dir_all(&parent).expect("an empty directory");
    }

    #[tokio::test]
    async fn a_directory_that_others_may_write_to_is_refused() {
        let parent = parent("open");
        DirBuilder::new()
            .mode(0o777)
            .create(&parent)
            .expect("a directory");
        fs::set_permissions(&parent, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("ours");
        let error = Place::make_within(&parent).await.expect_err("not private");
        assert!(
            error.to_string().contains("remove it, or set TMPDIR"),
            "{error}"
        );
        fs::remove_dir_all(&parent).expect("an empty directory");
    }
}
