//! Who is set apart on one listening address, and until when.
//!
//! Responsible for bounds: how many are set apart, for how long, and how often the kernel is told. Not responsible for
//! finding them (`watch`), nor for telling the kernel (`net::steering`). All workers of an address share one.
//!
//! A flow goes back when it has not overflowed the queue of those set apart for a while. One that crowds again soon is kept
//! twice as long: sending in bursts must not pay.

use std::net::SocketAddr;
use std::time::Duration;

use taciturn_protocol::time::Instant;

use super::sketch::Crowder;

/// Flows that are set apart at once on one address: the kernel compares each datagram with all of them.
const MOST: usize = 16;
/// For how long after it last crowded.
const HOLD: Duration = Duration::from_secs(10);
/// The same for one that came back again and again.
const LONGEST_HOLD: Duration = Duration::from_secs(320);
/// For how long after it went back a flow is known.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Flows that are known.
const PAST: usize = 64;
/// One that has not crowded for so long may be replaced by one that does.
const IDLE: Duration = Duration::from_secs(2);
/// The kernel is told no more often.
const BETWEEN_CHANGES: Duration = Duration::from_millis(20);

/// The list.
#[derive(Debug, Default)]
pub(crate) struct List {
    listed: Vec<Listed>,
    past: Vec<Past>,
    changes: Vec<Change>,
    is_told: bool,
    next_change: Instant,
}

#[derive(Debug)]
struct Listed {
    source: SocketAddr,
    worker: u8,
    /// When it last crowded.
    crowded: Instant,
    hold: Duration,
}

impl Listed {
    fn until(&self) -> Instant {
        self.crowded + self.hold
    }
}

#[derive(Debug)]
struct Past {
    source: SocketAddr,
    hold: Duration,
    forgotten: Instant,
}

/// What became of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was set apart.
    Apart(Crowder),
    /// It went back to the others.
    Back(SocketAddr),
}

impl List {
    /// A worker has found these among the others.
    pub(crate) fn found(&mut self, now: Instant, worker: u8, crowders: &[Crowder]) {
        for crowder in crowders {
            // Where it crowds still, the kernel may have queued it before it was told.
            if self.renew(now, crowder.source) || !self.make_room(now) {
                continue;
            }
            let hold = self.hold_of(now, crowder.source);
            self.listed.push(Listed {
                source: crowder.source,
                worker,
                crowded: now,
                hold,
            });
            self.change(Change::Apart(*crowder));
        }
    }

    /// Those set apart have overflowed their queue, and this is one of those who did it.
    pub(crate) fn crowds_still(&mut self, now: Instant, source: SocketAddr) {
        self.renew(now, source);
    }

