//! Metrics of the workers: what [`Totals`] adds up.

use taciturn_protocol::forward::DropReason;

use crate::counters::{Flow, METHODS, OUTCOMES, Totals};
use crate::net::SendFailure;
use crate::stream::CloseReason;

use super::{Family, Source};

impl Source for Totals {
    fn families(&self) -> Vec<Family> {
        let mut families = vec![
            Family::gauge(
                "taciturn_relay_allocations",
                "Live allocations.",
                self.allocations(),
            ),
            Family::gauge(
                "taciturn_relay_connections",
                "Live client connections over TCP and TLS.",
                self.sum(|counters| &counters.connections),
            ),
            Family::gauge(
                "taciturn_relay_workers",
                "Worker threads.",
                self.workers().len(),
            ),
            Family::counter(
                "taciturn_relay_kernel_dropped_packets_total",
                "Datagrams that the kernel dropped on the relay's sockets for want of buffer space.",
                self.sum(|counters| &counters.kernel_drops),
            ),
            Family::counter(
                "taciturn_relay_received_packets_total",
                "Datagrams read from sockets.",
                self.sum(|counters| &counters.received),
            ),
            Family::counter(
                "taciturn_relay_receive_calls_total",
                "System calls that read at least one datagram.",
                self.sum(|counters| &counters.receive_calls),
            ),
            Family::counter(
                "taciturn_relay_bind_failures_total",
                "Relayed addresses that could not be bound.",
                self.sum(|counters| &counters.bind_failures),
            ),
        ];
        families.extend(packets(self));
        families.extend(outcomes(self));
        families
    }
}

const FLOW_LABELS: [&str; 4] = ["direction", "transport", "family", "path"];

const fn flow_labels(flow: Flow) -> [&'static str; 4] {
    [
        flow.direction.as_str(),
        flow.transport.as_str(),
        flow.family.as_str(),
        flow.path.as_str(),
    ]
}

fn packets(totals: &Totals) -> [Family; 3] {
    [
        Family::counters(
            "taciturn_relay_forwarded_packets_total",
            "Payloads passed on, by direction, client transport, family of the relayed address and path.",
            FLOW_LABELS,
            Flow::all().map(|flow| (flow_labels(flow), totals.packets(flow))),
        ),
        Family::counters(
            "taciturn_relay_forwarded_bytes_total",
            "Payload bytes passed on, without any header.",
            FLOW_LABELS,
            Flow::all().map(|flow| (flow_labels(flow), totals.bytes(flow))),
        ),
        Family::counters(
            "taciturn_relay_dropped_packets_total",
            "Packets dropped, by reason.",
            ["reason"],
            DropReason::ALL
                .iter()
                .map(|reason| ([reason.as_str()], totals.dropped(*reason))),
        ),
    ]
}

fn outcomes(totals: &Totals) -> [Family; 3] {
    let codes = (0..METHODS.len())
        .flat_map(|method| (0..OUTCOMES.len()).map(move |outcome| (method, outcome)));
    [
        Family::counters(
            "taciturn_relay_responses_total",
            "Answers, by method and code.",
            ["method", "code"],
            codes.map(|(method, outcome)| {
                (
                    [METHODS[method].1, OUTCOMES[outcome].1],
                    totals.responses(method, outcome),
                )
            }),
        ),
        Family::counters(
            "taciturn_relay_send_failures_total",
            "Datagrams that the kernel did not take, by class.",
            ["class"],
            SendFailure::ALL
                .iter()
                .map(|class| ([class.as_str()], totals.send_failures(*class))),
        ),
        Family::counters(
            "taciturn_relay_closed_connections_total",
            "Client connections over TCP and TLS that ended, by reason.",
            ["reason"],
            CloseReason::ALL
                .iter()
                .map(|reason| ([reason.as_str()], totals.closed(*reason))),
        ),
    ]
}
