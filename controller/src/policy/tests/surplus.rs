//! Fewer relays: when one goes, which, and which never.

use super::*;
use crate::fleet::{Launch, Unconfirmed};

/// Who is chosen first of six, where three would do.
fn chosen(change: impl FnOnce(&mut Fleet)) -> Option<String> {
    let mut fleet = calm(6, 30.0);
    change(&mut fleet);
    let plan = planned(&fleet);
    assert!(
        !plan.actions.iter().any(is_removal),
        "nobody goes without a second look"
    );
    plan.chosen.first().map(|id| id.as_str().to_owned())
}

/// scaling rules, decision: the window has to have passed, and a second look to have been taken.
#[test]
fn one_goes_after_the_window_and_a_second_look() {
    let mut fleet = calm(6, 30.0);
    assert_eq!(planned(&fleet).chosen, [id("r0")]);
    fleet.history.chosen.insert(id("r0"), ago(14));
    assert_eq!(acts(&planned(&fleet)), Vec::<String>::new());
    fleet.history.chosen.insert(id("r0"), ago(15));
    let plan = planned(&fleet);
    assert_eq!(acts(&plan), ["withhold r0"]);
    assert_eq!(reasons(&plan), BTreeSet::from([Reason::Surplus]));
    assert!(!plan.offered.contains(&id("r0")));
    fleet.history.needs = [(ago(1799), 6)].into();
    let held = planned(&fleet);
    assert_eq!((held.chosen.len(), acts(&held)), (0, vec![]));
}

/// scaling rules, decision: nobody is on the way, nothing was launched lately, nothing else was taken away lately.
#[test]
fn nothing_goes_while_anything_comes_or_lately_went() {
    assert_eq!(chosen(|_| {}), Some("r0".to_owned()));
    let launch = Launch {
        at: ago(599),
        zone: zone("a"),
        count: 1,
        instances: vec![id("r0")],
    };
    assert_eq!(
        chosen(|fleet| fleet.history.launches.push_back(launch)),
        None
    );
    let unconfirmed = Unconfirmed {
        at: ago(1),
        token: crate::fleet::LaunchToken::try_from("t").expect("plain"),
        zone: zone("a"),
        count: 1,
        tries: 1,
    };
    assert_eq!(
        chosen(|fleet| fleet.history.unconfirmed.push(unconfirmed)),
        None
    );
    let booting = Relay {
        report: None,
        was_ready: false,
        age: seconds(100),
        ..relay("new", "b", 0.0)
    };
    let comes = |fleet: &mut Fleet| {
        fleet.relays.insert(id("new"), booting);
    };
    assert_eq!(chosen(comes), None);
    assert_eq!(
        chosen(|fleet| fleet.history.drains.push_back(ago(59))),
        None
    );
    let before = |fleet: &mut Fleet| fleet.history.drains.push_back(ago(60));
    assert_eq!(chosen(before), Some("r0".to_owned()));
}

/// scaling rules, tolerance: what is enough when relays are added is not yet too much when they are taken away.
#[test]
fn between_the_two_headrooms_nothing_moves() {
    // 270 calls: with a quarter 4.5 relays, with 35 % 4.86; and five of six zones' worth.
    let mut policy = policy();
    policy.zone_loss_floor = false;
    policy.headroom_down = 0.5;
    let mut fleet = calm(6, 45.0);
    fleet.history.chosen.insert(id("r0"), ago(20));
    let plan = plan(&fleet, &policy, NOW);
    assert_eq!(
        (plan.need.need, plan.need.need_down, plan.need.have),
        (5, 6, 6)
    );
    assert_eq!(acts(&plan), Vec::<String>::new());
}

/// scaling rules, victims: cordoned, then of a retired image, then in the fullest zone, then with the fewest calls, then
/// the oldest.
#[test]
fn the_order_of_victims() {
    let fewer = |fleet: &mut Fleet, name: &str| {
        report(fleet, name).load.allocations = Some(5.0);
    };
    let older = |fleet: &mut Fleet, name: &str| edit(fleet, name).age = seconds(9000);
    assert_eq!(chosen(|fleet| older(fleet, "r4")), Some("r4".to_owned()));
    assert_eq!(
        chosen(|fleet| {
            older(fleet, "r4");
            fewer(fleet, "r2");
        }),
        Some("r2".to_owned())
    );
    assert_eq!(
        chosen(|fleet| {
            fewer(fleet, "r2");
            fleet.relays.insert(id("r6"), relay("r6", "a", 30.0));
        }),
        Some("r0".to_owned()),
        "of the zone that has three"
    );
    assert_eq!(
        chosen(|fleet| {
            fewer(fleet, "r2");
            fleet.relays.insert(id("r6"), relay("r6", "a", 30.0));
            edit(fleet, "r4").image = "old".to_owned();
        }),
        Some("r4".to_owned())
    );
    assert_eq!(
        chosen(|fleet| {
            edit(fleet, "r4").image = "old".to_owned();
            edit(fleet, "r5").cordoned = true;
        }),
        Some("r5".to_owned())
    );
}

