//! A drain, step by step, and what is adopted of those that others began.

use super::*;
use crate::fleet::Ordered;

fn order(fleet: &mut Fleet, name: &str, asked: u64, left: i64) {
    let deadline = NOW.unix.as_secs().saturating_add_signed(left);
    let until = NOW
        .instant
        .as_nanos()
        .saturating_add_signed(left * 1_000_000_000);
    let order = Ordered {
        asked: ago(asked),
        deadline: UnixTime::from_secs(deadline),
        until: Instant::from_nanos(until),
    };
    fleet.history.orders.insert(id(name), order);
}

/// The plan for six relays of which something is the matter with r0.
fn with(change: impl FnOnce(&mut Fleet)) -> Plan {
    let mut fleet = calm(6, 30.0);
    fleet.history.needs = [(ago(1700), 6)].into();
    change(&mut fleet);
    planned(&fleet)
}

fn drained(fleet: &mut Fleet, calls: u64) {
    drains(fleet, "r0", 600, calls);
    order(fleet, "r0", 600, 3600);
}

/// scaling rules, drain, step 2: out of the list first, and for as long as lists live.
#[test]
fn a_withheld_relay_is_drained_when_lists_are_old_enough() {
    let early = with(|fleet| edit(fleet, "r0").withheld_for = Some(seconds(9)));
    assert_eq!(acts(&early), Vec::<String>::new());
    assert!(!early.offered.contains(&id("r0")));
    let plan = with(|fleet| edit(fleet, "r0").withheld_for = Some(seconds(10)));
    assert_eq!(acts(&plan), ["drain r0"]);
    let deadline = NOW.unix.plus_secs(90 * 60);
    assert!(matches!(plan.actions[0].act, Act::Drain { deadline: at, .. } if at == deadline));
}

/// scaling rules, drain: what is not too much any more comes back, before it was told anything.
#[test]
fn a_withheld_relay_that_is_wanted_again_is_restored() {
    let plan = with(|fleet| {
        for nth in 1..6 {
            report(fleet, &format!("r{nth}")).load.allocations = Some(52.0);
        }
        edit(fleet, "r0").withheld_for = Some(seconds(30));
    });
    assert_eq!(acts(&plan), ["restore r0"]);
    let kept = with(|fleet| {
        edit(fleet, "r0").withheld_for = Some(seconds(30));
        edit(fleet, "r0").keep = true;
    });
    assert_eq!(acts(&kept), ["restore r0"]);
}

/// scaling rules, drain, step 4: ended when no call is left and it has drained for long enough; not before.
#[test]
fn a_drained_relay_is_ended() {
    let plan = with(|fleet| drained(fleet, 0));
    assert_eq!(acts(&plan), ["terminate r0"]);
    assert_eq!(reasons(&plan), BTreeSet::from([Reason::Unfinished]));
    assert_eq!(acts(&with(|fleet| drained(fleet, 1))), Vec::<String>::new());
    let short = with(|fleet| {
        drained(fleet, 0);
        let started = UnixTime::from_secs(NOW.unix.as_secs() - 29);
        report(fleet, "r0").drain.as_mut().expect("drains").started = started;
    });
    assert_eq!(acts(&short), Vec::<String>::new());
    let silent = with(|fleet| {
        drained(fleet, 0);
        silence(fleet, "r0");
    });
    assert_eq!(
        acts(&silent),
        Vec::<String>::new(),
        "its last word is too old"
    );
}

/// scaling rules, drain: what carries nothing may be cut before the deadline, where the policy says so.
#[test]
fn idle_allocations_do_not_hold_a_relay_if_the_policy_says_so() {
    let mut fleet = calm(6, 30.0);
    fleet.history.needs = [(ago(1700), 6)].into();
    drained(&mut fleet, 3);
    report(&mut fleet, "r0")
        .drain
        .as_mut()
        .expect("drains")
        .idle_allocations = 3;
    assert_eq!(acts(&planned(&fleet)), Vec::<String>::new());
    let policy = Policy {
        end_idle_drains: true,
        ..policy()
    };
    assert_eq!(acts(&plan(&fleet, &policy, NOW)), ["terminate r0"]);
    report(&mut fleet, "r0")
        .drain
        .as_mut()
        .expect("drains")
        .idle_allocations = 2;
    assert_eq!(acts(&plan(&fleet, &policy, NOW)), Vec::<String>::new());
}

