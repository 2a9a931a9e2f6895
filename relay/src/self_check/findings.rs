//! What the self-checks have found so far, as everybody else sees it.
//!
//! Responsible for turning outcomes into a judgement: a listener fails after two failures in a row and works again after one
//! success, so that one lost packet takes no relay out of service. Not responsible for checking.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use taciturn_protocol::address::Transport;

/// Failures in a row after which a path is judged to fail.
const FAILURES: u32 = 2;

/// What one check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Allocated twice, and payloads came through.
    Success,
    /// The relay is at one of its limits: the path to it is in order.
    Full,
    /// It does not work.
    Failure,
}

impl Outcome {
    /// Every outcome, in the order of [`Outcome::index`].
    pub const ALL: [Self; 3] = [Self::Success, Self::Full, Self::Failure];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Full => "full",
            Self::Failure => "failure",
        }
    }

    /// Position in [`Outcome::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Where an advertised address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advertised {
    /// To this relay: it took credentials that only this process knows.
    Ok,
    /// To a server that does not take them: somebody else's.
    Foreign,
    /// Nobody knows: no answer, as behind a NAT that does not lead back inside.
    Silent,
}

impl Advertised {
    /// Every result, in the order of severity.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Silent, Self::Foreign];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Foreign => "foreign",
            Self::Silent => "silent",
        }
    }
}

/// One path and its last checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathState {
    /// How it is reached.
    pub transport: Transport,
    failures: u32,
    failing: bool,
}

/// All paths at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// The listeners' paths, in the order of the configuration.
    pub paths: Vec<PathState>,
    /// Each advertised address that is looked at, with its last result; `None` before the first.
    pub advertised: Vec<Option<Advertised>>,
    foreign: Vec<u32>,
    /// Checks so far, by [`Outcome::index`].
    pub checks: [u64; Outcome::ALL.len()],
    /// How long the last one took.
    pub last: Duration,
}

impl Picture {
    /// Nothing known yet about these paths and so many advertised addresses: nothing fails.
    pub(super) fn unknown(paths: &[Transport], advertised: usize) -> Self {
        let paths = paths.iter().map(|transport| PathState {
            transport: *transport,
            failures: 0,
            failing: false,
        });
        Self {
            paths: paths.collect(),
            advertised: vec![None; advertised],
            foreign: vec![0; advertised],
            ..Self::default()
        }
    }

    /// Notes what a check of a path came to and how long it took; tells whether the path's judgement has changed.
    pub(super) fn note(&mut self, path: usize, outcome: Outcome, took: Duration) -> bool {
        if let Some(count) = self.checks.get_mut(outcome.index()) {
            *count += 1;
        }
        self.last = took;
        let Some(path) = self.paths.get_mut(path) else {
            return false;
        };
        path.failures = match outcome {
            Outcome::Failure => path.failures.saturating_add(1),
            Outcome::Success | Outcome::Full => 0,
        };
        let before = path.failing;
        path.failing = path.failures >= FAILURES;
        before != path.failing
    }

    /// Notes where an advertised address leads; tells whether that is news.
    pub(super) fn note_advertised(&mut self, index: usize, result: Advertised) -> bool {
        if let Some(count) = self.foreign.get_mut(index) {
            *count = match result {
                Advertised::Foreign => count.saturating_add(1),
                Advertised::Ok | Advertised::Silent => 0,
            };
        }
        self.advertised
            .get_mut(index)
            .is_some_and(|last| last.replace(result) != Some(result))
    }

    /// Whether this path is judged to fail.
    pub(super) fn fails(&self, path: usize) -> bool {
        self.paths.get(path).is_some_and(PathState::is_failing)
    }

    /// Whether a path through a listener fails.
    pub fn path_fails(&self) -> bool {
        self.paths.iter().any(PathState::is_failing)
    }

    /// Whether an advertised address leads to somebody else.
    pub fn advertised_is_foreign(&self) -> bool {
        self.foreign.iter().any(|count| *count >= FAILURES)
    }
}

impl PathState {
    /// Whether it is judged to fail.
    pub const fn is_failing(&self) -> bool {
        self.failing
    }
}

/// The latest picture, for those who decide and those who show. Readers take it whole and wait for nobody.
#[derive(Debug, Default)]
pub struct Findings {
    latest: ArcSwap<Picture>,
}

impl Findings {
    pub(super) fn publish(&self, picture: Picture) {
        self.latest.store(Arc::new(picture));
    }

    /// The latest picture.
    pub fn latest(&self) -> Arc<Picture> {
        self.latest.load_full()
    }

    /// Whether new clients should go elsewhere: a listener's path fails, or an advertised address leads to somebody else.
    /// False while nothing is known, and without self-checks.
    pub fn is_failing(&self) -> bool {
        let picture = self.latest.load();
        picture.path_fails() || picture.advertised_is_foreign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(3);

    fn two_paths() -> Picture {
        Picture::unknown(&[Transport::Udp, Transport::Tls], 1)
    }

    #[test]
    fn nothing_fails_before_anything_is_known() {
        let findings = Findings::default();
        assert!(!findings.is_failing());
        findings.publish(two_paths());
        assert!(!findings.is_failing());
    }

    #[test]
    fn a_path_fails_after_two_failures_in_a_row_and_works_after_one_success() {
        let mut picture = two_paths();
        assert!(!picture.note(0, Outcome::Failure, TOOK));
        assert!(!picture.path_fails(), "one failure is no failure");
        assert!(!picture.note(1, Outcome::Failure, TOOK));
        assert!(!picture.path_fails(), "two paths fail once each");
        assert!(
            picture.note(0, Outcome::Failure, TOOK),
            "the change is told"
        );
        assert!(picture.path_fails());
        assert!(!picture.note(0, Outcome::Failure, TOOK), "and told once");
        assert!(!picture.note(1, Outcome::Success, TOOK));
        assert!(
            picture.path_fails(),
            "another path's success changes nothing"
        );
        assert!(picture.note(0, Outcome::Success, TOOK));
        assert!(!picture.path_fails());
        assert_eq!(picture.checks, [2, 0, 4]);
        assert_eq!(picture.last, TOOK);
    }

    #[test]
    fn a_full_relay_is_no_failure_and_ends_a_row_of_them() {
        let mut picture = two_paths();
        picture.note(0, Outcome::Failure, TOOK);
        picture.note(0, Outcome::Full, TOOK);
        picture.note(0, Outcome::Failure, TOOK);
        assert!(!picture.path_fails());
    }

    #[test]
    fn a_foreign_advertised_address_counts_after_two_results_and_silence_never_does() {
        let mut picture = two_paths();
        assert!(picture.note_advertised(0, Advertised::Silent));
        assert!(!picture.note_advertised(0, Advertised::Silent), "no news");
        assert!(picture.note_advertised(0, Advertised::Foreign));
        assert!(!picture.advertised_is_foreign());
        assert!(!picture.note_advertised(0, Advertised::Foreign));
        assert!(picture.advertised_is_foreign());
        let findings = Findings::default();
        findings.publish(picture.clone());
        assert!(findings.is_failing());
        assert!(picture.note_advertised(0, Advertised::Ok));
        assert!(!picture.advertised_is_foreign());
    }

    #[test]
    fn what_is_out_of_range_changes_nothing() {
        let mut picture = two_paths();
        assert!(!picture.note(7, Outcome::Failure, TOOK));
        assert!(!picture.note_advertised(7, Advertised::Foreign));
        assert!(!picture.path_fails() && !picture.advertised_is_foreign());
    }
}
