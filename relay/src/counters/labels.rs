//! The labels of packets: every one from a closed set, so that every combination has a counter from the beginning.

use taciturn_protocol::address::{Family, FiveTuple, Transport};
use taciturn_protocol::forward::DropReason;

/// Both families, in the order of their index.
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Which way a payload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client out of its relayed address.
    ToPeer,
    /// From a peer to the client.
    ToClient,
}

impl Direction {
    /// Both directions, in the order of their index.
    pub const ALL: [Self; 2] = [Self::ToPeer, Self::ToClient];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToPeer => "to_peer",
            Self::ToClient => "to_client",
        }
    }
}

/// How a payload travelled between the client's side and the peer's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Through a socket of a worker.
    Socket,
    /// Handed over inside the relay, as both parties hold allocations on it.
    Handover,
}

impl Path {
    /// Every path, in the order of its index.
    pub const ALL: [Self; 2] = [Self::Socket, Self::Handover];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Handover => "handover",
        }
    }
}

/// The labels of one forwarded payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Which way it went.
    pub direction: Direction,
    /// The client's transport.
    pub transport: Transport,
    /// The family of the relayed side.
    pub family: Family,
    /// How it travelled.
    pub path: Path,
}

impl Flow {
    pub(super) const COUNT: usize =
        Direction::ALL.len() * Transport::ALL.len() * 2 * Path::ALL.len();

    pub(super) const fn index(self) -> usize {
        ((self.direction as usize * Transport::ALL.len() + self.transport.index()) * 2
            + self.family.index())
            * Path::ALL.len()
            + self.path as usize
    }

    /// Every combination of labels.
    pub fn all() -> impl Iterator<Item = Self> {
        Direction::ALL.into_iter().flat_map(|direction| {
            Transport::ALL.into_iter().flat_map(move |transport| {
                FAMILIES.into_iter().flat_map(move |family| {
                    Path::ALL.into_iter().map(move |path| Self {
                        direction,
                        transport,
                        family,
                        path,
                    })
                })
            })
        })
    }
}

/// Where a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropSite {
    /// Which way it went.
    pub direction: Direction,
    /// The client's transport; `None` for what came to a relayed port that no allocation holds.
    pub transport: Option<Transport>,
    /// The family of the packet itself: between client and relay of what came from a client or waited for one, between
    /// relay and peer of what came from a peer or was going to one.
    pub family: Family,
}

/// Reasons of what clients send.
const ONLY_TO_PEER: &[DropReason] = &[
    DropReason::Empty,
    DropReason::MalformedChannelData,
    DropReason::MalformedSend,
    DropReason::MalformedStun,
    DropReason::UnknownProtocol,
    DropReason::UnexpectedMessage,
    DropReason::UnboundChannel,
    DropReason::NoPermission,
    DropReason::NoRelayedAddress,
    DropReason::ForbiddenPeer,
    DropReason::NoSuchRelayed,
    DropReason::UnauthenticatedRate,
    DropReason::HeldOff,
    DropReason::HandoverFull,
];

/// Reasons of what comes from peers, or waits for clients.
const ONLY_TO_CLIENT: &[DropReason] = &[
    DropReason::PeerNotPermitted,
    DropReason::TooLarge,
    DropReason::IcmpIgnored,
    DropReason::QueueFull,
    DropReason::QueueAge,
    DropReason::ConnectionGone,
];

impl DropSite {
    /// Transports and one more for none.
    const TRANSPORTS: usize = Transport::ALL.len() + 1;
    pub(super) const COUNT: usize = Direction::ALL.len() * Self::TRANSPORTS * 2;

    /// Something that a client sent.
    pub const fn from_client(client: &FiveTuple) -> Self {
        Self {
            direction: Direction::ToPeer,
            transport: Some(client.transport),
            family: Family::of(&client.client.0),
        }
    }

    /// Something that was on its way to a client.
    pub const fn to_client(client: &FiveTuple) -> Self {
        Self {
            direction: Direction::ToClient,
            ..Self::from_client(client)
        }
    }

    pub(super) const fn index(self) -> usize {
        let transport = match self.transport {
            Some(transport) => transport.index(),
            None => Transport::ALL.len(),
        };
        (self.direction as usize * Self::TRANSPORTS + transport) * 2 + self.family.index()
    }

    /// The metric label of the transport.
    pub const fn transport_str(self) -> &'static str {
        match self.transport {
            Some(transport) => transport.as_str(),
            None => "none",
        }
    }

    /// Every site at which packets can be dropped for this reason.
    pub fn all_of(reason: DropReason) -> impl Iterator<Item = Self> {
        Self::all().filter(move |site| site.is_possible(reason))
    }

    pub(super) fn is_possible(self, reason: DropReason) -> bool {
        match self.direction {
            Direction::ToPeer => self.transport.is_some() && !ONLY_TO_CLIENT.contains(&reason),
            Direction::ToClient => !ONLY_TO_PEER.contains(&reason),
        }
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        let transports = || Transport::ALL.into_iter().map(Some).chain([None]);
        Direction::ALL.into_iter().flat_map(move |direction| {
            transports().flat_map(move |transport| {
                FAMILIES.into_iter().map(move |family| Self {
                    direction,
                    transport,
                    family,
                })
            })
        })
    }
}

/// One of the relay's sides, as packets come in by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// From clients: datagrams, or frames of a stream.
    Client(Transport),
    /// From peers: datagrams.
    Peer,
}

impl Leg {
    /// Every leg, in the order of its index.
    pub const ALL: [Self; 4] = [
        Self::Client(Transport::Udp),
        Self::Client(Transport::Tcp),
        Self::Client(Transport::Tls),
        Self::Peer,
    ];

    /// The metric labels: which side, and what is spoken there.
    pub const fn as_strs(self) -> [&'static str; 2] {
        match self {
            Self::Client(transport) => ["client", transport.as_str()],
            Self::Peer => ["peer", Transport::Udp.as_str()],
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Client(transport) => transport.index(),
            Self::Peer => Transport::ALL.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_labels_has_its_own_counter() {
        let mut seen: Vec<usize> = Flow::all().map(Flow::index).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..Flow::COUNT).collect::<Vec<_>>());
        let mut seen: Vec<usize> = DropSite::all().map(DropSite::index).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..DropSite::COUNT).collect::<Vec<_>>());
        let seen: Vec<usize> = Leg::ALL.into_iter().map(Leg::index).collect();
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[test]
    fn a_reason_is_only_shown_where_it_can_be() {
        let sites: Vec<DropSite> = DropSite::all_of(DropReason::UnboundChannel).collect();
        assert_eq!(sites.len(), Transport::ALL.len() * 2);
        assert!(sites.iter().all(|site| site.direction == Direction::ToPeer));
        let sites: Vec<DropSite> = DropSite::all_of(DropReason::PeerNotPermitted).collect();
        assert_eq!(sites.len(), DropSite::TRANSPORTS * 2);
        assert_eq!(
            DropSite::all_of(DropReason::Bandwidth).count(),
            Transport::ALL.len() * 2 + DropSite::TRANSPORTS * 2
        );
    }
}
