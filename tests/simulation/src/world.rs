//! One storm from its first moment to its last, and the call that everybody gets after it.
//!
//! Responsible for order: what is due first happens first, and after each thing the oracle looks. Not responsible for what happens
//! (`storm`), nor for what is right (`oracle`).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use taciturn_protocol::address::{ClientAddr, FiveTuple, Transport};
use taciturn_protocol::time::{Instant, Now, UnixTime};

use crate::client::{Client, Issuer, Outgoing};
use crate::dice::Dice;
use crate::network::{Meant, Network, Packet, Peers};
use crate::oracle::{Broken, CODES, Invariant, Oracle};
use crate::reference::Rules;
use crate::relay::{ADVERTISED, Fault, LISTENERS, Out, Relay, Step};
use crate::storm::{self, OPEN};
use crate::transcript::Transcript;

mod calm;
mod orders;
mod whims;

/// Packets that a thief remembers.
const REMEMBERED: usize = 12;

/// What happened in one storm, or in many together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Things that happened at the relay, each judged.
    pub steps: u64,
    /// Requests that were answered, by [`CODES`].
    pub answers: [u64; CODES.len()],
    /// Payloads that were relayed, as they should be.
    pub relayed: u64,
    /// Of those, the ones from one client of the relay to another.
    pub handed_over: u64,
    /// Payloads that were dropped, as they should be.
    pub dropped: u64,
    /// Guesses of passwords that were not looked at.
    pub held_off: u64,
    /// Packets that the network lost or doubled.
    pub spoilt: u64,
    /// Times that the relay lost all that it knew.
    pub restarts: u64,
    /// Calls that were made after the storm, in which nothing was lost.
    pub calls: u64,
    /// Seconds of simulated time.
    pub seconds: u64,
}

impl Figures {
    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            steps: self.steps + other.steps,
            answers: std::array::from_fn(|nth| self.answers[nth] + other.answers[nth]),
            relayed: self.relayed + other.relayed,
            handed_over: self.handed_over + other.handed_over,
            dropped: self.dropped + other.dropped,
            held_off: self.held_off + other.held_off,
            spoilt: self.spoilt + other.spoilt,
            restarts: self.restarts + other.restarts,
            calls: self.calls + other.calls,
            seconds: self.seconds + other.seconds,
        }
    }
}

/// One storm that is over.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it came from.
    pub seed: u64,
    /// SHA-256 of its transcript.
    pub digest: [u8; 32],
    /// The transcript, when it was asked for.
    pub text: Option<String>,
    /// What happened in it.
    pub figures: Figures,
    /// What was broken first, if anything was; nothing happened after it.
    pub broken: Option<Broken>,
}

/// Runs the storm of `seed`, with a relay that is broken in this way, if in any.
#[must_use]
pub fn run(seed: u64, fault: Option<Fault>, with_text: bool) -> Outcome {
    let mut world = World::new(seed, fault, with_text);
    let broken = world.storm().and_then(|()| world.calm()).err();
    if let Some(broken) = &broken {
        world.note(format_args!("BROKEN {broken}"), &[]);
    }
    let figures = Figures {
        answers: world.oracle.answered,
        relayed: world.oracle.relayed,
        handed_over: world.oracle.handed_over,
        dropped: world.oracle.dropped,
        held_off: world.oracle.held_off,
        spoilt: world.network.spoilt,
        seconds: world.at.as_secs(),
        ..world.figures
    };
    let (digest, text) = world.transcript.finish();
    Outcome {
        seed,
        digest,
        text,
        figures,
        broken,
    }
}

#[derive(Debug)]
struct World {
    dice: Dice,
    at: Duration,
    /// The relay's monotonic clock and the true wall clock at the start.
    start: (Instant, u64),
    /// How far the relay's wall clock is off, in seconds.
    skew: i64,
    /// The secret that the issuer uses, and the last key of nonces.
    secret: u8,
    nonce_key: u32,
    /// What the operator has ordered of the relay's own accord.
    drains: bool,
    sheds: bool,
    clients: Vec<Client>,
    network: Network,
    peers: Peers,
    relay: Relay,
    oracle: Oracle,
    fault: Option<Fault>,
    remembered: VecDeque<Packet>,
    transcript: Transcript,
    figures: Figures,
}

