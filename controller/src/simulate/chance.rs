//! Chance from a seed: the same seed gives the same numbers, in the same order, on every machine.
//!
//! Responsible for the few distributions that a simulation needs. Not responsible for what they stand for.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// A stream of chance. Streams of one seed are independent: what one of them is asked changes nothing in another.
#[derive(Clone, Debug)]
pub(super) struct Chance(ChaCha8Rng);

impl Chance {
    /// Stream number `stream` of `seed`.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// From 0 up to, not including, 1.
    pub(super) fn share(&mut self) -> f64 {
        // The upper 53 bits: as many as a double holds exactly.
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `bound`; 0 if that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The bias is below bound / 2^64: nothing that is simulated here lives long enough to see it.
        let wide = u128::from(self.0.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a product of two u64 is a u64")
    }

    /// Between `low` and `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    /// Of the standard normal distribution.
    pub(super) fn normal(&mut self) -> f64 {
        // 1 - share is never 0, so that its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (core::f64::consts::TAU * self.share()).cos()
    }

    /// Lognormal with this mean; `sigma` is that of its logarithm.
    pub(super) fn lognormal(&mut self, mean: f64, sigma: f64) -> f64 {
        mean * (sigma * self.normal() - sigma * sigma / 2.0).exp()
    }

    /// How many independent events happen where `mean` are expected.
    pub(super) fn poisson(&mut self, mean: f64) -> u32 {
        if mean > 30.0 {
            // Close enough from here on, and as quick for 10,000 as for 30.
            return whole(mean + mean.sqrt() * self.normal());
        }
        let limit = (-mean).exp();
        let mut product = self.share();
        let mut count = 0;
        while product > limit {
            product *= self.share();
            count += 1;
        }
        count
    }
}

/// The nearest whole number, 0 for what is below; a `u32` is more than any fleet has of anything.
pub(super) fn whole(value: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded before, and a cast from a double saturates"
    )]
    let whole = value.round() as u32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_stream_others() {
        let numbers = |seed, stream| {
            let mut chance = Chance::new(seed, stream);
            [chance.below(1000), chance.below(1000), chance.below(1000)]
        };
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
        assert_ne!(numbers(1, 2), numbers(2, 2));
    }

    #[test]
    fn the_distributions_have_the_means_that_were_asked_for() {
        let mut chance = Chance::new(7, 0);
        let mean =
            |draw: &mut dyn FnMut() -> f64| (0..20_000).map(|_| draw()).sum::<f64>() / 20_000.0;
        assert!((mean(&mut || chance.share()) - 0.5).abs() < 0.02);
        assert!((mean(&mut || chance.lognormal(20.0, 0.6)) - 20.0).abs() < 0.5);
        for expected in [0.3, 12.0, 400.0] {
            let found = mean(&mut || f64::from(chance.poisson(expected)));
            assert!((found / expected - 1.0).abs() < 0.05, "{expected}: {found}");
        }
    }
}
