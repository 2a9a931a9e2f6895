//! One simulated relay and the instance that it runs on.
//!
//! Responsible for what a real relay does by itself: it boots, admits, drains, reports, forgets. Not responsible for the
//! group that it is in (`cloud`) nor for whose calls it carries (`world`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use taciturn_protocol::status::Phase;
use taciturn_protocol::time::UnixTime;

use crate::fleet::{DrainReport, InstanceId, Lifecycle, Loads, Report, ZoneId};
use crate::provider::Instance;

/// What one allocation costs a relay in a second: a video call's packets and bits, both ways.
const PACKETS: f64 = 400.0;
const BITS: f64 = 3.1e6;
/// The busiest core's share when all allocations are taken: never what runs out first here.
const CORE_WHEN_FULL: f64 = 0.6;
/// Relayed ports of one address.
const PORTS: f64 = 16_384.0;

/// Where the instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs, or boots.
    Runs,
    /// Somebody else ends it, and a hook waits until then for a word.
    Waits {
        /// When it is over without one.
        until: u64,
    },
    /// It is ending, and no relay runs on it any more.
    Ends {
        /// When it is off the list.
        gone: u64,
    },
    /// It is gone since then.
    Gone(u64),
}

/// A relay. Times are seconds of the simulation.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) id: InstanceId,
    pub(super) zone: ZoneId,
    pub(super) image: String,
    pub(super) launched: u64,
    /// When the relay on it serves; `None`: it never will.
    pub(super) serves: Option<u64>,
    pub(super) life: Life,
    /// Which run of the relay this is.
    pub(super) boot: u32,
    /// Live allocations.
    pub(super) live: u32,
    /// Most of them.
    pub(super) room: u32,
    pub(super) drain: Option<DrainReport>,
    /// The highest epoch that it has obeyed.
    pub(super) epoch: u64,
    /// Its admin API answers nobody until then.
    pub(super) silent: u64,
    /// It takes no orders until then, though it reports.
    pub(super) deaf: u64,
    /// It gives this same report until then.
    pub(super) frozen: Option<(u64, Report)>,
    /// Since when machine and network are dead, though the provider may still list it.
    pub(super) dead: Option<u64>,
}

impl Host {
    /// Whether the relay runs and can be reached by clients.
    pub(super) fn is_up(&self, now: u64) -> bool {
        matches!(self.life, Life::Runs | Life::Waits { .. })
            && self.dead.is_none()
            && self.serves.is_some_and(|at| at <= now)
    }

    /// Whether it takes one more allocation.
    pub(super) fn admits(&self, now: u64) -> bool {
        self.is_up(now) && self.drain.is_none() && self.live < self.room
    }

    /// What `GET /v1/status` answers.
    pub(super) fn report(&self, now: u64, wall: UnixTime) -> Result<Report, String> {
        if !self.is_up(now) {
            return Err("connection refused".to_owned());
        }
        if self.silent > now {
            return Err("no answer within 2s".to_owned());
        }
        if let Some((_, report)) = self.frozen.as_ref().filter(|(until, _)| *until > now) {
            return Ok(report.clone());
        }
        Ok(self.fresh_report(now, wall))
    }

    /// What it would answer if nothing were wrong with it.
    pub(super) fn fresh_report(&self, now: u64, wall: UnixTime) -> Report {
        let live = f64::from(self.live);
        let full = live / f64::from(self.room.max(1));
        let phase = match (&self.drain, self.live) {
            (None, _) => Phase::Ready,
            (Some(_), 0) => Phase::Drained,
            (Some(_), _) => Phase::Draining,
        };
        Report {
            boot_id: format!("{}.{}", self.id, self.boot),
            sequence: now.saturating_sub(self.serves.unwrap_or(now)) + 1,
            time: wall,
            phase,
            ready: phase == Phase::Ready,
            not_ready_because: Vec::new(),
            version: "0.1.0".to_owned(),
            zone_id: Some(self.zone.clone()),
            load: Loads {
                packets: Some(live * PACKETS),
                bits: Some(live * BITS),
                core: Some(full * CORE_WHEN_FULL),
                allocations: Some(live),
                ports: Some(live),
            },
            capacity: Loads {
                core: Some(1.0),
                allocations: Some(f64::from(self.room)),
                ports: Some(PORTS),
                ..Loads::default()
            },
            utilisation: Some(full),
            full_now: false,
            epoch: self.epoch,
            drain: self.drain.as_ref().map(|drain| DrainReport {
                allocations_remaining: u64::from(self.live),
                ..drain.clone()
            }),
            ..Report::default()
        }
    }

    /// What the provider's list says of it.
    pub(super) fn instance(&self, now: u64) -> Instance {
        let lifecycle = match self.life {
            Life::Runs => Lifecycle::InService,
            Life::Waits { .. } => Lifecycle::TerminatingWait,
            Life::Ends { .. } | Life::Gone(_) => Lifecycle::Terminating,
        };
        Instance {
            id: self.id.clone(),
            zone: self.zone.clone(),
            lifecycle,
            instance_type: String::new(),
            image: self.image.clone(),
            age: Some(Duration::from_secs(now.saturating_sub(self.launched))),
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9641))),
            unhealthy: self.dead.is_some_and(|since| now > since + 60),
        }
    }

    /// Begins to drain, or moves the deadline.
    pub(super) fn begin_drain(
        &mut self,
        wall: UnixTime,
        source: &str,
        deadline: UnixTime,
        reason: &str,
    ) {
        let started = self.drain.as_ref().map_or(wall, |drain| drain.started);
        self.drain = Some(DrainReport {
            source: source.to_owned(),
            started,
            deadline,
            reason: reason.to_owned(),
            epoch: self.epoch,
            allocations_remaining: u64::from(self.live),
            idle_allocations: 0,
        });
    }
}
