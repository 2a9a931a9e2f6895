//! A tiny world: machines that boot, carry calls, drain and end; a provider with faults; a controller that may restart.
//!
//! Responsible for moving on deterministically and for telling the truth afterwards, so that what a plan believed can be
//! held against what was so. Not responsible for judging (`invariants`).

use super::*;
use crate::fleet::LaunchToken;
use crate::policy::{Outcome, remember};

/// Seconds between rounds.
pub(crate) const ROUND: u64 = 10;

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) zone: ZoneId,
    pub(crate) image: String,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) born: u64,
    /// Seconds that it boots; `None`: it never becomes ready.
    pub(crate) boot: Option<u64>,
    pub(crate) calls: u64,
    pub(crate) drain: Option<DrainReport>,
    pub(crate) epoch: u64,
    /// Its admin API cannot be reached.
    pub(crate) silent: bool,
    /// Nothing of it answers any more.
    pub(crate) dead: bool,
    pub(crate) cordoned: bool,
}

/// What a controller knows of a machine beside what it asks each time.
#[derive(Clone, Debug, Default)]
struct Known {
    first_seen: u64,
    last: Option<(Report, u64)>,
    samples: u32,
    was_ready: bool,
    withheld: Option<u64>,
    terminate_asked: bool,
}

/// How the next launches end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaunchFault {
    None,
    NoCapacity,
    Failed,
    /// It happens, and no answer comes.
    Lost,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) policy: Policy,
    /// Seconds since the world began.
    pub(crate) second: u64,
    /// What the wall clock is off by.
    pub(crate) clock_off: i64,
    clock_before: i64,
    pub(crate) machines: BTreeMap<InstanceId, Machine>,
    known: BTreeMap<InstanceId, Known>,
    pub(crate) group: Group,
    pub(crate) history: History,
    pub(crate) leads: bool,
    pub(crate) epoch: u64,
    pub(crate) started: u64,
    pub(crate) list_fails: bool,
    pub(crate) launch_fault: LaunchFault,
    /// The image that is launched never becomes ready.
    pub(crate) broken_image: bool,
    pub(crate) load: u64,
    tokens: BTreeMap<LaunchToken, Vec<InstanceId>>,
    next: u32,
    /// How often each instance was ended by this controller.
    pub(crate) ended: BTreeMap<InstanceId, u32>,
    /// The first deadline that each relay was given, by the true clock.
    pub(crate) deadlines: BTreeMap<InstanceId, u64>,
}

impl World {
    pub(crate) fn new(policy: Policy, relays: u32, load: u64) -> Self {
        let mut world = Self {
            second: 1_000_000,
            clock_off: 0,
            clock_before: 0,
            machines: BTreeMap::new(),
            known: BTreeMap::new(),
            group: Group {
                min: Some(0),
                max: Some(policy.max + policy.surge),
                desired: Some(relays),
                zones: ["a", "b", "c"].into_iter().map(zone).collect(),
                image: Some("one".to_owned()),
                ..Group::default()
            },
            history: History::default(),
            leads: true,
            epoch: 1,
            started: 1_000_000,
            list_fails: false,
            launch_fault: LaunchFault::None,
            broken_image: false,
            load,
            tokens: BTreeMap::new(),
            next: 0,
            ended: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            policy,
        };
        for nth in 0..relays {
            let zone = zone(["a", "b", "c"][usize::try_from(nth % 3).expect("small")]);
            let id = world.boot(&zone);
            let machine = world.machines.get_mut(&id).expect("just booted");
            (machine.born, machine.lifecycle) = (0, Lifecycle::InService);
        }
        world.share_out();
        world
    }

    fn boot(&mut self, zone: &ZoneId) -> InstanceId {
        let id = id(&format!("i{:04}", self.next));
        self.next += 1;
        let machine = Machine {
            zone: zone.clone(),
            image: self.group.image.clone().unwrap_or_default(),
            lifecycle: Lifecycle::Pending,
            born: self.second,
            boot: (!self.broken_image).then_some(120),
            calls: 0,
            drain: None,
            epoch: 0,
            silent: false,
            dead: false,
            cordoned: false,
        };
        self.machines.insert(id.clone(), machine);
        id
    }

    pub(crate) fn now(&self) -> Now {
        let wall = NOW.unix.as_secs() + self.second;
        Now {
            instant: Instant::from_nanos(self.second * 1_000_000_000),
            unix: UnixTime::from_secs(wall.saturating_add_signed(self.clock_off)),
        }
    }

    /// By the clock that relays have, which never jumps.
    fn true_unix(&self) -> UnixTime {
        NOW.unix.plus_secs(self.second)
    }

    pub(crate) fn serves(&self, machine: &Machine) -> bool {
        let booted = machine
            .boot
            .is_some_and(|boot| self.second >= machine.born + boot);
        booted && !machine.dead && machine.lifecycle == Lifecycle::InService
    }

