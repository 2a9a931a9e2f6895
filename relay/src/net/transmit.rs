//! What is to be sent, until it is flushed.
//!
//! Responsible for queueing transmits by socket, in order, without copying received payloads. Not responsible for making
//! messages of them or for the system calls (`flush`). Pure code: Miri can run its tests.

use std::net::{IpAddr, SocketAddr};

use super::{
    buffer::{Payload, ReceiveBatch},
    flush::Assembly,
};

/// Transmits that a batch holds before it allocates.
const TRANSMITS: usize = 1024;
/// Bytes of headers and replies that a batch holds before it allocates.
const OWN_BYTES: usize = 64 * 1024;
/// Sockets that a batch sends from before it allocates.
const LANES: usize = 256;
/// Bytes, transmits and sockets that an emptied batch keeps room for: what a busy round needs. A flood's worth is given
/// back.
const OWN_BYTES_KEPT: usize = 2 * 1024 * 1024;
const TRANSMITS_KEPT: usize = 16 * 1024;
const LANES_KEPT: usize = 4 * 1024;
/// Ends a chain of transmits, and marks a free place in the table of lanes.
const NONE: u32 = u32::MAX;
/// At most this much zero padding follows a payload: a STUN attribute ends on a multiple of 4 (RFC 8489 §14).
const PADDING: [u8; 3] = [0; 3];

/// The caller's number for the socket that a transmit leaves from, resolved by the caller at the flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane(pub u32);

/// Where a datagram goes, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The receiver.
    pub to: SocketAddr,
    /// The address to send from, which a socket bound to the wildcard address must be told; `None` leaves it to the socket.
    pub source: Option<IpAddr>,
    /// DSCP (six bits) and ECN (two bits); 0 is Best Effort, Not-ECT.
    pub traffic_class: u8,
}

impl Destination {
    /// Best Effort, from the socket's own address.
    pub const fn new(to: SocketAddr) -> Self {
        Self {
            to,
            source: None,
            traffic_class: 0,
        }
    }
}

/// One queued datagram: `own` bytes, then the payload, then `padding` zero bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transmit {
    pub(super) destination: Destination,
    own_start: u32,
    own_len: u32,
    payload: Option<Payload>,
    padding: u8,
    /// Set DF (RFC 8656 §14.9).
    pub(super) dont_fragment: bool,
    /// The next transmit of the same lane, or [`NONE`].
    next: u32,
}

impl Transmit {
    /// Length of the datagram in bytes.
    pub(super) fn len(&self) -> usize {
        let payload = self.payload.map_or(0, |payload| payload.len());
        self.own_len as usize + payload + usize::from(self.padding)
    }
}

/// The transmits of one socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneQueue {
    pub(super) lane: Lane,
    head: u32,
    tail: u32,
}

/// Queued transmits and the bytes that belong to no received datagram.
#[derive(Debug)]
pub(super) struct Queue {
    transmits: Vec<Transmit>,
    own: Vec<u8>,
}

impl Queue {
    /// The queued datagram at a place in a lane's chain, and the place after it.
    pub(super) fn at(&self, cursor: Cursor) -> Option<(&Transmit, Cursor)> {
        let transmit = self.transmits.get(cursor.0 as usize)?;
        Some((transmit, Cursor(transmit.next)))
    }

    /// The three parts of a datagram, some of them empty; `None` when its payload has been received over.
    pub(super) fn parts<'b>(
        &'b self,
        transmit: &Transmit,
        received: &'b ReceiveBatch,
    ) -> Option<[&'b [u8]; 3]> {
        let start = transmit.own_start as usize;
        let own = self.own.get(start..start + transmit.own_len as usize)?;
        let payload = match transmit.payload {
            Some(payload) => received.bytes(payload)?,
            None => &[],
        };
        Some([own, payload, &PADDING[..usize::from(transmit.padding)]])
    }
}

/// A place in a lane's chain of transmits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor(u32);

impl LaneQueue {
    pub(super) const fn first(&self) -> Cursor {
        Cursor(self.head)
    }
}

/// A queue of datagrams for any number of sockets, flushed together.
///
/// One belongs to each worker thread. It refers to received bytes by [`Payload`] and copies headers and replies. After
/// the first rounds it allocates nothing.
#[derive(Debug)]
pub struct SendBatch {
    pub(super) queue: Queue,
    pub(super) lanes: Vec<LaneQueue>,
    /// Open-addressed table from lane to its place in `lanes`; at most half full.
    table: Vec<u32>,
    last: usize,
    pub(super) assembly: Assembly,
}