/// scaling rules, drain: a deadline has passed when every clock says so.
#[test]
fn a_deadline_passes_by_every_clock() {
    let past = |wall: i64, own: i64, relays: i64| {
        acts(&with(|fleet| {
            drained(fleet, 5);
            order(fleet, "r0", 600, own);
            let at =
                |offset: i64| UnixTime::from_secs(NOW.unix.as_secs().saturating_add_signed(offset));
            let ordered = fleet.history.orders.get_mut(&id("r0")).expect("ordered");
            ordered.deadline = at(wall);
            let report = report(fleet, "r0");
            report.drain.as_mut().expect("drains").deadline = at(wall);
            report.time = at(relays);
        }))
    };
    assert_eq!(past(0, 0, 0), ["terminate r0"]);
    assert_eq!(
        past(1, 0, 1),
        Vec::<String>::new(),
        "the wall clock has a second left"
    );
    assert_eq!(
        past(0, 1, 0),
        Vec::<String>::new(),
        "our own clock has a second left"
    );
    assert_eq!(
        past(0, 0, -9),
        Vec::<String>::new(),
        "the relay's clock has seconds left"
    );
}

/// scaling rules, drain: each instance is ended once.
#[test]
fn an_end_is_asked_for_once() {
    let plan = with(|fleet| {
        drained(fleet, 0);
        edit(fleet, "r0").terminate_asked = true;
    });
    assert_eq!(acts(&plan), Vec::<String>::new());
    for gone in [
        Lifecycle::Terminating,
        Lifecycle::Unlisted,
        Lifecycle::SetAside,
    ] {
        let plan = with(|fleet| {
            drained(fleet, 0);
            edit(fleet, "r0").lifecycle = gone;
        });
        assert!(!plan.actions.iter().any(is_removal), "{gone:?}");
    }
}

/// scaling rules, drain: what a person or a signal began is for them to end.
#[test]
fn a_drain_by_a_signal_is_left_to_whoever_sent_it() {
    for source in ["signal", "metadata"] {
        let plan = with(|fleet| {
            drained(fleet, 0);
            report(fleet, "r0").drain.as_mut().expect("drains").source = source.to_owned();
        });
        assert_eq!(acts(&plan), Vec::<String>::new(), "{source}");
    }
}

/// scaling rules, drain: a person who drains a relay without the controller writes no epoch.
#[test]
fn a_drain_by_a_person_is_neither_ended_nor_taken_back() {
    let by_hand = |fleet: &mut Fleet| {
        report(fleet, "r0").drain.as_mut().expect("drains").epoch = 0;
    };
    for calls in [0, 5] {
        let plan = with(|fleet| {
            drained(fleet, calls);
            order(fleet, "r0", 600, 0);
            report(fleet, "r0").drain.as_mut().expect("drains").deadline = NOW.unix;
            by_hand(fleet);
        });
        assert_eq!(acts(&plan), Vec::<String>::new());
    }
    let mut wanted = calm(4, 80.0);
    drains(&mut wanted, "r0", 60, 80);
    assert!(acts(&planned(&wanted)).contains(&"undrain r0".to_owned()));
    by_hand(&mut wanted);
    let plan = planned(&wanted);
    assert!(!acts(&plan).contains(&"undrain r0".to_owned()));
    assert!(
        plan.actions
            .iter()
            .any(|it| matches!(it.act, Act::Launch { .. }))
    );
}

/// scaling rules, chaos matrix: a relay that hangs is asked again with the same deadline, and ended when that has passed.
#[test]
fn a_relay_that_never_answers_its_order_is_ended_at_the_deadline() {
    let hung = |asked: u64, left: i64| {
        with(|fleet| {
            edit(fleet, "r0").report_age = Some(seconds(900));
            edit(fleet, "r0").withheld_for = Some(seconds(900));
            order(fleet, "r0", asked, left);
        })
    };
    assert_eq!(acts(&hung(59, 600)), Vec::<String>::new());
    let again = hung(60, 600);
    assert_eq!(acts(&again), ["drain r0"]);
    let deadline = NOW.unix.plus_secs(600);
    assert!(matches!(again.actions[0].act, Act::Drain { deadline: at, .. } if at == deadline));
    let over = hung(60, 0);
    assert_eq!(acts(&over), ["terminate r0"]);
    assert!(alarms(&over).contains(&AlarmKind::DrainOverdue));
}

