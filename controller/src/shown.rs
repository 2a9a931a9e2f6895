//! What each relay is, in one word, for people and Prometheus: as the plan sees it.
//!
//! Responsible for the words, which are those of a relay's own life (`launching`, `ready`, `draining`, `drained`, `lost`) as
//! far as they go. Not responsible for judging (`policy::view`).

use taciturn_protocol::status::Phase;

use crate::fleet::{Lifecycle, Loads, Relay};
use crate::policy::view::{Seen, Standing, View};
use crate::reconcile::Published;

/// A relay's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// On its way.
    Launching,
    /// On its way for too long.
    NeverReady,
    /// It carries calls and may get more.
    Ready,
    /// It is heard of, and says that it cannot serve.
    Unready,
    /// It takes no new calls.
    Draining,
    /// It has none left.
    Drained,
    /// Nobody has heard of it for too long.
    Lost,
    /// The provider waits for our word to end it, or ends it.
    Ending,
    /// The provider ends it, or does not list it any more, and nothing is heard of it.
    Gone,
    /// Somebody set it aside at the provider.
    Aside,
}

impl State {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::Launching,
        Self::NeverReady,
        Self::Ready,
        Self::Unready,
        Self::Draining,
        Self::Drained,
        Self::Lost,
        Self::Ending,
        Self::Gone,
        Self::Aside,
    ];

    /// The word in metrics and JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Launching => Phase::Launching.as_str(),
            Self::NeverReady => "never_ready",
            Self::Ready => Phase::Ready.as_str(),
            Self::Unready => "unready",
            Self::Draining => Phase::Draining.as_str(),
            Self::Drained => Phase::Drained.as_str(),
            Self::Lost => Phase::Lost.as_str(),
            Self::Ending => "ending",
            Self::Gone => "gone",
            Self::Aside => "aside",
        }
    }

    fn of(seen: &Seen<'_>) -> Self {
        match seen.standing {
            Standing::Launching => Self::Launching,
            Standing::NeverReady => Self::NeverReady,
            Standing::Serving => Self::Ready,
            Standing::Unready => Self::Unready,
            Standing::Stale => Self::Lost,
            Standing::Draining if seen.report().is_some_and(|r| r.phase == Phase::Drained) => {
                Self::Drained
            }
            Standing::Draining => Self::Draining,
            Standing::Ending => Self::Ending,
            Standing::Gone if seen.fresh && seen.relay.lifecycle != Lifecycle::Unlisted => {
                Self::Ending
            }
            Standing::Gone => Self::Gone,
            Standing::Aside => Self::Aside,
        }
    }
}

/// A relay as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) relay: &'a Relay,
    pub(crate) state: State,
    /// Its report is young enough.
    pub(crate) fresh: bool,
    /// It is in a zone that is not allowed.
    pub(crate) offshore: bool,
    /// What it can carry, all of it.
    pub(crate) carries: Loads,
}

/// All relays of a round, by id.
pub(crate) fn relays(latest: &Published) -> Vec<Shown<'_>> {
    let view = View::of(&latest.snapshot.fleet, &latest.policy, latest.snapshot.now);
    let shown = view.relays.iter().map(|seen| Shown {
        relay: seen.relay,
        state: State::of(seen),
        fresh: seen.fresh,
        offshore: seen.offshore,
        carries: seen.carries,
    });
    shown.collect()
}
