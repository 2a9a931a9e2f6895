//! The policy: every number that a decision depends on, with its default.
//!
//! Responsible for the form of `[policy]` in `controller.toml`, which is also that of `simulate --policy`. Where the
//! defaults come from is in `docs/scaling.md`. Not responsible for reading files (`config`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::durations::human;
use crate::fleet::{Loads, ZoneId};

/// `[policy]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Policy {
    /// The fleet's name: part of launch tokens, tags and the audit trail.
    #[serde(skip)]
    pub fleet: String,
    /// Zones in which relays may be; from `[sovereignty]`. Empty: none.
    #[serde(skip)]
    pub allowed_zones: BTreeSet<ZoneId>,
    /// Fewest relays.
    pub min: u32,
    /// Most relays, those that drain not counted.
    pub max: u32,
    /// How many more may live while others drain: the provider's maximum is to be `max + surge`.
    pub surge: u32,
    /// The share of a relay's capacity that is to be used.
    pub fill_target: f64,
    /// Room above the demand when relays are added, as a share of it.
    pub headroom_up: f64,
    /// The same when relays are taken away; greater, so that it does not swing.
    pub headroom_down: f64,
    /// Room above the demand for a small fleet: this many times the square root of the number of allocations.
    pub slack: f64,
    /// How far ahead the trend of the demand is followed: from the decision to a relay that serves.
    #[serde(with = "human")]
    pub lead: Duration,
    /// The time over which the trend is taken: not less than the rhythm in which appointments begin, or each quarter of an hour
    /// looks like growth.
    #[serde(with = "human")]
    pub trend_window: Duration,
    /// Whether the loss of one zone has to be survived.
    pub zone_loss_floor: bool,
    /// For how long fewer relays must have been enough before one is taken away.
    #[serde(with = "human")]
    pub window: Duration,
    /// Relays added at once: this many, or `up-share` of the fleet if that is more, in `up-period`.
    pub up_step: u32,
    /// See `up-step`.
    pub up_share: f64,
    /// See `up-step`.
    #[serde(with = "human")]
    pub up_period: Duration,
    /// Most launches in an hour.
    pub launches_per_hour: u32,
    /// Drains begun at once, in `down-period`.
    pub down_step: u32,
    /// See `down-step`.
    #[serde(with = "human")]
    pub down_period: Duration,
    /// No drain begins for this long after a launch.
    #[serde(with = "human")]
    pub quiet_after_launch: Duration,
    /// No drain begins for this long after the controller's start.
    #[serde(with = "human")]
    pub quiet_after_start: Duration,
    /// A relay that is chosen to go is looked at again after this time.
    #[serde(with = "human")]
    pub second_look: Duration,
    /// For how long a relay is left out of the list for credentials before it is drained.
    #[serde(with = "human")]
    pub list_ttl: Duration,
    /// How long a drain may take before what is left is cut.
    #[serde(with = "human")]
    pub drain_deadline: Duration,
    /// How long a drain lasts at least.
    #[serde(with = "human")]
    pub min_drain: Duration,
    /// How often a termination hook is asked for more time: less than the hook's timeout.
    #[serde(with = "human")]
    pub extend_period: Duration,
    /// Whether a drain ends when all that is left carries nothing.
    pub end_idle_drains: bool,
    /// A relay that is not ready this long after its launch has failed.
    #[serde(with = "human")]
    pub ready_timeout: Duration,
    /// A younger relay is not drained for surplus.
    #[serde(with = "human")]
    pub min_age: Duration,
    /// A relay whose sample has not moved for this long is stale.
    #[serde(with = "human")]
    pub stale_after: Duration,
    /// Nothing is removed while more than this share of the relays, and more than two, are stale.
    pub stale_share: f64,
    /// At most this share of the relays, and at least one, is replaced as unhealthy at a time.
    pub unhealthy_share: f64,
    /// Launches that never became ready, in a row, after which launching pauses.
    pub breaker_after: u32,
    /// The first pause after a failed launch; doubles up to `backoff-max`.
    #[serde(with = "human")]
    pub backoff: Duration,
    /// See `backoff`.
    #[serde(with = "human")]
    pub backoff_max: Duration,
    /// Whether relays of another image are replaced, one at a time, while nothing else is done.
    pub replace_images: bool,
    /// What follows when somebody changes the group by hand.
    pub hand_changes: HandChanges,
    /// The season.
    pub forecast: Forecast,
    /// More relays at certain times.
    pub schedule: Vec<Schedule>,
    /// What relays of a type can carry, by type; "default" is for all others.
    pub capacity: BTreeMap<String, Capacity>,
}

