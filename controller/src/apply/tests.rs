//! The last look before an end, case by case. Whole plans are carried out in the tests of `reconcile`.

use std::net::SocketAddr;
use std::time::Duration;

use taciturn_protocol::status::Phase;
use taciturn_protocol::time::UnixTime;

use super::end::{LastLook, listed, may_end};
use crate::fleet::{DrainReport, InstanceId, Lifecycle, Loads, Relay, Report, ZoneId};
use crate::observe::RelayError;
use crate::policy::{Outcome, Reason};
use crate::provider::{Instance, Listing, ProviderError};

const NOW: u64 = 1_790_000_000;

fn relay(report: Option<Report>) -> Relay {
    Relay {
        id: InstanceId::try_from("a").unwrap(),
        zone: ZoneId::try_from("z-1").unwrap(),
        instance_type: String::new(),
        image: String::new(),
        lifecycle: Lifecycle::InService,
        age: Duration::from_secs(3600),
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 9641))),
        report,
        report_age: None,
        samples: 5,
        was_ready: true,
        answers_stun: None,
        unhealthy: false,
        cordoned: false,
        keep: false,
        withheld_for: None,
        terminate_asked: false,
        newer_epoch: None,
    }
}

/// A relay that drains, with so many allocations and so long until its deadline.
fn draining(allocations: u64, left: i64) -> Report {
    Report {
        boot_id: "b".to_owned(),
        time: UnixTime::from_secs(NOW),
        phase: Phase::Draining,
        load: Loads {
            allocations: Some(f64::from(u32::try_from(allocations).unwrap())),
            ..Loads::default()
        },
        drain: Some(DrainReport {
            deadline: UnixTime::from_secs(NOW.saturating_add_signed(left)),
            allocations_remaining: allocations,
            ..DrainReport::default()
        }),
        ..Report::default()
    }
}

fn serving(allocations: Option<f64>, ready: bool) -> Report {
    Report {
        ready,
        drain: None,
        load: Loads {
            allocations,
            ..Loads::default()
        },
        ..draining(0, 0)
    }
}

struct Case {
    last: Option<Report>,
    status: Result<Report, RelayError>,
    stun: Option<bool>,
    reason: Reason,
    ends_anyway: bool,
    ordered: Option<u64>,
    end_idle: bool,
}

impl Case {
    fn says(report: Report) -> Self {
        Self {
            last: Some(report.clone()),
            status: Ok(report),
            ..Self::silent(None)
        }
    }

    fn silent(last: Option<Report>) -> Self {
        Self {
            last,
            status: Err(RelayError::Unreachable("no route".to_owned())),
            stun: Some(false),
            reason: Reason::Unfinished,
            ends_anyway: false,
            ordered: None,
            end_idle: false,
        }
    }

    fn judged(&self) -> Result<(), String> {
        may_end(&LastLook {
            relay: &relay(self.last.clone()),
            status: &self.status,
            stun: self.stun,
            reason: self.reason,
            ends_anyway: self.ends_anyway,
            ordered: self.ordered.map(UnixTime::from_secs),
            end_idle: self.end_idle,
            now: UnixTime::from_secs(NOW),
        })
    }

    fn may(&self) -> bool {
        self.judged().is_ok()
    }
}

/// Scaling rules, drain: an end needs the relay's own word that it is empty, or a deadline that has passed.
#[test]
fn a_relay_that_answers_ends_when_it_is_empty_or_at_its_deadline() {
    assert!(Case::says(draining(0, 900)).may());
    assert!(Case::says(draining(3, 0)).may());
    let why = Case::says(draining(3, 900)).judged().unwrap_err();
    assert_eq!(
        why,
        "its drain has 3 allocations left and a deadline in 900 s"
    );
    assert!(
        !Case::says(serving(Some(0.0), true)).may(),
        "its drain was taken back"
    );
    assert!(!Case::says(serving(Some(2.0), false)).may());
    assert!(
        !Case::says(serving(None, false)).may(),
        "what is not known is not zero"
    );
    assert!(
        Case::says(serving(Some(0.0), false)).may(),
        "it was never ready"
    );
}

#[test]
fn a_call_that_came_since_the_plan_was_made_is_seen() {
    let mut late = Case::says(draining(1, 900));
    late.last = Some(draining(0, 900));
    assert!(!late.may());
    // The sample is a second old, the count of the drain is not.
    let mut report = draining(1, 900);
    report.load.allocations = Some(0.0);
    assert!(!Case::says(report).may());
}

