//! When new allocations are shed, and when they are let in again.
//!
//! Responsible for the decision alone, from one sample to the next: pure, on the time that it is given. Not responsible
//! for measuring, nor for telling anybody.
//!
//! ```text
//!            share >= threshold (a core: twice in a row)
//!   calm  ------------------------------------------------>  shedding
//!         <------------------------------------------------
//!            share < threshold - 0.1, or half the threshold where that is more, for 5 seconds
//! ```

use std::time::Duration;

use taciturn_protocol::time::Instant;

use super::sample::{Part, Parts};

/// The share of descriptors, ports and allocations at which new ones are shed: a few are left for those who are here.
const NEARLY_FULL: f64 = 0.98;
/// How far below the threshold it must fall; of a low threshold half as far as there is.
const RELIEF: f64 = 0.1;
/// For how long.
const CALM: Duration = Duration::from_secs(5);
/// A core that is busy for one second is no overload: a round of key exchanges can do that.
const BUSY_SAMPLES: u32 = 2;

/// Whether the relay is overloaded, part by part.
#[derive(Clone, Debug, Default)]
pub(super) struct Overload {
    core: Latch,
    allocations: Latch,
    ports: Latch,
    fds: Latch,
}

impl Overload {
    /// Takes the shares of the last second into account. `busiest_core` is the threshold for a core; `None`: nothing is
    /// shed, whatever fills up. A share that is missing changes nothing: it is neither high nor low.
    pub(super) fn observe(&mut self, now: Instant, shares: &Parts, busiest_core: Option<f64>) {
        let Some(threshold) = busiest_core else {
            *self = Self::default();
            return;
        };
        for (part, latch, threshold, samples) in [
            (Part::BusiestCore, &mut self.core, threshold, BUSY_SAMPLES),
            (Part::Allocations, &mut self.allocations, NEARLY_FULL, 1),
            (Part::Ports, &mut self.ports, NEARLY_FULL, 1),
            (Part::Fds, &mut self.fds, NEARLY_FULL, 1),
        ] {
            latch.observe(now, shares.part(part), threshold, samples);
        }
    }

    /// Whether new allocations are to be shed.
    pub(super) fn is_shedding(&self) -> bool {
        self.causes().next().is_some()
    }

    /// The parts on whose account they are.
    pub(super) fn causes(&self) -> impl Iterator<Item = Part> {
        [
            (Part::BusiestCore, self.core.shedding),
            (Part::Allocations, self.allocations.shedding),
            (Part::Ports, self.ports.shedding),
            (Part::Fds, self.fds.shedding),
        ]
        .into_iter()
        .filter_map(|(part, shedding)| shedding.then_some(part))
    }
}

/// One part's state.
#[derive(Clone, Debug, Default)]
struct Latch {
    shedding: bool,
    /// Samples in a row at or above the threshold.
    above: u32,
    /// Since when it has been well below the threshold.
    calm_since: Option<Instant>,
}

