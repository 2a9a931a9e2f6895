//! One metric with all its label combinations, as a component shows it.
//!
//! Responsible for the shape of a metric. Not responsible for names, labels and meaning, which are the component's, nor
//! for the exposition format (`metrics`).

use std::borrow::Cow;
use std::time::Duration;

use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

/// A sample's value. Prometheus knows doubles only: counts are exact to 2^53, and rates beyond.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Value(f64);

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

impl From<u64> for Value {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counters are exact to 2^53, and rates beyond"
    )]
    fn from(count: u64) -> Self {
        Self(count as f64)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Self(f64::from(count))
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::from(count as u64)
    }
}

impl From<bool> for Value {
    /// 1 for what is so, 0 for what is not.
    fn from(is_so: bool) -> Self {
        Self(f64::from(u8::from(is_so)))
    }
}

impl From<Duration> for Value {
    /// Seconds.
    fn from(duration: Duration) -> Self {
        Self(duration.as_secs_f64())
    }
}

/// One metric with all its label combinations.
#[derive(Clone, Debug)]
pub struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: Vec<&'static str>,
    samples: Samples,
}

#[derive(Clone, Debug)]
enum Samples {
    Gauges(Vec<Sample>),
    Counters(Vec<Sample>),
    Histogram {
        /// Upper bound and how many observations lie at or below it.
        buckets: Vec<(f64, u64)>,
        count: u64,
        sum: f64,
    },
}

#[derive(Clone, Debug)]
struct Sample {
    labels: Vec<Cow<'static, str>>,
    value: Value,
}

impl Family {
    /// A value that rises and falls, without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: impl Into<Value>) -> Self {
        Self::gauges::<0, &str, Value>(name, help, [], [([], value.into())])
    }

    /// A count since the start of the process, without labels. Its name ends in `_total`.
    pub fn counter(name: &'static str, help: &'static str, value: impl Into<Value>) -> Self {
        Self::counters::<0, &str, Value>(name, help, [], [([], value.into())])
    }

    /// Values that rise and fall, one for each combination of label values. Label values are from closed sets: never an
    /// address, a name or anything else that a client chooses.
    pub fn gauges<const N: usize, L: Into<Cow<'static, str>>, V: Into<Value>>(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        samples: impl IntoIterator<Item = ([L; N], V)>,
    ) -> Self {
        Self {
            name,
            help,
            labels: labels.to_vec(),
            samples: Samples::Gauges(collected(samples)),
        }
    }

    /// Counts since the start of the process, one for each combination of label values, which are from closed sets. The
    /// name ends in `_total`.
    pub fn counters<const N: usize, L: Into<Cow<'static, str>>, V: Into<Value>>(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        samples: impl IntoIterator<Item = ([L; N], V)>,
    ) -> Self {
        Self {
            name,
            help,
            labels: labels.to_vec(),
            samples: Samples::Counters(collected(samples)),
        }
    }

    /// A distribution since the start of the process: `counts` holds how many observations fell between one of the
    /// ascending `bounds` and the next, and one more entry for those above the last; `sum` adds all of them up.
    pub fn histogram(
        name: &'static str,
        help: &'static str,
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) -> Self {
        let mut below = 0;
        let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
            below += count;
            (*bound, below)
        });
        Self {
            name,
            help,
            labels: Vec::new(),
            samples: Samples::Histogram {
                buckets: buckets.collect(),
                count: counts.iter().sum(),
                sum,
            },
        }
    }

    /// The same in the form that the exposition format is written from.
    pub(super) fn exposed(self) -> MetricFamily {
        let mut exposed = MetricFamily::default();
        exposed.set_name(self.name.to_owned());
        exposed.set_help(self.help.to_owned());
        let labels = &self.labels;
        let (kind, metrics) = match self.samples {
            Samples::Gauges(samples) => (
                MetricType::GAUGE,
                samples.into_iter().map(|s| s.gauge(labels)).collect(),
            ),
            Samples::Counters(samples) => (
                MetricType::COUNTER,
                samples.into_iter().map(|s| s.counter(labels)).collect(),
            ),
            Samples::Histogram {
                buckets,
                count,
                sum,
            } => (MetricType::HISTOGRAM, vec![histogram(&buckets, count, sum)]),
        };
        exposed.set_field_type(kind);
        exposed.set_metric(metrics);
        exposed
    }
}

fn collected<const N: usize, L: Into<Cow<'static, str>>, V: Into<Value>>(
    samples: impl IntoIterator<Item = ([L; N], V)>,
) -> Vec<Sample> {
    let samples = samples.into_iter().map(|(labels, value)| Sample {
        labels: labels.map(Into::into).to_vec(),
        value: value.into(),
    });
    samples.collect()
}

impl Sample {
    fn gauge(self, labels: &[&str]) -> proto::Metric {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(self.value.0);
        let mut metric = self.labelled(labels);
        metric.set_gauge(gauge);
        metric
    }

    fn counter(self, labels: &[&str]) -> proto::Metric {
        let mut counter = proto::Counter::default();
        counter.set_value(self.value.0);
        let mut metric = self.labelled(labels);
        metric.set_counter(counter);
        metric
    }

    fn labelled(self, labels: &[&str]) -> proto::Metric {
        let pairs = labels.iter().zip(self.labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.into_owned());
            pair
        });
        proto::Metric::from_label(pairs.collect())
    }
}

fn histogram(buckets: &[(f64, u64)], count: u64, sum: f64) -> proto::Metric {
    let mut histogram = proto::Histogram::default();
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    let buckets = buckets.iter().map(|(bound, below)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*below);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    let mut metric = proto::Metric::default();
    metric.set_histogram(histogram);
    metric
}
