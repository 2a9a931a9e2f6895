//! What goes wrong with the provider: lists, launches, zones, and other people's hands.

use super::super::fault::{GroupChange, Which};
use super::*;
use crate::policy::HandChanges;

/// When most launches of a rise are.
const RISE: u64 = 90 * MINUTE;

fn zone(number: u32) -> ZoneId {
    simulated_zone(number)
}

/// Chaos matrix: API throttling.
#[test]
fn a_provider_that_throttles_gets_no_more_launches_than_are_needed() {
    let (from, until) = (RISE, RISE + 15 * MINUTE);
    let plainly = replay(&rise(), &policy(), &[]);
    let ledger = replay(
        &rise(),
        &policy(),
        &[mishap(from, until - from, Fault::Throttled)],
    );
    assert_eq!(ledger.launched(from, until), 0);
    assert!(ledger.launched(until, 4 * HOUR) > 0);
    assert!(
        ledger.most_relays <= plainly.most_relays + 1,
        "{}",
        ledger.most_relays
    );
    let asked = ledger
        .decisions
        .iter()
        .filter(|line| line.ends_with("-> failed"))
        .count();
    assert!(
        (1..=40).contains(&asked),
        "it backs off: {asked} calls in 15 minutes"
    );
    assert_eq!(ledger.cut, 0);
}

/// Chaos matrix: API answers 500.
#[test]
fn a_list_that_fails_freezes_removals_until_it_comes_again() {
    let (from, until) = (2 * HOUR, 4 * HOUR);
    let ledger = replay(
        &fall(),
        &policy(),
        &[mishap(from, until - from, Fault::ListFails)],
    );
    assert!(ledger.brakes(from, until).contains("listing_in_doubt"));
    assert!(ledger.removals(from, until).is_empty());
    assert!(!ledger.removals(until, 6 * HOUR).is_empty());
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
}

/// Chaos matrix: list truncated.
#[test]
fn a_truncated_list_takes_no_relay_from_anybody() {
    let (from, until) = (2 * HOUR, 4 * HOUR);
    for trace in [fall(), steady()] {
        let truncated = mishap(from, until - from, Fault::ListTruncated);
        let ledger = replay(&trace, &policy(), &[truncated]);
        assert!(ledger.brakes(from, until).contains("listing_in_doubt"));
        assert!(ledger.removals(from, until).is_empty());
        assert_eq!(ledger.launched(from, until), 0);
        // Lists for credentials keep naming all: had they not, half of the relays would have been too few.
        assert_eq!((ledger.blocked, ledger.cut), (0, 0));
    }
}

/// Chaos matrix: list empty.
#[test]
fn an_empty_list_changes_nothing_at_first() {
    let empty = mishap(2 * HOUR, 15, Fault::ListEmpty);
    let ledger = replay(&steady(), &policy(), &[empty]);
    assert!(
        ledger
            .brakes(2 * HOUR, 2 * HOUR + MINUTE)
            .contains("listing_in_doubt")
    );
    assert!(ledger.removals(2 * HOUR, 2 * HOUR + 10 * MINUTE).is_empty());
    assert_eq!(ledger.launched(2 * HOUR, 2 * HOUR + 10 * MINUTE), 0);
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
}

/// Chaos matrix: launch accepted, response lost.
#[test]
fn a_launch_whose_answer_is_lost_happens_once() {
    let lost = mishap(RISE, 10 * MINUTE, Fault::LaunchAnswerLost);
    let plainly = replay(&rise(), &policy(), &[]);
    let ledger = replay(&rise(), &policy(), &[lost]);
    let unknown = ledger
        .decisions
        .iter()
        .filter(|line| line.ends_with("-> unknown"));
    assert!(unknown.count() >= 2, "the mishap befell some");
    assert!(
        ledger.most_relays <= plainly.most_relays + 1,
        "{} and {}",
        ledger.most_relays,
        plainly.most_relays
    );
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
    let again = ledger
        .decisions
        .iter()
        .filter(|line| line.contains("asked again with the same token"));
    let known = ledger
        .deeds
        .iter()
        .filter(|deed| deed.act == "launch" && !deed.happened && !deed.relays.is_empty());
    let (again, known) = (again.count(), known.count());
    assert!(
        again > 0 && again == known,
        "asked {again} times, known {known} times"
    );
    ledger.assert_gentle();
}

