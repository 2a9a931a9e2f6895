//! The real policy at work in a simulated world: picture, plan and memory are those of the daemon.
//!
//! Responsible for what the daemon does around them: asking, carrying out in order, remembering; and for the mishaps that
//! befall controllers themselves. Not responsible for any decision. What differs from the daemon is only that nothing takes
//! time here; how calls that hang are bounded is tested where they are made.

use std::time::Duration;

use taciturn_protocol::time::{Instant, Now, UnixTime};

use super::Settings;
use super::fault::{Fault, Mishap, Moment};
use super::ledger::{Note, outcome_word};
use super::world::World;
use crate::fleet::{Fleet, Leadership};
use crate::lease::{LeaseError, Record, Seen, Step, Tenure, Terms};
use crate::observe::Picture;
use crate::policy::{Act, Action, Outcome, Plan, Policy, Season};
use crate::provider::{Ended, LaunchOrder, ProviderError};

/// How far the season is looked at beyond the time until a relay that is launched now serves.
const SEASON_BEYOND_LEAD: Duration = Duration::from_secs(300);

/// Whoever keeps a fleet: our controllers, and those that they are compared with.
pub(super) trait Keeper {
    /// Looks at the world, and acts.
    fn round(&mut self, world: &mut World<'_>);
}

/// One controller or several with a lease between them.
#[derive(Debug)]
pub(super) struct Controllers<'a> {
    policy: &'a Policy,
    crew: Vec<Controller>,
    /// What stands where the lease is kept, and how often it was written.
    record: Option<Record>,
    writes: u64,
    mishaps: Vec<Mishap>,
}

#[derive(Debug)]
struct Controller {
    name: String,
    picture: Picture,
    /// On its disk: it survives the controller.
    season: Season,
    /// The second at which its clock was started.
    born: u64,
    /// How far its wall clock is off, in seconds.
    skew: i64,
    /// Its part in the lease; `None`: it is alone, and leads.
    tenure: Option<Tenure>,
    /// The epoch of one that is alone.
    epoch: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Runs,
    /// It starts anew then.
    Dead(u64),
    /// It goes on then with what it was doing.
    Stopped(u64, Box<Work>),
}

/// A plan that is being carried out.
#[derive(Debug)]
struct Work {
    fleet: Fleet,
    plan: Plan,
    next: usize,
    outcomes: Vec<(Action, Outcome)>,
    looks: bool,
}

impl<'a> Controllers<'a> {
    pub(super) fn new(policy: &'a Policy, settings: &Settings, mishaps: Vec<Mishap>) -> Self {
        let crew = (1..=settings.controllers).map(|number| Controller {
            name: format!("controller-{number}"),
            picture: Picture::new(Now::default()),
            season: Season::default(),
            born: 0,
            skew: 0,
            tenure: None,
            epoch: 0,
            state: State::Dead(0),
        });
        Self {
            policy,
            crew: crew.collect(),
            record: None,
            writes: 0,
            mishaps,
        }
    }

    fn turn(&mut self, controller: &mut Controller, world: &mut World<'_>) {
        match &mut controller.state {
            State::Dead(until) if *until <= world.now => {
                let alone = self.crew.is_empty();
                controller.begin(world, alone);
            }
            State::Stopped(until, _) if *until <= world.now => {
                let stopped = core::mem::replace(&mut controller.state, State::Runs);
                if let State::Stopped(_, work) = stopped {
                    self.resume(controller, world, *work);
                }
                return;
            }
            State::Dead(_) | State::Stopped(..) => return,
            State::Runs => {}
        }
        self.clocks(controller, world);
        self.renew(controller, world);
        let now = controller.now(world);
        let leadership = controller.leadership(now.instant);
        controller.observe(world, now, leadership, self.policy);
        let fleet = controller.picture.fleet(now);
        let plan = crate::policy::plan(&fleet, self.policy, now);
        let demand = &plan.need.demand;
        controller.season.record(now, demand);
        if fleet.leadership.held {
            world.publish(&plan.offered);
            world.ledger.note(Note {
                at: world.now,
                brakes: plan
                    .brakes
                    .iter()
                    .map(crate::policy::Brake::as_str)
                    .collect(),
                alarms: plan.alarms.iter().map(|alarm| alarm.kind).collect(),
            });
        }
        let work = Work {
            fleet,
            plan,
            next: 0,
            outcomes: Vec::new(),
            looks: true,
        };
        self.carry_out(controller, world, work);
    }

