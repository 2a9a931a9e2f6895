//! The users that hold something of this worker: how much, and which bandwidth meter their allocations share.
//!
//! Not responsible for how many allocations a user may have, which all workers count together (`quota`), nor for
//! metering, which the forwarding table does.

use alloc::boxed::Box;

use ahash::RandomState;
use hashbrown::HashMap;
use slab::Slab;

use crate::credentials::UserName;
use crate::forward::MeterId;

/// Users by name and by the number of their meter. A user is forgotten when nothing is held any more.
#[derive(Debug)]
pub(super) struct Users {
    by_name: HashMap<Box<[u8]>, MeterId, RandomState>,
    held: Slab<Held>,
}

/// What one user holds.
#[derive(Debug)]
struct Held {
    name: Box<[u8]>,
    /// Allocations and reserved ports.
    allocations: u32,
    /// Ports that the user has used and that nobody may use yet.
    resting: u32,
}

impl Users {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            by_name: HashMap::with_hasher(hasher),
            held: Slab::new(),
        }
    }

    /// The user's meter, for one more allocation or reserved port.
    pub(super) fn take(&mut self, user: &UserName) -> MeterId {
        let name = user.subject();
        let known = self.by_name.get(name).copied();
        let meter = known.unwrap_or_else(|| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "users are bounded by ports, far below 2^32"
            )]
            let meter = MeterId(self.held.vacant_key() as u32);
            self.held.insert(Held {
                name: name.into(),
                allocations: 0,
                resting: 0,
            });
            self.by_name.insert(name.into(), meter);
            meter
        });
        self.change(meter, |held| held.allocations += 1);
        meter
    }

    /// One allocation or reserved port of the user has ended.
    pub(super) fn give_back(&mut self, meter: MeterId) {
        self.change(meter, |held| held.allocations -= 1);
    }

    /// A port of the user rests.
    pub(super) fn rests(&mut self, meter: MeterId) {
        self.change(meter, |held| held.resting += 1);
    }

    /// A port of the user has rested long enough.
    pub(super) fn rested(&mut self, meter: MeterId) {
        self.change(meter, |held| held.resting -= 1);
    }

    /// How many ports of this user rest.
    pub(super) fn resting(&self, user: &UserName) -> u32 {
        self.held_by(user).map_or(0, |held| held.resting)
    }

    fn held_by(&self, user: &UserName) -> Option<&Held> {
        let meter = self.by_name.get(user.subject())?;
        self.held.get(meter.0 as usize)
    }

    /// How many allocations and reserved ports this user holds.
    pub(super) fn holds(&self, user: &UserName) -> u32 {
        self.held_by(user).map_or(0, |held| held.allocations)
    }

    /// How many users there are.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    fn change(&mut self, meter: MeterId, change: impl FnOnce(&mut Held)) {
        let Some(held) = self.held.get_mut(meter.0 as usize) else {
            return;
        };
        change(held);
        if held.allocations == 0
            && held.resting == 0
            && let Some(gone) = self.held.try_remove(meter.0 as usize)
        {
            self.by_name.remove(&gone.name);
        }
    }
}
