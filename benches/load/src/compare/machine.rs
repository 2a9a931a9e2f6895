//! The machine that the figures belong to: its cores, processor, kernel, the commit and the date.
//!
//! Responsible for provenance and for pinning. Not responsible for the figures.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io::Write;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where and when figures were taken.
#[derive(Clone, Debug)]
pub(crate) struct Provenance {
    /// Commit of the tree, with a mark when files differ from it.
    pub(crate) commit: String,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Processor model and number of cores.
    pub(crate) processor: String,
    /// Day, UTC, as `2026-01-31`.
    pub(crate) date: String,
    /// The command line.
    pub(crate) command: String,
}

impl Provenance {
    /// Reads it all; what cannot be read is "unknown".
    pub(crate) fn collect() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            commit: commit(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            processor: format!("{}, {} cores", processor_model(), cores()),
            date: date(now),
            command: format!(
                "cargo run --release -p taciturn-load -- {}",
                arguments.join(" ")
            ),
        }
    }
}

/// Pins the calling thread, and what it spawns from now on, to one core.
pub(crate) fn pin_to_core(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot pin to core {core}"))
}

/// Pins where there are two cores to choose from; on a single one both sides share it, and the figures say so.
pub(crate) fn pin_if_possible(core: usize) -> Result<()> {
    if cores() > 1 {
        pin_to_core(core)
    } else {
        Ok(())
    }
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot print the table")
}

/// What a program prints first with these arguments.
pub(crate) fn first_line_of(program: &std::path::Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

/// Cores of the machine, however this process is pinned.
fn cores() -> usize {
    std::fs::read_to_string("/proc/cpuinfo").map_or(1, |text| {
        text.lines()
            .filter(|line| line.starts_with("processor"))
            .count()
    })
}

fn processor_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, model)| model.trim().to_owned())
    });
    model.unwrap_or_else(unknown)
}

fn commit() -> String {
    let git = std::path::Path::new("git");
    let Some(head) = first_line_of(git, &["rev-parse", "--short=12", "HEAD"]) else {
        return unknown();
    };
    match first_line_of(git, &["status", "--porcelain", "--untracked-files=no"]) {
        Some(_) => format!("{head} with local changes"),
        None => head,
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The civil date of a Unix time, proleptic Gregorian calendar, counted in 400-year eras that begin on 1 March.
fn date(unix_seconds: u64) -> String {
    let days = unix_seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_798_761_599, "2026-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
