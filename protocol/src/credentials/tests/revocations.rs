//! Revoked names and secrets.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::super::{
    Directory, Expiry, Hashes, HmacHash, PasswordAlgorithm, RevocationError, RevocationList,
    Revocations, RevokedKey, RevokedUser, SharedSecret, StaticKeys, StaticUser,
};
use super::{SECRET, Seal, client_key, realm, signed};
use crate::time::UnixTime;
use crate::wire::Framed;

const OTHER: &[u8] = b"another secret of at least 32 bytes";
const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const PASSWORD: &str = "correct horse battery staple";

fn user(user: &str, until: u64) -> RevokedUser {
    RevokedUser {
        user: user.to_string(),
        until,
    }
}

fn key(key_id: &str, until: Option<u64>) -> RevokedKey {
    RevokedKey {
        key_id: key_id.to_string(),
        until,
    }
}

fn list(users: Vec<RevokedUser>, key_ids: Vec<RevokedKey>) -> RevocationList {
    RevocationList {
        users,
        key_ids,
        ..RevocationList::default()
    }
}

fn directory(list: &RevocationList) -> Directory {
    let secrets = [("new", SECRET), ("old", OTHER)]
        .map(|(id, bytes)| SharedSecret::new(id, bytes, Hashes::BOTH).unwrap());
    let keys = StaticKeys::derive("gateway", &realm(), PASSWORD).unwrap();
    let users = vec![StaticUser::new("gateway", keys).unwrap()];
    let mut directory = Directory::new(realm(), secrets.into(), users, Duration::from_secs(86_400));
    directory.revoke(Arc::new(Revocations::of(list)));
    directory
}

/// Whether a request by this time-limited name proves itself.
fn proves(directory: &Directory, name: &str, secret: &[u8], expiry: Expiry) -> bool {
    let key = client_key(
        secret,
        HmacHash::Sha256,
        name.as_bytes(),
        PasswordAlgorithm::Sha256,
    );
    let write = |writer: &mut crate::wire::Writer<'_>| writer.username(name.as_bytes());
    let bytes = signed(write, b"example.org", key.as_bytes(), Seal::Sha256);
    let framed = Framed::parse(&bytes).unwrap();
    let name = framed.credentials().name.unwrap();
    directory
        .verify(&framed, name, PasswordAlgorithm::Sha256, NOW, expiry)
        .is_ok()
}

#[test]
fn a_revoked_user_makes_nothing_new_whatever_the_expiry_of_its_credentials() {
    let directory = directory(&list(vec![user("alice", NOW.as_secs() + 60)], Vec::new()));
    for name in ["1700003600:alice", "1700000100:alice"] {
        for secret in [SECRET, OTHER] {
            assert!(!proves(&directory, name, secret, Expiry::Enforced));
            assert!(proves(&directory, name, secret, Expiry::Lapsed));
        }
    }
    for name in ["1700003600:alicia", "1700003600:bob", "1700003600"] {
        assert!(proves(&directory, name, SECRET, Expiry::Enforced), "{name}");
    }
}

#[test]
fn a_revocation_ends() {
    let until = NOW.as_secs();
    for (until, proven) in [(until - 1, true), (until, true), (until + 1, false)] {
        let by_user = directory(&list(vec![user("alice", until)], Vec::new()));
        let by_key = directory(&list(Vec::new(), vec![key("new", Some(until))]));
        for directory in [by_user, by_key] {
            assert_eq!(
                proves(&directory, "1700003600:alice", SECRET, Expiry::Enforced),
                proven
            );
        }
    }
}

#[test]
fn a_revoked_secret_makes_nothing_new_and_the_others_do() {
    let directory = directory(&list(Vec::new(), vec![key("old", None)]));
    let name = "1700003600:alice";
    assert!(!proves(&directory, name, OTHER, Expiry::Enforced));
    assert!(proves(&directory, name, OTHER, Expiry::Lapsed));
    assert!(proves(&directory, name, SECRET, Expiry::Enforced));
}

/// S-33: by name and by USERHASH alike.
#[test]
fn a_stored_user_is_revoked_however_its_name_is_sent() {
    use sha2::{Digest as _, Sha256};
    let userhash: [u8; 32] = Sha256::digest(b"gateway:example.org").into();
    let prove = |directory: &Directory, by_hash: bool, expiry| {
        let key = super::super::LongTermKey::derive(
            PasswordAlgorithm::Md5,
            b"gateway",
            &realm(),
            PASSWORD,
        )
        .unwrap();
        let write = |writer: &mut crate::wire::Writer<'_>| {
            if by_hash {
                writer.userhash(&userhash);
            } else {
                writer.username(b"gateway");
            }
        };
        let bytes = signed(write, b"example.org", key.as_bytes(), Seal::Sha1);
        let framed = Framed::parse(&bytes).unwrap();
        let name = framed.credentials().name.unwrap();
        directory
            .verify(&framed, name, PasswordAlgorithm::Md5, NOW, expiry)
            .is_ok()
    };
    let revoked = directory(&list(vec![user("gateway", u64::MAX)], Vec::new()));
    let free = directory(&RevocationList::default());
    for by_hash in [false, true] {
        assert!(!prove(&revoked, by_hash, Expiry::Enforced));
        assert!(prove(&revoked, by_hash, Expiry::Lapsed));
        assert!(prove(&free, by_hash, Expiry::Enforced));
    }
}

