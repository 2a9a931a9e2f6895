//! The whole program as a user meets it: the binary with a configuration file, clients and peers around it.
//!
//! Responsible for what only shows in the running program: packets as the network sees them, several workers, scarce
//! descriptors. Not responsible for attacks (`tests/attacks`), nor for what a crate can show by itself: those tests live with it.
#![cfg(feature = "relay")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod activation;
mod admin;
mod booted;
mod calls;
mod canaries;
mod changes;
#[allow(dead_code, reason = "shared with tests/attacks")]
mod client;
mod collector;
mod confined;
mod container;
mod crowding;
mod drain;
mod guides;
mod hosts;
mod icmp;
mod journal;
mod lab;
mod metadata;
mod namespace;
mod operations_page;
mod overload;
mod privacy;
mod reload;
mod revocations;
mod running;
#[allow(dead_code, reason = "shared with tests/attacks")]
mod scale;
mod self_check;
mod shared_port;
mod sniffer;
mod splits;
mod stalled;
mod supervisor;
mod translation;
mod units;
mod waiting;
mod workers;
