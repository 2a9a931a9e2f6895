//! A relay in this process on loopback, and a small TURN client to speak to it.
//!
//! Not responsible for judging answers: tests do.
#![allow(
    dead_code,
    reason = "what is dead depends on the test that includes this file"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::credentials::{
    Credentials, Hashes, HmacHash, LongTermKey, PasswordAlgorithm, Realm, SharedSecret, mint,
};
use taciturn_protocol::time::UnixTime;
use taciturn_protocol::wire::{
    Attributes, Class, FirstByte, Framed, Method, TransactionId, Writer, stream,
};
use taciturn_relay::clock::Clock;
use taciturn_relay::config::{self, Config};
use taciturn_relay::run::Relay;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const REALM: &str = "relay.test";

/// A configuration on loopback with ports of the kernel's choice; `more` is appended.
pub(crate) fn config(workers: usize, more: &str) -> Config {
    let text = format!(
        r#"
        realm = "{REALM}"
        workers = {workers}
        [[listener]]
        transport = "udp"
        address = "127.0.0.1:0"
        [[listener]]
        transport = "tcp"
        address = "127.0.0.1:0"
        [relayed]
        addresses = ["127.0.0.1"]
        ports = "20000-29999"
        [[secret]]
        id = "test"
        value = "{SECRET}"
        [peers]
        allow-loopback = true
        [admin]
        address = "127.0.0.1:0"
        [self-check]
        interval = "0s"
        {more}
        "#
    );
    let mut read = |path: &Path| {
        Err(std::io::Error::other(format!(
            "{} is not for this test",
            path.display()
        )))
    };
    config::parse(&text, Path::new("relay.toml"), &mut read).unwrap()
}

pub(crate) fn start(workers: usize, more: &str) -> Relay {
    Relay::start(config(workers, more)).unwrap()
}

pub(crate) fn udp_listener(relay: &Relay) -> SocketAddr {
    relay.listeners()[0].address
}

pub(crate) fn tcp_listener(relay: &Relay) -> SocketAddr {
    relay.listeners()[1].address
}

/// A peer's socket on loopback.
pub(crate) fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
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

    pub(crate) fn relayed(&self) -> SocketAddr {
        self.attributes()
            .xor_relayed_addresses()
            .next()
            .unwrap()
            .unwrap()
    }
}

enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

/// A TURN client.
pub(crate) struct Client {
    link: Link,
    credentials: Credentials,
    key: Option<LongTermKey>,
    nonce: Vec<u8>,
    next_id: u64,
}

impl Client {
    pub(crate) fn udp(server: SocketAddr, user: &str) -> Self {
        let socket = peer();
        socket.connect(server).unwrap();
        Self::new(Link::Udp(socket), user)
    }

