//! What the relay tells the program that started it, in the protocol of systemd (sd_notify), which others speak too.
//!
//! Responsible for the messages, and for the watchdog's honesty: it is fed only while every worker answers. Not responsible
//! for deciding what the relay's state is, nor for the sockets that a supervisor hands over (`run::inherited`).
//!
//! ```text
//!  start      READY=1
//!  reload     RELOADING=1 MONOTONIC_USEC=... , then READY=1 whether it succeeded or not
//!  any time   STATUS=... , one line for `systemctl status`
//!  drain      EXTEND_TIMEOUT_USEC=... where the supervisor has asked for the stop, so that it waits for the calls
//!  stop       STOPPING=1
//! ```
//!
//! # Why a worker that hangs may cost the whole relay
//!
//! A worker that does not answer within [`Supervisor::watch`]'s time is not slow: it looks at its inbox in every round, and
//! a round is a few milliseconds of bounded work. It carries no packet any more, its clients' calls are dead already, and
//! the kernel goes on spreading new clients to it, who get no answer. A restart ends the calls of the other workers too,
//! which is the price: those clients reconnect within seconds, while the clients of the dead worker never would.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::worker::{Message, Outbox};

/// Longest status line, in bytes; `systemctl status` shows one line.
const STATUS_BYTES: usize = 200;
/// How long a supervisor whose queue is full is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The program that started the relay, where there is one that wants to hear of it.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// Its socket, as `NOTIFY_SOCKET` names it.
    socket: Option<OsString>,
    /// Whether it has been logged that it cannot be told.
    complained: Arc<AtomicBool>,
}

/// Feeds the supervisor's watchdog. Dropping it stops that.
#[derive(Debug)]
pub struct Watch {
    _stop: Sender<()>,
}

impl Supervisor {
    /// The one that the environment names (`NOTIFY_SOCKET`), if any.
    pub fn of_environment() -> Self {
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()),
            complained: Arc::default(),
        }
    }

    /// One that listens on the abstract socket of this name.
    #[cfg(test)]
    pub(crate) fn at(name: &str) -> Self {
        Self {
            socket: Some(format!("@{name}").into()),
            complained: Arc::default(),
        }
    }

    /// None: nothing that is said is sent.
    pub fn absent() -> Self {
        Self {
            socket: None,
            complained: Arc::default(),
        }
    }

    /// The relay serves: after its start, and after every reload, whether that succeeded or not.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// A reload begins. [`Supervisor::ready`] must follow, or the supervisor takes the relay for stuck.
    pub fn reloading(&self) {
        // Without the time systemd (`Type=notify-reload`) could not tell this reload from an earlier one.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => self.complain(&error),
        }
    }

    /// One line for people, such as `draining: 12 allocations left`. Cut at 200 bytes and at the first line break.
    pub fn status(&self, text: &str) {
        let line = text.lines().next().unwrap_or_default();
        let cut = line.floor_char_boundary(STATUS_BYTES);
        self.tell(&[NotifyState::Status(&line[..cut])]);
    }

    /// The relay may take this long from now to stop, whatever the unit's `TimeoutStopSec=` says. Only to be told when the
    /// stop has been asked for (SIGTERM); must be told before the earlier time has passed.
    pub fn extend_stop(&self, at_most: Duration) {
        let extension = format!("EXTEND_TIMEOUT_USEC={}", at_most.as_micros());
        self.tell(&[NotifyState::Custom(&extension)]);
    }

    /// The relay stops now: it serves nobody from here on. Not to be told when a drain begins, as a drain can be undone
    /// and this cannot: the supervisor then waits no longer than its time for stopping.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// Feeds the watchdog that the environment asks for (`WATCHDOG_USEC`): at half of its time, after every worker has
    /// answered since the last time. `None` where none is asked for.
    ///
    /// A thread of its own, so that nothing but a worker that hangs can make the supervisor restart the relay: an admin
    /// API that hangs carries no calls.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn watch(&self, workers: &[Outbox]) -> io::Result<Option<Watch>> {
        let Some(limit) = sd_notify::watchdog_enabled().filter(|_| self.socket.is_some()) else {
            return Ok(None);
        };
        let supervisor = self.clone();
        let watch = Watch::begin(workers.to_vec(), limit / 2, move || {
            supervisor.tell(&[NotifyState::Watchdog]);
        })?;
        info!(seconds = limit.as_secs_f64(), "watched by the supervisor");
        Ok(Some(watch))
    }

    fn tell(&self, messages: &[NotifyState<'_>]) {
        let Some(name) = &self.socket else {
            return;
        };
        if let Err(error) = send(name, messages) {
            self.complain(&error);
        }
    }

    /// Once, as the same is true for every message.
    fn complain(&self, error: &io::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            warn!(%error, "the supervisor cannot be told how the relay is (NOTIFY_SOCKET)");
        }
    }
}

