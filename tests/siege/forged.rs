//! Datagrams from any address: their IP headers are written here.
//!
//! For network namespaces of a test's own, where nobody else is at those addresses. Not responsible for answers.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

const IP: usize = 20;
const UDP: usize = 8;

/// Sends to one server.
pub(crate) struct Forger {
    socket: Socket,
    server: SocketAddrV4,
    to: SockAddr,
    packet: Vec<u8>,
}

impl Forger {
    /// Belongs to the namespace that the thread is in.
    pub(crate) fn new(server: SocketAddrV4) -> Self {
        // IPPROTO_RAW: the header comes with the payload.
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        Self {
            socket,
            server,
            to: SocketAddrV4::new(*server.ip(), 0).into(),
            packet: Vec::new(),
        }
    }

    /// One datagram. Its UDP checksum is left out, which IPv4 allows; the kernel adds that of the header.
    pub(crate) fn send(&mut self, from: SocketAddrV4, payload: &[u8]) {
        let length = |header: usize| u16::try_from(header + payload.len()).unwrap().to_be_bytes();
        let packet = &mut self.packet;
        packet.clear();
        packet.extend([0x45, 0]);
        packet.extend(length(IP + UDP));
        // Identification, fragment offset; then hops, protocol, checksum.
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(from.ip().octets());
        packet.extend(self.server.ip().octets());
        packet.extend(from.port().to_be_bytes());
        packet.extend(self.server.port().to_be_bytes());
        packet.extend(length(UDP));
        packet.extend([0, 0]);
        packet.extend_from_slice(payload);
        loop {
            match self.socket.send_to(packet, &self.to) {
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The queue of the interface is full.
                Err(error) if error.raw_os_error() == Some(105) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// How many sources there are at most.
pub(crate) const SOURCES: u64 = 1 << 24;

/// The source of this number, below [`SOURCES`]: an address that no other number has, and a port.
pub(crate) fn source(number: u64) -> SocketAddrV4 {
    // Odd, so that it is one to one; neighbours in number are far from each other.
    let spread = number.wrapping_mul(0x9E_3779) & (SOURCES - 1);
    let address = Ipv4Addr::from(0x1400_0000 | u32::try_from(spread).unwrap());
    let port = 1024 + number.wrapping_mul(40_503) % 64_512;
    SocketAddrV4::new(address, u16::try_from(port).unwrap())
}
