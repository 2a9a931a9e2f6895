//! What RFC 8656 and the operator's word say, so naive that it can be read at a glance.
//!
//! Lists that are searched from one end to the other, and times that are compared. Responsible for what is right; not for looking at
//! what a relay did (`oracle`), and not for bytes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use core::time::Duration;

use super::ask::{Ask, Families, Name, Port, Request};

const PERMISSION: Duration = Duration::from_secs(300);
const CHANNEL: Duration = Duration::from_secs(600);
const RESERVATION: Duration = Duration::from_secs(30);
/// An Allocate is repeated with the same answer for so long.
const REPEATS: Duration = Duration::from_secs(40);
/// How far ahead another relay's clock may be, in seconds.
const SKEW: u64 = 5;
/// So long after its last wait a guesser is new again.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The operator's word.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The relayed addresses as clients know them, one of a family.
    pub(crate) relayed: Vec<IpAddr>,
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) quarantine: Duration,
    pub(crate) max_lifetime: Duration,
    pub(crate) max_age: Duration,
    /// The furthest end of a credential, in seconds from now.
    pub(crate) max_ttl: u64,
    /// Seconds.
    pub(crate) nonce_lifetime: u64,
    pub(crate) per_user: usize,
    pub(crate) total: usize,
    /// Permissions, and channels, of one allocation.
    pub(crate) limit: usize,
    /// Nobody may reach these.
    pub(crate) never: Vec<IpAddr>,
    /// Nobody may reach these unless they are opened.
    pub(crate) private: Vec<IpAddr>,
    pub(crate) opens_private: bool,
    pub(crate) closed: Vec<IpAddr>,
    pub(crate) closed_ports: Vec<u16>,
    /// No new allocations, for a drain or for want of capacity.
    pub(crate) drains: bool,
    pub(crate) sheds: bool,
    /// Another relay is known, for who comes over UDP.
    pub(crate) knows_another: bool,
    /// Whoever guesses has to wait.
    pub(crate) waits: bool,
    /// Secrets that prove names.
    pub(crate) secrets: Vec<u8>,
    /// Revoked users and secrets, and until when.
    pub(crate) revoked_users: Vec<(u8, u64)>,
    pub(crate) revoked_secrets: Vec<(u8, u64)>,
    /// Keys of nonces that are good, and until when.
    pub(crate) nonce_keys: Vec<(u32, Option<u64>)>,
}

/// One relayed address of an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relayed {
    pub(crate) address: SocketAddr,
    expires: Duration,
}

/// One allocation.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) name: Name,
    secret: u8,
    is_sha256: bool,
    transaction: [u8; 12],
    created: Duration,
    refreshable_until: Duration,
    pub(crate) token: Option<[u8; 8]>,
    pub(crate) relayed: Vec<Relayed>,
    pub(crate) permissions: Vec<(IpAddr, Duration)>,
    pub(crate) channels: Vec<(u16, SocketAddr, Duration)>,
}

impl Held {
    pub(crate) fn permits(&self, ip: IpAddr) -> bool {
        self.permissions.iter().any(|(held, _)| *held == ip)
    }

    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        self.relayed_for(ip).is_some()
    }

    /// Its relayed address of the family of `ip`.
    pub(crate) fn relayed_for(&self, ip: IpAddr) -> Option<SocketAddr> {
        let mut relayed = self.relayed.iter().map(|relayed| relayed.address);
        relayed.find(|address| address.is_ipv4() == ip.is_ipv4())
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        self.relayed.iter().any(|own| own.address == address)
    }

    fn permit(&mut self, ip: IpAddr, now: Duration) {
        self.permissions.retain(|(held, _)| *held != ip);
        self.permissions.push((ip, now + PERMISSION));
    }

    /// Seconds to the first expiry of a relayed address.
    fn seconds_left(&self, now: Duration) -> u64 {
        let left = self.relayed.iter().map(|r| r.expires.saturating_sub(now));
        left.min().unwrap_or_default().as_secs()
    }
}

/// A port that nobody may use yet.
#[derive(Clone, Copy, Debug)]
struct Resting {
    address: SocketAddr,
    /// Who used it, where that counts.
    user: Option<u8>,
    until: Duration,
}

/// A port that is held for a token.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    token: [u8; 8],
    name: Name,
    address: SocketAddr,
    until: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Minted<K> {
    client: K,
    at: u64,
    key: u32,
}

