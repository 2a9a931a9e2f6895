//! The real server with users of every kind, and the requests that it is to refuse.
//!
//! Responsible for making them. Not responsible for what is wrong with a request (`cases`).

use std::sync::Arc;
use std::time::Duration;

use taciturn_protocol::address::{ChannelRange, ClientAddr, FiveTuple, Transport};
use taciturn_protocol::credentials::{
    Directory, Hashes, LongTermKey, NonceKey, Nonces, PasswordAlgorithm, Realm, RevocationList,
    Revocations, RevokedUser, SharedSecret, StaticKeys, StaticUser,
};
use taciturn_protocol::server::{
    Effect, Limits, LocalQuota, OwnAddresses, PeerPolicy, PeerRules, RelayedIp, Reply, Server,
    Settings, Verdict,
};
use taciturn_protocol::time::{Instant, Now, UnixTime};
use taciturn_protocol::wire::{Class, Framed, Method, TransactionId, Writer};

pub(crate) const REALM: &str = "turn.example.org";
/// Users that the operator has written down, and names that are revoked.
pub(crate) const KNOWN: u32 = 1000;
/// The password of each of them.
const PASSWORD: &str = "correct horse battery staple";
const START: UnixTime = UnixTime::from_secs(1_700_000_000);
const NOW: Now = Now {
    instant: Instant::from_nanos(1_000_000_000),
    unix: START,
};
/// Seconds from [`START`] to the end of a name that is good for now.
const HOUR: u64 = 3600;
/// The client that everything comes from.
const PORT: u16 = 4000;

/// The name of a static user; known below [`KNOWN`], and as long beyond.
pub(crate) fn static_name(number: u32) -> String {
    format!("user-{number:06}")
}

/// A time-limited name for now. Those of numbers below [`KNOWN`] are revoked.
pub(crate) fn limited_name(number: u32) -> String {
    format!("{}:guest-{number:06}", START.as_secs() + HOUR)
}

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// MESSAGE-INTEGRITY, and a key by MD5.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256, and a key by SHA-256.
    Sha256,
}

impl Proof {
    pub(crate) const fn algorithm(self) -> PasswordAlgorithm {
        match self {
            Self::Sha1 => PasswordAlgorithm::Md5,
            Self::Sha256 => PasswordAlgorithm::Sha256,
        }
    }

    /// Bytes of the value, which the message ends with.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// How a request names its user.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named<'a> {
    Username(&'a str),
    Userhash(&'a [u8; 32]),
}

/// A server, and where its answers go.
pub(crate) struct Relay {
    server: Server,
    reply: Reply,
    realm: Realm,
    client: FiveTuple,
}

impl Relay {
    /// With [`KNOWN`] static users, a secret, and [`KNOWN`] revoked guests.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let realm = Realm::new(REALM)?;
        let users = (0..KNOWN).map(|number| {
            let name = static_name(number);
            let keys = StaticKeys::derive(&name, &realm, PASSWORD)?;
            StaticUser::new(&name, keys)
        });
        let users: Vec<StaticUser> = users.collect::<Result<_, _>>()?;
        let secret = b"a secret of more than thirty-two bytes";
        let secret = SharedSecret::new("k1", secret, Hashes::BOTH)?;
        let day = Duration::from_secs(24 * HOUR);
        let mut directory = Directory::new(realm.clone(), vec![secret], users, day);
        directory.revoke(Arc::new(Revocations::of(&revoked_guests())));
        let relayed = "203.0.113.1".parse()?;
        let own = OwnAddresses {
            relayed: vec![relayed],
            ..OwnAddresses::default()
        };
        let settings = Settings {
            directory,
            nonces: Nonces::new(NonceKey::new([9; 32]), None, Duration::from_secs(600)),
            peers: PeerPolicy::new(PeerRules::default(), own),
            limits: Limits {
                // Everything is refused here, and every refusal is to be answered.
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
            reply: Reply::new(),
            realm,
            client: FiveTuple {
                transport: Transport::Udp,
                client: ClientAddr(([100, 64, 0, 1], PORT).into()),
                server: ([203, 0, 113, 1], 3478).into(),
            },
        })
    }

    /// Takes a request, which must be answered by an error, signed or not. What this costs is what is measured.
    pub(crate) fn refuses(&mut self, request: &[u8]) -> bool {
        let verdict = self
            .server
            .handle_message(NOW, self.client, request, &mut self.reply);
        // The class is two bits of the message type (RFC 8489 §5).
        verdict == Verdict::Reply
            && matches!(self.reply.as_bytes(), [0x01, low, ..] if low & 0x10 != 0)
    }

    /// The key of a user of [`Relay::new`] by name, whatever the name.
    pub(crate) fn key(&self, name: &str, proof: Proof) -> anyhow::Result<LongTermKey> {
        Ok(LongTermKey::derive(
            proof.algorithm(),
            name.as_bytes(),
            &self.realm,
            PASSWORD,
        )?)
    }

    /// A nonce for the client.
    pub(crate) fn nonce(&mut self) -> anyhow::Result<Vec<u8>> {
        let first = message(Method::Allocate, 0, |writer| writer.requested_transport(17))?;
        anyhow::ensure!(self.refuses(&first), "no challenge");
        let challenge = Framed::parse(self.reply.as_bytes())?;
        let nonce = challenge.unauthenticated().nonce();
        Ok(nonce.map(<[u8]>::to_vec).unwrap_or_default())
    }

    /// Makes the client an allocation of this user, by a right request.
    pub(crate) fn allocate(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.server
            .handle_message(NOW, self.client, request, &mut self.reply);
        let mut made = false;
        while let Some(effect) = self.server.poll_effect() {
            if let Effect::BindRelayed { relayed, .. } = effect {
                let bound = self
                    .server
                    .relayed_bound(NOW, relayed, Ok(()), &mut self.reply);
                made |= bound == Some(self.client);
            }
        }
        anyhow::ensure!(made, "no allocation");
        Ok(())
    }
}

fn revoked_guests() -> RevocationList {
    let until = START.as_secs() + 24 * HOUR;
    let guests = (0..KNOWN).map(|number| RevokedUser {
        user: format!("guest-{number:06}"),
        until,
    });
    RevocationList {
        users: guests.collect(),
        ..RevocationList::default()
    }
}

/// A request with a proof by `key`, at its very end.
pub(crate) fn request(
    method: Method,
    number: u32,
    (named, nonce): (Named<'_>, &[u8]),
    (proof, key): (Proof, &[u8]),
) -> anyhow::Result<Vec<u8>> {
    message(method, number, |writer| {
        if method == Method::Allocate {
            writer.requested_transport(17);
        }
        match named {
            Named::Username(name) => writer.username(name.as_bytes()),
            Named::Userhash(hash) => writer.userhash(hash),
        }
        writer.realm(REALM.as_bytes());
        writer.nonce(nonce);
        match proof {
            Proof::Sha1 => writer.message_integrity(key),
            Proof::Sha256 => {
                writer.password_algorithms(&[2, 1]);
                writer.password_algorithm(proof.algorithm().number());
                writer.message_integrity_sha256(key);
            }
        }
    })
}

fn message(
    method: Method,
    number: u32,
    attributes: impl FnOnce(&mut Writer<'_>),
) -> anyhow::Result<Vec<u8>> {
    let mut id = [0x5A; 12];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let mut bytes = vec![0; 1024];
    let mut writer = Writer::new(&mut bytes, Class::Request, method, TransactionId(id));
    attributes(&mut writer);
    let length = writer.finish()?;
    bytes.truncate(length);
    Ok(bytes)
}
