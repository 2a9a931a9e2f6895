//! From queued transmits to as few system calls as the kernel allows.
//!
//! Responsible for making messages (one for each run of transmits that can leave as one segmented send), for sending them,
//! and for what happens when the kernel refuses. Not responsible for the queue (`transmit`) or for sockets (`udp`).

use std::io;

use super::{
    address::RawAddr,
    buffer::ReceiveBatch,
    cmsg::{ControlWriter, SEND_CAPACITY},
    faults::Operation,
    outcome::{SendFailure, SendOutcome},
    sys::{self, Control, Header, Vector},
    transmit::{Cursor, Destination, Lane, LaneQueue, Queue, SendBatch, Transmit},
    udp::UdpSocket,
};

/// Messages in one `sendmmsg`.
const MESSAGES: usize = 64;
/// Datagrams in one segmented send: the limit of every kernel that knows `UDP_SEGMENT` (`UDP_MAX_SEGMENTS`).
const SEGMENTS: usize = 64;
/// Bytes in one segmented send: the longest UDP payload over IPv4.
const TRAIN_BYTES: usize = 65_507;
/// Vectors in one message stay below the kernel's limit of 1024: three parts a segment.
const VECTORS: usize = SEGMENTS * 3;

/// One message for the kernel: a datagram, or a train of them.
#[derive(Clone, Copy, Debug)]
struct Message {
    first: Cursor,
    datagrams: usize,
    bytes: usize,
    segment: usize,
    vectors_start: usize,
    vectors_end: usize,
}

/// Arrays that messages are assembled in, kept so that a flush allocates nothing.
pub(super) struct Assembly {
    messages: Vec<Message>,
    vectors: Vec<Vector>,
    names: Vec<RawAddr>,
    controls: Vec<Control>,
    headers: Vec<Header>,
}

impl std::fmt::Debug for Assembly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembly")
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

impl SendBatch {
    /// Sends everything that is queued and empties the queue. Never blocks; what the kernel does not take is dropped and
    /// counted.
    ///
    /// `received` is the batch that the queued payloads are in. `socket` finds the socket of a lane; `None` drops the lane's
    /// datagrams as [`SendFailure::Unbound`]. Datagrams of one lane leave in the order in which they were queued.
    pub fn flush<'s>(
        &mut self,
        received: &ReceiveBatch,
        socket: impl FnMut(Lane) -> Option<&'s UdpSocket>,
    ) -> SendOutcome {
        let mut total = SendOutcome::default();
        self.flush_lanes(received, socket, |_, outcome| total.add(outcome));
        total
    }

    /// [`SendBatch::flush`], with what became of each lane told to `done`.
    pub fn flush_lanes<'s>(
        &mut self,
        received: &ReceiveBatch,
        mut socket: impl FnMut(Lane) -> Option<&'s UdpSocket>,
        mut done: impl FnMut(Lane, &SendOutcome),
    ) {
        for lane in &self.lanes {
            let mut outcome = SendOutcome::default();
            match socket(lane.lane) {
                Some(socket) => {
                    Flush {
                        socket,
                        queue: &self.queue,
                        received,
                        outcome: &mut outcome,
                    }
                    .lane(lane, &mut self.assembly);
                }
                None => {
                    let (datagrams, bytes) = remaining(&self.queue, lane.first());
                    outcome.fail(SendFailure::Unbound, datagrams, bytes);
                }
            }
            done(lane.lane, &outcome);
        }
        self.clear();
    }
}

impl Assembly {
    pub(super) fn new() -> Self {
        Self {
            messages: Vec::with_capacity(MESSAGES),
            vectors: Vec::with_capacity(MESSAGES * 8 + VECTORS),
            names: Vec::with_capacity(MESSAGES),
            controls: Vec::with_capacity(MESSAGES),
            headers: Vec::with_capacity(MESSAGES),
        }
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.vectors.clear();
        self.names.clear();
        self.controls.clear();
        self.headers.clear();
    }

    /// Opens a message with its first datagram, whose vectors are `vectors_start..`.
    fn open(&mut self, first: Cursor, transmit: &Transmit, vectors_start: usize) {
        self.messages.push(Message {
            first,
            datagrams: 1,
            bytes: transmit.len(),
            segment: transmit.len(),
            vectors_start,
            vectors_end: self.vectors.len(),
        });
        self.names
            .push(RawAddr::from_socket_addr(&transmit.destination.to));
    }

