//! Local time: schedules that cross midnight and changes of the clocks, and the season.

use std::time::Duration;

use jiff::civil::date;
use jiff::tz::TimeZone;

use super::*;
use crate::policy::{Schedule, Season, schedule};

const SYDNEY: &str = "Australia/Sydney";

/// A local time of 2026 in Sydney.
fn at(month: i8, day: i8, hour: i8, minute: i8) -> UnixTime {
    let local = date(2026, month, day).at(hour, minute, 0, 0);
    let zoned = local
        .to_zoned(TimeZone::get(SYDNEY).expect("bundled"))
        .expect("it exists");
    UnixTime::from_secs(u64::try_from(zoned.timestamp().as_second()).expect("after 1970"))
}

fn now(unix: UnixTime) -> Now {
    Now { unix, ..NOW }
}

fn window(days: &[&str], from: &str, to: &str) -> Vec<Schedule> {
    vec![Schedule {
        days: days.iter().map(|day| (*day).to_owned()).collect(),
        from: from.to_owned(),
        to: to.to_owned(),
        timezone: SYDNEY.to_owned(),
        min: 6,
    }]
}

/// scaling rules, schedule: its times are those on the wall there, its end is not in it.
#[test]
fn a_window_is_open_by_the_clock_on_the_wall() {
    let office = window(&["mon", "tue"], "08:00", "18:00");
    // 5 October 2026 is a Monday.
    let open = |day, hour, minute| schedule::minimum(&office, at(10, day, hour, minute)) == 6;
    assert!(!open(5, 7, 59) && open(5, 8, 0) && open(5, 17, 59) && !open(5, 18, 0));
    assert!(open(6, 12, 0) && !open(7, 12, 0));
}

/// scaling rules, schedule: a window that ends on the next day belongs to the day that it begins on.
#[test]
fn a_window_may_cross_midnight() {
    let night = window(&["sun"], "22:00", "06:00");
    let open = |day, hour| schedule::minimum(&night, at(10, day, hour, 0)) == 6;
    assert!(open(11, 22) && open(12, 5), "from Sunday to Monday");
    assert!(!open(11, 5) && !open(12, 22) && !open(12, 6));
    let all_day = window(&["mon"], "00:00", "00:00");
    let open = |day, hour| schedule::minimum(&all_day, at(10, day, hour, 0)) == 6;
    assert!(open(5, 0) && open(5, 23) && !open(6, 0) && !open(4, 23));
}

/// scaling rules, schedule: when the clocks are changed, 8 o'clock is still 8 o'clock.
#[test]
fn a_window_follows_the_change_of_the_clocks() {
    let office = window(&["mon", "tue", "wed", "thu", "fri"], "08:00", "18:00");
    // Summer time begins on Sunday, 4 October 2026: an hour less in UTC.
    let friday = at(10, 2, 8, 0).as_secs();
    let monday = at(10, 5, 8, 0).as_secs();
    assert_eq!(monday - friday, 3 * 86_400 - 3600);
    for opens in [friday, monday] {
        assert_eq!(
            schedule::minimum(&office, UnixTime::from_secs(opens - 1)),
            0
        );
        assert_eq!(schedule::minimum(&office, UnixTime::from_secs(opens)), 6);
    }
}

/// scaling rules, schedule: what makes no sense is never open.
#[test]
fn a_window_that_cannot_be_read_is_not_open() {
    for (from, to, timezone) in [
        ("8", "18:00", SYDNEY),
        ("08:00", "x", SYDNEY),
        ("08:00", "18:00", "Nowhere"),
    ] {
        let mut schedule = window(&["mon"], from, to);
        schedule[0].timezone = timezone.to_owned();
        assert_eq!(schedule::minimum(&schedule, at(10, 5, 12, 0)), 0);
    }
    let always = window(&["mon"], "00:00", "00:00");
    for second in [u64::MAX, i64::MAX.unsigned_abs(), 1 << 40] {
        assert_eq!(schedule::minimum(&always, UnixTime::from_secs(second)), 0);
    }
}

fn season(rows: impl IntoIterator<Item = (UnixTime, f64)>) -> Season {
    let mut season = Season::default();
    for (time, calls) in rows {
        season.record(now(time), &calls_of(calls));
    }
    season
}

fn calls_of(calls: f64) -> Loads {
    Loads {
        allocations: Some(calls),
        ..Loads::default()
    }
}

fn forecast() -> Forecast {
    Forecast {
        timezone: SYDNEY.to_owned(),
        holidays: BTreeSet::from(["2026-10-07".to_owned()]),
        ..Forecast::default()
    }
}

fn expected(season: &Season, time: UnixTime) -> Option<f64> {
    season
        .outlook(now(time), Duration::ZERO, &forecast())
        .allocations
}

