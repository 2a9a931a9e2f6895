//! Typed reading of attribute values (RFC 8489 §14, RFC 8656 §18).
//!
//! Responsible for lengths, reserved bits and which of several equal attributes counts: the first, unless the name says
//! "all". Not responsible for what values are acceptable.

use core::fmt;
use core::net::SocketAddr;

use super::address::{self, Mask};
use super::attribute;
use super::header::TransactionId;

/// A value whose length or content its attribute cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed attribute value")
    }
}

impl core::error::Error for Malformed {}

/// The value of ICMP (RFC 8656 §18.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// ICMP or ICMPv6 type.
    pub kind: u8,
    /// ICMP or ICMPv6 code.
    pub code: u8,
    /// The next hop's MTU in bytes for "packet too big" and "fragmentation needed", else zero.
    pub data: u32,
}

/// The attributes of a message, in order, up to the first integrity attribute.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    id: TransactionId,
}

impl fmt::Debug for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(kind, value)| (kind, value.len())))
            .finish()
    }
}

impl<'a> Attributes<'a> {
    /// `bytes` holds whole attributes only: `framed` has walked them.
    #[inline]
    pub(super) const fn new(bytes: &'a [u8], id: TransactionId) -> Self {
        Self { bytes, id }
    }

    pub(super) const fn transaction_id(&self) -> TransactionId {
        self.id
    }

