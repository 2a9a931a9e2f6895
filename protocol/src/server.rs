//! The TURN server as a state machine: messages and time in, answers and effects out.
//!
//! Responsible for every decision that RFC 8656 leaves to the server: who may allocate, which peers are permitted, what
//! expires when. Not responsible for sockets, clocks, threads or data packets: data goes by the routes that it emits
//! ([`crate::forward`]).
//!
//! ```text
//!  client message -> handle_message --+--> Verdict::Reply (bytes in Reply)
//!                                     +--> Effect::BindRelayed -> (socket) -> relayed_bound -> reply
//!  clock          -> handle_timeout --+--> Effect::RemoveRoute, UnbindRelayed, Event
//! ```
//!
//! The invariant of use: after every `handle_*` and every report, drain [`Server::poll_effect`] to `None` before the
//! next call. No success response leaves before the relayed socket exists.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use ahash::RandomState;
use hashbrown::HashMap;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use slab::Slab;

use crate::address::{Family, FiveTuple, Transport};
use crate::credentials::{Revocations, UserName};
use crate::forward::{AllocationId, DropReason, MeterId, RelayedId};
use crate::status::Load;
use crate::time::{Instant, Now};
use crate::wire::{Class, Framed, Method};

use allocation::Allocation;
use budget::AnswerBudget;
use census::Census;
use expiry::{Deadlines, Expiring};
use failures::FailureBudget;
use pending::{Pending, SocketUse};
use port_pool::PortPool;
use reservation::Reservation;
use users::Users;

pub use drain::{Alternate, Drain};
pub use effect::{BindError, Effect, EndCause, Event, RelayedPort, Verdict};
pub use icmp::IcmpError;
pub use peers::{Forbidden, OwnAddresses, PeerPolicy, PeerRules, default_denied_ports};
pub use pending::MAX_BIND_ATTEMPTS;
pub use quota::{LocalQuota, Quota, QuotaExceeded};
pub use replace::{Replacement, Revoked};
pub use reply::Reply;
pub use settings::{Limits, RelayedIp, Settings};
pub use snapshot::{
    AllocationState, AllocationView, ChannelState, PermissionState, RelayedState, RestoreError,
};
pub use tallies::{Authentication, Refusal, Tallies};

mod allocate;
mod allocation;
mod authenticate;
mod binding;
mod budget;
mod census;
mod channel_bind;
mod create_permission;
mod drain;
mod effect;
mod expiry;
mod failures;
mod icmp;
pub mod peers;
mod pending;
mod port_pool;
mod quota;
mod refresh;
mod replace;
mod reply;
mod reservation;
mod settings;
mod snapshot;
mod tallies;
#[cfg(test)]
mod tests;
mod users;

/// How long an answer to Allocate is repeated for its retransmissions (RFC 8489 §6.3.1).
const RETRANSMISSION_WINDOW: Duration = Duration::from_secs(40);

/// The TURN server of one worker.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    random: ChaCha12Rng,
    quota: Box<dyn Quota>,
    budget: AnswerBudget,
    failures: FailureBudget,
    // What makes two nonces of one client and second differ. It runs through all numbers before it repeats one, where random
    // ones would meet within some ten thousand. It may be guessed: what makes a nonce the relay's own is its tag.
    nonce_number: u32,
    drain: Option<Drain>,
    is_shedding: bool,
    alternates: Vec<Alternate>,
    tallies: Tallies,
    // The next allocation's serial.
    next_serial: u64,
    allocations: Slab<Allocation>,
    census: Census,
    by_client: HashMap<FiveTuple, AllocationId, RandomState>,
    // How many allocations each source prefix holds. Behind one address there may be a whole hospital, so such a source
    // is not counted; whoever forges it can make the relay answer it, at less than four times the bytes.
    sources: HashMap<u64, u32, RandomState>,
    pending: Slab<Pending>,
    pending_by_client: HashMap<FiveTuple, usize, RandomState>,
    reservations: HashMap<[u8; 8], Reservation, RandomState>,
    // What each relayed socket is for; its key is the `RelayedId`.
    sockets: Slab<SocketUse>,
    pools: Vec<PortPool>,
    users: Users,
    deadlines: Deadlines,
    effects: VecDeque<Effect>,
}

