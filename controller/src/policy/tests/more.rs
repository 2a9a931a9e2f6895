//! More relays: back before new, by steps, where the fewest are, once.

use super::*;
use crate::fleet::{Backoff, Expected, Launch, Unconfirmed};

/// Four relays with more than they should carry: six are needed.
fn busy() -> Fleet {
    calm(4, 87.0)
}

/// Without the floor for zones, of which other examples speak: 348 calls take 5.8 relays.
fn planned(fleet: &Fleet) -> Plan {
    with(fleet, |_| {})
}

fn with(fleet: &Fleet, change: impl FnOnce(&mut Policy)) -> Plan {
    let mut policy = policy();
    policy.zone_loss_floor = false;
    change(&mut policy);
    plan(fleet, &policy, NOW)
}

/// scaling rules, decision: what is missing is launched at once, where the fewest relays are.
#[test]
fn what_is_missing_is_launched_where_the_fewest_are() {
    let plan = planned(&busy());
    assert_eq!((plan.need.need, plan.need.have), (6, 4));
    assert_eq!(acts(&plan), ["launch 1 in b", "launch 1 in c"]);
    assert_eq!(reasons(&plan), BTreeSet::from([Reason::Load]));
}

/// scaling rules, reasons: what asks for the most is what it is for.
#[test]
fn the_reason_is_what_asks_for_the_most() {
    let reason = |fleet: &Fleet, change: &dyn Fn(&mut Policy)| reasons(&with(fleet, change));
    let calm_fleet = calm(4, 10.0);
    let only = |reason| BTreeSet::from([reason]);
    assert_eq!(
        reason(&calm_fleet, &|policy| policy.min = 6),
        only(Reason::Minimum)
    );
    assert_eq!(
        reason(&calm(4, 74.0), &|policy| {
            policy.zone_loss_floor = true;
            policy.headroom_up = 0.0;
        }),
        only(Reason::ZoneLoss)
    );
    let mut season = calm(4, 10.0);
    season.outlook.allocations = Some(600.0);
    assert_eq!(
        reason(&season, &|policy| policy.forecast.mode =
            ForecastMode::Floor),
        only(Reason::Forecast)
    );
    let always = crate::policy::Schedule {
        days: BTreeSet::from(["mon".to_owned()]),
        from: "00:00".to_owned(),
        to: "00:00".to_owned(),
        timezone: "UTC".to_owned(),
        min: 6,
    };
    assert_eq!(
        reason(&calm_fleet, &|policy| policy.schedule =
            vec![always.clone()]),
        only(Reason::Schedule)
    );
}

/// scaling rules, un-drain before launch: the newest drains first, and those of a zone that has few.
#[test]
fn drains_are_taken_back_before_anything_is_launched() {
    let mut fleet = calm(7, 60.0);
    for (name, since) in [("r1", 600), ("r4", 60), ("r2", 30)] {
        drains(&mut fleet, name, since, 40);
    }
    // b has none left, a three, c one; in b the drain of r4 is the newest.
    let plan = planned(&fleet);
    assert_eq!(plan.need.need, 6);
    assert_eq!(acts(&plan), ["undrain r4", "undrain r1"]);
}

/// scaling rules, un-drain: a relay that was taken off the list and has not been told yet is the first to come back.
#[test]
fn what_is_withheld_comes_back_first() {
    let mut fleet = calm(6, 60.0);
    edit(&mut fleet, "r1").withheld_for = Some(seconds(5));
    drains(&mut fleet, "r2", 30, 40);
    let plan = with(&fleet, |policy| policy.headroom_up = 0.0);
    assert_eq!(acts(&plan), ["restore r1"]);
    assert!(plan.offered.contains(&id("r1")));
}

