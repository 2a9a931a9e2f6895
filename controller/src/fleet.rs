//! The nouns: a fleet, its relays, what they report, and what has been done lately.
//!
//! Responsible for what is known, all of it as of one moment; every value can be written as JSON and read back, and
//! `taciturn plan` does so. Not responsible for finding it out (`observe`) nor for what follows from it (`policy`).
//!
//! What is not known is `None`, never zero.

mod endpoints;
mod history;
mod load;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taciturn_protocol::credentials::ListVersion;
use taciturn_protocol::status::Phase;
use taciturn_protocol::time::{Now, UnixTime};

pub use endpoints::{Endpoints, Listening, Transport, is_address, is_dns_name};
pub use history::{Backoff, Expected, Hand, History, Launch, Ordered, Refusal, Unconfirmed};
pub use load::{Dimension, Loads};
pub use names::{InstanceId, LaunchToken, NameError, ZoneId};

/// Everything that a decision may depend on, beside the policy and the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fleet {
    /// Relays by the provider's id: those that it lists, and those that it listed until lately.
    pub relays: BTreeMap<InstanceId, Relay>,
    /// What the provider said last, and when.
    pub listing: ListingState,
    /// The group that the provider keeps the instances in.
    pub group: Group,
    /// Whether this controller may act.
    pub leadership: Leadership,
    /// What has been seen and done lately.
    pub history: History,
    /// The season's demand between now and when a relay that is launched now would serve: what the forecast says.
    pub outlook: Loads,
    /// How long this controller has been running.
    #[serde(with = "crate::durations::seconds")]
    pub running_for: Duration,
    /// How far the wall clock and the monotonic clock moved apart within the last minutes; `None` in the first round.
    #[serde(with = "crate::durations::seconds")]
    pub clock_jump: Option<Duration>,
    /// The configuration on the disk is broken, and that which was loaded before is in force; in words.
    pub configuration_error: Option<String>,
}

/// A fleet and the moment it was seen at: what `taciturn plan --fleet` reads, and `GET /v1/fleet?form=snapshot` writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Always [`Snapshot::FORMAT`].
    pub format: String,
    /// When.
    pub now: Now,
    /// What.
    pub fleet: Fleet,
}

impl Snapshot {
    /// The format that this version reads and writes.
    pub const FORMAT: &'static str = "taciturn-fleet/1";

    /// What in it cannot be true of any fleet, in words: a relay that stands under another's id.
    pub fn contradiction(&self) -> Option<String> {
        let (key, relay) = self
            .fleet
            .relays
            .iter()
            .find(|(key, relay)| **key != relay.id)?;
        Some(format!(
            "fleet.relays.{key}.id = \"{}\": is not the id that it stands under; write the same twice",
            relay.id
        ))
    }
}

/// What is known of the provider's list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListingState {
    /// How long ago a list came that was complete; `None`: none has come yet.
    #[serde(with = "crate::durations::seconds")]
    pub complete_for: Option<Duration>,
    /// What is wrong with the latest answer: it failed, was truncated or shrank by more than half; in words.
    pub fault: Option<String>,
}

/// What the provider says of the whole group; all of it may be unknown where the provider has no such notion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// The least number of instances that the provider allows.
    pub min: Option<u32>,
    /// The greatest.
    pub max: Option<u32>,
    /// What it is trying to have.
    pub desired: Option<u32>,
    /// Zones in which instances can be launched, allowed ones or not.
    pub zones: BTreeSet<ZoneId>,
    /// The image (AWS: launch template and version) that new instances get.
    pub image: Option<String>,
    /// The type that new instances get, where there is one.
    pub instance_type: Option<String>,
    /// Launching is suspended there.
    pub launch_suspended: bool,
    /// Terminating is suspended there.
    pub terminate_suspended: bool,
    /// Somebody replaces all instances (AWS: an instance refresh is pending or in progress).
    pub refresh_active: bool,
    /// The provider cannot launch at all (`static`).
    pub fixed: bool,
}

/// Whether this controller is the one that acts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Leadership {
    /// Its lease is provably held, with time left for what a round does.
    pub held: bool,
    /// Its epoch: relays refuse orders of older ones.
    pub epoch: u64,
    /// Who holds the lease, in words, where it is not this one, or why it is not known.
    pub obstacle: Option<String>,
}

