//! Snapshots: who can have written one, and for how long it says what is so.

use taciturn_protocol::time::UnixTime;

use super::*;

fn signed() -> (SnapshotKey, String) {
    let key = SnapshotKey::of(SECRET);
    let offer = candidates(&[("r0", "apse2-az1", 0.5), ("r1", "local-b", 0.1)]);
    let text = key.sign("2026-11", &Payload::of(&offer, 3600));
    (key, text)
}

#[test]
fn a_snapshot_says_when_the_fleet_was_seen_and_what_is_in_it() {
    let (key, text) = signed();
    let payload = key.verify(&text, NOW.unix).unwrap();
    let seen = NOW.unix.as_secs();
    assert_eq!(
        (payload.iat, payload.exp, payload.ttl),
        (seen, seen + 600, 3600)
    );
    assert_eq!(
        (payload.format.as_str(), payload.fleet.as_str()),
        (Payload::FORMAT, "example")
    );
    let relay = &payload.relays[0];
    assert_eq!(
        (relay.zone.as_str(), relay.region.as_str()),
        ("apse2-az1", "ap-southeast-2")
    );
    assert_eq!(relay.urls, ["turn:r0.example.org:3478?transport=udp"]);
    assert_eq!((relay.weight, payload.relays[1].weight), (1000, 200));
    assert_eq!(payload.relays[1].region, "local");
    assert_eq!(SnapshotKey::named_in(&text).as_deref(), Ok("2026-11"));
    let end = UnixTime::from_secs(payload.exp);
    assert_eq!(key.verify(&text, end), Err(SnapshotError::Expired));
    // From a controller whose clock is ahead.
    let before = |seconds| UnixTime::from_secs(payload.iat - seconds);
    assert!(key.verify(&text, before(600)).is_ok());
    assert_eq!(key.verify(&text, before(601)), Err(SnapshotError::Early));
}

/// Made by another program, by RFC 7515.
#[test]
fn the_form_is_that_of_everybody_else() {
    let text = concat!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYtMTEifQ.eyJmb3JtYXQiOiJ0YWNpdHVybi1zbmFwc2hvdC8xIiwiZmxlZXQiOiJleGFtcGxlIiw",
        "iaWF0IjoxNzkxMTkwODAwLCJleHAiOjE3OTExOTE0MDAsInR0bCI6MzYwMCwicmVsYXlzIjpbeyJpZCI6InIwIiwiem9uZSI6ImFwc2UyLWF6M",
        "SIsInJlZ2lvbiI6ImFwLXNvdXRoZWFzdC0yIiwidXJscyI6WyJ0dXJuOjE5Mi4wLjIuMTozNDc4P3RyYW5zcG9ydD11ZHAiXSwid2VpZ2h0Ijo",
        "xMDAwfV19.DYXqL_JWYUqmLN_GCB9pebqYl5OY0tDezXSyJDAVeDQ",
    );
    let payload = SnapshotKey::of(SECRET).verify(text, NOW.unix).unwrap();
    assert_eq!(
        payload.relays[0].urls,
        ["turn:192.0.2.1:3478?transport=udp"]
    );
    assert_eq!(payload.relays[0].weight, 1000);
}

#[test]
fn nobody_without_the_secret_can_change_a_letter() {
    let (key, text) = signed();
    for (place, letter) in text.char_indices() {
        let other = if letter == 'A' { 'B' } else { 'A' };
        let mut changed = text.clone();
        changed.replace_range(place..=place, &other.to_string());
        assert!(key.verify(&changed, NOW.unix).is_err(), "{place}");
    }
    let other = SnapshotKey::of(OLDER);
    assert_eq!(other.verify(&text, NOW.unix), Err(SnapshotError::Signature));
    for wrong in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.",
        &text[1..],
        &format!("{text}."),
    ] {
        assert!(key.verify(wrong, NOW.unix).is_err(), "{wrong}");
    }
    // {"alg":"none","kid":"2026-11"}, with and without the signature.
    let (_, rest) = text.split_once('.').unwrap();
    let (payload, code) = rest.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIiwia2lkIjoiMjAyNi0xMSJ9";
    for forged in [
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{code}"),
    ] {
        assert_eq!(key.verify(&forged, NOW.unix), Err(SnapshotError::Algorithm));
    }
}

/// What is signed for one purpose proves nothing for the other.
#[test]
fn a_password_is_no_signature() {
    let (_, text) = signed();
    let (signed, code) = text.rsplit_once('.').unwrap();
    let password =
        taciturn_protocol::credentials::password_for(SECRET, HmacHash::Sha256, signed.as_bytes());
    let as_url = password
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_");
    assert_ne!(as_url, code);
}