/// Chaos matrix: ICE in one AZ.
#[test]
fn a_zone_without_machines_is_left_alone_for_a_while_and_others_take_over() {
    let none = mishap(HOUR, 2 * HOUR, Fault::NoCapacity(zone(0)));
    let ledger = replay(&rise(), &policy(), &[none]);
    let asked = ledger
        .decisions
        .iter()
        .filter(|line| line.ends_with("-> no capacity"))
        .count();
    assert!(
        (1..=30).contains(&asked),
        "it backs off: {asked} calls in two hours"
    );
    let alarms = ledger.alarms(HOUR, 3 * HOUR);
    assert!(alarms.contains(&AlarmKind::ZoneSpread), "{alarms:?}");
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
    ledger.assert_gentle();
}

/// Chaos matrix: instance never healthy.
#[test]
fn an_instance_that_never_serves_is_ended_by_id_and_replaced() {
    let broken = mishap(RISE, 2 * MINUTE, Fault::BrokenImage);
    let ledger = replay(&rise(), &policy(), &[broken]);
    let ended: Vec<_> = ledger.between("terminate", HOUR, 2 * HOUR);
    assert!(!ended.is_empty(), "{:#?}", ledger.decisions);
    assert!(ended.iter().all(|deed| deed.live == 0));
    assert!(
        ledger
            .alarms(HOUR, 2 * HOUR)
            .contains(&AlarmKind::NeverReady)
    );
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
    ledger.assert_gentle();
}

/// Chaos matrix: broken image for all.
#[test]
fn a_broken_image_stops_launches_and_leaves_the_healthy_alone() {
    let (from, until) = (HOUR, 3 * HOUR);
    let ledger = replay(
        &rise(),
        &policy(),
        &[mishap(from, until - from, Fault::BrokenImage)],
    );
    let healthy: BTreeSet<InstanceId> = ledger
        .between("launch", 0, from)
        .iter()
        .flat_map(|deed| deed.relays.clone())
        .chain((0..6).map(relay))
        .collect();
    let touched = ledger.removals(from, until);
    let harmed = touched
        .iter()
        .filter(|deed| deed.relays.iter().any(|id| healthy.contains(id)));
    assert_eq!(harmed.count(), 0, "{touched:?}");
    let launched = ledger.launched(from, until);
    assert!(
        (3..=24).contains(&launched),
        "the breaker: {launched} in two hours"
    );
    assert!(ledger.alarms(from, until).contains(&AlarmKind::NeverReady));
    assert!(
        ledger
            .alarms(from, until)
            .contains(&AlarmKind::CannotLaunch)
    );
    assert_eq!(ledger.cut, 0);
    ledger.assert_gentle();
}

/// Chaos matrix: AZ loss at peak.
#[test]
fn the_loss_of_a_zone_moves_its_calls_at_once_and_drains_nobody() {
    let lost = mishap(2 * HOUR, 4 * HOUR, Fault::ZoneLost(zone(0)));
    let ledger = replay(&steady(), &policy(), &[lost]);
    assert!(ledger.lost > 40, "a third of the calls: {}", ledger.lost);
    // Lists are as old as the last round and their own time to live; from then on nobody asks the dead.
    assert!(ledger.blocked <= 3, "{}", ledger.blocked);
    assert!(
        ledger
            .between("drain", 2 * HOUR, 2 * HOUR + 30 * MINUTE)
            .is_empty()
    );
    assert!(ledger.launched(2 * HOUR, 2 * HOUR + 10 * MINUTE) >= 1);
    assert_eq!(ledger.cut, 0);
    ledger.assert_gentle();
}

