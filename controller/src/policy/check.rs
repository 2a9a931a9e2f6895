//! Whether a policy makes sense: every contradiction at once, with its key, its value, and what to write instead.
//!
//! Not responsible for the syntax (`config`).

use std::fmt::Display;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::schedule::{day_of, time};
use super::season::Season;
use super::settings::{Forecast, Policy, Schedule};
use crate::durations;
use crate::fleet::{Dimension, Loads};

/// More relays than a fleet can have: a slip of the keyboard.
const MOST_RELAYS: u32 = 10_000;

/// A week: no drain and no window is longer.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

impl Policy {
    /// Everything that is wrong with it: `key = value: what is wrong; what to write`. Empty: nothing.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Faults(Vec::new());
        self.sizes(&mut faults);
        self.shares(&mut faults);
        self.times(&mut faults);
        forecast(&self.forecast, &mut faults);
        for (nth, entry) in self.schedule.iter().enumerate() {
            schedule(nth, entry, self, &mut faults);
        }
        self.capacities(&mut faults);
        faults.0
    }

    fn sizes(&self, faults: &mut Faults) {
        let (min, max) = (self.min, self.max);
        faults.when(min > max, "min", min, || {
            format!("is more than max = {max}; write a smaller min or a greater max")
        });
        faults.when(max == 0, "max", max, || {
            "allows no relay at all; write 1 or more".to_owned()
        });
        faults.when(max > MOST_RELAYS, "max", max, || {
            format!("is more than any fleet has; write {MOST_RELAYS} or less")
        });
        faults.when(self.surge > MOST_RELAYS, "surge", self.surge, || {
            format!("is more than any fleet has; write {MOST_RELAYS} or less")
        });
        let positive = [
            ("up-step", self.up_step, "no relay would ever be added"),
            (
                "down-step",
                self.down_step,
                "no relay would ever be taken away",
            ),
            (
                "launches-per-hour",
                self.launches_per_hour,
                "no relay would ever be launched",
            ),
            (
                "breaker-after",
                self.breaker_after,
                "launching would pause before the first failure",
            ),
        ];
        for (key, value, then) in positive {
            faults.when(value == 0, key, value, || {
                format!("{then}; write 1 or more")
            });
        }
    }

    fn shares(&self, faults: &mut Faults) {
        let shares = [
            ("up-share", self.up_share, 0.0, 1.0),
            ("stale-share", self.stale_share, 0.0, 1.0),
            ("unhealthy-share", self.unhealthy_share, 0.0, 0.5),
            ("fill-target", self.fill_target, 0.1, 1.0),
            ("headroom-up", self.headroom_up, 0.0, 5.0),
            ("headroom-down", self.headroom_down, 0.0, 5.0),
            ("slack", self.slack, 0.0, 10.0),
        ];
        for (key, value, least, most) in shares {
            let inside = value.is_finite() && value >= least && value <= most;
            faults.when(!inside, key, value, || {
                format!("is not between {least} and {most}; write a number in that range")
            });
        }
        let (up, down) = (self.headroom_up, self.headroom_down);
        faults.when(down < up, "headroom-down", down, || {
            format!(
                "is less than headroom-up = {up}, so that the fleet would swing; write {up} or more"
            )
        });
    }

    fn times(&self, faults: &mut Faults) {
        let positive = [
            ("trend-window", self.trend_window),
            ("up-period", self.up_period),
            ("down-period", self.down_period),
            ("stale-after", self.stale_after),
            ("ready-timeout", self.ready_timeout),
            ("backoff", self.backoff),
            ("backoff-max", self.backoff_max),
            ("drain-deadline", self.drain_deadline),
            ("extend-period", self.extend_period),
        ];
        let any = [
            ("lead", self.lead),
            ("window", self.window),
            ("quiet-after-launch", self.quiet_after_launch),
            ("quiet-after-start", self.quiet_after_start),
            ("second-look", self.second_look),
            ("list-ttl", self.list_ttl),
            ("min-drain", self.min_drain),
            ("min-age", self.min_age),
        ];
        for (key, value) in positive {
            faults.when(value.is_zero(), key, durations::words(value), || {
                "is no time at all; write a duration such as \"5m\"".to_owned()
            });
        }
        for (key, value) in positive.into_iter().chain(any) {
            faults.when(value > LONGEST, key, durations::words(value), || {
                "is more than a week; write \"7d\" or less".to_owned()
            });
        }
        let pairs = [
            ("backoff-max", self.backoff_max, "backoff", self.backoff),
            (
                "drain-deadline",
                self.drain_deadline,
                "min-drain",
                self.min_drain,
            ),
        ];
        for (key, value, other, least) in pairs {
            faults.when(value < least, key, durations::words(value), || {
                let least = durations::words(least);
                format!("is less than {other} = {least}; write that or more")
            });
        }
    }

    fn capacities(&self, faults: &mut Faults) {
        for (kind, capacity) in &self.capacity {
            let capacity = Loads::from(*capacity);
            for dimension in Dimension::ALL {
                let Some(value) = capacity.of(dimension) else {
                    continue;
                };
                let wrong = !value.is_finite() || value <= 0.0;
                let key = format!("capacity.{kind}.{dimension}");
                faults.when(wrong, &key, value, || {
                    "is not above zero; write what such a relay carries, or leave it out".to_owned()
                });
            }
            let core = capacity.core.filter(|core| *core > 1.0);
            if let Some(core) = core {
                faults.push(
                    &format!("capacity.{kind}.core"),
                    core,
                    "is more than one core; write a share between 0 and 1",
                );
            }
            if capacity == Loads::default() {
                faults.push(
                    &format!("capacity.{kind}"),
                    "{}",
                    "says nothing; write at least one figure, or leave it out",
                );
            }
        }
    }
}

