//! The server: what control messages cost, from their bytes to the bytes of the answer, with the routes that follow.

use std::time::Duration;

use taciturn_protocol::address::{ChannelRange, FiveTuple};
use taciturn_protocol::credentials::{
    Directory, Hashes, HmacHash, LongTermKey, NonceKey, Nonces, PasswordAlgorithm, Realm,
    SharedSecret, StaticKeys, StaticUser, mint,
};
use taciturn_protocol::forward::RouteTable;
use taciturn_protocol::server::{
    Effect, Limits, LocalQuota, OwnAddresses, PeerPolicy, PeerRules, RelayedIp, Reply, Server,
    Settings, Verdict,
};
use taciturn_protocol::time::{Instant, Now, UnixTime};
use taciturn_protocol::wire::{Class, Framed, Method, Writer};

use super::messages::{CHANNEL, client, message, peer, transaction};
use crate::count::Counter;

const REALM: &str = "turn.example.org";
const STATIC_NAME: &str = "alice";
const STATIC_PASSWORD: &str = "correct horse battery staple";
/// Clients of a case; the second half of them is counted.
const CLIENTS: u32 = 128;
const START: UnixTime = UnixTime::from_secs(1_700_000_000);
const NOW: Now = Now {
    instant: Instant::from_nanos(1_000_000_000),
    unix: START,
};
/// When nonces of [`START`] are too old.
const LATER: Now = Now {
    instant: Instant::from_nanos(702_000_000_000),
    unix: START.plus_secs(701),
};

/// Runs the cases.
pub(super) fn run(counter: &mut Counter) -> anyhow::Result<()> {
    unauthenticated(counter)?;
    for user in [User::Static, User::TimeLimited, User::TimeLimitedSha256] {
        life_of_an_allocation(counter, user)?;
    }
    refused(counter)
}

/// By which credentials a client signs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum User {
    /// One of the operator's users; MESSAGE-INTEGRITY.
    Static,
    /// A name with an expiry, password by HMAC-SHA1, as most signalling servers make it; MESSAGE-INTEGRITY.
    TimeLimited,
    /// The same by HMAC-SHA256, and MESSAGE-INTEGRITY-SHA256.
    TimeLimitedSha256,
}

impl User {
    const fn label(self) -> &'static str {
        match self {
            Self::Static => "static user",
            Self::TimeLimited => "time-limited user",
            Self::TimeLimitedSha256 => "time-limited user, SHA-256",
        }
    }

    const fn algorithm(self) -> PasswordAlgorithm {
        match self {
            Self::Static | Self::TimeLimited => PasswordAlgorithm::Md5,
            Self::TimeLimitedSha256 => PasswordAlgorithm::Sha256,
        }
    }
}

/// A server with its table, as a worker has them, and no sockets.
struct Relay {
    server: Server,
    table: RouteTable,
    reply: Reply,
}

impl Relay {
    fn new() -> anyhow::Result<Self> {
        let realm = Realm::new(REALM)?;
        let keys = StaticKeys::derive(STATIC_NAME, &realm, STATIC_PASSWORD)?;
        let users = vec![StaticUser::new(STATIC_NAME, keys)?];
        let day = Duration::from_secs(24 * 3600);
        let relayed = "203.0.113.1".parse()?;
        let peers = PeerPolicy::new(
            PeerRules::default(),
            OwnAddresses {
                relayed: vec![relayed],
                ..OwnAddresses::default()
            },
        );
        let table = RouteTable::new([1, 2, 3, 4], peers.port_rules(), ChannelRange::Rfc8656);
        let settings = Settings {
            directory: Directory::new(realm, vec![secret()?], users, day),
            nonces: Nonces::new(NonceKey::new([9; 32]), None, Duration::from_secs(600)),
            peers,
            limits: Limits {
                // All clients of a case come from one prefix.
                unauthenticated_per_second: 0,
                ..Limits::default()
            },
            channels: ChannelRange::Rfc8656,
            software: None,
            relayed: vec![RelayedIp {
                bind: relayed,
                advertised: relayed,
            }],
            ports: 49_152..=65_535,
            worker: 0,
        };
        let quota = LocalQuota::new(u32::MAX, u32::MAX, [5, 6, 7, 8]);
        Ok(Self {
            server: Server::new(settings, Box::new(quota), [1; 32]),
            table,
            reply: Reply::new(),
        })
    }

