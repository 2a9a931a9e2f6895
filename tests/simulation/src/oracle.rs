//! Holds what a relay does against what is right, after every step.
//!
//! Two ways: invariants that say what may never be, whatever the reference thinks, and the reference, which says what should have
//! been. Responsible for the verdict; not for making anything happen.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use taciturn_protocol::address::{FiveTuple, Transport};

use crate::ask::{Ask, Families, Port, Request};
use crate::messages::{self, Answer, Heard};
use crate::network::{Meant, Packet};
use crate::reference::{Client, Granted, Reference, Rules, successor};
use crate::relay::{Bind, Out, Relay, Step};

/// The most that somebody gets who has proved nothing: a 401 with this realm, a nonce and the list of password algorithms.
const UNPROVEN_MOST: usize = 112;
/// RFC 8489 §6.1: what passes every path.
const ANSWER_MOST: usize = 548;
/// Answers to one unproven source at once; ten a second come on top.
const BURST: usize = 20;

/// What may never be otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// Nothing is relayed without a live permission, and nothing to anybody but those whom it is for.
    Permission,
    /// Nothing is relayed to a denied address, and no permission is given for one.
    Denied,
    /// Free, used and resting ports are all ports there are, and each used one has its socket.
    Ports,
    /// Nothing is answered but requests, once, to whoever sent them.
    Invited,
    /// No answer is larger than it may be, and no source gets more of them than it may.
    Size,
    /// The tables have as many entries as follow from what is held.
    Memory,
    /// Requests are answered as the reference answers them.
    Answer,
    /// What may pass passes, unaltered.
    Loss,
    /// After the storm everybody gets a call, and then nothing is left.
    Liveness,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// How it shows.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}

impl std::error::Error for Broken {}

type Verdict = Result<(), Broken>;

fn ensure(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Verdict {
    if holds {
        return Ok(());
    }
    let what = what();
    Err(Broken { invariant, what })
}

fn broken(invariant: Invariant, what: String) -> Verdict {
    Err(Broken { invariant, what })
}

impl Client for FiveTuple {
    fn source(&self) -> IpAddr {
        self.client.0.ip()
    }

    fn is_datagram(&self) -> bool {
        !self.transport.is_stream()
    }
}

/// A payload on its way from one relayed address to one peer.
type Passage = (SocketAddr, SocketAddr);

/// The judge of one relay.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) reference: Reference<FiveTuple>,
    /// Whether unproven sources have a budget of answers.
    pub(crate) is_rated: bool,
    /// Answers to the unproven of late: when, and to whom.
    unproven: VecDeque<(Duration, IpAddr)>,
    /// Requests answered, by [`CODES`]; payloads relayed, and of those the ones that never left this relay.
    pub(crate) answered: [u64; CODES.len()],
    pub(crate) relayed: u64,
    pub(crate) handed_over: u64,
    /// Payloads that were rightly dropped, and guesses that were not looked at.
    pub(crate) dropped: u64,
    pub(crate) held_off: u64,
}

/// What requests are answered: 0 is a success.
pub const CODES: [u16; 11] = [0, 300, 400, 401, 403, 437, 438, 441, 443, 486, 508];

impl Oracle {
    pub(crate) const fn new(rules: Rules, is_rated: bool) -> Self {
        Self {
            reference: Reference::new(rules),
            is_rated,
            unproven: VecDeque::new(),
            answered: [0; CODES.len()],
            relayed: 0,
            handed_over: 0,
            dropped: 0,
            held_off: 0,
        }
    }

    /// The relay has lost all that it knew, the budgets of sources too.
    pub(crate) fn restart(&mut self) {
        self.reference.restart();
        self.unproven.clear();
    }

    // ---- from clients ----

    /// A packet from a client, and what the relay did with it.
    pub(crate) fn client_sent(&mut self, from: FiveTuple, packet: &Packet, step: &Step) -> Verdict {
        match &packet.meant {
            Meant::Request(request) => self.request(from, request, step),
            Meant::Send { peer, payload } => {
                let passage = self.reference.sends(from, *peer).map(|own| (own, *peer));
                self.passes(passage, payload, step)
            }
            Meant::Channel { number, payload } => {
                let passage = self.reference.channel(from, *number);
                self.passes(passage, payload, step)
            }
            Meant::Payload | Meant::Rubbish => self.silent(step),
        }
    }

    /// Nothing was to be said or passed on.
    pub(crate) fn silent(&self, step: &Step) -> Verdict {
        match step.out.first() {
            None => Ok(()),
            Some(Out::ToClient { .. }) => broken(
                Invariant::Invited,
                format!("an answer to nothing: {:?}", step.out),
            ),
            Some(Out::ToPeer { to, .. }) => self.nothing_passes(*to),
        }
    }

