//! Where packets cross: from clients to peers, from peers to clients, and between two allocations of this relay.
//!
//! Responsible for carrying out what the forwarding table says, and for counting it. Not responsible for who may send
//! what where (`taciturn_protocol`), nor for waiting (`worker`) or for control messages (`control`).
//!
//! The hot path allocates nothing, locks nothing, logs nothing: payloads of UDP clients and peers stay where the kernel
//! wrote them, headers are written beside them, and everything that one round has gathered leaves in one flush.

use std::sync::Arc;

use taciturn_protocol::address::{Family, FiveTuple, PeerAddr, Transport};
use taciturn_protocol::forward::{
    ClientVerdict, Destination as PeerDestination, DropReason, Framing, PeerVerdict, RelayedId,
    RouteTable,
};
use taciturn_protocol::server::{Reply, Server, Tallies};
use taciturn_protocol::time::Now;
use taciturn_protocol::wire::{TransactionId, channel_data, indication};

use crate::config::Dscp;
use crate::counters::{Counters, Direction, DropSite, Flow, Path};
use crate::events::EventLog;
use crate::net::{Datagram, Destination, Epoll, Payload, ReceiveBatch, SendBatch};
use crate::self_check::SelfCheckSources;
use crate::stream::QueueClass;

use super::handover::{Parcels, Sender};
use super::owners::Owners;
use super::sockets::Sockets;
use super::streams::Streams;

/// Everything of a worker that a packet may touch.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) worker: u8,
    pub(super) routes: RouteTable,
    pub(super) server: Server,
    pub(super) reply: Reply,
    pub(super) sockets: Sockets,
    pub(super) streams: Streams,
    pub(super) epoll: Epoll,
    pub(super) send: SendBatch,
    pub(super) parcels: Parcels,
    pub(super) owners: Arc<Owners>,
    pub(super) counters: Arc<Counters>,
    pub(super) events: Arc<EventLog>,
    pub(super) dscp: Dscp,
    /// Transaction ids of Data indications; nobody answers them, so counting is enough (RFC 8489 §6.1).
    pub(super) next_indication: u64,
    /// What the server had refused and proved when it was last counted.
    pub(super) tallied: Tallies,
    pub(super) self_check_sources: SelfCheckSources,
}

/// A payload on its way.
#[derive(Clone, Copy, Debug)]
struct Carried<'a> {
    bytes: &'a [u8],
    /// Where it lies in the receive batch; `None` when it came another way and has to be copied.
    received: Option<Payload>,
    /// DSCP and ECN to send it with.
    traffic_class: u8,
    /// Whether it is the relay's own self-check's.
    synthetic: bool,
}

/// The ECN bits of a traffic class (RFC 3168 §5).
const ECN: u8 = 0b11;

impl Switch {
    // ---- the hot path begins ----

    /// A datagram on the UDP listener at `index`.
    #[inline]
    pub(super) fn listener_datagram(&mut self, now: Now, index: usize, datagram: &Datagram<'_>) {
        let Some(listener) = self.sockets.listeners().get(index) else {
            return;
        };
        let from = FiveTuple {
            transport: Transport::Udp,
            client: taciturn_protocol::address::ClientAddr(datagram.from),
            server: listener.server(datagram.to),
        };
        let len = datagram.bytes.len();
        if datagram.truncated {
            let site = DropSite::from_client(&from);
            return self.counters.dropped(DropReason::Truncated, site, len);
        }
        match self.routes.from_client(now.instant, &from, datagram.bytes) {
            ClientVerdict::ToPeer {
                relayed,
                peer,
                payload,
                dont_fragment,
                destination,
                synthetic,
            } => {
                let (Some(bytes), Some(received)) =
                    (datagram.bytes.get(payload.clone()), datagram.part(payload))
                else {
                    return;
                };
                let traffic_class = self.marking(datagram.traffic_class);
                let carried = Carried {
                    bytes,
                    received: Some(received),
                    traffic_class,
                    synthetic,
                };
                // RFC 8656 §14: over UDP, DONT-FRAGMENT is honoured from IPv4 to IPv4 and ignored otherwise.
                let whole = dont_fragment && from.client.0.is_ipv4() && peer.0.is_ipv4();
                self.send_to_peer(now, &from, relayed, peer, carried, destination, whole);
            }
            ClientVerdict::Control => self.control(now, from, datagram.bytes),
            ClientVerdict::Drop(reason) => {
                let site = DropSite::from_client(&from);
                self.counters.dropped(reason, site, len);
            }
        }
    }

    /// A frame from a client over TCP or TLS.
    #[inline]
    pub(super) fn stream_frame(&mut self, now: Now, from: &FiveTuple, frame: &[u8]) {
        match self.routes.from_client(now.instant, from, frame) {
            ClientVerdict::ToPeer {
                relayed,
                peer,
                payload,
                dont_fragment,
                destination,
                synthetic,
            } => {
                let Some(bytes) = frame.get(payload) else {
                    return;
                };
                // RFC 8656 §15: Not-ECT towards the peer.
                let carried = Carried {
                    bytes,
                    received: None,
                    traffic_class: self.marking(0),
                    synthetic,
                };
                self.send_to_peer(
                    now,
                    from,
                    relayed,
                    peer,
                    carried,
                    destination,
                    dont_fragment,
                );
            }
            ClientVerdict::Control => self.control(now, *from, frame),
            ClientVerdict::Drop(reason) => {
                let site = DropSite::from_client(from);
                self.counters.dropped(reason, site, frame.len());
            }
        }
    }

