//! A plan as data: what is done, why, what was needed, what holds it back, and what people should look at.
//!
//! Not responsible for making one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use taciturn_protocol::time::UnixTime;

use crate::fleet::{Dimension, InstanceId, LaunchToken, Loads, ZoneId};

/// What is to be done in this round, in this order, and everything that explains it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What is to be done, the first first.
    pub actions: Vec<Action>,
    /// What is needed, by reason.
    pub need: Need,
    /// What forbids removals at present; launches too where a brake says so.
    pub brakes: Vec<Brake>,
    /// What people should look at.
    pub alarms: Vec<Alarm>,
    /// Relays that credentials may name from now on.
    pub offered: Vec<InstanceId>,
    /// Relays that are next to go: they are looked at again before anything is done to them.
    pub chosen: Vec<InstanceId>,
    /// One sentence: what is done, or why nothing is.
    pub summary: String,
}

/// One thing to do, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// What.
    pub act: Act,
    /// Why, as a closed word: the metric's label.
    pub reason: Reason,
    /// Why, for people: one sentence with its figures.
    pub words: String,
}

/// What can be done to a fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// Launch `count` relays in `zone`. The same token again is the same launch.
    Launch {
        /// Where.
        zone: ZoneId,
        /// How many.
        count: u32,
        /// Makes it happen once.
        token: LaunchToken,
    },
    /// Leave the relay out of the list for credentials: the first step of a drain, before the relay knows of it.
    Withhold {
        /// Which.
        relay: InstanceId,
    },
    /// Put a relay back on that list that was withheld and not drained yet.
    Restore {
        /// Which.
        relay: InstanceId,
    },
    /// Order the relay to drain (`POST /v1/drain`), or give it another deadline.
    Drain {
        /// Which.
        relay: InstanceId,
        /// When it may be ended with allocations left.
        deadline: UnixTime,
    },
    /// Take the order back (`DELETE /v1/drain`).
    Undrain {
        /// Which.
        relay: InstanceId,
    },
    /// End the instance, by id, with one less desired.
    Terminate {
        /// Which.
        relay: InstanceId,
    },
    /// Ask for more time while a termination hook waits for a drain.
    Extend {
        /// Which.
        relay: InstanceId,
    },
    /// Tell the hook that waits that the instance may end.
    Finish {
        /// Which.
        relay: InstanceId,
    },
}

impl Act {
    /// The word in metrics, logs and the audit trail.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Launch { .. } => "launch",
            Self::Withhold { .. } => "withhold",
            Self::Restore { .. } => "restore",
            Self::Drain { .. } => "drain",
            Self::Undrain { .. } => "undrain",
            Self::Terminate { .. } => "terminate",
            Self::Extend { .. } => "extend",
            Self::Finish { .. } => "finish",
        }
    }

    /// The relay that it is done to; `None` for a launch.
    pub const fn relay(&self) -> Option<&InstanceId> {
        match self {
            Self::Launch { .. } => None,
            Self::Withhold { relay }
            | Self::Restore { relay }
            | Self::Drain { relay, .. }
            | Self::Undrain { relay }
            | Self::Terminate { relay }
            | Self::Extend { relay }
            | Self::Finish { relay } => Some(relay),
        }
    }
}

/// Why something is done. One file of `policy` for each group of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Live load, with its headroom, needs more relays.
    Load,
    /// The season's load at this time of day needs them soon.
    Forecast,
    /// The loss of a zone must be survived.
    ZoneLoss,
    /// The schedule wants this many.
    Schedule,
    /// The configured minimum.
    Minimum,
    /// Fewer are needed than there are, and have been for the whole window.
    Surplus,
    /// It has never become ready, or is broken.
    Unhealthy,
    /// An operator has cordoned it.
    Cordoned,
    /// Its image is not the current one.
    Image,
    /// It is in a zone that is not allowed.
    Sovereignty,
    /// It is the next step of what was begun before, here or by a controller before this one.
    Unfinished,
    /// The provider, or somebody else, is ending it already.
    ExternalEnd,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Load,
        Self::Forecast,
        Self::ZoneLoss,
        Self::Schedule,
        Self::Minimum,
        Self::Surplus,
        Self::Unhealthy,
        Self::Cordoned,
        Self::Image,
        Self::Sovereignty,
        Self::Unfinished,
        Self::ExternalEnd,
    ];

    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Forecast => "forecast",
            Self::ZoneLoss => "zone_loss",
            Self::Schedule => "schedule",
            Self::Minimum => "minimum",
            Self::Surplus => "surplus",
            Self::Unhealthy => "unhealthy",
            Self::Cordoned => "cordoned",
            Self::Image => "image",
            Self::Sovereignty => "sovereignty",
            Self::Unfinished => "unfinished",
            Self::ExternalEnd => "external_end",
        }
    }
}

