//! Days of load in seconds: the real policy against a simulated provider, simulated relays and their calls.
//!
//! ```text
//!   Trace --- Demand: calls ---> World: relays, provider, clock <--- Keeper: Picture, plan, remember, as in the daemon
//!                                   |        ^                                or what it is compared with
//!                                Ledger    Mishaps
//! ```
//!
//! Responsible for `taciturn simulate`: traces, the world, mishaps, comparisons and their figures. Pure: a seed and a trace
//! give the same figures on every machine. Not responsible for deciding anything (`policy`).

mod chance;
mod clairvoyant;
mod cloud;
mod demand;
mod fault;
mod foresight;
mod host;
mod keeper;
mod ledger;
mod rivals;
mod scenario;
mod score;
mod telehealth;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use std::time::Duration;

use crate::fleet::ZoneId;
use crate::policy::Policy;

pub use scenario::Scenario;
pub use score::{Comparison, Score, TraceFigures};
pub use telehealth::{HOLIDAYS, Span, ZONE, generate, zone};
pub use trace::{MOST_BYTES, Row, Trace, TraceError};

use clairvoyant::Load;
use fault::Mishap;
use foresight::{Foresight, LULLS};
use keeper::{Controllers, Keeper};
use ledger::Ledger;
use rivals::{Fixed, Ratio, Tracking};
use world::World;

/// Allocations that a relay carries where the policy's `[capacity]` does not say.
const ROOM: u32 = 250;

/// What is simulated beside the trace and the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Which chance: the same seed gives the same figures.
    pub seed: u64,
    /// How long a relay takes from its launch until it serves, on the average; each takes up to a fifth less or more.
    pub boot: Duration,
    /// How often a round is.
    pub interval: Duration,
    /// How many allocations a relay can carry; `None`: what the policy's capacity says, or 250.
    pub room: Option<u32>,
    /// Zones, where the policy names none.
    pub zones: u32,
    /// What goes wrong.
    pub scenario: Scenario,
    /// Whether other algorithms are put through the same.
    pub compare: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            boot: Duration::from_secs(150),
            interval: Duration::from_secs(10),
            room: None,
            zones: 3,
            scenario: Scenario::None,
            compare: false,
        }
    }
}

/// The world's measures.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    seed: u64,
    /// Seconds.
    boot: u64,
    /// Seconds.
    interval: u64,
    /// Seconds.
    list_ttl: u64,
    zones: Vec<ZoneId>,
    /// Allocations that a relay carries.
    room: u32,
    /// Relays that serve when the trace begins.
    at_start: u32,
    /// The policy's minimum and maximum.
    bounds: (u32, u32),
    /// The provider's.
    group: (u32, u32),
    controllers: u32,
}

impl Settings {
    fn of(policy: &Policy, options: &Options) -> Self {
        let written = policy.capacity.get("default").and_then(|of| of.allocations);
        let room = written.map_or(ROOM, |room| chance::whole(room.floor()));
        Self {
            seed: options.seed,
            boot: options.boot.as_secs(),
            interval: options.interval.as_secs().max(1),
            list_ttl: policy.list_ttl.as_secs(),
            zones: policy.allowed_zones.iter().cloned().collect(),
            room: options.room.unwrap_or(room).max(1),
            at_start: policy.min,
            bounds: (policy.min, policy.max),
            group: (policy.min, policy.max.saturating_add(policy.surge)),
            controllers: 1,
        }
    }
}

/// Replays `trace` with `policy`, and with what it is compared with if that is wanted.
pub fn simulate(trace: &Trace, policy: &Policy, options: &Options) -> Comparison {
    let mut policy = policy.clone();
    if policy.allowed_zones.is_empty() {
        policy.allowed_zones = (0..options.zones.max(1)).map(simulated_zone).collect();
    }
    let settings = Settings::of(&policy, options);
    let load = Load::of(trace, options.seed);
    let mishaps = options.scenario.mishaps(&load, &settings);
    let optimum = foreseen(trace, &policy, &settings, &load);
    let mut comparison =
        Comparison::new(trace, &policy, &settings, &load, &optimum, options.scenario);
    let ledger = with_policy(trace, &policy, &settings, &mishaps);
    comparison.add("taciturn", &ledger);
    comparison.decisions = ledger.decisions;
    if options.compare {
        comparison.add("foresight", &optimum);
        for rival in Rival::ALL {
            let ledger = rival.run(trace, &settings, &policy, &load, &mishaps);
            comparison.add(rival.name(), &ledger);
        }
    }
    comparison
}

