//! When to reload: the thread that waits for changed files, for SIGHUP and for changed interfaces.
//!
//! ```text
//!  a directory has changed --> other contents? --> wait until the files are still --> reload
//!  every 30 s (where changes are not reported)              ----> other contents? --> reload
//!  SIGHUP                                                            -------------> reload
//!  every 5 s                                              --> other own addresses? --> judge peers again
//! ```
//!
//! Responsible for when, and for the log of how it went. Not responsible for what is read (`files`) nor for putting it in
//! force (`Reload::apply`).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use taciturn_protocol::time::Instant;
use tracing::{error, info, warn};

use crate::config::{Config, ConfigError, ConfigWarning};
use crate::run::ADMIN_NICENESS;
use crate::supervisor::Supervisor;

use super::files::{Files, Picture};
use super::limited::Limited;
use super::{Outcome, Reload};

/// The interfaces are looked at this often: nothing tells when one is given an address.
const INTERFACES_EVERY: Duration = Duration::from_secs(5);
/// The files are looked at this often even when nothing says that they have changed: on some file systems nothing does.
const FILES_EVERY: Duration = Duration::from_secs(30);
/// Files that stay as they are for this long have been written to their end. In a directory where much else happens they
/// are looked at no more often than this.
const STILL: Duration = Duration::from_millis(100);
/// Looks until files that never are still are read all the same.
const LOOKS: u32 = 50;
/// Readings of files that somebody is writing to before they are given up until the next change.
const READINGS: u32 = 20;
/// Lines for one refusal; a file that is no configuration at all would have as many as it has lines.
const LINES: usize = 50;

/// What makes the thread look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Something in the directories of the files has changed.
    Files,
    /// SIGHUP: somebody asks for it.
    Hangup,
    /// The relay stops.
    Stop,
}

/// The thread that reloads. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watching {
    triggers: Sender<Trigger>,
    thread: Option<JoinHandle<()>>,
}

