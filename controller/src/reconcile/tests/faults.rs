//! What fails, hangs, lies or comes twice.

use super::world::{World, id};
use super::*;
use crate::fleet::Lifecycle;

fn two(rig: &Rig, allocations: u64) {
    rig.world.add("a", "z-1", allocations);
    rig.world.add("b", "z-2", allocations);
}

fn brakes(published: &Published) -> Vec<&'static str> {
    published
        .plan
        .brakes
        .iter()
        .map(|brake| brake.as_str())
        .collect()
}

/// Scaling rules, idempotency: an answer that was lost is asked for again with the same token.
#[tokio::test]
async fn a_launch_whose_answer_is_lost_happens_once() {
    let mut rig = Rig::hurried();
    two(&rig, 85);
    rig.world.state().faults.launch_hangs = true;
    rig.rounds(6).await;
    let tried: u64 = (rig.handle.latest().counters.actions.iter())
        .filter(|((act, _, outcome), _)| *act == "launch" && *outcome == "unknown")
        .map(|(_, count)| *count)
        .sum();
    assert!(tried >= 2, "it was asked for again: {tried}");
    let hung = rig.world.done("launch");
    rig.world.state().faults.launch_hangs = false;
    rig.rounds(30).await;
    let launched = rig.world.done("launch");
    assert_eq!(hung[..], launched[..hung.len()]);
    let need = rig.handle.latest().plan.need.need;
    assert_eq!(
        rig.world.present().len(),
        usize::try_from(need).unwrap(),
        "{launched:?}"
    );
}

#[tokio::test]
async fn a_provider_that_hangs_stops_neither_the_rounds_nor_the_look_at_relays() {
    let mut rig = Rig::hurried();
    two(&rig, 10);
    rig.rounds(40).await;
    rig.world.state().faults.list_hangs = true;
    let asked = rig.world.state().statuses;
    let published = rig.rounds(3).await;
    assert!(rig.world.state().statuses >= asked + 6);
    assert_eq!(brakes(&published), ["listing_in_doubt"]);
    assert_eq!(published.plan.offered, [id("a"), id("b")], "calls go on");
    let fresh = published.snapshot.fleet.relays.values();
    assert!(
        fresh
            .into_iter()
            .all(|relay| relay.report_age < Some(Duration::from_secs(10)))
    );
    assert_eq!(rig.world.done(""), Vec::<String>::new());
}

#[tokio::test]
async fn a_relay_that_hangs_holds_up_no_other() {
    let mut rig = Rig::hurried();
    two(&rig, 10);
    rig.world.add("c", "z-3", 10);
    rig.rounds(40).await;
    rig.world.change("b", |machine| machine.hangs = true);
    let published = rig.rounds(5).await;
    let relays = &published.snapshot.fleet.relays;
    assert!(relays[&id("a")].report_age < Some(Duration::from_secs(10)));
    assert!(relays[&id("b")].report_age > Some(Duration::from_secs(35)));
    assert_eq!(
        relays[&id("b")].answers_stun,
        Some(true),
        "it is its admin API that is down"
    );
    assert_eq!(published.plan.offered, [id("a"), id("c")]);
    rig.rounds(30).await;
    assert_eq!(
        rig.world.done("terminate"),
        Vec::<String>::new(),
        "silence is not death"
    );
}

/// Scaling rules, staleness: HTTP 200 with the same sample again.
#[tokio::test]
async fn samples_that_stand_still_are_stale_and_hold_removals_back() {
    let mut rig = Rig::new();
    for name in ["a", "b", "c", "d", "e"] {
        rig.world.add(name, "z-1", 10);
    }
    rig.rounds(4).await;
    rig.world.all(|machine| machine.frozen = Some(5000));
    let published = rig.rounds(200).await;
    assert!(
        brakes(&published).contains(&"stale_relays"),
        "{:?}",
        brakes(&published)
    );
    assert_eq!(rig.world.done(""), Vec::<String>::new());
}

#[tokio::test]
async fn a_list_that_is_not_complete_takes_nothing_away() {
    let mut rig = Rig::new();
    two(&rig, 10);
    rig.world.add("c", "z-3", 10);
    rig.rounds(40).await;
    rig.world.state().faults.list_incomplete = true;
    let published = rig.rounds(60).await;
    assert_eq!(published.snapshot.fleet.relays.len(), 3);
    assert_eq!(published.plan.offered.len(), 3);
    assert_eq!(brakes(&published), ["listing_in_doubt"]);
    assert_eq!(rig.world.done(""), Vec::<String>::new());
}

/// Scaling rules, two controllers: a relay that has obeyed a newer one makes this one stop.
#[tokio::test]
async fn an_order_that_is_refused_for_its_epoch_stops_everything() {
    let mut rig = Rig::new();
    for name in ["a", "b", "c", "d"] {
        rig.world.add(name, "z-1", 10);
    }
    rig.rounds(40).await;
    rig.world.all(|machine| machine.epoch = u64::MAX - 1);
    let published = rig.rounds(300).await;
    assert!(
        brakes(&published).contains(&"newer_epoch"),
        "{:?}",
        brakes(&published)
    );
    assert_eq!(rig.world.done(""), Vec::<String>::new());
}

