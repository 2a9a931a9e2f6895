//! The rows of a comparison: which load, in which shape.
//!
//! Responsible for their names and parameters. Not responsible for measuring (see `traffic` and `allocations`).

use super::servers::Running;
use crate::ballast::Ballast;
use crate::cli::default_burst;
use crate::flow::{self, Framing};
use crate::link::Transport;
use crate::server_use::Server;
use crate::traffic::{self, Directions, Pace, Plan};
use crate::{allocations, report};
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;

const ALLOCATIONS_IN_FLIGHT: usize = 64;
const ALLOCATIONS_TIME_LIMIT: Duration = Duration::from_secs(30);

/// How long each run takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// The measured interval.
    pub(crate) duration: Duration,
    /// Sending before it.
    pub(crate) warm_up: Duration,
    /// Allocations in the allocations row.
    pub(crate) allocations: usize,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Short name, for `--rows`.
    pub(crate) name: &'static str,
    /// What it is, for the table.
    pub(crate) title: &'static str,
    /// What runs.
    pub(crate) load: Load,
    /// What the servers must be like.
    pub(crate) servers: Servers,
    /// What the candidate's figure shall be, if a goal was set.
    pub(crate) aim: Option<Aim>,
}

/// The processes that rows need; rows that need the same share them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Servers {
    /// Memory is measured: they must not have grown before.
    Fresh,
    /// As they come.
    Usual,
    /// Taciturn looks for packets for a while before it sleeps.
    Polling,
}

impl Servers {
    /// Each kind, in the order of the runs.
    pub(crate) const ALL: [Self; 3] = [Self::Fresh, Self::Usual, Self::Polling];
}

/// A goal for a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// Candidate over baseline, CPU for each packet, at most.
    Ratio(f64),
    /// CPU of the candidate for each packet, in nanoseconds, at most.
    CpuNanos(f64),
    /// Median latency of the candidate, in microseconds, at most.
    P50Micros(f64),
    /// CPU of the candidate for each allocation in microseconds and its memory in KiB, at most.
    Allocation(f64, f64),
}

/// What a row runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Payloads over flows.
    Traffic(Shape),
    /// Many allocations.
    Allocations,
}

/// The shape of the traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    transport: Transport,
    framing: Framing,
    flows: usize,
    payload_len: usize,
    directions: Directions,
    pace: Pace,
    parties: Parties,
    trains: bool,
}

#[derive(Clone, Copy, Debug)]
enum Parties {
    ClientAndPeer,
    TwoClients,
}

/// Sixteen busy flows of audio-sized payloads: what the other shapes vary.
const BUSY: Shape = Shape {
    transport: Transport::Udp,
    framing: Framing::Channel,
    flows: 16,
    payload_len: 172,
    directions: Directions::C2p,
    pace: Pace::Closed {
        window: 64,
        burst: default_burst(64),
    },
    parties: Parties::ClientAndPeer,
    trains: false,
};
/// Half the window: coturn's relay sockets hold 56 datagrams of this size, and a loss there says nothing about CPU.
const LARGE: Shape = Shape {
    payload_len: 1200,
    pace: Pace::Closed {
        window: 32,
        burst: default_burst(32),
    },
    ..BUSY
};
const SPARSE: Shape = Shape {
    flows: 500,
    pace: Pace::Closed {
        window: 2,
        burst: 1,
    },
    ..BUSY
};
const INDICATIONS: Shape = Shape {
    framing: Framing::Indication,
    ..BUSY
};
const TCP: Shape = Shape {
    transport: Transport::Tcp,
    ..BUSY
};
const TLS: Shape = Shape {
    transport: Transport::Tls,
    ..BUSY
};
/// The only rows in which datagrams travel joined: as from a network card that joins them, to one that takes them apart.
const TRAINS: Shape = Shape {
    trains: true,
    ..BUSY
};
const PACED: Shape = Shape {
    flows: 50,
    directions: Directions::Both,
    pace: Pace::Open { per_second: 10_000 },
    ..BUSY
};
const PAIR: Shape = Shape {
    parties: Parties::TwoClients,
    ..BUSY
};

