use taciturn_protocol::status::Phase;
use taciturn_protocol::time::UnixTime;

use super::*;
use crate::fleet::{DrainReport, LaunchToken, NameError, Relay};
use crate::policy::{Act, Action, Outcome, Plan, Policy, Reason};

fn at(seconds: u64) -> Now {
    Now {
        instant: Instant::from_nanos(seconds * 1_000_000_000),
        unix: UnixTime::from_secs(1_790_000_000 + seconds),
    }
}

fn id(name: &str) -> InstanceId {
    InstanceId::try_from(name).unwrap()
}

fn zone(name: &str) -> Result<ZoneId, NameError> {
    ZoneId::try_from(name)
}

fn instance(name: &str) -> Instance {
    let last = u8::try_from(name.len() + usize::from(name.as_bytes()[name.len() - 1])).unwrap();
    Instance {
        id: id(name),
        zone: zone("z-1").unwrap(),
        lifecycle: Lifecycle::InService,
        instance_type: String::new(),
        image: "v1".to_owned(),
        age: None,
        admin: Some(SocketAddr::from(([127, 0, 1, last], 9641))),
        unhealthy: false,
    }
}

fn listing(names: &[&str]) -> Listing {
    Listing {
        complete: true,
        instances: names.iter().map(|name| instance(name)).collect(),
        ..Listing::default()
    }
}

fn report(boot: &str, sequence: u64) -> Report {
    Report {
        boot_id: boot.to_owned(),
        sequence,
        phase: Phase::Ready,
        ready: true,
        ..Report::default()
    }
}

fn only(picture: &Picture, now: Now) -> Relay {
    let fleet = picture.fleet(now);
    assert_eq!(fleet.relays.len(), 1, "{:?}", fleet.relays);
    fleet.relays.into_values().next().unwrap()
}

fn ids(picture: &Picture, now: Now) -> Vec<String> {
    let fleet = picture.fleet(now);
    let present = fleet.relays.values();
    present
        .filter(|relay| {
            !matches!(
                relay.lifecycle,
                Lifecycle::Unlisted | Lifecycle::Terminating
            )
        })
        .map(|relay| relay.id.to_string())
        .collect()
}

fn remember(picture: &mut Picture, now: Now, outcomes: &[(Act, Outcome)]) {
    let outcomes: Vec<(Action, Outcome)> = outcomes
        .iter()
        .map(|(act, outcome)| {
            let action = Action {
                act: act.clone(),
                reason: Reason::Surplus,
                words: String::new(),
            };
            (action, outcome.clone())
        })
        .collect();
    let fleet = picture.fleet(now);
    picture.remember(now, &fleet, &Plan::default(), &outcomes, &Policy::default());
}

fn done() -> Outcome {
    Outcome::Done {
        instances: Vec::new(),
    }
}

/// Scaling rules, staleness: HTTP 200 with a sample that stands still is not fresh.
#[test]
fn a_relay_is_as_fresh_as_its_own_samples_are() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a"])));
    assert_eq!(only(&picture, at(5)).report_age, None);
    picture.status(at(10), &id("a"), Ok(report("boot", 7)));
    picture.status(at(20), &id("a"), Ok(report("boot", 7)));
    let relay = only(&picture, at(30));
    assert_eq!(relay.report_age, Some(Duration::from_secs(20)));
    assert_eq!(relay.samples, 1);
    assert!(picture.is_silent(&id("a")));
    picture.status(at(30), &id("a"), Ok(report("boot", 8)));
    let relay = only(&picture, at(30));
    assert_eq!((relay.report_age, relay.samples), (Some(Duration::ZERO), 2));
    assert!(!picture.is_silent(&id("a")));
}

#[test]
fn an_answer_that_was_overtaken_is_passed_over() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a"])));
    picture.status(at(1), &id("a"), Ok(report("boot", 9)));
    let mut late = report("boot", 8);
    late.ready = false;
    picture.status(at(2), &id("a"), Ok(late));
    let relay = only(&picture, at(2));
    assert!(relay.report.unwrap().ready);
    assert_eq!(relay.report_age, Some(Duration::from_secs(1)));
}

