//! A trace: how many allocations began in each interval of some days, as CSV.
//!
//! Responsible for the format, strictly: a trace that is read is one that was meant. Not responsible for where a trace comes
//! from; `telehealth` makes one.
//!
//! ```text
//! # comments, before the header alone
//! time,started,minutes_mean
//! 2026-03-30T08:00:00+11:00,31,20
//! 2026-03-30T08:01:00+11:00,44,20
//! ```
//!
//! `time` begins an interval (RFC 3339, any offset); all are as long as the first, without gaps. `started` is how many
//! allocations began in it, `minutes_mean` (may be left out: 20) how long those last on the average. Who only knows how many
//! were live writes `time,allocations`, from which the starts are reckoned.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use taciturn_protocol::time::UnixTime;

/// The longest trace that is read, in bytes.
pub const MOST_BYTES: u64 = 64 << 20;
/// Most intervals.
const MOST_ROWS: usize = 1_000_000;
/// Most allocations that begin in one interval.
const MOST_STARTED: f64 = 1_000_000.0;
/// Most allocations in all.
const MOST_IN_ALL: f64 = 100_000_000.0;
/// How long allocations last on the average where the trace does not say.
const MINUTES: f64 = 20.0;
/// The longest mean.
const MOST_MINUTES: f64 = 240.0;
/// The longest interval, in seconds.
const LONGEST_INTERVAL: i64 = 3600;

/// The spread of the logarithm of how long an allocation lasts.
pub(super) const SPREAD: f64 = 0.6;
/// No allocation lasts longer than this many times the mean: 90 minutes where that is 20.
pub(super) const LONGEST: f64 = 4.5;

/// Arrivals by interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// When the first interval begins.
    pub start: UnixTime,
    /// How long each is: 1 second to an hour.
    pub interval: Duration,
    /// One for each.
    pub rows: Vec<Row>,
}

/// What began in one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// How many allocations. Parts are carried over to the next row.
    pub started: f64,
    /// How many minutes they last on the average.
    pub minutes_mean: f64,
}

/// Where a trace is wrong, how, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {what}")]
pub struct TraceError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub what: String,
}

/// What the second column says.
#[derive(Clone, Copy, PartialEq)]
enum Columns {
    Started,
    StartedAndMinutes,
    Live,
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn read(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        let header = lines.by_ref().find(|(_, line)| !line.starts_with('#'));
        let columns = columns(header)?;
        let mut times = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        let mut in_all = 0.0;
        for (line, text) in lines {
            let wrong = |what| TraceError { line, what };
            let (time, row) = row(text, columns).map_err(wrong)?;
            follows(&times, time).map_err(wrong)?;
            in_all += row.started;
            if rows.len() == MOST_ROWS || (columns != Columns::Live && in_all > MOST_IN_ALL) {
                return Err(wrong(format!(
                    "is too much: a trace has at most {MOST_ROWS} intervals and {MOST_IN_ALL} allocations; cut it into several"
                )));
            }
            times.push(time);
            rows.push(row);
        }
        let (Some(first), Some(second)) = (times.first(), times.get(1)) else {
            return Err(TraceError {
                line: text.lines().count().max(1),
                what: "ends too early: at least two intervals are needed, to know how long one is"
                    .to_owned(),
            });
        };
        let interval = Duration::from_secs(u64::try_from(second - first).unwrap_or(1));
        if columns == Columns::Live {
            rows = starts_of(&rows, interval);
        }
        Ok(Self {
            start: UnixTime::from_secs(u64::try_from(*first).unwrap_or(0)),
            interval,
            rows,
        })
    }

    /// The trace as CSV, its times as clocks show them in `zone`, after `comment` (one line or more).
    pub fn write(&self, zone: &TimeZone, comment: &str) -> String {
        let mut text = String::new();
        for line in comment.lines() {
            let _ = writeln!(text, "# {line}");
        }
        text.push_str("time,started,minutes_mean\n");
        let mut time = i64::try_from(self.start.as_secs()).unwrap_or(i64::MAX);
        for row in &self.rows {
            let at = Timestamp::from_second(time).unwrap_or(Timestamp::MAX);
            let at = at.to_zoned(zone.clone());
            let _ = writeln!(
                text,
                "{},{},{}",
                at.strftime("%Y-%m-%dT%H:%M:%S%:z"),
                row.started,
                row.minutes_mean
            );
            time = time.saturating_add(i64::try_from(self.interval.as_secs()).unwrap_or(1));
        }
        text
    }

