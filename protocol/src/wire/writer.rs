//! Writing a STUN message into the caller's buffer.
//!
//! Responsible for layout, padding, lengths, integrity and fingerprint. Not responsible for which attributes a message
//! needs. Attributes come out in the order of the calls; integrity goes before the fingerprint, and both last.

use core::fmt;
use core::net::SocketAddr;

use super::address::{Encoded, Mask};
use super::attribute;
use super::attributes::Icmp;
use super::header::{self, Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId};
use super::{fingerprint, integrity};

/// The message did not fit: into the buffer, into a STUN message, or one value into its attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferFull;

impl fmt::Display for BufferFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("message does not fit")
    }
}

impl core::error::Error for BufferFull {}

/// A message in the making. What does not fit is remembered and told by [`Writer::finish`], so that no call needs a check.
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    /// Bytes written so far, header included; a multiple of four.
    len: usize,
    id: TransactionId,
    overflow: bool,
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("len", &self.len)
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}

impl<'b> Writer<'b> {
    /// Begins a message at the start of `buffer`, whose former content does not matter.
    pub fn new(buffer: &'b mut [u8], class: Class, method: Method, id: TransactionId) -> Self {
        let mut writer = Self {
            buffer,
            len: 0,
            id,
            overflow: false,
        };
        let [t0, t1] = header::message_type(method, class).to_be_bytes();
        let [c0, c1, c2, c3] = MAGIC_COOKIE.to_be_bytes();
        match writer.buffer.first_chunk_mut::<HEADER_LEN>() {
            Some([h0, h1, h2, h3, h4, h5, h6, h7, head_id @ ..]) => {
                (*h0, *h1, *h2, *h3) = (t0, t1, 0, 0);
                (*h4, *h5, *h6, *h7) = (c0, c1, c2, c3);
                *head_id = id.0;
                writer.len = HEADER_LEN;
            }
            None => writer.overflow = true,
        }
        writer
    }

    /// Appends an attribute whose value is the concatenation of `parts`. All or nothing.
    fn append(&mut self, kind: u16, parts: &[&[u8]]) {
        if self.try_append(kind, parts).is_none() {
            self.overflow = true;
        }
    }

    fn try_append(&mut self, kind: u16, parts: &[&[u8]]) -> Option<()> {
        let value_len = parts
            .iter()
            .try_fold(0_usize, |sum, part| sum.checked_add(part.len()))?;
        let [l0, l1] = u16::try_from(value_len).ok()?.to_be_bytes();
        let [t0, t1] = kind.to_be_bytes();
        let padded = value_len.next_multiple_of(4);
        let end = self.len.checked_add(4)?.checked_add(padded)?;
        u16::try_from(end.checked_sub(HEADER_LEN)?).ok()?;
        let (head, mut body) = self
            .buffer
            .get_mut(self.len..end)?
            .split_first_chunk_mut::<4>()?;
        *head = [t0, t1, l0, l1];
        for part in parts {
            let (out, rest) = body.split_at_mut_checked(part.len())?;
            out.copy_from_slice(part);
            body = rest;
        }
        body.fill(0);
        self.len = end;
        Some(())
    }

