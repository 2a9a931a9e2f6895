//! Who is believed, and what everybody else is told.
//!
//! Responsible for: a request is granted exactly where RFC 8489 section 9.2.4, read step by step, grants it; what is refused is
//! refused by the number that it names, unsigned, and within the size that no path cuts. The input says what a client sends and
//! what it signs with. Not responsible for what is done for whoever is believed ([`crate::operations`]).

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use taciturn_protocol::address::{ChannelRange, ClientAddr, FiveTuple, Transport};
use taciturn_protocol::credentials::{
    Directory, Features, Hashes, HmacHash, LongTermKey, NonceKey, Nonces, PasswordAlgorithm, Realm,
    RevocationList, Revocations, RevokedUser, SharedSecret, StaticKeys, StaticUser, password_for,
};
use taciturn_protocol::server::{
    Limits, LocalQuota, OwnAddresses, PeerPolicy, PeerRules, RelayedIp, Reply, Server, Settings,
    Verdict,
};
use taciturn_protocol::time::{Instant, Now, UnixTime};
use taciturn_protocol::wire::{Class, Framed, Integrity, Method, TransactionId, Writer};

use crate::bytes::Bytes;

/// The shared secret of every server here.
pub const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
/// The realm of every server here.
pub const REALM: &str = "turn.example.org";
/// The wall clock at the start, in seconds since 1970.
pub const START: u64 = 1_700_000_000;
/// The longest answer that no path cuts (RFC 8489 section 6.1).
pub const LONGEST_ANSWER: usize = 548;
const MAX_TTL: u64 = 24 * 3600;

/// The list that a client repeats where it chooses an algorithm: SHA-256, MD5, no parameters.
const OFFERED: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

static KEY: LazyLock<NonceKey> = LazyLock::new(|| NonceKey::new([7; 32]));
static OURS: LazyLock<Realm> = LazyLock::new(|| Realm::new(REALM).expect("a sound realm"));
static USER: LazyLock<StaticUser> = LazyLock::new(|| {
    let keys = StaticKeys::derive("alice", &OURS, "pw").expect("sound credentials");
    StaticUser::new("alice", keys).expect("a sound name")
});
static SHARED: LazyLock<SharedSecret> =
    LazyLock::new(|| SharedSecret::new("fuzz", SECRET, Hashes::BOTH).expect("a sound secret"));
static REVOKED: LazyLock<Arc<Revocations>> = LazyLock::new(|| {
    Arc::new(Revocations::of(&RevocationList {
        users: vec![RevokedUser {
            user: "mallory".to_owned(),
            until: START + 10 * MAX_TTL,
        }],
        ..RevocationList::default()
    }))
});

/// Mints and checks the nonces of every server here.
pub fn nonces() -> Nonces {
    Nonces::new(KEY.clone(), None, Duration::from_secs(600))
}

/// The credentials of every server here: the secret, and `alice`.
pub fn directory() -> Directory {
    let mut directory = Directory::new(
        OURS.clone(),
        vec![SHARED.clone()],
        vec![USER.clone()],
        Duration::from_secs(MAX_TTL),
    );
    directory.revoke(Arc::clone(&REVOKED));
    directory
}

/// The key of a user whose password is right.
pub fn key(name: &[u8], hash: HmacHash, algorithm: PasswordAlgorithm) -> Option<LongTermKey> {
    let password = match name {
        b"alice" => "pw".to_owned(),
        _ => password_for(SECRET, hash, name),
    };
    LongTermKey::derive(algorithm, name, &OURS, &password).ok()
}

/// What may become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// An unsigned answer with this code; 401 and 438 come with what the client needs for its next attempt.
    Refused(u16),
    /// Its sender is believed: what follows is signed.
    Believed,
}

/// What a client sends as its name.
#[derive(Clone, Copy)]
enum Name<'a> {
    Missing,
    Plain(&'a [u8]),
    Hash([u8; 32]),
}

