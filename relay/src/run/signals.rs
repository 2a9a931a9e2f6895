//! The signals that a supervisor sends.
//!
//! Responsible for catching them from before the relay starts, so that none of them kills it half-way. Not responsible
//! for what stopping means (`run`).

use std::io;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

/// The signals, caught from the moment this is made.
#[derive(Debug)]
pub(crate) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP; those that come before anybody waits are kept.
    pub(crate) fn catch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let inside = runtime.enter();
        let (terminate, interrupt, hangup) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        );
        drop(inside);
        Ok(Self {
            runtime,
            terminate,
            interrupt,
            hangup,
        })
    }

    /// Waits until the relay is told to stop, and returns the name of the signal that told it.
    ///
    /// SIGHUP asks a daemon to read its configuration again. This one cannot yet, and the calls that it carries are worth
    /// more than what the signal does by default, which is to end it.
    pub(crate) fn wait_for_stop(self) -> &'static str {
        let Self {
            runtime,
            mut terminate,
            mut interrupt,
            mut hangup,
        } = self;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return "SIGTERM",
                    _ = interrupt.recv() => return "SIGINT",
                    _ = hangup.recv() => warn!(
                        signal = "SIGHUP",
                        "ignored: the configuration cannot be reloaded yet; restart the relay to apply changes"
                    ),
                }
            }
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn a_signal_during_start_is_kept_and_a_hangup_is_survived() {
        let signals = Signals::catch().unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(signals.wait_for_stop(), "SIGTERM");
    }
}