/// scaling rules, un-drain: only drains of controllers, of relays that are heard of, of the current image, not near their
/// end, and that nobody wants gone.
#[test]
fn not_every_drain_can_be_taken_back() {
    let refuses = |change: &dyn Fn(&mut Fleet)| {
        let mut fleet = calm(5, 87.0);
        drains(&mut fleet, "r4", 60, 40);
        assert_eq!(
            acts(&planned(&fleet)),
            ["undrain r4", "launch 1 in b", "launch 1 in c"]
        );
        change(&mut fleet);
        let taken_back = acts(&planned(&fleet)).contains(&"undrain r4".to_owned());
        assert!(!taken_back);
    };
    let drain = |fleet: &mut Fleet, change: &dyn Fn(&mut DrainReport)| {
        change(report(fleet, "r4").drain.as_mut().expect("drains"));
    };
    refuses(&|fleet| drain(fleet, &|drain| drain.source = "signal".to_owned()));
    refuses(&|fleet| drain(fleet, &|drain| drain.source = "metadata".to_owned()));
    refuses(&|fleet| drain(fleet, &|drain| drain.deadline = NOW.unix));
    refuses(&|fleet| edit(fleet, "r4").image = "old".to_owned());
    refuses(&|fleet| edit(fleet, "r4").cordoned = true);
    refuses(&|fleet| edit(fleet, "r4").lifecycle = Lifecycle::TerminatingWait);
    refuses(&|fleet| edit(fleet, "r4").terminate_asked = true);
    refuses(&|fleet| edit(fleet, "r4").zone = zone("nowhere"));
    refuses(&|fleet| silence(fleet, "r4"));
}

/// scaling rules, decision: no more than a step at a time.
#[test]
fn a_step_bounds_what_is_launched_at_once() {
    let fleet = calm(4, 400.0);
    assert_eq!(planned(&fleet).need.need, 20);
    let launched = |plan: &Plan| plan.actions.len();
    assert_eq!(launched(&planned(&fleet)), 2);
    let mut lately = calm(4, 400.0);
    lately.history.launches.push_back(Launch {
        at: ago(29),
        zone: zone("a"),
        count: 2,
        instances: vec![id("r0"), id("r1")],
    });
    assert_eq!(launched(&planned(&lately)), 0);
    lately.history.launches[0].at = ago(30);
    assert_eq!(launched(&planned(&lately)), 2);
}

/// scaling rules, decision: launches in an hour, maximum, maximum and surge, and the provider's maximum bound them too.
#[test]
fn budgets_bound_what_is_launched() {
    let fleet = calm(4, 400.0);
    let bounded = |fleet: &Fleet, change: &dyn Fn(&mut Policy)| {
        let plan = with(fleet, |policy| {
            policy.up_step = 10;
            change(policy);
        });
        let counts = plan.actions.iter().map(|action| match action.act {
            Act::Launch { count, .. } => count,
            Act::Withhold { .. }
            | Act::Restore { .. }
            | Act::Drain { .. }
            | Act::Undrain { .. }
            | Act::Terminate { .. }
            | Act::Extend { .. }
            | Act::Finish { .. } => 0,
        });
        (
            counts.sum::<u32>(),
            alarms(&plan).contains(&AlarmKind::CannotLaunch),
        )
    };
    assert_eq!(bounded(&fleet, &|_| {}), (10, false));
    assert_eq!(
        bounded(&fleet, &|policy| policy.launches_per_hour = 3),
        (3, false)
    );
    assert_eq!(
        bounded(&fleet, &|policy| policy.launches_per_hour = 0),
        (0, true)
    );
    assert_eq!(bounded(&fleet, &|policy| policy.max = 6).0, 2);
    let mut held = calm(4, 400.0);
    held.group.max = Some(5);
    assert_eq!(bounded(&held, &|_| {}), (1, false));
    held.group.max = Some(4);
    assert_eq!(bounded(&held, &|_| {}), (0, true));
    // Those that drain live on, and cost: maximum and surge together bound all.
    let mut draining = calm(9, 400.0);
    for name in ["r4", "r5", "r6", "r7", "r8"] {
        drains(&mut draining, name, 60, 40);
        report(&mut draining, name)
            .drain
            .as_mut()
            .expect("drains")
            .source = "signal".to_owned();
    }
    assert_eq!(
        bounded(&draining, &|policy| (policy.max, policy.surge) = (8, 2)),
        (1, false)
    );
}

