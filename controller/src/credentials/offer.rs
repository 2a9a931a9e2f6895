//! The relays that credentials may name, made ready once a round so that an answer costs little.
//!
//! Responsible for what each has free, for the slow start of new ones, and for judging once more that none is named which may
//! not be. Not responsible for which ones a caller gets (`choose`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use taciturn_protocol::time::{Instant, Now};

use super::region;
use super::urls::{Host, urls};
use crate::fleet::{Dimension, InstanceId, ZoneId};
use crate::policy::view::{Seen, View};
use crate::reconcile::Published;

/// How long a new relay takes to its full share.
const SLOW_START: Duration = Duration::from_secs(120);
/// The part of its share that it begins with.
const FIRST_SHARE: f64 = 0.1;
/// What a relay that is offered has free at the least, as a part of itself: it said that it wants calls.
const LEAST_FREE: f64 = 0.02;

/// A relay that may be named.
#[derive(Debug)]
pub struct Candidate {
    /// The provider's id.
    pub id: InstanceId,
    /// Where it is.
    pub zone: ZoneId,
    /// The part of the zone's id that its region's zones have in common.
    pub region: String,
    /// The region's name, where it is known to have one.
    pub region_name: Option<String>,
    /// What it has free, in relays of the usual kind, less while it is new; greater than 0.
    pub weight: f64,
    /// Its URLs, the one that most firewalls let through first; never empty.
    pub urls: Vec<String>,
    /// The same as a JSON array.
    pub(super) urls_json: String,
    /// How often it has been named since the fleet was looked at.
    given: AtomicU32,
}

impl Candidate {
    /// A relay with these URLs.
    pub fn new(id: InstanceId, zone: ZoneId, weight: f64, urls: Vec<String>) -> Self {
        let region = region::of_zone(zone.as_str()).to_owned();
        Self {
            region_name: region::name(&region),
            region,
            weight: if weight.is_finite() {
                weight.clamp(1e-6, 1e6)
            } else {
                1e-6
            },
            urls_json: serde_json::json!(urls).to_string(),
            urls,
            id,
            zone,
            given: AtomicU32::new(0),
        }
    }

    /// How often it has been named since the fleet was looked at.
    pub fn given(&self) -> u32 {
        self.given.load(Ordering::Relaxed)
    }

    /// It is named once more.
    pub(super) fn give(&self) {
        self.given.fetch_add(1, Ordering::Relaxed);
    }
}

/// Relays that may be named, as of one round.
#[derive(Debug)]
pub struct Offer {
    /// The fleet's name.
    pub fleet: String,
    /// When it was looked at.
    pub seen: Now,
    /// By id.
    candidates: Vec<Arc<Candidate>>,
}

impl Offer {
    /// What a round offers: `latest.plan.offered`, looked at once more, as far as clients can be told how to reach it.
    pub fn of(latest: &Published, host: &Host, warmth: &Warmth) -> Self {
        let snapshot = &latest.snapshot;
        let view = View::of(&snapshot.fleet, &latest.policy, snapshot.now);
        let candidates = latest
            .plan
            .offered
            .iter()
            .filter_map(|id| view.relay(id))
            // The plan knows that already. Where calls may be relayed is worth asking twice.
            .filter(|seen| !seen.offshore && !seen.relay.cordoned && seen.drain().is_none())
            .filter_map(|seen| candidate(seen, host, warmth, snapshot.now.instant))
            .collect();
        Self::with(&latest.policy.fleet, snapshot.now, candidates)
    }

    /// These candidates, in whatever order they come.
    pub fn with(fleet: &str, seen: Now, mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_by(|a, b| a.id.cmp(&b.id));
        candidates.dedup_by(|a, b| a.id == b.id);
        Self {
            fleet: fleet.to_owned(),
            seen,
            candidates: candidates.into_iter().map(Arc::new).collect(),
        }
    }

    /// All of them, by id.
    pub fn candidates(&self) -> &[Arc<Candidate>] {
        &self.candidates
    }
}

fn candidate(seen: &Seen<'_>, host: &Host, warmth: &Warmth, now: Instant) -> Option<Candidate> {
    let urls = urls(host, seen.id, &seen.relay.zone, &seen.report()?.endpoints);
    if urls.is_empty() {
        return None;
    }
    let weight = free(seen) * warmth.share(seen.id, now);
    Some(Candidate::new(
        seen.id.clone(),
        seen.relay.zone.clone(),
        weight,
        urls,
    ))
}

/// What a relay has free, in relays of the usual kind: by the dimension that runs out first.
fn free(seen: &Seen<'_>) -> f64 {
    let used = Dimension::ALL.into_iter().filter_map(|dimension| {
        let carries = seen.carries.of(dimension).filter(|most| *most > 0.0)?;
        Some(seen.load.of(dimension)? / carries)
    });
    let used = if seen.full {
        1.0
    } else {
        used.fold(0.0, f64::max)
    };
    seen.units.clamp(0.01, 1000.0) * (1.0 - used).clamp(LEAST_FREE, 1.0)
}

/// Since when each relay has been offered: a new one gets its share little by little, as its first samples say that it is
/// empty long after it is not.
#[derive(Debug, Default)]
pub struct Warmth {
    /// `None`: longer than this controller has been looking.
    since: BTreeMap<InstanceId, Option<Instant>>,
    /// At least one round has been noted.
    begun: bool,
}

impl Warmth {
    /// Notes a round. Relays that are offered in the first round which this controller sees and are older than the slow start
    /// are not taken for new.
    pub fn note(&mut self, latest: &Published) {
        let now = latest.snapshot.now.instant;
        let before = std::mem::take(&mut self.since);
        for id in &latest.plan.offered {
            let relays = &latest.snapshot.fleet.relays;
            let old = || relays.get(id).is_some_and(|relay| relay.age >= SLOW_START);
            let since = match before.get(id) {
                Some(since) => *since,
                None if !self.begun && old() => None,
                None => Some(now),
            };
            self.since.insert(id.clone(), since);
        }
        self.begun |= latest.counters.rounds > 0;
    }

    /// The part of its share that a relay gets: from a tenth to all of it.
    fn share(&self, id: &InstanceId, now: Instant) -> f64 {
        let Some(Some(since)) = self.since.get(id) else {
            return 1.0;
        };
        let passed = now.saturating_since(*since).as_secs_f64() / SLOW_START.as_secs_f64();
        FIRST_SHARE + (1.0 - FIRST_SHARE) * passed.min(1.0)
    }
}