impl Latch {
    fn observe(&mut self, now: Instant, share: Option<f64>, threshold: f64, samples: u32) {
        let Some(share) = share else {
            return;
        };
        if share >= threshold {
            self.above = self.above.saturating_add(1);
        } else {
            self.above = 0;
        }
        if self.above >= samples {
            self.shedding = true;
        }
        if share >= threshold - RELIEF.min(threshold / 2.0) {
            self.calm_since = None;
            return;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_since(since) >= CALM {
            self.shedding = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: Option<f64> = Some(0.9);

    fn instant(second: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(second)
    }

    /// Feeds one sample a second, beginning at second `from`, and says after which of them it sheds.
    fn shed(overload: &mut Overload, from: u64, part: Part, shares: &[Option<f64>]) -> Vec<bool> {
        let seconds = from..;
        seconds
            .zip(shares)
            .map(|(second, share)| {
                let mut parts = Parts::default();
                parts.set(part, *share);
                overload.observe(instant(second), &parts, THRESHOLD);
                overload.is_shedding()
            })
            .collect()
    }

    #[test]
    fn a_core_that_is_busy_for_two_seconds_sheds_and_one_second_does_not() {
        let core = Part::BusiestCore;
        let mut overload = Overload::default();
        let once = [Some(0.95), Some(0.5), Some(0.9), Some(0.89)];
        assert_eq!(shed(&mut overload, 10, core, &once), [false; 4]);
        let twice = [Some(0.9), Some(0.9)];
        assert_eq!(shed(&mut overload, 14, core, &twice), [false, true]);
        assert_eq!(overload.causes().collect::<Vec<_>>(), [core]);
    }

    #[test]
    fn shedding_ends_after_five_seconds_well_below_the_threshold() {
        let core = Part::BusiestCore;
        let mut overload = Overload::default();
        shed(&mut overload, 0, core, &[Some(1.0), Some(1.0)]);
        // Just below the threshold is not well below it, and each relapse begins the five seconds anew.
        let almost = [Some(0.85), Some(0.79), Some(0.79), Some(0.81)];
        assert_eq!(shed(&mut overload, 2, core, &almost), [true; 4]);
        let calm = [Some(0.5); 6];
        assert_eq!(
            shed(&mut overload, 6, core, &calm),
            [true, true, true, true, true, false]
        );
    }

    #[test]
    fn shedding_for_a_low_threshold_ends_too() {
        let mut overload = Overload::default();
        let mut busy = |second, share| {
            let mut parts = Parts::default();
            parts.set(Part::BusiestCore, Some(share));
            overload.observe(instant(second), &parts, Some(0.05));
            overload.is_shedding()
        };
        assert!(!busy(0, 0.05));
        assert!(busy(1, 0.05));
        assert!((2..60).all(|second| busy(second, 0.03)), "not calm yet");
        assert!((60..65).all(|second| busy(second, 0.02)));
        assert!(!busy(65, 0.02));
    }

    #[test]
    fn what_can_be_counted_sheds_when_it_is_nearly_full() {
        for part in [Part::Allocations, Part::Ports, Part::Fds] {
            let mut overload = Overload::default();
            let rise = [Some(0.97), Some(0.98)];
            assert_eq!(
                shed(&mut overload, 0, part, &rise),
                [false, true],
                "{part:?}"
            );
            let fall = [Some(0.9), Some(0.87), None, Some(0.87)];
            assert_eq!(shed(&mut overload, 2, part, &fall), [true; 4], "{part:?}");
            let calm = [Some(0.87), Some(0.87), Some(0.87)];
            assert_eq!(shed(&mut overload, 6, part, &calm), [true, true, false]);
        }
        for part in [Part::Packets, Part::Bits] {
            let mut overload = Overload::default();
            assert_eq!(
                shed(&mut overload, 0, part, &[Some(3.0); 3]),
                [false; 3],
                "{part:?} is an estimate of the operator's"
            );
        }
    }

    #[test]
    fn a_missing_share_neither_sheds_nor_calms() {
        let core = Part::BusiestCore;
        let mut overload = Overload::default();
        let gap = [Some(0.95), None, Some(0.95)];
        assert_eq!(shed(&mut overload, 0, core, &gap), [false, false, true]);
        assert_eq!(shed(&mut overload, 3, core, &[None; 60]), [true; 60]);
    }

    #[test]
    fn without_a_threshold_nothing_is_shed_and_what_was_is_let_in() {
        let core = Part::BusiestCore;
        let mut overload = Overload::default();
        shed(&mut overload, 0, core, &[Some(1.0), Some(1.0)]);
        assert!(overload.is_shedding());
        let mut parts = Parts::default();
        for part in Part::ALL {
            parts.set(part, Some(1.0));
        }
        overload.observe(instant(3), &parts, None);
        assert!(!overload.is_shedding());
    }
}
