//! Users and secrets whose credentials are taken back before they end.
//!
//! Responsible for the list: what may be in it, its version, and the file that it survives a restart in. Not responsible for
//! who may change it (`api`), nor for telling the relays (`reconcile::revoking`), which refuse new allocations by it.
//!
//! The list has its names in it, as there is no other way to refuse a name; nothing else has them. Logs, metrics and the
//! audit trail say how many there are.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use taciturn_protocol::credentials::{
    ListVersion, RevocationError, RevocationList, Revocations as Judged, RevokedKey, RevokedUser,
};
use taciturn_protocol::time::UnixTime;

use crate::credentials::Revoked;

const NAME: &str = "revocations.json";
/// Longest list that is made: relays take one of [`RevocationList::BYTES`], whatever grows in it by being written anew.
const MOST_BYTES: usize = RevocationList::BYTES - 4096;

/// How far, in seconds, the clock of the controller before this one may have been ahead.
const AHEAD: u64 = 24 * 3600;

/// One change of the list.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing new for a user until then; a time that was given before is replaced.
    RevokeUser(RevokedUser),
    /// Nothing new by a secret.
    RevokeKey(RevokedKey),
    /// A user may again.
    LiftUser(String),
    /// A secret may again.
    LiftKey(String),
}

/// Why a change is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// It makes no list that relays take.
    #[error("{0}")]
    List(RevocationError),
    /// The list would be too long for relays.
    #[error(
        "the list would be longer than relays take; lift what is over, or revoke the secret and use another"
    )]
    Long,
    /// It is not in the list.
    #[error("it is not revoked; GET /v1/revocations lists what is")]
    NotThere,
}

/// The list, shared by all who change it and all who judge by it.
#[derive(Debug, Default)]
pub struct Revocations {
    state: Mutex<State>,
    judged: ArcSwap<Judged>,
    file: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct State {
    list: RevocationList,
    /// Whether the file says the same.
    kept: bool,
}

impl Revocations {
    /// The list of the last run; without a directory, one that ends with the process. A file that cannot be read is put
    /// aside: the relays have the list as well, and it is taken over from them.
    pub fn open(directory: Option<&Path>) -> Self {
        let file = directory.map(|directory| directory.join(NAME));
        let list = match file.as_deref().map(read) {
            Some(Ok(list)) => list,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                let file = file.as_deref().unwrap_or_else(|| Path::new(NAME));
                tracing::error!(
                    file = %file.display(), %error,
                    "the revocations cannot be read: those that relays have are taken over; the file is put aside"
                );
                // Should that fail too, the next change replaces it.
                let _ = fs::rename(file, file.with_extension("json.unreadable"));
                RevocationList::default()
            }
            Some(Err(_)) | None => RevocationList::default(),
        };
        Self {
            judged: ArcSwap::from_pointee(Judged::of(&list)),
            state: Mutex::new(State {
                list,
                kept: file.is_some(),
            }),
            file,
        }
    }

    /// The list.
    pub fn list(&self) -> RevocationList {
        self.lock().list.clone()
    }

    /// Its version.
    pub fn stamp(&self) -> ListVersion {
        self.lock().list.stamp()
    }

    /// Whether it goes on after a restart.
    pub fn survives_restart(&self) -> bool {
        self.lock().kept
    }

    /// Changes the list in `epoch`, in force from now on. Blocks until it is on the disk, or cannot be written there, which
    /// is in the log and [`Revocations::survives_restart`].
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn change(
        &self,
        change: Change,
        epoch: u64,
        now: UnixTime,
    ) -> Result<RevocationList, ChangeError> {
        let mut state = self.lock();
        let mut list = state.list.clone();
        list.forget_ended(now);
        let before = list.len();
        match change {
            Change::RevokeUser(entry) => {
                list.users.retain(|other| other.user != entry.user);
                list.users.push(entry);
            }
            Change::RevokeKey(entry) => {
                list.key_ids.retain(|other| other.key_id != entry.key_id);
                list.key_ids.push(entry);
            }
            Change::LiftUser(user) => {
                list.users.retain(|other| other.user != user);
                if list.len() == before {
                    return Err(ChangeError::NotThere);
                }
            }
            Change::LiftKey(key_id) => {
                list.key_ids.retain(|other| other.key_id != key_id);
                if list.len() == before {
                    return Err(ChangeError::NotThere);
                }
            }
        }
        advance(&mut list, epoch);
        self.put(&mut state, list)
    }

