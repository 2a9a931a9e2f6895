//! How reloads went: the metrics, and what is logged.
//!
//! Not responsible for reloading.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use taciturn_protocol::time::UnixTime;

use crate::metrics::{Family, Source};

/// How a reload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new configuration is in force.
    Applied,
    /// The files say what they said before.
    Unchanged,
    /// Something is wrong, and what was in force still is.
    Refused,
}

impl Outcome {
    /// Every outcome, in the order of its index.
    pub const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// How reloads went since the start.
#[derive(Debug)]
pub struct Reloads {
    counts: [AtomicU64; Outcome::ALL.len()],
    failed: AtomicBool,
    loaded: AtomicU64,
}

impl Reloads {
    /// None yet; the configuration in force was read at `started`.
    pub fn new(started: UnixTime) -> Self {
        Self {
            counts: Default::default(),
            failed: AtomicBool::new(false),
            loaded: AtomicU64::new(started.as_secs()),
        }
    }

    /// Whether the files as they are now are refused.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// When the configuration in force was read.
    pub fn loaded(&self) -> UnixTime {
        UnixTime::from_secs(self.loaded.load(Ordering::Relaxed))
    }

    pub(super) fn note(&self, outcome: Outcome, now: UnixTime) {
        if let Some(count) = self.counts.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        match outcome {
            Outcome::Applied => {
                self.loaded.store(now.as_secs(), Ordering::Relaxed);
                self.failed.store(false, Ordering::Relaxed);
            }
            Outcome::Unchanged => {}
            Outcome::Refused => self.failed.store(true, Ordering::Relaxed),
        }
    }
}

impl Source for Reloads {
    fn families(&self) -> Vec<Family> {
        vec![
            Family::counters(
                "taciturn_relay_config_reloads_total",
                "Reloads of the configuration, by what came of them.",
                ["outcome"],
                Outcome::ALL
                    .iter()
                    .zip(&self.counts)
                    .map(|(outcome, count)| ([outcome.as_str()], count.load(Ordering::Relaxed))),
            ),
            Family::gauge(
                "taciturn_relay_config_reload_failed",
                "1 while the configuration's files are refused and an earlier configuration is in force.",
                self.failed(),
            ),
            Family::gauge(
                "taciturn_relay_config_loaded_timestamp_seconds",
                "When the configuration in force was read, in seconds since 1970.",
                self.loaded().as_secs(),
            ),
        ]
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_refusal_is_raised_until_a_configuration_is_applied() {
        let reloads = Arc::new(Reloads::new(UnixTime::from_secs(5)));
        let metrics = Metrics::new(vec![Box::new(Arc::clone(&reloads))]).unwrap();
        let shows = |lines: &[&str]| {
            let text = metrics.encode().unwrap();
            for line in lines {
                assert!(
                    text.lines().any(|each| each == *line),
                    "no {line} in\n{text}"
                );
            }
        };
        shows(&[
            "taciturn_relay_config_reload_failed 0",
            "taciturn_relay_config_loaded_timestamp_seconds 5",
            "taciturn_relay_config_reloads_total{outcome=\"applied\"} 0",
        ]);
        reloads.note(Outcome::Refused, UnixTime::from_secs(6));
        reloads.note(Outcome::Unchanged, UnixTime::from_secs(7));
        shows(&[
            "taciturn_relay_config_reload_failed 1",
            "taciturn_relay_config_loaded_timestamp_seconds 5",
            "taciturn_relay_config_reloads_total{outcome=\"refused\"} 1",
            "taciturn_relay_config_reloads_total{outcome=\"unchanged\"} 1",
        ]);
        reloads.note(Outcome::Applied, UnixTime::from_secs(8));
        shows(&[
            "taciturn_relay_config_reload_failed 0",
            "taciturn_relay_config_loaded_timestamp_seconds 8",
            "taciturn_relay_config_reloads_total{outcome=\"applied\"} 1",
        ]);
    }
}
