//! Whether a worker that has found nothing to do looks again for a while, or sleeps at once.
//!
//! Below saturation most of what a packet costs, and most of the time that it takes, is waking the thread that relays it. A
//! worker that looks again and again meets the next packet awake, at the price of a core's time; on an idle relay that time
//! would buy nothing. So it spins only while waits have lately ended soon enough for it.
//!
//! Responsible for that judgement, on times that it is told. Not responsible for reading a clock nor for waiting (`worker`).

use std::time::Duration;

use taciturn_protocol::time::Instant;

/// A thread that has slept sees what woke it so much later than one that was awake, on virtual machines with idle CPUs.
const WAKING: Duration = Duration::from_micros(50);
/// The share of waits that ended in time, when all of them did.
const ALL: u32 = 1 << 16;
/// Spinning is worth while from this share on: every fourth packet is met awake. When packets come at random, the share is
/// also the part of the time between them that is spun.
const WORTH_WHILE: u32 = ALL / 4;
/// How many waits a share is of, more or less.
const WAITS: u32 = 8;

/// How long a worker spins, and how well that has gone lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    longest: Duration,
    /// The share of late waits in which something came within `longest`, of [`ALL`].
    in_time: u32,
}

impl Patience {
    /// Spins for at most this long; zero: never. Nothing is known yet, so a worker begins by sleeping.
    pub(super) const fn new(longest: Duration) -> Self {
        Self {
            longest,
            in_time: 0,
        }
    }

    /// Another limit from now on. What was in time for the old one may not be for this.
    pub(super) fn limit(&mut self, longest: Duration) {
        if longest != self.longest {
            *self = Self::new(longest);
        }
    }

    /// Never spins.
    pub(super) const fn is_none(&self) -> bool {
        self.longest.is_zero()
    }

    /// Until when to spin in a wait that begins now and ends at `deadline` at the latest; `None`: sleep at once.
    pub(super) fn spin_until(&self, now: Instant, deadline: Instant) -> Option<Instant> {
        let worth_while = self.longest > Duration::ZERO && self.in_time >= WORTH_WHILE;
        worth_while.then(|| deadline.min(now + self.longest))
    }

    /// A wait of this length is over. `found`: something came, rather than a deadline.
    pub(super) fn learn(&mut self, waited: Duration, spun: bool, found: bool) {
        // Without this, whoever sleeps would find everything late, and never begin to spin.
        let waking = if spun { Duration::ZERO } else { WAKING };
        if waited > self.longest + waking {
            self.in_time -= self.in_time.div_ceil(WAITS);
        } else if found {
            self.in_time += (ALL - self.in_time) / WAITS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(100);
    const SECOND: Duration = Duration::from_secs(1);

    /// A worker on a clock of its own. It takes [`WAKING`] to wake, and wakes for a deadline every second.
    struct Simulated {
        patience: Patience,
        now: Instant,
        deadline: Instant,
        spun: Duration,
        asleep: u32,
        awake: u32,
    }

    impl Simulated {
        fn new() -> Self {
            Self {
                patience: Patience::new(LONGEST),
                now: Instant::ZERO,
                deadline: Instant::ZERO + SECOND,
                spun: Duration::ZERO,
                asleep: 0,
                awake: 0,
            }
        }

        /// A packet comes after `gap`, and whatever comes before that is worked off.
        fn packet_after(&mut self, gap: Duration) {
            let comes = self.now + gap;
            while self.deadline < comes {
                self.wait(self.deadline, false);
                self.deadline = self.deadline + SECOND;
            }
            self.wait(comes, true);
        }

        fn wait(&mut self, ends: Instant, found: bool) {
            let began = self.now;
            let spin = self.patience.spin_until(began, self.deadline);
            match spin {
                Some(until) if ends <= until => {
                    self.spun += ends.saturating_since(began);
                    self.awake += u32::from(found);
                    self.now = ends;
                }
                _ => {
                    if let Some(until) = spin {
                        self.spun += until.saturating_since(began);
                    }
                    self.asleep += u32::from(found);
                    self.now = ends + WAKING;
                }
            }
            let waited = self.now.saturating_since(began);
            self.patience.learn(waited, spin.is_some(), found);
        }
    }

    #[test]
    fn packets_that_come_soon_after_each_other_are_met_awake() {
        let mut worker = Simulated::new();
        for _ in 0..1000 {
            worker.packet_after(LONGEST);
        }
        assert!(worker.asleep <= 3, "slept {} times", worker.asleep);
    }

    #[test]
    fn every_third_packet_in_time_is_worth_while_and_every_eighth_is_not() {
        for (rarely, worth_while) in [(3, true), (8, false)] {
            let mut worker = Simulated::new();
            for packet in 0..3000 {
                let gap = if packet % rarely == 0 { 1 } else { 10 };
                worker.packet_after(LONGEST / 2 * gap);
            }
            assert_eq!(worker.awake >= 900, worth_while, "{}", worker.awake);
            let most = if worth_while { LONGEST } else { LONGEST / 50 };
            assert!(worker.spun <= most * 3000, "{:?}", worker.spun);
        }
    }

    #[test]
    fn an_idle_worker_sleeps_whatever_it_did_before() {
        let mut worker = Simulated::new();
        for _ in 0..1_000_000 {
            worker.packet_after(Duration::from_micros(1));
        }
        worker.spun = Duration::ZERO;
        // An hour in which nothing comes but the deadlines.
        worker.packet_after(SECOND * 3600);
        assert!(worker.spun <= LONGEST * 16, "spun for {:?}", worker.spun);
        assert_eq!(
            worker.patience.spin_until(worker.now, worker.deadline),
            None
        );
    }

    /// A few packets at once, as of the relay's own check, and then nothing for seconds.
    #[test]
    fn a_burst_now_and_then_costs_next_to_nothing() {
        let mut worker = Simulated::new();
        for _ in 0..1000 {
            worker.packet_after(SECOND * 5);
            for _ in 0..20 {
                worker.packet_after(Duration::from_micros(30));
            }
        }
        let share = worker.spun.as_secs_f64() / (1000.0 * 5.0);
        assert!(share < 0.001, "spun for {share} of the time");
    }

    #[test]
    fn no_spin_outlasts_a_deadline_or_the_limit() {
        let mut patience = Patience::new(LONGEST);
        for _ in 0..100 {
            patience.learn(Duration::ZERO, true, true);
        }
        let now = Instant::ZERO + SECOND;
        let soon = now + LONGEST / 2;
        assert_eq!(patience.spin_until(now, soon), Some(soon));
        assert_eq!(patience.spin_until(now, now + SECOND), Some(now + LONGEST));
        for _ in 0..100 {
            patience.learn(LONGEST / 2, true, false);
        }
        assert!(
            patience.spin_until(now, soon).is_some(),
            "a deadline that comes in time says nothing about packets"
        );
    }

    #[test]
    fn a_limit_of_zero_never_spins_and_another_limit_begins_anew() {
        let mut patience = Patience::new(Duration::ZERO);
        for _ in 0..100 {
            patience.learn(Duration::ZERO, false, true);
        }
        let now = Instant::ZERO;
        assert!(patience.is_none());
        assert_eq!(patience.spin_until(now, now + SECOND), None);
        patience.limit(LONGEST);
        assert!(!patience.is_none());
        assert_eq!(patience.spin_until(now, now + SECOND), None);
        for _ in 0..100 {
            patience.learn(LONGEST, true, true);
        }
        patience.limit(LONGEST);
        assert!(
            patience.spin_until(now, now + SECOND).is_some(),
            "a reload that leaves the limit as it is changes nothing"
        );
    }
}
