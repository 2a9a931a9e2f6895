//! A small TURN client over UDP, TCP and TLS, and peers' sockets.
//!
//! Not responsible for judging answers: tests do.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::credentials::{
    Credentials, Hashes, HmacHash, LongTermKey, PasswordAlgorithm, Realm, SharedSecret, mint,
    password_for,
};
use taciturn_protocol::time::UnixTime;
use taciturn_protocol::wire::{
    Attributes, Class, FirstByte, Framed, Method, TransactionId, Writer, stream,
};
use taciturn_relay::clock::Clock;

use crate::running::{PATIENCE, REALM, Running, SECRET};

/// How a client reaches the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Udp,
    Tcp,
    Tls,
}

impl Over {
    pub(crate) const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Framed::parse(&self.bytes).unwrap().unauthenticated()
    }

    /// 0 for success.
    pub(crate) fn code(&self) -> u16 {
        match Framed::parse(&self.bytes).unwrap().class() {
            Class::Success => 0,
            Class::Error | Class::Request | Class::Indication => {
                self.attributes().error_code().unwrap().unwrap().0
            }
        }
    }

    /// The relayed addresses: one, or one of each family.
    pub(crate) fn relayed(&self) -> Vec<SocketAddr> {
        let addresses = self.attributes();
        addresses
            .xor_relayed_addresses()
            .map(Result::unwrap)
            .collect()
    }
}

/// A connection to a TLS listener.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// What carries a client's messages.
pub(crate) enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
    Tls(Box<TlsStream>, Vec<u8>),
}

/// A TURN client.
pub(crate) struct Client {
    pub(crate) link: Link,
    username: Vec<u8>,
    password: String,
    key: Option<LongTermKey>,
    nonce: Vec<u8>,
    next_id: u64,
    /// What came while an answer was waited for.
    passed: VecDeque<Vec<u8>>,
}

impl Client {
    /// A client on the same host as the relay.
    pub(crate) fn of(relay: &Running, over: Over, user: &str) -> Self {
        Self::at(relay, over, relay.listener(over.name()), user)
    }

    /// A client of the listener at `server`, over `over`.
    pub(crate) fn at(relay: &Running, over: Over, server: SocketAddr, user: &str) -> Self {
        match over {
            Over::Udp => Self::udp(server, user),
            Over::Tcp => Self::tcp(server, user),
            Over::Tls => Self::tls(relay, server, user),
        }
    }

    pub(crate) fn udp(server: SocketAddr, user: &str) -> Self {
        let socket = peer_of(server);
        socket.connect(server).unwrap();
        Self::new(Link::Udp(socket), user)
    }

    pub(crate) fn tcp(server: SocketAddr, user: &str) -> Self {
        Self::new(Link::Tcp(connect(server), Vec::new()), user)
    }

    pub(crate) fn tls(relay: &Running, server: SocketAddr, user: &str) -> Self {
        Self::over_tls(relay, connect(server), user)
    }

    pub(crate) fn over_tls(relay: &Running, stream: TcpStream, user: &str) -> Self {
        let tls = StreamOwned::new(tls_connection(&relay.certificate, &[]), stream);
        Self::new(Link::Tls(Box::new(tls), Vec::new()), user)
    }

    pub(crate) fn new(link: Link, user: &str) -> Self {
        Self::with_secret(link, user, SECRET)
    }

    /// A client whose credentials were minted with this secret.
    pub(crate) fn with_secret(link: Link, user: &str, secret: &str) -> Self {
        let secret = SharedSecret::new("test", secret.as_bytes(), Hashes::BOTH).unwrap();
        let ttl = Duration::from_secs(3600);
        let Credentials {
            username, password, ..
        } = mint(&secret, HmacHash::Sha256, user, ttl, begun()).unwrap();
        Self::known_as(link, username.into_bytes(), password)
    }

    /// A client whose user name no signalling server would have made, with the password that belongs to it.
    pub(crate) fn strangely_named(link: Link, user: &[u8]) -> Self {
        let expires = begun().as_secs() + 3600;
        let username = [expires.to_string().as_bytes(), b":", user].concat();
        let password = password_for(SECRET.as_bytes(), HmacHash::Sha256, &username);
        Self::known_as(link, username, password)
    }

