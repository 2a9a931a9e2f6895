//! The long-term credential mechanism: RFC 8489 §9.2.4, check by check.

use alloc::vec::Vec;
use core::time::Duration;

use super::sim::{Answer, Choices, Client, Sim, addr, credentials, five_tuple, write};
use crate::address::Transport;
use crate::credentials::{Features, Nonces, PasswordAlgorithm};
use crate::server::Limits;
use crate::wire::{Class, Integrity, Method, attribute};

fn challenge(sim: &mut Sim, client: &Client) -> Answer {
    let id = sim.transaction();
    let bytes = write(Class::Request, Method::Allocate, id, |w| {
        w.requested_transport(17)
    });
    sim.deliver(client.five_tuple, &bytes).answer()
}

fn is_challenge(answer: &Answer, code: u16) -> bool {
    let attributes = answer.attributes();
    answer.code() == Some(code)
        && attributes.realm().is_some()
        && attributes.nonce().is_some()
        && attributes.password_algorithms().is_some()
        && answer.framed().integrity() == Integrity::Absent
        && attributes.first(attribute::USERNAME).is_none()
        && attributes.first(attribute::USERHASH).is_none()
        && attributes.first(attribute::SOFTWARE).is_none()
}

/// S-21, S-45, T-09, T-08: a request without a proof gets 401 with realm, nonce and password algorithms, and no more.
#[test]
fn a_request_without_proof_is_challenged() {
    let mut sim = Sim::with(Choices {
        software: Some("Taciturn".into()),
        ..Choices::default()
    });
    let client = sim.client(1);
    let answer = challenge(&mut sim, &client);
    assert!(is_challenge(&answer, 401), "{answer:?}");
    assert_eq!(
        answer.attributes().realm(),
        Some(super::sim::REALM.as_bytes())
    );
    assert_eq!(
        answer.attributes().password_algorithms(),
        Some(&[0, 2, 0, 0, 0, 1, 0, 0][..])
    );
    sim.assert_nothing_left();
}

/// S-35, S-45, S-33: the nonce's feature bits say password algorithms always, user name anonymity only where names are
/// stored.
#[test]
fn the_nonce_says_what_is_offered() {
    let mut sim = Sim::new();
    let client = sim.client(1);
    let nonce = challenge(&mut sim, &client)
        .attributes()
        .nonce()
        .unwrap()
        .to_vec();
    assert!(nonce.starts_with(b"obMatJos2gAAA"));
    let mut sim = Sim::with(Choices {
        static_user: Some(("gateway", "a password of some length")),
        ..Choices::default()
    });
    let nonce = challenge(&mut sim, &client)
        .attributes()
        .nonce()
        .unwrap()
        .to_vec();
    assert!(nonce.starts_with(b"obMatJos2wAAA"));
    assert!(nonce.len() < 128, "S-20, S-37");
}

/// a hundred thousand nonces for one client in one second, and none twice.
#[test]
fn nonces_of_one_second_differ() {
    let mut sim = Sim::new();
    let client = sim.client(1);
    let mut seen: Vec<_> = (0..100_000)
        .map(|_| {
            challenge(&mut sim, &client)
                .attributes()
                .nonce()
                .unwrap()
                .to_vec()
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 100_000);
}

/// S-43: the largest 401 fits an unknown path.
#[test]
fn the_challenge_fits_any_path() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    client.fingerprint = true;
    let answer = challenge(&mut sim, &client);
    assert!(answer.0.len() < 548 - 28, "{} bytes", answer.0.len());
}

/// S-23: a proof without name, realm or nonce is a bad request, unsigned and without a challenge.
#[test]
fn a_proof_with_missing_parts_is_a_bad_request() {
    let mut sim = Sim::new();
    for missing in 0..3 {
        let client = sim.client(1);
        let id = sim.transaction();
        let bytes = write(Class::Request, Method::Allocate, id, |w| {
            w.requested_transport(17);
            if missing != 0 {
                w.username(&client.username);
            }
            if missing != 1 {
                w.realm(&client.realm);
            }
            if missing != 2 {
                w.nonce(b"obMatJos2gAAAx");
            }
            w.message_integrity(client.key().as_bytes());
        });
        let answer = sim.deliver(client.five_tuple, &bytes).answer();
        assert_eq!(answer.code(), Some(400), "{missing}");
        assert_eq!(answer.framed().integrity(), Integrity::Absent);
        assert_eq!(answer.attributes().nonce(), None);
        assert_eq!(answer.attributes().realm(), None);
    }
}

