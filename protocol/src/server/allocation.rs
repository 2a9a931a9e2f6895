//! One allocation and its end (RFC 8656 §6): relayed addresses, permissions, channel bindings, and their deadlines.
//!
//! Not responsible for how it comes about (`allocate`, `pending`).

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::effect::{Effect, EndCause, Event, RelayedPort};
use super::expiry::Expiring;
use super::{Server, budget};
use crate::address::{ChannelNumber, Family, FiveTuple, PeerAddr, RelayedAddr};
use crate::credentials::{LongTermKey, UserName};
use crate::forward::{AllocationId, Destination, MeterId, RelayedId, Route};
use crate::time::{Instant, Now};
use crate::wire::TransactionId;

/// State of one allocation. It keeps the key, never the password (RFC 8656 §6).
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: FiveTuple,
    /// Tells it from those that had its name before.
    pub(super) serial: u64,
    pub(super) user: UserName,
    pub(super) meter: MeterId,
    /// The relay's own self-check's: in no count of what users hold.
    pub(super) synthetic: bool,
    pub(super) key: LongTermKey,
    pub(super) created: Instant,
    /// Until when it may be refreshed although its credentials have ended.
    pub(super) refreshable_until: Instant,
    /// The Allocate that made it, to know its retransmissions (T-10).
    pub(super) transaction: TransactionId,
    pub(super) token: Option<[u8; 8]>,
    /// A family that was asked for in addition and could not be had, with its error code (T-21).
    pub(super) refused_family: Option<(Family, u16)>,
    pub(super) relayed: [Option<Relayed>; 2],
    pub(super) permissions: Vec<Permission>,
    pub(super) channels: Vec<ChannelBinding>,
    /// No ICMP error is passed on before this.
    pub(super) next_icmp: Instant,
}

