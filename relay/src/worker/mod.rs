//! One thread per core that owns everything it touches: sockets, routes, a server, counters.
//!
//! Responsible for the order of one round: what is waited for, and what is done first. Not responsible for how much is
//! read (`reading`, `crowd`), for what is done with a packet (`switch`), with a control message (`control`), nor for accepting TCP
//! (`crate::listener`).
//!
//! ```text
//!  wait -> inbox -> requests -> listeners -> those set apart -> relayed sockets -> flush -> streams -> timeouts -> flush, close -> wait
//! ```
//!
//! Every step is bounded, so that no source of work can keep another waiting for longer than a round (`reading`), and
//! epoll, being level-triggered, brings back what was left. Requests come first, as a call ends without its Refresh, and
//! clients' datagrams before peers', as requests are among them where they have no socket of their own. Whoever crowds others
//! out comes after them (`crowd`).

mod control;
mod crowd;
mod gathering;
mod handover;
mod inbox;
mod listing;
mod owners;
mod patience;
mod reading;
mod sockets;
mod streams;
mod sweep;
mod switch;
#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};
use taciturn_protocol::forward::RouteTable;
use taciturn_protocol::server::{Reply, Server, Tallies};
use taciturn_protocol::time::{Instant, Now};

use crate::clock::Clock;
use crate::config::Dscp;
use crate::counters::Counters;
use crate::events::EventLog;
use crate::listener::Established;
use crate::net::{Epoll, Events, Interest, ReceiveBatch, SendBatch};
use crate::self_check::SelfCheckSources;
use crate::stream::{CloseReason, Connection, Scratch, StreamLimits};

use gathering::Gathering;
use handover::Parcels;
use patience::Patience;
use reading::Turns;
use sockets::{Sockets, UdpListener};
use streams::Streams;
use sweep::Sweeping;
use switch::Switch;

pub use crowd::Apart;
pub use handover::Parcel;
pub use inbox::{Inbox, Message, Outbox, Seat, Terms, ask};
pub use listing::{AllocationReport, Page};
pub use owners::Owners;
pub use sockets::ListenerSockets;

/// Control messages taken in a round.
const MESSAGES_PER_ROUND: usize = 64;
/// Parcels taken in a round.
const PARCELS_PER_ROUND: usize = 8;
/// Ready sockets that one wait returns.
const EVENTS: usize = 512;
/// What nothing announces is looked at this often: connections' deadlines, which are seconds long, and figures.
const SWEEP: Duration = Duration::from_secs(1);

/// Counts of rounds and of reads begin here: at zero, and in test builds so close to their end that every test passes it (G-12).
const FIRST_ROUND: u32 = if cfg!(test) { u32::MAX - 2 } else { 0 };

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its number.
    pub worker: u8,
    /// The CPU that it stays on; `None`: wherever the system puts it.
    pub cpu: Option<usize>,
    /// Its UDP listeners' sockets, bound.
    pub listeners: Vec<ListenerSockets>,
    /// Its server.
    pub server: Server,
    /// Its routes, empty.
    pub routes: RouteTable,
    /// Its inbox.
    pub inbox: Inbox,
    /// The inboxes of all workers, its own included, by number.
    pub outboxes: Vec<Outbox>,
    /// Who holds which relayed port.
    pub owners: Arc<Owners>,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Where changes of allocations are logged.
    pub events: Arc<EventLog>,
    /// What becomes of DSCP.
    pub dscp: Dscp,
    /// Limits of a client's connection.
    pub stream_limits: StreamLimits,
    /// How long to look for more to do before sleeping; zero: not at all.
    pub busy_poll: Duration,
    /// How long datagrams may gather while many come; zero: not at all.
    pub coalesce: Duration,
    /// The relay's clock.
    pub clock: Clock,
    /// From where the relay's own self-check comes.
    pub self_check_sources: SelfCheckSources,
}

/// Epoll tokens: what kind of source, and which.
mod token {
    pub(super) const INBOX: u64 = 0;
    const KIND: u32 = 56;
    const LISTENER: u64 = 1 << KIND;
    const RELAYED: u64 = 2 << KIND;
    const STREAM: u64 = 3 << KIND;
    const REQUESTS: u64 = 4 << KIND;
    const CROWD: u64 = 5 << KIND;

