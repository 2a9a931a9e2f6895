//! The document's form, as JSON has it.
//!
//! Fields are only ever added: a reader passes over those that it does not know, and takes an empty value for those that an
//! older controller does not write. Not responsible for filling it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use taciturn_protocol::time::UnixTime;

use crate::fleet::{InstanceId, Loads, ZoneId};

/// The fleet on one page. All seconds are of this controller's clock, all times since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// Always [`Overview::FORMAT`].
    pub format: String,
    /// The controller's version.
    pub version: String,
    /// The fleet's name.
    pub fleet: String,
    /// When all this was seen.
    pub time: UnixTime,
    /// How long ago that was.
    pub age_seconds: f64,
    /// The state of the whole in one word.
    pub condition: Condition,
    /// The same in one sentence.
    pub headline: String,
    /// Why this cannot be taken for what is so now.
    pub doubt: Option<String>,
    /// The latest plan in one sentence.
    pub summary: String,
    /// Nothing is launched, drained or ended: a dry run.
    pub dry_run: bool,
    /// Whether this controller acts.
    pub leadership: Leads,
    /// The configuration on the disk is broken, and the one before is in force.
    pub configuration_error: Option<String>,
    /// The provider's list.
    pub listing: Listed,
    /// Rounds since the start of this controller.
    pub rounds: u64,
    /// The fleet in figures.
    pub totals: Totals,
    /// What forbids that anything is taken away.
    pub brakes: Vec<Note>,
    /// What people should look at.
    pub alarms: Vec<Note>,
    /// Relays by zone and state; every allowed zone, and those that relays were found in.
    pub zones: Vec<Zone>,
    /// What is needed, by reason.
    pub need: Needed,
    /// Demand and capacity now, along each dimension of which anything is known.
    pub loads: Vec<Line>,
    /// Demand and capacity over the last hours.
    pub chart: Chart,
    /// Drains, the one that is to be over first at the top.
    pub drains: Vec<Drain>,
    /// The latest decisions, the latest first.
    pub decisions: Vec<Decided>,
    /// Credentials, where this controller mints any.
    pub credentials: Option<Minted>,
    /// Relays, those in trouble first.
    pub relays: Vec<Relay>,
    /// How many of them did not fit.
    pub left_out: Left,
}

impl Overview {
    /// What this version reads and writes.
    pub const FORMAT: &'static str = "taciturn-overview/1";
}

/// The state of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// No round has come to its end, or the controller has just started and takes nothing away.
    Starting,
    /// The rounds have stopped: what is shown is old.
    Stuck,
    /// Another controller acts, or may.
    Standby,
    /// Nothing is taken away, or nothing is done at all; the brakes say why.
    Frozen,
    /// There is no relay, and none is on its way.
    Empty,
    /// Relays are on their way.
    Growing,
    /// Relays are being drained.
    Shrinking,
    /// None of these.
    #[default]
    #[serde(other)]
    Steady,
}

impl Condition {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Stuck => "stuck",
            Self::Standby => "standby",
            Self::Frozen => "frozen",
            Self::Empty => "empty",
            Self::Growing => "growing",
            Self::Shrinking => "shrinking",
            Self::Steady => "steady",
        }
    }
}

/// Whether this controller acts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Leads {
    /// It may act.
    pub held: bool,
    /// Its epoch.
    pub epoch: u64,
    /// How much longer its lease is good.
    pub lease_seconds: f64,
    /// In one sentence: it leads, or who does and why it is not known.
    pub words: String,
}

/// The provider's list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listed {
    /// Since the latest complete one; `None`: none has come.
    pub age_seconds: Option<f64>,
    /// What is wrong with the latest.
    pub fault: Option<String>,
}

/// The fleet in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Relays that exist: all but those that are gone.
    pub relays: usize,
    /// Relays by state, those that are gone among them; states without any are left out.
    pub states: BTreeMap<String, usize>,
    /// Relays that new calls may be sent to.
    pub offered: usize,
    /// Live allocations on all of them; `None`: not known.
    pub allocations: Option<f64>,
}

/// A brake or an alarm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// The word in metrics.
    pub kind: String,
    /// The relay that it is about, if one.
    pub relay: Option<InstanceId>,
    /// One sentence.
    pub words: String,
}

/// Relays of one zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Zone {
    /// Its id.
    pub zone: String,
    /// Relays may be there.
    pub allowed: bool,
    /// Relays by state; states without any are left out.
    pub states: BTreeMap<String, usize>,
    /// Relays that exist.
    pub relays: usize,
    /// Relays that new calls may be sent to.
    pub offered: usize,
    /// Their live allocations; `None`: not known.
    pub allocations: Option<f64>,
}

