//! Each brake, alone, stops a removal that would be made without it.

use std::time::Duration;

use super::*;
use crate::policy::{Brake, HandChanges};

/// What a plan does when something is the matter with a fleet that would else lose a relay.
fn with(change: impl FnOnce(&mut Fleet, &mut Policy)) -> Plan {
    let (mut fleet, mut policy) = (one_too_many(), policy());
    assert_eq!(acts(&plan(&fleet, &policy, NOW)), ["withhold r0"]);
    // A drain that is at its end would else be ended.
    drains(&mut fleet, "r5", 600, 0);
    let before = plan(&fleet, &policy, NOW);
    assert_eq!(acts(&before), ["terminate r5", "withhold r0"]);
    change(&mut fleet, &mut policy);
    let plan = plan(&fleet, &policy, NOW);
    let removals: Vec<_> = plan
        .actions
        .iter()
        .filter(|action| is_removal(action))
        .collect();
    assert!(removals.is_empty(), "{removals:?}");
    assert_eq!(plan.chosen, []);
    plan
}

fn brakes(plan: &Plan) -> Vec<&'static str> {
    plan.brakes.iter().map(Brake::as_str).collect()
}

/// scaling rules, freeze: the provider's list failed, was truncated, or shrank by more than half.
#[test]
fn a_list_in_doubt_removes_nothing() {
    let plan = with(|fleet, _| fleet.listing.fault = Some("truncated".to_owned()));
    assert_eq!(brakes(&plan), ["listing_in_doubt"]);
}

/// scaling rules, freeze: more than two, and more than 30 %, are stale.
#[test]
fn too_many_silent_relays_remove_nothing() {
    let plan = with(|fleet, _| {
        for name in ["r1", "r2", "r3"] {
            silence(fleet, name);
        }
    });
    assert_eq!(plan.brakes, [Brake::StaleRelays { stale: 3, of: 6 }]);
}

/// scaling rules, freeze: two of six silent relays are no reason to freeze, though they are full for all that is known.
#[test]
fn two_silent_relays_are_no_brake() {
    let mut fleet = one_too_many();
    silence(&mut fleet, "r1");
    silence(&mut fleet, "r2");
    assert_eq!(planned(&fleet).brakes, []);
}

/// scaling rules, freeze: a fleet of which nothing at all is heard is a fault of the monitoring.
#[test]
fn a_fleet_that_is_silent_as_a_whole_freezes_and_launches_nothing() {
    let mut fleet = calm(2, 90.0);
    silence(&mut fleet, "r0");
    silence(&mut fleet, "r1");
    let plan = planned(&fleet);
    assert_eq!(plan.brakes, [Brake::StaleRelays { stale: 2, of: 2 }]);
    assert_eq!(acts(&plan), Vec::<String>::new());
    assert!(alarms(&plan).contains(&AlarmKind::CannotLaunch));
}

/// scaling rules, freeze: without a lease nothing at all is done.
#[test]
fn who_does_not_lead_does_nothing_at_all() {
    let plan = with(|fleet, _| fleet.leadership.held = false);
    assert_eq!(brakes(&plan), ["not_leading"]);
    let mut fleet = calm(2, 99.0);
    drains(&mut fleet, "r1", 60, 50);
    edit(&mut fleet, "r0").zone = zone("nowhere");
    fleet.leadership.held = false;
    assert_eq!(acts(&planned(&fleet)), Vec::<String>::new());
}

/// a controller that is not the newest holds still.
/// scaling rules, two controllers: a relay that obeyed a newer epoch says that somebody newer acts.
#[test]
fn a_newer_epoch_stops_everything() {
    let plan = with(|fleet, _| edit(fleet, "r2").newer_epoch = Some(8));
    assert_eq!(plan.brakes, [Brake::NewerEpoch { seen: 8 }]);
    let plan = with(|fleet, _| report(fleet, "r2").epoch = 9);
    assert_eq!(plan.brakes, [Brake::NewerEpoch { seen: 9 }]);
    let mut fleet = calm(2, 99.0);
    edit(&mut fleet, "r0").newer_epoch = Some(8);
    assert_eq!(acts(&planned(&fleet)), Vec::<String>::new());
}

/// scaling rules, freeze: somebody replaces all instances.
#[test]
fn an_instance_refresh_removes_nothing() {
    let plan = with(|fleet, _| fleet.group.refresh_active = true);
    assert_eq!(plan.brakes, [Brake::RefreshActive]);
}