impl Server {
    /// A server with no allocations. `seed` is the only source of its randomness (ports, tokens, nonces, hash keys): it
    /// must come from the operating system in production, and makes a scenario repeatable in tests.
    pub fn new(settings: Settings, quota: Box<dyn Quota>, seed: [u8; 32]) -> Self {
        let mut random = ChaCha12Rng::from_seed(seed);
        let mut hasher = || {
            RandomState::with_seeds(
                random.next_u64(),
                random.next_u64(),
                random.next_u64(),
                random.next_u64(),
            )
        };
        let by_client = HashMap::with_hasher(hasher());
        let pending_by_client = HashMap::with_hasher(hasher());
        let sources = HashMap::with_hasher(hasher());
        let reservations = HashMap::with_hasher(hasher());
        let users = Users::new(hasher());
        let mut seed = || [(); 4].map(|()| random.next_u64());
        let rate = settings.limits.unauthenticated_per_second;
        let budget = AnswerBudget::new(rate, seed());
        let failures = FailureBudget::new(seed());
        let pools = settings
            .relayed
            .iter()
            .map(|_| PortPool::new(settings.ports.clone()))
            .collect();
        let nonce_number = random.next_u32();
        Self {
            nonce_number,
            budget,
            failures,
            settings,
            random,
            quota,
            drain: None,
            is_shedding: false,
            alternates: Vec::new(),
            tallies: Tallies::default(),
            next_serial: 1,
            allocations: Slab::new(),
            census: Census::default(),
            by_client,
            sources,
            pending: Slab::new(),
            pending_by_client,
            reservations,
            sockets: Slab::new(),
            pools,
            users,
            deadlines: Deadlines::default(),
            effects: VecDeque::new(),
        }
    }

    /// Takes a STUN message from a client: one datagram, or one frame of a stream. ChannelData and Send indications are
    /// not for the server; see [`crate::forward::RouteTable::from_client`].
    pub fn handle_message(
        &mut self,
        now: Now,
        from: FiveTuple,
        message: &[u8],
        reply: &mut Reply,
    ) -> Verdict {
        reply.mark(false);
        let Ok(framed) = Framed::parse(message) else {
            return Verdict::Drop(DropReason::MalformedStun);
        };
        match (framed.class(), framed.method()) {
            (Class::Request, Method::Binding) => self.binding(now, from, &framed, reply),
            (
                Class::Request,
                Method::Allocate | Method::Refresh | Method::CreatePermission | Method::ChannelBind,
            ) => self.authenticated_request(now, from, &framed, reply),
            // RFC 8489 §12: a Binding indication keeps a NAT open and asks for nothing.
            (Class::Indication, Method::Binding) => Verdict::Wait,
            // S-05, S-06: nothing else is a client's to send.
            (Class::Request, Method::Send | Method::Data)
            | (Class::Indication, _)
            | (Class::Success | Class::Error, _) => Verdict::Drop(DropReason::UnexpectedMessage),
        }
    }

    /// Takes the news that a client's connection is closed. Its 5-tuple can never be used again, so what was allocated
    /// by it ends.
    pub fn connection_closed(&mut self, now: Now, client: FiveTuple) {
        if let Some(&pending) = self.pending_by_client.get(&client) {
            self.abandon(now, pending);
        }
        if let Some(&allocation) = self.by_client.get(&client) {
            self.end_allocation(now, allocation, EndCause::Disconnected);
        }
    }

