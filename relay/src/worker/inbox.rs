//! What reaches a worker from other threads: a queue and an event that wakes it.
//!
//! Workers share no state, so whatever crosses them is a message. Control messages are never lost: each one is caused by
//! something that is limited already, an authenticated request, an admitted connection or an operator. Payloads between
//! two allocations of this relay come in parcels, whose number is bounded ([`super::handover`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::time::Duration;

use taciturn_protocol::credentials::{Revocations, UserName};
use taciturn_protocol::forward::{AllocationId, Bandwidth, RelayedId};
use taciturn_protocol::server::{Alternate, Drain, RelayedPort, Replacement};
use taciturn_protocol::status::Load;
use tokio::sync::oneshot;

use crate::listener::Established;
use crate::net::{EventFd, UdpSocket};
use crate::stream::StreamLimits;

use super::handover::Parcel;
use super::listing::{AllocationReport, Page};

/// Parcels that may wait for a worker.
const PARCELS: usize = 64;
/// How long workers may take to answer. Only a worker that is stuck takes longer than a round.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// A control message to a worker.
pub enum Message {
    /// A client connection that has been accepted, and has completed its TLS handshake where there is one.
    Adopt(Box<Established>, Seat),
    /// Another worker's client presents a reservation token of this worker (RFC 8656 §7.2).
    Claim {
        /// The worker that asks.
        worker: u8,
        /// Its name for the relayed socket that it waits for.
        relayed: RelayedId,
        /// The token.
        token: [u8; 8],
        /// Who presents it; a token is good for the user that reserved the port only.
        user: UserName,
    },
    /// The answer to a claim: the port with its socket, or nothing.
    Claimed {
        /// The name that the claim gave.
        relayed: RelayedId,
        /// The port and the socket that is bound to it.
        outcome: Option<(RelayedPort, UdpSocket)>,
    },
    /// A port that was claimed from this worker is free again.
    PortReturned(RelayedPort),
    /// Begin or change a drain, or end it.
    Drain(Option<Drain>),
    /// From the next packet on, work on these terms. They are the worker's own: it copies nothing while packets wait.
    Replace(Box<Terms>),
    /// From the next packet on, refuse these; the answer says that it is so.
    Revoke(Arc<Revocations>, oneshot::Sender<()>),
    /// Refuse new allocations because the relay is overloaded, or accept them again. All that exists goes on.
    Shed(bool),
    /// Where to send clients whose new allocations are refused, by a drain or by overload; best first.
    Alternates(Arc<[Alternate]>),
    /// End the allocation of this name and serial; the answer says whether there was one.
    End(AllocationId, u64, oneshot::Sender<bool>),
    /// Say how much the worker holds. Costs the same whatever it holds.
    Load(oneshot::Sender<Load>),
    /// List these of the worker's allocations, in the order of their names.
    List(Page, oneshot::Sender<Vec<AllocationReport>>),
    /// End.
    Stop,
}

/// What a worker works by that can change while it runs.
#[derive(Clone, Debug)]
pub struct Terms {
    /// For the server. The forwarding table's port rules follow from its peer policy.
    pub server: Replacement,
    /// For the forwarding table.
    pub bandwidth: Bandwidth,
    /// For connections that are taken over from now on.
    pub streams: StreamLimits,
    /// How long to look for more to do before sleeping; zero: not at all.
    pub busy_poll: Duration,
    /// How long datagrams may gather while many come; zero: not at all.
    pub coalesce: Duration,
}

impl std::fmt::Debug for Message {
    /// The kind alone: messages carry tokens and user names.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Adopt(..) => "Adopt",
            Self::Claim { .. } => "Claim",
            Self::Claimed { .. } => "Claimed",
            Self::PortReturned(_) => "PortReturned",
            Self::Drain(_) => "Drain",
            Self::Replace(_) => "Replace",
            Self::Revoke(..) => "Revoke",
            Self::Shed(_) => "Shed",
            Self::Alternates(_) => "Alternates",
            Self::End(..) => "End",
            Self::Load(_) => "Load",
            Self::List(..) => "List",
            Self::Stop => "Stop",
        })
    }
}

