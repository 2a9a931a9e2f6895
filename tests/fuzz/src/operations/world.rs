//! What surrounds a server: clients with credentials, peers, sockets that are only names, two clocks, an operator.
//!
//! Responsible for carrying effects out and for its own account of who was permitted what, and until when. It believes answers
//! that a client would believe, and nothing that the server says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use taciturn_protocol::address::{ChannelRange, ClientAddr, FiveTuple, PeerAddr, Transport};
use taciturn_protocol::credentials::{
    Features, HmacHash, LongTermKey, PasswordAlgorithm, UserName,
};
use taciturn_protocol::forward::{Bandwidth, ClientVerdict, PeerVerdict, RelayedId, RouteTable};
use taciturn_protocol::server::{
    BindError, Drain, Effect, Event, IcmpError, Limits, LocalQuota, OwnAddresses, PeerPolicy,
    PeerRules, RelayedIp, RelayedPort, Replacement, Reply, Server, Settings, Verdict,
};
use taciturn_protocol::time::{Instant, Now, UnixTime};
use taciturn_protocol::wire::{Class, Framed, Method, TransactionId, Writer, channel_data};

use crate::authentication::{LONGEST_ANSWER, START, directory, key, nonces};
use crate::bytes::Bytes;

const PORTS: usize = 8;
const PERMISSIONS: usize = 3;
const CHANNELS: usize = 2;
/// Two clients of each user.
const USERS: [&[u8]; 2] = [b"1700080000:ann", b"alice"];
const CLIENTS: [(Transport, &str); 4] = [
    (Transport::Udp, "198.51.100.9:40000"),
    (Transport::Tcp, "198.51.100.9:40001"),
    (Transport::Udp, "[2406:da1c::9]:40002"),
    (Transport::Udp, "198.51.101.9:40003"),
];
/// Whom clients name: five that may be reached, one by another port only; one that is never; the relay itself.
const PEERS: [&str; 7] = [
    "8.8.8.8:5000",
    "8.8.8.8:5001",
    "8.8.8.8:53",
    "9.9.9.9:443",
    "[2606:4700::1]:5000",
    "10.0.0.1:5000",
    "13.54.7.7:50001",
];
const RELAYED: [&str; 2] = ["13.54.7.7", "2406:da1c::7"];

pub(super) struct World {
    server: Server,
    table: RouteTable,
    now: Now,
    reply: Reply,
    clients: Vec<FiveTuple>,
    peers: Vec<SocketAddr>,
    keys: Vec<LongTermKey>,
    /// Sockets that are open.
    sockets: BTreeMap<RelayedId, SocketAddr>,
    /// Sockets that are to be opened, and reservations that other workers are asked for.
    asked: Vec<(RelayedId, SocketAddr)>,
    claims: Vec<RelayedId>,
    /// Ports that another worker has taken over, and reservations that were told of.
    lent: Vec<RelayedPort>,
    tokens: Vec<([u8; 8], usize)>,
    /// Allocate requests without an answer so far.
    waiting: BTreeSet<(usize, TransactionId)>,
    /// Until when a client may exchange payloads with an address.
    granted: BTreeMap<(usize, IpAddr), Instant>,
    /// Whether strangers' answers are limited.
    limited: bool,
    /// Whether the operator has closed 8.8.8.8.
    closed: bool,
    count: u64,
}