    fn nothing_passes(&self, to: SocketAddr) -> Verdict {
        let is_denied = self.reference.forbids(to);
        let invariant = if is_denied {
            Invariant::Denied
        } else {
            Invariant::Permission
        };
        broken(invariant, format!("a payload went to {to}"))
    }

    fn passes(&mut self, passage: Option<Passage>, payload: &[u8], step: &Step) -> Verdict {
        let Some((own, peer)) = passage else {
            self.dropped += 1;
            return self.silent(step);
        };
        // The invariant itself, whatever the reference has just said.
        ensure(
            !self.reference.forbids_address(peer.ip()),
            Invariant::Denied,
            || format!("{peer} is permitted"),
        )?;
        if self.reference.rules.relayed.contains(&peer.ip()) {
            self.handed_over += u64::from(!step.out.is_empty());
            return self.reaches_client(own, peer, payload, step);
        }
        let sent = Out::ToPeer {
            from: own,
            to: peer,
            payload: payload.to_vec(),
        };
        self.is_only(&sent, step)
    }

    fn is_only(&mut self, sent: &Out, step: &Step) -> Verdict {
        self.relayed += 1;
        match step.out.as_slice() {
            [out] if out == sent => Ok(()),
            [] => broken(Invariant::Loss, format!("not relayed: {sent:?}")),
            [Out::ToPeer { to, .. }] if !matches!(sent, Out::ToPeer { to: t, .. } if t == to) => {
                self.nothing_passes(*to)
            }
            other => broken(Invariant::Loss, format!("not {sent:?} but {other:?}")),
        }
    }

    // ---- from peers ----

    /// A datagram from a peer, and what the relay did with it.
    pub(crate) fn peer_sent(
        &mut self,
        peer: SocketAddr,
        at: SocketAddr,
        payload: &[u8],
        step: &Step,
    ) -> Verdict {
        self.reaches_client(peer, at, payload, step)
    }

    fn reaches_client(
        &mut self,
        peer: SocketAddr,
        at: SocketAddr,
        payload: &[u8],
        step: &Step,
    ) -> Verdict {
        let Some((client, number)) = self.reference.arrives(peer, at) else {
            self.dropped += 1;
            return match step.out.first() {
                None => Ok(()),
                Some(out) => broken(Invariant::Permission, format!("{peer} at {at}: {out:?}")),
            };
        };
        self.relayed += 1;
        let [Out::ToClient { to, bytes }] = step.out.as_slice() else {
            let what = format!("{peer} at {at}: {:?}", step.out);
            return broken(Invariant::Loss, what);
        };
        ensure(*to == client, Invariant::Permission, || {
            format!("{peer} at {at} is {client:?}'s and went to {to:?}")
        })?;
        let payload = payload.to_vec();
        let (expected, most) = match number {
            Some(number) => (Heard::Channel { number, payload }, 4),
            None => (Heard::Indication { peer, payload }, 48),
        };
        ensure(messages::read(bytes) == expected, Invariant::Loss, || {
            format!("not {expected:?} but {bytes:02x?}")
        })?;
        let length = match &expected {
            Heard::Channel { payload, .. } | Heard::Indication { payload, .. } => payload.len(),
            Heard::Answer(_) | Heard::Unreadable => 0,
        };
        ensure(
            bytes.len() <= most + length.next_multiple_of(4),
            Invariant::Size,
            || format!("{} bytes for a payload of {length}", bytes.len()),
        )
    }

    // ---- requests ----

    fn request(&mut self, from: FiveTuple, request: &Request, step: &Step) -> Verdict {
        self.settle_ports(request, &step.binds);
        if step.out.is_empty() && self.may_be_silent(from) {
            return Ok(());
        }
        if self.reference.must_wait(from, request) {
            self.held_off += 1;
            return ensure(step.out.is_empty(), Invariant::Answer, || {
                format!("a guess that is looked at too early: {request:?}")
            });
        }
        let expected = self.reference.answer(from, request);
        let bytes = match step.out.as_slice() {
            [Out::ToClient { to, bytes }] if *to == from => bytes,
            [] => return broken(Invariant::Answer, format!("silence to {request:?}")),
            [Out::ToPeer { to, .. }] => return self.nothing_passes(*to),
            more => return broken(Invariant::Invited, format!("{more:?} to {request:?}")),
        };
        let is_unproven = matches!(expected, Ok(Granted::Mapped) | Err(401 | 438));
        self.sized(from, bytes, is_unproven)?;
        let Heard::Answer(answer) = messages::read(bytes) else {
            return broken(Invariant::Invited, format!("{bytes:02x?} to {request:?}"));
        };
        ensure(
            answer.transaction == request.transaction,
            Invariant::Invited,
            || format!("another's answer to {request:?}"),
        )?;
        if let (Some(401 | 438), Some(nonce)) = (answer.code, &answer.nonce) {
            self.reference.minted(nonce, from);
        }
        let code = CODES
            .iter()
            .position(|code| *code == answer.code.unwrap_or(0));
        if let Some(code) = code {
            self.answered[code] += 1;
        }
        self.judge(from, request, expected, &answer, step)
    }

