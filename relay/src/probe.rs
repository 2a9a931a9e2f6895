//! A real client tries a relay: it allocates twice through one listener and relays payloads between the two.
//!
//! What it proves is what a call needs: authentication, relayed addresses, permissions, and payloads through both
//! allocations in both directions. The client is webrtc-rs's, so the relay is not its own judge.
//!
//! ```text
//!   Target, Login --> caller (connect: datagrams | framed, trust, proxy) --> flow --> Report
//!                        notes: what came back, beside the client        `--> Failure: words and advice
//! ```
//!
//! Not responsible for which paths there are (`paths` knows URIs and names), nor for printing.

mod caller;
mod connect;
mod datagrams;
mod failure;
mod family;
mod flow;
mod framed;
mod notes;
pub mod paths;
mod proxy;
mod trust;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use taciturn_protocol::address::Transport;
use zeroize::Zeroizing;

use crate::self_check::{SelfCheckSource, SelfCheckSources};
use caller::Caller;

pub use failure::Failure;
pub use trust::{Trust, TrustError};

/// The DSCP that payloads over UDP leave with: Expedited Forwarding, as browsers mark audio (RFC 8837 §5).
pub const DSCP: u8 = 46;

/// What is tried.
#[derive(Clone, Debug)]
pub struct Target {
    /// How the client reaches the relay.
    pub transport: Transport,
    /// Which way.
    pub route: Route,
    /// The name that its certificate must have, for TLS; an IP address is one too.
    pub server_name: String,
    /// Who may have signed the certificate, for TLS.
    pub trust: Trust,
    /// Where the client's sockets are announced before they send anything; `None`: nobody needs to know.
    pub announce: Option<Announce>,
}

/// Tells a relay in this process which sockets are those of its own check.
#[derive(Clone, Debug)]
pub struct Announce {
    /// Where they are entered, for as long as they are open.
    pub sources: SelfCheckSources,
    /// The address that a network between makes of them, keeping the port.
    pub seen_as: Option<IpAddr>,
}

impl Announce {
    fn enter(&self, socket: SocketAddr) -> Vec<SelfCheckSource> {
        let seen = self.seen_as.map(|ip| SocketAddr::new(ip, socket.port()));
        let both = std::iter::once(socket).chain(seen);
        both.map(|source| self.sources.enter(source)).collect()
    }
}

/// Which way a connection takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Straight to the listener.
    Direct(SocketAddr),
    /// Through an HTTP proxy, for TCP and TLS.
    Proxy {
        /// The proxy.
        proxy: SocketAddr,
        /// What it is asked to connect to: `host:port`.
        authority: String,
    },
}

impl Route {
    /// The address that packets are sent to.
    pub const fn first_hop(&self) -> SocketAddr {
        match self {
            Self::Direct(address) | Self::Proxy { proxy: address, .. } => *address,
        }
    }
}

/// With which credentials.
#[derive(Clone)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Payloads in all, both directions together.
    pub count: u32,
    /// Bytes of each.
    pub size: usize,
    /// Time from one payload to the next.
    pub pace: Duration,
    /// Longest wait for any one step.
    pub patience: Duration,
}

impl Effort {
    /// The most payloads.
    pub const MAX_COUNT: u32 = 1000;
    /// The shortest and the longest payload in bytes: room for a number, and what passes every path in one piece.
    pub const SIZES: core::ops::RangeInclusive<usize> = flow::SHORTEST..=1200;

    /// The same within its bounds.
    fn bounded(self) -> Self {
        Self {
            count: self.count.clamp(1, Self::MAX_COUNT),
            size: self.size.clamp(*Self::SIZES.start(), *Self::SIZES.end()),
            ..self
        }
    }
}

impl Default for Effort {
    /// A second of audio: 50 payloads of 200 bytes, 20 ms apart; 5 s of patience.
    fn default() -> Self {
        Self {
            count: 50,
            size: 200,
            pace: Duration::from_millis(20),
            patience: Duration::from_secs(5),
        }
    }
}

/// What was found on a path that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Payloads sent to the other allocation.
    pub sent: u32,
    /// Payloads that arrived whole.
    pub received: u32,
    /// Median time of a payload: from here to the relay, through both allocations, and back here.
    pub median: Duration,
    /// The longest of them.
    pub worst: Duration,
    /// What became of the DSCP on that way.
    pub dscp: DscpOutcome,
}

/// What became of the DSCP of payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DscpOutcome {
    /// It came back as it was sent.
    Kept,
    /// It came back as this one.
    Changed(u8),
    /// TCP does not show it.
    NotMeasurable,
}

impl From<Option<Result<(), u8>>> for DscpOutcome {
    fn from(noted: Option<Result<(), u8>>) -> Self {
        match noted {
            Some(Ok(())) => Self::Kept,
            Some(Err(other)) => Self::Changed(other),
            None => Self::NotMeasurable,
        }
    }
}

/// Tries a path: two allocations and payloads between them.
///
/// # Errors
/// The first step that did not work.
pub async fn check(target: &Target, login: &Login, effort: Effort) -> Result<Report, Failure> {
    let effort = effort.bounded();
    let near = Caller::allocate(target, login, effort.patience).await?;
    let far = match Caller::allocate(target, login, effort.patience).await {
        Ok(far) => far,
        Err(failure) => {
            near.hang_up().await;
            return Err(failure);
        }
    };
    let outcome = flow::relay_between(&near, &far, &effort).await;
    tokio::join!(near.hang_up(), far.hang_up());
    outcome
}

/// Whether the server at the other end lets `login` in and proves that it knows the password: one allocation, given back.
///
/// # Errors
/// Why not.
pub(crate) async fn prove(
    target: &Target,
    login: &Login,
    patience: Duration,
) -> Result<(), Failure> {
    let caller = Caller::allocate(target, login, patience).await?;
    let sealed = caller.notes.sealed();
    caller.hang_up().await;
    if sealed == Some(true) {
        Ok(())
    } else {
        Err(Failure::Unproven)
    }
}
