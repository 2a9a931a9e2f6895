//! Control messages: what the kernel tells about a datagram besides its bytes, and what it is told.
//!
//! Responsible for reading and writing the `struct cmsghdr` sequence as pure code over byte slices, so that it can be
//! tested (and interpreted by Miri) without a socket. Not responsible for the system calls that carry the bytes.
//!
//! ```text
//!   0        8       12      16                16 + n      aligned to 8
//!   +--------+-------+-------+-----------------+-----------+--------
//!   | length | level | type  | n bytes of data | padding   | next ...
//!   +--------+-------+-------+-----------------+-----------+--------
//!     = 16 + n
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const WORD: usize = size_of::<usize>();
const LEVEL: usize = WORD;
const KIND: usize = LEVEL + 4;
const HEADER: usize = KIND + 4;
const _: () = assert!(
    HEADER == size_of::<libc::cmsghdr>(),
    "the picture above is the C library's structure"
);

/// Room for everything that one received datagram can carry here: packet info (40), traffic class (24), GRO size (24).
pub(super) const RECEIVE_CAPACITY: usize = 96;
/// Room for everything that one transmit can carry here: packet info (40), traffic class (24), segment size (24).
pub(super) const SEND_CAPACITY: usize = 88;
/// Room for an extended error with the addresses that accompany it.
pub(super) const ERROR_CAPACITY: usize = 256;

/// What the kernel said about one received datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// The address that the datagram was sent to (`IP_PKTINFO`, `IPV6_PKTINFO`).
    pub(super) to: Option<IpAddr>,
    /// Type of service or traffic class: six bits DSCP, two bits ECN.
    pub(super) traffic_class: u8,
    /// Length of each datagram in a coalesced buffer, the last may be shorter (`UDP_GRO`); `None` when it is one datagram.
    pub(super) segment: Option<u16>,
}

/// One entry of an error queue (`struct sock_extended_err` and the address after it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExtendedError {
    /// `SO_EE_ORIGIN_*`.
    pub(super) origin: u8,
    /// ICMP type.
    pub(super) kind: u8,
    /// ICMP code.
    pub(super) code: u8,
    /// For the "too big" kinds the MTU, otherwise 0.
    pub(super) detail: u32,
}

/// Reads the control messages of a received datagram. Unknown and short ones are passed over.
pub(super) fn parse_received(control: &[u8]) -> Received {
    let mut received = Received::default();
    for (level, kind, body) in Messages(control) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                received.to = v4_at(body, 8).map(IpAddr::V4).or(received.to)
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                received.to = v6_at(body).map(IpAddr::V6).or(received.to)
            }
            // One byte over IPv4, an int over IPv6, whichever socket option asked for it.
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                received.traffic_class = body.first().copied().unwrap_or(0)
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                received.traffic_class = int(body)
                    .and_then(|class| u8::try_from(class).ok())
                    .unwrap_or(0);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                received.segment = int(body)
                    .and_then(|size| u16::try_from(size).ok())
                    .filter(|size| *size > 0);
            }
            _ => {}
        }
    }
    received
}

/// Reads the control messages of an error queue entry.
pub(super) fn parse_error(control: &[u8]) -> Option<ExtendedError> {
    Messages(control)
        .filter(|(level, kind, _)| {
            matches!(
                (*level, *kind),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            )
        })
        .find_map(|(_, _, body)| {
            // errno u32, origin u8, type u8, code u8, padding u8, info u32, data u32, then the offender's address.
            let &[origin, kind, code] = body.get(4..)?.first_chunk()?;
            let detail = u32::from_ne_bytes(*body.get(8..)?.first_chunk()?);
            Some(ExtendedError {
                origin,
                kind,
                code,
                detail,
            })
        })
}

/// Writes control messages into a fixed buffer.
#[derive(Debug)]
pub(super) struct ControlWriter<'b> {
    buffer: &'b mut [u8; SEND_CAPACITY],
    len: usize,
}

impl<'b> ControlWriter<'b> {
    /// Starts an empty sequence.
    pub(super) const fn new(buffer: &'b mut [u8; SEND_CAPACITY]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Sends from this address, for a socket bound to the wildcard address.
    pub(super) fn source(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(v4) => {
                // in_pktinfo: interface index (0: any), ipi_spec_dst (the source to use), ipi_addr (ignored on sending).
                let mut body = [0; 12];
                body[4..8].copy_from_slice(&v4.octets());
                self.append(libc::IPPROTO_IP, libc::IP_PKTINFO, &body);
            }
            IpAddr::V6(v6) => {
                let mut body = [0; 20];
                body[..16].copy_from_slice(&v6.octets());
                self.append(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &body);
            }
        }
    }

    /// Sends with this type of service (IPv4) or traffic class (IPv6).
    pub(super) fn traffic_class(&mut self, to: &SocketAddr, class: u8) {
        let (level, kind) = match to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        self.append(level, kind, &i32::from(class).to_ne_bytes());
    }

