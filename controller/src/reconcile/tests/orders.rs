//! Operators' orders, reloads and the end of the process.

use std::sync::Mutex;

use super::world::id;
use super::*;
use crate::observe::Mark;
use crate::reconcile::Wish;

async fn ordered(rig: &mut Rig, name: &str, wish: Wish) -> Result<String, String> {
    let handle = rig.handle.clone();
    let relay = id(name);
    let order = tokio::spawn(async move { handle.order(relay, wish).await });
    // Until it is in the queue.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    rig.round().await;
    order.await.unwrap()
}

fn three(rig: &Rig) {
    for (name, place) in [("a", "z-1"), ("b", "z-2"), ("c", "z-3")] {
        rig.world.add(name, place, 10);
    }
}

#[tokio::test]
async fn an_operator_drains_a_relay_and_takes_it_back() {
    let mut rig = Rig::new();
    three(&rig);
    rig.rounds(40).await;
    ordered(&mut rig, "b", Wish::Drain).await.unwrap();
    assert!(!rig.handle.latest().plan.offered.contains(&id("b")));
    rig.until("drained", |world| world.done("drain b").len() == 1)
        .await;
    let words = ordered(&mut rig, "b", Wish::Undrain).await.unwrap();
    assert!(words.contains("taken back"), "{words}");
    assert_eq!(rig.world.done("undrain b").len(), 1);
    let published = rig.rounds(2).await;
    assert!(
        published.plan.offered.contains(&id("b")),
        "{:?}",
        published.plan
    );
    assert_eq!(published.counters.undrains, 1);
    let audit = rig.world.state().audit.clone();
    assert_eq!(
        audit.iter().filter(|(kind, _)| kind == "operator").count(),
        2
    );
}

#[tokio::test]
async fn orders_that_make_no_sense_or_would_be_forgotten_are_refused() {
    let mut rig = Rig::new();
    three(&rig);
    rig.rounds(2).await;
    let why = ordered(&mut rig, "z", Wish::Drain).await.unwrap_err();
    assert!(why.contains("no relay z"), "{why}");
    ordered(&mut rig, "a", Wish::Mark(Mark::Keep))
        .await
        .unwrap();
    assert!(rig.handle.latest().snapshot.fleet.relays[&id("a")].keep);
    rig.keeper.release().await;
    let why = ordered(&mut rig, "a", Wish::Drain).await.unwrap_err();
    assert!(why.contains("does not lead"), "{why}");
}

#[tokio::test]
async fn a_reload_is_whole_or_not_at_all() {
    let next: Arc<Mutex<Result<Policy, String>>> =
        Arc::new(Mutex::new(Err("x = 1: no".to_owned())));
    let read = Arc::clone(&next);
    let reread: Reread = Box::new(move || read.lock().unwrap().clone());
    let mut rig = Rig::alone(Setup {
        reread: Some(reread),
        ..Setup::default()
    });
    three(&rig);
    rig.rounds(40).await;
    let running = {
        let handle = rig.handle.clone();
        tokio::spawn(rig.controller.run());
        handle
    };
    let mut published = running.published();
    let mut wait = async |what: &str, is: &dyn Fn(&Published) -> bool| {
        let waited =
            tokio::time::timeout(Duration::from_secs(30), published.wait_for(|one| is(one)));
        waited.await.expect(what).unwrap();
    };
    running.reload();
    wait("refused", &|one| {
        one.counters.reloads == (0, 1)
            && one.snapshot.fleet.configuration_error.as_deref() == Some("x = 1: no")
            && one
                .plan
                .brakes
                .iter()
                .any(|brake| brake.as_str() == "configuration_invalid")
            && one.policy.max == policy().max
    })
    .await;
    *next.lock().unwrap() = Ok(Policy {
        fleet: "another".to_owned(),
        ..policy()
    });
    running.reload();
    wait("another fleet", &|one| one.counters.reloads == (0, 2)).await;
    *next.lock().unwrap() = Ok(Policy { max: 5, ..policy() });
    running.reload();
    wait("taken", &|one| {
        one.counters.reloads == (1, 2)
            && one.policy.max == 5
            && one.snapshot.fleet.configuration_error.is_none()
    })
    .await;
    running.stop();
}

/// Nothing more is begun when it is to end, and nobody has to wait for its lease.
#[tokio::test]
async fn a_stop_ends_between_actions_and_gives_the_lease_up() {
    let mut rig = Rig::new();
    three(&rig);
    rig.rounds(3).await;
    rig.world.all(|machine| machine.allocations = 95);
    rig.handle.stop();
    let published = rig.round().await;
    assert_eq!(published.outcomes, [], "{:?}", published.plan.actions);
    let lease = Arc::clone(&rig.lease);
    tokio::time::timeout(Duration::from_secs(30), rig.controller.run())
        .await
        .unwrap();
    assert_eq!(lease.read().await.unwrap().unwrap().record.holder, "");
    assert_eq!(rig.world.done(""), Vec::<String>::new());
    assert_eq!(rig.world.state().audit.last().unwrap().0, "stop");
}

/// A look that hangs is left when the process is to end.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_look_that_hangs() {
    let rig = Rig::new();
    three(&rig);
    rig.world.state().faults.list_hangs = true;
    let handle = rig.handle.clone();
    let ends = tokio::spawn(rig.controller.run());
    tokio::task::yield_now().await;
    handle.stop();
    tokio::time::timeout(Duration::from_secs(30), ends)
        .await
        .unwrap()
        .unwrap();
}

/// Scaling rules, sovereignty: an operator's word brings no offshore relay back either.
#[tokio::test]
async fn an_offshore_relay_is_not_brought_back_by_an_order() {
    let mut rig = Rig::new();
    three(&rig);
    rig.world.add("d", "z-9", 10);
    rig.until("drained", |world| world.done("drain d").len() == 1)
        .await;
    rig.rounds(2).await;
    let why = ordered(&mut rig, "d", Wish::Undrain).await.unwrap_err();
    assert!(why.contains("z-9"), "{why}");
    assert_eq!(rig.world.done("undrain"), Vec::<String>::new());
}

/// What was told to drain and did not answer may have heard it: only its own answer takes it back.
#[tokio::test]
async fn a_drain_without_an_answer_is_not_taken_back_behind_the_relays_back() {
    let mut rig = Rig::hurried();
    three(&rig);
    rig.rounds(40).await;
    ordered(&mut rig, "b", Wish::Drain).await.unwrap();
    rig.world.change("b", |machine| machine.hangs = true);
    rig.rounds(6).await;
    let known = rig.handle.latest().snapshot.fleet.history.orders.clone();
    assert!(known.contains_key(&id("b")), "{known:?}");
    ordered(&mut rig, "b", Wish::Undrain).await.unwrap_err();
    rig.world.change("b", |machine| machine.hangs = false);
    ordered(&mut rig, "b", Wish::Undrain).await.unwrap();
    rig.rounds(20).await;
    assert_eq!(rig.world.done("drain b"), Vec::<String>::new());
}
