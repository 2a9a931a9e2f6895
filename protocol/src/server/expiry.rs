//! Deadlines: what ends when.
//!
//! One ordered set with one entry for each thing that can expire, so that the next deadline is known at once and a
//! refreshed deadline leaves nothing behind. Not responsible for what happens when a deadline passes.

use alloc::collections::BTreeSet;
use core::net::IpAddr;

use crate::address::{ChannelNumber, Family};
use crate::forward::{AllocationId, MeterId, RelayedId};
use crate::time::Instant;

/// A thing that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expiring {
    /// One relayed address of an allocation, and the allocation with its last (RFC 8656 §7.2).
    Relayed(AllocationId, Family),
    /// A permission (RFC 8656 §9).
    Permission(AllocationId, IpAddr),
    /// A channel binding (RFC 8656 §12).
    Channel(AllocationId, ChannelNumber),
    /// A reserved port that nobody came for (RFC 8656 §7.2).
    Reservation([u8; 8]),
    /// A claim for another worker's reserved port that has not been answered.
    Claim(RelayedId),
    /// A freed port that may be given out again: index of the relayed address, port, and the user that used it.
    Quarantine(u8, u16, Option<MeterId>),
}

/// All deadlines of one server.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Instant, Expiring)>);

impl Deadlines {
    /// Sets a deadline that was not set.
    pub(super) fn set(&mut self, at: Instant, what: Expiring) {
        self.0.insert((at, what));
    }

    /// Moves a deadline.
    pub(super) fn change(&mut self, from: Instant, to: Instant, what: Expiring) {
        if from != to {
            self.0.remove(&(from, what));
        }
        self.0.insert((to, what));
    }

    /// Takes a deadline away.
    pub(super) fn stop(&mut self, at: Instant, what: Expiring) {
        self.0.remove(&(at, what));
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|&(at, _)| at)
    }

    /// Takes the earliest thing whose deadline has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Expiring> {
        let &(at, what) = self.0.first()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some(what)
    }

    /// How many deadlines are set.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
