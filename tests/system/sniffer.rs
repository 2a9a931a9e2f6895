//! UDP and TCP packets as an interface sees them, headers included.
//!
//! Responsible for reading what passes in one namespace. Not responsible for putting fragments together.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::running::PATIENCE;

const ETHERNET: usize = 14;

/// A packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// TTL or hop limit.
    pub(crate) hops: u8,
    pub(crate) dont_fragment: bool,
    /// What follows the ports and the four bytes after them: over UDP the payload, over TCP more than that.
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn contains(&self, marker: &[u8]) -> bool {
        self.payload
            .windows(marker.len())
            .any(|window| window == marker)
    }
}

/// Sees every packet of the namespace it was made in, in both directions.
pub(crate) struct Sniffer {
    socket: Socket,
}

impl Sniffer {
    pub(crate) fn new() -> Self {
        let every_protocol = i32::from(3_u16.to_be());
        let protocol = Some(Protocol::from(every_protocol));
        let socket = Socket::new(Domain::PACKET, Type::RAW, protocol).unwrap();
        // What the kernel cannot queue would be missed; a namespace's buffers may be small.
        let _ = socket.set_recv_buffer_size(8 << 20);
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        Self { socket }
    }

    /// The next packet that is wanted.
    pub(crate) fn await_packet(&self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(packet) = self.next().filter(|packet| wanted(packet)) {
                return packet;
            }
        }
        panic!("no such packet was seen");
    }

    /// Every packet seen until `last` is.
    pub(crate) fn packets_until(&self, last: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        let deadline = Instant::now() + PATIENCE;
        let mut packets = Vec::new();
        while Instant::now() < deadline {
            let Some(packet) = self.next() else {
                continue;
            };
            let is_last = last(&packet);
            packets.push(packet);
            if is_last {
                return packets;
            }
        }
        panic!("the last packet was not seen");
    }

    fn next(&self) -> Option<Packet> {
        let mut frame = vec![0; 70_000];
        match (&self.socket).read(&mut frame) {
            Ok(length) => parse(frame[..length].get(ETHERNET..)?),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}

fn parse(packet: &[u8]) -> Option<Packet> {
    const KNOWN: [u8; 2] = [6, 17];
    let at = |index: usize| packet.get(index).copied();
    let (from, to, udp, traffic_class, hops, dont_fragment) = match at(0)? >> 4 {
        4 if KNOWN.contains(&at(9)?) => {
            let header = usize::from(at(0)? & 0x0F) * 4;
            let address = |from: usize| {
                let octets: [u8; 4] = packet.get(from..from + 4)?.try_into().ok()?;
                Some(IpAddr::V4(Ipv4Addr::from(octets)))
            };
            let dont_fragment = at(6)? & 0x40 != 0;
            (
                address(12)?,
                address(16)?,
                packet.get(header..)?,
                at(1)?,
                at(8)?,
                dont_fragment,
            )
        }
        6 if KNOWN.contains(&at(6)?) => {
            let address = |from: usize| {
                let octets: [u8; 16] = packet.get(from..from + 16)?.try_into().ok()?;
                Some(IpAddr::V6(Ipv6Addr::from(octets)))
            };
            let class = at(0)? << 4 | at(1)? >> 4;
            (
                address(8)?,
                address(24)?,
                packet.get(40..)?,
                class,
                at(7)?,
                true,
            )
        }
        _ => return None,
    };
    let port = |from: usize| Some(u16::from_be_bytes([*udp.get(from)?, *udp.get(from + 1)?]));
    Some(Packet {
        from: SocketAddr::new(from, port(0)?),
        to: SocketAddr::new(to, port(2)?),
        traffic_class,
        hops,
        dont_fragment,
        payload: udp.get(8..)?.to_vec(),
    })
}
