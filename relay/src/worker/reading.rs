//! What a worker reads in one round, and how much of it.
//!
//! Responsible for bounds and turns: whatever comes in floods, from clients or from peers, the rest is still served within
//! milliseconds. Not responsible for what is done with a packet (`switch`).
//!
//! Requests are read first, then the other datagrams of clients, and both again whenever a batch of peers' datagrams has
//! been worked off: a flood from peers cannot keep Allocate, Refresh or a client's media waiting for longer than one batch.
//! Of requests only so many are read before it is the media's turn, as they cost more, and as anybody can send them. What is
//! left is for those who crowd others out (`crowd`).

use std::io;
use std::ops::Range;

use taciturn_protocol::address::Transport;
use taciturn_protocol::forward::RelayedId;
use taciturn_protocol::time::Now;

use crate::counters::Leg;
use crate::stream::CloseReason;

use super::Worker;
use super::sockets::UdpListener;

/// Datagrams from peers, and ICMP errors about those sent to them, that one round takes, give or take what one read brings.
const RELAYED_PER_ROUND: usize = 1024;
/// Frames from streams likewise. What a read has brought is always finished: of TLS, epoll would not tell again.
const FRAMES_PER_ROUND: usize = 1024;
/// Transmits, and bytes copied into them, that are gathered from streams before they are sent.
const GATHERED: usize = 1024;
const GATHERED_BYTES: usize = 1024 * 1024;
/// A batch with less room than this is worked off first, unless the next socket asks for even less.
const ROOM: usize = 32;
/// So many datagrams of one read are a sign that more wait, in however few trains they came.
const MANY: usize = 64;

/// Whose turn it is first, when a round may end before all had theirs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns(usize);

impl Turns {
    /// Where to begin among `ready`, which come in the same order from round to round.
    pub(super) fn first(self, ready: usize) -> usize {
        self.0.checked_rem(ready).unwrap_or(0)
    }

    /// The round ended before the one at `position`, or served all.
    fn ended(&mut self, before: Option<usize>) {
        self.0 = before.unwrap_or(0);
    }
}

impl Worker {
    // ---- the hot path begins ----

    pub(super) fn read_ready_listeners(&mut self, now: Now) {
        if self.ready.more {
            self.read_listeners(now);
            for index in 0..self.switch.sockets.listeners().len() {
                self.read_crowd(now, index);
            }
            return;
        }
        for position in 0..self.ready.requests.len() {
            self.read_requests(now, self.ready.requests[position]);
        }
        for position in 0..self.ready.listeners.len() {
            self.read_listener(now, self.ready.listeners[position]);
        }
        for position in 0..self.ready.crowds.len() {
            self.read_crowd(now, self.ready.crowds[position]);
        }
    }

    fn read_listeners(&mut self, now: Now) {
        let listeners = self.switch.sockets.listeners().len();
        for index in 0..listeners {
            self.read_requests(now, index);
        }
        for index in 0..listeners {
            self.read_listener(now, index);
        }
    }

    fn read_requests(&mut self, now: Now, index: usize) {
        self.make_room();
        let listener = self.switch.sockets.listeners().get(index);
        let Some((limit, control)) = listener.and_then(UdpListener::requests) else {
            return;
        };
        let filled = control.receive(&mut self.batch, limit);
        let trains = filled.as_ref().map_or(0, Range::len);
        let requests = self.work_off(now, index, filled);
        self.switch.sockets.learn_requests(index, trains, requests);
    }

    fn read_listener(&mut self, now: Now, index: usize) {
        self.make_room();
        let Some(listener) = self.switch.sockets.listeners().get(index) else {
            return;
        };
        let room = self.batch.room();
        let limit = listener.appetite.limit().min(room);
        let filled = listener.sockets.data.receive(&mut self.batch, limit);
        let (first, count) = filled
            .as_ref()
            .map_or((0, 0), |filled| (filled.start, filled.len()));
        let datagrams = self.work_off(now, index, filled);
        self.switch
            .sockets
            .learn_media(index, self.rounds, limit, count);
        if count == room || datagrams >= MANY {
            self.look_for_crowders(now, index, first..first + count);
        }
    }

    /// What was read before must not leave a listener's turn with room for next to nothing.
    pub(super) fn make_room(&mut self) {
        if self.batch.room() < ROOM {
            self.flush();
        }
    }

