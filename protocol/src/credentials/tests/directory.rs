//! Verifying requests.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use sha2::{Digest, Sha256};

use super::super::{
    Directory, Expiry, Hashes, HmacHash, LongTermKey, PasswordAlgorithm, SharedSecret, StaticKeys,
    StaticUser, UserName, WrongCredentials,
};
use super::{SECRET, Seal, client_key, realm, signed};
use crate::time::UnixTime;
use crate::wire::Framed;

const OLD_SECRET: &[u8] = b"an older secret of at least 32 bytes";
const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const PASSWORD: &str = "correct horse battery staple";

fn secrets(hashes: Hashes) -> Vec<SharedSecret> {
    vec![
        SharedSecret::new("new", SECRET, hashes).unwrap(),
        SharedSecret::new("old", OLD_SECRET, hashes).unwrap(),
    ]
}

fn users() -> Vec<StaticUser> {
    ["alice", "マトリックス"]
        .map(|name| {
            StaticUser::new(name, StaticKeys::derive(name, &realm(), PASSWORD).unwrap()).unwrap()
        })
        .into()
}

fn directory() -> Directory {
    Directory::new(realm(), secrets(Hashes::BOTH), users(), DAY)
}

/// Verifies and, on success, gives the name.
fn prove(
    directory: &Directory,
    bytes: &[u8],
    algorithm: PasswordAlgorithm,
    expiry: Expiry,
) -> Result<UserName, WrongCredentials> {
    let framed = Framed::parse(bytes).unwrap();
    let name = framed.credentials().name.unwrap();
    directory
        .verify(&framed, name, algorithm, NOW, expiry)
        .map(|verified| {
            assert!(framed.verify(verified.key.as_bytes()).is_some());
            assert_eq!(verified.key.algorithm(), algorithm);
            assert_eq!(
                verified.request.attributes().requested_transport(),
                Some(Ok(17))
            );
            verified.user
        })
}

fn time_limited(name: &str, secret: &[u8], hash: HmacHash) -> Vec<u8> {
    let key = client_key(secret, hash, name.as_bytes(), PasswordAlgorithm::Md5);
    signed(
        |writer| writer.username(name.as_bytes()),
        b"example.org",
        key.as_bytes(),
        Seal::Sha1,
    )
}

fn prove_time_limited(name: &str, expiry: Expiry) -> bool {
    let bytes = time_limited(name, SECRET, HmacHash::Sha1);
    prove(&directory(), &bytes, PasswordAlgorithm::Md5, expiry).is_ok()
}

/// H-01, H-05: a name proves itself with every live secret, every hash, both algorithms and both integrity attributes.
#[test]
fn every_live_secret_proves_a_name() {
    let name = "1700003600:alice@ward";
    for secret in [SECRET, OLD_SECRET] {
        for hash in [HmacHash::Sha1, HmacHash::Sha256] {
            for algorithm in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
                for seal in [Seal::Sha1, Seal::Sha256] {
                    let key = client_key(secret, hash, name.as_bytes(), algorithm);
                    let bytes = signed(
                        |writer| writer.username(name.as_bytes()),
                        b"example.org",
                        key.as_bytes(),
                        seal,
                    );
                    let user = prove(&directory(), &bytes, algorithm, Expiry::Enforced).unwrap();
                    assert_eq!(user.as_bytes(), name.as_bytes());
                }
            }
        }
    }
    let stranger = time_limited(
        name,
        b"a secret that the relay does not know",
        HmacHash::Sha1,
    );
    assert!(
        prove(
            &directory(),
            &stranger,
            PasswordAlgorithm::Md5,
            Expiry::Enforced
        )
        .is_err()
    );
}

/// H-02: a hash that a secret does not allow proves nothing.
#[test]
fn sha1_can_be_switched_off() {
    let directory = Directory::new(realm(), secrets(Hashes::SHA256), Vec::new(), DAY);
    let name = "1700003600:alice";
    let sha1 = time_limited(name, SECRET, HmacHash::Sha1);
    assert!(prove(&directory, &sha1, PasswordAlgorithm::Md5, Expiry::Enforced).is_err());
    let sha256 = time_limited(name, SECRET, HmacHash::Sha256);
    assert!(
        prove(
            &directory,
            &sha256,
            PasswordAlgorithm::Md5,
            Expiry::Enforced
        )
        .is_ok()
    );
}

