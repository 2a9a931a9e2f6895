//! What the log says, as a subscriber hears it.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use taciturn_protocol::address::{ClientAddr, FiveTuple, RelayedAddr, Transport};
use taciturn_protocol::credentials::UserName;
use taciturn_protocol::forward::{AllocationId, DropReason};
use taciturn_protocol::server::{Authentication, EndCause, Tallies};
use taciturn_protocol::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber, subscriber};

use super::summary::{Figures, Summaries};
use super::*;
use crate::counters::{Counters, DropSite, Totals};
use crate::listener::FrontCounters;

/// One event: its level under "level", its fields under their names.
type Line = BTreeMap<String, String>;

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Line>>>);

struct Fields<'a>(&'a mut Line);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::new();
        line.insert("level".to_owned(), event.metadata().level().to_string());
        event.record(&mut Fields(&mut line));
        self.0.lock().expect("no panic while it is held").push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What is logged meanwhile by this thread.
fn lines_of(work: impl FnOnce()) -> Vec<Line> {
    let lines = Heard::default();
    subscriber::with_default(lines.clone(), work);
    let heard = lines.0.lock().expect("nobody logs any more");
    heard.clone()
}

fn field<'a>(line: &'a Line, name: &str) -> Option<&'a str> {
    line.get(name).map(String::as_str)
}

/// Writes the line of an end on this thread, where it can be heard.
fn write(log: &EventLog, worker: u8, traffic: Traffic) {
    let lines = Lines {
        pseudonyms: Arc::clone(&log.pseudonyms),
        forensics: Arc::clone(&log.forensics),
        clock: log.clock,
    };
    lines.write(&Recorded {
        worker,
        event: ended(),
        traffic,
    });
}

fn log(forensics_until: Option<UnixTime>) -> EventLog {
    let settings = Log {
        forensics_until,
        ..Log::default()
    };
    EventLog::new(&settings, LevelSwitch::fixed(), Clock::start()).expect("randomness")
}

fn ended() -> Event {
    let address = |text: &str| text.parse().expect("an address");
    Event::AllocationEnded {
        allocation: AllocationId(7),
        serial: 41,
        synthetic: false,
        client: FiveTuple {
            transport: Transport::Udp,
            client: ClientAddr(address("203.0.113.7:50000")),
            server: address("192.0.2.1:3478"),
        },
        user: UserName::new(b"1700000000:al\nice"),
        cause: EndCause::Client,
        age: Duration::from_secs(1800),
        relayed: [
            Some(RelayedAddr(address("192.0.2.1:60000"))),
            Some(RelayedAddr(address("[2001:db8::1]:60001"))),
        ],
    }
}

#[test]
fn the_end_of_an_allocation_is_one_line_without_a_name_or_an_address() {
    let log = log(None);
    let traffic = Traffic {
        to_peer_packets: 3,
        to_peer_bytes: 300,
        to_client_packets: 4,
        to_client_bytes: 400,
    };
    let lines = lines_of(|| write(&log, 2, traffic));
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    for (name, value) in [
        ("level", "INFO"),
        ("message", "allocation ended"),
        ("allocation", "2-7-41"),
        ("transport", "udp"),
        ("cause", "client"),
        ("seconds", "1800"),
        ("to_peer_packets", "3"),
        ("to_peer_bytes", "300"),
        ("to_client_packets", "4"),
        ("to_client_bytes", "400"),
    ] {
        assert_eq!(field(line, name), Some(value), "{name}");
    }
    let named = format!("{line:?}");
    for raw in ["203.0.113.7", "192.0.2.1", "2001:db8", "ice", "50000"] {
        assert!(!named.contains(raw), "{named}");
    }
    assert_eq!(line.len(), 12, "{line:?}");
}