    /// A client with credentials that it was given.
    pub(crate) fn known_as(link: Link, username: Vec<u8>, password: String) -> Self {
        Self {
            link,
            username,
            password,
            key: None,
            nonce: Vec::new(),
            next_id: 1,
            passed: VecDeque::new(),
        }
    }

    /// What nobody but the relay should learn from it: name, password, key and nonce.
    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        let key = self.key.as_ref().map(|key| key.as_bytes().to_vec());
        [
            self.username.clone(),
            self.password.clone().into_bytes(),
            self.nonce.clone(),
        ]
        .into_iter()
        .chain(key)
        .collect()
    }

    /// A request's bytes and transaction id; signed once the client knows realm and nonce.
    pub(crate) fn request_bytes(
        &mut self,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> (TransactionId, Vec<u8>) {
        let mut id = [7; 12];
        id[4..].copy_from_slice(&self.next_id.to_be_bytes());
        let id = TransactionId(id);
        self.next_id += 1;
        let mut buffer = vec![0; 1500];
        let mut writer = Writer::new(&mut buffer, Class::Request, method, id);
        attributes(&mut writer);
        if let Some(key) = &self.key {
            writer.username(&self.username);
            writer.realm(REALM.as_bytes());
            writer.nonce(&self.nonce);
            writer.message_integrity(key.as_bytes());
        }
        let length = writer.finish().unwrap();
        buffer.truncate(length);
        (id, buffer)
    }

    /// Whether an answer is signed with this client's key.
    pub(crate) fn trusts(&self, answer: &Answer) -> bool {
        let key = self.key.as_ref().expect("a client that was challenged");
        let answer = Framed::parse(&answer.bytes).unwrap();
        answer.verify(key.as_bytes()).is_some()
    }

    /// One request and its answer; what comes between is kept for later.
    pub(crate) fn request(
        &mut self,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> Answer {
        let (id, bytes) = self.request_bytes(method, attributes);
        self.send(&bytes);
        self.answer(id)
    }

    /// The answer to the request with this id.
    pub(crate) fn answer(&mut self, id: TransactionId) -> Answer {
        self.try_answer(id).expect("an answer in time")
    }

    /// The same; `None` when the link falls silent before it comes.
    pub(crate) fn try_answer(&mut self, id: TransactionId) -> Option<Answer> {
        loop {
            let bytes = self.receive_new()?;
            if FirstByte::classify(bytes[0], ChannelRange::Rfc8656) == FirstByte::Stun
                && Framed::parse(&bytes).unwrap().transaction_id() == id
            {
                return Some(Answer { bytes });
            }
            self.passed.push_back(bytes);
        }
    }

    /// Asks for realm and nonce, so that what follows is authenticated.
    pub(crate) fn challenge(&mut self) {
        let answer = self.request(Method::Allocate, |w| w.requested_transport(17));
        assert_eq!(answer.code(), 401);
        self.nonce = answer.attributes().nonce().unwrap().to_vec();
        let realm = Realm::new(REALM).unwrap();
        let key = LongTermKey::derive(
            PasswordAlgorithm::Md5,
            &self.username,
            &realm,
            &self.password,
        );
        self.key = Some(key.unwrap());
    }

    /// Asks for another nonce, as after 438.
    pub(crate) fn renew_nonce(&mut self) {
        self.key = None;
        self.challenge();
    }

    /// Allocates with these attributes, beside the transport.
    pub(crate) fn try_allocate(&mut self, attributes: impl Fn(&mut Writer<'_>)) -> Answer {
        if self.key.is_none() {
            self.challenge();
        }
        self.request(Method::Allocate, |w| {
            w.requested_transport(17);
            attributes(w);
        })
    }

    pub(crate) fn allocate(&mut self) -> SocketAddr {
        let answer = self.try_allocate(|_| {});
        assert_eq!(answer.code(), 0, "{:?}", answer.attributes().error_code());
        answer.relayed()[0]
    }

    /// Allocates an address of each family: IPv4 first.
    pub(crate) fn allocate_both(&mut self) -> [SocketAddr; 2] {
        let answer = self.try_allocate(|w| w.additional_family(2));
        assert_eq!(answer.code(), 0, "{:?}", answer.attributes().error_code());
        let mut relayed = answer.relayed();
        relayed.sort_by_key(SocketAddr::is_ipv6);
        relayed.try_into().unwrap()
    }

    pub(crate) fn try_permit(&mut self, peer: SocketAddr) -> u16 {
        self.request(Method::CreatePermission, |w| w.xor_peer_address(peer))
            .code()
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) {
        assert_eq!(self.try_permit(peer), 0, "permission for {peer}");
    }

    pub(crate) fn try_bind(&mut self, number: u16, peer: SocketAddr) -> u16 {
        let bind = |w: &mut Writer<'_>| {
            w.channel_number(number);
            w.xor_peer_address(peer);
        };
        self.request(Method::ChannelBind, bind).code()
    }

    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr) {
        assert_eq!(self.try_bind(number, peer), 0, "channel to {peer}");
    }

    /// Ends the allocation.
    pub(crate) fn release(&mut self) {
        assert_eq!(self.request(Method::Refresh, |w| w.lifetime(0)).code(), 0);
    }

    /// The bytes of ChannelData as this link carries them.
    pub(crate) fn channel_bytes(&self, number: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = number.to_be_bytes().to_vec();
        frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(payload);
        if !matches!(self.link, Link::Udp(_)) {
            frame.resize(frame.len().next_multiple_of(4), 0);
        }
        frame
    }

    pub(crate) fn send_channel(&mut self, number: u16, payload: &[u8]) {
        let bytes = self.channel_bytes(number, payload);
        self.send(&bytes);
    }

    pub(crate) fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) {
        self.send(&send_indication(peer, payload, |_| {}));
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match &mut self.link {
            Link::Udp(socket) => {
                socket.send(bytes).unwrap();
            }
            Link::Tcp(stream, _) => stream.write_all(bytes).unwrap(),
            Link::Tls(stream, _) => stream.write_all(bytes).unwrap(),
        }
    }

    /// The next message, without its padding on a stream; `None` when nothing comes in time or the stream has ended.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        self.passed.pop_front().or_else(|| self.receive_new())
    }

    fn receive_new(&mut self) -> Option<Vec<u8>> {
        match &mut self.link {
            Link::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                let length = socket.recv(&mut buffer).ok()?;
                buffer.truncate(length);
                Some(buffer)
            }
            Link::Tcp(stream, buffered) => next_frame(stream, buffered),
            Link::Tls(stream, buffered) => next_frame(stream, buffered),
        }
    }

    /// Whether the relay has ended the stream, over TLS by close_notify.
    pub(crate) fn is_closed_in_order(&mut self) -> bool {
        let read = match &mut self.link {
            Link::Udp(_) => return false,
            Link::Tcp(stream, _) => stream.read(&mut [0; 16]),
            Link::Tls(stream, _) => stream.read(&mut [0; 16]),
        };
        read.is_ok_and(|length| length == 0)
    }

    /// The TCP connection below, or the UDP socket.
    pub(crate) fn set_timeout(&self, timeout: Duration) {
        match &self.link {
            Link::Udp(socket) => socket.set_read_timeout(Some(timeout)).unwrap(),
            Link::Tcp(stream, _) => stream.set_read_timeout(Some(timeout)).unwrap(),
            Link::Tls(stream, _) => stream.sock.set_read_timeout(Some(timeout)).unwrap(),
        }
    }

    /// The payload of the next ChannelData, which has to be on this number.
    pub(crate) fn channel_payload(&mut self, number: u16) -> Vec<u8> {
        let bytes = self.receive().expect("channel data in time");
        assert_eq!(bytes[..2], number.to_be_bytes(), "{:02x?}", &bytes[..4]);
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        assert_eq!(bytes.len(), 4 + length);
        bytes[4..].to_vec()
    }

    /// Peer and payload of the next Data indication.
    pub(crate) fn data_indication(&mut self) -> (SocketAddr, Vec<u8>) {
        let bytes = self.receive().expect("a data indication in time");
        let attributes = data_attributes(&bytes);
        (
            attributes.xor_peer_address().unwrap().unwrap(),
            attributes.data().unwrap().to_vec(),
        )
    }

    /// Peer, type, code and data of the next Data indication about an ICMP error.
    pub(crate) fn icmp_indication(&mut self) -> (SocketAddr, u8, u8, u32) {
        let bytes = self.receive().expect("a data indication in time");
        let attributes = data_attributes(&bytes);
        assert_eq!(attributes.data(), None);
        let icmp = attributes.icmp().unwrap().unwrap();
        let peer = attributes.xor_peer_address().unwrap().unwrap();
        (peer, icmp.kind, icmp.code, icmp.data)
    }
}

