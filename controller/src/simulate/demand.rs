//! The calls of a trace, one by one: when each begins, and how long its allocation lives if nobody cuts it.
//!
//! Responsible for turning counts into calls, by a seed, so that every contender is asked for the very same ones. Not
//! responsible for where they go (`world`).

use super::chance::{Chance, whole};
use super::trace::{LONGEST, Row, SPREAD, Trace};

/// The stream of chance that belongs to it.
const STREAM: u64 = 1;

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The second at which it begins, from the start of the trace.
    pub(super) at: u64,
    /// How many seconds it lasts.
    pub(super) lasts: u64,
}

/// All calls of a trace, in the order in which they begin.
#[derive(Clone, Debug)]
pub(super) struct Demand<'a> {
    rows: core::slice::Iter<'a, Row>,
    interval: u64,
    /// When the next row begins.
    begins: u64,
    carried: f64,
    chance: Chance,
    /// The calls of the row that is being given out, the latest first.
    waiting: Vec<Call>,
}

impl<'a> Demand<'a> {
    pub(super) fn new(trace: &'a Trace, seed: u64) -> Self {
        Self {
            rows: trace.rows.iter(),
            interval: trace.interval.as_secs(),
            begins: 0,
            carried: 0.0,
            chance: Chance::new(seed, STREAM),
            waiting: Vec::new(),
        }
    }

    fn spread(&mut self, row: Row) {
        let due = row.started + self.carried;
        self.carried = due.fract();
        for _ in 0..whole(due.trunc()) {
            let at = self.begins + self.chance.below(self.interval);
            let lasts = lasts(&mut self.chance, row.minutes_mean);
            self.waiting.push(Call { at, lasts });
        }
        self.waiting.sort_by_key(|call| core::cmp::Reverse(call.at));
        self.begins += self.interval;
    }
}

impl Iterator for Demand<'_> {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        while self.waiting.is_empty() {
            let row = *self.rows.next()?;
            self.spread(row);
        }
        self.waiting.pop()
    }
}

/// How many seconds an allocation lives, where the mean is so many minutes.
pub(super) fn lasts(chance: &mut Chance, minutes_mean: f64) -> u64 {
    let minutes = chance
        .lognormal(minutes_mean, SPREAD)
        .min(LONGEST * minutes_mean);
    u64::from(whole(minutes * 60.0).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use taciturn_protocol::time::UnixTime;

    #[test]
    fn every_call_of_the_trace_begins_once_in_its_interval_and_ends_within_bounds() {
        let row = |started| Row {
            started,
            minutes_mean: 20.0,
        };
        let trace = Trace {
            start: UnixTime::from_secs(0),
            interval: Duration::from_secs(60),
            rows: vec![row(1000.5), row(0.0), row(2.5)],
        };
        let calls: Vec<Call> = Demand::new(&trace, 1).collect();
        assert!(calls.is_sorted_by_key(|call| call.at));
        let within = |from, until| {
            calls
                .iter()
                .filter(|c| (from..until).contains(&c.at))
                .count()
        };
        assert_eq!(
            (within(0, 60), within(60, 120), within(120, 180)),
            (1000, 0, 3)
        );
        assert!(calls.iter().all(|call| call.lasts <= 90 * 60));
        let mean = calls.iter().map(|call| call.lasts).sum::<u64>() / 1003;
        assert!((18 * 60..22 * 60).contains(&mean), "{mean}");
        assert!(Demand::new(&trace, 1).eq(Demand::new(&trace, 1)));
    }
}