    fn written(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// Sets the header's Length as if the message had `more` bytes than are written.
    fn set_length(&mut self, more: usize) {
        let length = self.len.saturating_sub(HEADER_LEN).saturating_add(more);
        match (u16::try_from(length), self.buffer.get_mut(2..4)) {
            (Ok(length), Some(field)) => field.copy_from_slice(&length.to_be_bytes()),
            _ => self.overflow = true,
        }
    }

    fn text(&mut self, kind: u16, value: &[u8]) {
        // Read as at most 763 bytes, but sent as at most 509 (RFC 8489 §14.9, §14.10, §14.14).
        if value.len() > 509 {
            self.overflow = true;
        } else {
            self.append(kind, &[value]);
        }
    }

    fn address(&mut self, kind: u16, addr: SocketAddr, mask: Mask) {
        self.append(kind, &[Encoded::new(addr, mask).as_bytes()]);
    }

    fn error(&mut self, kind: u16, family: u8, code: u16, reason: &str) {
        let (class, number) = (
            u8::try_from(code / 100).unwrap_or_default(),
            u8::try_from(code % 100).unwrap_or_default(),
        );
        if !(3..=6).contains(&class) || reason.chars().nth(127).is_some() {
            self.overflow = true;
        } else {
            self.append(kind, &[&[family, 0, class, number], reason.as_bytes()]);
        }
    }

    /// ERROR-CODE: 300-699, and a reason of fewer than 128 characters.
    pub fn error_code(&mut self, code: u16, reason: &str) {
        self.error(attribute::ERROR_CODE, 0, code, reason);
    }

    /// ADDRESS-ERROR-CODE for the family with this number (RFC 8656 §18.12).
    pub fn address_error_code(&mut self, family: u8, code: u16, reason: &str) {
        self.error(attribute::ADDRESS_ERROR_CODE, family, code, reason);
    }

    /// REALM, at most 509 bytes.
    pub fn realm(&mut self, realm: &[u8]) {
        self.text(attribute::REALM, realm);
    }

    /// NONCE, at most 509 bytes.
    pub fn nonce(&mut self, nonce: &[u8]) {
        self.text(attribute::NONCE, nonce);
    }

    /// USERNAME, at most 509 bytes.
    pub fn username(&mut self, username: &[u8]) {
        self.text(attribute::USERNAME, username);
    }

    /// USERHASH.
    pub fn userhash(&mut self, hash: &[u8; 32]) {
        self.append(attribute::USERHASH, &[hash]);
    }

    /// SOFTWARE, at most 509 bytes.
    pub fn software(&mut self, text: &str) {
        self.text(attribute::SOFTWARE, text.as_bytes());
    }

    /// PASSWORD-ALGORITHM without parameters.
    pub fn password_algorithm(&mut self, number: u16) {
        self.append(
            attribute::PASSWORD_ALGORITHM,
            &[&number.to_be_bytes(), &[0, 0]],
        );
    }

    /// PASSWORD-ALGORITHMS without parameters, preferred first; at most eight.
    pub fn password_algorithms(&mut self, numbers: &[u16]) {
        let mut value = [0_u8; 32];
        let (slots, _) = value.as_chunks_mut::<4>();
        for (slot, number) in slots.iter_mut().zip(numbers) {
            let [high, low] = number.to_be_bytes();
            *slot = [high, low, 0, 0];
        }
        match numbers
            .len()
            .checked_mul(4)
            .and_then(|len| value.get(..len))
        {
            Some(value) => self.append(attribute::PASSWORD_ALGORITHMS, &[value]),
            None => self.overflow = true,
        }
    }

    /// UNKNOWN-ATTRIBUTES; at most 64 types.
    pub fn unknown_attributes(&mut self, types: &[u16]) {
        let mut value = [0_u8; 128];
        let (slots, _) = value.as_chunks_mut::<2>();
        for (slot, kind) in slots.iter_mut().zip(types) {
            *slot = kind.to_be_bytes();
        }
        match types.len().checked_mul(2).and_then(|len| value.get(..len)) {
            Some(value) => self.append(attribute::UNKNOWN_ATTRIBUTES, &[value]),
            None => self.overflow = true,
        }
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(&mut self, addr: SocketAddr) {
        self.address(attribute::XOR_MAPPED_ADDRESS, addr, Mask::of(&self.id));
    }

    /// XOR-RELAYED-ADDRESS.
    pub fn xor_relayed_address(&mut self, addr: SocketAddr) {
        self.address(attribute::XOR_RELAYED_ADDRESS, addr, Mask::of(&self.id));
    }

    /// XOR-PEER-ADDRESS.
    pub fn xor_peer_address(&mut self, addr: SocketAddr) {
        self.address(attribute::XOR_PEER_ADDRESS, addr, Mask::of(&self.id));
    }

    /// ALTERNATE-SERVER, which is not XORed (RFC 8489 §14.15).
    pub fn alternate_server(&mut self, addr: SocketAddr) {
        self.address(attribute::ALTERNATE_SERVER, addr, Mask::NONE);
    }

    /// ALTERNATE-DOMAIN, at most 255 bytes (RFC 8489 §14.16).
    pub fn alternate_domain(&mut self, domain: &str) {
        if domain.len() > 255 {
            self.overflow = true;
        } else {
            self.append(attribute::ALTERNATE_DOMAIN, &[domain.as_bytes()]);
        }
    }

    /// LIFETIME, in seconds.
    pub fn lifetime(&mut self, seconds: u32) {
        self.append(attribute::LIFETIME, &[&seconds.to_be_bytes()]);
    }

    /// CHANNEL-NUMBER.
    pub fn channel_number(&mut self, number: u16) {
        self.append(attribute::CHANNEL_NUMBER, &[&number.to_be_bytes(), &[0, 0]]);
    }

    /// REQUESTED-TRANSPORT: a protocol number, 17 for UDP.
    pub fn requested_transport(&mut self, protocol: u8) {
        self.append(attribute::REQUESTED_TRANSPORT, &[&[protocol, 0, 0, 0]]);
    }

    /// REQUESTED-ADDRESS-FAMILY: the family's number.
    pub fn requested_family(&mut self, family: u8) {
        self.append(attribute::REQUESTED_ADDRESS_FAMILY, &[&[family, 0, 0, 0]]);
    }

    /// ADDITIONAL-ADDRESS-FAMILY: the family's number.
    pub fn additional_family(&mut self, family: u8) {
        self.append(attribute::ADDITIONAL_ADDRESS_FAMILY, &[&[family, 0, 0, 0]]);
    }

    /// EVEN-PORT, with or without a reservation of the next port.
    pub fn even_port(&mut self, reserve_next: bool) {
        self.append(
            attribute::EVEN_PORT,
            &[&[if reserve_next { 0x80 } else { 0 }]],
        );
    }

    /// RESERVATION-TOKEN.
    pub fn reservation_token(&mut self, token: [u8; 8]) {
        self.append(attribute::RESERVATION_TOKEN, &[&token]);
    }

    /// DONT-FRAGMENT.
    pub fn dont_fragment(&mut self) {
        self.append(attribute::DONT_FRAGMENT, &[]);
    }

    /// DATA.
    pub fn data(&mut self, payload: &[u8]) {
        self.append(attribute::DATA, &[payload]);
    }

    /// ICMP (RFC 8656 §18.13).
    pub fn icmp(&mut self, icmp: Icmp) {
        self.append(
            attribute::ICMP,
            &[&[0, 0, icmp.kind, icmp.code], &icmp.data.to_be_bytes()],
        );
    }

    /// Any attribute, its value as given.
    pub fn raw(&mut self, kind: u16, value: &[u8]) {
        self.append(kind, &[value]);
    }

    /// MESSAGE-INTEGRITY over what is written so far.
    pub fn message_integrity(&mut self, key: &[u8]) {
        match integrity::sha1(self.written(), key) {
            Some(code) => self.append(attribute::MESSAGE_INTEGRITY, &[&code]),
            None => self.overflow = true,
        }
    }

    /// MESSAGE-INTEGRITY-SHA256 over what is written so far.
    pub fn message_integrity_sha256(&mut self, key: &[u8]) {
        match integrity::sha256(self.written(), key) {
            Some(code) => self.append(attribute::MESSAGE_INTEGRITY_SHA256, &[&code]),
            None => self.overflow = true,
        }
    }

    /// FINGERPRINT over what is written so far; nothing may follow it.
    pub fn fingerprint(&mut self) {
        // The checksum covers the Length, which must count the attribute already.
        self.set_length(8);
        let value = fingerprint::fingerprint(self.written());
        self.append(attribute::FINGERPRINT, &[&value.to_be_bytes()]);
    }

    /// Completes the header and returns the message's length in bytes.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when any part did not fit; the buffer's content is then of no use.
    pub fn finish(mut self) -> Result<usize, BufferFull> {
        self.set_length(0);
        if self.overflow {
            Err(BufferFull)
        } else {
            Ok(self.len)
        }
    }
}
