//! The loop: observe, plan, apply, remember, publish; owns the clock.
//!
//! Responsible for the order of a round, for rounds that neither overlap nor hang, for orders of operators, reloads and the
//! end of the process, and for what others may read ([`Published`]). Not responsible for decisions (`policy`), nor for the
//! API (`api`), which reads what is published and nothing else.

mod controller;
mod counters;
mod diary;
mod handle;
mod look;
mod published;
mod revoking;
mod season_file;

pub use controller::{Controller, Parts, Reread, Settings};
pub use counters::{Counters, Histogram, outcome_word};
pub use handle::{Handle, Order, Wish};
pub use published::{Decision, Published, Tried};
pub use revoking::{Delivered, NotRevoked, Revoking};

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