#[test]
fn another_boot_is_another_run_with_samples_of_its_own() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a"])));
    for sequence in 100..105 {
        picture.status(at(sequence), &id("a"), Ok(report("first", sequence)));
    }
    assert_eq!(only(&picture, at(105)).samples, 5);
    let mut young = report("second", 1);
    young.ready = false;
    young.phase = Phase::Launching;
    picture.status(at(106), &id("a"), Ok(young));
    let relay = only(&picture, at(106));
    assert_eq!((relay.samples, relay.report_age), (1, Some(Duration::ZERO)));
    assert!(relay.was_ready, "this instance has served before");
}

#[test]
fn one_that_drains_or_carries_calls_was_ready_before() {
    for change in [
        |report: &mut Report| report.phase = Phase::Draining,
        |report: &mut Report| report.load.allocations = Some(3.0),
    ] {
        let mut picture = Picture::new(at(0));
        picture.listing(at(0), Ok(listing(&["a"])));
        let mut first = report("boot", 1);
        (first.ready, first.phase) = (false, Phase::Launching);
        picture.status(at(0), &id("a"), Ok(first.clone()));
        assert!(!only(&picture, at(0)).was_ready);
        first.sequence = 2;
        change(&mut first);
        picture.status(at(1), &id("a"), Ok(first));
        assert!(only(&picture, at(1)).was_ready);
    }
}

/// Scaling rules, freeze: a list that fails, or is not complete, is not an empty one.
#[test]
fn a_list_in_doubt_adds_and_takes_nothing_away() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a", "b"])));
    picture.listing(at(10), Err(ProviderError::Failed("500".to_owned())));
    assert_eq!(ids(&picture, at(10)), ["a", "b"]);
    let fault = picture.fleet(at(10)).listing.fault.unwrap();
    assert!(fault.contains("500"), "{fault}");
    let mut part = listing(&["c"]);
    part.complete = false;
    picture.listing(at(20), Ok(part));
    assert_eq!(ids(&picture, at(20)), ["a", "b", "c"]);
    let state = picture.fleet(at(20)).listing;
    assert!(state.fault.is_some());
    assert_eq!(state.complete_for, Some(Duration::from_secs(20)));
    picture.listing(at(30), Ok(listing(&["a", "b", "c"])));
    let state = picture.fleet(at(30)).listing;
    assert_eq!(
        (state.fault, state.complete_for),
        (None, Some(Duration::ZERO))
    );
}

#[test]
fn a_list_that_shrinks_by_more_than_half_is_believed_the_third_time() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a", "b", "c", "d"])));
    for round in 1..3 {
        picture.listing(at(10 * round), Ok(listing(&["a"])));
        assert!(picture.fleet(at(10 * round)).listing.fault.is_some());
        assert_eq!(ids(&picture, at(10 * round)), ["a", "b", "c", "d"]);
    }
    picture.listing(at(30), Ok(listing(&["a"])));
    assert_eq!(picture.fleet(at(30)).listing.fault, None);
    assert_eq!(ids(&picture, at(30)), ["a"]);

    // Half is a zone that went, or two that were ended by hand.
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a", "b", "c", "d"])));
    picture.listing(at(10), Ok(listing(&["a", "b"])));
    assert_eq!(ids(&picture, at(10)), ["a", "b"]);
}

/// Scaling rules, chaos: a list that is empty while the relays answer is wrong, however often it comes.
#[test]
fn a_list_that_lacks_relays_which_answer_is_never_believed() {
    let mut picture = Picture::new(at(0));
    let names = ["a", "b", "c"];
    picture.listing(at(0), Ok(listing(&names)));
    for round in 1..8 {
        for name in names {
            picture.status(at(10 * round), &id(name), Ok(report("one", round)));
        }
        picture.listing(at(10 * round + 1), Ok(listing(&[])));
        let fault = picture.fleet(at(10 * round + 1)).listing.fault;
        assert!(fault.is_some_and(|words| words.contains("3 of these answer")));
        assert_eq!(ids(&picture, at(10 * round + 1)), names);
    }
    // When they fall silent too, it was right.
    for round in 8..11 {
        for name in names {
            picture.status(at(10 * round), &id(name), Err("no answer".to_owned()));
        }
        picture.listing(at(10 * round + 1), Ok(listing(&[])));
    }
    assert_eq!(picture.fleet(at(101)).listing.fault, None);
}

