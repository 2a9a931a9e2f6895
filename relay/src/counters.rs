//! What a worker counts, one set a worker.
//!
//! Responsible for counters that cost a load and a store each. Not responsible for names and help texts (`metrics`), nor
//! for adding the workers up, which happens when somebody asks ([`Totals`]).
//!
//! Every label comes from a closed enum, so the number of counters is a constant whatever the network sends. What the
//! relay's own self-check causes is counted apart, or not at all: users' figures are of users alone.

mod answers;
mod labels;
mod totals;

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use taciturn_protocol::address::Transport;
use taciturn_protocol::forward::DropReason;
use taciturn_protocol::server::{Authentication, EndCause, Refusal, Tallies};

use crate::net::SendFailure;
use crate::stream::{CloseReason, Waits};

pub use answers::{METHODS, OUTCOMES, reply_outcome};
pub use labels::{Direction, DropSite, Flow, Leg, Path};
pub use totals::Totals;

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

/// Packets and their bytes.
#[derive(Debug, Default)]
struct Volume {
    packets: Tally,
    bytes: Tally,
}

impl Volume {
    fn add(&self, packets: u64, bytes: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
    }
}

/// Everything that one worker counts. Written by that worker only.
#[derive(Debug)]
pub struct Counters {
    forwarded: [Volume; Flow::COUNT],
    dropped: [[Volume; DropSite::COUNT]; DropReason::ALL.len()],
    received: [Volume; Leg::ALL.len()],
    synthetic: [Volume; Direction::ALL.len()],
    responses: [[Tally; OUTCOMES.len()]; METHODS.len()],
    send_failures: [Tally; SendFailure::ALL.len()],
    closed: [Tally; CloseReason::ALL.len()],
    authentications: [Tally; Authentication::ALL.len()],
    refusals: [Tally; Refusal::ALL.len()],
    queue_waits: [Tally; Waits::BUCKETS],
    queue_wait_nanos: Tally,
    created: [Tally; Transport::ALL.len()],
    ended: [Tally; EndCause::ALL.len()],
    /// The worker's thread, as the system numbers it; 0 before it runs.
    pub thread: Tally,
    /// Users' live allocations by [`Transport::index`].
    pub by_transport: [Tally; Transport::ALL.len()],
    /// Users' live allocations.
    pub allocations: Tally,
    /// Live allocations of the relay's own self-check.
    pub synthetic_allocations: Tally,
    /// Users' allocations that had carried a payload between the last two looks, half a minute apart.
    pub active: Tally,
    /// Allocations that wait for their relayed socket.
    pub pending: Tally,
    /// Relayed ports that are held for an Allocate with a reservation token.
    pub reserved: Tally,
    /// Permissions of users' live allocations.
    pub permissions: Tally,
    /// Channel bindings of users' live allocations.
    pub channels: Tally,
    /// Permissions that a new peer policy has ended.
    pub revoked_permissions: Tally,
    /// Channel bindings that a new peer policy has ended.
    pub revoked_channels: Tally,
    /// Relayed ports that can be given out.
    pub ports_free: Tally,
    /// Relayed ports in use, reserved ones included.
    pub ports_used: Tally,
    /// Relayed ports that are kept back after use.
    pub ports_resting: Tally,
    /// Relayed ports that nobody can be given, used or resting, by [`taciturn_protocol::address::Family::index`].
    pub ports_taken: [Tally; 2],
    /// Age of the oldest of users' live allocations in seconds; 0 without any.
    pub oldest_allocation_seconds: Tally,
    /// Users' live client connections over TCP and TLS.
    pub connections: Tally,
    /// Live connections of the relay's own self-check.
    pub synthetic_connections: Tally,
    /// Answers to the relay's own self-check.
    pub synthetic_responses: Tally,
    /// Datagrams that the kernel dropped on the listener and relayed sockets for want of buffer space.
    pub kernel_drops: Tally,
    /// The same on the sockets for those who crowd others out: their own, and no sign that the relay is full.
    pub crowd_drops: Tally,
    /// Flows that are set apart, as they crowd others out.
    pub apart: Tally,
    /// How often one was set apart.
    pub set_apart: Tally,
    /// System calls that read at least one datagram; with those received the length of a batch.
    pub receive_calls: Tally,
    /// Reads of a UDP socket that the kernel refused; what waits there is read later.
    pub receive_failures: Tally,
    /// Relayed addresses that could not be bound.
    pub bind_failures: Tally,
    /// Time that the worker's thread has run, in nanoseconds.
    pub cpu_nanos: Tally,
    /// Time of it that the worker has looked for more to do instead of sleeping, in nanoseconds.
    pub spun_nanos: Tally,
    /// Times that its worker let datagrams gather.
    pub pauses: Tally,
}

