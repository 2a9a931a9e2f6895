//! One client's TCP or TLS connection, owned by one worker thread, without a runtime.
//!
//! Responsible for its bytes in both directions and for when it has to end. Not responsible for what the messages say.

use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustls::ServerConnection;
use socket2::SockRef;
use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::address::{ClientAddr, FiveTuple};
use taciturn_protocol::time::Instant;

use super::queue::{QueueLimits, SendQueue};
use super::scratch::READ_SIZE;
use super::socket::{read_plain, read_records, send_records, write_plain, write_records};
use super::{Batch, CloseReason, DroppedFrames, QueueClass, Queued, Scratch, Waits};
use crate::listener::{ConnectionSlot, Established};

/// A partial frame's buffer up to this size is kept for the next one, so that a client whose frames straddle reads
/// costs no allocation each time.
const TAIL_KEPT: usize = 4 * 1024;

/// Buffers that nothing has used for this long are given back.
const RELEASE_AFTER: Duration = Duration::from_secs(10);

/// How long a connection may keep the relay waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A connection on which nothing moves for this long is closed.
    pub idle: Duration,
    /// A frame has to be complete this long after its first byte.
    pub frame: Duration,
    /// A client that takes not one byte of what it is owed for this long is given up.
    pub stall: Duration,
    /// The kernel gives a connection up when nothing of what it sent was acknowledged for this long
    /// (`TCP_USER_TIMEOUT`); `None` leaves it as it was when the worker took the connection over.
    pub unacknowledged: Option<Duration>,
}

impl Patience {
    /// Towards a client that holds an allocation: a call outlives a tunnel, a sleeping phone, a change of networks. An
    /// allocation lives for at most an hour without a Refresh, so its lifetime ends it before any of these does.
    pub const ALLOCATION: Self = {
        let beyond = Duration::from_secs(2 * 3600);
        Self {
            idle: beyond,
            frame: beyond,
            stall: beyond,
            unacknowledged: Some(beyond),
        }
    };
}

/// What one connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// [`Patience::idle`] of a connection that holds nothing.
    pub idle: Duration,
    /// [`Patience::frame`] likewise.
    pub frame: Duration,
    /// [`Patience::stall`] likewise.
    pub stall: Duration,
    /// Longest STUN message other than a Send indication, in bytes.
    pub control_frame_bytes: usize,
    /// Which first bytes are ChannelData's.
    pub channels: ChannelRange,
    /// Bytes of queued media; the oldest is dropped for the newest.
    pub media_bytes: usize,
    /// Bytes of queued control frames; beyond it the connection is closed.
    pub control_bytes: usize,
    /// Media that has waited for longer is dropped.
    pub media_age: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            frame: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            control_frame_bytes: 9 * 1024,
            channels: ChannelRange::Rfc8656,
            media_bytes: 256 * 1024,
            control_bytes: 64 * 1024,
            media_age: Duration::from_secs(1),
        }
    }
}

impl StreamLimits {
    /// The patience with a client that holds nothing.
    pub const fn patience(&self) -> Patience {
        Patience {
            idle: self.idle,
            frame: self.frame,
            stall: self.stall,
            unacknowledged: None,
        }
    }

    const fn queue(&self) -> QueueLimits {
        QueueLimits {
            media_bytes: self.media_bytes,
            control_bytes: self.control_bytes,
            media_age: self.media_age,
        }
    }
}

/// An established connection with a TURN client.
///
/// The worker calls [`Connection::receive`] once when it takes the connection over, as bytes may have come with it, and
/// then whenever the socket is readable; [`Connection::queue`] for each frame to send; [`Connection::flush`] once a
/// round and whenever the socket is writable again. No method blocks.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TcpStream,
    pub(super) tls: Option<Box<ServerConnection>>,
    five_tuple: FiveTuple,
    limits: StreamLimits,
    patience: Patience,
    /// `TCP_USER_TIMEOUT` as it was before an allocation changed it.
    unacknowledged_before: Option<Option<Duration>>,
    /// Decrypted or plain bytes that came before the worker took over.
    pub(super) early: Vec<u8>,
    /// The beginning of a frame whose rest has not come yet.
    pub(super) tail: Vec<u8>,
    /// How many bytes the frame in `tail` needs before looking at it again is worth while.
    needed: usize,
    pub(super) queue: SendQueue,
    last_moved: Instant,
    frame_since: Option<Instant>,
    blocked_since: Option<Instant>,
    ended: bool,
    overloaded: bool,
    _slot: ConnectionSlot,
}

