//! What a worker counts, one set a worker.
//!
//! Responsible for counters that cost a load and a store each. Not responsible for names and labels (`metrics`), nor for
//! adding the workers up, which happens when somebody asks ([`Totals`]).
//!
//! Every label comes from a closed enum, so the number of counters is a constant whatever the network sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use taciturn_protocol::address::{Family, Transport};
use taciturn_protocol::forward::DropReason;

use crate::net::SendFailure;
use crate::stream::CloseReason;

/// A counter with one writer: the worker that owns it.
///
/// As nobody else writes, a relaxed load and store count without the cost of a locked instruction; readers see a value
/// that was true a moment ago.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Counts `count` more. Only the owning worker may call it: a second writer would lose counts.
    pub fn add(&self, count: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    /// Sets a value that may also fall, such as the number of allocations. Only the owning worker may call it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value as of a moment ago. Anybody may read it.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Which way a payload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client out of its relayed address.
    ToPeer,
    /// From a peer to the client.
    ToClient,
}

impl Direction {
    /// Both directions, in the order of their index.
    pub const ALL: [Self; 2] = [Self::ToPeer, Self::ToClient];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToPeer => "to_peer",
            Self::ToClient => "to_client",
        }
    }
}

/// How a payload travelled between the client's side and the peer's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Through a socket of a worker.
    Socket,
    /// Handed over inside the relay, as both parties hold allocations on it.
    Handover,
}

impl Path {
    /// Every path, in the order of its index.
    pub const ALL: [Self; 2] = [Self::Socket, Self::Handover];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Handover => "handover",
        }
    }
}

/// The labels of one forwarded payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Which way it went.
    pub direction: Direction,
    /// The client's transport.
    pub transport: Transport,
    /// The family of the relayed side.
    pub family: Family,
    /// How it travelled.
    pub path: Path,
}

impl Flow {
    const COUNT: usize = Direction::ALL.len() * Transport::ALL.len() * 2 * Path::ALL.len();

    const fn index(self) -> usize {
        let family = match self.family {
            Family::V4 => 0,
            Family::V6 => 1,
        };
        ((self.direction as usize * Transport::ALL.len() + self.transport.index()) * 2 + family)
            * Path::ALL.len()
            + self.path as usize
    }

    /// Every combination of labels.
    pub fn all() -> impl Iterator<Item = Self> {
        Direction::ALL.into_iter().flat_map(|direction| {
            Transport::ALL.into_iter().flat_map(move |transport| {
                [Family::V4, Family::V6]
                    .into_iter()
                    .flat_map(move |family| {
                        Path::ALL.into_iter().map(move |path| Self {
                            direction,
                            transport,
                            family,
                            path,
                        })
                    })
            })
        })
    }
}

/// The methods that the relay answers, as labels.
pub const METHODS: [(u16, &str); 5] = [
    (0x001, "binding"),
    (0x003, "allocate"),
    (0x004, "refresh"),
    (0x008, "create_permission"),
    (0x009, "channel_bind"),
];

/// What an answer says, as labels: success is 0, `None` of the known codes is "other".
pub const OUTCOMES: [(u16, &str); 19] = [
    (0, "success"),
    (300, "300"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (405, "405"),
    (420, "420"),
    (437, "437"),
    (438, "438"),
    (440, "440"),
    (441, "441"),
    (442, "442"),
    (443, "443"),
    (446, "446"),
    (447, "447"),
    (486, "486"),
    (500, "500"),
    (508, "508"),
    (u16::MAX, "other"),
];

/// Method and error code (0: success) of an answer that the relay has written; `None` when it is not one.
pub fn reply_outcome(reply: &[u8]) -> Option<(u16, u16)> {
    let kind = u16::from_be_bytes(reply.first_chunk().copied()?);
    // RFC 8489 §5: the class bits 0x0110 lie between the bits of the method.
    let method = kind & 0x000F | kind >> 1 & 0x0070 | kind >> 2 & 0x0F80;
    match kind & 0x0110 {
        0x0100 => Some((method, 0)),
        0x0110 => {
            // The relay writes ERROR-CODE first: type, length, two reserved bytes, class, number.
            let value = reply
                .get(20..28)
                .filter(|value| value.starts_with(&[0x00, 0x09]))?;
            Some((
                method,
                u16::from(*value.get(6)?) * 100 + u16::from(*value.get(7)?),
            ))
        }
        _ => None,
    }
}

/// Everything that one worker counts. Written by that worker only.
#[derive(Debug)]
pub struct Counters {
    packets: [Tally; Flow::COUNT],
    bytes: [Tally; Flow::COUNT],
    dropped: [Tally; DropReason::ALL.len()],
    responses: [[Tally; OUTCOMES.len()]; METHODS.len()],
    send_failures: [Tally; SendFailure::ALL.len()],
    closed: [Tally; CloseReason::ALL.len()],
    /// The worker's thread, as the system numbers it; 0 before it runs.
    pub thread: Tally,
    /// Live allocations.
    pub allocations: Tally,
    /// Live client connections over TCP and TLS.
    pub connections: Tally,
    /// Datagrams that the kernel dropped on the listener and relayed sockets for want of buffer space.
    pub kernel_drops: Tally,
    /// Datagrams read from sockets.
    pub received: Tally,
    /// System calls that read at least one datagram; with `received` the length of a batch.
    pub receive_calls: Tally,
    /// Relayed addresses that could not be bound.
    pub bind_failures: Tally,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            packets: std::array::from_fn(|_| Tally::default()),
            bytes: std::array::from_fn(|_| Tally::default()),
            dropped: std::array::from_fn(|_| Tally::default()),
            responses: std::array::from_fn(|_| std::array::from_fn(|_| Tally::default())),
            send_failures: std::array::from_fn(|_| Tally::default()),
            closed: std::array::from_fn(|_| Tally::default()),
            thread: Tally::default(),
            allocations: Tally::default(),
            connections: Tally::default(),
            kernel_drops: Tally::default(),
            received: Tally::default(),
            receive_calls: Tally::default(),
            bind_failures: Tally::default(),
        }
    }
}

