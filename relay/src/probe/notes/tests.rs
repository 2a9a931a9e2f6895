//! What the notes make of answers, by answers as a server writes them.

#![expect(clippy::unwrap_used, reason = "tests")]

use taciturn_protocol::wire::Writer;
use zeroize::Zeroizing;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn notes(username: &str) -> Notes {
    let login = Login {
        username: username.to_owned(),
        password: Zeroizing::new("password".to_owned()),
    };
    Notes::new(login, Family::V4)
}

/// An answer to the request `id`, finished by `write`.
fn answer(class: Class, method: Method, id: u8, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut writer = Writer::new(&mut buffer, class, method, TransactionId([id; 12]));
    write(&mut writer);
    let length = writer.finish().unwrap();
    buffer[..length].to_vec()
}

fn error(id: u8, code: u16) -> Vec<u8> {
    answer(Class::Error, Method::Allocate, id, |writer| {
        writer.error_code(code, "reason");
        writer.realm(b"example.org");
    })
}

fn key() -> LongTermKey {
    let realm = Realm::new("example.org").unwrap();
    LongTermKey::derive(PasswordAlgorithm::Md5, b"alice", &realm, "password").unwrap()
}

#[test]
fn silence_is_silence_until_something_is_heard() {
    let notes = notes("alice");
    assert_eq!(notes.failure(NOW), Failure::Silent);
    notes.read(&error(1, 401), None);
    assert_eq!(notes.failure(NOW), Failure::Stopped);
}

#[test]
fn a_second_copy_of_the_challenge_is_no_refusal_and_the_next_401_is() {
    let notes = notes("alice");
    notes.read(&error(1, 401), None);
    notes.read(&error(1, 401), None);
    assert_eq!(notes.failure(NOW), Failure::Stopped);
    notes.read(&error(2, 401), None);
    assert_eq!(notes.failure(NOW), Failure::Credentials);
}

#[test]
fn a_refused_name_whose_time_is_over_has_expired() {
    for (name, expected) in [
        ("1799999999:alice", Failure::Expired),
        ("1800000000", Failure::Expired),
        ("1800000001:alice", Failure::Credentials),
        ("12345:alice", Failure::Credentials),
        ("alice", Failure::Credentials),
    ] {
        let notes = notes(name);
        notes.read(&error(1, 401), None);
        notes.read(&error(2, 401), None);
        assert_eq!(notes.failure(NOW), expected, "{name}");
    }
}

#[test]
fn each_error_code_has_its_meaning() {
    for (code, expected) in [
        (300, Failure::Elsewhere),
        (403, Failure::Forbidden),
        (437, Failure::Code(437)),
        (486, Failure::Quota),
        (508, Failure::Full),
    ] {
        let notes = notes("alice");
        notes.read(&error(1, 401), None);
        notes.read(&error(2, code), None);
        assert_eq!(notes.failure(NOW), expected);
    }
    let notes = notes("alice");
    notes.read(&error(2, 438), None);
    assert!(notes.is_stale_nonce());
}

#[test]
fn a_success_counts_only_when_it_is_sealed_with_the_password() {
    for (seal, expected) in [(None, Some(false)), (Some(key()), Some(true))] {
        let notes = notes("alice");
        assert_eq!(notes.sealed(), None);
        notes.read(&error(1, 401), None);
        let success = answer(Class::Success, Method::Allocate, 2, |writer| {
            if let Some(key) = &seal {
                writer.message_integrity(key.as_bytes());
            }
        });
        notes.read(&success, None);
        assert_eq!(notes.sealed(), expected);
    }
}

#[test]
fn an_icmp_error_counts_only_while_nothing_was_heard() {
    let heard = notes("alice");
    heard.read(&error(1, 401), None);
    heard.icmp(Failure::Refused);
    assert_eq!(heard.failure(NOW), Failure::Stopped);
    let silent = notes("alice");
    silent.icmp(Failure::Refused);
    silent.end(Failure::Closed);
    assert_eq!(silent.failure(NOW), Failure::Refused, "the first reason");
}

#[test]
fn dscp_is_read_from_payloads_alone_and_ecn_is_no_part_of_it() {
    let notes = notes("alice");
    let sent = 46 << 2;
    notes.read(&error(1, 401), Some((0, sent)));
    assert_eq!(notes.dscp(), None, "answers are marked as the relay likes");
    let channel_data = [0x40, 0, 0, 1, 9];
    notes.read(&channel_data, Some((sent | 0b01, sent)));
    assert_eq!(notes.dscp(), Some(Ok(())));
    let indication = answer(Class::Indication, Method::Data, 3, |_| {});
    notes.read(&indication, Some((10 << 2, sent)));
    assert_eq!(notes.dscp(), Some(Err(10)), "one that changed is a change");
}

#[test]
fn payloads_are_held_and_requests_are_not() {
    let notes = notes("alice");
    let send = answer(Class::Indication, Method::Send, 1, |_| {});
    let request = answer(Class::Request, Method::ChannelBind, 1, |_| {});
    assert!(notes.leaving(&send).is_some());
    notes.hold_payloads(true);
    assert_eq!(notes.leaving(&send), None);
    assert_eq!(notes.leaving(&[0x40, 0, 0, 0]), None);
    assert_eq!(notes.leaving(&request).as_deref(), Some(&request[..]));
    notes.hold_payloads(false);
    assert_eq!(notes.leaving(&send).as_deref(), Some(&send[..]));
}
