//! What the policy is compared with: target tracking, a ratio with a window, and a fixed number of relays.
//!
//! Responsible for those algorithms as their users know them, in the same world and with better eyes than any of them has:
//! they see every relay's load at once and never stale. Not responsible for our own (`keeper`).

use std::collections::{BTreeMap, VecDeque};

use super::chance::whole;
use super::host::{Host, Life};
use super::keeper::Keeper;
use super::world::World;
use crate::fleet::{InstanceId, ZoneId};

/// How full they want relays to be, as a share of all that a relay can carry.
pub(super) const TARGET: f64 = 0.6;

/// Target tracking of an Auto Scaling group: out after three minutes above the target, in after fifteen minutes below nine
/// tenths of it, and the oldest instances are ended with what is on them.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    /// The mean utilisation of each of the last minutes.
    minutes: VecDeque<f64>,
    next: u64,
}

/// The ratio of a horizontal pod autoscaler: the count times utilisation over target, with a tolerance of a tenth, down by the
/// greatest recommendation of 300 s; what is taken away drains for 90 minutes at most, as a termination grace period.
#[derive(Debug, Default)]
pub(super) struct Ratio {
    recommended: VecDeque<(u64, u32)>,
    /// When what drains is ended at the latest.
    ends: BTreeMap<InstanceId, u64>,
}

/// As many relays as the peak needs, always.
#[derive(Debug)]
pub(super) struct Fixed;

/// For so many minutes in a row.
const MINUTES_OUT: usize = 3;
const MINUTES_IN: usize = 15;
const WINDOW: u64 = 300;
const TOLERANCE: f64 = 0.1;
const GRACE: u64 = 90 * 60;

impl Keeper for Tracking {
    fn round(&mut self, world: &mut World<'_>) {
        publish(world);
        if world.now < self.next {
            return;
        }
        self.next = world.now + 60;
        let serving: Vec<(InstanceId, f64)> = serving(world)
            .map(|host| (host.id.clone(), filled(host)))
            .collect();
        let all: f64 = serving.iter().map(|(_, filled)| filled).sum();
        let mean = all / serving.len().max(1) as f64;
        self.minutes.push_front(mean);
        self.minutes.truncate(MINUTES_IN);
        let wanted = whole((serving.len() as f64 * mean / TARGET).ceil());
        let booting = present(world) - count(serving.len());
        let held = |minutes: usize, holds: &dyn Fn(f64) -> bool| {
            self.minutes.len() >= minutes && self.minutes.iter().take(minutes).all(|m| holds(*m))
        };
        if held(MINUTES_OUT, &|mean| mean > TARGET) {
            grow(world, wanted);
        } else if held(MINUTES_IN, &|mean| mean < 0.9 * TARGET) && booting == 0 {
            let fewer = count(serving.len()).saturating_sub(wanted.max(world.settings.bounds.0));
            for (id, _) in serving.iter().take(usize::try_from(fewer).unwrap_or(0)) {
                world.kill(id);
            }
            self.minutes.clear();
        }
    }
}

impl Keeper for Ratio {
    fn round(&mut self, world: &mut World<'_>) {
        let now = world.now;
        self.end_what_is_over(world);
        publish(world);
        let filled: Vec<f64> = serving(world).map(filled).collect();
        let booting = present(world) - count(filled.len());
        let all: f64 = filled.iter().sum();
        let ratio = all / filled.len().max(1) as f64 / TARGET;
        let here = count(filled.len()) + booting;
        let wanted = if (ratio - 1.0).abs() <= TOLERANCE {
            here
        } else if ratio > 1.0 {
            // Those that boot count as idle when it grows, so that it does not grow twice for the same load.
            whole((all / TARGET).ceil()).max(here)
        } else {
            whole((all / TARGET).ceil())
        };
        self.recommended.push_back((now, wanted));
        while self
            .recommended
            .front()
            .is_some_and(|(at, _)| at + WINDOW < now)
        {
            self.recommended.pop_front();
        }
        let held = self
            .recommended
            .iter()
            .map(|(_, wanted)| *wanted)
            .max()
            .unwrap_or(wanted);
        let held = held.max(world.settings.bounds.0);
        if wanted > here {
            grow(world, wanted);
        } else if held < here {
            self.shrink(world, here - held);
        }
    }
}

impl Ratio {
    /// The newest go first; those that boot before those that serve.
    fn shrink(&mut self, world: &mut World<'_>, fewer: u32) {
        let mut candidates: Vec<(u64, InstanceId, bool)> = world
            .present()
            .filter(|host| host.life == Life::Runs && host.drain.is_none())
            .map(|host| (host.launched, host.id.clone(), host.is_up(world.now)))
            .collect();
        candidates.sort();
        for (_, id, up) in candidates
            .into_iter()
            .rev()
            .take(usize::try_from(fewer).unwrap_or(0))
        {
            if up {
                let deadline = world.wall().plus_secs(GRACE);
                world.drain(&id, deadline, 0);
                self.ends.insert(id, world.now + GRACE);
            } else {
                world.kill(&id);
            }
        }
        publish(world);
    }

    fn end_what_is_over(&mut self, world: &mut World<'_>) {
        let now = world.now;
        let over: Vec<InstanceId> = self
            .ends
            .iter()
            .filter(|(id, at)| **at <= now || world.host(id).is_none_or(|host| host.live == 0))
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            self.ends.remove(&id);
            // As with all calls of a rival: there is nobody to tell.
            let _ = world.terminate(&id, 0);
        }
    }
}

impl Keeper for Fixed {
    fn round(&mut self, world: &mut World<'_>) {
        publish(world);
    }
}

pub(super) fn serving<'w>(world: &'w World<'_>) -> impl Iterator<Item = &'w Host> {
    world
        .present()
        .filter(|host| host.is_up(world.now) && host.drain.is_none())
}

/// Instances that serve or boot.
pub(super) fn present(world: &World<'_>) -> u32 {
    let stays = |host: &&Host| host.life == Life::Runs && host.drain.is_none();
    count(world.present().filter(stays).count())
}

fn filled(host: &Host) -> f64 {
    f64::from(host.live) / f64::from(host.room.max(1))
}

pub(super) fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// Launches up to `wanted` and the maximum, into the zones with the fewest.
pub(super) fn grow(world: &mut World<'_>, wanted: u32) {
    let missing = wanted
        .min(world.settings.bounds.1)
        .saturating_sub(present(world));
    for _ in 0..missing {
        let there = |zone: &ZoneId| world.present().filter(|host| host.zone == *zone).count();
        let zone = world
            .settings
            .zones
            .iter()
            .min_by_key(|zone| there(zone))
            .cloned();
        if let Some(zone) = zone {
            world.launch_without_token(&zone, 1);
        }
    }
}

pub(super) fn publish(world: &mut World<'_>) {
    let ids: Vec<InstanceId> = serving(world).map(|host| host.id.clone()).collect();
    world.publish(&ids);
}
