//! The relay daemon: it moves packets, and leaves every decision about them to `taciturn_protocol`.
//!
//! ```text
//!  config -> run -> worker (one thread per core): net, stream, switch <-> protocol::server, protocol::forward
//!                -> listener (control runtime): TCP, TLS handshakes -> worker
//!                -> admin, metrics (control runtime): read what workers count
//! ```
//!
//! Responsible for sockets, clocks, threads, files and logs. Not responsible for what TURN demands, which is pure code in
//! another crate, nor for fleets.

// The client that the integration tests use serves the unit tests of `worker` too.
#[cfg(test)]
extern crate self as taciturn_relay;

pub mod admin;
pub mod clock;
pub mod config;
pub mod counters;
mod crowding;
pub mod drain;
pub mod events;
pub mod forensics;
pub mod line_budget;
pub mod listener;
pub mod load;
pub mod metadata;
pub mod metrics;
pub mod net;
pub mod own_addresses;
pub mod phase;
pub mod probe;
pub mod pseudonyms;
pub mod quota;
pub mod readiness;
pub mod relayed;
pub mod reload;
pub mod revocations;
pub mod run;
pub mod self_check;
mod state_file;
pub mod stream;
pub mod supervisor;
pub mod worker;
