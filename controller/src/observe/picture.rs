//! The picture of a fleet: what was heard, merged, with its age.
//!
//! Responsible for what is believed and for how long: a relay is as fresh as its own samples are, on this controller's
//! monotonic clock; a list that is in doubt adds and takes nothing away; what is gone is kept for a while. Pure, so that a
//! simulated fleet and a real one are seen through the same eyes. Not responsible for asking anybody (`client`,
//! `reconcile`), nor for what follows (`policy`).

mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use taciturn_protocol::time::{Instant, Now};

use crate::fleet::{
    Fleet, Group, History, InstanceId, Leadership, Lifecycle, ListingState, Loads, Report, ZoneId,
};
use crate::provider::{Instance, Listing, ProviderError};
pub(super) use known::{EndAsked, Known};

/// A list that lacks more than half of the instances is believed when it comes this often in a row: after three rounds it is
/// no slip of the provider's, and a fleet that has really gone must be replaced.
const SHRUNK_LISTS: u32 = 3;
/// A relay that the provider does not list any more is forgotten when nothing was heard of it for this long.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// An instance that was launched and is not listed yet counts as booting for this long: providers show it late, not never.
const LAUNCH_SHOWS_WITHIN: Duration = Duration::from_secs(120);
/// An end that was asked for without an answer may be asked for again when the instance serves on after this long.
pub(super) const END_SHOWS_WITHIN: Duration = Duration::from_secs(120);
/// A jump of the clocks holds for this long, so that deadlines which it moved are looked at by people before they pass.
const JUMP_HOLDS: Duration = Duration::from_secs(600);
/// More instances than anybody has relays: a list of another thing.
const MOST_INSTANCES: usize = 10_000;

/// What an operator says about a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// New calls are kept away from it, and it goes before others.
    Cordon,
    /// No longer.
    Uncordon,
    /// No plan drains it.
    Keep,
    /// No longer.
    Release,
}

/// Everything that has been heard of a fleet, and what was done to it.
#[derive(Clone, Debug)]
pub struct Picture {
    started: Now,
    /// When the round before was remembered, by both clocks.
    before: Option<Now>,
    /// The greatest jump of the last minutes, and when it was seen.
    jump: Option<(Duration, Instant)>,
    complete_at: Option<Instant>,
    list_fault: Option<String>,
    shrunk_lists: u32,
    group: Group,
    pub(super) relays: BTreeMap<InstanceId, Known>,
    leadership: Leadership,
    pub(super) history: History,
    outlook: Loads,
    configuration_error: Option<String>,
}

impl Picture {
    /// Nothing is known yet; the controller started at `now`.
    pub fn new(now: Now) -> Self {
        Self {
            started: now,
            before: None,
            jump: None,
            complete_at: None,
            list_fault: None,
            shrunk_lists: 0,
            group: Group::default(),
            relays: BTreeMap::new(),
            leadership: Leadership::default(),
            history: History::default(),
            outlook: Loads::default(),
            configuration_error: None,
        }
    }

    /// What the provider answered. One that is in doubt adds what it shows, and takes nothing away.
    pub fn listing(&mut self, now: Now, answer: Result<Listing, ProviderError>) {
        let listing = match answer {
            Ok(listing) => listing,
            Err(error) => {
                self.list_fault = Some(format!("the provider's list failed: {error}"));
                return;
            }
        };
        if let Some(nonsense) = nonsense(&listing) {
            self.list_fault = Some(nonsense);
            return;
        }
        self.list_fault = self.doubt(&listing);
        let shown: BTreeSet<InstanceId> =
            listing.instances.iter().map(|one| one.id.clone()).collect();
        for instance in listing.instances {
            self.lists(now.instant, instance);
        }
        for (token, instances) in &listing.launched {
            crate::policy::confirm(&mut self.history, token, instances);
        }
        if self.list_fault.is_none() {
            self.complete_at = Some(now.instant);
            self.group = listing.group;
            self.misses(now.instant, &shown);
        }
    }

    /// What the relay answered to `GET /v1/status`, or why there is nothing to read. One that is not known is not heard.
    pub fn status(&mut self, now: Now, id: &InstanceId, answer: Result<Report, String>) {
        let Some(relay) = self.relays.get_mut(id) else {
            return;
        };
        match answer {
            Ok(report) => relay.hear(now.instant, report),
            Err(_) => relay.silent = true,
        }
    }

