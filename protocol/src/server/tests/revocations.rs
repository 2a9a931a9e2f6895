//! What a revocation does to those who hold something, and to those who want something new.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::sim::{Answer, Choices, Client, Sim, addr, credentials};
use crate::credentials::{RevocationList, Revocations, RevokedKey, RevokedUser};
use crate::server::Limits;
use crate::wire::Method;

const PEER: &str = "8.8.8.8:5000";

fn revoked(users: &[&str], key_ids: &[&str]) -> Arc<Revocations> {
    let list = RevocationList {
        users: users
            .iter()
            .map(|user| RevokedUser {
                user: (*user).into(),
                until: u64::MAX,
            })
            .collect(),
        key_ids: key_ids
            .iter()
            .map(|key_id| RevokedKey {
                key_id: (*key_id).into(),
                until: None,
            })
            .collect(),
        ..RevocationList::default()
    };
    assert_eq!(list.check(), Ok(()));
    Arc::new(Revocations::of(&list))
}

fn allocate(sim: &mut Sim, client: &mut Client) -> Answer {
    sim.request(client, Method::Allocate, |w| w.requested_transport(17))
}

/// H-03: Refresh, permissions, channels and data of a live allocation go on, by a revoked user as by a revoked secret; a new
/// one is not made, on the same 5-tuple or another.
#[test]
fn a_call_goes_on_and_no_new_one_begins() {
    for list in [revoked(&["alice"], &[]), revoked(&[], &["k"])] {
        let mut sim = Sim::new();
        let mut client = sim.client(1);
        sim.allocate(&mut client);
        sim.server.revoke(list);
        for _ in 0..8 {
            sim.advance(Duration::from_secs(240));
            client.nonce.clear();
            assert_eq!(sim.refresh(&mut client, None).code(), None);
            assert_eq!(sim.permit(&mut client, &[addr(PEER)]), None);
            assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
        }
        let mut later = sim.client(2);
        assert_eq!(allocate(&mut sim, &mut later).code(), Some(401));
        assert_eq!(allocate(&mut sim, &mut client).code(), Some(401));
        assert_eq!(sim.refresh(&mut client, Some(0)).code(), None);
        assert_eq!(sim.refresh(&mut client, None).code(), Some(401));
        sim.server.revoke(Arc::default());
        assert_eq!(allocate(&mut sim, &mut later).code(), None, "lifted");
    }
}

/// H-03: as credentials that have ended, until the allocation's greatest age.
#[test]
fn a_revoked_user_keeps_its_allocation_until_its_greatest_age() {
    let mut sim = Sim::with(Choices {
        limits: Limits {
            allocation_max_age: Duration::from_secs(3600),
            unauthenticated_per_second: 0,
            ..Limits::default()
        },
        ..Choices::default()
    });
    let mut client = Client::new(1, &credentials("alice", Duration::from_secs(86_400)));
    let mut other = Client::new(2, &credentials("bob", Duration::from_secs(86_400)));
    sim.allocate(&mut client);
    sim.allocate(&mut other);
    sim.server.revoke(revoked(&["alice"], &[]));
    let mut codes = Vec::new();
    for _ in 0..8 {
        sim.advance(Duration::from_secs(540));
        client.nonce.clear();
        other.nonce.clear();
        codes.push(sim.refresh(&mut client, None).code());
        assert_eq!(sim.refresh(&mut other, None).code(), None);
    }
    assert_eq!(codes[..6], [None; 6]);
    assert_eq!(codes[6..], [Some(401); 2]);
    // So does one of a secret that is revoked, whose users are not.
    sim.server.revoke(revoked(&[], &["k"]));
    client.nonce.clear();
    other.nonce.clear();
    assert_eq!(sim.refresh(&mut client, None).code(), Some(401));
    assert_eq!(sim.refresh(&mut other, None).code(), Some(401));
}

/// S-26: a name that is revoked is answered as one that never was: the same attributes, the same size, nothing but another
/// nonce.
#[test]
fn a_revoked_name_is_answered_as_one_that_never_was() {
    let mut sim = Sim::with(Choices {
        static_user: Some(("carol", "correct horse")),
        ..Choices::default()
    });
    sim.server.revoke(revoked(&["carol", "alice"], &[]));
    let (minted, password) = credentials("alice", Duration::from_secs(3600));
    let tried = [
        ("carol", "correct horse"),
        ("carol", "wrong"),
        ("nobody", "wrong"),
        (&*minted, &*password),
        (&*minted, "wrong"),
    ];
    let answers: Vec<Vec<u8>> = tried
        .into_iter()
        .map(|(name, password)| {
            let mut client = Client::new(1, &(name.into(), password.into()));
            let answer = allocate(&mut sim, &mut client);
            assert_eq!(answer.code(), Some(401), "{name}");
            let nonce = answer.attributes().nonce().unwrap().to_vec();
            let mut body = answer.0[20..].to_vec();
            let at = body.windows(nonce.len()).position(|window| window == nonce);
            body.drain(at.unwrap()..at.unwrap() + nonce.len());
            body
        })
        .collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}
