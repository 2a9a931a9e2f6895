//! The real server and its forwarding table, driven as a worker drives them.
//!
//! Responsible for carrying out effects on sockets that are only names, for what an operator orders, and for being broken on
//! purpose, so that it can be seen that the oracle sees. Not responsible for judging anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use taciturn_protocol::address::{ChannelRange, FiveTuple, PeerAddr, Transport};
use taciturn_protocol::credentials::{
    Directory, NonceKey, Nonces, RevocationList, Revocations, RevokedKey, RevokedUser,
};
use taciturn_protocol::forward::{
    ClientVerdict, Destination, DropReason, Framing, PeerVerdict, PortSet, RelayedId, Route,
    RouteTable,
};
use taciturn_protocol::server::{
    Alternate, BindError, Drain, Effect, Limits, LocalQuota, OwnAddresses, PeerPolicy, PeerRules,
    RelayedIp, Replacement, Reply, Revoked, Server, Settings, Verdict, default_denied_ports,
};
use taciturn_protocol::status::Load;
use taciturn_protocol::time::{Instant, Now};
use taciturn_protocol::wire::{Class, Method, TransactionId, indication};

use crate::messages;

/// The listeners, by family.
pub(crate) const LISTENERS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(13, 54, 7, 1)), 3478),
    SocketAddr::new(
        IpAddr::V6(Ipv6Addr::new(0x2406, 0xDA1C, 0, 0, 0, 0, 0, 1)),
        3478,
    ),
];
/// An address of the host that nobody may reach.
pub(crate) const INTERFACE: IpAddr = IpAddr::V4(Ipv4Addr::new(13, 54, 7, 9));
/// The relayed addresses as sockets are bound to them, behind a NAT of their own for IPv4, and as the world knows them.
const BOUND: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(172, 31, 0, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2406, 0xDA1C, 0, 0, 0, 0, 0, 7)),
];
pub(crate) const ADVERTISED: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(13, 54, 7, 7)), BOUND[1]];

/// A way in which the adapter, not the server, is wrong: what a bug of each kind would look like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Sends a client's payload to a peer without a permission.
    RelaysWithoutPermission,
    /// Leaves the socket of an ended allocation open.
    ForgetsPort,
    /// Answers an indication.
    AnswersIndication,
    /// Delivers a peer's payload to another client.
    DeliversToWrongClient,
    /// Keeps permissions after their end.
    KeepsRoutes,
    /// Answers the unproven with more bytes than there should be.
    OversizeAnswer,
    /// Gives permissions for addresses that the operator has closed.
    PermitsDenied,
    /// Does not end what a new policy forbids.
    KeepsWhatIsClosed,
    /// Answers a request twice.
    AnswersTwice,
    /// Drops what it should relay.
    LosesData,
    /// Changes a byte of what it relays.
    AltersData,
    /// Gives out ports that should rest.
    GivesPortsAgain,
    /// Says nothing to a request.
    SwallowsAnswers,
    /// Lets in whoever was revoked.
    ForgetsRevocations,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 14] = [
        Self::RelaysWithoutPermission,
        Self::ForgetsPort,
        Self::AnswersIndication,
        Self::DeliversToWrongClient,
        Self::KeepsRoutes,
        Self::OversizeAnswer,
        Self::PermitsDenied,
        Self::KeepsWhatIsClosed,
        Self::AnswersTwice,
        Self::LosesData,
        Self::AltersData,
        Self::GivesPortsAgain,
        Self::SwallowsAnswers,
        Self::ForgetsRevocations,
    ];
}