/// What a relay of one type can carry, all of it: `fill-target` is applied by the policy. What is left out is taken from the
/// relay's own report, and where that does not know either it is no reason to act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Capacity {
    /// Datagrams received in a second.
    pub packets: Option<f64>,
    /// Payload bits in a second: of the type's baseline bandwidth, not of its burst.
    pub bits: Option<f64>,
    /// Share of a core.
    pub core: Option<f64>,
    /// Allocations.
    pub allocations: Option<f64>,
    /// Relayed ports.
    pub ports: Option<f64>,
}

impl From<Capacity> for Loads {
    fn from(capacity: Capacity) -> Self {
        Self {
            packets: capacity.packets,
            bits: capacity.bits,
            core: capacity.core,
            allocations: capacity.allocations,
            ports: capacity.ports,
        }
    }
}

/// What to do about changes that this controller did not make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandChanges {
    /// They are reported, and what they brought about is lived with.
    #[default]
    Honour,
    /// They are reported, and nothing is removed until a person has looked.
    Freeze,
}

/// `[policy.forecast]`: the load of the same time on earlier days, as a floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Forecast {
    /// Whether it counts.
    pub mode: ForecastMode,
    /// The time zone of the day's rhythm (IANA), such as "Australia/Sydney".
    pub timezone: String,
    /// Public holidays, "2026-12-25": days like a Sunday.
    pub holidays: BTreeSet<String>,
    /// The share of the same class's days whose load is to be covered.
    pub percentile: f64,
    /// Room above that.
    pub margin: f64,
    /// Days of a class that are looked at.
    pub days: u32,
}

/// Whether the forecast counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForecastMode {
    /// Not at all.
    Off,
    /// It is reckoned and shown.
    Observe,
    /// It is a floor.
    #[default]
    Floor,
}

/// `[[policy.schedule]]`: at least this many relays at certain times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Schedule {
    /// "mon" to "sun".
    pub days: BTreeSet<String>,
    /// "08:00", local time.
    pub from: String,
    /// "18:00", local time; at or before `from` it is on the next day.
    pub to: String,
    /// IANA name.
    pub timezone: String,
    /// Relays.
    pub min: u32,
}

impl Default for Forecast {
    fn default() -> Self {
        Self {
            mode: ForecastMode::default(),
            timezone: "UTC".to_owned(),
            holidays: BTreeSet::new(),
            percentile: 0.9,
            margin: 1.1,
            days: 4,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            fleet: String::new(),
            allowed_zones: BTreeSet::new(),
            min: 2,
            max: 20,
            surge: 4,
            fill_target: 0.75,
            headroom_up: 0.25,
            headroom_down: 0.35,
            slack: 2.0,
            lead: minutes(3),
            trend_window: minutes(15),
            zone_loss_floor: true,
            window: minutes(30),
            up_step: 2,
            up_share: 0.25,
            up_period: Duration::from_secs(30),
            launches_per_hour: 60,
            down_step: 1,
            down_period: minutes(1),
            quiet_after_launch: minutes(10),
            quiet_after_start: minutes(5),
            second_look: Duration::from_secs(15),
            list_ttl: Duration::from_secs(10),
            drain_deadline: minutes(90),
            min_drain: Duration::from_secs(30),
            extend_period: minutes(5),
            end_idle_drains: false,
            ready_timeout: minutes(5),
            min_age: minutes(15),
            stale_after: Duration::from_secs(35),
            stale_share: 0.3,
            unhealthy_share: 0.2,
            breaker_after: 3,
            backoff: minutes(5),
            backoff_max: minutes(30),
            replace_images: true,
            hand_changes: HandChanges::default(),
            forecast: Forecast::default(),
            schedule: Vec::new(),
            capacity: BTreeMap::new(),
        }
    }
}
