//! The buffers that a worker lends to each of its connections in turn, and the frames found in them.
//!
//! Responsible for handing out frames in place. Not responsible for reading (`connection`), nor for what a partial
//! frame at the end becomes: the connection takes it back.

use std::fmt;

use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::wire::FirstByte;
use taciturn_protocol::wire::stream::{self, Step};

use super::CloseReason;

/// The largest frame: a STUN message with the largest length that is a multiple of four. A padded ChannelData message
/// has at most 65,540 bytes.
pub(super) const FRAME_MAX: usize = 20 + 65_532;

/// Bytes taken from the kernel at once.
pub(super) const READ_SIZE: usize = 64 * 1024;

/// The STUN message type of a Send indication, the one STUN message that carries relayed payload.
const SEND_INDICATION: [u8; 2] = [0x00, 0x16];

/// Receive buffers of one worker, lent to one connection at a time: about 256 KiB, touched only as far as used.
pub struct Scratch {
    /// What was read, behind the partial frame that the connection had kept. A read that decrypts may yield more than
    /// it read, as TLS may have held back most of a record: hence the second [`READ_SIZE`].
    pub(super) plain: Box<[u8]>,
    /// TLS records as read.
    pub(super) records: Box<[u8]>,
}

impl Scratch {
    /// The buffers of one worker. The only allocation.
    pub fn new() -> Self {
        Self {
            plain: vec![0; FRAME_MAX + 2 * READ_SIZE].into_boxed_slice(),
            records: vec![0; READ_SIZE].into_boxed_slice(),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes are calls of strangers: never printed.
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// The bytes of one read, from which frames are taken one by one. It borrows the worker's [`Scratch`] and not the
/// connection, so that a frame can be sent on by any connection. [`super::Connection::keep_rest`] has to have it back.
pub struct Batch<'s> {
    pub(super) bytes: &'s mut [u8],
    /// Where the next frame begins.
    pub(super) at: usize,
    /// How many bytes from `at` on the next frame needs at least; 0 when it has not been looked at.
    pub(super) needed: usize,
    /// Longest STUN message other than a Send indication.
    pub(super) control_frame_bytes: usize,
    /// Which first bytes are ChannelData's.
    pub(super) channels: ChannelRange,
    /// Whether these bytes have already gone to the connection's own buffer, with nothing to take out of them.
    pub(super) absorbed: bool,
}

impl Batch<'_> {
    /// The next whole frame, without its padding, with what its first byte says it is; `None` when only a part of one
    /// is left.
    ///
    /// # Errors
    /// [`CloseReason::NotTurn`] when the stream cannot be a TURN stream, so that its framing is lost (RFC 8489 §6.2.2);
    /// [`CloseReason::FrameTooLong`] when a message is announced that no client has reason to send.
    pub fn next_frame(&mut self) -> Result<Option<(FirstByte, &mut [u8])>, CloseReason> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let step = stream::next_frame(rest, self.channels).map_err(|_| CloseReason::NotTurn)?;
        let (kind, len, total) = match step {
            Step::Incomplete { needed } => {
                self.refuse_long_control(needed)?;
                self.needed = needed;
                return Ok(None);
            }
            Step::Frame { kind, len, total } => (kind, len, total),
        };
        self.refuse_long_control(len)?;
        let start = self.at;
        self.at += total;
        self.needed = 0;
        Ok(Some((kind, &mut self.bytes[start..start + len])))
    }

    /// A request has a few hundred bytes; only payload is long. Nobody gets to fill a frame-sized buffer for nothing.
    fn refuse_long_control(&self, len: usize) -> Result<(), CloseReason> {
        let rest = &self.bytes[self.at..];
        let is_stun = rest
            .first()
            .is_some_and(|first| FirstByte::classify(*first, self.channels) == FirstByte::Stun);
        if is_stun && len > self.control_frame_bytes && !rest.starts_with(&SEND_INDICATION) {
            return Err(CloseReason::FrameTooLong);
        }
        Ok(())
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("bytes", &self.bytes.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