impl World {
    pub(super) fn new(choice: u8) -> Self {
        let channels = if choice & 1 == 0 {
            ChannelRange::Rfc8656
        } else {
            ChannelRange::Rfc5766
        };
        let policy = policy(false);
        let table = RouteTable::new([1, 2, 3, 4], policy.port_rules(), channels);
        let settings = Settings {
            directory: directory(),
            nonces: nonces(),
            peers: policy,
            limits: limits(choice & 4 != 0),
            channels,
            software: (choice & 2 != 0).then(|| "fuzz".to_owned()),
            relayed: relayed()
                .map(|ip| RelayedIp {
                    bind: ip,
                    advertised: ip,
                })
                .collect(),
            ports: 50_000..=50_000 + PORTS as u16 - 1,
            worker: 0,
        };
        let quota = Box::new(LocalQuota::new(3, 6, [1; 4]));
        let client = |(transport, client): (Transport, &str)| FiveTuple {
            transport,
            client: ClientAddr(client.parse().expect("an address")),
            server: "192.0.2.1:3478".parse().expect("an address"),
        };
        let key = |name: &&[u8]| key(name, HmacHash::Sha256, PasswordAlgorithm::Md5);
        Self {
            server: Server::new(settings, quota, [choice; 32]),
            table,
            now: Now {
                instant: Instant::from_nanos(1_000_000_000),
                unix: UnixTime::from_secs(START),
            },
            reply: Reply::new(),
            clients: CLIENTS.into_iter().map(client).collect(),
            peers: PEERS
                .iter()
                .map(|peer| peer.parse().expect("an address"))
                .collect(),
            keys: USERS
                .iter()
                .map(|name| key(name).expect("a sound name"))
                .collect(),
            sockets: BTreeMap::new(),
            asked: Vec::new(),
            claims: Vec::new(),
            lent: Vec::new(),
            tokens: Vec::new(),
            waiting: BTreeSet::new(),
            granted: BTreeMap::new(),
            limited: choice & 4 != 0,
            closed: false,
            count: 0,
        }
    }

    /// One operation of the input.
    pub(super) fn step(&mut self, input: &mut Bytes<'_>) {
        match input.u8() % 16 {
            0..=4 => self.request(input),
            5 | 6 => self.bind(input),
            7 => self.advance(input),
            8 | 9 => self.client_sends(input),
            10 => self.peer_sends(input),
            11 => {
                let client = self.client(input);
                self.server
                    .connection_closed(self.now, self.clients[client]);
            }
            12 => {
                // A datagram of which nothing is right but by chance.
                let client = self.client(input);
                let bytes = input.short().to_vec();
                self.message(client, &bytes);
            }
            13 => self.operator(input),
            14 => self.icmp(input),
            _ => self.other_worker(input),
        }
        self.effects();
    }

    fn client(&self, input: &mut Bytes<'_>) -> usize {
        usize::from(input.u8()) % self.clients.len()
    }

    fn peer(&self, input: &mut Bytes<'_>) -> SocketAddr {
        input.pick(&self.peers)
    }

