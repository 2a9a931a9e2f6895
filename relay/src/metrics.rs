//! The relay's metrics: which program this is, and what its workers and listeners count.
//!
//! Responsible for showing counters as they are when a scrape asks. Not responsible for counting (`counters`): nothing on the
//! packet path knows that Prometheus exists. Not responsible for a component's names, labels and help texts, which stand
//! beside what they show, nor for the exposition format (`taciturn_plane`).
//!
//! Every label value comes from a closed set. Addresses and user names are never labels.

mod front;
mod workers;

pub use taciturn_plane::metrics::{Family, Metrics, Source, Value};

/// Which program this is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Build;

impl Source for Build {
    fn families(&self) -> Vec<Family> {
        vec![Family::gauges(
            "taciturn_relay_build_info",
            "1, with the version of the program.",
            ["version"],
            [([env!("CARGO_PKG_VERSION")], 1_u64)],
        )]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taciturn_protocol::address::Transport;
    use taciturn_protocol::forward::DropReason;
    use taciturn_protocol::server::EndCause;

    use super::*;
    use crate::counters::{Counters, DropSite, Flow, Totals};
    use crate::listener::FrontCounters;

    fn series(metrics: &Metrics) -> Vec<String> {
        let text = metrics.encode().expect("well formed");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut names: Vec<_> = samples
            .map(|line| line.rsplit_once(' ').expect("a value").0.to_owned())
            .collect();
        names.sort_unstable();
        names
    }

    /// whatever is counted for however many users, each series has been there from the beginning.
    #[test]
    fn counting_makes_no_series() {
        let workers = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        let metrics = Metrics::new(vec![
            Box::new(Totals::new(workers.to_vec())),
            Box::new(Arc::new(FrontCounters::default())),
            Box::new(Build),
        ])
        .expect("distinct names");
        let before = series(&metrics);
        for user in 0..700_u16 {
            let counters = &workers[usize::from(user % 2)];
            for flow in Flow::all() {
                counters.forwarded(flow, usize::from(user));
            }
            for reason in DropReason::ALL {
                for site in DropSite::all_of(*reason) {
                    counters.dropped(*reason, site, 1);
                }
            }
            counters.responded(user % 16, user % 700);
            counters.created(Transport::Udp);
            counters.ended(Transport::Udp, EndCause::Client);
        }
        let after = series(&metrics);
        assert_eq!(before, after);
        let mut distinct = after.clone();
        distinct.dedup();
        assert_eq!(distinct, after, "no series is shown twice");
    }

    /// Names and units as Prometheus wants them, for whoever writes a query.
    #[test]
    fn counters_and_only_counters_end_in_total() {
        let metrics = Metrics::new(vec![
            Box::new(Totals::new(vec![Arc::new(Counters::default())])),
            Box::new(Arc::new(FrontCounters::default())),
        ]);
        for (name, help, is_counter) in metrics.expect("distinct names").names() {
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            assert!(name.starts_with("taciturn_relay_"), "{name}");
            assert!(help.ends_with('.'), "{name}: {help}");
        }
    }
}
