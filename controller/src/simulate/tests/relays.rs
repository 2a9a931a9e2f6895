//! What goes wrong with relays: silence, frozen samples, restarts, ends, and calls that vanish.

use super::super::fault::Which;
use super::*;

/// Chaos matrix: metrics stale for one relay.
#[test]
fn a_silent_relay_is_not_drained_and_the_others_may_be() {
    let (from, until) = (2 * HOUR, 4 * HOUR);
    let silent = mishap(from, until - from, Fault::Silent(Which::Oldest));
    let ledger = replay(&fall(), &policy(), &[silent]);
    let drained = ledger.between("drain", from, until);
    assert!(drained.len() >= 2, "{drained:?}");
    assert!(
        !drained.iter().any(|deed| deed.relays.contains(&relay(0))),
        "{drained:?}"
    );
    assert!(
        ledger
            .alarms(from + MINUTE, until)
            .contains(&AlarmKind::Stale)
    );
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
    ledger.assert_gentle();
}

/// Chaos matrix: metrics stale for 40 % of the relays.
#[test]
fn two_of_five_silent_relays_freeze_all_removals() {
    let (from, until) = (2 * HOUR, 4 * HOUR);
    let silent = mishap(from, until - from, Fault::Silent(Which::Percent(40)));
    let ledger = replay(&fall(), &policy(), &[silent]);
    assert!(ledger.brakes(from, until).contains("stale_relays"));
    let removed = ledger.removals(from + MINUTE, until);
    assert!(removed.is_empty(), "{removed:?}");
    assert!(
        !ledger.removals(until + MINUTE, 6 * HOUR).is_empty(),
        "and then it goes on"
    );
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
}

/// Chaos matrix: metrics stale for all.
#[test]
fn when_all_relays_are_silent_nothing_is_removed_and_nothing_launched() {
    let (from, until) = (2 * HOUR, 3 * HOUR);
    let silent = mishap(from, until - from, Fault::Silent(Which::All));
    for trace in [fall(), steady()] {
        let ledger = replay(&trace, &policy(), std::slice::from_ref(&silent));
        assert!(ledger.brakes(from, until).contains("stale_relays"));
        assert!(
            ledger
                .alarms(from + MINUTE, until)
                .contains(&AlarmKind::Stale)
        );
        assert!(ledger.removals(from + MINUTE, until).is_empty());
        assert_eq!(ledger.launched(from + MINUTE, until), 0, "no storm");
        assert_eq!((ledger.blocked, ledger.cut), (0, 0));
    }
}

/// Chaos matrix: metrics return 200 with a frozen sequence.
#[test]
fn a_sample_that_comes_again_and_again_is_as_good_as_none() {
    let (from, until) = (2 * HOUR, 4 * HOUR);
    let frozen = mishap(from, until - from, Fault::Frozen(Which::Percent(40)));
    let ledger = replay(&fall(), &policy(), &[frozen]);
    assert!(ledger.brakes(from, until).contains("stale_relays"));
    let removed = ledger.removals(from + MINUTE, until);
    assert!(removed.is_empty(), "{removed:?}");
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
}

/// Chaos matrix: relay restarts mid-drain.
#[test]
fn a_relay_that_restarts_while_it_drains_goes_on_to_its_old_deadline() {
    let restarts = mishap(2 * HOUR, 0, Fault::Restarts(Which::Draining));
    let ledger = replay(&fall(), &policy(), &[restarts]);
    assert!(ledger.lost > 0, "it befell one");
    let mut deadlines = std::collections::BTreeMap::new();
    for deed in ledger.done("drain") {
        let first = *deadlines
            .entry(deed.relays.clone())
            .or_insert(deed.deadline);
        assert_eq!(deed.deadline, first, "{deed:?}");
    }
    assert_eq!(ledger.cut, 0);
    ledger.assert_gentle();
}

