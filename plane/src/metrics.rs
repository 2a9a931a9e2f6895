//! Metrics as Prometheus sees them.
//!
//! Responsible for asking every [`Source`] when a scrape asks, and for the exposition format. Not responsible for counting, nor
//! for a component's names, labels and help texts, which stand beside what they show.
//!
//! Every label value comes from a closed set. Addresses and user names are never labels.

mod family;

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder};

pub use family::{Family, Value};
pub use prometheus::{Error as MetricsError, TEXT_FORMAT};

/// Something that has figures to show.
pub trait Source: Send + Sync {
    /// The figures as of now. Names and label combinations are the same whatever clients do, so that the number of series
    /// is a constant; only what is not known has no series, as a missing figure is never a zero. A name belongs to one
    /// source.
    fn families(&self) -> Vec<Family>;
}

impl<S: Source + ?Sized> Source for Arc<S> {
    fn families(&self) -> Vec<Family> {
        S::families(self)
    }
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
    ///
    /// # Errors
    /// A fault of this program.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// Name, help and whether it is a counter, of each metric: for tests of names.
    pub fn names(&self) -> Vec<(String, String, bool)> {
        let gathered = self.registry.gather();
        let families = gathered.iter();
        families
            .map(|family| {
                let counter = family.get_field_type() == MetricType::COUNTER;
                (family.name().to_owned(), family.help().to_owned(), counter)
            })
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let metrics = Metrics::new(vec![Box::new(Ages)]).expect("distinct names");
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
        ] {
            assert!(
                text.lines().any(|each| each == line),
                "no {line} in\n{text}"
            );
        }
    }

    #[test]
    fn a_name_belongs_to_one_source() {
        assert!(Metrics::new(vec![Box::new(Ages), Box::new(Arc::new(Ages))]).is_err());
    }
}
