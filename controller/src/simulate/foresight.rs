//! Somebody who knows the load of every second to come, and keeps a fleet with that as well as it can be kept.
//!
//! Responsible for the one reference that could be reached: relays boot and drain as they do for everybody, no call is cut and
//! none is moved. It launches so that a relay is ready when it is needed, fills relays up to the policy's fill target and no
//! further, has no headroom, survives no loss, and drains what will not be needed for a while. How long that while is has no
//! best answer for all loads: several are tried and the cheapest counts. Not responsible for the bound that nobody reaches
//! (`clairvoyant`).

use super::host::{Host, Life};
use super::keeper::Keeper;
use super::rivals::{count, grow, present, publish, serving};
use super::world::World;
use crate::fleet::InstanceId;

/// For how long a relay must be needless before it is drained: what is tried, in seconds.
pub(super) const LULLS: [u64; 5] = [150, 450, 900, 1800, 3600];

#[derive(Debug)]
pub(super) struct Foresight<'a> {
    /// Relays that are needed, by second.
    pub(super) needed: &'a [u32],
    /// See [`LULLS`].
    pub(super) lull: u64,
}

impl Foresight<'_> {
    /// The most that is needed from now on, for so many seconds.
    fn most(&self, now: u64, ahead: u64) -> u32 {
        let from = usize::try_from(now).unwrap_or(usize::MAX);
        let many = usize::try_from(ahead).unwrap_or(usize::MAX);
        let coming = self.needed.iter().skip(from).take(many);
        coming.copied().max().unwrap_or(0)
    }
}

impl Keeper for Foresight<'_> {
    fn round(&mut self, world: &mut World<'_>) {
        let (now, least) = (world.now, world.settings.bounds.0);
        end_the_empty(world);
        let boots = world.settings.boot * 6 / 5 + world.settings.interval;
        let soon = self.most(now, boots).max(least);
        let missing = soon.saturating_sub(present(world));
        for id in draining(world)
            .into_iter()
            .rev()
            .take(usize::try_from(missing).unwrap_or(0))
        {
            world.undrain(&id, 0);
        }
        grow(world, soon);
        let long = self.most(now, self.lull.max(boots)).max(least);
        let spare = count(serving(world).count()).saturating_sub(long);
        let mut emptiest: Vec<(u32, InstanceId)> = serving(world)
            .map(|host| (host.live, host.id.clone()))
            .collect();
        emptiest.sort();
        for (_, id) in emptiest
            .into_iter()
            .take(usize::try_from(spare).unwrap_or(0))
        {
            let never = world.wall().plus_secs(86_400);
            world.drain(&id, never, 0);
        }
        publish(world);
    }
}

/// Relays that drain, the one that has begun last at the end.
fn draining(world: &World<'_>) -> Vec<InstanceId> {
    let drains = |host: &&Host| host.life == Life::Runs && host.drain.is_some();
    let mut draining: Vec<(u64, InstanceId)> = world
        .present()
        .filter(drains)
        .map(|host| {
            let started = host
                .drain
                .as_ref()
                .map_or(0, |drain| drain.started.as_secs());
            (started, host.id.clone())
        })
        .collect();
    draining.sort();
    draining.into_iter().map(|(_, id)| id).collect()
}

fn end_the_empty(world: &mut World<'_>) {
    let empty: Vec<InstanceId> = world
        .present()
        .filter(|host| host.life == Life::Runs && host.drain.is_some() && host.live == 0)
        .map(|host| host.id.clone())
        .collect();
    for id in empty {
        // As with all calls of a rival: there is nobody to tell.
        let _ = world.terminate(&id, 0);
    }
}