/// S-27, H-01: the right password allocates, a wrong one is challenged again.
#[test]
fn a_wrong_password_is_challenged() {
    let mut sim = Sim::new();
    let mut wrong = sim.client(1);
    wrong.password.push('x');
    let answer = sim.request(&mut wrong, Method::Allocate, |w| w.requested_transport(17));
    assert!(is_challenge(&answer, 401));
    let mut right = sim.client(1);
    sim.allocate(&mut right);
}

/// S-26, H-04, H-06: unknown, malformed, expired and far-future names all get the answer of a wrong password, in size
/// and form.
#[test]
fn names_cannot_be_told_apart() {
    let mut sim = Sim::with(Choices {
        static_user: Some(("gateway", "a password of some length")),
        ..Choices::default()
    });
    let good = credentials("alice", Duration::from_secs(3600));
    let mut wrong = Client::new(1, &good);
    wrong.password.push('x');
    let expected = sim.request(&mut wrong, Method::Allocate, |w| w.requested_transport(17));
    let secret = super::sim::SECRET;
    let hash = crate::credentials::HmacHash::Sha256;
    for name in [
        "nobody",
        "gateway",
        "",
        ":alice",
        "+1700003600:alice",
        "0x6553f100",
        "1e9",
        " 1700003600",
        "1699999999:a",
        "1700090000:alice",
        "17000036000000000000:a",
        "-5",
    ] {
        let password = crate::credentials::password_for(secret, hash, name.as_bytes());
        let mut client = Client::new(1, &(name.into(), password));
        let answer = sim.request(&mut client, Method::Allocate, |w| w.requested_transport(17));
        assert!(is_challenge(&answer, 401), "{name}");
        assert_eq!(answer.0.len(), expected.0.len(), "{name}");
    }
    let mut foreign = Client::new(1, &good);
    foreign.realm = b"elsewhere.example".to_vec();
    let answer = sim.request(&mut foreign, Method::Allocate, |w| {
        w.requested_transport(17)
    });
    assert!(is_challenge(&answer, 401), "a foreign realm");
    sim.assert_nothing_left();
}

/// S-28, S-29, S-37: a stale nonce with the right password is 438 with a new nonce; with a wrong password 401.
#[test]
fn a_stale_nonce_is_told_only_to_who_knows_the_password() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    sim.advance(Duration::from_secs(590));
    assert_eq!(sim.refresh(&mut client, None).code(), None);
    sim.advance(Duration::from_secs(30));
    let stale = sim.refresh(&mut client, None);
    assert!(is_challenge(&stale, 438));
    let fresh = stale.attributes().nonce().unwrap().to_vec();
    assert_ne!(fresh, client.nonce);
    let password = core::mem::take(&mut client.password);
    client.password = "wrong".into();
    assert!(is_challenge(&sim.refresh(&mut client, None), 401));
    client.password = password;
    client.nonce = fresh;
    assert_eq!(sim.refresh(&mut client, None).code(), None);
}

/// S-22, A-10: a nonce of another address is stale; nonces differ for each request.
#[test]
fn a_nonce_is_bound_to_its_address() {
    let mut sim = Sim::new();
    let mut first = sim.client(1);
    sim.allocate(&mut first);
    let mut second = sim.client(2);
    second.nonce = first.nonce.clone();
    let answer = sim.request(&mut second, Method::Allocate, |w| w.requested_transport(17));
    assert!(is_challenge(&answer, 438));
    let other_port = Client {
        five_tuple: five_tuple(Transport::Udp, "198.51.100.1:4001"),
        ..first
    };
    let mut other_port = other_port;
    let answer = sim.request(&mut other_port, Method::Allocate, |w| {
        w.requested_transport(17)
    });
    assert!(is_challenge(&answer, 438));
    let a = challenge(&mut sim, &second);
    let b = challenge(&mut sim, &second);
    assert_ne!(a.attributes().nonce(), b.attributes().nonce(), "T-04");
}

/// S-35: a nonce whose feature bits were changed is stale.
#[test]
fn changed_feature_bits_make_a_nonce_stale() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let nonce = challenge(&mut sim, &client)
        .attributes()
        .nonce()
        .unwrap()
        .to_vec();
    for bits in [b"AAAA", b"QAAA", b"wAAA"] {
        client.nonce = nonce.clone();
        client.nonce[9..13].copy_from_slice(bits);
        let id = sim.transaction();
        let bytes = client.sign(Method::Allocate, id, |w| w.requested_transport(17));
        let answer = sim.deliver(client.five_tuple, &bytes).answer();
        assert!(is_challenge(&answer, 438), "{bits:?}");
    }
}