/// One relayed transport address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relayed {
    pub(super) id: RelayedId,
    pub(super) port: RelayedPort,
    pub(super) bound: SocketAddr,
    pub(super) advertised: RelayedAddr,
    pub(super) expires_at: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Permission {
    pub(super) peer: IpAddr,
    pub(super) destination: Destination,
    pub(super) expires_at: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelBinding {
    pub(super) number: ChannelNumber,
    pub(super) peer: PeerAddr,
    pub(super) expires_at: Instant,
}

impl Allocation {
    pub(super) fn has(&self, family: Family) -> bool {
        self.relayed[family.index()].is_some()
    }

    /// Its relayed addresses as peers know them, by family.
    pub(super) fn advertised(&self) -> [Option<RelayedAddr>; 2] {
        self.relayed.map(|relayed| Some(relayed?.advertised))
    }

    /// Whether this address is one of its own relayed addresses, as clients or as the host know it.
    pub(super) fn is_own(&self, peer: PeerAddr) -> bool {
        self.relayed
            .iter()
            .flatten()
            .any(|relayed| relayed.bound == peer.0 || relayed.advertised.0 == peer.0)
    }
}

impl Relayed {
    pub(super) const fn route(
        &self,
        allocation: AllocationId,
        client: FiveTuple,
        meter: MeterId,
        synthetic: bool,
    ) -> Route {
        Route::Relayed {
            allocation,
            client,
            meter,
            synthetic,
            relayed: self.id,
            bound: self.bound,
            advertised: self.advertised,
        }
    }
}

impl Server {
    pub(super) fn relayed_expired(&mut self, now: Now, id: AllocationId, family: Family) {
        let Some(allocation) = self.allocations.get_mut(id.0 as usize) else {
            return;
        };
        let both_gone = allocation.relayed[family.other().index()].is_none();
        if both_gone {
            self.end_allocation(now, id, EndCause::Expired);
        } else {
            self.remove_relayed(now, id, family);
        }
    }

    pub(super) fn permission_expired(&mut self, id: AllocationId, peer: IpAddr) {
        let Some(allocation) = self.allocations.get_mut(id.0 as usize) else {
            return;
        };
        if let Some(at) = allocation.permissions.iter().position(|p| p.peer == peer) {
            let gone = allocation.permissions.swap_remove(at);
            self.census.permissions_gone(allocation.synthetic, 1);
            let route = Route::Permission {
                allocation: id,
                peer,
                destination: gone.destination,
            };
            self.effects.push_back(Effect::RemoveRoute(route));
        }
    }

    pub(super) fn channel_expired(&mut self, id: AllocationId, number: ChannelNumber) {
        let Some(allocation) = self.allocations.get_mut(id.0 as usize) else {
            return;
        };
        if let Some(at) = allocation.channels.iter().position(|c| c.number == number) {
            let gone = allocation.channels.swap_remove(at);
            self.census.channels_gone(allocation.synthetic, 1);
            self.effects.push_back(Effect::RemoveRoute(Route::Channel {
                allocation: id,
                number,
                peer: gone.peer,
            }));
        }
    }

    /// Ends an allocation with all that belongs to it.
    pub(super) fn end_allocation(&mut self, now: Now, id: AllocationId, cause: EndCause) {
        let Some(allocation) = self.allocations.get(id.0 as usize) else {
            return;
        };
        let client = allocation.client;
        self.effects
            .push_back(Effect::Event(Event::AllocationEnded {
                allocation: id,
                serial: allocation.serial,
                synthetic: allocation.synthetic,
                client,
                user: allocation.user.clone(),
                cause,
                age: now.instant.saturating_since(allocation.created),
                relayed: allocation.advertised(),
            }));
        for family in [Family::V4, Family::V6] {
            self.remove_relayed(now, id, family);
        }
        let Some(allocation) = self.allocations.try_remove(id.0 as usize) else {
            return;
        };
        self.census.ended(id, &allocation);
        self.by_client.remove(&client);
        let source = budget::prefix(client.client.0.ip());
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
        if !allocation.synthetic {
            self.quota.release(&allocation.user);
        }
        self.users.give_back(allocation.meter);
    }

    /// Removes one relayed address with the permissions and channels of its family (T-82, T-84).
    pub(super) fn remove_relayed(&mut self, now: Now, id: AllocationId, family: Family) {
        let Some(allocation) = self.allocations.get_mut(id.0 as usize) else {
            return;
        };
        let Some(gone) = allocation.relayed[family.index()].take() else {
            return;
        };
        let Allocation {
            client,
            meter,
            synthetic,
            ..
        } = *allocation;
        let (deadlines, effects) = (&mut self.deadlines, &mut self.effects);
        let before = (allocation.channels.len(), allocation.permissions.len());
        allocation.channels.retain(|channel| {
            let stays = Family::of(&channel.peer.0) != family;
            if !stays {
                deadlines.stop(channel.expires_at, Expiring::Channel(id, channel.number));
                let route = Route::Channel {
                    allocation: id,
                    number: channel.number,
                    peer: channel.peer,
                };
                effects.push_back(Effect::RemoveRoute(route));
            }
            stays
        });
        allocation.permissions.retain(|permission| {
            let stays = Family::of_ip(&permission.peer) != family;
            if !stays {
                deadlines.stop(
                    permission.expires_at,
                    Expiring::Permission(id, permission.peer),
                );
                let Permission {
                    peer, destination, ..
                } = *permission;
                effects.push_back(Effect::RemoveRoute(Route::Permission {
                    allocation: id,
                    peer,
                    destination,
                }));
            }
            stays
        });
        let (channels, permissions) = before;
        self.census
            .channels_gone(synthetic, channels - allocation.channels.len());
        self.census
            .permissions_gone(synthetic, permissions - allocation.permissions.len());
        deadlines.stop(gone.expires_at, Expiring::Relayed(id, family));
        effects.push_back(Effect::RemoveRoute(
            gone.route(id, client, meter, synthetic),
        ));
        if synthetic {
            self.close_synthetic(now, gone.id, gone.port);
        } else {
            self.close_socket(now, gone.id, gone.port, Some(meter));
        }
    }
}
