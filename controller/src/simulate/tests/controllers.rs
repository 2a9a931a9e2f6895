//! What goes wrong with controllers: death at every step, stops, two of them, and clocks.

use std::collections::BTreeMap;

use super::super::fault::Moment;
use super::*;

/// The deadlines that each relay was given while it drained.
fn deadlines(ledger: &Ledger) -> BTreeMap<InstanceId, BTreeSet<u64>> {
    let mut deadlines: BTreeMap<InstanceId, BTreeSet<u64>> = BTreeMap::new();
    for deed in ledger.done("drain") {
        for id in &deed.relays {
            deadlines
                .entry(id.clone())
                .or_default()
                .insert(deed.deadline);
        }
    }
    deadlines
}

/// Chaos matrix: controller killed before drain, mid-drain, after terminate, before audit.
#[test]
fn a_controller_that_dies_at_any_step_is_finished_by_the_next() {
    let moments = [
        Moment::Before("withhold"),
        Moment::After("withhold"),
        Moment::Before("drain"),
        Moment::After("drain"),
        Moment::WhileDraining,
        Moment::Before("terminate"),
        Moment::After("terminate"),
    ];
    let plainly = replay(&fall(), &policy(), &[]);
    for moment in moments {
        let killed = mishap(HOUR, 5 * MINUTE, Fault::Killed(moment));
        let ledger = replay(&fall(), &policy(), &[killed]);
        ledger.assert_gentle();
        assert_eq!((ledger.blocked, ledger.cut), (0, 0), "{moment:?}");
        for (relay, given) in deadlines(&ledger) {
            assert_eq!(given.len(), 1, "{moment:?}: {relay} was given {given:?}");
        }
        let asked = |ledger: &Ledger| ledger.deeds.iter().filter(|d| d.act == "terminate").count();
        assert_eq!(
            asked(&ledger),
            ledger.done("terminate").count(),
            "{moment:?}: asked once each"
        );
        let (ended, usual) = (asked(&ledger), asked(&plainly));
        assert!(
            ended + 1 >= usual && ended <= usual + 1,
            "{moment:?}: {ended} and {usual}"
        );
    }
}

/// Chaos matrix: controller killed after launch, before audit.
#[test]
fn a_controller_that_dies_after_a_launch_leaves_no_orphans() {
    let plainly = replay(&rise(), &policy(), &[]);
    for moment in [Moment::Before("launch"), Moment::After("launch")] {
        let killed = mishap(HOUR, 2 * MINUTE, Fault::Killed(moment));
        let ledger = replay(&rise(), &policy(), &[killed]);
        assert!(
            ledger.most_relays <= plainly.most_relays + 1,
            "{moment:?}: {}",
            ledger.most_relays
        );
        assert_eq!(ledger.cut, 0);
        ledger.assert_gentle();
    }
}

/// Scaling rules, restart: no drain in the first five minutes, whoever was there before.
#[test]
fn a_controller_that_has_just_started_removes_nothing() {
    let killed = mishap(3 * HOUR, MINUTE, Fault::Killed(Moment::After("drain")));
    let ledger = replay(&fall(), &policy(), &[killed]);
    let died = ledger
        .between("drain", 3 * HOUR, 6 * HOUR)
        .first()
        .map_or(0, |deed| deed.at);
    assert!(died > 0, "it befell it");
    let begun = ledger.between("drain", died + 1, died + 6 * MINUTE);
    assert!(begun.is_empty(), "{begun:?}");
}

fn two_controllers(trace: &Trace, mishaps: &[Mishap]) -> Ledger {
    let settings = Settings {
        controllers: 2,
        ..settings()
    };
    with_policy(trace, &policy(), &settings, mishaps)
}

/// Chaos matrix: two controllers, lease expired while stopped.
#[test]
fn a_controller_that_was_stopped_beyond_its_lease_launches_nothing_twice() {
    let paused = mishap(
        HOUR,
        2 * MINUTE,
        Fault::Paused {
            moment: Moment::Before("launch"),
            looks: true,
        },
    );
    let alone = replay(&rise(), &policy(), &[]);
    let ledger = two_controllers(&rise(), &[paused]);
    let epochs: BTreeSet<u64> = ledger.deeds.iter().map(|deed| deed.epoch).collect();
    assert_eq!(epochs.len(), 2, "the other one took over");
    let first = ledger.between("launch", HOUR, 4 * HOUR);
    let mut seen = 0;
    for deed in &first {
        assert!(
            deed.epoch >= seen,
            "an old epoch launched after a newer one: {deed:?}"
        );
        seen = deed.epoch;
    }
    assert!(
        ledger.most_relays <= alone.most_relays + 1,
        "{}",
        ledger.most_relays
    );
    assert_eq!(ledger.cut, 0);
    ledger.assert_gentle();
}

/// Chaos matrix: two controllers, old epoch rejected by the relay.
#[test]
fn relays_refuse_a_stopped_controller_that_does_not_look_at_its_lease() {
    let paused = |looks| {
        mishap(
            2 * HOUR,
            20 * MINUTE,
            Fault::Paused {
                moment: Moment::Before("drain"),
                looks,
            },
        )
    };
    let ledger = two_controllers(&fall(), &[paused(false)]);
    let refused = ledger
        .decisions
        .iter()
        .filter(|line| line.ends_with("-> older epoch"));
    assert_eq!(refused.count(), 1, "{:#?}", ledger.decisions);
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
    ledger.assert_gentle();
    for (relay, given) in deadlines(&ledger) {
        assert_eq!(given.len(), 1, "{relay} was given {given:?}");
    }

    let ledger = two_controllers(&fall(), &[paused(true)]);
    let refused = ledger
        .decisions
        .iter()
        .filter(|line| line.ends_with("-> older epoch"));
    assert_eq!(refused.count(), 0, "one that looks does not even ask");
    ledger.assert_gentle();
}

/// Chaos matrix: clock jump of an hour, either way.
#[test]
fn an_hour_that_a_clock_jumps_ends_no_drain() {
    for seconds in [3600, -3600] {
        // One has begun to drain by then, and has calls.
        let jumps = mishap(2 * HOUR + 30 * MINUTE, 0, Fault::ClockJumps { seconds });
        let ledger = replay(&fall(), &policy(), &[jumps]);
        let at = 2 * HOUR + 30 * MINUTE;
        assert!(
            ledger.brakes(at, at + MINUTE).contains("clock_jump"),
            "{seconds}"
        );
        assert!(
            ledger.between("drain", at, at + 5 * MINUTE).is_empty(),
            "{seconds}"
        );
        assert_eq!((ledger.blocked, ledger.cut), (0, 0), "{seconds}");
        ledger.assert_gentle();
    }
}
