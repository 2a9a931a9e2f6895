//! From cumulative figures to shares: the difference of two readings, smoothed, and what follows from it.
//!
//! Responsible for arithmetic on the readings that it is given: pure. Not responsible for reading (`reading`) nor for the
//! rules of shedding (`overload`).

use std::time::Duration;

use taciturn_protocol::time::Instant;

use super::overload::Overload;
use super::reading::Reading;
use super::sample::{LoadSample, Part, Parts};
use super::{ALLOWANCES, LINK_LOCAL, LoadSettings};

/// The time in which an old load loses all but 1/e of its weight.
const SMOOTHING: Duration = Duration::from_secs(30);
/// For how long a lost datagram means that the relay is full.
const FULL: Duration = Duration::from_secs(10);

/// What has to be remembered from one reading to the next.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    previous: Option<Reading>,
    smoothed: Parts,
    rates: Parts,
    full_until: Option<Instant>,
    overload: Overload,
    sequence: u64,
}

impl Meter {
    /// Takes a reading into account. Rates are known from the second on.
    pub(crate) fn observe(&mut self, reading: Reading, settings: &LoadSettings) -> LoadSample {
        let limits = limits(&reading, settings);
        let now = self.shares(&reading, settings, &limits);
        let elapsed = self
            .previous
            .as_ref()
            .map(|previous| reading.at.saturating_since(previous.at));
        let elapsed = elapsed.unwrap_or_default();
        forget_unlimited(&mut self.smoothed, &limits);
        smooth(&mut self.smoothed, &now, elapsed);
        let rates = self.rates(&reading);
        smooth(&mut self.rates, &rates, elapsed);
        if self.lost_datagrams(&reading) {
            self.full_until = Some(reading.at + FULL);
        }
        self.overload
            .observe(reading.at, &now, settings.busiest_core);
        self.sequence += 1;
        let sample = LoadSample {
            sequence: self.sequence,
            taken: reading.unix,
            now,
            smoothed: self.smoothed,
            limits,
            rates: self.rates,
            full_now: self.full_until.is_some_and(|until| reading.at < until),
            overloaded: self.overload.is_shedding(),
            process: reading.process,
            allowance_exceeded: reading.allowance_exceeded,
        };
        self.previous = Some(reading);
        sample
    }

    /// The parts on whose account new allocations are shed.
    pub(crate) fn causes(&self) -> impl Iterator<Item = Part> {
        self.overload.causes()
    }

    fn shares(&self, reading: &Reading, settings: &LoadSettings, limits: &Parts) -> Parts {
        let share = |part, value: Option<f64>| {
            let limit = limits.part(part).filter(|limit| *limit > 0.0)?;
            Some(value? / limit)
        };
        let rates = self.rates(reading);
        let mut shares = Parts::default();
        for (part, value) in [
            (Part::BusiestCore, self.busiest_core(reading)),
            (Part::Packets, rates.part(Part::Packets)),
            (Part::Bits, rates.part(Part::Bits)),
            (Part::Allocations, Some(reading.allocations as f64)),
            (
                Part::Ports,
                fuller_ports(reading, settings).map(|[taken, _]| taken),
            ),
            (Part::Fds, reading.process.open_fds.map(|fds| fds as f64)),
        ] {
            shares.set(part, share(part, value));
        }
        shares
    }

    /// Datagrams and bits in a second, since the reading before.
    fn rates(&self, reading: &Reading) -> Parts {
        let rate = |which: fn(&Reading) -> u64| {
            let previous = self.previous.as_ref()?;
            let elapsed = reading.at.saturating_since(previous.at).as_secs_f64();
            let growth = which(reading).saturating_sub(which(previous));
            (elapsed > 0.0).then(|| growth as f64 / elapsed)
        };
        let mut rates = Parts::default();
        rates.set(Part::Packets, rate(|reading| reading.received));
        let bits = rate(|reading| reading.forwarded_bytes.saturating_mul(8));
        rates.set(Part::Bits, bits);
        rates
    }