    fn sized(&mut self, from: FiveTuple, bytes: &[u8], is_unproven: bool) -> Verdict {
        let most = if is_unproven {
            UNPROVEN_MOST
        } else {
            ANSWER_MOST
        };
        ensure(bytes.len() <= most, Invariant::Size, || {
            format!("{} bytes where {most} are the most", bytes.len())
        })?;
        let now = self.reference.now;
        if !self.is_rated || !is_unproven || !self.is_budgeted(from) {
            return Ok(());
        }
        self.unproven.push_back((now, from.client.0.ip()));
        while self
            .unproven
            .front()
            .is_some_and(|(at, _)| *at + Duration::from_secs(2) <= now)
        {
            self.unproven.pop_front();
        }
        let of_late = self
            .unproven
            .iter()
            .filter(|(at, ip)| *at + Duration::from_secs(1) > now && *ip == from.client.0.ip());
        ensure(of_late.count() <= BURST + 11, Invariant::Size, || {
            format!("more answers than {} may have", from.client.0.ip())
        })
    }

    /// Whether the budget of this source may be spent, alone or with others that share its place.
    fn may_be_silent(&self, from: FiveTuple) -> bool {
        let recent = |at: Duration| at + Duration::from_secs(2) > self.reference.now;
        let spent = self.unproven.iter().filter(|(at, _)| recent(*at)).count();
        self.is_rated && self.is_budgeted(from) && spent + 1 >= BURST
    }

    fn is_budgeted(&self, from: FiveTuple) -> bool {
        let ip = from.client.0.ip();
        let mut held = self.reference.held.keys();
        from.transport == Transport::Udp && held.all(|other| other.client.0.ip() != ip)
    }

    /// Ports that the host did not give rest, as do those that were opened in vain.
    fn settle_ports(&mut self, request: &Request, binds: &[Bind]) {
        let wants_pair = matches!(
            request.ask,
            Ask::Allocate {
                port: Port::Pair,
                ..
            }
        );
        for bind in binds {
            match *bind {
                Bind::Opened(_) => {}
                Bind::Refused(address) => {
                    self.reference.rest(address, None);
                    if wants_pair && address.port().is_multiple_of(2) {
                        self.reference.rest(successor(address), None);
                    }
                }
                Bind::Closed(address) if binds.contains(&Bind::Opened(address)) => {
                    self.reference.rest(address, None);
                }
                Bind::Closed(_) => {}
            }
        }
    }

    fn judge(
        &mut self,
        from: FiveTuple,
        request: &Request,
        expected: Result<Granted, u16>,
        answer: &Answer,
        step: &Step,
    ) -> Verdict {
        let is_refused_by_host = step
            .binds
            .iter()
            .any(|bind| matches!(bind, Bind::Refused(_)));
        let granted = match (expected, answer.code) {
            (Err(expected), Some(code)) if expected == code => return Ok(()),
            (Ok(Granted::New(..)), Some(508)) if is_refused_by_host => return Ok(()),
            (Ok(granted), None) => granted,
            (Err(403), None) => {
                return broken(Invariant::Denied, format!("granted: {request:?}"));
            }
            (expected, code) => {
                let what = format!("{code:?} where {expected:?} is right, to {request:?}");
                return broken(Invariant::Answer, what);
            }
        };
        let lifetime = answer.lifetime.map(u64::from);
        match granted {
            Granted::Mapped => ensure(
                answer.mapped == Some(from.client.0),
                Invariant::Answer,
                || format!("mapped to {:?}", answer.mapped),
            ),
            Granted::Nothing => Ok(()),
            Granted::Lifetime(seconds) => {
                ensure(lifetime == Some(seconds), Invariant::Answer, || {
                    format!("a lifetime of {lifetime:?} where {seconds} is right")
                })
            }
            Granted::Again(seconds) => {
                let held = self.reference.held.get(&from);
                let same = held.is_some_and(|held| {
                    held.relayed
                        .iter()
                        .map(|r| r.address)
                        .eq(answer.relayed.iter().copied())
                        && held.token == answer.token
                });
                ensure(same && lifetime == Some(seconds), Invariant::Answer, || {
                    format!("{answer:?} to a request that was repeated")
                })
            }
            Granted::Claimed(seconds, address) => {
                let right = answer.relayed == [address] && lifetime == Some(seconds);
                ensure(right, Invariant::Answer, || {
                    format!("{answer:?} for {address}")
                })?;
                let relayed = &answer.relayed;
                self.reference.begin(from, request, seconds, relayed, None);
                Ok(())
            }
            Granted::New(seconds, families, port) => {
                ensure(lifetime == Some(seconds), Invariant::Answer, || {
                    format!("a lifetime of {lifetime:?} where {seconds} is right")
                })?;
                self.begins(
                    from,
                    request,
                    (seconds, families, port),
                    answer,
                    is_refused_by_host,
                )
            }
        }
    }

