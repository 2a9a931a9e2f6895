//! The log: one event for each change of state of an allocation or of the relay.
//!
//! Responsible for how events read, and for who is named in them: clients and users by keyed pseudonyms (`pseudonyms`),
//! and in full only while `forensics` is on. Not responsible for per-packet facts, which are counters, nor for where the
//! log goes, which the command decides, nor for writing lines about allocations (`lines`). No secret, payload or nonce is ever logged.
//!
//! The beginning of an allocation is logged at debug level and its end at info: the end says all that the beginning did,
//! and how long it lasted, what it carried and why it ended. So an auditor finds one line a call without asking for more.

mod lines;
mod summary;
#[cfg(test)]
mod tests;

use core::fmt;
use std::sync::Arc;

use taciturn_protocol::forward::Traffic;
use taciturn_protocol::server::{Event, Revoked};
use taciturn_protocol::time::{Now, UnixTime};
use tracing::{Level, enabled, error, warn};

use crate::clock::Clock;
use crate::config::{Log, LogLevel};
use crate::crowding::Change;
use crate::forensics::Forensics;
use crate::line_budget::LineBudget;
use crate::metrics::{Family, Source};
use crate::pseudonyms::{NoRandom, Pseudonyms, Rotation};

use lines::{Lines, Queue, Recorded};

pub(crate) use summary::{Figures, watch};

/// Lines of one kind that may come at once: as many as calls can end together.
const LINES_AT_ONCE: u32 = 20_000;
/// Lines of one kind a second in the long run, far more than calls that people make.
const LINES_PER_SECOND: u32 = 500;
/// The same for lines about clients that crowd others out, who may come under one port after another.
const CROWDS_AT_ONCE: u32 = 100;
const CROWDS_PER_SECOND: u32 = 1;

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

impl Source for EventLog {
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
    pseudonyms: Arc<Pseudonyms>,
    forensics: Arc<Forensics>,
    queue: Queue,
    created: LineBudget,
    ended: LineBudget,
    crowding: LineBudget,
}

impl EventLog {
    /// A log that follows these settings. Forensics that are on from the start are said to be.
    ///
    /// # Errors
    /// The system has no random bytes for the first key of the pseudonyms.
    pub fn new(settings: &Log, level: LevelSwitch, clock: Clock) -> Result<Self, NoRandom> {
        let now = clock.now();
        let pseudonyms = Arc::new(Pseudonyms::new(Rotation::of(settings), now)?);
        let forensics = Arc::new(Forensics::default());
        let lines = Lines {
            pseudonyms: Arc::clone(&pseudonyms),
            forensics: Arc::clone(&forensics),
            clock,
        };
        let log = Self {
            clock,
            level,
            pseudonyms,
            forensics,
            queue: Queue::new(lines),
            created: LineBudget::new(LINES_AT_ONCE, LINES_PER_SECOND),
            ended: LineBudget::new(LINES_AT_ONCE, LINES_PER_SECOND),
            crowding: LineBudget::new(CROWDS_AT_ONCE, CROWDS_PER_SECOND),
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
    pub fn pseudonyms(&self) -> &Pseudonyms {
        &self.pseudonyms
    }

    /// Whether clients and users are logged in full, and until when.
    pub fn forensics_until(&self) -> Option<UnixTime> {
        self.forensics.until(self.clock.unix())
    }

    /// Ends what has had its time: forensics, and the key of the pseudonyms. Called every second (`summary`).
    pub fn tick(&self, now: Now) {
        if self.forensics.expire(now.unix) {
            // As it was said when they began.
            error!("forensics off: its time is over");
        }
        if let Err(error) = self.pseudonyms.rotate(now) {
            error!(%error, "the key of the pseudonyms stays in force");
        }
    }

    /// Says it as an error is said, so that no `log.level` leaves it out: a reload may raise the level again while they are on.
    fn switch_forensics(&self, until: Option<UnixTime>, now: UnixTime) {
        let before = self.forensics.until(now);
        self.forensics.set(until);
        match self.forensics.until(now) {
            after if after == before => {}
            Some(until) => error!(
                until = until.as_secs(),
                "forensics on: addresses and user names are logged in full"
            ),
            None => error!("forensics off: addresses and user names are no longer logged"),
        }
    }

    /// Logs what a server reported; `traffic` is what the allocation has carried. Costs the caller no more than a queue:
    /// the line itself is written by another thread.
    pub fn record(&self, worker: u8, event: Event, traffic: Traffic) {
        let (is_wanted, budget) = match &event {
            Event::AllocationCreated { .. } => (enabled!(Level::DEBUG), &self.created),
            Event::AllocationEnded { .. } => (enabled!(Level::INFO), &self.ended),
        };
        if is_wanted
            && budget.admit(self.clock.instant())
            && !self.queue.push(Recorded {
                worker,
                event,
                traffic,
            })
        {
            budget.leave_out();
        }
    }

    /// Waits until what has been recorded so far is written; not for ever, as whoever reads the log may be stuck.
    pub fn flush(&self) {
        self.queue.flush();
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

    /// Logs that a client's flow was set apart or went back. Written by another thread, as `record` is.
    pub(crate) fn crowding(&self, worker: u8, change: Change) {
        if self.crowding.admit(self.clock.instant()) && !self.queue.push_crowding(worker, change) {
            self.crowding.leave_out();
        }
    }

    /// Says how many lines have been left out since this was last asked, when any were.
    pub fn report_left_out(&self) {
        for (line, budget) in [
            ("allocation created", &self.created),
            ("allocation ended", &self.ended),
            ("crowding", &self.crowding),
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
}
