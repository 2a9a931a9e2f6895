//! A network that holds every address there is, and sees every packet that a relay's host sends to any of them.
//!
//! ```text
//!   the test's own namespace                        outside
//!   relay   r0 10.77.0.1 and .2, 13.54.7.9,    ---  o0 the lab's clients and peers; every other
//!           fd77::1 and ::2, 2a01:78::9             address of both families is here as well
//!   seen on every interface, loopback too           seen on the wire, and by sockets
//! ```
//!
//! Responsible for seeing, and for showing that it sees. Not responsible for what is sent (`forbidden`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::client::{Client, Over, receive_from};
use crate::lab::{Lab, PORT, TLS_PORT};
use crate::namespace::ip;
use crate::running::{Running, Setup};
use crate::sniffer::{Packet, Sniffer};
use crate::targets;

/// What a client has its payloads begin with when they must not arrive anywhere.
pub(crate) const MARKER: &str = "must not leave";

/// The port at every address of the sink that its sockets are bound to.
pub(crate) const SINK_PORT: u16 = 40_000;

/// The one port that takes TURN over UDP, over TCP and over TLS.
pub(crate) const SHARED_PORT: u16 = 443;

/// What the relay's host has beside its relayed addresses: more addresses, and a subnet's broadcast address.
pub(crate) const HOST: [&str; 6] = [
    "10.77.0.2",
    "10.77.0.255",
    "fd77::2",
    "13.54.7.9",
    "13.54.7.255",
    "2a01:78::9",
];

/// What the operator has closed: name servers, databases and the like beside the relay.
pub(crate) const CLOSED: [&str; 3] = ["9.9.9.9", "13.54.8.20", "2a01:79::53"];

const OUTSIDE: &str = "02:00:00:00:77:10";

/// One of the ways to a relay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) over: Over,
    pub(crate) port: u16,
}

impl Way {
    pub(crate) const ALL: [Self; 6] = [
        Self::new(Over::Udp, PORT),
        Self::new(Over::Tcp, PORT),
        Self::new(Over::Tls, TLS_PORT),
        Self::new(Over::Udp, SHARED_PORT),
        Self::new(Over::Tcp, SHARED_PORT),
        Self::new(Over::Tls, SHARED_PORT),
    ];

    const fn new(over: Over, port: u16) -> Self {
        Self { over, port }
    }
}

/// The lab with the sink in it.
pub(crate) struct Sink {
    pub(crate) lab: Lab,
    on_host: Sniffer,
    on_wire: Sniffer,
    sockets: [UdpSocket; 2],
    /// From the host, not through the relay: what shows that a packet to any of these addresses is seen.
    direct: [UdpSocket; 2],
    directly: u64,
}