    /// How long it is, all of it.
    pub fn length(&self) -> Duration {
        let rows = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.interval.saturating_mul(rows)
    }
}

fn columns(header: Option<(usize, &str)>) -> Result<Columns, TraceError> {
    let (line, text) = header.unwrap_or((1, ""));
    match text.trim_end() {
        "time,started" => Ok(Columns::Started),
        "time,started,minutes_mean" => Ok(Columns::StartedAndMinutes),
        "time,allocations" => Ok(Columns::Live),
        other => Err(TraceError {
            line,
            what: format!(
                "\"{}\" is no header of a trace: write \"time,started\", \"time,started,minutes_mean\" or \"time,allocations\"",
                shortened(other)
            ),
        }),
    }
}

/// One line: the second at which its interval begins, and what began in it.
fn row(text: &str, columns: Columns) -> Result<(i64, Row), String> {
    let fields: Vec<&str> = text.trim_end().split(',').collect();
    let wanted = if columns == Columns::StartedAndMinutes {
        3
    } else {
        2
    };
    let (Some(time), Some(count), true) = (fields.first(), fields.get(1), fields.len() == wanted)
    else {
        return Err(format!(
            "\"{}\" has {} fields: the header says {wanted}, with a comma between them",
            shortened(text),
            fields.len()
        ));
    };
    let time: Timestamp = time.parse().map_err(|_| {
        format!(
            "time = \"{}\": is no time: write it with date and offset, such as 2026-03-30T08:00:00+11:00",
            shortened(time)
        )
    })?;
    if time.subsec_nanosecond() != 0 || time.as_second() < 0 {
        return Err(format!(
            "time = \"{time}\": intervals begin at whole seconds, after 1970"
        ));
    }
    let name = if columns == Columns::Live {
        "allocations"
    } else {
        "started"
    };
    let started = number(name, count, 0.0, MOST_STARTED)?;
    let minutes_mean = match fields.get(2) {
        Some(field) => number("minutes_mean", field, 0.1, MOST_MINUTES)?,
        None => MINUTES,
    };
    let row = Row {
        started,
        minutes_mean,
    };
    Ok((time.as_second(), row))
}

fn number(name: &str, field: &str, least: f64, most: f64) -> Result<f64, String> {
    field
        .parse()
        .ok()
        .filter(|value: &f64| (least..=most).contains(value))
        .ok_or_else(|| {
            format!(
                "{name} = \"{}\": write a number from {least} to {most}",
                shortened(field)
            )
        })
}

/// Whether an interval that begins at `time` is the next one.
fn follows(times: &[i64], time: i64) -> Result<(), String> {
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return Ok(());
    };
    let interval = times.get(1).map_or(time - first, |second| second - first);
    if !(1..=LONGEST_INTERVAL).contains(&interval) {
        return Err(format!(
            "the interval is {interval} seconds: the second row begins 1 to {LONGEST_INTERVAL} seconds after the first"
        ));
    }
    if time - last != interval {
        return Err(format!(
            "begins {} seconds after the row before it: intervals have no gaps and all last {interval} seconds, as the first \
             does; write 0 where nothing began",
            time - last
        ));
    }
    Ok(())
}

/// How many began, so that about as many are live at the end of each interval as was written.
fn starts_of(live: &[Row], interval: Duration) -> Vec<Row> {
    let step = interval.as_secs_f64() / 60.0;
    let left: Vec<f64> = (0_u32..)
        .map(|age| (f64::from(age) + 0.5) * step)
        .take_while(|minutes| *minutes < LONGEST * MINUTES)
        .map(|minutes| survives(minutes / MINUTES))
        .collect();
    let mut starts: Vec<Row> = Vec::with_capacity(live.len());
    for row in live {
        // Of what began before, the latest first, the part that still lives; `left` begins with this interval's own.
        let lives: f64 = starts
            .iter()
            .rev()
            .zip(left.iter().skip(1))
            .map(|(row, left)| row.started * left)
            .sum();
        let own = left.first().copied().unwrap_or(1.0);
        starts.push(Row {
            started: ((row.started - lives) / own).max(0.0),
            minutes_mean: MINUTES,
        });
    }
    starts
}

