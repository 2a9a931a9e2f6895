//! What a connection still has to send: whole frames, in order, bounded in bytes and in age.
//!
//! Responsible for which frames are given up when a client reads too slowly. Not responsible for writing them.
//!
//! ```text
//!  bytes:    [ gone | frame | frame | frame | free ]      one contiguous buffer, so that one write sends everything
//!                   ^ head
//!  entries:         { len, class, queued at } per frame, oldest first
//! ```
//!
//! Old media is worthless and control is not: overflow and age drop the oldest media frames, wherever they stand, and
//! never a control frame. A frame of which a byte has gone out is never dropped, as the stream could not be read on.

use std::collections::VecDeque;
use std::time::Duration;

use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::time::Instant;
use taciturn_protocol::wire::FirstByte;

use super::Waits;

/// Whether a frame may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueClass {
    /// A STUN response: kept, as the client repeats nothing on a stream (RFC 8489 §6.2.2).
    Control,
    /// A relayed payload: dropped, oldest first, when the client reads too slowly.
    Media,
}

/// What became of a frame that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Queued {
    /// It will go out with the next flush. Older media may have been dropped for it.
    Accepted,
    /// It was given up at once: a media frame larger than the whole queue.
    Dropped,
    /// Control frames have piled up over their cap; the next flush reports it and the connection has to be closed.
    Closing,
}

/// Media frames given up, since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DroppedFrames {
    /// Frames dropped because the queue was full.
    pub overflow_frames: u64,
    /// Their bytes, framing included.
    pub overflow_bytes: u64,
    /// Frames dropped because they had waited too long.
    pub aged_frames: u64,
    /// Their bytes, framing included.
    pub aged_bytes: u64,
}

impl DroppedFrames {
    /// Whether nothing was dropped.
    pub const fn is_empty(&self) -> bool {
        self.overflow_frames == 0 && self.aged_frames == 0
    }
}

/// The bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    /// Media frames hold at most this many bytes.
    pub(super) media_bytes: usize,
    /// Control frames hold at most this many bytes; beyond it the connection is closed.
    pub(super) control_bytes: usize,
    /// A media frame older than this is dropped instead of sent.
    pub(super) media_age: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Bytes still to be sent: less than the frame's size once the frame is begun.
    len: usize,
    class: QueueClass,
    queued_at: Instant,
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    bytes: Vec<u8>,
    head: usize,
    entries: VecDeque<Entry>,
    /// Whether bytes of the first entry have gone out.
    begun: bool,
    media_bytes: usize,
    control_bytes: usize,
    dropped: DroppedFrames,
    waits: Waits,
}

impl SendQueue {
    /// Appends one frame, given in parts. A ChannelData message is padded to a multiple of four (RFC 8656 §12.5), a
    /// STUN message is one already. Allocates only while the buffer is growing to the size that this client needs.
    pub(super) fn push(
        &mut self,
        now: Instant,
        class: QueueClass,
        parts: &[&[u8]],
        limits: &QueueLimits,
    ) -> Queued {
        let unpadded: usize = parts.iter().map(|part| part.len()).sum();
        let Some(first) = parts.iter().find_map(|part| part.first()) else {
            return Queued::Accepted;
        };
        let padding = match FirstByte::classify(*first, ChannelRange::Rfc5766) {
            FirstByte::ChannelData => unpadded.next_multiple_of(4) - unpadded,
            FirstByte::Stun | FirstByte::Dtls | FirstByte::Other => 0,
        };
        let len = unpadded + padding;
        match class {
            QueueClass::Media => {
                if len > limits.media_bytes {
                    self.dropped.overflow_frames += 1;
                    self.dropped.overflow_bytes += len as u64;
                    return Queued::Dropped;
                }
                self.make_room(len, limits);
                self.media_bytes += len;
            }
            QueueClass::Control => {
                if self.control_bytes + len > limits.control_bytes {
                    return Queued::Closing;
                }
                self.control_bytes += len;
            }
        }
        self.reserve(len);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.extend_from_slice(&[0; 3][..padding]);
        self.entries.push_back(Entry {
            len,
            class,
            queued_at: now,
        });
        Queued::Accepted
    }

