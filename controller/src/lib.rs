//! The fleet controller: moves machines, never packets.
//!
//! ```text
//!   observe: provider, relays ---> Fleet ---> policy::plan (pure) ---> Plan ---> apply: provider, relays
//!                                   ^                                   |
//!                                   +------------- History <------------+          reconcile owns the loop and the clock
//! ```
//!
//! Responsible for having enough relays, in allowed zones, and for taking those away that are not needed, without cutting a
//! call. Not responsible for calls: relays carry them, and go on while no controller runs.
//!
//! What decides ([`fleet`], [`policy`], the pure half of [`observe`]) reads no clock, no socket and no randomness, so that
//! every scenario replays; `simulate` lives on that.
#![forbid(unsafe_code)]

pub mod api;
pub mod apply;
pub mod audit;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod doctor;
pub mod durations;
pub mod fleet;
pub mod lease;
pub mod metrics;
pub mod observe;
pub mod onlooker;
pub mod overview;
pub mod policy;
pub mod provider;
pub mod reconcile;
pub mod revocations;
pub mod run;
pub mod self_test;
mod shown;
pub mod simulate;
pub mod trend;
mod words;