/// scaling rules, pending capacity: what is on its way counts, for as long as it may take.
#[test]
fn what_is_on_its_way_counts_for_a_bounded_time() {
    let mut fleet = busy();
    fleet.history.launches.push_back(Launch {
        at: ago(200),
        zone: zone("b"),
        count: 2,
        instances: vec![id("new-1")],
    });
    assert_eq!(planned(&fleet).need.have, 6, "neither is listed yet");
    let booting = Relay {
        report: None,
        report_age: None,
        was_ready: false,
        age: seconds(190),
        lifecycle: Lifecycle::Pending,
        ..relay("new-1", "b", 0.0)
    };
    fleet.relays.insert(id("new-1"), booting.clone());
    let nameless = Relay {
        id: id("new-2"),
        ..booting
    };
    fleet.relays.insert(id("new-2"), nameless);
    assert_eq!(planned(&fleet).need.have, 6, "both are listed");
    fleet.history.launches[0].at = ago(301);
    for name in ["new-1", "new-2"] {
        edit(&mut fleet, name).age = seconds(301);
    }
    assert_eq!(planned(&fleet).need.have, 4, "both took too long");
}

/// scaling rules, chaos matrix: a launch without an answer counts, and is asked again by its own token.
#[test]
fn a_launch_without_an_answer_is_asked_again_with_its_token() {
    let mut fleet = busy();
    let token = crate::fleet::LaunchToken::try_from("example-7-3").expect("plain");
    fleet.history.next_launch = 4;
    fleet.history.unconfirmed.push(Unconfirmed {
        at: ago(9),
        token: token.clone(),
        zone: zone("b"),
        count: 2,
        tries: 1,
    });
    let waiting = planned(&fleet);
    assert_eq!((waiting.need.have, acts(&waiting)), (6, vec![]));
    fleet.history.unconfirmed[0].at = ago(10);
    let plan = planned(&fleet);
    assert_eq!(acts(&plan), ["launch 2 in b"]);
    assert!(matches!(&plan.actions[0].act, Act::Launch { token: same, .. } if *same == token));
    // It is asked ever more seldom, and not when it would not be needed any more.
    fleet.history.unconfirmed[0].tries = 3;
    assert_eq!(acts(&planned(&fleet)), Vec::<String>::new());
    fleet.history.unconfirmed[0].at = ago(70);
    assert_eq!(acts(&planned(&fleet)), ["launch 2 in b"]);
    let idle = Fleet {
        history: fleet.history.clone(),
        ..calm(4, 10.0)
    };
    assert_eq!(acts(&planned(&idle)), Vec::<String>::new());
}

/// scaling rules, tokens: a round that is planned again asks for the same launch; the next one for another.
#[test]
fn tokens_are_made_of_fleet_epoch_and_number() {
    let tokens = |fleet: &Fleet| -> Vec<String> {
        let plan = planned(fleet);
        let mut tokens = Vec::new();
        for action in plan.actions {
            if let Act::Launch { token, .. } = action.act {
                tokens.push(token.as_str().to_owned());
            }
        }
        tokens
    };
    let mut fleet = busy();
    assert_eq!(tokens(&fleet), ["example-7-0", "example-7-1"]);
    assert_eq!(tokens(&fleet), tokens(&fleet.clone()));
    fleet.history.next_launch = 2;
    fleet.leadership.epoch = 8;
    assert_eq!(tokens(&fleet), ["example-8-2", "example-8-3"]);
}

/// scaling rules, launches: a zone that failed is left out for a while; if all did, that is said.
#[test]
fn a_zone_that_failed_pauses() {
    let pause = |name: Option<&str>| Backoff {
        zone: name.map(zone),
        failures: 1,
        until: NOW.instant + seconds(60),
        what: "no machine left".to_owned(),
    };
    let mut fleet = busy();
    fleet.history.backoff = vec![pause(Some("b"))];
    assert_eq!(acts(&planned(&fleet)), ["launch 1 in a", "launch 1 in c"]);
    fleet.history.backoff = vec![pause(Some("a")), pause(Some("b")), pause(Some("c"))];
    let plan = planned(&fleet);
    assert_eq!(acts(&plan), Vec::<String>::new());
    let alarm = plan
        .alarms
        .iter()
        .find(|alarm| alarm.kind == AlarmKind::CannotLaunch);
    assert!(alarm.expect("said").words.contains("no machine left"));
    fleet.history.backoff = vec![pause(None)];
    assert_eq!(acts(&planned(&fleet)), Vec::<String>::new());
    fleet.history.backoff[0].until = NOW.instant;
    assert_eq!(planned(&fleet).actions.len(), 2);
}

