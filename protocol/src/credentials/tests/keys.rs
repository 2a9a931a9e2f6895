//! Key derivation, realms and static users.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::super::{
    KeyTextError, LongTermKey, PasswordAlgorithm, Realm, RealmError, StaticKeys, StaticUser,
};
use super::realm;

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| alloc::format!("{byte:02x}"))
        .collect()
}

fn derive(algorithm: PasswordAlgorithm, user: &str, realm: &str, password: &str) -> String {
    hex(LongTermKey::derive(
        algorithm,
        user.as_bytes(),
        &Realm::new(realm).unwrap(),
        password,
    )
    .unwrap()
    .as_bytes())
}

/// S-34: the keys of the published examples, from the password that is prepared already (RFC 8489 §9.2.2, §B.1, RFC 5769 §2.4).
#[test]
fn keys_agree_with_the_vectors() {
    assert_eq!(
        derive(PasswordAlgorithm::Md5, "user", "realm", "pass"),
        "8493fbc53ba582fb4c044c456bdc40eb"
    );
    assert_eq!(
        derive(
            PasswordAlgorithm::Md5,
            "マトリックス",
            "example.org",
            "TheMatrIX"
        ),
        "e8ca7ad59d5eb0518e312911d2dab2a9"
    );
    assert_eq!(
        derive(
            PasswordAlgorithm::Sha256,
            "マトリックス",
            "example.org",
            "TheMatrIX"
        ),
        "dd295a613b9058c3c23d6dc7165bda072304d989c9d0af3a8c7e184b4f9bb4a1"
    );
}

/// S-34: U+00AD is refused, spaces and composition are normalised, trailing NULs do not count (RFC 8265 §4.2).
#[test]
fn passwords_are_prepared() {
    let key = |password| LongTermKey::derive(PasswordAlgorithm::Md5, b"user", &realm(), password);
    assert!(key("The\u{AD}M\u{AA}tr\u{2168}").is_err());
    assert!(key("").is_err());
    assert!(key("\0\0").is_err());
    assert_eq!(
        key("pa\u{3000}ss").unwrap().as_bytes(),
        key("pa ss").unwrap().as_bytes()
    );
    assert_eq!(
        key("cafe\u{301}").unwrap().as_bytes(),
        key("caf\u{E9}").unwrap().as_bytes()
    );
    assert_eq!(
        key("pass\0").unwrap().as_bytes(),
        key("pass").unwrap().as_bytes()
    );
}

/// S-20: a realm has fewer than 128 characters (RFC 8489 §14.9).
#[test]
fn realms_are_bounded() {
    assert_eq!(Realm::new("example.org").unwrap().as_str(), "example.org");
    assert!(Realm::new(&"ü".repeat(127)).is_ok());
    assert_eq!(Realm::new(&"ü".repeat(128)), Err(RealmError::TooLong));
    assert!(matches!(Realm::new(""), Err(RealmError::Text(_))));
    assert!(matches!(Realm::new("a\nb"), Err(RealmError::Text(_))));
    assert_eq!(Realm::new("a\"b"), Err(RealmError::Quote));
    assert_eq!(Realm::new("a\\b"), Err(RealmError::Quote));
}

/// S-25: a choice or list counts only when every entry is known, without parameters, and in the order sent (RFC 8489 §9.2.4).
#[test]
fn algorithm_attributes_are_compared_exactly() {
    use PasswordAlgorithm::{Md5, Sha256};
    assert_eq!(PasswordAlgorithm::from_attribute(&[0, 1, 0, 0]), Some(Md5));
    assert_eq!(
        PasswordAlgorithm::from_attribute(&[0, 2, 0, 0]),
        Some(Sha256)
    );
    for value in [
        &[][..],
        &[0, 1],
        &[0, 3, 0, 0],
        &[0, 1, 0, 4],
        &[0, 1, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(PasswordAlgorithm::from_attribute(value), None);
    }
    let list = [Sha256, Md5];
    assert!(PasswordAlgorithm::list_matches(
        &[0, 2, 0, 0, 0, 1, 0, 0],
        &list
    ));
    for value in [
        &[][..],
        &[0, 1, 0, 0, 0, 2, 0, 0],
        &[0, 2, 0, 0],
        &[0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0],
        &[0, 2, 0, 0, 0, 1, 0, 0, 0],
        &[0, 2, 0, 0, 0, 3, 0, 0],
    ] {
        assert!(!PasswordAlgorithm::list_matches(value, &list), "{value:?}");
    }
    for algorithm in list {
        assert_eq!(
            PasswordAlgorithm::from_number(algorithm.number()),
            Some(algorithm)
        );
    }
}

#[test]
fn keys_come_back_from_their_text() {
    let keys = StaticKeys::derive("alice", &realm(), "correct horse battery staple").unwrap();
    let text = keys.to_text();
    assert!(text.starts_with("md5:") && text.contains("\nsha256:") && text.ends_with('\n'));
    assert_eq!(
        text.lines().map(str::len).collect::<Vec<_>>(),
        [4 + 32, 7 + 64]
    );
    let user = StaticUser::parse_keys("alice", &text).unwrap();
    for algorithm in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
        let expected = LongTermKey::derive(
            algorithm,
            b"alice",
            &realm(),
            "correct horse battery staple",
        )
        .unwrap();
        assert_eq!(user.key(algorithm).unwrap().as_bytes(), expected.as_bytes());
        assert_eq!(user.key(algorithm).unwrap().algorithm(), algorithm);
    }
    let shown = alloc::format!("{user:?}");
    assert!(
        !shown.contains("alice") && !shown.contains(&text[4..12]),
        "{shown}"
    );
}

#[test]
fn key_texts_are_read_strictly() {
    let md5 = "md5:8493fbc53ba582fb4c044c456bdc40eb";
    let parse = |text: &str| StaticUser::parse_keys("alice", text).err();
    assert_eq!(parse(md5), None);
    assert_eq!(
        parse(&("# a comment\r\n\r\n ".to_string() + md5 + "\r\n")),
        None
    );
    assert_eq!(parse("md5:8493FBC53BA582FB4C044C456BDC40EB"), None);
    assert_eq!(parse(""), Some(KeyTextError::NoKey));
    assert_eq!(parse("# only a comment"), Some(KeyTextError::NoKey));
    for wrong in [
        "md5:84",
        "md5",
        "sha1:00",
        "md5 :00",
        &md5[..35],
        "md5:8493fbc53ba582fb4c044c456bdc40eg",
        "md5:+493fbc53ba582fb4c044c456bdc40eb",
    ] {
        assert_eq!(
            parse(wrong),
            Some(KeyTextError::Line { line: 1 }),
            "{wrong}"
        );
    }
    assert_eq!(
        parse(&alloc::format!("{md5}\n{md5}")),
        Some(KeyTextError::Repeated { line: 2 })
    );
    assert_eq!(
        StaticUser::parse_keys(&"x".repeat(509), md5).err(),
        Some(KeyTextError::NameTooLong)
    );
    assert!(StaticUser::parse_keys(&"x".repeat(508), md5).is_ok());
    assert!(StaticUser::parse_keys("a\tb", md5).is_err());
}

#[test]
fn stored_keys_have_the_length_of_their_algorithm() {
    for len in [0, 15, 16, 17, 31, 32, 33] {
        let bytes = [7; 40];
        assert_eq!(
            LongTermKey::from_bytes(PasswordAlgorithm::Md5, &bytes[..len]).is_some(),
            len == 16
        );
        assert_eq!(
            LongTermKey::from_bytes(PasswordAlgorithm::Sha256, &bytes[..len]).is_some(),
            len == 32
        );
    }
}
