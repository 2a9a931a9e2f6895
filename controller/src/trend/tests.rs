//! The trend over any rounds: bounded, in order, no peak lost.

use proptest::prelude::*;

use super::*;
use crate::fleet::{InstanceId, LaunchToken, ZoneId};
use crate::policy::Reason;

fn second(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn need(need: u32, packets: Option<f64>) -> Need {
    let loads = Loads {
        packets,
        ..Loads::default()
    };
    Need {
        need,
        have: need / 2,
        demand: loads,
        capacity: loads.times(2.0),
        ..Need::default()
    }
}

fn tried(act: Act, outcome: Outcome) -> (Action, Outcome) {
    let action = Action {
        act,
        reason: Reason::Load,
        words: String::new(),
    };
    (action, outcome)
}

fn launched(count: u32) -> (Action, Outcome) {
    let act = Act::Launch {
        zone: ZoneId::try_from("az1".to_owned()).unwrap(),
        count,
        token: LaunchToken::try_from("t".to_owned()).unwrap(),
    };
    let instances = Vec::new();
    tried(act, Outcome::Done { instances })
}

fn done() -> Outcome {
    Outcome::Done {
        instances: Vec::new(),
    }
}

fn id(id: &str) -> InstanceId {
    InstanceId::try_from(id).unwrap()
}

proptest! {
    #[test]
    fn a_trend_is_bounded_in_order_and_loses_no_peak(
        rounds in prop::collection::vec((0_u64..200, 0_u32..9, prop::option::of(0.0..1e6), 0_u32..3), 1..2_000)
    ) {
        let mut trend = Trend::default();
        let (mut now, mut seen) = (1, Vec::new());
        for (pause, relays, packets, launches) in rounds {
            now += pause;
            let tried: Vec<_> = (0..launches).map(|_| launched(1)).collect();
            let need = need(relays, packets);
            trend.round(second(now), &Fleet::default(), &need, &tried);
            seen.push((now, need, launches));
        }
        prop_assert!(trend.points().len() <= Trend::MOST_POINTS);
        prop_assert!(trend.marks().len() <= Trend::MOST_MARKS);
        let points: Vec<_> = trend.points().copied().collect();
        prop_assert!(points.is_sorted_by(|a, b| a.at < b.at));
        let first = points[0].at;
        prop_assert!(second(now).saturating_since(first) <= Trend::KEPT);
        // The latest round is the latest point.
        let (at, latest, _) = seen.last().unwrap();
        let last = points.last().unwrap();
        prop_assert_eq!((last.at, last.have, last.capacity), (second(*at), latest.have, latest.capacity));
        // What came after the first point is in one: the greatest of it is the greatest of all points.
        let kept = seen.iter().filter(|(at, _, _)| second(*at) >= first);
        let peak = kept.clone().fold(Loads::default(), |peak, (_, need, _)| peak.greater(need.demand));
        let most = points.iter().fold(Loads::default(), |peak, point| peak.greater(point.demand));
        prop_assert!(most.packets >= peak.packets);
        let need = kept.map(|(_, need, _)| need.need).max().unwrap();
        prop_assert!(points.iter().map(|point| point.need).max().unwrap() >= need);
        // Marks that are not forgotten say how many in all.
        if trend.marks().len() < Trend::MOST_MARKS {
            let shown: u32 = trend.marks().map(|mark| mark.relays).sum();
            let least: u32 = seen
                .iter()
                .filter(|(at, _, _)| second(now).saturating_since(second(*at)) <= Trend::KEPT)
                .map(|(_, _, launches)| launches)
                .sum();
            prop_assert!(shown >= least);
        }
    }
}

#[test]
fn a_trend_stands_for_longer_steps_as_it_grows() {
    let mut trend = Trend::default();
    for round in 0..360 {
        trend.round(
            second(round * 10),
            &Fleet::default(),
            &need(1, Some(1.0)),
            &[],
        );
    }
    assert_eq!((trend.points().len(), trend.step().as_secs()), (360, 1));
    trend.round(second(3_600), &Fleet::default(), &need(7, Some(9.0)), &[]);
    assert_eq!(trend.step().as_secs(), 16);
    let last = trend.points().last().unwrap();
    assert_eq!((last.need, last.demand.packets), (7, Some(9.0)));
    // A day at two seconds a round: six hours are left, in steps of a minute or so.
    for round in 0..43_200 {
        trend.round(
            second(4_000 + round * 2),
            &Fleet::default(),
            &need(1, None),
            &[],
        );
    }
    assert_eq!(trend.step().as_secs(), 64);
    assert!((330..=360).contains(&trend.points().len()));
}

#[test]
fn only_what_was_done_is_marked_and_a_drain_once() {
    let mut trend = Trend::default();
    let mut fleet = Fleet::default();
    let drain = || Act::Drain {
        relay: id("i-1"),
        deadline: taciturn_protocol::time::UnixTime::from_secs(9),
    };
    let rounds = [
        vec![launched(2), tried(drain(), Outcome::DryRun)],
        vec![
            tried(drain(), done()),
            tried(Act::Terminate { relay: id("i-2") }, done()),
        ],
        vec![
            tried(Act::Withhold { relay: id("i-3") }, done()),
            tried(Act::Terminate { relay: id("i-3") }, Outcome::Nothing),
        ],
    ];
    for (number, round) in (1..).zip(&rounds) {
        trend.round(second(number), &fleet, &Need::default(), round);
    }
    // It drains now, and is given another deadline.
    let draining = serde_json::json!({
        "id": "i-1", "zone": "az1", "lifecycle": "in-service", "age": 1.0,
        "report": {
            "boot_id": "b", "sequence": 1, "time": 1, "phase": "draining", "ready": false, "load": {},
            "drain": {"source": "operator", "started": 1, "deadline": 2, "reason": "", "epoch": 1, "allocations_remaining": 1},
        },
    });
    fleet
        .relays
        .insert(id("i-1"), serde_json::from_value(draining).unwrap());
    trend.round(
        second(4),
        &fleet,
        &Need::default(),
        &[tried(drain(), done())],
    );
    trend.round(
        second(5),
        &fleet,
        &Need::default(),
        &[tried(Act::Undrain { relay: id("i-1") }, done())],
    );
    let marks: Vec<_> = trend
        .marks()
        .map(|mark| (mark.at, mark.done.as_str(), mark.relays))
        .collect();
    assert_eq!(
        marks,
        [
            (second(1), "launched", 2),
            (second(2), "drained", 1),
            (second(2), "ended", 1),
            (second(5), "undrained", 1),
        ]
    );
}

/// A clock that stands still, or a caller that is wrong, makes no knot in the picture.
#[test]
fn a_round_that_is_not_later_is_as_late_as_the_one_before() {
    let mut trend = Trend::default();
    trend.round(second(10), &Fleet::default(), &need(3, None), &[]);
    trend.round(second(9), &Fleet::default(), &need(2, None), &[]);
    let points: Vec<_> = trend.points().map(|point| (point.at, point.need)).collect();
    assert_eq!(points, [(second(10), 3)]);
}
