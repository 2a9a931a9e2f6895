//! The UDP sockets of one worker, and the lanes by which a send batch names them.
//!
//! Responsible for which socket is which. Not responsible for what is sent through them (`switch`).

use std::net::{IpAddr, SocketAddr};
#[cfg(test)]
use std::sync::Arc;

use slab::Slab;
use taciturn_protocol::address::{Family, FiveTuple, Transport};
use taciturn_protocol::forward::RelayedId;

use crate::counters::{Direction, DropSite};
#[cfg(test)]
use crate::net::faults::Faults;
use crate::net::{Lane, UdpSocket};

use super::crowd::{Apart, Crowd};

/// Set in the lanes of listeners; the lane of a relayed socket is its slot.
const LISTENER_BIT: u32 = 1 << 31;

/// What one worker has of a UDP listener. Either socket may receive anything; what is sent leaves by the first.
#[derive(Debug)]
pub struct ListenerSockets {
    /// Where media are queued, and all else where there is no other.
    pub data: UdpSocket,
    /// Where the kernel queues requests apart, when it has been told to (`net::Steering`).
    pub control: Option<UdpSocket>,
    /// Where it queues the media of those who crowd others out, likewise.
    pub apart: Option<Apart>,
}

impl ListenerSockets {
    /// One socket for everything.
    pub const fn single(data: UdpSocket) -> Self {
        Self {
            data,
            control: None,
            apart: None,
        }
    }
}

/// One UDP listener of this worker; the other workers have one each on the same address.
#[derive(Debug)]
pub(super) struct UdpListener {
    pub(super) sockets: ListenerSockets,
    address: SocketAddr,
    /// How many trains of requests to ask for at once.
    trains: usize,
    /// How much to read of its media.
    pub(super) appetite: Appetite,
    /// What keeps those apart who crowd others out.
    pub(super) crowd: Option<Crowd>,
}

impl UdpListener {
    pub(super) fn new(mut sockets: ListenerSockets) -> Self {
        let address = sockets.data.local_addr();
        Self {
            crowd: sockets.apart.take().map(Crowd::new),
            sockets,
            address,
            trains: Self::REQUESTS,
            appetite: Appetite::new(),
        }
    }

    /// Requests that it may bring before its media have their turn, give or take what one read brings: half as many
    /// datagrams as these may, as requests cost more.
    const REQUESTS: usize = 32;

    /// The socket for requests, and how much to read of it; `None` when they come with the media.
    #[inline]
    pub(super) fn requests(&self) -> Option<(usize, &UdpSocket)> {
        Some((self.trains, self.sockets.control.as_ref()?))
    }

    /// Learns how long the trains are that requests come in: only whoever floods sends them so fast that they are joined.
    #[inline]
    fn learn_requests(&mut self, trains: usize, requests: usize) {
        if let Some(fitting) = (Self::REQUESTS * trains).checked_div(requests) {
            // Up again by steps: one short train says little.
            self.trains = fitting.clamp(1, 2 * self.trains);
        }
    }

    /// How many datagrams the kernel has dropped on it since the start, requests and media together, without those of flows
    /// that are set apart; `None` when it does not tell.
    pub(super) fn kernel_drops(&self) -> Option<u64> {
        let control = self.sockets.control.as_ref();
        let of_control = control.map_or(Some(0), UdpSocket::kernel_drops)?;
        Some(self.sockets.data.kernel_drops()? + of_control)
    }

    /// The address that a datagram was sent to: from packet info, as the listener may be on a wildcard (S-15).
    #[inline]
    pub(super) fn server(&self, to: Option<IpAddr>) -> SocketAddr {
        SocketAddr::new(to.unwrap_or_else(|| self.address.ip()), self.address.port())
    }

    /// The source to put on a packet from `server`: only a wildcard listener needs to be told.
    #[inline]
    pub(super) fn source(&self, server: SocketAddr) -> Option<IpAddr> {
        self.address.ip().is_unspecified().then(|| server.ip())
    }

    fn serves(&self, server: SocketAddr) -> bool {
        let ip = self.address.ip();
        server.port() == self.address.port()
            && (ip == server.ip() || (ip.is_unspecified() && ip.is_ipv4() == server.is_ipv4()))
    }
}