/// S-24, S-30: a client that names no algorithm is served with MD5 and MESSAGE-INTEGRITY; one that names an algorithm,
/// MD5 too, gets MESSAGE-INTEGRITY-SHA256. Both signatures verify with the client's key.
#[test]
fn answers_are_signed_as_the_client_chose() {
    for (algorithm, expected) in [
        (None, Integrity::Sha1),
        (Some(PasswordAlgorithm::Md5), Integrity::Sha256),
        (Some(PasswordAlgorithm::Sha256), Integrity::Sha256),
    ] {
        let mut sim = Sim::new();
        let mut client = sim.client(1);
        client.algorithm = algorithm;
        for method in [Method::Allocate, Method::Refresh] {
            let answer = sim.request(&mut client, method, |w| w.requested_transport(17));
            assert_eq!(answer.code(), None, "{algorithm:?}");
            assert_eq!(answer.framed().integrity(), expected);
            assert!(answer.framed().verify(client.key().as_bytes()).is_some());
            for kind in [attribute::REALM, attribute::NONCE, attribute::USERNAME] {
                assert!(
                    answer.attributes().first(kind).is_none(),
                    "S-30, S-45: {kind:#06x}"
                );
            }
        }
        let refused = sim.request(&mut client, Method::CreatePermission, |_| {});
        assert_eq!(refused.code(), Some(400));
        assert!(
            refused.framed().verify(client.key().as_bytes()).is_some(),
            "errors are signed too"
        );
    }
}

/// S-25: one of the two algorithm attributes alone, another list than was sent, or a choice that is not in it: 400,
/// unsigned.
#[test]
fn contradictory_algorithms_are_a_bad_request() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    client.nonce = challenge(&mut sim, &client)
        .attributes()
        .nonce()
        .unwrap()
        .to_vec();
    type Case = (Option<&'static [u16]>, Option<u16>);
    let cases: [Case; 6] = [
        (Some(&[2, 1]), None),
        (None, Some(2)),
        (Some(&[1, 2]), Some(2)),
        (Some(&[2]), Some(2)),
        (Some(&[2, 1]), Some(3)),
        (Some(&[2, 1, 3]), Some(2)),
    ];
    for (list, choice) in cases {
        let id = sim.transaction();
        let bytes = write(Class::Request, Method::Allocate, id, |w| {
            w.requested_transport(17);
            w.username(&client.username);
            w.realm(&client.realm);
            w.nonce(&client.nonce);
            if let Some(list) = list {
                w.password_algorithms(list);
            }
            if let Some(choice) = choice {
                w.password_algorithm(choice);
            }
            w.message_integrity_sha256(client.key().as_bytes());
        });
        let answer = sim.deliver(client.five_tuple, &bytes).answer();
        assert_eq!(answer.code(), Some(400), "{list:?} {choice:?}");
        assert_eq!(answer.framed().integrity(), Integrity::Absent);
    }
}

/// S-32: a shortened or overlong integrity attribute is a wrong password.
#[test]
fn an_integrity_attribute_of_another_length_is_wrong() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    client.nonce = challenge(&mut sim, &client)
        .attributes()
        .nonce()
        .unwrap()
        .to_vec();
    for (kind, length) in [
        (0x0008, 16),
        (0x0008, 24),
        (0x001c, 16),
        (0x001c, 28),
        (0x001c, 36),
    ] {
        let id = sim.transaction();
        let bytes = write(Class::Request, Method::Allocate, id, |w| {
            w.requested_transport(17);
            w.username(&client.username);
            w.realm(&client.realm);
            w.nonce(&client.nonce);
            w.raw(kind, &[0; 40][..length]);
        });
        let answer = sim.deliver(client.five_tuple, &bytes).answer();
        assert!(is_challenge(&answer, 401), "{kind:#06x} {length}");
    }
}

/// S-13, A-23: what stands after the integrity attribute is not read.
#[test]
fn what_integrity_does_not_cover_is_not_read() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    let id = sim.transaction();
    let mut bytes = client.sign(Method::Refresh, id, |w| w.lifetime(700));
    // LIFETIME 0 behind the signature, and the header's length made to fit.
    bytes.extend_from_slice(&[0x00, 0x0d, 0x00, 0x04, 0, 0, 0, 0]);
    let length = u16::try_from(bytes.len() - 20).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let answer = sim.deliver(client.five_tuple, &bytes).answer();
    assert_eq!((answer.code(), answer.lifetime()), (None, 700));
}

