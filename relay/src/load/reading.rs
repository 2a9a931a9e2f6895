//! Reads what a sample is made from: the workers' counters, and what the system says about this process.
//!
//! Responsible for cumulative figures as they stand now. Not responsible for rates and shares (`meter`). What the system
//! does not tell is `None`; nothing here fails.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use taciturn_protocol::time::{Instant, UnixTime};

use crate::counters::Totals;

use super::ALLOWANCES;

/// The process as the usual `process_*` metrics show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Processor time of all threads since the start.
    pub cpu: Option<Duration>,
    /// Memory that is resident.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
    /// Descriptors that may be open.
    pub max_fds: Option<u64>,
    /// When the relay was started.
    pub started: UnixTime,
}

/// The system's files that every reading looks into, kept open: at the limit of descriptors, one more each second would now
/// and then be the one that a client has just given back, and another waits for.
#[derive(Debug, Default)]
pub(crate) struct SystemFiles(BTreeMap<String, File>);

impl SystemFiles {
    /// What a short file says now.
    fn read(&mut self, path: String) -> Option<String> {
        let file = match self.0.entry(path) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => {
                let file = File::open(vacant.key()).ok()?;
                vacant.insert(file)
            }
        };
        let mut text = [0; 4096];
        let length = file.read_at(&mut text, 0).ok()?;
        Some(String::from_utf8_lossy(text.get(..length)?).into_owned())
    }

    /// Processor time of one thread of this process, to a hundredth of a second.
    ///
    /// Asked from outside, as a thread that reports its own would do so late just when it is busy, and its figure would then
    /// lie between two samples.
    fn thread_cpu(&mut self, thread: u64) -> Option<Duration> {
        if thread == 0 {
            return None;
        }
        cpu_of_stat(&self.read(format!("/proc/self/task/{thread}/stat"))?)
    }

    /// The second field of `/proc/self/statm`, in pages.
    fn resident_bytes(&mut self) -> Option<u64> {
        let pages: u64 = self
            .read("/proc/self/statm".to_owned())?
            .split_ascii_whitespace()
            .nth(1)?
            .parse()
            .ok()?;
        pages.checked_mul(rustix::param::page_size() as u64)
    }
}

/// Cumulative figures at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    pub(crate) unix: UnixTime,
    /// Processor time of each worker's thread, without what it has spun: that is nothing that a client waits for.
    pub(crate) cpu: Vec<Option<Duration>>,
    /// Datagrams read.
    pub(crate) received: u64,
    /// Payload bytes passed on.
    pub(crate) forwarded_bytes: u64,
    /// Datagrams that the kernel dropped for want of buffer space. Those of flows that are set apart are not among them: what one
    /// client sends beyond what the others leave says nothing about room for new ones.
    pub(crate) kernel_drops: u64,
    pub(crate) allowance_exceeded: Option<[u64; ALLOWANCES.len()]>,
    pub(crate) allocations: u64,
    /// Relayed ports that nobody can be given, by [`taciturn_protocol::address::Family::index`].
    pub(crate) ports_taken: Option<[u64; 2]>,
    pub(crate) process: Process,
}

impl Reading {
    /// Adds what the workers have counted.
    pub(crate) fn count(&mut self, totals: &Totals, files: &mut SystemFiles) {
        self.received = totals.received_datagrams();
        self.forwarded_bytes = totals.forwarded_bytes();
        self.kernel_drops = totals.sum(|counters| &counters.kernel_drops);
        self.allocations = totals.allocations();
        self.ports_taken =
            Some([0, 1].map(|family| totals.sum(|counters| &counters.ports_taken[family])));
        self.cpu = totals
            .workers()
            .iter()
            .map(|counters| {
                let spun = Duration::from_nanos(counters.spun_nanos.read());
                Some(
                    files
                        .thread_cpu(counters.thread.read())?
                        .saturating_sub(spun),
                )
            })
            .collect();
    }
}

/// User and system time in a line of `/proc/PID/stat` (proc_pid_stat(5): fields 14 and 15, in clock ticks).
fn cpu_of_stat(line: &str) -> Option<Duration> {
    // The second field is the thread's name in parentheses, which may hold anything; what follows it does not.
    let (_, fields) = line.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    let ticks = user.checked_add(system)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis(ticks.checked_mul(1000)? / per_second))
}

impl Process {
    /// The process as it is now.
    pub(crate) fn read(started: UnixTime, files: &mut SystemFiles) -> Self {
        Self {
            cpu: Some(process_cpu()),
            resident_bytes: files.resident_bytes(),
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::Nofile).current,
            started,
        }
    }
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Since Linux 6.2 the size of the directory is the number of descriptors; before, it is zero and they must be counted.
fn open_fds() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).ok()?.size() {
        // The directory's own descriptor is open while it is counted.
        0 => Some((fs::read_dir(DIRECTORY).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_have_any_name_and_its_times_are_found() {
        let fields = "S 1 1 0 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 1184009";
        let per_second = rustix::param::clock_ticks_per_second();
        let expected = Duration::from_millis(200 * 1000 / per_second);
        for name in ["worker-0", "a b", ") 1 2 3 (", ""] {
            let line = format!("6621 ({name}) {fields}");
            assert_eq!(cpu_of_stat(&line), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_line_that_is_no_stat_gives_no_time() {
        let huge = u64::MAX;
        for line in [
            String::new(),
            "6621 (worker-0".to_owned(),
            "6621 (worker-0) S 1 1".to_owned(),
            "1 (w) S 1 1 0 0 -1 4194304 100 0 0 0 x 50".to_owned(),
            format!("1 (w) S 1 1 0 0 -1 4194304 100 0 0 0 {huge} {huge}"),
        ] {
            assert_eq!(cpu_of_stat(&line), None, "{line}");
        }
    }

    #[test]
    fn this_process_is_described_whole() {
        let process = Process::read(UnixTime::from_secs(7), &mut SystemFiles::default());
        assert!(process.cpu.is_some_and(|cpu| cpu > Duration::ZERO));
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(process.open_fds.is_some_and(|fds| fds >= 3));
        assert!(
            process
                .max_fds
                .is_none_or(|max| Some(max) > process.open_fds)
        );
        assert_eq!(process.started, UnixTime::from_secs(7));
    }

    #[test]
    fn a_thread_that_has_not_begun_has_no_time_and_one_that_runs_has() {
        let mut files = SystemFiles::default();
        assert_eq!(files.thread_cpu(0), None);
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let own = u64::from(own.unsigned_abs());
        let mut spent = files.thread_cpu(own).expect("it runs");
        let begun = spent;
        // A file that is kept open says what is so now, and not what was so when it was opened.
        while spent == begun {
            spent = files.thread_cpu(own).expect("it still runs");
        }
        assert!(spent > begun);
        assert_eq!(files.0.len(), 1, "opened once");
    }
}