impl World {
    fn new(seed: u64, fault: Option<Fault>, with_text: bool) -> Self {
        let mut dice = Dice::new(seed);
        let configuration = storm::configuration(&mut dice);
        let rules = Rules {
            relayed: ADVERTISED.to_vec(),
            ports: configuration.ports.clone(),
            quarantine: configuration.quarantine,
            max_lifetime: configuration.max_lifetime,
            max_age: configuration.max_age,
            max_ttl: configuration.max_ttl.as_secs(),
            nonce_lifetime: configuration.nonce_lifetime.as_secs(),
            per_user: configuration.per_user as usize,
            total: configuration.total as usize,
            limit: configuration.limit,
            never: storm::never(),
            private: storm::private(),
            opens_private: false,
            closed: Vec::new(),
            closed_ports: storm::CLOSED_PORTS.to_vec(),
            drains: false,
            sheds: false,
            knows_another: configuration.knows_another,
            waits: configuration.rate > 0,
            secrets: configuration.secrets.clone(),
            revoked_users: Vec::new(),
            revoked_secrets: Vec::new(),
            nonce_keys: vec![(0, None)],
        };
        // Clocks that are about to pass what 32 bits hold, of nanoseconds and of seconds, are as good as any.
        let nanos = *dice.pick(&[
            1_000_000_000,
            (1 << 33) - 5_000_000_000,
            (1 << 63) - 60_000_000_000,
        ]);
        let unix = *dice.pick(&[1_700_000_000, (1 << 31) - 300]);
        let transports = [
            Transport::Udp,
            Transport::Udp,
            Transport::Udp,
            Transport::Tcp,
        ];
        let clients = (0..2 + dice.small(3)).map(|number| {
            let user = u8::try_from(number % 2).expect("few clients");
            let transport = *dice.pick(&transports);
            let mut client = Client::new(user, transport, Dice::new(dice.next()));
            client.wants = OPEN[..1 + dice.small(3)].to_vec();
            client
        });
        let clients: Vec<Client> = clients.collect();
        let is_rated = configuration.rate > 0;
        Self {
            at: Duration::ZERO,
            start: (Instant::from_nanos(nanos), unix),
            skew: 0,
            secret: 0,
            nonce_key: 0,
            drains: false,
            sheds: false,
            clients,
            network: Network::new(Dice::new(dice.next())),
            peers: Peers::default(),
            relay: Relay::new(configuration, dice.next(), fault),
            oracle: Oracle::new(rules, is_rated),
            fault,
            remembered: VecDeque::new(),
            transcript: Transcript::new(with_text),
            figures: Figures::default(),
            dice,
        }
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>, bytes: &[u8]) {
        self.transcript.add(self.at, what, bytes);
    }

    // ---- time ----

    /// The relay's clocks.
    fn now(&self) -> Now {
        let (instant, unix) = self.start;
        let wall = unix + self.at.as_secs();
        Now {
            instant: instant + self.at,
            unix: UnixTime::from_secs(wall.saturating_add_signed(self.skew)),
        }
    }

    /// What the issuer of credentials has, whose clock is right.
    fn issuer(&self) -> Issuer {
        Issuer {
            secret: self.secret,
            wall: self.start.1 + self.at.as_secs(),
        }
    }

    fn relay_next(&self) -> Option<Duration> {
        let next = self.relay.next()?;
        Some(next.saturating_since(self.start.0))
    }

    /// Lets everything happen that is due by `end`.
    fn run_until(&mut self, end: Duration) -> Result<(), Broken> {
        loop {
            let clients = self.clients.iter().filter_map(Client::next).min();
            let due = [self.relay_next(), self.network.next(), clients];
            let Some(next) = due.into_iter().flatten().min().filter(|at| *at <= end) else {
                self.at = self.at.max(end);
                return Ok(());
            };
            self.at = self.at.max(next);
            if self.relay_next().is_some_and(|at| at <= self.at) {
                let now = self.now();
                let step = self.relay.wake(now);
                self.advance();
                self.note(format_args!("the relay wakes"), &[]);
                self.oracle.silent(&step)?;
                self.after(step)?;
                let is_awake = self.relay_next().is_none_or(|at| at > self.at);
                if !is_awake {
                    return self.fails(Invariant::Memory, "a deadline that has come stays".into());
                }
            } else if let Some(packet) = self.network.take(self.at) {
                self.arrives(packet)?;
            } else {
                for number in 0..self.clients.len() {
                    self.client_turn(number)?;
                }
            }
        }
    }

    fn fails(&self, invariant: Invariant, what: String) -> Result<(), Broken> {
        Err(Broken { invariant, what })
    }

    fn advance(&mut self) {
        let wall = self.now().unix.as_secs();
        self.oracle.reference.advance(self.at, wall);
    }

    /// What the relay did goes on its way, and is looked at.
    fn after(&mut self, step: Step) -> Result<(), Broken> {
        self.figures.steps += 1;
        for bind in &step.binds {
            self.transcript
                .add(self.at, format_args!("  {bind:?}"), &[]);
        }
        for out in step.out {
            let packet = match out {
                Out::ToClient { to, bytes } => {
                    self.note(format_args!("  relay -> {}", to.client.0), &bytes);
                    Packet {
                        transport: to.transport,
                        from: to.server,
                        to: to.client.0,
                        bytes,
                        meant: Meant::Payload,
                    }
                }
                Out::ToPeer { from, to, payload } => {
                    self.note(format_args!("  {from} -> {to}"), &payload);
                    Packet {
                        transport: Transport::Udp,
                        from,
                        to,
                        bytes: payload,
                        meant: Meant::Payload,
                    }
                }
            };
            self.network.send(self.at, packet);
        }
        self.oracle.holds(&self.relay)
    }

