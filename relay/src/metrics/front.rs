//! Metrics of the TCP and TLS listeners.

use taciturn_protocol::address::Transport;

use crate::listener::{FrontCounters, Group, HandshakeFailure, Refusal, TlsVersion};

use super::{Family, counter, gauge, labelled};

/// What the listeners have seen before a connection reached a worker.
pub(super) fn families(front: &FrontCounters) -> Vec<Family> {
    let streams = [Transport::Tcp, Transport::Tls].into_iter();
    let handshakes = TlsVersion::ALL.into_iter().flat_map(|version| {
        Group::ALL.into_iter().map(move |group| {
            (
                vec![version.as_str(), group.as_str()],
                front.handshakes(version, group),
            )
        })
    });
    vec![
        counter(
            "taciturn_relay_accepted_connections_total",
            "Connections accepted.",
            front.accepted(),
        ),
        counter(
            "taciturn_relay_accept_errors_total",
            "Times that a connection could not be accepted for want of descriptors or memory.",
            front.accept_errors(),
        ),
        labelled(
            "taciturn_relay_established_connections_total",
            "Connections that spoke TURN and were given to a worker.",
            &["transport"],
            streams
                .map(|transport| (vec![transport.as_str()], front.established(transport)))
                .collect(),
        ),
        labelled(
            "taciturn_relay_refused_connections_total",
            "Connections turned away before they reached a worker, by reason.",
            &["reason"],
            Refusal::ALL
                .into_iter()
                .map(|reason| (vec![reason.as_str()], front.refused(reason)))
                .collect(),
        ),
        labelled(
            "taciturn_relay_tls_handshakes_total",
            "Completed TLS handshakes, by version and key exchange group.",
            &["version", "group"],
            handshakes.collect(),
        ),
        labelled(
            "taciturn_relay_tls_handshake_failures_total",
            "Failed TLS handshakes, by reason.",
            &["reason"],
            HandshakeFailure::ALL
                .into_iter()
                .map(|reason| (vec![reason.as_str()], front.handshake_failures(reason)))
                .collect(),
        ),
        counter(
            "taciturn_relay_health_answers_total",
            "HTTPS health checks answered.",
            front.health_answers(),
        ),
        gauge(
            "taciturn_relay_half_open_connections",
            "Connections that are not established yet.",
            front.half_open(),
        ),
    ]
}