/// When the first client was made, or so many half hours later. One user has one name for as long, whatever second it is: the
/// expiry is part of it, and a run may be longer than an hour.
fn begun() -> UnixTime {
    const HALF_HOUR: u64 = 1800;
    static BEGUN: OnceLock<UnixTime> = OnceLock::new();
    let now = Clock::start().unix();
    let begun = *BEGUN.get_or_init(|| now);
    let passed = now.as_secs().saturating_sub(begun.as_secs());
    begun.plus_secs(passed - passed % HALF_HOUR)
}

fn data_attributes(bytes: &[u8]) -> Attributes<'_> {
    let framed = Framed::parse(bytes).unwrap();
    assert_eq!(
        (framed.class(), framed.method()),
        (Class::Indication, Method::Data)
    );
    framed.unauthenticated()
}

/// The bytes of a Send indication, with what `more` adds.
pub(crate) fn send_indication(
    peer: SocketAddr,
    payload: &[u8],
    more: impl Fn(&mut Writer<'_>),
) -> Vec<u8> {
    let mut buffer = vec![0; 66_000];
    let id = TransactionId([9; 12]);
    let mut writer = Writer::new(&mut buffer, Class::Indication, Method::Send, id);
    writer.xor_peer_address(peer);
    more(&mut writer);
    writer.data(payload);
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}

/// A Binding request's bytes.
pub(crate) fn binding(id: u8) -> Vec<u8> {
    let mut buffer = vec![0; 20];
    let id = TransactionId([id; 12]);
    let writer = Writer::new(&mut buffer, Class::Request, Method::Binding, id);
    assert_eq!(writer.finish().unwrap(), 20);
    buffer
}

fn next_frame(source: &mut impl Read, buffered: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let stream::Step::Frame { len, total, .. } =
            stream::next_frame(buffered, ChannelRange::Rfc8656).unwrap()
        {
            let frame = buffered[..len].to_vec();
            buffered.drain(..total);
            return Some(frame);
        }
        let mut more = vec![0; 16_384];
        match source.read(&mut more) {
            Ok(0) => return None,
            Ok(count) => buffered.extend_from_slice(&more[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// A connection that does not wait to fill segments, nor for ever.
pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The client's end of TLS, which offers these protocols.
pub(crate) fn tls_connection(
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(REALM).unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

/// A peer's socket on loopback.
pub(crate) fn peer() -> UdpSocket {
    peer_at((Ipv4Addr::LOCALHOST, 0).into())
}

/// A peer's socket of the family of `other`.
pub(crate) fn peer_of(other: SocketAddr) -> UdpSocket {
    peer_at(if other.is_ipv4() {
        "0.0.0.0:0".parse().unwrap()
    } else {
        "[::]:0".parse().unwrap()
    })
}

/// The one port of those that the kernel picks from that is closed to peers by default (`peers.denied-ports`).
const DENIED: u16 = 37810;

/// A peer's socket at this address.
pub(crate) fn peer_at(address: SocketAddr) -> UdpSocket {
    let mut socket = UdpSocket::bind(address).unwrap();
    if address.port() == 0 && socket.local_addr().unwrap().port() == DENIED {
        let passed_over = socket;
        socket = UdpSocket::bind(address).unwrap();
        drop(passed_over);
    }
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next datagram of a peer, and where it came from.
pub(crate) fn receive_from(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = peer.recv_from(&mut buffer).expect("a datagram in time");
    buffer.truncate(length);
    (buffer, from)
}

/// Whether nothing waits for this peer.
pub(crate) fn is_silent(peer: &UdpSocket) -> bool {
    peer.set_nonblocking(true).unwrap();
    let outcome = peer.recv_from(&mut [0; 16]);
    peer.set_nonblocking(false).unwrap();
    outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
