//! What a plan has to remember of the rounds before: recommendations, launches, drains, failures.
//!
//! Responsible for holding it. `policy` alone writes it, through [`crate::policy::remember`], so that a simulated and a real
//! controller remember the same. Losing it makes a controller more careful, never less: see `policy::brakes`.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use taciturn_protocol::time::{Instant, UnixTime};

use super::{InstanceId, LaunchToken, Loads, ZoneId};

/// Bounded: `policy::remember` forgets what no rule asks for any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Relays that were needed by the downward reckoning, oldest first: the stabilisation window. What a later and greater
    /// one makes idle is left out, so that the first is the greatest.
    pub needs: VecDeque<(Instant, u32)>,
    /// Demand, oldest first: the trend.
    pub demand: VecDeque<(Instant, Loads)>,
    /// Launches that were asked for, oldest first: step and budget.
    pub launches: VecDeque<Launch>,
    /// Drains that were begun, oldest first.
    pub drains: VecDeque<Instant>,
    /// Since when a relay has been the next to go: it is looked at again before it does.
    pub chosen: BTreeMap<InstanceId, Instant>,
    /// Launches whose outcome is not known: asked again with the same token.
    pub unconfirmed: Vec<Unconfirmed>,
    /// Zones, and the fleet as a whole (`None`), that have failed to launch.
    pub backoff: Vec<Backoff>,
    /// The next number of a launch token in this epoch.
    pub next_launch: u64,
    /// The desired capacity that the provider showed last, to notice somebody else's hand.
    pub desired: Option<u32>,
    /// The provider's minimum and maximum as it showed them last; `None`: it has not been looked at yet.
    pub bounds: Option<(Option<u32>, Option<u32>)>,
    /// What this controller did to the desired capacity and the provider has not shown yet, oldest first.
    pub own_changes: VecDeque<(Instant, i32)>,
    /// The latest change of the group that this controller did not make.
    pub hand: Option<Hand>,
    /// Drains that are ordered or were found running, by relay: their deadline on both clocks.
    pub orders: BTreeMap<InstanceId, Ordered>,
    /// When a termination hook was last asked for more time.
    pub extended: BTreeMap<InstanceId, Instant>,
    /// When a termination hook was last told that the instance may end.
    pub finished: BTreeMap<InstanceId, Instant>,
    /// Relays that did not take their last order, and would not the next moment either.
    pub refused: BTreeMap<InstanceId, Refusal>,
    /// Since when a relay has been ailing without a break: silent on its admin API and on its data path (or, where that is not
    /// tried, not well by the provider's word), or not ready.
    pub ailing: BTreeMap<InstanceId, Instant>,
    /// Instances that this controller launched and that have not been ready yet.
    pub expected: BTreeMap<InstanceId, Expected>,
    /// Launched instances in a row that never became ready.
    pub never_ready: u32,
}

/// A drain's deadline, as this controller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ordered {
    /// When the relay was last asked.
    pub asked: Instant,
    /// The deadline by the wall clock.
    pub deadline: UnixTime,
    /// The deadline by the monotonic clock: a wall clock that jumps brings no deadline nearer.
    pub until: Instant,
}

/// An order that a relay did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// When it was asked.
    pub at: Instant,
    /// What it was asked and what it said, in words.
    pub words: String,
}

/// An instance that this controller launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// When the launch was asked for.
    pub at: Instant,
    /// Where.
    pub zone: ZoneId,
    /// It took too long, and has been counted as a failure.
    #[serde(default)]
    pub failed: bool,
}

/// A change of the group that this controller did not make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hand {
    /// When it was seen.
    pub at: Instant,
    /// What changed, in words.
    pub words: String,
}

/// A launch that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// When.
    pub at: Instant,
    /// Where.
    pub zone: ZoneId,
    /// How many relays.
    pub count: u32,
    /// Those that came, as far as is known; the provider's list may show them later than its answer did.
    pub instances: Vec<InstanceId>,
}

/// A launch that may or may not have happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unconfirmed {
    /// When it was first asked for.
    pub at: Instant,
    /// The token that makes another try harmless.
    pub token: LaunchToken,
    /// Where.
    pub zone: ZoneId,
    /// How many relays.
    pub count: u32,
    /// How often it was asked for.
    pub tries: u32,
}

/// A reason not to launch for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The zone; `None`: anywhere, as the image or the provider is at fault.
    pub zone: Option<ZoneId>,
    /// Failures in a row.
    pub failures: u32,
    /// When it may be tried again.
    pub until: Instant,
    /// What failed last, in words.
    pub what: String,
}