/// The share of allocations that live longer than `times` their mean.
fn survives(times: f64) -> f64 {
    let x = (times.ln() + SPREAD * SPREAD / 2.0) / SPREAD;
    // The logistic curve that is nearest to the normal one: within 0.01 everywhere.
    1.0 / (1.0 + (1.702 * x).exp())
}

/// The beginning of a text that may be anything, for a message of one line.
fn shortened(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    text.chars().take(60).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "# made by hand\ntime,started\n2026-03-30T08:00:00+11:00,3\n2026-03-29T21:01:00Z,4\n";

    #[test]
    fn what_is_written_is_read_back() {
        let trace = Trace::read(GOOD).expect("a good trace");
        assert_eq!(trace.interval, Duration::from_secs(60));
        assert_eq!(trace.length(), Duration::from_secs(120));
        assert_eq!(trace.start, UnixTime::from_secs(1_774_818_000));
        let zone = TimeZone::get("Australia/Sydney").expect("a zone that exists");
        let text = trace.write(&zone, "one\ntwo");
        assert!(
            text.starts_with(
                "# one\n# two\ntime,started,minutes_mean\n2026-03-30T08:00:00+11:00,3,20\n"
            ),
            "{text}"
        );
        assert_eq!(Trace::read(&text), Ok(trace));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_remedy() {
        let cases = [
            ("", 1, "is no header"),
            ("when,started\n", 1, "is no header"),
            ("time,started\n", 1, "ends too early"),
            (
                "time,started\n2026-03-30T08:00:00Z,1\n",
                2,
                "ends too early",
            ),
            ("time,started\n2026-03-30T08:00:00Z\n", 2, "has 1 fields"),
            (
                "time,started\n2026-03-30T08:00:00Z,1,20\n",
                2,
                "has 3 fields",
            ),
            (
                "time,started\n2026-03-30 08:00,1\n",
                2,
                "with date and offset",
            ),
            (
                "time,started\n2026-03-30T08:00:00.5Z,1\n",
                2,
                "whole seconds",
            ),
            ("time,started\n1969-03-30T08:00:00Z,1\n", 2, "after 1970"),
            ("time,started\n2026-03-30T08:00:00Z,-1\n", 2, "from 0 to"),
            ("time,started\n2026-03-30T08:00:00Z,NaN\n", 2, "from 0 to"),
            ("time,started\n2026-03-30T08:00:00Z,inf\n", 2, "from 0 to"),
            (
                "time,started,minutes_mean\n2026-03-30T08:00:00Z,1,0\n",
                2,
                "minutes_mean",
            ),
            (
                "time,started\n2026-03-30T08:00:00Z,1\n# late\n",
                3,
                "has 1 fields",
            ),
            (
                "time,started\n2026-03-30T08:00:00Z,1\n2026-03-30T08:00:00Z,1\n",
                3,
                "1 to 3600 seconds",
            ),
            (
                "time,started\n2026-03-30T08:00:00Z,1\n2026-03-30T08:01:00Z,1\n2026-03-30T08:03:00Z,1\n",
                4,
                "no gaps",
            ),
        ];
        for (text, line, words) in cases {
            let error = Trace::read(text).expect_err(text);
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.what.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_trace_without_an_end_is_refused_before_it_is_held() {
        let mut text = "time,started\n".to_owned();
        for minute in 0..200 {
            let at = Timestamp::from_second(1_774_818_000 + 60 * minute).expect("a time");
            let _ = writeln!(text, "{at},1000000");
        }
        let error = Trace::read(&text).expect_err("too many allocations");
        assert_eq!(
            (error.line, error.what.contains("cut it")),
            (102, true),
            "{error}"
        );
    }

    #[test]
    fn starts_that_are_reckoned_from_live_allocations_bring_about_as_many() {
        let mut text = "time,allocations\n".to_owned();
        for minute in 0..240 {
            let at = Timestamp::from_second(1_774_818_000 + 60 * minute).expect("a time");
            let _ = writeln!(text, "{at},{}", if minute < 30 { 10 * minute } else { 300 });
        }
        let trace = Trace::read(&text).expect("a good trace");
        let late: f64 = trace.rows.iter().skip(180).map(|row| row.started).sum();
        // 300 that last 20 minutes are 15 in a minute.
        assert!((late / 60.0 - 15.0).abs() < 0.5, "{late}");
    }
}
