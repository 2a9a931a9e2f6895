//! The latest round: relays by state, what is needed and why, brakes, alarms, the lease.
//!
//! Not responsible for what adds up over time (`totals`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use taciturn_plane::metrics::{Family, Source};
use taciturn_protocol::time::UnixTime;

use crate::api::Rounds;
use crate::clock::Clock;
use crate::fleet::{Dimension, Fleet, Loads};
use crate::policy::{AlarmKind, Brake, Plan, Policy};
use crate::reconcile::Published;
use crate::shown::{self, Shown, State};

/// Shows the latest round.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) rounds: Arc<dyn Rounds>,
    pub(super) clock: Clock,
}

impl Source for Round {
    fn families(&self) -> Vec<Family> {
        let latest = self.rounds.latest();
        let relays = shown::relays(&latest);
        let age = self
            .clock
            .instant()
            .saturating_since(latest.snapshot.now.instant);
        let mut families = vec![
            Family::gauge(
                "taciturn_controller_round_age_seconds",
                "Since what is shown here was seen.",
                age,
            ),
            Family::gauge(
                "taciturn_controller_dry_run",
                "1 while nothing is launched, drained or ended.",
                latest.dry_run,
            ),
        ];
        families.extend(of_relays(&latest, &relays));
        families.extend(of_need(
            &latest.plan,
            &latest.snapshot.fleet,
            &latest.policy,
        ));
        families.extend(of_capacity(&latest.plan, &latest.policy));
        families.extend(of_trouble(&latest.plan));
        families.extend(of_leadership(&latest));
        families
    }
}

