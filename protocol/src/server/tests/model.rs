//! Random operations against the server and against a reference so naive that it can be read at a glance.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use proptest::prelude::*;

use super::sim::{Choices, Client, Outcome, SECRET, Sim, addr, directory};
use crate::address::Transport;
use crate::forward::{Framing, PeerVerdict, PortSet};
use crate::server::{Drain, Limits, Revoked, default_denied_ports};
use crate::wire::Method;

const CLIENTS: usize = 4;
const PEERS: [&str; 6] = [
    "8.8.8.8:5000",
    "8.8.8.8:5001",
    "9.9.9.9:5000",
    "1.1.1.1:443",
    // Forbidden, by address and by port.
    "10.0.0.1:5000",
    "8.8.8.8:53",
];
/// What a policy may close: an address, or a port of every address.
const CLOSABLE: [Closed; 3] = [
    Closed::Address([8, 8, 8, 8]),
    Closed::Address([9, 9, 9, 9]),
    Closed::Port(5001),
];
const PER_USER: usize = 3;
/// Permissions, and channels, of an allocation, unless a replacement says less.
const LIMIT: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Closed {
    Address([u8; 4]),
    Port(u16),
}

#[derive(Clone, Debug)]
enum Operation {
    Allocate(usize, Option<u32>),
    Refresh(usize, Option<u32>),
    Permit(usize, Vec<usize>),
    Bind(usize, u16, usize),
    Send(usize, usize),
    Channel(usize, u16),
    PeerSends(usize, usize),
    Advance(u64),
    Disconnect(usize),
    Operator(Order),
}

/// What an operator does.
#[derive(Clone, Debug)]
enum Order {
    /// Closes this one of [`CLOSABLE`], or none.
    Policy(Option<usize>),
    /// The clients' secret is gone, or there again.
    Secret(bool),
    /// So many permissions, and channels, for an allocation.
    Limit(usize),
    Drain(bool),
    Shed(bool),
    /// An operator ends what a client holds, by its serial or by the one before it.
    End(usize, bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    let client = 0..CLIENTS;
    let peer = 0..PEERS.len();
    let number = prop_oneof![0x4000..0x4003_u16, Just(0x3fff), Just(0x5000)];
    let lifetime = prop_oneof![Just(None), Just(Some(0)), (1..5000_u32).prop_map(Some)];
    prop_oneof![
        3 => (client.clone(), lifetime.clone()).prop_map(|(c, l)| Operation::Allocate(c, l)),
        2 => (client.clone(), lifetime).prop_map(|(c, l)| Operation::Refresh(c, l)),
        3 => (client.clone(), prop::collection::vec(peer.clone(), 0..3)).prop_map(|(c, p)| Operation::Permit(c, p)),
        4 => (client.clone(), number.clone(), peer.clone()).prop_map(|(c, n, p)| Operation::Bind(c, n, p)),
        4 => (client.clone(), peer.clone()).prop_map(|(c, p)| Operation::Send(c, p)),
        4 => (client.clone(), number).prop_map(|(c, n)| Operation::Channel(c, n)),
        4 => (client.clone(), peer).prop_map(|(c, p)| Operation::PeerSends(c, p)),
        4 => (1..400_u64).prop_map(Operation::Advance),
        1 => client.prop_map(Operation::Disconnect),
        6 => order().prop_map(Operation::Operator),
    ]
}

fn order() -> impl Strategy<Value = Order> {
    let client = 0..CLIENTS;
    prop_oneof![
        2 => prop::option::of(0..CLOSABLE.len()).prop_map(Order::Policy),
        1 => any::<bool>().prop_map(Order::Secret),
        1 => (0..=LIMIT).prop_map(Order::Limit),
        1 => any::<bool>().prop_map(Order::Drain),
        1 => any::<bool>().prop_map(Order::Shed),
        1 => (client, any::<bool>()).prop_map(|(c, current)| Order::End(c, current)),
    ]
}

/// What RFC 8656 says, with times in whole seconds and no care for speed.
#[derive(Debug, Default)]
struct Reference {
    now: u64,
    closed: Option<Closed>,
    /// The clients' secret is gone.
    is_rotated: bool,
    limit: usize,
    drains: bool,
    sheds: bool,
    /// How many allocations there have been.
    serial: u64,
    allocations: BTreeMap<usize, ReferenceAllocation>,
}

#[derive(Debug, Default)]
struct ReferenceAllocation {
    serial: u64,
    relayed: Option<SocketAddr>,
    expires: u64,
    permissions: Vec<(IpAddr, u64)>,
    channels: Vec<(u16, SocketAddr, u64)>,
}

impl ReferenceAllocation {
    fn permits(&self, peer: SocketAddr) -> bool {
        self.permissions.iter().any(|(ip, _)| *ip == peer.ip())
    }

