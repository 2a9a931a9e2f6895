//! One relay, clients of another author and their peers in memory: links that lose, repeat and reorder datagrams by a
//! seeded generator, and a clock that jumps from one event to the next.
//!
//! Not responsible for any expectation beyond the form of what passes.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use taciturn_protocol::address::{ChannelRange, ClientAddr, FiveTuple, PeerAddr, Transport};
use taciturn_protocol::credentials::{
    Directory, Hashes, HmacHash, NonceKey, Nonces, Realm, SharedSecret, StaticKeys, StaticUser,
    mint,
};
use taciturn_protocol::forward::{
    ClientVerdict, Destination, DropReason, Framing, PeerVerdict, RelayedId, RouteTable,
};
use taciturn_protocol::server::{
    Effect, EndCause, Event, Limits, LocalQuota, OwnAddresses, PeerPolicy, PeerRules, RelayedIp,
    Reply, Server, Settings, Verdict,
};
use taciturn_protocol::time::{Instant, Now, UnixTime};
use taciturn_protocol::wire::indication::{DATA_HEADER_MAX, write_data_header};
use taciturn_protocol::wire::{
    Class, Framed, Integrity, Method, Name, TransactionId, channel_data, stream,
};
use turn_client_proto::api::{Transmit, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::prelude::TurnClientApi;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::{Instant as ClientInstant, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

turn_client_proto::impl_client!(pub(crate) Client, (Udp, TurnClientUdp), (Tcp, TurnClientTcp));

const REALM: &str = "turn.example.org";
const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const START: u64 = 1_700_000_000;
const RELAYED: [&str; 2] = ["13.54.7.7", "2406:da1c::7"];
const LISTENER: &str = "13.54.7.1:3478";

/// A user whom the relay knows by name, so that it offers anonymity to everybody.
pub(crate) const STATIC_USER: (&str, &str) = ("bob", "a password kept on paper");

/// What the links do to datagrams. Streams only wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) lost_percent: u32,
    pub(crate) repeated_percent: u32,
    /// The shortest and the longest time on the way, in milliseconds: a spread reorders.
    pub(crate) delay: (u32, u32),
}

pub(crate) const FAIR: Weather = Weather {
    lost_percent: 0,
    repeated_percent: 0,
    delay: (10, 10),
};

pub(crate) const FOUL: Weather = Weather {
    lost_percent: 10,
    repeated_percent: 5,
    delay: (5, 80),
};

/// A request that was answered, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) client: usize,
    pub(crate) method: Method,
    pub(crate) id: TransactionId,
    pub(crate) integrity: Integrity,
    pub(crate) by_hash: bool,
    /// The error code; `None` for a success.
    pub(crate) code: Option<u16>,
    pub(crate) relayed: Vec<SocketAddr>,
}

/// A payload that came out at a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AtPeer {
    pub(crate) from: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

enum Packet {
    ToRelay(usize, Vec<u8>),
    ToClient(usize, Vec<u8>),
    ToPeer(AtPeer),
    FromPeer(AtPeer),
}

/// A client and its end of the link.
pub(crate) struct End {
    pub(crate) client: Client,
    pub(crate) events: Vec<TurnEvent>,
    /// From which peer, and what.
    pub(crate) received: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) closed: bool,
    five_tuple: FiveTuple,
    wake: Duration,
    /// What the relay holds of a stream without a whole frame.
    buffered: Vec<u8>,
    /// When the last piece of a stream arrives, towards relay and client: nothing overtakes it.
    last_arrival: [Duration; 2],
}

pub(crate) struct Sim {
    pub(crate) server: Server,
    pub(crate) table: RouteTable,
    pub(crate) weather: Weather,
    pub(crate) ends: Vec<End>,
    pub(crate) at_peers: Vec<AtPeer>,
    pub(crate) answered: Vec<Answered>,
    pub(crate) dropped: Vec<DropReason>,
    /// How each payload went to its client.
    pub(crate) framings: Vec<Framing>,
    pub(crate) ended: Vec<EndCause>,
    pub(crate) now: Duration,
    sockets: BTreeMap<RelayedId, SocketAddr>,
    asked: HashMap<(usize, TransactionId), (Method, Integrity, bool)>,
    wire: BTreeMap<(Duration, u64), Packet>,
    posted: u64,
    random: ChaCha12Rng,
    reply: Reply,
}

