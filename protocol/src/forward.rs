//! The hot path: where does this packet go?
//!
//! [`RouteTable`] executes what the server decided. It is fed by the same route changes that an in-kernel data path
//! would take ([`Route`], added and removed), and it answers for each datagram in a bounded number of steps without
//! allocating, locking or reading a clock: a route that has expired has been removed.
//!
//! Not responsible for deciding anything: who may allocate, which peers are allowed and for how long is the server's
//! ([`crate::server`]). Not responsible for moving bytes: it returns ranges and destinations.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::address::{ChannelNumber, ChannelRange, Family, FiveTuple, PeerAddr, RelayedAddr};
use crate::time::Instant;
use crate::wire::{FirstByte, channel_data, indication};

pub use activity::Activity;
pub use drop_reason::DropReason;
pub use meter::{Bandwidth, MeterId};
pub(crate) use ports::is_among;
pub use ports::{PortRules, PortSet};

use meter::{Account, Meters};

mod activity;
mod drop_reason;
mod meter;
mod ports;

/// Names one relayed socket inside a worker. Numbers are small and are used again after the socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayedId(pub u32);

/// Names one allocation inside a worker. Numbers are small and are used again after the allocation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId(pub u32);

/// Where a permitted peer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Elsewhere: send the payload out through the relayed socket.
    Network,
    /// On this relay: the peer's address is one of its relayed addresses, bound or advertised. The payload is handed
    /// over inside to the allocation that holds the port, and never sent out, so that no other program on the host
    /// can be reached through its own address.
    OwnRelayed,
    /// As [`Destination::OwnRelayed`] when an allocation holds the port, else as [`Destination::Network`]: loopback
    /// peers beside a relay that is itself on loopback (`peers.allow-loopback`).
    OwnRelayedOrHost,
}

/// One change to the table, as the server emits it. Removing names the same route that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A client's allocation has this relayed transport address. An allocation has one, or one of each family.
    Relayed {
        /// The allocation.
        allocation: AllocationId,
        /// Its 5-tuple.
        client: FiveTuple,
        /// The meter of its user, which all allocations of the user share.
        meter: MeterId,
        /// Whether it is the relay's own self-check's: neither metered nor counted among what users send.
        synthetic: bool,
        /// The relayed socket.
        relayed: RelayedId,
        /// The address the socket is bound to.
        bound: SocketAddr,
        /// The address that clients and peers know.
        advertised: RelayedAddr,
    },
    /// Payloads may pass between the allocation and this peer address, whatever its port (RFC 8656 §9).
    Permission {
        /// The allocation.
        allocation: AllocationId,
        /// The peer's address.
        peer: IpAddr,
        /// Where that address lives.
        destination: Destination,
    },
    /// This channel number stands for this peer (RFC 8656 §12). It carries nothing without a permission.
    Channel {
        /// The allocation.
        allocation: AllocationId,
        /// The channel number.
        number: ChannelNumber,
        /// The peer.
        peer: PeerAddr,
    },
}

/// What is to be done with a datagram or frame from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientVerdict {
    /// Send this part of it to a peer.
    ToPeer {
        /// Through this relayed socket.
        relayed: RelayedId,
        /// To this peer.
        peer: PeerAddr,
        /// These bytes of the datagram.
        payload: Range<usize>,
        /// Without fragmentation (RFC 8656 §14).
        dont_fragment: bool,
        /// Out, or inside.
        destination: Destination,
        /// Whether the sender is the relay's own self-check.
        synthetic: bool,
    },
    /// A STUN message for the server.
    Control,
    /// Nothing more.
    Drop(DropReason),
}

/// What is to be done with a datagram from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerVerdict {
    /// Send it to the client.
    ToClient {
        /// Which client, and over which transport.
        client: FiveTuple,
        /// In this form.
        framing: Framing,
        /// Whether the client is the relay's own self-check.
        synthetic: bool,
    },
    /// Nothing more.
    Drop(DropReason),
}

/// The form in which a peer's payload reaches the client (RFC 8656 §11.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// ChannelData with this number.
    Channel(ChannelNumber),
    /// A Data indication.
    Indication,
}

/// What an allocation has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Payloads accepted from the client for its peers.
    pub to_peer_packets: u64,
    /// Their bytes, without framing.
    pub to_peer_bytes: u64,
    /// Payloads accepted from peers for the client.
    pub to_client_packets: u64,
    /// Their bytes, without framing.
    pub to_client_bytes: u64,
}

impl Traffic {
    // Counts that have come round are wrong once; one that stopped its worker would end every call.

    #[inline(always)]
    const fn count_to_peer(&mut self, length: usize) {
        self.to_peer_packets = self.to_peer_packets.wrapping_add(1);
        self.to_peer_bytes = self.to_peer_bytes.wrapping_add(length as u64);
    }

