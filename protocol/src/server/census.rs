//! How much a server holds, counted as it comes and goes.
//!
//! Whoever asks is answered at once, whatever is held: the worker asks every second, between packets. Responsible for users'
//! allocations and what hangs on them; those of the relay's own self-check are counted apart. Not responsible for ports,
//! which their pools count.

use alloc::collections::BTreeSet;

use super::allocation::Allocation;
use crate::address::Transport;
use crate::forward::AllocationId;
use crate::time::Instant;

/// The count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) synthetic: usize,
    pub(super) by_transport: [usize; Transport::ALL.len()],
    pub(super) permissions: usize,
    pub(super) channels: usize,
    // Users' allocations by age.
    ages: BTreeSet<(Instant, AllocationId)>,
}

impl Census {
    /// An allocation begins, without permissions and channels.
    pub(super) fn begun(&mut self, id: AllocationId, allocation: &Allocation) {
        if allocation.synthetic {
            self.synthetic += 1;
        } else {
            self.by_transport[allocation.client.transport.index()] += 1;
            self.ages.insert((allocation.created, id));
        }
    }

    /// An allocation ends, with what permissions and channels it still has.
    pub(super) fn ended(&mut self, id: AllocationId, allocation: &Allocation) {
        if allocation.synthetic {
            self.synthetic -= 1;
        } else {
            self.by_transport[allocation.client.transport.index()] -= 1;
            self.ages.remove(&(allocation.created, id));
        }
        self.permissions_gone(allocation.synthetic, allocation.permissions.len());
        self.channels_gone(allocation.synthetic, allocation.channels.len());
    }

    /// An allocation has one more permission.
    pub(super) fn permission_added(&mut self, synthetic: bool) {
        self.permissions += usize::from(!synthetic);
    }

    /// An allocation has so many permissions fewer.
    pub(super) fn permissions_gone(&mut self, synthetic: bool, count: usize) {
        self.permissions -= if synthetic { 0 } else { count };
    }

    /// An allocation has one more channel.
    pub(super) fn channel_added(&mut self, synthetic: bool) {
        self.channels += usize::from(!synthetic);
    }

    /// An allocation has so many channels fewer.
    pub(super) fn channels_gone(&mut self, synthetic: bool, count: usize) {
        self.channels -= if synthetic { 0 } else { count };
    }

    /// Users' allocations.
    pub(super) fn allocations(&self) -> usize {
        self.ages.len()
    }

    /// When the oldest of them began.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.ages.first().map(|(created, _)| *created)
    }
}