impl Connection {
    /// Takes a connection over from the listener.
    pub fn new(established: Established, limits: StreamLimits, now: Instant) -> Self {
        let Established {
            stream,
            mut tls,
            early,
            transport,
            client,
            server,
            slot,
        } = established;
        if let Some(tls) = &mut tls {
            // The queue is the bound; rustls holds at most one run of it.
            tls.set_buffer_limit(None);
        }
        Self {
            stream,
            tls,
            five_tuple: FiveTuple {
                transport,
                client: ClientAddr(client),
                server,
            },
            limits,
            patience: limits.patience(),
            unacknowledged_before: None,
            early,
            tail: Vec::new(),
            needed: 0,
            queue: SendQueue::default(),
            last_moved: now,
            frame_since: None,
            blocked_since: None,
            ended: false,
            overloaded: false,
            _slot: slot,
        }
    }

    /// The 5-tuple of this connection.
    pub const fn five_tuple(&self) -> FiveTuple {
        self.five_tuple
    }

    /// Reads once, at most 64 KiB, so that one busy client does not keep the others waiting. The frames are in the
    /// batch, which has to go back with [`Connection::keep_rest`].
    ///
    /// # Errors
    /// The reason to close the connection.
    pub fn receive<'s>(
        &mut self,
        now: Instant,
        scratch: &'s mut Scratch,
    ) -> Result<Batch<'s>, CloseReason> {
        let kept = self.tail.len();
        let mut end = kept;
        if !self.early.is_empty() {
            end += self.early.len();
            scratch.plain[kept..end].copy_from_slice(&self.early);
            self.early = Vec::new();
        }
        let room = &mut scratch.plain[end..];
        end += match &mut self.tls {
            None => read_plain(&self.stream, &mut room[..READ_SIZE], &mut self.ended)?,
            Some(tls) => read_records(
                &self.stream,
                tls,
                &mut scratch.records,
                room,
                &mut self.ended,
            )?,
        };
        if end > kept {
            self.last_moved = now;
        } else if self.ended {
            return Err(CloseReason::PeerClosed);
        }
        let mut batch = Batch {
            bytes: &mut scratch.plain[..end],
            at: 0,
            needed: 0,
            control_frame_bytes: self.limits.control_frame_bytes,
            channels: self.limits.channels,
            absorbed: false,
        };
        if end == kept || (kept > 0 && end < self.needed) {
            // Not enough to complete the frame: only the new bytes are copied, so that a long frame that trickles in
            // costs no more than its length.
            self.tail.extend_from_slice(&batch.bytes[kept..]);
            batch.absorbed = true;
            batch.at = end;
            return Ok(batch);
        }
        batch.bytes[..kept].copy_from_slice(&self.tail);
        Ok(batch)
    }

    /// Takes back what [`Batch::next_frame`] left over: the beginning of a frame.
    ///
    /// # Errors
    /// [`CloseReason::PeerClosed`] when these were the client's last bytes. What is queued can still be sent.
    pub fn keep_rest(&mut self, now: Instant, batch: Batch<'_>) -> Result<(), CloseReason> {
        if !batch.absorbed {
            let rest = &batch.bytes[batch.at..];
            self.tail.clear();
            if rest.is_empty() {
                self.frame_since = None;
                if self.tail.capacity() > TAIL_KEPT {
                    self.tail = Vec::new();
                }
            } else {
                if batch.at > 0 || self.frame_since.is_none() {
                    self.frame_since = Some(now);
                }
                self.tail.extend_from_slice(rest);
            }
            self.needed = batch.needed;
        }
        if self.ended {
            Err(CloseReason::PeerClosed)
        } else {
            Ok(())
        }
    }

    /// Queues one frame, given in parts, to go out with the next [`Connection::flush`]. ChannelData is padded here.
    pub fn queue(&mut self, now: Instant, class: QueueClass, parts: &[&[u8]]) -> Queued {
        let queued = self.queue.push(now, class, parts, &self.limits.queue());
        if queued == Queued::Closing {
            self.overloaded = true;
        }
        queued
    }

    /// Sends what is queued, all in one go as far as the kernel takes it; too old media is dropped instead.
    ///
    /// # Errors
    /// The reason to close the connection.
    pub fn flush(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.overloaded {
            return Err(CloseReason::Backlog);
        }
        self.queue.expire(now, &self.limits.queue());
        let sent = match &mut self.tls {
            None => write_plain(now, &self.stream, &mut self.queue),
            Some(tls) => write_records(now, &self.stream, tls, &mut self.queue),
        }
        .map_err(|_| CloseReason::Reset)?;
        if sent > 0 {
            self.last_moved = now;
        }
        if !self.wants_write() {
            self.blocked_since = None;
        } else if sent > 0 || self.blocked_since.is_none() {
            self.blocked_since = Some(now);
        }
        Ok(())
    }

    /// Whether something is left to send, so that the worker has to call [`Connection::flush`] when the socket can
    /// take more.
    pub fn wants_write(&self) -> bool {
        !self.queue.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// When [`Connection::handle_timeout`] next has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let patience = self.patience;
        let deadlines = [
            // While the client does not take what it is owed it is the stall deadline that counts.
            self.blocked_since
                .is_none()
                .then(|| self.last_moved + patience.idle),
            self.frame_since.map(|since| since + patience.frame),
            self.blocked_since.map(|since| since + patience.stall),
            self.holds_idle_buffers()
                .then(|| self.last_moved + RELEASE_AFTER),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Checks the deadlines and gives back memory that is not in use. May be called at any time.
    ///
    /// # Errors
    /// The reason to close the connection.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        let patience = self.patience;
        if self
            .frame_since
            .is_some_and(|since| since + patience.frame <= now)
        {
            return Err(CloseReason::FrameDeadline);
        }
        if self
            .blocked_since
            .is_some_and(|since| since + patience.stall <= now)
        {
            return Err(CloseReason::Stalled);
        }
        // RFC 8489 §6.2.2: not while an answer is owed; the stall deadline covers that.
        if self.last_moved + patience.idle <= now && self.blocked_since.is_none() {
            return Err(CloseReason::Idle);
        }
        if self.holds_idle_buffers() && self.last_moved + RELEASE_AFTER <= now {
            self.queue.release();
            if self.tail.is_empty() {
                self.tail = Vec::new();
            }
        }
        Ok(())
    }

    /// Sets how long the connection may keep the relay waiting: longer while it holds an allocation. It begins with
    /// [`StreamLimits::patience`].
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
        let socket = SockRef::from(&self.stream);
        // A kernel that refuses the option has no timeout of ours to lengthen.
        let _ = match (patience.unacknowledged, self.unacknowledged_before) {
            (Some(longer), None) => {
                let Ok(before) = socket.tcp_user_timeout() else {
                    return;
                };
                self.unacknowledged_before = Some(before);
                socket.set_tcp_user_timeout(Some(longer))
            }
            (Some(longer), Some(_)) => socket.set_tcp_user_timeout(Some(longer)),
            (None, Some(before)) => {
                self.unacknowledged_before = None;
                socket.set_tcp_user_timeout(before)
            }
            (None, None) => Ok(()),
        };
    }

    /// Bytes queued and not yet given to the kernel or to TLS.
    pub fn queued_bytes(&self) -> usize {
        self.queue.len()
    }

    /// How long the oldest queued frame has waited.
    pub fn queue_age(&self, now: Instant) -> Duration {
        self.queue.age(now)
    }

    /// The media frames given up since the last call.
    pub fn take_dropped(&mut self) -> DroppedFrames {
        self.queue.take_dropped()
    }

    /// How long the media frames that went out since the last call had waited; over TLS, until they were encrypted.
    pub fn take_waits(&mut self) -> Waits {
        self.queue.take_waits()
    }

    /// Ends the connection: one last attempt to send what is queued, then TLS close_notify and FIN. Dropping the
    /// connection ends it as well, only less politely.
    pub fn close(mut self, now: Instant) {
        // The peer may be gone already; there is nobody to tell.
        let _ = self.flush(now);
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = send_records(&self.stream, tls);
        }
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn holds_idle_buffers(&self) -> bool {
        let queue_idle = self.queue.is_empty() && self.queue.capacity() > 0;
        let tail_idle = self.tail.is_empty() && self.tail.capacity() > 0;
        queue_idle || tail_idle
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