    fn permit(&mut self, peer: SocketAddr, now: u64) {
        self.permissions.retain(|(ip, _)| *ip != peer.ip());
        self.permissions.push((peer.ip(), now + 300));
    }
}

fn granted(lifetime: Option<u32>) -> u64 {
    u64::from(lifetime.unwrap_or(600).clamp(600, 3600))
}

impl Reference {
    fn forbids_address(&self, ip: IpAddr) -> bool {
        let closed = match self.closed {
            Some(Closed::Address(closed)) => Some(closed),
            Some(Closed::Port(_)) | None => None,
        };
        ip == IpAddr::from([10, 0, 0, 1]) || Some(ip) == closed.map(IpAddr::from)
    }

    fn forbids_port(&self, port: u16) -> bool {
        port == 53 || matches!(self.closed, Some(Closed::Port(closed)) if closed == port)
    }

    fn forbids(&self, peer: SocketAddr) -> bool {
        self.forbids_address(peer.ip()) || self.forbids_port(peer.port())
    }

    fn close(&mut self, closed: Option<Closed>) -> Revoked {
        self.closed = closed;
        let mut revoked = Revoked::default();
        let mut allocations = core::mem::take(&mut self.allocations);
        for held in allocations.values_mut() {
            let before = (held.permissions.len(), held.channels.len());
            held.permissions
                .retain(|(ip, _)| !self.forbids_address(*ip));
            held.channels.retain(|(_, peer, _)| !self.forbids(*peer));
            revoked.permissions += before.0 - held.permissions.len();
            revoked.channels += before.1 - held.channels.len();
        }
        self.allocations = allocations;
        revoked
    }

    /// What a request of a client without an allocation is told.
    fn without(&self) -> u16 {
        if self.is_rotated { 401 } else { 437 }
    }

    fn advance(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.now;
        self.allocations.retain(|_, a| a.expires > now);
        for allocation in self.allocations.values_mut() {
            allocation.permissions.retain(|(_, at)| *at > now);
            allocation.channels.retain(|(.., at)| *at > now);
        }
    }

    fn allocate(&mut self, client: usize, lifetime: Option<u32>) -> Option<u16> {
        if self.is_rotated {
            return Some(401);
        }
        if self.allocations.contains_key(&client) {
            return Some(437);
        }
        if self.drains || self.sheds {
            return Some(508);
        }
        if self.allocations.len() >= PER_USER {
            return Some(486);
        }
        self.serial += 1;
        let allocation = ReferenceAllocation {
            serial: self.serial,
            expires: self.now + granted(lifetime),
            ..ReferenceAllocation::default()
        };
        self.allocations.insert(client, allocation);
        None
    }

    fn refresh(&mut self, client: usize, lifetime: Option<u32>) -> Option<u16> {
        let (now, without) = (self.now, self.without());
        let Some(allocation) = self.allocations.get_mut(&client) else {
            return Some(without);
        };
        if lifetime == Some(0) {
            self.allocations.remove(&client);
        } else {
            allocation.expires = now + granted(lifetime);
        }
        None
    }

    fn permit(&mut self, client: usize, peers: &[SocketAddr]) -> Option<u16> {
        let (now, limit, without) = (self.now, self.limit, self.without());
        let is_forbidden = peers.iter().any(|peer| self.forbids_address(peer.ip()));
        let Some(allocation) = self.allocations.get_mut(&client) else {
            return Some(without);
        };
        if peers.is_empty() {
            return Some(400);
        }
        if is_forbidden {
            return Some(403);
        }
        let new = peers
            .iter()
            .filter(|&&peer| !allocation.permits(peer))
            .count();
        if new > 0 && allocation.permissions.len() + new > limit {
            return Some(508);
        }
        peers.iter().for_each(|&peer| allocation.permit(peer, now));
        None
    }

    fn bind(&mut self, client: usize, number: u16, peer: SocketAddr) -> Option<u16> {
        let (now, limit, without) = (self.now, self.limit, self.without());
        let is_forbidden = self.forbids(peer);
        let Some(allocation) = self.allocations.get_mut(&client) else {
            return Some(without);
        };
        if !(0x4000..=0x4fff).contains(&number) {
            return Some(400);
        }
        if allocation
            .channels
            .iter()
            .any(|&(n, p, _)| (n == number) != (p == peer))
        {
            return Some(400);
        }
        if is_forbidden {
            return Some(403);
        }
        let held = allocation.channels.iter().any(|&(n, ..)| n == number);
        let channels_full = !held && allocation.channels.len() >= limit;
        let permissions_full = !allocation.permits(peer) && allocation.permissions.len() >= limit;
        if channels_full || permissions_full {
            return Some(508);
        }
        allocation.permit(peer, now);
        allocation.channels.retain(|&(n, ..)| n != number);
        allocation.channels.push((number, peer, now + 600));
        None
    }

