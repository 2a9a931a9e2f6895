//! How many are needed: each reason for some.

use super::*;
use crate::fleet::Dimension;
use crate::policy::{Need, Schedule};

fn need(fleet: &Fleet, change: impl FnOnce(&mut Policy)) -> Need {
    let mut policy = policy();
    change(&mut policy);
    plan(fleet, &policy, NOW).need
}

/// Without the floor for the loss of a zone, where it would hide what is looked at.
fn plain(fleet: &Fleet, change: impl FnOnce(&mut Policy)) -> Need {
    need(fleet, |policy| {
        policy.zone_loss_floor = false;
        change(policy);
    })
}

/// scaling rules, decision: demand and a quarter more, in relays of 75 calls.
#[test]
fn load_is_counted_with_headroom() {
    // 4 * 60 calls and a quarter more are 300: four relays' worth.
    let need = plain(&calm(4, 60.0), |_| {});
    assert_eq!((need.reactive, need.need, need.have), (4, 4, 4));
    assert_eq!(need.dimension, Some(Dimension::Allocations));
    assert_eq!(need.demand.allocations, Some(240.0));
    assert_eq!(need.capacity.allocations, Some(300.0));
    // With 35 % it is 4.32 relays' worth.
    assert_eq!(need.need_down, 5);
}

/// scaling rules, decision: with few calls their comings and goings count more than a share of them.
#[test]
fn a_small_fleet_has_slack_by_the_square_root() {
    // 60 calls: a quarter is 15, five times the root 38.7.
    let fleet = calm(2, 30.0);
    assert_eq!(need(&fleet, |_| {}).reactive, 1);
    assert_eq!(need(&fleet, |policy| policy.slack = 5.0).reactive, 2);
}

/// scaling rules, decision: the dimension that runs out first counts.
#[test]
fn the_dimension_that_asks_for_most_counts() {
    let mut fleet = calm(4, 10.0);
    for name in ["r0", "r1", "r2", "r3"] {
        report(&mut fleet, name).load.bits = Some(9e8);
    }
    let need = need(&fleet, |policy| {
        let capacity = policy.capacity.get_mut("default").expect("is there");
        capacity.bits = Some(1e9);
    });
    // 3.6 / 0.75 * 1.25
    assert_eq!((need.reactive, need.dimension), (6, Some(Dimension::Bits)));
}

/// scaling rules, capacity: what the table leaves out is taken from the relays; what nobody knows is no reason to act.
#[test]
fn capacity_comes_from_the_table_or_else_from_the_relays() {
    let mut fleet = calm(4, 75.0);
    let unknown = need(&fleet, |policy| policy.capacity.clear());
    assert_eq!((unknown.reactive, unknown.dimension), (0, None));
    for name in ["r0", "r1", "r2", "r3"] {
        report(&mut fleet, name).capacity.allocations = Some(200.0);
    }
    assert_eq!(need(&fleet, |policy| policy.capacity.clear()).reactive, 3);
    assert_eq!(need(&fleet, |_| {}).reactive, 5);
}

/// scaling rules, decision: what drains still carries its calls, and is no capacity.
#[test]
fn draining_load_is_demand_and_no_capacity() {
    let mut fleet = calm(4, 60.0);
    drains(&mut fleet, "r3", 600, 60);
    let need = need(&fleet, |_| {});
    assert_eq!(need.demand.allocations, Some(240.0));
    assert_eq!((need.reactive, need.have), (4, 3));
}

/// scaling rules, missing data: a silent relay is as loaded as it last was, and full where relays are to go.
#[test]
fn a_silent_relay_counts_as_it_was_and_as_full_for_removals() {
    let mut fleet = calm(6, 30.0);
    silence(&mut fleet, "r0");
    let need = plain(&fleet, |_| {});
    assert_eq!(need.demand.allocations, Some(180.0));
    assert_eq!((need.reactive, need.have), (3, 5));
    // 150 and a full 100, with 35 %: 4.5 relays' worth.
    assert_eq!(need.need_down, 5);
}

/// scaling rules, signals: a relay that drops packets is full, whatever it counts.
#[test]
fn a_relay_that_drops_packets_counts_as_full() {
    let mut fleet = calm(4, 30.0);
    assert_eq!(need(&fleet, |_| {}).reactive, 2);
    report(&mut fleet, "r0").full_now = true;
    assert_eq!(need(&fleet, |_| {}).reactive, 4);
    assert!(alarms(&planned(&fleet)).contains(&AlarmKind::Full));
}

/// scaling rules, signals: a relay that wants no more because it is overloaded serves on, and is full.
#[test]
fn an_overloaded_relay_serves_and_is_full() {
    let mut fleet = calm(4, 30.0);
    let report = report(&mut fleet, "r0");
    report.ready = false;
    report.not_ready_because = vec!["overload".to_owned()];
    let plan = planned(&fleet);
    assert_eq!((plan.need.reactive, plan.need.have), (4, 4));
    assert!(!plan.offered.contains(&id("r0")));
}

