//! Metrics of the TCP and TLS listeners: what they have seen before a connection reached a worker.

use taciturn_protocol::address::Transport;

use crate::listener::{FrontCounters, Group, HandshakeFailure, Refusal, TlsVersion};

use super::{Family, Source};

impl Source for FrontCounters {
    fn families(&self) -> Vec<Family> {
        let mut families = vec![
            Family::counter(
                "taciturn_relay_accepted_connections_total",
                "Connections accepted.",
                self.accepted(),
            ),
            Family::counter(
                "taciturn_relay_accept_errors_total",
                "Times that a connection could not be accepted for want of descriptors or memory.",
                self.accept_errors(),
            ),
            Family::counter(
                "taciturn_relay_health_answers_total",
                "HTTPS health checks answered.",
                self.health_answers(),
            ),
            Family::gauge(
                "taciturn_relay_half_open_connections",
                "Connections that are not established yet.",
                self.half_open(),
            ),
        ];
        families.extend(connections(self));
        families.extend(handshakes(self));
        families
    }
}

fn connections(front: &FrontCounters) -> [Family; 2] {
    [
        Family::counters(
            "taciturn_relay_established_connections_total",
            "Connections that spoke TURN and were given to a worker.",
            ["transport"],
            [Transport::Tcp, Transport::Tls]
                .map(|transport| ([transport.as_str()], front.established(transport))),
        ),
        Family::counters(
            "taciturn_relay_refused_connections_total",
            "Connections turned away before they reached a worker, by reason.",
            ["reason"],
            Refusal::ALL.map(|reason| ([reason.as_str()], front.refused(reason))),
        ),
    ]
}

fn handshakes(front: &FrontCounters) -> [Family; 2] {
    let completed = TlsVersion::ALL.into_iter().flat_map(|version| {
        Group::ALL.into_iter().map(move |group| {
            (
                [version.as_str(), group.as_str()],
                front.handshakes(version, group),
            )
        })
    });
    [
        Family::counters(
            "taciturn_relay_tls_handshakes_total",
            "Completed TLS handshakes, by version and key exchange group.",
            ["version", "group"],
            completed,
        ),
        Family::counters(
            "taciturn_relay_tls_handshake_failures_total",
            "Failed TLS handshakes, by reason.",
            ["reason"],
            HandshakeFailure::ALL
                .map(|reason| ([reason.as_str()], front.handshake_failures(reason))),
        ),
    ]
}
