//! What each relay is to the rules: whether it carries, is on its way, is leaving, or cannot be told.
//!
//! Responsible for reading the nouns once, with nonsense taken out, so that every rule sees the same. Not responsible for
//! what follows.

use std::time::Duration;

use taciturn_protocol::status::Phase;
use taciturn_protocol::time::Now;

use super::Policy;
use super::rounding::{divisor, figures, within};
use crate::fleet::{
    Dimension, DrainReport, Fleet, InstanceId, Lifecycle, Loads, Relay, Report, ZoneId,
};

/// What a relay is to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// On its way, and not for too long yet.
    Launching,
    /// This controller launched it, or the provider still boots it, and it took too long.
    NeverReady,
    /// It carries calls and may get more.
    Serving,
    /// It is heard of, and says that it cannot serve.
    Unready,
    /// It has not been heard of: nobody knows.
    Stale,
    /// It takes no new calls, by an order that it has acknowledged.
    Draining,
    /// The provider waits for our word to end it.
    Ending,
    /// It is ended, or as good as.
    Gone,
    /// Somebody set it aside: not ours.
    Aside,
}

/// A relay, read once.
#[derive(Clone, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) id: &'a InstanceId,
    pub(crate) relay: &'a Relay,
    pub(crate) standing: Standing,
    /// Its report is young enough.
    pub(crate) fresh: bool,
    /// It, or what it says of itself, is in a zone that is not allowed.
    pub(crate) offshore: bool,
    /// Its network card or kernel drops packets by its last word, or it says that it is overloaded.
    pub(crate) full: bool,
    /// What it carries, as far as was ever known.
    pub(crate) load: Loads,
    /// What it can carry, all of it.
    pub(crate) carries: Loads,
    /// What it can carry, in relays of the kind that is launched.
    pub(crate) units: f64,
    /// How long it has been silent on its admin API and its data path, or not ready.
    pub(crate) ailing_for: Option<Duration>,
}

impl<'a> Seen<'a> {
    pub(crate) fn report(&self) -> Option<&'a Report> {
        self.relay.report.as_ref()
    }

    pub(crate) fn drain(&self) -> Option<&'a DrainReport> {
        self.report().and_then(|report| report.drain.as_ref())
    }

    pub(crate) fn withheld(&self) -> bool {
        self.relay.withheld_for.is_some()
    }

    /// It counts as capacity: it serves, new calls are sent to it, and it is where it may be.
    pub(crate) fn is_capacity(&self) -> bool {
        self.standing == Standing::Serving
            && !self.withheld()
            && !self.relay.cordoned
            && !self.offshore
    }

    /// It will count as capacity soon.
    pub(crate) fn is_coming(&self) -> bool {
        self.standing == Standing::Launching && !self.offshore
    }

    /// It exists, and the provider counts it.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.standing, Standing::Gone | Standing::Aside)
    }

    /// It ought to be heard of.
    pub(crate) fn ought_to_report(&self) -> bool {
        matches!(
            self.standing,
            Standing::Serving | Standing::Unready | Standing::Stale | Standing::Draining
        )
    }

    /// Live allocations by its last word; `None`: it never said.
    pub(crate) fn allocations(&self) -> Option<f64> {
        self.load.allocations
    }
}

/// A fleet, read once.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) policy: &'a Policy,
    pub(crate) now: Now,
    /// Every relay, by id.
    pub(crate) relays: Vec<Seen<'a>>,
    /// Zones that are allowed and that the group has.
    pub(crate) zones: Vec<&'a ZoneId>,
    /// What a relay of the kind that is launched may carry: its capacity up to the fill target.
    pub(crate) unit: Loads,
}

impl<'a> View<'a> {
    pub(crate) fn of(fleet: &'a Fleet, policy: &'a Policy, now: Now) -> Self {
        let whole = launched_kind(fleet, policy);
        let fill = within(policy.fill_target, 0.01, 1.0);
        let unit = whole.times(fill);
        let relays = fleet
            .relays
            .iter()
            .map(|(id, relay)| seen(id, relay, whole, fleet, policy, now))
            .collect();
        let zones = policy.allowed_zones.intersection(&fleet.group.zones);
        Self {
            fleet,
            policy,
            now,
            relays,
            zones: zones.collect(),
            unit,
        }
    }

    pub(crate) fn relay(&self, id: &InstanceId) -> Option<&Seen<'a>> {
        self.relays
            .binary_search_by(|seen| seen.id.cmp(id))
            .ok()
            .and_then(|at| self.relays.get(at))
    }

    /// Relays that ought to be heard of and are not, of how many.
    pub(crate) fn stale(&self) -> (u32, u32) {
        let ought = self.relays.iter().filter(|seen| seen.ought_to_report());
        ought.fold((0, 0), |(stale, of), seen| {
            (stale + u32::from(!seen.fresh), of + 1)
        })
    }
}