    /// A datagram on the relayed socket in this slot.
    #[inline]
    pub(super) fn relayed_datagram(
        &mut self,
        now: Now,
        relayed: RelayedId,
        datagram: &Datagram<'_>,
    ) {
        let peer = PeerAddr(datagram.from);
        let len = datagram.bytes.len();
        if datagram.truncated {
            let site = self.sockets.drop_site(relayed, &peer.0);
            return self.counters.dropped(DropReason::Truncated, site, len);
        }
        match self.routes.from_peer(now.instant, relayed, peer, len) {
            PeerVerdict::ToClient {
                client,
                framing,
                synthetic,
            } => {
                let traffic_class = self.marking(datagram.traffic_class);
                let carried = Carried {
                    bytes: datagram.bytes,
                    received: Some(datagram.payload()),
                    traffic_class,
                    synthetic,
                };
                self.send_to_client(now, &client, framing, peer, carried, Path::Socket);
            }
            PeerVerdict::Drop(reason) => {
                let site = self.sockets.drop_site(relayed, &peer.0);
                self.counters.dropped(reason, site, len);
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a verdict's fields, passed on in registers"
    )]
    #[inline]
    fn send_to_peer(
        &mut self,
        now: Now,
        from: &FiveTuple,
        relayed: RelayedId,
        peer: PeerAddr,
        carried: Carried<'_>,
        destination: PeerDestination,
        dont_fragment: bool,
    ) {
        match destination {
            PeerDestination::Network => {}
            PeerDestination::OwnRelayed | PeerDestination::OwnRelayedOrHost => {
                let may_leave = destination == PeerDestination::OwnRelayedOrHost;
                let sender = (from.transport, relayed);
                if self.hand_over(now, sender, peer, carried, may_leave) || !may_leave {
                    return;
                }
            }
        }
        let Some((lane, _)) = self.sockets.relayed(relayed) else {
            return;
        };
        let to = Destination {
            to: peer.0,
            source: None,
            traffic_class: carried.traffic_class,
        };
        let flow = Flow {
            direction: Direction::ToPeer,
            transport: from.transport,
            family: Family::of(&peer.0),
            path: Path::Socket,
        };
        self.count_forwarded(flow, &carried);
        match carried.received {
            _ if dont_fragment => self.send.push_dont_fragment(lane, &to, carried.bytes),
            Some(payload) => self.send.push(lane, &to, &[], payload, 0),
            None => self.send.push_copy(lane, &to, &[carried.bytes]),
        }
    }

    #[inline]
    fn send_to_client(
        &mut self,
        now: Now,
        client: &FiveTuple,
        framing: Framing,
        peer: PeerAddr,
        carried: Carried<'_>,
        path: Path,
    ) {
        let flow = Flow {
            direction: Direction::ToClient,
            transport: client.transport,
            family: Family::of(&peer.0),
            path,
        };
        let len = carried.bytes.len();
        let site = DropSite::to_client(client);
        let mut indication = [0; indication::DATA_HEADER_MAX];
        let mut channel = [0; 4];
        let (header, padding): (&[u8], u8) = match framing {
            Framing::Channel(number) => {
                let Ok(len) = u16::try_from(len) else {
                    return self.counters.dropped(DropReason::TooLarge, site, len);
                };
                channel_data::write_header(&mut channel, number.value(), len);
                (&channel, 0)
            }
            Framing::Indication => {
                let id = self.indication_id();
                let Some((used, padding)) =
                    indication::write_data_header(&mut indication, id, peer.0, len)
                else {
                    return self.counters.dropped(DropReason::TooLarge, site, len);
                };
                let start = indication.len().saturating_sub(used);
                (&indication[start..], u8::try_from(padding).unwrap_or(0))
            }
        };
        if client.transport.is_stream() {
            let parts = [
                header,
                carried.bytes,
                &[0; 3][..usize::from(padding.min(3))],
            ];
            return match self
                .streams
                .queue(now.instant, client, QueueClass::Media, &parts)
            {
                Ok(()) => self.count_forwarded(flow, &carried),
                Err(reason) => self.counters.dropped(reason, site, len),
            };
        }
        let Some((lane, listener)) = self.sockets.listener_for(client.server) else {
            return self.counters.dropped(DropReason::SendFailed, site, len);
        };
        let source = listener.source(client.server);
        let to = Destination {
            to: client.client.0,
            source,
            traffic_class: carried.traffic_class,
        };
        match carried.received {
            Some(payload) => self.send.push(lane, &to, header, payload, padding),
            None => {
                let padding = &[0; 3][..usize::from(padding.min(3))];
                self.send
                    .push_copy(lane, &to, &[header, carried.bytes, padding]);
            }
        }
        self.count_forwarded(flow, &carried);
    }

    /// Hands a payload to the allocation that holds `peer`, on this worker or another. False when none does; that is
    /// counted as a drop here, unless it `may_leave` by the socket instead. It counts as forwarded, in both directions,
    /// once the worker of the receiving allocation has judged it.
    #[inline]
    fn hand_over(
        &mut self,
        now: Now,
        (transport, relayed): (Transport, RelayedId),
        peer: PeerAddr,
        carried: Carried<'_>,
        may_leave: bool,
    ) -> bool {
        let Some((_, sender)) = self.sockets.relayed(relayed) else {
            return false;
        };
        let sender = Sender {
            transport,
            advertised: sender.advertised,
            bound: sender.socket.local_addr(),
        };
        if let Some(to) = self.routes.relayed_at(peer.0) {
            self.handed_over(now, to, peer, sender, carried);
            return true;
        }
        match self.owners.owner_of(peer.0) {
            Some(owner) if owner != self.worker => {
                self.parcels.put(
                    owner,
                    peer.0,
                    sender,
                    carried.traffic_class,
                    carried.bytes,
                    &self.counters,
                );
                true
            }
            Some(_) | None => {
                if !may_leave {
                    let site = DropSite {
                        direction: Direction::ToPeer,
                        transport: Some(transport),
                        family: Family::of(&peer.0),
                    };
                    let len = carried.bytes.len();
                    self.counters.dropped(DropReason::NoSuchRelayed, site, len);
                }
                false
            }
        }
    }

    /// Judges a payload from another allocation as if it had come through the relayed socket. Whether it is the
    /// self-check's, the receiving allocation says: only those of the self-check permit one another.
    #[inline]
    fn handed_over(
        &mut self,
        now: Now,
        to: RelayedId,
        at: PeerAddr,
        from: Sender,
        carried: Carried<'_>,
    ) {
        let len = carried.bytes.len();
        let mut peer = PeerAddr(from.advertised);
        let mut verdict = self.routes.from_peer(now.instant, to, peer, len);
        if from.advertised != from.bound
            && verdict == PeerVerdict::Drop(DropReason::PeerNotPermitted)
        {
            // A client that was told the bound address, behind the NAT that hides it, has its permission for that.
            peer = PeerAddr(from.bound);
            verdict = self.routes.from_peer(now.instant, to, peer, len);
        }
        match verdict {
            PeerVerdict::ToClient {
                client,
                framing,
                synthetic,
            } => {
                let carried = Carried {
                    synthetic,
                    ..carried
                };
                let flow = Flow {
                    direction: Direction::ToPeer,
                    transport: from.transport,
                    family: Family::of(&at.0),
                    path: Path::Handover,
                };
                self.count_forwarded(flow, &carried);
                self.send_to_client(now, &client, framing, peer, carried, Path::Handover);
            }
            PeerVerdict::Drop(reason) => {
                let site = self.sockets.drop_site(to, &at.0);
                self.counters.dropped(reason, site, len);
            }
        }
    }

    #[inline]
    fn count_forwarded(&self, flow: Flow, carried: &Carried<'_>) {
        let len = carried.bytes.len();
        if carried.synthetic {
            self.counters.forwarded_synthetic(flow.direction, len);
        } else {
            self.counters.forwarded(flow, len);
        }
    }

    /// The traffic class to send with, for what came in with `class` (RFC 8656 §14): ECN is kept, DSCP by configuration.
    #[inline]
    const fn marking(&self, class: u8) -> u8 {
        match self.dscp {
            Dscp::Copy => class,
            Dscp::Fixed(dscp) => dscp << 2 | class & ECN,
        }
    }

    #[inline]
    fn indication_id(&mut self) -> TransactionId {
        self.next_indication = self.next_indication.wrapping_add(1);
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.next_indication.to_be_bytes());
        TransactionId(id)
    }