/// What an operator has configured.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) quarantine: Duration,
    pub(crate) max_lifetime: Duration,
    pub(crate) max_age: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) nonce_lifetime: Duration,
    pub(crate) per_user: u32,
    pub(crate) total: u32,
    /// Permissions, and channels, of one allocation.
    pub(crate) limit: usize,
    /// Answers to the unproven in a second; 0 is no limit.
    pub(crate) rate: u32,
    pub(crate) closed: Vec<IpAddr>,
    pub(crate) closed_port: Option<u16>,
    pub(crate) opens_private: bool,
    pub(crate) secrets: Vec<u8>,
    /// The current key of nonces, and the one before it where it is configured.
    pub(crate) nonce_keys: Vec<u32>,
    pub(crate) revoked_users: Vec<(u8, u64)>,
    pub(crate) revoked_secrets: Vec<(u8, u64)>,
    pub(crate) knows_another: bool,
}

impl Configuration {
    fn peers(&self, fault: Option<Fault>) -> PeerPolicy {
        let mut denied = default_denied_ports().to_vec();
        denied.extend(self.closed_port.map(|port| port..=port));
        let closed = self
            .closed
            .iter()
            .filter(|_| fault != Some(Fault::PermitsDenied));
        let rules = PeerRules {
            allow: (self.opens_private)
                .then(|| "10.0.0.0/8".parse().expect("a prefix"))
                .into_iter()
                .collect(),
            deny: closed.map(|&ip| ip.into()).collect(),
            denied_ports: PortSet::from_ranges(&denied),
            relayed_ports: self.ports.clone(),
            ..PeerRules::default()
        };
        let own = OwnAddresses {
            relayed: BOUND.into_iter().chain(ADVERTISED).collect(),
            interfaces: vec![INTERFACE],
            broadcasts: Vec::new(),
            sockets: LISTENERS.to_vec(),
        };
        PeerPolicy::new(rules, own)
    }

    fn replacement(&self, fault: Option<Fault>) -> Replacement {
        let secrets = self.secrets.iter();
        let mut keys = self.nonce_keys.iter().map(|&key| nonce_key(key));
        let current = keys.next().expect("there is a key");
        let quarantine = match fault {
            Some(Fault::GivesPortsAgain) => Duration::from_millis(1),
            Some(_) | None => self.quarantine,
        };
        Replacement {
            directory: Directory::new(
                messages::realm(),
                secrets
                    .map(|&number| messages::shared_secret(number))
                    .collect(),
                Vec::new(),
                self.max_ttl,
            ),
            nonces: Nonces::new(current, keys.next(), self.nonce_lifetime),
            peers: self.peers(fault),
            limits: Limits {
                permissions_per_allocation: self.limit,
                channels_per_allocation: self.limit,
                unauthenticated_per_second: self.rate,
                max_lifetime: self.max_lifetime,
                allocation_max_age: self.max_age,
                quarantine,
            },
        }
    }

    fn revocations(&self) -> Arc<Revocations> {
        let users = self.revoked_users.iter();
        let secrets = self.revoked_secrets.iter();
        Arc::new(Revocations::of(&RevocationList {
            users: users
                .map(|&(user, until)| RevokedUser {
                    user: messages::subject(user),
                    until,
                })
                .collect(),
            key_ids: secrets
                .map(|&(number, until)| RevokedKey {
                    key_id: messages::key_id(number),
                    until: Some(until),
                })
                .collect(),
            ..RevocationList::default()
        }))
    }
}

fn nonce_key(number: u32) -> NonceKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    NonceKey::new(bytes)
}

/// What left the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    ToClient {
        to: FiveTuple,
        bytes: Vec<u8>,
    },
    ToPeer {
        from: SocketAddr,
        to: SocketAddr,
        payload: Vec<u8>,
    },
}

/// What became of a relayed socket, by the address that the world knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    Opened(SocketAddr),
    Refused(SocketAddr),
    Closed(SocketAddr),
}

/// What one step of the relay did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) out: Vec<Out>,
    pub(crate) binds: Vec<Bind>,
}