    #[inline(always)]
    const fn count_to_client(&mut self, length: usize) {
        self.to_client_packets = self.to_client_packets.wrapping_add(1);
        self.to_client_bytes = self.to_client_bytes.wrapping_add(length as u64);
    }

    pub(super) const fn packets(&self) -> u64 {
        self.to_peer_packets.wrapping_add(self.to_client_packets)
    }
}

/// One relayed address of an allocation.
#[derive(Clone, Copy, Debug)]
struct OwnRelayed {
    relayed: RelayedId,
    bound: SocketAddr,
    advertised: RelayedAddr,
}

#[derive(Debug)]
struct PermissionRoute {
    peer: IpAddr,
    destination: Destination,
}

#[derive(Debug)]
struct ChannelRoute {
    number: ChannelNumber,
    peer: PeerAddr,
    // Derived from the permissions whenever they change, so that a packet needs one look-up.
    permitted: Option<Destination>,
}

#[derive(Debug)]
struct AllocationRoutes {
    client: FiveTuple,
    relayed: [Option<OwnRelayed>; 2],
    permissions: Vec<PermissionRoute>,
    channels: Vec<ChannelRoute>,
    account: Account,
    traffic: Traffic,
    // Payloads carried when activity was last swept.
    swept: u64,
    // What that sweep found.
    was_active: bool,
}

impl AllocationRoutes {
    fn relayed_for(&self, family: Family) -> Option<OwnRelayed> {
        self.relayed[family.index()]
    }

    fn permitted(&self, peer: IpAddr) -> Option<Destination> {
        self.permissions
            .iter()
            .find(|p| p.peer == peer)
            .map(|p| p.destination)
    }
}

/// The routes of one worker. All state is its owner's alone: nothing is shared, nothing is locked.
#[derive(Debug)]
pub struct RouteTable {
    // Indexed by `AllocationId`.
    allocations: Vec<Option<AllocationRoutes>>,
    // Keyed hashing: clients choose their addresses and ports.
    by_client: HashMap<FiveTuple, AllocationId, RandomState>,
    // Indexed by `RelayedId`.
    by_relayed: Vec<Option<AllocationId>>,
    by_address: HashMap<SocketAddr, RelayedId, RandomState>,
    meters: Meters,
    rules: PortRules,
    channels: ChannelRange,
}

impl RouteTable {
    /// An empty table. `seed` keys its hashing and must not be guessable; `channels` says which first bytes are
    /// ChannelData's.
    pub fn new(seed: [u64; 4], rules: PortRules, channels: ChannelRange) -> Self {
        let hasher = || RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self {
            allocations: Vec::new(),
            by_client: HashMap::with_hasher(hasher()),
            by_relayed: Vec::new(),
            by_address: HashMap::with_hasher(hasher()),
            meters: Meters::default(),
            rules,
            channels,
        }
    }

    /// Sets how much may be relayed in a second, from the next payload on (RFC 8656 §5). Each worker counts what passes
    /// through it. A limit that changes forgets what was spent under the one before it, so that nobody pays at a lower
    /// rate's price.
    pub fn limit_bandwidth(&mut self, bandwidth: Bandwidth) {
        if self.meters.limit(bandwidth) {
            for routes in self.allocations.iter_mut().flatten() {
                routes.account.clear();
            }
        }
    }

    /// Closes other ports than before, from the next payload on. The channels that this forbids are the server's to
    /// remove.
    pub fn replace_rules(&mut self, rules: PortRules) {
        self.rules = rules;
    }

    // ---- the hot path begins ----

    /// Judges a datagram, or a frame of a stream without its padding, from a client.
    #[inline]
    pub fn from_client(
        &mut self,
        now: Instant,
        client: &FiveTuple,
        datagram: &[u8],
    ) -> ClientVerdict {
        let Some(&first) = datagram.first() else {
            return ClientVerdict::Drop(DropReason::Empty);
        };
        match FirstByte::classify(first, self.channels) {
            FirstByte::ChannelData => self.channel_data(now, client, datagram),
            FirstByte::Stun if datagram.starts_with(&SEND_INDICATION) => {
                self.send_indication(now, client, datagram)
            }
            FirstByte::Stun => ClientVerdict::Control,
            FirstByte::Dtls | FirstByte::Other => ClientVerdict::Drop(DropReason::UnknownProtocol),
        }
    }

