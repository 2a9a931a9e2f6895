//! The schedule: at least so many relays at certain local times.
//!
//! Responsible for windows that cross midnight, and for local time with its jumps: a window is a matter of what the clock on
//! the wall shows. Not responsible for the season (`season`).

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use taciturn_protocol::time::UnixTime;

use super::settings::Schedule;

/// The greatest minimum whose window is open. One that cannot be read is not open; `check` refuses it before.
pub(crate) fn minimum(schedule: &[Schedule], now: UnixTime) -> u32 {
    let open = schedule.iter().filter(|entry| is_open(entry, now));
    open.map(|entry| entry.min).max().unwrap_or(0)
}

fn is_open(entry: &Schedule, now: UnixTime) -> bool {
    let window = time(&entry.from).zip(time(&entry.to));
    let Some(((from, to), local)) = window.zip(local(&entry.timezone, now)) else {
        return false;
    };
    let today = local.date();
    let on = |weekday| entry.days.iter().any(|day| day_of(day) == Some(weekday));
    let clock = local.time();
    if from < to {
        on(today.weekday()) && from <= clock && clock < to
    } else {
        // It ends on the day after the one that it is named after.
        (on(today.weekday()) && from <= clock) || (on(before(today.weekday())) && clock < to)
    }
}

fn before(weekday: Weekday) -> Weekday {
    weekday.wrapping_sub(1)
}

/// The time in a zone; `None`: there is no such zone, or no such time.
pub(crate) fn local(timezone: &str, now: UnixTime) -> Option<Zoned> {
    let seconds = i64::try_from(now.as_secs()).ok()?;
    let timezone = TimeZone::get(timezone).ok()?;
    Some(Timestamp::from_second(seconds).ok()?.to_zoned(timezone))
}

/// "08:00".
pub(crate) fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        plain.then(|| digits.parse::<i8>().ok()).flatten()
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

/// "mon".
pub(crate) fn day_of(text: &str) -> Option<Weekday> {
    match text {
        "mon" => Some(Weekday::Monday),
        "tue" => Some(Weekday::Tuesday),
        "wed" => Some(Weekday::Wednesday),
        "thu" => Some(Weekday::Thursday),
        "fri" => Some(Weekday::Friday),
        "sat" => Some(Weekday::Saturday),
        "sun" => Some(Weekday::Sunday),
        _ => None,
    }
}
