//! A worker's control side: messages for the server, and carrying out what it decides.
//!
//! Responsible for every [`Effect`]: sockets opened and closed, routes, claims on other workers' reservations. Not
//! responsible for any decision.

use std::io;
use std::net::SocketAddr;

use taciturn_protocol::address::FiveTuple;
use taciturn_protocol::credentials::UserName;
use taciturn_protocol::forward::{RelayedId, Route, Traffic};
use taciturn_protocol::server::{BindError, Effect, Event, IcmpError, RelayedPort, Verdict};
use taciturn_protocol::time::Now;

use crate::counters::{DropSite, reply_outcome};
use crate::net::{Destination, Interest, UdpOptions, UdpSocket};
use crate::stream::QueueClass;

use super::inbox::{Message, Outbox, Terms};
use super::switch::Switch;
use super::token;

/// Entries of one socket's error queue that are read in a round; epoll brings the rest back.
const ERRORS_PER_ROUND: usize = 16;

impl Switch {
    /// A STUN message from a client.
    pub(super) fn control(&mut self, now: Now, from: FiveTuple, message: &[u8]) {
        let synthetic = self.self_check_sources.contains(&from.client.0);
        match self
            .server
            .handle_message(now, from, message, &mut self.reply)
        {
            Verdict::Reply => self.answer(now, &from),
            Verdict::Wait => {}
            Verdict::Drop(_) if synthetic => {}
            Verdict::Drop(reason) => {
                let site = DropSite::from_client(&from);
                self.counters.dropped(reason, site, message.len());
            }
        }
        self.carry_out(now);
        self.tally(synthetic);
    }

    /// Counts what the server has proved and refused since the last count, unless the self-check has caused it.
    pub(super) fn tally(&mut self, synthetic: bool) {
        let tallies = *self.server.tallies();
        if tallies != self.tallied {
            if !synthetic {
                self.counters.tallied(&self.tallied, &tallies);
            }
            self.tallied = tallies;
        }
    }

    /// Shows how many connections there are.
    pub(super) fn count_connections(&self) {
        let counters = &self.counters;
        counters.connections.set(self.streams.len() as u64);
        counters
            .synthetic_connections
            .set(self.streams.synthetic() as u64);
    }

    /// Sends the reply that the server has written: on the 5-tuple of its request, from the address that it was sent to
    /// (S-15, S-42).
    pub(super) fn answer(&mut self, now: Now, to: &FiveTuple) {
        let bytes = self.reply.as_bytes();
        if self.reply.is_synthetic() || self.self_check_sources.contains(&to.client.0) {
            self.counters.synthetic_responses.add(1);
        } else if let Some((method, code)) = reply_outcome(bytes) {
            self.counters.responded(method, code);
        }
        if to.transport.is_stream() {
            if let Err(reason) = self
                .streams
                .queue(now.instant, to, QueueClass::Control, &[bytes])
            {
                let site = DropSite::to_client(to);
                self.counters.dropped(reason, site, bytes.len());
            }
            return;
        }
        let Some((lane, listener)) = self.sockets.listener_for(to.server) else {
            return;
        };
        let destination = Destination {
            to: to.client.0,
            source: listener.source(to.server),
            traffic_class: 0,
        };
        self.send.push_copy(lane, &destination, &[bytes]);
    }

    /// The error queue of a relayed socket has entries, or epoll says so. Returns how many were taken.
    pub(super) fn relayed_errors(&mut self, now: Now, slot: usize) -> usize {
        for taken in 0..ERRORS_PER_ROUND {
            let Some(relayed) = self.sockets.serving_in(slot) else {
                return taken;
            };
            let id = relayed.id;
            // An error of the error queue itself is a pending socket error, which reading it has cleared.
            let Ok(Some(icmp)) = relayed.socket.receive_error() else {
                return taken;
            };
            let icmp = IcmpError {
                peer: icmp.peer,
                kind: icmp.kind,
                code: icmp.code,
                mtu: icmp.mtu,
            };
            if let Some(to) = self.server.handle_icmp(now, id, icmp, &mut self.reply) {
                self.answer(now, &to);
            }
            self.carry_out(now);
        }
        ERRORS_PER_ROUND
    }

