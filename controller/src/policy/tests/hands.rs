//! Other hands, and what is remembered of a round.

use super::*;
use crate::policy::{HandChanges, Outcome, confirm, remember};

/// Plans, remembers with one outcome for every action, and shows the provider's figures next.
fn round(fleet: &mut Fleet, outcome: &Outcome, desired: u32) -> Plan {
    let policy = policy();
    let plan = plan(fleet, &policy, NOW);
    let outcomes: Vec<_> = (plan.actions.iter().cloned())
        .map(|action| (action, outcome.clone()))
        .collect();
    let before = fleet.clone();
    remember(&mut fleet.history, &before, &plan, &outcomes, &policy, NOW);
    fleet.group.desired = Some(desired);
    plan
}

fn done(instances: &[&str]) -> Outcome {
    Outcome::Done {
        instances: instances.iter().map(|name| id(name)).collect(),
    }
}

/// scaling rules, chaos matrix: what somebody else did to the group is noticed, said and lived with.
#[test]
fn a_change_by_hand_is_said_and_never_corrected() {
    let mut fleet = calm(6, 30.0);
    fleet.history.needs = [(ago(1700), 6)].into();
    fleet.group.desired = Some(9);
    fleet.group.min = Some(3);
    let plan = planned(&fleet);
    assert_eq!(acts(&plan), Vec::<String>::new());
    let alarm = plan
        .alarms
        .iter()
        .find(|alarm| alarm.kind == AlarmKind::OtherHand);
    let words = &alarm.expect("said").words;
    assert!(
        words.contains("from 6 to 9") && words.contains("minimum from 0 to 3"),
        "{words}"
    );
    round(&mut fleet, &done(&[]), 9);
    assert!(
        alarms(&planned(&fleet)).contains(&AlarmKind::OtherHand),
        "for a while"
    );
    assert_eq!(fleet.history.desired, Some(9));
}

/// scaling rules, other hands: what this controller did itself is nobody else's doing, whenever it shows.
#[test]
fn own_launches_and_ends_are_no_other_hand() {
    let mut fleet = calm(4, 87.0);
    let plan = round(&mut fleet, &done(&["n"]), 4);
    assert_eq!(acts(&plan), ["launch 1 in b", "launch 1 in c"]);
    assert!(!alarms(&planned(&fleet)).contains(&AlarmKind::OtherHand));
    for desired in [5, 6] {
        fleet.group.desired = Some(desired);
        assert!(
            !alarms(&planned(&fleet)).contains(&AlarmKind::OtherHand),
            "{desired}"
        );
        round(&mut fleet, &Outcome::DryRun, desired);
    }
    fleet.group.desired = Some(7);
    assert!(alarms(&planned(&fleet)).contains(&AlarmKind::OtherHand));
}

/// scaling rules, other hands: an end lowers the number, and that is expected once.
#[test]
fn an_own_end_lowers_the_number_once() {
    let mut fleet = calm(6, 30.0);
    fleet.history.needs = [(ago(1700), 6)].into();
    drains(&mut fleet, "r0", 600, 0);
    let plan = round(&mut fleet, &done(&[]), 5);
    assert_eq!(acts(&plan), ["terminate r0"]);
    edit(&mut fleet, "r0").terminate_asked = true;
    assert!(!alarms(&planned(&fleet)).contains(&AlarmKind::OtherHand));
    round(&mut fleet, &done(&[]), 4);
    assert!(alarms(&planned(&fleet)).contains(&AlarmKind::OtherHand));
}

/// scaling rules, other hands: where the policy says so, nothing is removed until somebody has looked.
#[test]
fn a_frozen_change_stays_frozen() {
    let policy = Policy {
        hand_changes: HandChanges::Freeze,
        ..policy()
    };
    let mut fleet = calm(6, 30.0);
    fleet.group.desired = Some(9);
    let first = plan(&fleet, &policy, NOW);
    let before = fleet.clone();
    let later = Now {
        instant: NOW.instant + seconds(86_400),
        unix: NOW.unix.plus_secs(86_400),
    };
    remember(&mut fleet.history, &before, &first, &[], &policy, NOW);
    remember(&mut fleet.history, &before, &first, &[], &policy, later);
    assert_eq!(plan(&fleet, &policy, later).brakes.len(), 1);
}

/// scaling rules, two controllers: who does not lead sees the leader's changes, and says nothing of them.
#[test]
fn the_leaders_changes_are_no_other_hand_to_a_standby() {
    let mut fleet = calm(6, 30.0);
    fleet.leadership.held = false;
    fleet.group.desired = Some(9);
    round(&mut fleet, &done(&[]), 9);
    fleet.leadership.held = true;
    assert!(!alarms(&planned(&fleet)).contains(&AlarmKind::OtherHand));
}

