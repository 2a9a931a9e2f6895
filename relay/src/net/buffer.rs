//! Where received bytes live, from the system call that wrote them to the one that sends them on.
//!
//! Responsible for the memory of a [`ReceiveBatch`], for cutting coalesced buffers into datagrams, and for handles
//! ([`Payload`]) that cannot outlive the bytes they name. Not responsible for system calls (`sys`) or for sending
//! (`transmit`). Pure code: Miri can run its tests.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    address::RawAddr,
    cmsg::{self, Received},
};

/// Bytes that one buffer takes: any UDP datagram, or any train that the kernel coalesces (`UDP_GRO`).
const CAPACITY: usize = 65_536;
/// Buffers in a batch by default: what one `recvmmsg` is asked for.
const BUFFERS: usize = 64;
/// Bytes of a cache line; buffers begin on different ones.
const LINE: usize = 64;

/// Generations are handed out in blocks, one block to a batch, so that no two batches ever share one. Test builds pass the end of
/// the numbers (G-12).
static GENERATIONS: AtomicU64 = AtomicU64::new(if cfg!(test) { u64::MAX - 2 } else { 0 });
const GENERATION_BLOCK: u64 = 1 << 40;

/// One buffer's facts, as the kernel writes them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Slot {
    pub(super) control: [u8; cmsg::RECEIVE_CAPACITY],
    pub(super) name: RawAddr,
    pub(super) len: usize,
    pub(super) control_len: usize,
    pub(super) truncated: bool,
    /// The control messages were cut short: where the datagrams end, or whom they were sent to, is not known.
    pub(super) uncertain: bool,
}

impl Slot {
    const EMPTY: Self = Self {
        control: [0; cmsg::RECEIVE_CAPACITY],
        name: RawAddr::unspecified(),
        len: 0,
        control_len: 0,
        truncated: false,
        uncertain: false,
    };
}

/// Buffers that several sockets' datagrams are received into, one after the other, until [`ReceiveBatch::clear`].
///
/// One belongs to each worker thread, never to an allocation. With the default shape it reserves 4 MiB of address space, of which
/// the system only backs what datagrams have touched.
#[derive(Debug)]
pub struct ReceiveBatch {
    memory: Vec<u8>,
    slots: Vec<Slot>,
    capacity: usize,
    stride: usize,
    filled: usize,
    generation: u64,
    pub(super) scratch: super::sys::ReceiveScratch,
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveBatch {
    /// 64 buffers, each large enough for any datagram or train.
    pub fn new() -> Self {
        Self::with_shape(BUFFERS, CAPACITY)
    }

    /// `buffers` buffers of `capacity` bytes. A datagram longer than that is marked [`Datagram::truncated`]; with
    /// coalescing on, anything below 64 KiB cuts trains.
    ///
    /// # Panics
    ///
    /// When the buffers together exceed 4 GiB, which no caller configures.
    pub fn with_shape(buffers: usize, capacity: usize) -> Self {
        // Buffers 64 KiB apart would begin in the same set of every cache and evict one another's first lines, the only
        // ones that small packets use. An odd number of lines from one to the next spreads them over all sets.
        let lines = capacity.div_ceil(LINE) + 12;
        let stride = (lines | 1) * LINE;
        assert!(
            buffers.saturating_mul(stride) <= u32::MAX as usize,
            "a batch is addressed by 32 bits"
        );
        Self {
            memory: vec![0; buffers * stride],
            slots: vec![Slot::EMPTY; buffers],
            capacity,
            stride,
            filled: 0,
            generation: GENERATIONS.fetch_add(GENERATION_BLOCK, Ordering::Relaxed),
            scratch: super::sys::ReceiveScratch::new(buffers),
        }
    }

    /// Buffers that are still free. Each takes a datagram or a train.
    pub fn room(&self) -> usize {
        self.slots.len() - self.filled
    }

    /// Whether nothing has been received since the last [`ReceiveBatch::clear`].
    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Frees all buffers. Payloads from before are stale from here on and will not be sent: flush first.
    pub const fn clear(&mut self) {
        self.filled = 0;
        self.generation = self.generation.wrapping_add(1);
    }

    /// The datagrams in these buffers, in the order of arrival. `filled` is what [`UdpSocket::receive`] returned.
    ///
    /// [`UdpSocket::receive`]: super::UdpSocket::receive
    pub fn datagrams(&self, filled: Range<usize>) -> Datagrams<'_> {
        let end = filled.end.min(self.filled);
        Datagrams {
            batch: self,
            next: filled.start.min(end),
            end,
            train: None,
        }
    }

    /// The bytes that a handle names, unless the batch has been cleared since.
    pub fn bytes(&self, payload: Payload) -> Option<&[u8]> {
        if payload.generation != self.generation {
            return None;
        }
        let start = payload.start as usize;
        self.memory.get(start..start + payload.len as usize)
    }

