//! Measures a case: which class comes next is left to chance, so that whatever the machine does meets both alike.
//!
//! Responsible for taking times. Not responsible for what they say (`welch`).

use std::hint::black_box;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::cases::Case;
use crate::welch::{self, Cropped, Sample};

/// The fewest samples that say anything: of the smallest crop some of each class are left.
pub(crate) const FEWEST: usize = 100;

/// What was found.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Of one call, in nanoseconds, by class.
    pub(crate) medians: [f64; 2],
    /// Where the classes are told apart best.
    pub(crate) greatest: Cropped,
}

/// Draws classes and inputs, and takes times.
pub(crate) struct Meter {
    random: ChaCha8Rng,
    samples: usize,
}

impl Meter {
    pub(crate) fn new(seed: u64, samples: usize) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            samples,
        }
    }

    pub(crate) fn measure(&mut self, case: &mut Case) -> anyhow::Result<Outcome> {
        // Buffers, tables and predictors are warm before anything counts.
        self.take(case, self.samples / 20 + 1)?;
        let mut samples = self.take(case, self.samples)?;
        let greatest = welch::greatest(&mut samples);
        let medians = welch::medians(&samples).map(|nanos| nanos / f64::from(case.repeats));
        Ok(Outcome { medians, greatest })
    }

    fn take(&mut self, case: &mut Case, count: usize) -> anyhow::Result<Vec<Sample>> {
        let Case {
            inputs,
            work,
            repeats,
            name,
            ..
        } = case;
        let mut samples = Vec::with_capacity(count);
        // Every input is read from the same place, so that where it lies tells nothing.
        let mut place = vec![0; inputs[0].first().map_or(0, Vec::len)];
        let mut went_as_meant = true;
        for _ in 0..count {
            let drawn = self.random.next_u32();
            let class = (drawn & 1) as usize;
            let number = (drawn >> 1) as usize % inputs[0].len();
            choose(
                class,
                inputs.each_ref().map(|pool| &pool[number][..]),
                &mut place,
            );
            let input = black_box(&place[..]);
            let began = Instant::now();
            for _ in 0..*repeats {
                went_as_meant &= work(input);
            }
            let nanos = began.elapsed().as_nanos();
            samples.push(Sample {
                class,
                nanos: u32::try_from(nanos).unwrap_or(u32::MAX),
            });
        }
        anyhow::ensure!(
            went_as_meant,
            "{name}: an input was not refused as it is meant to be"
        );
        Ok(samples)
    }
}

/// Writes one of two inputs to a place, and reads both: which memory was read would leave its trace in the caches.
fn choose(class: usize, [first, second]: [&[u8]; 2], place: &mut [u8]) {
    let mask = if class == 0 { 0 } else { u8::MAX };
    for ((place, first), second) in place.iter_mut().zip(first).zip(second) {
        *place = first ^ ((first ^ second) & mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(pool: usize) -> Case {
        let inputs = [0, 1].map(|class| {
            (0..pool)
                .map(|number| vec![class, u8::try_from(number).unwrap_or(0)])
                .collect()
        });
        Case {
            name: "written here",
            classes: ["first", "second"],
            leaks: false,
            repeats: 3,
            inputs,
            work: Box::new(|input| input.len() == 2),
        }
    }

    #[test]
    fn a_seed_gives_the_same_order_again_and_both_classes_alike() -> anyhow::Result<()> {
        let classes = |seed| -> anyhow::Result<Vec<usize>> {
            let samples = Meter::new(seed, 1000).take(&mut case(4), 1000)?;
            Ok(samples.iter().map(|sample| sample.class).collect())
        };
        assert_eq!(classes(1)?, classes(1)?);
        assert_ne!(classes(1)?, classes(2)?);
        let second = classes(1)?.iter().sum::<usize>();
        assert!((400..600).contains(&second), "{second} of 1000");
        Ok(())
    }

    #[test]
    fn an_input_is_chosen_by_its_class() {
        let mut place = [0; 3];
        for (class, chosen) in [(0, [1, 2, 255]), (1, [4, 2, 0])] {
            choose(class, [&[1, 2, 255], &[4, 2, 0]], &mut place);
            assert_eq!(place, chosen);
        }
    }

    #[test]
    fn an_input_that_does_not_go_as_meant_fails_its_case() {
        let mut case = case(1);
        case.work = Box::new(|input| input[0] == 0);
        assert!(Meter::new(1, 100).measure(&mut case).is_err());
    }
}