    /// A controller that has just started: it knows nothing, and its epoch is greater.
    pub(crate) fn restart(&mut self) {
        self.known.clear();
        self.history = History::default();
        self.epoch += 1;
        self.started = self.second;
        self.clock_before = self.clock_off;
    }

    /// Ten seconds pass; the calls move; the controller asks everybody.
    pub(crate) fn pass(&mut self) {
        self.second += ROUND;
        let second = self.second;
        for machine in self.machines.values_mut() {
            let booted = machine
                .boot
                .is_some_and(|boot| second >= machine.born + boot);
            if machine.lifecycle == Lifecycle::Pending && booted {
                machine.lifecycle = Lifecycle::InService;
            }
            if machine.drain.is_some() || machine.dead {
                machine.calls -= machine.calls.div_ceil(60).min(machine.calls);
            }
            if let Some(drain) = &mut machine.drain {
                drain.allocations_remaining = machine.calls;
            }
        }
        // An end takes a while, and then it is gone.
        self.machines
            .retain(|_, machine| machine.lifecycle != Lifecycle::Terminating);
        self.share_out();
        self.ask();
    }

    /// The calls that are not on draining or dead relays are spread evenly.
    fn share_out(&mut self) {
        let serving: Vec<InstanceId> = (self.machines.iter())
            .filter(|(_, machine)| {
                self.serves(machine) && machine.drain.is_none() && !machine.cordoned
            })
            .map(|(id, _)| id.clone())
            .collect();
        let elsewhere: u64 = (self.machines.iter())
            .filter(|(id, _)| !serving.contains(id))
            .map(|(_, machine)| machine.calls)
            .sum();
        let count = u64::try_from(serving.len()).expect("few").max(1);
        let rest = self.load.saturating_sub(elsewhere);
        for (nth, id) in (0_u64..).zip(&serving) {
            let share = rest / count + u64::from(nth < rest % count);
            self.machines.get_mut(id).expect("serves").calls = share;
        }
    }

    fn ask(&mut self) {
        let (second, time) = (self.second, self.true_unix());
        if !self.list_fails {
            let machines = &self.machines;
            self.known.retain(|id, _| machines.contains_key(id));
            for id in self.machines.keys() {
                let known = self.known.entry(id.clone());
                known.or_insert_with(|| Known {
                    first_seen: second,
                    ..Known::default()
                });
            }
        }
        for (id, known) in &mut self.known {
            let Some(machine) = self.machines.get(id).filter(|it| !it.silent && !it.dead) else {
                continue;
            };
            let booted = machine
                .boot
                .is_some_and(|boot| second >= machine.born + boot);
            if !booted {
                continue;
            }
            let phase = match (&machine.drain, machine.calls) {
                (None, _) => Phase::Ready,
                (Some(_), 0) => Phase::Drained,
                (Some(_), _) => Phase::Draining,
            };
            let report = Report {
                boot_id: id.as_str().to_owned(),
                sequence: second,
                time,
                phase,
                ready: machine.drain.is_none(),
                load: Loads {
                    allocations: Some(number(machine.calls)),
                    ..Loads::default()
                },
                epoch: machine.epoch,
                drain: machine.drain.clone(),
                ..Report::default()
            };
            known.was_ready |= report.ready;
            known.samples += 1;
            known.last = Some((report, second));
        }
    }

    pub(crate) fn fleet(&self) -> Fleet {
        let relays = self.known.iter().map(|(id, known)| {
            let machine = self.machines.get(id);
            let silent = known.last.as_ref().is_none_or(|(_, at)| *at < self.second);
            let answers = machine.is_some_and(|it| self.serves(it));
            let relay = Relay {
                zone: machine.map_or_else(|| zone("a"), |it| it.zone.clone()),
                image: machine.map_or_else(String::new, |it| it.image.clone()),
                lifecycle: machine.map_or(Lifecycle::Unlisted, |it| it.lifecycle),
                age: seconds(
                    self.second
                        - known
                            .first_seen
                            .min(machine.map_or(self.second, |it| it.born)),
                ),
                report: known.last.as_ref().map(|(report, _)| report.clone()),
                report_age: known.last.as_ref().map(|(_, at)| seconds(self.second - at)),
                samples: known.samples,
                was_ready: known.was_ready,
                answers_stun: silent.then_some(answers),
                cordoned: machine.is_some_and(|it| it.cordoned),
                withheld_for: known.withheld.map(|at| seconds(self.second - at)),
                terminate_asked: known.terminate_asked,
                newer_epoch: None,
                ..relay(id.as_str(), "a", 0.0)
            };
            (id.clone(), relay)
        });
        let jumped = self.clock_off.abs_diff(self.clock_before);
        Fleet {
            relays: relays.collect(),
            listing: ListingState {
                complete_for: (self.second > self.started).then_some(seconds(1)),
                fault: self.list_fails.then(|| "it fails".to_owned()),
            },
            group: self.group.clone(),
            leadership: Leadership {
                held: self.leads,
                epoch: self.epoch,
                obstacle: None,
            },
            history: self.history.clone(),
            running_for: seconds(self.second - self.started),
            clock_jump: Some(seconds(jumped)),
            ..Fleet::default()
        }
    }

