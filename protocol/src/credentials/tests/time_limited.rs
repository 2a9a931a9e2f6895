//! Minting and reading time-limited names.

use alloc::string::ToString;
use core::time::Duration;

use super::super::{
    Hashes, HmacHash, MintError, SecretError, SharedSecret, mint, password_for, time_limited_expiry,
};
use super::SECRET;
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

fn secret(hashes: Hashes) -> SharedSecret {
    SharedSecret::new("test", SECRET, hashes).unwrap()
}

/// H-07: the published passwords of two secrets, with both hashes.
#[test]
fn passwords_agree_with_the_vectors() {
    let vectors: [(&[u8], &[u8], &str, &str); 2] = [
        (
            b"north",
            b"1700000000:alice",
            "Cd/49soE35ICqcJF/bCTn8Z4OyE=",
            "EuME0Xh0HllnbpbObfs8aBsd78Vr1EMwxArqbyCrGl8=",
        ),
        (
            b"logen",
            b"1433895918:506c13a0-c9d4",
            "9sNv4+nPQz7HRnYivgKT2uWnXcg=",
            "Xm3nncmLVlFIZ0EQvJhL4EbpddO5kWpYH0nFBjqqDgk=",
        ),
    ];
    for (secret, username, sha1, sha256) in vectors {
        assert_eq!(password_for(secret, HmacHash::Sha1, username), sha1);
        assert_eq!(password_for(secret, HmacHash::Sha256, username), sha256);
    }
}

/// H-01: a minted name is the expiry, a colon and the user, or the expiry alone.
#[test]
fn minted_names_begin_with_their_expiry() {
    let secret = secret(Hashes::BOTH);
    let hour = Duration::from_secs(3600);
    for (user, username) in [
        ("alice", "1700003600:alice"),
        ("", "1700003600"),
        ("ward:7:bed:2", "1700003600:ward:7:bed:2"),
        ("マトリックス", "1700003600:マトリックス"),
    ] {
        let credentials = mint(&secret, HmacHash::Sha1, user, hour, NOW).unwrap();
        assert_eq!(credentials.username, username);
        assert_eq!(credentials.expires.as_secs(), 1_700_003_600);
        assert_eq!(
            time_limited_expiry(username.as_bytes()),
            Some(credentials.expires)
        );
        assert_eq!(
            credentials.password,
            password_for(SECRET, HmacHash::Sha1, username.as_bytes())
        );
    }
}

/// H-02: a secret that allows one hash mints with no other.
#[test]
fn the_hash_must_be_allowed() {
    let hour = Duration::from_secs(3600);
    assert_eq!(
        mint(&secret(Hashes::SHA256), HmacHash::Sha1, "a", hour, NOW),
        Err(MintError::Hash)
    );
    assert!(mint(&secret(Hashes::SHA256), HmacHash::Sha256, "a", hour, NOW).is_ok());
}

/// S-20: no name longer than 508 bytes is minted (RFC 8489 §14.3).
#[test]
fn names_longer_than_the_attribute_are_not_minted() {
    let secret = secret(Hashes::BOTH);
    let hour = Duration::from_secs(3600);
    let longest = "x".repeat(508 - 11);
    assert_eq!(
        mint(&secret, HmacHash::Sha1, &longest, hour, NOW)
            .unwrap()
            .username
            .len(),
        508
    );
    assert_eq!(
        mint(&secret, HmacHash::Sha1, &(longest + "x"), hour, NOW),
        Err(MintError::TooLong)
    );
}

#[test]
fn lifetimes_and_users_that_make_no_sense_are_refused() {
    let secret = secret(Hashes::BOTH);
    assert_eq!(
        mint(
            &secret,
            HmacHash::Sha1,
            "a",
            Duration::from_millis(900),
            NOW
        ),
        Err(MintError::Lifetime)
    );
    assert_eq!(
        mint(&secret, HmacHash::Sha1, "a", Duration::MAX, NOW),
        Err(MintError::Lifetime)
    );
    let hour = Duration::from_secs(3600);
    assert!(matches!(
        mint(&secret, HmacHash::Sha1, "a\nb", hour, NOW),
        Err(MintError::User(_))
    ));
}

/// H-04: an expiry is 1-19 decimal digits and nothing else.
#[test]
fn the_expiry_is_strictly_decimal() {
    for name in [
        "",
        ":",
        ":alice",
        "alice",
        "+5:a",
        "-5:a",
        "0x10:a",
        "1e9:a",
        " 5:a",
        "5 :a",
        "5.0:a",
        "1_000:a",
        "12345678901234567890:a",
        "00000000000000000001:a",
        "٥:a",
        "5\0:a",
    ] {
        assert_eq!(time_limited_expiry(name.as_bytes()), None, "{name:?}");
    }
    for (name, expected) in [
        ("5", 5),
        ("5:", 5),
        ("0:a", 0),
        ("007:a", 7),
        ("9999999999999999999:a", 9_999_999_999_999_999_999),
    ] {
        assert_eq!(
            time_limited_expiry(name.as_bytes()).map(UnixTime::as_secs),
            Some(expected),
            "{name:?}"
        );
    }
    assert_eq!(time_limited_expiry(&[0xFF, b':']), None);
}

#[test]
fn short_secrets_are_refused_and_none_is_printed() {
    assert_eq!(
        SharedSecret::new("k", b"north", Hashes::BOTH).err(),
        Some(SecretError::TooShort { length: 5 })
    );
    let neither = Hashes {
        sha1: false,
        sha256: false,
    };
    assert_eq!(
        SharedSecret::new("k", SECRET, neither).err(),
        Some(SecretError::NoHash)
    );
    let secret = secret(Hashes::BOTH);
    let credentials = mint(
        &secret,
        HmacHash::Sha1,
        "alice",
        Duration::from_secs(60),
        NOW,
    )
    .unwrap();
    let text = alloc::format!("{secret:?} {credentials:?}");
    assert!(
        !text.contains("0123") && !text.contains("alice") && !text.contains(&credentials.password),
        "{text}"
    );
    assert_eq!(
        SecretError::TooShort { length: 5 }.to_string(),
        "secret has 5 bytes, needs 32"
    );
}
