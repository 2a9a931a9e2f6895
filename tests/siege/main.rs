//! A relay under more than any honest use brings: floods, churn, exhaustion, crashes, upgrades, and changes under load.
//!
//! Responsible for what shows by numbers: that nothing is lost, nothing grows and nothing is left behind. Each siege has a
//! short form, which is part of the test command, and a long one, whose figures are in `docs/assurance.md`
//! (`TACITURN_LONG=1`; `scripts/assure`). How long anything takes is judged in the long form alone: it has the machine for
//! itself. Not responsible for what a single message does (`tests/attacks`), nor for speed (`benches`).
#![cfg(feature = "relay")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../system/calls.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod calls;
#[path = "../system/changes.rs"]
mod changes;
mod churn;
#[path = "../system/client.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod client;
mod crashes;
mod descriptors;
mod exhaustion;
mod flock;
mod floods;
mod forged;
mod handshakes;
#[path = "../system/lab.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod lab;
#[path = "../system/malformed.rs"]
mod malformed;
mod memory;
#[path = "../system/namespace.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod namespace;
mod reloads;
#[path = "../system/running.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod running;
#[path = "../system/scale.rs"]
mod scale;
#[path = "../system/sniffer.rs"]
#[allow(dead_code, reason = "shared with tests/system")]
mod sniffer;
mod soak;
mod trend;
mod upgrades;
mod vitals;
