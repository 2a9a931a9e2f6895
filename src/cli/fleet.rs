//! Options of the commands that look at a fleet's decisions without touching a fleet: `plan` and `simulate`.
//!
//! Responsible for names, defaults and help texts. Not for doing anything.

use core::time::Duration;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use taciturn_controller::durations;
use taciturn_controller::simulate::{Scenario, Span};

/// Options of `taciturn plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanOptions {
    /// A snapshot of a fleet, as GET /v1/fleet?form=snapshot of a controller gives it
    #[arg(long, value_name = "FILE")]
    pub(crate) fleet: PathBuf,

    /// A controller.toml, or a file with the keys of its policy section alone; without it the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// Print one JSON object: actions, need, brakes, alarms, offered and summary
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `taciturn simulate`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["trace", "generate"]))]
pub(crate) struct SimulateOptions {
    /// How many allocations began in each interval, as CSV: time,started or time,started,minutes_mean or time,allocations
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(crate) trace: Option<PathBuf>,

    /// A controller.toml, or a file with the keys of its policy section alone; needed with --trace
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    pub(crate) policy: Option<PathBuf>,

    /// Print a made-up trace instead of replaying one; its rhythm is described in docs/scaling.md
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) generate: Option<Generated>,

    /// Allocations at the busiest time of a usual weekday, for --generate
    #[arg(long, value_name = "COUNT", default_value_t = 3000, requires = "generate",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) peak: u32,

    /// What is left to chance: the same seed gives the same figures
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Put other algorithms through the same: target tracking, a ratio with a window, a fixed number
    #[arg(long, conflicts_with = "generate")]
    pub(crate) compare: bool,

    /// What goes wrong, at the trace's peak or in the 20 minutes before it
    #[arg(long, value_name = "NAME", default_value = "none", value_parser = scenario, conflicts_with = "generate",
          help = scenario_help())]
    pub(crate) scenario: Scenario,

    /// How long a relay takes from its launch until it serves, on the average
    #[arg(long, value_name = "DURATION", default_value = "150s", value_parser = up_to_an_hour, conflicts_with = "generate")]
    pub(crate) boot: Duration,

    /// How often the controller looks
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval, conflicts_with = "generate")]
    pub(crate) interval: Duration,

    /// Allocations that a relay can carry; otherwise what the policy's capacity says, or 250
    #[arg(long, value_name = "COUNT", conflicts_with = "generate",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) relay_carries: Option<u32>,

    /// Zones, where the policy names none
    #[arg(long, value_name = "COUNT", default_value_t = 3, conflicts_with = "generate",
          value_parser = clap::value_parser!(u32).range(1..=26))]
    pub(crate) zones: u32,

    /// Write every decision and its reason to this file, one line each
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    pub(crate) decisions: Option<PathBuf>,

    /// Print one JSON object with all figures
    #[arg(long, conflicts_with = "generate")]
    pub(crate) json: bool,
}

/// Traces that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generated {
    /// A week with a surge day, a flash crowd, a holiday and the end of daylight saving time
    TelehealthWeek,
    /// The same after three plain weeks
    TelehealthMonth,
    /// The first of those, without anything special
    PlainWeek,
}

impl From<Generated> for Span {
    fn from(generated: Generated) -> Self {
        match generated {
            Generated::TelehealthWeek => Self::Week,
            Generated::TelehealthMonth => Self::Month,
            Generated::PlainWeek => Self::PlainWeek,
        }
    }
}

fn scenario_help() -> String {
    let names: Vec<&str> = Scenario::ALL.iter().map(|one| one.as_str()).collect();
    format!(
        "What goes wrong, at the trace's peak or in the 20 minutes before it: {}",
        names.join(", ")
    )
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let named = Scenario::ALL.into_iter().find(|one| one.as_str() == name);
    named.ok_or_else(|| {
        let names: Vec<&str> = Scenario::ALL.iter().map(|one| one.as_str()).collect();
        format!("write one of {}", names.join(", "))
    })
}

fn up_to_an_hour(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(1), Duration::from_secs(3600))
}

fn interval(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(1), Duration::from_secs(60))
}

/// Whole seconds, as the simulation counts in them.
fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = durations::parse(text)?;
    if (least..=most).contains(&duration) && duration.subsec_nanos() == 0 {
        Ok(duration)
    } else {
        Err(format!(
            "write whole seconds from {} to {}",
            durations::words(least),
            durations::words(most)
        ))
    }
}
