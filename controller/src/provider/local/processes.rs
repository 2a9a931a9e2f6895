//! Relays as processes: started so that they outlive the controller, found again, and ended only when they are provably ours.
//!
//! Responsible for telling a relay's process from whatever got its number later: by when it started, whose it is, and the
//! configuration that its command line names. Not responsible for what is kept of it (`directory`).

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::directory::Stored;

/// How often a process that is to end is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A moment of this host, on a clock that nobody sets, and of which run of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinceBoot {
    boot: String,
    milliseconds: u64,
}

impl SinceBoot {
    pub(super) fn now() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let milliseconds = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or_default();
        Self {
            boot: boot.trim_end().to_owned(),
            milliseconds: seconds.saturating_mul(1000).saturating_add(milliseconds),
        }
    }

    /// How long ago `earlier` was; `None` when the host was started again since.
    pub(super) fn since(&self, earlier: &Self) -> Option<Duration> {
        let passed = self.milliseconds.checked_sub(earlier.milliseconds)?;
        (self.boot == earlier.boot).then(|| Duration::from_millis(passed))
    }
}

/// A process by its number and by when it started, in clock ticks of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) pid: i32,
    pub(super) started: u64,
}

/// Starts a relay in a process group of its own. With a boot time, a shell waits first and becomes the relay: no controller
/// is needed for it.
pub(super) fn start(
    program: &Path,
    config: &Path,
    log: &Path,
    boot: Duration,
    environment: &BTreeMap<&'static str, String>,
) -> io::Result<Run> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(log)?;
    let mut command = if boot.is_zero() {
        Command::new(program)
    } else {
        let mut shell = Command::new("/bin/sh");
        let seconds = format!("{:.3}", boot.as_secs_f64());
        shell
            .args([
                "-c",
                "sleep \"$1\" && shift && exec \"$@\"",
                "boot",
                &seconds,
            ])
            .arg(program);
        shell
    };
    command
        .args(["relay", "--config"])
        .arg(config)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0);
    // Dropped while it runs: tokio reaps it when it ends before us, and init does when it does not.
    let child = command.spawn()?;
    let ended = || io::Error::other("it ended at once");
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = pid.ok_or_else(ended)?;
    let started = Stat::of(pid).ok_or_else(ended)?.started;
    Ok(Run { pid, started })
}

/// A process that is a relay of ours, and lived a moment ago.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) run: Run,
    config: PathBuf,
}

impl Process {
    /// The process of an instance: the one that was noted, or one that somebody started since on the same configuration.
    pub(super) fn of(stored: &Stored) -> Option<Self> {
        let noted = stored.run.map(|run| Self {
            run,
            config: stored.config.clone(),
        });
        noted
            .filter(Self::lives)
            .or_else(|| Self::find(&stored.config))
    }

    fn find(config: &Path) -> Option<Self> {
        let entries = fs::read_dir("/proc").ok()?;
        entries.flatten().find_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = Stat::of(pid)?;
            let process = Self {
                run: Run {
                    pid,
                    started: stat.started,
                },
                config: config.to_path_buf(),
            };
            process.lives().then_some(process)
        })
    }

    /// Whether it lives and is the same: a number alone may be another's by now.
    pub(super) fn lives(&self) -> bool {
        let Run { pid, started } = self.run;
        let is_same = Stat::of(pid).is_some_and(|stat| stat.lives && stat.started == started);
        is_same && is_ours(pid, &self.config)
    }

    /// Asks it to end, and makes it end when it does not in time. Returns when it has ended, or after twice that time.
    pub(super) async fn end(&self, grace: Duration) {
        for signal in [Signal::TERM, Signal::KILL] {
            self.signal(signal);
            let mut left = grace;
            while self.lives() {
                tokio::time::sleep(LOOK).await;
                left = left.saturating_sub(LOOK);
                if left.is_zero() {
                    break;
                }
            }
        }
    }

    /// The descriptor is opened first and the process looked at then: what it stands for cannot change in between.
    pub(super) fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.run.pid) else {
            return;
        };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        if self.lives() {
            // It may have ended this very moment, which is what is wanted.
            let _ = pidfd_send_signal(process, signal);
        }
    }
}

/// What the kernel says of a process.
pub(super) struct Stat {
    pub(super) lives: bool,
    pub(super) started: u64,
}

impl Stat {
    pub(super) fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program stands before, in brackets, and may hold anything.
        let (_, fields) = text.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let state = fields.next()?;
        Some(Self {
            lives: !["Z", "X"].contains(&state),
            started: fields.nth(18)?.parse().ok()?,
        })
    }
}

fn is_ours(pid: i32, config: &Path) -> bool {
    let is_mine = fs::metadata(format!("/proc/{pid}"))
        .is_ok_and(|process| process.uid() == getuid().as_raw());
    let Ok(command_line) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let names_it = command_line
        .split(|byte| *byte == 0)
        .any(|word| word == config.as_os_str().as_encoded_bytes());
    is_mine && names_it
}