#[test]
fn a_slip_between_good_lists_is_forgotten() {
    let mut picture = Picture::new(at(0));
    for round in 0..6 {
        let good = round % 2 == 0;
        let names: &[&str] = if good { &["a", "b", "c"] } else { &[] };
        picture.listing(at(round), Ok(listing(names)));
        assert_eq!(ids(&picture, at(round)), ["a", "b", "c"]);
        assert_eq!(picture.fleet(at(round)).listing.fault.is_none(), good);
    }
}

#[test]
fn what_was_ended_may_be_missing() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a", "b", "c"])));
    let ended = ["a", "b"].map(|name| (Act::Terminate { relay: id(name) }, done()));
    remember(&mut picture, at(1), &ended);
    picture.listing(at(10), Ok(listing(&["c"])));
    assert_eq!(picture.fleet(at(10)).listing.fault, None);
    assert_eq!(ids(&picture, at(10)), ["c"]);
}

#[test]
fn lists_of_another_thing_and_contradictory_ones_are_refused_whole() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a"])));
    picture.listing(at(1), Ok(listing(&["b", "b"])));
    assert_eq!(ids(&picture, at(1)), ["a"]);
    assert!(
        picture
            .fleet(at(1))
            .listing
            .fault
            .unwrap()
            .contains("twice")
    );
    let many = (0..=MOST_INSTANCES).map(|number| instance(&format!("m{number}")));
    let huge = Listing {
        complete: true,
        instances: many.collect(),
        ..Listing::default()
    };
    picture.listing(at(2), Ok(huge));
    assert_eq!(ids(&picture, at(2)), ["a"]);
}

#[test]
fn one_that_is_not_listed_is_kept_while_it_answers_and_for_a_while() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a", "b", "c"])));
    picture.status(at(1), &id("a"), Ok(report("boot", 1)));
    picture.listing(at(10), Ok(listing(&["b", "c"])));
    let gone = |picture: &Picture, now| {
        let fleet = picture.fleet(now);
        fleet.relays.get(&id("a")).map(|relay| relay.lifecycle)
    };
    assert_eq!(
        gone(&picture, at(10)),
        Some(Lifecycle::Terminating),
        "most that vanish are ending"
    );
    picture.status(at(500), &id("a"), Ok(report("boot", 2)));
    picture.listing(at(1000), Ok(listing(&["b", "c"])));
    assert_eq!(gone(&picture, at(1000)), Some(Lifecycle::Unlisted));
    picture.listing(at(1101), Ok(listing(&["b", "c"])));
    assert_eq!(gone(&picture, at(1101)), None);
}

#[test]
fn an_address_that_is_used_again_belongs_to_the_new_relay() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a", "b", "c"])));
    picture.listing(at(10), Ok(listing(&["b", "c"])));
    let mut next = listing(&["b", "c", "d"]);
    let address = instance("a").admin;
    next.instances[2].admin = address;
    picture.listing(at(20), Ok(next));
    let fleet = picture.fleet(at(20));
    assert_eq!(fleet.relays[&id("a")].admin, None);
    assert_eq!(fleet.relays[&id("d")].admin, address);
}

#[test]
fn a_launch_counts_before_the_list_shows_it_and_not_for_ever() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a", "b"])));
    let launch = Act::Launch {
        zone: zone("z-2").unwrap(),
        count: 1,
        token: LaunchToken::try_from("t-1").unwrap(),
    };
    let outcome = Outcome::Done {
        instances: vec![id("n")],
    };
    remember(&mut picture, at(1), &[(launch, outcome)]);
    picture.listing(at(10), Ok(listing(&["a", "b"])));
    let fleet = picture.fleet(at(10));
    let new = &fleet.relays[&id("n")];
    assert_eq!(new.lifecycle, Lifecycle::Pending);
    assert_eq!(new.zone.as_str(), "z-2");
    assert_eq!(new.age, Duration::from_secs(9));
    picture.listing(at(200), Ok(listing(&["a", "b"])));
    assert_eq!(ids(&picture, at(200)), ["a", "b"]);
}