impl Counters {
    /// A payload of `len` bytes was passed on.
    pub fn forwarded(&self, flow: Flow, len: usize) {
        let index = flow.index();
        self.packets[index].add(1);
        self.bytes[index].add(len as u64);
    }

    /// One system call read this many datagrams.
    pub fn read(&self, datagrams: usize) {
        if datagrams > 0 {
            self.receive_calls.add(1);
            self.received.add(datagrams as u64);
        }
    }

    /// A packet was dropped.
    pub fn dropped(&self, reason: DropReason) {
        self.dropped[reason.index()].add(1);
    }

    /// Some packets were dropped, or none.
    pub fn dropped_many(&self, reason: DropReason, count: u64) {
        if count > 0 {
            self.dropped[reason.index()].add(count);
        }
    }

    /// A client's connection ended.
    pub fn closed(&self, reason: CloseReason) {
        self.closed[reason.index()].add(1);
    }

    /// The kernel did not take `count` datagrams.
    pub fn send_failed(&self, class: SendFailure, count: u64) {
        self.send_failures[class.index()].add(count);
        self.dropped_many(DropReason::SendFailed, count);
    }

    /// An answer leaves: `method` is the STUN method, `code` its error code or 0 for success.
    pub fn responded(&self, method: u16, code: u16) {
        let Some(method) = METHODS.iter().position(|(number, _)| *number == method) else {
            return;
        };
        let outcome = OUTCOMES
            .iter()
            .position(|(number, _)| *number == code)
            .unwrap_or(OUTCOMES.len() - 1);
        self.responses[method][outcome].add(1);
    }
}

/// The sum over all workers, as of a moment ago.
#[derive(Clone, Debug)]
pub struct Totals {
    workers: Vec<Arc<Counters>>,
}

impl Totals {
    /// Adds up these workers whenever it is asked.
    pub const fn new(workers: Vec<Arc<Counters>>) -> Self {
        Self { workers }
    }

    /// The counters of each worker.
    pub fn workers(&self) -> &[Arc<Counters>] {
        &self.workers
    }

    /// The sum of one plain counter, such as `|counters| &counters.allocations`.
    pub fn sum(&self, which: impl Fn(&Counters) -> &Tally) -> u64 {
        self.workers
            .iter()
            .map(|counters| which(counters).read())
            .sum()
    }

    /// Live allocations.
    pub fn allocations(&self) -> u64 {
        self.sum(|counters| &counters.allocations)
    }

    /// Payloads passed on with these labels.
    pub fn packets(&self, flow: Flow) -> u64 {
        self.sum(|counters| &counters.packets[flow.index()])
    }

    /// Payload bytes passed on with these labels.
    pub fn bytes(&self, flow: Flow) -> u64 {
        self.sum(|counters| &counters.bytes[flow.index()])
    }

    /// Packets dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.sum(|counters| &counters.dropped[reason.index()])
    }

    /// Datagrams that the kernel did not take.
    pub fn send_failures(&self, class: SendFailure) -> u64 {
        self.sum(|counters| &counters.send_failures[class.index()])
    }

    /// Client connections that ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.sum(|counters| &counters.closed[reason.index()])
    }

    /// Answers by position in [`METHODS`] and [`OUTCOMES`].
    pub fn responses(&self, method: usize, outcome: usize) -> u64 {
        self.sum(|counters| &counters.responses[method][outcome])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_labels_has_its_own_counter() {
        let mut seen: Vec<usize> = Flow::all().map(Flow::index).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..Flow::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn totals_add_the_workers_up() {
        let workers = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        let flow = Flow {
            direction: Direction::ToPeer,
            transport: Transport::Tls,
            family: Family::V6,
            path: Path::Socket,
        };
        workers[0].forwarded(flow, 100);
        workers[1].forwarded(flow, 20);
        workers[1].responded(0x003, 508);
        workers[1].responded(0x003, 599);
        workers[1].responded(0x0fff, 400);
        let totals = Totals::new(workers.to_vec());
        assert_eq!((totals.packets(flow), totals.bytes(flow)), (2, 120));
        assert_eq!(totals.responses(1, 17), 1);
        assert_eq!(
            totals.responses(1, OUTCOMES.len() - 1),
            1,
            "an unlisted code is counted as other"
        );
    }
}
