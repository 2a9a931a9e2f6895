//! Metrics of the workers: what [`Totals`] adds up.

use std::time::Duration;

use taciturn_protocol::address::Transport;
use taciturn_protocol::forward::DropReason;
use taciturn_protocol::server::{Authentication, EndCause, Refusal};

use crate::counters::{Counters, Direction, DropSite, Flow, Leg, METHODS, OUTCOMES, Tally, Totals};
use crate::net::SendFailure;
use crate::stream::{CloseReason, Waits};

use super::{Family, Source};

impl Source for Totals {
    fn families(&self) -> Vec<Family> {
        let mut families = Vec::with_capacity(48);
        families.extend(allocations(self));
        families.extend(held(self));
        families.extend(forwarded(self));
        families.extend(dropped(self));
        families.extend(crowding(self));
        families.extend(received(self));
        families.extend(streams(self));
        families.extend(answers(self));
        families.extend(synthetic(self));
        families.extend(workers(self));
        families
    }
}

fn allocations(totals: &Totals) -> [Family; 6] {
    // What ended since the last look is in the figure still; what began since is not active yet.
    let live = totals.allocations();
    let active = totals.sum(|counters| &counters.active).min(live);
    let by_state = [
        ("active", active),
        ("idle", live - active),
        ("pending", totals.sum(|counters| &counters.pending)),
        ("reserved", totals.sum(|counters| &counters.reserved)),
    ];
    [
        Family::gauge(
            "taciturn_relay_allocations",
            "Live allocations of users; the relay's own self-check is not among them.",
            live,
        ),
        Family::gauges(
            "taciturn_relay_allocations_by_state",
            "Users' allocations by state: active ones had carried a payload in the half minute before they were last \
             looked at, idle ones had not; pending ones wait for their relayed address; reserved are ports held for a second allocation.",
            ["state"],
            by_state.map(|(state, count)| ([state], count)),
        ),
        Family::gauges(
            "taciturn_relay_allocations_by_transport",
            "Users' live allocations by the transport between client and relay.",
            ["transport"],
            Transport::ALL.map(|transport| {
                let count = totals.sum(|counters| &counters.by_transport[transport.index()]);
                ([transport.as_str()], count)
            }),
        ),
        Family::counters(
            "taciturn_relay_created_allocations_total",
            "Users' allocations that began, by the transport between client and relay.",
            ["transport"],
            Transport::ALL.map(|transport| ([transport.as_str()], totals.created(transport))),
        ),
        Family::counters(
            "taciturn_relay_ended_allocations_total",
            "Users' allocations that ended, by cause.",
            ["cause"],
            EndCause::ALL.map(|cause| ([cause.as_str()], totals.ended(cause))),
        ),
        Family::gauge(
            "taciturn_relay_oldest_allocation_age_seconds",
            "Age of the oldest live allocation of a user; 0 when there is none.",
            oldest(totals),
        ),
    ]
}

fn oldest(totals: &Totals) -> u64 {
    let ages = totals
        .workers()
        .iter()
        .map(|counters| counters.oldest_allocation_seconds.read());
    ages.max().unwrap_or(0)
}

