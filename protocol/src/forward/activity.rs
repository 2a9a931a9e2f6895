//! Which allocations are in use, seen from what they carry.
//!
//! A held allocation that carries nothing is a call that has found a direct path, or one that is ringing. Not
//! responsible for how often anybody looks.

use super::{AllocationId, RouteTable};

/// Allocations by whether they carried a payload between two sweeps. Without those of the relay's own self-check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Carried at least one payload, in whichever direction.
    pub active: usize,
    /// Carried none.
    pub idle: usize,
}

impl RouteTable {
    /// Says how many allocations have carried a payload since the last sweep, and begins the next.
    pub fn sweep_activity(&mut self) -> Activity {
        self.sweep_activity_of(0, 1)
    }

    /// The same for one of so many equal parts of the allocations, for whoever must not pause for all of them at once.
    pub fn sweep_activity_of(&mut self, part: usize, parts: usize) -> Activity {
        let mut activity = Activity::default();
        let swept = self.allocations.iter_mut().skip(part).step_by(parts.max(1));
        for routes in swept.flatten() {
            let carried = routes.traffic.packets();
            let is_active = carried != routes.swept;
            routes.swept = carried;
            routes.was_active = is_active;
            match (routes.account.synthetic, is_active) {
                (true, _) => {}
                (false, true) => activity.active += 1,
                (false, false) => activity.idle += 1,
            }
        }
        activity
    }

    /// Whether an allocation has carried a payload since the sweep before the last. `false` when there is none.
    pub fn is_active(&self, allocation: AllocationId) -> bool {
        let routes = self.allocations.get(allocation.0 as usize);
        routes.and_then(Option::as_ref).is_some_and(|routes| {
            let carried = routes.traffic.packets();
            routes.was_active || carried != routes.swept
        })
    }
}