/// One of three zones that do not exist.
fn simulated_zone(number: u32) -> ZoneId {
    ZoneId::try_from(format!("sim-az{}", number + 1)).expect("letters, digits and a hyphen")
}

fn with_policy(trace: &Trace, policy: &Policy, settings: &Settings, mishaps: &[Mishap]) -> Ledger {
    let mut world = World::new(settings, trace, mishaps);
    let theirs = world.take_controllers_mishaps();
    let mut keeper = Controllers::new(policy, settings, theirs);
    run(trace, world, &mut keeper)
}

fn run(trace: &Trace, mut world: World<'_>, keeper: &mut dyn Keeper) -> Ledger {
    let end = trace.length().as_secs();
    let step = world.settings.interval;
    let mut now = 0;
    while now < end {
        world.advance(now);
        keeper.round(&mut world);
        now += step;
    }
    world.advance(end);
    world.close()
}

/// The cheapest that somebody with foresight does without blocking a call.
fn foreseen(trace: &Trace, policy: &Policy, settings: &Settings, load: &Load) -> Ledger {
    let needed = load.relays(f64::from(settings.room) * policy.fill_target);
    let tried = LULLS.into_iter().map(|lull| {
        let world = World::new(settings, trace, &[]);
        let mut keeper = Foresight {
            needed: &needed,
            lull,
        };
        run(trace, world, &mut keeper)
    });
    tried
        .min_by_key(|ledger| (ledger.blocked, ledger.relay_seconds))
        .expect("several are tried")
}

/// What the policy is compared with.
#[derive(Clone, Copy, Debug)]
enum Rival {
    Tracking,
    Ratio,
    Fixed,
}

impl Rival {
    const ALL: [Self; 3] = [Self::Tracking, Self::Ratio, Self::Fixed];

    const fn name(self) -> &'static str {
        match self {
            Self::Tracking => "target tracking",
            Self::Ratio => "ratio (HPA)",
            Self::Fixed => "fixed at peak",
        }
    }

    fn run(
        self,
        trace: &Trace,
        settings: &Settings,
        policy: &Policy,
        load: &Load,
        mishaps: &[Mishap],
    ) -> Ledger {
        let mut settings = settings.clone();
        let mut keeper: Box<dyn Keeper> = match self {
            Self::Tracking => Box::<Tracking>::default(),
            Self::Ratio => Box::<Ratio>::default(),
            Self::Fixed => {
                let each = f64::from(settings.room) * policy.fill_target;
                settings.at_start = chance::whole((f64::from(load.peak().0) / each).ceil());
                Box::new(Fixed)
            }
        };
        let world = World::new(&settings, trace, mishaps);
        run(trace, world, keeper.as_mut())
    }
}

#[cfg(test)]
mod testing {
    //! A small world and plain traces for the tests of this module.

    use super::*;
    use taciturn_protocol::time::UnixTime;

    /// Three zones, relays of 50 allocations that boot in 150 s.
    pub(super) fn settings() -> Settings {
        Settings {
            seed: 1,
            boot: 150,
            interval: 10,
            list_ttl: 10,
            zones: (0..3).map(simulated_zone).collect(),
            room: 50,
            at_start: 6,
            bounds: (2, 40),
            group: (2, 44),
            controllers: 1,
        }
    }

    /// So many minutes with so many calls each, one after the other, from midnight UTC on a Monday.
    pub(super) fn plain(spells: &[(usize, f64)]) -> Trace {
        let rows = spells.iter().flat_map(|(minutes, started)| {
            let row = Row {
                started: *started,
                minutes_mean: 20.0,
            };
            core::iter::repeat_n(row, *minutes)
        });
        Trace {
            start: UnixTime::from_secs(1_774_828_800),
            interval: Duration::from_secs(60),
            rows: rows.collect(),
        }
    }
}
