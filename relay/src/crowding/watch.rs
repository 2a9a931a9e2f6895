//! When a queue overflows, and not just once.
//!
//! Responsible for telling an overload that lasts from a stall that is over: a worker that was not let run finds a full
//! queue and drops behind it, and nobody among its clients is the cause. Not responsible for counting (`sketch`).
//!
//! ```text
//!             drops grew              grew again, twice
//!   resting ------------> counting ----------------------> crowders
//!      ^                     |  did not grow, or too late          |
//!      +---------------------+-------------------------------------+
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use taciturn_protocol::time::Instant;

use super::sketch::{Crowder, Sketch};

/// The drops are looked at this often while the queue does not run empty: a system call each.
const LOOK: Duration = Duration::from_millis(10);
/// Looks that must each find more drops before anybody is blamed.
const LOOKS: u8 = 2;
/// Looks farther apart than this say nothing about what was between.
const TOO_LATE: Duration = Duration::from_millis(200);
/// After an overload that nobody in particular has caused, the next count begins so much later.
const REST: Duration = Duration::from_millis(100);
/// So much must have been counted.
const LEAST: u64 = 256;

/// What one worker knows about one queue.
#[derive(Debug)]
pub(crate) struct Watch {
    drops: u64,
    looked: Instant,
    next_look: Instant,
    /// How many looks have found more drops in a row; `None` while resting.
    found: Option<u8>,
    sketch: Sketch,
}

impl Watch {
    /// Over a queue that has dropped nothing.
    pub(crate) fn new() -> Self {
        Self {
            drops: 0,
            looked: Instant::ZERO,
            next_look: Instant::ZERO,
            found: None,
            sketch: Sketch::new(),
        }
    }

    /// Whether it is time to look at the drops. To be asked when the queue was not empty after a read.
    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.next_look
    }

    /// Whether what is read now is to be counted.
    #[inline]
    pub(crate) const fn counts(&self) -> bool {
        self.found.is_some()
    }

    /// Counts a flow.
    #[inline]
    pub(crate) fn count(&mut self, key: u32, source: SocketAddr, weight: u64) {
        self.sketch.add(key, source, weight);
    }

    /// The queue has dropped so many since the start. Returns who is to blame, when somebody is.
    pub(crate) fn look(&mut self, now: Instant, drops: u64) -> Vec<Crowder> {
        let grew = drops > self.drops;
        let late = now.saturating_since(self.looked) > TOO_LATE;
        self.drops = drops;
        self.looked = now;
        self.next_look = now + LOOK;
        let found = match self.found {
            Some(found) if grew && !late => found + 1,
            _ if grew => 0,
            _ => {
                self.found = None;
                return Vec::new();
            }
        };
        if found == 0 {
            self.sketch.clear();
        }
        self.found = Some(found);
        if found < LOOKS || self.sketch.total() < LEAST {
            return Vec::new();
        }
        self.found = None;
        let crowders = self.sketch.crowders();
        if crowders.is_empty() {
            self.next_look = now + REST;
        }
        crowders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// What a round of a worker reads: much of one flow, a little of ten others.
    fn flood(watch: &mut Watch) {
        watch.count(7 << 20, source(7), 1000);
        for port in 10..20 {
            watch.count(u32::from(port) << 22, source(port), 1);
        }
    }

    #[test]
    fn an_overflow_that_lasts_finds_who_causes_it() {
        let mut watch = Watch::new();
        assert!(!watch.counts() && watch.is_due(at(0)));
        assert_eq!(watch.look(at(1000), 0), []);
        assert!(!watch.counts() && !watch.is_due(at(1009)) && watch.is_due(at(1010)));
        assert_eq!(watch.look(at(1010), 50), []);
        assert!(watch.counts());
        flood(&mut watch);
        assert_eq!(watch.look(at(1020), 90), []);
        let blamed = watch.look(at(1030), 120);
        assert_eq!(blamed.len(), 1);
        assert_eq!((blamed[0].source, blamed[0].percent), (source(7), 99));
        assert!(!watch.counts());
    }

    /// The worker was not let run for a while; whoever talks most has not caused that.
    #[test]
    fn a_stall_blames_nobody() {
        let mut watch = Watch::new();
        for stall in 0..10 {
            let begun = 1000 * stall;
            assert_eq!(watch.look(at(begun), 500 * (stall + 1)), []);
            for later in [10, 20, 30, 40] {
                flood(&mut watch);
                assert_eq!(watch.look(at(begun + later), 500 * (stall + 1)), []);
            }
            assert!(!watch.counts());
        }
    }

    #[test]
    fn looks_that_are_far_apart_are_no_overflow_that_lasts() {
        let mut watch = Watch::new();
        for turn in 0..10 {
            flood(&mut watch);
            assert_eq!(watch.look(at(300 * turn), 10 + turn), []);
        }
        // The last of them began a count, and these go on with it.
        assert_eq!(watch.look(at(2710), 30), []);
        flood(&mut watch);
        assert_eq!(watch.look(at(2720), 40).len(), 1);
    }

    #[test]
    fn an_overload_without_a_cause_is_counted_now_and_then() {
        let mut watch = Watch::new();
        let mut drops = 0;
        let mut looks = 0;
        for millis in 0..10_000 {
            if !watch.is_due(at(millis)) {
                continue;
            }
            looks += 1;
            drops += 100;
            if watch.counts() {
                for port in 10..30 {
                    watch.count(u32::from(port) << 22, source(port), 50);
                }
            }
            assert_eq!(watch.look(at(millis), drops), []);
        }
        assert!((240..=260).contains(&looks), "{looks}");
    }

    #[test]
    fn a_handful_of_datagrams_is_no_evidence() {
        let mut watch = Watch::new();
        for turn in 0..20 {
            watch.count(7 << 20, source(7), 10);
            watch.count(1 << 30, source(8), 1);
            assert_eq!(watch.look(at(10 * turn), 10 + turn), []);
        }
        flood(&mut watch);
        assert_eq!(watch.look(at(200), 100).len(), 1);
    }
}
