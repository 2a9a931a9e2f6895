//! Whom credentials may name.

use super::*;

fn offered(change: impl FnOnce(&mut Fleet)) -> Vec<String> {
    let mut fleet = calm(6, 10.0);
    change(&mut fleet);
    let offered = planned(&fleet).offered;
    offered.iter().map(|id| id.as_str().to_owned()).collect()
}

/// scaling rules, credentials: those that serve, are heard of, and are where they may be.
#[test]
fn only_relays_that_take_calls_are_offered() {
    assert_eq!(offered(|_| {}), ["r0", "r1", "r2", "r3", "r4", "r5"]);
    let without: [&dyn Fn(&mut Fleet); 8] = [
        &|fleet| silence(fleet, "r1"),
        &|fleet| drains(fleet, "r1", 60, 3),
        &|fleet| edit(fleet, "r1").withheld_for = Some(seconds(1)),
        &|fleet| edit(fleet, "r1").cordoned = true,
        &|fleet| edit(fleet, "r1").lifecycle = Lifecycle::TerminatingWait,
        &|fleet| edit(fleet, "r1").terminate_asked = true,
        &|fleet| report(fleet, "r1").ready = false,
        &|fleet| edit(fleet, "r1").lifecycle = Lifecycle::Unlisted,
    ];
    for change in without {
        assert_eq!(
            offered(|fleet| change(fleet)),
            ["r0", "r2", "r3", "r4", "r5"]
        );
    }
}

/// scaling rules, sovereignty: by the provider's word, and by the relay's own.
#[test]
fn what_is_offshore_is_never_offered() {
    assert_eq!(
        offered(|fleet| edit(fleet, "r1").zone = zone("akl1")),
        ["r0", "r2", "r3", "r4", "r5"]
    );
    let by_its_own_word = |fleet: &mut Fleet| report(fleet, "r1").zone_id = Some(zone("akl1"));
    assert_eq!(offered(by_its_own_word), ["r0", "r2", "r3", "r4", "r5"]);
    let all = |fleet: &mut Fleet| {
        for name in ["r0", "r1", "r2", "r3", "r4", "r5"] {
            edit(fleet, name).zone = zone("akl1");
            silence(fleet, name);
        }
    };
    assert_eq!(offered(all), Vec::<String>::new());
}

/// Calls do not depend on the monitoring: if nobody is heard of, what was known last is offered for a while, and what
/// answers on its data path for as long as it does.
#[test]
fn when_nobody_is_heard_of_the_last_known_are_offered() {
    let silent = |age: u64, answers: Option<bool>| {
        offered(|fleet| {
            for name in ["r0", "r1", "r2", "r3", "r4", "r5"] {
                edit(fleet, name).report_age = Some(seconds(age));
                edit(fleet, name).answers_stun = answers;
            }
        })
        .len()
    };
    assert_eq!(silent(300, None), 6);
    assert_eq!(silent(301, None), 0);
    assert_eq!(silent(100, Some(false)), 0);
    assert_eq!(silent(9000, Some(true)), 6);
}

/// scaling rules, discovery: what the provider does not list and what somebody set aside is shown, and never touched.
#[test]
fn what_is_foreign_is_shown_and_never_touched() {
    for lifecycle in [Lifecycle::Unlisted, Lifecycle::SetAside] {
        let mut fleet = calm(3, 30.0);
        edit(&mut fleet, "r1").lifecycle = lifecycle;
        let plan = planned(&fleet);
        assert!(alarms(&plan).contains(&AlarmKind::Foreign));
        let touched = plan
            .actions
            .iter()
            .any(|action| action.act.relay() == Some(&id("r1")));
        assert!(!touched);
    }
}