    /// Takes a message as a worker does, but that every socket is bound at once. Whether it is answered as expected.
    fn deliver(&mut self, now: Now, from: FiveTuple, bytes: &[u8], expected: Class) -> bool {
        let verdict = self
            .server
            .handle_message(now, from, bytes, &mut self.reply);
        let mut answered = verdict == Verdict::Reply;
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::BindRelayed { relayed, .. } => {
                    let bound = self
                        .server
                        .relayed_bound(now, relayed, Ok(()), &mut self.reply);
                    answered |= bound == Some(from);
                }
                Effect::AddRoute(route) => self.table.add(&route),
                Effect::RemoveRoute(route) => self.table.remove(&route),
                Effect::UnbindRelayed { .. }
                | Effect::ClaimReservation { .. }
                | Effect::ReturnPort(_)
                | Effect::Event(_) => {}
            }
        }
        // The class is two bits of the message type (RFC 8489 §5).
        let class = match self.reply.as_bytes().first_chunk() {
            Some([0x01, low]) if low & 0x10 == 0 => Class::Success,
            Some([0x01, _]) => Class::Error,
            Some(_) | None => Class::Request,
        };
        answered && class == expected
    }

    /// A client that has been told its nonce.
    fn client(&mut self, number: u32, user: User) -> anyhow::Result<Client> {
        let five_tuple = client(number);
        let challenged = self.deliver(NOW, five_tuple, &first_allocate(number), Class::Error);
        anyhow::ensure!(challenged, "no challenge");
        let challenge = Framed::parse(self.reply.as_bytes())?;
        let nonce = challenge.unauthenticated().nonce();
        let nonce = nonce.map(<[u8]>::to_vec).unwrap_or_default();
        let realm = Realm::new(REALM)?;
        let made = match user {
            User::Static => None,
            User::TimeLimited => Some(HmacHash::Sha1),
            User::TimeLimitedSha256 => Some(HmacHash::Sha256),
        };
        let (name, password) = match made {
            None => (STATIC_NAME.to_owned(), STATIC_PASSWORD.to_owned()),
            Some(hash) => {
                let hour = Duration::from_secs(3600);
                let made = mint(&secret()?, hash, &format!("user-{number:04}"), hour, START)?;
                (made.username, made.password)
            }
        };
        let key = LongTermKey::derive(user.algorithm(), name.as_bytes(), &realm, &password)?;
        Ok(Client {
            number,
            user,
            five_tuple,
            name,
            nonce,
            key,
        })
    }

    fn clients(&mut self, user: User) -> anyhow::Result<Vec<Client>> {
        (0..CLIENTS)
            .map(|number| self.client(number, user))
            .collect()
    }
}

fn secret() -> anyhow::Result<SharedSecret> {
    let bytes = b"a secret of more than thirty-two bytes";
    Ok(SharedSecret::new("k1", bytes, Hashes::BOTH)?)
}

/// What a client begins with.
fn first_allocate(number: u32) -> Vec<u8> {
    message(
        Class::Request,
        Method::Allocate,
        transaction(number),
        |writer| {
            writer.requested_transport(17);
        },
    )
}

/// A client, and how it signs.
struct Client {
    number: u32,
    user: User,
    five_tuple: FiveTuple,
    name: String,
    nonce: Vec<u8>,
    key: LongTermKey,
}