/// H-03: an expired name is good for a live allocation only.
#[test]
fn an_expired_name_only_keeps_what_it_has() {
    assert!(prove_time_limited("1700000000:a", Expiry::Enforced));
    assert!(!prove_time_limited("1699999999:a", Expiry::Enforced));
    assert!(prove_time_limited("1699999999:a", Expiry::Lapsed));
    assert!(prove_time_limited("1700000001", Expiry::Enforced));
}

/// H-04: a malformed expiry fails although the HMAC is right, lapsed or not.
#[test]
fn a_malformed_expiry_fails_with_a_right_hmac() {
    for name in [
        "",
        ":a",
        "alice",
        "+1700003600:a",
        "0x6553F100:a",
        "1.7e9:a",
        " 1700003600:a",
        "00000000001700003600:a",
    ] {
        for expiry in [Expiry::Enforced, Expiry::Lapsed] {
            assert!(!prove_time_limited(name, expiry), "{name:?}");
        }
    }
}

/// H-06: an expiry further ahead than the longest lifetime fails.
#[test]
fn an_expiry_too_far_ahead_fails() {
    assert!(prove_time_limited("1700086400:a", Expiry::Enforced));
    assert!(!prove_time_limited("1700086401:a", Expiry::Enforced));
    assert!(!prove_time_limited(
        "9999999999999999999:a",
        Expiry::Enforced
    ));
    assert!(!prove_time_limited("1700086401:a", Expiry::Lapsed));
}

/// A static user's request, with everything a test varies.
fn static_request(
    name: &[u8],
    signer: &str,
    realm_sent: &[u8],
    password: &str,
    algorithm: PasswordAlgorithm,
) -> Vec<u8> {
    let key = LongTermKey::derive(algorithm, signer.as_bytes(), &realm(), password).unwrap();
    signed(
        |writer| writer.username(name),
        realm_sent,
        key.as_bytes(),
        Seal::Sha1,
    )
}

/// S-27: static users prove themselves with their password and no other (RFC 8489 §9.2.4).
#[test]
fn static_users_prove_themselves() {
    let directory = directory();
    for name in ["alice", "マトリックス"] {
        for algorithm in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
            let bytes = static_request(name.as_bytes(), name, b"example.org", PASSWORD, algorithm);
            let user = prove(&directory, &bytes, algorithm, Expiry::Enforced).unwrap();
            assert_eq!(user.as_bytes(), name.as_bytes());
            let wrong = static_request(name.as_bytes(), name, b"example.org", "wrong", algorithm);
            assert_eq!(
                prove(&directory, &wrong, algorithm, Expiry::Enforced),
                Err(WrongCredentials)
            );
        }
        // The key of one algorithm is not the key of the other.
        let crossed = static_request(
            name.as_bytes(),
            name,
            b"example.org",
            PASSWORD,
            PasswordAlgorithm::Md5,
        );
        assert!(
            prove(
                &directory,
                &crossed,
                PasswordAlgorithm::Sha256,
                Expiry::Enforced
            )
            .is_err()
        );
    }
}

/// S-26: unknown names and foreign realms fail, whatever key they come with, the dummy key included (RFC 8489 §9.2.4).
#[test]
fn unknown_names_and_foreign_realms_fail() {
    let directory = directory();
    let algorithm = PasswordAlgorithm::Md5;
    let unknown = static_request(b"mallory", "mallory", b"example.org", PASSWORD, algorithm);
    assert!(prove(&directory, &unknown, algorithm, Expiry::Enforced).is_err());
    let dummy = signed(
        |writer| writer.username(b"mallory"),
        b"example.org",
        &[0; 16],
        Seal::Sha1,
    );
    assert!(prove(&directory, &dummy, algorithm, Expiry::Enforced).is_err());
    for realm_sent in [&b"example.com"[..], b"", b"example.org2", b"Example.org"] {
        let foreign = static_request(b"alice", "alice", realm_sent, PASSWORD, algorithm);
        assert!(prove(&directory, &foreign, algorithm, Expiry::Enforced).is_err());
        let name = b"1700003600:a";
        let key = client_key(SECRET, HmacHash::Sha1, name, algorithm);
        let foreign = signed(
            |writer| writer.username(name),
            realm_sent,
            key.as_bytes(),
            Seal::Sha1,
        );
        assert!(prove(&directory, &foreign, algorithm, Expiry::Enforced).is_err());
    }
    let nobody = Directory::new(realm(), Vec::new(), Vec::new(), DAY);
    let bytes = static_request(b"alice", "alice", b"example.org", PASSWORD, algorithm);
    assert!(prove(&nobody, &bytes, algorithm, Expiry::Enforced).is_err());
}

