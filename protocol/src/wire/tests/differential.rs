//! The same messages through another implementation, `stun-types` and `turn-types`.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use stun_types::attribute::{
    Attribute, AttributeStaticType, ErrorCode, Fingerprint, MessageIntegrity,
    MessageIntegritySha256, Nonce, Realm, Username, XorMappedAddress,
};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageIntegrityCredentials,
    MessageType, MessageWrite, MessageWriteExt, MessageWriteVec, Method as TheirMethod,
    TransactionId as TheirId,
};
use turn_types::attribute::{Data, Lifetime, XorPeerAddress, XorRelayedAddress};

use super::super::{Class, Framed, Integrity, Method, TransactionId, Writer, attribute};
use super::properties::{any_address, any_message};
use crate::credentials::{LongTermKey, PasswordAlgorithm, Realm as OurRealm};

fn their_class(class: Class) -> MessageClass {
    match class {
        Class::Request => MessageClass::Request,
        Class::Indication => MessageClass::Indication,
        Class::Success => MessageClass::Success,
        Class::Error => MessageClass::Error,
    }
}

fn their_id(id: [u8; 12]) -> TheirId {
    let mut bytes = [0; 16];
    bytes[4..].copy_from_slice(&id);
    u128::from_be_bytes(bytes).into()
}

fn their_credentials(password: &str) -> MessageIntegrityCredentials {
    LongTermKeyCredentials::new(
        "alice".to_string(),
        password.to_string(),
        "realm".to_string(),
    )
    .into()
}

fn our_key(algorithm: PasswordAlgorithm, password: &str) -> LongTermKey {
    LongTermKey::derive(
        algorithm,
        b"alice",
        &OurRealm::new("realm").unwrap(),
        password,
    )
    .unwrap()
}

/// Types before the first integrity attribute or fingerprint, with their values.
fn theirs_before_the_end(message: &Message<'_>) -> Vec<(u16, Vec<u8>)> {
    message
        .iter_attributes()
        .map(|(_, raw)| (raw.get_type().value(), raw.value.to_vec()))
        .take_while(|(kind, _)| !is_ending(*kind))
        .collect()
}

fn is_ending(kind: u16) -> bool {
    [
        MessageIntegrity::TYPE,
        MessageIntegritySha256::TYPE,
        Fingerprint::TYPE,
    ]
    .iter()
    .any(|end| end.value() == kind)
}