/// One relayed socket.
#[derive(Debug)]
pub(super) struct Relayed {
    pub(super) socket: UdpSocket,
    /// The server's name for it.
    pub(super) id: RelayedId,
    /// The address as peers see it; the bound one until the server has said.
    pub(super) advertised: SocketAddr,
    /// How the client of its allocation reaches the relay; `None` until one holds it.
    transport: Option<Transport>,
    /// How much to read of it.
    pub(super) appetite: Appetite,
    /// What the kernel had dropped on it when it was last looked at.
    kernel_drops: u64,
}

impl Relayed {
    /// How many datagrams the kernel has dropped on it since the last look.
    pub(super) fn new_kernel_drops(&mut self) -> u64 {
        let drops = self.socket.kernel_drops().unwrap_or(self.kernel_drops);
        let new = drops.saturating_sub(self.kernel_drops);
        self.kernel_drops = drops;
        new
    }
}

/// How many datagrams one socket is asked for at once. Asking a quiet flow for many costs as much as its one packet: the
/// headers are prepared, and the kernel is asked for a second packet that is not there. A busy flow is worth many in one
/// call, all the more as its client, on a stream, then gets them in one write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appetite {
    limit: u8,
    /// Whether as many have ever come as were asked for, that is, at least one.
    used: bool,
    /// The round after the one in which they did, if they did.
    more_in: u32,
}

impl Appetite {
    const MOST: u8 = 64;
    const STEP: u8 = 4;

    const fn new() -> Self {
        Self {
            limit: 1,
            used: false,
            more_in: 0,
        }
    }

    /// Whether anything has come yet.
    pub(super) const fn is_used(self) -> bool {
        self.used
    }

    /// Datagrams to ask for.
    pub(super) const fn limit(self) -> usize {
        self.limit as usize
    }

    /// [`Appetite::learn`], unless there was not room for as many as it asks for, and all of it was taken: that says nothing.
    #[inline]
    pub(super) const fn learn_of(&mut self, round: u32, asked: usize, came: usize) {
        if asked == self.limit() || came < asked {
            self.learn(round, came);
        }
    }

    /// Learns from what came in this round. More are asked for only when the next round found the socket ready again:
    /// one packet of a quiet flow says nothing.
    #[inline]
    pub(super) const fn learn(&mut self, round: u32, came: usize) {
        if came >= self.limit as usize {
            if self.more_in == round && self.limit < Self::MOST {
                self.limit *= Self::STEP;
            }
            self.used = true;
            self.more_in = round.wrapping_add(1);
        } else if self.limit > 1 && came <= (self.limit / Self::STEP) as usize {
            self.limit /= Self::STEP;
        }
    }
}

/// All UDP sockets of one worker.
#[derive(Debug)]
pub(super) struct Sockets {
    listeners: Vec<UdpListener>,
    relayed: Slab<Relayed>,
    by_id: Vec<Option<usize>>,
    // Closed at the end of the round: a lane that packets wait on must not become another allocation's meanwhile.
    closing: Vec<usize>,
}

impl Sockets {
    /// These listeners, and no relayed socket yet.
    pub(super) fn new(listeners: Vec<UdpListener>) -> Self {
        Self {
            listeners,
            relayed: Slab::new(),
            by_id: Vec::new(),
            closing: Vec::new(),
        }
    }

    pub(super) fn listeners(&self) -> &[UdpListener] {
        &self.listeners
    }

    /// The listener at `index`.
    #[inline]
    pub(super) fn listener_mut(&mut self, index: usize) -> Option<&mut UdpListener> {
        self.listeners.get_mut(index)
    }

