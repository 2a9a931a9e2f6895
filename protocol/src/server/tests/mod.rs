//! Scenarios through the pure server on virtual time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a missing answer is the failure that a scenario looks for"
)]

mod allocate;
mod authenticate;
mod bandwidth;
mod channels;
mod determinism;
mod elsewhere;
mod forwarding;
mod framing;
mod guessing;
mod icmp;
mod model;
mod permissions;
mod refresh;
mod replace;
mod reservations;
mod revocations;
mod sim;
mod snapshot;
mod synthetic;
mod tallies;
mod wraps;
