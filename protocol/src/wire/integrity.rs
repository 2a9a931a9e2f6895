//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.5, §14.6).
//!
//! Responsible for the two HMACs over a message; not for keys, and not for which of the two counts (`framed`).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// Length of a MESSAGE-INTEGRITY value in bytes.
pub(super) const SHA1_LEN: usize = 20;
/// Length of a MESSAGE-INTEGRITY-SHA256 value in bytes; TURN allows no truncation.
pub(super) const SHA256_LEN: usize = 32;

/// The HMAC-SHA1 of `before`, the message up to the attribute. `None` when `before` is no message of legal size.
pub(super) fn sha1(before: &[u8], key: &[u8]) -> Option<[u8; SHA1_LEN]> {
    Some(
        code::<Hmac<Sha1>>(before, key, SHA1_LEN)?
            .finalize()
            .into_bytes()
            .into(),
    )
}

/// The HMAC-SHA256 of `before`, the message up to the attribute. `None` when `before` is no message of legal size.
pub(super) fn sha256(before: &[u8], key: &[u8]) -> Option<[u8; SHA256_LEN]> {
    Some(
        code::<Hmac<Sha256>>(before, key, SHA256_LEN)?
            .finalize()
            .into_bytes()
            .into(),
    )
}

/// Feeds the message with a Length that ends it right behind the attribute, without copying or changing the message.
fn code<M: Mac + KeyInit>(before: &[u8], key: &[u8], value_len: usize) -> Option<M> {
    let (&[t0, t1, _, _], rest) = before.split_first_chunk::<4>()?;
    // The attribute adds its own header of four bytes; the Length leaves out the message header's twenty.
    let length = u16::try_from(before.len().checked_add(value_len)?.checked_sub(16)?).ok()?;
    let [l0, l1] = length.to_be_bytes();
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(&[t0, t1, l0, l1]);
    mac.update(rest);
    Some(mac)
}