    fn push_parts(&mut self, parts: [&[u8]; 3]) {
        self.vectors.extend(
            parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(Vector::reading),
        );
    }

    /// Writes the headers. Only from here on do pointers into the other arrays exist, so those must not grow any more.
    fn seal(&mut self, queue: &Queue) {
        for message in &self.messages {
            let Some((transmit, _)) = queue.at(message.first) else {
                continue;
            };
            let segment = if message.datagrams > 1 {
                message.segment
            } else {
                0
            };
            self.controls.push(control(&transmit.destination, segment));
        }
        for ((message, name), control) in self.messages.iter().zip(&self.names).zip(&self.controls)
        {
            let vectors = &self.vectors[message.vectors_start..message.vectors_end];
            self.headers.push(Header::outgoing(name, vectors, control));
        }
    }
}

/// One lane's way to the kernel.
struct Flush<'f> {
    socket: &'f UdpSocket,
    queue: &'f Queue,
    received: &'f ReceiveBatch,
    outcome: &'f mut SendOutcome,
}

impl Flush<'_> {
    fn lane(&mut self, lane: &LaneQueue, assembly: &mut Assembly) {
        let mut cursor = lane.first();
        while let Some((transmit, next)) = self.queue.at(cursor) {
            if transmit.dont_fragment {
                self.whole(transmit);
                cursor = next;
                continue;
            }
            assembly.clear();
            cursor = self.assemble(cursor, assembly);
            assembly.seal(self.queue);
            if self.send(assembly).is_err() {
                let (datagrams, bytes) = remaining(self.queue, cursor);
                self.outcome.fail(SendFailure::WouldBlock, datagrams, bytes);
                return;
            }
        }
    }

    /// Sends one datagram with DF, at its turn.
    #[cold]
    fn whole(&mut self, transmit: &Transmit) {
        let Some(parts) = self.queue.parts(transmit, self.received) else {
            return self.outcome.fail(SendFailure::Stale, 1, transmit.len());
        };
        self.outcome.calls += 1;
        match self
            .socket
            .send_dont_fragment(&transmit.destination, &parts)
        {
            Ok(()) => {
                self.outcome.datagrams += 1;
                self.outcome.bytes += transmit.len() as u64;
            }
            Err(failure) => self.outcome.fail(failure, 1, transmit.len()),
        }
    }

    /// Makes messages from `cursor` on, as many as one call takes; returns where to go on.
    fn assemble(&mut self, mut cursor: Cursor, assembly: &mut Assembly) -> Cursor {
        while let Some((transmit, next)) = self.queue.at(cursor) {
            if transmit.dont_fragment {
                break;
            }
            let Some(parts) = self.queue.parts(transmit, self.received) else {
                self.outcome.fail(SendFailure::Stale, 1, transmit.len());
                cursor = next;
                continue;
            };
            if !self.joins(transmit, assembly) {
                if assembly.messages.len() == MESSAGES {
                    break;
                }
                let vectors_start = assembly.vectors.len();
                assembly.push_parts(parts);
                assembly.open(cursor, transmit, vectors_start);
            } else {
                assembly.push_parts(parts);
                let vectors_end = assembly.vectors.len();
                if let Some(message) = assembly.messages.last_mut() {
                    message.datagrams += 1;
                    message.bytes += transmit.len();
                    message.vectors_end = vectors_end;
                }
            }
            cursor = next;
        }
        cursor
    }

    /// Whether a datagram can be the next segment of the message that was opened last: same receiver, same marks, every
    /// segment before it of full length, itself not longer and not empty.
    fn joins(&self, transmit: &Transmit, assembly: &Assembly) -> bool {
        let Some(message) = assembly.messages.last() else {
            return false;
        };
        let Some((first, _)) = self.queue.at(message.first) else {
            return false;
        };
        let len = transmit.len();
        first.destination == transmit.destination
            && len > 0
            && len <= message.segment
            && message.bytes == message.datagrams * message.segment
            && message.datagrams < SEGMENTS
            && message.bytes + len <= TRAIN_BYTES
            && self.socket.trains.allow(message.segment)
    }

    /// Sends what is assembled. An error means that the socket takes no more now; everything assembled is accounted for.
    fn send(&mut self, assembly: &mut Assembly) -> Result<(), ()> {
        let mut at = 0;
        let mut again = true;
        while at < assembly.messages.len() {
            self.outcome.calls += 1;
            let has_train = assembly.messages[at].datagrams > 1;
            match self.call(&mut assembly.headers[at..], has_train) {
                Ok(sent) => {
                    // The kernel never answers 0 to a non-empty vector; if it did, this must not spin.
                    let sent = sent.max(1);
                    for message in assembly.messages.iter().skip(at).take(sent) {
                        self.count(message);
                    }
                    at += sent;
                    again = true;
                }
                Err(error) if again && is_pending(&error) => again = false,
                Err(error) => {
                    let message = assembly.messages[at];
                    self.refused(&message, &error);
                    at += 1;
                    again = true;
                    if error.raw_os_error() == Some(libc::EAGAIN) {
                        for message in assembly.messages.iter().skip(at) {
                            let datagrams = message.datagrams as u64;
                            self.outcome
                                .fail(SendFailure::WouldBlock, datagrams, message.bytes);
                        }
                        return Err(());
                    }
                }
            }
        }
        Ok(())
    }

    fn call(&self, headers: &mut [Header], has_train: bool) -> io::Result<usize> {
        self.socket.faults.check(if has_train {
            Operation::SendTrain
        } else {
            Operation::Send
        })?;
        // SAFETY: `Assembly::seal` made the headers from the assembly's own names, controls and vectors, which nothing has
        // touched since, and `push_parts` made the vectors from slices of the queue's bytes, the receive batch and a constant,
        // all of which `self` borrows.
        unsafe { sys::send_many(self.socket.borrow(), headers) }
    }

    fn count(&mut self, message: &Message) {
        self.outcome.datagrams += message.datagrams as u64;
        self.outcome.bytes += message.bytes as u64;
        self.outcome.trains += u64::from(message.datagrams > 1);
    }

    /// The kernel refused the message: a train is taken apart when trains may be the reason, anything else is dropped.
    fn refused(&mut self, message: &Message, error: &io::Error) {
        if message.datagrams > 1 && self.socket.trains.refused(message.segment, error) {
            return self.one_by_one(message);
        }
        let datagrams = message.datagrams as u64;
        self.outcome
            .fail(SendFailure::of(error), datagrams, message.bytes);
    }

    #[cold]
    fn one_by_one(&mut self, message: &Message) {
        let mut cursor = message.first;
        for _ in 0..message.datagrams {
            let Some((transmit, next)) = self.queue.at(cursor) else {
                return;
            };
            cursor = next;
            let Some(parts) = self.queue.parts(transmit, self.received) else {
                continue;
            };
            self.outcome.calls += 1;
            match self.socket.send_to(&transmit.destination, &parts) {
                Ok(()) => {
                    self.outcome.datagrams += 1;
                    self.outcome.bytes += transmit.len() as u64;
                }
                Err(failure) => self.outcome.fail(failure, 1, transmit.len()),
            }
        }
    }
}

