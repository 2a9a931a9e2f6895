//! The simulated world: relays, the calls that they carry, and a clock of its own.
//!
//! Responsible for what happens to calls, by the second. Not responsible for the provider's answers (`cloud`) nor for any
//! decision.
//!
//! A call takes two relays at random from a list of relays that is as old as such a list may be, and asks the emptier one,
//! then the other; if neither admits it, it asks for a new list and tries two more. One that nobody admits is blocked. A call
//! that is cut by a mishap comes back within 20 seconds as a new one; one that is cut by whoever keeps the fleet is counted,
//! and comes back too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::iter::Peekable;

use taciturn_protocol::time::UnixTime;

use super::Settings;
use super::chance::Chance;
use super::demand::{Call, Demand, lasts};
use super::fault::Mishap;
use super::host::{Host, Life};
use super::ledger::Ledger;
use super::trace::Trace;
use crate::fleet::{InstanceId, LaunchToken, ZoneId};

/// Streams of chance: whom a call asks, and how long machines take. The first belongs to `demand`.
const PLACING: u64 = 2;
const BOOTING: u64 = 3;
/// A call that was cut comes back within so many seconds.
const REDIAL: u64 = 20;
/// How long a call that comes back lasts on the average, in minutes.
const REDIALLED_MINUTES: f64 = 10.0;

/// What is wrong with the provider and the network at present: until when, in seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles {
    pub(super) list_fails: u64,
    pub(super) list_truncated: u64,
    pub(super) list_empty: u64,
    pub(super) throttled: u64,
    pub(super) launch_answer_lost: u64,
    pub(super) no_capacity: BTreeMap<ZoneId, u64>,
    pub(super) broken_image: u64,
    pub(super) min: (u64, u32),
    pub(super) max: (u64, u32),
    pub(super) terminate_suspended: u64,
    pub(super) refresh_active: u64,
    pub(super) outage: u64,
}

/// Everything but the controllers.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) settings: &'a Settings,
    pub(super) now: u64,
    pub(super) start: UnixTime,
    /// All that ever were, by number.
    pub(super) hosts: Vec<Host>,
    /// Those that are not gone.
    pub(super) listed: Vec<usize>,
    pub(super) tokens: BTreeMap<LaunchToken, Vec<InstanceId>>,
    pub(super) desired: u32,
    pub(super) troubles: Troubles,
    pub(super) ledger: Ledger,
    pub(super) booting: Chance,
    demand: Peekable<Demand<'a>>,
    placing: Chance,
    /// When each live call ends, on which relay, in which run of it.
    ends: BinaryHeap<Reverse<(u64, usize, u32)>>,
    redials: BinaryHeap<Reverse<u64>>,
    /// Lists of relays that were published, and when, the latest last.
    lists: VecDeque<(u64, Vec<usize>)>,
    mishaps: Vec<Mishap>,
}

impl<'a> World<'a> {
    pub(super) fn new(settings: &'a Settings, trace: &'a Trace, mishaps: &[Mishap]) -> Self {
        let mut world = Self {
            settings,
            now: 0,
            start: trace.start,
            hosts: Vec::new(),
            listed: Vec::new(),
            tokens: BTreeMap::new(),
            desired: 0,
            troubles: Troubles::default(),
            ledger: Ledger::default(),
            booting: Chance::new(settings.seed, BOOTING),
            demand: Demand::new(trace, settings.seed).peekable(),
            placing: Chance::new(settings.seed, PLACING),
            ends: BinaryHeap::new(),
            redials: BinaryHeap::new(),
            lists: VecDeque::new(),
            mishaps: mishaps.to_vec(),
        };
        world.begin();
        world
    }

    /// What stands when the trace begins: as many relays as there always are, ready.
    fn begin(&mut self) {
        for number in 0..self.settings.at_start {
            let zone = self.zone_number(number);
            let host = self.start_host(&zone);
            if let Some(host) = self.hosts.get_mut(host) {
                host.serves = Some(0);
            }
        }
        self.ledger.deeds.clear();
        let all = self.listed.clone();
        self.lists.push_back((0, all));
    }

    fn zone_number(&self, number: u32) -> ZoneId {
        let zones = &self.settings.zones;
        let at = usize::try_from(number).unwrap_or(0) % zones.len().max(1);
        zones.get(at).expect("a simulation has zones").clone()
    }

    /// The wall clock.
    pub(super) fn wall(&self) -> UnixTime {
        self.start.plus_secs(self.now)
    }

    pub(super) fn host(&self, id: &InstanceId) -> Option<&Host> {
        number(id).and_then(|at| self.hosts.get(at))
    }