    // ---- packets ----

    fn arrives(&mut self, packet: Packet) -> Result<(), Broken> {
        self.advance();
        if LISTENERS.contains(&packet.to) {
            self.at_listener(&packet)
        } else if ADVERTISED.contains(&packet.to.ip()) {
            self.at_relayed(&packet)
        } else if let Some((number, local)) = self.network.inside(packet.to) {
            let issuer = self.issuer();
            let client = &mut self.clients[number];
            if client.local != local {
                return Ok(());
            }
            let follows = client.receive(self.at, &packet.bytes, issuer);
            self.note(format_args!("client {number} hears"), &packet.bytes);
            self.client_sends(number, follows)
        } else if OPEN.contains(&packet.to) || storm::private().contains(&packet.to.ip()) {
            let echo = self.peers.hear(packet);
            self.network.send(self.at, echo);
            Ok(())
        } else {
            // An address that some NAT has forgotten.
            Ok(())
        }
    }

    fn at_listener(&mut self, packet: &Packet) -> Result<(), Broken> {
        let from = FiveTuple {
            transport: packet.transport,
            client: ClientAddr(packet.from),
            server: packet.to,
        };
        if from.transport.is_stream() && !self.relay.streams.contains(&from) {
            return Ok(());
        }
        self.note(
            format_args!("{} -> relay {:?}", packet.from, packet.meant),
            &packet.bytes,
        );
        let step = self.relay.client_sends(self.now(), from, &packet.bytes);
        self.oracle.client_sent(from, packet, &step)?;
        self.after(step)
    }

    fn at_relayed(&mut self, packet: &Packet) -> Result<(), Broken> {
        self.note(
            format_args!("{} -> {}", packet.from, packet.to),
            &packet.bytes,
        );
        let (peer, at, payload) = (packet.from, packet.to, &packet.bytes);
        let step = self.relay.peer_sends(self.now(), peer, at, payload);
        self.oracle.peer_sent(peer, at, payload, &step)?;
        self.after(step)
    }

    // ---- clients ----

    fn client_turn(&mut self, number: usize) -> Result<(), Broken> {
        let issuer = self.issuer();
        let sends = self.clients[number].poll(self.at, issuer);
        self.client_sends(number, sends)
    }

    fn client_sends(&mut self, number: usize, sends: Option<Outgoing>) -> Result<(), Broken> {
        if self.clients[number].moves() {
            let inside = (number, self.clients[number].local);
            let gone = self.network.close(inside);
            self.clients[number].local += 1;
            self.hang(number, gone.into_iter().collect())?;
        }
        let Some((bytes, meant)) = sends else {
            return Ok(());
        };
        let five_tuple = self.five_tuple(number);
        let packet = Packet {
            transport: five_tuple.transport,
            from: five_tuple.client.0,
            to: five_tuple.server,
            bytes,
            meant,
        };
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        if !packet.transport.is_stream() {
            self.remembered.push_back(packet.clone());
        }
        self.network.send(self.at, packet);
        Ok(())
    }

    /// By which a client is known now. A stream is opened by whoever asks for it first.
    fn five_tuple(&mut self, number: usize) -> FiveTuple {
        let Client {
            transport, local, ..
        } = self.clients[number];
        let outside = self.network.outside((number, local));
        let listener = usize::from(outside.is_ipv6());
        let five_tuple = FiveTuple {
            transport,
            client: ClientAddr(outside),
            server: LISTENERS[listener],
        };
        if transport.is_stream() {
            self.relay.streams.insert(five_tuple);
        }
        five_tuple
    }

    /// Streams that were known by these addresses end.
    fn hang(&mut self, number: usize, outside: Vec<SocketAddr>) -> Result<(), Broken> {
        if !self.clients[number].transport.is_stream() {
            return Ok(());
        }
        for address in outside {
            let five_tuple = FiveTuple {
                transport: self.clients[number].transport,
                client: ClientAddr(address),
                server: LISTENERS[usize::from(address.is_ipv6())],
            };
            self.advance();
            self.note(format_args!("the stream of {address} ends"), &[]);
            let step = self.relay.closed(self.now(), five_tuple);
            self.oracle.silent(&step)?;
            self.oracle.reference.end(five_tuple);
            self.after(step)?;
        }
        Ok(())
    }
}