    /// The peer that a Send indication reaches.
    fn sends(&self, client: usize, peer: SocketAddr) -> Option<SocketAddr> {
        let allocation = self.allocations.get(&client)?;
        (allocation.permits(peer) && !self.forbids_port(peer.port())).then_some(peer)
    }

    /// The peer that ChannelData reaches.
    fn channel(&self, client: usize, number: u16) -> Option<SocketAddr> {
        let allocation = self.allocations.get(&client)?;
        let &(_, peer, _) = allocation.channels.iter().find(|(n, ..)| *n == number)?;
        allocation.permits(peer).then_some(peer)
    }

    /// How a peer's datagram reaches the client: by this channel, or by an indication.
    fn arrives(&self, client: usize, peer: SocketAddr) -> Option<Option<u16>> {
        let allocation = self.allocations.get(&client)?;
        let number = allocation
            .channels
            .iter()
            .find(|(_, p, _)| *p == peer)
            .map(|(n, ..)| *n);
        allocation.permits(peer).then_some(number)
    }
}

struct Both {
    sim: Sim,
    clients: Vec<Client>,
    reference: Reference,
}

impl Both {
    fn new() -> Self {
        let limits = Limits {
            permissions_per_allocation: LIMIT,
            channels_per_allocation: LIMIT,
            unauthenticated_per_second: 0,
            allocation_max_age: Duration::from_secs(u64::MAX / 4),
            ..Limits::default()
        };
        let choices = Choices {
            limits,
            per_user: u32::try_from(PER_USER).unwrap(),
            ..Choices::default()
        };
        let sim = Sim::with(choices);
        let clients = (1..=4)
            .map(|number| {
                let day = Duration::from_secs(24 * 3600);
                let client = Client::new(number, &super::sim::credentials("alice", day));
                if number == 4 {
                    client.over(Transport::Tcp)
                } else {
                    client
                }
            })
            .collect();
        Self {
            sim,
            clients,
            reference: Reference {
                limit: LIMIT,
                ..Reference::default()
            },
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Advance(seconds) => {
                self.sim.advance(Duration::from_secs(seconds));
                self.reference.advance(seconds);
                self.clients
                    .iter_mut()
                    .for_each(|client| client.nonce.clear());
            }
            Operation::Disconnect(client) => {
                let five_tuple = self.clients[client].five_tuple;
                self.sim.server.connection_closed(self.sim.now, five_tuple);
                self.sim.pump();
                self.reference.allocations.remove(&client);
            }
            Operation::Operator(ref order) => self.operate(order),
            Operation::Allocate(client, lifetime) => {
                let answer = self
                    .sim
                    .request(&mut self.clients[client], Method::Allocate, |w| {
                        w.requested_transport(17);
                        if let Some(lifetime) = lifetime {
                            w.lifetime(lifetime);
                        }
                    });
                assert_eq!(answer.code(), self.reference.allocate(client, lifetime));
                if answer.code().is_none() {
                    let allocation = self.reference.allocations.get_mut(&client).unwrap();
                    allocation.relayed = Some(answer.relayed()[0]);
                    assert_eq!(u64::from(answer.lifetime()), granted(lifetime));
                }
            }
            Operation::Refresh(client, lifetime) => {
                let answer = self.sim.refresh(&mut self.clients[client], lifetime);
                assert_eq!(answer.code(), self.reference.refresh(client, lifetime));
            }
            Operation::Permit(client, ref peers) => {
                let peers: Vec<SocketAddr> = peers.iter().map(|&peer| addr(PEERS[peer])).collect();
                let code = self.sim.permit(&mut self.clients[client], &peers);
                assert_eq!(code, self.reference.permit(client, &peers));
            }
            Operation::Bind(client, number, peer) => {
                let peer = addr(PEERS[peer]);
                let code = self.sim.bind(&mut self.clients[client], number, peer);
                assert_eq!(code, self.reference.bind(client, number, peer));
            }
            Operation::Send(client, peer) => {
                let peer = addr(PEERS[peer]);
                let outcome = self.sim.send(&self.clients[client], peer, b"x");
                self.assert_relayed(client, outcome, self.reference.sends(client, peer));
            }
            Operation::Channel(client, number) => {
                let outcome = self.sim.channel(&self.clients[client], number, b"x");
                self.assert_relayed(client, outcome, self.reference.channel(client, number));
            }
            Operation::PeerSends(client, peer) => {
                let peer = addr(PEERS[peer]);
                let Some(relayed) = self
                    .reference
                    .allocations
                    .get(&client)
                    .and_then(|a| a.relayed)
                else {
                    return;
                };
                let framing = match self.sim.peer_sends(peer, relayed) {
                    PeerVerdict::ToClient {
                        client: to,
                        framing,
                        synthetic,
                    } => {
                        assert!(!synthetic);
                        assert_eq!(to, self.clients[client].five_tuple);
                        Some(match framing {
                            Framing::Channel(number) => Some(number.value()),
                            Framing::Indication => None,
                        })
                    }
                    PeerVerdict::Drop(_) => None,
                };
                assert_eq!(framing, self.reference.arrives(client, peer));
            }
        }
    }

