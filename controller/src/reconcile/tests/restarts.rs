//! A controller that dies at any point, and the one after it.

use super::world::{World, id};
use super::*;

/// Four relays of which one is too many.
fn wide(rig: &Rig) {
    for (name, place) in [("a", "z-1"), ("b", "z-2"), ("c", "z-3"), ("d", "z-1")] {
        rig.world.add(name, place, 20);
    }
}

fn first(done: &[String]) -> (String, u64) {
    let mut words = done[0].split(' ').skip(1);
    let name = words.next().unwrap().to_owned();
    (
        name,
        words.next().map_or(0, |deadline| deadline.parse().unwrap()),
    )
}

async fn finishes(rig: &mut Rig, victim: &str) {
    let end = format!("terminate {victim}");
    rig.world.change(victim, |machine| machine.allocations = 0);
    rig.until("ended", |world| !world.present().contains(victim))
        .await;
    rig.rounds(60).await;
    assert_eq!(rig.world.done(&end), [end]);
}

/// Scaling rules, restart: an order that was not given yet is no order.
#[tokio::test]
async fn one_that_dies_before_the_drain_leaves_nothing_behind() {
    let mut rig = Rig::new();
    wide(&rig);
    let mut withheld = false;
    for _ in 0..720 {
        let published = rig.round().await;
        let mut tried = published.outcomes.iter();
        withheld = tried.any(|(action, _)| action.act.as_str() == "withhold");
        if withheld {
            break;
        }
    }
    assert!(withheld && rig.world.done("").is_empty());
    let mut rig = rig.restarted().await;
    let published = rig.round().await;
    assert_eq!(
        published.plan.offered.len(),
        4,
        "{:?}",
        published.plan.summary
    );
    rig.until("drained", |world| !world.done("drain").is_empty())
        .await;
    let (victim, _) = first(&rig.world.done("drain"));
    finishes(&mut rig, &victim).await;
}

/// Scaling rules, restart: drains that relays report are adopted, their deadlines unchanged.
#[tokio::test]
async fn one_that_dies_while_a_relay_drains_is_followed_by_one_that_finishes_it() {
    let mut rig = Rig::new();
    wide(&rig);
    rig.until("drained", |world| !world.done("drain").is_empty())
        .await;
    let (victim, deadline) = first(&rig.world.done("drain"));
    let mut rig = rig.restarted().await;
    rig.rounds(100).await;
    let machine = rig.world.state().machines[&id(&victim)].clone();
    assert_eq!(machine.drain.unwrap().deadline.as_secs(), deadline);
    finishes(&mut rig, &victim).await;
    let again = rig.world.done(&format!("drain {victim}"));
    assert!(
        again.iter().all(|one| one.ends_with(&deadline.to_string())),
        "{again:?}"
    );
}

#[tokio::test]
async fn one_that_dies_after_an_end_is_followed_by_one_that_asks_for_no_other() {
    for late in [0, 40] {
        let mut rig = Rig::new();
        wide(&rig);
        rig.world.state().faults.ends_show_after = late;
        rig.until("drained", |world| !world.done("drain").is_empty())
            .await;
        let (victim, _) = first(&rig.world.done("drain"));
        rig.world.change(&victim, |machine| machine.allocations = 0);
        rig.until("ended", |world| !world.done("terminate").is_empty())
            .await;
        let mut rig = rig.restarted().await;
        rig.until("gone", |world: &World| !world.present().contains(&victim))
            .await;
        rig.rounds(60).await;
        assert_eq!(rig.world.done("terminate").len(), 1, "shown after {late} s");
    }
}

/// The process dies when it has ended an instance and before it has written that down.
#[tokio::test]
async fn one_that_dies_before_the_audit_of_an_end_is_followed_by_one_that_converges() {
    let mut rig = Rig::hurried();
    wide(&rig);
    rig.world.state().faults.terminate_hangs = true;
    rig.until("drained", |world| !world.done("drain").is_empty())
        .await;
    let (victim, _) = first(&rig.world.done("drain"));
    rig.world.change(&victim, |machine| machine.allocations = 0);
    let ended = rig.world.clone();
    // Dropped in the middle of the call, as a process that is killed is.
    loop {
        rig.hand.pass(Duration::from_secs(10));
        rig.keeper.tend().await;
        let round = rig.controller.round();
        tokio::pin!(round);
        let killed = async {
            while ended.done("terminate").is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = killed => break,
            _ = &mut round => {}
        }
    }
    rig.world.state().faults.terminate_hangs = false;
    let mut rig = rig.restarted().await;
    rig.rounds(100).await;
    assert!(!rig.world.present().contains(&victim));
    assert_eq!(rig.world.done("terminate").len(), 1);
    let audit = rig.world.state().audit.clone();
    let intents = audit
        .iter()
        .filter(|(kind, body)| kind == "intent" && body.pointer("/action/act/terminate").is_some());
    assert_eq!(intents.count(), 1, "what it meant to do is written down");
}

/// Scaling rules, restart: nothing is removed before the fleet has been seen whole, and not in the first minutes.
#[tokio::test]
async fn nothing_is_removed_in_the_first_minutes() {
    let mut rig = Rig::new();
    wide(&rig);
    rig.rounds(29).await;
    assert_eq!(rig.world.done(""), Vec::<String>::new());
    let brakes = &rig.handle.latest().plan.brakes;
    assert!(
        brakes.iter().any(|brake| brake.as_str() == "just_started"),
        "{brakes:?}"
    );
}