    /// Carries a plan out, and remembers it.
    pub(crate) fn apply(&mut self, fleet: &Fleet, plan: &Plan) {
        let outcomes: Vec<(Action, Outcome)> = (plan.actions.iter())
            .map(|action| (action.clone(), self.outcome(&action.act)))
            .collect();
        let now = self.now();
        remember(&mut self.history, fleet, plan, &outcomes, &self.policy, now);
        for (action, outcome) in &outcomes {
            let done = matches!(outcome, Outcome::Done { .. } | Outcome::Nothing);
            let known = action.act.relay().and_then(|id| self.known.get_mut(id));
            match (&action.act, known) {
                (Act::Withhold { .. }, Some(known)) => known.withheld = Some(self.second),
                (Act::Restore { .. } | Act::Undrain { .. }, Some(known)) if done => {
                    known.withheld = None
                }
                (Act::Terminate { .. }, Some(known)) if done => known.terminate_asked = true,
                _ => {}
            }
        }
        self.clock_before = self.clock_off;
    }

    fn outcome(&mut self, act: &Act) -> Outcome {
        let words = || "a fault".to_owned();
        let done = Outcome::Done { instances: vec![] };
        let true_unix = self.true_unix();
        if let Act::Launch { zone, count, token } = act {
            return self.launch(zone, *count, token);
        }
        let Some(id) = act.relay() else {
            return Outcome::Nothing;
        };
        let epoch = self.epoch;
        let second = self.second;
        let Some(machine) = self.machines.get_mut(id) else {
            return Outcome::Nothing;
        };
        let reachable = !machine.silent && !machine.dead;
        match act {
            Act::Drain { deadline, .. } => {
                // What it was told is counted from the first time, whether it heard it or not.
                let left = deadline.as_secs().saturating_sub(true_unix.as_secs());
                self.deadlines.entry(id.clone()).or_insert(second + left);
                if !reachable {
                    return Outcome::Failed { words: words() };
                }
                machine.epoch = epoch;
                machine.drain.get_or_insert_with(|| DrainReport {
                    source: "operator".to_owned(),
                    started: true_unix,
                    deadline: *deadline,
                    reason: String::new(),
                    epoch,
                    allocations_remaining: machine.calls,
                    idle_allocations: 0,
                });
                done
            }
            Act::Undrain { .. } if reachable => {
                machine.drain = None;
                self.deadlines.remove(id);
                done
            }
            Act::Undrain { .. } => Outcome::Failed { words: words() },
            Act::Terminate { .. } | Act::Finish { .. } => {
                machine.lifecycle = Lifecycle::Terminating;
                *self.ended.entry(id.clone()).or_default() += 1;
                if matches!(act, Act::Terminate { .. }) {
                    self.group.desired =
                        self.group.desired.map(|desired| desired.saturating_sub(1));
                }
                done
            }
            Act::Withhold { .. }
            | Act::Restore { .. }
            | Act::Extend { .. }
            | Act::Launch { .. } => done,
        }
    }

    fn launch(&mut self, zone: &ZoneId, count: u32, token: &LaunchToken) -> Outcome {
        let words = "a fault".to_owned();
        if let Some(instances) = self.tokens.get(token) {
            let instances = instances.clone();
            return Outcome::Done { instances };
        }
        match self.launch_fault {
            LaunchFault::NoCapacity => return Outcome::NoCapacity { words },
            LaunchFault::Failed => return Outcome::Failed { words },
            LaunchFault::None | LaunchFault::Lost => {}
        }
        let instances: Vec<InstanceId> = (0..count).map(|_| self.boot(zone)).collect();
        self.tokens.insert(token.clone(), instances.clone());
        self.group.desired = self.group.desired.map(|desired| desired + count);
        if self.launch_fault == LaunchFault::Lost {
            return Outcome::Unknown { words };
        }
        Outcome::Done { instances }
    }

    /// One round: time passes, and a plan is made and carried out.
    pub(crate) fn round(&mut self) -> (Fleet, Plan) {
        self.pass();
        let fleet = self.fleet();
        let plan = plan(&fleet, &self.policy, self.now());
        self.apply(&fleet, &plan);
        (fleet, plan)
    }

    pub(crate) fn serving(&self) -> usize {
        let serving = self
            .machines
            .values()
            .filter(|it| self.serves(it) && it.drain.is_none());
        serving.count()
    }
}

pub(crate) fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("few"))
}