    #[inline]
    fn channel_data(&mut self, now: Instant, client: &FiveTuple, datagram: &[u8]) -> ClientVerdict {
        let Ok(message) = channel_data::parse(datagram) else {
            return ClientVerdict::Drop(DropReason::MalformedChannelData);
        };
        let Some((allocation, meters)) = self.allocation_of(client) else {
            return ClientVerdict::Drop(DropReason::NoAllocation);
        };
        let Some(channel) = allocation
            .channels
            .iter()
            .find(|c| c.number.value() == message.number)
        else {
            return ClientVerdict::Drop(DropReason::UnboundChannel);
        };
        // RFC 8656 §11.3 asks this of peers' packets only; a channel that outlived its permission is silent both ways.
        let Some(destination) = channel.permitted else {
            return ClientVerdict::Drop(DropReason::NoPermission);
        };
        let peer = channel.peer;
        let Some(OwnRelayed { relayed, .. }) = allocation.relayed_for(Family::of(&peer.0)) else {
            return ClientVerdict::Drop(DropReason::NoRelayedAddress);
        };
        let length = message.payload.len();
        if let Err(reason) = meters.admit(&mut allocation.account, now, length) {
            return ClientVerdict::Drop(reason);
        }
        allocation.traffic.count_to_peer(length);
        ClientVerdict::ToPeer {
            relayed,
            peer,
            payload: 4..4 + length,
            dont_fragment: false,
            destination,
            synthetic: allocation.account.synthetic,
        }
    }

    #[inline]
    fn send_indication(
        &mut self,
        now: Instant,
        client: &FiveTuple,
        datagram: &[u8],
    ) -> ClientVerdict {
        let Ok(message) = indication::parse_send(datagram) else {
            return ClientVerdict::Drop(DropReason::MalformedSend);
        };
        let peer = PeerAddr(message.peer);
        if !self.rules.allow(peer.0) {
            return ClientVerdict::Drop(DropReason::ForbiddenPeer);
        }
        let Some((allocation, meters)) = self.allocation_of(client) else {
            return ClientVerdict::Drop(DropReason::NoAllocation);
        };
        let Some(destination) = allocation.permitted(peer.0.ip()) else {
            return ClientVerdict::Drop(DropReason::NoPermission);
        };
        let Some(own) = allocation.relayed_for(Family::of(&peer.0)) else {
            return ClientVerdict::Drop(DropReason::NoRelayedAddress);
        };
        // An allocation is never its own peer; ChannelBind refuses it, Send names its peer per packet.
        if own.bound == peer.0 || own.advertised.0 == peer.0 {
            return ClientVerdict::Drop(DropReason::ForbiddenPeer);
        }
        let length = message.data.len();
        let start = offset_within(datagram, message.data);
        if let Err(reason) = meters.admit(&mut allocation.account, now, length) {
            return ClientVerdict::Drop(reason);
        }
        allocation.traffic.count_to_peer(length);
        ClientVerdict::ToPeer {
            relayed: own.relayed,
            peer,
            payload: start..start + length,
            dont_fragment: message.dont_fragment,
            destination,
            synthetic: allocation.account.synthetic,
        }
    }

    /// Judges a datagram of `length` bytes that came from `peer` to a relayed socket.
    #[inline]
    pub fn from_peer(
        &mut self,
        now: Instant,
        relayed: RelayedId,
        peer: PeerAddr,
        length: usize,
    ) -> PeerVerdict {
        let Some((allocation, meters)) = self.allocation_at(relayed) else {
            return PeerVerdict::Drop(DropReason::NoAllocation);
        };
        let framing = match allocation.channels.iter().find(|c| c.peer == peer) {
            // RFC 8656 §11.3: a channel whose permission has lapsed carries nothing.
            Some(channel) if channel.permitted.is_some() => Framing::Channel(channel.number),
            None if allocation.permitted(peer.0.ip()).is_some() => Framing::Indication,
            Some(_) | None => return PeerVerdict::Drop(DropReason::PeerNotPermitted),
        };
        if let Err(reason) = meters.admit(&mut allocation.account, now, length) {
            return PeerVerdict::Drop(reason);
        }
        allocation.traffic.count_to_client(length);
        PeerVerdict::ToClient {
            client: allocation.client,
            framing,
            synthetic: allocation.account.synthetic,
        }
    }

    #[inline]
    fn allocation_of(
        &mut self,
        client: &FiveTuple,
    ) -> Option<(&mut AllocationRoutes, &mut Meters)> {
        let id = *self.by_client.get(client)?;
        let routes = self.allocations.get_mut(id.0 as usize)?.as_mut()?;
        Some((routes, &mut self.meters))
    }

    #[inline]
    fn allocation_at(
        &mut self,
        relayed: RelayedId,
    ) -> Option<(&mut AllocationRoutes, &mut Meters)> {
        let id = (*self.by_relayed.get(relayed.0 as usize)?)?;
        let routes = self.allocations.get_mut(id.0 as usize)?.as_mut()?;
        Some((routes, &mut self.meters))
    }

    // ---- the hot path ends ----

    /// The relayed socket that holds this address, bound or advertised, with an allocation behind it.
    pub fn relayed_at(&self, address: SocketAddr) -> Option<RelayedId> {
        self.by_address.get(&address).copied()
    }