    /// After a stop: the plan is old, and so may be the lease.
    fn resume(&mut self, controller: &mut Controller, world: &mut World<'_>, mut work: Work) {
        let held = controller.leadership(controller.now(world).instant).held;
        if work.looks && !held {
            work.next = work.plan.actions.len();
        }
        self.carry_out(controller, world, work);
    }

    fn carry_out(&mut self, controller: &mut Controller, world: &mut World<'_>, mut work: Work) {
        while let Some(action) = work.plan.actions.get(work.next).cloned() {
            if self.stops(
                controller,
                world,
                Moment::Before(action.act.as_str()),
                &mut work,
            ) {
                return;
            }
            let epoch = work.fleet.leadership.epoch;
            let outcome = carry_out(world, &action.act, epoch);
            let line = line(world, controller, &action, &outcome);
            world.ledger.decisions.push(line);
            work.next += 1;
            let after = Moment::After(action.act.as_str());
            work.outcomes.push((action, outcome));
            if self.stops(controller, world, after, &mut work) {
                return;
            }
        }
        let drains = world
            .present()
            .any(|host| host.drain.is_some() && host.live > 0);
        if drains && self.stops(controller, world, Moment::WhileDraining, &mut work) {
            return;
        }
        let now = controller.now(world);
        controller
            .picture
            .remember(now, &work.fleet, &work.plan, &work.outcomes, self.policy);
    }

    /// Whether a mishap ends the controller's work at this moment.
    fn stops(
        &mut self,
        controller: &mut Controller,
        world: &World<'_>,
        here: Moment,
        work: &mut Work,
    ) -> bool {
        let strikes = |mishap: &Mishap| {
            let moment = if let Fault::Killed(moment) | Fault::Paused { moment, .. } = &mishap.fault
            {
                Some(moment)
            } else {
                None
            };
            mishap.at <= world.now && moment == Some(&here)
        };
        let Some(at) = self.mishaps.iter().position(strikes) else {
            return false;
        };
        let mishap = self.mishaps.remove(at);
        let until = world.now + mishap.lasts;
        controller.state = if let Fault::Paused { looks, .. } = mishap.fault {
            let empty = Work {
                fleet: Fleet::default(),
                plan: Plan::default(),
                next: 0,
                outcomes: Vec::new(),
                looks,
            };
            let mut work = core::mem::replace(work, empty);
            work.looks = looks;
            State::Stopped(until, Box::new(work))
        } else {
            State::Dead(until)
        };
        true
    }

    /// Mishaps of the wall clock.
    fn clocks(&mut self, controller: &mut Controller, world: &World<'_>) {
        self.mishaps.retain(|mishap| {
            let Fault::ClockJumps { seconds } = mishap.fault else {
                return true;
            };
            let due = mishap.at <= world.now;
            controller.skew += if due { seconds } else { 0 };
            !due
        });
    }

    /// Renews the lease, takes it over, or looks at it: once in a round, as often as the daemon does.
    fn renew(&mut self, controller: &mut Controller, world: &World<'_>) {
        let now = controller.now(world);
        let Some(tenure) = &mut controller.tenure else {
            return;
        };
        // A look and the write that follows from it.
        for _ in 0..2 {
            match tenure.next(now) {
                Step::Wait(_) => return,
                Step::Read => {
                    let seen = self.record.clone().map(|record| Seen {
                        record,
                        version: self.writes.to_string(),
                    });
                    tenure.read(now.instant, Ok(seen));
                }
                Step::Write { expected, record } => {
                    let stands = self.record.as_ref().map(|_| self.writes.to_string());
                    let answer = if stands == expected {
                        self.writes += 1;
                        self.record = Some(record.clone());
                        Ok(self.writes.to_string())
                    } else {
                        Err(LeaseError::Conflict)
                    };
                    tenure.written(now.instant, now.instant, &record, answer);
                }
            }
        }
    }
}

impl Keeper for Controllers<'_> {
    fn round(&mut self, world: &mut World<'_>) {
        // Each is taken out while it works, so that the others and the lease are at hand.
        for at in 0..self.crew.len() {
            let mut controller = self.crew.remove(at);
            self.turn(&mut controller, world);
            self.crew.insert(at, controller);
        }
    }
}

