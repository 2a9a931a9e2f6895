//! Demand against capacity over the last hours, and when relays were launched, drained and ended.
//!
//! Responsible for keeping few enough points for a picture, whatever the length of a round: once there are too many, each
//! stands for twice the time, with the greatest demand and need of it, so that no peak is lost. Pure; survives nothing, as
//! a monitoring system keeps such things for good. Not responsible for showing them (`overview`).

use std::collections::VecDeque;
use std::time::Duration;

use taciturn_protocol::time::Instant;

use crate::fleet::{Fleet, Loads};
use crate::policy::{Act, Action, Need, Outcome};

/// Points and marks, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    step: Duration,
    points: VecDeque<Point>,
    marks: VecDeque<Mark>,
}

/// What was asked and what there was, at one time or in the [`Trend::step`] that ends with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Of the latest round in it.
    pub at: Instant,
    /// The greatest demand along each dimension.
    pub demand: Loads,
    /// The capacity in the latest round, up to the fill target.
    pub capacity: Loads,
    /// The greatest need, in relays.
    pub need: u32,
    /// Relays that served or were on their way in the latest round.
    pub have: u32,
}

/// Something that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of the latest round in which it was.
    pub at: Instant,
    /// What.
    pub done: Done,
    /// To how many relays.
    pub relays: u32,
}

/// What is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Done {
    /// Launches that the provider took.
    Launched,
    /// Drains that began.
    Drained,
    /// Drains that were taken back.
    Undrained,
    /// Ends that were asked for.
    Ended,
}

impl Done {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launched => "launched",
            Self::Drained => "drained",
            Self::Undrained => "undrained",
            Self::Ended => "ended",
        }
    }
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(1),
            points: VecDeque::new(),
            marks: VecDeque::new(),
        }
    }
}

impl Trend {
    /// Most points that are kept.
    pub const MOST_POINTS: usize = 360;
    /// Most marks that are kept; the oldest are forgotten first.
    pub const MOST_MARKS: usize = 120;
    /// How long points and marks are kept.
    pub const KEPT: Duration = Duration::from_secs(6 * 3_600);

    /// How much time one point stands for, where rounds are not further apart than that.
    pub const fn step(&self) -> Duration {
        self.step
    }

    /// The points, oldest first.
    pub fn points(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.points.iter()
    }

    /// The marks, oldest first.
    pub fn marks(&self) -> impl ExactSizeIterator<Item = &Mark> {
        self.marks.iter()
    }

    /// Takes a round in.
    pub fn round(&mut self, at: Instant, fleet: &Fleet, need: &Need, tried: &[(Action, Outcome)]) {
        // Rounds come in order; one that does not is as late as the one before.
        let at = self.points.back().map_or(at, |last| last.at.max(at));
        self.forget(at);
        self.point(Point {
            at,
            demand: need.demand,
            capacity: need.capacity,
            need: need.need,
            have: need.have,
        });
        for (action, outcome) in tried {
            if let Some((done, relays)) = done(fleet, action, outcome) {
                self.mark(Mark { at, done, relays });
            }
        }
        while self.points.len() > Self::MOST_POINTS {
            self.coarsen();
        }
    }

    fn forget(&mut self, now: Instant) {
        let old = |at: Instant| now.saturating_since(at) > Self::KEPT;
        while self.points.front().is_some_and(|point| old(point.at)) {
            self.points.pop_front();
        }
        while self.marks.front().is_some_and(|mark| old(mark.at)) {
            self.marks.pop_front();
        }
    }

    /// Into the latest point where that stands for this time too, else as a new one.
    fn point(&mut self, point: Point) {
        let step = self.step;
        match self.points.back_mut() {
            Some(last) if number(last.at, step) == number(point.at, step) => {
                *last = last.and(point)
            }
            Some(_) | None => self.points.push_back(point),
        }
    }

    fn mark(&mut self, mark: Mark) {
        let step = self.step;
        let alike = self
            .marks
            .iter_mut()
            .rev()
            .take_while(|other| number(other.at, step) == number(mark.at, step))
            .find(|other| other.done == mark.done);
        if let Some(same) = alike {
            same.relays = same.relays.saturating_add(mark.relays);
            return;
        }
        if self.marks.len() == Self::MOST_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
    }

    /// Each point stands for twice the time from now on.
    fn coarsen(&mut self) {
        self.step *= 2;
        for point in std::mem::take(&mut self.points) {
            self.point(point);
        }
        for mark in std::mem::take(&mut self.marks) {
            self.mark(mark);
        }
    }
}

impl Point {
    /// Both in one; `later` is the later one.
    fn and(self, later: Self) -> Self {
        Self {
            demand: self.demand.greater(later.demand),
            need: self.need.max(later.need),
            ..later
        }
    }
}

/// The number of the step that this time is in. Two steps of one length are one of twice that, so what was put together
/// stays together.
fn number(at: Instant, step: Duration) -> u128 {
    u128::from(at.as_nanos()) / step.as_nanos().max(1)
}

/// What of an action is worth a mark: what was done, and not what was only repeated.
fn done(fleet: &Fleet, action: &Action, outcome: &Outcome) -> Option<(Done, u32)> {
    let Outcome::Done { instances } = outcome else {
        return None;
    };
    match &action.act {
        Act::Launch { count, .. } => {
            let came = u32::try_from(instances.len()).unwrap_or(u32::MAX);
            Some((Done::Launched, if came > 0 { came } else { *count }))
        }
        Act::Drain { relay, .. } => {
            let report = fleet
                .relays
                .get(relay)
                .and_then(|relay| relay.report.as_ref());
            // One that drains already was given another deadline.
            let drains = report.is_some_and(|report| report.drain.is_some());
            (!drains).then_some((Done::Drained, 1))
        }
        Act::Undrain { .. } => Some((Done::Undrained, 1)),
        Act::Terminate { .. } | Act::Finish { .. } => Some((Done::Ended, 1)),
        Act::Withhold { .. } | Act::Restore { .. } | Act::Extend { .. } => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