/// What a success says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    Mapped,
    /// A new allocation with this lifetime in seconds, of these families where the host lets it.
    New(u64, Families, Port),
    /// A new allocation on this port.
    Claimed(u64, SocketAddr),
    /// The allocation that there is, with so many seconds left.
    Again(u64),
    Lifetime(u64),
    Nothing,
}

/// How a client is known: by this it is told from all others.
pub(crate) trait Client: Ord + Copy {
    /// Where it sends from.
    fn source(&self) -> IpAddr;
    /// Whether it sends datagrams, whose source may be forged, and which may be sent again.
    fn is_datagram(&self) -> bool;
}

/// Wrong proofs of one name from one source.
#[derive(Clone, Copy, Debug)]
struct Failures {
    source: IpAddr,
    name: Name,
    /// Whether the source had shown by a nonce, or by a stream, that it is where it says.
    is_shown: bool,
    count: u32,
    waits_until: Duration,
}

/// Everything that is held. `K` names a client.
#[derive(Clone, Debug)]
pub(crate) struct Reference<K> {
    pub(crate) now: Duration,
    /// The relay's wall clock: seconds since 1970.
    pub(crate) wall: u64,
    pub(crate) rules: Rules,
    pub(crate) held: BTreeMap<K, Held>,
    resting: Vec<Resting>,
    reserved: Vec<Reserved>,
    nonces: BTreeMap<Vec<u8>, Minted<K>>,
    failures: Vec<Failures>,
}

