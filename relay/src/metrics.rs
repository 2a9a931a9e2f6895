//! The relay's metrics as Prometheus sees them.
//!
//! Responsible for asking every [`Source`] when a scrape asks, and for the exposition format. Not responsible for counting
//! (`counters`): nothing on the packet path knows that Prometheus exists. Not responsible for a component's names, labels
//! and help texts, which stand beside what they show.
//!
//! Every label value comes from a closed set. Addresses and user names are never labels.

mod family;
mod front;
mod workers;

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Registry, TextEncoder};

pub use family::{Family, Value};

/// Something that has figures to show.
pub trait Source: Send + Sync {
    /// The figures as of now. Names and label combinations are the same whatever clients do, so that the number of series
    /// is a constant; only what is not known has no series, as a missing figure is never a zero. A name belongs to one
    /// source.
    fn families(&self) -> Vec<Family>;
}

/// Everything that a scrape shows.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics of these sources.
    ///
    /// # Errors
    /// When two sources show a metric of one name, or a name or label is none: a fault of this program.
    pub fn new(sources: Vec<Box<dyn Source>>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        for source in sources {
            registry.register(Box::new(Fold::new(source)?))?;
        }
        Ok(Self { registry })
    }

    /// The text exposition format.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

/// Reads one source at scrape time.
struct Fold {
    source: Box<dyn Source>,
    descriptions: Vec<Desc>,
}

impl Fold {
    fn new(source: Box<dyn Source>) -> Result<Self, prometheus::Error> {
        let descriptions = source.families().into_iter().map(|family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned());
            Desc::new(
                family.name.to_owned(),
                family.help.to_owned(),
                labels.collect(),
                HashMap::new(),
            )
        });
        let descriptions = descriptions.collect::<Result<_, _>>()?;
        Ok(Self {
            source,
            descriptions,
        })
    }
}

impl Collector for Fold {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.source
            .families()
            .into_iter()
            .map(Family::exposed)
            .collect()
    }
}

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

    use prometheus::proto::MetricType;
    use taciturn_protocol::address::Transport;
    use taciturn_protocol::forward::DropReason;
    use taciturn_protocol::server::EndCause;

    use super::*;
    use crate::counters::{Counters, DropSite, Flow, Totals};
    use crate::listener::FrontCounters;

    struct Ages;

    impl Source for Ages {
        fn families(&self) -> Vec<Family> {
            vec![
                Family::histogram("ages_seconds", "Ages.", &[0.1, 0.5], &[3, 2, 1], 2.25),
                Family::gauges(
                    "parts_ratio",
                    "Parts.",
                    ["part"],
                    [(["a"], 0.25), (["b"], 0.5)],
                ),
                Family::gauge("is_so", "Whether.", true),
            ]
        }
    }

    #[test]
    fn every_kind_is_exposed_with_its_labels() {
        let metrics = Metrics::new(vec![Box::new(Ages), Box::new(Build)]).expect("distinct names");
        let text = metrics.encode().expect("well formed");
        for line in [
            "# TYPE ages_seconds histogram",
            "ages_seconds_bucket{le=\"0.1\"} 3",
            "ages_seconds_bucket{le=\"0.5\"} 5",
            "ages_seconds_bucket{le=\"+Inf\"} 6",
            "ages_seconds_sum 2.25",
            "ages_seconds_count 6",
            "parts_ratio{part=\"a\"} 0.25",
            "is_so 1",
            "# TYPE taciturn_relay_build_info gauge",
        ] {
            assert!(
                text.lines().any(|each| each == line),
                "no {line} in\n{text}"
            );
        }
    }

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
        for family in metrics.expect("distinct names").registry.gather() {
            let is_counter = family.get_field_type() == MetricType::COUNTER;
            let name = family.name();
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            assert!(name.starts_with("taciturn_relay_"), "{name}");
            assert!(family.help().ends_with('.'), "{name}: {}", family.help());
        }
    }

    #[test]
    fn a_name_belongs_to_one_source() {
        assert!(Metrics::new(vec![Box::new(Build), Box::new(Build)]).is_err());
    }
}
