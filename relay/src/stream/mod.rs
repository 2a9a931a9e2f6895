//! One TURN client's byte stream on a worker thread: framing inbound, a bounded send queue outbound.
//!
//! Responsible for what happens to an established TCP or TLS connection once a worker owns it (RFC 8656 §12.5): cutting
//! the stream into messages without copying them, and sending messages so that a slow client costs itself alone. Not
//! responsible for accepting connections or TLS handshakes (`listener`), for what a message means
//! (`taciturn_protocol::server`), or for waiting until a socket is ready (`worker`).

mod close_reason;
mod connection;
mod queue;
mod scratch;
mod socket;
mod waits;

#[cfg(test)]
mod tests;

pub use close_reason::CloseReason;
pub use connection::{Connection, Patience, StreamLimits};
pub use queue::{DroppedFrames, QueueClass, Queued};
pub use scratch::{Batch, Scratch};
pub use waits::Waits;