impl<K: Client> Reference<K> {
    pub(crate) const fn new(rules: Rules) -> Self {
        Self {
            now: Duration::ZERO,
            wall: 0,
            rules,
            held: BTreeMap::new(),
            resting: Vec::new(),
            reserved: Vec::new(),
            nonces: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    // ---- time ----

    pub(crate) fn advance(&mut self, now: Duration, wall: u64) {
        (self.now, self.wall) = (now, wall);
        let mut ended = Vec::new();
        for (client, held) in &mut self.held {
            let user = held.name.user;
            held.permissions.retain(|(_, until)| *until > now);
            held.channels.retain(|(.., until)| *until > now);
            let (live, gone): (Vec<_>, Vec<_>) = held.relayed.iter().partition(|r| r.expires > now);
            held.relayed = live;
            for relayed in gone {
                leave(held, relayed.address.ip());
                let until = now + self.rules.quarantine;
                self.resting.push(rest(relayed.address, Some(user), until));
            }
            if held.relayed.is_empty() {
                ended.push(*client);
            }
        }
        for client in ended {
            self.held.remove(&client);
        }
        let (live, gone): (Vec<_>, Vec<_>) = self.reserved.iter().partition(|r| r.until > now);
        self.reserved = live;
        for reserved in gone {
            self.rest(reserved.address, Some(reserved.name.user));
        }
        self.resting.retain(|resting| resting.until > now);
    }

    /// Everything is forgotten but what the rules say.
    pub(crate) fn restart(&mut self) {
        self.held.clear();
        self.resting.clear();
        self.reserved.clear();
        self.failures.clear();
    }

    /// The rules are read again: guesses of before may have been right by these.
    pub(crate) fn reload(&mut self) {
        self.failures.clear();
        // A greater age is a favour to all.
        for held in self.held.values_mut() {
            let until = held.created + self.rules.max_age;
            held.refreshable_until = held.refreshable_until.max(until);
        }
        let wall = self.wall;
        let keys = &mut self.rules.nonce_keys;
        keys.retain(|(_, until)| until.is_none_or(|until| wall <= until));
    }

    // ---- peers ----

    pub(crate) fn forbids_address(&self, ip: IpAddr) -> bool {
        let rules = &self.rules;
        rules.never.contains(&ip)
            || rules.closed.contains(&ip)
            || rules.private.contains(&ip) && !rules.opens_private
    }

    pub(crate) fn forbids(&self, peer: SocketAddr) -> bool {
        let on_this_relay = self.rules.relayed.contains(&peer.ip());
        self.forbids_address(peer.ip())
            || self.rules.closed_ports.contains(&peer.port())
            || on_this_relay && !self.rules.ports.contains(&peer.port())
    }

    /// Ends what the rules forbid, and says how many permissions and channels that were.
    pub(crate) fn judge_again(&mut self) -> (usize, usize) {
        let mut ended = (0, 0);
        let mut all = core::mem::take(&mut self.held);
        for held in all.values_mut() {
            let before = (held.permissions.len(), held.channels.len());
            held.permissions
                .retain(|(ip, _)| !self.forbids_address(*ip));
            held.channels.retain(|(_, peer, _)| !self.forbids(*peer));
            ended.0 += before.0 - held.permissions.len();
            ended.1 += before.1 - held.channels.len();
        }
        self.held = all;
        ended
    }

    // ---- ports ----

    /// Ports that are used by allocations and reservations, and those that rest.
    pub(crate) fn ports_taken(&self) -> (usize, usize) {
        (self.ports_used().count(), self.resting.len())
    }

    /// How many ports there are.
    pub(crate) fn ports_in_all(&self) -> usize {
        self.rules.ports.clone().count() * self.rules.relayed.len()
    }

    pub(crate) fn ports_used(&self) -> impl Iterator<Item = SocketAddr> {
        let held = self.held.values().flat_map(|held| &held.relayed);
        held.map(|relayed| relayed.address)
            .chain(self.reserved.iter().map(|reserved| reserved.address))
    }

    pub(crate) fn is_free(&self, address: SocketAddr) -> bool {
        self.rules.relayed.contains(&address.ip())
            && self.rules.ports.contains(&address.port())
            && self.ports_used().all(|used| used != address)
            && self.resting.iter().all(|r| r.address != address)
    }

    pub(crate) fn has_free(&self, is_v4: bool, port: Port) -> bool {
        let ips = self.rules.relayed.iter().filter(|ip| ip.is_ipv4() == is_v4);
        let mut all = ips.flat_map(|&ip| {
            self.rules
                .ports
                .clone()
                .map(move |p| SocketAddr::new(ip, p))
        });
        all.any(|address| self.is_free(address) && self.fits(address, port))
    }

    fn fits(&self, address: SocketAddr, port: Port) -> bool {
        let is_even = address.port().is_multiple_of(2);
        match port {
            Port::Any => true,
            Port::Even => is_even,
            Port::Pair => is_even && self.is_free(successor(address)),
        }
    }

    /// The port of a socket that is closed, or that could not be opened, rests.
    pub(crate) fn rest(&mut self, address: SocketAddr, user: Option<u8>) {
        let until = self.now + self.rules.quarantine;
        self.resting.push(rest(address, user, until));
    }

    /// Users that hold or have just held something.
    pub(crate) fn users(&self) -> usize {
        let held = self.held.values().map(|held| held.name.user);
        let reserved = self.reserved.iter().map(|reserved| reserved.name.user);
        let resting = self.resting.iter().filter_map(|resting| resting.user);
        let mut users: Vec<u8> = held.chain(reserved).chain(resting).collect();
        users.sort_unstable();
        users.dedup();
        users.len()
    }

    pub(crate) fn reservations(&self) -> usize {
        self.reserved.len()
    }

    // ---- credentials ----

    /// A nonce that was given out.
    pub(crate) fn minted(&mut self, nonce: &[u8], client: K) {
        if let Some(&(key, _)) = self.rules.nonce_keys.first() {
            let at = self.wall;
            self.nonces
                .insert(nonce.to_vec(), Minted { client, at, key });
        }
    }

    fn is_fresh(&self, nonce: &[u8], client: K) -> bool {
        let Some(minted) = self.nonces.get(nonce) else {
            return false;
        };
        let mut keys = self.rules.nonce_keys.iter();
        minted.client == client
            && keys.any(|(key, until)| *key == minted.key && until.is_none_or(|at| self.wall <= at))
            && minted.at <= self.wall + SKEW
            && self.wall.saturating_sub(minted.at) <= self.rules.nonce_lifetime
    }

    fn is_revoked(&self, user: u8) -> bool {
        let mut revoked = self.rules.revoked_users.iter();
        revoked.any(|(revoked, until)| *revoked == user && self.wall < *until)
    }

    fn is_secret_revoked(&self, secret: u8) -> bool {
        let mut revoked = self.rules.revoked_secrets.iter();
        revoked.any(|(revoked, until)| *revoked == secret && self.wall < *until)
    }

    /// Whether so many wrong proofs of this name came from this source that it is not looked at now.
    pub(crate) fn must_wait(&self, from: K, request: &Request) -> bool {
        let Some(proof) = request
            .proof
            .as_ref()
            .filter(|_| request.ask != Ask::Binding)
        else {
            return false;
        };
        let is_owner = self.held.get(&from).is_some_and(|h| h.name == proof.name);
        let is_shown = !from.is_datagram() || self.is_fresh(&proof.nonce, from);
        let mut failures = self.failures.iter();
        !is_owner
            && failures.any(|f| {
                (f.source, f.name, f.is_shown) == (from.source(), proof.name, is_shown)
                    && self.now < f.waits_until
            })
    }

    /// Five are free; then the wait begins at a second and doubles, eight times at the most.
    fn failed(&mut self, from: K, request: &Request) {
        let Some(proof) = request.proof.as_ref().filter(|_| self.rules.waits) else {
            return;
        };
        let is_shown = !from.is_datagram() || self.is_fresh(&proof.nonce, from);
        let of_this = (from.source(), proof.name, is_shown);
        let now = self.now;
        let is_same = |f: &Failures| (f.source, f.name, f.is_shown) == of_this;
        self.failures.retain(|f| now < f.waits_until + FORGOTTEN);
        let before = self
            .failures
            .iter()
            .find(|f| is_same(f))
            .map_or(0, |f| f.count);
        self.failures.retain(|f| !is_same(f));
        let wait = match before {
            0..5 => 0,
            further => 1 << (further - 5).min(8),
        };
        self.failures.push(Failures {
            source: of_this.0,
            name: of_this.1,
            is_shown,
            count: before + 1,
            waits_until: now + Duration::from_secs(wait),
        });
    }

    /// The error that a request is answered with when its sender does not prove a name; else the name.
    fn proven(&self, from: K, request: &Request) -> Result<Name, u16> {
        let proof = request.proof.as_ref().ok_or(401_u16)?;
        let Name { user, expires } = proof.name;
        let is_known = self.rules.secrets.contains(&proof.secret);
        let is_near = expires <= self.wall + self.rules.max_ttl;
        let has_ended = expires < self.wall || self.is_revoked(user);
        // H-03: a live allocation goes on by the key that made it, until its greatest age.
        let own = self.held.get(&from).filter(|held| {
            !request.ask.is_new() && held.name == proof.name && self.now <= held.refreshable_until
        });
        let is_good = match own {
            Some(held) => {
                let is_its_key = (held.secret, held.is_sha256) == (proof.secret, proof.is_sha256);
                is_its_key || is_known && is_near
            }
            None => is_known && is_near && !has_ended && !self.is_secret_revoked(proof.secret),
        };
        if !is_good || !proof.is_right {
            return Err(401);
        }
        if !self.is_fresh(&proof.nonce, from) {
            return Err(438);
        }
        Ok(proof.name)
    }

    // ---- requests ----

    /// What a request is answered: what is granted, or an error code. What is granted is in force from now on, but for new
    /// allocations, whose port the relay chooses ([`Reference::begin`]).
    pub(crate) fn answer(&mut self, from: K, request: &Request) -> Result<Granted, u16> {
        if request.ask == Ask::Binding {
            return Ok(Granted::Mapped);
        }
        let name = match self.proven(from, request) {
            Ok(name) => name,
            Err(code) => {
                if code == 401 {
                    self.failed(from, request);
                }
                return Err(code);
            }
        };
        if request.ask.is_new() {
            // A name that is proven where it had failed begins anew there.
            let source = from.source();
            self.failures
                .retain(|f| (f.source, f.name, f.is_shown) != (source, name, true));
            return self.allocate(from, request, name);
        }
        let Some(held) = self.held.get(&from) else {
            return Err(437);
        };
        if held.name != name {
            return Err(441);
        }
        match request.ask {
            Ask::Refresh { lifetime, only_v4 } => self.refresh(from, lifetime, only_v4),
            Ask::Permit(ref peers) => self.permit(from, peers),
            Ask::Bind(number, peer) => self.bind(from, number, peer),
            Ask::Binding | Ask::Allocate { .. } | Ask::Claim(_) => Err(400),
        }
    }

    fn allocate(&mut self, from: K, request: &Request, name: Name) -> Result<Granted, u16> {
        if let Some(held) = self.held.get(&from) {
            let is_repeated = from.is_datagram()
                && held.transaction == request.transaction
                && held.name == name
                && self.now - held.created <= REPEATS;
            return if is_repeated {
                Ok(Granted::Again(held.seconds_left(self.now)))
            } else {
                Err(437)
            };
        }
        if self.rules.drains || self.rules.sheds {
            let is_sent_on = from.is_datagram() && self.rules.knows_another;
            return Err(if is_sent_on { 300 } else { 508 });
        }
        let worn = self.resting.iter().filter(|r| r.user == Some(name.user));
        if worn.count() >= (self.ports_in_all() / 8).max(8) {
            return Err(486);
        }
        match request.ask {
            Ask::Claim(token) => self.claim(name, token),
            Ask::Allocate {
                lifetime,
                port,
                families,
            } => {
                let places = if port == Port::Pair { 2 } else { 1 };
                self.has_room(name.user, places)?;
                let is_there = match families {
                    Families::V4 => self.has_free(true, port),
                    Families::V6 => self.has_free(false, port),
                    Families::Both => self.has_free(true, port) || self.has_free(false, port),
                };
                let granted = Granted::New(self.granted(lifetime), families, port);
                if is_there { Ok(granted) } else { Err(508) }
            }
            Ask::Binding | Ask::Refresh { .. } | Ask::Permit(_) | Ask::Bind(..) => Err(400),
        }
    }

    fn claim(&mut self, name: Name, token: [u8; 8]) -> Result<Granted, u16> {
        let mut reserved = self.reserved.iter();
        let own = reserved.position(|r| r.token == token && r.name == name);
        let taken = own.map(|at| self.reserved.swap_remove(at));
        let room = self.has_room(name.user, 1);
        match taken {
            Some(reserved) if room.is_err() => self.rest(reserved.address, None),
            Some(reserved) => return Ok(Granted::Claimed(self.granted(None), reserved.address)),
            None => {}
        }
        room.and(Err(508))
    }

    /// Whether so many more allocations and reserved ports are within this user's number, and within that of all.
    fn has_room(&self, user: u8, places: usize) -> Result<(), u16> {
        let held = self.held.values().map(|held| held.name.user);
        let reserved = self.reserved.iter().map(|reserved| reserved.name.user);
        let mut users: Vec<u8> = held.chain(reserved).collect();
        for _ in 0..places {
            if users.len() >= self.rules.total {
                return Err(508);
            }
            if users.iter().filter(|held| **held == user).count() >= self.rules.per_user {
                return Err(486);
            }
            users.push(user);
        }
        Ok(())
    }

    /// An allocation begins on these relayed addresses, which were free, with a port held for the token.
    pub(crate) fn begin(
        &mut self,
        from: K,
        request: &Request,
        lifetime: u64,
        relayed: &[SocketAddr],
        reserved: Option<([u8; 8], SocketAddr)>,
    ) {
        let Some(proof) = &request.proof else { return };
        let expires = self.now + Duration::from_secs(lifetime);
        let held = Held {
            name: proof.name,
            secret: proof.secret,
            is_sha256: proof.is_sha256,
            transaction: request.transaction,
            created: self.now,
            refreshable_until: self.now + self.rules.max_age,
            token: reserved.map(|(token, _)| token),
            relayed: relayed
                .iter()
                .map(|&address| Relayed { address, expires })
                .collect(),
            permissions: Vec::new(),
            channels: Vec::new(),
        };
        self.held.insert(from, held);
        if let Some((token, address)) = reserved {
            self.reserved.push(Reserved {
                token,
                name: proof.name,
                address,
                until: self.now + RESERVATION,
            });
        }
    }

    /// An allocation ends with all that belongs to it.
    pub(crate) fn end(&mut self, from: K) {
        let Some(held) = self.held.remove(&from) else {
            return;
        };
        for relayed in held.relayed {
            self.rest(relayed.address, Some(held.name.user));
        }
    }

    fn refresh(
        &mut self,
        from: K,
        lifetime: Option<u32>,
        only_v4: Option<bool>,
    ) -> Result<Granted, u16> {
        let expires = self.now + Duration::from_secs(self.granted(lifetime));
        let Some(held) = self.held.get_mut(&from) else {
            return Err(437);
        };
        let is_meant = |r: &Relayed| only_v4.is_none_or(|v4| r.address.is_ipv4() == v4);
        if !held.relayed.iter().any(is_meant) {
            return Err(443);
        }
        if lifetime != Some(0) {
            let meant = held.relayed.iter_mut().filter(|relayed| is_meant(relayed));
            meant.for_each(|relayed| relayed.expires = expires);
            return Ok(Granted::Lifetime((expires - self.now).as_secs()));
        }
        let (gone, left): (Vec<_>, Vec<_>) = held.relayed.iter().partition(|r| is_meant(r));
        if left.is_empty() {
            self.end(from);
            return Ok(Granted::Lifetime(0));
        }
        held.relayed = left;
        let user = held.name.user;
        for relayed in gone {
            leave(held, relayed.address.ip());
            let until = self.now + self.rules.quarantine;
            self.resting.push(rest(relayed.address, Some(user), until));
        }
        Ok(Granted::Lifetime(0))
    }

    fn permit(&mut self, from: K, peers: &[SocketAddr]) -> Result<Granted, u16> {
        let is_forbidden = peers.iter().any(|peer| self.forbids_address(peer.ip()));
        let Some(held) = self.held.get_mut(&from) else {
            return Err(437);
        };
        if peers.is_empty() {
            return Err(400);
        }
        if peers.iter().any(|peer| !held.has(peer.ip())) {
            return Err(443);
        }
        if is_forbidden {
            return Err(403);
        }
        let new = peers.iter().filter(|peer| !held.permits(peer.ip()));
        let new = new.count();
        if new > 0 && held.permissions.len() + new > self.rules.limit {
            return Err(508);
        }
        peers.iter().for_each(|p| held.permit(p.ip(), self.now));
        Ok(Granted::Nothing)
    }

    fn bind(&mut self, from: K, number: u16, peer: SocketAddr) -> Result<Granted, u16> {
        let is_forbidden = self.forbids(peer);
        let Some(held) = self.held.get_mut(&from) else {
            return Err(437);
        };
        if !(0x4000..=0x4fff).contains(&number) {
            return Err(400);
        }
        let mut channels = held.channels.iter();
        if channels.any(|&(n, p, _)| (n == number) != (p == peer)) {
            return Err(400);
        }
        if !held.has(peer.ip()) {
            return Err(443);
        }
        if is_forbidden || held.is_own(peer) {
            return Err(403);
        }
        let is_bound = held.channels.iter().any(|&(n, ..)| n == number);
        let is_full = !is_bound && held.channels.len() >= self.rules.limit;
        if is_full || !held.permits(peer.ip()) && held.permissions.len() >= self.rules.limit {
            return Err(508);
        }
        held.permit(peer.ip(), self.now);
        held.channels.retain(|&(n, ..)| n != number);
        held.channels.push((number, peer, self.now + CHANNEL));
        Ok(Granted::Nothing)
    }

    /// Seconds.
    fn granted(&self, lifetime: Option<u32>) -> u64 {
        u64::from(lifetime.unwrap_or(600)).clamp(600, self.rules.max_lifetime.as_secs())
    }

    // ---- data ----

    /// From which relayed address a Send indication goes to this peer.
    pub(crate) fn sends(&self, client: K, peer: SocketAddr) -> Option<SocketAddr> {
        let held = self.held.get(&client)?;
        let is_right = held.permits(peer.ip())
            && !self.rules.closed_ports.contains(&peer.port())
            && !held.is_own(peer);
        held.relayed_for(peer.ip()).filter(|_| is_right)
    }

    /// From which relayed address, and to which peer, ChannelData goes.
    pub(crate) fn channel(&self, client: K, number: u16) -> Option<(SocketAddr, SocketAddr)> {
        let held = self.held.get(&client)?;
        let &(_, peer, _) = held.channels.iter().find(|(n, ..)| *n == number)?;
        let relayed = held.relayed_for(peer.ip())?;
        held.permits(peer.ip()).then_some((relayed, peer))
    }

    /// To which client a peer's datagram at this relayed address goes, and by which channel.
    pub(crate) fn arrives(&self, peer: SocketAddr, at: SocketAddr) -> Option<(K, Option<u16>)> {
        let mut all = self.held.iter();
        let (client, held) = all.find(|(_, held)| held.is_own(at))?;
        let mut channels = held.channels.iter();
        let number = channels.find(|(_, p, _)| *p == peer).map(|(n, ..)| *n);
        held.permits(peer.ip()).then_some((*client, number))
    }
}

const fn rest(address: SocketAddr, user: Option<u8>, until: Duration) -> Resting {
    Resting {
        address,
        user,
        until,
    }
}

/// The port after an even one.
pub(crate) fn successor(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port() + 1)
}

/// With a relayed address go the permissions and channels of its family.
fn leave(held: &mut Held, family: IpAddr) {
    let stays = |ip: IpAddr| ip.is_ipv4() != family.is_ipv4();
    held.permissions.retain(|(ip, _)| stays(*ip));
    held.channels.retain(|(_, peer, _)| stays(peer.ip()));
}