/// scaling rules, freeze: somebody put a relay where none may be; what else they did is not known.
#[test]
fn a_relay_offshore_removes_nothing_else() {
    let (mut fleet, policy) = (one_too_many(), policy());
    drains(&mut fleet, "r5", 600, 0);
    edit(&mut fleet, "r4").zone = zone("nowhere");
    let plan = plan(&fleet, &policy, NOW);
    assert_eq!(acts(&plan), ["drain r4"]);
    assert_eq!(reasons(&plan), BTreeSet::from([Reason::Sovereignty]));
    assert_eq!(brakes(&plan), ["sovereignty_violation"]);
}

/// scaling rules, freeze: the wall clock jumped by more than 30 s, and deadlines may look nearer than they are.
#[test]
fn a_clock_that_jumps_removes_nothing() {
    let plan = with(|fleet, _| fleet.clock_jump = Some(seconds(31)));
    assert_eq!(plan.brakes, [Brake::ClockJump { seconds: 31 }]);
    let mut fleet = one_too_many();
    fleet.clock_jump = Some(seconds(30));
    assert_eq!(planned(&fleet).brakes, []);
}

/// scaling rules, freeze: the configuration on the disk is not the one in force.
#[test]
fn a_broken_configuration_removes_nothing() {
    let plan = with(|fleet, _| fleet.configuration_error = Some("max = 0".to_owned()));
    assert_eq!(brakes(&plan), ["configuration_invalid"]);
}

/// an empty list of zones ends nothing.
/// scaling rules, sovereignty: an empty list of allowed zones is a fault, and no order to clear the fleet.
#[test]
fn without_any_allowed_zone_nothing_is_drained_offered_or_launched() {
    let plan = with(|_, policy| policy.allowed_zones.clear());
    assert_eq!(brakes(&plan), ["configuration_invalid"]);
    assert_eq!(acts(&plan), Vec::<String>::new());
    assert_eq!(plan.offered, []);
}

/// scaling rules, restart: nothing in the first five minutes, nor before a list and two samples of each relay.
#[test]
fn a_controller_that_has_just_started_removes_nothing() {
    let plan = with(|fleet, _| fleet.running_for = seconds(299));
    assert_eq!(brakes(&plan), ["just_started"]);
    let plan = with(|fleet, _| fleet.listing.complete_for = None);
    assert_eq!(brakes(&plan), ["just_started"]);
    let plan = with(|fleet, policy| {
        policy.quiet_after_start = Duration::ZERO;
        fleet.running_for = seconds(30);
        edit(fleet, "r3").samples = 1;
    });
    assert_eq!(brakes(&plan), ["just_started"]);
    let words = format!("{:?}", plan.brakes);
    assert!(words.contains("two samples of r3"), "{words}");
}

/// scaling rules, restart: a relay that stays silent is not waited for longer than a new one would be.
#[test]
fn samples_are_not_waited_for_for_ever() {
    let mut fleet = one_too_many();
    fleet.running_for = seconds(301);
    edit(&mut fleet, "r3").samples = 1;
    assert_eq!(planned(&fleet).brakes, []);
}

/// scaling rules, other hands: whoever wants a person to look first gets that.
#[test]
fn a_change_by_hand_removes_nothing_where_the_policy_says_so() {
    let plan = with(|fleet, policy| {
        policy.hand_changes = HandChanges::Freeze;
        fleet.group.desired = Some(9);
    });
    assert_eq!(brakes(&plan), ["changed_by_hand"]);
}

/// scaling rules, freeze: relays are still launched while a brake holds, in small steps.
#[test]
fn launches_go_on_in_small_steps_while_a_brake_holds() {
    let mut fleet = calm(12, 75.0);
    let free = planned(&fleet);
    assert_eq!(
        acts(&free),
        ["launch 1 in a", "launch 1 in b", "launch 1 in c"]
    );
    fleet.clock_jump = Some(seconds(100));
    assert_eq!(acts(&planned(&fleet)), ["launch 1 in a", "launch 1 in b"]);
}

/// scaling rules, freeze: before the first list nobody knows what there is, and nothing is launched.
#[test]
fn nothing_is_launched_before_the_first_list() {
    let mut fleet = Fleet {
        leadership: Leadership {
            held: true,
            epoch: 1,
            obstacle: None,
        },
        ..Fleet::default()
    };
    assert_eq!(acts(&planned(&fleet)), Vec::<String>::new());
    fleet.listing.complete_for = Some(Duration::ZERO);
    fleet.group.zones = policy().allowed_zones;
    assert_eq!(acts(&planned(&fleet)), ["launch 1 in a", "launch 1 in b"]);
}
