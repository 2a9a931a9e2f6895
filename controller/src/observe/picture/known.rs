//! One relay as the picture keeps it: every fact with the moment at which it was heard.
//!
//! Responsible for freshness and for what its silence means. Not responsible for lists (`picture`) nor for what was done to
//! it (`memory`).

use std::net::SocketAddr;
use std::time::Duration;

use taciturn_protocol::status::Phase;
use taciturn_protocol::time::Instant;

use crate::fleet::{InstanceId, Lifecycle, Relay, Report, ZoneId};

/// What answers for longer than this after a list showed it last does not just end.
const LEAVES_WITHIN: Duration = Duration::from_secs(60);
/// Samples are counted up to here.
const MOST_SAMPLES: u32 = 100;

/// One relay, and when each thing about it was heard.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Known {
    pub(in crate::observe) zone: ZoneId,
    pub(in crate::observe) instance_type: String,
    pub(in crate::observe) image: String,
    pub(in crate::observe) lifecycle: Lifecycle,
    pub(in crate::observe) admin: Option<SocketAddr>,
    pub(in crate::observe) first_seen: Instant,
    /// By the provider: how old it was, and when it said so.
    pub(in crate::observe) age: Option<(Duration, Instant)>,
    /// When a list showed it last; `None`: only a launch has named it.
    pub(in crate::observe) listed_at: Option<Instant>,
    pub(in crate::observe) report: Option<Report>,
    /// When its sample moved last.
    pub(in crate::observe) moved_at: Instant,
    pub(in crate::observe) samples: u32,
    /// The latest question had no answer, or the same sample again.
    pub(in crate::observe) silent: bool,
    pub(in crate::observe) was_ready: bool,
    pub(in crate::observe) answers_stun: Option<bool>,
    /// By the provider's word.
    pub(in crate::observe) unhealthy: bool,
    pub(in crate::observe) cordoned: bool,
    pub(in crate::observe) keep: bool,
    pub(in crate::observe) withheld_at: Option<Instant>,
    pub(in crate::observe) end_asked: Option<EndAsked>,
    pub(in crate::observe) epoch_seen: u64,
}

/// An end that was asked of the provider.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) struct EndAsked {
    pub(in crate::observe) at: Instant,
    /// The provider has said that it ends; otherwise nobody knows.
    pub(in crate::observe) confirmed: bool,
}

impl Known {
    pub(super) fn new(now: Instant, zone: ZoneId) -> Self {
        Self {
            zone,
            instance_type: String::new(),
            image: String::new(),
            lifecycle: Lifecycle::Pending,
            admin: None,
            first_seen: now,
            age: None,
            listed_at: None,
            report: None,
            moved_at: now,
            samples: 0,
            silent: false,
            was_ready: false,
            answers_stun: None,
            unhealthy: false,
            cordoned: false,
            keep: false,
            withheld_at: None,
            end_asked: None,
            epoch_seen: 0,
        }
    }

    /// What a relay is that a list does not show which is believed: most are ending, and were heard of a moment ago. One
    /// that goes on answering is nobody's.
    pub(super) fn missed(&self) -> Lifecycle {
        let answers = self.listed_at.is_none_or(|listed| {
            self.report.is_some() && self.moved_at.saturating_since(listed) > LEAVES_WITHIN
        });
        if answers {
            Lifecycle::Unlisted
        } else {
            Lifecycle::Terminating
        }
    }

    /// HTTP 200 is no sign of life: only a sample that is newer than the one before is.
    pub(super) fn hear(&mut self, now: Instant, report: Report) {
        let before = self.report.as_ref();
        let same_run = before.is_some_and(|before| before.boot_id == report.boot_id);
        let last = before
            .filter(|_| same_run)
            .map_or(0, |before| before.sequence);
        if same_run && report.sequence < last {
            // Overtaken on its way by a newer one.
            return;
        }
        let moved = !same_run || report.sequence > last;
        if moved {
            self.samples = if same_run {
                self.samples.saturating_add(1).min(MOST_SAMPLES)
            } else {
                1
            };
            self.moved_at = now;
            self.answers_stun = None;
        }
        self.silent = !moved;
        // One that drains or carries calls was ready before this controller knew it.
        self.was_ready |= report.ready
            || matches!(report.phase, Phase::Draining | Phase::Drained)
            || report.load.allocations.is_some_and(|count| count > 0.0);
        self.report = Some(report);
    }

    /// The relay as it is at `now`, for a controller of epoch `own`.
    pub(super) fn shown(&self, now: Instant, id: &InstanceId, own: u64) -> Relay {
        let watched = now.saturating_since(self.first_seen);
        let provider = self
            .age
            .map(|(age, at)| age.saturating_add(now.saturating_since(at)));
        let report = self.report.as_ref();
        let epoch = report.map_or(0, |report| report.epoch).max(self.epoch_seen);
        Relay {
            id: id.clone(),
            zone: self.zone.clone(),
            instance_type: self.instance_type.clone(),
            image: self.image.clone(),
            lifecycle: self.lifecycle,
            age: provider.map_or(watched, |age| age.max(watched)),
            admin: self.admin,
            report: report.cloned(),
            report_age: report.map(|_| now.saturating_since(self.moved_at)),
            samples: self.samples,
            was_ready: self.was_ready,
            answers_stun: self.answers_stun,
            unhealthy: self.unhealthy,
            cordoned: self.cordoned,
            keep: self.keep,
            withheld_for: self.withheld_at.map(|at| now.saturating_since(at)),
            terminate_asked: self.end_asked.is_some(),
            newer_epoch: (epoch > own).then_some(epoch),
        }
    }
}
