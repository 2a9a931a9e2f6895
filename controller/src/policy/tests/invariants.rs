//! What holds over every history: each rule of the test plan, held against what was really so.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::world::{LaunchFault, World, number};
use super::*;
use crate::policy::HandChanges;

/// What may happen to a world.
#[derive(Clone, Debug)]
enum Event {
    Load(u64),
    Silence(usize),
    Kill(usize),
    Heal,
    ListFails(bool),
    Leads(bool),
    Restart,
    ClockJumps(i64),
    Cordon(usize),
    Image(bool),
    MoveOffshore(usize),
    ByHand(u32),
    EndByHand(usize),
    Refresh(bool),
    Launches(LaunchFault),
    BrokenImage(bool),
    GroupMin(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let launches = prop_oneof![
        2 => Just(LaunchFault::None),
        1 => Just(LaunchFault::NoCapacity),
        1 => Just(LaunchFault::Failed),
        1 => Just(LaunchFault::Lost),
    ];
    prop_oneof![
        8 => (0..900_u64).prop_map(Event::Load),
        3 => (0..9_usize).prop_map(Event::Silence),
        1 => (0..9_usize).prop_map(Event::Kill),
        3 => Just(Event::Heal),
        1 => any::<bool>().prop_map(Event::ListFails),
        1 => any::<bool>().prop_map(Event::Leads),
        2 => Just(Event::Restart),
        1 => prop_oneof![Just(3600), Just(-3600), Just(5)].prop_map(Event::ClockJumps),
        1 => (0..9_usize).prop_map(Event::Cordon),
        1 => any::<bool>().prop_map(Event::Image),
        1 => (0..9_usize).prop_map(Event::MoveOffshore),
        1 => (0..12_u32).prop_map(Event::ByHand),
        1 => (0..9_usize).prop_map(Event::EndByHand),
        1 => any::<bool>().prop_map(Event::Refresh),
        2 => launches.prop_map(Event::Launches),
        1 => any::<bool>().prop_map(Event::BrokenImage),
        1 => (0..4_u32).prop_map(Event::GroupMin),
    ]
}

fn happen(world: &mut World, event: &Event) {
    let nth = |world: &World, nth: usize| {
        world
            .machines
            .keys()
            .nth(nth % world.machines.len().max(1))
            .cloned()
    };
    let change = |world: &mut World, at: usize, change: &dyn Fn(&mut world::Machine)| {
        let id = nth(world, at);
        if let Some(machine) = id.and_then(|id| world.machines.get_mut(&id)) {
            change(machine);
        }
    };
    match event {
        Event::Load(load) => world.load = *load,
        Event::Silence(at) => change(world, *at, &|machine| machine.silent = true),
        Event::Kill(at) => change(world, *at, &|machine| machine.dead = true),
        Event::Heal => world
            .machines
            .values_mut()
            .for_each(|machine| machine.silent = false),
        Event::ListFails(fails) => world.list_fails = *fails,
        Event::Leads(leads) => world.leads = *leads,
        Event::Restart => world.restart(),
        Event::ClockJumps(by) => world.clock_off += by,
        Event::Cordon(at) => change(world, *at, &|machine| machine.cordoned = !machine.cordoned),
        Event::Image(new) => world.group.image = Some(if *new { "two" } else { "one" }.to_owned()),
        Event::MoveOffshore(at) => change(world, *at, &|machine| machine.zone = zone("akl1")),
        Event::ByHand(desired) => world.group.desired = Some(*desired),
        Event::EndByHand(at) => change(world, *at, &|machine| {
            if machine.lifecycle == Lifecycle::InService {
                machine.lifecycle = Lifecycle::TerminatingWait;
            }
        }),
        Event::Refresh(active) => world.group.refresh_active = *active,
        Event::Launches(fault) => world.launch_fault = *fault,
        Event::BrokenImage(broken) => world.broken_image = *broken,
        Event::GroupMin(min) => world.group.min = Some(*min),
    }
}

fn tried_policy() -> Policy {
    Policy {
        // Shorter than in earnest, so that a history of some hours goes through all of it several times.
        window: seconds(600),
        drain_deadline: seconds(1200),
        min_age: seconds(120),
        quiet_after_launch: seconds(120),
        ..policy()
    }
}

/// Relays that serve and are heard of, as anybody would count them who had not read the rules' code.
fn counted<'f>(fleet: &'f Fleet, policy: &Policy) -> Vec<&'f Relay> {
    let serves = |relay: &&Relay| {
        let report = relay.report.as_ref();
        relay.lifecycle == Lifecycle::InService
            && relay.withheld_for.is_none()
            && !relay.terminate_asked
            && !relay.cordoned
            && policy.allowed_zones.contains(&relay.zone)
            && relay
                .report_age
                .is_some_and(|age| age <= policy.stale_after)
            && report.is_some_and(|report| report.ready && report.drain.is_none())
    };
    fleet.relays.values().filter(serves).collect()
}

