//! The attacks that this relay is built to survive, one test or one named refusal for each, against the real binary.
//!
//! What an attacker does and what is to happen is numbered; each test names its line. Responsible for what is
//! seen from outside: on the network, in the process, in what an operator reads. Not responsible for honest use
//! (`tests/system`), nor for floods and churn at their full size (`tests/siege`).
#![cfg(feature = "relay")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin_plane;
mod answers;
mod bad_input;
mod bandwidth;
#[path = "../system/calls.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod calls;
mod cardinality;
mod chains;
#[path = "../system/client.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod client;
mod clock;
mod credentials;
mod floods;
mod forbidden;
mod guessing;
mod handshakes;
#[path = "../system/lab.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod lab;
mod limits;
#[path = "../system/malformed.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod malformed;
mod mirrors;
mod mutations;
mod names;
#[path = "../system/namespace.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod namespace;
mod numbers;
mod orders;
mod own_services;
mod ports;
mod proxies;
#[path = "../system/running.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod running;
#[path = "../system/scale.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod scale;
mod sink;
mod sizes;
#[path = "../system/sniffer.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod sniffer;
mod strangers;
mod targets;
mod timing;
mod tunnels;
mod typos;
mod uncovered;
mod walk;