/// Every row there is.
pub(crate) fn all() -> Vec<Row> {
    let c2p = |name, title, shape, aim| Row {
        name,
        title,
        load: Load::Traffic(shape),
        servers: Servers::Usual,
        aim: Some(aim),
    };
    let p2c = |name, title, shape, aim| {
        let backward = Shape {
            directions: Directions::P2c,
            ..shape
        };
        c2p(name, title, backward, aim)
    };
    vec![
        c2p(
            "udp-172-c2p",
            "UDP, 16 busy flows, 172 B, client to peer",
            BUSY,
            Aim::Ratio(0.62),
        ),
        p2c(
            "udp-172-p2c",
            "UDP, 16 busy flows, 172 B, peer to client",
            BUSY,
            Aim::Ratio(0.64),
        ),
        c2p(
            "udp-1200-c2p",
            "UDP, 16 busy flows, 1200 B, client to peer",
            LARGE,
            Aim::Ratio(0.60),
        ),
        p2c(
            "udp-1200-p2c",
            "UDP, 16 busy flows, 1200 B, peer to client",
            LARGE,
            Aim::Ratio(0.64),
        ),
        c2p(
            "sparse-c2p",
            "UDP, 500 flows with 2 in flight, 172 B, client to peer",
            SPARSE,
            Aim::Ratio(0.76),
        ),
        p2c(
            "sparse-p2c",
            "UDP, 500 flows with 2 in flight, 172 B, peer to client",
            SPARSE,
            Aim::Ratio(0.72),
        ),
        c2p(
            "indication-c2p",
            "Send indications, 16 busy flows, 172 B",
            INDICATIONS,
            Aim::Ratio(0.65),
        ),
        p2c(
            "indication-p2c",
            "Data indications, 16 busy flows, 172 B",
            INDICATIONS,
            Aim::Ratio(0.55),
        ),
        c2p(
            "trains-c2p",
            "UDP in trains of 32 (GSO and GRO), 16 flows, 172 B, client to peer",
            TRAINS,
            Aim::CpuNanos(200.0),
        ),
        p2c(
            "trains-p2c",
            "UDP in trains of 32 (GSO and GRO), 16 flows, 172 B, peer to client",
            TRAINS,
            Aim::CpuNanos(200.0),
        ),
        c2p(
            "tcp-c2p",
            "TCP, 16 connections, 172 B, client to peer",
            TCP,
            Aim::Ratio(0.70),
        ),
        p2c(
            "tcp-p2c",
            "TCP, 16 connections, 172 B, peer to client",
            TCP,
            Aim::Ratio(0.90),
        ),
        c2p(
            "tls-c2p",
            "TLS, 16 connections, 172 B, client to peer",
            TLS,
            Aim::Ratio(0.45),
        ),
        p2c(
            "tls-p2c",
            "TLS, 16 connections, 172 B, peer to client",
            TLS,
            Aim::Ratio(0.90),
        ),
        c2p(
            "paced",
            "UDP, 10,000 packets/s over 50 flows, both ways, 172 B",
            PACED,
            Aim::Ratio(0.75),
        ),
        Row {
            servers: Servers::Polling,
            ..c2p(
                "paced-busy",
                "the same, Taciturn with busy-poll = \"200us\"",
                PACED,
                Aim::P50Micros(20.0),
            )
        },
        c2p(
            "pair",
            "UDP, both parties on the relay, 16 pairs, 172 B",
            PAIR,
            Aim::Ratio(0.35),
        ),
        Row {
            name: "allocations",
            title: "allocations, 64 in progress",
            load: Load::Allocations,
            servers: Servers::Fresh,
            aim: Some(Aim::Allocation(20.0, 3.0)),
        },
    ]
}

impl Row {
    /// Whether a filter names this row; an empty filter names all.
    pub(crate) fn is_wanted(&self, filter: &[String]) -> bool {
        filter.is_empty() || filter.iter().any(|part| self.name.contains(part.as_str()))
    }

    /// Runs against a server; returns the figures and whether they are sound.
    pub(crate) fn run(
        &self,
        running: &Running,
        effort: Effort,
        observed: &Server,
        ballast: Option<&Ballast>,
    ) -> Result<(Value, bool)> {
        match self.load {
            Load::Traffic(shape) => {
                let report = shape.run(running, effort, observed, ballast)?;
                Ok((serde_json::to_value(&report)?, report.is_sound()))
            }
            Load::Allocations => {
                let plan = allocations::Plan {
                    count: effort.allocations,
                    in_flight: ALLOCATIONS_IN_FLIGHT,
                    time_limit: ALLOCATIONS_TIME_LIMIT,
                };
                let report =
                    allocations::run(&running.target(Transport::Udp), plan, Some(observed))?;
                Ok((serde_json::to_value(&report)?, report.is_sound()))
            }
        }
    }
}

impl Shape {
    fn run(
        &self,
        running: &Running,
        effort: Effort,
        observed: &Server,
        ballast: Option<&Ballast>,
    ) -> Result<report::TrafficReport> {
        let target = running.target(self.transport);
        let set_up = match self.parties {
            Parties::ClientAndPeer => flow::client_and_peer,
            Parties::TwoClients => flow::client_and_client,
        };
        let flows = (0..self.flows)
            .map(|number| {
                set_up(&target, number, self.framing)
                    .with_context(|| format!("cannot set up flow {number}"))
            })
            .collect::<Result<Vec<_>>>()?;
        let plan = Plan {
            pace: self.pace,
            directions: self.directions,
            payload_len: self.payload_len,
            duration: effort.duration,
            packets: None,
            warm_up: effort.warm_up,
            trains: self.trains,
        };
        traffic::run(flows, plan, Some(observed), ballast)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_filters_pick_by_part() {
        let rows = all();
        assert_eq!(
            rows.iter()
                .map(|row| row.name)
                .collect::<HashSet<_>>()
                .len(),
            rows.len()
        );
        let wanted: Vec<_> = rows
            .iter()
            .filter(|row| row.is_wanted(&["tls".to_owned()]))
            .map(|row| row.name)
            .collect();
        assert_eq!(wanted, ["tls-c2p", "tls-p2c"]);
        assert!(rows.iter().all(|row| row.is_wanted(&[])));
    }
}
