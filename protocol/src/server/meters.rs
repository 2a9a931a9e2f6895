//! Which bandwidth meter a user's allocations share.
//!
//! Not responsible for metering, which the forwarding table does.

use alloc::boxed::Box;

use ahash::RandomState;
use hashbrown::HashMap;
use slab::Slab;

use super::quota::subject;
use crate::credentials::UserName;
use crate::forward::MeterId;

/// The users that hold allocations, each with its meter.
#[derive(Debug)]
pub(super) struct Meters {
    by_user: HashMap<Box<[u8]>, Shared, RandomState>,
    numbers: Slab<()>,
}

#[derive(Debug)]
struct Shared {
    meter: MeterId,
    allocations: u32,
}

impl Meters {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            by_user: HashMap::with_hasher(hasher),
            numbers: Slab::new(),
        }
    }

    /// The user's meter, for one more allocation.
    pub(super) fn take(&mut self, user: &UserName) -> MeterId {
        let key = subject(user.as_bytes());
        if let Some(shared) = self.by_user.get_mut(key) {
            shared.allocations += 1;
            return shared.meter;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "allocations are bounded by ports, far below 2^32"
        )]
        let meter = MeterId(self.numbers.insert(()) as u32);
        self.by_user.insert(
            key.into(),
            Shared {
                meter,
                allocations: 1,
            },
        );
        meter
    }

    /// One allocation of the user has ended.
    pub(super) fn give_back(&mut self, user: &UserName) {
        let key = subject(user.as_bytes());
        let Some(shared) = self.by_user.get_mut(key) else {
            return;
        };
        shared.allocations -= 1;
        if shared.allocations == 0 {
            self.numbers.try_remove(shared.meter.0 as usize);
            self.by_user.remove(key);
        }
    }

    /// How many users there are.
    pub(super) fn len(&self) -> usize {
        self.by_user.len()
    }
}
