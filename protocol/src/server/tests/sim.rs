//! The bench for scenarios: one server and its forwarding table, sockets that are only names, and a clock moved by hand.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::RangeInclusive;
use core::time::Duration;

use crate::address::{ChannelRange, ClientAddr, FiveTuple, PeerAddr, Transport};
use crate::credentials::{
    Directory, Hashes, HmacHash, LongTermKey, NonceKey, Nonces, PasswordAlgorithm, Realm,
    SharedSecret, StaticKeys, StaticUser, mint,
};
use crate::forward::{AllocationId, ClientVerdict, DropReason, PeerVerdict, RelayedId, RouteTable};
use crate::server::{
    BindError, Effect, EndCause, Event, Limits, LocalQuota, OwnAddresses, PeerPolicy, PeerRules,
    RelayedIp, RelayedPort, Replacement, Reply, Revoked, Server, Settings, Verdict,
};
use crate::status::Load;
use crate::time::{Instant, Now, UnixTime};
use crate::wire::{Attributes, Class, Framed, Method, TransactionId, Writer, channel_data};

pub(super) const REALM: &str = "turn.example.org";
pub(super) const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
pub(super) const START: u64 = 1_700_000_000;

pub(super) const RELAYED_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(13, 54, 7, 7));
pub(super) const RELAYED_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2406, 0xda1c, 0, 0, 0, 0, 0, 7));

/// What a scenario may choose about its server.
pub(super) struct Choices {
    pub(super) relayed: Vec<IpAddr>,
    /// The public address of a NAT in front of the first relayed address.
    pub(super) advertised: Option<IpAddr>,
    pub(super) ports: RangeInclusive<u16>,
    pub(super) channels: ChannelRange,
    pub(super) limits: Limits,
    pub(super) per_user: u32,
    pub(super) total: u32,
    pub(super) static_user: Option<(&'static str, &'static str)>,
    /// The user by whom the relay checks itself.
    pub(super) self_check: Option<(&'static str, &'static str)>,
    pub(super) software: Option<String>,
    pub(super) worker: u8,
    pub(super) seed: u8,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            relayed: vec![RELAYED_V4, RELAYED_V6],
            advertised: None,
            ports: 50_000..=50_999,
            channels: ChannelRange::Rfc8656,
            limits: Limits {
                unauthenticated_per_second: 0,
                ..Limits::default()
            },
            per_user: 100,
            total: 1000,
            static_user: None,
            self_check: None,
            software: None,
            worker: 0,
            seed: 1,
        }
    }
}

pub(super) struct Sim {
    pub(super) server: Server,
    pub(super) table: RouteTable,
    pub(super) now: Now,
    pub(super) sockets: BTreeMap<RelayedId, SocketAddr>,
    /// Ports that somebody else on the host holds.
    pub(super) in_use: BTreeSet<u16>,
    /// Whether the host has run out of file descriptors.
    pub(super) exhausted: bool,
    pub(super) events: Vec<Event>,
    /// How many routes were ever added.
    pub(super) routes: usize,
    pub(super) claims: Vec<(RelayedId, u8, [u8; 8], crate::credentials::UserName)>,
    pub(super) returned: Vec<RelayedPort>,
    /// Every port that was ever asked for, in order.
    pub(super) asked: Vec<SocketAddr>,
    /// What the server was given last, and the rules that its peer policy was made of.
    pub(super) replacement: Replacement,
    rules: PeerRules,
    own: OwnAddresses,
    pub(super) reply: Reply,
    next_transaction: u64,
}

impl Sim {
    pub(super) fn new() -> Self {
        Self::with(Choices::default())
    }

