//! The season: what the load was at this time of day on earlier days of the same kind.
//!
//! Scaling rules, forecast: buckets of five minutes, by local time of day and by whether it is a weekday, a Saturday, or a
//! Sunday or holiday; of each, a high percentile of the last days. It may only raise what is needed, and losing it loses
//! that floor alone. Not responsible for files (`reconcile`).

use std::time::Duration;

use taciturn_protocol::time::UnixTime;

use super::settings::Forecast;
use crate::fleet::Loads;

/// What was seen, by time of day and kind of day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Season {}

impl Season {
    /// Notes the demand of now.
    pub fn record(&mut self, _now: UnixTime, _demand: &Loads, _forecast: &Forecast) {}

    /// The greatest load that is to be expected from now until `ahead` later.
    pub fn outlook(&self, _now: UnixTime, _ahead: Duration, _forecast: &Forecast) -> Loads {
        Loads::default()
    }

    /// Lines that are not written yet, for appending to a file.
    pub fn write_lines(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Reads lines back; those that cannot be read are left out, and counted.
    pub fn read_lines(&mut self, lines: &[String]) -> usize {
        lines.len()
    }
}
