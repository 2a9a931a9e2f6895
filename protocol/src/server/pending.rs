//! Two-phase allocation: from a granted request to bound sockets.
//!
//! The server asks for one relayed socket at a time, each on a port that it chose, and answers only when the last has
//! been bound or refused. Not responsible for judging the request (`allocate`).

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use rand_core::RngCore;

use super::allocation::{Allocation, Relayed};
use super::authenticate::refuse_unknown;
use super::effect::{BindError, Effect, Event, RelayedPort};
use super::expiry::Expiring;
use super::port_pool::Wanted;
use super::reply::{Echo, ErrorCode, Reply, Seal};
use super::{Refusal, Server, budget};
use crate::address::{Family, FiveTuple, RelayedAddr};
use crate::credentials::{LongTermKey, UserName};
use crate::forward::{AllocationId, RelayedId};
use crate::time::{Instant, Now};
use crate::wire::attribute;

/// How often another port is tried when somebody else on the host holds the one that was chosen.
pub const MAX_BIND_ATTEMPTS: u8 = 16;

/// What a relayed socket is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum SocketUse {
    /// Being bound or claimed, for this pending allocation.
    Pending(usize),
    /// Being bound for a client that has gone; the port goes back when the outcome is known.
    Abandoned(RelayedPort),
    /// Being claimed for a client that has gone.
    AbandonedClaim,
    /// An allocation's.
    Live(AllocationId),
    /// Held for whoever shows the token.
    Reserved,
}

/// A granted allocation whose sockets are being bound.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) client: FiveTuple,
    pub(super) echo: Echo,
    pub(super) user: UserName,
    pub(super) key: LongTermKey,
    /// The relay's own self-check asks.
    pub(super) synthetic: bool,
    pub(super) sha256: bool,
    pub(super) lifetime: Duration,
    /// Places of the quota that are held for it: one, and one more for a reserved port; none for the self-check.
    pub(super) places: u32,
    /// Relayed addresses still to be bound, in order.
    pub(super) wanted: Vec<WantedSocket>,
    /// Bound so far.
    pub(super) bound: Vec<Relayed>,
    /// The bound successor of an even port.
    pub(super) reserved: Option<Relayed>,
    pub(super) refused_family: Option<(Family, u16)>,
    /// What refuses it when nothing can be bound.
    pub(super) refusal: Refusal,
    /// The socket that is being bound now.
    pub(super) binding: Option<Binding>,
    /// The socket that another worker has been asked for, and until when it is waited for.
    pub(super) claim: Option<(RelayedId, Instant)>,
    /// DONT-FRAGMENT came from a client whose DF bit cannot be carried to IPv6 (T-80): a reserved IPv6 port is refused.
    pub(super) refuses_v6: bool,
    pub(super) attempts: u8,
}

/// A socket to be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WantedSocket {
    pub(super) family: Family,
    pub(super) port: Wanted,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    id: RelayedId,
    port: RelayedPort,
    bound: SocketAddr,
    advertised: SocketAddr,
    wanted: WantedSocket,
    /// Whether this is the successor of an even port that has been bound already.
    successor: bool,
}

impl Pending {
    pub(super) const fn seal(&self) -> Seal<'_> {
        if self.sha256 {
            Seal::Sha256(&self.key)
        } else {
            Seal::Sha1(&self.key)
        }
    }
}

impl Server {
    /// Takes the outcome of an [`Effect::BindRelayed`]. When it completes a request, the answer stands in `reply` and
    /// goes to the 5-tuple that is returned.
    pub fn relayed_bound(
        &mut self,
        now: Now,
        relayed: RelayedId,
        outcome: Result<(), BindError>,
        reply: &mut Reply,
    ) -> Option<FiveTuple> {
        let index = match *self.sockets.get(relayed.0 as usize)? {
            SocketUse::Pending(index) => index,
            SocketUse::Abandoned(port) => {
                self.settle_abandoned(now, relayed, port, outcome);
                return None;
            }
            SocketUse::Live(_) | SocketUse::Reserved | SocketUse::AbandonedClaim => return None,
        };
        let pending = self.pending.get_mut(index)?;
        let binding = pending.binding.take_if(|binding| binding.id == relayed)?;
        match outcome {
            Ok(()) => {
                let bound = Relayed {
                    id: relayed,
                    port: binding.port,
                    bound: binding.bound,
                    advertised: RelayedAddr(binding.advertised),
                    expires_at: now.instant + pending.lifetime,
                };
                if binding.successor {
                    pending.reserved = Some(bound);
                } else {
                    pending.bound.push(bound);
                    if binding.wanted.port == Wanted::Pair {
                        let successor = successor_of(binding.port);
                        self.ask(index, binding.wanted, successor, true);
                        return None;
                    }
                }
                pending.wanted.remove(0);
            }
            Err(error) => {
                self.sockets.try_remove(relayed.0 as usize);
                self.give_back(now, binding.port, None);
                if binding.successor {
                    // The pair is broken: its even half must go too before another pair is tried.
                    if let Some(even) = self
                        .pending
                        .get_mut(index)
                        .and_then(|pending| pending.bound.pop())
                    {
                        self.close_socket(now, even.id, even.port, None);
                    }
                } else if binding.wanted.port == Wanted::Pair {
                    self.give_back(now, successor_of(binding.port), None);
                }
                let pending = self.pending.get_mut(index)?;
                pending.attempts += 1;
                if error == BindError::Exhausted || pending.attempts >= MAX_BIND_ATTEMPTS {
                    self.refuse_wanted(index, Refusal::Sockets);
                }
            }
        }
        self.bind_next(now, index, reply)
    }