/// One request to a server that has seen nothing before.
pub fn request(input: &[u8]) {
    let mut input = Bytes(input);
    let client: SocketAddr = "198.51.100.9:40000".parse().expect("an address");
    let now = Now {
        instant: Instant::from_nanos(1_000_000_000),
        unix: UnixTime::from_secs(START),
    };
    let method = input.pick(&[
        Method::Allocate,
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
    ]);
    let name = match input.u8() % 9 {
        0 => Name::Missing,
        1 => Name::Plain(b"1700003600:bob"),
        2 => Name::Plain(b"1699999999:bob"),
        3 => Name::Plain(b"1800000000:bob"),
        4 => Name::Plain(b"alice"),
        5 => Name::Plain(b"1700003600:mallory"),
        6 => Name::Plain(input.short()),
        7 => Name::Hash(Sha256::digest(format!("alice:{REALM}")).into()),
        _ => Name::Hash(input.array()),
    };
    let realm = match input.u8() % 4 {
        0 => None,
        1 => Some(REALM.as_bytes()),
        2 => Some(b"\"turn.example.org\"\0".as_slice()),
        _ => Some(input.short()),
    };
    let bits = input.u8();
    let features = Features {
        password_algorithms: bits & 1 != 0,
        username_anonymity: bits & 2 != 0,
    };
    let (age, port) = (u64::from(input.u16()), input.u8());
    let elsewhere = SocketAddr::new(client.ip(), client.port() + u16::from(port));
    let minted_at = UnixTime::from_secs(START - age);
    let minted = nonces().mint(minted_at, elsewhere, features, 1);
    let (nonce, fresh) = match bits >> 2 & 3 {
        0 => (None, false),
        1 => (Some(input.short()), false),
        _ => (Some(minted.as_bytes()), age <= 600 && port == 0),
    };
    let list = match bits >> 4 & 3 {
        0 => Some(input.short()),
        1 => Some(OFFERED.as_slice()),
        _ => None,
    };
    let chosen = match bits >> 6 & 3 {
        0 => Some(input.short()),
        1 => Some([0, 1, 0, 0].as_slice()),
        2 => Some([0, 2, 0, 0].as_slice()),
        _ => None,
    };
    let seal = input.u8();
    let algorithm = if seal & 1 == 0 {
        PasswordAlgorithm::Md5
    } else {
        PasswordAlgorithm::Sha256
    };
    let hash = if seal & 2 == 0 {
        HmacHash::Sha1
    } else {
        HmacHash::Sha256
    };
    let wrong = seal & 4 != 0;

    let stripped = match name {
        Name::Missing => None,
        Name::Plain(name) => Some(strip(name)),
        Name::Hash(sent) => {
            let alice: [u8; 32] = Sha256::digest(format!("alice:{REALM}")).into();
            (sent == alice).then_some(b"alice".as_slice())
        }
    };
    let right = stripped.and_then(|name| key(name, hash, algorithm));
    let mut signing = right
        .as_ref()
        .map_or_else(|| vec![9; 16], |key| key.as_bytes().to_vec());
    if wrong {
        signing[0] ^= 1;
    }

    let id = TransactionId(input.array());
    let mut buffer = [0; 2048];
    let mut writer = Writer::new(&mut buffer, Class::Request, method, id);
    match name {
        Name::Missing => {}
        Name::Plain(name) => writer.username(name),
        Name::Hash(hash) => writer.userhash(&hash),
    }
    if let Some(realm) = realm {
        writer.realm(realm);
    }
    if let Some(nonce) = nonce {
        writer.nonce(nonce);
    }
    if let Some(list) = list {
        writer.raw(0x8002, list);
    }
    if let Some(chosen) = chosen {
        writer.raw(0x001D, chosen);
    }
    let signed = seal & 24 != 0;
    if seal & 8 != 0 {
        writer.message_integrity(&signing);
    }
    if seal & 16 != 0 {
        writer.message_integrity_sha256(&signing);
    }
    let length = writer.finish().expect("it fits");

    let credible = right.is_some() && !wrong && stripped.is_some_and(is_good);
    let outcome = if !signed {
        Outcome::Refused(401)
    } else if matches!(name, Name::Missing) || realm.is_none() || nonce.is_none() {
        Outcome::Refused(400)
    } else {
        let offered = nonce.is_some_and(offers_algorithms);
        match chosen_by(offered, chosen, list) {
            None => Outcome::Refused(400),
            Some(wanted)
                if !credible
                    || wanted != algorithm
                    || realm.map(strip) != Some(REALM.as_bytes()) =>
            {
                Outcome::Refused(401)
            }
            Some(_) if !fresh => Outcome::Refused(438),
            Some(_) => Outcome::Believed,
        }
    };

    let from = FiveTuple {
        transport: Transport::Udp,
        client: ClientAddr(client),
        server: "192.0.2.1:3478".parse().expect("an address"),
    };
    let mut server = server();
    let mut reply = Reply::new();
    let verdict = server.handle_message(now, from, &buffer[..length], &mut reply);
    check(verdict, reply.as_bytes(), outcome, method, id, &signing);
    let answer = reply.as_bytes();
    if let Outcome::Refused(401 | 438) = outcome {
        let attributes = Framed::parse(answer).expect("an answer").unauthenticated();
        assert_eq!(attributes.realm(), Some(REALM.as_bytes()));
        let nonce = attributes.nonce().expect("a challenge has a nonce");
        let judged = nonces().check(nonce, client, now.unix);
        assert!(judged.is_ok_and(|features| features.password_algorithms));
    }
}