    /// Lets an allocation begin with these counts, so that it can be seen what becomes of them at their end.
    #[cfg(test)]
    pub(crate) fn begin_traffic_at(&mut self, allocation: AllocationId, traffic: Traffic) {
        if let Some(routes) = self.routes_mut(allocation) {
            routes.traffic = traffic;
            routes.swept = traffic.packets();
        }
    }

    /// What this allocation has carried since it began.
    pub fn traffic(&self, allocation: AllocationId) -> Option<Traffic> {
        Some(
            self.allocations
                .get(allocation.0 as usize)?
                .as_ref()?
                .traffic,
        )
    }

    /// Takes a route up. A permission that is added again replaces the first.
    pub fn add(&mut self, route: &Route) {
        match *route {
            Route::Relayed {
                allocation,
                client,
                meter,
                synthetic,
                relayed,
                bound,
                advertised,
            } => {
                self.meters.prepare(meter);
                let slot = slot_at(&mut self.allocations, allocation.0);
                let routes = slot.get_or_insert_with(|| AllocationRoutes {
                    client,
                    relayed: [None; 2],
                    permissions: Vec::new(),
                    channels: Vec::new(),
                    account: Account::new(meter, synthetic),
                    traffic: Traffic::default(),
                    swept: 0,
                    was_active: false,
                });
                routes.relayed[Family::of(&bound).index()] = Some(OwnRelayed {
                    relayed,
                    bound,
                    advertised,
                });
                *slot_at(&mut self.by_relayed, relayed.0) = Some(allocation);
                self.by_client.insert(client, allocation);
                self.by_address.insert(bound, relayed);
                self.by_address.insert(advertised.0, relayed);
            }
            Route::Permission {
                allocation,
                peer,
                destination,
            } => {
                let Some(routes) = self.routes_mut(allocation) else {
                    return;
                };
                match routes.permissions.iter_mut().find(|p| p.peer == peer) {
                    Some(permission) => permission.destination = destination,
                    None => routes
                        .permissions
                        .push(PermissionRoute { peer, destination }),
                }
                set_permitted(routes, peer, Some(destination));
            }
            Route::Channel {
                allocation,
                number,
                peer,
            } => {
                let Some(routes) = self.routes_mut(allocation) else {
                    return;
                };
                let permitted = routes.permitted(peer.0.ip());
                routes.channels.retain(|c| c.number != number);
                routes.channels.push(ChannelRoute {
                    number,
                    peer,
                    permitted,
                });
            }
        }
    }

    /// Takes a route down. The last relayed address of an allocation takes all its routes with it.
    pub fn remove(&mut self, route: &Route) {
        match *route {
            Route::Relayed {
                allocation,
                client,
                relayed,
                bound,
                advertised,
                ..
            } => {
                *slot_at(&mut self.by_relayed, relayed.0) = None;
                self.by_address.remove(&bound);
                self.by_address.remove(&advertised.0);
                let Some(routes) = self.routes_mut(allocation) else {
                    return;
                };
                routes.relayed[Family::of(&bound).index()] = None;
                if routes.relayed.iter().all(Option::is_none) {
                    *slot_at(&mut self.allocations, allocation.0) = None;
                    self.by_client.remove(&client);
                }
            }
            Route::Permission {
                allocation, peer, ..
            } => {
                let Some(routes) = self.routes_mut(allocation) else {
                    return;
                };
                routes.permissions.retain(|p| p.peer != peer);
                set_permitted(routes, peer, None);
            }
            Route::Channel {
                allocation, number, ..
            } => {
                let Some(routes) = self.routes_mut(allocation) else {
                    return;
                };
                routes.channels.retain(|c| c.number != number);
            }
        }
    }

    /// Whether nothing is routed at all.
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
            && self.by_address.is_empty()
            && self.allocations.iter().all(Option::is_none)
    }

    fn routes_mut(&mut self, allocation: AllocationId) -> Option<&mut AllocationRoutes> {
        self.allocations.get_mut(allocation.0 as usize)?.as_mut()
    }
}

/// The first two bytes of a Send indication: class indication, method 0x006.
const SEND_INDICATION: [u8; 2] = [0x00, 0x16];

fn set_permitted(routes: &mut AllocationRoutes, peer: IpAddr, permitted: Option<Destination>) {
    for channel in routes.channels.iter_mut().filter(|c| c.peer.0.ip() == peer) {
        channel.permitted = permitted;
    }
}

fn slot_at<T>(slots: &mut Vec<Option<T>>, index: u32) -> &mut Option<T> {
    let index = index as usize;
    if slots.len() <= index {
        slots.resize_with(index + 1, || None);
    }
    &mut slots[index]
}

fn offset_within(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize)
}