    /// Asks for the next socket of a pending allocation, or completes it.
    pub(super) fn bind_next(
        &mut self,
        now: Now,
        index: usize,
        reply: &mut Reply,
    ) -> Option<FiveTuple> {
        while let Some(&wanted) = self.pending.get(index)?.wanted.first() {
            if self.ask_for(index, wanted) {
                return None;
            }
            self.refuse_wanted(index, Refusal::Ports);
        }
        self.complete(now, index, reply)
    }

    /// Chooses a port for `wanted` and asks for its socket; `false` when no port is left.
    fn ask_for(&mut self, index: usize, wanted: WantedSocket) -> bool {
        let candidates = self
            .settings
            .relayed
            .iter()
            .filter(|ip| ip.family() == wanted.family)
            .count();
        if candidates == 0 {
            return false;
        }
        // With several addresses of a family, begin at a random one, so that they fill evenly.
        let start = self.random.next_u32() as usize % candidates;
        for turn in 0..candidates {
            let nth = (start + turn) % candidates;
            let found = self
                .settings
                .relayed
                .iter()
                .enumerate()
                .filter(|(_, ip)| ip.family() == wanted.family)
                .nth(nth);
            let Some((address, _)) = found else { continue };
            let Some(port) = self.pools[address].take(wanted.port, &mut self.random) else {
                continue;
            };
            let Ok(address) = u8::try_from(address) else {
                continue;
            };
            if wanted.port == Wanted::Pair {
                self.pools[usize::from(address)].take_exactly(port + 1);
            }
            self.ask(
                index,
                wanted,
                RelayedPort {
                    address,
                    port,
                    owner: self.settings.worker,
                },
                false,
            );
            return true;
        }
        false
    }

    fn ask(&mut self, index: usize, wanted: WantedSocket, port: RelayedPort, successor: bool) {
        let Some((bound, advertised)) = self.addresses_of(port) else {
            return;
        };
        let Ok(key) = u32::try_from(self.sockets.insert(SocketUse::Pending(index))) else {
            return;
        };
        let id = RelayedId(key);
        if let Some(pending) = self.pending.get_mut(index) {
            pending.binding = Some(Binding {
                id,
                port,
                bound,
                advertised,
                wanted,
                successor,
            });
        }
        self.effects.push_back(Effect::BindRelayed {
            relayed: id,
            bind: bound,
        });
    }

    /// Gives up on the first wanted socket. Of two families one may be had (T-21); else the whole request fails.
    fn refuse_wanted(&mut self, index: usize, refusal: Refusal) {
        let Some(pending) = self.pending.get_mut(index) else {
            return;
        };
        let refused = pending.wanted.remove(0);
        pending.attempts = 0;
        pending.refusal = refusal;
        if pending.refused_family.is_none() {
            pending.refused_family =
                Some((refused.family, ErrorCode::InsufficientCapacity.number()));
        }
    }

    fn complete(&mut self, now: Now, index: usize, reply: &mut Reply) -> Option<FiveTuple> {
        let mut pending = self.pending.try_remove(index)?;
        self.pending_by_client.remove(&pending.client);
        reply.mark(pending.synthetic);
        if pending.refuses_v6 && pending.bound.iter().any(|r| r.bound.is_ipv6()) {
            for reserved in pending.bound.drain(..) {
                self.close_socket(now, reserved.id, reserved.port, None);
            }
            self.release_places(&pending.user, pending.places);
            refuse_unknown(
                pending.echo,
                pending.seal(),
                &[attribute::DONT_FRAGMENT],
                reply,
            );
            return Some(pending.client);
        }
        if pending.bound.is_empty() {
            self.release_places(&pending.user, pending.places);
            self.count_refusal(pending.refusal, pending.synthetic);
            reply.error(pending.echo, pending.seal(), pending.refusal.code());
            return Some(pending.client);
        }
        // Its life begins now, when all of its sockets are there, not when the first of them was.
        for relayed in &mut pending.bound {
            relayed.expires_at = now.instant + pending.lifetime;
        }
        let token = pending
            .reserved
            .map(|reserved| self.reserve(now, reserved, &pending.user, pending.synthetic));
        let client = pending.client;
        let meter = self.users.take(&pending.user);
        let serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        self.install(Allocation {
            client,
            serial,
            meter,
            synthetic: pending.synthetic,
            refreshable_until: now.instant + self.settings.limits.allocation_max_age,
            user: pending.user,
            key: pending.key,
            created: now.instant,
            transaction: pending.echo.id,
            token,
            refused_family: pending.refused_family,
            relayed: by_family(&pending.bound),
            permissions: Vec::new(),
            channels: Vec::new(),
            next_icmp: now.instant,
        });
        self.answer_allocate(now, client, pending.echo, pending.sha256, reply);
        Some(client)
    }

