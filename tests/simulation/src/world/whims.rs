//! Carries out what a storm draws: what clients, strangers and the network do.
//!
//! Not responsible for what the operator does (`orders`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use taciturn_protocol::address::Transport;
use taciturn_protocol::wire::{Class, Method, TransactionId};

use super::World;
use crate::ask::{Ask, Families, Port, Request};
use crate::client::PLAIN;
use crate::messages;
use crate::network::{Meant, Packet};
use crate::oracle::Broken;
use crate::relay::{ADVERTISED, LISTENERS};
use crate::storm::{self, OPEN, Whim, Wish};

/// How many things happen in a storm.
const WHIMS: usize = 50;
/// Someone who holds no credentials.
const THIEF: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 999);

impl World {
    pub(super) fn storm(&mut self) -> Result<(), Broken> {
        for _ in 0..WHIMS {
            let pause = storm::pause(&mut self.dice);
            self.run_until(self.at + pause)?;
            let whim = storm::whim(&mut self.dice, self.oracle.is_rated);
            self.advance();
            self.note(format_args!("{whim:?}"), &[]);
            self.happens(whim)?;
        }
        Ok(())
    }

    fn happens(&mut self, whim: Whim) -> Result<(), Broken> {
        let count = self.clients.len();
        let relayed: Vec<SocketAddr> = self.believed();
        match whim {
            Whim::Talks {
                client,
                to_known,
                length,
            } => {
                let number = client % count;
                let known = self.known_peers(number);
                let peer = match self.dice.pick(&known) {
                    Some(peer) if to_known => *peer,
                    Some(_) | None => {
                        storm::place(&mut self.dice, &relayed, &self.relay.configuration)
                    }
                };
                let payload = vec![u8::try_from(number).expect("few clients"); length];
                let sends = self.clients[number].say(peer, payload);
                self.client_sends(number, Some(sends))
            }
            Whim::TalksByChannel { client, number } => {
                let payload = b"by a number".to_vec();
                let bytes = messages::channel_message(number, &payload);
                let meant = Meant::Channel { number, payload };
                self.client_sends(client % count, Some((bytes, meant)))
            }
            Whim::PeerTalks { length } => {
                let peer = *self.dice.pick(&OPEN);
                let at = storm::place(&mut self.dice, &relayed, &self.relay.configuration);
                let to = if ADVERTISED.contains(&at.ip()) {
                    at
                } else {
                    relayed.first().copied().unwrap_or(at)
                };
                let bytes = vec![7; length];
                if ADVERTISED.contains(&to.ip()) {
                    self.strange(Transport::Udp, peer, to, bytes, Meant::Payload);
                }
                Ok(())
            }
            Whim::Asks { client, ask } => {
                let ask = self.wish(client % count, &ask, &relayed);
                self.clients[client % count].ask(self.at, ask);
                Ok(())
            }
            Whim::WantsAllocation { client, ask } => {
                self.clients[client % count].allocates = Some(ask);
                Ok(())
            }
            Whim::HangsUp { client } => {
                self.clients[client % count].hang_up(self.at);
                Ok(())
            }
            Whim::Returns { client } => {
                self.clients[client % count].allocates.get_or_insert(PLAIN);
                Ok(())
            }
            Whim::Introduces { one, other } => {
                for (from, to) in [(one % count, other % count), (other % count, one % count)] {
                    let to = self.clients[to].call.as_ref();
                    let Some(&peer) = to.and_then(|call| call.relayed.first()) else {
                        continue;
                    };
                    let asks = [Ask::Permit(vec![peer]), Ask::Bind(0x4008, peer)];
                    let ask = self.dice.pick(&asks).clone();
                    self.clients[from].ask(self.at, ask);
                }
                Ok(())
            }
            Whim::Hangs { client, time } => {
                self.clients[client % count].hangs(self.at + time);
                Ok(())
            }
            Whim::Rebinds { client } => {
                let gone = self.network.rebind(client % count);
                let was_stream = self.clients[client % count].transport.is_stream();
                self.hang(client % count, gone)?;
                if was_stream {
                    self.clients[client % count].disconnected(self.at);
                }
                Ok(())
            }
            Whim::Weather(weather) => {
                self.network.weather = weather;
                Ok(())
            }
            Whim::Forges { client, times } => {
                let issuer = self.issuer();
                let asks = [PLAIN, Ask::Permit(vec![OPEN[0]])];
                let ask = self.dice.pick(&asks).clone();
                for _ in 0..times {
                    let sends = self.clients[client % count].forged(ask.clone(), issuer);
                    self.client_sends(client % count, Some(sends))?;
                }
                Ok(())
            }
            Whim::Replays { by_thief } => {
                if self.remembered.is_empty() {
                    return Ok(());
                }
                let nth = self.dice.small(self.remembered.len());
                let mut packet = self.remembered[nth].clone();
                if by_thief && packet.to.is_ipv4() {
                    packet.from = THIEF;
                }
                self.network.send(self.at, packet);
                Ok(())
            }
            Whim::Rubbish { length } => {
                let bytes: Vec<u8> = (0..length).map(|_| self.dice.bytes::<1>()[0]).collect();
                let to = LISTENERS[0];
                self.strange(Transport::Udp, THIEF, to, bytes, Meant::Rubbish);
                Ok(())
            }
            Whim::KeepsAlive { client } => {
                let id = TransactionId(self.dice.bytes());
                let bytes = messages::message(Class::Indication, Method::Binding, id, |_| {});
                self.client_sends(client % count, Some((bytes, Meant::Rubbish)))
            }
            Whim::Floods { count } => {
                self.flood(count);
                Ok(())
            }
            Whim::Order(order) => self.order(&order),
            Whim::Silence(time) => self.run_until(self.at + time),
        }
    }