/// scaling rules, launches: a zone without a machine pauses, for twice as long each time.
#[test]
fn a_zone_that_has_nothing_pauses_for_longer_each_time() {
    let mut fleet = calm(4, 87.0);
    let none = Outcome::NoCapacity {
        words: "none left".to_owned(),
    };
    let mut pauses = Vec::new();
    for _ in 0..5 {
        round(&mut fleet, &none, 4);
        let pause = fleet
            .history
            .backoff
            .iter()
            .find(|it| it.zone == Some(zone("b")));
        let until = pause.expect("it failed").until;
        pauses.push(until.saturating_since(NOW.instant).as_secs() / 60);
        for pause in &mut fleet.history.backoff {
            pause.until = NOW.instant;
        }
    }
    assert_eq!(pauses, [5, 10, 20, 30, 30]);
}

/// scaling rules, breaker: three in a row that never became ready pause everything; one that does forgives.
#[test]
fn three_that_never_became_ready_pause_everything() {
    let mut fleet = calm(4, 30.0);
    fleet.history.needs = [(ago(1700), 4)].into();
    for (nth, name) in ["n0", "n1", "n2"].into_iter().enumerate() {
        let launched = crate::fleet::Expected {
            at: ago(301),
            zone: zone("b"),
            failed: false,
        };
        fleet.history.expected.insert(id(name), launched);
        let booting = Relay {
            report: None,
            report_age: None,
            was_ready: false,
            age: seconds(301),
            lifecycle: Lifecycle::Pending,
            ..relay(name, "b", 0.0)
        };
        fleet.relays.insert(id(name), booting);
        round(&mut fleet, &Outcome::DryRun, 4);
        assert_eq!(
            fleet.history.never_ready,
            u32::try_from(nth + 1).expect("few")
        );
        let everywhere = fleet.history.backoff.iter().any(|it| it.zone.is_none());
        assert_eq!(everywhere, nth == 2);
    }
    round(&mut fleet, &Outcome::DryRun, 4);
    assert_eq!(fleet.history.never_ready, 3, "each is counted once");
    *edit(&mut fleet, "n1") = relay("n1", "b", 0.0);
    round(&mut fleet, &Outcome::DryRun, 4);
    assert_eq!(fleet.history.never_ready, 0);
    assert_eq!(fleet.history.backoff, []);
}

/// scaling rules, chaos matrix: a launch without an answer is remembered with its token, and confirmed once.
#[test]
fn a_launch_without_an_answer_is_remembered_until_it_is_known() {
    let mut fleet = calm(5, 87.0);
    let unknown = Outcome::Unknown {
        words: "no answer".to_owned(),
    };
    let plan = round(&mut fleet, &unknown, 5);
    let asked = plan.actions.len();
    assert_eq!(fleet.history.unconfirmed.len(), asked);
    assert_eq!(
        fleet.history.next_launch,
        u64::try_from(asked).expect("few")
    );
    let token = fleet.history.unconfirmed[0].token.clone();
    confirm(&mut fleet.history, &token, &[id("new")]);
    confirm(&mut fleet.history, &token, &[id("new")]);
    assert_eq!(fleet.history.unconfirmed.len(), asked - 1);
    assert_eq!(fleet.history.launches.len(), 1);
    assert!(fleet.history.expected.contains_key(&id("new")));
}

/// scaling rules, restart: until it is known what was needed before, what is here was.
#[test]
fn the_window_is_seeded_with_what_is_here() {
    let mut fleet = calm(6, 10.0);
    fleet.running_for = seconds(20);
    fleet.history.needs.clear();
    round(&mut fleet, &done(&[]), 6);
    assert_eq!(fleet.history.needs.back().map(|(_, need)| *need), Some(6));
    fleet.running_for = seconds(7200);
    round(&mut fleet, &done(&[]), 6);
    assert_eq!(planned(&fleet).need.held, 6);
}

/// scaling rules, drain: a drain that is found running keeps its deadline.
#[test]
fn a_drain_that_is_found_running_is_adopted_with_its_deadline() {
    let mut fleet = calm(6, 30.0);
    fleet.history.needs = [(ago(1700), 6)].into();
    drains(&mut fleet, "r0", 600, 5);
    round(&mut fleet, &done(&[]), 6);
    let order = fleet.history.orders[&id("r0")];
    assert_eq!(order.deadline, NOW.unix.plus_secs(3600));
    assert_eq!(order.until, NOW.instant + seconds(3600));
}

fn refused() -> Outcome {
    Outcome::Refused {
        words: "HTTP status 409".to_owned(),
    }
}

fn at(seconds: u64) -> Now {
    Now {
        instant: NOW.instant + Duration::from_secs(seconds),
        unix: NOW.unix.plus_secs(seconds),
    }
}