fn seen<'a>(
    id: &'a InstanceId,
    relay: &'a Relay,
    whole: Loads,
    fleet: &Fleet,
    policy: &Policy,
    now: Now,
) -> Seen<'a> {
    let report = relay.report.as_ref();
    let fresh = report.is_some()
        && relay
            .report_age
            .is_some_and(|age| age <= policy.stale_after);
    let zones = [Some(&relay.zone), report.and_then(|r| r.zone_id.as_ref())];
    let offshore = zones
        .into_iter()
        .flatten()
        .any(|zone| !policy.allowed_zones.contains(zone));
    let carries = capacity(relay, policy).or(whole);
    let since = fleet.history.ailing.get(id);
    Seen {
        id,
        relay,
        standing: standing(id, relay, fresh, fleet, policy),
        fresh,
        offshore,
        full: report.is_some_and(|report| report.full_now || overloaded(report)),
        load: report.map_or_else(Loads::default, |report| figures(report.load)),
        carries,
        units: units(carries, whole),
        ailing_for: since.map(|since| now.instant.saturating_since(*since)),
    }
}

fn standing(
    id: &InstanceId,
    relay: &Relay,
    fresh: bool,
    fleet: &Fleet,
    policy: &Policy,
) -> Standing {
    match relay.lifecycle {
        Lifecycle::Terminating | Lifecycle::Unlisted => return Standing::Gone,
        Lifecycle::SetAside => return Standing::Aside,
        Lifecycle::TerminatingWait => return Standing::Ending,
        Lifecycle::Pending | Lifecycle::InService => {}
    }
    if relay.terminate_asked {
        return Standing::Gone;
    }
    let report = relay.report.as_ref();
    let draining = |report: &Report| {
        report.drain.is_some() || matches!(report.phase, Phase::Draining | Phase::Drained)
    };
    if report.is_some_and(draining) {
        return Standing::Draining;
    }
    let late = relay.age > policy.ready_timeout;
    let was_ready = relay.was_ready || report.is_some_and(|report| report.ready);
    let ours = relay.lifecycle == Lifecycle::Pending || fleet.history.expected.contains_key(id);
    match report {
        Some(report) if fresh && (report.ready || overloaded(report)) => Standing::Serving,
        Some(_) if fresh && !was_ready && !late => Standing::Launching,
        Some(report) if fresh && !was_ready && ours && empty(report) => Standing::NeverReady,
        Some(_) if fresh => Standing::Unready,
        _ if was_ready => Standing::Stale,
        _ if !late => Standing::Launching,
        None if relay.lifecycle == Lifecycle::Pending && relay.answers_stun != Some(true) => {
            Standing::NeverReady
        }
        report if ours && report.is_none_or(empty) && relay.answers_stun == Some(false) => {
            Standing::NeverReady
        }
        _ => Standing::Stale,
    }
}

/// It serves, and wants no more than it has: it is full, not broken.
fn overloaded(report: &Report) -> bool {
    let mut why = report.not_ready_because.iter();
    !report.ready && report.phase == Phase::Ready && why.any(|why| why == "overload") && {
        let mut why = report.not_ready_because.iter();
        why.all(|why| why == "overload")
    }
}

fn empty(report: &Report) -> bool {
    report.load.allocations.is_none_or(|count| count < 0.5)
}

/// The table's figures for its type, and what it leaves out by the relay's own word. A core is a core.
fn capacity(relay: &Relay, policy: &Policy) -> Loads {
    let own = relay.report.as_ref().map(|report| figures(report.capacity));
    table(&relay.instance_type, policy)
        .or(own.unwrap_or_default())
        .or(Loads::default().with(Dimension::Core, Some(1.0)))
}

fn table(instance_type: &str, policy: &Policy) -> Loads {
    let entry = policy.capacity.get(instance_type);
    entry
        .or_else(|| policy.capacity.get("default"))
        .map_or_else(Loads::default, |entry| figures(Loads::from(*entry)))
}

/// What a relay of the kind that is launched can carry: by the table, or else by the least that one of its kind reports, or
/// else any relay.
fn launched_kind(fleet: &Fleet, policy: &Policy) -> Loads {
    let kind = fleet.group.instance_type.as_deref().unwrap_or_default();
    let of_kind = |relay: &&Relay| relay.instance_type == kind;
    let least = |relays: &mut dyn Iterator<Item = &Relay>| {
        relays
            .filter_map(|relay| relay.report.as_ref())
            .fold(Loads::default(), |least, report| {
                lesser(least, figures(report.capacity))
            })
    };
    table(kind, policy)
        .or(least(&mut fleet.relays.values().filter(of_kind)))
        .or(least(&mut fleet.relays.values()))
        .or(Loads::default().with(Dimension::Core, Some(1.0)))
}

fn lesser(a: Loads, b: Loads) -> Loads {
    Dimension::ALL.into_iter().fold(a, |least, dimension| {
        let value = match (divisor(a.of(dimension)), divisor(b.of(dimension))) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        least.with(dimension, value)
    })
}

/// The dimension along which it is the weakest counts. Its core is left out: shares of cores say nothing about how fast
/// they are.
fn units(carries: Loads, whole: Loads) -> f64 {
    Dimension::ALL
        .into_iter()
        .filter(|dimension| *dimension != Dimension::Core)
        .filter_map(|dimension| {
            let (own, unit) = (divisor(carries.of(dimension)), divisor(whole.of(dimension)));
            Some(own? / unit?)
        })
        .reduce(f64::min)
        .map_or(1.0, |units| within(units, 0.01, 100.0))
}