/// How many relays are needed, by reason, in relays of the kind that is launched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// By live load, with headroom upward.
    pub reactive: u32,
    /// The dimension that asks for the most.
    pub dimension: Option<Dimension>,
    /// By the season's load; also where the forecast is only observed.
    pub forecast: u32,
    /// To survive the loss of one zone.
    pub zone_loss: u32,
    /// By the schedule.
    pub schedule: u32,
    /// By the configured minimum.
    pub minimum: u32,
    /// What follows: the greatest, within minimum and maximum.
    pub need: u32,
    /// What would be needed with the headroom downward, before the window: what a removal has to respect.
    pub need_down: u32,
    /// The greatest `need_down` of the window.
    pub held: u32,
    /// Relays that serve, or are on their way, in the same unit.
    pub have: u32,
    /// What is asked of the fleet, draining and stale relays' load included.
    pub demand: Loads,
    /// What the relays that serve can carry up to the fill target.
    pub capacity: Loads,
    /// Relays by zone that serve or are on their way.
    pub by_zone: BTreeMap<ZoneId, u32>,
}

/// Why nothing is removed at present (scaling rules, "freeze").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "brake", rename_all = "snake_case", deny_unknown_fields)]
pub enum Brake {
    /// The provider's list failed, was truncated, or shrank by more than half at once.
    ListingInDoubt {
        /// What is wrong with it.
        words: String,
    },
    /// Too many relays have not been heard of.
    StaleRelays {
        /// How many.
        stale: u32,
        /// Of how many.
        of: u32,
    },
    /// The lease is not provably held: nothing at all is done.
    NotLeading {
        /// Who leads, or why it is not known.
        words: String,
    },
    /// Somebody replaces all instances.
    RefreshActive,
    /// A relay is in a zone that is not allowed. What is offshore is still drained.
    SovereigntyViolation {
        /// Which relays.
        relays: Vec<InstanceId>,
    },
    /// The wall clock jumped.
    ClockJump {
        /// By how many seconds.
        seconds: u64,
    },
    /// The configuration on the disk is broken.
    ConfigurationInvalid {
        /// What is wrong.
        words: String,
    },
    /// The controller has started lately, or has not seen every relay twice yet.
    JustStarted {
        /// What is waited for.
        words: String,
    },
    /// A relay has obeyed a newer epoch than this controller's: there is another controller.
    NewerEpoch {
        /// The epoch that was seen.
        seen: u64,
    },
    /// Somebody changed the group by hand, and the policy is to freeze then.
    ChangedByHand {
        /// What.
        words: String,
    },
}

