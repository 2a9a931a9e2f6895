//! Which relays are named, over random fleets.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fleet::{Lifecycle, Relay};
use crate::policy::tests::{drains, relay, silence};

/// What may be the matter with a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matter {
    None,
    Drains,
    Silent,
    /// By the provider's word.
    Offshore,
    /// By its own word.
    SaysOffshore,
    Cordoned,
    Withheld,
    NotReady,
    Ended,
    Unlisted,
    New,
}

fn matter() -> impl Strategy<Value = Matter> {
    prop_oneof![
        4 => Just(Matter::None),
        1 => Just(Matter::Drains),
        1 => Just(Matter::Silent),
        1 => Just(Matter::Offshore),
        1 => Just(Matter::SaysOffshore),
        1 => Just(Matter::Cordoned),
        1 => Just(Matter::Withheld),
        1 => Just(Matter::NotReady),
        1 => Just(Matter::Ended),
        1 => Just(Matter::Unlisted),
        1 => Just(Matter::New),
    ]
}

/// A fleet whose first relay is well, so that the others are judged by what is heard of them.
fn fleet(others: &[(Matter, &'static str, f64)]) -> (Fleet, BTreeSet<String>) {
    let mut fleet = calm(0, 0.0);
    let mut well = BTreeSet::from(["r-first".to_owned()]);
    let first = relay("r-first", "a", 10.0);
    fleet.relays.insert(first.id.clone(), first);
    for (number, (matter, place, calls)) in others.iter().enumerate() {
        let name = format!("r{number}");
        let added: Relay = relay(&name, place, *calls);
        fleet.relays.insert(added.id.clone(), added);
        match matter {
            Matter::None => {
                well.insert(name);
            }
            Matter::Drains => drains(&mut fleet, &name, 60, 5),
            Matter::Silent => silence(&mut fleet, &name),
            Matter::Offshore => edit(&mut fleet, &name).zone = zone("akl1"),
            Matter::SaysOffshore => report(&mut fleet, &name).zone_id = Some(zone("akl1")),
            Matter::Cordoned => edit(&mut fleet, &name).cordoned = true,
            Matter::Withheld => {
                // Taken back where relays are missing, which is as good as well.
                edit(&mut fleet, &name).withheld_for = Some(Duration::from_secs(9));
                well.insert(name);
            }
            Matter::NotReady => report(&mut fleet, &name).ready = false,
            Matter::Ended => edit(&mut fleet, &name).lifecycle = Lifecycle::Terminating,
            Matter::Unlisted => edit(&mut fleet, &name).lifecycle = Lifecycle::Unlisted,
            Matter::New => {
                let new = edit(&mut fleet, &name);
                new.report = None;
                new.was_ready = false;
                new.age = Duration::from_secs(20);
            }
        }
    }
    (fleet, well)
}

fn others() -> impl Strategy<Value = Vec<(Matter, &'static str, f64)>> {
    let place = prop_oneof![Just("a"), Just("b"), Just("c")];
    proptest::collection::vec((matter(), place, 0.0..120.0_f64), 0..14)
}

fn hint() -> impl Strategy<Value = Hint> {
    let place = || proptest::option::of(prop_oneof![Just("a"), Just("c"), Just("apse2"), Just("")]);
    (place(), place()).prop_map(|(region, zone)| Hint {
        region: region.map(str::to_owned),
        zone: zone.map(str::to_owned),
    })
}

proptest! {
    /// Sovereignty, and scaling rules, credentials: whatever becomes of a fleet, only relays that serve, are heard of and are
    /// in an allowed zone are named; two zones as soon as two have one.
    #[test]
    fn only_relays_that_may_be_named_are_named_and_in_different_zones(
        others in others(), wanted in 0..6_usize, hint in hint(), seed in any::<u64>(),
    ) {
        let (fleet, well) = fleet(&others);
        let offer = offer(fleet);
        let chosen = choose(&offer, wanted, &hint, &mut random(seed));
        for relay in &chosen {
            prop_assert!(well.contains(relay.id.as_str()), "{} is named", relay.id);
            prop_assert!(!relay.urls.is_empty());
        }
        let ids: BTreeSet<_> = chosen.iter().map(|relay| &relay.id).collect();
        prop_assert_eq!(ids.len(), chosen.len(), "one relay twice");
        prop_assert_eq!(chosen.len(), wanted.min(offer.candidates().len()));
        let zones = |relays: &[&Arc<Candidate>]| -> usize {
            relays.iter().map(|relay| &relay.zone).collect::<BTreeSet<_>>().len()
        };
        let all: Vec<&Arc<Candidate>> = offer.candidates().iter().collect();
        prop_assert_eq!(zones(&chosen), wanted.min(zones(&all)));
    }

    /// The order in which relays are known says nothing.
    #[test]
    fn the_order_of_candidates_changes_no_choice(
        shuffled in Just((0..9_usize).collect::<Vec<_>>()).prop_shuffle(),
        wanted in 1..5_usize, seed in any::<u64>(), hint in hint(),
    ) {
        let zones = ["a", "b", "c"];
        let of = |order: &[usize]| {
            let names: Vec<String> = order.iter().map(|number| format!("r{number}")).collect();
            let all: Vec<(&str, &str, f64)> = order
                .iter()
                .zip(&names)
                .map(|(number, name)| (name.as_str(), zones[number % 3], [0.1, 1.0, 0.4][number / 3]))
                .collect();
            let offer = candidates(&all);
            let chosen = choose(&offer, wanted, &hint, &mut random(seed));
            chosen.iter().map(|relay| relay.id.to_string()).collect::<Vec<_>>()
        };
        let plain: Vec<usize> = (0..9).collect();
        prop_assert_eq!(of(&shuffled), of(&plain));
    }

    /// Weights that make no sense choose nobody twice and nobody's call.
    #[test]
    fn absurd_weights_do_no_harm(
        weights in proptest::collection::vec(prop_oneof![
            Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(0.0), Just(f64::MAX), 0.0..2.0_f64
        ], 0..8),
        wanted in 0..5_usize, seed in any::<u64>(),
    ) {
        let names: Vec<String> = (0..weights.len()).map(|number| format!("r{number}")).collect();
        let all: Vec<_> = names.iter().zip(&weights).map(|(name, weight)| (name.as_str(), "a", *weight)).collect();
        let offer = candidates(&all);
        prop_assert_eq!(choose(&offer, wanted, &Hint::default(), &mut random(seed)).len(), wanted.min(weights.len()));
    }
}

fn shares(offer: &Offer, draws: u32, give: bool) -> BTreeMap<String, f64> {
    let mut random = random(7);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..draws {
        for relay in choose(offer, 1, &Hint::default(), &mut random) {
            *counts.entry(relay.id.to_string()).or_default() += 1;
            if give {
                relay.give();
            }
        }
    }
    let share = |(id, count): (String, u32)| (id, f64::from(count) / f64::from(draws));
    counts.into_iter().map(share).collect()
}

#[test]
fn shares_follow_what_is_free() {
    let all = [("r0", "a", 0.1), ("r1", "b", 0.3), ("r2", "b", 0.6)];
    for (give, draws, off) in [(false, 40_000, 0.02), (true, 1_000, 0.02)] {
        let shares = shares(&candidates(&all), draws, give);
        for (name, _, weight) in all {
            let share = shares[name];
            assert!((share - weight).abs() < off, "{name}: {share}, {give}");
        }
    }
}

/// Between two rounds nobody sees what is handed out: a relay that is empty gets its share, not everybody.
#[test]
fn what_was_handed_out_since_the_round_counts() {
    let offer = candidates(&[("r0", "a", 1.0), ("r1", "b", 1.0)]);
    for _ in 0..50 {
        offer.candidates()[0].give();
    }
    let shares = shares(&offer, 1_000, false);
    // Drawn alone, twice: a quarter.
    assert!((0.2..0.3).contains(&shares["r0"]), "{shares:?}");
}

#[test]
fn what_is_free_is_what_the_fullest_dimension_leaves() {
    let mut fleet = calm(4, 0.0);
    for (name, calls) in [("r0", 20.0), ("r1", 80.0), ("r2", 500.0), ("r3", 20.0)] {
        report(&mut fleet, name).load.allocations = Some(calls);
    }
    report(&mut fleet, "r3").full_now = true;
    let offer = offer(fleet);
    let weights: Vec<f64> = offer
        .candidates()
        .iter()
        .map(|relay| relay.weight)
        .collect();
    for (weight, wanted) in weights.iter().zip([0.8, 0.2, 0.02, 0.02]) {
        assert!((weight - wanted).abs() < 1e-9, "{weights:?}");
    }
}

/// A new relay looks empty for longer than it is.
#[test]
fn a_new_relay_gets_its_share_little_by_little() {
    let mut warmth = Warmth::default();
    let weight = |offer: &Offer, name: &str| {
        let mut candidates = offer.candidates().iter();
        candidates
            .find(|relay| relay.id == id(name))
            .unwrap()
            .weight
    };
    let first = round(calm(3, 40.0), policy(), NOW);
    warmth.note(&first);
    let offer = Offer::of(&first, &host(), &warmth);
    let full = weight(&offer, "r0");
    assert!(
        (full - 0.6).abs() < 1e-9,
        "what was there before is not new"
    );
    for (seconds, share) in [(10, 0.1), (70, 0.55), (130, 1.0), (500, 1.0)] {
        let next = round(calm(4, 40.0), policy(), later(seconds));
        warmth.note(&next);
        let offer = Offer::of(&next, &host(), &warmth);
        let part = weight(&offer, "r3") / full;
        assert!((part - share).abs() < 1e-9, "{seconds} s: {part}");
        assert!((weight(&offer, "r0") - full).abs() < 1e-9);
    }
    // One that was away begins again.
    warmth.note(&round(calm(3, 40.0), policy(), later(510)));
    let back = round(calm(4, 40.0), policy(), later(520));
    warmth.note(&back);
    assert!(weight(&Offer::of(&back, &host(), &warmth), "r3") < 0.1);
}

#[test]
fn the_nearest_come_first_and_zones_differ_all_the_same() {
    let offer = candidates(&[
        ("melbourne-1", "apse4-az1", 1.0),
        ("melbourne-2", "apse4-az2", 1.0),
        ("perth", "apse2-per1-az1", 0.01),
        ("sydney-1", "apse2-az1", 0.01),
        ("sydney-2", "apse2-az1", 0.01),
        ("sydney-3", "apse2-az3", 0.01),
    ]);
    let hint = |region: Option<&str>, zone: Option<&str>| Hint {
        region: region.map(str::to_owned),
        zone: zone.map(str::to_owned),
    };
    for seed in 0..50 {
        let zones = |hint: &Hint, wanted: usize| -> Vec<String> {
            choose(&offer, wanted, hint, &mut random(seed))
                .iter()
                .map(|relay| relay.zone.to_string())
                .collect()
        };
        for region in ["ap-southeast-4", "apse4"] {
            let mut both = zones(&hint(Some(region), None), 2);
            both.sort();
            assert_eq!(both, ["apse4-az1", "apse4-az2"]);
        }
        let near = zones(&hint(None, Some("apse2-az3")), 2);
        assert_eq!(near[0], "apse2-az3");
        assert!(
            near[1] == "apse2-az1" || near[1] == "apse2-per1-az1",
            "{near:?}"
        );
        // The zone's other relay comes after a zone of elsewhere, and is named before it.
        let four = zones(&hint(Some("apse4"), None), 4);
        assert!(
            four[..2].iter().all(|zone| zone.starts_with("apse4")),
            "{four:?}"
        );
        assert!(
            four[2..].iter().all(|zone| zone.starts_with("apse2")),
            "{four:?}"
        );
        assert_eq!(
            zones(&hint(Some("eu-central-1"), Some("nowhere")), 2).len(),
            2
        );
    }
}

#[test]
fn where_there_are_fewer_there_are_fewer() {
    let none = candidates(&[]);
    assert!(choose(&none, 2, &Hint::default(), &mut random(1)).is_empty());
    let one_zone = candidates(&[("r0", "a", 1.0), ("r1", "a", 1.0)]);
    for wanted in 0..5 {
        let chosen = choose(&one_zone, wanted, &Hint::default(), &mut random(1));
        assert_eq!(chosen.len(), wanted.min(2));
    }
}

/// A relay that does not say where it is reached cannot be named.
#[test]
fn a_relay_without_an_address_is_left_out() {
    let mut latest = round(calm(3, 10.0), policy(), NOW);
    let relays = &mut latest.snapshot.fleet.relays;
    let silent = relays.get_mut(&id("r1")).unwrap().report.as_mut().unwrap();
    silent.endpoints = Endpoints::default();
    let offer = Offer::of(&latest, &host(), &Warmth::default());
    let ids: Vec<&str> = offer
        .candidates()
        .iter()
        .map(|relay| relay.id.as_str())
        .collect();
    assert_eq!(ids, ["r0", "r2"]);
}
