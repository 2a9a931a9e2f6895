//! The peer policy: which addresses a relay may send to on a client's behalf.
//!
//! A relay stands inside a network and sends wherever its clients ask, so the default is to refuse everything that is
//! not a public unicast address. Two tiers (see `deny_list`): *never* ranges that no operator can open, and *denied*
//! ranges that an allow entry opens. The relay's own addresses are refused too, except its relayed addresses, since
//! both parties of a call may use one relay; data to those is handed over inside and never sent. A list of the only
//! peers closes those as well, unless it has them: who lists an SFU wants no two clients to meet.
//!
//! Not responsible for finding the host's addresses (the relay tells them at start) nor for permissions' lifetimes.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;

use ipnet::{IpNet, Ipv6Net};

use crate::address::PeerAddr;
use crate::forward::{Destination, PortRules, PortSet, is_among};

mod canonical;
mod deny_list;
#[cfg(test)]
mod tests;

pub use deny_list::default_denied_ports;

/// The addresses of the relay itself, as found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Relayed addresses, bound and advertised.
    pub relayed: Vec<IpAddr>,
    /// Addresses of every interface.
    pub interfaces: Vec<IpAddr>,
    /// Broadcast addresses of every subnet.
    pub broadcasts: Vec<IpAddr>,
    /// Listeners and the admin address.
    pub sockets: Vec<SocketAddr>,
}

/// What the operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRules {
    /// Opens denied ranges; never the never-ranges.
    pub allow: Vec<IpNet>,
    /// Closes more; not the relayed addresses of this relay, by which two of its clients meet.
    pub deny: Vec<IpNet>,
    /// Where there are any, closes everything else, relayed addresses of this relay too; opens denied ranges as `allow`
    /// does.
    pub only: Vec<IpNet>,
    /// Ports closed on every peer address.
    pub denied_ports: PortSet,
    /// Lets loopback peers through, for a relay that listens on loopback only.
    pub allow_loopback: bool,
    /// Prefixes by which the operator's network embeds IPv4 in IPv6 (RFC 6052), beside the well-known ones.
    pub nat64_prefixes: Vec<Ipv6Net>,
    /// Ports that relayed sockets use: a channel to a relayed address of this relay must name one of them.
    pub relayed_ports: RangeInclusive<u16>,
}

impl Default for PeerRules {
    /// Everything closed that is closed by default, on the default range of relayed ports.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            only: Vec::new(),
            denied_ports: PortSet::from_ranges(default_denied_ports()),
            allow_loopback: false,
            nat64_prefixes: Vec::new(),
            relayed_ports: 49_152..=65_535,
        }
    }
}

/// Why a peer is refused. A closed list: the word in logs and in `check-config` explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// In a range that no configuration opens.
    Never,
    /// An IPv6 address that carries a refused IPv4 address inside.
    Embedded,
    /// An address of the relay's own host, or a broadcast address of its subnets.
    Own,
    /// In a range that the operator denied, or outside of the only ones.
    Operator,
    /// In a range that is denied unless the operator allows it.
    Default,
    /// A port that is closed on every address, or one of the relay's own sockets.
    Port,
}

impl Forbidden {
    /// The word used in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Embedded => "embedded",
            Self::Own => "own",
            Self::Operator => "operator",
            Self::Default => "default",
            Self::Port => "port",
        }
    }
}

/// The policy, ready to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPolicy {
    rules: PeerRules,
    own: OwnAddresses,
}

impl PeerPolicy {
    /// A policy of these rules for a host with these addresses.
    pub const fn new(rules: PeerRules, own: OwnAddresses) -> Self {
        Self { rules, own }
    }

    /// Judges a peer's address; its port is not looked at (RFC 8656 §9: a permission ignores it).
    pub fn judge(&self, peer: IpAddr) -> Result<Destination, Forbidden> {
        self.judge_for(peer, false)
    }