    /// Ends an allocation on an operator's word. `false` when there is none of this name and serial: names are used
    /// again, and whoever looked at the allocation before must not end the one after it.
    pub fn end(&mut self, now: Now, allocation: AllocationId, serial: u64) -> bool {
        let held = self.allocations.get(allocation.0 as usize);
        let known = held.is_some_and(|held| held.serial == serial);
        if known {
            self.end_allocation(now, allocation, EndCause::Operator);
        }
        known
    }

    /// Ends what has expired by `now`. Call it when [`Server::poll_timeout`] has come; earlier is harmless.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(expired) = self.deadlines.pop_due(now.instant) {
            match expired {
                Expiring::Relayed(allocation, family) => {
                    self.relayed_expired(now, allocation, family)
                }
                Expiring::Permission(allocation, peer) => self.permission_expired(allocation, peer),
                Expiring::Channel(allocation, number) => self.channel_expired(allocation, number),
                Expiring::Reservation(token) => self.reservation_expired(now, token),
                Expiring::Claim(claim) => self.claim_expired(now, claim),
                Expiring::Quarantine(address, port, user) => {
                    if let Some(pool) = self.pools.get_mut(usize::from(address)) {
                        pool.release(port);
                    }
                    if let Some(user) = user {
                        self.users.rested(user);
                    }
                }
            }
        }
    }

    /// When [`Server::handle_timeout`] has something to do next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next thing to be done outside, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Starts draining, with these alternates, or stops it.
    pub fn drain(&mut self, drain: Option<Drain>) {
        self.drain = drain;
    }

    /// From now on, no new allocation is made by these names and secrets; those that live go on, and are refreshed until
    /// their greatest age as if nothing had been revoked. The list before does not count any more.
    pub fn revoke(&mut self, revocations: Arc<Revocations>) {
        self.settings.directory.revoke(revocations);
    }

    /// Whether new allocations are refused for a drain.
    pub const fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Begins or ends the refusal of new allocations for want of capacity. All that exists goes on untouched.
    pub const fn shed(&mut self, shed: bool) {
        self.is_shedding = shed;
    }

    /// Where new clients can be sent while this server drains or sheds, best first, after those of the drain itself.
    pub fn alternates(&mut self, alternates: Vec<Alternate>) {
        self.alternates = alternates;
    }

    /// What has been proved and refused since the start.
    pub const fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// What this server holds. Costs the same however much that is.
    pub fn load(&self) -> Load {
        let mut load = Load {
            allocations: self.census.allocations(),
            synthetic: self.census.synthetic,
            by_transport: self.census.by_transport,
            pending: self.pending.len(),
            reserved: self.reservations.len(),
            permissions: self.census.permissions,
            channels: self.census.channels,
            ..Load::default()
        };
        for pool in &self.pools {
            let [free, used, quarantined] = pool.counts();
            load.ports_free += free as usize;
            load.ports_used += used as usize;
            load.ports_quarantined += quarantined as usize;
        }
        load
    }

    /// Relayed ports that nobody can be given, used or at rest, by [`Family::index`]. Ports of one family are no help to
    /// who asks for the other.
    pub fn ports_taken(&self) -> [usize; 2] {
        let mut taken = [0; 2];
        for (ip, pool) in self.settings.relayed.iter().zip(&self.pools) {
            let [_, used, resting] = pool.counts();
            taken[ip.family().index()] += (used + resting) as usize;
        }
        taken
    }

    /// When the oldest live allocation of a user began. Costs next to nothing, however many there are.
    pub fn oldest(&self) -> Option<Instant> {
        self.census.oldest()
    }

    /// How many deadlines, sockets and half-made allocations there are: all zero when nothing is held. For tests of leaks.
    #[doc(hidden)]
    pub fn residue(&self) -> [usize; 5] {
        [
            self.deadlines.len(),
            self.sockets.len(),
            self.pending.len() + self.pending_by_client.len(),
            self.reservations.len(),
            self.allocations.len() + self.by_client.len() + self.sources.len() + self.users.len(),
        ]
    }

    fn allocation_of(&self, client: &FiveTuple) -> Option<AllocationId> {
        self.by_client.get(client).copied()
    }

    /// Whether an unauthenticated answer may go to this client.
    fn may_answer_unauthenticated(&mut self, now: Now, client: FiveTuple) -> bool {
        !self.is_budgeted(client) || self.budget.spend(client.client.0.ip(), now.instant)
    }

    /// Whether this client's source has answers left, and so is worth the work of verifying a request (S-29).
    fn is_worth_verifying(&self, now: Now, client: FiveTuple) -> bool {
        !self.is_budgeted(client) || self.budget.has_left(client.client.0.ip(), now.instant)
    }

    /// Only datagrams can carry a forged source, and only a source without an allocation is counted.
    fn is_budgeted(&self, client: FiveTuple) -> bool {
        client.transport == Transport::Udp
            && !self
                .sources
                .contains_key(&budget::prefix(client.client.0.ip()))
    }

    /// The bound and the advertised address of a relayed port.
    fn addresses_of(&self, port: RelayedPort) -> Option<(SocketAddr, SocketAddr)> {
        let ip = self.settings.relayed.get(usize::from(port.address))?;
        Some((
            SocketAddr::new(ip.bind, port.port),
            SocketAddr::new(ip.advertised, port.port),
        ))
    }

    /// Closes a relayed socket and keeps its port back, on the account of the user that used it.
    fn close_socket(
        &mut self,
        now: Now,
        relayed: RelayedId,
        port: RelayedPort,
        user: Option<MeterId>,
    ) {
        self.sockets.try_remove(relayed.0 as usize);
        self.effects.push_back(Effect::UnbindRelayed { relayed });
        self.give_back(now, port, user);
    }

    /// Closes a relayed socket of the relay's own self-check. Its port need not rest: whoever sent to it was the relay.
    fn close_synthetic(&mut self, now: Now, relayed: RelayedId, port: RelayedPort) {
        if port.owner != self.settings.worker {
            return self.close_socket(now, relayed, port, None);
        }
        self.sockets.try_remove(relayed.0 as usize);
        self.effects.push_back(Effect::UnbindRelayed { relayed });
        if let Some(pool) = self.pools.get_mut(usize::from(port.address)) {
            pool.quarantine(port.port);
            pool.release(port.port);
        }
    }

    /// Puts a port that nobody holds any more into its owner's quarantine.
    fn give_back(&mut self, now: Now, port: RelayedPort, user: Option<MeterId>) {
        if port.owner != self.settings.worker {
            self.effects.push_back(Effect::ReturnPort(port));
            return;
        }
        if let Some(pool) = self.pools.get_mut(usize::from(port.address)) {
            pool.quarantine(port.port);
            let until = now.instant + self.settings.limits.quarantine;
            let what = Expiring::Quarantine(port.address, port.port, user);
            self.deadlines.set(until, what);
            if let Some(user) = user {
                self.users.rests(user);
            }
        }
    }

    /// Whether this user has so many ports at rest that others would go short: an eighth of all, but at least eight.
    fn wears_out_ports(&self, user: &UserName) -> bool {
        let ports: u32 = self
            .pools
            .iter()
            .map(|pool| pool.counts().iter().sum::<u32>())
            .sum();
        self.users.resting(user) >= (ports / 8).max(8)
    }

    /// Takes the news that another worker has closed a socket on one of this worker's ports.
    pub fn port_returned(&mut self, now: Now, port: RelayedPort) {
        if port.owner == self.settings.worker {
            self.give_back(now, port, None);
        }
    }

    fn families_served(&self) -> impl Iterator<Item = Family> {
        self.settings.relayed.iter().map(RelayedIp::family)
    }

    fn serves(&self, family: Family) -> bool {
        self.families_served().any(|served| served == family)
    }
}
