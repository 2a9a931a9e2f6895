//! The log: one event for each change of state of an allocation or of the relay.
//!
//! Responsible for how events read, and for who is named in them: clients and users by keyed pseudonyms (`pseudonyms`),
//! and in full only while `forensics` is on. Not responsible for per-packet facts, which are counters, nor for where the
//! log goes, which the command decides. No secret, payload or nonce is ever logged.
//!
//! The beginning of an allocation is logged at debug level and its end at info: the end says all that the beginning did,
//! and how long it lasted, what it carried and why it ended. So an auditor finds one line a call without asking for more.

mod summary;
#[cfg(test)]
mod tests;

use core::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use taciturn_protocol::address::{FiveTuple, RelayedAddr};
use taciturn_protocol::credentials::UserName;
use taciturn_protocol::forward::{AllocationId, Traffic};
use taciturn_protocol::server::{Event, Revoked};
use taciturn_protocol::time::{Now, UnixTime};
use tracing::{Level, debug, enabled, error, info, warn};

use crate::clock::Clock;
use crate::config::{Log, LogLevel};
use crate::forensics::{Escaped, Forensics};
use crate::line_budget::LineBudget;
use crate::metrics::{Family, Source};
use crate::pseudonyms::{NoRandom, Pseudonyms, Rotation};

pub(crate) use summary::{Figures, watch};

/// Lines of one kind that may come at once: as many as calls can end together.
const LINES_AT_ONCE: u32 = 20_000;
/// Lines of one kind a second in the long run, far more than calls that people make.
const LINES_PER_SECOND: u32 = 500;

/// Sets the level of the log that the process writes. Whoever opened the log provides it: only there is it known where
/// events go.
pub struct LevelSwitch(Box<dyn Fn(LogLevel) + Send + Sync>);

impl LevelSwitch {
    /// A switch that calls `set`.
    pub fn new(set: impl Fn(LogLevel) + Send + Sync + 'static) -> Self {
        Self(Box::new(set))
    }

    /// For a log whose level stays as it is.
    pub fn fixed() -> Self {
        Self::new(|_| {})
    }

    /// Events less severe than this are left out from now on.
    pub fn set(&self, level: LogLevel) {
        (self.0)(level);
    }
}

impl fmt::Debug for LevelSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LevelSwitch(..)")
    }
}

impl Source for Arc<EventLog> {
    fn families(&self) -> Vec<Family> {
        vec![Family::gauge(
            "taciturn_relay_forensics",
            "1 while the log names clients and users in full.",
            self.forensics_until().is_some(),
        )]
    }
}

/// The relay's log as all its parts share it.
#[derive(Debug)]
pub struct EventLog {
    clock: Clock,
    level: LevelSwitch,
    pseudonyms: Pseudonyms,
    forensics: Forensics,
    created: LineBudget,
    ended: LineBudget,
}

impl EventLog {
    /// A log that follows these settings. Forensics that are on from the start are said to be.
    ///
    /// # Errors
    /// The system has no random bytes for the first key of the pseudonyms.
    pub fn new(settings: &Log, level: LevelSwitch, clock: Clock) -> Result<Self, NoRandom> {
        let now = clock.now();
        let log = Self {
            clock,
            level,
            pseudonyms: Pseudonyms::new(Rotation::of(settings), now)?,
            forensics: Forensics::default(),
            created: LineBudget::new(LINES_AT_ONCE, LINES_PER_SECOND),
            ended: LineBudget::new(LINES_AT_ONCE, LINES_PER_SECOND),
        };
        log.switch_forensics(settings.forensics_until, now.unix);
        Ok(log)
    }

    /// Follows other settings from now on: level, forensics, keys of the pseudonyms. The format stays.
    ///
    /// # Errors
    /// The system has no random bytes for a key; everything then stays as it was.
    pub fn apply(&self, settings: &Log) -> Result<(), NoRandom> {
        let now = self.clock.now();
        self.pseudonyms.replace(Rotation::of(settings), now)?;
        self.switch_forensics(settings.forensics_until, now.unix);
        self.level.set(settings.level);
        Ok(())
    }

    /// What clients and users are called.
    pub const fn pseudonyms(&self) -> &Pseudonyms {
        &self.pseudonyms
    }

    /// Whether clients and users are logged in full, and until when.
    pub fn forensics_until(&self) -> Option<UnixTime> {
        self.forensics.until(self.clock.unix())
    }

    /// Ends what has had its time: forensics, and the key of the pseudonyms. Called every second (`summary`).
    pub fn tick(&self, now: Now) {
        if self.forensics.expire(now.unix) {
            warn!("forensics off: its time is over");
        }
        if let Err(error) = self.pseudonyms.rotate(now) {
            error!(%error, "the key of the pseudonyms stays in force");
        }
    }

    fn switch_forensics(&self, until: Option<UnixTime>, now: UnixTime) {
        let before = self.forensics.until(now);
        self.forensics.set(until);
        match self.forensics.until(now) {
            after if after == before => {}
            Some(until) => warn!(
                until = until.as_secs(),
                "forensics on: addresses and user names are logged in full"
            ),
            None => warn!("forensics off: addresses and user names are no longer logged"),
        }
    }

    /// Logs what a server reported; `traffic` is what the allocation has carried.
    pub fn record(&self, worker: u8, event: &Event, traffic: &Traffic) {
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
            } if enabled!(Level::DEBUG) && self.created.admit(self.clock.instant()) => {
                let full = self.full(client, user, relayed);
                debug!(
                    allocation = %Name { worker, allocation: *allocation, serial: *serial },
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
            } if enabled!(Level::INFO) && self.ended.admit(self.clock.instant()) => {
                let full = self.full(client, user, relayed);
                info!(
                    allocation = %Name { worker, allocation: *allocation, serial: *serial },
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
            Event::AllocationCreated { .. } | Event::AllocationEnded { .. } => {}
        }
    }

    /// Logs what a new peer policy has ended on a worker, if anything.
    pub fn revoked(&self, worker: u8, revoked: Revoked) {
        if revoked != Revoked::default() {
            warn!(
                worker,
                permissions = revoked.permissions,
                channels = revoked.channels,
                "the peer policy now forbids some peers: their permissions and channels have ended"
            );
        }
    }

    /// Says how many lines have been left out since this was last asked, when any were.
    pub fn report_left_out(&self) {
        for (line, budget) in [
            ("allocation created", &self.created),
            ("allocation ended", &self.ended),
        ] {
            let lines = budget.take_left_out();
            if lines > 0 {
                warn!(
                    line,
                    lines, "lines left out of the log: too many of them at once"
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
