//! Addresses by the part that they play (RFC 8656 §2), so that a swapped pair is a type error.
//!
//! Responsible for naming; not for judging who may be reached (`server::peers`).

use core::net::{IpAddr, SocketAddr};

/// How a client reaches the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Transport {
    /// TURN over UDP.
    Udp,
    /// TURN over TCP.
    Tcp,
    /// TURN over TLS over TCP.
    Tls,
}

impl Transport {
    /// Every transport, in the order of [`Transport::index`].
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    /// The word used in configuration, logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Position in [`Transport::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether the transport delivers a stream, so that messages are framed and ChannelData is padded (RFC 8656 §12.5).
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// An address family, with its number in REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Family {
    /// IPv4, number 0x01.
    V4 = 1,
    /// IPv6, number 0x02.
    V6 = 2,
}

impl Family {
    /// The family of an address; an IPv4-mapped IPv6 address is IPv6.
    pub const fn of(addr: &SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    /// The family of an address without a port.
    pub const fn of_ip(ip: &IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The other family.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// Position in a pair of which each family has one.
    pub const fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }

    /// The family with this number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The word used in logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// A client's host transport address as the relay sees it: its server-reflexive address when a NAT is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClientAddr(pub SocketAddr);

/// A peer's transport address: where relayed payloads go to and come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerAddr(pub SocketAddr);

/// A relayed transport address as clients and peers see it: the advertised one where a NAT hides the bound one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RelayedAddr(pub SocketAddr);

/// The client side's 5-tuple (RFC 8656 §2): it names at most one allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FiveTuple {
    /// The transport between client and relay.
    pub transport: Transport,
    /// Where the client's packets come from.
    pub client: ClientAddr,
    /// The relay's own address that they were sent to, never a wildcard.
    pub server: SocketAddr,
}

/// A channel number that the relay accepts (RFC 8656 §12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ChannelNumber(u16);

/// Which channel numbers are accepted in ChannelBind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelRange {
    /// 0x4000-0x4FFF (RFC 8656 §12).
    #[default]
    Rfc8656,
    /// 0x4000-0x7FFF: also what clients of RFC 5766 may choose. The bytes 0x50-0x7F then never begin another protocol
    /// on a listener (RFC 7983 gives them away), so it is a choice of the operator.
    Rfc5766,
}

impl ChannelNumber {
    /// The channel number `value`, when `range` has it.
    pub const fn new(value: u16, range: ChannelRange) -> Option<Self> {
        let last = match range {
            ChannelRange::Rfc8656 => 0x4FFF,
            ChannelRange::Rfc5766 => 0x7FFF,
        };
        if value >= 0x4000 && value <= last {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number on the wire.
    pub const fn value(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counters, labels and settings are kept by these words and places: none stands for two.
    #[test]
    fn every_transport_and_family_has_a_word_and_a_place_of_its_own() {
        assert_eq!(Transport::ALL.map(Transport::index), [0, 1, 2]);
        assert_eq!(Transport::ALL.map(Transport::as_str), ["udp", "tcp", "tls"]);
        assert_eq!(
            Transport::ALL.map(Transport::is_stream),
            [false, true, true]
        );
        let families = [Family::V4, Family::V6];
        assert_eq!(families.map(Family::index), [0, 1]);
        assert_eq!(families.map(Family::as_str), ["ipv4", "ipv6"]);
        for family in families {
            assert_eq!(Family::from_number(family.number()), Some(family));
        }
        assert_eq!(Family::from_number(0), None);
        assert_eq!(Family::from_number(3), None);
    }
}
