//! The `[log]` section.
//!
//! Responsible for bounding how long full addresses may be written. Not for writing anything.

use core::time::Duration;

use taciturn_plane::{LogFormat, LogLevel};
use taciturn_protocol::time::UnixTime;
use toml::de::DeValue;
use toml::value::{Date, Datetime, Offset, Time};

use crate::clock::Clock;

use super::files::SecretBytes;
use super::keys::{Files, secret_file};
use super::section::{Section, Wrong, kind};
use super::value::{duration, word};

/// How far ahead full addresses may be asked for, in seconds: for one fault, not for good.
const LONGEST_FORENSICS: u64 = 7 * 24 * 60 * 60;

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// What is written to the log, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// One line for people, or one JSON object, for each event, or fields for the journal.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
    /// Until when full addresses are written instead of pseudonyms; at most seven days after the configuration was
    /// read. `None`, and in the past: not at all.
    pub forensics_until: Option<UnixTime>,
    /// The secret that pseudonyms are keyed with, at least 32 bytes; `None`: a random one in memory.
    pub pseudonym_key: Option<SecretBytes>,
    /// How long one pseudonym key is used.
    pub pseudonym_rotation: Duration,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: LogLevel::default(),
            forensics_until: None,
            pseudonym_key: None,
            pseudonym_rotation: 24 * HOUR,
        }
    }
}

/// The `[log]` section.
pub(super) fn log(top: &Section<'_>, files: &mut Files<'_>) -> Log {
    const FORMATS: &[(&str, LogFormat)] = &[
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    const LEVELS: &[(&str, LogLevel)] = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let Some(section) = top.once("log") else {
        return Log::default();
    };
    let default = Log::default();
    Log {
        format: section.read("format", word(FORMATS)).unwrap_or_default(),
        level: section.read("level", word(LEVELS)).unwrap_or_default(),
        forensics_until: section.read("forensics-until", |value| {
            forensics_until(value, Clock::start().unix())
        }),
        pseudonym_key: section
            .field("pseudonym-key-file")
            .and_then(|field| secret_file(field, files)),
        pseudonym_rotation: section
            .read("pseudonym-rotation", duration(MINUTE..=30 * 24 * HOUR))
            .unwrap_or(default.pseudonym_rotation),
    }
}

fn forensics_until(value: &DeValue<'_>, now: UnixTime) -> Result<UnixTime, Wrong> {
    let remedy = "write a date and time with its offset and without quotes, at most seven days ahead, e.g. 2026-11-22T08:00:00Z";
    let DeValue::Datetime(written) = value else {
        let problem = format!("must be a date and time, found {}", kind(value));
        return Err(Wrong::new(problem, remedy));
    };
    let until = unix(written)
        .ok_or_else(|| Wrong::new("must be a date and time with an offset, after 1970", remedy))?;
    if until.as_secs() > now.as_secs().saturating_add(LONGEST_FORENSICS) {
        let problem =
            "is more than seven days ahead: full addresses are written for one fault, not for good";
        return Err(Wrong::new(problem, remedy));
    }
    Ok(until)
}

/// The point in time that this is; `None` without a date, a time or an offset, and before 1970.
fn unix(written: &Datetime) -> Option<UnixTime> {
    let (Some(date), Some(time), Some(offset)) = (written.date, written.time, written.offset)
    else {
        return None;
    };
    let Time {
        hour,
        minute,
        second,
        ..
    } = time;
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second.unwrap_or(0));
    let ahead = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    let unix = days_since_1970(date) * 24 * 60 * 60 + seconds - ahead;
    u64::try_from(unix).ok().map(UnixTime::from_secs)
}

/// Days from 1970-01-01 to `date` in the Gregorian calendar. A year is counted from March, so that the day that a leap
/// year has more is its last, and 365.2425 days stand for each of the 400 years of a cycle.
fn days_since_1970(date: Date) -> i64 {
    let Date { year, month, day } = date;
    let from_march = (i64::from(month) + 9) % 12;
    let year = i64::from(year) - i64::from(month <= 2);
    let day_of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<u64> {
        unix(&text.parse().expect("a TOML datetime")).map(UnixTime::as_secs)
    }

    #[test]
    fn a_date_and_time_is_a_point_in_time() {
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(at("2000-03-01T00:00:00Z"), Some(951_868_800));
        assert_eq!(at("2026-11-22T08:00:00Z"), Some(1_795_334_400));
        assert_eq!(at("2026-11-22T19:00:00+11:00"), Some(1_795_334_400));
        assert_eq!(at("2100-12-31T23:59:59-00:30"), Some(4_133_982_599));
        for not_one in [
            "1969-12-31T23:59:59Z",
            "2026-11-22T08:00:00",
            "2026-11-22",
            "08:00:00",
        ] {
            assert_eq!(at(not_one), None, "{not_one}");
        }
    }

    #[test]
    fn full_addresses_are_written_for_at_most_seven_days() {
        let now = UnixTime::from_secs(1_795_334_400);
        let judged = |text: &str| {
            let value = DeValue::Datetime(text.parse().expect("a TOML datetime"));
            forensics_until(&value, now).map(UnixTime::as_secs).ok()
        };
        assert_eq!(judged("2026-11-29T08:00:00Z"), Some(1_795_939_200));
        assert_eq!(judged("2026-11-29T08:00:01Z"), None);
        assert_eq!(
            judged("2001-01-01T00:00:00Z"),
            Some(978_307_200),
            "long over"
        );
    }
}