/// One relay.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) configuration: Configuration,
    fault: Option<Fault>,
    server: Server,
    table: RouteTable,
    reply: Reply,
    sockets: BTreeMap<RelayedId, SocketAddr>,
    /// Open connections of clients.
    pub(crate) streams: BTreeSet<FiveTuple>,
    /// Ports that another program on the host holds.
    pub(crate) in_use: Vec<SocketAddr>,
    /// The host opens no socket any more.
    pub(crate) is_exhausted: bool,
    indications: u64,
    answers: u64,
    step: Step,
}

impl Relay {
    pub(crate) fn new(configuration: Configuration, seed: u64, fault: Option<Fault>) -> Self {
        let made = configuration.replacement(fault);
        let settings = Settings {
            directory: made.directory,
            nonces: made.nonces,
            peers: made.peers,
            limits: made.limits,
            channels: ChannelRange::Rfc8656,
            software: None,
            relayed: BOUND
                .into_iter()
                .zip(ADVERTISED)
                .map(|(bind, advertised)| RelayedIp { bind, advertised })
                .collect(),
            ports: configuration.ports.clone(),
            worker: 0,
        };
        let rules = settings.peers.port_rules();
        let table = RouteTable::new([seed, 2, 3, 4], rules, ChannelRange::Rfc8656);
        let quota = LocalQuota::new(configuration.per_user, configuration.total, [seed, 6, 7, 8]);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut relay = Self {
            server: Server::new(settings, Box::new(quota), bytes),
            configuration,
            fault,
            table,
            reply: Reply::new(),
            sockets: BTreeMap::new(),
            streams: BTreeSet::new(),
            in_use: Vec::new(),
            is_exhausted: false,
            indications: 0,
            answers: 0,
            step: Step::default(),
        };
        relay.revoke();
        relay.alternates();
        relay
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    // ---- what arrives ----

    /// A datagram, or a frame of a stream, from a client.
    pub(crate) fn client_sends(&mut self, now: Now, from: FiveTuple, bytes: &[u8]) -> Step {
        match self.table.from_client(now.instant, &from, bytes) {
            ClientVerdict::Control => self.control(now, from, bytes),
            ClientVerdict::ToPeer {
                relayed,
                peer,
                payload,
                destination,
                ..
            } => {
                let payload = self.payload(&bytes[payload]);
                self.forward(now, relayed, peer, destination, payload);
            }
            ClientVerdict::Drop(DropReason::NoPermission)
                if self.has(Fault::RelaysWithoutPermission) =>
            {
                if let Ok(send) = indication::parse_send(bytes)
                    && let Some(relayed) = self.sockets.keys().next()
                {
                    let (peer, payload) = (PeerAddr(send.peer), send.data.to_vec());
                    self.forward(now, *relayed, peer, Destination::Network, payload);
                }
            }
            ClientVerdict::Drop(_) => {}
        }
        self.finish(now)
    }

    fn control(&mut self, now: Now, from: FiveTuple, bytes: &[u8]) {
        let verdict = self
            .server
            .handle_message(now, from, bytes, &mut self.reply);
        match verdict {
            Verdict::Reply => self.answer(from),
            Verdict::Wait if self.has(Fault::AnswersIndication) => {
                let id = TransactionId([9; 12]);
                let bytes = messages::message(Class::Success, Method::Binding, id, |_| {});
                self.step.out.push(Out::ToClient { to: from, bytes });
            }
            Verdict::Wait | Verdict::Drop(_) => {}
        }
    }

    fn answer(&mut self, to: FiveTuple) {
        let mut bytes = self.reply.as_bytes().to_vec();
        self.answers += 1;
        if self.has(Fault::SwallowsAnswers) && self.answers.is_multiple_of(7) {
            return;
        }
        let is_challenge = matches!(messages::read(&bytes), messages::Heard::Answer(answer) if answer.code == Some(401));
        if self.has(Fault::OversizeAnswer) && is_challenge {
            bytes.resize(bytes.len() * 3, 0);
        }
        if self.has(Fault::AnswersTwice) {
            let bytes = bytes.clone();
            self.step.out.push(Out::ToClient { to, bytes });
        }
        self.step.out.push(Out::ToClient { to, bytes });
    }

    /// A payload as it goes on.
    fn payload(&self, bytes: &[u8]) -> Vec<u8> {
        let mut payload = bytes.to_vec();
        if self.has(Fault::AltersData)
            && let Some(last) = payload.last_mut()
        {
            *last ^= 1;
        }
        payload
    }

    fn forward(
        &mut self,
        now: Now,
        relayed: RelayedId,
        peer: PeerAddr,
        destination: Destination,
        payload: Vec<u8>,
    ) {
        if self.has(Fault::LosesData) {
            return;
        }
        let Some(&from) = self.sockets.get(&relayed) else {
            return;
        };
        match destination {
            Destination::Network => self.step.out.push(Out::ToPeer {
                from,
                to: peer.0,
                payload,
            }),
            Destination::OwnRelayed | Destination::OwnRelayedOrHost => {
                if let Some(other) = self.table.relayed_at(peer.0) {
                    self.at_socket(now, other, from, &payload);
                }
            }
        }
    }

    /// A datagram for a relayed address. Nobody hears of one that no socket takes.
    pub(crate) fn peer_sends(
        &mut self,
        now: Now,
        peer: SocketAddr,
        at: SocketAddr,
        payload: &[u8],
    ) -> Step {
        let socket = self.sockets.iter().find(|(_, address)| **address == at);
        if let Some((&relayed, _)) = socket {
            self.at_socket(now, relayed, peer, payload);
        }
        self.finish(now)
    }

    fn at_socket(&mut self, now: Now, relayed: RelayedId, peer: SocketAddr, payload: &[u8]) {
        let length = payload.len();
        let verdict = self
            .table
            .from_peer(now.instant, relayed, PeerAddr(peer), length);
        let PeerVerdict::ToClient {
            client, framing, ..
        } = verdict
        else {
            return;
        };
        let mut bytes = match framing {
            Framing::Channel(number) => messages::channel_message(number.value(), payload),
            Framing::Indication => {
                self.indications += 1;
                let mut id = [0; 12];
                id[4..].copy_from_slice(&self.indications.to_be_bytes());
                let mut header = [0; indication::DATA_HEADER_MAX];
                let id = TransactionId(id);
                let written = indication::write_data_header(&mut header, id, peer, length);
                let (used, padding) = written.expect("payloads are short");
                let header = &header[indication::DATA_HEADER_MAX - used..];
                [header, payload, &[0; 3][..padding]].concat()
            }
        };
        if client.transport.is_stream() {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let mut to = client;
        if self.has(Fault::DeliversToWrongClient) {
            let mut others = self.server.allocations().map(|held| held.client);
            to = others.find(|other| *other != client).unwrap_or(client);
        }
        self.step.out.push(Out::ToClient { to, bytes });
    }

    /// A client's connection is gone.
    pub(crate) fn closed(&mut self, now: Now, client: FiveTuple) -> Step {
        if self.streams.remove(&client) {
            self.server.connection_closed(now, client);
        }
        self.finish(now)
    }

    /// When [`Relay::wake`] has something to do next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.server.poll_timeout()
    }

    pub(crate) fn wake(&mut self, now: Now) -> Step {
        self.server.handle_timeout(now);
        self.finish(now)
    }

    /// Carries out every effect.
    fn finish(&mut self, now: Now) -> Step {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::BindRelayed { relayed, bind } => self.open(now, relayed, bind),
                Effect::UnbindRelayed { .. } if self.has(Fault::ForgetsPort) => {}
                Effect::UnbindRelayed { relayed } => {
                    let closed = self.sockets.remove(&relayed);
                    self.step.binds.extend(closed.map(Bind::Closed));
                }
                Effect::AddRoute(route) => self.table.add(&route),
                Effect::RemoveRoute(Route::Permission { .. }) if self.has(Fault::KeepsRoutes) => {}
                Effect::RemoveRoute(route) => self.table.remove(&route),
                // There is one worker here: no reservation is another's, and no port comes back from one.
                Effect::ClaimReservation { relayed, .. } => {
                    let to = self
                        .server
                        .reservation_claimed(now, relayed, None, &mut self.reply);
                    if let Some(to) = to {
                        self.answer(to);
                    }
                }
                Effect::ReturnPort(_) | Effect::Event(_) => {}
            }
        }
        std::mem::take(&mut self.step)
    }

    fn open(&mut self, now: Now, relayed: RelayedId, bind: SocketAddr) {
        let at = BOUND.iter().position(|ip| *ip == bind.ip());
        let known = ADVERTISED[at.expect("one of the relayed addresses")];
        let address = SocketAddr::new(known, bind.port());
        let outcome = if self.is_exhausted {
            Err(BindError::Exhausted)
        } else if self.in_use.contains(&address) {
            Err(BindError::InUse)
        } else {
            self.sockets.insert(relayed, address);
            Ok(())
        };
        self.step.binds.push(match outcome {
            Ok(()) => Bind::Opened(address),
            Err(_) => Bind::Refused(address),
        });
        let to = self
            .server
            .relayed_bound(now, relayed, outcome, &mut self.reply);
        if let Some(to) = to {
            self.answer(to);
        }
    }

    // ---- what the operator orders ----

    /// Takes the configuration up as it stands now, and says what that has ended.
    pub(crate) fn reload(&mut self, now: Now) -> (Revoked, Step) {
        let replacement = self.configuration.replacement(self.fault);
        self.table.replace_rules(replacement.peers.port_rules());
        let revoked = self.server.replace(now, replacement);
        if self.has(Fault::KeepsWhatIsClosed) {
            while self.server.poll_effect().is_some() {}
        }
        (revoked, self.finish(now))
    }

    pub(crate) fn revoke(&mut self) {
        let revocations = if self.has(Fault::ForgetsRevocations) {
            Arc::default()
        } else {
            self.configuration.revocations()
        };
        self.server.revoke(revocations);
    }

    pub(crate) fn alternates(&mut self) {
        // Of both families: nobody is sent to an address of a family that may not be theirs.
        let another = |listener: SocketAddr| Alternate {
            server: SocketAddr::new(listener.ip(), 3479),
            transport: Transport::Udp,
            domain: None,
        };
        let known = LISTENERS
            .iter()
            .filter(|_| self.configuration.knows_another);
        self.server
            .alternates(known.map(|&listener| another(listener)).collect());
    }

    pub(crate) fn drain(&mut self, drains: bool) {
        self.server.drain(drains.then(Drain::default));
    }

    pub(crate) const fn shed(&mut self, sheds: bool) {
        self.server.shed(sheds);
    }

    /// Ends the `nth` allocation, by its serial or, when it is stale, by the one before it. Whose it was, when it ended.
    pub(crate) fn end(
        &mut self,
        now: Now,
        nth: usize,
        is_stale: bool,
    ) -> (Option<FiveTuple>, Step) {
        let found = self.server.allocations().nth(nth);
        let found = found.map(|held| (held.allocation, held.serial, held.client));
        let ended = found.and_then(|(id, serial, client)| {
            let serial = serial - u64::from(is_stale);
            self.server.end(now, id, serial).then_some(client)
        });
        (ended, self.finish(now))
    }

    // ---- what it holds ----

    pub(crate) fn load(&self) -> Load {
        self.server.load()
    }

    /// How many entries the server's tables have.
    pub(crate) fn entries(&self) -> [usize; 5] {
        self.server.residue()
    }

    /// The relayed sockets that are open.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.values().copied()
    }

    /// Whether nothing is routed.
    pub(crate) fn routes_nothing(&self) -> bool {
        self.table.is_empty()
    }

    /// The 5-tuples of live allocations.
    pub(crate) fn clients(&self) -> impl Iterator<Item = FiveTuple> {
        self.server.allocations().map(|held| held.client)
    }
}