    /// Takes in what a relay has that another controller gave it: what either list has stays revoked. Whether that has
    /// changed anything.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn take_over(
        &self,
        theirs: &RevocationList,
        epoch: u64,
        now: UnixTime,
    ) -> Result<bool, ChangeError> {
        theirs.check().map_err(ChangeError::List)?;
        // Epochs are times. Nothing could follow a list from the end of time, which a relay that has been broken into may say
        // that it has: whatever is in it could never be lifted.
        if theirs.epoch > epoch.max(now.as_secs()).saturating_add(AHEAD) {
            return Err(ChangeError::List(RevocationError::Version));
        }
        let mut state = self.lock();
        if theirs.stamp() <= state.list.stamp() {
            return Ok(false);
        }
        let (mut list, mut theirs) = (state.list.clone(), theirs.clone());
        list.forget_ended(now);
        theirs.forget_ended(now);
        for user in theirs.users.iter().cloned() {
            if !list.users.iter().any(|held| held.user == user.user) {
                list.users.push(user);
            }
        }
        for key in theirs.key_ids.iter().cloned() {
            if !list.key_ids.iter().any(|held| held.key_id == key.key_id) {
                list.key_ids.push(key);
            }
        }
        (list.epoch, list.version) = (theirs.epoch, theirs.version);
        if Judged::of(&list) != Judged::of(&theirs) {
            // A list of its own, newer than both.
            advance(&mut list, epoch);
        }
        self.put(&mut state, list).map(|_| true)
    }

    fn put(&self, state: &mut State, list: RevocationList) -> Result<RevocationList, ChangeError> {
        list.check().map_err(ChangeError::List)?;
        let text = serde_json::to_vec(&list).unwrap_or_default();
        if text.is_empty() || text.len() > MOST_BYTES {
            return Err(ChangeError::Long);
        }
        self.judged.store(Arc::new(Judged::of(&list)));
        state.list = list.clone();
        state.kept = match self
            .file
            .as_deref()
            .map(|file| taciturn_plane::replace(file, &text))
        {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::error!(%error, "the revocations cannot be kept: they are in force, and would not survive a restart");
                false
            }
            None => false,
        };
        Ok(list)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version after this one, in `epoch` at least.
const fn advance(list: &mut RevocationList, epoch: u64) {
    if list.epoch < epoch {
        list.epoch = epoch;
    }
    list.version = list.version.saturating_add(1);
    if !list.stamp().is_plausible() {
        list.epoch = list.epoch.saturating_add(1);
        list.version = 1;
    }
}

/// What is minted is judged by the list in force, without waiting for whoever changes it.
#[derive(Clone, Debug)]
pub struct Judge(pub Arc<Revocations>);

impl Revoked for Judge {
    fn user(&self, user: &str, now: UnixTime) -> bool {
        self.0.judged.load().covers_user(user.as_bytes(), now)
    }

    fn key(&self, id: &str, now: UnixTime) -> bool {
        self.0.judged.load().covers_key(id, now)
    }
}

impl Change {
    /// The words for the audit trail, which are the same for everybody.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::RevokeUser(_) => "revoke-user",
            Self::RevokeKey(_) => "revoke-key",
            Self::LiftUser(_) => "lift-user",
            Self::LiftKey(_) => "lift-key",
        }
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn read(path: &Path) -> io::Result<RevocationList> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(RevocationList::BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    let list: RevocationList = serde_json::from_slice(&bytes).map_err(|error| {
        // What is wrong may have a name in it.
        io::Error::other(format!("no list of revocations in line {}", error.line()))
    })?;
    list.check().map_err(io::Error::other)?;
    Ok(list)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
