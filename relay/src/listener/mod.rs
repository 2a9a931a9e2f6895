//! How clients get in over TCP and TLS: from `accept` to an established connection that a worker takes over.
//!
//! Responsible for admission (caps, deadlines), for telling TURN, TLS and everything else apart on one port, for the
//! TLS handshake and the certificates, and for the health answer. Runs on the control runtime; a worker never waits for
//! it. Not responsible for the connection once it is established (`stream`), nor for UDP, where there is nothing to
//! establish.

pub mod certificate;
mod counters;
mod established;
mod first_bytes;
mod front;
mod half_open;
mod health;
mod opening;
mod sources;
pub mod tls;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

pub use counters::{FrontCounters, Group, HandshakeFailure, Refusal, TlsVersion};
pub use established::{ConnectionSlot, Established};
pub use front::{
    Deliver, Front, FrontLimits, ListenTransport, Listener, ServeError, SharedFrontLimits,
};
pub use half_open::HalfOpenPolicy;