    pub(super) fn host_mut(&mut self, id: &InstanceId) -> Option<&mut Host> {
        number(id).and_then(|at| self.hosts.get_mut(at))
    }

    /// Relays that are not gone.
    pub(super) fn present(&self) -> impl Iterator<Item = &Host> {
        self.listed.iter().filter_map(|at| self.hosts.get(*at))
    }

    /// From now on, lists name these relays.
    pub(super) fn publish(&mut self, relays: &[InstanceId]) {
        let list: Vec<usize> = relays.iter().filter_map(number).collect();
        if self.lists.back().is_none_or(|(_, last)| *last != list) {
            self.lists.push_back((self.now, list));
        }
        let oldest = self.now.saturating_sub(self.settings.list_ttl);
        // The list that was in force at the oldest moment that anybody may still have is kept.
        while self.lists.get(1).is_some_and(|(at, _)| *at <= oldest) {
            self.lists.pop_front();
        }
    }

    /// Lets the time pass up to `until`.
    pub(super) fn advance(&mut self, until: u64) {
        loop {
            let end = self.ends.peek().map(|Reverse((at, ..))| *at);
            let redial = self.redials.peek().map(|Reverse(at)| *at);
            let call = self.demand.peek().map(|call| call.at);
            let Some(next) = [end, redial, call].into_iter().flatten().min() else {
                break;
            };
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            if end == Some(next) {
                if let Some(Reverse((_, host, boot))) = self.ends.pop() {
                    self.end_call(host, boot);
                }
            } else if redial == Some(next) {
                self.redials.pop();
                let lasts = lasts(&mut self.placing, REDIALLED_MINUTES);
                self.ledger.redialled += 1;
                self.begin_call(lasts);
            } else if let Some(call) = self.demand.next() {
                self.ledger.called += 1;
                self.answer(call);
            }
        }
        self.now = until;
        self.age();
        self.befall();
    }

    fn answer(&mut self, call: Call) {
        if self.now < self.troubles.outage {
            let back = self.troubles.outage + self.placing.below(REDIAL);
            self.redials.push(Reverse(back));
        } else {
            self.begin_call(call.lasts);
        }
    }

    fn begin_call(&mut self, lasts: u64) {
        let now = self.now;
        let Some(host) = self.choose() else {
            self.ledger.blocked += 1;
            return;
        };
        if let Some(chosen) = self.hosts.get_mut(host) {
            chosen.live += 1;
            self.ends.push(Reverse((now + lasts, host, chosen.boot)));
            self.ledger.admitted();
        }
    }

    /// The relay that admits a call that begins now.
    fn choose(&mut self) -> Option<usize> {
        let age = self.placing.below(self.settings.list_ttl + 1);
        let seen = self.now.saturating_sub(age);
        let first = self
            .lists
            .iter()
            .rev()
            .find(|(at, _)| *at <= seen)
            .or_else(|| self.lists.front())?;
        let current = self.lists.back()?;
        for list in [&first.1, &current.1] {
            let bound = u64::try_from(list.len()).unwrap_or(0);
            let pair = [self.placing.below(bound), self.placing.below(bound)];
            let mut pair = pair.map(|at| list.get(usize::try_from(at).unwrap_or(0)).copied());
            let live = |host: &Option<usize>| {
                host.and_then(|at| self.hosts.get(at))
                    .map_or(u32::MAX, |host| host.live)
            };
            pair.sort_by_key(live);
            for host in pair.into_iter().flatten() {
                if self
                    .hosts
                    .get(host)
                    .is_some_and(|host| host.admits(self.now))
                {
                    return Some(host);
                }
            }
        }
        None
    }

    fn end_call(&mut self, host: usize, boot: u32) {
        if let Some(host) = self.hosts.get_mut(host)
            && host.boot == boot
            && host.live > 0
        {
            host.live -= 1;
            self.ledger.live -= 1;
        }
    }

    /// Ends all calls of a relay at once; they come back from `back` on.
    pub(super) fn drop_calls(&mut self, host: usize, back: u64) -> u32 {
        let Some(host) = self.hosts.get_mut(host) else {
            return 0;
        };
        let cut = core::mem::take(&mut host.live);
        host.boot += 1;
        self.ledger.live -= u64::from(cut);
        for _ in 0..cut {
            let at = back + self.placing.below(REDIAL);
            self.redials.push(Reverse(at));
        }
        cut
    }

