//! What strangers do, in a line a minute: authentications refused, packets dropped, handshakes failed.
//!
//! Responsible for telling the log how counters have grown, so that whoever floods a relay cannot flood its log: however
//! many try, and whatever they send, it is one line of each kind a minute, of words from closed enums. Not responsible
//! for counting.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use taciturn_protocol::forward::DropReason;
use taciturn_protocol::server::Authentication;
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use super::EventLog;
use crate::counters::Totals;
use crate::listener::{FrontCounters, HandshakeFailure, Refusal};

/// Seconds between two summaries.
const SUMMARY: u64 = 60;

/// The counters that summaries are about.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) totals: Totals,
    pub(crate) front: Arc<FrontCounters>,
}

/// Gives the log what it needs time for, every second, as long as its runtime lives.
pub(crate) async fn watch(events: Arc<EventLog>, figures: Figures) {
    let mut summaries = Summaries::default();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 1_u64.. {
        second.tick().await;
        events.tick(events.clock.now());
        if count.is_multiple_of(SUMMARY) {
            events.report_left_out();
            summaries.report(&figures);
        }
    }
}

/// What was last said of each kind.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    authentications: Growth,
    drops: Growth,
    connections: Growth,
    handshakes: Growth,
}

impl Summaries {
    pub(super) fn report(&mut self, figures: &Figures) {
        let Figures { totals, front } = figures;
        let refused = Authentication::ALL
            .iter()
            // A first request without credentials is how every client begins.
            .filter(|result| {
                !matches!(result, Authentication::Success | Authentication::Challenged)
            })
            .map(|result| (result.as_str(), totals.authentications(*result)));
        if let Some(counts) = self.authentications.since(refused) {
            info!(%counts, "authentications refused in the last minute");
        }
        let dropped = DropReason::ALL
            .iter()
            .map(|reason| (reason.as_str(), totals.dropped(*reason)));
        if let Some(counts) = self.drops.since(dropped) {
            info!(%counts, "packets dropped in the last minute");
        }
        let turned_away = Refusal::ALL
            .iter()
            .map(|reason| (reason.as_str(), front.refused(*reason)));
        if let Some(counts) = self.connections.since(turned_away) {
            info!(%counts, "connections turned away in the last minute");
        }
        let failed = HandshakeFailure::ALL
            .iter()
            .map(|reason| (reason.as_str(), front.handshake_failures(*reason)));
        if let Some(counts) = self.handshakes.since(failed) {
            info!(%counts, "TLS handshakes failed in the last minute");
        }
    }
}

/// Counters as they were when they were last looked at.
#[derive(Debug, Default)]
struct Growth(Vec<u64>);

impl Growth {
    /// What has grown since the last time; `None` when nothing has.
    fn since(&mut self, counters: impl Iterator<Item = (&'static str, u64)>) -> Option<Counts> {
        let mut grown = Vec::new();
        let mut seen = Vec::with_capacity(self.0.len());
        for (index, (name, count)) in counters.enumerate() {
            let before = self.0.get(index).copied().unwrap_or(0);
            if count > before {
                grown.push((name, count - before));
            }
            seen.push(count);
        }
        self.0 = seen;
        (!grown.is_empty()).then_some(Counts(grown))
    }
}

/// Written `reason=count reason=count`.
#[derive(Debug, PartialEq, Eq)]
struct Counts(Vec<(&'static str, u64)>);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.0.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{name}={count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_grown_is_said_and_only_once() {
        let mut growth = Growth::default();
        let counts = growth.since([("a", 3), ("b", 0), ("c", 1)].into_iter());
        assert_eq!(counts.unwrap().to_string(), "a=3 c=1");
        let counts = growth.since([("a", 3), ("b", 7), ("c", 2)].into_iter());
        assert_eq!(counts.unwrap().to_string(), "b=7 c=1");
        assert_eq!(
            growth.since([("a", 3), ("b", 7), ("c", 2)].into_iter()),
            None
        );
    }
}