fn held(totals: &Totals) -> [Family; 6] {
    let ports = [
        ("free", totals.sum(|counters| &counters.ports_free)),
        ("used", totals.sum(|counters| &counters.ports_used)),
        ("resting", totals.sum(|counters| &counters.ports_resting)),
    ];
    [
        Family::gauge(
            "taciturn_relay_permissions",
            "Live permissions of users' allocations.",
            totals.sum(|counters| &counters.permissions),
        ),
        Family::gauge(
            "taciturn_relay_channels",
            "Live channel bindings of users' allocations.",
            totals.sum(|counters| &counters.channels),
        ),
        Family::counters(
            "taciturn_relay_revocations_total",
            "Permissions and channel bindings that a new peer policy has ended.",
            ["kind"],
            [
                (
                    ["permission"],
                    totals.sum(|counters| &counters.revoked_permissions),
                ),
                (
                    ["channel"],
                    totals.sum(|counters| &counters.revoked_channels),
                ),
            ],
        ),
        Family::gauges(
            "taciturn_relay_ports",
            "Relayed ports on all relayed addresses, by state: free ones can be given out, used ones are held by an \
             allocation or reserved, resting ones are kept back for a while after use.",
            ["state"],
            ports.map(|(state, count)| ([state], count)),
        ),
        Family::gauge(
            "taciturn_relay_connections",
            "Live client connections over TCP and TLS; the relay's own self-check is not among them.",
            totals.sum(|counters| &counters.connections),
        ),
        Family::counter(
            "taciturn_relay_bind_failures_total",
            "Relayed addresses that could not be bound.",
            totals.sum(|counters| &counters.bind_failures),
        ),
    ]
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

fn forwarded(totals: &Totals) -> [Family; 2] {
    [
        Family::counters(
            "taciturn_relay_forwarded_packets_total",
            "Users' payloads passed on, by direction, transport between client and relay, family of the relayed address, \
             and path: through a socket, or handed over inside between two allocations of this relay. Counted when they \
             are given to the socket or, over TCP and TLS, to the client's queue: what the kernel refuses or the queue \
             gives up afterwards is counted again, as dropped.",
            FLOW_LABELS,
            Flow::all().map(|flow| (flow_labels(flow), totals.packets(flow))),
        ),
        Family::counters(
            "taciturn_relay_forwarded_bytes_total",
            "Bytes of the payloads in taciturn_relay_forwarded_packets_total, without any header.",
            FLOW_LABELS,
            Flow::all().map(|flow| (flow_labels(flow), totals.bytes(flow))),
        ),
    ]
}

const DROP_LABELS: [&str; 4] = ["reason", "direction", "transport", "family"];

const fn drop_labels(site: DropSite, reason: DropReason) -> [&'static str; 4] {
    [
        reason.as_str(),
        site.direction.as_str(),
        site.transport_str(),
        site.family.as_str(),
    ]
}

fn dropped(totals: &Totals) -> [Family; 4] {
    let sites = || {
        DropReason::ALL
            .iter()
            .flat_map(|reason| DropSite::all_of(*reason).map(move |site| (*reason, site)))
    };
    let show = |volume: usize| {
        sites().map(move |(reason, site)| {
            (
                drop_labels(site, reason),
                totals.dropped_at(reason, site)[volume],
            )
        })
    };
    [
        Family::counters(
            "taciturn_relay_dropped_packets_total",
            "Packets dropped, by reason and by where: to_peer is what clients sent, to_client what came from peers or \
             waited for a client; the transport is the client's, none where no allocation holds the port; the family is \
             that of the packet.",
            DROP_LABELS,
            show(0),
        ),
        Family::counters(
            "taciturn_relay_dropped_bytes_total",
            "Bytes of the packets in taciturn_relay_dropped_packets_total, with the TURN framing that they had.",
            DROP_LABELS,
            show(1),
        ),
        Family::counter(
            "taciturn_relay_kernel_dropped_packets_total",
            "Datagrams that the kernel dropped on the relay's sockets for want of buffer space, without those of flows \
             that are set apart. Listeners are looked at every second, relayed sockets in turn, 512 a second and worker, \
             and when they close.",
            totals.sum(|counters| &counters.kernel_drops),
        ),
        Family::counters(
            "taciturn_relay_send_failures_total",
            "Datagrams that the kernel did not take, by class; they are among the dropped packets with reason send_failed.",
            ["class"],
            SendFailure::ALL.map(|class| ([class.as_str()], totals.send_failures(class))),
        ),
    ]
}

fn crowding(totals: &Totals) -> [Family; 3] {
    [
        Family::gauge(
            "taciturn_relay_crowding_flows",
            "Client addresses and ports that are set apart, as they have sent so much over UDP that others' datagrams \
             were lost: they are read after the others.",
            totals.sum(|counters| &counters.apart),
        ),
        Family::counter(
            "taciturn_relay_set_apart_flows_total",
            "How often a client's address and port was set apart.",
            totals.sum(|counters| &counters.set_apart),
        ),
        Family::counter(
            "taciturn_relay_crowding_dropped_packets_total",
            "Datagrams of flows that are set apart which the kernel dropped, as more came than the others left time for.",
            totals.sum(|counters| &counters.crowd_drops),
        ),
    ]
}

fn received(totals: &Totals) -> [Family; 4] {
    [
        Family::counters(
            "taciturn_relay_received_packets_total",
            "Datagrams, and frames over TCP and TLS, that came in by each side of the relay, the self-check's included.",
            ["leg", "transport"],
            Leg::ALL.map(|leg| (leg.as_strs(), totals.received_by(leg)[0])),
        ),
        Family::counters(
            "taciturn_relay_received_bytes_total",
            "Bytes of what is in taciturn_relay_received_packets_total: UDP payloads, and frames without their padding.",
            ["leg", "transport"],
            Leg::ALL.map(|leg| (leg.as_strs(), totals.received_by(leg)[1])),
        ),
        Family::counter(
            "taciturn_relay_receive_calls_total",
            "System calls that read at least one datagram.",
            totals.sum(|counters| &counters.receive_calls),
        ),
        Family::counter(
            "taciturn_relay_receive_failures_total",
            "Reads of a UDP socket that the kernel refused; what waits there is read later.",
            totals.sum(|counters| &counters.receive_failures),
        ),
    ]
}

fn streams(totals: &Totals) -> [Family; 2] {
    let nanos = Duration::from_nanos(totals.queue_wait_nanos());
    [
        Family::counters(
            "taciturn_relay_closed_connections_total",
            "Client connections over TCP and TLS that ended, by reason.",
            ["reason"],
            CloseReason::ALL.map(|reason| ([reason.as_str()], totals.closed(reason))),
        ),
        Family::histogram(
            "taciturn_relay_queue_age_seconds",
            "How long payloads waited for a user over TCP or TLS to take them. What waited too long is not here but \
             among the dropped packets with reason queue_age.",
            &Waits::BOUNDS.map(|bound| bound.as_secs_f64()),
            &totals.queue_waits(),
            nanos.as_secs_f64(),
        ),
    ]
}

fn answers(totals: &Totals) -> [Family; 3] {
    let codes = (0..METHODS.len())
        .flat_map(|method| (0..OUTCOMES.len()).map(move |outcome| (method, outcome)));
    [
        Family::counters(
            "taciturn_relay_responses_total",
            "Answers to users, by method and code.",
            ["method", "code"],
            codes.map(|(method, outcome)| {
                (
                    [METHODS[method].1, OUTCOMES[outcome].1],
                    totals.responses(method, outcome),
                )
            }),
        ),
        Family::counters(
            "taciturn_relay_authentications_total",
            "Users' requests that need credentials, by what became of their proof. Each client is challenged once before \
             it can prove anything; a stale nonce is asked for anew; silenced are those beyond their source's budget of \
             answers; held off are those of a name that its source has failed to prove too often.",
            ["result"],
            Authentication::ALL.map(|result| ([result.as_str()], totals.authentications(result))),
        ),
        Family::counters(
            "taciturn_relay_refusals_total",
            "Requests of proven users that a limit, a drain, overload or the peer policy has refused, by what it was.",
            ["reason"],
            Refusal::ALL.map(|reason| ([reason.as_str()], totals.refusals(reason))),
        ),
    ]
}

fn synthetic(totals: &Totals) -> [Family; 5] {
    let show = |volume: usize| {
        Direction::ALL.map(|direction| ([direction.as_str()], totals.synthetic(direction)[volume]))
    };
    [
        Family::gauge(
            "taciturn_relay_synthetic_allocations",
            "Live allocations of the relay's own self-check.",
            totals.sum(|counters| &counters.synthetic_allocations),
        ),
        Family::gauge(
            "taciturn_relay_synthetic_connections",
            "Live connections of the relay's own self-check.",
            totals.sum(|counters| &counters.synthetic_connections),
        ),
        Family::counter(
            "taciturn_relay_synthetic_responses_total",
            "Answers to the relay's own self-check.",
            totals.sum(|counters| &counters.synthetic_responses),
        ),
        Family::counters(
            "taciturn_relay_synthetic_packets_total",
            "Payloads of the relay's own self-check that were passed on.",
            ["direction"],
            show(0),
        ),
        Family::counters(
            "taciturn_relay_synthetic_bytes_total",
            "Bytes of those payloads.",
            ["direction"],
            show(1),
        ),
    ]
}

fn workers(totals: &Totals) -> [Family; 4] {
    let seconds = |nanos: fn(&Counters) -> &Tally| {
        let workers = totals.workers().iter().enumerate();
        workers
            .map(|(number, counters)| {
                let nanos = Duration::from_nanos(nanos(counters).read());
                ([number.to_string()], nanos)
            })
            .collect::<Vec<_>>()
    };
    [
        Family::gauge(
            "taciturn_relay_workers",
            "Worker threads.",
            totals.workers().len(),
        ),
        Family::counters(
            "taciturn_relay_worker_cpu_seconds_total",
            "Time that each worker's thread has run; its rate is the share of a core that it uses.",
            ["worker"],
            seconds(|counters| &counters.cpu_nanos),
        ),
        Family::counters(
            "taciturn_relay_worker_spun_seconds_total",
            "Time that each worker has looked for more to do instead of sleeping (busy-poll): part of the time that it has run, and \
             no part of its load.",
            ["worker"],
            seconds(|counters| &counters.spun_nanos),
        ),
        Family::counters(
            "taciturn_relay_worker_pauses_total",
            "Times that each worker let packets gather for a moment, as so many came (coalesce).",
            ["worker"],
            totals
                .workers()
                .iter()
                .enumerate()
                .map(|(number, counters)| ([number.to_string()], counters.pauses.read())),
        ),
    ]
}
