//! Launches: what is on its way, what may be launched now, and what happened to those before.
//!
//! Responsible for counting a launch until it is seen or has taken too long, for steps, budgets and pauses, and for the
//! tokens that make one happen once. Not responsible for whether one is needed (`supply`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::view::{Standing, View};
use crate::fleet::{Backoff, InstanceId, LaunchToken, Unconfirmed, ZoneId};

const HOUR: Duration = Duration::from_secs(3600);

/// Relays that were launched, or may have been, and that the provider has not listed yet, by zone. They count for as long as
/// a relay may take to be ready; while the list is in doubt, for as long as that.
pub(crate) fn on_their_way<'a>(view: &View<'a>) -> BTreeMap<&'a ZoneId, u32> {
    let history = &view.fleet.history;
    let since = |at| view.now.instant.saturating_since(at);
    let doubt = match &view.fleet.listing {
        listing if listing.fault.is_some() => listing.complete_for.unwrap_or(Duration::MAX),
        _ => Duration::ZERO,
    };
    let patience = view.policy.ready_timeout.max(doubt);
    let mut coming: BTreeMap<&ZoneId, u32> = BTreeMap::new();
    let mut unnamed = Vec::new();
    for launch in &history.launches {
        if since(launch.at) > patience {
            continue;
        }
        let listed = |id: &&InstanceId| view.fleet.relays.contains_key(*id);
        let named = u32::try_from(launch.instances.len()).unwrap_or(u32::MAX);
        let seen = u32::try_from(launch.instances.iter().filter(listed).count()).unwrap_or(0);
        let not_listed = named.min(launch.count).saturating_sub(seen);
        let nameless = launch.count.saturating_sub(named);
        let here = coming.entry(&launch.zone).or_default();
        *here = here.saturating_add(not_listed);
        unnamed.push((&launch.zone, launch.at, nameless));
    }
    for launch in &history.unconfirmed {
        if since(launch.at) <= patience {
            unnamed.push((&launch.zone, launch.at, launch.count));
        }
    }
    // Those whose ids nobody told are matched with relays in their zone that turned up since.
    let mut claimed = Vec::new();
    for (zone, at, count) in unnamed {
        let age = since(at) + Duration::from_secs(5);
        let turned_up = view.relays.iter().filter(|seen| {
            seen.relay.zone == *zone && seen.relay.age <= age && !seen.relay.was_ready
        });
        let mut left = count;
        for seen in turned_up {
            let known = || {
                claimed.contains(&seen.id)
                    || (history.launches.iter()).any(|launch| launch.instances.contains(seen.id))
            };
            if left > 0 && !known() {
                claimed.push(seen.id);
                left -= 1;
            }
        }
        let here = coming.entry(zone).or_default();
        *here = here.saturating_add(left);
    }
    coming.retain(|_, count| *count > 0);
    coming
}

/// How many relays may be launched now, and what bounds it, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) relays: u32,
    pub(crate) bound: &'static str,
}

/// What may be launched besides `count` relays that serve or are on their way. `step`: at once.
pub(crate) fn room(view: &View<'_>, count: u32, step: u32) -> Room {
    let policy = view.policy;
    let group = &view.fleet.group;
    let coming: u32 = on_their_way(view)
        .values()
        .fold(0, |sum, count| sum.saturating_add(*count));
    let living = view.relays.iter().filter(|seen| seen.is_live()).count();
    let living = u32::try_from(living).unwrap_or(u32::MAX);
    let withheld = (view.relays.iter())
        .filter(|seen| seen.standing == Standing::Serving && seen.withheld())
        .count();
    let withheld = u32::try_from(withheld).unwrap_or(u32::MAX);
    let all = living.saturating_add(coming);
    let here = count.saturating_add(withheld);
    let providers = group.max.zip(group.desired);
    let bounds = [
        (policy.max.saturating_sub(here), "the maximum"),
        (
            policy.max.saturating_add(policy.surge).saturating_sub(all),
            "maximum and surge together",
        ),
        (
            providers.map_or(u32::MAX, |(max, desired)| max.saturating_sub(desired)),
            "the provider's maximum",
        ),
        (
            policy
                .launches_per_hour
                .saturating_sub(launched(view, HOUR)),
            "launches in an hour",
        ),
        (
            step.saturating_sub(launched(view, policy.up_period)),
            "one step at a time",
        ),
        (probing(view), "launches that never became ready"),
    ];
    let least = bounds.into_iter().min_by_key(|(relays, _)| *relays);
    least.map_or(
        Room {
            relays: 0,
            bound: "nothing",
        },
        |(relays, bound)| Room { relays, bound },
    )
}

/// Relays that were launched within `time`.
pub(crate) fn launched(view: &View<'_>, time: Duration) -> u32 {
    let history = &view.fleet.history;
    let young = |at| view.now.instant.saturating_since(at) < time;
    let known = history.launches.iter().filter(|launch| young(launch.at));
    let unknown = history.unconfirmed.iter().filter(|it| young(it.at));
    known
        .map(|launch| launch.count)
        .chain(unknown.map(|launch| launch.count))
        .fold(0, u32::saturating_add)
}

/// After too many that never became ready, one at a time is tried until one does.
fn probing(view: &View<'_>) -> u32 {
    let history = &view.fleet.history;
    if history.never_ready < view.policy.breaker_after.max(1) {
        return u32::MAX;
    }
    let waited_for = history.expected.values().filter(|it| !it.failed).count();
    1_u32.saturating_sub(u32::try_from(waited_for).unwrap_or(u32::MAX))
}

/// A pause of the whole fleet's launches.
pub(crate) fn pause<'a>(view: &View<'a>) -> Option<&'a Backoff> {
    let pauses = view.fleet.history.backoff.iter();
    pauses
        .into_iter()
        .find(|it| it.zone.is_none() && runs(view, it))
}

/// A pause of one zone's.
pub(crate) fn pause_in<'a>(view: &View<'a>, zone: &ZoneId) -> Option<&'a Backoff> {
    let mut pauses = view.fleet.history.backoff.iter();
    pauses.find(|it| it.zone.as_ref() == Some(zone) && runs(view, it))
}

fn runs(view: &View<'_>, backoff: &Backoff) -> bool {
    view.now.instant < backoff.until
}

/// Launches without an answer that are due to be asked again: sooner at first, then ever more seldom.
pub(crate) fn due<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Unconfirmed> {
    let now = view.now.instant;
    let patience = view.policy.ready_timeout;
    view.fleet.history.unconfirmed.iter().filter(move |launch| {
        let waited = now.saturating_since(launch.at);
        let pause = 10_u64 << launch.tries.min(6);
        waited <= patience && waited >= Duration::from_secs(pause.saturating_sub(10))
    })
}

/// The token of the `nth` new launch of a round: the same in every round until one was asked for.
pub(crate) fn token(view: &View<'_>, nth: u64) -> Option<LaunchToken> {
    let fleet: String = (view.policy.fleet.chars())
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(24)
        .collect();
    let number = view.fleet.history.next_launch.saturating_add(nth);
    let epoch = view.fleet.leadership.epoch;
    LaunchToken::try_from(format!("{fleet}-{epoch}-{number}")).ok()
}