    /// Drops media frames that have waited too long.
    pub(super) fn expire(&mut self, now: Instant, limits: &QueueLimits) {
        let aged = self
            .entries
            .iter()
            .take_while(|entry| now.saturating_since(entry.queued_at) > limits.media_age)
            .count();
        if aged > 0 {
            let (frames, bytes) = self.drop_media_among_first(aged);
            self.dropped.aged_frames += frames;
            self.dropped.aged_bytes += bytes;
        }
    }

    /// Everything still to be sent.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// How many bytes the first frames have that together stay within `most`, or else the first frame alone.
    pub(super) fn whole_frames(&self, most: usize) -> usize {
        let mut total = 0;
        for entry in &self.entries {
            if total > 0 && total + entry.len > most {
                break;
            }
            total += entry.len;
        }
        total
    }

    /// Notes that the first `count` bytes have gone out.
    pub(super) fn consume(&mut self, now: Instant, mut count: usize) {
        if count == self.bytes.len() - self.head {
            return self.clear(now);
        }
        self.head += count;
        while let Some(first) = self.entries.front_mut() {
            let gone = count.min(first.len);
            first.len -= gone;
            count -= gone;
            match first.class {
                QueueClass::Media => self.media_bytes -= gone,
                QueueClass::Control => self.control_bytes -= gone,
            }
            if first.len > 0 {
                self.begun |= gone > 0;
                break;
            }
            if first.class == QueueClass::Media {
                self.waits.left_after(now.saturating_since(first.queued_at));
            }
            self.entries.pop_front();
            self.begun = false;
        }
    }

    /// Everything has gone out.
    fn clear(&mut self, now: Instant) {
        for entry in &self.entries {
            if entry.class == QueueClass::Media {
                self.waits.left_after(now.saturating_since(entry.queued_at));
            }
        }
        self.bytes.clear();
        self.head = 0;
        self.entries.clear();
        self.begun = false;
        self.media_bytes = 0;
        self.control_bytes = 0;
    }

    /// Whether nothing is left to send.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes still to be sent.
    pub(super) fn len(&self) -> usize {
        self.media_bytes + self.control_bytes
    }

