//! The cases: one file for each part of the relay. A case has a fixed seed and fixed inputs, and the same count each time.

mod forward;
mod messages;
mod net;
mod server;
mod stream;
mod wire;

use crate::count::Counter;

/// Runs every case.
pub(crate) fn run(counter: &mut Counter) -> anyhow::Result<()> {
    wire::run(counter)?;
    forward::run(counter)?;
    server::run(counter)?;
    net::run(counter)?;
    stream::run(counter)
}
