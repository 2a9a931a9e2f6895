//! The TCP and TLS connections of one worker.
//!
//! Responsible for finding a connection by its 5-tuple, for which of them have something to send at the end of a round,
//! for which have to be looked at as time passes, and for what they ask of epoll. Not responsible for their bytes
//! (`crate::stream`).

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::io;

use ahash::RandomState;
use slab::Slab;
use taciturn_protocol::address::FiveTuple;
use taciturn_protocol::forward::DropReason;
use taciturn_protocol::time::Instant;

use crate::counters::{Counters, DropSite};
use crate::net::{Epoll, Interest};
use crate::stream::{CloseReason, Connection, Patience, QueueClass, Queued, StreamLimits};

use super::inbox::Seat;

/// One connection.
#[derive(Debug)]
struct Stream {
    connection: Connection,
    interest: Interest,
    dirty: bool,
    /// Whether it is the relay's own self-check's.
    synthetic: bool,
    /// Relayed addresses of its allocation: 0, 1, or 2 of a dual allocation.
    relayed: u8,
    /// When it is looked at next: no later than its deadline, and earlier when that has moved away since.
    look_at: Option<Instant>,
    _seat: Seat,
}

/// All connections of one worker.
#[derive(Debug)]
pub(super) struct Streams {
    slots: Slab<Stream>,
    by_client: HashMap<FiveTuple, usize, RandomState>,
    /// Who was looked up last: a relayed socket's datagrams are for one client, and they are read together.
    last: Option<(FiveTuple, usize)>,
    dirty: Vec<usize>,
    /// [`Stream::look_at`] of all connections.
    looks: BTreeSet<(Instant, usize)>,
    limits: StreamLimits,
    synthetic: usize,
}

impl Stream {
    /// Has the connection looked at no later than its deadline. One that moves away, as it does with every byte, is left
    /// to the look that is due anyway.
    #[inline]
    fn watch(&mut self, slot: usize, looks: &mut BTreeSet<(Instant, usize)>) {
        let Some(deadline) = self.connection.poll_timeout() else {
            return;
        };
        if self.look_at.is_none_or(|at| deadline < at) {
            self.unwatch(slot, looks);
            looks.insert((deadline, slot));
            self.look_at = Some(deadline);
        }
    }

    fn unwatch(&mut self, slot: usize, looks: &mut BTreeSet<(Instant, usize)>) {
        if let Some(at) = self.look_at.take() {
            looks.remove(&(at, slot));
        }
    }
}

impl Streams {
    pub(super) fn new(limits: StreamLimits) -> Self {
        Self {
            slots: Slab::new(),
            by_client: HashMap::with_hasher(keyed()),
            last: None,
            dirty: Vec::new(),
            looks: BTreeSet::new(),
            limits,
            synthetic: 0,
        }
    }

    /// Other limits, for connections to come.
    pub(super) const fn limit(&mut self, limits: StreamLimits) {
        self.limits = limits;
    }

    pub(super) const fn limits(&self) -> StreamLimits {
        self.limits
    }

