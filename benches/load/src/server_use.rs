//! What the server process uses: CPU time, memory, file descriptors, as Linux counts them.
//!
//! Responsible for reading `/proc`. Not responsible for what the figures are divided by.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A process to be observed.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    proc: PathBuf,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Time on a CPU, all threads, in nanoseconds: the scheduler's own account.
    pub(crate) run_nanos: u64,
    /// User time in clock ticks; coarse, used only to split `run_nanos`.
    pub(crate) user_ticks: u64,
    /// System time in clock ticks.
    pub(crate) system_ticks: u64,
}

impl Usage {
    /// What was used since `earlier`.
    pub(crate) const fn since(&self, earlier: &Self) -> Self {
        Self {
            run_nanos: self.run_nanos.saturating_sub(earlier.run_nanos),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// The part of the time that was spent in user space, 0 to 1.
    pub(crate) fn user_share(&self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 {
            0.0
        } else {
            self.user_ticks as f64 / ticks as f64
        }
    }
}

impl Server {
    /// Observes the process with this id; fails when there is none.
    pub(crate) fn new(pid: u32) -> Result<Self> {
        let server = Self {
            proc: Path::new("/proc").join(pid.to_string()),
        };
        server.usage()?;
        Ok(server)
    }

    /// CPU time so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        for task in fs::read_dir(self.proc.join("task")).context("the server process is gone")? {
            // A thread may end while we read; then its share is small and lost.
            if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
                usage.run_nanos += text
                    .split_ascii_whitespace()
                    .next()
                    .and_then(|nanos| nanos.parse::<u64>().ok())
                    .unwrap_or(0);
            }
        }
        let stat =
            fs::read_to_string(self.proc.join("stat")).context("the server process is gone")?;
        (usage.user_ticks, usage.system_ticks) =
            parse_stat(&stat).context("unreadable /proc/PID/stat")?;
        Ok(usage)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let status =
            fs::read_to_string(self.proc.join("status")).context("the server process is gone")?;
        parse_resident(&status).context("no VmRSS in /proc/PID/status")
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> Result<u64> {
        Ok(fs::read_dir(self.proc.join("fd"))
            .context("cannot list the server's descriptors")?
            .count() as u64)
    }
}

/// utime and stime: the 14th and 15th field; the second holds the name and may itself hold blanks and parentheses.
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_an_awkward_name() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 111 222 0 0 20 0 1";
        assert_eq!(parse_stat(stat), Some((111, 222)));
        assert_eq!(
            parse_resident("VmPeak:\t 10 kB\nVmRSS:\t  5120 kB\n"),
            Some(5120)
        );
    }

    #[test]
    fn our_own_process_can_be_observed() {
        let server = Server::new(std::process::id()).expect("we run");
        assert!(server.resident_kib().expect("we have memory") > 0);
        assert!(server.descriptors().expect("we have descriptors") > 0);
    }
}