/// Chaos matrix: someone sets desired by hand.
#[test]
fn relays_that_somebody_launched_are_reported_and_lived_with() {
    let raised = mishap(2 * HOUR, 0, Fault::Group(GroupChange::Desired(2)));
    let ledger = replay(&steady(), &policy(), std::slice::from_ref(&raised));
    assert!(
        ledger
            .alarms(2 * HOUR, 2 * HOUR + 10 * MINUTE)
            .contains(&AlarmKind::OtherHand)
    );
    assert!(
        ledger.removals(2 * HOUR, 2 * HOUR + 30 * MINUTE).is_empty(),
        "not corrected at once: {:#?}",
        ledger.decisions
    );
    assert!(
        !ledger.removals(2 * HOUR + 30 * MINUTE, 4 * HOUR).is_empty(),
        "surplus is surplus"
    );
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));

    let frozen = Policy {
        hand_changes: HandChanges::Freeze,
        ..policy()
    };
    let ledger = replay(&steady(), &frozen, &[raised]);
    assert!(
        ledger
            .brakes(2 * HOUR, 4 * HOUR)
            .contains("changed_by_hand")
    );
    assert!(ledger.removals(2 * HOUR + MINUTE, 4 * HOUR).is_empty());
}

/// Chaos matrix: someone sets desired by hand, downward.
#[test]
fn relays_that_somebody_takes_away_are_reported_and_replaced() {
    let lowered = mishap(2 * HOUR, 0, Fault::Group(GroupChange::Desired(-2)));
    let ledger = replay(&steady(), &policy(), &[lowered]);
    assert!(
        ledger
            .alarms(2 * HOUR, 2 * HOUR + 10 * MINUTE)
            .contains(&AlarmKind::OtherHand)
    );
    assert!(ledger.launched(2 * HOUR, 2 * HOUR + 10 * MINUTE) >= 1);
    assert_eq!((ledger.blocked, ledger.cut, ledger.lost), (0, 0, 0));
    ledger.assert_gentle();
}

/// Chaos matrix: someone sets max by hand.
#[test]
fn a_maximum_that_somebody_lowers_is_respected_and_reported() {
    let lowered = mishap(HOUR, 4 * HOUR, Fault::Group(GroupChange::Max(6)));
    let ledger = replay(&rise(), &policy(), &[lowered]);
    assert!(ledger.most_relays <= 6, "{}", ledger.most_relays);
    let alarms = ledger.alarms(HOUR, 4 * HOUR);
    let told = [AlarmKind::CannotLaunch, AlarmKind::AtMaximum];
    assert!(told.iter().any(|kind| alarms.contains(kind)), "{alarms:?}");
    assert!(alarms.contains(&AlarmKind::OtherHand), "{alarms:?}");
    assert!(ledger.removals(HOUR, 4 * HOUR).is_empty());
}

/// Chaos matrix: Terminate suspended, min reached, refresh running.
#[test]
fn no_drain_begins_that_could_not_be_finished() {
    let (from, until) = (2 * HOUR, 4 * HOUR);
    let changes = [
        GroupChange::TerminateSuspended,
        GroupChange::RefreshActive,
        GroupChange::Min(12),
    ];
    for change in changes {
        let ledger = replay(
            &fall(),
            &policy(),
            &[mishap(from, until - from, Fault::Group(change))],
        );
        let begun = ledger.between("drain", from + 10, until);
        assert!(begun.is_empty(), "{change:?}: {begun:?}");
        let later = ledger.between("drain", until, 6 * HOUR);
        assert!(!later.is_empty(), "{change:?}: and then it does");
        assert_eq!((ledger.blocked, ledger.cut), (0, 0));
    }
}

/// Chaos matrix, all of it at once: a bad hour.
#[test]
fn a_bad_hour_blocks_little_and_cuts_nothing() {
    let bad = [
        mishap(RISE, 5 * MINUTE, Fault::Throttled),
        mishap(RISE + 5 * MINUTE, 10 * MINUTE, Fault::LaunchAnswerLost),
        mishap(RISE + 10 * MINUTE, 10 * MINUTE, Fault::ListTruncated),
        mishap(
            RISE + 20 * MINUTE,
            10 * MINUTE,
            Fault::Silent(Which::Percent(50)),
        ),
        mishap(RISE + 25 * MINUTE, 10 * MINUTE, Fault::NoCapacity(zone(1))),
    ];
    let ledger = replay(&rise(), &policy(), &bad);
    assert!(
        ledger.blocked * 100 <= ledger.called,
        "{} of {}",
        ledger.blocked,
        ledger.called
    );
    assert_eq!(ledger.cut, 0);
    ledger.assert_gentle();
}