impl Sink {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        lab.outside.ip(&format!("link set o0 address {OUTSIDE}"));
        for words in [
            "addr add 10.77.0.2/24 dev r0",
            "addr add fd77::2/64 dev r0 nodad",
            "addr add 13.54.7.9/24 brd + dev r0",
            "addr add 2a01:78::9/64 dev r0 nodad",
        ] {
            ip(words);
        }
        // In the main table, where the lab's own networks come first.
        for words in [
            "route add local 0.0.0.0/0 dev lo table main",
            "-6 route add local ::/0 dev lo table main",
        ] {
            lab.outside.ip(words);
        }
        // Nobody answers for these, and without an answer nothing would be sent that could be seen.
        for target in targets::never() {
            if target.to_string().starts_with("fe80::") {
                ip(&format!(
                    "neigh replace {target} lladdr {OUTSIDE} dev r0 nud permanent"
                ));
            }
        }
        let sockets = lab.outside.enter(|| {
            [
                bound(Ipv4Addr::UNSPECIFIED.into(), SINK_PORT),
                bound(Ipv6Addr::UNSPECIFIED.into(), SINK_PORT),
            ]
        });
        let direct = [
            bound(Ipv4Addr::UNSPECIFIED.into(), 0),
            bound(Ipv6Addr::UNSPECIFIED.into(), 0),
        ];
        Self {
            on_wire: lab.sniffer_outside(),
            on_host: Sniffer::new(),
            lab,
            sockets,
            direct,
            directly: 0,
        }
    }

    /// A relay with a listener of every kind on both of its addresses.
    pub(crate) fn setup(workers: usize) -> Setup {
        let mut setup = Lab::setup(workers);
        for host in ["10.77.0.1", "[fd77::1]"] {
            for transport in ["udp", "auto"] {
                setup = setup.listener(transport, &format!("{host}:{SHARED_PORT}"));
            }
        }
        setup
    }

    /// A client outside that comes this way.
    pub(crate) fn client(&self, relay: &Running, way: Way, host: &str, user: &str) -> Client {
        let server = SocketAddr::new(host.parse().unwrap(), way.port);
        self.lab
            .outside
            .enter(|| Client::at(relay, way.over, server, user))
    }

    /// What the sink's sockets have received since the last time, without waiting for more.
    pub(crate) fn arrived(&self) -> Vec<(Vec<u8>, SocketAddr)> {
        let mut found = Vec::new();
        for socket in &self.sockets {
            socket.set_nonblocking(true).unwrap();
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                found.push((buffer[..length].to_vec(), from));
            }
            socket.set_nonblocking(false).unwrap();
        }
        found
    }

    /// The next datagram at the sink's socket of this family.
    pub(crate) fn next(&self, of: IpAddr) -> (Vec<u8>, SocketAddr) {
        receive_from(&self.sockets[usize::from(of.is_ipv6())])
    }

    /// Every packet with the marker that the relay's host has sent, seen on the host or on the wire before the packets that
    /// carry `last`, which has to come by in both places.
    pub(crate) fn leaked(&self, last: &[u8]) -> Vec<Packet> {
        let is_leak = |packet: &Packet| {
            packet.contains(MARKER.as_bytes()) && !is_of_a_client(packet.from.ip())
        };
        let is_last = |packet: &Packet| packet.contains(last) && !is_of_a_client(packet.from.ip());
        [&self.on_host, &self.on_wire]
            .into_iter()
            .flat_map(|sniffer| sniffer.packets_until(is_last))
            .filter(is_leak)
            .collect()
    }

    /// Every packet on the host until the first that the host sends with `last` in it.
    pub(crate) fn seen_on_host(&self, last: &[u8]) -> Vec<Packet> {
        self.on_host
            .packets_until(|packet| packet.contains(last) && !is_of_a_client(packet.from.ip()))
    }

    /// Has the host itself send to this address, as any program of it may, and waits until that was seen.
    pub(crate) fn sees(&mut self, address: IpAddr) {
        self.directly += 1;
        let text = format!("directly {:08}", self.directly);
        let socket = &self.direct[usize::from(address.is_ipv6())];
        socket
            .send_to(text.as_bytes(), SocketAddr::new(address, SINK_PORT))
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        self.on_host
            .await_packet(|packet| packet.contains(text.as_bytes()));
        // Its sockets have it too, unless it is of those that no host takes off a wire.
        let _ = self.arrived();
    }
}

/// Whether the kernel takes a packet to this address and sends it nowhere: multicast that stays on the interface.
pub(crate) fn stays_in_the_kernel(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_multicast() && v6.segments()[0] & 0xF <= 1)
}

/// The lab's clients and peers send from these.
fn is_of_a_client(address: IpAddr) -> bool {
    ["10.77.0.10", "10.77.0.20", "fd77::10", "fd77::20"]
        .iter()
        .any(|own| own.parse() == Ok(address))
}

/// A socket of one family that may send to broadcast addresses too.
fn bound(address: IpAddr, port: u16) -> UdpSocket {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .unwrap();
    socket.set_broadcast(true).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    if address.is_ipv6() {
        // Below the port a mapped address is an IPv4 address: for the sink a socket of its own takes those.
        socket.set_only_v6(port != 0).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.into()
}
