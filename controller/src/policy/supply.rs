//! More relays: those back that were to go, and then new ones.
//!
//! Scaling rules, decision: un-drain before launch, the newest drains and the zones with the fewest first; then launch
//! where the fewest are, by steps. Not responsible for how many are needed (`need`) nor for what bounds launches
//! (`launches`).

use std::collections::BTreeMap;

use super::brakes::Launches;
use super::draft::Draft;
use super::launches;
use super::plan::{Act, AlarmKind, Need, Reason};
use super::rounding::{enough, filled, within};
use super::unfinished::is_a_controllers;
use super::upkeep::upkeep;
use super::view::{Seen, Standing, View};
use crate::fleet::{Lifecycle, ZoneId};

pub(crate) fn supply(draft: &mut Draft<'_>) {
    if !draft.brakes.acts {
        return;
    }
    ask_again(draft);
    if draft.reckoning.missing() == 0 {
        return upkeep(draft);
    }
    let mut gained = 0.0;
    let mut back = 0;
    for restored in back_in_order(&draft.view) {
        if still_missing(draft, gained, back) == 0 {
            return;
        }
        gained += restored.units;
        back += 1;
        let relay = restored.relay.id.clone();
        let (act, what) = if restored.standing == Standing::Draining {
            (Act::Undrain { relay }, "it takes new calls again")
        } else {
            (Act::Restore { relay }, "it was not drained yet")
        };
        let words = format!("{}: {what}", why(draft));
        draft.act(act, draft.reckoning.reason, words);
    }
    let missing = still_missing(draft, gained, back);
    if missing > 0 {
        let (reason, why) = (draft.reckoning.reason, why(draft));
        launch(draft, missing, back, reason, &why);
    }
}

/// Launches without an answer, by their own tokens: what happened already does not happen again.
fn ask_again(draft: &mut Draft<'_>) {
    let view = &draft.view;
    let asks = draft.brakes.launches != Launches::None && obstacle(view).is_none();
    let due: Vec<_> = launches::due(view)
        .filter(|launch| asks && view.zones.contains(&&launch.zone))
        .cloned()
        .collect();
    for launch in due {
        let without = draft.reckoning.need.have.saturating_sub(launch.count);
        if without >= draft.reckoning.need.need {
            continue;
        }
        let words = format!(
            "{}: {} in {}, asked again with the same token as no answer came",
            why(draft),
            launch.count,
            launch.zone
        );
        let act = Act::Launch {
            zone: launch.zone,
            count: launch.count,
            token: launch.token,
        };
        draft.act(act, Reason::Unfinished, words);
    }
}

struct Back<'a> {
    relay: &'a crate::fleet::Relay,
    standing: Standing,
    units: f64,
}

/// Relays that can be had back at once: first those that have not been told yet, then by zone and by how late their drain
/// began.
fn back_in_order<'a>(view: &View<'a>) -> Vec<Back<'a>> {
    let mut serving: BTreeMap<&ZoneId, u32> = BTreeMap::new();
    for seen in view.relays.iter().filter(|seen| seen.is_capacity()) {
        *serving.entry(&seen.relay.zone).or_default() += 1;
    }
    let mut back: Vec<&Seen<'a>> = view
        .relays
        .iter()
        .filter(|seen| is_withheld_only(seen) || may_undrain(view, seen))
        .collect();
    back.sort_by_key(|seen| {
        let started = seen.drain().map(|drain| drain.started.as_secs());
        (
            seen.standing == Standing::Draining,
            serving.get(&seen.relay.zone).copied().unwrap_or(0),
            std::cmp::Reverse(started),
            seen.id,
        )
    });
    back.into_iter()
        .map(|seen| Back {
            relay: seen.relay,
            standing: seen.standing,
            units: seen.units,
        })
        .collect()
}

fn is_withheld_only(seen: &Seen<'_>) -> bool {
    seen.standing == Standing::Serving && seen.withheld() && !seen.relay.cordoned && !seen.offshore
}