    /// Whether the relay's data path answered a STUN Binding request.
    pub fn stun(&mut self, _now: Now, id: &InstanceId, answers: bool) {
        if let Some(relay) = self.relays.get_mut(id) {
            relay.answers_stun = Some(answers);
        }
    }

    /// Whether this controller may act.
    pub fn leadership(&mut self, leadership: Leadership) {
        self.leadership = leadership;
    }

    /// What an operator says; false where the relay is not known.
    pub fn mark(&mut self, id: &InstanceId, mark: Mark) -> bool {
        let Some(relay) = self.relays.get_mut(id) else {
            return false;
        };
        match mark {
            Mark::Cordon => relay.cordoned = true,
            Mark::Uncordon => relay.cordoned = false,
            Mark::Keep => relay.keep = true,
            Mark::Release => relay.keep = false,
        }
        true
    }

    /// What is wrong with the configuration on the disk, if anything is.
    pub fn configuration(&mut self, error: Option<String>) {
        self.configuration_error = error;
    }

    /// What the season says of the time until a relay that is launched now would serve.
    pub fn outlook(&mut self, outlook: Loads) {
        self.outlook = outlook;
    }

    /// Relays that can be asked, and where: all that are not known to be gone.
    pub fn to_ask(&self) -> Vec<(InstanceId, SocketAddr)> {
        let asked = |(id, relay): (&InstanceId, &Known)| Some((id.clone(), relay.admin?));
        self.relays.iter().filter_map(asked).collect()
    }

    /// Whether the relay's data path should be tried: its admin API gave nothing new when it was asked last.
    pub fn is_silent(&self, id: &InstanceId) -> bool {
        self.relays.get(id).is_some_and(|relay| relay.silent)
    }

    /// The fleet as it is known at `now`.
    pub fn fleet(&self, now: Now) -> Fleet {
        let (relays, own) = (self.relays.iter(), self.leadership.epoch);
        Fleet {
            relays: relays
                .map(|(id, relay)| (id.clone(), relay.shown(now.instant, id, own)))
                .collect(),
            listing: ListingState {
                complete_for: self.complete_at.map(|at| now.instant.saturating_since(at)),
                fault: self.list_fault.clone(),
            },
            group: self.group.clone(),
            leadership: self.leadership.clone(),
            history: self.history.clone(),
            outlook: self.outlook,
            running_for: now.instant.saturating_since(self.started.instant),
            clock_jump: self.jump_at(now).map(|(jump, _)| jump),
            configuration_error: self.configuration_error.clone(),
        }
    }

    /// A round has ended: its moment is what the next one's clocks are compared with.
    pub(super) fn rounded(&mut self, now: Now) {
        self.jump = self.jump_at(now);
        self.before = Some(now);
    }

    /// An instance that was launched and that no list may show yet.
    pub(super) fn launched(&mut self, now: Instant, id: &InstanceId, zone: &ZoneId) {
        let known = self.relays.entry(id.clone());
        known.or_insert_with(|| Known::new(now, zone.clone()));
    }

    /// How far the clocks moved apart since the round before, or in one of the last minutes if that was more.
    fn jump_at(&self, now: Now) -> Option<(Duration, Instant)> {
        let before = self.before?;
        let wall = now.unix.as_secs().abs_diff(before.unix.as_secs());
        let monotonic = now.instant.saturating_since(before.instant);
        let apart = if now.unix < before.unix {
            Duration::from_secs(wall).saturating_add(monotonic)
        } else {
            Duration::from_secs(wall).abs_diff(monotonic)
        };
        let held = self
            .jump
            .filter(|(_, at)| now.instant.saturating_since(*at) < JUMP_HOLDS);
        match held {
            Some((jump, at)) if jump >= apart => Some((jump, at)),
            Some(_) | None => Some((apart, now.instant)),
        }
    }

