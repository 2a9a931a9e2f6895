//! Revocations on their way to relays, and back from them.

use taciturn_protocol::credentials::{RevocationList, RevokedUser};

use super::world::id;
use super::*;
use crate::reconcile::NotRevoked;
use crate::revocations::Change;

fn alice() -> Change {
    Change::RevokeUser(RevokedUser {
        user: "alice".to_owned(),
        until: u64::MAX,
    })
}

/// Users that a relay refuses.
fn refused(rig: &Rig, relay: &str) -> Vec<String> {
    let state = rig.world.state();
    let list = &state.machines[&id(relay)].revocations;
    list.users.iter().map(|entry| entry.user.clone()).collect()
}

#[tokio::test]
async fn every_relay_is_told_at_once() {
    let mut rig = Rig::new();
    for name in ["i-1", "i-2", "i-3"] {
        rig.world.add(name, "az1", 5);
    }
    rig.round().await;
    let told = rig.handle.revoke(alice()).await.unwrap();
    assert_eq!((told.told, told.relays), (3, 3));
    for name in ["i-1", "i-2", "i-3"] {
        assert_eq!(refused(&rig, name), ["alice"]);
    }
    rig.round().await;
    for name in ["i-1", "i-2", "i-3"] {
        let told = rig.world.done(&format!("revoke {name}"));
        assert_eq!(told.len(), 1, "nobody is told twice");
    }
}

#[tokio::test]
async fn one_that_comes_later_and_one_that_has_forgotten_are_told_in_the_next_round() {
    let mut rig = Rig::new();
    rig.world.add("i-1", "az1", 5);
    rig.round().await;
    rig.handle.revoke(alice()).await.unwrap();
    rig.world.add("i-2", "az1", 0);
    rig.world.change("i-1", |machine| {
        machine.revocations = RevocationList::default()
    });
    rig.round().await;
    for name in ["i-1", "i-2"] {
        assert_eq!(refused(&rig, name), ["alice"]);
    }
}

#[tokio::test]
async fn a_relay_that_hangs_keeps_none_of_the_others_waiting() {
    let mut rig = Rig::hurried();
    for name in ["i-1", "i-2"] {
        rig.world.add(name, "az1", 5);
    }
    rig.round().await;
    rig.world.change("i-1", |machine| machine.hangs = true);
    let told = rig.handle.revoke(alice()).await.unwrap();
    assert_eq!((told.told, told.relays), (1, 2));
    assert_eq!(refused(&rig, "i-2"), ["alice"]);
    rig.world.change("i-1", |machine| machine.hangs = false);
    rig.round().await;
    assert_eq!(refused(&rig, "i-1"), ["alice"]);
}

#[tokio::test]
async fn what_the_controller_before_revoked_is_taken_over_from_the_relays() {
    let mut before = Rig::new();
    before.world.add("i-1", "az1", 5);
    before.round().await;
    before.handle.revoke(alice()).await.unwrap();
    before.keeper.release().await;
    let setup = Setup::default();
    let list = Arc::clone(&setup.revocations);
    let mut after = Rig::on(&before.world, before.hand, setup);
    after.world.add("i-2", "az1", 5);
    after.round().await;
    assert_eq!(list.list().users.len(), 1);
    assert_eq!(refused(&after, "i-2"), ["alice"]);
}

/// a controller that leads since a moment ago, or has lost its state directory, lifts nothing by the first order that it gets.
#[tokio::test]
async fn nothing_is_ordered_before_the_relays_were_asked_what_they_refuse() {
    let mut before = Rig::new();
    before.world.add("i-1", "az1", 5);
    before.round().await;
    before.handle.revoke(alice()).await.unwrap();
    before.keeper.release().await;
    let mut after = Rig::on(
        &before.world,
        before.hand,
        Setup {
            patience: HANG,
            ..Setup::default()
        },
    );
    after.keeper.tend().await;
    assert!(after.keeper.leadership().held);
    let order = || {
        Change::RevokeUser(RevokedUser {
            user: "bob".to_owned(),
            until: u64::MAX,
        })
    };
    assert_eq!(after.handle.revoke(order()).await, Err(NotRevoked::NotRead));
    let hang = |hangs| {
        let mut state = before.world.state();
        state
            .machines
            .values_mut()
            .for_each(|machine| machine.hangs = hangs);
    };
    hang(true);
    after.round().await;
    assert_eq!(after.handle.revoke(order()).await, Err(NotRevoked::NotRead));
    hang(false);
    assert_eq!(refused(&after, "i-1"), ["alice"]);
    after.round().await;
    after.handle.revoke(order()).await.unwrap();
    assert_eq!(refused(&after, "i-1"), ["alice", "bob"]);
}

/// a relay that has been broken into and says that its list is the newest keeps nobody from those of the others, and the list
/// can be changed afterwards.
#[tokio::test]
async fn a_relay_with_a_list_from_the_end_of_time_is_passed_over() {
    let mut before = Rig::new();
    before.world.add("i-1", "az1", 5);
    before.world.add("i-2", "az1", 5);
    before.round().await;
    before.handle.revoke(alice()).await.unwrap();
    before.keeper.release().await;
    before.world.change("i-1", |machine| {
        machine.revocations.epoch = (1 << 53) - 1;
        machine.revocations.version = (1 << 53) - 1;
        machine.revocations.users.clear();
    });
    let setup = Setup::default();
    let list = Arc::clone(&setup.revocations);
    let mut after = Rig::on(&before.world, before.hand, setup);
    after.world.add("i-3", "az1", 5);
    after.round().await;
    assert_eq!(list.list().users.len(), 1);
    assert_eq!(refused(&after, "i-3"), ["alice"]);
    let lift = Change::LiftUser("alice".to_owned());
    after.handle.revoke(lift).await.unwrap();
    for name in ["i-2", "i-3"] {
        assert_eq!(refused(&after, name), [""; 0]);
    }
}

#[tokio::test]
async fn who_does_not_lead_revokes_nobody() {
    let rig = Rig::new();
    rig.world.add("i-1", "az1", 5);
    let refusal = rig.handle.revoke(alice()).await;
    assert!(matches!(refusal, Err(NotRevoked::NotLeading(_))));
    assert_eq!(rig.world.done("revoke"), [""; 0]);
}

#[tokio::test]
async fn a_dry_run_tells_nobody() {
    let mut rig = Rig::alone(Setup {
        dry_run: true,
        ..Setup::default()
    });
    rig.world.add("i-1", "az1", 5);
    rig.round().await;
    let told = rig.handle.revoke(alice()).await.unwrap();
    assert_eq!((told.told, told.relays), (0, 1));
    rig.round().await;
    assert_eq!(refused(&rig, "i-1"), [""; 0]);
}

/// The audit trail names no user.
#[tokio::test]
async fn the_trail_counts_and_names_nobody() {
    let mut rig = Rig::new();
    rig.world.add("i-1", "az1", 5);
    rig.round().await;
    rig.handle.revoke(alice()).await.unwrap();
    let state = rig.world.state();
    let entries: Vec<_> = state
        .audit
        .iter()
        .filter(|(kind, _)| kind == "revocation")
        .collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].1["users"], 1);
    assert!(!format!("{:?}", state.audit).contains("alice"));
}