    /// The share of its core that the busiest worker took; `None` when any worker's is not known, as that one may be the
    /// busiest.
    fn busiest_core(&self, reading: &Reading) -> Option<f64> {
        let previous = self.previous.as_ref()?;
        let elapsed = reading.at.saturating_since(previous.at).as_secs_f64();
        if elapsed <= 0.0 || reading.cpu.len() != previous.cpu.len() {
            return None;
        }
        let pairs = reading.cpu.iter().zip(&previous.cpu);
        let shares = pairs
            .map(|(now, before)| Some((*now)?.saturating_sub((*before)?).as_secs_f64() / elapsed))
            .collect::<Option<Vec<f64>>>()?;
        // The system counts in hundredths of a second, and a thread cannot take more than a core.
        shares
            .into_iter()
            .reduce(f64::max)
            .map(|share| share.min(1.0))
    }

    fn lost_datagrams(&self, reading: &Reading) -> bool {
        let Some(previous) = &self.previous else {
            return false;
        };
        let exceeded = match (&reading.allowance_exceeded, &previous.allowance_exceeded) {
            (Some(now), Some(before)) => (0..ALLOWANCES.len())
                // Requests to the host's own name and time servers are not calls.
                .filter(|index| *index != LINK_LOCAL)
                .any(|index| now[index] > before[index]),
            _ => false,
        };
        exceeded || reading.kernel_drops > previous.kernel_drops
    }
}

/// Of what there is no limit any more, there is no share either.
fn forget_unlimited(smoothed: &mut Parts, limits: &Parts) {
    for part in Part::ALL {
        if limits.part(part).is_none_or(|limit| limit <= 0.0) {
            smoothed.set(part, None);
        }
    }
}

