//! Asking for an IPv6 relayed address, which webrtc-rs's client cannot.
//!
//! Responsible for one attribute in its Allocate requests, which are sealed anew. Not responsible for when: only a relay that
//! has no IPv4 (440) is asked so.

use taciturn_protocol::address::Family;
use taciturn_protocol::credentials::LongTermKey;
use taciturn_protocol::wire::{Class, Framed, Integrity, Method, Writer};

/// `message` with REQUESTED-ADDRESS-FAMILY for IPv6 (RFC 8656 §18.6), if it is an Allocate request; `None` for all others,
/// and where there is no key to seal it with.
pub(super) fn asking_for_v6(message: &[u8], key: Option<&LongTermKey>) -> Option<Vec<u8>> {
    let framed = Framed::parse(message).ok()?;
    if (framed.method(), framed.class()) != (Method::Allocate, Class::Request) {
        return None;
    }
    // Room for the attribute; all else is as long as it was.
    let mut written = vec![0; message.len() + 8];
    let id = framed.transaction_id();
    let mut writer = Writer::new(&mut written, Class::Request, Method::Allocate, id);
    for (kind, value) in framed.unauthenticated().iter() {
        writer.raw(kind, value);
    }
    writer.requested_family(Family::V6.number());
    if framed.integrity() != Integrity::Absent {
        writer.message_integrity(key?.as_bytes());
    }
    if framed.has_fingerprint() {
        writer.fingerprint();
    }
    let length = writer.finish().ok()?;
    written.truncate(length);
    Some(written)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use taciturn_protocol::credentials::{PasswordAlgorithm, Realm};
    use taciturn_protocol::wire::TransactionId;

    use super::*;

    fn key(password: &str) -> LongTermKey {
        let realm = Realm::new("example.org").unwrap();
        LongTermKey::derive(PasswordAlgorithm::Md5, b"alice", &realm, password).unwrap()
    }

    fn request(method: Method, seal: Option<&LongTermKey>) -> Vec<u8> {
        let mut buffer = [0; 512];
        let id = TransactionId([7; 12]);
        let mut writer = Writer::new(&mut buffer, Class::Request, method, id);
        writer.requested_transport(17);
        writer.username(b"alice");
        if let Some(key) = seal {
            writer.message_integrity(key.as_bytes());
        }
        writer.fingerprint();
        let length = writer.finish().unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn an_allocate_asks_for_ipv6_and_is_sealed_anew() {
        let key = key("password");
        for seal in [None, Some(&key)] {
            let asked = asking_for_v6(&request(Method::Allocate, seal), Some(&key)).unwrap();
            let framed = Framed::parse(&asked).unwrap();
            assert_eq!(framed.transaction_id(), TransactionId([7; 12]));
            assert!(framed.has_fingerprint());
            let attributes = framed.unauthenticated();
            assert_eq!(attributes.requested_family(), Some(Ok(2)));
            assert_eq!(attributes.requested_transport(), Some(Ok(17)));
            assert_eq!(framed.verify(key.as_bytes()).is_some(), seal.is_some());
        }
    }

    #[test]
    fn other_messages_are_left_as_they_are() {
        let key = key("password");
        assert_eq!(
            asking_for_v6(&request(Method::Refresh, Some(&key)), Some(&key)),
            None
        );
        assert_eq!(asking_for_v6(&[0x40, 0, 0, 0], Some(&key)), None);
        assert_eq!(
            asking_for_v6(&request(Method::Allocate, Some(&key)), None),
            None
        );
    }
}