    /// A request that is signed by its client, with attributes of the input.
    fn request(&mut self, input: &mut Bytes<'_>) {
        let client = self.client(input);
        let method = input.pick(&[
            Method::Allocate,
            Method::Refresh,
            Method::CreatePermission,
            Method::ChannelBind,
        ]);
        let (flags, more) = (input.u8(), input.u8());
        // Now and then in the name of somebody else.
        let user = (client / 2 + usize::from(more >> 7)) % USERS.len();
        self.count += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.count.to_be_bytes());
        let mut buffer = [0; 2048];
        let mut writer = Writer::new(&mut buffer, Class::Request, method, TransactionId(id));
        if flags & 1 == 0 {
            writer.requested_transport(17);
        }
        if flags & 2 != 0 {
            writer.lifetime(input.pick(&[0, 1, 600, 3600, u32::MAX]));
        }
        if flags & 4 != 0 {
            writer.requested_family(input.pick(&[1, 2, 3]));
        }
        if flags & 8 != 0 {
            writer.even_port(input.u8() & 1 != 0);
        }
        if flags & 16 != 0 {
            let known = self.tokens.last().map(|(token, _)| *token);
            let made_up = [input.u8() % 3, 1, 2, 3, 4, 5, 6, 7];
            writer.reservation_token(known.unwrap_or(made_up));
        }
        if flags & 32 != 0 {
            writer.dont_fragment();
        }
        if flags & 64 != 0 {
            writer.additional_family(input.pick(&[2, 1]));
        }
        if flags & 128 != 0 {
            writer.raw(input.u16(), input.short());
        }
        for _ in 0..more & 3 {
            writer.xor_peer_address(self.peer(input));
        }
        if more & 4 != 0 {
            writer.channel_number(input.pick(&[0x4000, 0x4001, 0x4002, 0x5000]));
        }
        writer.username(USERS[user]);
        writer.realm(crate::authentication::REALM.as_bytes());
        let from = self.clients[client].client.0;
        let nonce = nonces().mint(self.now.unix, from, Features::default(), 1);
        writer.nonce(nonce.as_bytes());
        // Sometimes somebody guesses.
        let guessed = [9; 16];
        let key = if more & 8 != 0 {
            &guessed
        } else {
            self.keys[user].as_bytes()
        };
        writer.message_integrity(key);
        let Ok(length) = writer.finish() else { return };
        self.message(client, &buffer[..length]);
    }

    fn message(&mut self, client: usize, bytes: &[u8]) {
        let from = self.clients[client];
        let verdict = self
            .server
            .handle_message(self.now, from, bytes, &mut self.reply);
        let asked = Framed::parse(bytes).ok();
        match verdict {
            Verdict::Reply => {
                let asked = asked.expect("only a message is answered");
                assert_eq!(asked.class(), Class::Request, "only a request is answered");
                self.answered(client, asked.transaction_id(), asked.method());
                if asked.method() == Method::Allocate {
                    self.waiting.remove(&(client, asked.transaction_id()));
                }
                let answer = Framed::parse(self.reply.as_bytes()).expect("a message");
                let grants = [Method::CreatePermission, Method::ChannelBind];
                if answer.class() == Class::Success && grants.contains(&asked.method()) {
                    let until = self.now.instant + Duration::from_secs(300);
                    for peer in asked.unauthenticated().xor_peer_addresses().flatten() {
                        assert!(peer.ip().to_string() != "10.0.0.1", "never permitted");
                        self.granted.insert((client, peer.ip()), until);
                        if asked.method() == Method::ChannelBind {
                            break;
                        }
                    }
                }
            }
            Verdict::Wait => {
                if let Some(asked) = asked.filter(|asked| asked.method() == Method::Allocate) {
                    self.waiting.insert((client, asked.transaction_id()));
                }
            }
            Verdict::Drop(_) => {}
        }
    }

    /// An answer stands in the reply: it is one to this request, and small.
    fn answered(&self, client: usize, id: TransactionId, method: Method) {
        let bytes = self.reply.as_bytes();
        assert!(bytes.len() <= LONGEST_ANSWER, "{} bytes", bytes.len());
        let answer = Framed::parse(bytes).expect("an answer can be read");
        assert_eq!((answer.transaction_id(), answer.method()), (id, method));
        assert!(matches!(answer.class(), Class::Success | Class::Error));
        let attributes = answer.unauthenticated();
        for relayed in attributes.xor_relayed_addresses() {
            let relayed = relayed.expect("a sound address");
            let is_open = self.sockets.values().any(|open| *open == relayed);
            assert!(
                is_open,
                "client {client} is told of {relayed}, which is not open"
            );
        }
    }

    /// An answer that comes later: to one of those who wait.
    fn answered_late(&mut self, to: Option<FiveTuple>) {
        let Some(to) = to else { return };
        let client = self.clients.iter().position(|client| *client == to);
        let client = client.expect("an answer is for a client");
        let answer = Framed::parse(self.reply.as_bytes()).expect("an answer can be read");
        let id = answer.transaction_id();
        if let Some(token) = answer.unauthenticated().first(0x0022) {
            let token = token.try_into().expect("a token has eight bytes");
            self.tokens.push((token, client));
        }
        let asked = self.waiting.remove(&(client, id));
        assert!(asked, "an answer that nobody waits for");
        self.answered(client, id, Method::Allocate);
    }

    /// The outcome of a socket that was asked for.
    fn bind(&mut self, input: &mut Bytes<'_>) {
        if self.asked.is_empty() {
            return;
        }
        let nth = usize::from(input.u8()) % self.asked.len();
        let outcome = match input.u8() % 8 {
            0 => Err(BindError::Exhausted),
            1 | 2 => Err(BindError::InUse),
            _ => Ok(()),
        };
        self.bound(nth, outcome);
    }

    fn bound(&mut self, nth: usize, outcome: Result<(), BindError>) {
        let (relayed, address) = self.asked.swap_remove(nth);
        if outcome.is_ok() {
            let taken = self.sockets.values().any(|open| *open == address);
            assert!(!taken, "{address} is opened twice");
            self.sockets.insert(relayed, address);
        }
        let to = self
            .server
            .relayed_bound(self.now, relayed, outcome, &mut self.reply);
        self.answered_late(to);
    }

    /// Time passes; the wall clock may step meanwhile, in either direction.
    fn advance(&mut self, input: &mut Bytes<'_>) {
        let seconds = u64::from(input.u16()) % 4000;
        self.now.instant = self.now.instant + Duration::from_secs(seconds);
        let step = i64::from(input.u8()) - 128;
        let unix = self.now.unix.as_secs() + seconds;
        self.now.unix = UnixTime::from_secs(unix.saturating_add_signed(step));
        self.server.handle_timeout(self.now);
    }

    fn client_sends(&mut self, input: &mut Bytes<'_>) {
        let client = self.client(input);
        let mut buffer = [0; 600];
        let kind = input.u8();
        let length = match kind % 3 {
            0 => {
                let peer = self.peer(input);
                let id = TransactionId([kind; 12]);
                let mut writer = Writer::new(&mut buffer, Class::Indication, Method::Send, id);
                writer.xor_peer_address(peer);
                writer.data(input.short());
                writer.finish().expect("it fits")
            }
            1 => {
                let number = input.pick(&[0x4000, 0x4001, 0x4002, 0x5000]);
                let payload = input.short();
                let (head, body) = buffer.split_first_chunk_mut().expect("there is room");
                channel_data::write_header(head, number, payload.len() as u16);
                body[..payload.len()].copy_from_slice(payload);
                channel_data::HEADER_LEN + payload.len()
            }
            _ => {
                let bytes = input.short();
                buffer[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            }
        };
        let datagram = &buffer[..length];
        let from = self.clients[client];
        match self.table.from_client(self.now.instant, &from, datagram) {
            ClientVerdict::ToPeer {
                relayed,
                peer,
                payload,
                ..
            } => {
                assert!(payload.end <= length && payload.start <= payload.end);
                assert!(self.sockets.contains_key(&relayed), "sent by no socket");
                self.is_granted(client, peer.0.ip());
                assert_ne!(peer.0.port(), 53, "a port that is closed");
                let closed = self.closed && peer.0.ip().to_string() == "8.8.8.8";
                assert!(!closed, "what the operator has closed is reached");
            }
            ClientVerdict::Control => {
                let bytes = datagram.to_vec();
                self.message(client, &bytes);
            }
            ClientVerdict::Drop(_) => {}
        }
    }

    fn is_granted(&self, client: usize, peer: IpAddr) {
        let until = self.granted.get(&(client, peer));
        let until = until.unwrap_or_else(|| panic!("{peer} was never permitted"));
        assert!(self.now.instant < *until, "{peer} is permitted no more");
    }

    fn peer_sends(&mut self, input: &mut Bytes<'_>) {
        let peer = self.peer(input);
        let length = usize::from(input.u16());
        let nth = usize::from(input.u8());
        let Some(relayed) = self.sockets.keys().nth(nth % self.sockets.len().max(1)) else {
            return;
        };
        let from = PeerAddr(peer);
        let verdict = self
            .table
            .from_peer(self.now.instant, *relayed, from, length);
        if let PeerVerdict::ToClient { client, .. } = verdict {
            let client = self.clients.iter().position(|known| *known == client);
            self.is_granted(client.expect("a client"), peer.ip());
        }
    }

    fn operator(&mut self, input: &mut Bytes<'_>) {
        match input.u8() % 6 {
            0 => self.server.drain(Some(Drain::default())),
            1 => self.server.drain(None),
            2 => {
                let shed = input.u8() & 1 != 0;
                self.server.shed(shed);
            }
            3 => {
                let nth = usize::from(input.u8());
                let held = self.server.allocations().nth(nth);
                if let Some((allocation, serial)) = held.map(|held| (held.allocation, held.serial))
                {
                    assert!(!self.server.end(self.now, allocation, serial + 1));
                    assert!(self.server.end(self.now, allocation, serial));
                }
            }
            4 => {
                self.closed = input.u8() & 1 != 0;
                let peers = policy(self.closed);
                self.table.replace_rules(peers.port_rules());
                let replacement = Replacement {
                    directory: directory(),
                    nonces: nonces(),
                    peers,
                    limits: limits(self.limited),
                };
                self.server.replace(self.now, replacement);
            }
            _ => self.table.limit_bandwidth(Bandwidth {
                bits_per_second_per_user: u64::from(input.u16()),
                bits_per_second_per_allocation: u64::from(input.u16()),
            }),
        }
    }

    fn icmp(&mut self, input: &mut Bytes<'_>) {
        let error = IcmpError {
            peer: self.peer(input),
            kind: input.u8() % 16,
            code: input.u8() % 16,
            mtu: input.u32(),
        };
        let relayed = RelayedId(u32::from(input.u8()) % 16);
        let told = self
            .server
            .handle_icmp(self.now, relayed, error, &mut self.reply);
        if let Some(client) = told {
            let client = self.clients.iter().position(|known| *known == client);
            self.is_granted(client.expect("a client"), error.peer.ip());
            assert!(self.reply.as_bytes().len() <= LONGEST_ANSWER);
        }
    }

    /// Another worker answers a claim, takes a reservation over, or gives a port back.
    fn other_worker(&mut self, input: &mut Bytes<'_>) {
        match input.u8() % 3 {
            0 => {
                if let Some(relayed) = self.claims.pop() {
                    let port = RelayedPort {
                        address: input.u8() & 1,
                        port: 51_000 + self.count as u16,
                        owner: 1,
                    };
                    self.count += 1;
                    let given = input.u8() & 1 == 0;
                    self.claimed(relayed, given.then_some(port));
                }
            }
            1 => {
                if let Some((token, client)) = self.tokens.pop() {
                    let user = UserName::new(USERS[client / 2]);
                    if let Some((relayed, port)) = self.server.release_reservation(token, &user) {
                        self.sockets.remove(&relayed).expect("it was open");
                        self.lent.push(port);
                    }
                }
            }
            _ => {
                if let Some(port) = self.lent.pop() {
                    self.server.port_returned(self.now, port);
                }
            }
        }
    }

    fn claimed(&mut self, relayed: RelayedId, outcome: Option<RelayedPort>) {
        if let Some(port) = outcome {
            let ip = relayed_ip(port.address);
            self.sockets.insert(relayed, SocketAddr::new(ip, port.port));
        }
        let to = self
            .server
            .reservation_claimed(self.now, relayed, outcome, &mut self.reply);
        self.answered_late(to);
    }

    fn effects(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::BindRelayed { relayed, bind } => self.asked.push((relayed, bind)),
                Effect::UnbindRelayed { relayed } => {
                    self.sockets
                        .remove(&relayed)
                        .expect("what is closed was open");
                }
                Effect::AddRoute(route) => self.table.add(&route),
                Effect::RemoveRoute(route) => self.table.remove(&route),
                Effect::ClaimReservation { relayed, .. } => self.claims.push(relayed),
                Effect::ReturnPort(port) => assert_eq!(port.owner, 1),
                Effect::Event(Event::AllocationCreated { .. }) => {}
                Effect::Event(Event::AllocationEnded { client, .. }) => {
                    let of = self.clients.iter().position(|known| *known == client);
                    self.granted.retain(|(client, _), _| Some(*client) != of);
                }
            }
        }
    }

    /// What holds after every operation.
    pub(super) fn check(&self) {
        let load = self.server.load();
        let ports = load.ports_free + load.ports_used + load.ports_quarantined;
        assert_eq!(ports, PORTS * RELAYED.len(), "{load:?}");
        let (mut allocations, mut permissions, mut channels) = (0, 0, 0);
        for held in self.server.allocations() {
            allocations += 1;
            permissions += held.permissions;
            channels += held.channels;
            assert!(held.permissions <= PERMISSIONS && held.channels <= CHANNELS);
            let mut relayed = held.relayed.iter().flatten().peekable();
            assert!(relayed.peek().is_some(), "an allocation without an address");
            for (address, until) in relayed {
                let is_open = self.sockets.values().any(|open| *open == address.0);
                assert!(is_open, "{address:?} is not open");
                assert!(*until > self.now.instant, "{address:?} has ended");
            }
        }
        assert_eq!(
            (load.allocations, load.permissions, load.channels),
            (allocations, permissions, channels)
        );
        assert_eq!(self.table.is_empty(), allocations == 0);
        let [_, sockets, ..] = self.server.residue();
        let named = self.sockets.len() + self.asked.len() + self.claims.len();
        assert_eq!(sockets, named, "sockets that nobody has asked for, or lost");
    }

    /// Everybody leaves: nothing stays behind.
    pub(super) fn end(mut self) {
        // A request that gets a socket may ask for the next one, of two at most, and for another port a few times.
        for _ in 0..64 {
            while let Some(relayed) = self.claims.pop() {
                self.claimed(relayed, None);
                self.effects();
            }
            if self.asked.is_empty() {
                break;
            }
            self.bound(0, Err(BindError::Exhausted));
            self.effects();
        }
        assert!(self.asked.is_empty(), "asks for sockets without end");
        while let Some(port) = self.lent.pop() {
            self.server.port_returned(self.now, port);
        }
        for _ in 0..2 {
            self.now.instant = self.now.instant + Duration::from_secs(4000);
            self.server.handle_timeout(self.now);
            self.effects();
            self.check();
        }
        assert_eq!(self.server.residue(), [0; 5], "something stays behind");
        assert_eq!(self.server.load().ports_free, PORTS * RELAYED.len());
        assert!(self.sockets.is_empty() && self.table.is_empty());
        assert_eq!(self.server.poll_timeout(), None);
    }
}

fn relayed() -> impl Iterator<Item = IpAddr> {
    RELAYED.iter().map(|ip| ip.parse().expect("an address"))
}

fn relayed_ip(address: u8) -> IpAddr {
    relayed().nth(usize::from(address)).expect("one of two")
}

/// `limited`: who proves nothing gets few answers, and guessed passwords wait.
fn limits(limited: bool) -> Limits {
    Limits {
        permissions_per_allocation: PERMISSIONS,
        channels_per_allocation: CHANNELS,
        unauthenticated_per_second: if limited { 4 } else { 0 },
        ..Limits::default()
    }
}

fn policy(closed: bool) -> PeerPolicy {
    let deny = if closed {
        vec!["8.8.8.8/32".parse().expect("a net")]
    } else {
        Vec::new()
    };
    let rules = PeerRules {
        deny,
        relayed_ports: 50_000..=50_007,
        ..PeerRules::default()
    };
    let own = OwnAddresses {
        relayed: relayed().collect(),
        ..OwnAddresses::default()
    };
    PeerPolicy::new(rules, own)
}