impl Client {
    fn request(&self, method: Method, attributes: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let id = transaction(1_000_000 + self.number);
        message(Class::Request, method, id, |writer| {
            attributes(writer);
            writer.username(self.name.as_bytes());
            writer.realm(REALM.as_bytes());
            writer.nonce(&self.nonce);
            if self.user.algorithm() == PasswordAlgorithm::Sha256 {
                writer.password_algorithms(&[2, 1]);
                writer.password_algorithm(self.user.algorithm().number());
                writer.message_integrity_sha256(self.key.as_bytes());
            } else {
                writer.message_integrity(self.key.as_bytes());
            }
        })
    }
}

type Requests = Vec<(FiveTuple, Vec<u8>)>;

fn unauthenticated(counter: &mut Counter) -> anyhow::Result<()> {
    let mut relay = Relay::new()?;
    let requests = |bytes: &dyn Fn(u32) -> Vec<u8>| -> Requests {
        let numbers = 0..CLIENTS;
        numbers
            .map(|number| (client(number), bytes(number)))
            .collect()
    };
    let bindings =
        requests(&|number| message(Class::Request, Method::Binding, transaction(number), |_| {}));
    counter.each("server: Binding", &bindings, |(from, bytes)| {
        relay.deliver(NOW, *from, bytes, Class::Success)
    })?;
    let bindings = requests(&|number| {
        message(
            Class::Request,
            Method::Binding,
            transaction(number),
            |writer| {
                writer.fingerprint();
            },
        )
    });
    counter.each(
        "server: Binding, FINGERPRINT",
        &bindings,
        |(from, bytes)| relay.deliver(NOW, *from, bytes, Class::Success),
    )?;
    let firsts = requests(&first_allocate);
    counter.each("server: first Allocate, 401", &firsts, |(from, bytes)| {
        relay.deliver(NOW, *from, bytes, Class::Error)
    })
}

/// The requests of a call, in order.
fn life_of_an_allocation(counter: &mut Counter, user: User) -> anyhow::Result<()> {
    let mut relay = Relay::new()?;
    let clients = relay.clients(user)?;
    let mut count = |what: &str, request: &dyn Fn(&Client) -> Vec<u8>| {
        let requests = clients
            .iter()
            .map(|client| (client.five_tuple, request(client)));
        let requests: Requests = requests.collect();
        let name = format!("server: {what}, {}", user.label());
        counter.each(&name, &requests, |(from, bytes)| {
            relay.deliver(NOW, *from, bytes, Class::Success)
        })
    };
    count("Allocate", &|client| {
        client.request(Method::Allocate, |writer| writer.requested_transport(17))
    })?;
    count("CreatePermission", &|client| {
        client.request(Method::CreatePermission, |writer| {
            writer.xor_peer_address(peer(1).0)
        })
    })?;
    let bind = |client: &Client| {
        client.request(Method::ChannelBind, |writer| {
            writer.channel_number(CHANNEL);
            writer.xor_peer_address(peer(2).0);
        })
    };
    count("ChannelBind", &bind)?;
    count("ChannelBind again", &bind)?;
    count("Refresh", &|client| {
        client.request(Method::Refresh, |writer| writer.lifetime(600))
    })?;
    count("Refresh to 0", &|client| {
        client.request(Method::Refresh, |writer| writer.lifetime(0))
    })
}

/// What a flood or a forgotten clock makes.
fn refused(counter: &mut Counter) -> anyhow::Result<()> {
    let mut relay = Relay::new()?;
    let clients = relay.clients(User::TimeLimited)?;
    let allocates = clients.iter().map(|client| {
        let request = client.request(Method::Allocate, |writer| writer.requested_transport(17));
        (client.five_tuple, request)
    });
    let allocates: Requests = allocates.collect();
    counter.each(
        "server: Allocate, stale nonce, 438",
        &allocates,
        |(from, bytes)| relay.deliver(LATER, *from, bytes, Class::Error),
    )?;
    let forged: Requests = allocates
        .into_iter()
        .map(|(from, mut bytes)| {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            (from, bytes)
        })
        .collect();
    counter.each(
        "server: Allocate, wrong password, 401",
        &forged,
        |(from, bytes)| relay.deliver(NOW, *from, bytes, Class::Error),
    )
}
