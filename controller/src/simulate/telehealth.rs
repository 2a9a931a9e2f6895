//! The calls of a telehealth service in Sydney, made up from a seed: the trace that the published figures are of.
//!
//! Responsible for their rhythm. It is a guess that is written down, not a measurement of anybody's service; whoever has a
//! trace of their own had better use that.
//!
//! A weekday has two humps between 8 and 18 o'clock and a thin evening. Most calls begin around the quarters of an hour, as
//! appointments do. Saturdays, Sundays and holidays are quiet. No two days are equally busy. In the special week there are
//! also a day with 1.8 times the calls, a flash crowd, a public holiday and the end of daylight saving time.

use std::time::Duration;

use jiff::civil::{Date, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
use taciturn_protocol::time::UnixTime;

use super::chance::Chance;
use super::trace::{Row, Trace};

/// Where the service is.
pub const ZONE: &str = "Australia/Sydney";
/// Good Friday and Easter Monday of the year of the trace: a policy for it names them among its holidays.
pub const HOLIDAYS: [&str; 2] = ["2026-04-03", "2026-04-06"];

/// How long an appointment's call lasts on the average, in minutes.
const MINUTES_MEAN: f64 = 20.0;
/// The day with 1.8 times the calls: a Wednesday.
const SURGE: Date = date(2026, 4, 1);
/// The day of the flash crowd: a Thursday.
const FLASH: Date = date(2026, 4, 2);
/// When it begins, in minutes of the day, and how long it lasts.
const FLASH_AT: (i32, i32) = (13 * 60 + 10, 5);
/// What it brings, as a share of the usual peak.
const FLASH_SHARE: f64 = 0.2;

/// How much is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The special week, Monday 30 March to Sunday 5 April 2026.
    Week,
    /// The three weeks before it too, which are plain: 28 days.
    Month,
    /// The first of those weeks alone.
    PlainWeek,
}

impl Span {
    /// The first day, and the number of days.
    fn days(self) -> (Date, i32) {
        match self {
            Self::Week => (date(2026, 3, 30), 7),
            Self::Month => (date(2026, 3, 9), 28),
            Self::PlainWeek => (date(2026, 3, 9), 7),
        }
    }
}

/// The time zone of [`ZONE`].
///
/// # Panics
/// Never: the zone is in the database that is compiled in, and a test looks.
pub fn zone() -> TimeZone {
    TimeZone::get(ZONE).expect("the database that is compiled in has this zone")
}

/// Makes the trace, in intervals of a minute. `peak` is about how many allocations are live at the busiest time of a usual
/// weekday. A day is the same in every span that it is in.
pub fn generate(span: Span, seed: u64, peak: u32) -> Trace {
    let (first, days) = span.days();
    let midnight = |day: Date| {
        day.to_zoned(zone())
            .expect("a midnight of these weeks exists in this zone")
    };
    let mut rows = Vec::new();
    for number in 0..days {
        let day = first + number.days();
        rows.extend(one_day(
            &midnight(day),
            &midnight(day + 1.day()),
            seed,
            peak,
        ));
    }
    Trace {
        start: UnixTime::from_secs(seconds(&midnight(first))),
        interval: Duration::from_secs(60),
        rows,
    }
}

fn seconds(at: &Zoned) -> u64 {
    u64::try_from(at.timestamp().as_second()).expect("these weeks are after 1970")
}

/// The minutes from `from` to `until`, of which there may be 23, 24 or 25 hours.
fn one_day(from: &Zoned, until: &Zoned, seed: u64, peak: u32) -> Vec<Row> {
    let day = from.date();
    let mut chance = Chance::new(seed, seconds(from) / 86_400);
    let level = level(day, &mut chance) * f64::from(peak) / MINUTES_MEAN;
    let quiet = is_quiet(day);
    (seconds(from)..seconds(until))
        .step_by(60)
        .map(|second| {
            let second = i64::try_from(second).expect("these weeks are before the end of time");
            let clock = Timestamp::from_second(second)
                .expect("these weeks are within the calendar")
                .to_zoned(zone())
                .time();
            let minute = i32::from(clock.hour()) * 60 + i32::from(clock.minute());
            let mut expected = level * shape(minute, quiet) * burst(minute);
            if day == FLASH && (FLASH_AT.0..FLASH_AT.0 + FLASH_AT.1).contains(&minute) {
                expected += FLASH_SHARE * f64::from(peak) / f64::from(FLASH_AT.1);
            }
            Row {
                started: f64::from(chance.poisson(expected)),
                minutes_mean: MINUTES_MEAN,
            }
        })
        .collect()
}