fn zeros<T: Default, const N: usize>() -> [T; N] {
    array::from_fn(|_| T::default())
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            forwarded: zeros(),
            dropped: array::from_fn(|_| zeros()),
            received: zeros(),
            synthetic: zeros(),
            responses: array::from_fn(|_| zeros()),
            send_failures: zeros(),
            closed: zeros(),
            authentications: zeros(),
            refusals: zeros(),
            queue_waits: zeros(),
            queue_wait_nanos: Tally::default(),
            created: zeros(),
            ended: zeros(),
            thread: Tally::default(),
            by_transport: zeros(),
            allocations: Tally::default(),
            synthetic_allocations: Tally::default(),
            active: Tally::default(),
            pending: Tally::default(),
            reserved: Tally::default(),
            permissions: Tally::default(),
            channels: Tally::default(),
            revoked_permissions: Tally::default(),
            revoked_channels: Tally::default(),
            ports_free: Tally::default(),
            ports_used: Tally::default(),
            ports_resting: Tally::default(),
            ports_taken: zeros(),
            oldest_allocation_seconds: Tally::default(),
            connections: Tally::default(),
            synthetic_connections: Tally::default(),
            synthetic_responses: Tally::default(),
            kernel_drops: Tally::default(),
            crowd_drops: Tally::default(),
            apart: Tally::default(),
            set_apart: Tally::default(),
            receive_calls: Tally::default(),
            receive_failures: Tally::default(),
            bind_failures: Tally::default(),
            cpu_nanos: Tally::default(),
            spun_nanos: Tally::default(),
            pauses: Tally::default(),
        }
    }
}

impl Counters {
    /// A payload of `len` bytes was passed on.
    #[inline]
    pub fn forwarded(&self, flow: Flow, len: usize) {
        self.forwarded[flow.index()].add(1, len as u64);
    }

    /// The same of the relay's own self-check, which is in no other count of payloads.
    pub fn forwarded_synthetic(&self, direction: Direction, len: usize) {
        self.synthetic[direction as usize].add(1, len as u64);
    }

    /// One system call read this many datagrams.
    #[inline]
    pub fn read(&self, leg: Leg, datagrams: usize, bytes: usize) {
        if datagrams > 0 {
            self.receive_calls.add(1);
            self.received[leg.index()].add(datagrams as u64, bytes as u64);
        }
    }

    /// Frames came over a stream.
    #[inline]
    pub fn read_frames(&self, leg: Leg, frames: usize, bytes: usize) {
        self.received[leg.index()].add(frames as u64, bytes as u64);
    }

    /// A packet of `len` bytes was dropped.
    pub fn dropped(&self, reason: DropReason, site: DropSite, len: usize) {
        self.dropped_many(reason, site, 1, len as u64);
    }

    /// Some packets were dropped, or none; `bytes` are those of all of them.
    pub fn dropped_many(&self, reason: DropReason, site: DropSite, packets: u64, bytes: u64) {
        debug_assert!(
            site.is_possible(reason),
            "{reason} at {site:?} is shown nowhere"
        );
        if packets > 0 {
            self.dropped[reason.index()][site.index()].add(packets, bytes);
        }
    }

    /// A client's connection ended.
    pub fn closed(&self, reason: CloseReason) {
        self.closed[reason.index()].add(1);
    }

    /// The kernel did not take `packets` datagrams. They are counted among the dropped ones as well.
    pub fn send_failed(&self, class: SendFailure, site: DropSite, packets: u64, bytes: u64) {
        self.send_failures[class.index()].add(packets);
        self.dropped_many(DropReason::SendFailed, site, packets, bytes);
    }

    /// Payloads have waited this long for a client over TCP or TLS to take them.
    #[inline]
    pub fn waited(&self, waits: &Waits) {
        for (tally, count) in self.queue_waits.iter().zip(waits.counts) {
            if count > 0 {
                tally.add(u64::from(count));
            }
        }
        if waits.nanos > 0 {
            self.queue_wait_nanos.add(waits.nanos);
        }
    }

    /// What a server has proved and refused between two looks at its tallies.
    pub fn tallied(&self, before: &Tallies, now: &Tallies) {
        let count = |tallies: &[Tally], before: &[u64], now: &[u64]| {
            for ((tally, before), now) in tallies.iter().zip(before).zip(now) {
                tally.add(now.saturating_sub(*before));
            }
        };
        count(
            &self.authentications,
            &before.authentications,
            &now.authentications,
        );
        count(&self.refusals, &before.refusals, &now.refusals);
    }

    /// A user's allocation began.
    pub fn created(&self, transport: Transport) {
        self.allocations.add(1);
        self.by_transport[transport.index()].add(1);
        self.created[transport.index()].add(1);
    }

    /// A user's allocation ended.
    pub fn ended(&self, transport: Transport, cause: EndCause) {
        for gauge in [&self.allocations, &self.by_transport[transport.index()]] {
            gauge.set(gauge.read().saturating_sub(1));
        }
        self.ended[cause.index()].add(1);
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
