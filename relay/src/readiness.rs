//! Whether new clients should be sent to this relay, and every reason why not.
//!
//! Responsible for bringing phase, overload and self-check together in one answer, which the admin API, the metrics and
//! the status line all show. Not responsible for finding any of them out, nor for what becomes of clients that come all
//! the same: an established call is served whatever is said here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use taciturn_protocol::status::Phase;

use crate::counters::Totals;
use crate::metrics::{Family, Source};
use crate::phase::SharedPhase;

/// Why a relay is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It does not serve yet.
    Launching,
    /// It is being drained.
    Draining,
    /// It has been drained.
    Drained,
    /// It refuses new allocations so that established calls do not suffer.
    Overload,
    /// Its own client could not allocate and relay through its own listeners.
    SelfCheck,
}

impl Reason {
    /// The word in `/ready`, the status and the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launching => "launching",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Overload => "overload",
            Self::SelfCheck => "self_check",
        }
    }
}

/// What readiness depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Where the relay is in its life.
    pub phase: Phase,
    /// Whether new allocations are shed.
    pub overloaded: bool,
    /// Whether the relay's own client fails. One that has not tried yet does not fail.
    pub self_check_failing: bool,
}

/// Whether new clients should come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether they should: there is no reason against it.
    pub ready: bool,
    /// Every reason against it, in the order of [`Reason`].
    pub reasons: Vec<Reason>,
}

impl Readiness {
    /// Judges the signs.
    pub fn of(signs: Signs) -> Self {
        let phase = match signs.phase {
            Phase::Ready => None,
            // A relay never calls itself lost; were it to, nobody should come.
            Phase::Launching | Phase::Lost => Some(Reason::Launching),
            Phase::Draining => Some(Reason::Draining),
            Phase::Drained => Some(Reason::Drained),
        };
        let overload = signs.overloaded.then_some(Reason::Overload);
        let self_check = signs.self_check_failing.then_some(Reason::SelfCheck);
        let reasons: Vec<Reason> = [phase, overload, self_check]
            .into_iter()
            .flatten()
            .collect();
        Self {
            ready: reasons.is_empty(),
            reasons,
        }
    }

    /// The words of the reasons.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        self.reasons.iter().map(|reason| reason.as_str())
    }
}

/// The signs as they are now: set by whoever finds them out, read by whoever shows them.
#[derive(Debug)]
pub struct SharedReadiness {
    phase: Arc<SharedPhase>,
    totals: Totals,
    overloaded: AtomicBool,
    self_check_failing: AtomicBool,
}

impl SharedReadiness {
    /// Readiness of a relay in this phase that is neither overloaded nor found to fail.
    pub const fn new(phase: Arc<SharedPhase>, totals: Totals) -> Self {
        Self {
            phase,
            totals,
            overloaded: AtomicBool::new(false),
            self_check_failing: AtomicBool::new(false),
        }
    }

    /// New allocations are shed from now on, or no longer.
    pub fn set_overloaded(&self, overloaded: bool) {
        self.overloaded.store(overloaded, Ordering::Release);
    }

    /// The relay's own client fails from now on, or no longer.
    pub fn set_self_check_failing(&self, failing: bool) {
        self.self_check_failing.store(failing, Ordering::Release);
    }

    /// Whether new clients should come now.
    pub fn read(&self) -> Readiness {
        Readiness::of(Signs {
            phase: self.phase.read(&self.totals),
            overloaded: self.overloaded.load(Ordering::Acquire),
            self_check_failing: self.self_check_failing.load(Ordering::Acquire),
        })
    }
}

impl Source for SharedReadiness {
    fn families(&self) -> Vec<Family> {
        vec![Family::gauge(
            "taciturn_relay_ready",
            "1 when new clients should be sent here, as /ready says.",
            self.read().ready,
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Signs = Signs {
        phase: Phase::Ready,
        overloaded: false,
        self_check_failing: false,
    };

    #[test]
    fn a_relay_is_ready_when_nothing_speaks_against_it() {
        let readiness = Readiness::of(WELL);
        assert!(readiness.ready && readiness.reasons.is_empty());
    }

    #[test]
    fn each_sign_alone_makes_a_relay_unready_and_says_why() {
        let cases = [
            (
                Signs {
                    phase: Phase::Launching,
                    ..WELL
                },
                "launching",
            ),
            (
                Signs {
                    phase: Phase::Draining,
                    ..WELL
                },
                "draining",
            ),
            (
                Signs {
                    phase: Phase::Drained,
                    ..WELL
                },
                "drained",
            ),
            (
                Signs {
                    overloaded: true,
                    ..WELL
                },
                "overload",
            ),
            (
                Signs {
                    self_check_failing: true,
                    ..WELL
                },
                "self_check",
            ),
        ];
        for (signs, word) in cases {
            let readiness = Readiness::of(signs);
            assert!(!readiness.ready, "{word}");
            assert_eq!(readiness.words().collect::<Vec<_>>(), [word]);
        }
    }

    #[test]
    fn all_reasons_are_told_at_once() {
        let readiness = Readiness::of(Signs {
            phase: Phase::Draining,
            overloaded: true,
            self_check_failing: true,
        });
        let words: Vec<_> = readiness.words().collect();
        assert_eq!(words, ["draining", "overload", "self_check"]);
    }

    #[test]
    fn what_one_thread_finds_out_another_reads() {
        let phase = Arc::new(SharedPhase::launching());
        let shared = SharedReadiness::new(Arc::clone(&phase), Totals::new(Vec::new()));
        assert!(!shared.read().ready);
        phase.set(Phase::Ready);
        assert!(shared.read().ready);
        shared.set_overloaded(true);
        shared.set_self_check_failing(true);
        assert_eq!(shared.read().reasons, [Reason::Overload, Reason::SelfCheck]);
        shared.set_overloaded(false);
        shared.set_self_check_failing(false);
        assert!(shared.read().ready);
    }
}