impl Sim {
    pub(crate) fn new(weather: Weather, seed: u64, limits: Limits) -> Self {
        let realm = Realm::new(REALM).unwrap();
        let keys = StaticKeys::derive(STATIC_USER.0, &realm, STATIC_USER.1).unwrap();
        let user = StaticUser::new(STATIC_USER.0, keys).unwrap();
        let relayed = RELAYED.map(|ip| ip.parse().unwrap());
        let ports = 50_000..=50_999;
        let settings = Settings {
            directory: Directory::new(
                realm,
                vec![secret()],
                vec![user],
                Duration::from_secs(24 * 3600),
            ),
            nonces: Nonces::new(NonceKey::new([9; 32]), None, Duration::from_secs(600)),
            peers: PeerPolicy::new(
                PeerRules {
                    relayed_ports: ports.clone(),
                    ..PeerRules::default()
                },
                OwnAddresses {
                    relayed: relayed.to_vec(),
                    ..OwnAddresses::default()
                },
            ),
            limits,
            channels: ChannelRange::Rfc8656,
            software: None,
            relayed: relayed
                .map(|ip| RelayedIp {
                    bind: ip,
                    advertised: ip,
                })
                .to_vec(),
            ports,
            worker: 0,
        };
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let mut server_seed = [0; 32];
        random.fill_bytes(&mut server_seed);
        let table = RouteTable::new(
            [1, 2, 3, 4],
            settings.peers.port_rules(),
            ChannelRange::Rfc8656,
        );
        let quota = Box::new(LocalQuota::new(100, 1000, [5, 6, 7, 8]));
        Self {
            server: Server::new(settings, quota, server_seed),
            table,
            weather,
            ends: Vec::new(),
            at_peers: Vec::new(),
            answered: Vec::new(),
            dropped: Vec::new(),
            framings: Vec::new(),
            ended: Vec::new(),
            now: Duration::from_secs(1),
            sockets: BTreeMap::new(),
            asked: HashMap::new(),
            wire: BTreeMap::new(),
            posted: 0,
            random,
            reply: Reply::new(),
        }
    }

    /// A client at an address of its own, which begins to allocate. Its number is the result.
    pub(crate) fn join(&mut self, transport: Transport, config: TurnConfig) -> usize {
        let number = self.ends.len();
        let local: SocketAddr = format!("198.51.100.{}:4000", number + 1).parse().unwrap();
        let listener: SocketAddr = LISTENER.parse().unwrap();
        let client = match transport {
            Transport::Udp => Client::Udp(TurnClientUdp::allocate(local, listener, config)),
            Transport::Tcp | Transport::Tls => {
                Client::Tcp(TurnClientTcp::allocate(local, listener, config))
            }
        };
        self.ends.push(End {
            client,
            events: Vec::new(),
            received: Vec::new(),
            closed: false,
            five_tuple: FiveTuple {
                transport,
                client: ClientAddr(local),
                server: listener,
            },
            wake: self.now,
            buffered: Vec::new(),
            last_arrival: [Duration::ZERO; 2],
        });
        self.settle(number);
        number
    }

    /// Lets the user of a client do something with it.
    pub(crate) fn act<T>(
        &mut self,
        number: usize,
        action: impl FnOnce(&mut Client, ClientInstant) -> T,
    ) -> T {
        let now = self.client_now();
        let result = action(&mut self.ends[number].client, now);
        self.settle(number);
        result
    }

    /// Sends a payload to a peer; the result is whether it went as ChannelData.
    pub(crate) fn send(&mut self, number: usize, peer: SocketAddr, payload: &[u8]) -> bool {
        let sent = self.act(number, |client, now| {
            client.send_to(TransportType::Udp, peer, payload, now)
        });
        let bytes = sent.expect("a permission").expect("bytes").build().data;
        let as_channel = bytes.first().is_some_and(|first| first & 0xC0 == 0x40);
        self.post(Packet::ToRelay(number, bytes));
        as_channel
    }

    /// Sends a payload from a peer to a relayed address.
    pub(crate) fn peer_sends(&mut self, peer: SocketAddr, to: SocketAddr, payload: &[u8]) {
        self.post(Packet::FromPeer(AtPeer {
            from: peer,
            peer: to,
            payload: payload.to_vec(),
        }));
    }

    /// Breaks a client's connection.
    pub(crate) fn disconnect(&mut self, number: usize) {
        let end = &mut self.ends[number];
        end.closed = true;
        let client = end.five_tuple;
        self.server.connection_closed(self.relay_now(), client);
        self.pump();
    }

