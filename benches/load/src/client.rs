//! A TURN client: allocates, opens permissions, binds channels, gives the allocation back.
//!
//! Responsible for requests, their retransmission and the long-term credential exchange. Not responsible for the traffic that
//! follows (see `flow`).

use crate::credentials::{Credentials, long_term_key};
use crate::link::{Burst, DATAGRAM_MAX, Link};
use crate::payload::mix;
use crate::stun::{Message, Received, TransactionId, attribute, kind};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TRIES: u32 = 6;
const RETRANSMIT_AFTER: Duration = Duration::from_millis(500);
const UDP_PROTOCOL: [u8; 4] = [17, 0, 0, 0];

/// A transaction id that no other call returned. Not secret: the generator speaks to servers it trusts.
pub(crate) fn next_transaction_id() -> TransactionId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut id = [0; 12];
    id[..8].copy_from_slice(&mix(number).to_le_bytes());
    id[8..].copy_from_slice(&std::process::id().to_le_bytes());
    id
}

/// What a client learnt from a 401 or 438, and proves itself with from then on.
#[derive(Debug)]
pub(crate) struct Proof {
    username: String,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: [u8; 16],
}

impl Proof {
    /// Takes realm and nonce from a challenge. `None` when the answer holds none.
    pub(crate) fn from_challenge(
        challenge: &Received<'_>,
        credentials: &Credentials,
    ) -> Option<Self> {
        let realm = challenge.attribute(attribute::REALM)?.to_vec();
        let nonce = challenge.attribute(attribute::NONCE)?.to_vec();
        let key = long_term_key(&credentials.username, &realm, &credentials.password);
        Some(Self {
            username: credentials.username.clone(),
            realm,
            nonce,
            key,
        })
    }

    /// Completes a request.
    pub(crate) fn sign(&self, request: Message) -> Vec<u8> {
        request
            .attribute(attribute::USERNAME, self.username.as_bytes())
            .attribute(attribute::REALM, &self.realm)
            .attribute(attribute::NONCE, &self.nonce)
            .integrity(&self.key)
            .into_bytes()
    }

    /// Whether an answer comes from someone who knows the key.
    pub(crate) fn accepts(&self, answer: &Received<'_>) -> bool {
        answer.is_proved_by(&self.key)
    }
}

/// An Allocate request, unsigned.
pub(crate) fn allocate_request(id: TransactionId) -> Message {
    Message::new(kind::ALLOCATE, id).attribute(attribute::REQUESTED_TRANSPORT, &UDP_PROTOCOL)
}

/// A Refresh request that deletes the allocation, unsigned.
pub(crate) fn delete_request(id: TransactionId) -> Message {
    Message::new(kind::REFRESH, id).attribute(attribute::LIFETIME, &[0; 4])
}

/// The server answered with this error code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refused(pub(crate) u16);

impl Refused {
    /// Whether the server remembers an earlier client with this port: it still holds its allocation (437, RFC 8656 §7.2), or
    /// keeps its user name for a while (441). Another port helps.
    pub(crate) const fn port_is_known(self) -> bool {
        matches!(self.0, 437 | 441)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// One client and its allocation.
#[derive(Debug)]
pub(crate) struct Client {
    link: Link,
    credentials: Credentials,
    proof: Option<Proof>,
}

impl Client {
    /// A client that has not spoken yet.
    pub(crate) const fn new(link: Link, credentials: Credentials) -> Self {
        Self {
            link,
            credentials,
            proof: None,
        }
    }

    /// Allocates a relayed address for UDP.
    pub(crate) fn allocate(&mut self) -> Result<SocketAddr> {
        let answer = self
            .request(kind::ALLOCATE, allocate_request)
            .context("Allocate failed")?;
        Received::parse(&answer)
            .and_then(|answer| answer.xor_address(attribute::XOR_RELAYED_ADDRESS))
            .context("Allocate succeeded without a relayed address")
    }

    /// Opens a permission for a peer.
    pub(crate) fn create_permission(&mut self, peer: SocketAddr) -> Result<()> {
        self.request(kind::CREATE_PERMISSION, |id| {
            Message::new(kind::CREATE_PERMISSION, id).xor_address(attribute::XOR_PEER_ADDRESS, peer)
        })
        .context("CreatePermission failed")
        .map(drop)
    }

    /// Binds a channel to a peer.
    pub(crate) fn bind_channel(&mut self, number: u16, peer: SocketAddr) -> Result<()> {
        let [high, low] = number.to_be_bytes();
        self.request(kind::CHANNEL_BIND, |id| {
            Message::new(kind::CHANNEL_BIND, id)
                .attribute(attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
                .xor_address(attribute::XOR_PEER_ADDRESS, peer)
        })
        .context("ChannelBind failed")
        .map(drop)
    }

    /// Gives the allocation back and waits for the confirmation, so that the client's port is free for a later run.
    pub(crate) fn delete(&mut self) -> Result<()> {
        self.request(kind::REFRESH, delete_request)
            .context("Refresh with lifetime 0 failed")
            .map(drop)
    }

    /// Completes a request with what an earlier challenge has taught this client.
    pub(crate) fn sign(&self, request: Message) -> Result<Vec<u8>> {
        let proof = self.proof.as_ref().context("not challenged yet")?;
        Ok(proof.sign(request))
    }

    /// The way to the server.
    pub(crate) const fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    /// The way to the server.
    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    fn request(
        &mut self,
        method: u16,
        compose: impl Fn(TransactionId) -> Message,
    ) -> Result<Vec<u8>> {
        // 401, then 438 if the server forgot the nonce meanwhile, then it must work.
        for _ in 0..3 {
            let id = next_transaction_id();
            let bytes = match &self.proof {
                Some(proof) => proof.sign(compose(id)),
                None => compose(id).into_bytes(),
            };
            let answer = self.exchange(&bytes, id)?;
            let received = Received::parse(&answer).context("unreadable answer")?;
            if received.kind() == kind::success(method) {
                if self
                    .proof
                    .as_ref()
                    .is_some_and(|proof| !proof.accepts(&received))
                {
                    bail!("the answer's MESSAGE-INTEGRITY is missing or wrong");
                }
                return Ok(answer);
            }
            if received.kind() != kind::error(method) {
                bail!("answer of type {:#06x}", received.kind());
            }
            let code = received.error_code().context("error without a code")?;
            if !(code == 401 && self.proof.is_none() || code == 438) {
                return Err(Refused(code).into());
            }
            self.proof = Some(
                Proof::from_challenge(&received, &self.credentials)
                    .context("challenge without realm or nonce")?,
            );
        }
        bail!("challenged again and again")
    }

    fn exchange(&mut self, request: &[u8], id: TransactionId) -> Result<Vec<u8>> {
        let mut burst = Burst::default();
        burst.next_frame().extend_from_slice(request);
        let mut scratch = [0; DATAGRAM_MAX];
        for attempt in 0..TRIES {
            if attempt == 0 || matches!(self.link, Link::Datagram(_)) {
                self.link.send(&burst)?;
            }
            let deadline = Instant::now() + RETRANSMIT_AFTER;
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                self.link.wait_readable(left)?;
                let mut answer = None;
                self.link.receive(1, &mut scratch, |message| {
                    if Received::parse(message).is_some_and(|received| received.id() == id) {
                        answer = Some(message.to_vec());
                    }
                })?;
                if let Some(answer) = answer {
                    return Ok(answer);
                }
            }
        }
        bail!(
            "no answer within {} s",
            (RETRANSMIT_AFTER * TRIES).as_secs()
        )
    }
}