    fn operate(&mut self, order: &Order) {
        let (sim, reference) = (&mut self.sim, &mut self.reference);
        match *order {
            Order::Policy(closed) => {
                let closed = closed.map(|closed| CLOSABLE[closed]);
                let revoked = sim.replace_policy(|rules, _| {
                    rules.deny.clear();
                    let mut ports = default_denied_ports().to_vec();
                    match closed {
                        Some(Closed::Address(ip)) => rules.deny.push(IpAddr::from(ip).into()),
                        Some(Closed::Port(port)) => ports.push(port..=port),
                        None => {}
                    }
                    rules.denied_ports = PortSet::from_ranges(&ports);
                });
                assert_eq!(revoked, reference.close(closed));
            }
            Order::Secret(is_rotated) => {
                let secrets: &[&[u8]] = if is_rotated { &[] } else { &[SECRET] };
                sim.replace(|replacement| replacement.directory = directory(secrets, &[]));
                reference.is_rotated = is_rotated;
            }
            Order::Limit(limit) => {
                sim.replace(|replacement| {
                    replacement.limits.permissions_per_allocation = limit;
                    replacement.limits.channels_per_allocation = limit;
                });
                reference.limit = limit;
            }
            Order::Drain(drains) => {
                sim.server.drain(drains.then(Drain::default));
                reference.drains = drains;
            }
            Order::Shed(sheds) => {
                sim.server.shed(sheds);
                reference.sheds = sheds;
            }
            Order::End(client, is_current) => {
                let Some(held) = reference.allocations.get(&client) else {
                    return;
                };
                let from = self.clients[client].five_tuple;
                let mut allocations = sim.server.allocations();
                let view = allocations.find(|view| view.client == from).unwrap();
                assert_eq!(view.serial, held.serial);
                let (id, serial) = (view.allocation, view.serial - u64::from(!is_current));
                drop(allocations);
                assert_eq!(sim.server.end(sim.now, id, serial), is_current);
                sim.pump();
                if is_current {
                    reference.allocations.remove(&client);
                }
            }
        }
    }

    fn assert_relayed(&self, client: usize, outcome: Outcome, expected: Option<SocketAddr>) {
        let relayed = match outcome {
            Outcome::ToPeer(relayed) => {
                let own = self.reference.allocations[&client].relayed;
                assert_eq!(
                    Some(relayed.from),
                    own,
                    "never by another's relayed address"
                );
                Some(relayed.peer)
            }
            Outcome::Dropped(_) => None,
            Outcome::Answer(_) | Outcome::Silence => panic!("data is relayed or dropped"),
        };
        assert_eq!(relayed, expected);
    }

    /// What must hold after every step.
    fn check(&self) {
        let load = self.sim.server.load();
        assert_eq!(load, self.sim.counted_load());
        assert_eq!(
            self.sim.server.oldest(),
            self.sim.server.allocations().map(|held| held.created).min()
        );
        let expected = |count: fn(&ReferenceAllocation) -> usize| -> usize {
            self.reference.allocations.values().map(count).sum()
        };
        assert_eq!(load.allocations, self.reference.allocations.len());
        assert_eq!(load.permissions, expected(|a| a.permissions.len()));
        assert_eq!(load.channels, expected(|a| a.channels.len()));
        assert_eq!(load.ports_used, load.allocations);
        assert_eq!(
            load.ports_free + load.ports_used + load.ports_quarantined,
            2000
        );
        assert_eq!(self.sim.sockets.len(), load.allocations);
        assert!(
            self.sim
                .server
                .poll_timeout()
                .is_none_or(|at| at > self.sim.now.instant)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// T-10, T-29, T-30, T-44, T-64, T-84, A-15: whatever clients, peers and operators do, the server answers and relays as the reference does,
    /// and nothing is left when all is over.
    #[test]
    fn the_server_does_what_the_reference_does(operations in prop::collection::vec(operation(), 1..120)) {
        let mut both = Both::new();
        for operation in &operations {
            both.apply(operation);
            both.check();
        }
        both.sim.advance(Duration::from_secs(4000));
        both.sim.assert_nothing_left();
    }
}