/// scaling rules, breaker: after too many that never became ready, one at a time is tried.
#[test]
fn after_a_broken_image_one_at_a_time_is_tried() {
    let mut fleet = busy();
    fleet.history.never_ready = 3;
    let plan = planned(&fleet);
    assert_eq!(acts(&plan), ["launch 1 in b"]);
    assert!(alarms(&plan).contains(&AlarmKind::NeverReady));
    let tried = Expected {
        at: ago(20),
        zone: zone("b"),
        failed: false,
    };
    fleet.history.expected.insert(id("new"), tried);
    assert_eq!(acts(&planned(&fleet)), Vec::<String>::new());
}

/// scaling rules, sovereignty: relays are launched in zones that are allowed and that the group has, and nowhere else.
#[test]
fn relays_are_launched_in_allowed_zones_alone() {
    let mut fleet = busy();
    fleet.group.zones = ["b", "elsewhere", "akl1"].into_iter().map(zone).collect();
    assert_eq!(acts(&planned(&fleet)), ["launch 2 in b"]);
    fleet.group.zones = [zone("elsewhere")].into();
    let plan = planned(&fleet);
    assert_eq!(acts(&plan), Vec::<String>::new());
    assert!(alarms(&plan).contains(&AlarmKind::CannotLaunch));
}

/// scaling rules, providers: where nothing can be launched, that is said.
#[test]
fn a_provider_that_cannot_launch_is_not_asked() {
    for change in [
        |fleet: &mut Fleet| fleet.group.fixed = true,
        |fleet: &mut Fleet| fleet.group.launch_suspended = true,
    ] {
        let mut fleet = busy();
        change(&mut fleet);
        let plan = planned(&fleet);
        assert_eq!(acts(&plan), Vec::<String>::new());
        assert!(alarms(&plan).contains(&AlarmKind::CannotLaunch));
    }
}

/// scaling rules, zones: while nothing else is to be done, zones that could not survive the loss of another are filled.
#[test]
fn a_lopsided_fleet_is_evened_out_in_quiet_times() {
    let mut fleet = calm(6, 30.0);
    for name in ["r0", "r1", "r2", "r3", "r4", "r5"] {
        edit(&mut fleet, name).zone = zone("a");
    }
    let plan = plan(&fleet, &policy(), NOW);
    assert_eq!(acts(&plan), ["launch 1 in b"]);
    assert!(alarms(&plan).contains(&AlarmKind::ZoneSpread));
    assert_eq!(reasons(&plan), BTreeSet::from([Reason::ZoneLoss]));
}

/// scaling rules, images: one of the current image comes before one of another goes.
#[test]
fn images_are_replaced_one_at_a_time_in_quiet_times() {
    let mut fleet = calm(6, 50.0);
    fleet.history.needs = [(ago(100), 6)].into();
    edit(&mut fleet, "r1").image = "old".to_owned();
    let first = super::planned(&fleet);
    assert_eq!(
        acts(&first),
        ["launch 1 in b"],
        "where the one is that is to go"
    );
    assert_eq!(reasons(&first), BTreeSet::from([Reason::Image]));
    fleet.history.launches.push_back(Launch {
        at: ago(30),
        zone: zone("b"),
        count: 1,
        instances: vec![id("r6")],
    });
    fleet.relays.insert(id("r6"), relay("r6", "b", 0.0));
    assert_eq!(
        acts(&super::planned(&fleet)),
        Vec::<String>::new(),
        "it is too soon"
    );
    fleet.history.launches[0].at = ago(600);
    let chosen = super::planned(&fleet);
    assert_eq!(chosen.chosen, [id("r1")]);
    fleet.history.chosen.insert(id("r1"), ago(15));
    let plan = super::planned(&fleet);
    assert_eq!(acts(&plan), ["withhold r1"]);
    assert_eq!(reasons(&plan), BTreeSet::from([Reason::Image]));
}