    /// Carries out what the server has decided, and what it decides on hearing the outcome.
    pub(super) fn carry_out(&mut self, now: Now) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::BindRelayed { relayed, bind } => {
                    let outcome = self.bind(relayed, bind);
                    if let Some(to) =
                        self.server
                            .relayed_bound(now, relayed, outcome, &mut self.reply)
                    {
                        self.answer(now, &to);
                    }
                }
                Effect::UnbindRelayed { relayed } => self.unbind(relayed),
                Effect::AddRoute(route) => self.add_route(&route),
                Effect::RemoveRoute(route) => self.remove_route(&route),
                Effect::ClaimReservation {
                    relayed,
                    owner,
                    token,
                    user,
                } => {
                    self.claim(now, relayed, owner, token, user);
                }
                Effect::ReturnPort(port) => {
                    if let Some(owner) = self.parcels.outbox(port.owner) {
                        owner.send(Message::PortReturned(port));
                    }
                }
                Effect::Event(event) => self.record(event),
            }
        }
    }

    /// Takes other terms: from the next packet on, nothing goes by those before.
    pub(super) fn work_by(&mut self, now: Now, terms: Terms) {
        let Terms {
            server,
            bandwidth,
            streams,
            busy_poll: _,
            coalesce: _,
        } = terms;
        let rules = server.peers.port_rules();
        let revoked = self.server.replace(now, server);
        self.routes.replace_rules(rules);
        self.routes.limit_bandwidth(bandwidth);
        self.streams.limit(streams);
        self.carry_out(now);
        let counters = &self.counters;
        counters.revoked_permissions.add(revoked.permissions as u64);
        counters.revoked_channels.add(revoked.channels as u64);
        self.events.revoked(self.worker, revoked);
    }

    fn record(&self, event: Event) {
        let counters = &self.counters;
        let traffic = match &event {
            // The relay's own self-check is nobody's call.
            Event::AllocationCreated {
                synthetic: true, ..
            } => return counters.synthetic_allocations.add(1),
            Event::AllocationEnded {
                synthetic: true, ..
            } => {
                let gauge = &counters.synthetic_allocations;
                return gauge.set(gauge.read().saturating_sub(1));
            }
            Event::AllocationCreated { client, .. } => {
                counters.created(client.transport);
                Traffic::default()
            }
            Event::AllocationEnded {
                allocation,
                client,
                cause,
                ..
            } => {
                counters.ended(client.transport, *cause);
                self.routes.traffic(*allocation).unwrap_or_default()
            }
        };
        self.events.record(self.worker, event, traffic);
    }

    fn bind(&mut self, relayed: RelayedId, bind: SocketAddr) -> Result<(), BindError> {
        let outcome = UdpSocket::bind(bind, &UdpOptions::relayed())
            .and_then(|socket| self.adopt_relayed(relayed, socket));
        outcome.map_err(|error| {
            self.counters.bind_failures.add(1);
            if error.kind() == io::ErrorKind::AddrInUse {
                BindError::InUse
            } else {
                BindError::Exhausted
            }
        })
    }

    fn adopt_relayed(&mut self, relayed: RelayedId, socket: UdpSocket) -> io::Result<()> {
        let address = socket.local_addr();
        let slot = self.sockets.insert(relayed, socket);
        if let Some(entry) = self.sockets.relayed_in(slot)
            && let Err(error) = self
                .epoll
                .add(&entry.socket, token::relayed(slot), Interest::Read)
        {
            drop(self.sockets.take(relayed));
            return Err(error);
        }
        self.owners.set(address, self.worker);
        Ok(())
    }

    fn unbind(&mut self, relayed: RelayedId) {
        let Some(slot) = self.sockets.retire(relayed) else {
            return;
        };
        let Some(entry) = self.sockets.relayed_in(slot) else {
            return;
        };
        // The socket lives until the end of the round, and epoll forgets it when it is closed. Until then nothing is read
        // of it, as it is retired.
        self.owners.clear(entry.socket.local_addr(), self.worker);
        // Many allocations end without ever having been used, and the kernel is not asked what it dropped on those.
        if entry.appetite.is_used() {
            let drops = self.sockets.new_kernel_drops(slot);
            self.counters.kernel_drops.add(drops);
        }
    }

    fn add_route(&mut self, route: &Route) {
        self.routes.add(route);
        if let Route::Relayed {
            client,
            relayed,
            advertised,
            ..
        } = route
        {
            self.sockets.advertise(*relayed, client, advertised.0);
            self.streams.hold(client);
        }
    }

    fn remove_route(&mut self, route: &Route) {
        self.routes.remove(route);
        if let Route::Relayed { client, .. } = route {
            self.streams.let_go(client);
        }
    }

    fn claim(&mut self, now: Now, relayed: RelayedId, owner: u8, token: [u8; 8], user: UserName) {
        match self.parcels.outbox(owner) {
            Some(outbox) => outbox.send(Message::Claim {
                worker: self.worker,
                relayed,
                token,
                user,
            }),
            None => self.claimed(now, relayed, None),
        }
    }

    /// Another worker presents a token of this one.
    pub(super) fn release(
        &mut self,
        now: Now,
        to: &Outbox,
        relayed: RelayedId,
        token: [u8; 8],
        user: &UserName,
    ) {
        let outcome = self
            .server
            .release_reservation(token, user)
            .and_then(|(held, port)| {
                let slot = self.sockets.slot_of(held)?;
                let address = self.sockets.relayed_in(slot).map(|entry| {
                    let _ = self.epoll.delete(&entry.socket);
                    entry.socket.local_addr()
                })?;
                self.owners.clear(address, self.worker);
                Some((port, self.sockets.take(held)?))
            });
        to.send(Message::Claimed { relayed, outcome });
        self.carry_out(now);
    }

    /// The owner of a reservation has answered a claim.
    pub(super) fn claimed(
        &mut self,
        now: Now,
        relayed: RelayedId,
        outcome: Option<(RelayedPort, UdpSocket)>,
    ) {
        let port = outcome.and_then(|(port, socket)| match self.adopt_relayed(relayed, socket) {
            Ok(()) => Some(port),
            Err(_) => {
                // The socket is closed again, so its owner may give the port out.
                if let Some(owner) = self.parcels.outbox(port.owner) {
                    owner.send(Message::PortReturned(port));
                }
                None
            }
        });
        if let Some(to) = self
            .server
            .reservation_claimed(now, relayed, port, &mut self.reply)
        {
            self.answer(now, &to);
        }
        self.carry_out(now);
        self.tally(false);
    }
}