/// scaling rules, drain: what can be ended and may not be is said.
#[test]
fn an_end_that_the_provider_would_refuse_is_an_alarm() {
    let plan = with(|fleet| {
        drained(fleet, 0);
        fleet.group.min = Some(6);
    });
    assert_eq!(acts(&plan), Vec::<String>::new());
    assert!(alarms(&plan).contains(&AlarmKind::DrainOverdue));
}

fn ending(change: impl FnOnce(&mut Fleet)) -> Vec<String> {
    acts(&with(|fleet| {
        edit(fleet, "r0").lifecycle = Lifecycle::TerminatingWait;
        change(fleet);
    }))
}

/// scaling rules, hooks: an end that somebody else began waits for its calls.
#[test]
fn an_end_by_others_is_drained_extended_and_finished() {
    assert_eq!(ending(|_| {}), ["drain r0"]);
    assert_eq!(ending(|fleet| drained(fleet, 7)), ["extend r0"]);
    let lately = |fleet: &mut Fleet| {
        drained(fleet, 7);
        fleet.history.extended.insert(id("r0"), ago(299));
    };
    assert_eq!(ending(lately), Vec::<String>::new());
    assert_eq!(ending(|fleet| drained(fleet, 0)), ["finish r0"]);
    let over = |fleet: &mut Fleet| {
        drained(fleet, 7);
        order(fleet, "r0", 600, 0);
        let report = report(fleet, "r0");
        report.drain.as_mut().expect("drains").deadline = NOW.unix;
    };
    assert_eq!(ending(over), ["finish r0"]);
    let never_ready = |fleet: &mut Fleet| {
        let relay = edit(fleet, "r0");
        (relay.report, relay.report_age, relay.was_ready) = (None, None, false);
        let launched = crate::fleet::Expected {
            at: ago(600),
            zone: zone("a"),
            failed: true,
        };
        fleet.history.expected.insert(id("r0"), launched);
    };
    assert_eq!(ending(never_ready), ["finish r0"]);
    let told = |seconds_ago: u64| {
        ending(|fleet| {
            drained(fleet, 0);
            fleet.history.finished.insert(id("r0"), ago(seconds_ago));
        })
    };
    assert_eq!(told(59), Vec::<String>::new(), "the list shows it late");
    assert_eq!(told(60), ["finish r0"]);
    let unknown = |fleet: &mut Fleet| {
        never_ready(fleet);
        fleet.history.expected.clear();
    };
    assert_eq!(ending(unknown), ["drain r0"], "who knows what it carries");
}

/// scaling rules, hooks: while a brake holds calls are still given time, and nothing is finished.
#[test]
fn a_brake_holds_the_hook_and_not_the_calls() {
    let frozen = |calls| {
        ending(|fleet| {
            drained(fleet, calls);
            fleet.group.refresh_active = true;
        })
    };
    assert_eq!(frozen(7), ["extend r0"]);
    assert_eq!(frozen(0), Vec::<String>::new());
}

/// scaling rules, operators: who is kept is not ended, whatever it was told before.
#[test]
fn a_kept_relay_is_not_ended_at_its_deadline() {
    for calls in [0, 5] {
        let plan = with(|fleet| {
            drained(fleet, calls);
            order(fleet, "r0", 600, 0);
            report(fleet, "r0").drain.as_mut().expect("drains").deadline = NOW.unix;
            edit(fleet, "r0").keep = true;
        });
        assert_eq!(acts(&plan), Vec::<String>::new());
    }
    let hung = with(|fleet| {
        edit(fleet, "r0").report_age = Some(seconds(900));
        order(fleet, "r0", 60, 0);
        edit(fleet, "r0").keep = true;
    });
    assert_eq!(acts(&hung), Vec::<String>::new());
}