/// What is needed, in relays of the kind that is launched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Needed {
    /// In the end.
    pub need: u32,
    /// That there are, or are on their way.
    pub have: u32,
    /// The most that was needed within the window: fewer are not left.
    pub held: u32,
    /// The policy's least.
    pub min: u32,
    /// The policy's most.
    pub max: u32,
    /// The share of a relay's capacity that is to be used.
    pub fill_target: f64,
    /// Each reason for some.
    pub reasons: Vec<Reason>,
}

/// One reason for relays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// The word in metrics.
    pub reason: String,
    /// What it means.
    pub words: String,
    /// How many it asks for.
    pub relays: u32,
    /// No other asks for more, and it comes before those that ask for as many: it decides.
    pub decides: bool,
}

/// Demand and capacity along one dimension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    /// The dimension's word in metrics.
    pub dimension: String,
    /// What is asked of the fleet.
    pub demand: Option<f64>,
    /// What the relays that serve can carry up to the fill target.
    pub capacity: Option<f64>,
    /// The one as a share of the other; 1: more is launched.
    pub share: Option<f64>,
    /// It asks for the most relays.
    pub decides: bool,
}

/// Demand and capacity over the last hours: columns of one length, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chart {
    /// How much time one point stands for.
    pub step_seconds: u64,
    /// When.
    pub times: Vec<u64>,
    /// The greatest need, in relays.
    pub need: Vec<u32>,
    /// Relays that served or were on their way.
    pub have: Vec<u32>,
    /// The greatest demand, by dimension.
    pub demand: BTreeMap<String, Vec<Option<f64>>>,
    /// The capacity, by dimension.
    pub capacity: BTreeMap<String, Vec<Option<f64>>>,
    /// What was done, oldest first.
    pub marks: Vec<Marked>,
}

/// Something that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marked {
    /// When.
    pub time: u64,
    /// `launched`, `drained`, `undrained` or `ended`.
    pub done: String,
    /// To how many relays.
    pub relays: u32,
}

/// A relay that takes no new calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// Which.
    pub relay: InstanceId,
    /// Where.
    pub zone: ZoneId,
    /// Its state.
    pub state: String,
    /// Who began it: `operator` (also a controller), `signal` or `metadata`.
    pub source: String,
    /// Why.
    pub reason: String,
    /// Live allocations.
    pub allocations_remaining: u64,
    /// Those of them that carry nothing.
    pub idle_allocations: u64,
    /// When it began.
    pub started: UnixTime,
    /// When it may be ended with allocations left.
    pub deadline: UnixTime,
    /// How long until then; below zero: it is past it.
    pub seconds_left: i64,
    /// Since it was last heard of.
    pub silent_seconds: Option<f64>,
}

/// A decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decided {
    /// The number of its round.
    pub round: u64,
    /// When.
    pub time: UnixTime,
    /// One sentence.
    pub summary: String,
    /// What was done and why, the first first.
    pub actions: Vec<Acted>,
    /// How many more there were.
    pub actions_left_out: usize,
    /// Words of the brakes that were on.
    pub brakes: Vec<String>,
}

/// An action of a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Acted {
    /// What, in the word of the metrics.
    pub act: String,
    /// To which relay, or for a launch how many and where.
    pub target: String,
    /// Why, in the word of the metrics.
    pub reason: String,
    /// Why, in one sentence.
    pub words: String,
    /// What became of it, in the word of the metrics; `None`: it was not begun.
    pub outcome: Option<String>,
    /// What was said where it was not done.
    pub outcome_words: Option<String>,
}

/// A relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relay {
    /// Its id.
    pub id: InstanceId,
    /// Where it is.
    pub zone: ZoneId,
    /// Its state.
    pub state: String,
    /// New calls may be sent to it.
    pub offered: bool,
    /// It is where none may be.
    pub offshore: bool,
    /// Its age.
    pub age_seconds: f64,
    /// Since it was last heard of; `None`: never.
    pub silent_seconds: Option<f64>,
    /// What it carries.
    pub load: Loads,
    /// How full it is: the greatest share, 1 being all that it can carry.
    pub full: Option<f64>,
    /// Why it is not ready, in its words.
    pub not_ready_because: Vec<String>,
    /// Its version; empty: not known.
    pub version: String,
    /// Its image; empty: not known.
    pub image: String,
    /// An operator keeps new calls away from it.
    pub cordoned: bool,
    /// An operator keeps it.
    pub keep: bool,
}

/// Questions for credentials since the start of this controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Minted {
    /// That were answered.
    pub minted: u64,
    /// That were refused.
    pub refused: u64,
}

/// How many did not fit on the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Left {
    /// Relays.
    pub relays: usize,
    /// Drains.
    pub drains: usize,
    /// Alarms.
    pub alarms: usize,
}
