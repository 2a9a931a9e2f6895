//! Every argument gives a plan: numbers that make no sense, times at the end of the clock, policies that nobody checked.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::fleet::{Backoff, Expected, Launch, Ordered, Refusal, Unconfirmed};
use crate::policy::{Outcome, remember};

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(-1.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE),
        0.0..200.0_f64,
    ]
}

fn whole() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(i64::MAX.unsigned_abs()),
        0..100_000_u64
    ]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX), 0..30_u32]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0..10_000_u64).prop_map(Duration::from_secs)
    ]
}

fn instant() -> impl Strategy<Value = Instant> {
    prop_oneof![
        Just(Instant::ZERO),
        Just(Instant::from_nanos(u64::MAX)),
        whole().prop_map(Instant::from_nanos)
    ]
}

fn unix() -> impl Strategy<Value = UnixTime> {
    prop_oneof![whole().prop_map(UnixTime::from_secs), Just(NOW.unix)]
}

fn loads() -> BoxedStrategy<Loads> {
    let value = || proptest::option::of(number());
    (value(), value(), value(), value(), value())
        .prop_map(|(packets, bits, core, allocations, ports)| Loads {
            packets,
            bits,
            core,
            allocations,
            ports,
        })
        .boxed()
}

fn any_zone() -> impl Strategy<Value = ZoneId> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("akl1")].prop_map(zone)
}

fn drain() -> BoxedStrategy<DrainReport> {
    let source = prop_oneof![Just("operator"), Just("signal"), Just("metadata"), Just("")];
    (source, unix(), unix(), whole(), whole(), whole())
        .prop_map(
            |(source, started, deadline, epoch, remaining, idle)| DrainReport {
                source: source.to_owned(),
                started,
                deadline,
                reason: String::new(),
                epoch,
                allocations_remaining: remaining,
                idle_allocations: idle,
            },
        )
        .boxed()
}

fn any_report() -> BoxedStrategy<Report> {
    let phase = prop_oneof![
        Just(Phase::Launching),
        Just(Phase::Ready),
        Just(Phase::Draining),
        Just(Phase::Drained),
        Just(Phase::Lost),
    ];
    let why = prop_oneof![
        Just(vec![]),
        Just(vec!["overload".to_owned()]),
        Just(vec!["self_check".to_owned()])
    ];
    let first = (
        unix(),
        phase,
        any::<bool>(),
        why,
        proptest::option::of(any_zone()),
    );
    let second = (
        loads(),
        loads(),
        any::<bool>(),
        whole(),
        proptest::option::of(drain()),
    );
    (first, second)
        .prop_map(
            |((time, phase, ready, why, zone_id), (load, capacity, full_now, epoch, drain))| {
                Report {
                    time,
                    phase,
                    ready,
                    not_ready_because: why,
                    zone_id,
                    load,
                    capacity,
                    full_now,
                    epoch,
                    drain,
                    ..Report::default()
                }
            },
        )
        .boxed()
}

fn lifecycle() -> impl Strategy<Value = Lifecycle> {
    prop_oneof![
        4 => Just(Lifecycle::InService),
        1 => Just(Lifecycle::Pending),
        1 => Just(Lifecycle::TerminatingWait),
        1 => Just(Lifecycle::Terminating),
        1 => Just(Lifecycle::SetAside),
        1 => Just(Lifecycle::Unlisted),
    ]
}