/// Held against the fleet that the plan was made of.
fn holds(fleet: &Fleet, plan: &Plan, policy: &Policy, now: Now) -> Result<(), TestCaseError> {
    let relay_of = |action: &Action| action.act.relay().and_then(|id| fleet.relays.get(id));
    // Not leading: nothing at all.
    if !fleet.leadership.held {
        prop_assert!(plan.actions.is_empty(), "{plan:?}");
    }
    // A brake: no removal, but the drain of what is offshore.
    if !plan.brakes.is_empty() {
        for action in plan.actions.iter().filter(|action| is_removal(action)) {
            let offshore =
                relay_of(action).is_some_and(|it| !policy.allowed_zones.contains(&it.zone));
            let drain = matches!(action.act, Act::Drain { .. });
            prop_assert!(
                drain && offshore && fleet.listing.fault.is_none(),
                "{action:?}"
            );
        }
    }
    // The victims that are withheld because they are not needed are really not needed, all of them together.
    let serving = counted(fleet, policy);
    let victims: BTreeSet<&InstanceId> = (plan.actions.iter())
        .filter(|action| matches!(action.act, Act::Withhold { .. }))
        .filter(|action| matches!(action.reason, Reason::Surplus | Reason::Image))
        .filter_map(|action| action.act.relay())
        .collect();
    if !victims.is_empty() {
        let left: Vec<_> = serving
            .iter()
            .filter(|it| !victims.contains(&it.id))
            .collect();
        let count = u32::try_from(left.len()).expect("few");
        prop_assert!(
            count >= policy.min && count >= plan.need.held && count >= plan.need.zone_loss,
            "{plan:?}"
        );
        let demand: f64 = (fleet.relays.values())
            .filter_map(|it| it.report.as_ref()?.load.allocations)
            .sum();
        for lost in &policy.allowed_zones {
            let rest = left.iter().filter(|it| it.zone != *lost).count();
            let rest = f64::from(u32::try_from(rest).expect("few"));
            prop_assert!(rest * 100.0 + 1e-6 >= demand, "{lost} {plan:?}");
        }
    }
    // Un-drain before launch: whoever could be had back is, before anything new is asked for.
    let launches = plan.actions.iter().any(|action| {
        let launch = matches!(action.act, Act::Launch { .. });
        launch && !matches!(action.reason, Reason::Unfinished | Reason::Image)
    });
    let lacking = plan.need.need > plan.need.have;
    if launches && lacking {
        for relay in fleet.relays.values() {
            let fresh = relay
                .report_age
                .is_some_and(|age| age <= policy.stale_after);
            let drain = relay
                .report
                .as_ref()
                .and_then(|report| report.drain.as_ref());
            let ours =
                drain.is_some_and(|drain| drain.source == "operator" && drain.deadline > now.unix);
            let good = relay.lifecycle == Lifecycle::InService
                && !relay.terminate_asked
                && !relay.cordoned
                && policy.allowed_zones.contains(&relay.zone)
                && fleet.group.image.as_ref() == Some(&relay.image)
                // It was told to lately, and did not: it is told again later, and nobody waits for it.
                && !fleet.history.refused.contains_key(&relay.id);
            let taken = plan
                .actions
                .iter()
                .any(|action| matches!(&action.act, Act::Undrain { relay: id } if *id == relay.id));
            prop_assert!(
                !(fresh && ours && good) || taken,
                "{} of {plan:?}",
                relay.id
            );
        }
    }
    // Launches stay onshore, and within the bounds.
    let mut launched = 0;
    for action in &plan.actions {
        if let Act::Launch { zone, count, .. } = &action.act {
            prop_assert!(policy.allowed_zones.contains(zone) && fleet.group.zones.contains(zone));
            launched += u32::from(action.reason != Reason::Unfinished) * count;
        }
    }
    if launched > 0 {
        prop_assert!(plan.need.have + launched <= policy.max, "{plan:?}");
        let living = fleet.relays.values().filter(|it| {
            let gone = matches!(
                it.lifecycle,
                Lifecycle::Terminating | Lifecycle::Unlisted | Lifecycle::SetAside
            );
            !gone && !it.terminate_asked
        });
        let living = u32::try_from(living.count()).expect("few");
        prop_assert!(living + launched <= policy.max + policy.surge, "{plan:?}");
    }
    // What is offered may be.
    for id in &plan.offered {
        let relay = &fleet.relays[id];
        prop_assert!(policy.allowed_zones.contains(&relay.zone) && !relay.cordoned);
        prop_assert!(
            relay
                .report
                .as_ref()
                .is_some_and(|report| report.drain.is_none())
        );
    }
    // Draining and silent load is demand.
    let known = fleet.relays.values().filter(|it| {
        !it.terminate_asked
            && matches!(
                it.lifecycle,
                Lifecycle::InService | Lifecycle::Pending | Lifecycle::TerminatingWait
            )
    });
    let load: f64 = known
        .filter_map(|it| it.report.as_ref()?.load.allocations)
        .sum();
    prop_assert!(plan.need.demand.allocations.unwrap_or(0.0) + 1e-6 >= load);
    Ok(())
}

