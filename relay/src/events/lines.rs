//! The lines about allocations, written by a thread of their own.
//!
//! Responsible for keeping whoever reads the log away from the workers: a pipe that nobody empties, or a journal that is
//! busy, makes a write wait, and while a worker waits its calls are silent. Not responsible for how many lines there may be
//! (`events`).

use core::fmt;
use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use taciturn_protocol::address::{FiveTuple, RelayedAddr};
use taciturn_protocol::credentials::UserName;
use taciturn_protocol::forward::{AllocationId, Traffic};
use taciturn_protocol::server::Event;
use tracing::{debug, error, info, warn};

use crate::clock::Clock;
use crate::crowding::Change;
use crate::forensics::{Escaped, Forensics};
use crate::pseudonyms::Pseudonyms;

/// Events that wait to be written; what is beyond them is left out.
const WAITING: usize = 4096;
/// How long the end of the process waits for the last of them.
const FLUSH: Duration = Duration::from_secs(1);

/// What is to be written.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) worker: u8,
    pub(super) event: Event,
    pub(super) traffic: Traffic,
}

enum Item {
    Line(Recorded),
    Crowding(u8, Change),
    /// Everything before this has been written.
    Mark(SyncSender<()>),
}

/// Leads to the thread that writes, which ends with it.
#[derive(Debug)]
pub(super) struct Queue(SyncSender<Item>);

impl Queue {
    pub(super) fn new(lines: Lines) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("log".to_owned());
        // Without the thread the queue is closed, and every event is counted as left out.
        if let Err(error) = thread.spawn(move || write_all(&receiver, &lines)) {
            error!(%error, "allocations will not be logged: no thread for it can be started");
        }
        Self(sender)
    }

    /// Never waits. Whether there was room.
    pub(super) fn push(&self, recorded: Recorded) -> bool {
        self.0.try_send(Item::Line(recorded)).is_ok()
    }

    /// The same for a flow that is set apart or goes back.
    pub(super) fn push_crowding(&self, worker: u8, change: Change) -> bool {
        self.0.try_send(Item::Crowding(worker, change)).is_ok()
    }

    pub(super) fn flush(&self) {
        let (sender, done) = sync_channel(1);
        if self.0.try_send(Item::Mark(sender)).is_ok() {
            // Its end, or the time that it may take.
            let _ = done.recv_timeout(FLUSH);
        }
    }
}

fn write_all(items: &Receiver<Item>, lines: &Lines) {
    for item in items {
        match item {
            Item::Line(recorded) => lines.write(&recorded),
            Item::Crowding(worker, change) => lines.write_crowding(worker, change),
            // Whoever asked may have given up.
            Item::Mark(done) => drop(done.try_send(())),
        }
    }
}

/// How lines about allocations read.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) pseudonyms: Arc<Pseudonyms>,
    pub(super) forensics: Arc<Forensics>,
    pub(super) clock: Clock,
}

impl Lines {
    fn write_crowding(&self, worker: u8, change: Change) {
        let source = match change {
            Change::Apart(crowder) => crowder.source,
            Change::Back(source) => source,
        };
        let client = self.pseudonyms.client(source.ip());
        let is_full = self.forensics.is_on(self.clock.unix());
        let client_address = is_full.then(|| tracing::field::display(source));
        match change {
            Change::Apart(crowder) => warn!(
                worker,
                %client,
                client_address,
                percent = crowder.percent,
                "a client crowds others out: what it sends is read after theirs"
            ),
            Change::Back(_) => info!(
                worker,
                %client,
                client_address,
                "a client crowds nobody out any more"
            ),
        }
    }

    /// Writes the line.
    pub(super) fn write(&self, recorded: &Recorded) {
        let Recorded {
            worker,
            event,
            traffic,
        } = recorded;
        match event {
            Event::AllocationCreated {
                allocation,
                serial,
                client,
                user,
                family,
                dual,
                relayed,
                ..
            } => {
                let full = self.full(client, user, relayed);
                debug!(
                    allocation = %Name { worker: *worker, allocation: *allocation, serial: *serial },
                    client = %self.pseudonyms.client(client.client.0.ip()),
                    user = %self.pseudonyms.user(user),
                    client_address = full.as_ref().map(|full| display(full.client)),
                    relayed_address = full.as_ref().map(|full| display(&full.relayed)),
                    user_name = full.as_ref().map(|full| display(full.user)),
                    transport = client.transport.as_str(),
                    family = family.as_str(),
                    dual,
                    "allocation created"
                );
            }
            Event::AllocationEnded {
                allocation,
                serial,
                client,
                user,
                cause,
                age,
                relayed,
                ..
            } => {
                let full = self.full(client, user, relayed);
                info!(
                    allocation = %Name { worker: *worker, allocation: *allocation, serial: *serial },
                    client = %self.pseudonyms.client(client.client.0.ip()),
                    user = %self.pseudonyms.user(user),
                    client_address = full.as_ref().map(|full| display(full.client)),
                    relayed_address = full.as_ref().map(|full| display(&full.relayed)),
                    user_name = full.as_ref().map(|full| display(full.user)),
                    transport = client.transport.as_str(),
                    cause = cause.as_str(),
                    seconds = age.as_secs(),
                    to_peer_packets = traffic.to_peer_packets,
                    to_peer_bytes = traffic.to_peer_bytes,
                    to_client_packets = traffic.to_client_packets,
                    to_client_bytes = traffic.to_client_bytes,
                    "allocation ended"
                );
            }
        }
    }

    /// Who it was in full, while forensics are on.
    fn full<'a>(
        &self,
        client: &FiveTuple,
        user: &'a UserName,
        relayed: &'a [Option<RelayedAddr>; 2],
    ) -> Option<Full<'a>> {
        self.forensics.is_on(self.clock.unix()).then(|| Full {
            client: client.client.0,
            relayed: Addresses(relayed),
            user: Escaped(user.as_bytes()),
        })
    }
}

struct Full<'a> {
    client: SocketAddr,
    relayed: Addresses<'a>,
    user: Escaped<'a>,
}

/// Addresses with a comma between them.
struct Addresses<'a>(&'a [Option<RelayedAddr>; 2]);

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().flatten().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", address.0)?;
        }
        Ok(())
    }
}

/// The name of an allocation as the admin API lists it.
struct Name {
    worker: u8,
    allocation: AllocationId,
    serial: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            worker,
            allocation: AllocationId(allocation),
            serial,
        } = self;
        write!(f, "{worker}-{allocation}-{serial}")
    }
}