    /// A payload that another worker handed over for an address of this one.
    pub(super) fn parcel_item(&mut self, now: Now, item: &super::handover::Item, payload: &[u8]) {
        let Some(to) = self.routes.relayed_at(item.to) else {
            let site = item.drop_site();
            return self
                .counters
                .dropped(DropReason::NoSuchRelayed, site, payload.len());
        };
        let carried = Carried {
            bytes: payload,
            received: None,
            traffic_class: item.traffic_class,
            synthetic: false,
        };
        self.handed_over(now, to, PeerAddr(item.to), item.from, carried);
    }

    /// Sends everything gathered for UDP sockets and for other workers.
    pub(super) fn flush(&mut self, batch: &ReceiveBatch) {
        if !self.send.is_empty() {
            let (sockets, counters) = (&self.sockets, &self.counters);
            self.send.flush_lanes(
                batch,
                |lane| sockets.lane(lane),
                |lane, outcome| {
                    if !outcome.has_failures() {
                        return;
                    }
                    for (failure, packets, bytes) in outcome.failures() {
                        let site = sockets.drop_site_of(lane);
                        counters.send_failed(failure, site, packets, bytes);
                    }
                },
            );
        }
        self.parcels.send(&self.counters);
    }

    // ---- the hot path ends ----
}