/// scaling rules, decision: what grows is followed to when a relay that is launched now would serve.
#[test]
fn growth_is_followed_for_as_long_as_a_launch_takes() {
    let mut fleet = calm(4, 45.0);
    assert_eq!(need(&fleet, |_| {}).reactive, 3);
    let before = Loads {
        allocations: Some(80.0),
        ..Loads::default()
    };
    // 100 more in five minutes are 60 more in three: 285 calls.
    fleet.history.demand.push_back((ago(299), before));
    assert_eq!(need(&fleet, |_| {}).reactive, 4);
    let more = Loads {
        allocations: Some(800.0),
        ..Loads::default()
    };
    fleet.history.demand = [(ago(299), more)].into();
    assert_eq!(
        need(&fleet, |_| {}).reactive,
        3,
        "what falls is not followed"
    );
}

/// scaling rules, restart: relays that are heard of one after another are no growth.
#[test]
fn there_is_no_trend_while_relays_are_first_heard_of() {
    let mut fleet = calm(4, 45.0);
    let before = Loads {
        allocations: Some(0.0),
        ..Loads::default()
    };
    fleet.history.demand.push_back((ago(299), before));
    fleet.running_for = seconds(30);
    edit(&mut fleet, "r1").samples = 1;
    assert_eq!(need(&fleet, |_| {}).reactive, 3);
}

/// scaling rules, decision: the forecast raises and never lowers, and only shows itself where it is observed.
#[test]
fn the_forecast_is_a_floor_or_is_shown() {
    let mut fleet = calm(4, 60.0);
    fleet.outlook.allocations = Some(600.0);
    let with = |mode: ForecastMode| plain(&fleet, |policy| policy.forecast.mode = mode);
    let floor = with(ForecastMode::Floor);
    // 600 and a tenth are 8.8 relays' worth.
    assert_eq!((floor.forecast, floor.need, floor.need_down), (9, 9, 9));
    let shown = with(ForecastMode::Observe);
    assert_eq!((shown.forecast, shown.need), (9, 4));
    assert_eq!(with(ForecastMode::Off).forecast, 0);
    fleet.outlook.allocations = Some(1.0);
    let low = plain(&fleet, |policy| policy.forecast.mode = ForecastMode::Floor);
    assert_eq!((low.forecast, low.need), (1, 4));
}

/// scaling rules, decision: ceil(ceil(demand / capacity) * Z / (Z - 1)).
#[test]
fn the_loss_of_a_zone_is_survived() {
    // 240 calls fill three relays to the last, and any two zones of three must have as many.
    let fleet = calm(4, 60.0);
    assert_eq!(need(&fleet, |_| {}).zone_loss, 5);
    let two = |policy: &mut Policy| {
        policy.allowed_zones.remove(&zone("c"));
    };
    assert_eq!(need(&fleet, two).zone_loss, 6);
    assert_eq!(
        need(&fleet, |policy| policy.zone_loss_floor = false).zone_loss,
        0
    );
}

/// scaling rules, decision: the schedule and the minimum raise, the maximum bounds.
#[test]
fn minimum_schedule_and_maximum() {
    let fleet = calm(4, 10.0);
    let monday = Schedule {
        days: BTreeSet::from(["mon".to_owned()]),
        from: "08:00".to_owned(),
        to: "18:00".to_owned(),
        timezone: "UTC".to_owned(),
        min: 7,
    };
    assert_eq!(need(&fleet, |policy| policy.min = 6).need, 6);
    let scheduled = need(&fleet, |policy| policy.schedule = vec![monday]);
    assert_eq!((scheduled.schedule, scheduled.need), (7, 7));
    let mut policy = policy();
    policy.max = 5;
    let full = plan(&calm(5, 90.0), &policy, NOW);
    assert_eq!(full.need.need, 5);
    assert!(alarms(&full).contains(&AlarmKind::AtMaximum));
}

/// scaling rules, weights: a relay that carries twice as much counts twice.
#[test]
fn greater_relays_count_for_more() {
    let mut fleet = calm(4, 60.0);
    edit(&mut fleet, "r0").instance_type = "double".to_owned();
    let need = need(&fleet, |policy| {
        let double = Capacity {
            allocations: Some(200.0),
            ..Capacity::default()
        };
        policy.capacity.insert("double".to_owned(), double);
    });
    assert_eq!((need.have, need.reactive), (5, 4));
    assert_eq!(need.capacity.allocations, Some(375.0));
}

/// scaling rules, window: the greatest need of the window is what a removal has to respect; before it began, what is here.
#[test]
fn the_window_holds_the_greatest_need() {
    let mut fleet = calm(6, 10.0);
    assert_eq!(need(&fleet, |_| {}).held, 2);
    fleet.history.needs = [(ago(1801), 9), (ago(1700), 4), (ago(100), 3)].into();
    assert_eq!(need(&fleet, |_| {}).held, 4);
    fleet.history.needs.clear();
    assert_eq!(need(&fleet, |_| {}).held, 6);
}

/// scaling rules, missing data: a relay that answers without any figure is as full as one that is silent.
#[test]
fn no_figure_is_not_nothing_to_carry() {
    let down = |change: &dyn Fn(&mut Fleet)| {
        let mut fleet = calm(6, 30.0);
        change(&mut fleet);
        planned(&fleet).need.need_down
    };
    let unknown = down(&|fleet| report(fleet, "r0").load = Loads::default());
    assert_eq!(unknown, down(&|fleet| silence(fleet, "r0")));
    let nothing = down(&|fleet| report(fleet, "r0").load.allocations = Some(0.0));
    assert!(unknown > nothing, "{unknown} {nothing}");
}
