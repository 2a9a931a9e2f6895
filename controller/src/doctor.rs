//! Whether a controller could work here: everything outside its configuration that has to be right, looked at before it matters.
//!
//! Responsible for findings, each with the command or the key that mends it. Changes nothing anywhere. Not responsible for the
//! configuration's own errors (`config`), nor for printing.

mod audit;
mod clocks;
mod fixes;
mod group;
mod lease;
mod machines;
mod places;
mod relays;
mod sovereignty;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::{ControllerConfig, Provider};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, as a closed word.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// How it is, in words.
    pub words: String,
    /// The command or the key that mends it, where there is something to mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and somebody should look at it.
    Doubtful,
    /// It has to be mended before a controller runs here.
    Bad,
}

impl Verdict {
    /// The word in both outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Bad => "bad",
        }
    }
}

impl Finding {
    pub(crate) fn good(check: &'static str, words: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Good,
            words: words.into(),
            remedy: None,
        }
    }

    pub(crate) fn doubtful(
        check: &'static str,
        words: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            verdict: Verdict::Doubtful,
            words: words.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(crate) fn bad(
        check: &'static str,
        words: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            verdict: Verdict::Bad,
            words: words.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// Looks at everything, one thing after another where the later ones need the earlier. Takes as long as what does not answer:
/// every call has its own bound.
pub async fn examine(config: &ControllerConfig) -> Vec<Finding> {
    let clock = Clock::start();
    let mut findings = Vec::new();
    for warning in &config.warnings {
        findings.push(Finding::doubtful(
            "configuration",
            warning.to_string(),
            "see the line",
        ));
    }
    findings.extend(sovereignty::examine(config));
    findings.extend(clocks::examine(clock.unix()));
    findings.push(audit::examine(config));
    findings.push(lease::examine(config).await);
    if let Provider::Aws(aws) = &config.provider {
        findings.extend(group::examine(config, aws).await);
    }
    findings.extend(machines::examine(config));
    findings.extend(relays::examine(config, clock).await);
    findings
}

/// The worst of `findings`; good where there are none.
pub fn worst(findings: &[Finding]) -> Verdict {
    let verdicts = findings.iter().map(|finding| finding.verdict);
    verdicts.max().unwrap_or(Verdict::Good)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
