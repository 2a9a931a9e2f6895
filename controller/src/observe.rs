//! Reality to [`Fleet`](crate::fleet::Fleet): what the provider lists, what the relays say, and how fresh it is.
//!
//! Responsible for asking (`client`, within bounds), for reading what comes back without trust (`report`), and for putting it
//! together ([`Picture`], which is pure, so that a simulation sees a fleet through the same eyes). Not responsible for what
//! follows from it (`policy`).

mod client;
mod memory;
mod picture;
mod relays;
mod report;
mod stun;

pub(crate) use client::{Answer, talk};
pub use client::{ClientError, RelayClient};
pub use picture::{Mark, Picture};
pub use relays::{DrainOrder, DryRunRelays, RelayError, Relays};
pub use report::{REPORT_BYTES, ReportError, report};
