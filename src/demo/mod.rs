//! `taciturn demo`: what Taciturn does, on this machine, with nothing to configure.
//!
//! ```text
//!   fleet        a controller that launches, drains and ends relays in three pretended zones, and calls that rise and fall
//!   relay_only   one relay, which checks itself
//!   page         a page that holds a call through either of them
//! ```
//!
//! Not responsible for relays and controller, which are the same as `taciturn relay` and `taciturn controller` run.

mod certificate;
#[cfg(feature = "controller")]
mod fleet;
mod page;
mod relay_only;
mod settings;

use std::io::Write as _;

use crate::cli::DemoOptions;

#[cfg(feature = "controller")]
pub(crate) fn run(options: DemoOptions) -> anyhow::Result<()> {
    if options.relay_only {
        relay_only::run(options)
    } else {
        fleet::run(options)
    }
}

/// Without the controller there are only relays.
#[cfg(not(feature = "controller"))]
pub(crate) fn run(options: DemoOptions) -> anyhow::Result<()> {
    relay_only::run(options)
}

/// Prints a line; a reader that has gone away ends the demo like any other.
fn println(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