impl Controller {
    fn begin(&mut self, world: &World<'_>, alone: bool) {
        self.born = world.now;
        self.state = State::Runs;
        let now = self.now(world);
        self.picture = Picture::new(now);
        self.epoch = now.unix.as_secs();
        let holder = format!("{}.{}", self.name, self.born);
        self.tenure = (!alone).then(|| Tenure::new(holder, Terms::default()));
    }

    fn now(&self, world: &World<'_>) -> Now {
        let wall = world.wall().as_secs().saturating_add_signed(self.skew);
        Now {
            // From one second on, as the daemon's clock.
            instant: Instant::ZERO + Duration::from_secs(world.now - self.born + 1),
            unix: UnixTime::from_secs(wall),
        }
    }

    fn leadership(&self, now: Instant) -> Leadership {
        let alone = Leadership {
            held: true,
            epoch: self.epoch,
            obstacle: None,
        };
        self.tenure
            .as_ref()
            .map_or(alone, |tenure| tenure.leadership(now))
    }

    fn observe(&mut self, world: &World<'_>, now: Now, leadership: Leadership, policy: &Policy) {
        let ahead = policy.lead + SEASON_BEYOND_LEAD;
        let outlook = self.season.outlook(now, ahead, &policy.forecast);
        self.picture.outlook(outlook);
        self.picture.listing(now, world.list());
        self.picture.leadership(leadership);
        for (id, _) in self.picture.to_ask() {
            self.picture.status(now, &id, world.status(&id));
            if self.picture.is_silent(&id) {
                self.picture.stun(now, &id, world.stun(&id));
            }
        }
    }
}

/// One action, in the world.
fn carry_out(world: &mut World<'_>, act: &Act, epoch: u64) -> Outcome {
    match act {
        Act::Launch { zone, count, token } => {
            let order = LaunchOrder {
                zone: zone.clone(),
                count: *count,
                token: token.clone(),
            };
            world
                .launch(&order, epoch)
                .map_or_else(refused, |instances| Outcome::Done { instances })
        }
        Act::Withhold { .. } | Act::Restore { .. } => done(),
        Act::Drain { relay, deadline } => world.drain(relay, *deadline, epoch),
        Act::Undrain { relay } => world.undrain(relay, epoch),
        Act::Terminate { relay } => world.terminate(relay, epoch).map_or_else(refused, ended),
        Act::Extend { relay } => world.extend(relay).map_or_else(refused, |()| done()),
        Act::Finish { relay } => world.finish(relay, epoch).map_or_else(refused, ended),
    }
}

fn done() -> Outcome {
    Outcome::Done {
        instances: Vec::new(),
    }
}

fn ended(ended: Ended) -> Outcome {
    match ended {
        Ended::Ending => done(),
        Ended::Already => Outcome::Nothing,
    }
}

fn refused(error: ProviderError) -> Outcome {
    let words = error.to_string();
    match error {
        ProviderError::NoCapacity(_) => Outcome::NoCapacity { words },
        ProviderError::Refused(_) | ProviderError::Unsupported(_) => Outcome::Refused { words },
        ProviderError::Throttled(_) | ProviderError::Failed(_) => Outcome::Failed { words },
        ProviderError::Unknown(_) => Outcome::Unknown { words },
        ProviderError::DryRun => Outcome::DryRun,
    }
}

/// A line of the decision log: when, who where there are several, what, why, and what came of it.
fn line(world: &World<'_>, controller: &Controller, action: &Action, outcome: &Outcome) -> String {
    let seconds = world.now;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    let who = controller
        .tenure
        .as_ref()
        .map_or_else(String::new, |_| format!(" {}", controller.name));
    let what = match (&action.act, outcome) {
        (Act::Launch { zone, count, .. }, Outcome::Done { instances }) => {
            let ids: Vec<&str> = instances.iter().map(|id| id.as_str()).collect();
            format!("{count} in {zone} ({})", ids.join(" "))
        }
        (Act::Launch { zone, count, .. }, _) => format!("{count} in {zone}"),
        (act, _) => act.relay().map_or_else(String::new, |id| id.to_string()),
    };
    format!(
        "day {days} {clock}{who} {} {what} [{}] {} -> {}",
        action.act.as_str(),
        action.reason.as_str(),
        action.words,
        outcome_word(outcome)
    )
}
