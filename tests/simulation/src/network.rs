//! The network between clients, relay and peers: what is sent arrives late, twice, out of order, or never.
//!
//! Responsible for the weather, for what is under way, and for the NATs before the clients. Not responsible for what packets say.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use taciturn_protocol::address::Transport;

use crate::ask::Request;
use crate::dice::Dice;

/// What the sender of a packet meant by it.
#[derive(Clone)]
pub(crate) enum Meant {
    Request(Rc<Request>),
    Send {
        peer: SocketAddr,
        payload: Vec<u8>,
    },
    Channel {
        number: u16,
        payload: Vec<u8>,
    },
    /// A payload from a peer, or whatever the relay sends.
    Payload,
    /// Nothing that anybody should answer or pass on.
    Rubbish,
}

impl fmt::Debug for Meant {
    /// Without payloads, which are in the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(request) => request.fmt(f),
            Self::Send { peer, .. } => write!(f, "Send to {peer}"),
            Self::Channel { number, .. } => write!(f, "ChannelData {number:#x}"),
            Self::Payload => f.write_str("payload"),
            Self::Rubbish => f.write_str("rubbish"),
        }
    }
}

/// One packet.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) transport: Transport,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
    pub(crate) meant: Meant,
}

/// How bad it is, in packets of a thousand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Overtaken by packets that were sent up to a second later.
    pub(crate) held_up: u64,
}

impl Weather {
    pub(crate) const FAIR: Self = Self {
        lost: 0,
        doubled: 0,
        held_up: 0,
    };

    pub(crate) fn drawn(dice: &mut Dice) -> Self {
        Self {
            lost: *dice.pick(&[0, 0, 20, 150, 400]),
            doubled: *dice.pick(&[0, 10, 200]),
            held_up: *dice.pick(&[0, 30, 300]),
        }
    }
}

/// One end of a mapping: a client, and the port on its own host.
pub(crate) type Inside = (usize, u16);

/// Everything between the hosts.
#[derive(Debug)]
pub(crate) struct Network {
    dice: Dice,
    pub(crate) weather: Weather,
    under_way: BTreeMap<(Duration, u64), Packet>,
    sent: u64,
    /// When the last byte of each direction of a stream arrives: streams keep their order.
    streams: BTreeMap<(SocketAddr, SocketAddr), Duration>,
    mappings: BTreeMap<Inside, SocketAddr>,
    insides: BTreeMap<SocketAddr, Inside>,
    /// Packets that the weather has taken or doubled.
    pub(crate) spoilt: u64,
}

impl Network {
    pub(crate) const fn new(dice: Dice) -> Self {
        Self {
            dice,
            weather: Weather::FAIR,
            under_way: BTreeMap::new(),
            sent: 0,
            streams: BTreeMap::new(),
            mappings: BTreeMap::new(),
            insides: BTreeMap::new(),
            spoilt: 0,
        }
    }

    /// Sends a packet, into whatever weather there is.
    pub(crate) fn send(&mut self, now: Duration, packet: Packet) {
        let delay = Duration::from_millis(5) + self.dice.time(Duration::from_millis(40));
        if packet.transport.is_stream() {
            let flow = (packet.from, packet.to);
            let last = self.streams.get(&flow).copied().unwrap_or_default();
            let at = (now + delay).max(last + Duration::from_micros(1));
            self.streams.insert(flow, at);
            return self.arrives(at, packet);
        }
        if self.dice.happens(self.weather.lost) {
            self.spoilt += 1;
            return;
        }
        if self.dice.happens(self.weather.doubled) {
            self.spoilt += 1;
            let later = self.dice.time(Duration::from_secs(3));
            self.arrives(now + delay + later, packet.clone());
        }
        let mut at = now + delay;
        if self.dice.happens(self.weather.held_up) {
            at += self.dice.time(Duration::from_secs(1));
        }
        self.arrives(at, packet);
    }

    fn arrives(&mut self, at: Duration, packet: Packet) {
        self.sent += 1;
        self.under_way.insert((at, self.sent), packet);
    }

    /// When the next packet arrives.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next packet, when it has arrived by `now`.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Packet> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    // ---- NATs ----

    /// The address by which the world knows this socket of a client: made when it first sends.
    pub(crate) fn outside(&mut self, inside: Inside) -> SocketAddr {
        if let Some(&outside) = self.mappings.get(&inside) {
            return outside;
        }
        // Two clients stand behind each NAT, and its ports are few: one that is free again is soon another's.
        let ip = match inside.0 % 4 {
            0 | 1 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
            2 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
            _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0x0DB8, 0, 0, 0, 0, 0, 3)),
        };
        let mut port = 40_000 + self.dice.below(4);
        let outside = loop {
            let address = SocketAddr::new(ip, u16::try_from(port).expect("few mappings"));
            if !self.insides.contains_key(&address) {
                break address;
            }
            port += 1;
        };
        self.mappings.insert(inside, outside);
        self.insides.insert(outside, inside);
        outside
    }

    /// Whose address this is now.
    pub(crate) fn inside(&self, outside: SocketAddr) -> Option<Inside> {
        self.insides.get(&outside).copied()
    }

    /// The NAT before this client forgets everything about it, and tells nobody. The addresses that its sockets had.
    pub(crate) fn rebind(&mut self, client: usize) -> Vec<SocketAddr> {
        let gone: Vec<_> = self
            .mappings
            .extract_if(.., |(c, _), _| *c == client)
            .collect();
        let gone: Vec<SocketAddr> = gone.into_iter().map(|(_, outside)| outside).collect();
        for outside in &gone {
            self.insides.remove(outside);
        }
        gone
    }

    /// One socket of a client is closed, and its mapping with it.
    pub(crate) fn close(&mut self, inside: Inside) -> Option<SocketAddr> {
        let outside = self.mappings.remove(&inside)?;
        self.insides.remove(&outside);
        Some(outside)
    }
}

/// A peer: it says back what it hears.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// What was heard, at which peer and from where.
    pub(crate) heard: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Peers {
    /// A payload at a peer's address; the echo.
    pub(crate) fn hear(&mut self, packet: Packet) -> Packet {
        self.heard
            .push((packet.to, packet.from, packet.bytes.clone()));
        Packet {
            from: packet.to,
            to: packet.from,
            meant: Meant::Payload,
            ..packet
        }
    }
}
