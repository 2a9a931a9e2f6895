//! Transport addresses as attribute values: plain (RFC 8489 §14.1) and XORed (§14.2).
//!
//! Responsible for the bytes of one address; not for which attribute holds it.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |  0 (ignored)  | family 1 or 2 |             port              |
//! +---------------+---------------+-------------------------------+
//! |                 address, 4 or 16 bytes                        |
//! +---------------------------------------------------------------+
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{MAGIC_COOKIE, TransactionId};

/// The bytes that an address is XORed with: cookie, then transaction id; all zero for a plain address.
#[derive(Clone, Copy)]
pub(super) struct Mask([u8; 16]);

impl Mask {
    pub(super) const NONE: Self = Self([0; 16]);

    #[inline]
    pub(super) const fn of(id: &TransactionId) -> Self {
        let [c0, c1, c2, c3] = MAGIC_COOKIE.to_be_bytes();
        let [i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11] = id.0;
        Self([
            c0, c1, c2, c3, i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11,
        ])
    }

    #[inline]
    const fn port(self) -> u16 {
        let [high, low, ..] = self.0;
        u16::from_be_bytes([high, low])
    }

    #[inline]
    const fn v4(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    #[inline]
    const fn v6(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

/// Reads an address value; `None` when its family is unknown or its length does not fit the family.
#[inline]
pub(super) fn parse(value: &[u8], mask: Mask) -> Option<SocketAddr> {
    let (&[_ignored, family, p0, p1], octets) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0, p1]) ^ mask.port();
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(
            u32::from_be_bytes(*octets.as_array()?) ^ mask.v4(),
        )),
        2 => IpAddr::V6(Ipv6Addr::from(
            u128::from_be_bytes(*octets.as_array()?) ^ mask.v6(),
        )),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// An address value ready to be written: up to 20 bytes of which the first `len` count.
#[derive(Clone, Copy)]
pub(super) struct Encoded {
    bytes: [u8; 20],
    len: usize,
}

impl Encoded {
    #[inline]
    pub(super) fn new(addr: SocketAddr, mask: Mask) -> Self {
        let [p0, p1] = (addr.port() ^ mask.port()).to_be_bytes();
        match addr.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = (ip.to_bits() ^ mask.v4()).to_be_bytes();
                let mut bytes = [0; 20];
                let [_, family, port_0, port_1, ip_0, ip_1, ip_2, ip_3, ..] = &mut bytes;
                (*family, *port_0, *port_1) = (1, p0, p1);
                (*ip_0, *ip_1, *ip_2, *ip_3) = (a, b, c, d);
                Self { bytes, len: 8 }
            }
            IpAddr::V6(ip) => {
                let mut bytes = [0; 20];
                let [_, family, port_0, port_1, octets @ ..] = &mut bytes;
                (*family, *port_0, *port_1) = (2, p0, p1);
                *octets = (ip.to_bits() ^ mask.v6()).to_be_bytes();
                Self { bytes, len: 20 }
            }
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
