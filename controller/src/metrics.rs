//! The controller's metrics: what it sees, what it wants, what it did, and whether anybody should come.
//!
//! Responsible for their names. Everything is read from what the loop has published, so that a scrape waits for nobody. Not
//! responsible for counting (`reconcile`), nor for the exposition format (`taciturn_plane`).
//!
//! Labels are closed sets: zones are those that are allowed, and those that relays were found in.

mod expiries;
mod round;
mod totals;

use std::sync::Arc;

use taciturn_plane::Access;
use taciturn_plane::metrics::{Family, Metrics, MetricsError, Source};

pub use expiries::Expiries;

use crate::api::Rounds;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::credentials::Desk;
use crate::revocations::Revocations;

/// Everything that a scrape shows.
///
/// # Errors
/// Two metrics have one name: a fault of this program.
pub fn all(
    rounds: &Arc<dyn Rounds>,
    audit: &Arc<Audit>,
    access: &Arc<Access>,
    expiries: &Arc<Expiries>,
    desk: &Arc<Desk>,
    revocations: &Arc<Revocations>,
    clock: Clock,
) -> Result<Metrics, MetricsError> {
    Metrics::new(vec![
        Box::new(round::Round {
            rounds: Arc::clone(rounds),
            clock,
        }),
        Box::new(totals::Totals(Arc::clone(rounds))),
        Box::new(Arc::clone(audit)),
        Box::new(Refusals(Arc::clone(access))),
        Box::new(Arc::clone(expiries)),
        Box::new(Revoked(Arc::clone(revocations))),
        Box::new(Arc::clone(desk)),
        Box::new(Build {
            started: clock.unix().as_secs(),
        }),
    ])
}

impl Source for Audit {
    fn families(&self) -> Vec<Family> {
        let state = self.state();
        vec![
            Family::gauge(
                "taciturn_controller_audit_lines",
                "Lines of the audit trail; one that falls was cut.",
                state.head.seq,
            ),
            Family::counter(
                "taciturn_controller_audit_failures_total",
                "Writes to the audit trail that failed.",
                state.failures,
            ),
            Family::gauge(
                "taciturn_controller_audit_waiting_lines",
                "Lines that wait for the disk.",
                state.waiting,
            ),
            Family::counter(
                "taciturn_controller_audit_lost_lines_total",
                "Lines that were given up, as too many waited.",
                state.lost,
            ),
        ]
    }
}

/// How many are revoked, and who they are is nobody's here.
#[derive(Debug)]
struct Revoked(Arc<Revocations>);

impl Source for Revoked {
    fn families(&self) -> Vec<Family> {
        let list = self.0.list();
        let counts = [("user", list.users.len()), ("key", list.key_ids.len())];
        vec![
            Family::gauges(
                "taciturn_controller_revocations",
                "Users and shared secrets that are revoked.",
                ["kind"],
                counts.map(|(kind, count)| ([kind], count as u64)),
            ),
            Family::gauge(
                "taciturn_controller_revocations_version",
                "Version of the list of revocations; relays show the one that is in force there.",
                list.version,
            ),
        ]
    }
}

/// Somebody who tries the API's door is seen.
#[derive(Debug)]
struct Refusals(Arc<Access>);

impl Source for Refusals {
    fn families(&self) -> Vec<Family> {
        vec![Family::counters(
            "taciturn_controller_api_refusals_total",
            "Requests and connections that the API turned away unheard, by reason.",
            ["reason"],
            self.0.refusals().map(|(reason, count)| ([reason], count)),
        )]
    }
}

/// Which program this is, and since when.
#[derive(Clone, Copy, Debug)]
struct Build {
    started: u64,
}

impl Source for Build {
    fn families(&self) -> Vec<Family> {
        vec![
            Family::gauges(
                "taciturn_controller_build_info",
                "1, with the version of the program.",
                ["version"],
                [([env!("CARGO_PKG_VERSION")], 1_u64)],
            ),
            Family::gauge(
                "process_start_time_seconds",
                "When the controller was started, in seconds since 1970-01-01 UTC.",
                self.started,
            ),
        ]
    }
}