impl Default for SendBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl SendBatch {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            queue: Queue {
                transmits: Vec::with_capacity(TRANSMITS),
                own: Vec::with_capacity(OWN_BYTES),
            },
            lanes: Vec::with_capacity(LANES),
            table: vec![NONE; LANES * 2],
            last: 0,
            assembly: Assembly::new(),
        }
    }

    /// Queues a received payload with a header of the caller's before it and 0 to 3 zero bytes after it.
    ///
    /// The payload must be flushed before its batch is cleared; otherwise it is dropped and counted as
    /// [`SendFailure::Stale`](super::SendFailure::Stale).
    pub fn push(
        &mut self,
        lane: Lane,
        destination: &Destination,
        header: &[u8],
        payload: Payload,
        padding: u8,
    ) {
        let own_start = index(self.queue.own.len());
        self.queue.own.extend_from_slice(header);
        self.link(
            lane,
            Transmit {
                destination: *destination,
                own_start,
                own_len: index(header.len()),
                payload: Some(payload),
                padding: padding.min(3),
                dont_fragment: false,
                next: NONE,
            },
        );
    }

    /// Queues a datagram made of these parts, copying them.
    pub fn push_copy(&mut self, lane: Lane, destination: &Destination, parts: &[&[u8]]) {
        self.link_copy(lane, destination, parts, false);
    }

    /// Queues a datagram to be sent with DF set, copying its payload; see [`UdpSocket::send_dont_fragment`]. It keeps its
    /// place among the others of its lane.
    ///
    /// [`UdpSocket::send_dont_fragment`]: super::UdpSocket::send_dont_fragment
    pub fn push_dont_fragment(&mut self, lane: Lane, destination: &Destination, payload: &[u8]) {
        self.link_copy(lane, destination, &[payload], true);
    }

    fn link_copy(
        &mut self,
        lane: Lane,
        destination: &Destination,
        parts: &[&[u8]],
        dont_fragment: bool,
    ) {
        let start = self.queue.own.len();
        for part in parts {
            self.queue.own.extend_from_slice(part);
        }
        self.link(
            lane,
            Transmit {
                destination: *destination,
                own_start: index(start),
                own_len: index(self.queue.own.len() - start),
                payload: None,
                padding: 0,
                dont_fragment,
                next: NONE,
            },
        );
    }

    /// Datagrams queued.
    pub fn len(&self) -> usize {
        self.queue.transmits.len()
    }

    /// Bytes copied into the queue: headers, replies, payloads from streams.
    pub fn copied_bytes(&self) -> usize {
        self.queue.own.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.transmits.is_empty()
    }

    /// Empties the queue; the capacity that a busy round needs stays.
    pub(super) fn clear(&mut self) {
        // Removed in the reverse order of insertion, so that no lane's probe sequence is broken before its turn.
        while let Some(queue) = self.lanes.last() {
            let place = self.place_of(queue.lane);
            self.table[place] = NONE;
            self.lanes.pop();
        }
        self.queue.transmits.clear();
        self.queue.own.clear();
        self.last = 0;
        self.queue.transmits.shrink_to(TRANSMITS_KEPT);
        self.queue.own.shrink_to(OWN_BYTES_KEPT);
        if self.lanes.capacity() > LANES_KEPT {
            self.lanes = Vec::with_capacity(LANES);
            self.table = vec![NONE; LANES * 2];
        }
    }

    fn link(&mut self, lane: Lane, transmit: Transmit) {
        let at = index(self.queue.transmits.len());
        self.queue.transmits.push(transmit);
        let position = self.lane_position(lane);
        let queue = &mut self.lanes[position];
        if queue.head == NONE {
            queue.head = at;
        } else {
            self.queue.transmits[queue.tail as usize].next = at;
        }
        queue.tail = at;
    }

    fn lane_position(&mut self, lane: Lane) -> usize {
        // Bursts of one flow arrive together, and peers' datagrams all leave by one listener.
        if self
            .lanes
            .get(self.last)
            .is_some_and(|queue| queue.lane == lane)
        {
            return self.last;
        }
        let mut place = self.place_of(lane);
        if self.table[place] == NONE {
            if (self.lanes.len() + 1) * 2 > self.table.len() {
                self.grow();
                place = self.place_of(lane);
            }
            self.table[place] = index(self.lanes.len());
            self.lanes.push(LaneQueue {
                lane,
                head: NONE,
                tail: NONE,
            });
        }
        self.last = self.table[place] as usize;
        self.last
    }

    /// Where the table holds the lane, or would hold it.
    fn place_of(&self, lane: Lane) -> usize {
        let mask = self.table.len() - 1;
        // Lanes are the caller's own small numbers, not something that a stranger chooses: a multiplication spreads them.
        let mut place = (lane.0.wrapping_mul(0x9E37_79B1) >> 8) as usize & mask;
        while let Some(queue) = self.lanes.get(self.table[place] as usize) {
            if queue.lane == lane {
                break;
            }
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let len = self.table.len() * 2;
        self.table.clear();
        self.table.resize(len, NONE);
        for position in 0..self.lanes.len() {
            let place = self.place_of(self.lanes[position].lane);
            self.table[place] = index(position);
        }
    }
}

