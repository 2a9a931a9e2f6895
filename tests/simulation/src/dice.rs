//! Chance from a seed: the same seed throws the same numbers, on every machine.
//!
//! Not responsible for secrets; nobody should find these numbers hard to guess.

use std::time::Duration;

/// A stream of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero. Its bias is below 2^-32 for every bound that is used here.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A small number below `bound`.
    pub(crate) fn small(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("below a usize")
    }

    /// Whether something happens that does so `per_mille` times in a thousand.
    pub(crate) const fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of these, of which there is at least one.
    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.small(among.len())]
    }

    /// A time of up to `most`, in whole microseconds.
    pub(crate) fn time(&mut self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).expect("times of hours");
        Duration::from_micros(self.below(micros + 1))
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next().to_be_bytes()[0])
    }
}
