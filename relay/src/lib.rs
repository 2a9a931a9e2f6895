//! Placeholder.

pub mod config;
pub mod net;
pub mod listener;
pub mod stream;
// The client that the integration tests use serves the unit tests of `worker` too.
#[cfg(test)]
extern crate self as taciturn_relay;

pub mod admin;
pub mod clock;
pub mod counters;
pub mod events;
pub mod metrics;
pub mod own_addresses;
pub mod phase;
pub mod probe;
pub mod quota;
pub mod relayed;
pub mod run;
pub mod worker;