    /// Runs until `done`, for at most `limit`. Whether it was done.
    pub(crate) fn until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) && self.now < end {
            self.advance(Duration::from_millis(100));
        }
        done(self)
    }

    /// Moves the clock, stopping wherever anybody has something to do.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(next) = self.next_event().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.server.handle_timeout(self.relay_now());
            self.pump();
            while let Some(entry) = self.wire.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let packet = entry.remove();
                self.arrive(packet);
            }
            for number in 0..self.ends.len() {
                if !self.ends[number].closed && self.ends[number].wake <= self.now {
                    self.settle(number);
                }
            }
        }
        self.now = end;
    }

    fn next_event(&self) -> Option<Duration> {
        let timeout = self.server.poll_timeout();
        let open = self.ends.iter().filter(|end| !end.closed);
        open.map(|end| end.wake)
            .chain(self.wire.keys().next().map(|key| key.0))
            .chain(timeout.map(|at| Duration::from_nanos(at.as_nanos())))
            .min()
    }

    fn relay_now(&self) -> Now {
        Now {
            instant: Instant::ZERO + self.now,
            unix: UnixTime::from_secs(START + self.now.as_secs()),
        }
    }

    fn client_now(&self) -> ClientInstant {
        ClientInstant::ZERO + self.now
    }

    /// Polls a client until it has nothing more to do now.
    fn settle(&mut self, number: usize) {
        let now = self.client_now();
        for _ in 0..1000 {
            let end = &mut self.ends[number];
            let next = end.client.poll(now);
            let mut moved = false;
            while let Some(event) = end.client.poll_event() {
                end.events.push(event);
                moved = true;
            }
            let mut sent = Vec::new();
            while let Some(transmit) = end.client.poll_transmit(now) {
                sent.push(transmit.data.to_vec());
            }
            moved |= !sent.is_empty();
            for bytes in sent {
                self.post(Packet::ToRelay(number, bytes));
            }
            let end = &mut self.ends[number];
            match next {
                _ if moved => {}
                TurnPollRet::WaitUntil(at) => {
                    let at = Duration::from_nanos(at.as_nanos().try_into().unwrap());
                    end.wake = at.max(self.now + Duration::from_millis(1));
                    return;
                }
                TurnPollRet::Closed => {
                    end.closed = true;
                    return;
                }
                TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => {
                    panic!("nobody asked for a tcp allocation")
                }
            }
        }
        panic!("a client that never rests");
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.random.next_u32() % bound
    }

    /// Gives a packet to its link.
    fn post(&mut self, packet: Packet) {
        match packet {
            Packet::ToRelay(number, bytes) if self.is_stream(number) => {
                self.post_stream(0, number, &bytes, Packet::ToRelay);
            }
            Packet::ToClient(number, bytes) if self.is_stream(number) => {
                self.post_stream(1, number, &bytes, Packet::ToClient);
            }
            packet => {
                if self.below(100) < self.weather.lost_percent {
                    return;
                }
                if self.below(100) < self.weather.repeated_percent {
                    let again = match &packet {
                        Packet::ToRelay(number, bytes) => Packet::ToRelay(*number, bytes.clone()),
                        Packet::ToClient(number, bytes) => Packet::ToClient(*number, bytes.clone()),
                        Packet::ToPeer(payload) => Packet::ToPeer(payload.clone()),
                        Packet::FromPeer(payload) => Packet::FromPeer(payload.clone()),
                    };
                    self.put(again);
                }
                self.put(packet);
            }
        }
    }

    fn is_stream(&self, number: usize) -> bool {
        self.ends[number].five_tuple.transport.is_stream()
    }

    fn delay(&mut self) -> Duration {
        let (least, most) = self.weather.delay;
        Duration::from_millis(u64::from(least + self.below(most - least + 1)))
    }

    fn put(&mut self, packet: Packet) {
        let arrival = self.now + self.delay();
        self.put_at(arrival, packet);
    }

    fn put_at(&mut self, arrival: Duration, packet: Packet) {
        self.posted += 1;
        self.wire.insert((arrival, self.posted), packet);
    }

    /// Cuts bytes into pieces of any length, which arrive in order.
    fn post_stream(
        &mut self,
        direction: usize,
        number: usize,
        bytes: &[u8],
        packet: impl Fn(usize, Vec<u8>) -> Packet,
    ) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let most = u32::try_from(rest.len()).unwrap();
            let (piece, later) = rest.split_at(1 + self.below(most) as usize);
            let arrival = self.now + self.delay();
            let arrival = arrival.max(self.ends[number].last_arrival[direction]);
            self.ends[number].last_arrival[direction] = arrival;
            self.put_at(arrival, packet(number, piece.to_vec()));
            rest = later;
        }
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::ToRelay(number, bytes) if self.is_stream(number) => {
                self.ends[number].buffered.extend_from_slice(&bytes);
                self.take_frames(number);
            }
            Packet::ToRelay(number, bytes) => self.at_relay(number, &bytes),
            Packet::ToClient(number, bytes) => self.at_client(number, bytes),
            Packet::ToPeer(payload) => self.at_peers.push(payload),
            Packet::FromPeer(sent) => {
                let relayed = self.sockets.iter().find(|(_, bound)| **bound == sent.peer);
                match relayed {
                    Some((&relayed, _)) => {
                        self.at_relayed_socket(relayed, sent.from, &sent.payload)
                    }
                    None => self.dropped.push(DropReason::NoAllocation),
                }
            }
        }
    }

    fn at_client(&mut self, number: usize, bytes: Vec<u8>) {
        let now = self.client_now();
        let end = &mut self.ends[number];
        let (local, remote) = (end.client.local_addr(), end.client.remote_addr());
        let transmit = Transmit::new(bytes, end.client.transport(), remote, local);
        match end.client.recv(transmit, now) {
            TurnRecvRet::PeerData(payload) => {
                end.received.push((payload.peer, payload.data().to_vec()));
            }
            // What comes late or twice is ignored.
            TurnRecvRet::Handled | TurnRecvRet::Ignored(_) | TurnRecvRet::PeerIcmp { .. } => {}
        }
        while let Some(payload) = end.client.poll_recv(now) {
            end.received.push((payload.peer, payload.data().to_vec()));
        }
        self.settle(number);
    }

    fn take_frames(&mut self, number: usize) {
        loop {
            let buffered = &mut self.ends[number].buffered;
            let step = stream::next_frame(buffered, ChannelRange::Rfc8656);
            match step.expect("a stream that stays in step") {
                stream::Step::Frame { len, total, .. } if total <= buffered.len() => {
                    let mut frame: Vec<u8> = buffered.drain(..total).collect();
                    frame.truncate(len);
                    self.at_relay(number, &frame);
                }
                stream::Step::Frame { .. } | stream::Step::Incomplete { .. } => return,
            }
        }
    }

    /// A datagram or frame at the relay, by the path that a worker takes.
    fn at_relay(&mut self, number: usize, message: &[u8]) {
        let now = self.relay_now();
        let from = self.ends[number].five_tuple;
        match self.table.from_client(now.instant, &from, message) {
            ClientVerdict::Control => {
                self.note_request(number, message);
                let verdict = self
                    .server
                    .handle_message(now, from, message, &mut self.reply);
                match verdict {
                    Verdict::Reply => self.answer(from),
                    Verdict::Wait => {}
                    Verdict::Drop(reason) => self.dropped.push(reason),
                }
                self.pump();
            }
            ClientVerdict::ToPeer {
                relayed,
                peer,
                payload,
                destination,
                ..
            } => {
                let source = self.sockets[&relayed];
                let payload = &message[payload];
                match destination {
                    Destination::Network => self.post(Packet::ToPeer(AtPeer {
                        from: source,
                        peer: peer.0,
                        payload: payload.to_vec(),
                    })),
                    Destination::OwnRelayed | Destination::OwnRelayedOrHost => {
                        match self.table.relayed_at(peer.0) {
                            Some(other) => self.at_relayed_socket(other, source, payload),
                            None => self.dropped.push(DropReason::NoAllocation),
                        }
                    }
                }
            }
            ClientVerdict::Drop(reason) => self.dropped.push(reason),
        }
    }

    fn at_relayed_socket(&mut self, relayed: RelayedId, peer: SocketAddr, payload: &[u8]) {
        let now = self.relay_now().instant;
        let verdict = self
            .table
            .from_peer(now, relayed, PeerAddr(peer), payload.len());
        match verdict {
            PeerVerdict::ToClient {
                client, framing, ..
            } => {
                let number = self.number_of(client);
                let bytes = match framing {
                    Framing::Channel(channel) => {
                        let mut header = [0; channel_data::HEADER_LEN];
                        let length = payload.len().try_into().unwrap();
                        channel_data::write_header(&mut header, channel.value(), length);
                        let mut bytes = [&header, payload].concat();
                        if client.transport.is_stream() {
                            bytes.resize(channel_data::padded(bytes.len()), 0);
                        }
                        bytes
                    }
                    Framing::Indication => {
                        let mut id = [0; 12];
                        self.random.fill_bytes(&mut id);
                        let mut header = [0; DATA_HEADER_MAX];
                        let id = TransactionId(id);
                        let (length, padding) =
                            write_data_header(&mut header, id, peer, payload.len()).unwrap();
                        let header = &header[DATA_HEADER_MAX - length..];
                        [header, payload, &[0; 3][..padding]].concat()
                    }
                };
                self.framings.push(framing);
                self.post(Packet::ToClient(number, bytes));
            }
            PeerVerdict::Drop(reason) => self.dropped.push(reason),
        }
    }

    fn number_of(&self, client: FiveTuple) -> usize {
        let mut ends = self.ends.iter();
        ends.position(|end| end.five_tuple == client)
            .expect("nobody else is there")
    }

    fn note_request(&mut self, number: usize, message: &[u8]) {
        let framed = Framed::parse(message).expect("a client that writes sound messages");
        assert_eq!(framed.class(), Class::Request);
        let by_hash = matches!(framed.credentials().name, Some(Name::Userhash(_)));
        self.asked.insert(
            (number, framed.transaction_id()),
            (framed.method(), framed.integrity(), by_hash),
        );
    }

    fn answer(&mut self, to: FiveTuple) {
        let client = self.number_of(to);
        let bytes = self.reply.as_bytes().to_vec();
        let framed = Framed::parse(&bytes).unwrap();
        let id = framed.transaction_id();
        let (method, integrity, by_hash) = self.asked[&(client, id)];
        assert_eq!(framed.method(), method);
        let attributes = framed.unauthenticated();
        self.answered.push(Answered {
            client,
            method,
            id,
            integrity,
            by_hash,
            code: attributes.error_code().map(|code| code.unwrap().0),
            relayed: attributes
                .xor_relayed_addresses()
                .map(Result::unwrap)
                .collect(),
        });
        self.post(Packet::ToClient(client, bytes));
    }

    /// Carries out every effect, as a worker does.
    fn pump(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::BindRelayed { relayed, bind } => {
                    let held = self.sockets.insert(relayed, bind);
                    assert_eq!(held, None, "a socket's name is given once");
                    let now = self.relay_now();
                    let to = self
                        .server
                        .relayed_bound(now, relayed, Ok(()), &mut self.reply);
                    if let Some(to) = to {
                        self.answer(to);
                    }
                }
                Effect::UnbindRelayed { relayed } => {
                    self.sockets.remove(&relayed).expect("an open socket");
                }
                Effect::AddRoute(route) => self.table.add(&route),
                Effect::RemoveRoute(route) => self.table.remove(&route),
                Effect::Event(Event::AllocationEnded { cause, .. }) => self.ended.push(cause),
                Effect::Event(Event::AllocationCreated { .. }) => {}
                Effect::ClaimReservation { .. } | Effect::ReturnPort(_) => {
                    panic!("there is one worker and no reservation")
                }
            }
        }
    }

    /// The relayed addresses that a client believes it has, IPv4 first.
    pub(crate) fn relayed(&self, number: usize) -> Vec<SocketAddr> {
        let addresses = self.ends[number].client.relayed_addresses();
        let mut addresses: Vec<_> = addresses.map(|(_, address)| address).collect();
        addresses.sort();
        addresses
    }

    /// Codes of the answers to one client's requests of one method, in order.
    pub(crate) fn codes(&self, number: usize, method: Method) -> Vec<Option<u16>> {
        let answers = self.answered.iter();
        answers
            .filter(|answer| answer.client == number && answer.method == method)
            .map(|answer| answer.code)
            .collect()
    }

    /// Requires that neither server nor table holds anything, now or after a quarantine.
    pub(crate) fn assert_nothing_left(&mut self) {
        assert!(self.sockets.is_empty() && self.table.is_empty());
        self.advance(Duration::from_secs(120));
        let load = self.server.load();
        assert_eq!(
            (load.allocations, load.permissions, load.channels),
            (0, 0, 0)
        );
        assert_eq!((load.ports_used, load.ports_quarantined), (0, 0));
        assert_eq!(self.server.poll_timeout(), None, "no deadline of nobody");
    }
}

fn secret() -> SharedSecret {
    let hashes = Hashes {
        sha1: true,
        sha256: true,
    };
    SharedSecret::new("k1", SECRET, hashes).unwrap()
}

/// What a signalling server hands to a client for these many hours.
pub(crate) fn time_limited(user: &str, hours: u64) -> TurnCredentials {
    let now = UnixTime::from_secs(START);
    let ttl = Duration::from_secs(hours * 3600);
    let minted = mint(&secret(), HmacHash::Sha256, user, ttl, now).unwrap();
    TurnCredentials::new(&minted.username, &minted.password)
}