/// Held against the world as it is, before the plan is carried out.
fn holds_in(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    for action in &plan.actions {
        let (Act::Terminate { relay } | Act::Finish { relay }) = &action.act else {
            continue;
        };
        let Some(machine) = world.machines.get(relay) else {
            continue;
        };
        let past = world
            .deadlines
            .get(relay)
            .is_some_and(|deadline| world.second >= *deadline);
        prop_assert!(
            machine.calls == 0 || past,
            "{} calls on {relay}: {action:?}",
            machine.calls
        );
        prop_assert!(!world.ended.contains_key(relay), "{relay} is ended twice");
    }
    Ok(())
}

fn removals(plan: &Plan) -> usize {
    plan.actions
        .iter()
        .filter(|action| is_removal(action))
        .count()
}

/// The same fleet, with some samples that never came.
fn without_samples(fleet: &Fleet, policy: &Policy, mask: u16) -> Fleet {
    let mut fleet = fleet.clone();
    for (nth, relay) in fleet.relays.values_mut().enumerate() {
        if mask & (1 << (nth % 16)) != 0 {
            let late = policy.stale_after + seconds(1);
            relay.report_age = relay.report_age.map(|age| age.max(late));
        }
    }
    fleet
}

/// A history is long: some forty of them, or as many more as the environment asks for.
fn tries() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases.div_ceil(6),
        ..usual
    }
}

