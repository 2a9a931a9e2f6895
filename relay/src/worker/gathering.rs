//! Whether a worker that is busy lets datagrams gather for a moment before it looks for more.
//!
//! A round costs several system calls, whatever it finds. A worker that takes packets as fast as they come finds two or three
//! each time, and pays for them almost as for thirty; it is the moderation of interrupts, which network cards have known for
//! long, that is missing. So where packets come so often that many would gather within a short pause, it makes that pause:
//! the same work takes fewer rounds, trains leave as one, and streams are written to in larger pieces. Where they come more
//! rarely, or wait already, it goes on at once.
//!
//! Responsible for that judgement, on times that it is told. Not responsible for reading a clock nor for pausing (`worker`).

use std::time::Duration;

use taciturn_protocol::time::Instant;

/// The rate is looked at this often. Long enough to hold many packets where pausing is worth while, short enough that a
/// burst which is over is not paused for.
const WINDOW: Duration = Duration::from_millis(1);
/// A pause must bring this many packets, as it costs a wake-up: about as much as a round or two.
const WORTH_WHILE: u128 = 8;
/// More packets than these gain little from coming together, and need not wait.
const ENOUGH: usize = 32;

/// How long packets may gather, and how fast they have come lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathering {
    longest: Duration,
    window_began: Instant,
    came: usize,
    pause: Duration,
}

impl Gathering {
    /// Pauses for at most this long; zero: never. Nothing is known yet, so it begins without.
    pub(super) const fn new(longest: Duration) -> Self {
        Self {
            longest,
            window_began: Instant::ZERO,
            came: 0,
            pause: Duration::ZERO,
        }
    }

    /// Another limit from now on.
    pub(super) fn limit(&mut self, longest: Duration) {
        self.longest = longest;
        self.pause = self.pause.min(longest);
    }

    /// How long to pause after a round that began at `now` and read this many packets; `None`: look for more at once.
    #[inline]
    pub(super) fn pause_after(&mut self, now: Instant, came: usize) -> Option<Duration> {
        if self.longest.is_zero() {
            return None;
        }
        self.came += came;
        let elapsed = now.saturating_since(self.window_began);
        if elapsed >= WINDOW {
            self.pause = self.worth_while(elapsed);
            self.window_began = now;
            self.came = 0;
        }
        (came < ENOUGH && !self.pause.is_zero()).then_some(self.pause)
    }

    /// As long as it takes for enough to come, at most the limit; zero when too few would.
    fn worth_while(&self, elapsed: Duration) -> Duration {
        let came = self.came as u128;
        if came * self.longest.as_nanos() < WORTH_WHILE * elapsed.as_nanos() {
            return Duration::ZERO;
        }
        let enough = elapsed.as_nanos() * ENOUGH as u128 / came.max(1);
        u64::try_from(enough).map_or(self.longest, |nanos| {
            self.longest.min(Duration::from_nanos(nanos))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(50);
    const ROUND: Duration = Duration::from_micros(2);

    /// A worker on a clock of its own, whose every round takes [`ROUND`] and finds what has come since it last looked.
    struct Simulated {
        gathering: Gathering,
        now: Instant,
        waiting: f64,
        rounds: u32,
        pauses: Vec<Duration>,
    }

    impl Simulated {
        fn new(longest: Duration) -> Self {
            Self {
                gathering: Gathering::new(longest),
                now: Instant::ZERO + Duration::from_secs(1),
                waiting: 0.0,
                rounds: 0,
                pauses: Vec::new(),
            }
        }

        /// Packets come at this rate for so long; where none has come yet, the worker waits for the next.
        fn run(&mut self, per_second: f64, time: Duration) {
            self.rounds = 0;
            self.pauses.clear();
            let end = self.now + time;
            while self.now < end {
                let gap = Duration::from_secs_f64((1.0 - self.waiting).max(0.0) / per_second);
                self.pass(gap, per_second);
                let came = self.waiting.floor();
                self.waiting -= came;
                self.rounds += 1;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a small whole number"
                )]
                let pause = self.gathering.pause_after(self.now, came as usize);
                self.pass(ROUND + pause.unwrap_or_default(), per_second);
                self.pauses.extend(pause);
            }
        }

        fn pass(&mut self, time: Duration, per_second: f64) {
            self.now = self.now + time;
            self.waiting += time.as_secs_f64() * per_second;
        }
    }

    #[test]
    fn a_busy_worker_lets_packets_gather() {
        let mut worker = Simulated::new(LONGEST);
        worker.run(300_000.0, Duration::from_millis(100));
        // 30,000 packets, one or two a round without pauses; a pause and a round are 52 microseconds.
        assert!(worker.rounds < 2500, "{} rounds", worker.rounds);
        assert!(worker.pauses.iter().all(|pause| *pause == LONGEST));
    }

    #[test]
    fn no_pause_is_longer_than_it_takes_for_enough_to_come() {
        let mut worker = Simulated::new(Duration::from_millis(1));
        worker.run(1_000_000.0, Duration::from_millis(100));
        let (fits, longest) = (
            Duration::from_micros(40),
            worker.pauses.iter().max().copied(),
        );
        assert!(longest.is_some_and(|pause| pause <= fits), "{longest:?}");
    }

    #[test]
    fn packets_that_come_rarely_never_wait() {
        let mut worker = Simulated::new(LONGEST);
        worker.run(100_000.0, Duration::from_millis(100));
        assert!(worker.pauses.is_empty(), "{} pauses", worker.pauses.len());
    }

    #[test]
    fn packets_that_wait_already_do_not_wait_longer() {
        let mut gathering = Gathering::new(LONGEST);
        let mut now = Instant::ZERO + Duration::from_secs(1);
        for _ in 0..1000 {
            now = now + Duration::from_micros(30);
            assert_eq!(gathering.pause_after(now, ENOUGH), None);
        }
        assert!(
            gathering.pause_after(now, ENOUGH - 1).is_some(),
            "it was not for want of traffic"
        );
    }

    #[test]
    fn what_is_over_is_not_paused_for() {
        let mut worker = Simulated::new(LONGEST);
        worker.run(300_000.0, Duration::from_millis(10));
        worker.run(1_000.0, Duration::from_millis(100));
        // One a window, until a window has passed that holds nothing of what was.
        assert!(worker.pauses.len() <= 3, "{} pauses", worker.pauses.len());
    }

    #[test]
    fn a_limit_of_zero_never_pauses_and_a_lower_one_holds_at_once() {
        let mut worker = Simulated::new(Duration::ZERO);
        worker.run(300_000.0, Duration::from_millis(10));
        assert!(worker.pauses.is_empty());
        worker.gathering.limit(LONGEST);
        worker.run(300_000.0, Duration::from_millis(10));
        assert!(!worker.pauses.is_empty());
        let lower = LONGEST / 2;
        worker.gathering.limit(lower);
        worker.run(300_000.0, Duration::from_millis(10));
        assert!(worker.pauses.iter().all(|pause| *pause <= lower));
        worker.gathering.limit(Duration::ZERO);
        worker.run(300_000.0, Duration::from_millis(10));
        assert!(worker.pauses.is_empty());
    }
}
