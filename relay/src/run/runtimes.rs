//! The threads for everything that is not packets.
//!
//! Responsible for how many there are, for letting packets go first, and for their end. Not responsible for what runs there.

use std::time::Duration;

use tokio::runtime::{Handle, Runtime};

use super::StartError;

/// What control threads add to the process's niceness: packets go first, and then those who ask how the relay is.
const FRONT_NICENESS: i32 = 10;
pub(crate) const ADMIN_NICENESS: i32 = 5;

/// How long the end of the handshakes is waited for at a stop. Each is a millisecond of arithmetic.
const FRONT_TIME: Duration = Duration::from_secs(1);

/// The control runtimes.
#[derive(Debug)]
pub(super) struct Runtimes {
    /// Handshakes.
    pub(super) front: Runtime,
    /// The admin API, which answers while handshakes flood.
    pub(super) admin: Runtime,
}

impl Runtimes {
    /// Two threads for handshakes, each of which is a millisecond of arithmetic, and one for the admin API.
    pub(super) fn start() -> Result<Self, StartError> {
        Ok(Self {
            front: runtime("control", 2, FRONT_NICENESS)?,
            admin: runtime("admin", 1, ADMIN_NICENESS)?,
        })
    }

    /// Ends both. Nothing that still runs there owns anything that would be lost, but the listeners' addresses are only
    /// free once their tasks are gone. Inside another runtime there is no waiting.
    pub(super) fn end(self) {
        if Handle::try_current().is_err() {
            self.front.shutdown_timeout(FRONT_TIME);
        } else {
            self.front.shutdown_background();
        }
        self.admin.shutdown_background();
    }
}

fn runtime(name: &str, threads: usize, niceness: i32) -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .on_thread_start(move || {
            // On Linux this is the calling thread's alone. Being nicer needs no privilege; without it, all goes on.
            let _ = rustix::process::nice(niceness);
        })
        .enable_all()
        .build()
        .map_err(StartError::system("a control runtime cannot be started"))
}
