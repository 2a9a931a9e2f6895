//! When the demo's calls begin, and how long each lasts: a crowd that comes, stays a while and goes, again and again.
//!
//! Responsible for the times alone, as a function of the time that has passed. Not responsible for holding a call (`call`),
//! nor for how many relays that needs, which is the controller's affair.

use std::time::Duration;

/// From one crowd to the next.
pub(crate) const CYCLE: Duration = Duration::from_secs(150);

/// Parts of a cycle: the second in which each ends, and how many calls begin in a hundred seconds of it. The last is long
/// enough for what drains to become empty by itself.
const PARTS: [(u64, u64); 4] = [(6, 80), (42, 135), (52, 50), (150, 12)];

/// Most calls have this length in milliseconds, spread over as much again.
const SHORT: u64 = 10_000;
/// One in five is a long one, so that a relay that drains still carries some.
const LONG: u64 = 38_000;
const ONE_IN: u64 = 5;

/// A call that should have begun longer ago than this is not made up for: the machine was asleep.
const MISSED: Duration = Duration::from_secs(2);

/// One call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Planned {
    /// Counted from 0.
    pub(crate) number: u64,
    /// How long it lasts.
    pub(crate) lasts: Duration,
}

/// Which calls have been handed out.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    next: u64,
}

impl Schedule {
    /// The calls that are to begin by now, each once.
    pub(crate) fn due(&mut self, elapsed: Duration) -> Vec<Planned> {
        let by_now = begun_by(elapsed);
        let missed = begun_by(elapsed.saturating_sub(MISSED));
        let first = self.next.max(missed);
        self.next = self.next.max(by_now);
        (first..by_now)
            .map(|number| Planned {
                number,
                lasts: lasts(number),
            })
            .collect()
    }
}

/// How many calls have begun when this much time has passed.
fn begun_by(elapsed: Duration) -> u64 {
    let cycles = elapsed.as_secs() / CYCLE.as_secs();
    let begun = elapsed.saturating_sub(Duration::from_secs(cycles * CYCLE.as_secs()));
    let whole = shares_until(CYCLE);
    // So many milliseconds at so many calls in a hundred seconds.
    (cycles * whole + shares_until(begun)) / 100_000
}

/// What begins until then within a cycle, in shares of a call.
fn shares_until(elapsed: Duration) -> u64 {
    let mut sum = 0;
    let mut from = Duration::ZERO;
    for (until, calls) in PARTS {
        let until = Duration::from_secs(until);
        let within = elapsed.min(until).saturating_sub(from);
        // A cycle has few milliseconds.
        sum += u64::try_from(within.as_millis()).unwrap_or_default() * calls;
        from = until;
    }
    sum
}

fn lasts(number: u64) -> Duration {
    if number % ONE_IN == ONE_IN - 1 {
        return Duration::from_millis(LONG);
    }
    // Steps of the golden ratio: neighbours differ, and the whole is even.
    let spread = number.wrapping_mul(618) % 1000;
    Duration::from_millis(SHORT + SHORT * spread / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls are live at this second.
    fn live_at(second: u64) -> usize {
        let mut schedule = Schedule::default();
        let mut ends = Vec::new();
        for tenth in 0..=second * 10 {
            let now = Duration::from_millis(tenth * 100);
            let begun = schedule.due(now);
            ends.extend(begun.iter().map(|planned| now + planned.lasts));
        }
        let now = Duration::from_secs(second);
        ends.iter().filter(|end| **end > now).count()
    }

    #[test]
    fn a_crowd_comes_and_goes_within_two_minutes() {
        let peak = live_at(45);
        assert!((22..=32).contains(&peak), "{peak}");
        let quiet = live_at(100);
        assert!((1..=4).contains(&quiet), "{quiet}");
        assert!(live_at(CYCLE.as_secs() + 45).abs_diff(peak) <= 3, "again");
    }

    #[test]
    fn some_calls_are_long_enough_to_be_on_a_relay_that_drains() {
        // The last of the crowd have begun by second 44; draining begins some twenty seconds later.
        assert!(live_at(72) >= 5, "{}", live_at(72));
    }

    #[test]
    fn each_call_begins_once_and_in_order() {
        let mut schedule = Schedule::default();
        let mut numbers = Vec::new();
        for tenth in 0..3000 {
            let now = Duration::from_millis(tenth * 100);
            numbers.extend(schedule.due(now).iter().map(|planned| planned.number));
            assert!(schedule.due(now).is_empty());
        }
        let all: Vec<u64> = (0..numbers.len() as u64).collect();
        assert_eq!(numbers, all);
        assert!(numbers.len() > 100);
    }

    #[test]
    fn a_machine_that_was_asleep_is_not_made_to_catch_up() {
        let mut schedule = Schedule::default();
        schedule.due(Duration::from_secs(5));
        let woken = schedule.due(Duration::from_secs(8 * 3600 + 30));
        assert!(woken.len() <= 3, "{}", woken.len());
    }
}