/// scaling rules, drain: a relay that refuses is asked once a minute, and somebody is told.
#[test]
fn a_refused_drain_is_an_alarm_and_not_asked_each_round() {
    let mut fleet = calm(6, 30.0);
    fleet.history.needs = [(ago(1700), 6)].into();
    edit(&mut fleet, "r0").withheld_for = Some(seconds(60));
    assert_eq!(acts(&round(&mut fleet, &refused(), 6)), ["drain r0"]);
    let plan_at = |fleet: &Fleet, after: u64| plan(fleet, &policy(), at(after));
    let soon = plan_at(&fleet, 59);
    assert_eq!(acts(&soon), Vec::<String>::new());
    let alarm = (soon.alarms.iter()).find(|alarm| alarm.kind == AlarmKind::DrainOverdue);
    let alarm = alarm.expect("somebody is told");
    assert_eq!(alarm.relay, Some(id("r0")));
    assert!(alarm.words.contains("HTTP status 409"), "{}", alarm.words);
    assert_eq!(acts(&plan_at(&fleet, 60)), ["drain r0"]);
    assert!(
        !fleet.history.orders.contains_key(&id("r0")),
        "no deadline runs for what was never told"
    );
}

/// scaling rules, decision: a drain that cannot be taken back does not stand in for a launch for ever.
#[test]
fn who_refuses_to_come_back_holds_no_launch_up() {
    for outcome in [
        refused(),
        Outcome::Failed {
            words: "not now".to_owned(),
        },
    ] {
        let mut fleet = calm(4, 80.0);
        drains(&mut fleet, "r0", 60, 80);
        let first = round(&mut fleet, &outcome, 4);
        assert!(
            acts(&first).contains(&"undrain r0".to_owned()),
            "{:?}",
            acts(&first)
        );
        fleet.history.launches.clear();
        let next = planned(&fleet);
        assert!(
            next.actions
                .iter()
                .any(|it| matches!(it.act, Act::Launch { .. }))
        );
        assert!(!acts(&next).contains(&"undrain r0".to_owned()));
    }
}

/// scaling rules, drain: who was put back is not drained by the order that it never took.
#[test]
fn an_order_that_never_came_through_ends_when_its_relay_is_put_back() {
    let mut fleet = calm(6, 30.0);
    fleet.history.needs = [(ago(1700), 6)].into();
    edit(&mut fleet, "r0").withheld_for = Some(seconds(60));
    let failed = Outcome::Failed {
        words: "no route".to_owned(),
    };
    assert_eq!(acts(&round(&mut fleet, &failed, 6)), ["drain r0"]);
    edit(&mut fleet, "r0").keep = true;
    assert_eq!(acts(&round(&mut fleet, &done(&[]), 6)), ["restore r0"]);
    let relay = edit(&mut fleet, "r0");
    (relay.withheld_for, relay.keep) = (None, false);
    relay.report_age = Some(seconds(900));
    assert_eq!(acts(&plan(&fleet, &policy(), at(60))), Vec::<String>::new());
}

/// Nothing is to do only where nothing is missing.
#[test]
fn a_step_that_waits_is_said() {
    let mut fleet = calm(4, 87.0);
    let first = round(&mut fleet, &done(&["n"]), 4);
    assert!(!first.actions.is_empty());
    fleet
        .history
        .launches
        .iter_mut()
        .for_each(|it| it.count = 3);
    let missing = |fleet: &mut Fleet| {
        for nth in 0..4 {
            report(fleet, &format!("r{nth}")).load.allocations = Some(400.0);
        }
    };
    missing(&mut fleet);
    let plan = planned(&fleet);
    assert_eq!(acts(&plan), Vec::<String>::new());
    assert!(
        plan.summary.contains("one step at a time"),
        "{}",
        plan.summary
    );
}

/// scaling rules, idempotency: who is refused when asking again has not learnt that the first time did not happen.
#[test]
fn a_launch_that_may_have_happened_is_not_forgotten_by_a_refusal() {
    let mut fleet = calm(4, 87.0);
    let unknown = Outcome::Unknown {
        words: "no answer".to_owned(),
    };
    round(&mut fleet, &unknown, 4);
    let tokens = |fleet: &Fleet| -> BTreeSet<String> {
        let unconfirmed = fleet.history.unconfirmed.iter();
        unconfirmed.map(|it| it.token.to_string()).collect()
    };
    let before = tokens(&fleet);
    assert!(!before.is_empty());
    (fleet.history.unconfirmed.iter_mut()).for_each(|it| it.at = ago(60));
    let plan = round(&mut fleet, &refused(), 4);
    assert!(
        reasons(&plan).contains(&Reason::Unfinished),
        "{:?}",
        acts(&plan)
    );
    assert!(tokens(&fleet).is_superset(&before));
    assert!(fleet.history.unconfirmed.iter().all(|it| it.tries == 2));
}