    pub(super) fn with(choices: Choices) -> Self {
        let mut directory = directory(&[SECRET], choices.static_user.as_slice());
        if let Some((name, password)) = choices.self_check {
            directory = directory.with_self_check(static_user(name, password));
        }
        let rules = PeerRules {
            relayed_ports: choices.ports.clone(),
            ..PeerRules::default()
        };
        let relayed = choices.relayed.iter().copied();
        let own = OwnAddresses {
            relayed: relayed.chain(choices.advertised).collect(),
            ..OwnAddresses::default()
        };
        let replacement = Replacement {
            directory,
            nonces: Nonces::new(NonceKey::new([9; 32]), None, Duration::from_secs(600)),
            peers: PeerPolicy::new(rules.clone(), own.clone()),
            limits: choices.limits,
        };
        let made = replacement.clone();
        let settings = Settings {
            directory: made.directory,
            nonces: made.nonces,
            peers: made.peers,
            limits: made.limits,
            channels: choices.channels,
            software: choices.software,
            relayed: choices
                .relayed
                .iter()
                .map(|&ip| RelayedIp {
                    bind: ip,
                    advertised: choices
                        .advertised
                        .filter(|a| a.is_ipv4() == ip.is_ipv4())
                        .unwrap_or(ip),
                })
                .collect(),
            ports: choices.ports,
            worker: choices.worker,
        };
        let table = RouteTable::new([1, 2, 3, 4], settings.peers.port_rules(), choices.channels);
        let quota = LocalQuota::new(choices.per_user, choices.total, [5, 6, 7, 8]);
        Self {
            server: Server::new(settings, alloc::boxed::Box::new(quota), [choices.seed; 32]),
            table,
            now: Now {
                instant: Instant::from_nanos(1_000_000_000),
                unix: UnixTime::from_secs(START),
            },
            sockets: BTreeMap::new(),
            in_use: BTreeSet::new(),
            exhausted: false,
            events: Vec::new(),
            routes: 0,
            claims: Vec::new(),
            returned: Vec::new(),
            asked: Vec::new(),
            replacement,
            rules,
            own,
            reply: Reply::new(),
            next_transaction: 1,
        }
    }

    /// Gives the server something else, and carries out what follows, as a worker does on a reload.
    pub(super) fn replace(&mut self, change: impl FnOnce(&mut Replacement)) -> Revoked {
        change(&mut self.replacement);
        let replacement = self.replacement.clone();
        self.table.replace_rules(replacement.peers.port_rules());
        let revoked = self.server.replace(self.now, replacement);
        self.pump();
        revoked
    }

    /// The same with another peer policy.
    pub(super) fn replace_policy(
        &mut self,
        change: impl FnOnce(&mut PeerRules, &mut OwnAddresses),
    ) -> Revoked {
        change(&mut self.rules, &mut self.own);
        let peers = PeerPolicy::new(self.rules.clone(), self.own.clone());
        self.replace(|replacement| replacement.peers = peers)
    }

    /// Moves both clocks, waking the server whenever it asked to be woken.
    pub(super) fn advance(&mut self, by: Duration) {
        let start = self.now;
        let end = start.instant + by;
        while let Some(at) = self.server.poll_timeout().filter(|&at| at <= end) {
            self.now.instant = self.now.instant.max(at);
            self.server.handle_timeout(self.now);
            self.pump();
        }
        self.now.instant = end;
        self.now.unix = start.unix.plus_secs(by.as_secs());
    }