/// Only a drain that a controller ordered, of a relay that is as good as a new one.
fn may_undrain(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let group = &view.fleet.group;
    let retired = is_retired(group.image.as_deref(), &seen.relay.image);
    let ordered = seen.drain().is_some_and(|drain| {
        is_a_controllers(drain)
            && drain.epoch <= view.fleet.leadership.epoch
            && drain.deadline > view.now.unix
    });
    seen.standing == Standing::Draining
        && seen.relay.lifecycle == Lifecycle::InService
        && seen.fresh
        && ordered
        && !retired
        && !seen.offshore
        && !seen.relay.cordoned
        && seen.ailing_for.is_none()
        // One that does not take its drain back is no reason to launch fewer.
        && !view.fleet.history.refused.contains_key(seen.id)
}

/// Whether an image is known not to be the current one.
pub(crate) fn is_retired(current: Option<&str>, image: &str) -> bool {
    let current = current.unwrap_or_default();
    !current.is_empty() && !image.is_empty() && current != image
}

fn still_missing(draft: &Draft<'_>, gained: f64, back: u32) -> u32 {
    let reckoning = &draft.reckoning;
    let by_units = reckoning
        .need
        .need
        .saturating_sub(filled(reckoning.units + gained));
    let by_count = (reckoning.need.minimum).saturating_sub(reckoning.count.saturating_add(back));
    by_units.max(by_count)
}

/// Launches `missing` relays, or as many of them as may be launched now. `back`: relays that this round brings back.
fn launch(draft: &mut Draft<'_>, missing: u32, back: u32, reason: Reason, why: &str) {
    let Some(relays) = allowed(draft, missing, back, why) else {
        return;
    };
    let placed = place(draft, relays);
    order(draft, placed, reason, why);
}

/// One more in this very zone, if it may be launched now.
pub(crate) fn launch_in(draft: &mut Draft<'_>, zone: &ZoneId, reason: Reason, why: &str) {
    let view = &draft.view;
    let open = view.zones.contains(&zone) && launches::pause_in(view, zone).is_none();
    if !open || allowed(draft, 1, 0, why) != Some(1) {
        return;
    }
    let here = draft.reckoning.need.by_zone.get(zone).copied().unwrap_or(0);
    order(draft, vec![(zone.clone(), 1, here)], reason, why);
}

/// One more where the fewest are, if it may be launched now.
pub(crate) fn launch_one(draft: &mut Draft<'_>, reason: Reason, why: &str) {
    launch(draft, 1, 0, reason, why);
}

/// How many of those that are missing may be launched now. What stands against it is said.
fn allowed(draft: &mut Draft<'_>, missing: u32, back: u32, why: &str) -> Option<u32> {
    let capped = match draft.brakes.launches {
        Launches::None => {
            let words = format!("{why}, and nothing is launched while nobody knows what there is");
            draft.alarm(AlarmKind::CannotLaunch, None, words);
            return None;
        }
        Launches::Capped => true,
        Launches::Free => false,
    };
    if let Some(obstacle) = obstacle(&draft.view) {
        let words = format!("{why}, and {obstacle}");
        draft.alarm(AlarmKind::CannotLaunch, None, words);
        return None;
    }
    let policy = draft.view.policy;
    let share = within(policy.up_share, 0.0, 10.0) * f64::from(draft.reckoning.count);
    let step = match capped {
        true => policy.up_step.max(1),
        false => policy.up_step.max(enough(share)).max(1),
    };
    let count = draft.reckoning.count.saturating_add(back);
    let room = launches::room(&draft.view, count, step);
    let relays = missing.min(room.relays);
    if relays == 0 && room.bound != "one step at a time" {
        let words = format!("{why}, and {} allows no more", room.bound);
        draft.alarm(AlarmKind::CannotLaunch, None, words);
    }
    Some(relays)
}