impl Brake {
    /// The word in metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ListingInDoubt { .. } => "listing_in_doubt",
            Self::StaleRelays { .. } => "stale_relays",
            Self::NotLeading { .. } => "not_leading",
            Self::RefreshActive => "refresh_active",
            Self::SovereigntyViolation { .. } => "sovereignty_violation",
            Self::ClockJump { .. } => "clock_jump",
            Self::ConfigurationInvalid { .. } => "configuration_invalid",
            Self::JustStarted { .. } => "just_started",
            Self::NewerEpoch { .. } => "newer_epoch",
            Self::ChangedByHand { .. } => "changed_by_hand",
        }
    }

    /// What is the matter, for whoever reads the log.
    pub fn words(&self) -> String {
        match self {
            Self::ListingInDoubt { words } => format!("the provider's list is in doubt: {words}"),
            Self::StaleRelays { stale, of } => {
                format!("{stale} of {of} relays have not been heard of lately")
            }
            Self::NotLeading { words } => format!("another leads, or may: {words}"),
            Self::RefreshActive => "the provider is replacing all instances".to_owned(),
            Self::SovereigntyViolation { relays } => {
                let relays: Vec<&str> = relays.iter().map(InstanceId::as_str).collect();
                format!("where none may be, there are {}", relays.join(", "))
            }
            Self::ClockJump { seconds } => format!("the wall clock jumped by {seconds} s"),
            Self::ConfigurationInvalid { words } => {
                format!("the configuration on the disk is broken: {words}")
            }
            Self::JustStarted { words } => format!("it has just started; waited for: {words}"),
            Self::NewerEpoch { seen } => format!(
                "a relay has had an order of epoch {seen}, which is newer than this controller's: there is another controller, or \
                 somebody chose that number by hand"
            ),
            Self::ChangedByHand { words } => format!("the group was changed by hand: {words}"),
        }
    }

    /// All words of [`Brake::as_str`].
    pub const WORDS: [&'static str; 10] = [
        "listing_in_doubt",
        "stale_relays",
        "not_leading",
        "refresh_active",
        "sovereignty_violation",
        "clock_jump",
        "configuration_invalid",
        "just_started",
        "newer_epoch",
        "changed_by_hand",
    ];
}

/// Something that people should look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// What kind: the metric's label.
    pub kind: AlarmKind,
    /// The relay that it is about, if one.
    pub relay: Option<InstanceId>,
    /// One sentence: what is the matter, and what to do.
    pub words: String,
}

/// Kinds of alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// A relay is in a zone that is not allowed: page somebody.
    Sovereignty,
    /// A relay answers that the provider does not list, or an instance is set aside.
    Foreign,
    /// More would be needed than the maximum allows.
    AtMaximum,
    /// Need cannot be met: zones without capacity, budget used up, launches failing.
    CannotLaunch,
    /// Instances were launched and never became ready.
    NeverReady,
    /// A drain is past its deadline, or the relay does not take the order.
    DrainOverdue,
    /// A relay has not been heard of.
    Stale,
    /// A relay's network card or kernel drops packets.
    Full,
    /// Somebody changed the group by hand, or something else acts on it.
    OtherHand,
    /// Fewer zones are in use than are needed to survive the loss of one.
    ZoneSpread,
    /// The load is above what was forecast by far.
    ForecastMiss,
}

impl AlarmKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Sovereignty,
        Self::Foreign,
        Self::AtMaximum,
        Self::CannotLaunch,
        Self::NeverReady,
        Self::DrainOverdue,
        Self::Stale,
        Self::Full,
        Self::OtherHand,
        Self::ZoneSpread,
        Self::ForecastMiss,
    ];

    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sovereignty => "sovereignty",
            Self::Foreign => "foreign",
            Self::AtMaximum => "at_maximum",
            Self::CannotLaunch => "cannot_launch",
            Self::NeverReady => "never_ready",
            Self::DrainOverdue => "drain_overdue",
            Self::Stale => "stale",
            Self::Full => "full",
            Self::OtherHand => "other_hand",
            Self::ZoneSpread => "zone_spread",
            Self::ForecastMiss => "forecast_miss",
        }
    }
}

/// What became of an action, for the history and the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It is done; a launch names its instances.
    Done {
        /// Of a launch.
        #[serde(default)]
        instances: Vec<InstanceId>,
    },
    /// It was not needed any more: the instance is gone, or the relay in that state already.
    Nothing,
    /// The zone has no capacity for it now.
    NoCapacity {
        /// The provider's words, shortened.
        words: String,
    },
    /// It was refused, and would be again.
    Refused {
        /// By whom and why.
        words: String,
    },
    /// It failed, and may be tried again.
    Failed {
        /// Why.
        words: String,
    },
    /// Nobody knows whether it happened: no answer came. The same token is asked again.
    Unknown {
        /// Why.
        words: String,
    },
    /// The relay has seen a newer epoch.
    OlderEpoch {
        /// The epoch that it has seen.
        seen: u64,
    },
    /// It was not tried: a dry run.
    DryRun,
}