    /// Type and value of every attribute, in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut left = self.bytes;
        core::iter::from_fn(move || {
            let (kind, value, rest) = attribute::split_first(left)?;
            left = rest;
            Some((kind, value))
        })
    }

    /// The value of the first attribute of this type.
    #[inline]
    pub fn first(&self, kind: u16) -> Option<&'a [u8]> {
        self.iter()
            .find_map(|(found, value)| (found == kind).then_some(value))
    }

    #[inline]
    fn fixed<const N: usize>(&self, kind: u16) -> Option<Result<[u8; N], Malformed>> {
        Some(self.first(kind)?.try_into().map_err(|_| Malformed))
    }

    /// LIFETIME, in seconds.
    pub fn lifetime(&self) -> Option<Result<u32, Malformed>> {
        Some(self.fixed(attribute::LIFETIME)?.map(u32::from_be_bytes))
    }

    /// REQUESTED-TRANSPORT: the protocol number (17 for UDP); the reserved part is ignored.
    pub fn requested_transport(&self) -> Option<Result<u8, Malformed>> {
        Some(
            self.fixed(attribute::REQUESTED_TRANSPORT)?
                .map(|[protocol, _, _, _]| protocol),
        )
    }

    /// REQUESTED-ADDRESS-FAMILY: the family's number, known or not; the reserved part is ignored.
    pub fn requested_family(&self) -> Option<Result<u8, Malformed>> {
        Some(
            self.fixed(attribute::REQUESTED_ADDRESS_FAMILY)?
                .map(|[family, _, _, _]| family),
        )
    }

    /// ADDITIONAL-ADDRESS-FAMILY: the family's number, known or not; the reserved part is ignored.
    pub fn additional_family(&self) -> Option<Result<u8, Malformed>> {
        Some(
            self.fixed(attribute::ADDITIONAL_ADDRESS_FAMILY)?
                .map(|[family, _, _, _]| family),
        )
    }

    /// EVEN-PORT: whether the next-higher port is to be reserved; the reserved bits are ignored.
    pub fn even_port(&self) -> Option<Result<bool, Malformed>> {
        Some(
            self.fixed(attribute::EVEN_PORT)?
                .map(|[bits]| bits & 0x80 != 0),
        )
    }

    /// RESERVATION-TOKEN.
    pub fn reservation_token(&self) -> Option<Result<[u8; 8], Malformed>> {
        self.fixed(attribute::RESERVATION_TOKEN)
    }

    /// CHANNEL-NUMBER, in or out of range; the reserved part is ignored.
    pub fn channel_number(&self) -> Option<Result<u16, Malformed>> {
        Some(
            self.fixed(attribute::CHANNEL_NUMBER)?
                .map(|[high, low, _, _]| u16::from_be_bytes([high, low])),
        )
    }

    #[inline]
    fn address(&self, value: &[u8]) -> Result<SocketAddr, Malformed> {
        address::parse(value, Mask::of(&self.id)).ok_or(Malformed)
    }

    fn addresses(
        &self,
        kind: u16,
    ) -> impl Iterator<Item = Result<SocketAddr, Malformed>> + use<'a> {
        let all = *self;
        all.iter()
            .filter(move |&(found, _)| found == kind)
            .map(move |(_, value)| all.address(value))
    }

    /// The first XOR-PEER-ADDRESS.
    pub fn xor_peer_address(&self) -> Option<Result<SocketAddr, Malformed>> {
        Some(self.address(self.first(attribute::XOR_PEER_ADDRESS)?))
    }

    /// Every XOR-PEER-ADDRESS: all count in CreatePermission (RFC 8656 §10.2).
    pub fn xor_peer_addresses(
        &self,
    ) -> impl Iterator<Item = Result<SocketAddr, Malformed>> + use<'a> {
        self.addresses(attribute::XOR_PEER_ADDRESS)
    }

    /// DATA.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.first(attribute::DATA)
    }

    /// Whether DONT-FRAGMENT is there. It has no value; one that came nevertheless is ignored.
    pub fn dont_fragment(&self) -> bool {
        self.first(attribute::DONT_FRAGMENT).is_some()
    }

    /// The first XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(&self) -> Option<Result<SocketAddr, Malformed>> {
        Some(self.address(self.first(attribute::XOR_MAPPED_ADDRESS)?))
    }

    /// Every XOR-RELAYED-ADDRESS: a dual allocation has two (RFC 8656 §7.3).
    pub fn xor_relayed_addresses(
        &self,
    ) -> impl Iterator<Item = Result<SocketAddr, Malformed>> + use<'a> {
        self.addresses(attribute::XOR_RELAYED_ADDRESS)
    }

    /// Every ALTERNATE-SERVER, which is not XORed (RFC 8489 §14.15).
    pub fn alternate_servers(
        &self,
    ) -> impl Iterator<Item = Result<SocketAddr, Malformed>> + use<'a> {
        self.iter()
            .filter(|&(kind, _)| kind == attribute::ALTERNATE_SERVER)
            .map(|(_, value)| address::parse(value, Mask::NONE).ok_or(Malformed))
    }

    /// ERROR-CODE: a code of 300-699 and its reason phrase, unchecked text.
    pub fn error_code(&self) -> Option<Result<(u16, &'a [u8]), Malformed>> {
        let value = self.first(attribute::ERROR_CODE)?;
        Some(
            split_error(value)
                .map(|(_, code, reason)| (code, reason))
                .ok_or(Malformed),
        )
    }

    /// ADDRESS-ERROR-CODE: the family's number and the code (RFC 8656 §18.12).
    pub fn address_error_code(&self) -> Option<Result<(u8, u16), Malformed>> {
        let value = self.first(attribute::ADDRESS_ERROR_CODE)?;
        Some(
            split_error(value)
                .map(|(family, code, _)| (family, code))
                .ok_or(Malformed),
        )
    }

    /// REALM, unchecked bytes.
    pub fn realm(&self) -> Option<&'a [u8]> {
        self.first(attribute::REALM)
    }

    /// NONCE, unchecked bytes.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.first(attribute::NONCE)
    }

    /// The raw value of PASSWORD-ALGORITHMS.
    pub fn password_algorithms(&self) -> Option<&'a [u8]> {
        self.first(attribute::PASSWORD_ALGORITHMS)
    }

    /// ICMP; the reserved part is ignored.
    pub fn icmp(&self) -> Option<Result<Icmp, Malformed>> {
        let value = self.fixed::<8>(attribute::ICMP)?;
        Some(value.map(|[_, _, kind, code, data @ ..]| Icmp {
            kind,
            code,
            data: u32::from_be_bytes(data),
        }))
    }

    /// The types listed in UNKNOWN-ATTRIBUTES; an odd byte at its end is ignored.
    pub fn unknown_attributes(&self) -> Option<impl Iterator<Item = u16> + use<'a>> {
        let (types, _) = self.first(attribute::UNKNOWN_ATTRIBUTES)?.as_chunks::<2>();
        Some(types.iter().map(|&bytes| u16::from_be_bytes(bytes)))
    }

    /// Writes each comprehension-required type that is unknown once, in order, into `out`; returns how many.
    ///
    /// What does not fit into `out` is left out: it bounds the answer, and the time spent here.
    pub fn unknown_required(&self, out: &mut [u16]) -> usize {
        let mut found = 0_usize;
        for (kind, _) in self.iter() {
            if !attribute::is_unknown_required(kind)
                || out.iter().take(found).any(|&listed| listed == kind)
            {
                continue;
            }
            let Some(slot) = out.get_mut(found) else {
                break;
            };
            *slot = kind;
            found = found.saturating_add(1);
        }
        found
    }
}

/// The common shape of both error attributes: family or reserved, reserved, class, number, reason.
fn split_error(value: &[u8]) -> Option<(u8, u16, &[u8])> {
    let (&[family, _, class, number], reason) = value.split_first_chunk::<4>()?;
    let class = u16::from(class & 7);
    if !(3..=6).contains(&class) || number > 99 || reason.len() > 763 {
        return None;
    }
    Some((
        family,
        class.checked_mul(100)?.checked_add(u16::from(number))?,
        reason,
    ))
}
