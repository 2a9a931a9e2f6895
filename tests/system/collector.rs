//! A journal of the test's own: a `/run` with its socket in it, for processes that are started with mounts of their own.
//!
//! Responsible for the mounts and for what arrives. Not responsible for what is logged. Where a mount namespace is not to be
//! had a test says that it was not run, or fails (`scale`).

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::running::PATIENCE;
use crate::scale::not_run;

/// What to write before a command that is to run with this script's mounts; `None`: mounts of one's own are not to be had.
pub(crate) fn with_mounts(script: &str) -> Option<Vec<OsString>> {
    let found = ["-m", "-rm"].into_iter().find(|option| {
        let tried = Command::new("unshare")
            .args([option, "mount", "-t", "tmpfs", "none", "/run"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    });
    let Some(option) = found else {
        not_run(
            "a test with a journal of its own",
            "mount namespaces (root, or unshare -rm)",
        );
        return None;
    };
    let script = format!("mount -t tmpfs none /run && {script} exec \"$0\" \"$@\"");
    Some(
        ["unshare", option, "sh", "-c", &script]
            .map(OsString::from)
            .to_vec(),
    )
}

/// A script for [`with_mounts`] that has the journal's socket in this directory.
pub(crate) fn mounts(directory: &Path) -> String {
    format!(
        "mkdir -p /run/systemd/journal && mount --bind {} /run/systemd/journal &&",
        directory.display()
    )
}

/// The socket of a journal in a directory of its own. Nobody reads it yet.
pub(crate) fn journal(name: &str) -> (PathBuf, UnixDatagram) {
    let directory = env::temp_dir().join(format!("taciturn-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    let journal = UnixDatagram::bind(directory.join("socket")).unwrap();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    (directory, journal)
}

/// A journal that is read all the time.
pub(crate) struct Collector {
    directory: PathBuf,
    entries: Arc<Mutex<String>>,
}

impl Collector {
    pub(crate) fn new(name: &str) -> Self {
        let (directory, journal) = journal(name);
        journal.set_read_timeout(None).unwrap();
        let entries = Arc::new(Mutex::new(String::new()));
        let gathered = Arc::clone(&entries);
        // It waits for entries until the tests are over.
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 18];
            while let Ok(length) = journal.recv(&mut buffer) {
                let mut gathered = gathered.lock().unwrap();
                *gathered += &String::from_utf8_lossy(&buffer[..length]);
                gathered.push('\n');
            }
        });
        Self { directory, entries }
    }

    /// What to write before a command whose journal this is to be; `None`: it cannot be.
    pub(crate) fn wrapper(&self) -> Option<Vec<OsString>> {
        with_mounts(&mounts(&self.directory))
    }

    /// All entries so far.
    pub(crate) fn entries(&self) -> String {
        self.entries.lock().unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