#[test]
fn forensics_add_the_names_and_are_announced_both_ways() {
    let clock = Clock::start();
    let until = clock.unix().plus_secs(3600);
    let mut log_on = None;
    let lines = lines_of(|| log_on = Some(log(Some(until))));
    let log = log_on.expect("made");
    assert_eq!(field(&lines[0], "level"), Some("ERROR"));
    assert_eq!(
        field(&lines[0], "until"),
        Some(&*until.as_secs().to_string())
    );
    let lines = lines_of(|| write(&log, 0, Traffic::default()));
    assert_eq!(
        field(&lines[0], "client_address"),
        Some("203.0.113.7:50000")
    );
    assert_eq!(
        field(&lines[0], "relayed_address"),
        Some("192.0.2.1:60000,[2001:db8::1]:60001")
    );
    assert_eq!(field(&lines[0], "user_name"), Some("1700000000:al\\x0aice"));
    let again = Log {
        forensics_until: Some(until),
        ..Log::default()
    };
    assert_eq!(lines_of(|| log.apply(&again).expect("randomness")), []);
    let lines = lines_of(|| log.apply(&Log::default()).expect("randomness"));
    assert_eq!(lines.len(), 1);
    assert_eq!(field(&lines[0], "level"), Some("ERROR"));
    let lines = lines_of(|| write(&log, 0, Traffic::default()));
    assert_eq!(field(&lines[0], "client_address"), None);
    assert_eq!(field(&lines[0], "user_name"), None);
}

#[test]
fn forensics_that_are_over_are_said_to_be_once() {
    let log = log(Some(Clock::start().unix().plus_secs(3600)));
    let later = Now {
        instant: Instant::from_nanos(0),
        unix: Clock::start().unix().plus_secs(7200),
    };
    assert_eq!(lines_of(|| log.tick(later)).len(), 1);
    assert_eq!(lines_of(|| log.tick(later)), []);
    assert_eq!(log.forensics_until(), None);
}

#[test]
fn a_reload_sets_the_level() {
    let set = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&set);
    let level = LevelSwitch::new(move |level| heard.lock().expect("unpoisoned").push(level));
    let log = EventLog::new(&Log::default(), level, Clock::start()).expect("randomness");
    let debug = Log {
        level: LogLevel::Debug,
        ..Log::default()
    };
    log.apply(&debug).expect("randomness");
    assert_eq!(*set.lock().expect("unpoisoned"), [LogLevel::Debug]);
}

#[test]
fn lines_that_are_left_out_are_counted_and_the_count_is_said() {
    let log = log(None);
    let count = u64::from(LINES_AT_ONCE) + 50_000;
    let lines = lines_of(|| {
        for _ in 0..count {
            log.record(0, ended(), Traffic::default());
        }
        log.report_left_out();
        log.report_left_out();
    });
    let [said] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(field(said, "level"), Some("WARN"));
    assert_eq!(field(said, "line"), Some("allocation ended"));
    let left_out: u64 = field(said, "lines")
        .and_then(|lines| lines.parse().ok())
        .expect("a count");
    assert!((1..count).contains(&left_out), "{left_out} of {count}");
}

#[test]
fn what_strangers_do_is_a_line_of_each_kind_and_no_line_when_nothing_is_new() {
    let counters = Arc::new(Counters::default());
    let figures = Figures {
        totals: Totals::new(vec![Arc::clone(&counters)]),
        front: Arc::new(FrontCounters::default()),
    };
    let mut summaries = Summaries::default();
    assert_eq!(lines_of(|| summaries.report(&figures)), []);
    let site = |reason| DropSite::all_of(reason).next().expect("each has a site");
    for reason in [
        DropReason::MalformedStun,
        DropReason::MalformedStun,
        DropReason::Empty,
    ] {
        counters.dropped(reason, site(reason), 20);
    }
    let mut tallies = Tallies::default();
    tallies.authentications[Authentication::Success.index()] = 9;
    tallies.authentications[Authentication::Challenged.index()] = 9;
    counters.tallied(&Tallies::default(), &tallies);
    let lines = lines_of(|| summaries.report(&figures));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        field(&lines[0], "message"),
        Some("packets dropped in the last minute")
    );
    assert_eq!(field(&lines[0], "counts"), Some("empty=1 malformed_stun=2"));
    assert_eq!(lines_of(|| summaries.report(&figures)), []);

    let before = tallies;
    tallies.authentications[Authentication::WrongCredentials.index()] = 1_000_000;
    tallies.authentications[Authentication::StaleNonce.index()] = 2;
    tallies.authentications[Authentication::HeldOff.index()] = 3_000_000;
    counters.tallied(&before, &tallies);
    let lines = lines_of(|| summaries.report(&figures));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        field(&lines[0], "counts"),
        Some("wrong_credentials=1000000 stale_nonce=2 held_off=3000000")
    );
}
