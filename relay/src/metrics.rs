//! The relay's metrics as Prometheus sees them.
//!
//! Responsible for names, labels and help texts; it adds the workers' counters up when a scrape asks. Not responsible for
//! counting (`counters`): nothing on the packet path knows that Prometheus exists.
//!
//! Every label value comes from a closed enum. Addresses and user names are never labels.

mod front;

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder};
use taciturn_protocol::forward::DropReason;

use crate::counters::{Flow, METHODS, OUTCOMES, Totals};
use crate::listener::FrontCounters;
use crate::net::SendFailure;
use crate::phase::SharedPhase;
use crate::stream::CloseReason;

/// Everything that a scrape shows.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics over these counters.
    pub fn new(
        totals: Totals,
        front: Arc<FrontCounters>,
        phase: Arc<SharedPhase>,
    ) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(Fold::new(totals, front, phase)?))?;
        Ok(Self { registry })
    }

    /// The text exposition format.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

/// Reads the counters of all workers at scrape time.
struct Fold {
    totals: Totals,
    front: Arc<FrontCounters>,
    phase: Arc<SharedPhase>,
    descriptions: Vec<Desc>,
}

/// One metric with all its label combinations.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    samples: Vec<(Vec<&'static str>, u64)>,
}

impl Fold {
    fn new(
        totals: Totals,
        front: Arc<FrontCounters>,
        phase: Arc<SharedPhase>,
    ) -> Result<Self, prometheus::Error> {
        let mut fold = Self {
            totals,
            front,
            phase,
            descriptions: Vec::new(),
        };
        let descriptions = fold.families().into_iter().map(|family| {
            let labels = family
                .labels
                .iter()
                .map(|label| (*label).to_owned())
                .collect();
            Desc::new(
                family.name.to_owned(),
                family.help.to_owned(),
                labels,
                HashMap::new(),
            )
        });
        fold.descriptions = descriptions.collect::<Result<_, _>>()?;
        Ok(fold)
    }

    fn families(&self) -> Vec<Family> {
        let totals = &self.totals;
        let mut families = vec![
            gauge(
                "taciturn_relay_allocations",
                "Live allocations.",
                totals.allocations(),
            ),
            gauge(
                "taciturn_relay_connections",
                "Live client connections over TCP and TLS.",
                totals.sum(|counters| &counters.connections),
            ),
            gauge(
                "taciturn_relay_workers",
                "Worker threads.",
                totals.workers().len() as u64,
            ),
            self.phase_family(),
        ];
        families.extend(self.packet_families());
        families.extend(front::families(&self.front));
        families.extend([
            counter(
                "taciturn_relay_kernel_dropped_packets_total",
                "Datagrams that the kernel dropped on the relay's sockets for want of buffer space.",
                totals.sum(|counters| &counters.kernel_drops),
            ),
            counter(
                "taciturn_relay_received_packets_total",
                "Datagrams read from sockets.",
                totals.sum(|counters| &counters.received),
            ),
            counter(
                "taciturn_relay_receive_calls_total",
                "System calls that read at least one datagram.",
                totals.sum(|counters| &counters.receive_calls),
            ),
            counter(
                "taciturn_relay_bind_failures_total",
                "Relayed addresses that could not be bound.",
                totals.sum(|counters| &counters.bind_failures),
            ),
        ]);
        families
    }

    fn phase_family(&self) -> Family {
        let current = self.phase.read(&self.totals);
        Family {
            name: "taciturn_relay_phase",
            help: "1 for the phase that the relay is in.",
            kind: MetricType::GAUGE,
            labels: &["phase"],
            samples: SharedPhase::ALL
                .iter()
                .map(|phase| (vec![phase.as_str()], u64::from(*phase == current)))
                .collect(),
        }
    }

