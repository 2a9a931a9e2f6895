//! Tests of credentials and nonces, by subject.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod directory;
mod keys;
mod nonces;
mod revocations;
mod time_limited;

use alloc::vec;
use alloc::vec::Vec;

use super::{HmacHash, LongTermKey, PasswordAlgorithm, Realm, password_for};
use crate::wire::{Class, Method, TransactionId, Writer};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn realm() -> Realm {
    Realm::new("example.org").unwrap()
}

/// How a client of the tests signs.
#[derive(Clone, Copy)]
enum Seal {
    Sha1,
    Sha256,
}

/// An Allocate with all credential attributes, signed with `key`.
fn signed(name: impl FnOnce(&mut Writer<'_>), realm: &[u8], key: &[u8], seal: Seal) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let mut writer = Writer::new(
        &mut buffer,
        Class::Request,
        Method::Allocate,
        TransactionId([3; 12]),
    );
    writer.requested_transport(17);
    name(&mut writer);
    writer.realm(realm);
    writer.nonce(b"nonce");
    match seal {
        Seal::Sha1 => writer.message_integrity(key),
        Seal::Sha256 => writer.message_integrity_sha256(key),
    }
    let len = writer.finish().unwrap();
    buffer.truncate(len);
    buffer
}

/// What a client does with a time-limited name: HMAC, base64, key.
fn client_key(
    secret: &[u8],
    hash: HmacHash,
    name: &[u8],
    algorithm: PasswordAlgorithm,
) -> LongTermKey {
    LongTermKey::derive(algorithm, name, &realm(), &password_for(secret, hash, name)).unwrap()
}
