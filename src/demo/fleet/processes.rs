//! The processes of a run: found by what they are, and ended only when they are provably ours.
//!
//! Relays outlive a controller by design, and a controller outlives a demo that was killed. Each names its configuration on
//! its command line, and that file is in a directory of ours that nobody else can write to. Responsible for finding those
//! processes and for their end. Not responsible for starting them.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};

/// How often processes that are to end are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long they may take to end when they are asked, and when they are made to.
const GRACE: Duration = Duration::from_secs(5);

/// What runs with a configuration of ours. The controller ends first: it would launch again.
const KINDS: [&str; 2] = ["controller", "relay"];

/// A process of ours.
#[derive(Debug)]
struct Process {
    pid: Pid,
    /// Stands for this very process, also when its number is another's by then.
    descriptor: OwnedFd,
    config: PathBuf,
}

/// The configurations within `directory` that processes of this user run with.
pub(crate) fn configurations(directory: &Path) -> Vec<PathBuf> {
    let of = |kind| find(kind, directory).into_iter().map(|found| found.config);
    KINDS.into_iter().flat_map(of).collect()
}

/// Ends what runs with a configuration within `directory`; returns how many are left, which is none unless the system is
/// in trouble. Without `patience` they are not asked first.
pub(crate) async fn end_all(directory: &Path, patience: bool) -> usize {
    let signals = if patience {
        &[Signal::TERM, Signal::KILL][..]
    } else {
        &[Signal::KILL]
    };
    for kind in KINDS {
        for signal in signals {
            end(kind, directory, *signal).await;
        }
    }
    configurations(directory).len()
}

/// Signals each process once, those that are found later too, until there are none or patience ends.
async fn end(kind: &str, directory: &Path, signal: Signal) {
    let mut signalled: Vec<Pid> = Vec::new();
    let mut left = GRACE;
    loop {
        let found = find(kind, directory);
        if found.is_empty() || left.is_zero() {
            return;
        }
        for process in found {
            if !signalled.contains(&process.pid) {
                // It may have ended this very moment, which is what is wanted.
                let _ = pidfd_send_signal(&process.descriptor, signal);
                signalled.push(process.pid);
            }
        }
        tokio::time::sleep(LOOK).await;
        left = left.saturating_sub(LOOK);
    }
}

fn find(kind: &str, directory: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|number| of(number, kind, directory))
        .collect()
}

/// The descriptor is opened first and the process looked at then: what it stands for cannot change in between.
fn of(number: i32, kind: &str, directory: &Path) -> Option<Process> {
    let home = format!("/proc/{number}");
    // Most are somebody else's, and are not opened at all.
    (fs::metadata(&home).ok()?.uid() == getuid().as_raw()).then_some(())?;
    let pid = Pid::from_raw(number)?;
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let is_mine = fs::metadata(&home).ok()?.uid() == getuid().as_raw();
    // That of a process that has ended is empty.
    let command_line = fs::read(format!("{home}/cmdline")).ok()?;
    let config = config_in(&command_line, kind, directory)?;
    is_mine.then_some(Process {
        pid,
        descriptor,
        config,
    })
}

/// The configuration, where `KIND --config PATH` stands in the command line and the path is within the directory. Whoever
/// looks at the file with an editor has another command line.
fn config_in(command_line: &[u8], kind: &str, directory: &Path) -> Option<PathBuf> {
    let words: Vec<&[u8]> = command_line.split(|byte| *byte == 0).collect();
    words.windows(3).find_map(|three| {
        let &[first, second, path] = three else {
            return None;
        };
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let is_ours =
            first == kind.as_bytes() && second == b"--config" && path.starts_with(directory);
        is_ours.then(|| path.to_path_buf())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ours_by_its_kind_and_its_configuration() {
        let directory = Path::new("/demo/run-1");
        let ours = b"/usr/bin/taciturn\0relay\0--config\0/demo/run-1/state/relay.toml\0";
        let waits = b"/bin/sh\0-c\0sleep 1\0boot\x001.0\0/x/taciturn\0relay\0--config\0/demo/run-1/r.toml\0";
        for line in [&ours[..], waits] {
            assert!(config_in(line, "relay", directory).is_some());
            assert!(config_in(line, "controller", directory).is_none());
        }
        for other in [
            &b"vi\0/demo/run-1/controller.toml\0"[..],
            b"taciturn\0check-config\0--config\0/demo/run-1/relay.toml\0",
            b"taciturn\0relay\0--config\0/demo/run-12/relay.toml\0",
            b"taciturn\0relay\0--config\0/etc/taciturn/relay.toml\0",
            b"",
        ] {
            assert_eq!(config_in(other, "relay", directory), None);
        }
    }
}