/// scaling rules, forecast: of the last four days of the class, the greatest but for a tenth of them.
#[test]
fn the_season_is_of_days_of_the_same_class() {
    // Thursday to Friday of the week before, Saturday, Sunday; Monday to Wednesday, which is a holiday.
    let loads = [
        (1, 10.0),
        (2, 40.0),
        (3, 70.0),
        (4, 80.0),
        (5, 20.0),
        (6, 30.0),
        (7, 90.0),
    ];
    let season = season(loads.map(|(day, calls)| (at(10, day, 9, 2), calls)));
    // Thursday: after Tuesday, Monday, Friday and Thursday.
    assert_eq!(expected(&season, at(10, 8, 9, 0)), Some(40.0));
    assert_eq!(
        expected(&season, at(10, 10, 9, 0)),
        Some(70.0),
        "a Saturday"
    );
    assert_eq!(
        expected(&season, at(10, 11, 9, 0)),
        Some(90.0),
        "a Sunday, after a holiday"
    );
    assert_eq!(
        expected(&season, at(10, 8, 9, 5)),
        None,
        "what is not known is not zero"
    );
}

/// scaling rules, forecast: only so many days back, and only those that are known.
#[test]
fn the_season_looks_back_as_many_days_as_it_is_told() {
    let days = (5..10).filter(|day| *day != 7);
    let season = season(days.map(|day| (at(10, day, 9, 0), 100.0 - f64::from(day))));
    let of = |days: u32| {
        let forecast = Forecast { days, ..forecast() };
        let expected = season.outlook(now(at(10, 12, 9, 0)), Duration::ZERO, &forecast);
        expected.allocations
    };
    assert_eq!((of(1), of(2), of(4)), (Some(91.0), Some(92.0), Some(95.0)));
    let middle = Forecast {
        percentile: 0.5,
        ..forecast()
    };
    let median = season.outlook(now(at(10, 12, 9, 0)), Duration::ZERO, &middle);
    assert_eq!(median.allocations, Some(92.0));
}

/// scaling rules, forecast: the time on the wall counts, before and after the clocks are changed.
#[test]
fn the_season_follows_the_change_of_the_clocks() {
    let season = season([(at(10, 2, 9, 0), 50.0)]);
    assert_eq!(expected(&season, at(10, 5, 9, 0)), Some(50.0));
    assert_eq!(expected(&season, at(10, 5, 10, 0)), None);
}

/// scaling rules, forecast: the greatest of all the time until a launched relay serves.
#[test]
fn the_outlook_is_the_greatest_of_the_time_ahead() {
    let season = season([
        (at(10, 5, 9, 0), 50.0),
        (at(10, 5, 9, 10), 60.0),
        (at(10, 5, 9, 20), 70.0),
    ]);
    let ahead = |minutes: u64| {
        let outlook = season.outlook(now(at(10, 6, 9, 0)), seconds(60 * minutes), &forecast());
        outlook.allocations
    };
    assert_eq!(
        (ahead(0), ahead(8), ahead(20)),
        (Some(50.0), Some(60.0), Some(70.0))
    );
}

/// Losing a file, or a line of it, loses that much of the floor and nothing else.
#[test]
fn the_season_is_written_in_lines_and_read_back() {
    let mut season = season([
        (at(10, 5, 9, 0), 50.0),
        (at(10, 5, 9, 4), 40.0),
        (at(10, 5, 9, 5), 60.0),
    ]);
    let open = season.write_lines(now(at(10, 5, 9, 6)));
    assert_eq!(open.len(), 1, "five minutes are written when they are over");
    let rest = season.write_lines(now(at(10, 5, 9, 10)));
    assert_eq!(
        (rest.len(), season.write_lines(now(at(10, 5, 9, 10))).len()),
        (1, 0)
    );
    let mut read = Season::default();
    let torn = ["{\"at\":17", "", "{\"at\":1,\"load\":{\"allocations\":-5}}"].map(str::to_owned);
    let unreadable = read.read_lines(
        now(at(10, 6, 0, 0)),
        open.into_iter().chain(rest).chain(torn),
    );
    assert_eq!(unreadable, 2);
    assert_eq!(read.all_lines(), season.all_lines());
    assert_eq!(expected(&read, at(10, 6, 9, 0)), Some(50.0));
}

/// What is kept is bounded, whatever is recorded, and no time is too strange.
#[test]
fn the_season_forgets_and_survives_any_time() {
    let start = at(1, 1, 0, 0).as_secs();
    let mut season = Season::default();
    for bucket in 0..20_000 {
        season.record(
            now(UnixTime::from_secs(start + 300 * bucket)),
            &calls_of(1.0),
        );
    }
    assert_eq!(season.all_lines().len(), 63 * 24 * 12);
    for second in [0, u64::MAX, i64::MAX.unsigned_abs()] {
        let strange = now(UnixTime::from_secs(second));
        season.record(strange, &calls_of(f64::NAN));
        let outlook = season.outlook(strange, Duration::MAX, &forecast());
        assert!(outlook.allocations.is_none());
    }
}