    /// Users' connections.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.synthetic
    }

    /// Connections of the relay's own self-check.
    pub(super) const fn synthetic(&self) -> usize {
        self.synthetic
    }

    /// Takes a connection up; `token` makes the epoll token of its slot.
    pub(super) fn insert(
        &mut self,
        connection: Connection,
        synthetic: bool,
        seat: Seat,
        epoll: &Epoll,
        token: impl FnOnce(usize) -> u64,
    ) -> io::Result<usize> {
        let entry = self.slots.vacant_entry();
        let slot = entry.key();
        epoll.add(&connection, token(slot), Interest::Read)?;
        self.by_client.insert(connection.five_tuple(), slot);
        self.last = None;
        self.synthetic += usize::from(synthetic);
        let stream = entry.insert(Stream {
            connection,
            interest: Interest::Read,
            dirty: false,
            synthetic,
            relayed: 0,
            look_at: None,
            _seat: seat,
        });
        stream.watch(slot, &mut self.looks);
        Ok(slot)
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots
            .get_mut(slot)
            .map(|stream| &mut stream.connection)
    }

    /// The client has one more relayed address. While it has any, its lifetime counts, not the connection's silence.
    pub(super) fn hold(&mut self, client: &FiveTuple) {
        let Some(stream) = self.stream_of(client) else {
            return;
        };
        stream.relayed = stream.relayed.saturating_add(1);
        if stream.relayed == 1 {
            stream.connection.set_patience(Patience::ALLOCATION);
        }
    }

    /// The client has one relayed address less.
    pub(super) fn let_go(&mut self, client: &FiveTuple) {
        let patience = self.limits.patience();
        let Some(slot) = self.slot_of(client) else {
            return;
        };
        let Some(stream) = self.slots.get_mut(slot) else {
            return;
        };
        stream.relayed = stream.relayed.saturating_sub(1);
        if stream.relayed == 0 {
            stream.connection.set_patience(patience);
            stream.watch(slot, &mut self.looks);
        }
    }

    /// The slot of this client's connection.
    #[inline]
    pub(super) fn slot_of(&mut self, client: &FiveTuple) -> Option<usize> {
        if let Some((last, slot)) = &self.last
            && last == client
        {
            return Some(*slot);
        }
        let slot = *self.by_client.get(client)?;
        self.last = Some((*client, slot));
        Some(slot)
    }

    fn stream_of(&mut self, client: &FiveTuple) -> Option<&mut Stream> {
        let slot = self.slot_of(client)?;
        self.slots.get_mut(slot)
    }

    /// Takes a connection out of all tables, and says whether it was the relay's own self-check's.
    pub(super) fn remove(&mut self, slot: usize, epoll: &Epoll) -> Option<(Connection, bool)> {
        let mut stream = self.slots.try_remove(slot)?;
        stream.unwatch(slot, &mut self.looks);
        self.synthetic -= usize::from(stream.synthetic);
        let client = stream.connection.five_tuple();
        // The name may stand for another connection by now.
        if self.by_client.get(&client) == Some(&slot) {
            self.by_client.remove(&client);
        }
        self.last = None;
        // Closing the descriptor takes it out as well; this only spares the events until then.
        let _ = epoll.delete(&stream.connection);
        Some((stream.connection, stream.synthetic))
    }

    /// Ends every connection, so that its client is told and need not wait for an answer.
    pub(super) fn close_all(&mut self, now: Instant) {
        self.by_client.clear();
        self.looks.clear();
        self.last = None;
        for stream in self.slots.drain() {
            stream.connection.close(now);
        }
    }

    /// Queues one frame for a client. What the queue drops is counted when it is flushed.
    pub(super) fn queue(
        &mut self,
        now: Instant,
        client: &FiveTuple,
        class: QueueClass,
        parts: &[&[u8]],
    ) -> Result<(), DropReason> {
        let slot = self.slot_of(client).ok_or(DropReason::ConnectionGone)?;
        let stream = self.slots.get_mut(slot).ok_or(DropReason::ConnectionGone)?;
        if !stream.dirty {
            stream.dirty = true;
            self.dirty.push(slot);
        }
        match stream.connection.queue(now, class, parts) {
            Queued::Accepted | Queued::Dropped => Ok(()),
            Queued::Closing => Err(DropReason::ConnectionGone),
        }
    }

    /// Has the connection flushed at the end of the round when reading has left it something to send: TLS answers key
    /// updates by itself. A frame that has begun has a deadline.
    pub(super) fn after_reading(&mut self, slot: usize) {
        let Some(stream) = self.slots.get_mut(slot) else {
            return;
        };
        if !stream.dirty && stream.connection.wants_write() {
            stream.dirty = true;
            self.dirty.push(slot);
        }
        stream.watch(slot, &mut self.looks);
    }

    /// The next connection that something was queued for since it was last flushed.
    pub(super) fn next_dirty(&mut self) -> Option<usize> {
        let slot = self.dirty.pop()?;
        if let Some(stream) = self.slots.get_mut(slot) {
            stream.dirty = false;
        }
        Some(slot)
    }

    /// Sends what is queued, and asks epoll for what is left.
    pub(super) fn flush(
        &mut self,
        now: Instant,
        slot: usize,
        epoll: &Epoll,
        token: u64,
        counters: &Counters,
    ) -> Result<(), CloseReason> {
        let Some(stream) = self.slots.get_mut(slot) else {
            return Ok(());
        };
        let sent = stream.connection.flush(now);
        let dropped = stream.connection.take_dropped();
        let waits = stream.connection.take_waits();
        if !stream.synthetic {
            counters.waited(&waits);
        }
        if !dropped.is_empty() {
            let site = DropSite::to_client(&stream.connection.five_tuple());
            let (frames, bytes) = (dropped.overflow_frames, dropped.overflow_bytes);
            counters.dropped_many(DropReason::QueueFull, site, frames, bytes);
            let (frames, bytes) = (dropped.aged_frames, dropped.aged_bytes);
            counters.dropped_many(DropReason::QueueAge, site, frames, bytes);
        }
        sent?;
        stream.watch(slot, &mut self.looks);
        let interest = if stream.connection.wants_write() {
            Interest::ReadWrite
        } else {
            Interest::Read
        };
        if interest != stream.interest {
            epoll
                .modify(&stream.connection, token, interest)
                .map_err(|_| CloseReason::Reset)?;
            stream.interest = interest;
        }
        Ok(())
    }

    /// Puts the connections whose deadline has come into `due`. They are not looked at again until
    /// [`Streams::look_again`]. However many connections there are, only those are visited for which a look was due: each
    /// busy one every few seconds, each idle one when its patience ends.
    pub(super) fn expired(&mut self, now: Instant, due: &mut Vec<usize>) {
        while let Some((at, slot)) = self.looks.first().copied()
            && at <= now
        {
            self.looks.pop_first();
            let Some(stream) = self.slots.get_mut(slot) else {
                continue;
            };
            stream.look_at = None;
            match stream.connection.poll_timeout() {
                Some(deadline) if deadline <= now => due.push(slot),
                _ => stream.watch(slot, &mut self.looks),
            }
        }
    }

    /// How many connections are waited for.
    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.looks.len()
    }

    /// The connection has been looked at, and stays.
    pub(super) fn look_again(&mut self, slot: usize) {
        if let Some(stream) = self.slots.get_mut(slot) {
            stream.watch(slot, &mut self.looks);
        }
    }
}

/// A hasher with a key of its own: clients choose their addresses and ports. The standard library's keys are from the
/// system's randomness.
fn keyed() -> RandomState {
    let key = std::hash::RandomState::new();
    let seed = |part: u8| key.hash_one(part);
    RandomState::with_seeds(seed(0), seed(1), seed(2), seed(3))
}
