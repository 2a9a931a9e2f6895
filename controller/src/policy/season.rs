//! The season: what the load was at this time of day on earlier days of the same kind.
//!
//! Scaling rules, forecast: buckets of five minutes, by local time of day and by whether it is a weekday, a Saturday, or a
//! Sunday or holiday; of each, a high percentile of the last days. It may only raise what is needed, and losing it loses
//! that floor alone. Not responsible for files (`reconcile`), nor for whether it counts (`need`).
//!
//! Buckets are kept by absolute time and read by local time, so that 9 o'clock is 9 o'clock before and after the clocks are
//! changed, and another time zone in the configuration needs no other file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use taciturn_protocol::time::{Now, UnixTime};

use super::rounding::{figures, within};
use super::settings::Forecast;
use crate::fleet::{Dimension, Loads};

/// Seconds in a bucket.
const BUCKET: u64 = 300;

/// Nine weeks: as far back as [`Season::MOST_DAYS`] Saturdays go.
const KEPT_DAYS: u32 = 63;

/// Buckets in that time: what is kept is bounded by it, whatever a file holds.
const MOST_BUCKETS: usize = 63 * 24 * 12;

/// What was seen, in buckets of five minutes of the last nine weeks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Season {
    /// The greatest demand of each bucket, by its number since 1970.
    buckets: BTreeMap<u64, Loads>,
    /// Those that are not written yet.
    unwritten: BTreeSet<u64>,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: UnixTime,
    load: Loads,
}

/// Days that are like each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Weekday,
    Saturday,
    SundayOrHoliday,
}

impl Season {
    /// Days of one class that can be looked at at most.
    pub const MOST_DAYS: u32 = 8;

    /// Notes the demand of now ([`super::Need::demand`]). What is not known is left out.
    pub fn record(&mut self, now: Now, demand: &Loads) {
        let bucket = now.unix.as_secs() / BUCKET;
        if *demand != Loads::default() {
            self.note(bucket, *demand);
            self.unwritten.insert(bucket);
        }
    }

    /// The greatest load that is to be expected from now until `ahead` later (at most a day): of each five minutes, the
    /// percentile of the last days of the same class that are known. Without the margin.
    pub fn outlook(&self, now: Now, ahead: Duration, forecast: &Forecast) -> Loads {
        let Ok(timezone) = TimeZone::get(&forecast.timezone) else {
            return Loads::default();
        };
        let first = now.unix.as_secs() / BUCKET;
        let more = ahead.as_secs().min(24 * 3600).div_ceil(BUCKET);
        (first..=first.saturating_add(more))
            .map(|bucket| self.expected(bucket, &timezone, forecast))
            .fold(Loads::default(), Loads::greater)
    }

    /// Lines to append to a file, of five minutes that are over at `now`.
    pub fn write_lines(&mut self, now: Now) -> Vec<String> {
        let open = now.unix.as_secs() / BUCKET;
        let later = self.unwritten.split_off(&open);
        let over = std::mem::replace(&mut self.unwritten, later);
        over.iter()
            .filter_map(|bucket| self.line(*bucket))
            .collect()
    }

    /// Every line: what a file that has grown long is replaced by.
    pub fn all_lines(&self) -> Vec<String> {
        self.buckets
            .keys()
            .filter_map(|bucket| self.line(*bucket))
            .collect()
    }

    /// Reads lines back, at `now`. Returns how many could not be read; they are left out, as are those of the future and of
    /// more than nine weeks ago.
    pub fn read_lines<S: AsRef<str>>(
        &mut self,
        now: Now,
        lines: impl IntoIterator<Item = S>,
    ) -> usize {
        let present = now.unix.as_secs() / BUCKET;
        let oldest = present.saturating_sub(u64::try_from(MOST_BUCKETS).unwrap_or(u64::MAX));
        let mut unreadable = 0;
        for line in lines {
            match serde_json::from_str::<Line>(line.as_ref()) {
                Ok(line) => {
                    let bucket = line.at.as_secs() / BUCKET;
                    if (oldest..=present).contains(&bucket) {
                        self.note(bucket, line.load);
                    }
                }
                Err(_) => unreadable += 1,
            }
        }
        unreadable
    }

    fn line(&self, bucket: u64) -> Option<String> {
        let line = Line {
            at: UnixTime::from_secs(bucket.checked_mul(BUCKET)?),
            load: *self.buckets.get(&bucket)?,
        };
        serde_json::to_string(&line).ok()
    }

    fn note(&mut self, bucket: u64, demand: Loads) {
        let before = self.buckets.entry(bucket).or_default();
        *before = before.greater(figures(demand));
        while self.buckets.len() > MOST_BUCKETS {
            if let Some((oldest, _)) = self.buckets.pop_first() {
                self.unwritten.remove(&oldest);
            }
        }
    }

    /// What one bucket of today, or of tomorrow, is expected to hold.
    fn expected(&self, bucket: u64, timezone: &TimeZone, forecast: &Forecast) -> Loads {
        let seconds = bucket
            .checked_mul(BUCKET)
            .and_then(|at| i64::try_from(at).ok());
        let Some(local) = seconds
            .and_then(|at| Timestamp::from_second(at).ok())
            .map(|at| at.to_zoned(timezone.clone()))
        else {
            return Loads::default();
        };
        let class = class_of(local.date(), forecast);
        let mut days = Vec::new();
        let mut date = local.date();
        for _ in 0..KEPT_DAYS {
            let Ok(before) = date.yesterday() else {
                break;
            };
            date = before;
            if class_of(date, forecast) != class {
                continue;
            }
            // A time that the clocks leave out is the one after it; one that comes twice is the first.
            let then = date.to_datetime(local.time()).to_zoned(timezone.clone());
            let then = then
                .ok()
                .and_then(|at| u64::try_from(at.timestamp().as_second()).ok());
            if let Some(load) = then.and_then(|at| self.buckets.get(&(at / BUCKET))) {
                days.push(*load);
            }
            if days.len() >= usize::try_from(forecast.days.clamp(1, Self::MOST_DAYS)).unwrap_or(1) {
                break;
            }
        }
        Dimension::ALL
            .into_iter()
            .fold(Loads::default(), |loads, dimension| {
                let values = days.iter().filter_map(|load| load.of(dimension)).collect();
                loads.with(dimension, percentile(values, forecast.percentile))
            })
    }
}

fn class_of(date: Date, forecast: &Forecast) -> Class {
    let holiday = !forecast.holidays.is_empty() && forecast.holidays.contains(&date.to_string());
    match date.weekday() {
        _ if holiday => Class::SundayOrHoliday,
        Weekday::Sunday => Class::SundayOrHoliday,
        Weekday::Saturday => Class::Saturday,
        Weekday::Monday
        | Weekday::Tuesday
        | Weekday::Wednesday
        | Weekday::Thursday
        | Weekday::Friday => Class::Weekday,
    }
}

/// The least of the values that at least this share of them does not exceed.
fn percentile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let count = u32::try_from(values.len()).ok()?;
    let rank = super::rounding::enough(within(share, 0.0, 1.0) * f64::from(count));
    let last = rank.saturating_sub(1).min(count.checked_sub(1)?);
    values.get(usize::try_from(last).ok()?).copied()
}
