//! What can be ordered, by whom, and why an order is refused.
//!
//! Not responsible for carrying any of it out.

use serde::{Deserialize, Serialize};

use crate::forensics::turns_or_breaks_lines;

/// Longest reason of a drain.
const REASON_BYTES: usize = 256;
/// The last second of the year 9999. A deadline beyond it was written in another unit.
const LAST_SECOND: u64 = 253_402_300_799;

/// A drain as it is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainOrder {
    /// When the relay may be stopped with allocations left: seconds since 1970-01-01 UTC.
    pub deadline: u64,
    /// Why, for people.
    pub reason: String,
    /// The controller's epoch; an order of an older one is refused.
    pub epoch: u64,
}

/// Who orders a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrainSource {
    /// The admin API: an operator, or a controller.
    Operator,
    /// SIGTERM or SIGINT: the process is to end.
    Signal,
    /// The cloud says that the instance is to end.
    Metadata,
}

/// A drain that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentDrain {
    /// Who ordered it.
    pub source: DrainSource,
    /// When it began: seconds since 1970-01-01 UTC.
    pub started: u64,
    /// What was ordered.
    #[serde(flatten)]
    pub order: DrainOrder,
}

/// A drain that is under way, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrainStatus {
    /// The drain.
    #[serde(flatten)]
    pub drain: CurrentDrain,
    /// Whether the deadline lies in the past.
    pub deadline_passed: bool,
    /// Live allocations.
    pub allocations_remaining: u64,
    /// Those of them that had carried nothing when that was last looked at, every half minute.
    pub idle_allocations: u64,
    /// Whether the process ends when none is left.
    pub stopping: bool,
    /// Whether the drain goes on after a restart.
    pub survives_restart: bool,
}

/// Why an order is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrainRefused {
    /// Another order was newer.
    #[error("epoch {given} is older than {seen}, which has been seen already")]
    OlderEpoch {
        /// The epoch of the order that is refused.
        given: u64,
        /// The highest one so far.
        seen: u64,
    },
    /// The process ends.
    #[error("the relay is ending: its last allocation has ended, or its deadline has come")]
    Ending,
    /// The relay has not started.
    #[error("the relay is not serving yet")]
    NotServing,
    /// The reason is too long for a status and a log.
    #[error("reason is longer than 256 bytes")]
    LongReason,
    /// The reason would break lines of a log, or turn them around.
    #[error("reason has control characters, or ones that turn the direction of writing")]
    ControlCharacters,
    /// There would be no time left.
    #[error("deadline is not in the future: it is the unix time in seconds")]
    DeadlineInPast,
    /// A deadline in milliseconds, most likely.
    #[error("deadline is after the year 9999: it is the unix time in seconds")]
    DeadlineFar,
}

impl DrainSource {
    /// All sources.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Signal, Self::Metadata];

    /// The word used in metrics, logs and the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Signal => "signal",
            Self::Metadata => "metadata",
        }
    }

    /// Its place in [`DrainSource::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Operator => 0,
            Self::Signal => 1,
            Self::Metadata => 2,
        }
    }
}

impl DrainOrder {
    /// Whether the order makes sense at `now`. A signal's deadline may be now: then there is nothing to wait for.
    pub(super) fn check(&self, source: DrainSource, now: u64) -> Result<(), DrainRefused> {
        self.check_form()?;
        if source == DrainSource::Operator && self.deadline <= now {
            Err(DrainRefused::DeadlineInPast)
        } else {
            Ok(())
        }
    }

    /// Whether it can be shown and written down, whenever it was given.
    pub(super) fn check_form(&self) -> Result<(), DrainRefused> {
        if self.reason.len() > REASON_BYTES {
            Err(DrainRefused::LongReason)
        } else if self
            .reason
            .chars()
            .any(|c| c.is_control() || turns_or_breaks_lines(c))
        {
            Err(DrainRefused::ControlCharacters)
        } else if self.deadline > LAST_SECOND {
            Err(DrainRefused::DeadlineFar)
        } else {
            Ok(())
        }
    }
}
