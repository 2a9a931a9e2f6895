//! The state of allocations as plain values, so that a successor process can go on with them.
//!
//! Keyed by nothing that dies with the process: 5-tuples, relayed addresses and names, with the time that is left in
//! place of instants. Not responsible for moving the sockets, nor for a format on disk.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::Server;
use super::allocation::{Allocation, ChannelBinding, Relayed};
use super::effect::{Effect, RelayedPort};
use super::expiry::Expiring;
use super::pending::SocketUse;
use crate::address::{ChannelNumber, Family, FiveTuple, PeerAddr, RelayedAddr};
use crate::credentials::{LongTermKey, PasswordAlgorithm, UserName};
use crate::forward::{AllocationId, RelayedId, Route};
use crate::time::{Instant, Now};
use crate::wire::TransactionId;

/// One allocation. It holds a key: treat it as a secret.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AllocationState {
    /// The client side's 5-tuple.
    pub client: FiveTuple,
    /// Tells it from those that had its name before.
    pub serial: u64,
    /// Whether it is the relay's own self-check's.
    pub synthetic: bool,
    /// The user name as authenticated.
    pub user: Vec<u8>,
    /// Number of the password algorithm that made the key (RFC 8489 §18.5).
    pub algorithm: u16,
    /// The long-term key.
    pub key: Vec<u8>,
    /// How long it has lived.
    pub age: Duration,
    /// Relayed addresses, one of a family.
    pub relayed: Vec<RelayedState>,
    /// Permissions.
    pub permissions: Vec<PermissionState>,
    /// Channel bindings.
    pub channels: Vec<ChannelState>,
}

/// One live allocation as it stands. Its address and name are for keyed pseudonyms; they must not be shown as they are.
#[derive(Clone, Copy, Debug)]
pub struct AllocationView<'s> {
    /// Its name in this worker.
    pub allocation: AllocationId,
    /// Tells it from those that had the name before.
    pub serial: u64,
    /// Whether it is the relay's own self-check's.
    pub synthetic: bool,
    /// Its 5-tuple.
    pub client: FiveTuple,
    /// Whose it is.
    pub user: &'s UserName,
    /// When it began.
    pub created: Instant,
    /// Its relayed addresses by [`Family::index`], and when each expires.
    pub relayed: [Option<(RelayedAddr, Instant)>; 2],
    /// How many permissions it has.
    pub permissions: usize,
    /// How many channel bindings it has.
    pub channels: usize,
}

/// One relayed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RelayedState {
    /// What its socket is bound to.
    pub bound: SocketAddr,
    /// What clients and peers know it by.
    pub advertised: RelayedAddr,
    /// Time to expiry.
    pub remaining: Duration,
}

/// One permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PermissionState {
    /// The peer's address.
    pub peer: IpAddr,
    /// Time to expiry.
    pub remaining: Duration,
}

/// One channel binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ChannelState {
    /// The number.
    pub number: ChannelNumber,
    /// The peer.
    pub peer: PeerAddr,
    /// Time to expiry.
    pub remaining: Duration,
}

/// Why an allocation cannot be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// Its 5-tuple holds an allocation already.
    Taken,
    /// A relayed address is not one of this server's, or its port is not free.
    RelayedAddress,
    /// Its key is of no known form.
    Key,
    /// The quota is full.
    Quota,
}

