//! Where the relay is in its life, shared by the threads that show it.
//!
//! Not responsible for bringing it there: start-up and the admin API do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use taciturn_protocol::status::Phase;

use crate::counters::Totals;
use crate::metrics::{Family, Source};

/// The relay's phase.
#[derive(Debug)]
pub struct SharedPhase(AtomicU8);

impl SharedPhase {
    /// The phases that a relay says of itself; it is never the one to say that it is lost.
    pub const ALL: [Phase; 4] = [
        Phase::Launching,
        Phase::Ready,
        Phase::Draining,
        Phase::Drained,
    ];

    /// A relay that is starting.
    pub const fn launching() -> Self {
        Self(AtomicU8::new(0))
    }

    /// The relay has come to `phase`.
    pub fn set(&self, phase: Phase) {
        let index = Self::ALL
            .iter()
            .position(|each| *each == phase)
            .unwrap_or(0);
        self.0
            .store(u8::try_from(index).unwrap_or(0), Ordering::Release);
    }

    /// Where the relay is. A draining relay that has no allocation left is drained, by itself.
    pub fn read(&self, totals: &Totals) -> Phase {
        let set = Self::ALL
            .get(usize::from(self.0.load(Ordering::Acquire)))
            .copied()
            .unwrap_or(Phase::Launching);
        if set == Phase::Draining && totals.allocations() == 0 {
            Phase::Drained
        } else {
            set
        }
    }
}

/// The phase as a metric.
#[derive(Debug)]
pub struct ShownPhase {
    /// The phase that was set.
    pub phase: Arc<SharedPhase>,
    /// What tells whether a drain has come to its end.
    pub totals: Totals,
}

impl Source for ShownPhase {
    fn families(&self) -> Vec<Family> {
        let current = self.phase.read(&self.totals);
        vec![Family::gauges(
            "taciturn_relay_phase",
            "1 for the phase that the relay is in, 0 for the others.",
            ["phase"],
            SharedPhase::ALL.map(|phase| ([phase.as_str()], phase == current)),
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;

    #[test]
    fn a_draining_relay_is_drained_when_its_last_allocation_has_ended() {
        let counters = Arc::new(Counters::default());
        let totals = Totals::new(vec![Arc::clone(&counters)]);
        let phase = SharedPhase::launching();
        assert_eq!(phase.read(&totals), Phase::Launching);
        phase.set(Phase::Ready);
        counters.allocations.set(1);
        assert_eq!(phase.read(&totals), Phase::Ready);
        phase.set(Phase::Draining);
        assert_eq!(phase.read(&totals), Phase::Draining);
        counters.allocations.set(0);
        assert_eq!(phase.read(&totals), Phase::Drained);
        phase.set(Phase::Ready);
        assert_eq!(phase.read(&totals), Phase::Ready, "a drain can be undone");
    }
}
