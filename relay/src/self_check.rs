//! The relay as its own client: it allocates through its own listeners, one after the other, and relays a few bytes.
//!
//! Responsible for when and what is checked, and for telling what was found. Not responsible for being a client (`probe`)
//! nor for what follows from a failure (`readiness`).

mod findings;
mod sources;

pub use findings::{Advertised, Findings, Outcome, PathState, Picture};
pub use sources::{SelfCheckSource, SelfCheckSources};
