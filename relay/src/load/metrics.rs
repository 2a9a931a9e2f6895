//! The load and the process as Prometheus sees them.

use crate::metrics::{Family, Source};

use super::{ALLOWANCES, LoadSample, LoadSampler, Parts};

impl Source for LoadSampler {
    /// What is not known has no series: a missing figure is never a zero.
    fn families(&self) -> Vec<Family> {
        let sample = self.latest();
        let mut families = vec![
            Family::gauge(
                "taciturn_relay_utilisation",
                "How full the relay is, over 30 seconds: 0 is empty, 1 is full. The fullest of its parts; at least 1 for 10 \
                 seconds after datagrams were lost for want of room.",
                sample.utilisation(),
            ),
            Family::gauges(
                "taciturn_relay_utilisation_part",
                "The share of each limit that is taken, over 30 seconds.",
                ["part"],
                labelled(&sample.smoothed),
            ),
            Family::gauges(
                "taciturn_relay_capacity",
                "The limit that each part of the utilisation is a share of, in cores, datagrams and bits a second, \
                 allocations, ports and descriptors.",
                ["part"],
                labelled(&sample.limits),
            ),
            Family::gauge(
                "taciturn_relay_full_now",
                "1 while datagrams have been lost in the last 10 seconds for want of room.",
                sample.full_now,
            ),
            Family::gauge(
                "taciturn_relay_overloaded",
                "1 while new allocations are refused so that established ones do not suffer.",
                sample.overloaded,
            ),
            Family::counter(
                "taciturn_relay_load_samples_total",
                "Samples of the load; it stands still when the relay hangs.",
                sample.sequence,
            ),
            Family::counters(
                "taciturn_relay_ena_allowance_exceeded_packets_total",
                "Datagrams that AWS network cards queued or dropped beyond what the instance is entitled to, since the \
                 cards started; absent on other hosts.",
                ["allowance"],
                sample
                    .allowance_exceeded
                    .into_iter()
                    .flat_map(|counts| ALLOWANCES.into_iter().zip(counts))
                    .map(|(allowance, count)| ([allowance], count)),
            ),
        ];
        families.extend(process(&sample));
        families
    }
}

fn labelled(parts: &Parts) -> impl Iterator<Item = ([&'static str; 1], f64)> {
    parts.known().map(|(part, value)| ([part.as_str()], value))
}

/// The figures that every process shows under the same names.
fn process(sample: &LoadSample) -> Vec<Family> {
    let process = &sample.process;
    let gauge =
        |name, help, value: Option<u64>| value.map(|value| Family::gauge(name, help, value));
    let cpu = process.cpu.map(|cpu| {
        Family::counter(
            "process_cpu_seconds_total",
            "Processor time of all threads.",
            cpu,
        )
    });
    [
        cpu,
        gauge(
            "process_resident_memory_bytes",
            "Memory that is resident.",
            process.resident_bytes,
        ),
        gauge("process_open_fds", "Open descriptors.", process.open_fds),
        gauge(
            "process_max_fds",
            "Descriptors that may be open.",
            process.max_fds,
        ),
        gauge(
            "process_start_time_seconds",
            "When the relay was started, in seconds since 1970-01-01 UTC.",
            Some(process.started.as_secs()),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