    /// The next `limit` free buffers and their facts, for the kernel to fill: memory, stride, capacity, slots, scratch.
    pub(super) fn free(&mut self, limit: usize) -> Free<'_> {
        let end = self.filled + limit.min(self.room());
        Free {
            memory: &mut self.memory[self.filled * self.stride..end * self.stride],
            stride: self.stride,
            capacity: self.capacity,
            slots: &mut self.slots[self.filled..end],
            scratch: &mut self.scratch,
        }
    }

    /// Marks `count` of the buffers from [`ReceiveBatch::free`] as filled.
    pub(super) fn fill(&mut self, count: usize) -> Range<usize> {
        let start = self.filled;
        self.filled = (start + count).min(self.slots.len());
        start..self.filled
    }
}

/// Free buffers of a batch; see [`ReceiveBatch::free`].
#[derive(Debug)]
pub(super) struct Free<'b> {
    /// One chunk of `stride` bytes for each slot.
    pub(super) memory: &'b mut [u8],
    pub(super) stride: usize,
    /// Bytes of each chunk that may be written.
    pub(super) capacity: usize,
    pub(super) slots: &'b mut [Slot],
    pub(super) scratch: &'b mut super::sys::ReceiveScratch,
}

/// Names received bytes without borrowing them: an offset, a length and the generation of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    generation: u64,
    start: u32,
    len: u32,
}

impl Payload {
    /// Length in bytes.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it names no bytes, which is a valid UDP payload.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// The address that it was sent to, when the socket asks for packet info.
    pub to: Option<IpAddr>,
    /// DSCP and ECN as received, when the socket asks for the traffic class; otherwise 0.
    pub traffic_class: u8,
    /// Longer than the buffer, or without all of what the kernel had to say about it: the bytes may not be one whole
    /// datagram, which must be dropped (never relayed short).
    pub truncated: bool,
    /// The UDP payload.
    pub bytes: &'a [u8],
    at: Payload,
}

impl Datagram<'_> {
    /// A handle on all of the bytes.
    pub const fn payload(&self) -> Payload {
        self.at
    }

    /// A handle on some of the bytes; `None` when the range is not inside this datagram.
    pub fn part(&self, range: Range<usize>) -> Option<Payload> {
        let len = range.end.checked_sub(range.start)?;
        if range.end > self.bytes.len() {
            return None;
        }
        let start = self.at.start + u32::try_from(range.start).ok()?;
        Some(Payload {
            start,
            len: u32::try_from(len).ok()?,
            ..self.at
        })
    }
}

/// Iterates over received datagrams, taking coalesced buffers apart.
#[derive(Debug)]
pub struct Datagrams<'a> {
    batch: &'a ReceiveBatch,
    next: usize,
    end: usize,
    train: Option<Train>,
}

/// What is left of a buffer.
#[derive(Clone, Copy, Debug)]
struct Train {
    from: SocketAddr,
    received: Received,
    truncated: bool,
    uncertain: bool,
    start: usize,
    left: usize,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        let train = match self.train.take() {
            Some(train) => train,
            None => self.open()?,
        };
        let len = train
            .received
            .segment
            .map_or(train.left, |segment| train.left.min(usize::from(segment)));
        let left = train.left - len;
        if left > 0 {
            self.train = Some(Train {
                start: train.start + len,
                left,
                ..train
            });
        }
        Some(Datagram {
            from: train.from,
            to: train.received.to,
            traffic_class: train.received.traffic_class,
            // Of a train that was cut short only the last segment can be incomplete.
            truncated: train.uncertain || train.truncated && left == 0,
            bytes: &self.batch.memory[train.start..train.start + len],
            at: Payload {
                generation: self.batch.generation,
                start: offset(train.start),
                len: offset(len),
            },
        })
    }
}

impl Datagrams<'_> {
    fn open(&mut self) -> Option<Train> {
        while self.next < self.end {
            let index = self.next;
            self.next += 1;
            let slot = &self.batch.slots[index];
            // An IP socket always names the sender; a buffer without one is passed over.
            let Some(from) = slot.name.to_socket_addr() else {
                continue;
            };
            let control = slot.control.get(..slot.control_len).unwrap_or_default();
            return Some(Train {
                from,
                received: cmsg::parse_received(control),
                truncated: slot.truncated,
                uncertain: slot.uncertain,
                start: index * self.batch.stride,
                left: slot.len.min(self.batch.capacity),
            });
        }
        None
    }
}

