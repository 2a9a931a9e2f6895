//! Who may make nothing new on this relay, although their credentials have not ended.
//!
//! Responsible for taking a newer list and refusing an older one, for telling every worker, and for the file that the list
//! survives a restart in. Not responsible for what the list means to a request (`taciturn_protocol::credentials`).
//!
//! A list comes whole, with the epoch and version of its last change: two controllers that change it at once cannot both be
//! newer. Nobody's name leaves this module but in `GET /v1/revocations`: logs and metrics say how many there are.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use taciturn_protocol::credentials::{ListVersion, RevocationError, RevocationList, Revocations};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::metrics::{Family, Source};
use crate::state_file::{StateFile, invalid};
use crate::worker::{self, Message, Outbox};

const NAME: &str = "revocations.json";

/// The list in force, and where it is kept.
#[derive(Debug)]
pub struct RevocationControl {
    state: Mutex<State>,
    /// One list after another: what is told to the workers last is what is kept.
    turn: tokio::sync::Mutex<()>,
    file: Option<Arc<StateFile>>,
    outboxes: Vec<Outbox>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    list: RevocationList,
    /// Whether the file says the same.
    kept: bool,
}

/// The list for the status of the relay, without anybody's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RevocationStatus {
    /// Its epoch and version.
    #[serde(flatten)]
    pub stamp: ListVersion,
    /// Users in it.
    pub users: usize,
    /// Secrets in it.
    pub key_ids: usize,
    /// Whether it goes on after a restart.
    pub survives_restart: bool,
}

/// Why a list is not taken. Nothing has been changed then, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationRefused {
    /// A newer one is in force.
    #[error(
        "epoch {} version {} is older than epoch {} version {}, which is in force; GET it, and send a newer one",
        given.epoch, given.version, held.epoch, held.version
    )]
    Older {
        /// What came.
        given: ListVersion,
        /// What is in force.
        held: ListVersion,
    },
    /// Another one of the same version is in force.
    #[error("another list of epoch {} version {} is in force; send a newer version", held.epoch, held.version)]
    Another {
        /// What is in force.
        held: ListVersion,
    },
    /// It cannot be used.
    #[error("the list has {0}")]
    List(RevocationError),
    /// A worker is stuck, or the relay is ending.
    #[error(
        "a worker does not answer; the relay is overloaded or ending, and the list may be in force in part"
    )]
    Unanswered,
}

impl RevocationControl {
    /// The list of the last run. A file that cannot be read is reported and put aside: a relay that served nobody would be
    /// worse, and whoever keeps the list sees that this relay has another.
    pub fn open(directory: Option<&Path>, outboxes: Vec<Outbox>, clock: Clock) -> Self {
        let file = directory
            .map(|directory| Arc::new(StateFile::new(directory, NAME, RevocationList::BYTES)));
        let mut state = State {
            kept: file.is_some(),
            ..State::default()
        };
        match file.as_deref().map(read) {
            Some(Ok(list)) => state.list = list,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                warn!(
                    file = %file.as_ref().map(|file| file.path()).unwrap_or_default().display(),
                    %error,
                    "the kept revocations cannot be read: nobody is revoked until a controller says so; the file is put aside"
                );
                if let Some(file) = &file {
                    file.put_aside();
                }
            }
            Some(Err(_)) | None => {}
        }
        if !state.list.is_empty() {
            info!(
                users = state.list.users.len(),
                key_ids = state.list.key_ids.len(),
                epoch = state.list.epoch,
                version = state.list.version,
                "revocations of before the restart are in force"
            );
        }
        Self {
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            file,
            outboxes,
            clock,
        }
    }

    /// What the workers judge by, before their first packet.
    pub fn in_force(&self) -> Arc<Revocations> {
        Arc::new(Revocations::of(&self.lock().list))
    }

    /// The list.
    pub fn list(&self) -> RevocationList {
        self.lock().list.clone()
    }

    /// What can be shown of it.
    pub fn status(&self) -> RevocationStatus {
        let state = self.lock();
        RevocationStatus {
            stamp: state.list.stamp(),
            users: state.list.users.len(),
            key_ids: state.list.key_ids.len(),
            survives_restart: state.kept,
        }
    }

    /// Puts `list` in force in every worker, and then keeps it. One that is in force already is told again.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn replace(&self, mut list: RevocationList) -> Result<(), RevocationRefused> {
        list.check().map_err(RevocationRefused::List)?;
        let _turn = self.turn.lock().await;
        let held = self.list();
        let (given, stamp) = (list.stamp(), held.stamp());
        list.forget_ended(self.clock.unix());
        if given < stamp {
            return Err(RevocationRefused::Older { given, held: stamp });
        }
        if given == stamp && !says_the_same(&held, &list, self.clock.unix()) {
            return Err(RevocationRefused::Another { held: stamp });
        }
        let revocations = Arc::new(Revocations::of(&list));
        {
            let mut state = self.lock();
            state.list = list.clone();
            state.kept = false;
        }
        let told = worker::ask(&self.outboxes, |answer| {
            Message::Revoke(Arc::clone(&revocations), answer)
        })
        .await;
        self.keep(list).await;
        if told.is_none() {
            return Err(RevocationRefused::Unanswered);
        }
        if given != stamp {
            let status = self.status();
            info!(
                users = status.users,
                key_ids = status.key_ids,
                epoch = given.epoch,
                version = given.version,
                "revocations are in force"
            );
        }
        Ok(())
    }

    /// Writes it where waiting for the disk keeps nobody else waiting.
    async fn keep(&self, list: RevocationList) {
        let Some(file) = self.file.clone() else {
            return;
        };
        let written = tokio::task::spawn_blocking(move || {
            let text = serde_json::to_vec(&list).map_err(io::Error::other)?;
            file.write(&text)
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = &written {
            warn!(%error, "the revocations cannot be kept: they are in force, and would not survive a restart");
        }
        self.lock().kept = written.is_ok();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for RevocationControl {
    fn families(&self) -> Vec<Family> {
        let status = self.status();
        vec![
            Family::gauges(
                "taciturn_relay_revocations",
                "Users and shared secrets whose credentials make no new allocations.",
                ["kind"],
                [("user", status.users), ("key", status.key_ids)]
                    .map(|(kind, count)| ([kind], count as u64)),
            ),
            Family::gauge(
                "taciturn_relay_revocations_version",
                "Version of the list of revocations that is in force; 0 without one.",
                status.stamp.version,
            ),
        ]
    }
}

/// Whether two lists of one version refuse the same, now that some of what was in them may have ended.
fn says_the_same(
    held: &RevocationList,
    given: &RevocationList,
    now: taciturn_protocol::time::UnixTime,
) -> bool {
    let mut held = held.clone();
    held.forget_ended(now);
    Revocations::of(&held) == Revocations::of(given)
}

fn read(file: &StateFile) -> io::Result<RevocationList> {
    let list: RevocationList = serde_json::from_slice(&file.read()?).map_err(|error| {
        // What is wrong may have a name in it.
        io::Error::other(format!("no list of revocations in line {}", error.line()))
    })?;
    list.check()
        .map_err(|_| invalid("it has entries that the relay does not write"))?;
    Ok(list)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
