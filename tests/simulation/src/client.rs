//! A small honest client: it allocates, keeps alive what it has, tries again as RFC 8489 §6.2.1 says, and begins anew when it must.
//!
//! One transaction at a time. Not responsible for the address it is seen by (`network`), nor for what is odd (`storm`).

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use taciturn_protocol::address::Transport;
use taciturn_protocol::credentials::PasswordAlgorithm;

use crate::ask::{Ask, Families, Name, Port, Proof, Request};
use crate::dice::Dice;
use crate::messages::{self, Answer, Credential, Heard};
use crate::network::Meant;

/// RFC 8489 §6.2.1: the first wait, how often a request is sent, and the last wait in first waits.
const RTO: Duration = Duration::from_millis(500);
const MOST_SENT: u32 = 7;
const LAST_WAIT: u32 = 16;
/// RFC 8489 §6.2.2: how long an answer over a stream is waited for.
const STREAM_WAIT: Duration = Duration::from_millis(39_500);

/// Permissions live for 300 s, channels for 600 s.
const PERMISSION_EVERY: Duration = Duration::from_secs(240);
const CHANNEL_EVERY: Duration = Duration::from_secs(280);

/// How often a request is signed anew before a client gives it up.
const MOST_CHALLENGES: u32 = 4;

/// A packet that the client wants sent.
pub(crate) type Outgoing = (Vec<u8>, Meant);

/// What the issuer of credentials has now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issuer {
    pub(crate) secret: u8,
    /// Seconds since 1970, by a clock that is right.
    pub(crate) wall: u64,
}

/// A live allocation, as the client believes.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) relayed: Vec<SocketAddr>,
    pub(crate) token: Option<[u8; 8]>,
    pub(crate) permitted: Vec<SocketAddr>,
    pub(crate) channels: Vec<(u16, SocketAddr)>,
    credential: Credential,
}

#[derive(Debug)]
struct Transaction {
    request: Rc<Request>,
    bytes: Vec<u8>,
    credential: Credential,
    sent: u32,
    next: Duration,
    challenges: u32,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) user: u8,
    pub(crate) transport: Transport,
    /// The port on its own host.
    pub(crate) local: u16,
    algorithm: PasswordAlgorithm,
    dice: Dice,
    credential: Option<Credential>,
    nonce: Option<Vec<u8>>,
    pub(crate) call: Option<Call>,
    transaction: Option<Transaction>,
    tasks: Vec<(Duration, Ask)>,
    /// Whether it wants a call, with whom, and how it asks for it.
    pub(crate) wants: Vec<SocketAddr>,
    pub(crate) allocates: Option<Ask>,
    rests_until: Duration,
    hangs_until: Duration,
    /// Its socket has to be another one from now on.
    moves: bool,
    /// What peers have said to it.
    pub(crate) heard: Vec<(SocketAddr, Vec<u8>)>,
}

/// The plain Allocate.
pub(crate) const PLAIN: Ask = Ask::Allocate {
    lifetime: None,
    port: Port::Any,
    families: Families::V4,
};

impl Client {
    pub(crate) fn new(user: u8, transport: Transport, mut dice: Dice) -> Self {
        let algorithms = [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256];
        Self {
            user,
            transport,
            local: 10_000,
            algorithm: *dice.pick(&algorithms),
            dice,
            credential: None,
            nonce: None,
            call: None,
            transaction: None,
            tasks: Vec::new(),
            wants: Vec::new(),
            allocates: Some(PLAIN),
            rests_until: Duration::ZERO,
            hangs_until: Duration::ZERO,
            moves: false,
            heard: Vec::new(),
        }
    }

    /// When [`Client::poll`] has something to do next.
    pub(crate) fn next(&self) -> Option<Duration> {
        if let Some(transaction) = &self.transaction {
            return Some(transaction.next.max(self.hangs_until));
        }
        let tasks = self.tasks.iter().map(|(at, _)| *at).min();
        let begins = self.call.is_none() && self.allocates.is_some();
        let begins = begins.then_some(self.rests_until);
        let next = tasks.into_iter().chain(begins).min()?;
        Some(next.max(self.hangs_until))
    }

    /// Renews nothing and asks for nothing until then, while its media goes on: a host that was suspended, or is too busy.
    pub(crate) fn hangs(&mut self, until: Duration) {
        self.hangs_until = until;
    }

    /// Whether the client's socket must be another one before it sends again. Asked once.
    pub(crate) fn moves(&mut self) -> bool {
        std::mem::take(&mut self.moves)
    }

    /// Does what is due: at most one packet.
    pub(crate) fn poll(&mut self, now: Duration, issuer: Issuer) -> Option<Outgoing> {
        if now < self.hangs_until {
            return None;
        }
        if let Some(transaction) = &mut self.transaction {
            if now < transaction.next {
                return None;
            }
            let is_given_up = self.transport.is_stream() || transaction.sent >= MOST_SENT;
            if is_given_up {
                let ask = transaction.request.ask.clone();
                self.transaction = None;
                self.fails(now, &ask);
                return None;
            }
            return Some(transaction.again(now));
        }
        let begins = self.call.is_none() && now >= self.rests_until;
        let ask = match &self.allocates {
            Some(ask) if begins => ask.clone(),
            Some(_) | None => {
                let due = self.tasks.iter().position(|(at, _)| *at <= now)?;
                self.tasks.swap_remove(due).1
            }
        };
        Some(self.begin(now, ask, 0, issuer))
    }