/// Scaling rules, two controllers: SIGSTOP between the decision and the deed, for longer than the lease.
#[tokio::test]
async fn a_lease_that_ran_out_between_plan_and_act_stops_the_act() {
    let mut rig = Rig::new();
    two(&rig, 85);
    rig.world.state().faults.sleeps_at = Some(("intent", Duration::from_secs(60)));
    let published = rig.round().await;
    assert!(!published.plan.actions.is_empty());
    assert_eq!(published.outcomes, []);
    assert_eq!(rig.world.done(""), Vec::<String>::new());
    assert!(
        rig.world
            .state()
            .audit
            .iter()
            .any(|(kind, _)| kind == "refusal")
    );
    // Nobody else took the lease: it goes on.
    rig.rounds(3).await;
    assert!(!rig.world.done("launch").is_empty());
}

/// Scaling rules, two controllers: one is stopped past its lease, the other takes over, the first wakes up.
#[tokio::test]
async fn two_controllers_on_one_fleet_do_nothing_twice() {
    let lease: Arc<dyn Lease> = Arc::new(NoLease::default());
    let (world, hand) = World::new();
    let sharing = || Setup {
        lease: Arc::clone(&lease),
        ..Setup::default()
    };
    let mut one = Rig::on(&world, hand, sharing());
    let mut other = Rig::on(&world, hand, sharing());
    two(&one, 60);
    for _ in 0..40 {
        one.round().await;
        other.keeper.tend().await;
        other.controller.round().await;
    }
    let leads = |rig: &Rig| rig.handle.latest().snapshot.fleet.leadership.clone();
    assert!(leads(&one).held && !leads(&other).held);
    assert_eq!(brakes(&other.handle.latest()), ["not_leading"]);
    let before = world.done("").len();

    // The first decides to launch, and sleeps when it has said so.
    world.all(|machine| machine.allocations = 95);
    world.state().faults.sleeps_at = Some(("intent", Duration::from_secs(60)));
    let asleep = one.round().await;
    assert_eq!(asleep.outcomes, []);
    for _ in 0..12 {
        other.round().await;
    }
    assert!(leads(&other).held && leads(&other).epoch > leads(&one).epoch);
    let launched = world.done("launch").len();
    assert!(launched > before);
    for _ in 0..12 {
        one.round().await;
        other.keeper.tend().await;
        other.controller.round().await;
    }
    assert!(!leads(&one).held);
    assert_eq!(brakes(&one.handle.latest()), ["not_leading"]);
    let need = other.handle.latest().plan.need.need;
    assert_eq!(world.present().len(), usize::try_from(need).unwrap());
}

#[tokio::test]
async fn a_removal_that_cannot_be_written_down_is_not_begun_and_a_launch_is() {
    let mut rig = Rig::new();
    for name in ["a", "b", "c", "d"] {
        rig.world.add(name, "z-1", 10);
    }
    rig.world.state().faults.audit_fails_at = Some("intent");
    rig.rounds(300).await;
    assert_eq!(rig.world.done(""), Vec::<String>::new());
    assert!(rig.handle.latest().counters.audit_failures > 0);
    rig.world.all(|machine| machine.allocations = 95);
    rig.rounds(5).await;
    assert!(!rig.world.done("launch").is_empty());
}

/// Scaling rules, sovereignty: an offshore instance is never offered, is drained, and people are called.
#[tokio::test]
async fn an_offshore_instance_is_drained_and_left_to_people() {
    let mut rig = Rig::new();
    two(&rig, 10);
    rig.rounds(40).await;
    rig.world.add("x", "z-9", 5);
    let published = rig.rounds(4).await;
    assert!(brakes(&published).contains(&"sovereignty_violation"));
    assert!(!published.plan.offered.contains(&id("x")));
    assert_eq!(rig.world.done("drain x").len(), 1);
    rig.world.change("x", |machine| machine.allocations = 0);
    rig.rounds(100).await;
    assert_eq!(rig.world.done("terminate"), Vec::<String>::new());
}

#[tokio::test]
async fn an_instance_that_somebody_else_ends_is_not_ended_again() {
    let mut rig = Rig::new();
    for name in ["a", "b", "c"] {
        rig.world.add(name, "z-1", 10);
    }
    rig.rounds(40).await;
    rig.world.change("c", |machine| {
        machine.lifecycle = Lifecycle::Terminating;
        machine.allocations = 0;
    });
    rig.rounds(20).await;
    assert_eq!(rig.world.done("terminate"), Vec::<String>::new());
}

/// Scaling rules, freeze: a wall clock that is set forward brings no deadline nearer, on any relay.
#[tokio::test]
async fn a_wall_clock_that_jumps_ends_no_drain() {
    let mut rig = Rig::new();
    for name in ["a", "b", "c", "d"] {
        rig.world.add(name, "z-1", 10);
    }
    rig.until("drained", |world| !world.done("drain").is_empty())
        .await;
    rig.hand.jump(4 * 3600);
    let published = rig.rounds(3).await;
    assert_eq!(brakes(&published), ["clock_jump"]);
    rig.rounds(300).await;
    assert_eq!(rig.world.done("terminate"), Vec::<String>::new());
    // What it has stands by the clock that nobody sets.
    rig.until("ended at its deadline", |world| {
        !world.done("terminate").is_empty()
    })
    .await;
}