fn any_relay() -> BoxedStrategy<Relay> {
    let first = (
        any_zone(),
        lifecycle(),
        time(),
        proptest::option::of(any_report()),
        proptest::option::of(time()),
    );
    let flags = (
        any::<bool>(),
        proptest::option::of(any::<bool>()),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    let last = (
        count(),
        proptest::option::of(time()),
        proptest::option::of(whole()),
    );
    (first, flags, last)
        .prop_map(|(first, flags, last)| {
            let (zone, lifecycle, age, report, report_age) = first;
            let (was_ready, answers_stun, cordoned, keep, terminate_asked) = flags;
            let (samples, withheld_for, newer_epoch) = last;
            Relay {
                zone,
                lifecycle,
                age,
                report,
                report_age,
                was_ready,
                answers_stun,
                cordoned,
                keep,
                terminate_asked,
                samples,
                withheld_for,
                newer_epoch,
                ..relay("any", "a", 0.0)
            }
        })
        .boxed()
}

fn names() -> impl Strategy<Value = InstanceId> {
    (0..8_u32).prop_map(|nth| id(&format!("r{nth}")))
}

fn any_history() -> BoxedStrategy<History> {
    let launch = (
        instant(),
        any_zone(),
        count(),
        proptest::collection::vec(names(), 0..3),
    )
        .prop_map(|(at, zone, count, instances)| Launch {
            at,
            zone,
            count,
            instances,
        });
    let unconfirmed =
        (instant(), any_zone(), count(), count()).prop_map(|(at, zone, count, tries)| {
            Unconfirmed {
                at,
                token: crate::fleet::LaunchToken::try_from("t").expect("plain"),
                zone,
                count,
                tries,
            }
        });
    let backoff = (proptest::option::of(any_zone()), count(), instant()).prop_map(
        |(zone, failures, until)| Backoff {
            zone,
            failures,
            until,
            what: String::new(),
        },
    );
    let order = (instant(), unix(), instant()).prop_map(|(asked, deadline, until)| Ordered {
        asked,
        deadline,
        until,
    });
    let expected = (instant(), any_zone(), any::<bool>()).prop_map(|(at, zone, failed)| Expected {
        at,
        zone,
        failed,
    });
    let first = (
        proptest::collection::vec((instant(), count()), 0..4),
        proptest::collection::vec((instant(), loads()), 0..4),
        proptest::collection::vec(launch, 0..3),
        proptest::collection::vec(instant(), 0..3),
        proptest::collection::btree_map(names(), instant(), 0..3),
        proptest::collection::vec(unconfirmed, 0..3),
        proptest::collection::vec(backoff, 0..3),
    );
    let second = (
        whole(),
        proptest::option::of(count()),
        proptest::collection::vec((instant(), any::<i32>()), 0..3),
        proptest::collection::btree_map(names(), order, 0..4),
        proptest::collection::btree_map(names(), instant(), 0..4),
        proptest::collection::btree_map(names(), expected, 0..4),
        count(),
    );
    (first, second)
        .prop_map(|(first, second)| {
            let (needs, demand, launches, drains, chosen, unconfirmed, backoff) = first;
            let (next_launch, desired, own_changes, orders, ailing, expected, never_ready) = second;
            History {
                needs: needs.into(),
                demand: demand.into(),
                launches: launches.into(),
                drains: drains.into(),
                chosen,
                unconfirmed,
                backoff,
                next_launch,
                desired,
                bounds: Some((Some(1), None)),
                own_changes: own_changes.into(),
                hand: None,
                orders,
                extended: ailing.clone(),
                finished: ailing.clone(),
                refused: (ailing.iter())
                    .map(|(id, at)| {
                        let words = String::new();
                        (id.clone(), Refusal { at: *at, words })
                    })
                    .collect(),
                ailing,
                expected,
                never_ready,
            }
        })
        .boxed()
}

pub(super) fn any_fleet() -> BoxedStrategy<Fleet> {
    let group = (
        proptest::option::of(count()),
        proptest::option::of(count()),
        proptest::option::of(count()),
        proptest::collection::btree_set(any_zone(), 0..4),
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
    );
    let state = (
        proptest::option::of(time()),
        any::<bool>(),
        any::<bool>(),
        whole(),
        loads(),
        time(),
    );
    (
        proptest::collection::vec(any_relay(), 0..8),
        group,
        state,
        any_history(),
        proptest::option::of(time()),
    )
        .prop_map(|(relays, group, state, history, clock_jump)| {
            let (
                min,
                max,
                desired,
                zones,
                (launch_suspended, terminate_suspended, refresh_active, fixed),
            ) = group;
            let (complete_for, fault, held, epoch, outlook, running_for) = state;
            let named = relays.into_iter().enumerate().map(|(nth, relay)| {
                let id = id(&format!("r{nth}"));
                (id.clone(), Relay { id, ..relay })
            });
            Fleet {
                relays: named.collect(),
                listing: ListingState {
                    complete_for,
                    fault: fault.then(|| "truncated".to_owned()),
                },
                group: Group {
                    min,
                    max,
                    desired,
                    zones,
                    image: Some("one".to_owned()),
                    instance_type: None,
                    launch_suspended,
                    terminate_suspended,
                    refresh_active,
                    fixed,
                },
                leadership: Leadership {
                    held,
                    epoch,
                    obstacle: None,
                },
                history,
                outlook,
                running_for,
                clock_jump,
                configuration_error: None,
            }
        })
        .boxed()
}

fn any_policy() -> BoxedStrategy<Policy> {
    let counts = (count(), count(), count(), count(), count(), count());
    let shares = (
        number(),
        number(),
        number(),
        number(),
        number(),
        number(),
        number(),
    );
    let times = (time(), time(), time(), time(), time(), time(), time());
    (counts, shares, times, loads(), any::<bool>())
        .prop_map(|(counts, shares, times, capacity, flag)| Policy {
            min: counts.0,
            max: counts.1,
            surge: counts.2,
            up_step: counts.3,
            down_step: counts.4,
            breaker_after: counts.5,
            fill_target: shares.0,
            headroom_up: shares.1,
            headroom_down: shares.2,
            slack: shares.3,
            up_share: shares.4,
            stale_share: shares.5,
            unhealthy_share: shares.6,
            trend_window: times.0,
            lead: times.1,
            window: times.2,
            stale_after: times.3,
            ready_timeout: times.4,
            drain_deadline: times.5,
            backoff: times.6,
            backoff_max: times.0,
            up_period: times.3,
            end_idle_drains: flag,
            zone_loss_floor: flag,
            capacity: BTreeMap::from([(
                "default".to_owned(),
                Capacity {
                    packets: capacity.packets,
                    bits: capacity.bits,
                    core: capacity.core,
                    allocations: capacity.allocations,
                    ports: capacity.ports,
                },
            )]),
            ..policy()
        })
        .boxed()
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let words = String::new;
    prop_oneof![
        Just(Outcome::Done {
            instances: vec![id("r0"), id("new")]
        }),
        Just(Outcome::Nothing),
        Just(Outcome::NoCapacity { words: words() }),
        Just(Outcome::Refused { words: words() }),
        Just(Outcome::Failed { words: words() }),
        Just(Outcome::Unknown { words: words() }),
        Just(Outcome::OlderEpoch { seen: u64::MAX }),
        Just(Outcome::DryRun),
    ]
}

proptest! {


    /// scaling rules, 6.A: the plan is total, and the same arguments give the same plan.
    #[test]
    fn every_fleet_has_a_plan(
        fleet in any_fleet(),
        policy in any_policy(),
        instant in instant(),
        unix in unix(),
        outcome in any_outcome(),
    ) {
        let now = Now { instant, unix };
        let first = plan(&fleet, &policy, now);
        prop_assert_eq!(&first, &plan(&fleet, &policy, now));
        let outcomes: Vec<_> = first.actions.iter().cloned().map(|action| (action, outcome.clone())).collect();
        let mut history = fleet.history.clone();
        remember(&mut history, &fleet, &first, &outcomes, &policy, now);
        let again = Fleet { history, ..fleet };
        let second = plan(&again, &policy, now);
        for plan in [first, second] {
            prop_assert!(plan.need.need <= policy.max);
            prop_assert!(plan.need.held >= plan.need.need_down && plan.need.need_down >= plan.need.need);
            let mut dealt_with = BTreeSet::new();
            for action in &plan.actions {
                prop_assert!(action.act.relay().is_none_or(|relay| dealt_with.insert(relay.clone())), "{plan:?}");
            }
        }
    }

    /// scaling rules, 6.A: a policy that is checked has no panic either.
    #[test]
    fn every_policy_can_be_checked(policy in any_policy()) {
        for fault in policy.check() {
            prop_assert!(fault.contains(" = ") && fault.contains("; "), "{fault}");
        }
    }
}