fn check(
    verdict: Verdict,
    answer: &[u8],
    outcome: Outcome,
    method: Method,
    id: TransactionId,
    key: &[u8],
) {
    if verdict == Verdict::Wait {
        assert_eq!((outcome, method), (Outcome::Believed, Method::Allocate));
        return;
    }
    assert_eq!(verdict, Verdict::Reply, "a request is answered");
    assert!(answer.len() <= LONGEST_ANSWER, "{} bytes", answer.len());
    let framed = Framed::parse(answer).expect("an answer can be read");
    assert_eq!((framed.method(), framed.transaction_id()), (method, id));
    let code = framed.unauthenticated().error_code();
    let code = code.map(|code| code.expect("a sound code").0);
    match outcome {
        Outcome::Refused(wanted) => {
            assert_eq!((code, framed.class()), (Some(wanted), Class::Error));
            assert_eq!(framed.integrity(), Integrity::Absent);
        }
        Outcome::Believed => {
            assert!(framed.verify(key).is_some(), "signed with the same key");
            assert_ne!(code, Some(401));
        }
    }
}

/// A pair of quotes, and NULs at the end, are not part of a name or realm.
fn strip(mut text: &[u8]) -> &[u8] {
    while text.last() == Some(&0) {
        text = &text[..text.len() - 1];
    }
    if text.len() >= 2 && text[0] == b'"' && text[text.len() - 1] == b'"' {
        text = &text[1..text.len() - 1];
    }
    text
}

/// Whether a nonce says that the server offered algorithms: the first of its feature bits (RFC 8489 section 9.2).
fn offers_algorithms(nonce: &[u8]) -> bool {
    let Some(features) = nonce
        .strip_prefix(b"obMatJos2")
        .and_then(|rest| rest.get(..4))
    else {
        return false;
    };
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    // The upper half of the alphabet: g to z, digits, + and /.
    features.iter().all(is_base64)
        && (matches!(features[0], b'g'..=b'z' | b'0'..=b'9' | b'+' | b'/'))
}

/// RFC 8489 section 9.2.4: what the client has chosen; `None`: nothing that was offered.
fn chosen_by(
    offered: bool,
    chosen: Option<&[u8]>,
    list: Option<&[u8]>,
) -> Option<PasswordAlgorithm> {
    if !offered || (chosen.is_none() && list.is_none()) {
        return Some(PasswordAlgorithm::Md5);
    }
    if list != Some(&OFFERED) {
        return None;
    }
    match chosen {
        Some([0, 1, 0, 0]) => Some(PasswordAlgorithm::Md5),
        Some([0, 2, 0, 0]) => Some(PasswordAlgorithm::Sha256),
        Some(_) | None => None,
    }
}

/// Whether a name can be good at all: `alice`, or one that ends neither before now nor too late, and is not revoked.
fn is_good(name: &[u8]) -> bool {
    if name == b"alice" {
        return true;
    }
    let mut parts = name.splitn(2, |byte| *byte == b':');
    let expiry = parts.next().unwrap_or_default();
    let until = str::from_utf8(expiry)
        .ok()
        .filter(|text| (1..=19).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u64>().ok());
    until.is_some_and(|until| (START..=START + MAX_TTL).contains(&until))
        && parts.next() != Some(b"mallory")
}

fn server() -> Server {
    let settings = Settings {
        directory: directory(),
        nonces: nonces(),
        peers: PeerPolicy::new(PeerRules::default(), OwnAddresses::default()),
        limits: Limits {
            unauthenticated_per_second: 0,
            ..Limits::default()
        },
        channels: ChannelRange::Rfc8656,
        software: None,
        relayed: vec![RelayedIp {
            bind: "192.0.2.1".parse().expect("an address"),
            advertised: "192.0.2.1".parse().expect("an address"),
        }],
        ports: 50_000..=50_007,
        worker: 0,
    };
    Server::new(settings, Box::new(LocalQuota::new(4, 8, [1; 4])), [1; 32])
}
