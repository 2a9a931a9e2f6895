//! Random operations against the server and against a reference so naive that it can be read at a glance.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use proptest::prelude::*;

use super::sim::{Choices, Client, Outcome, Sim, addr};
use crate::address::Transport;
use crate::forward::{Framing, PeerVerdict};
use crate::server::Limits;
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
const PER_USER: usize = 3;
const PERMISSIONS: usize = 2;
const CHANNELS: usize = 2;

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
    ]
}

/// What RFC 8656 says, with times in whole seconds and no care for speed.
#[derive(Debug, Default)]
struct Reference {
    now: u64,
    allocations: BTreeMap<usize, ReferenceAllocation>,
}

#[derive(Debug, Default)]
struct ReferenceAllocation {
    relayed: Option<SocketAddr>,
    expires: u64,
    permissions: Vec<(core::net::IpAddr, u64)>,
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

fn address_is_forbidden(peer: SocketAddr) -> bool {
    peer == addr("10.0.0.1:5000")
}

fn port_is_forbidden(peer: SocketAddr) -> bool {
    peer.port() == 53
}

fn granted(lifetime: Option<u32>) -> u64 {
    u64::from(lifetime.unwrap_or(600).clamp(600, 3600))
}

impl Reference {
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
        if self.allocations.contains_key(&client) {
            return Some(437);
        }
        if self.allocations.len() >= PER_USER {
            return Some(486);
        }
        let allocation = ReferenceAllocation {
            expires: self.now + granted(lifetime),
            ..ReferenceAllocation::default()
        };
        self.allocations.insert(client, allocation);
        None
    }

    fn refresh(&mut self, client: usize, lifetime: Option<u32>) -> Option<u16> {
        let now = self.now;
        let Some(allocation) = self.allocations.get_mut(&client) else {
            return Some(437);
        };
        if lifetime == Some(0) {
            self.allocations.remove(&client);
        } else {
            allocation.expires = now + granted(lifetime);
        }
        None
    }

    fn permit(&mut self, client: usize, peers: &[SocketAddr]) -> Option<u16> {
        let now = self.now;
        let Some(allocation) = self.allocations.get_mut(&client) else {
            return Some(437);
        };
        if peers.is_empty() {
            return Some(400);
        }
        if peers.iter().any(|&peer| address_is_forbidden(peer)) {
            return Some(403);
        }
        let new = peers
            .iter()
            .filter(|&&peer| !allocation.permits(peer))
            .count();
        if allocation.permissions.len() + new > PERMISSIONS {
            return Some(508);
        }
        peers.iter().for_each(|&peer| allocation.permit(peer, now));
        None
    }

    fn bind(&mut self, client: usize, number: u16, peer: SocketAddr) -> Option<u16> {
        let now = self.now;
        let Some(allocation) = self.allocations.get_mut(&client) else {
            return Some(437);
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
        if address_is_forbidden(peer) || port_is_forbidden(peer) {
            return Some(403);
        }
        let held = allocation.channels.iter().any(|&(n, ..)| n == number);
        let channels_full = !held && allocation.channels.len() >= CHANNELS;
        let permissions_full =
            !allocation.permits(peer) && allocation.permissions.len() >= PERMISSIONS;
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
        (allocation.permits(peer) && !port_is_forbidden(peer)).then_some(peer)
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
            permissions_per_allocation: PERMISSIONS,
            channels_per_allocation: CHANNELS,
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
            reference: Reference::default(),
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

    /// T-10, T-30, T-44, T-64, T-84: whatever clients and peers do, the server answers and relays as the reference does,
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