/// Positions and byte counts of a queue stay far below 2^32: it is flushed once a batch.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a queue is bounded by the batch of datagrams that it answers"
)]
const fn index(at: usize) -> u32 {
    at as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(port: u16) -> Destination {
        Destination::new(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn drain(batch: &SendBatch, received: &ReceiveBatch) -> Vec<(u32, Vec<Vec<u8>>)> {
        let lanes = batch.lanes.iter().map(|lane| {
            let mut datagrams = Vec::new();
            let mut cursor = lane.first();
            while let Some((transmit, next)) = batch.queue.at(cursor) {
                let parts = batch
                    .queue
                    .parts(transmit, received)
                    .expect("nothing is stale here");
                datagrams.push(parts.concat());
                cursor = next;
            }
            (lane.lane.0, datagrams)
        });
        lanes.collect()
    }

    #[test]
    fn lanes_keep_their_own_order() {
        let received = ReceiveBatch::with_shape(1, 64);
        let mut batch = SendBatch::new();
        for (lane, byte) in [(7, 1), (9, 2), (7, 3), (u32::MAX, 4), (9, 5), (7, 6)] {
            batch.push_copy(Lane(lane), &destination(1), &[&[byte], &[byte]]);
        }
        let expected = [
            (7, vec![vec![1, 1], vec![3, 3], vec![6, 6]]),
            (9, vec![vec![2, 2], vec![5, 5]]),
            (u32::MAX, vec![vec![4, 4]]),
        ];
        assert_eq!(drain(&batch, &received), expected);
        batch.clear();
        assert!(batch.is_empty());
        assert_eq!(drain(&batch, &received), []);
    }

    #[test]
    fn more_lanes_than_expected_still_work() {
        // An interpreter takes minutes for what a machine does in a blink; both grow the table.
        const LANES_SENT: u32 = if cfg!(miri) { 400 } else { 3000 };
        let received = ReceiveBatch::with_shape(1, 64);
        let mut batch = SendBatch::new();
        for round in 0..2_u8 {
            for lane in 0..LANES_SENT {
                batch.push_copy(Lane(lane * 256), &destination(1), &[&[round]]);
            }
        }
        assert_eq!(batch.len(), 2 * LANES_SENT as usize);
        assert!(
            drain(&batch, &received)
                .iter()
                .all(|(_, datagrams)| *datagrams == [[0], [1]])
        );
    }

    #[test]
    fn what_a_flood_has_grown_is_given_back() {
        let mut batch = SendBatch::new();
        let lanes = u32::try_from(LANES_KEPT).expect("a small number") + 1;
        for lane in 0..lanes {
            batch.push_copy(Lane(lane), &destination(1), &[&[0; 1024]]);
        }
        assert!(batch.copied_bytes() > OWN_BYTES_KEPT);
        batch.clear();
        assert!(batch.queue.own.capacity() <= OWN_BYTES_KEPT);
        assert!(batch.lanes.capacity() <= LANES_KEPT);
        batch.push_copy(Lane(1), &destination(1), &[b"x"]);
        assert_eq!(batch.len(), 1);
    }

    #[test]
    fn a_header_and_padding_surround_a_received_payload() {
        let mut received = ReceiveBatch::with_shape(1, 64);
        let free = received.free(1);
        free.memory[..4].copy_from_slice(b"abcd");
        free.slots[0].len = 4;
        free.slots[0].name = super::super::address::RawAddr::from_socket_addr(&destination(9).to);
        let filled = received.fill(1);
        let payload = received
            .datagrams(filled)
            .next()
            .expect("delivered")
            .part(1..4)
            .expect("inside");
        let mut batch = SendBatch::new();
        batch.push(Lane(0), &destination(1), b"head", payload, 1);
        assert_eq!(drain(&batch, &received), [(0, vec![b"headbcd\0".to_vec()])]);
        received.clear();
        let (transmit, _) = batch.queue.at(batch.lanes[0].first()).expect("queued");
        assert!(
            batch.queue.parts(transmit, &received).is_none(),
            "a stale payload is never sent"
        );
    }
}