    /// How long the oldest frame has waited.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.entries.front().map_or(Duration::ZERO, |entry| {
            now.saturating_since(entry.queued_at)
        })
    }

    /// Bytes of memory held, used or not.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Gives the memory back when nothing is queued.
    pub(super) fn release(&mut self) {
        if self.entries.is_empty() {
            self.bytes = Vec::new();
            self.entries = VecDeque::new();
            self.head = 0;
        }
    }

    /// The frames dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> DroppedFrames {
        std::mem::take(&mut self.dropped)
    }

    /// How long the media frames that went out since the last call had waited.
    pub(super) fn take_waits(&mut self) -> Waits {
        std::mem::take(&mut self.waits)
    }

    /// Drops the oldest media until `len` more bytes fit. It drops an eighth of the queue beyond the need: what stands
    /// before the dropped frames has to be moved, which must not happen for every packet of a stalled client.
    fn make_room(&mut self, len: usize, limits: &QueueLimits) {
        if self.media_bytes + len <= limits.media_bytes {
            return;
        }
        let target = (limits.media_bytes - len).saturating_sub(limits.media_bytes / 8);
        let mut left = self.media_bytes;
        let mut among = 0;
        for (index, entry) in self.entries.iter().enumerate() {
            if left <= target {
                break;
            }
            among = index + 1;
            if self.may_drop(index) {
                left -= entry.len;
            }
        }
        let (frames, bytes) = self.drop_media_among_first(among);
        self.dropped.overflow_frames += frames;
        self.dropped.overflow_bytes += bytes;
    }

    fn may_drop(&self, index: usize) -> bool {
        let begun = index == 0 && self.begun;
        !begun && self.entries[index].class == QueueClass::Media
    }

    /// Drops the media frames among the first `count` entries. What is kept of them moves up to the frames behind, which
    /// stay where they are. Returns how many frames and bytes were dropped.
    fn drop_media_among_first(&mut self, count: usize) -> (u64, u64) {
        let mut kept_at = count;
        let mut read_end = self.head
            + self
                .entries
                .iter()
                .take(count)
                .map(|entry| entry.len)
                .sum::<usize>();
        let mut write_end = read_end;
        for index in (0..count).rev() {
            let len = self.entries[index].len;
            let read_start = read_end - len;
            if !self.may_drop(index) {
                let write_start = write_end - len;
                if read_start != write_start {
                    self.bytes.copy_within(read_start..read_end, write_start);
                }
                write_end = write_start;
                kept_at -= 1;
                self.entries.swap(index, kept_at);
            }
            read_end = read_start;
        }
        let bytes = write_end - self.head;
        self.head = write_end;
        self.media_bytes -= bytes;
        self.entries.drain(..kept_at);
        if self.entries.is_empty() {
            self.bytes.clear();
            self.head = 0;
        }
        (kept_at as u64, bytes as u64)
    }

    /// Makes room behind the frames: by moving them to the front once that frees more than it costs, else by growing.
    fn reserve(&mut self, len: usize) {
        let live = self.bytes.len() - self.head;
        if self.bytes.capacity() - self.bytes.len() < len && self.head >= live {
            self.bytes.copy_within(self.head.., 0);
            self.bytes.truncate(live);
            self.head = 0;
        }
        self.bytes.reserve(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits {
        media_bytes: 1000,
        control_bytes: 1000,
        media_age: Duration::from_secs(1),
    };
    const NOW: Instant = Instant::ZERO;

    /// A queue with a response between media of all four paddings, in parts, and the bytes that it has to become.
    fn queue() -> (SendQueue, Vec<u8>) {
        let mut queue = SendQueue::default();
        let mut expected = Vec::new();
        for len in 0..6_u8 {
            let header = [0x40, 0, 0, len];
            let payload = vec![0xA0 + len; usize::from(len)];
            let parts: [&[u8]; 3] = [&header, &[], &payload];
            let queued = queue.push(NOW, QueueClass::Media, &parts, &LIMITS);
            assert_eq!(queued, Queued::Accepted);
            expected.extend(parts.concat());
            expected.resize(expected.len().next_multiple_of(4), 0);
            if len == 3 {
                let response = [0x01; 20];
                let queued = queue.push(NOW, QueueClass::Control, &[&response], &LIMITS);
                assert_eq!(queued, Queued::Accepted);
                expected.extend(response);
            }
        }
        (queue, expected)
    }

    #[test]
    fn wherever_writes_are_cut_short_the_bytes_are_the_same() {
        let total = queue().1.len();
        for first in 0..=total {
            for second in 0..=total - first {
                let (mut queue, expected) = queue();
                let mut sent = Vec::new();
                for count in [first, second, total - first - second] {
                    assert_eq!(queue.len(), queue.pending().len());
                    sent.extend_from_slice(&queue.pending()[..count]);
                    queue.consume(NOW, count);
                }
                assert_eq!(sent, expected, "cut at {first}, {second}");
                assert_eq!((queue.is_empty(), queue.len()), (true, 0));
            }
        }
    }

    /// A frame of which a byte has gone out goes out whole, however old; all media behind it may go.
    #[test]
    fn wherever_a_write_is_cut_short_what_ages_is_dropped_by_whole_frames() {
        let later = NOW + LIMITS.media_age + Duration::from_nanos(1);
        let total = queue().1.len();
        for first in 0..total {
            let (mut queue, expected) = queue();
            queue.consume(NOW, first);
            queue.expire(later, &LIMITS);
            let mut ends = vec![0, 4, 12, 20, 28, 48, 56, 68];
            ends.retain(|end| *end >= first);
            // The rest of the frame that has begun, then the response, unless it has gone or is that frame.
            let mut kept = expected[first..ends[0]].to_vec();
            if first <= 28 {
                kept.extend_from_slice(&expected[28..48]);
            }
            assert_eq!(queue.pending(), kept, "cut at {first}");
        }
    }
}