#[test]
fn a_reload_lifts_nothing() {
    let revoked = directory(&list(vec![user("alice", u64::MAX)], Vec::new()));
    let fresh = directory(&RevocationList::default()).succeeding(&revoked);
    assert!(!proves(
        &fresh,
        "1700003600:alice",
        SECRET,
        Expiry::Enforced
    ));
}

#[test]
fn a_list_that_could_not_be_meant_is_refused() {
    let long = "x".repeat(509);
    for wrong in ["", "tab\there", "e\u{301}", &long] {
        let wrong = list(vec![user(wrong, 1)], Vec::new());
        assert_eq!(wrong.check(), Err(RevocationError::User));
    }
    for wrong in ["", "line\nbreak", &long] {
        let wrong = list(Vec::new(), vec![key(wrong, None)]);
        assert_eq!(wrong.check(), Err(RevocationError::KeyId));
    }
    let twice = [
        list(vec![user("a", 1), user("b", 1), user("a", 2)], Vec::new()),
        list(Vec::new(), vec![key("a", None), key("a", Some(2))]),
    ];
    for wrong in twice {
        assert_eq!(wrong.check(), Err(RevocationError::Twice));
    }
    for (epoch, version) in [(1 << 53, 1), (1, 1 << 53), (1, u64::MAX)] {
        let mut last = list(Vec::new(), Vec::new());
        (last.epoch, last.version) = (epoch, version);
        assert_eq!(last.check(), Err(RevocationError::Version));
    }
    let many = |count: u32| {
        let users = (0..count).map(|number| user(&number.to_string(), 1));
        list(users.collect(), Vec::new()).check()
    };
    assert_eq!(many(1000), Ok(()));
    assert_eq!(many(1001), Err(RevocationError::TooMany));
    let good = list(
        vec![user("alice@ward:7", 1), user("マトリックス", 1)],
        vec![key("alice@ward:7", None)],
    );
    assert_eq!(good.check(), Ok(()));
    assert!(!good.is_empty() && RevocationList::default().is_empty());
    // A thousand ids of the length of a UUID fit, with what JSON puts around each.
    assert_eq!(RevocationList::BYTES, 65_536);
    assert!(RevocationList::MOST * r#"{"user":"","until":1700000000},"#.len() < 65_536);
}

/// A revocation that is over is taken out, and none before.
#[test]
fn what_has_ended_is_forgotten() {
    let now = NOW.as_secs();
    let keys = [("x", Some(now)), ("y", Some(now + 1)), ("z", None)];
    let mut held = list(
        vec![user("a", now - 1), user("b", now), user("c", now + 1)],
        keys.map(|(id, until)| key(id, until)).into(),
    );
    held.forget_ended(NOW);
    let left = list(
        vec![user("c", now + 1)],
        keys[1..]
            .iter()
            .map(|&(id, until)| key(id, until))
            .collect(),
    );
    assert_eq!(held, left);
}

/// No name of a user gets into a log by way of `Debug`.
#[test]
fn a_list_is_printed_without_names() {
    let list = list(vec![user("alice", 1)], vec![key("2026-10", None)]);
    let printed = [
        alloc::format!("{list:?}"),
        alloc::format!("{:?}", list.users),
        alloc::format!("{:?}", Revocations::of(&list)),
        alloc::format!("{:?}", directory(&list)),
    ];
    for text in printed {
        assert!(!text.contains("alice"), "{text}");
    }
}

fn ids() -> impl Strategy<Value = Vec<(String, u64)>> {
    proptest::collection::vec(("[a-z:0-9]{1,6}", 1_699_999_000..1_700_001_000_u64), 0..20)
}

proptest! {
    /// Of any list, exactly the users in it whose time is not over are refused, and what is over can be left out.
    #[test]
    fn exactly_those_in_the_list_are_refused(listed in ids(), others in ids()) {
        let mut list = list(
            listed.iter().map(|(id, until)| user(id, *until)).collect(),
            Vec::new(),
        );
        let directory = directory(&list);
        list.forget_ended(NOW);
        let shorter = Revocations::of(&list);
        for (id, _) in listed.iter().chain(&others) {
            let revoked = listed
                .iter()
                .any(|(other, until)| other == id && *until > NOW.as_secs());
            let name = alloc::format!("1700003600:{id}");
            prop_assert_eq!(proves(&directory, &name, SECRET, Expiry::Enforced), !revoked);
            prop_assert_eq!(shorter.covers_user(id.as_bytes(), NOW), revoked);
            prop_assert!(proves(&directory, &name, SECRET, Expiry::Lapsed));
        }
    }
}