fn is_quiet(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
        || HOLIDAYS.contains(&day.to_string().as_str())
}

/// How busy the day is, as a share of a usual weekday.
fn level(day: Date, chance: &mut Chance) -> f64 {
    let usual = match (is_quiet(day), day.weekday()) {
        (false, _) => 1.0,
        (true, Weekday::Sunday) => 0.10,
        (true, _) => 0.15,
    };
    let surge = if day == SURGE { 1.8 } else { 1.0 };
    usual * surge * chance.lognormal(1.0, 0.05)
}

/// The share of the busiest minute's calls that begins in this minute of the day, bursts left aside.
fn shape(minute: i32, quiet: bool) -> f64 {
    let hour = f64::from(minute) / 60.0;
    let hump = |at: f64, width: f64| (-((hour - at) / width).powi(2) / 2.0).exp();
    if quiet {
        return 0.05 + 0.95 * hump(12.5, 2.6);
    }
    // 0.97: where the humps are highest, they and the evening together are 1.
    let day = 0.97 * hump(10.25, 1.25) + 0.87 * hump(14.75, 1.5);
    0.01 + day + 0.06 * hump(19.5, 1.2)
}

/// How much denser calls begin in this minute than on the average: most do from two minutes before each quarter to three after.
fn burst(minute: i32) -> f64 {
    match minute.rem_euclid(15) {
        0 => 4.0,
        14 | 1 => 2.3,
        13 | 2 => 1.3,
        _ => 0.38,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    fn started(trace: &Trace, days: core::ops::Range<usize>) -> f64 {
        let rows = trace.rows.iter();
        let minutes = days.start * 1440..days.end * 1440;
        rows.skip(minutes.start)
            .take(minutes.len())
            .map(|row| row.started)
            .sum()
    }

    #[test]
    fn the_same_seed_gives_the_same_trace_wherever_it_is_made() {
        let text = generate(Span::Week, 1, 3000).write(&zone(), "");
        let digest = Sha256::digest(text.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            digest,
            "8d89ea62e71af7ae781d26d497be20a8d891d3c00adf902d490ae5a6fc6a8168"
        );
        assert_ne!(generate(Span::Week, 2, 3000), generate(Span::Week, 1, 3000));
    }

    #[test]
    fn the_bursts_change_when_calls_begin_and_not_how_many() {
        let mean = (0..15).map(burst).sum::<f64>() / 15.0;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        let highest = (0..1440)
            .map(|minute| shape(minute, false))
            .fold(0.0, f64::max);
        assert!((highest - 1.0).abs() < 0.02, "{highest}");
    }

    #[test]
    fn the_special_week_ends_the_month_and_has_what_it_is_made_for() {
        let month = generate(Span::Month, 1, 3000);
        let week = generate(Span::Week, 1, 3000);
        assert!(month.rows.ends_with(&week.rows));
        assert!(
            month
                .rows
                .starts_with(&generate(Span::PlainWeek, 1, 3000).rows)
        );
        // Daylight saving ends on the last day: it has 25 hours.
        assert_eq!(week.rows.len(), 7 * 1440 + 60);
        let usual = started(&week, 0..1);
        assert!(started(&week, 2..3) > 1.6 * usual, "the surge day");
        assert!(started(&week, 4..5) < 0.2 * usual, "the holiday");
        let crowd: f64 = week
            .rows
            .iter()
            .skip(3 * 1440 + 790)
            .take(5)
            .map(|row| row.started)
            .sum();
        assert!(crowd > 600.0, "the flash crowd: {crowd}");
    }
}