/// S-20: a user name, realm or nonce beyond its greatest length is a bad request.
#[test]
fn oversized_credentials_are_a_bad_request() {
    let mut sim = Sim::new();
    let client = sim.client(1);
    for which in 0..3 {
        let long = |this, ok: &[u8]| {
            if which == this {
                [b'x'; 800].to_vec()
            } else {
                ok.to_vec()
            }
        };
        let id = sim.transaction();
        let bytes = write(Class::Request, Method::Allocate, id, |w| {
            w.raw(attribute::USERNAME, &long(0, b"1700003600:a"));
            w.raw(attribute::REALM, &long(1, &client.realm));
            w.raw(attribute::NONCE, &long(2, b"obMatJos2gAAAx"));
            w.message_integrity(b"key");
        });
        assert_eq!(
            sim.deliver(client.five_tuple, &bytes).answer().code(),
            Some(400),
            "{which}"
        );
    }
}

/// S-09: on authenticated methods unknown required attributes are told only after authentication, signed.
#[test]
fn unknown_attributes_are_told_after_authentication() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let id = sim.transaction();
    let bytes = write(Class::Request, Method::Allocate, id, |w| w.raw(0x7777, &[]));
    assert_eq!(
        sim.deliver(client.five_tuple, &bytes).answer().code(),
        Some(401)
    );
    let answer = sim.request(&mut client, Method::Allocate, |w| {
        w.requested_transport(17);
        w.raw(0x7777, &[]);
        w.raw(0x001b, b"token");
        w.raw(0x002a, &[0; 4]);
    });
    assert_eq!(answer.code(), Some(420));
    assert_eq!(
        answer
            .attributes()
            .unknown_attributes()
            .unwrap()
            .collect::<Vec<_>>(),
        [0x7777, 0x001b, 0x002a],
        "O-06"
    );
    assert!(answer.framed().verify(client.key().as_bytes()).is_some());
}

/// S-40: an attribute that is known but not expected in this method is ignored.
#[test]
fn a_known_but_unexpected_attribute_is_ignored() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let answer = sim.request(&mut client, Method::Allocate, |w| {
        w.requested_transport(17);
        w.channel_number(0x4000);
        w.error_code(400, "no");
        w.raw(0x8030, &[]);
    });
    assert_eq!(answer.code(), None);
}

/// S-12: of an attribute that stands twice the first counts.
#[test]
fn of_two_the_first_attribute_counts() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let answer = sim.request(&mut client, Method::Allocate, |w| {
        w.requested_transport(17);
        w.requested_transport(6);
        w.lifetime(900);
        w.lifetime(0);
    });
    assert_eq!((answer.code(), answer.lifetime()), (None, 900));
}

/// S-33: USERHASH finds a static user and never a time-limited name.
#[test]
fn a_user_hash_finds_static_users_only() {
    let user = ("gateway", "a password of some length");
    let mut sim = Sim::with(Choices {
        static_user: Some(user),
        ..Choices::default()
    });
    let mut try_hash = |name: &str, password: &str| {
        let mut client = Client::new(1, &(name.into(), password.into()));
        client.algorithm = Some(PasswordAlgorithm::Sha256);
        client.nonce = challenge(&mut sim, &client)
            .attributes()
            .nonce()
            .unwrap()
            .to_vec();
        let hash = sha256(&[name.as_bytes(), b":", super::sim::REALM.as_bytes()].concat());
        let id = sim.transaction();
        let bytes = write(Class::Request, Method::Allocate, id, |w| {
            w.requested_transport(17);
            w.userhash(&hash);
            w.realm(&client.realm);
            w.nonce(&client.nonce);
            w.password_algorithms(&[2, 1]);
            w.password_algorithm(2);
            w.message_integrity_sha256(client.key().as_bytes());
        });
        sim.deliver(client.five_tuple, &bytes).answer().code()
    };
    let (name, password) = credentials("alice", Duration::from_secs(3600));
    assert_eq!(try_hash(&name, &password), Some(401));
    assert_eq!(try_hash("nobody", "x"), Some(401));
    assert_eq!(try_hash(user.0, user.1), None);
}

/// T-05: another valid user on the same 5-tuple is refused with 441, on every method but Allocate, where 437 comes
/// first (T-10).
#[test]
fn an_allocation_belongs_to_its_user() {
    let mut sim = Sim::new();
    let mut owner = sim.client(1);
    sim.allocate(&mut owner);
    let mut other = Client::new(1, &credentials("bob", Duration::from_secs(3600)));
    other.nonce = owner.nonce.clone();
    assert_eq!(sim.refresh(&mut other, Some(0)).code(), Some(441));
    assert_eq!(sim.permit(&mut other, &[addr("8.8.8.8:1")]), Some(441));
    assert_eq!(
        sim.bind(&mut other, 0x4000, addr("8.8.8.8:5000")),
        Some(441)
    );
    let again = sim.request(&mut other, Method::Allocate, |w| w.requested_transport(17));
    assert_eq!(again.code(), Some(437));
}