    fn packet_families(&self) -> [Family; 6] {
        let totals = &self.totals;
        let codes = (0..METHODS.len())
            .flat_map(|method| (0..OUTCOMES.len()).map(move |outcome| (method, outcome)));
        [
            labelled(
                "taciturn_relay_forwarded_packets_total",
                "Payloads passed on, by direction, client transport, family of the relayed address and path.",
                &FLOW_LABELS,
                Flow::all()
                    .map(|flow| (flow_labels(flow), totals.packets(flow)))
                    .collect(),
            ),
            labelled(
                "taciturn_relay_forwarded_bytes_total",
                "Payload bytes passed on, without any header.",
                &FLOW_LABELS,
                Flow::all()
                    .map(|flow| (flow_labels(flow), totals.bytes(flow)))
                    .collect(),
            ),
            labelled(
                "taciturn_relay_dropped_packets_total",
                "Packets dropped, by reason.",
                &["reason"],
                DropReason::ALL
                    .iter()
                    .map(|reason| (vec![reason.as_str()], totals.dropped(*reason)))
                    .collect(),
            ),
            labelled(
                "taciturn_relay_responses_total",
                "Answers, by method and code.",
                &["method", "code"],
                codes
                    .map(|(method, outcome)| {
                        (
                            vec![METHODS[method].1, OUTCOMES[outcome].1],
                            totals.responses(method, outcome),
                        )
                    })
                    .collect(),
            ),
            labelled(
                "taciturn_relay_send_failures_total",
                "Datagrams that the kernel did not take, by class.",
                &["class"],
                SendFailure::ALL
                    .iter()
                    .map(|class| (vec![class.as_str()], totals.send_failures(*class)))
                    .collect(),
            ),
            labelled(
                "taciturn_relay_closed_connections_total",
                "Client connections over TCP and TLS that ended, by reason.",
                &["reason"],
                CloseReason::ALL
                    .iter()
                    .map(|reason| (vec![reason.as_str()], totals.closed(*reason)))
                    .collect(),
            ),
        ]
    }
}

impl Collector for Fold {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families().into_iter().map(exposed).collect()
    }
}

fn exposed(family: Family) -> MetricFamily {
    let mut exposed = MetricFamily::default();
    exposed.set_name(family.name.to_owned());
    exposed.set_help(family.help.to_owned());
    exposed.set_field_type(family.kind);
    let samples = family.samples.into_iter();
    exposed.set_metric(
        samples
            .map(|(values, value)| metric(family.kind, family.labels, &values, value))
            .collect(),
    );
    exposed
}

fn gauge(name: &'static str, help: &'static str, value: u64) -> Family {
    Family {
        name,
        help,
        kind: MetricType::GAUGE,
        labels: &[],
        samples: vec![(Vec::new(), value)],
    }
}

fn labelled(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    samples: Vec<(Vec<&'static str>, u64)>,
) -> Family {
    Family {
        name,
        help,
        kind: MetricType::COUNTER,
        labels,
        samples,
    }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Family {
    Family {
        name,
        help,
        kind: MetricType::COUNTER,
        labels: &[],
        samples: vec![(Vec::new(), value)],
    }
}

const FLOW_LABELS: [&str; 4] = ["direction", "transport", "family", "path"];

fn flow_labels(flow: Flow) -> Vec<&'static str> {
    vec![
        flow.direction.as_str(),
        flow.transport.as_str(),
        flow.family.as_str(),
        flow.path.as_str(),
    ]
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus samples are doubles: exact to 2^53, and rates beyond"
)]
fn metric(kind: MetricType, labels: &[&str], values: &[&str], value: u64) -> Metric {
    let pairs = labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = Metric::from_label(pairs.collect());
    if kind == MetricType::GAUGE {
        let mut gauge = prometheus::proto::Gauge::default();
        gauge.set_value(value as f64);
        metric.set_gauge(gauge);
    } else {
        let mut counter = prometheus::proto::Counter::default();
        counter.set_value(value as f64);
        metric.set_counter(counter);
    }
    metric
}