/// The control messages of one send; none for a plain datagram, which is the cheapest for the kernel.
pub(super) fn control(destination: &Destination, segment: usize) -> Control {
    let mut control = Control {
        bytes: [0; SEND_CAPACITY],
        len: 0,
    };
    let mut writer = ControlWriter::new(&mut control.bytes);
    if let Some(source) = destination.source {
        writer.source(source);
    }
    if destination.traffic_class != 0 {
        writer.traffic_class(&destination.to, destination.traffic_class);
    }
    if let Some(segment) = u16::try_from(segment).ok().filter(|segment| *segment > 0) {
        writer.segment(segment);
    }
    control.len = writer.len();
    control
}

/// Whether the error may belong to an earlier datagram: an ICMP message leaves its error on the socket, and the next call,
/// whatever its destination, reports it and clears it.
pub(super) fn is_pending(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EMSGSIZE
                | libc::EACCES
                | libc::EINTR
        )
    )
}

/// How many datagrams a chain has from `cursor` on, and how many bytes.
fn remaining(queue: &Queue, mut cursor: Cursor) -> (u64, usize) {
    let mut left = (0, 0);
    while let Some((transmit, next)) = queue.at(cursor) {
        left.0 += 1;
        left.1 += transmit.len();
        cursor = next;
    }
    left
}