    /// Relayed addresses that clients believe to have.
    fn believed(&self) -> Vec<SocketAddr> {
        let calls = self
            .clients
            .iter()
            .filter_map(|client| client.call.as_ref());
        calls
            .flat_map(|call| call.relayed.iter().copied())
            .collect()
    }

    /// Peers that a client believes to reach, and once nobody.
    fn known_peers(&self, number: usize) -> Vec<Option<SocketAddr>> {
        let call = self.clients[number].call.iter();
        let known = call.flat_map(|call| {
            let channels = call.channels.iter().map(|(_, peer)| *peer);
            call.permitted.iter().copied().chain(channels)
        });
        known.map(Some).chain([None]).collect()
    }

    fn wish(&mut self, number: usize, wish: &Wish, relayed: &[SocketAddr]) -> Ask {
        let mut place = || storm::place(&mut self.dice, relayed, &self.relay.configuration);
        match *wish {
            Wish::Binding => Ask::Binding,
            Wish::Permit(count) => Ask::Permit((0..count).map(|_| place()).collect()),
            Wish::Bind(number) => Ask::Bind(number, place()),
            Wish::Refresh { lifetime, only_v4 } => Ask::Refresh { lifetime, only_v4 },
            Wish::Claim { is_made_up } => {
                let mut tokens = self.clients.iter().filter_map(|c| c.call.as_ref()?.token);
                let made_up = [0, 1, 2, 3, 4, 5, 6, 7];
                let token = tokens.next().filter(|_| !is_made_up).unwrap_or(made_up);
                // A client that holds a call asks from where it holds it, and is told so; one that holds none may get the port.
                let others = self.clients.iter().position(|c| c.call.is_none());
                if let Some(other) = others.filter(|other| *other != number) {
                    self.clients[other].ask(self.at, Ask::Claim(token));
                    return Ask::Binding;
                }
                Ask::Claim(token)
            }
        }
    }

    fn strange(
        &mut self,
        transport: Transport,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
        meant: Meant,
    ) {
        let packet = Packet {
            transport,
            from,
            to,
            bytes,
            meant,
        };
        self.network.send(self.at, packet);
    }

    /// Requests that prove nothing, all at once.
    fn flood(&mut self, count: usize) {
        for nth in 0..count {
            let ask = if nth.is_multiple_of(2) {
                Ask::Binding
            } else {
                Ask::Allocate {
                    lifetime: None,
                    port: Port::Any,
                    families: Families::V4,
                }
            };
            let request = Rc::new(Request {
                transaction: self.dice.bytes(),
                ask,
                proof: None,
            });
            let method = if request.ask == Ask::Binding {
                Method::Binding
            } else {
                Method::Allocate
            };
            let id = TransactionId(request.transaction);
            let bytes = messages::message(Class::Request, method, id, |_| {});
            let meant = Meant::Request(request);
            self.strange(Transport::Udp, THIEF, LISTENERS[0], bytes, meant);
        }
    }
}