/// Offsets into a batch fit 32 bits: [`ReceiveBatch::with_shape`] made sure.
#[expect(clippy::cast_possible_truncation, reason = "bounded at construction")]
const fn offset(at: usize) -> u32 {
    at as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts one buffer into a batch as the kernel would, with this GRO segment size (0: none).
    pub(crate) fn deliver(
        batch: &mut ReceiveBatch,
        bytes: &[u8],
        segment: i32,
        truncated: bool,
    ) -> Range<usize> {
        let free = batch.free(1);
        free.memory[..bytes.len()].copy_from_slice(bytes);
        let slot = &mut free.slots[0];
        slot.name = RawAddr::from_socket_addr(&"127.0.0.1:9".parse().expect("written here"));
        slot.len = bytes.len();
        slot.truncated = truncated;
        slot.uncertain = false;
        slot.control_len = 0;
        if segment > 0 {
            slot.control[..8].copy_from_slice(&20_usize.to_ne_bytes());
            slot.control[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
            slot.control[12..16].copy_from_slice(&libc::UDP_GRO.to_ne_bytes());
            slot.control[16..20].copy_from_slice(&segment.to_ne_bytes());
            slot.control_len = 24;
        }
        batch.fill(1)
    }

    fn pieces(batch: &ReceiveBatch, filled: Range<usize>) -> Vec<Vec<u8>> {
        batch
            .datagrams(filled)
            .map(|datagram| datagram.bytes.to_vec())
            .collect()
    }

    /// GRO-coalesced batches with a short last segment.
    #[test]
    fn a_train_with_a_short_last_segment_is_cut_where_the_kernel_joined_it() {
        let mut batch = ReceiveBatch::with_shape(2, 100);
        let filled = deliver(&mut batch, b"aaaabbbbcc", 4, false);
        assert_eq!(
            pieces(&batch, filled),
            [b"aaaa".to_vec(), b"bbbb".to_vec(), b"cc".to_vec()]
        );
        let filled = deliver(&mut batch, b"ddddeeee", 4, false);
        assert_eq!(
            pieces(&batch, filled.clone()),
            [b"dddd".to_vec(), b"eeee".to_vec()]
        );
        assert_eq!(filled, 1..2);
        assert_eq!(batch.room(), 0);
    }

    /// 0 B datagrams are datagrams.
    #[test]
    fn an_empty_datagram_is_one_datagram() {
        let mut batch = ReceiveBatch::with_shape(1, 100);
        let filled = deliver(&mut batch, b"", 0, false);
        assert_eq!(pieces(&batch, filled), [Vec::<u8>::new()]);
    }

    /// truncated receive (MSG_TRUNC) is visible, and only on the datagram that was cut.
    #[test]
    fn truncation_marks_the_datagram_that_was_cut() {
        let mut batch = ReceiveBatch::with_shape(2, 10);
        let filled = deliver(&mut batch, b"aaaabbbbcc", 4, true);
        let marks: Vec<bool> = batch
            .datagrams(filled)
            .map(|datagram| datagram.truncated)
            .collect();
        assert_eq!(marks, [false, false, true]);
        let filled = deliver(&mut batch, b"0123456789", 0, true);
        assert!(batch.datagrams(filled).all(|datagram| datagram.truncated));
    }

    /// control messages that were cut short (MSG_CTRUNC) leave no datagram of their buffer certain.
    #[test]
    fn datagrams_whose_control_messages_were_cut_are_all_marked() {
        let mut batch = ReceiveBatch::with_shape(2, 10);
        let filled = deliver(&mut batch, b"aaaabbbbcc", 4, false);
        batch.slots[0].uncertain = true;
        assert!(batch.datagrams(filled).all(|datagram| datagram.truncated));
        let filled = deliver(&mut batch, b"aaaa", 0, false);
        assert!(!batch.datagrams(filled).any(|datagram| datagram.truncated));
    }

    #[test]
    fn a_part_stays_inside_its_datagram() {
        let mut batch = ReceiveBatch::with_shape(1, 100);
        let filled = deliver(&mut batch, b"aaaabbbb", 4, false);
        let second = batch
            .datagrams(filled)
            .nth(1)
            .expect("two segments were delivered");
        let part = second.part(1..3).expect("inside");
        assert_eq!(
            (batch.bytes(part), part.len(), part.is_empty()),
            (Some(&b"bb"[..]), 2, false)
        );
        assert_eq!(second.part(4..4).map(|part| part.is_empty()), Some(true));
        assert_eq!(second.part(0..5), None);
        #[expect(clippy::reversed_empty_ranges, reason = "that is the test")]
        let reversed = second.part(3..2);
        assert_eq!(reversed, None);
    }

    #[test]
    fn a_handle_does_not_outlive_its_bytes() {
        let mut batch = ReceiveBatch::with_shape(1, 100);
        let filled = deliver(&mut batch, b"secret", 0, false);
        let payload = batch.datagrams(filled).next().expect("delivered").payload();
        assert!(batch.bytes(payload).is_some());
        batch.clear();
        deliver(&mut batch, b"others", 0, false);
        assert_eq!(batch.bytes(payload), None);
        assert_eq!(
            ReceiveBatch::with_shape(1, 100).bytes(payload),
            None,
            "nor in another batch"
        );
    }

    #[test]
    fn buffers_begin_in_different_cache_sets() {
        let batch = ReceiveBatch::new();
        let sets: std::collections::BTreeSet<usize> = (0..BUFFERS)
            .map(|index| index * batch.stride / LINE % 64)
            .collect();
        assert_eq!(sets.len(), 64);
    }
}
