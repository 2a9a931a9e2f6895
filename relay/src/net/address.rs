//! Socket addresses in the layout that the kernel reads and writes.
//!
//! Responsible for turning a [`SocketAddr`] into `sockaddr_in` / `sockaddr_in6` bytes and back, as pure code over byte
//! arrays. Not responsible for handing those bytes to a system call (`sys`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of `struct sockaddr_in`.
const V4_LEN: usize = size_of::<libc::sockaddr_in>();
/// Bytes of `struct sockaddr_in6`, the longest address that a relay's socket ever sees.
const V6_LEN: usize = size_of::<libc::sockaddr_in6>();

#[expect(
    clippy::cast_possible_truncation,
    reason = "both families are below 256"
)]
const FAMILY_V4: u16 = libc::AF_INET as u16;
#[expect(
    clippy::cast_possible_truncation,
    reason = "both families are below 256"
)]
const FAMILY_V6: u16 = libc::AF_INET6 as u16;

/// Room for one `sockaddr_in6`, aligned as the kernel's structures are.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct RawAddr {
    bytes: [u8; V6_LEN],
}

impl RawAddr {
    /// Bytes that the kernel may write.
    pub(super) const CAPACITY: usize = V6_LEN;

    /// An address of no family, to be filled in by the kernel.
    pub(super) const fn unspecified() -> Self {
        Self { bytes: [0; V6_LEN] }
    }

    /// The kernel's form of an address. The flow label is never carried over (RFC 8656 §13.1 forbids copying it).
    pub(super) fn from_socket_addr(addr: &SocketAddr) -> Self {
        let mut bytes = [0; V6_LEN];
        match addr {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                bytes[2..4].copy_from_slice(&v4.port().to_be_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                bytes[2..4].copy_from_slice(&v6.port().to_be_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            }
        }
        Self { bytes }
    }

    /// Length of the structure for the family that it holds; 0 for none.
    pub(super) const fn len(&self) -> usize {
        match self.family() {
            FAMILY_V4 => V4_LEN,
            FAMILY_V6 => V6_LEN,
            _ => 0,
        }
    }

    /// The address, or `None` when the kernel named none or another family.
    pub(super) fn to_socket_addr(self) -> Option<SocketAddr> {
        parse(&self.bytes)
    }

    /// The bytes, for a system call to read.
    pub(super) const fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// The bytes, for a system call to write at most [`RawAddr::CAPACITY`] of them.
    pub(super) const fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    const fn family(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[0], self.bytes[1]])
    }
}

/// Reads a `sockaddr_in` or `sockaddr_in6` off the front of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match family {
        FAMILY_V4 => {
            let octets: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddr::V4(SocketAddrV4::new(
                Ipv4Addr::from(octets),
                port,
            )))
        }
        FAMILY_V6 => {
            let octets: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            Some(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(octets),
                port,
                0,
                scope,
            )))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_kernels_layout() {
        for text in [
            "127.0.0.1:3478",
            "0.0.0.0:0",
            "[2001:db8::1]:65535",
            "[fe80::1%7]:5349",
        ] {
            let addr: SocketAddr = text.parse().expect("written above");
            let raw = RawAddr::from_socket_addr(&addr);
            assert_eq!(raw.to_socket_addr(), Some(addr));
            assert_eq!(raw.len(), if addr.is_ipv4() { 16 } else { 28 });
        }
    }

    #[test]
    fn an_empty_or_cut_address_is_none() {
        assert_eq!(RawAddr::unspecified().to_socket_addr(), None);
        assert_eq!(RawAddr::unspecified().len(), 0);
        let raw = RawAddr::from_socket_addr(&"[::1]:9".parse().expect("written above"));
        for len in 0..V6_LEN {
            assert_eq!(parse(&raw.bytes[..len]), None);
        }
    }

    /// Flow labels are per hop pair and never copied from one leg to the other (RFC 8656 §13.1).
    #[test]
    fn a_flow_label_is_dropped() {
        let with_label = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0x000A_BCDE, 0));
        let back = RawAddr::from_socket_addr(&with_label).to_socket_addr();
        assert_eq!(
            back,
            Some(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::LOCALHOST,
                1,
                0,
                0
            )))
        );
    }
}