    /// What happens to instances by the mere passing of time.
    fn age(&mut self) {
        let now = self.now;
        let over: Vec<(usize, Life)> = self
            .listed
            .iter()
            .filter_map(|at| self.hosts.get(*at).map(|host| (*at, host)))
            .filter_map(|(at, host)| match host.life {
                Life::Ends { gone } if gone <= now => Some((at, Life::Gone(now))),
                Life::Waits { until } if until <= now => Some((at, Life::Ends { gone: now + 20 })),
                // Auto Scaling takes what is long unreachable off its books.
                Life::Runs if host.dead.is_some_and(|since| since + 300 <= now) => {
                    Some((at, Life::Gone(now)))
                }
                Life::Runs | Life::Waits { .. } | Life::Ends { .. } | Life::Gone(_) => None,
            })
            .collect();
        for (at, life) in over {
            let lost = self.drop_calls(at, now);
            self.ledger.lost += u64::from(lost);
            if let Some(host) = self.hosts.get_mut(at) {
                if matches!(life, Life::Gone(_)) {
                    self.ledger.relay_seconds += now - host.launched;
                    self.listed.retain(|listed| *listed != at);
                }
                host.life = life;
            }
        }
    }

    /// Mishaps that are due.
    fn befall(&mut self) {
        let mut later = Vec::new();
        for mishap in core::mem::take(&mut self.mishaps) {
            let due = mishap.at <= self.now && !mishap.fault.is_of_a_controller();
            if !(due && self.strike(&mishap)) {
                later.push(mishap);
            }
        }
        self.mishaps = later;
    }

    /// Mishaps of the controllers, which they look after themselves.
    pub(super) fn take_controllers_mishaps(&mut self) -> Vec<Mishap> {
        let (theirs, others) = core::mem::take(&mut self.mishaps)
            .into_iter()
            .partition(|mishap| mishap.fault.is_of_a_controller());
        self.mishaps = others;
        theirs
    }

    /// The end of the simulation: what still runs is counted up to now.
    pub(super) fn close(mut self) -> Ledger {
        let hours: u64 = self.present().map(|host| self.now - host.launched).sum();
        self.ledger.relay_seconds += hours;
        self.ledger
    }

    /// Live calls end without anybody's doing, as when nobody can reach the service.
    pub(super) fn begin_outage(&mut self, until: u64) {
        self.troubles.outage = until;
        for at in self.listed.clone() {
            self.drop_calls(at, until);
        }
    }
}

/// A relay's number, from its id.
pub(super) fn number(id: &InstanceId) -> Option<usize> {
    id.as_str().strip_prefix("sim-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::fault::Fault;
    use crate::simulate::testing::{plain, settings};

    #[test]
    fn a_call_goes_where_there_is_room_and_is_blocked_where_there_is_none() {
        let settings = Settings {
            room: 30,
            at_start: 2,
            ..settings()
        };
        let trace = plain(&[(5, 10.0), (10, 0.0)]);
        let mut world = World::new(&settings, &trace, &[]);
        world.advance(300);
        assert_eq!((world.ledger.called, world.ledger.blocked), (50, 0));
        let live: Vec<u32> = world.present().map(|host| host.live).collect();
        assert!(
            live.iter().all(|live| (15..=30).contains(live)),
            "two choices balance: {live:?}"
        );

        let trace = plain(&[(5, 30.0)]);
        let mut world = World::new(&settings, &trace, &[]);
        world.advance(300);
        assert!(world.ledger.blocked > 50, "{:?}", world.ledger.blocked);
        assert!(world.present().all(|host| host.live <= 30));
    }

    #[test]
    fn calls_end_by_themselves_and_nobody_is_left() {
        let settings = settings();
        let trace = plain(&[(5, 10.0), (120, 0.0)]);
        let mut world = World::new(&settings, &trace, &[]);
        world.advance(7200);
        assert_eq!(world.ledger.live, 0);
        assert!(world.present().all(|host| host.live == 0));
    }

    #[test]
    fn an_outage_ends_all_calls_and_brings_all_back() {
        let settings = settings();
        let trace = plain(&[(30, 5.0)]);
        let outage = Mishap {
            at: 600,
            lasts: 120,
            fault: Fault::Outage,
        };
        let mut world = World::new(&settings, &trace, &[outage]);
        world.advance(590);
        let before = world.ledger.live;
        world.advance(600);
        world.advance(710);
        assert_eq!((world.ledger.live, before > 30), (0, true));
        world.advance(750);
        assert!(
            world.ledger.live >= before,
            "{} of {before}",
            world.ledger.live
        );
        assert_eq!((world.ledger.blocked, world.ledger.cut), (0, 0));
    }
}