    /// Wants this done soon, whatever else it does.
    pub(crate) fn ask(&mut self, now: Duration, ask: Ask) {
        self.tasks.push((now, ask));
    }

    /// Ends its call, and wants no other.
    pub(crate) fn hang_up(&mut self, now: Duration) {
        self.allocates = None;
        self.tasks.clear();
        if self.call.is_some() {
            let end = Ask::Refresh {
                lifetime: Some(0),
                only_v4: None,
            };
            self.ask(now, end);
        }
    }

    /// Its connection is gone.
    pub(crate) fn disconnected(&mut self, now: Duration) {
        self.transaction = None;
        self.starts_over(now, Duration::from_secs(1));
    }

    fn begin(&mut self, now: Duration, ask: Ask, challenges: u32, issuer: Issuer) -> Outgoing {
        let credential = self.credential_for(&ask, issuer);
        let is_free = ask == Ask::Binding;
        let proof = self.nonce.clone().filter(|_| !is_free).map(|nonce| Proof {
            name: credential.name,
            secret: credential.secret,
            is_sha256: self.algorithm == PasswordAlgorithm::Sha256,
            is_right: true,
            nonce,
        });
        let request = Rc::new(Request {
            transaction: self.dice.bytes(),
            ask,
            proof,
        });
        let bytes = messages::write(&request, &credential);
        let mut transaction = Transaction {
            request,
            bytes,
            credential,
            sent: 0,
            next: now,
            challenges,
        };
        let first = transaction.again(now);
        if self.transport.is_stream() {
            transaction.next = now + STREAM_WAIT;
        }
        self.transaction = Some(transaction);
        first
    }

    /// An allocation is kept alive by the credential that made it.
    fn credential_for(&mut self, ask: &Ask, issuer: Issuer) -> Credential {
        if let Some(call) = self.call.as_ref().filter(|_| !ask.is_new()) {
            return call.credential.clone();
        }
        if let Some(held) = self
            .credential
            .as_ref()
            .filter(|c| c.name.expires > issuer.wall + 10)
        {
            return held.clone();
        }
        let ttl = *self.dice.pick(&[100, 400, 3600]);
        let name = Name {
            user: self.user,
            expires: issuer.wall + ttl,
        };
        let fresh = Credential::issue(issuer.secret, name, self.algorithm);
        self.credential.insert(fresh).clone()
    }

    /// Something from the relay. What follows at once.
    pub(crate) fn receive(
        &mut self,
        now: Duration,
        bytes: &[u8],
        issuer: Issuer,
    ) -> Option<Outgoing> {
        match messages::read(bytes) {
            Heard::Answer(answer) => self.answered(now, bytes, &answer, issuer),
            Heard::Channel { number, payload } => {
                let mut channels = self.call.iter().flat_map(|call| &call.channels);
                let peer = channels.find(|(n, _)| *n == number).map(|(_, peer)| *peer);
                self.heard.extend(peer.map(|peer| (peer, payload)));
                None
            }
            Heard::Indication { peer, payload } => {
                self.heard.push((peer, payload));
                None
            }
            Heard::Unreadable => None,
        }
    }

    fn answered(
        &mut self,
        now: Duration,
        bytes: &[u8],
        answer: &Answer,
        issuer: Issuer,
    ) -> Option<Outgoing> {
        let of_this = |t: &mut Transaction| t.request.transaction == answer.transaction;
        let transaction = self.transaction.take_if(of_this)?;
        let ask = transaction.request.ask.clone();
        let challenges = transaction.challenges + 1;
        match answer.code {
            Some(401 | 438) => {
                self.nonce.clone_from(&answer.nonce);
                // A name that proves nothing any more is replaced; that of a call cannot be.
                if answer.code == Some(401) && transaction.request.proof.is_some() {
                    self.credential = None;
                }
                if challenges > MOST_CHALLENGES {
                    self.fails(now, &ask);
                    return None;
                }
                Some(self.begin(now, ask, challenges, issuer))
            }
            // An answer that proves nothing is no answer.
            _ if transaction.request.proof.is_some() && !transaction.credential.signed(bytes) => {
                self.transaction = Some(transaction);
                None
            }
            Some(code) => {
                self.refused(now, &ask, code);
                None
            }
            None => {
                self.granted(now, &ask, transaction.credential, answer);
                None
            }
        }
    }

