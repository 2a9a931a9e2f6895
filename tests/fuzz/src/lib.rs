//! What may be asked of everything that reads bytes from outside: one function for each, from an input to nothing, that panics
//! where a property does not hold.
//!
//! ```text
//!   corpus/<target>/* ---- tests/replay.rs, with every `cargo test`
//!   libFuzzer         ---- fuzz_targets/<target>.rs, by scripts/fuzz      ----> TARGETS: fn(&[u8])
//! ```
//!
//! Responsible for properties: round trips, agreement with a naive reading, bounds, invariants after each step. That nothing
//! panics, hangs or grows is asked of every input besides. Not responsible for finding inputs.
#![forbid(unsafe_code)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers out of an input are cut to what is asked for"
)]

pub mod authentication;
pub mod bytes;
#[cfg(feature = "controller")]
pub mod controller;
#[cfg(feature = "controller")]
pub mod controller_api;
pub mod credentials;
pub mod framing;
#[cfg(feature = "plane")]
pub mod http;
pub mod naive;
pub mod operations;
pub mod peers;
#[cfg(feature = "plane")]
pub mod plane;
#[cfg(feature = "relay")]
pub mod relay;
pub mod uri;
#[cfg(feature = "libfuzzer")]
pub mod watch;
pub mod wire;

/// One thing that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its binary, of its corpus, in results.
    pub name: &'static str,
    /// Tries one input.
    pub run: fn(&[u8]),
    /// The longest input that is tried, in bytes.
    pub longest: usize,
}

/// Everything that is fuzzed, with the features of this build.
pub const TARGETS: &[Target] = &[
    target("wire_decode", wire::decode, 256),
    target("wire_round_trip", wire::round_trip, 256),
    target("channel_data", wire::channel_data, 64),
    target("stream_framing", framing::stream, 192),
    target("rest_username", credentials::rest_username, 96),
    target("nonce", credentials::nonce, 128),
    target("static_keys", credentials::static_keys, 256),
    target("address_canonical", peers::address, 23),
    target("turn_uri", uri::turn, 96),
    target("authentication", authentication::request, 192),
    target("server_operations", operations::run, 512),
    #[cfg(feature = "plane")]
    target("certificate", plane::certificate, 1024),
    #[cfg(feature = "plane")]
    target("query", plane::query, 64),
    #[cfg(feature = "plane")]
    target("admin_http", plane::admin, 512),
    #[cfg(feature = "relay")]
    target("relay_config", relay::configuration, 2048),
    #[cfg(feature = "controller")]
    target("controller_config", controller::configuration, 2048),
    #[cfg(feature = "controller")]
    target("relay_status", controller::relay_status, 1024),
    #[cfg(feature = "controller")]
    target("signed_texts", controller::signed, 512),
    #[cfg(feature = "controller")]
    target("audit_trail", controller::trail, 1024),
    #[cfg(feature = "controller")]
    target("controller_http", controller_api::connection, 512),
    #[cfg(feature = "controller")]
    target("duration", controller::duration, 32),
];

const fn target(name: &'static str, run: fn(&[u8]), longest: usize) -> Target {
    Target { name, run, longest }
}