    pub(crate) fn tcp(server: SocketAddr, user: &str) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(Link::Tcp(stream, Vec::new()), user)
    }

    fn new(link: Link, user: &str) -> Self {
        let secret = SharedSecret::new("test", SECRET.as_bytes(), Hashes::BOTH).unwrap();
        // The expiry is part of the name, and a reservation is its user's: one user has one name for the whole run.
        static BEGUN: OnceLock<UnixTime> = OnceLock::new();
        let now = *BEGUN.get_or_init(|| Clock::start().unix());
        let credentials =
            mint(&secret, HmacHash::Sha1, user, Duration::from_secs(600), now).unwrap();
        Self {
            link,
            credentials,
            key: None,
            nonce: Vec::new(),
            next_id: 1,
        }
    }

    /// One request and its answer; data that comes between is skipped.
    pub(crate) fn request(
        &mut self,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> Answer {
        let id = TransactionId(std::array::from_fn(|i| {
            if i < 4 {
                7
            } else {
                self.next_id.to_be_bytes()[i - 4]
            }
        }));
        self.next_id += 1;
        let mut buffer = [0; 1500];
        let mut writer = Writer::new(&mut buffer, Class::Request, method, id);
        attributes(&mut writer);
        if let Some(key) = &self.key {
            writer.username(self.credentials.username.as_bytes());
            writer.realm(REALM.as_bytes());
            writer.nonce(&self.nonce);
            writer.message_integrity(key.as_bytes());
        }
        let length = writer.finish().unwrap();
        self.send(&buffer[..length]);
        loop {
            let bytes = self.receive().expect("an answer");
            if FirstByte::classify(bytes[0], ChannelRange::Rfc5766) == FirstByte::Stun
                && Framed::parse(&bytes).unwrap().transaction_id() == id
            {
                return Answer { bytes };
            }
        }
    }

    /// Asks for realm and nonce, so that what follows is authenticated.
    pub(crate) fn challenge(&mut self) {
        let answer = self.request(Method::Allocate, |w| w.requested_transport(17));
        assert_eq!(answer.code(), 401);
        self.nonce = answer.attributes().nonce().unwrap().to_vec();
        let realm = Realm::new(REALM).unwrap();
        let Credentials {
            username, password, ..
        } = &self.credentials;
        self.key = Some(
            LongTermKey::derive(
                PasswordAlgorithm::Md5,
                username.as_bytes(),
                &realm,
                password,
            )
            .unwrap(),
        );
    }

    pub(crate) fn allocate(&mut self) -> SocketAddr {
        self.challenge();
        let answer = self.request(Method::Allocate, |w| w.requested_transport(17));
        assert_eq!(answer.code(), 0, "{:?}", answer.attributes().error_code());
        answer.relayed()
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) {
        let answer = self.request(Method::CreatePermission, |w| w.xor_peer_address(peer));
        assert_eq!(answer.code(), 0, "{:?}", answer.attributes().error_code());
    }

    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr) {
        let answer = self.request(Method::ChannelBind, |w| {
            w.channel_number(number);
            w.xor_peer_address(peer);
        });
        assert_eq!(answer.code(), 0, "{:?}", answer.attributes().error_code());
    }

    pub(crate) fn send_channel(&mut self, number: u16, payload: &[u8]) {
        let mut frame = number.to_be_bytes().to_vec();
        frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(payload);
        if matches!(self.link, Link::Tcp(..)) {
            frame.resize(frame.len().next_multiple_of(4), 0);
        }
        self.send(&frame);
    }

    pub(crate) fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut buffer = vec![0; 65_535];
        let mut writer = Writer::new(
            &mut buffer,
            Class::Indication,
            Method::Send,
            TransactionId([9; 12]),
        );
        writer.xor_peer_address(peer);
        writer.data(payload);
        let length = writer.finish().unwrap();
        self.send(&buffer[..length]);
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match &mut self.link {
            Link::Udp(socket) => {
                socket.send(bytes).unwrap();
            }
            Link::Tcp(stream, _) => stream.write_all(bytes).unwrap(),
        }
    }

    /// The next message, without its padding on a stream; `None` when nothing comes in time.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        match &mut self.link {
            Link::Udp(socket) => {
                let mut buffer = vec![0; 65_535];
                let length = socket.recv(&mut buffer).ok()?;
                buffer.truncate(length);
                Some(buffer)
            }
            Link::Tcp(stream, buffered) => loop {
                if let stream::Step::Frame { len, total, .. } =
                    stream::next_frame(buffered, ChannelRange::Rfc5766).unwrap()
                {
                    let frame = buffered[..len].to_vec();
                    buffered.drain(..total);
                    return Some(frame);
                }
                let mut more = [0; 4096];
                let count = stream.read(&mut more).ok().filter(|count| *count > 0)?;
                buffered.extend_from_slice(&more[..count]);
            },
        }
    }

    /// Where the relay sees it come from.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        match &self.link {
            Link::Udp(socket) => socket.local_addr().unwrap(),
            Link::Tcp(stream, _) => stream.local_addr().unwrap(),
        }
    }

    pub(crate) fn set_timeout(&self, timeout: Duration) {
        match &self.link {
            Link::Udp(socket) => socket.set_read_timeout(Some(timeout)).unwrap(),
            Link::Tcp(stream, _) => stream.set_read_timeout(Some(timeout)).unwrap(),
        }
    }

    /// The payload of the next ChannelData on this number.
    pub(crate) fn channel_payload(&mut self, number: u16) -> Vec<u8> {
        let bytes = self.receive().expect("channel data");
        assert_eq!(bytes[..2], number.to_be_bytes(), "{bytes:02x?}");
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        bytes[4..4 + length].to_vec()
    }

    /// Peer and payload of the next Data indication.
    pub(crate) fn data_indication(&mut self) -> (SocketAddr, Vec<u8>) {
        let bytes = self.receive().expect("a data indication");
        let framed = Framed::parse(&bytes).unwrap();
        assert_eq!(
            (framed.class(), framed.method()),
            (Class::Indication, Method::Data)
        );
        let attributes = framed.unauthenticated();
        (
            attributes.xor_peer_address().unwrap().unwrap(),
            attributes.data().unwrap().to_vec(),
        )
    }
}

/// One HTTP request to the admin API: status and body.
pub(crate) fn http(relay: &Relay, method: &str, path: &str, body: &str) -> (u16, String) {
    http_with(
        relay,
        method,
        path,
        "Content-Type: application/json\r\n",
        body,
    )
}

/// The same with these header lines.
pub(crate) fn http_with(
    relay: &Relay,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(relay.admin_address().unwrap()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

/// Waits for something that happens soon.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..250 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not come about");
}
