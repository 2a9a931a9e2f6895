//! What never worked, and what has stopped working.

use super::*;
use crate::fleet::Expected;

/// Five relays that serve, and one that was launched `age` ago and is not ready.
fn with_new(age: u64, change: impl FnOnce(&mut Fleet)) -> Plan {
    let mut fleet = calm(6, 30.0);
    fleet.history.needs = [(ago(1700), 6)].into();
    let launched = Expected {
        at: ago(age),
        zone: zone("c"),
        failed: false,
    };
    fleet.history.expected.insert(id("r5"), launched);
    let relay = edit(&mut fleet, "r5");
    (relay.was_ready, relay.age) = (false, seconds(age));
    (relay.report, relay.report_age) = (None, None);
    change(&mut fleet);
    planned(&fleet)
}

/// scaling rules, launches: what is not ready in time is ended by its id, without a drain, as it has had no call.
#[test]
fn an_instance_that_never_became_ready_is_ended() {
    let pending = |fleet: &mut Fleet| edit(fleet, "r5").lifecycle = Lifecycle::Pending;
    assert_eq!(acts(&with_new(300, pending)), Vec::<String>::new());
    let plan = with_new(301, pending);
    assert!(
        acts(&plan).contains(&"terminate r5".to_owned()),
        "{:?}",
        acts(&plan)
    );
    assert!(alarms(&plan).contains(&AlarmKind::NeverReady));
    let silent = |fleet: &mut Fleet| edit(fleet, "r5").answers_stun = Some(false);
    assert!(acts(&with_new(301, silent)).contains(&"terminate r5".to_owned()));
    let says_so = |fleet: &mut Fleet| {
        *edit(fleet, "r5") = Relay {
            was_ready: false,
            age: seconds(301),
            ..relay("r5", "c", 0.0)
        };
        let report = report(fleet, "r5");
        (report.ready, report.phase) = (false, Phase::Launching);
    };
    assert!(acts(&with_new(301, says_so)).contains(&"terminate r5".to_owned()));
}

/// scaling rules, silence is not death: one that nothing is known of, or whose data path answers, is left alone.
#[test]
fn an_instance_that_may_serve_is_not_ended_as_never_ready() {
    let kept = |change: &dyn Fn(&mut Fleet)| {
        let plan = with_new(301, |fleet| change(fleet));
        assert!(!plan.actions.iter().any(is_removal), "{:?}", acts(&plan));
    };
    kept(&|_| {});
    kept(&|fleet| edit(fleet, "r5").answers_stun = Some(true));
    kept(&|fleet| {
        edit(fleet, "r5").answers_stun = Some(false);
        fleet.history.expected.clear();
    });
}

/// scaling rules, unhealthy share: never more than a share at a time, and one at least.
#[test]
fn never_ready_instances_go_one_at_a_time() {
    let plan = with_new(301, |fleet| {
        for name in ["r4", "r5"] {
            let relay = edit(fleet, name);
            (relay.was_ready, relay.age) = (false, seconds(301));
            (relay.report, relay.report_age) = (None, None);
            relay.lifecycle = Lifecycle::Pending;
        }
    });
    let ends: Vec<_> = plan
        .actions
        .iter()
        .filter(|action| is_removal(action))
        .collect();
    assert_eq!(ends.len(), 1, "{ends:?}");
}

/// Six relays of which r0 has been silent, or ill, for so long.
fn ill(seconds_ago: u64, change: impl FnOnce(&mut Fleet)) -> Vec<String> {
    let mut fleet = calm(6, 10.0);
    fleet.history.needs = [(ago(1700), 6)].into();
    edit(&mut fleet, "r0").report_age = Some(seconds(seconds_ago));
    edit(&mut fleet, "r0").answers_stun = Some(false);
    fleet.history.ailing.insert(id("r0"), ago(seconds_ago));
    change(&mut fleet);
    acts(&planned(&fleet))
}

/// scaling rules, silence is not death: only if the data path is silent too, and for long.
#[test]
fn a_dead_relay_is_replaced_after_a_while() {
    assert_eq!(ill(299, |_| {}), Vec::<String>::new());
    assert_eq!(ill(300, |_| {}), ["withhold r0"]);
    assert_eq!(
        ill(300, |fleet| edit(fleet, "r0").answers_stun = None),
        Vec::<String>::new()
    );
    let answers = |fleet: &mut Fleet| edit(fleet, "r0").answers_stun = Some(true);
    assert_eq!(ill(300, answers), Vec::<String>::new());
    assert_eq!(
        ill(300, |fleet| edit(fleet, "r0").keep = true),
        Vec::<String>::new()
    );
}

/// scaling rules, silence is not death: the provider's word counts where nobody tries the data path, and never alone.
#[test]
fn the_providers_word_is_a_sign_and_never_alone() {
    let said = |seconds_ago: u64, answers: Option<bool>| {
        ill(seconds_ago, |fleet| {
            let relay = edit(fleet, "r0");
            (relay.unhealthy, relay.answers_stun) = (true, answers);
        })
    };
    assert_eq!(said(300, None), ["withhold r0"]);
    assert_eq!(said(299, None), Vec::<String>::new());
    assert_eq!(said(300, Some(true)), Vec::<String>::new());
    let heard = |fleet: &mut Fleet| {
        let relay = edit(fleet, "r0");
        (relay.unhealthy, relay.report_age) = (true, Some(seconds(1)));
        relay.answers_stun = None;
    };
    assert_eq!(ill(300, heard), Vec::<String>::new());
}

/// scaling rules, unhealthy share: the second waits until the first is dealt with.
#[test]
fn dead_relays_are_never_replaced_two_at_a_time() {
    let second = |fleet: &mut Fleet| {
        *edit(fleet, "r1") = Relay {
            zone: zone("b"),
            ..fleet.relays[&id("r0")].clone()
        };
        fleet.history.ailing.insert(id("r1"), ago(400));
    };
    assert_eq!(ill(400, second), ["withhold r0"]);
    let first_in_hand = |fleet: &mut Fleet| {
        second(fleet);
        edit(fleet, "r0").withheld_for = Some(seconds(5));
    };
    assert_eq!(ill(400, first_in_hand), Vec::<String>::new());
}

/// scaling rules, relay life: one that says itself that it is broken is replaced too.
#[test]
fn a_relay_that_is_not_ready_for_long_is_replaced() {
    let broken = |fleet: &mut Fleet| {
        edit(fleet, "r0").report_age = Some(seconds(1));
        let report = report(fleet, "r0");
        report.ready = false;
        report.not_ready_because = vec!["self_check".to_owned()];
    };
    assert_eq!(ill(299, broken), Vec::<String>::new());
    assert_eq!(ill(300, broken), ["withhold r0"]);
}
