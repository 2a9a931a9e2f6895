//! The controller as an operator meets it: the binary, relays that it launches on this host, and clients with calls.
//!
//! Responsible for what only shows when all of it runs together: calls that lose nothing while the fleet changes, and faults
//! of everything around the controller (the starred rows of the chaos matrix in `docs/scaling.md`). Not responsible for
//! decisions one by one (`controller/src/policy`), nor for a provider's own rules.
#![cfg(all(feature = "relay", feature = "controller"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod broker;
#[path = "../system/calls.rs"]
#[expect(dead_code, reason = "shared with the tests of single relays")]
mod calls;
#[path = "../system/canaries.rs"]
mod canaries;
#[path = "../system/client.rs"]
#[expect(dead_code, reason = "shared with the tests of single relays")]
mod client;
#[path = "../system/collector.rs"]
mod collector;
mod controllers;
mod credentials;
mod crowd;
mod drains;
mod dry_run;
mod faults;
mod lab;
mod metadata;
mod monitoring;
mod privacy;
mod revocations;
#[path = "../system/running.rs"]
#[expect(dead_code, reason = "shared with the tests of single relays")]
mod running;
#[path = "../system/scale.rs"]
#[expect(dead_code, reason = "shared with the tests of single relays")]
mod scale;
mod settings;
mod signalling;
mod sovereignty;
mod story;
mod takeovers;