/// S-26: the key of a live allocation is no proof under the name of another realm.
#[test]
fn the_key_of_an_allocation_proves_nothing_in_another_realm() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    for (realm, expected) in [
        (&b"turn.example.com"[..], Some(401)),
        (b"", Some(401)),
        (super::sim::REALM.as_bytes(), None),
    ] {
        let id = sim.transaction();
        let bytes = write(Class::Request, Method::Refresh, id, |w| {
            w.username(&client.username);
            w.realm(realm);
            w.nonce(&client.nonce);
            w.message_integrity(client.key().as_bytes());
        });
        let answer = sim.deliver(client.five_tuple, &bytes).answer();
        assert_eq!(answer.code(), expected, "{realm:?}");
    }
}

/// T-06: requests about an allocation that does not exist are 437, after authentication.
#[test]
fn requests_without_an_allocation_are_a_mismatch() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    assert_eq!(sim.refresh(&mut client, None).code(), Some(437));
    assert_eq!(sim.permit(&mut client, &[addr("8.8.8.8:1")]), Some(437));
    assert_eq!(
        sim.bind(&mut client, 0x4000, addr("8.8.8.8:5000")),
        Some(437)
    );
    client.password.push('x');
    assert_eq!(sim.refresh(&mut client, None).code(), Some(401));
}

/// H-03: a live allocation is refreshed past the expiry of its credentials until its greatest age; a new one is not
/// made.
#[test]
fn expired_credentials_keep_a_live_allocation() {
    let limits = Limits {
        allocation_max_age: Duration::from_secs(7200),
        unauthenticated_per_second: 0,
        ..Limits::default()
    };
    let mut sim = Sim::with(Choices {
        limits,
        ..Choices::default()
    });
    let mut client = Client::new(1, &credentials("alice", Duration::from_secs(900)));
    sim.allocate(&mut client);
    let mut refused_at = None;
    for minute in 1..200_u32 {
        sim.advance(Duration::from_secs(60));
        if minute % 8 == 0 {
            client.nonce.clear();
            let nonce = challenge(&mut sim, &client);
            client.nonce = nonce.attributes().nonce().unwrap().to_vec();
            let answer = sim.refresh(&mut client, None);
            if answer.code() == Some(401) {
                refused_at = Some(minute);
                break;
            }
            assert_eq!(answer.code(), None, "minute {minute}");
        }
    }
    assert_eq!(
        refused_at,
        Some(128),
        "at the first refresh after two hours"
    );
    let mut again = Client::new(
        2,
        &(
            core::str::from_utf8(&client.username).unwrap().into(),
            client.password,
        ),
    );
    let answer = sim.request(&mut again, Method::Allocate, |w| w.requested_transport(17));
    assert_eq!(answer.code(), Some(401));
}

/// S-31: integrity covers the message up to itself, with FINGERPRINT behind it; whoever sends none gets none.
#[test]
fn integrity_holds_with_a_fingerprint_behind_it() {
    for fingerprint in [false, true] {
        let mut sim = Sim::new();
        let mut client = sim.client(1);
        client.fingerprint = fingerprint;
        let answer = sim.request(&mut client, Method::Allocate, |w| w.requested_transport(17));
        assert_eq!(answer.code(), None);
        assert_eq!(answer.framed().has_fingerprint(), fingerprint);
        assert!(answer.framed().verify(client.key().as_bytes()).is_some());
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

/// S-35, S-24: the bits are read from the nonce as it was sent.
#[test]
fn feature_bits_are_read_as_sent() {
    let features = |password_algorithms, username_anonymity| {
        Some(Features {
            password_algorithms,
            username_anonymity,
        })
    };
    assert_eq!(
        Nonces::features_as_sent(b"obMatJos2AAAA..."),
        features(false, false)
    );
    assert_eq!(
        Nonces::features_as_sent(b"obMatJos2gAAA..."),
        features(true, false)
    );
    assert_eq!(
        Nonces::features_as_sent(b"obMatJos2QAAA..."),
        features(false, true)
    );
    assert_eq!(
        Nonces::features_as_sent(b"obMatJos2wAAA..."),
        features(true, true)
    );
    assert_eq!(
        Nonces::features_as_sent(b"f//499k954d6OL34oL9FSTvy64sA"),
        None
    );
}