proptest! {
    #![proptest_config(tries())]

    /// scaling rules, 6.A: no removal while a brake holds, nor below what is needed; nobody is cut before the deadline, or
    /// ended twice; un-drain before launch; draining load is counted; nothing offshore; fewer samples, no more removals.
    #[test]
    fn every_history_keeps_the_rules(
        events in proptest::collection::vec((event(), 1..80_u32), 1..14),
        relays in 0..9_u32,
        freeze in any::<bool>(),
        mask in any::<u16>(),
    ) {
        let mut policy = tried_policy();
        if freeze {
            policy.hand_changes = HandChanges::Freeze;
        }
        let mut world = World::new(policy.clone(), relays, 200);
        for (event, rounds) in events {
            happen(&mut world, &event);
            for _ in 0..rounds {
                world.pass();
                let (fleet, now) = (world.fleet(), world.now());
                let plan = plan(&fleet, &policy, now);
                holds(&fleet, &plan, &policy, now)?;
                holds_in(&world, &plan)?;
                let fewer = super::plan(&without_samples(&fleet, &policy, mask), &policy, now);
                prop_assert!(removals(&fewer) <= removals(&plan), "{fewer:?} instead of {plan:?}");
                world.apply(&fleet, &plan);
            }
        }
    }

    /// scaling rules, 6.A: more load never asks for fewer relays.
    #[test]
    fn more_load_never_asks_for_fewer(
        fleet in absurd::any_fleet(),
        more in proptest::collection::vec(0.0..50.0_f64, 8),
    ) {
        let mut fleet = fleet;
        for report in fleet.relays.values_mut().filter_map(|relay| relay.report.as_mut()) {
            report.load.bits = report.load.bits.map(|bits| bits.min(1e12));
        }
        let mut fuller = fleet.clone();
        for (relay, more) in fuller.relays.values_mut().zip(&more) {
            if let Some(report) = &mut relay.report {
                report.load.allocations = report.load.allocations.map(|calls| calls + more);
                report.load.bits = report.load.bits.map(|bits| bits * (1.0 + more));
            }
        }
        let (policy, mut other) = (policy(), policy());
        other.slack = 3.0;
        for policy in [&policy, &other] {
            let (before, after) = (plan(&fleet, policy, NOW).need, plan(&fuller, policy, NOW).need);
            prop_assert!(after.need >= before.need && after.need_down >= before.need_down);
            prop_assert!(after.held >= before.held && after.zone_loss >= before.zone_loss);
        }
    }

    /// scaling rules, 6.A: wherever the controller restarts, the fleet ends up the same.
    #[test]
    fn a_restart_at_any_round_leads_to_the_same_fleet(at in 0..400_u32, relays in 5..12_u32, load in 0..400_u64) {
        let end = |restart: bool| {
            let mut world = World::new(tried_policy(), relays, load);
            for round in 0..1000 {
                if restart && round == at {
                    world.restart();
                }
                world.round();
            }
            let begun = world.machines.values().filter(|machine| machine.drain.is_some()).count();
            (world.serving(), world.machines.len(), begun, world.round().1.actions.len())
        };
        let undisturbed = end(false);
        prop_assert_eq!((undisturbed.2, undisturbed.3), (0, 0));
        prop_assert_eq!(end(true), undisturbed);
    }

    /// scaling rules, restart: a lost answer, a restart in between: never more relays than were asked for.
    #[test]
    fn an_answer_that_is_lost_launches_nothing_twice(lost in 0..30_u32, load in 200..900_u64) {
        let mut world = World::new(tried_policy(), 2, load);
        world.launch_fault = LaunchFault::Lost;
        let mut most = 0;
        for round in 0..400 {
            if round == lost {
                world.launch_fault = LaunchFault::None;
            }
            let (_, plan) = world.round();
            most = most.max(plan.need.need);
        }
        // The zones may be evened out by one or two more.
        prop_assert!(world.machines.len() <= usize::try_from(most).expect("few") + 2);
    }
}

/// scaling rules, 6.A: load that falls away for two minutes takes no relay with it.
#[test]
fn two_minutes_without_load_take_no_relay_away() {
    let mut world = World::new(policy(), 8, 400);
    for _ in 0..400 {
        world.round();
    }
    let before = world.serving();
    world.load = 0;
    for _ in 0..12 {
        world.round();
    }
    world.load = 400;
    for _ in 0..60 {
        world.round();
        assert_eq!(world.serving(), before);
    }
}

/// scaling rules, chaos matrix: a clock that jumps by an hour lets no deadline pass.
#[test]
fn a_clock_that_jumps_by_an_hour_cuts_no_call() {
    let mut world = World::new(tried_policy(), 9, 600);
    for _ in 0..100 {
        world.round();
    }
    world.load = 60;
    let mut drained = 0;
    for round in 0..600 {
        if round == 90 {
            world.clock_off = 3600;
        }
        world.pass();
        let fleet = world.fleet();
        let plan = plan(&fleet, &world.policy, world.now());
        for action in &plan.actions {
            if let Act::Terminate { relay } = &action.act {
                let machine = &world.machines[relay];
                drained += 1;
                assert!(machine.calls == 0 || world.second >= world.deadlines[relay]);
            }
        }
        world.apply(&fleet, &plan);
    }
    assert!(drained > 2, "{drained}");
}

/// scaling rules, chaos matrix: an image that never becomes ready costs its own instances and no healthy relay.
#[test]
fn a_broken_image_does_not_eat_the_fleet() {
    let mut world = World::new(tried_policy(), 4, 280);
    world.broken_image = true;
    let healthy: Vec<InstanceId> = world.machines.keys().cloned().collect();
    world.load = 500;
    for _ in 0..1000 {
        world.round();
    }
    assert!(healthy.iter().all(|id| world.machines.contains_key(id)));
    assert!(
        world.history.never_ready >= 3,
        "{}",
        world.history.never_ready
    );
    let launched = world.ended.len() + world.machines.len() - healthy.len();
    assert!(launched <= 20, "{launched} in {} h", 1000 * 10 / 3600);
    world.broken_image = false;
    for _ in 0..600 {
        world.round();
    }
    assert_eq!(world.history.never_ready, 0);
    assert!(number(500) <= 75.0 * number(u64::try_from(world.serving()).expect("few")));
}
