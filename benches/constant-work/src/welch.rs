//! Welch's t-test, and the crops that it is made over.
//!
//! Responsible for arithmetic alone: numbers in, numbers out. Not responsible for measuring.
//!
//! Interrupts and cache misses lengthen a few samples by much, which hides a small difference among all of them; so the test
//! is made again over the shares of samples that are the shortest. A crop does not look at the classes, so it cannot make a
//! difference where there is none.

/// Shares of the samples, shortest first, that are tested: from all of them to the shortest tenth.
pub(crate) const KEPT: [f64; 11] = [1.0, 0.999, 0.99, 0.97, 0.95, 0.9, 0.8, 0.7, 0.5, 0.25, 0.1];

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Which of the two classes: 0 or 1.
    pub(crate) class: usize,
    /// How long it took.
    pub(crate) nanos: u32,
}

/// A crop, and what it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cropped {
    /// The share of the samples that was kept, 0 to 1.
    pub(crate) kept: f64,
    /// Welch's t; positive when the first class takes longer.
    pub(crate) t: f64,
}

/// Mean and sum of squared deviations, added up one by one (Welford), so that long runs lose no digits.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let before = value - self.mean;
        self.mean += before / self.count;
        self.squares += before * (value - self.mean);
    }

    /// The variance of the mean.
    fn of_mean(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// Welch's t of two classes; 0 when a class has fewer than two samples, or when neither varies and both are the same.
pub(crate) fn t(samples: &[Sample]) -> f64 {
    let mut classes = [Moments::default(); 2];
    for sample in samples {
        classes[sample.class].add(f64::from(sample.nanos));
    }
    let [first, second] = classes;
    let difference = first.mean - second.mean;
    if first.count < 2.0 || second.count < 2.0 || difference == 0.0 {
        return 0.0;
    }
    difference / (first.of_mean() + second.of_mean()).sqrt()
}

/// The crop whose t is the greatest by amount. Sorts the samples by time.
pub(crate) fn greatest(samples: &mut [Sample]) -> Cropped {
    samples.sort_by_key(|sample| sample.nanos);
    let crops = KEPT.iter().map(|&kept| Cropped {
        kept,
        t: t(shortest(samples, kept)),
    });
    crops
        .max_by(|one, other| one.t.abs().total_cmp(&other.t.abs()))
        .unwrap_or(Cropped { kept: 1.0, t: 0.0 })
}

/// The shortest of sorted samples: a share of them, and whatever else took as long as the last of those. To cut between
/// equals would depend on their order, and a sort keeps that of arrival.
fn shortest(sorted: &[Sample], kept: f64) -> &[Sample] {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count of samples"
    )]
    let wanted = (sorted.len() as f64 * kept).ceil() as usize;
    let Some(last) = wanted.checked_sub(1).and_then(|last| sorted.get(last)) else {
        return sorted;
    };
    let end = sorted.partition_point(|sample| sample.nanos <= last.nanos);
    &sorted[..end]
}

/// The median of each class of sorted samples; 0 for a class without any.
pub(crate) fn medians(sorted: &[Sample]) -> [f64; 2] {
    [0, 1].map(|class| {
        let count = sorted.iter().filter(|sample| sample.class == class).count();
        let mut of_class = sorted.iter().filter(|sample| sample.class == class);
        of_class
            .nth(count / 2)
            .map_or(0.0, |sample| f64::from(sample.nanos))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(first: &[u32], second: &[u32]) -> Vec<Sample> {
        let of = |class, times: &[u32]| -> Vec<Sample> {
            times.iter().map(|&nanos| Sample { class, nanos }).collect()
        };
        [of(0, first), of(1, second)].concat()
    }

    fn is_about(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    /// by hand. Means 3 and 6, variances 2.5 and 10, five samples each: t = -3 / sqrt(0.5 + 2).
    #[test]
    fn t_is_what_the_formula_says() {
        let unequal = samples(&[1, 2, 3, 4, 5], &[2, 4, 6, 8, 10]);
        assert!(is_about(t(&unequal), -3.0 / 2.5_f64.sqrt()));
        let swapped = samples(&[2, 4, 6, 8, 10], &[1, 2, 3, 4, 5]);
        assert!(is_about(t(&swapped), 3.0 / 2.5_f64.sqrt()));
        // Counts that differ: means 2 and 3, variances 1 and 10 / 3, three and four samples.
        let counts = samples(&[1, 2, 3], &[1, 2, 4, 5]);
        assert!(is_about(
            t(&counts),
            -1.0 / (1.0_f64 / 3.0 + 10.0 / 12.0).sqrt()
        ));
    }

    #[test]
    fn what_says_nothing_is_zero() {
        assert!(is_about(t(&[]), 0.0));
        assert!(is_about(t(&samples(&[1], &[5, 6])), 0.0));
        assert!(is_about(t(&samples(&[5, 5, 5], &[5, 5])), 0.0));
        // Two constants that differ could not differ more.
        assert!(t(&samples(&[5, 5], &[6, 6])).is_infinite());
    }

    /// A large offset must not eat the digits of a small variance.
    #[test]
    fn long_times_lose_no_digits() {
        let far = samples(
            &[4_000_000_001, 4_000_000_002, 4_000_000_003],
            &[4_000_000_001, 4_000_000_002, 4_000_000_004, 4_000_000_005],
        );
        let near = samples(&[1, 2, 3], &[1, 2, 4, 5]);
        assert!((t(&far) - t(&near)).abs() < 1e-6);
    }

    /// a difference that a few long samples hide is found among the shorter ones.
    #[test]
    fn a_crop_finds_what_outliers_hide() {
        let mut times = [Vec::new(), Vec::new()];
        for step in 0..1000_u32 {
            times[0].push(100 + step % 5);
            times[1].push(101 + step % 5);
        }
        for step in 0..20_u32 {
            times[0].push(1_000_000 * (1 + step % 7));
            times[1].push(1_000_000 * (1 + (step + 3) % 7));
        }
        let mut all = samples(&times[0], &times[1]);
        assert!(t(&all).abs() < 1.0, "hidden: {}", t(&all));
        let found = greatest(&mut all);
        assert!(found.kept < 1.0 && found.t < -10.0, "{found:?}");
        assert_eq!(medians(&all), [102.0, 103.0]);
    }

    #[test]
    fn equal_classes_stay_equal_under_every_crop() {
        let times: Vec<u32> = (0..1000).map(|step| 100 + step * 7919 % 1009).collect();
        let mut all = samples(&times, &times);
        assert!(is_about(greatest(&mut all).t, 0.0));
    }

    #[test]
    fn a_crop_keeps_what_is_equal_together() {
        let mut all = samples(&[1, 2, 2, 9], &[2, 2, 3, 9]);
        all.sort_by_key(|sample| sample.nanos);
        assert_eq!(shortest(&all, 0.25).len(), 5);
        assert_eq!(shortest(&all, 0.7).len(), 6);
        assert_eq!(shortest(&all, 1.0).len(), 8);
        assert_eq!(shortest(&[], 0.5).len(), 0);
    }
}