    /// The same for the relay's check of itself, where it is `synthetic`: both its ends are on this relay, whatever the
    /// only peers of users are, or a relay for one SFU could not tell whether it works.
    pub(super) fn judge_for(
        &self,
        peer: IpAddr,
        synthetic: bool,
    ) -> Result<Destination, Forbidden> {
        let loopback = self.rules.allow_loopback && is_plain_loopback(peer);
        if self.own.relayed.contains(&peer) {
            if !synthetic && !self.is_wanted(peer) {
                return Err(Forbidden::Operator);
            }
            return Ok(if loopback {
                Destination::OwnRelayedOrHost
            } else {
                Destination::OwnRelayed
            });
        }
        if loopback && self.is_wanted(peer) {
            return Ok(Destination::Network);
        }
        self.judge_plain(peer)?;
        for embedded in canonical::embedded_ipv4(peer, &self.rules.nat64_prefixes) {
            if self.judge_plain(IpAddr::V4(embedded)).is_err()
                || self.own.relayed.contains(&IpAddr::V4(embedded))
            {
                return Err(Forbidden::Embedded);
            }
        }
        Ok(Destination::Network)
    }

    /// Judges a peer's address and port, as ChannelBind names them.
    pub fn judge_with_port(&self, peer: PeerAddr) -> Result<Destination, Forbidden> {
        self.judge_with_port_for(peer, false)
    }

    /// The same for the relay's check of itself, where it is `synthetic`.
    pub(super) fn judge_with_port_for(
        &self,
        peer: PeerAddr,
        synthetic: bool,
    ) -> Result<Destination, Forbidden> {
        let destination = self.judge_for(peer.0.ip(), synthetic)?;
        let port = peer.0.port();
        if self.rules.denied_ports.contains(port) || is_among(&self.own.sockets, peer.0) {
            return Err(Forbidden::Port);
        }
        // another program on the host is never reached by the name of a relayed address.
        if destination == Destination::OwnRelayed && !self.rules.relayed_ports.contains(&port) {
            return Err(Forbidden::Port);
        }
        Ok(destination)
    }

    /// What the forwarding table needs of this policy.
    pub fn port_rules(&self) -> PortRules {
        PortRules {
            denied: self.rules.denied_ports.clone(),
            own_sockets: self.own.sockets.clone(),
        }
    }

    /// Steps 2-5 of the order of evaluation for an address that is what it seems.
    fn judge_plain(&self, peer: IpAddr) -> Result<(), Forbidden> {
        if deny_list::never(peer) {
            return Err(Forbidden::Never);
        }
        if self.own.interfaces.contains(&peer)
            || self.own.broadcasts.contains(&peer)
            || self.is_own_socket_ip(peer)
        {
            return Err(Forbidden::Own);
        }
        if self.rules.deny.iter().any(|net| net.contains(&peer)) || !self.is_wanted(peer) {
            return Err(Forbidden::Operator);
        }
        let mut opened = self.rules.allow.iter().chain(&self.rules.only);
        if opened.any(|net| net.contains(&peer)) {
            return Ok(());
        }
        if deny_list::denied(peer) {
            Err(Forbidden::Default)
        } else {
            Ok(())
        }
    }

    /// Whether it is one of the only peers, where there is such a list.
    fn is_wanted(&self, peer: IpAddr) -> bool {
        let only = &self.rules.only;
        only.is_empty() || only.iter().any(|net| net.contains(&peer))
    }

    fn is_own_socket_ip(&self, peer: IpAddr) -> bool {
        self.own
            .sockets
            .iter()
            .any(|socket| !socket.ip().is_unspecified() && socket.ip() == peer)
    }
}

/// 127.0.0.0/8 or ::1, spelled plainly.
fn is_plain_loopback(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback(),
    }
}

/// Whether an address is of a transition technique that RFC 8656 §21.4 forbids, for clients as for peers: Teredo
/// (2001::/32) or 6to4 (2002::/16).
pub fn is_tunnelled(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => {
            let s = v6.segments();
            s[0] == 0x2002 || (s[0] == 0x2001 && s[1] == 0)
        }
    }
}