    pub(super) fn transaction(&mut self) -> TransactionId {
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.next_transaction.to_be_bytes());
        self.next_transaction += 1;
        TransactionId(id)
    }

    /// A datagram from a client, by the path that a worker takes. The answer, if there is one.
    pub(super) fn deliver(&mut self, from: FiveTuple, datagram: &[u8]) -> Outcome {
        match self.table.from_client(self.now.instant, &from, datagram) {
            ClientVerdict::Control => {
                let verdict = self
                    .server
                    .handle_message(self.now, from, datagram, &mut self.reply);
                let mut answer =
                    (verdict == Verdict::Reply).then(|| self.reply.as_bytes().to_vec());
                if let Some((to, later)) = self.pump() {
                    assert_eq!(to, from, "an answer goes to where its request came from");
                    assert!(answer.is_none(), "one request has one answer");
                    answer = Some(later);
                }
                match (answer, verdict) {
                    (Some(bytes), _) => Outcome::Answer(Answer(bytes)),
                    (None, Verdict::Drop(reason)) => Outcome::Dropped(reason),
                    (None, Verdict::Wait | Verdict::Reply) => Outcome::Silence,
                }
            }
            ClientVerdict::ToPeer {
                relayed,
                peer,
                payload,
                dont_fragment,
                ..
            } => {
                let from = self.sockets[&relayed];
                let payload = datagram[payload].to_vec();
                Outcome::ToPeer(Relayed {
                    from,
                    peer: peer.0,
                    payload,
                    dont_fragment,
                })
            }
            ClientVerdict::Drop(reason) => Outcome::Dropped(reason),
        }
    }

    pub(super) fn peer_sends(&mut self, peer: SocketAddr, at: SocketAddr) -> PeerVerdict {
        match self.sockets.iter().find(|(_, bound)| **bound == at) {
            Some((&id, _)) => self
                .table
                .from_peer(self.now.instant, id, PeerAddr(peer), 100),
            None => PeerVerdict::Drop(DropReason::NoAllocation),
        }
    }

    /// Carries out every effect, as a worker does. An answer that came with the last bound socket is returned.
    pub(super) fn pump(&mut self) -> Option<(FiveTuple, Vec<u8>)> {
        let mut answer = None;
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::BindRelayed { relayed, bind } => {
                    self.asked.push(bind);
                    let outcome = if self.exhausted {
                        Err(BindError::Exhausted)
                    } else if self.in_use.contains(&bind.port()) {
                        Err(BindError::InUse)
                    } else {
                        assert!(
                            !self.sockets.values().any(|&held| held == bind),
                            "a port twice"
                        );
                        self.sockets.insert(relayed, bind);
                        Ok(())
                    };
                    let to = self
                        .server
                        .relayed_bound(self.now, relayed, outcome, &mut self.reply);
                    if let Some(to) = to {
                        answer = Some((to, self.reply.as_bytes().to_vec()));
                    }
                }
                Effect::UnbindRelayed { relayed } => {
                    assert!(
                        self.sockets.remove(&relayed).is_some(),
                        "closing what is open"
                    );
                }
                Effect::AddRoute(route) => {
                    self.table.add(&route);
                    self.routes += 1;
                }
                Effect::RemoveRoute(route) => self.table.remove(&route),
                Effect::ClaimReservation {
                    relayed,
                    owner,
                    token,
                    user,
                } => {
                    self.claims.push((relayed, owner, token, user));
                }
                Effect::ReturnPort(port) => self.returned.push(port),
                Effect::Event(event) => self.events.push(event),
            }
        }
        answer
    }

    pub(super) fn ended(&self) -> Vec<(AllocationId, EndCause)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::AllocationEnded {
                    allocation, cause, ..
                } => Some((*allocation, *cause)),
                Event::AllocationCreated { .. } => None,
            })
            .collect()
    }

    /// A client at an address of its own, with fresh credentials.
    pub(super) fn client(&self, number: u8) -> Client {
        Client::new(number, &credentials("alice", Duration::from_secs(3600)))
    }

    /// Sends a signed request, after a first try for the nonce when the client has none.
    pub(super) fn request(
        &mut self,
        client: &mut Client,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> Answer {
        if client.nonce.is_empty() {
            let id = self.transaction();
            let bytes = write(Class::Request, method, id, |w| w.requested_transport(17));
            let challenge = self.deliver(client.five_tuple, &bytes).answer();
            assert_eq!(challenge.code(), Some(401));
            client.nonce = challenge.attributes().nonce().unwrap().to_vec();
        }
        let id = self.transaction();
        let bytes = client.sign(method, id, attributes);
        self.deliver(client.five_tuple, &bytes).answer()
    }

    /// Allocates and returns the relayed address.
    pub(super) fn allocate(&mut self, client: &mut Client) -> SocketAddr {
        let answer = self.request(client, Method::Allocate, |w| w.requested_transport(17));
        assert_eq!(answer.code(), None, "{answer:?}");
        answer.relayed()[0]
    }

    pub(super) fn permit(&mut self, client: &mut Client, peers: &[SocketAddr]) -> Option<u16> {
        self.request(client, Method::CreatePermission, |w| {
            peers.iter().for_each(|&peer| w.xor_peer_address(peer));
        })
        .code()
    }

    pub(super) fn bind(
        &mut self,
        client: &mut Client,
        number: u16,
        peer: SocketAddr,
    ) -> Option<u16> {
        self.request(client, Method::ChannelBind, |w| {
            w.channel_number(number);
            w.xor_peer_address(peer);
        })
        .code()
    }

    pub(super) fn refresh(&mut self, client: &mut Client, lifetime: Option<u32>) -> Answer {
        self.request(client, Method::Refresh, |w| {
            if let Some(lifetime) = lifetime {
                w.lifetime(lifetime);
            }
        })
    }

    /// Sends a payload by a Send indication.
    pub(super) fn send(&mut self, client: &Client, peer: SocketAddr, payload: &[u8]) -> Outcome {
        let id = self.transaction();
        let bytes = write(Class::Indication, Method::Send, id, |w| {
            w.xor_peer_address(peer);
            w.data(payload);
        });
        self.deliver(client.five_tuple, &bytes)
    }

    /// Sends a payload by ChannelData.
    pub(super) fn channel(&mut self, client: &Client, number: u16, payload: &[u8]) -> Outcome {
        self.deliver(client.five_tuple, &channel_message(number, payload))
    }

    /// The load, with what allocations hold counted one by one.
    pub(super) fn counted_load(&self) -> Load {
        let mut load = Load {
            allocations: 0,
            synthetic: 0,
            by_transport: [0; 3],
            permissions: 0,
            channels: 0,
            ..self.server.load()
        };
        for held in self.server.allocations() {
            if held.synthetic {
                load.synthetic += 1;
                continue;
            }
            load.allocations += 1;
            load.by_transport[held.client.transport.index()] += 1;
            load.permissions += held.permissions;
            load.channels += held.channels;
        }
        load
    }

    /// Everything that is held, when nothing should be.
    pub(super) fn assert_nothing_left(&self) {
        assert_eq!(self.server.residue(), [0; 5]);
        assert!(self.sockets.is_empty() && self.table.is_empty());
        let load = self.server.load();
        assert_eq!(load, self.counted_load());
        assert_eq!(
            (load.allocations, load.ports_used, load.ports_quarantined),
            (0, 0, 0)
        );
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relayed {
    pub(super) from: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) payload: Vec<u8>,
    pub(super) dont_fragment: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answer(Answer),
    ToPeer(Relayed),
    Dropped(DropReason),
    Silence,
}

impl Outcome {
    pub(super) fn answer(self) -> Answer {
        match self {
            Self::Answer(answer) => answer,
            Self::ToPeer(_) | Self::Dropped(_) | Self::Silence => panic!("no answer but {self:?}"),
        }
    }

    pub(super) fn relayed_payload(self) -> Relayed {
        match self {
            Self::ToPeer(relayed) => relayed,
            Self::Answer(_) | Self::Dropped(_) | Self::Silence => panic!("not relayed: {self:?}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer(pub(super) Vec<u8>);

impl Answer {
    pub(super) fn framed(&self) -> Framed<'_> {
        Framed::parse(&self.0).unwrap()
    }

    pub(super) fn attributes(&self) -> Attributes<'_> {
        self.framed().unauthenticated()
    }

    /// The error code; `None` for a success.
    pub(super) fn code(&self) -> Option<u16> {
        self.attributes().error_code().map(|code| code.unwrap().0)
    }

    pub(super) fn relayed(&self) -> Vec<SocketAddr> {
        self.attributes()
            .xor_relayed_addresses()
            .map(Result::unwrap)
            .collect()
    }

    pub(super) fn lifetime(&self) -> u32 {
        self.attributes().lifetime().unwrap().unwrap()
    }

    pub(super) fn token(&self) -> [u8; 8] {
        self.attributes().reservation_token().unwrap().unwrap()
    }
}

#[derive(Clone)]
pub(super) struct Client {
    pub(super) five_tuple: FiveTuple,
    pub(super) username: Vec<u8>,
    pub(super) password: String,
    pub(super) realm: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    /// `Some`: the client chooses a password algorithm by name.
    pub(super) algorithm: Option<PasswordAlgorithm>,
    pub(super) fingerprint: bool,
}

impl Client {
    pub(super) fn new(number: u8, (username, password): &(String, String)) -> Self {
        Self {
            five_tuple: five_tuple(Transport::Udp, &std_addr(number)),
            username: username.as_bytes().to_vec(),
            password: password.clone(),
            realm: REALM.as_bytes().to_vec(),
            nonce: Vec::new(),
            algorithm: None,
            fingerprint: false,
        }
    }

    pub(super) fn over(mut self, transport: Transport) -> Self {
        self.five_tuple.transport = transport;
        self
    }

    pub(super) fn key(&self) -> LongTermKey {
        let algorithm = self.algorithm.unwrap_or(PasswordAlgorithm::Md5);
        let realm = Realm::new(core::str::from_utf8(&self.realm).unwrap()).unwrap();
        LongTermKey::derive(algorithm, &self.username, &realm, &self.password).unwrap()
    }

    pub(super) fn sign(
        &self,
        method: Method,
        id: TransactionId,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> Vec<u8> {
        write(Class::Request, method, id, |w| {
            attributes(w);
            w.username(&self.username);
            w.realm(&self.realm);
            w.nonce(&self.nonce);
            match self.algorithm {
                Some(algorithm) => {
                    w.password_algorithms(&[2, 1]);
                    w.password_algorithm(algorithm.number());
                    w.message_integrity_sha256(self.key().as_bytes());
                }
                None => w.message_integrity(self.key().as_bytes()),
            }
            if self.fingerprint {
                w.fingerprint();
            }
        })
    }
}

/// The directory that knows these secrets and static users.
pub(super) fn directory(secrets: &[&[u8]], users: &[(&str, &str)]) -> Directory {
    let shared = |secret: &&[u8]| SharedSecret::new("k", secret, Hashes::BOTH).unwrap();
    let users = users
        .iter()
        .map(|(name, password)| static_user(name, password));
    Directory::new(
        Realm::new(REALM).unwrap(),
        secrets.iter().map(shared).collect(),
        users.collect(),
        Duration::from_secs(24 * 3600),
    )
}

pub(super) fn static_user(name: &str, password: &str) -> StaticUser {
    let realm = Realm::new(REALM).unwrap();
    StaticUser::new(name, StaticKeys::derive(name, &realm, password).unwrap()).unwrap()
}

pub(super) fn write(
    class: Class,
    method: Method,
    id: TransactionId,
    attributes: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut bytes = vec![0; 70_000];
    let mut writer = Writer::new(&mut bytes, class, method, id);
    attributes(&mut writer);
    let length = writer.finish().unwrap();
    bytes.truncate(length);
    bytes
}

pub(super) fn channel_message(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 4];
    channel_data::write_header(&mut header, number, u16::try_from(payload.len()).unwrap());
    [&header[..], payload].concat()
}

pub(super) fn credentials(user: &str, ttl: Duration) -> (String, String) {
    let secret = SharedSecret::new(
        "k1",
        SECRET,
        Hashes {
            sha1: true,
            sha256: true,
        },
    )
    .unwrap();
    let made = mint(
        &secret,
        HmacHash::Sha256,
        user,
        ttl,
        UnixTime::from_secs(START),
    )
    .unwrap();
    (made.username, made.password)
}

pub(super) fn five_tuple(transport: Transport, client: &str) -> FiveTuple {
    let client: SocketAddr = client.parse().unwrap();
    let server = match client {
        SocketAddr::V4(_) => "13.54.7.1:3478",
        SocketAddr::V6(_) => "[2406:da1c::1]:3478",
    };
    FiveTuple {
        transport,
        client: ClientAddr(client),
        server: server.parse().unwrap(),
    }
}

fn std_addr(number: u8) -> String {
    ["198.51.100.", &number.to_string(), ":4000"].concat()
}

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