impl Watching {
    /// Watches the files of the configuration in force, whose first is the configuration itself.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(reload: Arc<Reload>, supervisor: Supervisor) -> io::Result<Self> {
        let (triggers, triggered) = mpsc::channel();
        let noticed = Arc::new(AtomicBool::new(false));
        let watcher = watcher(triggers.clone(), Arc::clone(&noticed));
        let thread = thread::Builder::new().name("reload".to_owned());
        let thread = thread.spawn(move || {
            // Of this thread alone; packets go first. Without the privilege all goes on.
            let _ = rustix::process::nice(ADMIN_NICENESS);
            if let Some(watch) = Watch::new(reload, supervisor, watcher, noticed) {
                watch.run(&triggered);
            }
        })?;
        Ok(Self {
            triggers,
            thread: Some(thread),
        })
    }

    /// What wakes the thread.
    pub(crate) fn triggers(&self) -> Sender<Trigger> {
        self.triggers.clone()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.triggers.send(Trigger::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reports changes within directories; `None` where the system cannot, and only the slow look is left.
fn watcher(triggers: Sender<Trigger>, noticed: Arc<AtomicBool>) -> Option<RecommendedWatcher> {
    let report = move |event: notify::Result<notify::Event>| {
        // One trigger waits at most, whatever happens in the directories.
        if event.is_ok_and(|event| is_change(event.kind)) && !noticed.swap(true, Ordering::SeqCst) {
            // Fails only when the thread is gone.
            let _ = triggers.send(Trigger::Files);
        }
    };
    notify::recommended_watcher(report)
        .inspect_err(warn_of_slow_looks)
        .ok()
}

/// Reading is no change: our own looks would be reported too.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn warn_of_slow_looks(error: &notify::Error) {
    warn!(
        %error,
        seconds = FILES_EVERY.as_secs(),
        "changes of the configuration's files are not reported: they are looked at now and then; raise \
         fs.inotify.max_user_instances and max_user_watches"
    );
}

/// What the thread has.
struct Watch {
    reload: Arc<Reload>,
    supervisor: Supervisor,
    watcher: Option<RecommendedWatcher>,
    /// Whether a trigger about the files is on its way.
    noticed: Arc<AtomicBool>,
    files: Files,
    /// The files as they were when they had been still.
    settled: Option<Picture>,
    limited: Limited,
    complained: bool,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    GoOn,
    Stop,
}

impl Watch {
    /// `None` for a configuration that was not read from a file.
    fn new(
        reload: Arc<Reload>,
        supervisor: Supervisor,
        watcher: Option<RecommendedWatcher>,
        noticed: Arc<AtomicBool>,
    ) -> Option<Self> {
        let files = Files::of(&reload.config())?;
        let limited = Limited::new(reload.parts.clock.instant());
        let mut watch = Self {
            reload,
            supervisor,
            watcher,
            noticed,
            files,
            settled: None,
            limited,
            complained: false,
        };
        watch.follow_directories();
        Some(watch)
    }

    fn run(mut self, triggered: &Receiver<Trigger>) {
        let clock = self.reload.parts.clock;
        let mut interfaces_at = clock.instant() + INTERFACES_EVERY;
        // At once: the files may have changed since they were read, before anybody watched.
        let mut files_at = clock.instant();
        let mut flow = Flow::GoOn;
        while flow == Flow::GoOn {
            let next = interfaces_at.min(files_at);
            flow = match triggered.recv_timeout(next.saturating_since(clock.instant())) {
                Ok(trigger) => self.follow(trigger, triggered),
                Err(RecvTimeoutError::Timeout) => Flow::GoOn,
                Err(RecvTimeoutError::Disconnected) => Flow::Stop,
            };
            let now = clock.instant();
            if flow == Flow::GoOn && due(&mut interfaces_at, now, INTERFACES_EVERY) {
                self.reload.follow_interfaces();
            }
            if flow == Flow::GoOn && due(&mut files_at, now, FILES_EVERY) {
                // A directory that was taken away and made again is not the one that is watched.
                self.follow_directories();
                flow = self.follow(Trigger::Files, triggered);
            }
        }
    }

    fn follow(&mut self, trigger: Trigger, triggered: &Receiver<Trigger>) -> Flow {
        let trigger = match trigger {
            Trigger::Files => {
                // Before the look: what changes after it is another trigger.
                self.noticed.store(false, Ordering::SeqCst);
                self.settle(triggered)
            }
            Trigger::Hangup | Trigger::Stop => Some(trigger),
        };
        match trigger {
            None => {}
            Some(Trigger::Stop) => return Flow::Stop,
            Some(trigger) => self.reload(trigger),
        }
        Flow::GoOn
    }

    /// Waits until files that have changed are still; `None` when they say what they said before.
    fn settle(&mut self, triggered: &Receiver<Trigger>) -> Option<Trigger> {
        let mut before = None;
        for _ in 0..LOOKS {
            if let Some(trigger) = self.wait_still(triggered) {
                return Some(trigger);
            }
            let picture = self.files.look();
            if self.files.changed(&picture).is_empty() {
                return None;
            }
            if before.as_ref() == Some(&picture) {
                self.settled = before;
                break;
            }
            before = Some(picture);
        }
        Some(Trigger::Files)
    }

    /// Lets time pass. Further changes are what it waits for the end of; a signal does not wait.
    fn wait_still(&self, triggered: &Receiver<Trigger>) -> Option<Trigger> {
        let clock = self.reload.parts.clock;
        let until = clock.instant() + STILL;
        loop {
            match triggered.recv_timeout(until.saturating_since(clock.instant())) {
                Ok(Trigger::Files) => self.noticed.store(false, Ordering::SeqCst),
                Ok(trigger) => return Some(trigger),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(Trigger::Stop),
            }
        }
    }

    fn reload(&mut self, trigger: Trigger) {
        let cause = match trigger {
            Trigger::Hangup => "SIGHUP",
            Trigger::Files | Trigger::Stop => "file change",
        };
        self.supervisor.reloading();
        let outcome = self.attempt(cause);
        let now = self.reload.parts.clock.unix();
        self.reload.reloads.note(outcome, now);
        self.supervisor.ready();
        self.follow_directories();
    }

    fn attempt(&mut self, cause: &str) -> Outcome {
        // What was still must be what is read.
        let picture = self.settled.take();
        let picture = picture.unwrap_or_else(|| self.files.look());
        let changed = names(&self.files, &picture);
        if changed.is_empty() && !self.reload.reloads.failed() {
            self.reload.follow_interfaces();
            info!(cause, "the configuration says what it said before");
            return Outcome::Unchanged;
        }
        let mut loaded = self.files.load(&picture);
        for _ in 0..READINGS {
            if loaded.is_some() {
                break;
            }
            let picture = self.files.look();
            thread::sleep(STILL);
            loaded = self.files.load(&picture);
        }
        let config = match loaded {
            Some(Ok(config)) => config,
            Some(Err(errors)) => return self.refuse(cause, errors.as_slice()),
            None => return self.refuse(cause, &[unsteady(&self.reload.config())]),
        };
        let warnings = config.warnings.clone();
        if let Err(errors) = self.reload.apply(config) {
            return self.refuse(cause, &errors);
        }
        info!(cause, files = changed, "a new configuration is in force");
        for ConfigWarning(warning) in warnings.iter().take(LINES) {
            warn!(file = %warning.file.display(), line = warning.line, key = warning.key, "{warning}");
        }
        Outcome::Applied
    }

    /// Says all that is wrong; errors of a configuration never hold anything secret.
    fn refuse(&mut self, cause: &str, errors: &[ConfigError]) -> Outcome {
        let now = self.reload.parts.clock.instant();
        if let Some(suppressed) = self.limited.admit(now) {
            for error in errors.iter().take(LINES) {
                error!(file = %error.file.display(), line = error.line, key = error.key, "{error}");
            }
            error!(
                cause,
                errors = errors.len(),
                refusals_not_logged = suppressed,
                "the configuration is refused whole, and the one before it stays in force"
            );
        }
        Outcome::Refused
    }

    /// Watches the directories in which changes show. They may be others after each reload.
    fn follow_directories(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for directory in self.files.directories() {
            // One that a refused configuration names may not be there: the slow look finds it.
            if !directory.is_dir() {
                continue;
            }
            if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive)
                && !self.complained
            {
                self.complained = true;
                warn_of_slow_looks(&error);
            }
        }
    }
}

/// What is said of files that do not stay as they are for long enough to be read.
fn unsteady(config: &Config) -> ConfigError {
    ConfigError {
        file: config.files.first().cloned().unwrap_or_default(),
        line: 0,
        column: 0,
        key: String::new(),
        value: None,
        problem: "changes while it is read, or a file that it names does".to_owned(),
        remedy: "put whole files in the place of old ones, as mv does".to_owned(),
    }
}

/// Whether it is time, and the next time then.
fn due(at: &mut Instant, now: Instant, every: Duration) -> bool {
    let is_due = now >= *at;
    if is_due {
        *at = now + every;
    }
    is_due
}

/// The files that have changed, by their names.
fn names(files: &Files, now: &Picture) -> String {
    let names = files.changed(now).into_iter().map(Path::to_string_lossy);
    names.collect::<Vec<_>>().join(", ")
}