    /// Enters an allocation whose sockets exist into every index, and emits its routes.
    pub(super) fn install(&mut self, allocation: Allocation) -> AllocationId {
        let entry = self.allocations.vacant_entry();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "allocations are bounded by ports, far below 2^32"
        )]
        let id = AllocationId(entry.key() as u32);
        let client = allocation.client;
        self.by_client.insert(client, id);
        *self
            .sources
            .entry(budget::prefix(client.client.0.ip()))
            .or_insert(0) += 1;
        let mut relayed = allocation.relayed.iter().flatten();
        if let Some(first) = relayed.next() {
            self.effects
                .push_back(Effect::Event(Event::AllocationCreated {
                    allocation: id,
                    serial: allocation.serial,
                    synthetic: allocation.synthetic,
                    client,
                    user: allocation.user.clone(),
                    family: Family::of(&first.bound),
                    dual: relayed.next().is_some(),
                    relayed: allocation.advertised(),
                }));
        }
        for relayed in allocation.relayed.iter().flatten() {
            if let Some(use_of) = self.sockets.get_mut(relayed.id.0 as usize) {
                *use_of = SocketUse::Live(id);
            }
            self.deadlines.set(
                relayed.expires_at,
                Expiring::Relayed(id, Family::of(&relayed.bound)),
            );
            self.effects.push_back(Effect::AddRoute(relayed.route(
                id,
                client,
                allocation.meter,
                allocation.synthetic,
            )));
        }
        self.census.begun(id, &allocation);
        entry.insert(allocation);
        id
    }

    /// Forgets a pending allocation whose client has gone, or whose claim was never answered.
    pub(super) fn abandon(&mut self, now: Now, index: usize) {
        let Some(pending) = self.pending.try_remove(index) else {
            return;
        };
        self.pending_by_client.remove(&pending.client);
        self.release_places(&pending.user, pending.places);
        for bound in pending.bound.iter().chain(&pending.reserved) {
            self.close_socket(now, bound.id, bound.port, None);
        }
        // The names of sockets that somebody is still working on stay taken until the outcome is told.
        if let Some(binding) = pending.binding {
            if binding.wanted.port == Wanted::Pair && !binding.successor {
                self.give_back(now, successor_of(binding.port), None);
            }
            self.rename(binding.id, SocketUse::Abandoned(binding.port));
        }
        if let Some((claim, until)) = pending.claim {
            self.deadlines.stop(until, Expiring::Claim(claim));
            self.rename(claim, SocketUse::AbandonedClaim);
        }
    }

    /// A claim has waited for its answer too long.
    pub(super) fn claim_expired(&mut self, now: Now, claim: RelayedId) {
        if let Some(&SocketUse::Pending(index)) = self.sockets.get(claim.0 as usize) {
            self.abandon(now, index);
        }
    }

    fn settle_abandoned(
        &mut self,
        now: Now,
        relayed: RelayedId,
        port: RelayedPort,
        outcome: Result<(), BindError>,
    ) {
        match outcome {
            Ok(()) => self.close_socket(now, relayed, port, None),
            Err(_) => {
                self.sockets.try_remove(relayed.0 as usize);
                self.give_back(now, port, None);
            }
        }
    }

    fn release_places(&mut self, user: &UserName, places: u32) {
        (0..places).for_each(|_| self.quota.release(user));
    }

    fn rename(&mut self, socket: RelayedId, to: SocketUse) {
        if let Some(use_of) = self.sockets.get_mut(socket.0 as usize) {
            *use_of = to;
        }
    }
}

/// The odd port of a pair.
const fn successor_of(even: RelayedPort) -> RelayedPort {
    RelayedPort {
        port: even.port + 1,
        ..even
    }
}

fn by_family(bound: &[Relayed]) -> [Option<Relayed>; 2] {
    let mut pair = [None; 2];
    for relayed in bound {
        pair[Family::of(&relayed.bound).index()] = Some(*relayed);
    }
    pair
}