    /// What is doubtful about a list that can be read: it says itself that it is not all, or most of what was there a moment
    /// ago is missing.
    fn doubt(&mut self, listing: &Listing) -> Option<String> {
        if !listing.complete {
            return Some("the provider's list is not complete".to_owned());
        }
        let shown: BTreeSet<&InstanceId> = listing.instances.iter().map(|one| &one.id).collect();
        let stays = |relay: &Known| {
            relay.listed_at.is_some()
                && relay.end_asked.is_none()
                && matches!(relay.lifecycle, Lifecycle::Pending | Lifecycle::InService)
        };
        let expected = self.relays.iter().filter(|(_, relay)| stays(relay));
        let (before, missing) = expected.fold((0_usize, 0_usize), |(before, missing), (id, _)| {
            (before + 1, missing + usize::from(!shown.contains(id)))
        });
        if missing * 2 <= before {
            self.shrunk_lists = 0;
            return None;
        }
        let answers = |(id, relay): &(&InstanceId, &Known)| {
            stays(relay) && !shown.contains(id) && relay.report.is_some() && !relay.silent
        };
        let answering = self.relays.iter().filter(answers).count();
        if answering * 2 > missing {
            // However often it is said: most of them have just answered.
            self.shrunk_lists = 0;
            return Some(format!(
                "the provider's list lacks {missing} of {before} instances at once, and {answering} of these answer: find out what \
                 it lists"
            ));
        }
        self.shrunk_lists += 1;
        if self.shrunk_lists >= SHRUNK_LISTS {
            self.shrunk_lists = 0;
            return None;
        }
        Some(format!(
            "the provider's list lacks {missing} of {before} instances at once; it is believed when it says so {SHRUNK_LISTS} times"
        ))
    }

    fn lists(&mut self, now: Instant, instance: Instance) {
        if let Some(admin) = instance.admin {
            self.moves_in(&instance.id, admin);
        }
        let relay = self
            .relays
            .entry(instance.id)
            .or_insert_with(|| Known::new(now, instance.zone.clone()));
        let serves = matches!(
            instance.lifecycle,
            Lifecycle::Pending | Lifecycle::InService
        );
        let overdue = relay.end_asked.is_some_and(|asked| {
            !asked.confirmed && now.saturating_since(asked.at) >= END_SHOWS_WITHIN
        });
        if serves && overdue {
            relay.end_asked = None;
        }
        relay.zone = instance.zone;
        relay.instance_type = instance.instance_type;
        relay.image = instance.image;
        relay.lifecycle = instance.lifecycle;
        relay.unhealthy = instance.unhealthy;
        relay.admin = instance.admin.or(relay.admin);
        relay.age = instance.age.map(|age| (age, now)).or(relay.age);
        relay.listed_at = Some(now);
    }

    /// Addresses are used again: what answers there now is not the relay that was there before.
    fn moves_in(&mut self, id: &InstanceId, admin: SocketAddr) {
        for (other, relay) in &mut self.relays {
            let leaves = matches!(
                relay.lifecycle,
                Lifecycle::Terminating | Lifecycle::Unlisted
            );
            if other != id && relay.admin == Some(admin) && leaves {
                relay.admin = None;
            }
        }
    }

    /// A list that is believed does not show them.
    fn misses(&mut self, now: Instant, shown: &BTreeSet<InstanceId>) {
        self.relays.retain(|id, relay| {
            if shown.contains(id) {
                return true;
            }
            let booting = relay.listed_at.is_none()
                && now.saturating_since(relay.first_seen) < LAUNCH_SHOWS_WITHIN;
            if booting {
                return true;
            }
            relay.lifecycle = relay.missed();
            let heard = relay.report.as_ref().map(|_| relay.moved_at);
            let latest = heard.max(relay.listed_at).unwrap_or(relay.first_seen);
            now.saturating_since(latest) < FORGET_AFTER
        });
    }
}

/// Why a list cannot be one of relays.
fn nonsense(listing: &Listing) -> Option<String> {
    if listing.instances.len() > MOST_INSTANCES {
        return Some(format!(
            "the provider lists {} instances, more than the {MOST_INSTANCES} that are read",
            listing.instances.len()
        ));
    }
    let mut ids = BTreeSet::new();
    let twice = listing.instances.iter().find(|one| !ids.insert(&one.id))?;
    Some(format!("the provider lists {} twice", twice.id))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