/// What a user holds is counted by the id, whatever the expiry before it; a name that only looks like one of those is
/// somebody of its own, so that no two share a quota or a revocation.
#[test]
fn a_user_is_known_by_the_id_behind_an_expiry() {
    for (name, subject) in [
        ("1700003600:alice", "alice"),
        ("1:alice", "alice"),
        ("1700003600:team:alice", "team:alice"),
        ("team:alice", "team:alice"),
        ("17000036OO:alice", "17000036OO:alice"),
        (":alice", ":alice"),
        ("1700003600:", "1700003600:"),
        ("1700003600", "1700003600"),
        ("alice", "alice"),
        ("", ""),
    ] {
        assert_eq!(
            UserName::new(name.as_bytes()).subject(),
            subject.as_bytes(),
            "{name}"
        );
    }
}

/// The relay's own user is the one that was named last; the name of the one before it is nobody's, whatever its key.
#[test]
fn a_second_self_check_user_takes_the_place_of_the_first() {
    let user = |name| {
        StaticUser::new(name, StaticKeys::derive(name, &realm(), PASSWORD).unwrap()).unwrap()
    };
    let algorithm = PasswordAlgorithm::Md5;
    let directory = directory()
        .with_self_check(user("first"))
        .with_self_check(user("second"));
    for (named, keyed, expected) in [
        ("second", "second", true),
        ("first", "first", false),
        ("first", "second", false),
        ("alice", "alice", true),
    ] {
        let bytes = static_request(named.as_bytes(), keyed, b"example.org", PASSWORD, algorithm);
        let proven = prove(&directory, &bytes, algorithm, Expiry::Enforced);
        assert_eq!(proven.is_ok(), expected, "{named} with the key of {keyed}");
    }
}

/// an unknown name is tried with the key of somebody who is stored, so that it costs what a known one costs. That this
/// key should match proves nothing: neither by name nor by hash.
#[test]
fn the_key_that_an_unknown_name_is_tried_with_proves_nothing() {
    let directory = directory();
    for algorithm in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
        for owner in ["alice", "マトリックス"] {
            let key = LongTermKey::derive(algorithm, owner.as_bytes(), &realm(), PASSWORD).unwrap();
            // So many that for either user there are some that its key is tried for.
            for number in 0..64_u8 {
                let name = alloc::format!("mallory-{number}");
                let hash: [u8; 32] = Sha256::digest(alloc::format!("{name}:example.org")).into();
                let plain = signed(
                    |writer| writer.username(name.as_bytes()),
                    b"example.org",
                    key.as_bytes(),
                    Seal::Sha1,
                );
                let hashed = signed(
                    |writer| writer.userhash(&hash),
                    b"example.org",
                    key.as_bytes(),
                    Seal::Sha1,
                );
                for bytes in [plain, hashed] {
                    let proven = prove(&directory, &bytes, algorithm, Expiry::Enforced);
                    assert_eq!(proven, Err(WrongCredentials), "{name}");
                }
            }
        }
    }
}

/// S-34: enclosing quotes and trailing NULs do not belong to a name or realm (RFC 8489 §9.2.2).
#[test]
fn quotes_and_trailing_nulls_are_stripped() {
    for name in [&b"alice\0"[..], b"\"alice\"", b"\"alice\"\0\0"] {
        let bytes = static_request(
            name,
            "alice",
            b"\"example.org\"\0",
            PASSWORD,
            PasswordAlgorithm::Md5,
        );
        let user = prove(
            &directory(),
            &bytes,
            PasswordAlgorithm::Md5,
            Expiry::Enforced,
        )
        .unwrap();
        assert_eq!(user.as_bytes(), b"alice");
    }
    for name in [
        &b"\"alice"[..],
        b"alice\"",
        b"\0alice",
        b"al\"ice",
        b"Alice",
    ] {
        let bytes = static_request(
            name,
            "alice",
            b"example.org",
            PASSWORD,
            PasswordAlgorithm::Md5,
        );
        assert!(
            prove(
                &directory(),
                &bytes,
                PasswordAlgorithm::Md5,
                Expiry::Enforced
            )
            .is_err()
        );
    }
}