#[test]
fn an_end_that_nobody_confirmed_may_be_asked_for_again_and_a_confirmed_one_never() {
    for (outcome, again) in [
        (done(), false),
        (Outcome::Nothing, false),
        (
            Outcome::Unknown {
                words: String::new(),
            },
            true,
        ),
    ] {
        let mut picture = Picture::new(at(0));
        picture.listing(at(0), Ok(listing(&["a"])));
        remember(
            &mut picture,
            at(1),
            &[(Act::Terminate { relay: id("a") }, outcome)],
        );
        picture.listing(at(60), Ok(listing(&["a"])));
        assert!(only(&picture, at(60)).terminate_asked);
        picture.listing(at(600), Ok(listing(&["a"])));
        assert_eq!(only(&picture, at(600)).terminate_asked, !again);
    }
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a"])));
    let refused = Outcome::Failed {
        words: String::new(),
    };
    remember(
        &mut picture,
        at(1),
        &[(Act::Terminate { relay: id("a") }, refused)],
    );
    assert!(!only(&picture, at(1)).terminate_asked);
}

#[test]
fn the_first_step_of_a_drain_is_timed_and_taken_back() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a"])));
    let withhold = (Act::Withhold { relay: id("a") }, done());
    remember(&mut picture, at(10), std::slice::from_ref(&withhold));
    remember(&mut picture, at(20), &[withhold]);
    assert_eq!(
        only(&picture, at(25)).withheld_for,
        Some(Duration::from_secs(15))
    );
    remember(
        &mut picture,
        at(30),
        &[(Act::Restore { relay: id("a") }, done())],
    );
    assert_eq!(only(&picture, at(30)).withheld_for, None);
    remember(
        &mut picture,
        at(40),
        &[(Act::Withhold { relay: id("a") }, Outcome::DryRun)],
    );
    assert_eq!(only(&picture, at(40)).withheld_for, None);
}

#[test]
fn a_newer_epoch_is_seen_in_a_refusal_and_in_a_status() {
    let leads = |epoch| Leadership {
        held: true,
        epoch,
        obstacle: None,
    };
    let mut picture = Picture::new(at(0));
    picture.leadership(leads(5));
    picture.listing(at(0), Ok(listing(&["a"])));
    let mut told = report("boot", 1);
    told.epoch = 5;
    picture.status(at(1), &id("a"), Ok(told.clone()));
    assert_eq!(only(&picture, at(1)).newer_epoch, None);
    let refused = (
        Act::Undrain { relay: id("a") },
        Outcome::OlderEpoch { seen: 7 },
    );
    remember(&mut picture, at(2), &[refused]);
    assert_eq!(only(&picture, at(2)).newer_epoch, Some(7));
    (told.epoch, told.sequence) = (9, 2);
    picture.status(at(3), &id("a"), Ok(told));
    assert_eq!(only(&picture, at(3)).newer_epoch, Some(9));
    picture.leadership(leads(9));
    assert_eq!(only(&picture, at(3)).newer_epoch, None);
}

/// Scaling rules, freeze: a wall clock that jumped brings no deadline nearer, and people are told for a while.
#[test]
fn a_jump_of_the_wall_clock_is_seen_in_both_directions_and_held() {
    for hours in [-1_i64, 1] {
        let mut picture = Picture::new(at(0));
        assert_eq!(picture.fleet(at(0)).clock_jump, None);
        remember(&mut picture, at(0), &[]);
        let moved = |seconds: u64| {
            let now = at(seconds);
            let unix = now.unix.as_secs().saturating_add_signed(hours * 3600);
            Now {
                unix: UnixTime::from_secs(unix),
                ..now
            }
        };
        let jump = |picture: &Picture, now| picture.fleet(now).clock_jump.unwrap().as_secs();
        assert_eq!(jump(&picture, at(10)), 0);
        assert_eq!(jump(&picture, moved(10)), 3600);
        remember(&mut picture, moved(10), &[]);
        remember(&mut picture, moved(20), &[]);
        assert_eq!(jump(&picture, moved(30)), 3600);
        for second in 3..70 {
            remember(&mut picture, moved(10 * second), &[]);
        }
        assert_eq!(jump(&picture, moved(700)), 0);
    }
}