fn of_relays(latest: &Published, relays: &[Shown<'_>]) -> Vec<Family> {
    let found = relays.iter().map(|shown| &shown.relay.zone);
    let zones: BTreeSet<&str> = latest
        .policy
        .allowed_zones
        .iter()
        .chain(found)
        .map(|zone| zone.as_str())
        .collect();
    let count = |state: State, zone: &str| {
        let alike = relays
            .iter()
            .filter(|shown| shown.state == state && shown.relay.zone.as_str() == zone);
        alike.count()
    };
    let by_state = State::ALL.into_iter().flat_map(|state| {
        let zones = zones.iter();
        zones.map(move |zone| {
            (
                [state.as_str().to_owned(), (*zone).to_owned()],
                count(state, zone),
            )
        })
    });
    let stale = relays.iter().filter(|shown| {
        !shown.fresh && matches!(shown.state, State::Lost | State::Draining | State::Drained)
    });
    let offshore = relays
        .iter()
        .filter(|shown| shown.offshore && shown.state != State::Gone);
    let foreign = latest
        .plan
        .alarms
        .iter()
        .filter(|alarm| alarm.kind == AlarmKind::Foreign);
    vec![
        Family::gauges(
            "taciturn_controller_relays",
            "Relays by state and zone.",
            ["state", "zone"],
            by_state.collect::<Vec<_>>(),
        ),
        Family::gauge(
            "taciturn_controller_offered_relays",
            "Relays that new calls may be sent to.",
            latest.plan.offered.len(),
        ),
        Family::gauge(
            "taciturn_controller_stale_relays",
            "Relays that have not been heard of for too long.",
            stale.count(),
        ),
        Family::gauge(
            "taciturn_controller_sovereignty_violations",
            "Relays in zones that are not allowed.",
            offshore.count(),
        ),
        Family::gauge(
            "taciturn_controller_untracked_instances",
            "Instances that are not this controller's to use or end: set aside, or answering and not listed.",
            foreign.count(),
        ),
        Family::gauge(
            "taciturn_controller_drain_overdue_seconds",
            "For how long the drain that is furthest past its deadline has been so; 0 where none is.",
            overdue(relays, latest.snapshot.now.unix),
        ),
        Family::gauge(
            "taciturn_controller_oldest_drain_seconds",
            "How long the oldest drain has been going on; 0 where there is none.",
            oldest(relays, latest.snapshot.now.unix),
        ),
    ]
}

fn overdue(relays: &[Shown<'_>], now: UnixTime) -> u64 {
    let past = drains(relays).map(|(_, deadline)| now.as_secs().saturating_sub(deadline.as_secs()));
    past.max().unwrap_or(0)
}

fn oldest(relays: &[Shown<'_>], now: UnixTime) -> u64 {
    let ages = drains(relays).map(|(started, _)| now.as_secs().saturating_sub(started.as_secs()));
    ages.max().unwrap_or(0)
}

/// When each drain of a relay that still exists began, and when it is to be over.
fn drains<'a>(relays: &'a [Shown<'_>]) -> impl Iterator<Item = (UnixTime, UnixTime)> + 'a {
    relays.iter().filter_map(|shown| {
        let drain = shown.relay.report.as_ref()?.drain.as_ref()?;
        (shown.state != State::Gone).then_some((drain.started, drain.deadline))
    })
}

fn of_need(plan: &Plan, fleet: &Fleet, policy: &Policy) -> Vec<Family> {
    let need = &plan.need;
    let reasons = [
        ("reactive", need.reactive),
        ("forecast", need.forecast),
        ("zone_loss", need.zone_loss),
        ("schedule", need.schedule),
        ("minimum", need.minimum),
    ];
    let mut families = vec![
        Family::gauges(
            "taciturn_controller_need_relays",
            "Relays that are needed, by reason; a forecast that is only observed is shown too.",
            ["reason"],
            reasons.map(|(reason, relays)| ([reason], relays)),
        ),
        Family::gauge(
            "taciturn_controller_desired_relays",
            "Relays that are needed in the end: the greatest of the reasons, within minimum and maximum.",
            need.need,
        ),
        Family::gauge(
            "taciturn_controller_held_relays",
            "Relays that were needed at most within the window: fewer than this are not left.",
            need.held,
        ),
        Family::gauge(
            "taciturn_controller_present_relays",
            "Relays that carry calls or are on their way.",
            need.have,
        ),
        Family::gauge(
            "taciturn_controller_maximum_relays",
            "The most that the policy allows.",
            policy.max,
        ),
    ];
    // What the provider does not know is left out: a missing figure is never a zero.
    families.extend(fleet.group.desired.map(|desired| {
        Family::gauge(
            "taciturn_controller_provider_desired_relays",
            "Instances that the provider is trying to have.",
            desired,
        )
    }));
    families.extend(fleet.listing.complete_for.map(|age| {
        Family::gauge(
            "taciturn_controller_listing_age_seconds",
            "Since the provider gave a complete list.",
            age,
        )
    }));
    families
}

fn of_capacity(plan: &Plan, policy: &Policy) -> Vec<Family> {
    let by_dimension = |loads: &Loads| {
        let known = Dimension::ALL
            .into_iter()
            .filter_map(|dimension| Some(([dimension.as_str()], loads.of(dimension)?)));
        known.collect::<Vec<_>>()
    };
    let (demand, capacity) = (&plan.need.demand, &plan.need.capacity);
    let utilisation = Dimension::ALL.into_iter().filter_map(|dimension| {
        // All that they can carry, of which the plan fills a share.
        let whole = capacity.of(dimension)? / policy.fill_target;
        let used = demand.of(dimension)? / whole;
        used.is_finite().then_some(([dimension.as_str()], used))
    });
    vec![
        Family::gauges(
            "taciturn_controller_demand",
            "What is asked of the fleet, draining and stale relays' load included, in units of the dimension.",
            ["dimension"],
            by_dimension(demand),
        ),
        Family::gauges(
            "taciturn_controller_capacity",
            "What the relays that serve can carry up to the fill target.",
            ["dimension"],
            by_dimension(capacity),
        ),
        Family::gauges(
            "taciturn_controller_utilisation_ratio",
            "Demand as a share of all that the relays that serve can carry.",
            ["dimension"],
            utilisation.collect::<Vec<_>>(),
        ),
    ]
}

fn of_trouble(plan: &Plan) -> Vec<Family> {
    let on: BTreeSet<&str> = plan.brakes.iter().map(Brake::as_str).collect();
    let mut alarms: BTreeMap<&str, u64> = BTreeMap::new();
    for alarm in &plan.alarms {
        *alarms.entry(alarm.kind.as_str()).or_default() += 1;
    }
    vec![
        Family::gauges(
            "taciturn_controller_frozen",
            "1 while this forbids that anything is taken away.",
            ["reason"],
            Brake::WORDS.map(|word| ([word], on.contains(word))),
        ),
        Family::gauges(
            "taciturn_controller_alarms",
            "What people should look at, by kind: how many; /v1/fleet has the words.",
            ["kind"],
            AlarmKind::ALL.map(|kind| {
                let word = kind.as_str();
                ([word], alarms.get(word).copied().unwrap_or(0))
            }),
        ),
    ]
}

fn of_leadership(latest: &Published) -> Vec<Family> {
    let leadership = &latest.snapshot.fleet.leadership;
    vec![
        Family::gauge(
            "taciturn_controller_leader",
            "1 while this controller may act.",
            leadership.held,
        ),
        Family::gauge(
            "taciturn_controller_epoch",
            "The epoch that this controller leads in, or led in last.",
            leadership.epoch,
        ),
        Family::gauge(
            "taciturn_controller_lease_remaining_seconds",
            "How much longer the lease is good.",
            latest.lease_seconds,
        ),
    ]
}