/// One connection's place with a worker, from the moment it is given to it: new ones go where the fewest are.
#[derive(Debug)]
pub struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The sending side of a worker's inbox.
#[derive(Clone)]
pub struct Outbox {
    messages: Sender<Message>,
    parcels: SyncSender<Parcel>,
    event: Arc<EventFd>,
    seats: Arc<AtomicUsize>,
    // Whether the worker has been woken and has not looked yet: saves the system call for all but the first message.
    woken: Arc<AtomicBool>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    /// Sends a message and wakes the worker. A worker that has ended takes none, which only happens while stopping.
    pub fn send(&self, message: Message) {
        if self.messages.send(message).is_ok() {
            self.wake();
        }
    }

    /// Gives the worker a client connection.
    pub fn adopt(&self, established: Established) {
        self.seats.fetch_add(1, Ordering::Relaxed);
        self.send(Message::Adopt(
            Box::new(established),
            Seat(Arc::clone(&self.seats)),
        ));
    }

    /// Connections that the worker has, or is about to have.
    pub fn connections(&self) -> usize {
        self.seats.load(Ordering::Relaxed)
    }

    /// Sends a parcel and wakes the worker; gives it back when too many wait already.
    pub(super) fn send_parcel(&self, parcel: Parcel) -> Result<(), Parcel> {
        match self.parcels.try_send(parcel) {
            Ok(()) => {
                self.wake();
                Ok(())
            }
            Err(TrySendError::Full(parcel) | TrySendError::Disconnected(parcel)) => Err(parcel),
        }
    }

    fn wake(&self) {
        // Sequentially consistent with the worker's swap: either it sees the message, or we see the flag down and wake.
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.event.wake();
        }
    }
}

/// Every worker's answer to a question such as [`Message::Load`]; `None` when one does not answer within two seconds, which
/// only a worker that is stuck or has ended does not: a missing figure is never a zero.
pub async fn ask<T>(
    workers: &[Outbox],
    question: impl Fn(oneshot::Sender<T>) -> Message,
) -> Option<Vec<T>> {
    let asked: Vec<_> = workers
        .iter()
        .map(|worker| {
            let (sender, answer) = oneshot::channel();
            worker.send(question(sender));
            answer
        })
        .collect();
    tokio::time::timeout(ANSWER_TIME, async {
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.push(answer.await.ok()?);
        }
        Some(answers)
    })
    .await
    .ok()?
}

/// The receiving side, owned by the worker.
pub struct Inbox {
    messages: Receiver<Message>,
    parcels: Receiver<Parcel>,
    event: Arc<EventFd>,
    woken: Arc<AtomicBool>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Inbox {
    /// An inbox and its sending side.
    pub fn new() -> io::Result<(Self, Outbox)> {
        let (message_sender, messages) = mpsc::channel();
        let (parcel_sender, parcels) = mpsc::sync_channel(PARCELS);
        let event = Arc::new(EventFd::new()?);
        let woken = Arc::new(AtomicBool::new(false));
        let outbox = Outbox {
            messages: message_sender,
            parcels: parcel_sender,
            event: Arc::clone(&event),
            seats: Arc::default(),
            woken: Arc::clone(&woken),
        };
        Ok((
            Self {
                messages,
                parcels,
                event,
                woken,
            },
            outbox,
        ))
    }

    /// What wakes the worker, for its epoll.
    pub(super) fn event(&self) -> &EventFd {
        &self.event
    }

    /// Must be called before the queues are read, so that what comes later wakes again.
    pub(super) fn looked(&self) {
        self.event.clear();
        self.woken.store(false, Ordering::SeqCst);
    }

    /// The next message.
    pub(crate) fn message(&self) -> Option<Message> {
        self.messages.try_recv().ok()
    }

    /// The next parcel.
    pub(super) fn parcel(&self) -> Option<Parcel> {
        self.parcels.try_recv().ok()
    }

    /// Wakes the worker itself, when a round ended with messages left.
    pub(super) fn come_back(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.event.wake();
        }
    }
}
