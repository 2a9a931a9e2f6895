use proptest::prelude::*;
use taciturn_protocol::time::UnixTime;

use super::*;

const BEGIN: u64 = 1_790_000_000;

fn at(seconds: u64) -> Now {
    Now {
        instant: Instant::from_nanos(seconds * 1_000_000_000),
        unix: UnixTime::from_secs(BEGIN + seconds),
    }
}

fn terms() -> Terms {
    Terms::default()
}

/// Where the record is kept: what is written on a condition that does not hold is not written.
#[derive(Default)]
struct Store(Option<Record>);

impl Store {
    fn read(&self) -> Option<Seen> {
        self.0.clone().map(|record| Seen {
            version: format!("{record:?}"),
            record,
        })
    }

    fn write(&mut self, expected: Option<&String>, record: &Record) -> Result<String, LeaseError> {
        if self.read().map(|seen| seen.version).as_ref() != expected {
            return Err(LeaseError::Conflict);
        }
        self.0 = Some(record.clone());
        Ok(format!("{record:?}"))
    }
}

/// Carries out what is due at `now`.
fn tend(tenure: &mut Tenure, store: &mut Store, now: Now) {
    for _ in 0..6 {
        match tenure.next(now) {
            Step::Wait(_) => return,
            Step::Read => tenure.read(now.instant, Ok(store.read())),
            Step::Write { expected, record } => {
                let answer = store.write(expected.as_ref(), &record);
                tenure.written(now.instant, now.instant, &record, answer);
            }
        }
    }
    panic!("it does not come to rest");
}

fn holds(tenure: &Tenure, seconds: u64) -> bool {
    tenure.leadership(at(seconds).instant).held
}

#[test]
fn the_first_leads_at_once_in_an_epoch_that_is_the_time() {
    let (mut store, mut a) = (Store::default(), Tenure::new("a".to_owned(), terms()));
    assert!(!holds(&a, 1));
    tend(&mut a, &mut store, at(1));
    let leads = a.leadership(at(1).instant);
    assert_eq!(
        (leads.held, leads.epoch, leads.obstacle),
        (true, BEGIN + 1, None)
    );
    assert!(matches!(a.next(at(1)), Step::Wait(time) if time == Duration::from_secs(10)));
}

#[test]
fn a_standby_takes_over_when_the_record_has_stood_for_ttl() {
    let mut store = Store::default();
    let [mut a, mut b] = ["a", "b"].map(|name| Tenure::new(name.to_owned(), terms()));
    tend(&mut a, &mut store, at(0));
    let mut taken = None;
    for second in 1..100 {
        if second <= 15 {
            tend(&mut a, &mut store, at(second));
        }
        tend(&mut b, &mut store, at(second));
        assert!(!(holds(&a, second) && holds(&b, second)), "{second}");
        if holds(&b, second) && taken.is_none() {
            taken = Some(second);
        }
    }
    // The last renewal was at 10 s, and b looks every 10 s.
    assert!(
        taken.is_some_and(|second| (40..=52).contains(&second)),
        "{taken:?}"
    );
    let leads = b.leadership(at(99).instant);
    assert!(leads.epoch > BEGIN, "{leads:?}");
}

#[test]
fn a_leader_stops_the_longest_operation_before_the_end() {
    let (mut store, mut a) = (Store::default(), Tenure::new("a".to_owned(), terms()));
    tend(&mut a, &mut store, at(0));
    assert!(holds(&a, 19));
    let late = a.leadership(at(20).instant);
    assert!(!late.held && late.obstacle.is_some(), "{late:?}");
    assert_eq!(a.left(at(20).instant), Duration::from_secs(10));
    // Nobody has written: it goes on in the same epoch.
    tend(&mut a, &mut store, at(100));
    let again = a.leadership(at(100).instant);
    assert_eq!((again.held, again.epoch), (true, BEGIN));
}

#[test]
fn who_slept_through_its_lease_finds_another_and_stands_by() {
    let mut store = Store::default();
    let [mut a, mut b] = ["a", "b"].map(|name| Tenure::new(name.to_owned(), terms()));
    tend(&mut a, &mut store, at(0));
    for second in 1..60 {
        tend(&mut b, &mut store, at(second));
    }
    assert!(holds(&b, 59) && !holds(&a, 59));
    tend(&mut a, &mut store, at(60));
    let sleeper = a.leadership(at(60).instant);
    assert!(!sleeper.held && sleeper.obstacle.unwrap().starts_with("b holds the lease"));
    let epoch = b.leadership(at(60).instant).epoch;
    assert!(epoch > BEGIN, "a newer one than the sleeper's: {epoch}");
    // And back again, in a third.
    for second in 61..120 {
        tend(&mut a, &mut store, at(second));
    }
    assert!(a.leadership(at(119).instant).epoch > epoch);
}

