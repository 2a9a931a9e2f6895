//! Whether a figure grows: a straight line through its samples, and how sure the slope of that is.
//!
//! Pure arithmetic. Not responsible for taking samples, nor for leaving out those of the beginning.

/// Neighbouring samples tell much the same, so that each alone would make the slope seem surer than it is. Their means over so many
/// stretches of time are what the line is laid through.
const STRETCHES: usize = 20;
/// Student's t for 95 % in the middle, with two degrees of freedom less than there are stretches.
const T: f64 = 2.101;

/// The slope of the line of least squares, and where it is with 95 % confidence: what is sampled, for each unit of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trend {
    pub(crate) slope: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Trend {
    /// Of samples, each with its time, in order. `None`: they are too few.
    pub(crate) fn of(samples: &[(f64, f64)]) -> Option<Self> {
        if samples.len() < 2 * STRETCHES {
            return None;
        }
        let each = samples.len() / STRETCHES;
        // The first ones are left out where they do not share out evenly.
        let stretches = samples[samples.len() % STRETCHES..].chunks_exact(each);
        Self::through(&stretches.map(mean).collect::<Vec<_>>())
    }

    fn through(points: &[(f64, f64)]) -> Option<Self> {
        let (middle, level) = mean(points);
        let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            points
                .iter()
                .map(|(time, value)| of(time - middle, value - level))
                .sum()
        };
        let spread = sum(&|time, _| time * time);
        let slope = sum(&|time, value| time * value) / spread;
        let left = sum(&|time, value| (value - slope * time).powi(2));
        let degrees = points.len().checked_sub(2)? as f64;
        let error = (left / degrees / spread).sqrt();
        Some(Self {
            slope,
            least: slope - T * error,
            most: slope + T * error,
        })
    }

    /// Whether it goes up, with that confidence.
    pub(crate) fn is_growth(self) -> bool {
        self.least > 0.0
    }
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let sum = points
        .iter()
        .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (sum.0 / count, sum.1 / count)
}

mod tests {
    use super::{STRETCHES, Trend, mean};
    use crate::malformed::Dice;

    /// Memory in KiB every 0.01 h for 4 h: 30 MiB, up to 200 KiB more or less at random, and this much more with each hour.
    fn memory(seed: u64, leak: f64) -> Vec<(f64, f64)> {
        let mut dice = Dice(seed);
        (0..400)
            .map(|at| {
                let hours = f64::from(at) / 100.0;
                let noise = (dice.roll() >> 40) as f64 / f64::from(1 << 24) * 400.0 - 200.0;
                (hours, 30_720.0 + noise + leak * hours)
            })
            .collect()
    }

    #[test]
    fn a_leak_below_the_noise_is_found() {
        for seed in 1..=200 {
            let trend = Trend::of(&memory(seed, 30.0)).unwrap();
            assert!(trend.is_growth(), "{seed}: {trend:?}");
            assert!((trend.slope - 30.0).abs() < 20.0, "{seed}: {trend:?}");
        }
    }

    /// One in forty would be called growth if the confidence were exactly what it is said to be.
    #[test]
    fn memory_that_is_level_is_seldom_called_growth() {
        let grown = (1..=2000).filter(|seed| Trend::of(&memory(*seed, 0.0)).unwrap().is_growth());
        let grown = grown.count();
        assert!((20..=80).contains(&grown), "{grown} of 2000");
    }

    #[test]
    fn memory_that_is_given_back_is_no_growth() {
        assert!(!Trend::of(&memory(7, -30.0)).unwrap().is_growth());
        let flat: Vec<_> = (0..400).map(|at| (f64::from(at), 33_276.0)).collect();
        let trend = Trend::of(&flat).unwrap();
        assert_eq!((trend.slope, trend.is_growth()), (0.0, false));
    }

    /// What goes up and down again for longer than a stretch is not on its way up.
    #[test]
    fn waves_are_no_growth() {
        let waves: Vec<_> = memory(3, 0.0)
            .into_iter()
            .map(|(hours, value)| (hours, value + 500.0 * (hours * 3.0).sin()))
            .collect();
        assert!(!Trend::of(&waves).unwrap().is_growth());
    }

    /// Worked out by hand: 20 points on y = 2x + 1, every other one 1 higher.
    #[test]
    fn slope_and_confidence_are_those_of_the_textbook() {
        let points: Vec<_> = (0..20)
            .map(|at| (f64::from(at), f64::from(2 * at + 1 + at % 2)))
            .collect();
        let trend = Trend::through(&points).unwrap();
        // The sum of squares of time is 665, of time with what is added 5, and of what is added 5.
        let slope = 2.0 + 5.0 / 665.0;
        let error = ((5.0 - 25.0 / 665.0) / 18.0 / 665.0_f64).sqrt();
        assert!((trend.slope - slope).abs() < 1e-12, "{trend:?}");
        let half = (trend.most - trend.least) / 2.0;
        assert!((half - 2.101 * error).abs() < 1e-12, "{trend:?}");
    }

    #[test]
    fn few_samples_say_nothing() {
        let samples = memory(1, 0.0);
        assert_eq!(Trend::of(&samples[..2 * STRETCHES - 1]), None);
        assert!(Trend::of(&samples[..2 * STRETCHES]).is_some());
        assert_eq!(mean(&[(1.0, 2.0), (3.0, 6.0)]), (2.0, 4.0));
    }
}
