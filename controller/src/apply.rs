//! Carries out a plan; no choices left.
//!
//! Responsible for the order, for looking again right before what cannot be undone, for bounds in time, and for writing down
//! what was meant and what came of it. Not responsible for what is done or why (`policy`).
//!
//! Nothing is begun unless the lease is held at that moment for longer than the thing can take, in the epoch in which it was
//! decided; what was not begun is left out of the outcomes, and the next round plans anew. A safety check that fails stops
//! the action, never the check.

mod end;
mod hands;
mod one;
mod requests;

pub use hands::{Hands, apply};
pub use requests::{Requests, provider_code, relay_code};

/// Where every decision, action and outcome is written down.
pub trait AuditSink: Send + Sync + std::fmt::Debug {
    /// Appends one entry and has it on the disk when it returns.
    ///
    /// # Errors
    /// It could not be written, in words. Nothing is taken away then: a removal that cannot be shown afterwards is not begun.
    fn append(&self, kind: &str, body: &serde_json::Value) -> Result<(), String>;
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