/// A part that becomes known begins with its first value; one that goes missing keeps what it had.
fn smooth(smoothed: &mut Parts, now: &Parts, elapsed: Duration) {
    let weight = 1.0 - (-elapsed.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
    for (part, value) in now.known() {
        let next = smoothed
            .part(part)
            .map_or(value, |old| old + weight * (value - old));
        smoothed.set(part, Some(next));
    }
}

/// Relayed ports taken, and all there are, of the family of which the greater share is taken: with the ports of one gone,
/// whoever asks for that family is refused, however many the other has.
fn fuller_ports(reading: &Reading, settings: &LoadSettings) -> Option<[f64; 2]> {
    let families = reading.ports_taken?.into_iter().zip(settings.ports);
    families
        .filter(|(_, all)| *all > 0)
        .map(|(taken, all)| [taken as f64, all as f64])
        .max_by(|a, b| (a[0] / a[1]).total_cmp(&(b[0] / b[1])))
}

/// What the parts are shares of.
fn limits(reading: &Reading, settings: &LoadSettings) -> Parts {
    let mut limits = Parts::default();
    limits.set(Part::BusiestCore, Some(1.0));
    limits.set(
        Part::Packets,
        settings.packets_per_second.map(|limit| limit.get() as f64),
    );
    limits.set(
        Part::Bits,
        settings.bits_per_second.map(|limit| limit.get() as f64),
    );
    limits.set(Part::Allocations, Some(settings.allocations as f64));
    let ports = fuller_ports(reading, settings);
    let all = settings.ports.iter().max().map(|all| *all as f64);
    limits.set(Part::Ports, ports.map(|[_, all]| all).or(all));
    limits.set(Part::Fds, reading.process.max_fds.map(|fds| fds as f64));
    limits
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU64;

    use super::*;
    use crate::load::reading::Process;

    fn settings() -> LoadSettings {
        LoadSettings {
            allocations: 100,
            ports: [1000, 0],
            packets_per_second: NonZeroU64::new(1000),
            bits_per_second: None,
            busiest_core: Some(0.9),
        }
    }

    fn instant(second: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(second)
    }

    fn at(second: u64) -> Reading {
        Reading {
            at: instant(second),
            cpu: vec![Some(Duration::ZERO)],
            process: Process {
                open_fds: Some(10),
                max_fds: Some(1000),
                ..Process::default()
            },
            ..Reading::default()
        }
    }

    fn close(left: Option<f64>, right: f64) -> bool {
        left.is_some_and(|left| (left - right).abs() < 1e-9)
    }

    #[test]
    fn the_first_sample_knows_what_stands_and_no_rate() {
        let mut meter = Meter::default();
        let reading = Reading {
            allocations: 25,
            ports_taken: Some([100, 0]),
            received: 1_000_000,
            kernel_drops: 7,
            ..at(5)
        };
        let sample = meter.observe(reading, &settings());
        assert_eq!(sample.sequence, 1);
        assert!(close(sample.now.part(Part::Allocations), 0.25));
        assert!(close(sample.now.part(Part::Ports), 0.1));
        assert!(close(sample.now.part(Part::Fds), 0.01));
        for unknown in [Part::BusiestCore, Part::Packets, Part::Bits] {
            assert_eq!(sample.now.part(unknown), None, "{unknown:?}");
        }
        assert!(
            !sample.full_now,
            "drops before the first sample are history"
        );
        assert!((sample.utilisation() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn rates_are_the_growth_over_the_time_that_has_really_passed() {
        let mut meter = Meter::default();
        meter.observe(at(5), &settings());
        let later = Reading {
            received: 1000,
            forwarded_bytes: 1_000_000,
            cpu: vec![Some(Duration::from_millis(500))],
            ..at(7)
        };
        let sample = meter.observe(later, &settings());
        assert!(close(sample.now.part(Part::Packets), 0.5));
        assert!(close(sample.now.part(Part::BusiestCore), 0.25));
        assert_eq!(
            sample.now.part(Part::Bits),
            None,
            "without a known capacity there is no share of it"
        );
        assert!(close(sample.rates.part(Part::Packets), 500.0));
        assert!(
            close(sample.rates.part(Part::Bits), 4_000_000.0),
            "the rate itself is known all the same"
        );
    }

    /// Most clients ask for IPv4; that IPv6 has ports left is no use to them.
    #[test]
    fn the_ports_of_one_family_run_out_whatever_the_other_has() {
        let settings = LoadSettings {
            ports: [1000, 4000],
            ..settings()
        };
        for (taken, share) in [([990, 0], 0.99), ([0, 3000], 0.75), ([0, 0], 0.0)] {
            let reading = Reading {
                ports_taken: Some(taken),
                ..at(1)
            };
            let sample = Meter::default().observe(reading, &settings);
            assert!(close(sample.now.part(Part::Ports), share), "{taken:?}");
        }
        let reading = Reading {
            ports_taken: Some([990, 0]),
            ..at(1)
        };
        let sample = Meter::default().observe(reading, &settings);
        assert!(close(sample.limits.part(Part::Ports), 1000.0));
        assert!(sample.overloaded);
    }

    /// A reload may take a capacity away; the share of it must not stand for ever.
    #[test]
    fn a_share_of_a_limit_that_is_gone_is_gone() {
        let mut meter = Meter::default();
        meter.observe(at(1), &settings());
        let busy = Reading {
            received: 3000,
            ..at(2)
        };
        let sample = meter.observe(busy.clone(), &settings());
        assert!(close(sample.smoothed.part(Part::Packets), 3.0));
        let unknown = LoadSettings {
            packets_per_second: None,
            ..settings()
        };
        let later = Reading {
            at: instant(3),
            ..busy
        };
        let sample = meter.observe(later, &unknown);
        assert_eq!(sample.smoothed.part(Part::Packets), None);
        assert!(sample.utilisation() < 0.1);
    }

    #[test]
    fn the_busiest_worker_counts_and_an_unknown_one_may_be_the_busiest() {
        let cpu = |millis: [Option<u64>; 2]| millis.map(|each| each.map(Duration::from_millis));
        let mut meter = Meter::default();
        let mut observe = |second, millis| {
            let reading = Reading {
                cpu: cpu(millis).to_vec(),
                ..at(second)
            };
            let sample = meter.observe(reading, &settings());
            sample.now.part(Part::BusiestCore)
        };
        observe(1, [Some(0), Some(0)]);
        assert!(close(observe(2, [Some(100), Some(800)]), 0.8));
        assert_eq!(observe(3, [Some(200), None]), None);
        assert_eq!(observe(4, [Some(300), Some(900)]), None);
        assert!(close(observe(5, [Some(1500), Some(901)]), 1.0), "ticks");
    }

    #[test]
    fn a_lost_datagram_means_full_for_ten_seconds() {
        let exceeded = |pps, linklocal| {
            let mut counters = [0; ALLOWANCES.len()];
            counters[2] = pps;
            counters[LINK_LOCAL] = linklocal;
            Some(counters)
        };
        let growths = [
            Reading {
                kernel_drops: 1,
                allowance_exceeded: exceeded(0, 0),
                ..at(2)
            },
            Reading {
                allowance_exceeded: exceeded(1, 0),
                ..at(2)
            },
        ];
        for growth in growths {
            let mut meter = Meter::default();
            let first = Reading {
                allowance_exceeded: exceeded(0, 0),
                ..at(1)
            };
            assert!(!meter.observe(first, &settings()).full_now);
            let then = |second| Reading {
                at: instant(second),
                ..growth.clone()
            };
            let sample = meter.observe(then(2), &settings());
            assert!(sample.full_now && (sample.utilisation() - 1.0).abs() < 1e-9);
            assert!(meter.observe(then(11), &settings()).full_now);
            let sample = meter.observe(then(12), &settings());
            assert!(!sample.full_now && sample.utilisation() < 0.1);
        }
        let mut meter = Meter::default();
        meter.observe(
            Reading {
                allowance_exceeded: exceeded(0, 0),
                ..at(1)
            },
            &settings(),
        );
        let asked = Reading {
            allowance_exceeded: exceeded(0, 9),
            ..at(2)
        };
        assert!(!meter.observe(asked, &settings()).full_now);
    }

    #[test]
    fn the_scaling_signal_follows_slowly_and_keeps_what_goes_missing() {
        let mut meter = Meter::default();
        meter.observe(
            Reading {
                ports_taken: Some([0; 2]),
                ..at(0)
            },
            &settings(),
        );
        let mut last = 0.0;
        for second in 1..=30 {
            let full = Reading {
                ports_taken: Some([1000, 0]),
                ..at(second)
            };
            let sample = meter.observe(full, &settings());
            assert!(close(sample.now.part(Part::Ports), 1.0));
            assert!(sample.utilisation() > last);
            last = sample.utilisation();
        }
        let expected = 1.0 - (-1.0_f64).exp();
        assert!(
            (last - expected).abs() < 1e-6,
            "{last} after one time constant"
        );
        let sample = meter.observe(
            Reading {
                ports_taken: None,
                ..at(31)
            },
            &settings(),
        );
        assert_eq!(sample.now.part(Part::Ports), None);
        assert!((sample.utilisation() - last).abs() < 1e-9);
    }

    #[test]
    fn a_busy_core_overloads_the_relay_and_says_so() {
        let mut meter = Meter::default();
        for second in 0..4 {
            let busy = Reading {
                cpu: vec![Some(Duration::from_secs(second))],
                ..at(second)
            };
            let sample = meter.observe(busy, &settings());
            assert_eq!(sample.overloaded, second >= 2, "second {second}");
        }
        assert_eq!(meter.causes().collect::<Vec<_>>(), [Part::BusiestCore]);
    }
}