    /// What a token stands for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Source {
        Inbox,
        Requests(usize),
        Listener(usize),
        Crowd(usize),
        Relayed(usize),
        Stream(usize),
    }

    pub(super) const fn listener(index: usize) -> u64 {
        LISTENER | index as u64
    }

    /// The socket for requests of a listener.
    pub(super) const fn requests(index: usize) -> u64 {
        REQUESTS | index as u64
    }

    /// The socket of a listener for those who are set apart.
    pub(super) const fn crowd(index: usize) -> u64 {
        CROWD | index as u64
    }

    pub(super) const fn relayed(slot: usize) -> u64 {
        RELAYED | slot as u64
    }

    pub(super) const fn stream(slot: usize) -> u64 {
        STREAM | slot as u64
    }

    pub(super) fn source(token: u64) -> Source {
        let index = usize::try_from(token & ((1 << KIND) - 1)).unwrap_or(usize::MAX);
        match token >> KIND {
            1 => Source::Listener(index),
            2 => Source::Relayed(index),
            3 => Source::Stream(index),
            4 => Source::Requests(index),
            5 => Source::Crowd(index),
            _ => Source::Inbox,
        }
    }
}

/// A worker, ready to run.
#[derive(Debug)]
pub struct Worker {
    cpu: Option<usize>,
    switch: Switch,
    inbox: Inbox,
    batch: ReceiveBatch,
    scratch: Scratch,
    events: Events,
    ready: Ready,
    patience: Patience,
    gathering: Gathering,
    /// Packets that this round has read.
    came: usize,
    clock: Clock,
    now: Now,
    next_sweep: Instant,
    sweeping: Sweeping,
    rounds: u32,
    first_relayed: Turns,
    first_stream: Turns,
}

/// What one wait has found, by kind, so that kinds can be worked off in order.
#[derive(Debug, Default)]
struct Ready {
    inbox: bool,
    /// As many events as fit came, so there may be more.
    more: bool,
    requests: Vec<usize>,
    listeners: Vec<usize>,
    crowds: Vec<usize>,
    relayed: Vec<(usize, bool)>,
    streams: Vec<(usize, bool, bool)>,
}

