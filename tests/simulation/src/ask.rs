//! What a client asks of a relay, in the client's own words rather than in bytes.
//!
//! A packet of the simulation carries these words beside its bytes: the server reads the bytes, the reference the words. Not
//! responsible for writing bytes (`client`).

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

/// A request, with whatever proves who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) transaction: [u8; 12],
    pub(crate) ask: Ask,
    pub(crate) proof: Option<Proof>,
}

impl fmt::Debug for Request {
    /// In a line that can be read: what transaction and nonce are is in the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.ask)?;
        match &self.proof {
            None => f.write_str(" by nobody"),
            Some(proof) => {
                let Name { user, expires } = proof.name;
                let how = if proof.is_right { "" } else { ", guessed" };
                write!(
                    f,
                    " by user {user} until {expires}, secret {}{how}",
                    proof.secret
                )
            }
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Binding,
    Allocate {
        lifetime: Option<u32>,
        port: Port,
        families: Families,
    },
    /// Allocate the port that this token reserves.
    Claim([u8; 8]),
    Refresh {
        lifetime: Option<u32>,
        /// Of this family alone: `true` is IPv4.
        only_v4: Option<bool>,
    },
    Permit(Vec<SocketAddr>),
    Bind(u16, SocketAddr),
}

impl Ask {
    /// Whether it is an Allocate.
    pub(crate) const fn is_new(&self) -> bool {
        matches!(self, Self::Allocate { .. } | Self::Claim(_))
    }
}

/// Which relayed port is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Any,
    Even,
    /// An even one, and its successor held for later.
    Pair,
}

/// Relayed addresses of which families are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Families {
    V4,
    V6,
    Both,
}

/// A time-limited user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) user: u8,
    /// Seconds since 1970.
    pub(crate) expires: u64,
}

/// How a request proves its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) name: Name,
    /// Number of the shared secret that made the password.
    pub(crate) secret: u8,
    /// Whether the password was made a key by SHA-256, not by MD5.
    pub(crate) is_sha256: bool,
    /// Whether the password is the one that this secret makes for this name.
    pub(crate) is_right: bool,
    pub(crate) nonce: Vec<u8>,
}
