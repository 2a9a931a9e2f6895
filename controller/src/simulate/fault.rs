//! What can go wrong in a simulated fleet, and when it does.
//!
//! Responsible for the words. What follows from them is in `world`, `cloud` and `keeper`.
#![cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the tests let more go wrong than the command offers by name"
    )
)]

use crate::fleet::ZoneId;

/// A fault and its time, in seconds of the simulation. It begins in the first round from then on in which there is something
/// that it can befall.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mishap {
    pub(super) at: u64,
    /// For how long; faults that are over in a moment ignore it.
    pub(super) lasts: u64,
    pub(super) fault: Fault,
}

/// Which relays it befalls, of those that serve.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Which {
    All,
    /// So many of a hundred, the oldest first.
    Percent(u32),
    Oldest,
    /// The oldest of those that drain with allocations left.
    Draining,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// Status and orders get no answer; calls go on.
    Silent(Which),
    /// Status answers, always with the same sample.
    Frozen(Which),
    /// Orders get no answer; status does.
    Deaf(Which),
    /// The relay starts anew: its calls are lost and redial, its drain is on its disk.
    Restarts(Which),
    /// Somebody else ends the instance: a hook waits, and the relay drains by itself.
    EndedElsewhere(Which),
    /// Everything in the zone is dead, and nothing can be launched there.
    ZoneLost(ZoneId),
    /// The provider's list fails.
    ListFails,
    /// It has the first half of the instances, and says that there are more.
    ListTruncated,
    /// It has none, and says that this is all.
    ListEmpty,
    /// Every call to the provider is one too many.
    Throttled,
    /// A launch happens, its answer is lost, and the list shows it late.
    LaunchAnswerLost,
    /// The zone has no machines to give.
    NoCapacity(ZoneId),
    /// What is launched never serves.
    BrokenImage,
    /// The group's settings are changed by hand.
    Group(GroupChange),
    /// An instance appears in a zone that is not allowed.
    Offshore,
    /// Nobody can call: all calls end at once, and all come back when it is over.
    Outage,
    /// The controller's wall clock jumps.
    ClockJumps { seconds: i64 },
    /// The controller dies when it is about to do this for the first time, or has just done it, and starts anew later.
    Killed(Moment),
    /// The controller stops there (SIGSTOP) and goes on later, as if nothing had been.
    Paused {
        moment: Moment,
        /// Whether it looks at its lease before it goes on with what it had planned, as it should.
        looks: bool,
    },
}

/// A moment in the work of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The word of the act that is next.
    Before(&'static str),
    /// The word of the act that has been done, and of which nothing has been remembered or written down yet.
    After(&'static str),
    /// The end of a round in which a relay drains with allocations left.
    WhileDraining,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupChange {
    /// By so many at once, for good.
    Desired(i32),
    /// For as long as it lasts.
    Min(u32),
    /// For as long as it lasts.
    Max(u32),
    TerminateSuspended,
    RefreshActive,
}

impl Fault {
    /// Whether it befalls a controller, not the world.
    pub(super) const fn is_of_a_controller(&self) -> bool {
        matches!(
            self,
            Self::ClockJumps { .. } | Self::Killed(_) | Self::Paused { .. }
        )
    }
}
