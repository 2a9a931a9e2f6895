//! Which CPU each worker stays on (`pin-workers`).
//!
//! Responsible for reading which CPUs this process may use, which a cgroup or `taskset` may have narrowed, and for sharing
//! them out. Not responsible for moving threads: each worker moves itself when it begins (`worker`).

use rustix::thread::{CpuSet, sched_getaffinity};
use tracing::warn;

use crate::config::Config;

/// The CPU of each worker; `None` for a worker that runs wherever the system puts it.
pub(super) fn cpus(config: &Config, workers: usize) -> Vec<Option<usize>> {
    let usable = usable();
    if !config.busy_poll.is_zero() && workers > usable.len() {
        warn!(
            workers,
            cpus = usable.len(),
            "busy-poll with more workers than CPUs: one that looks for more to do keeps others from doing it; \
             lower workers, or set busy-poll to 0us"
        );
    }
    if !config.pin_workers {
        return vec![None; workers];
    }
    if usable.is_empty() {
        warn!("the CPUs of this process are not known: workers are not pinned");
    } else if workers > usable.len() {
        warn!(
            workers,
            cpus = usable.len(),
            "more workers than CPUs: some share the CPU that they are pinned to; lower workers, or take pin-workers away"
        );
    }
    in_turn(&usable, workers)
}

/// The first worker has the first CPU, and so on; beyond the last it begins anew.
fn in_turn(cpus: &[usize], workers: usize) -> Vec<Option<usize>> {
    let all = cpus.iter().copied().map(Some).cycle();
    let none = std::iter::repeat(None);
    all.chain(none).take(workers).collect()
}

/// In ascending order; none when the system does not say, as with more CPUs than the set has room for.
fn usable() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_take_the_cpus_in_turn_and_begin_anew_after_the_last() {
        let some = |cpus: &[usize]| cpus.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(in_turn(&[2, 3, 7], 2), some(&[2, 3]));
        assert_eq!(in_turn(&[2, 3, 7], 3), some(&[2, 3, 7]));
        assert_eq!(in_turn(&[2, 7], 5), some(&[2, 7, 2, 7, 2]));
    }

    #[test]
    fn without_known_cpus_nobody_is_pinned() {
        assert_eq!(in_turn(&[], 2), [None, None]);
    }

    #[test]
    fn this_process_may_use_some_cpu_and_they_ascend() {
        let cpus = usable();
        assert!(!cpus.is_empty() && cpus.is_sorted());
    }
}
