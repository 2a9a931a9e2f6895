//! The real server in a storm that repeats: clients, NATs, a bad network, peers and an operator, all from one seed.
//!
//! Each seed is a scenario of some minutes. The server is `taciturn_protocol`'s, driven as a worker drives it; everything around it is
//! simulated, clocks included. After every single thing that happens the relay is held against a reference that can be read at a
//! glance (`reference`), and against the invariants that need no reference (`oracle`). Nothing here reads a clock, throws real dice or
//! depends on an order that is not written down, so that a seed has one transcript.
//!
//! Not responsible for sockets, workers, streams' framing and files, which the tests of the real program show.
#![forbid(unsafe_code)]

extern crate alloc;

mod ask;
mod client;
mod dice;
mod messages;
mod network;
mod oracle;
mod reference;
mod relay;
mod storm;
mod transcript;
mod world;

pub use oracle::{Broken, CODES, Invariant};
pub use relay::Fault;
pub use world::{Figures, Outcome, run};