/// S-33: USERHASH finds stored names by SHA-256(user ":" realm), and time-limited names never (RFC 8489 §14.4).
#[test]
fn userhash_finds_stored_names_only() {
    let directory = directory();
    assert!(directory.offers_userhash());
    assert!(!Directory::new(realm(), secrets(Hashes::BOTH), Vec::new(), DAY).offers_userhash());
    let algorithm = PasswordAlgorithm::Sha256;
    let hash_of =
        |name: &str| -> [u8; 32] { Sha256::digest(alloc::format!("{name}:example.org")).into() };
    let published: [u8; 4] = [0x4a, 0x3c, 0xf3, 0x8f];
    assert_eq!(hash_of("マトリックス")[..4], published);
    for name in ["alice", "マトリックス"] {
        let key = LongTermKey::derive(algorithm, name.as_bytes(), &realm(), PASSWORD).unwrap();
        let by_hash = signed(
            |writer| writer.userhash(&hash_of(name)),
            b"example.org",
            key.as_bytes(),
            Seal::Sha256,
        );
        let user = prove(&directory, &by_hash, algorithm, Expiry::Enforced).unwrap();
        // The same user, however it was named.
        assert_eq!(user, UserName::new(name.as_bytes()));
        for len in [0, 31, 33] {
            let mut value = hash_of(name).to_vec();
            value.resize(len, 0);
            let cut = signed(
                |writer| writer.raw(0x001E, &value),
                b"example.org",
                key.as_bytes(),
                Seal::Sha256,
            );
            assert!(prove(&directory, &cut, algorithm, Expiry::Enforced).is_err());
        }
    }
    let name = "1700003600:a";
    let key = client_key(SECRET, HmacHash::Sha256, name.as_bytes(), algorithm);
    let by_hash = signed(
        |writer| writer.userhash(&hash_of(name)),
        b"example.org",
        key.as_bytes(),
        Seal::Sha256,
    );
    assert!(prove(&directory, &by_hash, algorithm, Expiry::Enforced).is_err());
}

/// A user whose file has one kind of key cannot choose the other.
#[test]
fn a_user_without_the_chosen_key_fails() {
    let text = StaticKeys::derive("bob", &realm(), PASSWORD)
        .unwrap()
        .to_text();
    let md5_only = text.lines().next().unwrap();
    let directory = Directory::new(
        realm(),
        Vec::new(),
        vec![StaticUser::parse_keys("bob", md5_only).unwrap()],
        DAY,
    );
    for (algorithm, expected) in [
        (PasswordAlgorithm::Md5, true),
        (PasswordAlgorithm::Sha256, false),
    ] {
        let bytes = static_request(b"bob", "bob", b"example.org", PASSWORD, algorithm);
        assert_eq!(
            prove(&directory, &bytes, algorithm, Expiry::Enforced).is_ok(),
            expected
        );
    }
}

/// A static name of digits is no time-limited name that has ended.
#[test]
fn a_static_name_of_digits_does_not_end() {
    let keys = StaticKeys::derive("1001", &realm(), PASSWORD).unwrap();
    let directory = Directory::new(
        realm(),
        secrets(Hashes::BOTH),
        vec![StaticUser::new("1001", keys).unwrap()],
        DAY,
    );
    let bytes = static_request(
        b"1001",
        "1001",
        b"example.org",
        PASSWORD,
        PasswordAlgorithm::Md5,
    );
    assert!(prove(&directory, &bytes, PasswordAlgorithm::Md5, Expiry::Enforced).is_ok());
}

#[test]
fn debug_output_names_nobody() {
    let bytes = static_request(
        b"alice",
        "alice",
        b"example.org",
        PASSWORD,
        PasswordAlgorithm::Md5,
    );
    let framed = Framed::parse(&bytes).unwrap();
    let directory = directory();
    let verified = directory
        .verify(
            &framed,
            framed.credentials().name.unwrap(),
            PasswordAlgorithm::Md5,
            NOW,
            Expiry::Enforced,
        )
        .unwrap();
    let text = alloc::format!("{verified:?} {directory:?}");
    assert!(
        !text.contains("alice") && !text.contains("97, 108"),
        "{text}"
    );
}
