//! The self-check's metrics.

use taciturn_protocol::address::Transport;

use super::findings::{Advertised, Findings, Outcome};
use crate::metrics::{Family, Source};

impl Source for Findings {
    fn families(&self) -> Vec<Family> {
        let picture = self.latest();
        let works = |transport: Transport| {
            let mut paths = picture
                .paths
                .iter()
                .filter(|path| path.transport == transport)
                .peekable();
            // A transport without a listener has no series.
            paths.peek()?;
            Some(([transport.as_str()], paths.all(|path| !path.is_failing())))
        };
        vec![
            Family::gauges(
                "taciturn_relay_self_check_success",
                "1 unless the relay's own client fails twice in a row on a listener of this transport.",
                ["transport"],
                Transport::ALL.into_iter().filter_map(works),
            ),
            Family::counters(
                "taciturn_relay_self_check_checks_total",
                "Checks by the relay's own client, by outcome; full: the relay had no room, and the path is in order.",
                ["outcome"],
                Outcome::ALL.map(|outcome| ([outcome.as_str()], picture.checks[outcome.index()])),
            ),
            Family::gauge(
                "taciturn_relay_self_check_duration_seconds",
                "How long the last check took: two allocations, a few payloads, and their end.",
                picture.last,
            ),
            Family::gauges(
                "taciturn_relay_self_check_advertised",
                "Advertised addresses by where they were last found to lead: to this relay, to a foreign server, or to silence.",
                ["result"],
                Advertised::ALL.map(|result| {
                    let found = picture
                        .advertised
                        .iter()
                        .filter(|last| **last == Some(result));
                    ([result.as_str()], found.count())
                }),
            ),
        ]
    }
}