    /// Takes those back who have not crowded for as long as they were to be held.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(at) = self.listed.iter().position(|each| each.until() <= now) {
            self.take_back(now, at);
        }
        self.past.retain(|past| past.forgotten > now);
    }

    /// Who is set apart, when the kernel is to be told so now.
    pub(crate) fn untold(&mut self, now: Instant) -> Option<Vec<SocketAddr>> {
        if self.is_told || self.changes.is_empty() || now < self.next_change {
            return None;
        }
        self.next_change = now + BETWEEN_CHANGES;
        Some(self.listed.iter().map(|each| each.source).collect())
    }

    /// The kernel has been told what [`Self::untold`] said. Returns what has changed.
    pub(crate) fn told(&mut self) -> Vec<Change> {
        self.is_told = true;
        std::mem::take(&mut self.changes)
    }

    /// How many of this worker's flows are set apart.
    pub(crate) fn of_worker(&self, worker: u8) -> usize {
        let own = self.listed.iter().filter(|each| each.worker == worker);
        own.count()
    }

    fn change(&mut self, change: Change) {
        self.is_told = false;
        if self.changes.len() >= PAST {
            // The kernel has not listened for long, and nobody has been told of any of them.
            self.changes.remove(0);
        }
        self.changes.push(change);
    }

    fn renew(&mut self, now: Instant, source: SocketAddr) -> bool {
        let listed = self.listed.iter_mut().find(|each| each.source == source);
        listed.is_some_and(|listed| {
            listed.crowded = now;
            true
        })
    }

    /// Whether one more can be listed; whoever has been quiet for longest makes room for it.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.listed.len() < MOST {
            return true;
        }
        let quietest = (0..self.listed.len()).min_by_key(|at| self.listed[*at].crowded);
        let idle = quietest.filter(|at| now.saturating_since(self.listed[*at].crowded) >= IDLE);
        idle.is_some_and(|at| {
            self.take_back(now, at);
            true
        })
    }

    fn take_back(&mut self, now: Instant, at: usize) {
        let Listed { source, hold, .. } = self.listed.swap_remove(at);
        if self.past.len() >= PAST {
            self.past.remove(0);
        }
        self.past.push(Past {
            source,
            hold,
            forgotten: now + REMEMBERED,
        });
        self.change(Change::Back(source));
    }

    fn hold_of(&mut self, now: Instant, source: SocketAddr) -> Duration {
        let known = self.past.iter().position(|past| past.source == source);
        let known = known.map(|at| self.past.remove(at));
        known
            .filter(|past| past.forgotten > now)
            .map_or(HOLD, |past| (past.hold * 2).min(LONGEST_HOLD))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn crowder(port: u16) -> Crowder {
        Crowder {
            source: SocketAddr::from(([127, 0, 0, 1], port)),
            percent: 90,
        }
    }

    fn source(port: u16) -> SocketAddr {
        crowder(port).source
    }

    /// Tells the kernel what there is to tell, and says who is set apart then.
    fn tell(list: &mut List, millis: u64) -> Option<(Vec<SocketAddr>, Vec<Change>)> {
        let flows = list.untold(at(millis))?;
        Some((flows, list.told()))
    }

    #[test]
    fn the_kernel_is_told_once_of_each_change() {
        let mut list = List::default();
        assert_eq!(tell(&mut list, 1000), None);
        list.found(at(1000), 1, &[crowder(1)]);
        let apart = Change::Apart(crowder(1));
        assert_eq!(tell(&mut list, 1000), Some((vec![source(1)], vec![apart])));
        // What was queued before is found once more.
        list.found(at(1020), 1, &[crowder(1)]);
        assert_eq!(tell(&mut list, 1020), None);
        assert_eq!((list.of_worker(0), list.of_worker(1)), (0, 1));
        list.expire(at(11_019));
        assert_eq!(tell(&mut list, 11_019), None);
        list.expire(at(11_020));
        let back = Change::Back(source(1));
        assert_eq!(tell(&mut list, 11_020), Some((vec![], vec![back])));
        assert_eq!(list.of_worker(1), 0);
    }

    #[test]
    fn changes_that_come_fast_are_told_together() {
        let mut list = List::default();
        list.found(at(1000), 0, &[crowder(1)]);
        assert!(tell(&mut list, 1000).is_some());
        list.found(at(1010), 0, &[crowder(2)]);
        assert_eq!(tell(&mut list, 1010), None);
        list.found(at(1019), 2, &[crowder(3)]);
        assert_eq!(tell(&mut list, 1019), None);
        let (flows, changes) = tell(&mut list, 1020).unwrap();
        assert_eq!(flows, [source(1), source(2), source(3)]);
        assert_eq!(changes.len(), 2);
    }

    /// A kernel that would not listen is told again, and nobody is said to be set apart until it did.
    #[test]
    fn what_the_kernel_did_not_take_is_told_again() {
        let mut list = List::default();
        list.found(at(1000), 0, &[crowder(1)]);
        assert!(list.untold(at(1000)).is_some());
        assert!(list.untold(at(1001)).is_none());
        assert_eq!(list.untold(at(1020)), Some(vec![source(1)]));
        assert_eq!(list.told(), [Change::Apart(crowder(1))]);
    }

    #[test]
    fn who_crowds_still_stays_and_who_crowds_again_stays_longer() {
        let mut list = List::default();
        let mut now = 0;
        let mut held = Vec::new();
        for _ in 0..7 {
            list.found(at(now), 0, &[crowder(1)]);
            for _ in 0..30 {
                now += 1000;
                list.crowds_still(at(now), source(1));
                list.crowds_still(at(now), source(2));
                list.expire(at(now));
                assert_eq!(list.of_worker(0), 1);
            }
            let calm = now;
            while list.of_worker(0) == 1 {
                now += 1000;
                list.expire(at(now));
            }
            held.push((now - calm) / 1000);
        }
        assert_eq!(held, [10, 20, 40, 80, 160, 320, 320]);
        // Forgotten after a while.
        now += 601_000;
        list.expire(at(now));
        list.found(at(now), 0, &[crowder(1)]);
        list.expire(at(now + 10_000));
        assert_eq!(list.of_worker(0), 0);
    }

    #[test]
    fn a_full_list_takes_one_more_only_for_one_that_is_quiet() {
        let mut list = List::default();
        let many: Vec<_> = (0..20).map(crowder).collect();
        list.found(at(0), 0, &many);
        let (flows, _) = tell(&mut list, 0).unwrap();
        assert_eq!(flows, (0..16).map(source).collect::<Vec<_>>());
        for port in (0..16).filter(|port| *port != 5) {
            list.crowds_still(at(1500), source(port));
        }
        list.found(at(1999), 0, &[crowder(30)]);
        assert!(tell(&mut list, 1999).is_none());
        list.found(at(2000), 0, &[crowder(30), crowder(31)]);
        let (flows, changes) = tell(&mut list, 2000).unwrap();
        assert_eq!(flows.len(), 16);
        assert!(flows.contains(&source(30)) && !flows.contains(&source(5)));
        assert_eq!(
            changes,
            [Change::Back(source(5)), Change::Apart(crowder(30))]
        );
    }

    /// Whoever changes ports all the time makes the relay remember no more than so many.
    #[test]
    fn memory_is_bounded() {
        let mut list = List::default();
        for port in 0..10_000_u16 {
            let now = u64::from(port) * 3000;
            list.found(at(now), 0, &[crowder(port)]);
            list.expire(at(now));
            assert!(list.listed.len() <= MOST && list.past.len() <= PAST);
            assert!(list.changes.len() <= PAST);
        }
    }
}
