//! What a plan has to remember of the rounds before: recommendations, launches, drains, failures.
//!
//! Responsible for holding it. `policy` alone writes it, through [`crate::policy::remember`], so that a simulated and a real
//! controller remember the same. Losing it makes a controller more careful, never less: see `policy::brakes`.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use taciturn_protocol::time::Instant;

use super::{InstanceId, LaunchToken, Loads, ZoneId};

/// Bounded by time: `policy::remember` forgets what no rule asks for any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Relays that were needed by the downward reckoning, oldest first: the stabilisation window.
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