fn order(draft: &mut Draft<'_>, placed: Vec<(ZoneId, u32, u32)>, reason: Reason, why: &str) {
    for (nth, (zone, count, here)) in (0_u64..).zip(placed) {
        let Some(token) = launches::token(&draft.view, nth) else {
            continue;
        };
        let words = format!("{why}: {count} in {zone}, which has {here}");
        let act = Act::Launch { zone, count, token };
        draft.act(act, reason, words);
    }
}

/// Why nothing at all can be launched.
fn obstacle(view: &View<'_>) -> Option<String> {
    let group = &view.fleet.group;
    if group.fixed {
        Some("this provider launches nothing: add relays by hand".to_owned())
    } else if group.launch_suspended {
        Some("launching is suspended at the provider: resume it there".to_owned())
    } else if view.zones.is_empty() {
        Some("the group has no zone that is allowed: give it subnets in one".to_owned())
    } else if let Some(pause) = launches::pause(view) {
        let left = pause.until.saturating_since(view.now.instant).as_secs();
        Some(format!(
            "launching pauses for another {left} s after {} failures: {}",
            pause.failures, pause.what
        ))
    } else if view
        .zones
        .iter()
        .all(|zone| launches::pause_in(view, zone).is_some())
    {
        let what = view
            .zones
            .first()
            .and_then(|zone| launches::pause_in(view, zone));
        let what = what.map_or("", |pause| pause.what.as_str());
        Some(format!("every zone pauses after failed launches: {what}"))
    } else {
        None
    }
}

/// One by one into the zone that has the fewest: zone, how many, how many were there.
fn place(draft: &Draft<'_>, relays: u32) -> Vec<(ZoneId, u32, u32)> {
    let view = &draft.view;
    let coming = launches::on_their_way(view);
    let mut zones: Vec<(&ZoneId, u32, u32)> = (view.zones.iter())
        .filter(|zone| launches::pause_in(view, zone).is_none())
        .map(|zone| {
            let here = view
                .relays
                .iter()
                .filter(|seen| seen.relay.zone == **zone && stays(seen));
            let here = u32::try_from(here.count()).unwrap_or(u32::MAX);
            let coming = coming.get(*zone).copied().unwrap_or(0);
            (*zone, 0, here.saturating_add(coming))
        })
        .collect();
    // A fleet is of hundreds of relays at most: what is more than that comes in the next round.
    for _ in 0..relays.min(1000) {
        let fewest = zones
            .iter_mut()
            .min_by_key(|(_, added, here)| here.saturating_add(*added));
        if let Some((_, added, _)) = fewest {
            *added += 1;
        }
    }
    zones
        .into_iter()
        .filter(|(_, added, _)| *added > 0)
        .map(|(zone, added, here)| (zone.clone(), added, here))
        .collect()
}

/// A silent relay is still in its zone: if the zone is lost, the next one had better be elsewhere.
fn stays(seen: &Seen<'_>) -> bool {
    let leaves = matches!(seen.standing, Standing::Draining | Standing::Ending);
    seen.is_live() && !leaves && !seen.relay.cordoned
}

/// "5 relays are needed (load: bits with 25 % headroom), 3 serve or are on their way".
pub(crate) fn why(draft: &Draft<'_>) -> String {
    let reckoning = &draft.reckoning;
    let Need { need, have, .. } = reckoning.need;
    let what = match (reckoning.reason, reckoning.need.dimension) {
        (Reason::Load, Some(dimension)) => format!("load, {dimension} above all"),
        (Reason::ZoneLoss, _) => "to survive the loss of a zone".to_owned(),
        (Reason::Schedule, _) => "by the schedule".to_owned(),
        (Reason::Forecast, _) => "by the season".to_owned(),
        (reason, _) => reason.as_str().to_owned(),
    };
    format!("{need} relays are needed ({what}), {have} serve or are on their way")
}
