//! The drain as metrics.
//!
//! Not responsible for the phase, which is shown with or without a drain (`phase`).

use std::sync::atomic::Ordering;

use super::{DrainControl, DrainSource};
use crate::metrics::{Family, Source};

impl Source for DrainControl {
    fn families(&self) -> Vec<Family> {
        let drain = self.status();
        let drain = drain.as_ref();
        vec![
            Family::gauge(
                "taciturn_relay_drain_deadline_timestamp_seconds",
                "Deadline of the drain that is under way, as unix time; 0 without one.",
                drain.map_or(0, |drain| drain.drain.order.deadline),
            ),
            Family::gauge(
                "taciturn_relay_drain_deadline_passed",
                "1 when the deadline of the drain that is under way has passed.",
                drain.is_some_and(|drain| drain.deadline_passed),
            ),
            Family::gauge(
                "taciturn_relay_drain_remaining_allocations",
                "Allocations that the drain under way waits for; 0 without one.",
                drain.map_or(0, |drain| drain.allocations_remaining),
            ),
            Family::counters(
                "taciturn_relay_drains_total",
                "Drains begun, by who ordered them.",
                ["source"],
                DrainSource::ALL.map(|source| {
                    let begun = self.begun[source.index()].load(Ordering::Relaxed);
                    ([source.as_str()], begun)
                }),
            ),
        ]
    }
}