#[test]
fn one_clock_that_jumped_brings_no_deadline_nearer() {
    let mut report = draining(3, 900);
    report.time = UnixTime::from_secs(NOW + 3600);
    assert!(!Case::says(report).may(), "the relay's clock is ahead");
    let mut report = draining(3, -900);
    report.time = UnixTime::from_secs(NOW - 3600);
    assert!(
        !Case::says(report).may(),
        "this controller's clock is ahead"
    );
}

#[test]
fn allocations_that_carry_nothing_end_a_drain_only_where_that_is_wanted() {
    let mut report = draining(3, 900);
    report.drain.as_mut().unwrap().idle_allocations = 3;
    let mut case = Case::says(report);
    assert!(!case.may());
    case.end_idle = true;
    assert!(case.may());
}

/// Scaling rules: silence is not death.
#[test]
fn a_relay_that_is_silent_ends_by_its_last_word_or_when_it_is_dead_as_well() {
    assert!(
        Case::silent(Some(draining(0, 900))).may(),
        "it was empty, and has ended since"
    );
    assert!(
        Case::silent(Some(draining(3, 0))).may(),
        "its deadline has passed"
    );
    assert!(!Case::silent(Some(draining(3, 900))).may());
    assert!(
        !Case::silent(Some(serving(Some(0.0), true))).may(),
        "calls may have come since"
    );
    assert!(Case::silent(None).may(), "it has never been heard of");
    let mut told = Case::silent(Some(serving(Some(3.0), true)));
    told.ordered = Some(NOW);
    assert!(
        told.may(),
        "it was told its deadline, and has never answered"
    );
    let mut dead = Case::silent(Some(draining(3, 900)));
    dead.reason = Reason::Unhealthy;
    assert!(dead.may());
    dead.stun = Some(true);
    let why = dead.judged().unwrap_err();
    assert!(why.contains("its data path does"), "{why}");
    let mut ends = Case::silent(Some(draining(3, 900)));
    ends.ends_anyway = true;
    assert!(ends.may(), "the provider waits for nothing");
    ends.stun = None;
    assert!(!ends.may(), "nobody looked");
}

/// A token that is wrong makes a fleet silent, and not dead.
#[test]
fn a_relay_that_turns_this_controller_away_is_alive() {
    for last in [None, Some(draining(3, 900)), Some(draining(0, 900))] {
        let mut case = Case::silent(last);
        case.status = Err(RelayError::Refused("HTTP status 401".to_owned()));
        case.reason = Reason::Unhealthy;
        let why = case.judged().unwrap_err();
        assert!(why.contains("not to this controller"), "{why}");
    }
}

#[test]
fn an_end_needs_a_fresh_list_that_is_believed() {
    let one = |name: &str, lifecycle| Instance {
        id: InstanceId::try_from(name).unwrap(),
        zone: ZoneId::try_from("z-1").unwrap(),
        lifecycle,
        instance_type: String::new(),
        image: String::new(),
        age: None,
        admin: None,
        unhealthy: false,
    };
    let list = |instances: Vec<Instance>, complete| {
        Ok(Listing {
            complete,
            instances,
            ..Listing::default()
        })
    };
    let judge = |fresh: Result<Listing, ProviderError>, known| listed(&fresh, &relay(None), known);
    let others = || {
        ["b", "c"]
            .map(|name| one(name, Lifecycle::InService))
            .to_vec()
    };
    let with = |lifecycle| {
        let mut all = others();
        all.push(one("a", lifecycle));
        all
    };
    assert_eq!(judge(list(with(Lifecycle::InService), true), 3), Ok(()));
    assert_eq!(judge(list(with(Lifecycle::Pending), true), 3), Ok(()));
    for ending in [Lifecycle::Terminating, Lifecycle::TerminatingWait] {
        assert_eq!(judge(list(with(ending), true), 3), Err(Outcome::Nothing));
    }
    assert_eq!(judge(list(others(), true), 3), Err(Outcome::Nothing));
    let aside = judge(list(with(Lifecycle::SetAside), true), 3);
    assert!(matches!(aside, Err(Outcome::Refused { .. })), "{aside:?}");
    for doubtful in [
        list(with(Lifecycle::InService), false),
        list(Vec::new(), true),
        Err(ProviderError::Throttled("slow down".to_owned())),
    ] {
        let judged = judge(doubtful, 3);
        assert!(matches!(judged, Err(Outcome::Failed { .. })), "{judged:?}");
    }
}