    /// Cuts the bytes into datagrams of this length.
    pub(super) fn segment(&mut self, size: u16) {
        self.append(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }

    /// Bytes written.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    fn append(&mut self, level: i32, kind: i32, body: &[u8]) {
        let start = self.len;
        let end = start + aligned(HEADER + body.len());
        // Each message above is written at most once, and SEND_CAPACITY is the sum of the three longest.
        let Some(room) = self.buffer.get_mut(start..end) else {
            return;
        };
        room.fill(0);
        room[..WORD].copy_from_slice(&(HEADER + body.len()).to_ne_bytes());
        room[LEVEL..KIND].copy_from_slice(&level.to_ne_bytes());
        room[KIND..HEADER].copy_from_slice(&kind.to_ne_bytes());
        room[HEADER..HEADER + body.len()].copy_from_slice(body);
        self.len = end;
    }
}

/// The messages in a control buffer; ends at the first that does not fit its buffer.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from_ne_bytes(*self.0.first_chunk()?);
        let level = i32::from_ne_bytes(*self.0.get(LEVEL..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*self.0.get(KIND..)?.first_chunk()?);
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((level, kind, body))
    }
}

const fn aligned(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

fn int(body: &[u8]) -> Option<i32> {
    body.first_chunk().copied().map(i32::from_ne_bytes)
}

fn v4_at(body: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = *body.get(at..)?.first_chunk()?;
    Some(Ipv4Addr::from(octets))
}

fn v6_at(body: &[u8]) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = *body.first_chunk()?;
    Some(Ipv6Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control message as the kernel would lay it out.
    fn message(level: i32, kind: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER + body.len()).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&level.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(body);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    #[test]
    fn all_facts_of_a_datagram_are_read() {
        let mut info = [0_u8; 12];
        info[4..8].copy_from_slice(&[10, 0, 0, 1]);
        info[8..].copy_from_slice(&[10, 0, 0, 2]);
        let mut control = message(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        control.extend(message(libc::IPPROTO_IP, libc::IP_TOS, &[0xB8]));
        control.extend(message(
            libc::SOL_UDP,
            libc::UDP_GRO,
            &1200_i32.to_ne_bytes(),
        ));
        assert!(control.len() <= RECEIVE_CAPACITY);
        let expected = Received {
            to: Some(IpAddr::from([10, 0, 0, 2])),
            traffic_class: 0xB8,
            segment: Some(1200),
        };
        assert_eq!(parse_received(&control), expected);
    }

    #[test]
    fn ipv6_facts_are_read() {
        let mut info = [0_u8; 20];
        info[15] = 1;
        let mut control = message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        control.extend(message(
            libc::IPPROTO_IPV6,
            libc::IPV6_TCLASS,
            &3_i32.to_ne_bytes(),
        ));
        let expected = Received {
            to: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            traffic_class: 3,
            segment: None,
        };
        assert_eq!(parse_received(&control), expected);
    }

    #[test]
    fn any_cut_or_twisted_length_is_survived() {
        let mut control = message(libc::IPPROTO_IP, libc::IP_TOS, &[1]);
        control.extend(message(libc::SOL_UDP, libc::UDP_GRO, &0_i32.to_ne_bytes()));
        for len in 0..control.len() {
            parse_received(&control[..len]);
            parse_error(&control[..len]);
        }
        for length in [
            0_usize,
            1,
            HEADER - 1,
            HEADER,
            1000,
            usize::MAX,
            usize::MAX - 7,
        ] {
            control[..WORD].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(parse_received(&control).segment, None);
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for (source, to) in [
            ("192.0.2.1", "192.0.2.9:1"),
            ("2001:db8::1", "[2001:db8::9]:1"),
        ] {
            let source: IpAddr = source.parse().expect("written above");
            let mut buffer = [0xFF; SEND_CAPACITY];
            let mut writer = ControlWriter::new(&mut buffer);
            writer.source(source);
            writer.traffic_class(&to.parse().expect("written above"), 0x2E);
            writer.segment(1172);
            let len = writer.len();
            let kinds: Vec<_> = Messages(&buffer[..len])
                .map(|(_, kind, body)| (kind, body.len()))
                .collect();
            let (info, class) = if source.is_ipv4() {
                ((libc::IP_PKTINFO, 12), (libc::IP_TOS, 4))
            } else {
                ((libc::IPV6_PKTINFO, 20), (libc::IPV6_TCLASS, 4))
            };
            assert_eq!(kinds, [info, class, (libc::UDP_SEGMENT, 2)]);
            assert_eq!(parse_received(&buffer[..len]).traffic_class, 0x2E);
        }
    }

    #[test]
    fn an_extended_error_gives_origin_type_code_and_mtu() {
        let mut body = Vec::new();
        body.extend_from_slice(&90_u32.to_ne_bytes());
        body.extend_from_slice(&[2, 3, 4, 0]);
        body.extend_from_slice(&1280_u32.to_ne_bytes());
        body.extend_from_slice(&0_u32.to_ne_bytes());
        let control = message(libc::IPPROTO_IP, libc::IP_RECVERR, &body);
        assert_eq!(
            parse_error(&control),
            Some(ExtendedError {
                origin: 2,
                kind: 3,
                code: 4,
                detail: 1280
            })
        );
        assert_eq!(parse_error(&[]), None);
    }
}