#[test]
fn ages_are_the_providers_or_this_controllers_whichever_is_greater() {
    let mut picture = Picture::new(at(0));
    let mut first = listing(&["a"]);
    first.instances[0].age = Some(Duration::from_secs(3600));
    picture.listing(at(10), Ok(first));
    assert_eq!(only(&picture, at(30)).age, Duration::from_secs(3620));
    let mut picture = Picture::new(at(0));
    picture.listing(at(10), Ok(listing(&["a"])));
    assert_eq!(only(&picture, at(30)).age, Duration::from_secs(20));
}

#[test]
fn an_operators_mark_lasts_and_needs_a_relay() {
    let mut picture = Picture::new(at(0));
    assert!(!picture.mark(&id("a"), Mark::Keep));
    picture.listing(at(0), Ok(listing(&["a"])));
    for (mark, cordoned, keep) in [
        (Mark::Keep, false, true),
        (Mark::Cordon, true, true),
        (Mark::Release, true, false),
        (Mark::Uncordon, false, false),
    ] {
        assert!(picture.mark(&id("a"), mark));
        picture.listing(at(1), Ok(listing(&["a"])));
        let relay = only(&picture, at(1));
        assert_eq!((relay.cordoned, relay.keep), (cordoned, keep), "{mark:?}");
    }
}

#[test]
fn a_token_that_the_provider_knows_is_not_asked_again() {
    let mut picture = Picture::new(at(0));
    let token = LaunchToken::try_from("t-1").unwrap();
    let waiting = crate::fleet::Unconfirmed {
        at: at(0).instant,
        token: token.clone(),
        zone: zone("z-1").unwrap(),
        count: 1,
        tries: 1,
    };
    picture.history.unconfirmed.push(waiting);
    let mut shown = listing(&["n"]);
    shown.launched.insert(token, vec![id("n")]);
    picture.listing(at(1), Ok(shown));
    assert!(picture.fleet(at(1)).history.unconfirmed.is_empty());
}

#[test]
fn a_drain_that_was_there_before_is_adopted_as_it_is() {
    let mut picture = Picture::new(at(0));
    picture.listing(at(0), Ok(listing(&["a"])));
    let mut draining = report("boot", 1);
    (draining.ready, draining.phase) = (false, Phase::Draining);
    draining.drain = Some(DrainReport {
        deadline: UnixTime::from_secs(1_790_005_400),
        epoch: 3,
        ..DrainReport::default()
    });
    picture.status(at(1), &id("a"), Ok(draining.clone()));
    let relay = only(&picture, at(1));
    assert_eq!(relay.report.unwrap().drain, draining.drain);
    assert!(relay.was_ready);
}

proptest::proptest! {
    /// Scaling rules, staleness: samples that do not come never make a relay younger, and no order of answers panics.
    #[test]
    fn whatever_comes_in_whatever_order_ages_only_grow_without_samples(
        events in proptest::collection::vec((0_u8..6, 0_u8..4, 0_u64..40), 0..80)
    ) {
        let names = ["a", "b", "c", "d"];
        let mut picture = Picture::new(at(0));
        for (step, (kind, which, number)) in events.iter().enumerate() {
            let now = at(u64::try_from(step).unwrap() * 7);
            let name = names[usize::from(*which)];
            let before = picture.fleet(now);
            match kind {
                0 => picture.listing(now, Ok(listing(&names[..usize::from(*which) + 1]))),
                1 => picture.listing(now, Err(ProviderError::Unknown(String::new()))),
                2 => picture.status(now, &id(name), Ok(report("one", *number))),
                3 => picture.status(now, &id(name), Err("none".to_owned())),
                4 => picture.stun(now, &id(name), number % 2 == 0),
                _ => remember(&mut picture, now, &[(Act::Terminate { relay: id(name) }, done())]),
            }
            let after = picture.fleet(now);
            for (one, relay) in &after.relays {
                let Some(was) = before.relays.get(one) else { continue };
                let sampled = relay.report.as_ref().map(|now| now.sequence) > was.report.as_ref().map(|was| was.sequence);
                proptest::prop_assert!(sampled || relay.report_age == was.report_age);
                proptest::prop_assert!(!was.terminate_asked || relay.terminate_asked);
            }
            if *kind == 1 {
                proptest::prop_assert_eq!(before.relays, after.relays);
            }
        }
    }
}
