//! The signals that a supervisor sends.
//!
//! Responsible for catching them from before the relay starts, so that none of them kills it half-way. Not responsible
//! for what draining means (`drain`).

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::drain::{DrainControl, DrainSource, Ending};
use crate::supervisor::Supervisor;

/// How much longer than the drain the supervisor is asked to wait: what ending takes on a busy machine, and more.
const STOP_MARGIN: Duration = Duration::from_secs(30);

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
            .enable_all()
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

    /// Waits until a signal has told the relay to end and its drain is over, and returns why it ends.
    ///
    /// SIGTERM and the first SIGINT begin a drain; the process ends with its last allocation, at once when there is none.
    /// A second SIGINT is somebody at the keyboard who does not want to wait. A second SIGTERM says nothing new. Each SIGHUP
    /// asks for the configuration to be read again: `reload` must not block.
    pub(crate) fn wait_for_end(
        self,
        drain: &DrainControl,
        supervisor: &Supervisor,
        mut reload: impl FnMut(),
    ) -> Ending {
        let Self {
            runtime,
            mut terminate,
            mut interrupt,
            mut hangup,
        } = self;
        runtime.block_on(async {
            let mut interrupted = false;
            loop {
                tokio::select! {
                    _ = terminate.recv() => stop(drain, supervisor, "SIGTERM"),
                    _ = interrupt.recv() => {
                        // A drain that was undone in between has made the first one void.
                        if interrupted && drain.is_stopping() {
                            return Ending::Interrupted;
                        }
                        interrupted = true;
                        stop(drain, supervisor, "SIGINT");
                    }
                    _ = hangup.recv() => reload(),
                    ending = drain.ended() => return ending,
                }
            }
        })
    }
}

/// Begins the drain at whose end the process ends.
fn stop(drain: &DrainControl, supervisor: &Supervisor, signal: &'static str) {
    if drain.is_stopping() {
        info!(
            signal,
            allocations = drain.allocations(),
            "stopping already: waiting for the last allocation or the deadline"
        );
        return;
    }
    match drain.begin_now(DrainSource::Signal, signal) {
        Ok(()) => supervisor.extend_stop(drain.stop_after() + STOP_MARGIN),
        // The signals are only waited for once the relay serves, and the order is our own.
        Err(error) => warn!(signal, %error, "the drain cannot begin"),
    }
    if drain.allocations() > 0 && !drain.stop_after().is_zero() {
        info!(
            signal,
            allocations = drain.allocations(),
            "stopping when the last allocation has ended; a second SIGINT stops at once, DELETE /v1/drain goes on serving"
        );
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;
    use crate::drain;

    // One test, as signals are the whole process's.
    #[test]
    fn a_signal_during_start_is_kept_and_a_hangup_asks_for_a_reload() {
        let signals = Signals::catch().unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        let (idle, _) = drain::fixture(0);
        let ending = signals.wait_for_end(&idle, &Supervisor::absent(), || {
            kill_process(getpid(), Signal::TERM).unwrap();
        });
        assert_eq!(ending, Ending::Drained);
        assert!(idle.is_stopping());

        let signals = Signals::catch().unwrap();
        let (busy, _) = drain::fixture(1);
        kill_process(getpid(), Signal::INT).unwrap();
        let again = std::thread::spawn({
            let busy = std::sync::Arc::clone(&busy);
            move || {
                while !busy.is_stopping() {
                    std::thread::yield_now();
                }
                kill_process(getpid(), Signal::INT).unwrap();
            }
        });
        let ending = signals.wait_for_end(&busy, &Supervisor::absent(), || {});
        assert_eq!(ending, Ending::Interrupted);
        again.join().unwrap();
    }
}
