//! User names, nonces, key files and revocations.
//!
//! Responsible for: a name's expiry and subject are what a reader would say they are; what is minted is good, and revoked it
//! is not; a nonce that was not minted here, for this client, is never accepted.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use taciturn_protocol::credentials::{
    Features, Hashes, HmacHash, NONCE_LEN, NonceError, NonceKey, Nonces, RevocationList,
    Revocations, RevokedUser, SharedSecret, StaticUser, UserName, mint, password_for,
    prepare_opaque_string, time_limited_expiry,
};
use taciturn_protocol::time::UnixTime;

use crate::bytes::Bytes;

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

/// The longest user name that may be sent (RFC 8489 section 14.3).
const NAME_MAX: usize = 508;

static SHARED: LazyLock<SharedSecret> =
    LazyLock::new(|| SharedSecret::new("fuzz", SECRET, Hashes::BOTH).expect("a sound secret"));

/// A user name as it came from the wire: when it ends, whom it is for, and whether revoking that one revokes it.
pub fn rest_username(input: &[u8]) {
    let (head, tail) = match input.iter().position(|byte| *byte == b':') {
        Some(colon) => (&input[..colon], Some(&input[colon + 1..])),
        None => (input, None),
    };
    let digits = !head.is_empty() && head.iter().all(u8::is_ascii_digit);
    let wanted = (digits && head.len() <= 19).then(|| {
        head.iter()
            .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    });
    assert_eq!(time_limited_expiry(input).map(UnixTime::as_secs), wanted);
    let wanted = match tail {
        Some(tail) if digits && !tail.is_empty() => tail,
        Some(_) | None => input,
    };
    let name = UserName::new(input);
    assert_eq!(name.subject(), wanted);
    assert_eq!(format!("{name:?}"), "UserName(..)");

    let Ok(text) = str::from_utf8(wanted) else {
        return;
    };
    let Ok(prepared) = prepare_opaque_string(text) else {
        return;
    };
    assert!(!prepared.is_empty() && !prepared.chars().any(char::is_control));
    assert!(prepared.len() <= 12 * text.len(), "grows without bound");
    let again = prepare_opaque_string(&prepared).expect("what is prepared can be prepared");
    assert_eq!(again, prepared, "prepared twice");

    let now = UnixTime::from_secs(1_700_000_000);
    let list = RevocationList {
        epoch: 1,
        version: 1,
        users: vec![RevokedUser {
            user: prepared.clone().into_owned(),
            until: now.as_secs() + 60,
        }],
        key_ids: Vec::new(),
    };
    assert_eq!(list.check().is_ok(), prepared.len() <= NAME_MAX);
    let revocations = Revocations::of(&list);
    let ttl = Duration::from_secs(3600);
    let Ok(minted) = mint(&SHARED, HmacHash::Sha256, text, ttl, now) else {
        assert!(prepared.len() > NAME_MAX - "1700003600:".len());
        return;
    };
    let bytes = minted.username.as_bytes();
    assert!(bytes.len() <= NAME_MAX);
    assert_eq!(time_limited_expiry(bytes), Some(minted.expires));
    assert_eq!(
        minted.password,
        password_for(SECRET, HmacHash::Sha256, bytes)
    );
    let minted = UserName::new(bytes);
    assert_eq!(minted.subject(), prepared.as_bytes());
    assert!(revocations.covers_user(minted.subject(), now));
    assert!(!revocations.covers_user(minted.subject(), now.plus_secs(60)));
}

/// A nonce as it came from the wire, and one that was minted and then changed in one place.
pub fn nonce(input: &[u8]) {
    let mut input = Bytes(input);
    let features = Features {
        password_algorithms: input.u8() & 1 != 0,
        username_anonymity: input.u8() & 1 != 0,
    };
    let (client, other) = (input.socket(), input.socket());
    let (place, bits, later) = (input.u8(), input.u8(), u64::from(input.u16()));
    let received = input.0;
    let nonces = Nonces::new(NonceKey::new([7; 32]), None, Duration::from_secs(600));
    let now = UnixTime::from_secs(1_700_000_000);
    refuses(&nonces, received, client, now);

    let minted = nonces.mint(now, client, features, u32::from(place));
    assert!(minted.as_bytes().len() == NONCE_LEN && minted.as_bytes().is_ascii());
    assert_eq!(Nonces::features_as_sent(minted.as_bytes()), Some(features));
    let then = now.plus_secs(later);
    let wanted = if later > 600 {
        Err(NonceError::Stale)
    } else {
        Ok(features)
    };
    assert_eq!(nonces.check(minted.as_bytes(), client, then), wanted);
    if other != client && other.ip() != client.ip() || other.port() != client.port() {
        refuses(&nonces, minted.as_bytes(), other, now);
    }
    if bits != 0 {
        let mut changed = *minted
            .as_bytes()
            .first_chunk::<NONCE_LEN>()
            .expect("a nonce has its length");
        changed[usize::from(place) % NONCE_LEN] ^= bits;
        refuses(&nonces, &changed, client, now);
    }
}

fn refuses(nonces: &Nonces, nonce: &[u8], client: SocketAddr, now: UnixTime) {
    match nonces.check(nonce, client, now) {
        Err(NonceError::Malformed | NonceError::Forged) => {}
        judged => panic!("a nonce that was not minted is {judged:?}"),
    }
}

/// A file of a static user's keys: a name, and behind a zero byte the text. What is read is of the form that is documented.
pub fn static_keys(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (name, text) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let (Ok(name), Ok(text)) = (str::from_utf8(name), str::from_utf8(text)) else {
        return;
    };
    match StaticUser::parse_keys(name, text) {
        Ok(user) => {
            assert!(!user.name.is_empty() && user.name.len() <= NAME_MAX);
            let lines = text.lines().map(str::trim);
            let keys: Vec<&str> = lines
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .collect();
            assert!((1..=2).contains(&keys.len()));
            for key in keys {
                let (kind, hex) = key.split_once(':').expect("a kind of key");
                assert!(matches!((kind, hex.len()), ("md5", 32) | ("sha256", 64)));
                assert!(hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
                assert!(!format!("{user:?}").contains(hex));
            }
        }
        // Says where, never what.
        Err(error) => assert!(error.to_string().len() < 100),
    }
}