    /// So many requests came in so many trains on the listener at `index`.
    #[inline]
    pub(super) fn learn_requests(&mut self, index: usize, trains: usize, requests: usize) {
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.learn_requests(trains, requests);
        }
    }

    /// So many media were asked for in this round on the listener at `index`, and so many came.
    #[inline]
    pub(super) fn learn_media(&mut self, index: usize, round: u32, asked: usize, came: usize) {
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.appetite.learn_of(round, asked, came);
        }
    }

    /// The lane of the listener at `index`.
    #[inline]
    pub(super) fn listener_lane(index: usize) -> Lane {
        Lane(LISTENER_BIT | u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// The listener that serves this address, and its lane.
    #[inline]
    pub(super) fn listener_for(&self, server: SocketAddr) -> Option<(Lane, &UdpListener)> {
        let index = self
            .listeners
            .iter()
            .position(|listener| listener.serves(server))?;
        Some((Self::listener_lane(index), &self.listeners[index]))
    }

    /// The slot of a relayed socket, which is also its lane's number and its token's.
    #[inline]
    pub(super) fn slot_of(&self, id: RelayedId) -> Option<usize> {
        *self.by_id.get(id.0 as usize)?
    }

    /// The relayed socket with this name, and its lane.
    #[inline]
    pub(super) fn relayed(&self, id: RelayedId) -> Option<(Lane, &Relayed)> {
        let slot = self.slot_of(id)?;
        Some((Lane(u32::try_from(slot).ok()?), self.relayed.get(slot)?))
    }

    /// The relayed socket in this slot, retired or not.
    pub(super) fn relayed_in(&self, slot: usize) -> Option<&Relayed> {
        self.relayed.get(slot)
    }

    /// What the kernel has dropped on the socket in this slot since it was last looked at.
    pub(super) fn new_kernel_drops(&mut self, slot: usize) -> u64 {
        self.relayed
            .get_mut(slot)
            .map_or(0, Relayed::new_kernel_drops)
    }

    /// The relayed socket in this slot, for reading: none that is retired, as its name may already be another's, to whom
    /// nothing of what comes late belongs.
    #[inline]
    pub(super) fn serving_in(&mut self, slot: usize) -> Option<&mut Relayed> {
        let relayed = self.relayed.get_mut(slot)?;
        (self.by_id.get(relayed.id.0 as usize) == Some(&Some(slot))).then_some(relayed)
    }

    /// The socket that a lane stands for.
    #[inline]
    pub(super) fn lane(&self, lane: Lane) -> Option<&UdpSocket> {
        if lane.0 & LISTENER_BIT == 0 {
            self.relayed
                .get(lane.0 as usize)
                .map(|relayed| &relayed.socket)
        } else {
            self.listeners
                .get((lane.0 & !LISTENER_BIT) as usize)
                .map(|listener| &listener.sockets.data)
        }
    }

    /// Takes a relayed socket up. Returns its slot.
    pub(super) fn insert(&mut self, id: RelayedId, socket: UdpSocket) -> usize {
        let advertised = socket.local_addr();
        let slot = self.relayed.insert(Relayed {
            socket,
            id,
            advertised,
            transport: None,
            appetite: Appetite::new(),
            kernel_drops: 0,
        });
        let index = id.0 as usize;
        if self.by_id.len() <= index {
            self.by_id.resize(index + 1, None);
        }
        self.by_id[index] = Some(slot);
        slot
    }

    /// This relayed socket is this client's from now on, and peers see it like this.
    pub(super) fn advertise(&mut self, id: RelayedId, client: &FiveTuple, advertised: SocketAddr) {
        if let Some(relayed) = self.slot_of(id).and_then(|slot| self.relayed.get_mut(slot)) {
            relayed.transport = Some(client.transport);
            relayed.advertised = advertised;
        }
    }

    /// Where something is dropped that came from `peer` for this relayed socket.
    pub(super) fn drop_site(&self, id: RelayedId, peer: &SocketAddr) -> DropSite {
        DropSite {
            direction: Direction::ToClient,
            transport: self.relayed(id).and_then(|(_, relayed)| relayed.transport),
            family: Family::of(peer),
        }
    }

    /// Where something is dropped that was to leave by this lane.
    pub(super) fn drop_site_of(&self, lane: Lane) -> DropSite {
        if lane.0 & LISTENER_BIT != 0 {
            let listener = self.listeners.get((lane.0 & !LISTENER_BIT) as usize);
            return DropSite {
                direction: Direction::ToClient,
                transport: Some(Transport::Udp),
                family: listener.map_or(Family::V4, |listener| Family::of(&listener.address)),
            };
        }
        let relayed = self.relayed.get(lane.0 as usize);
        DropSite {
            direction: Direction::ToPeer,
            transport: Some(
                relayed
                    .and_then(|relayed| relayed.transport)
                    .unwrap_or(Transport::Udp),
            ),
            family: relayed.map_or(Family::V4, |relayed| {
                Family::of(&relayed.socket.local_addr())
            }),
        }
    }

    /// Makes calls on the listeners' sockets, for media and for requests, and on the relayed sockets that there are fail as
    /// these say.
    #[cfg(test)]
    pub(super) fn inject(&mut self, [media, requests, relayed]: [&Arc<Faults>; 3]) {
        for listener in &mut self.listeners {
            listener.sockets.data.inject(Arc::clone(media));
            if let Some(control) = &mut listener.sockets.control {
                control.inject(Arc::clone(requests));
            }
        }
        for (_, entry) in &mut self.relayed {
            entry.socket.inject(Arc::clone(relayed));
        }
    }

    /// Looks at `most` relayed sockets, from `from` on, and adds up what the kernel has dropped on them since the last
    /// look. Returns where to go on, and the sum.
    pub(super) fn sweep_kernel_drops(&mut self, from: usize, most: usize) -> (usize, u64) {
        let end = (from + most).min(self.relayed.capacity());
        let drops = (from..end).map(|slot| self.new_kernel_drops(slot)).sum();
        let next = if end < self.relayed.capacity() {
            end
        } else {
            0
        };
        (next, drops)
    }

    /// Forgets the name at once; the socket stays until the end of the round. Returns the slot.
    pub(super) fn retire(&mut self, id: RelayedId) -> Option<usize> {
        let slot = self.by_id.get_mut(id.0 as usize)?.take()?;
        self.closing.push(slot);
        Some(slot)
    }

    /// Takes a relayed socket out, to be given to another worker. Nothing waits on its lane: no allocation held it.
    pub(super) fn take(&mut self, id: RelayedId) -> Option<UdpSocket> {
        let slot = self.by_id.get_mut(id.0 as usize)?.take()?;
        self.relayed.try_remove(slot).map(|relayed| relayed.socket)
    }

    /// Closes what was retired. Call it when nothing waits to be sent.
    pub(super) fn close_retired(&mut self) {
        for slot in self.closing.drain(..) {
            self.relayed.try_remove(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::UdpOptions;

    fn socket() -> UdpSocket {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        UdpSocket::bind(any, &UdpOptions::relayed()).expect("loopback binds")
    }

    /// What reaches the port of an allocation that has ended is nobody's, and least of all the next one's.
    #[test]
    fn a_retired_socket_is_not_read_under_a_name_that_is_used_again() {
        let mut sockets = Sockets::new(Vec::new());
        let first = sockets.insert(RelayedId(0), socket());
        assert!(sockets.serving_in(first).is_some());
        sockets.retire(RelayedId(0));
        assert!(sockets.serving_in(first).is_none());
        let second = sockets.insert(RelayedId(0), socket());
        assert_ne!(first, second);
        assert!(sockets.serving_in(first).is_none());
        assert!(sockets.serving_in(second).is_some());
        sockets.close_retired();
        assert!(sockets.relayed_in(first).is_none());
    }

    /// G-12: rounds begin again after 2^32; a busy socket is known as one that was used all the while, and read as much as before.
    #[test]
    fn a_busy_socket_stays_one_when_rounds_begin_again() {
        let mut appetite = Appetite::new();
        let mut round = u32::MAX - 4;
        while round != 4 {
            assert!(appetite.is_used() || round == u32::MAX - 4, "{round}");
            let asked = appetite.limit();
            appetite.learn(round, asked);
            round = round.wrapping_add(1);
        }
        assert_eq!(appetite.limit(), usize::from(Appetite::MOST));
    }

    #[test]
    fn long_trains_of_requests_are_read_one_by_one() {
        let mut listener = UdpListener::new(ListenerSockets {
            data: socket(),
            control: Some(socket()),
            apart: None,
        });
        let trains = |listener: &UdpListener| listener.requests().expect("a socket").0;
        assert_eq!(trains(&listener), 32);
        for came in [1, 7, 32] {
            listener.learn_requests(came, came);
            assert_eq!(trains(&listener), 32);
        }
        listener.learn_requests(32, 32 * 64);
        assert_eq!(trains(&listener), 1);
        listener.learn_requests(1, 64);
        assert_eq!(trains(&listener), 1);
        listener.learn_requests(0, 0);
        assert_eq!(trains(&listener), 1);
        for expected in [2, 4, 8, 16, 32, 32] {
            listener.learn_requests(1, 1);
            assert_eq!(trains(&listener), expected);
        }
        listener.learn_requests(16, 64);
        assert_eq!(trains(&listener), 8);
    }

    #[test]
    fn a_quiet_flow_is_asked_for_one_and_a_busy_one_for_many() {
        let mut appetite = Appetite::new();
        for round in [10, 20, 30] {
            appetite.learn(round, 1);
            assert_eq!(appetite.limit(), 1);
        }
        for round in 31..40 {
            appetite.learn(round, appetite.limit());
        }
        assert_eq!(appetite.limit(), 64);
        appetite.learn(40, 30);
        assert_eq!(appetite.limit(), 64);
        for round in 41..44 {
            appetite.learn(round, 1);
        }
        assert_eq!(appetite.limit(), 1);
        appetite.learn(44, 0);
        assert_eq!(appetite.limit(), 1);
    }
}
