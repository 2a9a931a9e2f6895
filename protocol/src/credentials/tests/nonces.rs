//! Nonces.

use alloc::collections::BTreeSet;
use alloc::vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base64ct::{Base64Unpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;

use super::super::{Features, NONCE_LEN, NonceError, NonceKey, Nonces, SecretError};
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const BOTH: Features = Features {
    password_algorithms: true,
    username_anonymity: true,
};
const NONE: Features = Features {
    password_algorithms: false,
    username_anonymity: false,
};

fn nonces() -> Nonces {
    Nonces::new(NonceKey::new([1; 32]), None, Nonces::DEFAULT_LIFETIME)
}

fn client() -> SocketAddr {
    "192.0.2.1:50000".parse().unwrap()
}

fn any_features() -> impl Strategy<Value = Features> {
    any::<(bool, bool)>().prop_map(|(password_algorithms, username_anonymity)| Features {
        password_algorithms,
        username_anonymity,
    })
}

/// S-35: a nonce begins with the cookie and the features, bit 0 first (RFC 8489 §9.2, §18.1).
#[test]
fn the_cookie_carries_the_features() {
    for (password_algorithms, username_anonymity, expected) in [
        (false, false, "AAAA"),
        (true, false, "gAAA"),
        (false, true, "QAAA"),
        (true, true, "wAAA"),
    ] {
        let features = Features {
            password_algorithms,
            username_anonymity,
        };
        let nonce = nonces().mint(NOW, client(), features, 7);
        let text = core::str::from_utf8(nonce.as_bytes()).unwrap();
        assert!(text.is_ascii() && text.len() == NONCE_LEN && NONCE_LEN < 128);
        assert!(
            text.starts_with("obMatJos2") && &text[9..13] == expected,
            "{text}"
        );
        assert_eq!(
            nonces().check(nonce.as_bytes(), client(), NOW),
            Ok(features)
        );
    }
}

/// S-24, S-35: the features are read from a nonce as it was sent, valid or not (RFC 8489 §9.2.4).
#[test]
fn features_are_read_before_validity() {
    let features = |text: &str| Nonces::features_as_sent(text.as_bytes());
    assert_eq!(
        features("obMatJos2gAAA"),
        Some(Features {
            password_algorithms: true,
            username_anonymity: false
        })
    );
    assert_eq!(features("obMatJos2wAAAinvented"), Some(BOTH));
    assert_eq!(
        features("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"),
        Some(NONE)
    );
    assert_eq!(features("obMatJos2////"), Some(BOTH));
    for other in [
        "",
        "obMatJos2",
        "obMatJos2gAA",
        "obMatJos3gAAA",
        "f//499k954d6OL34oL9FSTvy64sA",
        "obMatJos2g-_A",
    ] {
        assert_eq!(features(other), None, "{other}");
    }
}

/// S-35, S-37: feature bits that were not issued, or were changed, make a nonce invalid (RFC 8489 §9.2.1).
#[test]
fn changed_feature_bits_are_invalid() {
    let nonce = nonces().mint(NOW, client(), BOTH, 7);
    for (text, expected) in [
        (b"AAAA", NonceError::Forged),
        (b"gAAA", NonceError::Forged),
        (b"QAAA", NonceError::Forged),
        (b"AAAC", NonceError::Malformed),
        (b"wAAB", NonceError::Malformed),
        (b"////", NonceError::Malformed),
    ] {
        let mut changed = *nonce.as_bytes().first_chunk::<NONCE_LEN>().unwrap();
        changed[9..13].copy_from_slice(text);
        assert_eq!(nonces().check(&changed, client(), NOW), Err(expected));
    }
}

/// S-22: a nonce of another address or port is invalid (RFC 8489 §9.2.4).
#[test]
fn a_nonce_belongs_to_one_address_and_port() {
    let nonce = nonces().mint(NOW, client(), BOTH, 7);
    for other in [
        "192.0.2.1:50001",
        "192.0.2.2:50000",
        "[::ffff:192.0.2.1]:50000",
        "[2001:db8::1]:50000",
    ] {
        assert_eq!(
            nonces().check(nonce.as_bytes(), other.parse().unwrap(), NOW),
            Err(NonceError::Forged)
        );
    }
}

/// S-37, S-28: a nonce lives for its lifetime; one from the future beyond 5 s of skew is invalid (RFC 8656 §5).
#[test]
fn a_nonce_lives_for_its_lifetime() {
    let nonces = nonces();
    let nonce = nonces.mint(NOW, client(), BOTH, 7);
    let check = |now: u64| nonces.check(nonce.as_bytes(), client(), UnixTime::from_secs(now));
    assert_eq!(check(1_700_000_600), Ok(BOTH));
    assert_eq!(check(1_700_000_601), Err(NonceError::Stale));
    assert_eq!(check(1_699_999_995), Ok(BOTH));
    assert_eq!(check(1_699_999_994), Err(NonceError::Future));
    assert_eq!(check(0), Err(NonceError::Future));
    assert_eq!(check(u64::MAX), Err(NonceError::Stale));
    let short = Nonces::new(NonceKey::new([1; 32]), None, Duration::from_secs(1));
    assert_eq!(
        short.check(nonce.as_bytes(), client(), NOW.plus_secs(2)),
        Err(NonceError::Stale)
    );
}

/// S-37: two keys live at once, so that rotation costs nobody a nonce.
#[test]
fn the_previous_key_stays_valid() {
    let (old, new) = (NonceKey::new([1; 32]), NonceKey::new([2; 32]));
    let before = Nonces::new(old.clone(), None, Nonces::DEFAULT_LIFETIME);
    let rotated = Nonces::new(new.clone(), Some(old), Nonces::DEFAULT_LIFETIME);
    let after = Nonces::new(new, None, Nonces::DEFAULT_LIFETIME);
    let nonce = before.mint(NOW, client(), BOTH, 7);
    assert_eq!(rotated.check(nonce.as_bytes(), client(), NOW), Ok(BOTH));
    assert_eq!(
        after.check(nonce.as_bytes(), client(), NOW),
        Err(NonceError::Forged)
    );
    let newer = rotated.mint(NOW, client(), BOTH, 7);
    assert_eq!(after.check(newer.as_bytes(), client(), NOW), Ok(BOTH));
    assert_eq!(
        before.check(newer.as_bytes(), client(), NOW),
        Err(NonceError::Forged)
    );
}

/// S-37: a key that was kept for a while is not kept any longer than the operator says, once they have named it.
#[test]
fn a_key_that_was_named_and_taken_out_is_out() {
    let [old, new] = [1, 2].map(|byte| NonceKey::new([byte; 32]));
    let of = |previous| Nonces::new(new.clone(), previous, Nonces::DEFAULT_LIFETIME);
    let before = Nonces::new(old.clone(), None, Nonces::DEFAULT_LIFETIME);
    let nonce = before.mint(NOW, client(), BOTH, 7);
    let rotated = of(None).succeeding(&before, NOW);
    let named = of(Some(old)).succeeding(&rotated, NOW);
    let taken_out = of(None).succeeding(&named, NOW);
    for (nonces, expected) in [
        (rotated, Ok(BOTH)),
        (named, Ok(BOTH)),
        (taken_out, Err(NonceError::Forged)),
    ] {
        assert_eq!(nonces.check(nonce.as_bytes(), client(), NOW), expected);
    }
}

/// S-35: the form that every relay of a fleet reads, by hand: which list of algorithms was offered is sealed in it, and another
/// list than the features say is refused, although the seal is right.
#[test]
fn the_list_that_was_offered_is_sealed_in_the_nonce() {
    let written = |features: &str, list: u8| {
        let body = [&1_700_000_000_u32.to_be_bytes()[..], &[0, 0, 0, 7, list]].concat();
        let seal = Hmac::<Sha256>::new_from_slice(&[1; 32])
            .unwrap()
            .chain_update([4, 192, 0, 2, 1])
            .chain_update(50_000_u16.to_be_bytes())
            .chain_update(features)
            .chain_update(&body)
            .finalize()
            .into_bytes();
        let sealed = [&body[..], &seal[..16]].concat();
        alloc::format!(
            "obMatJos2{features}{}",
            Base64Unpadded::encode_string(&sealed)
        )
    };
    for (features, text, list) in [(NONE, "AAAA", 0), (BOTH, "wAAA", 1)] {
        let nonce = nonces().mint(NOW, client(), features, 7);
        assert_eq!(nonce.as_bytes(), written(text, list).as_bytes());
        for other in [1 - list, 2, 255] {
            assert_eq!(
                nonces().check(written(text, other).as_bytes(), client(), NOW),
                Err(NonceError::Forged),
                "{text} {other}"
            );
        }
    }
}

/// T-04: nonces of one second and one client differ by their random part (RFC 8656 §5).
#[test]
fn nonces_are_unique() {
    let nonces = nonces();
    let distinct: BTreeSet<_> = (0..10_000)
        .map(|random| nonces.mint(NOW, client(), BOTH, random))
        .collect();
    assert_eq!(distinct.len(), 10_000);
}

#[test]
fn keys_from_secrets_are_long_and_never_printed() {
    assert_eq!(
        NonceKey::from_secret(b"short").err(),
        Some(SecretError::TooShort { length: 5 })
    );
    let key = NonceKey::from_secret(b"0123456789abcdef0123456789abcdef").unwrap();
    assert_eq!(alloc::format!("{key:?}"), "NonceKey(..)");
}

proptest! {
    #[test]
    fn what_is_minted_is_accepted_for_its_client_only(
        key in any::<[u8; 32]>(),
        minted in 0..u64::from(u32::MAX),
        age in 0..=600_u64,
        (ip, port) in any::<(IpAddr, u16)>(),
        (other_ip, other_port) in any::<(IpAddr, u16)>(),
        features in any_features(),
        random in any::<u32>(),
    ) {
        let nonces = Nonces::new(NonceKey::new(key), None, Nonces::DEFAULT_LIFETIME);
        let (client, other) = (SocketAddr::new(ip, port), SocketAddr::new(other_ip, other_port));
        let nonce = nonces.mint(UnixTime::from_secs(minted), client, features, random);
        let now = UnixTime::from_secs(minted + age);
        prop_assert_eq!(nonces.check(nonce.as_bytes(), client, now), Ok(features));
        prop_assert_eq!(Nonces::features_as_sent(nonce.as_bytes()), Some(features));
        if other != client {
            prop_assert!(nonces.check(nonce.as_bytes(), other, now).is_err());
        }
    }

    /// S-28: a nonce with one byte changed, cut or made longer is invalid (RFC 8489 §9.2.4).
    #[test]
    fn a_changed_nonce_is_invalid(
        position in 0..NONCE_LEN,
        byte in any::<u8>(),
        features in any_features(),
        random in any::<u32>(),
    ) {
        let nonce = nonces().mint(NOW, client(), features, random);
        let mut changed = nonce.as_bytes().to_vec();
        if changed[position] != byte {
            changed[position] = byte;
            prop_assert!(nonces().check(&changed, client(), NOW).is_err());
        }
        prop_assert!(nonces().check(&nonce.as_bytes()[..position], client(), NOW).is_err());
        let mut longer = nonce.as_bytes().to_vec();
        longer.push(b'A');
        prop_assert!(nonces().check(&longer, client(), NOW).is_err());
    }

    #[test]
    fn arbitrary_nonces_never_panic_and_never_pass(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut cookie = vec![];
        cookie.extend_from_slice(b"obMatJos2gAAA");
        cookie.extend_from_slice(&bytes);
        for text in [&bytes, &cookie] {
            let _ = Nonces::features_as_sent(text);
            prop_assert!(nonces().check(text, client(), NOW).is_err());
        }
    }
}