/// the last relay of a zone stays.
/// scaling rules, victims: one that an operator keeps, a young one, and the last of its zone stay.
#[test]
fn who_is_protected_stays() {
    assert_eq!(
        chosen(|fleet| edit(fleet, "r0").keep = true),
        Some("r1".to_owned())
    );
    assert_eq!(
        chosen(|fleet| edit(fleet, "r0").age = seconds(899)),
        Some("r1".to_owned())
    );
    let mut fleet = calm(3, 1.0);
    let with_min = |fleet: &Fleet, min: u32| {
        let mut policy = policy();
        policy.min = min;
        plan(fleet, &policy, NOW).chosen
    };
    assert_eq!(
        with_min(&fleet, 2),
        [id("r0")],
        "the minimum says that a zone may be empty"
    );
    assert_eq!(with_min(&fleet, 3), []);
    fleet.relays.insert(id("r3"), relay("r3", "a", 1.0));
    fleet.group.desired = Some(4);
    assert_eq!(with_min(&fleet, 3), [id("r0")]);
}

/// scaling rules, decision: who has been chosen stays chosen, or nobody would ever be looked at twice.
#[test]
fn the_chosen_one_stays_chosen() {
    let still = chosen(|fleet| {
        fleet.history.chosen.insert(id("r3"), ago(10));
        report(fleet, "r2").load.allocations = Some(1.0);
    });
    assert_eq!(still, Some("r3".to_owned()));
}

/// scaling rules, decision: without this very relay there is still enough, also if a zone is lost.
#[test]
fn the_actual_victim_is_not_missed() {
    // Six relays of 75 units; a great one may not go where its calls would not fit elsewhere.
    let mut policy = policy();
    let double = Capacity {
        allocations: Some(300.0),
        ..Capacity::default()
    };
    policy.capacity.insert("great".to_owned(), double);
    policy.zone_loss_floor = false;
    let mut fleet = calm(4, 40.0);
    edit(&mut fleet, "r0").instance_type = "great".to_owned();
    // 160 calls and 35 % are 2.88 relays' worth, and six are here, of which r0 is three.
    let plan_of = |fleet: &Fleet, policy: &Policy| plan(fleet, policy, NOW);
    let chosen = plan_of(&fleet, &policy);
    assert_eq!((chosen.need.have, chosen.need.held), (6, 3));
    assert_eq!(chosen.chosen, [id("r0")], "three are left without it");
    fleet.history.needs = [(ago(10), 4)].into();
    assert_eq!(
        plan_of(&fleet, &policy).chosen,
        [id("r3")],
        "two would be left of it, and four were needed"
    );
}

/// scaling rules, zone floor: a removal must leave enough outside the fullest zone.
#[test]
fn a_zone_that_is_needed_to_survive_another_is_not_thinned() {
    // Four in a, one in b, one in c: two are left if a is lost.
    let chosen_at = |calls: f64, floor: bool| {
        let mut policy = policy();
        (policy.headroom_up, policy.headroom_down) = (0.0, 0.0);
        policy.zone_loss_floor = floor;
        let mut fleet = calm(6, calls);
        for (name, at) in [("r1", "a"), ("r2", "a"), ("r4", "b"), ("r5", "c")] {
            edit(&mut fleet, name).zone = zone(at);
        }
        plan(&fleet, &policy, NOW).chosen
    };
    assert_eq!(chosen_at(33.0, true), [id("r0")], "two carry 198 calls");
    assert_eq!(chosen_at(34.0, true), [], "two do not carry 204");
    assert_eq!(chosen_at(34.0, false), [id("r0")]);
}

/// scaling rules, preflight: a drain that could not be finished is not begun.
#[test]
fn a_drain_that_could_not_be_finished_is_not_begun() {
    assert_eq!(chosen(|fleet| fleet.group.terminate_suspended = true), None);
    assert_eq!(chosen(|fleet| fleet.group.min = Some(6)), None);
    assert_eq!(
        chosen(|fleet| fleet.group.min = Some(5)),
        Some("r0".to_owned())
    );
    assert_eq!(chosen(|fleet| fleet.group.fixed = true), None);
    assert_eq!(
        chosen(|fleet| edit(fleet, "r0").lifecycle = Lifecycle::Pending),
        Some("r1".to_owned())
    );
    let one_drains = |min: u32| {
        chosen(|fleet| {
            fleet.group.min = Some(min);
            for name in ["r0", "r1", "r2", "r3", "r4"] {
                report(fleet, name).load.allocations = Some(5.0);
            }
            drains(fleet, "r5", 40, 9);
        })
    };
    assert_eq!(one_drains(4), Some("r0".to_owned()));
    assert_eq!(
        one_drains(5),
        None,
        "the one that drains will take the last place"
    );
}

/// scaling rules, cordon: an operator's word needs no window, and never leaves too few.
#[test]
fn a_cordoned_relay_goes_when_the_others_are_enough() {
    let mut fleet = calm(6, 55.0);
    fleet.history.needs = [(ago(100), 6)].into();
    edit(&mut fleet, "r2").cordoned = true;
    let plan_now = planned(&fleet);
    assert_eq!((plan_now.need.have, plan_now.need.need), (5, 6));
    assert_eq!(
        acts(&plan_now),
        ["launch 1 in c"],
        "first another takes its place"
    );
    fleet.relays.insert(id("r6"), relay("r6", "c", 0.0));
    fleet.history.chosen.insert(id("r2"), ago(15));
    let plan = planned(&fleet);
    assert_eq!(acts(&plan), ["withhold r2"]);
    assert_eq!(reasons(&plan), BTreeSet::from([Reason::Cordoned]));
}