#[test]
fn what_is_given_up_is_taken_at_once_in_a_newer_epoch() {
    let mut store = Store::default();
    let [mut a, mut b] = ["a", "b"].map(|name| Tenure::new(name.to_owned(), terms()));
    tend(&mut a, &mut store, at(0));
    tend(&mut b, &mut store, at(5));
    let Some(Step::Write { expected, record }) = a.release() else {
        panic!("it has something to give up");
    };
    assert!(!holds(&a, 5), "it stops before it says so");
    store.write(expected.as_ref(), &record).unwrap();
    tend(&mut a, &mut store, at(20));
    assert!(!holds(&a, 20), "it does not take it again");
    tend(&mut b, &mut store, at(20));
    assert!(b.leadership(at(20).instant).epoch > BEGIN);
    assert_eq!(Tenure::new("c".to_owned(), terms()).release(), None);
}

/// An epoch grows also where the wall clock has gone back.
#[test]
fn an_epoch_grows_whatever_the_wall_clock_says() {
    let mut store = Store(Some(Record {
        holder: String::new(),
        epoch: BEGIN + 1_000_000,
        renewals: 7,
    }));
    let mut a = Tenure::new("a".to_owned(), terms());
    tend(&mut a, &mut store, at(0));
    assert_eq!(a.leadership(at(0).instant).epoch, BEGIN + 1_000_001);
}

#[test]
fn a_store_that_fails_ends_the_leadership_in_time_and_begins_none() {
    let (mut store, mut a) = (Store::default(), Tenure::new("a".to_owned(), terms()));
    tend(&mut a, &mut store, at(0));
    for second in 10..60 {
        let now = at(second);
        match a.next(now) {
            Step::Wait(_) => {}
            Step::Read => a.read(now.instant, Err(LeaseError::Failed("503".to_owned()))),
            Step::Write { record, .. } => {
                let error = LeaseError::Unknown("none".to_owned());
                a.written(now.instant, now.instant, &record, Err(error));
            }
        }
        assert_eq!(holds(&a, second), second < 20, "{second}");
    }
    let mut b = Tenure::new("b".to_owned(), terms());
    b.read(
        at(1).instant,
        Err(LeaseError::Unreadable("nonsense".to_owned())),
    );
    let told = b.leadership(at(1).instant);
    assert!(!told.held && told.obstacle.unwrap().contains("nonsense"));
}

#[test]
fn a_write_without_an_answer_counts_from_when_it_was_asked_for() {
    let (mut store, mut a) = (Store::default(), Tenure::new("a".to_owned(), terms()));
    a.read(at(0).instant, Ok(None));
    let Step::Write { expected, record } = a.next(at(0)) else {
        panic!("it may take it");
    };
    store.write(expected.as_ref(), &record).unwrap();
    let lost = LeaseError::Unknown("cut off".to_owned());
    a.written(at(0).instant, at(9).instant, &record, Err(lost));
    assert!(!holds(&a, 9));
    tend(&mut a, &mut store, at(11));
    assert!(holds(&a, 11));
    // It was renewed at once, so it is the renewal that counts by now.
    assert_eq!(a.left(at(11).instant), Duration::from_secs(30));
}

#[test]
fn terms_that_cannot_hold_are_told() {
    assert_eq!(Terms::default().fault(), None);
    let short = Terms {
        ttl: Duration::from_secs(20),
        ..Terms::default()
    };
    assert!(short.fault().unwrap().contains("make ttl longer"));
    let never = Terms {
        renew: Duration::ZERO,
        ..Terms::default()
    };
    assert!(never.fault().is_some());
}

/// What may happen next in a world with several controllers and one record.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Seconds go by.
    Pass(u64),
    /// This one looks at what is due and asks for it.
    Ask(usize),
    /// What it asked for reaches the store.
    Arrive(usize),
    /// It hears the answer.
    Hear(usize),
    /// The answer is lost; what it asked for may have arrived.
    Lose(usize),
    /// It begins something if it may, to be done at once.
    Act(usize),
    /// It decides to do something if it may, and is stopped before it does.
    Decide(usize),
    /// It goes on and does it, without another look.
    DoLate(usize),
}

fn event(controllers: usize) -> impl Strategy<Value = Event> {
    let who = 0..controllers;
    prop_oneof![
        3 => (1_u64..15).prop_map(Event::Pass),
        5 => who.clone().prop_map(Event::Ask),
        5 => who.clone().prop_map(Event::Arrive),
        5 => who.clone().prop_map(Event::Hear),
        1 => who.clone().prop_map(Event::Lose),
        3 => who.clone().prop_map(Event::Act),
        1 => who.clone().prop_map(Event::Decide),
        1 => who.prop_map(Event::DoLate),
    ]
}

struct Asked {
    step: Step,
    at: Now,
    read: Option<Option<Seen>>,
    written: Option<Result<String, LeaseError>>,
}

/// A relay: the highest epoch that it has obeyed, and by whom each was used.
#[derive(Default)]
struct Relay {
    highest: u64,
    users: std::collections::BTreeMap<u64, usize>,
}