impl Worker {
    /// Makes a worker and registers its sockets.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(parts.inbox.event(), token::INBOX, Interest::Read)?;
        let listeners: Vec<UdpListener> =
            parts.listeners.into_iter().map(UdpListener::new).collect();
        for (index, listener) in listeners.iter().enumerate() {
            epoll.add(
                &listener.sockets.data,
                token::listener(index),
                Interest::Read,
            )?;
            if let Some(control) = &listener.sockets.control {
                epoll.add(control, token::requests(index), Interest::Read)?;
            }
            if let Some(crowd) = &listener.crowd {
                epoll.add(crowd.socket(), token::crowd(index), Interest::Read)?;
            }
        }
        let sweeping = Sweeping::new(listeners.len());
        let switch = Switch {
            worker: parts.worker,
            routes: parts.routes,
            server: parts.server,
            reply: Reply::new(),
            sockets: Sockets::new(listeners),
            streams: Streams::new(parts.stream_limits),
            epoll,
            send: SendBatch::new(),
            parcels: Parcels::new(parts.outboxes),
            owners: parts.owners,
            counters: parts.counters,
            events: parts.events,
            dscp: parts.dscp,
            // G-12: test builds pass the end of the numbers.
            next_indication: if cfg!(test) { u64::MAX - 2 } else { 0 },
            tallied: Tallies::default(),
            self_check_sources: parts.self_check_sources,
        };
        Ok(Self {
            cpu: parts.cpu,
            switch,
            inbox: parts.inbox,
            batch: ReceiveBatch::new(),
            scratch: Scratch::new(),
            events: Events::with_capacity(EVENTS),
            ready: Ready::default(),
            patience: Patience::new(parts.busy_poll),
            gathering: Gathering::new(parts.coalesce),
            came: 0,
            clock: parts.clock,
            now: parts.clock.now(),
            next_sweep: Instant::ZERO,
            sweeping,
            rounds: FIRST_ROUND,
            first_relayed: Turns::default(),
            first_stream: Turns::default(),
        })
    }

    /// Runs on a thread of its own, named after its number.
    ///
    /// A panic of a worker ends the process: its clients' allocations are lost with it, and a relay that lives on with
    /// fewer workers would go on taking its share of new clients into nothing. Whoever supervises the process starts a
    /// whole one again.
    pub fn spawn(self) -> io::Result<JoinHandle<()>> {
        let name = format!("worker-{}", self.switch.worker);
        thread::Builder::new().name(name).spawn(move || {
            let _abort = AbortOnPanic;
            self.run();
        })
    }

    /// Works until it is told to stop. Its sockets are closed when it returns.
    fn run(mut self) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        self.switch
            .counters
            .thread
            .set(thread.unsigned_abs().into());
        self.stay();
        // Pauses are to be as long as was meant, not up to 50 microseconds longer; without this they are only less exact.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        while self.turn() == Flow::GoOn {}
        self.switch.streams.close_all(self.now.instant);
    }

    /// Moves to the worker's CPU, if it has one. Not to be moved is no reason not to serve.
    fn stay(&self) {
        let Some(cpu) = self.cpu else {
            return;
        };
        let mut set = CpuSet::new();
        set.set(cpu);
        if let Err(error) = sched_setaffinity(None, &set) {
            tracing::warn!(worker = self.switch.worker, cpu, %error, "a worker cannot be pinned");
        }
    }

    /// Waits for something to do and does one round of it.
    fn turn(&mut self) -> Flow {
        let came = std::mem::take(&mut self.came);
        if let Some(pause) = self.gathering.pause_after(self.now.instant, came) {
            self.switch.counters.pauses.add(1);
            thread::sleep(pause);
        }
        if self.patience.is_none() {
            // Counted from the last reading of the clock: a round is much shorter than any deadline.
            self.look(self.deadline().saturating_since(self.now.instant));
        } else {
            self.wait_patiently();
        }
        self.sort();
        self.now = self.clock.now();
        self.round(self.now)
    }

    /// Looks again and again before it sleeps, when something has lately come within that time.
    fn wait_patiently(&mut self) {
        let (began, deadline) = (self.clock.instant(), self.deadline());
        let spin = self.patience.spin_until(began, deadline);
        if let Some(until) = spin {
            self.look(Duration::ZERO);
            let mut now = began;
            while self.events.is_empty() && now < until {
                std::hint::spin_loop();
                self.look(Duration::ZERO);
                now = self.clock.instant();
            }
            // No more than was meant to be spun: beyond that, this thread did not run.
            let spun = now.min(until).saturating_since(began);
            let nanos = u64::try_from(spun.as_nanos()).unwrap_or(u64::MAX);
            self.switch.counters.spun_nanos.add(nanos);
        }
        if self.events.is_empty() || spin.is_none() {
            self.look(deadline.saturating_since(self.clock.instant()));
        }
        let found = !self.events.is_empty();
        let waited = self.clock.instant().saturating_since(began);
        self.patience.learn(waited, spin.is_some(), found);
    }

    /// Waits for sockets that are ready.
    fn look(&mut self, timeout: Duration) {
        if let Err(error) = self.switch.epoll.wait(&mut self.events, Some(timeout)) {
            // Only a broken descriptor makes epoll fail, and nothing can be served without it.
            tracing::error!(worker = self.switch.worker, %error, "waiting for sockets failed");
            std::process::abort();
        }
    }

    /// When there is something to do even if nothing comes.
    fn deadline(&self) -> Instant {
        self.switch
            .server
            .poll_timeout()
            .map_or(self.next_sweep, |expiry| expiry.min(self.next_sweep))
    }

    fn sort(&mut self) {
        let ready = &mut self.ready;
        ready.inbox = false;
        ready.requests.clear();
        ready.listeners.clear();
        ready.crowds.clear();
        ready.relayed.clear();
        ready.streams.clear();
        ready.more = self.events.iter().count() == EVENTS;
        for event in self.events.iter() {
            match token::source(event.token) {
                token::Source::Inbox => ready.inbox = true,
                token::Source::Requests(index) => ready.requests.push(index),
                token::Source::Listener(index) => ready.listeners.push(index),
                token::Source::Crowd(index) => ready.crowds.push(index),
                token::Source::Relayed(slot) => ready.relayed.push((slot, event.error)),
                token::Source::Stream(slot) => {
                    let readable = event.readable || event.hangup || event.error;
                    ready.streams.push((slot, readable, event.writable));
                }
            }
        }
    }

    /// One round at one reading of the clock.
    fn round(&mut self, now: Now) -> Flow {
        if self.ready.inbox && self.read_inbox(now) == Flow::Stop {
            return Flow::Stop;
        }
        self.rounds = self.rounds.wrapping_add(1);
        self.read_ready_listeners(now);
        self.read_relayed(now);
        self.flush();
        self.serve_streams(now);
        // Last: a Refresh that came in time, and waited while this thread did not run, still counts.
        self.expire(now);
        self.flush();
        self.flush_streams(now);
        self.switch.sockets.close_retired();
        Flow::GoOn
    }

    fn flush_streams(&mut self, now: Now) {
        while let Some(slot) = self.switch.streams.next_dirty() {
            self.flush_stream(now, slot);
        }
    }

    fn flush_stream(&mut self, now: Now, slot: usize) {
        let Switch {
            streams,
            epoll,
            counters,
            ..
        } = &mut self.switch;
        if let Err(reason) = streams.flush(now.instant, slot, epoll, token::stream(slot), counters)
        {
            self.close_stream(now, slot, reason);
        }
    }

    fn close_stream(&mut self, now: Now, slot: usize, reason: CloseReason) {
        let Some((connection, synthetic)) = self.switch.streams.remove(slot, &self.switch.epoll)
        else {
            return;
        };
        if !synthetic {
            self.switch.counters.closed(reason);
        }
        self.switch.count_connections();
        let from = connection.five_tuple();
        connection.close(now.instant);
        self.switch.server.connection_closed(now, from);
        self.switch.carry_out(now);
    }

    fn adopt(&mut self, now: Now, established: Established, seat: Seat) {
        let connection = Connection::new(established, self.switch.streams.limits(), now.instant);
        // A client that comes again from the same port has ended its old connection; that is only seen here first.
        let client = connection.five_tuple();
        if let Some(old) = self.switch.streams.slot_of(&client) {
            self.close_stream(now, old, CloseReason::PeerClosed);
        }
        let Switch {
            streams,
            epoll,
            counters,
            self_check_sources,
            ..
        } = &mut self.switch;
        let synthetic = self_check_sources.contains(&client.client.0);
        // Out of memory or descriptors for epoll: the client sees its connection closed and may try again.
        let Ok(slot) = streams.insert(connection, synthetic, seat, epoll, token::stream) else {
            return counters.closed(CloseReason::Reset);
        };
        self.switch.count_connections();
        // The first frames may have come with the connection; epoll would not tell.
        if let Err(reason) = self.read_stream(now, slot) {
            self.close_stream(now, slot, reason);
        }
    }

    fn read_inbox(&mut self, now: Now) -> Flow {
        self.inbox.looked();
        let mut more = true;
        for _ in 0..PARCELS_PER_ROUND {
            let Some(parcel) = self.inbox.parcel() else {
                more = false;
                break;
            };
            for index in 0..parcel.len() {
                if let Some((item, payload)) = parcel.item(index) {
                    self.switch.parcel_item(now, &item, payload);
                }
            }
            parcel.give_back();
        }
        for _ in 0..MESSAGES_PER_ROUND {
            let Some(message) = self.inbox.message() else {
                if more {
                    self.inbox.come_back();
                }
                return Flow::GoOn;
            };
            if self.take(now, message) == Flow::Stop {
                return Flow::Stop;
            }
        }
        // More may be waiting than one round takes.
        self.inbox.come_back();
        Flow::GoOn
    }

    /// Carries a message out. Whoever asked for an answer may have given up by now.
    fn take(&mut self, now: Now, message: Message) -> Flow {
        match message {
            Message::Adopt(established, seat) => self.adopt(now, *established, seat),
            Message::Claim {
                worker,
                relayed,
                token,
                user,
            } => {
                if let Some(outbox) = self.switch.parcels.outbox(worker).cloned() {
                    self.switch.release(now, &outbox, relayed, token, &user);
                }
            }
            Message::Claimed { relayed, outcome } => self.switch.claimed(now, relayed, outcome),
            Message::PortReturned(port) => {
                self.switch.server.port_returned(now, port);
                self.switch.carry_out(now);
            }
            Message::Drain(drain) => self.switch.server.drain(drain),
            Message::Replace(terms) => {
                self.patience.limit(terms.busy_poll);
                self.gathering.limit(terms.coalesce);
                self.switch.work_by(now, *terms);
            }
            Message::Revoke(revocations, answer) => {
                self.switch.server.revoke(revocations);
                let _ = answer.send(());
            }
            Message::Shed(shed) => self.switch.server.shed(shed),
            Message::Alternates(alternates) => self.switch.server.alternates(alternates.to_vec()),
            Message::End(allocation, serial, answer) => {
                let ended = self.switch.server.end(now, allocation, serial);
                self.switch.carry_out(now);
                let _ = answer.send(ended);
            }
            Message::Load(answer) => {
                let _ = answer.send(self.switch.server.load());
            }
            Message::List(page, answer) => {
                let _ = answer.send(self.list(now, page));
            }
            Message::Stop => return Flow::Stop,
        }
        Flow::GoOn
    }

    fn expire(&mut self, now: Now) {
        if self
            .switch
            .server
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now.instant)
        {
            self.switch.server.handle_timeout(now);
            self.switch.carry_out(now);
        }
        if self.next_sweep <= now.instant {
            self.next_sweep = now.instant + SWEEP;
            self.sweep(now);
        }
    }
}

/// Ends the process when it is dropped by a panic; the panic itself has been reported by then.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// Whether the worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    GoOn,
    Stop,
}