    fn granted(&mut self, now: Duration, ask: &Ask, credential: Credential, answer: &Answer) {
        match ask {
            Ask::Binding => {}
            Ask::Allocate { .. } | Ask::Claim(_) => {
                self.call = Some(Call {
                    relayed: answer.relayed.clone(),
                    token: answer.token,
                    permitted: Vec::new(),
                    channels: Vec::new(),
                    credential,
                });
                if self.allocates.is_none() {
                    return self.hang_up(now);
                }
                self.refresh_before(now, answer.lifetime);
                for (number, peer) in (0x4000_u16..).zip(self.wants.clone()) {
                    let by_channel = number % 2 == 0;
                    let ask = if by_channel {
                        Ask::Bind(number, peer)
                    } else {
                        Ask::Permit(vec![peer])
                    };
                    self.ask(now, ask);
                }
            }
            Ask::Refresh { .. } if answer.lifetime == Some(0) => {
                let is_whole = !matches!(
                    ask,
                    Ask::Refresh {
                        only_v4: Some(_),
                        ..
                    }
                );
                if is_whole {
                    self.call = None;
                    self.tasks.clear();
                }
            }
            Ask::Refresh { .. } => self.refresh_before(now, answer.lifetime),
            Ask::Permit(peers) => {
                if let Some(call) = &mut self.call {
                    call.permitted.extend(peers);
                }
                self.renews(now + PERMISSION_EVERY, ask, peers);
            }
            Ask::Bind(number, peer) => {
                if let Some(call) = &mut self.call {
                    call.channels.retain(|(n, _)| n != number);
                    call.channels.push((*number, *peer));
                }
                self.renews(now + CHANNEL_EVERY, ask, &[*peer]);
            }
        }
    }

    /// What it wants it keeps; what it asked for on top ends by itself.
    fn renews(&mut self, at: Duration, ask: &Ask, peers: &[SocketAddr]) {
        if peers.iter().any(|peer| self.wants.contains(peer)) {
            self.tasks.push((at, ask.clone()));
        }
    }

    fn refresh_before(&mut self, now: Duration, lifetime: Option<u32>) {
        let lifetime = Duration::from_secs(lifetime.unwrap_or(600).into());
        let at = now + lifetime.saturating_sub(Duration::from_secs(60));
        let refresh = Ask::Refresh {
            lifetime: None,
            only_v4: None,
        };
        self.tasks.retain(|(_, task)| *task != refresh);
        self.tasks.push((at, refresh));
    }

    fn refused(&mut self, now: Duration, ask: &Ask, code: u16) {
        match code {
            // The 5-tuple is somebody's, or what it held is gone.
            437 | 441 => self.starts_over(now, Duration::from_secs(1)),
            300 | 486 | 508 if ask.is_new() => self.rests_until = now + Duration::from_secs(15),
            _ if ask.is_new() => {
                self.allocates = self.allocates.take().map(|_| PLAIN);
                self.rests_until = now + Duration::from_secs(5);
            }
            // A peer that may not be reached, or no more of them: not asked for again.
            _ => {}
        }
    }

    fn fails(&mut self, now: Duration, ask: &Ask) {
        if *ask != Ask::Binding {
            self.starts_over(now, Duration::from_secs(30));
        }
    }

    /// Forgets its call and comes back from another port (RFC 8656 §7.4).
    fn starts_over(&mut self, now: Duration, after: Duration) {
        self.call = None;
        self.tasks.clear();
        self.nonce = None;
        self.moves = true;
        self.rests_until = now + after;
    }

    /// A payload for a peer: by its channel where there is one.
    pub(crate) fn say(&mut self, peer: SocketAddr, payload: Vec<u8>) -> Outgoing {
        let mut channels = self.call.iter().flat_map(|call| &call.channels);
        match channels.find(|(_, p)| *p == peer) {
            Some(&(number, _)) => (
                messages::channel_message(number, &payload),
                Meant::Channel { number, payload },
            ),
            None => (
                messages::send_indication(self.dice.bytes(), peer, &payload),
                Meant::Send { peer, payload },
            ),
        }
    }

    /// A request that is signed by a password that somebody guessed.
    pub(crate) fn forged(&mut self, ask: Ask, issuer: Issuer) -> Outgoing {
        let credential = self.credential_for(&ask, issuer);
        let nonce = self.nonce.clone().unwrap_or_else(|| b"none".to_vec());
        let request = Request {
            transaction: self.dice.bytes(),
            ask,
            proof: Some(Proof {
                name: credential.name,
                secret: credential.secret,
                is_sha256: self.algorithm == PasswordAlgorithm::Sha256,
                is_right: false,
                nonce,
            }),
        };
        let bytes = messages::write(&request, &credential);
        (bytes, Meant::Request(Rc::new(request)))
    }

    /// Whether it holds a call that reaches this peer.
    pub(crate) fn reaches(&self, peer: SocketAddr) -> bool {
        self.call.as_ref().is_some_and(|call| {
            call.permitted.contains(&peer) || call.channels.iter().any(|(_, p)| *p == peer)
        })
    }
}

impl Transaction {
    fn again(&mut self, now: Duration) -> Outgoing {
        let wait = if self.sent + 1 >= MOST_SENT {
            RTO * LAST_WAIT
        } else {
            RTO * (1 << self.sent)
        };
        self.sent += 1;
        self.next = now + wait;
        (self.bytes.clone(), Meant::Request(Rc::clone(&self.request)))
    }
}