impl Relay {
    fn obeys(&mut self, who: usize, epoch: u64) -> Result<bool, TestCaseError> {
        if epoch < self.highest {
            return Ok(false);
        }
        self.highest = epoch;
        let user = *self.users.entry(epoch).or_insert(who);
        prop_assert_eq!(user, who, "two act in epoch {}", epoch);
        Ok(true)
    }
}

fn play(controllers: usize, events: &[Event]) -> Result<(), TestCaseError> {
    let names = ["a", "b", "c"];
    let mut tenures: Vec<Tenure> = names[..controllers]
        .iter()
        .map(|name| Tenure::new((*name).to_owned(), terms()))
        .collect();
    let mut asked: Vec<Option<Asked>> = (0..controllers).map(|_| None).collect();
    let mut decided: Vec<Option<u64>> = vec![None; controllers];
    let (mut store, mut relay, mut seconds) = (Store::default(), Relay::default(), 1);
    for event in events {
        let now = at(seconds);
        match *event {
            Event::Pass(more) => seconds += more,
            Event::Ask(who) => {
                let step = tenures[who].next(now);
                if asked[who].is_none() && !matches!(step, Step::Wait(_)) {
                    asked[who] = Some(Asked {
                        step,
                        at: now,
                        read: None,
                        written: None,
                    });
                }
            }
            Event::Arrive(who) => {
                if let Some(asked) = &mut asked[who] {
                    match &asked.step {
                        Step::Read => {
                            asked.read.get_or_insert_with(|| store.read());
                        }
                        Step::Write { expected, record } if asked.written.is_none() => {
                            asked.written = Some(store.write(expected.as_ref(), record));
                        }
                        Step::Write { .. } | Step::Wait(_) => {}
                    }
                }
            }
            Event::Hear(who) => {
                let heard =
                    asked[who].take_if(|asked| asked.read.is_some() || asked.written.is_some());
                match heard {
                    Some(Asked {
                        read: Some(seen), ..
                    }) => tenures[who].read(now.instant, Ok(seen)),
                    Some(Asked {
                        step: Step::Write { record, .. },
                        at,
                        written: Some(answer),
                        ..
                    }) => {
                        tenures[who].written(at.instant, now.instant, &record, answer);
                    }
                    Some(_) | None => {}
                }
            }
            Event::Lose(who) => match asked[who].take() {
                Some(Asked {
                    step: Step::Write { record, .. },
                    at,
                    ..
                }) => {
                    let lost = LeaseError::Unknown("lost".to_owned());
                    tenures[who].written(at.instant, now.instant, &record, Err(lost));
                }
                Some(_) => {
                    let lost = LeaseError::Failed("lost".to_owned());
                    tenures[who].read(now.instant, Err(lost));
                }
                None => {}
            },
            Event::Act(who) => {
                let leads = tenures[who].leadership(now.instant);
                if leads.held {
                    let obeyed = relay.obeys(who, leads.epoch)?;
                    prop_assert!(obeyed, "who holds the lease is obeyed");
                }
            }
            Event::Decide(who) => {
                let leads = tenures[who].leadership(now.instant);
                decided[who] = leads.held.then_some(leads.epoch);
            }
            // By then another may lead: the relay obeys or refuses, but never two in one epoch.
            Event::DoLate(who) => {
                if let Some(epoch) = decided[who].take() {
                    relay.obeys(who, epoch)?;
                }
            }
        }
        let now = at(seconds).instant;
        let holders = tenures
            .iter()
            .filter(|one| one.leadership(now).held)
            .count();
        prop_assert!(holders <= 1, "{} hold the lease at {} s", holders, seconds);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Scaling rules, two controllers: never two that hold the lease, and never two that act in one epoch.
    #[test]
    fn two_never_lead_at_once_however_they_are_stopped(events in proptest::collection::vec(event(2), 0..400)) {
        play(2, &events)?;
    }

    #[test]
    fn nor_do_three(events in proptest::collection::vec(event(3), 0..400)) {
        play(3, &events)?;
    }
}

/// The games above are worth something: in most of them somebody leads, and leadership changes hands.
#[test]
fn the_lease_does_change_hands_in_such_a_game() {
    let mut store = Store::default();
    let mut tenures = ["a", "b", "c"].map(|name| Tenure::new(name.to_owned(), terms()));
    let mut epochs = std::collections::BTreeSet::new();
    for second in 0..600_u64 {
        // One after the other sleeps for two minutes.
        let sleeper = usize::try_from(second / 120 % 3).unwrap();
        for (who, tenure) in tenures.iter_mut().enumerate() {
            if who != sleeper {
                tend(tenure, &mut store, at(second));
            }
            if holds(tenure, second) {
                epochs.insert((tenure.leadership(at(second).instant).epoch, who));
            }
        }
    }
    assert!(epochs.len() >= 3, "{epochs:?}");
    let all: Vec<u64> = epochs.iter().map(|(epoch, _)| *epoch).collect();
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
}