    /// Returns how many datagrams there were. An error of a listener is a passing one (a full buffer, an ICMP message): it
    /// never closes the socket.
    pub(super) fn work_off(
        &mut self,
        now: Now,
        index: usize,
        filled: io::Result<Range<usize>>,
    ) -> usize {
        let Ok(filled) = filled else {
            self.switch.counters.receive_failures.add(1);
            return 0;
        };
        let (count, mut datagrams, mut bytes) = (filled.len(), 0, 0);
        for datagram in self.batch.datagrams(filled) {
            bytes += datagram.bytes.len();
            self.switch.listener_datagram(now, index, &datagram);
            datagrams += 1;
        }
        let leg = Leg::Client(Transport::Udp);
        self.switch.counters.read(leg, count, bytes);
        self.came += datagrams;
        datagrams
    }

    pub(super) fn read_relayed(&mut self, now: Now) {
        let ready = self.ready.relayed.len();
        let first = self.first_relayed.first(ready);
        let mut left = RELAYED_PER_ROUND;
        for turn in first..first + ready {
            if left == 0 {
                return self.first_relayed.ended(Some(turn));
            }
            let (slot, error) = self.ready.relayed[turn % ready];
            if error {
                left = left.saturating_sub(self.switch.relayed_errors(now, slot));
            }
            let Some((id, filled)) = self.receive_relayed(now, slot) else {
                left = left.saturating_sub(1);
                continue;
            };
            let (count, mut datagrams, mut bytes) = (filled.len(), 0, 0);
            for datagram in self.batch.datagrams(filled) {
                bytes += datagram.bytes.len();
                self.switch.relayed_datagram(now, id, &datagram);
                datagrams += 1;
            }
            self.switch.counters.read(Leg::Peer, count, bytes);
            left = left.saturating_sub(datagrams.max(1));
            self.came += datagrams;
        }
        self.first_relayed.ended(None);
    }

    fn receive_relayed(&mut self, now: Now, slot: usize) -> Option<(RelayedId, Range<usize>)> {
        let limit = self.switch.sockets.serving_in(slot)?.appetite.limit();
        if self.batch.room() < limit.min(ROOM) {
            self.flush();
            self.read_listeners(now);
            if self.batch.room() == 0 {
                self.flush();
            }
        }
        // A client's Refresh may just have ended the allocation.
        let relayed = self.switch.sockets.serving_in(slot)?;
        let limit = limit.min(self.batch.room());
        // What ICMP left behind is read as an error here, once; the datagrams behind it are read in the next round.
        let Ok(filled) = relayed.socket.receive(&mut self.batch, limit) else {
            self.switch.counters.receive_failures.add(1);
            return None;
        };
        relayed.appetite.learn_of(self.rounds, limit, filled.len());
        Some((relayed.id, filled))
    }

    pub(super) fn flush(&mut self) {
        self.switch.flush(&self.batch);
        self.batch.clear();
    }

    // ---- the hot path ends ----

    pub(super) fn serve_streams(&mut self, now: Now) {
        let ready = self.ready.streams.len();
        let first = self.first_stream.first(ready);
        let mut left = FRAMES_PER_ROUND;
        let mut unread = None;
        for turn in first..first + ready {
            let (slot, readable, writable) = self.ready.streams[turn % ready];
            if readable && left == 0 {
                unread = unread.or(Some(turn));
            } else if readable {
                match self.read_stream(now, slot) {
                    Ok(frames) => left = left.saturating_sub(frames.max(1)),
                    Err(reason) => self.close_stream(now, slot, reason),
                }
            }
            if writable {
                self.flush_stream(now, slot);
            }
        }
        self.first_stream.ended(unread);
    }

    /// Reads a stream once. Returns how many frames came.
    pub(super) fn read_stream(&mut self, now: Now, slot: usize) -> Result<usize, CloseReason> {
        let Some(connection) = self.switch.streams.get_mut(slot) else {
            return Ok(0);
        };
        let from = connection.five_tuple();
        let mut frames = connection.receive(now.instant, &mut self.scratch)?;
        let (mut count, mut bytes) = (0, 0);
        while let Some((_, frame)) = frames.next_frame()? {
            self.switch.stream_frame(now, &from, frame);
            count += 1;
            bytes += frame.len();
            if self.switch.send.len() >= GATHERED
                || self.switch.send.copied_bytes() >= GATHERED_BYTES
            {
                self.switch.flush(&self.batch);
            }
        }
        let leg = Leg::Client(from.transport);
        self.switch.counters.read_frames(leg, count, bytes);
        self.came += count;
        let Some(connection) = self.switch.streams.get_mut(slot) else {
            return Ok(count);
        };
        let kept = connection.keep_rest(now.instant, frames);
        self.switch.streams.after_reading(slot);
        kept.map(|()| count)
    }
}
