//! What a relay holds, as the kernel and the relay itself count it; and figures for the record.
//!
//! Not responsible for what is too much: tests say so.

use std::fmt::Display;
use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::running::{Running, eventually};

/// Memory that the process has in use, in KiB. The kernel's quicker figure (`VmRSS`) may be off by a quarter of a MiB.
pub(crate) fn memory_kib(relay: &Running) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", relay.pid())).unwrap();
    of_line(&text, "Rss:")
}

/// Memory that the process may write to, in KiB, touched or not: what `RLIMIT_DATA` counts.
pub(crate) fn writable_kib(relay: &Running) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    of_line(&text, "VmData:")
}

fn of_line(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Open descriptors and threads of the process, without those that are there for a moment alone.
pub(crate) fn held(relay: &Running) -> [usize; 2] {
    ["fd", "task"].map(|what| {
        let path = format!("/proc/{}/{what}", relay.pid());
        let counts = (0..10).map(|_| {
            thread::sleep(Duration::from_millis(5));
            fs::read_dir(&path).unwrap().count()
        });
        counts.min().unwrap()
    })
}

/// What is held by a relay that has just begun, once it has opened what it measures itself with.
pub(crate) fn held_at_first(relay: &Running) -> [usize; 2] {
    eventually("a few samples", || {
        status(relay)["sequence"].as_u64() >= Some(3)
    });
    held(relay)
}

/// Time on a processor so far, in clock ticks of which a second has 100.
pub(crate) fn cpu_ticks(relay: &Running) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", relay.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// `/v1/status`.
pub(crate) fn status(relay: &Running) -> Value {
    let (code, text) = relay.http("GET", "/v1/status");
    assert_eq!(code, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A number of `load` in the status.
pub(crate) fn load(relay: &Running, part: &str) -> u64 {
    let status = status(relay);
    status["load"][part].as_u64().unwrap()
}

/// Tells a figure to whoever keeps the record.
pub(crate) fn record(what: &str, figure: impl Display) {
    eprintln!("figure: {what}: {figure}");
}

/// The least of these that 99 in 100 do not exceed.
pub(crate) fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let at = (times.len() * 99).div_ceil(100);
    times[at.max(1) - 1]
}