/// Sends one datagram, a line for each message. A name that begins with @ is one of Linux's abstract names.
///
/// Not `sd_notify::notify`, which waits for ever for a supervisor that has stopped reading: the relay's drain and its end
/// must not wait with it.
fn send(name: &OsStr, messages: &[NotifyState<'_>]) -> io::Result<()> {
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

impl Watch {
    fn begin(
        workers: Vec<Outbox>,
        interval: Duration,
        feed: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                while all_answer(&workers) {
                    feed();
                    if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })?;
        Ok(Self { _stop: stop })
    }
}

/// Waits until every worker has answered, however long that takes; `false` when one has ended, as all do at a stop.
fn all_answer(workers: &[Outbox]) -> bool {
    let ask = |worker: &Outbox| {
        let (sender, answer) = oneshot::channel();
        worker.send(Message::Load(sender));
        answer
    };
    let answers: Vec<_> = workers.iter().map(ask).collect();
    answers
        .into_iter()
        .all(|answer| answer.blocking_recv().is_ok())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use taciturn_protocol::status::Load;

    use super::*;
    use crate::worker::Inbox;

    /// The next question, which comes soon.
    fn question(inbox: &Inbox) -> oneshot::Sender<Load> {
        for _ in 0..2000 {
            if let Some(Message::Load(answer)) = inbox.message() {
                return answer;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("no worker was asked");
    }

    #[test]
    fn the_watchdog_is_fed_after_every_worker_has_answered_and_not_before() {
        let (one, to_one) = Inbox::new().unwrap();
        let (other, to_other) = Inbox::new().unwrap();
        let (sender, fed) = mpsc::channel();
        let feed = move || sender.send(()).unwrap_or_default();
        let watch = Watch::begin(vec![to_one, to_other], Duration::from_millis(1), feed).unwrap();
        for _ in 0..3 {
            question(&one).send(Load::default()).unwrap();
            let hangs = question(&other);
            thread::sleep(Duration::from_millis(20));
            assert!(fed.try_recv().is_err(), "fed while a worker hangs");
            hangs.send(Load::default()).unwrap();
            fed.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        // It ends when it is dropped, whether a worker answers or not.
        drop(watch);
        drop((one, other));
        assert_eq!(
            fed.recv_timeout(Duration::from_secs(10)),
            Err(RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn a_worker_that_has_ended_is_no_answer() {
        let (inbox, outbox) = Inbox::new().unwrap();
        assert!(all_answer(&[]));
        drop(inbox);
        assert!(!all_answer(&[outbox]));
    }

    fn told(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn listening(name: &str) -> (UnixDatagram, Supervisor) {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        (socket, Supervisor::at(name))
    }

    #[test]
    fn messages_are_lines_of_one_datagram() {
        let name = format!("taciturn-supervisor-lines-{}", std::process::id());
        let (socket, supervisor) = listening(&name);
        supervisor.ready();
        assert_eq!(told(&socket), "READY=1\n");
        supervisor.reloading();
        let reloading = told(&socket);
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(
            time.unwrap().trim_end().parse::<u64>().unwrap() > 0,
            "{reloading}"
        );
        supervisor.extend_stop(Duration::from_secs(5400));
        assert_eq!(told(&socket), "EXTEND_TIMEOUT_USEC=5400000000\n");
        // Nothing of a status is taken for another message, and no letter is cut in two.
        supervisor.status("draining\nREADY=1");
        assert_eq!(told(&socket), "STATUS=draining\n");
        supervisor.status(&"é".repeat(300));
        assert_eq!(told(&socket), format!("STATUS={}\n", "é".repeat(100)));
        supervisor.stopping();
        assert_eq!(told(&socket), "STOPPING=1\n");
        assert!(!supervisor.complained.load(Ordering::Relaxed));
    }

    #[test]
    fn a_supervisor_that_has_stopped_reading_holds_nobody_up_for_ever() {
        let name = format!("taciturn-supervisor-deaf-{}", std::process::id());
        let (_socket, supervisor) = listening(&name);
        // Enough for the longest queue that Linux has by default, and then one more.
        for _ in 0..2000 {
            if supervisor.complained.load(Ordering::Relaxed) {
                break;
            }
            supervisor.ready();
        }
        assert!(supervisor.complained.load(Ordering::Relaxed));
    }

    #[test]
    fn nobody_is_told_where_there_is_no_supervisor() {
        let supervisor = Supervisor::absent();
        supervisor.ready();
        supervisor.reloading();
        assert!(supervisor.watch(&[]).unwrap().is_none());
        assert!(!supervisor.complained.load(Ordering::Relaxed));
    }
}
