//! Latencies by logarithmic bucket: fixed memory, a relative error below 1.6 %.
//!
//! Responsible for counting durations and reading quantiles. Not responsible for clocks.

const SUB_BITS: u32 = 6;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
const BUCKETS: usize = SUB_BUCKETS * 60;

/// Counts of durations in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.counts[Self::bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Counts what another has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// How many were counted.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The smallest bucket value that at least `per_mille` of 1000 durations do not exceed, in microseconds.
    /// `None` when nothing was counted.
    pub(crate) fn quantile_micros(&self, per_mille: u64) -> Option<f64> {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank && *count > 0 {
                return Some(Self::value(bucket) as f64 / 1000.0);
            }
        }
        None
    }

    fn bucket(nanos: u64) -> usize {
        let shift = (64 - nanos.leading_zeros()).saturating_sub(SUB_BITS + 1);
        let within = usize::try_from(nanos >> shift).unwrap_or(usize::MAX);
        (shift as usize * SUB_BUCKETS)
            .saturating_add(within)
            .min(BUCKETS - 1)
    }

    /// The lower bound of a bucket: inverse of [`Self::bucket`].
    const fn value(bucket: usize) -> u64 {
        if bucket < 2 * SUB_BUCKETS {
            return bucket as u64;
        }
        let shift = bucket / SUB_BUCKETS - 1;
        ((bucket - shift * SUB_BUCKETS) as u64) << shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_falls_within_two_percent_of_its_bucket() {
        for nanos in (0..100_000).chain((1..40).map(|power| 3_u64 << power)) {
            let value = Histogram::value(Histogram::bucket(nanos));
            assert!(
                value <= nanos && (nanos - value) * 50 <= nanos,
                "{nanos} -> {value}"
            );
        }
    }

    #[test]
    fn quantiles_of_a_ramp() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile_micros(500), None);
        for micros in 1..=1000_u64 {
            histogram.record(micros * 1000);
        }
        let near = |per_mille, expected: f64| {
            let value = histogram.quantile_micros(per_mille).unwrap_or_default();
            assert!(
                (value - expected).abs() <= expected * 0.02,
                "{value} is not near {expected}"
            );
        };
        near(500, 500.0);
        near(990, 990.0);
        near(999, 999.0);
    }
}