impl core::fmt::Debug for AllocationState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AllocationState")
            .field("relayed", &self.relayed)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Every allocation, with what is left of each lifetime at `now`.
    pub fn snapshot(&self, now: Now) -> impl Iterator<Item = AllocationState> {
        let left = move |at: Instant| at.saturating_since(now.instant);
        self.allocations
            .iter()
            .map(move |(_, held)| AllocationState {
                client: held.client,
                serial: held.serial,
                synthetic: held.synthetic,
                user: held.user.as_bytes().to_vec(),
                algorithm: held.key.algorithm().number(),
                key: held.key.as_bytes().to_vec(),
                age: now.instant.saturating_since(held.created),
                relayed: held
                    .relayed
                    .iter()
                    .flatten()
                    .map(|r| RelayedState {
                        bound: r.bound,
                        advertised: r.advertised,
                        remaining: left(r.expires_at),
                    })
                    .collect(),
                permissions: held
                    .permissions
                    .iter()
                    .map(|p| PermissionState {
                        peer: p.peer,
                        remaining: left(p.expires_at),
                    })
                    .collect(),
                channels: held
                    .channels
                    .iter()
                    .map(|c| ChannelState {
                        number: c.number,
                        peer: c.peer,
                        remaining: left(c.expires_at),
                    })
                    .collect(),
            })
    }

    /// The live allocations, for whoever lists or inspects them.
    pub fn allocations(&self) -> impl Iterator<Item = AllocationView<'_>> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "allocations are bounded by ports, far below 2^32"
        )]
        self.allocations.iter().map(|(key, held)| AllocationView {
            allocation: AllocationId(key as u32),
            serial: held.serial,
            synthetic: held.synthetic,
            client: held.client,
            user: &held.user,
            created: held.created,
            relayed: held
                .relayed
                .map(|relayed| relayed.map(|relayed| (relayed.advertised, relayed.expires_at))),
            permissions: held.permissions.len(),
            channels: held.channels.len(),
        })
    }

    /// Takes an allocation over. The caller has its sockets open; the names they go by are returned in the order of
    /// `state.relayed`. Permissions that the present policy forbids are left out, with their channels. Transient facts
    /// are not carried over: a retransmission of the Allocate itself is answered with 437.
    pub fn restore(
        &mut self,
        now: Now,
        state: &AllocationState,
    ) -> Result<Vec<RelayedId>, RestoreError> {
        if self.by_client.contains_key(&state.client)
            || self.pending_by_client.contains_key(&state.client)
        {
            return Err(RestoreError::Taken);
        }
        let key = PasswordAlgorithm::from_number(state.algorithm)
            .and_then(|algorithm| LongTermKey::from_bytes(algorithm, &state.key))
            .ok_or(RestoreError::Key)?;
        let user = UserName::new(&state.user);
        let ports = self.take_ports(state)?;
        if !state.synthetic && self.quota.reserve(&user).is_err() {
            for port in ports {
                self.pools[usize::from(port.address)].quarantine(port.port);
                self.pools[usize::from(port.address)].release(port.port);
            }
            return Err(RestoreError::Quota);
        }
        let mut relayed = [None; 2];
        let mut names = Vec::new();
        for (state, port) in state.relayed.iter().zip(ports) {
            let key = self.sockets.insert(SocketUse::Reserved);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "sockets are bounded by ports, far below 2^32"
            )]
            let id = RelayedId(key as u32);
            names.push(id);
            let RelayedState {
                bound,
                advertised,
                remaining,
            } = *state;
            let expires_at = now.instant + remaining;
            relayed[Family::of(&bound).index()] = Some(Relayed {
                id,
                port,
                bound,
                advertised,
                expires_at,
            });
        }
        let meter = self.users.take(&user);
        let created = Instant::from_nanos(now.instant.as_nanos().saturating_sub(nanos(state.age)));
        self.next_serial = self.next_serial.max(state.serial.saturating_add(1));
        let id = self.install(Allocation {
            client: state.client,
            serial: state.serial,
            meter,
            synthetic: state.synthetic,
            user,
            key,
            created,
            refreshable_until: created + self.settings.limits.allocation_max_age,
            transaction: TransactionId([0; 12]),
            token: None,
            refused_family: None,
            relayed,
            permissions: Vec::new(),
            channels: Vec::new(),
            next_icmp: Instant::ZERO,
        });
        self.restore_peers(now, id, state);
        Ok(names)
    }

    fn take_ports(&mut self, state: &AllocationState) -> Result<Vec<RelayedPort>, RestoreError> {
        let mut taken: Vec<RelayedPort> = Vec::new();
        for relayed in &state.relayed {
            let address = self
                .settings
                .relayed
                .iter()
                .position(|ip| ip.bind == relayed.bound.ip());
            let port = relayed.bound.port();
            let found = address.filter(|&address| self.pools[address].take_exactly(port));
            let Some(address) = found.and_then(|address| u8::try_from(address).ok()) else {
                for port in taken {
                    self.pools[usize::from(port.address)].quarantine(port.port);
                    self.pools[usize::from(port.address)].release(port.port);
                }
                return Err(RestoreError::RelayedAddress);
            };
            taken.push(RelayedPort {
                address,
                port,
                owner: self.settings.worker,
            });
        }
        if taken.is_empty() {
            Err(RestoreError::RelayedAddress)
        } else {
            Ok(taken)
        }
    }

    fn restore_peers(&mut self, now: Now, id: AllocationId, state: &AllocationState) {
        for permission in &state.permissions {
            let judged = self
                .settings
                .peers
                .judge_for(permission.peer, state.synthetic);
            let Ok(destination) = judged else {
                continue;
            };
            self.permit(now, id, permission.peer, destination);
            let expires_at = now.instant + permission.remaining;
            let held = self.allocations[id.0 as usize]
                .permissions
                .iter_mut()
                .find(|p| p.peer == permission.peer);
            if let Some(held) = held {
                let what = Expiring::Permission(id, permission.peer);
                self.deadlines.change(held.expires_at, expires_at, what);
                held.expires_at = expires_at;
            }
        }
        for channel in &state.channels {
            let policy = &self.settings.peers;
            if policy
                .judge_with_port_for(channel.peer, state.synthetic)
                .is_err()
            {
                continue;
            }
            let ChannelState {
                number,
                peer,
                remaining,
            } = *channel;
            let expires_at = now.instant + remaining;
            self.allocations[id.0 as usize]
                .channels
                .push(ChannelBinding {
                    number,
                    peer,
                    expires_at,
                });
            self.census.channel_added(state.synthetic);
            self.deadlines
                .set(expires_at, Expiring::Channel(id, number));
            self.effects.push_back(Effect::AddRoute(Route::Channel {
                allocation: id,
                number,
                peer,
            }));
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