    fn begins(
        &mut self,
        from: FiveTuple,
        request: &Request,
        (seconds, families, port): (u64, Families, Port),
        answer: &Answer,
        is_refused_by_host: bool,
    ) -> Verdict {
        let relayed = answer.relayed.as_slice();
        for address in relayed {
            ensure(self.reference.is_free(*address), Invariant::Ports, || {
                format!("{address} was not free")
            })?;
        }
        let wanted: &[bool] = match families {
            Families::V4 => &[true],
            Families::V6 => &[false],
            Families::Both => &[true, false],
        };
        let given: Vec<bool> = relayed.iter().map(SocketAddr::is_ipv4).collect();
        let is_whole = given == wanted;
        let is_part = families == Families::Both && given.len() == 1;
        let is_excused = || {
            let missing = given.first().map(|is_v4| !is_v4);
            is_refused_by_host || missing.is_some_and(|m| !self.reference.has_free(m, port))
        };
        ensure(
            is_whole || is_part && is_excused(),
            Invariant::Answer,
            || format!("{relayed:?} for {families:?}"),
        )?;
        let is_even = relayed.iter().all(|a| a.port().is_multiple_of(2));
        ensure(port == Port::Any || is_even, Invariant::Answer, || {
            format!("{relayed:?} for {port:?}")
        })?;
        ensure(
            answer.token.is_some() == (port == Port::Pair),
            Invariant::Answer,
            || format!("a token for {port:?}: {:?}", answer.token),
        )?;
        ensure(
            answer.mapped == Some(from.client.0),
            Invariant::Answer,
            || format!("mapped to {:?}", answer.mapped),
        )?;
        let reserved = answer.token.zip(relayed.first().copied().map(successor));
        if let Some((_, address)) = reserved {
            ensure(self.reference.is_free(address), Invariant::Ports, || {
                format!("{address} was not free")
            })?;
        }
        self.reference
            .begin(from, request, seconds, relayed, reserved);
        Ok(())
    }

    // ---- after every step ----

    /// What the relay holds is what the reference holds.
    pub(crate) fn holds(&self, relay: &Relay) -> Verdict {
        let load = relay.load();
        let (used, resting) = self.reference.ports_taken();
        let all = self.reference.ports_in_all();
        let counted = (load.ports_free, load.ports_used, load.ports_quarantined);
        let right = (all - used - resting, used, resting);
        ensure(counted == right, Invariant::Ports, || {
            format!("free, used and resting are {counted:?} where {right:?} are right")
        })?;
        let open: BTreeSet<SocketAddr> = relay.sockets().collect();
        let wanted: BTreeSet<SocketAddr> = self.reference.ports_used().collect();
        ensure(open == wanted, Invariant::Ports, || {
            format!("open are {open:?} where {wanted:?} are used")
        })?;
        let held = || self.reference.held.values();
        let clients = relay.clients().collect::<BTreeSet<_>>();
        ensure(
            clients.iter().eq(self.reference.held.keys()),
            Invariant::Answer,
            || format!("allocations of {clients:?}"),
        )?;
        let permissions: usize = held().map(|held| held.permissions.len()).sum();
        let channels: usize = held().map(|held| held.channels.len()).sum();
        let counted = (load.permissions, load.channels, load.pending);
        ensure(
            counted == (permissions, channels, 0),
            Invariant::Permission,
            || {
                format!(
                    "{counted:?} permissions, channels and requests under way, not {permissions} and {channels}"
                )
            },
        )?;
        // One deadline for all that ends by itself, one name for each socket, one entry of each table for each thing.
        let reserved = self.reference.reservations();
        let sources: BTreeSet<IpAddr> = clients.iter().map(|c| c.client.0.ip()).collect();
        let tables = 2 * clients.len() + sources.len() + self.reference.users();
        let right = [
            used + permissions + channels + resting,
            used,
            0,
            reserved,
            tables,
        ];
        let entries = relay.entries();
        ensure(entries == right, Invariant::Memory, || {
            format!("tables of {entries:?} entries where {right:?} are right")
        })
    }
}