/// Chaos matrix: relay ignores drain.
#[test]
fn a_relay_that_takes_no_orders_keeps_its_calls_and_is_asked_again() {
    let deaf = mishap(2 * HOUR, HOUR, Fault::Deaf(Which::All));
    let ledger = replay(&fall(), &policy(), &[deaf]);
    let refused = ledger
        .decisions
        .iter()
        .filter(|line| line.contains(" drain ") && line.ends_with("-> failed"));
    assert!(refused.count() >= 2, "{:#?}", ledger.decisions);
    assert!(
        !ledger.between("drain", 3 * HOUR, 6 * HOUR).is_empty(),
        "later it obeys"
    );
    assert_eq!(ledger.cut, 0);
    ledger.assert_gentle();
}

/// Chaos matrix: relay hangs.
#[test]
fn a_relay_that_hangs_while_it_drains_is_ended_at_its_deadline_and_somebody_told() {
    let silent = mishap(2 * HOUR, 9 * HOUR, Fault::Silent(Which::Draining));
    let long = plain(&[(120, 12.0), (360, 2.0)]);
    let ledger = replay(&long, &policy(), &[silent]);
    let first = ledger.done("drain").next().expect("one drains").clone();
    let end = ledger
        .done("terminate")
        .find(|deed| deed.relays == first.relays)
        .expect("it is ended");
    let deadline = first.at + policy().drain_deadline.as_secs();
    assert!(
        end.at >= deadline && end.at < deadline + 10 * MINUTE,
        "{end:?}"
    );
    assert!(
        ledger
            .alarms(first.at, end.at + 1)
            .contains(&AlarmKind::DrainOverdue)
    );
    ledger.assert_gentle();
}

/// Chaos matrix: external terminate (console, Spot, AZRebalance).
#[test]
fn an_instance_that_somebody_else_ends_drains_and_is_replaced() {
    let ended = mishap(2 * HOUR, 0, Fault::EndedElsewhere(Which::Oldest));
    let ledger = replay(&steady(), &policy(), &[ended]);
    let finished: Vec<_> = ledger.done("finish").collect();
    assert_eq!(finished.len(), 1, "{finished:?}");
    assert!(
        finished
            .iter()
            .all(|deed| deed.live == 0 && deed.at > 2 * HOUR + 10 * MINUTE)
    );
    assert!(
        ledger.launched(2 * HOUR, 2 * HOUR + 5 * MINUTE) >= 1,
        "it is replaced at once"
    );
    assert_eq!((ledger.blocked, ledger.cut, ledger.lost), (0, 0, 0));
    ledger.assert_gentle();
}

/// Chaos matrix: load drops to 0 for 2 minutes (upstream outage).
#[test]
fn capacity_outlasts_two_minutes_without_any_call() {
    let outage = mishap(2 * HOUR, 2 * MINUTE, Fault::Outage);
    let ledger = replay(&steady(), &policy(), &[outage]);
    assert!(ledger.removals(2 * HOUR, 2 * HOUR + 25 * MINUTE).is_empty());
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
    assert!(ledger.redialled > 100, "all came back at once");
}

/// Chaos matrix: offshore instance appears.
#[test]
fn an_offshore_instance_gets_no_call_and_is_drained_and_reported() {
    let appears = mishap(2 * HOUR, 0, Fault::Offshore);
    let ledger = replay(&steady(), &policy(), &[appears]);
    let offshore = ledger
        .done("drain")
        .find(|deed| deed.at > 2 * HOUR)
        .expect("it is drained");
    assert_eq!(offshore.live, 0, "it never had a call");
    assert!(offshore.at < 2 * HOUR + 10 * MINUTE, "{offshore:?}");
    assert!(
        ledger
            .alarms(2 * HOUR, 3 * HOUR)
            .contains(&AlarmKind::Sovereignty)
    );
    assert!(
        ledger
            .brakes(2 * HOUR, 3 * HOUR)
            .contains("sovereignty_violation")
    );
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
}
