//! Days on which something goes wrong, by name, for `taciturn simulate --scenario`.
//!
//! Responsible for a few mishaps at the worst time of a trace. Not responsible for the rest of what can go wrong: the tests of
//! this module have a list of their own.

use super::Settings;
use super::clairvoyant::Load;
use super::fault::{Fault, Mishap, Which};

/// What goes wrong, at the trace's peak or on the way there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing does.
    #[default]
    None,
    /// A zone dies at the peak, and has no machines for the rest of the trace.
    ZoneLoss,
    /// No relay's status answers for the 20 minutes before the peak.
    StaleMetrics,
    /// Two of five relays give the same sample again and again in those minutes.
    FrozenMetrics,
    /// The provider refuses every call as one too many in those minutes.
    Throttling,
    /// The provider's list is truncated in those minutes.
    TruncatedLists,
    /// The answers to launches are lost in those minutes.
    LostAnswers,
    /// What is launched in those minutes never serves.
    BrokenImage,
    /// Nobody can reach the service for two minutes at the peak, and all come back at once.
    Outage,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::ZoneLoss,
        Self::StaleMetrics,
        Self::FrozenMetrics,
        Self::Throttling,
        Self::TruncatedLists,
        Self::LostAnswers,
        Self::BrokenImage,
        Self::Outage,
    ];

    /// The word on the command line and in figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ZoneLoss => "zone-loss",
            Self::StaleMetrics => "stale-metrics",
            Self::FrozenMetrics => "frozen-metrics",
            Self::Throttling => "throttling",
            Self::TruncatedLists => "truncated-lists",
            Self::LostAnswers => "lost-answers",
            Self::BrokenImage => "broken-image",
            Self::Outage => "outage",
        }
    }

    /// What happens, and when.
    pub(super) fn mishaps(self, load: &Load, settings: &Settings) -> Vec<Mishap> {
        const BEFORE: u64 = 20 * 60;
        let (_, peak) = load.peak();
        let on_the_way = |fault| {
            vec![Mishap {
                at: peak.saturating_sub(BEFORE),
                lasts: BEFORE,
                fault,
            }]
        };
        let at_the_peak = |lasts, fault| {
            vec![Mishap {
                at: peak,
                lasts,
                fault,
            }]
        };
        match self {
            Self::None => Vec::new(),
            Self::ZoneLoss => settings
                .zones
                .first()
                .map(|zone| at_the_peak(u64::MAX / 2, Fault::ZoneLost(zone.clone())))
                .unwrap_or_default(),
            Self::StaleMetrics => on_the_way(Fault::Silent(Which::All)),
            Self::FrozenMetrics => on_the_way(Fault::Frozen(Which::Percent(40))),
            Self::Throttling => on_the_way(Fault::Throttled),
            Self::TruncatedLists => on_the_way(Fault::ListTruncated),
            Self::LostAnswers => on_the_way(Fault::LaunchAnswerLost),
            Self::BrokenImage => on_the_way(Fault::BrokenImage),
            Self::Outage => at_the_peak(120, Fault::Outage),
        }
    }
}