/// One relay: what the provider, the relay itself and the operators say of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// The provider's id.
    pub id: InstanceId,
    /// Where it is, as the provider says.
    pub zone: ZoneId,
    /// Its instance type; empty where the provider knows none.
    #[serde(default)]
    pub instance_type: String,
    /// Its image (AWS: launch template and version); empty where the provider knows none.
    #[serde(default)]
    pub image: String,
    /// Where it is in the provider's books.
    pub lifecycle: Lifecycle,
    /// How long it has been known to exist, as far as this controller or the provider knows.
    #[serde(with = "crate::durations::seconds")]
    pub age: Duration,
    /// Where its admin API is; `None` while not known.
    #[serde(default)]
    pub admin: Option<SocketAddr>,
    /// Its last status that could be read.
    #[serde(default)]
    pub report: Option<Report>,
    /// How long ago its sample sequence last moved, by this controller's clock; `None` without a report. A relay that
    /// answers with the same sample again does not become fresher by that.
    #[serde(default, with = "crate::durations::seconds")]
    pub report_age: Option<Duration>,
    /// Samples seen from its present boot by this controller, at most a few.
    #[serde(default)]
    pub samples: u32,
    /// Whether it has been ready since it was launched, as far as this controller or the relay itself knows.
    #[serde(default)]
    pub was_ready: bool,
    /// What is asked of the data path (a STUN Binding): whether it answers; `None`: not tried.
    #[serde(default)]
    pub answers_stun: Option<bool>,
    /// The provider says that it is not well: a sign among others, and never a reason to end it.
    #[serde(default)]
    pub unhealthy: bool,
    /// An operator keeps new calls away from it, and wants it gone before others.
    #[serde(default)]
    pub cordoned: bool,
    /// An operator wants it kept: it is never drained by a plan.
    #[serde(default)]
    pub keep: bool,
    /// How long it has been left out of the list for credentials, as the first step of a drain.
    #[serde(default, with = "crate::durations::seconds")]
    pub withheld_for: Option<Duration>,
    /// Its end was asked of the provider already, by this controller.
    #[serde(default)]
    pub terminate_asked: bool,
    /// The relay has seen an order of a newer epoch than this controller's.
    #[serde(default)]
    pub newer_epoch: Option<u64>,
}

/// Where an instance is in the provider's books; words of AWS Auto Scaling, folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    /// It boots (Pending, Pending:Wait, Pending:Proceed).
    Pending,
    /// It serves, as far as the provider knows.
    #[default]
    InService,
    /// It is to end and a hook waits for our word (Terminating:Wait).
    TerminatingWait,
    /// It is ending (Terminating, Terminating:Proceed, Terminating:Retained).
    Terminating,
    /// Set aside by somebody (Standby, EnteringStandby, Detaching, Detached, Warmed:*): not ours to use or end.
    SetAside,
    /// The provider has not listed it in a complete list, and it goes on answering, or never was listed. One that has left
    /// the list just now is [`Lifecycle::Terminating`].
    Unlisted,
}

/// What a relay says of itself (`GET /v1/status`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The run of the relay: a new one at each start.
    pub boot_id: String,
    /// The number of its load sample; grows by one a second.
    pub sequence: u64,
    /// Its wall clock when it took the sample.
    pub time: UnixTime,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it wants new clients.
    pub ready: bool,
    /// Why not, in its words.
    #[serde(default)]
    pub not_ready_because: Vec<String>,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Where it says that it is.
    #[serde(default)]
    pub zone_id: Option<ZoneId>,
    /// What it carries.
    pub load: Loads,
    /// What it can carry, where it knows.
    #[serde(default)]
    pub capacity: Loads,
    /// How full it is by its own account: 0 to 1, or more.
    #[serde(default)]
    pub utilisation: Option<f64>,
    /// Its network card or kernel drops packets now, whatever the loads say.
    #[serde(default)]
    pub full_now: bool,
    /// The highest epoch of any order that it has obeyed; zero before the first.
    #[serde(default)]
    pub epoch: u64,
    /// Its drain; `None`: it takes new allocations.
    #[serde(default)]
    pub drain: Option<DrainReport>,
    /// Where clients reach it.
    #[serde(default)]
    pub endpoints: Endpoints,
    /// Which list of revocations is in force there; `None`: it knows of none, as it is too old.
    #[serde(default)]
    pub revocations: Option<ListVersion>,
}

/// A relay's drain as it reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainReport {
    /// Who began it: "operator" (the admin API, so also a controller), "signal" or "metadata".
    pub source: String,
    /// When it began.
    pub started: UnixTime,
    /// When the relay may be ended with allocations left.
    pub deadline: UnixTime,
    /// Why.
    pub reason: String,
    /// The epoch of the order.
    pub epoch: u64,
    /// Live allocations.
    pub allocations_remaining: u64,
    /// Those of them that carry nothing.
    #[serde(default)]
    pub idle_allocations: u64,
}
