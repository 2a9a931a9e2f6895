//! What the controller tells the program that started it, in the protocol of systemd (sd_notify).
//!
//! Responsible for the messages, and for the watchdog's honesty: it is fed by rounds that came to their end, and by nothing
//! else. Not responsible for rounds.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::reconcile::Published;

/// Longest status line, in bytes; `systemctl status` shows one line.
const STATUS_BYTES: usize = 200;
/// How long a supervisor whose queue is full is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The program that started the controller, where there is one that wants to hear of it.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    /// Its socket, as `NOTIFY_SOCKET` names it.
    socket: Option<OsString>,
}

impl Supervisor {
    /// The one that the environment names, if any.
    pub(super) fn of_environment() -> Self {
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()),
        }
    }

    /// The API answers and the loop runs.
    pub(super) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// A reload begins.
    pub(super) fn reloading(&self) {
        // Without the time systemd (`Type=notify-reload`) could not tell this reload from an earlier one.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// A round has come to its end.
    pub(super) fn round(&self, latest: &Published) {
        let line = latest.plan.summary.lines().next().unwrap_or_default();
        let line = &line[..line.floor_char_boundary(STATUS_BYTES)];
        self.tell(&[NotifyState::Status(line), NotifyState::Watchdog]);
    }

    /// The controller stops.
    pub(super) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    fn tell(&self, messages: &[NotifyState<'_>]) {
        let Some(name) = &self.socket else {
            return;
        };
        if let Err(error) = send(name, messages) {
            warn!(%error, "the supervisor cannot be told");
        }
    }
}

/// Sends one datagram, a line for each message; without waiting for a supervisor that has stopped reading.
fn send(name: &OsString, messages: &[NotifyState<'_>]) -> io::Result<()> {
    let lines: String = messages
        .iter()
        .map(|message| format!("{message}\n"))
        .collect();
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    socket.send_to_addr(lines.as_bytes(), &address).map(drop)
}