proptest! {
    /// Both write the same bytes, for SHA-1 over an MD5 key and for SHA-256 over a SHA-256 key.
    #[test]
    fn both_write_the_same_bytes(
        id in any::<[u8; 12]>(),
        (mapped, peer, relayed) in (any_address(), any_address(), any_address()),
        lifetime in any::<u32>(),
        data in vec_of(any::<u8>(), 0..40),
        password in "[!-~]{1,40}",
        sha256 in any::<bool>(),
    ) {
        let kind = MessageType::from_class_method(MessageClass::Success, TheirMethod::new(3));
        let theirs_id = their_id(id);
        let mut theirs = Message::builder(kind, theirs_id, MessageWriteVec::new());
        theirs.add_attribute(&Username::new("alice").unwrap()).unwrap();
        theirs.add_attribute(&Realm::new("realm").unwrap()).unwrap();
        theirs.add_attribute(&Nonce::new("nonce").unwrap()).unwrap();
        theirs.add_attribute(&XorMappedAddress::new(mapped, theirs_id)).unwrap();
        theirs.add_attribute(&XorPeerAddress::new(peer, theirs_id)).unwrap();
        theirs.add_attribute(&XorRelayedAddress::new(relayed, theirs_id)).unwrap();
        theirs.add_attribute(&Lifetime::new(lifetime)).unwrap();
        theirs.add_attribute(&Data::new(&data)).unwrap();
        theirs.add_attribute(&ErrorCode::new(438, "Stale Nonce").unwrap()).unwrap();
        let integrity = if sha256 { IntegrityAlgorithm::Sha256 } else { IntegrityAlgorithm::Sha1 };
        theirs.add_message_integrity(&their_credentials(&password), integrity).unwrap();
        theirs.add_fingerprint().unwrap();
        let theirs = theirs.finish();

        let mut ours = vec![0xAA; 1024];
        let mut writer = Writer::new(&mut ours, Class::Success, Method::Allocate, TransactionId(id));
        writer.username(b"alice");
        writer.realm(b"realm");
        writer.nonce(b"nonce");
        writer.xor_mapped_address(mapped);
        writer.xor_peer_address(peer);
        writer.xor_relayed_address(relayed);
        writer.lifetime(lifetime);
        writer.data(&data);
        writer.error_code(438, "Stale Nonce");
        let algorithm = if sha256 { PasswordAlgorithm::Sha256 } else { PasswordAlgorithm::Md5 };
        let key = our_key(algorithm, &password);
        if sha256 {
            writer.message_integrity_sha256(key.as_bytes());
        } else {
            writer.message_integrity(key.as_bytes());
        }
        writer.fingerprint();
        let len = writer.finish().unwrap();
        prop_assert_eq!(&ours[..len], &theirs[..]);
        prop_assert!(Framed::parse(&theirs).unwrap().verify(key.as_bytes()).is_some());
    }

    /// What both accept, both read alike.
    #[test]
    fn what_both_accept_both_read_alike(
        mut bytes in any_message(),
        flips in vec_of((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
    ) {
        for (position, value) in flips {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        let (Ok(ours), Ok(theirs)) = (Framed::parse(&bytes), Message::from_bytes(&bytes)) else {
            return Ok(());
        };
        prop_assert_eq!(theirs.class(), their_class(ours.class()));
        prop_assert_eq!(theirs.method().value(), ours.method().number());
        prop_assert_eq!(theirs.transaction_id(), their_id(ours.transaction_id().0));
        let mine: Vec<(u16, Vec<u8>)> = ours
            .unauthenticated()
            .iter()
            .map(|(kind, value)| (kind, value.to_vec()))
            .take_while(|(kind, _)| !is_ending(*kind))
            .collect();
        prop_assert_eq!(&mine, &theirs_before_the_end(&theirs));
        if let (Some(Ok(mine)), Ok(theirs)) = (ours.unauthenticated().lifetime(), theirs.attribute::<Lifetime>()) {
            prop_assert_eq!(mine, theirs.seconds());
        }
        let peer = theirs.attribute::<XorPeerAddress>().map(|peer| peer.addr(theirs.transaction_id()));
        if let (Some(Ok(mine)), Ok(theirs)) = (ours.unauthenticated().xor_peer_address(), peer) {
            prop_assert_eq!(mine, theirs);
        }
    }

    /// Both come to the same result about an integrity attribute that stands where it should.
    #[test]
    fn both_judge_integrity_alike(
        data in vec_of(any::<u8>(), 0..40),
        (first, second) in (any::<bool>(), any::<bool>()),
        flip in proptest::option::of((20..1000_usize, any::<u8>())),
        right in any::<bool>(),
    ) {
        let key = our_key(PasswordAlgorithm::Md5, "password");
        let mut bytes = vec![0; 1024];
        let mut writer = Writer::new(&mut bytes, Class::Request, Method::Allocate, TransactionId([9; 12]));
        writer.data(&data);
        if first {
            writer.message_integrity(key.as_bytes());
        }
        if second {
            writer.message_integrity_sha256(our_key(PasswordAlgorithm::Sha256, "password").as_bytes());
        }
        let len = writer.finish().unwrap();
        bytes.truncate(len);
        if let Some((position, value)) = flip {
            // Values only, so that the structure stays.
            let position = 24 + position % (len - 23);
            if position < 24 + data.len() {
                bytes[position] ^= value;
            }
        }
        let ours = Framed::parse(&bytes).unwrap();
        let theirs = Message::from_bytes(&bytes).unwrap();
        let password = if right { "password" } else { "passwort" };
        let algorithm = match ours.integrity() {
            Integrity::Sha256 => PasswordAlgorithm::Sha256,
            Integrity::Sha1 | Integrity::Absent => PasswordAlgorithm::Md5,
        };
        let mine = ours.verify(our_key(algorithm, password).as_bytes()).is_some();
        prop_assert_eq!(mine, theirs.validate_integrity(&their_credentials(password)).is_ok());
    }
}

/// The published vectors mean the same to both.
#[test]
fn the_vectors_mean_the_same_to_both() {
    for bytes in [
        super::vectors::long_term(),
        super::vectors::userhash_corrected(),
    ] {
        let theirs = Message::from_bytes(&bytes).unwrap();
        let ours = Framed::parse(&bytes).unwrap();
        let mine: Vec<(u16, Vec<u8>)> = ours
            .unauthenticated()
            .iter()
            .map(|(kind, value)| (kind, value.to_vec()))
            .collect();
        assert_eq!(mine, theirs_before_the_end(&theirs));
        assert!(mine.iter().any(|(kind, _)| *kind == attribute::REALM));
    }
}