fn forecast(forecast: &Forecast, faults: &mut Faults) {
    zone("forecast.timezone", &forecast.timezone, faults);
    for day in &forecast.holidays {
        let date = day.parse::<Date>().ok();
        let exact = date.is_some_and(|date| date.to_string() == *day);
        faults.when(!exact, "forecast.holidays", quoted(day), || {
            "is no date; write it as \"2026-12-25\"".to_owned()
        });
    }
    let inside = forecast.percentile > 0.0 && forecast.percentile <= 1.0;
    faults.when(!inside, "forecast.percentile", forecast.percentile, || {
        "is no share of days; write a number above 0 and up to 1, such as 0.9".to_owned()
    });
    let inside = forecast.margin >= 1.0 && forecast.margin <= 10.0;
    faults.when(!inside, "forecast.margin", forecast.margin, || {
        "is not between 1 and 10; write 1.1 for a tenth above the season".to_owned()
    });
    let days = forecast.days;
    faults.when(
        !(1..=Season::MOST_DAYS).contains(&days),
        "forecast.days",
        days,
        || format!("is not between 1 and {}; write 4", Season::MOST_DAYS),
    );
}

fn schedule(nth: usize, entry: &Schedule, policy: &Policy, faults: &mut Faults) {
    let key = |name: &str| format!("schedule[{nth}].{name}");
    faults.when(entry.days.is_empty(), &key("days"), "[]", || {
        "names no day; write some of mon, tue, wed, thu, fri, sat, sun".to_owned()
    });
    for day in entry.days.iter().filter(|day| day_of(day).is_none()) {
        faults.push(
            &key("days"),
            quoted(day),
            "is no day; write mon, tue, wed, thu, fri, sat or sun",
        );
    }
    for (name, text) in [("from", &entry.from), ("to", &entry.to)] {
        faults.when(time(text).is_none(), &key(name), quoted(text), || {
            "is no time of day; write it as \"08:00\"".to_owned()
        });
    }
    zone(&key("timezone"), &entry.timezone, faults);
    faults.when(entry.min > policy.max, &key("min"), entry.min, || {
        format!(
            "is more than max = {}; write less, or a greater max",
            policy.max
        )
    });
}

fn zone(key: &str, name: &str, faults: &mut Faults) {
    faults.when(TimeZone::get(name).is_err(), key, quoted(name), || {
        "is no time zone; write an IANA name such as \"Australia/Sydney\"".to_owned()
    });
}

/// As it stands in the file, with anything strange made visible.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

struct Faults(Vec<String>);

impl Faults {
    fn when(&mut self, wrong: bool, key: &str, value: impl Display, what: impl FnOnce() -> String) {
        if wrong {
            self.push(key, value, &what());
        }
    }

    fn push(&mut self, key: &str, value: impl Display, what: &str) {
        self.0.push(format!("{key} = {value}: {what}"));
    }
}
