//! Revocations on their way to the relays: at once when one is ordered, and in each round to those that have another list.
//!
//! Responsible for who is told, at the same time and within bounds, and for taking over what a controller before this one
//! told them. Not responsible for the list (`revocations`), nor for what relays do by it.
//!
//! Only the controller that leads tells anybody. A relay that cannot be reached is told in the round that hears of it again;
//! until then nobody is sent there either, as it is not fresh.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use taciturn_protocol::credentials::{ListVersion, RevocationList};
use tokio::task::{JoinSet, spawn_blocking};

use crate::apply::Hands;
use crate::fleet::{Fleet, InstanceId};
use crate::observe::RelayError;
use crate::revocations::{Change, ChangeError, Revocations};

/// Relays whose list is asked for in one round, so that some that have been broken into cannot keep us from the others', nor
/// from the round.
const MOST_ASKED: usize = 4;
/// No epoch: before the first round of a controller that leads.
const NONE: u64 = u64::MAX;

type Whom = (InstanceId, SocketAddr);

/// Tells relays.
#[derive(Clone, Debug)]
pub struct Revoking {
    hands: Hands,
    list: Arc<Revocations>,
    /// The epoch of ours in which the relays were asked for what they know and we do not.
    asked_in: Arc<AtomicU64>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The list's version from now on.
    pub stamp: ListVersion,
    /// Relays that have it in force.
    pub told: usize,
    /// Relays that are known.
    pub relays: usize,
    /// Whether this controller knows it after a restart.
    pub survives_restart: bool,
}

/// Why a change is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotRevoked {
    /// Another controller leads.
    #[error("this controller does not lead, and relays would not listen to it: {0}")]
    NotLeading(String),
    /// It leads since a moment ago, and does not know yet what the relays were told before: its list would lift that.
    #[error("what the relays refuse already has not been read yet; try again after the next round")]
    NotRead,
    /// The list refuses it.
    #[error("{0}")]
    Change(ChangeError),
}

impl Revoking {
    pub(super) fn new(hands: Hands, list: Arc<Revocations>) -> Self {
        let asked_in = Arc::new(AtomicU64::new(NONE));
        Self {
            hands,
            list,
            asked_in,
        }
    }

    /// The list.
    pub const fn list(&self) -> &Arc<Revocations> {
        &self.list
    }

    /// Changes the list and tells every relay of `fleet`, all at once.
    ///
    /// # Errors
    /// Nothing has been changed.
    pub async fn order(&self, fleet: &Fleet, change: Change) -> Result<Delivered, NotRevoked> {
        let leadership = self.hands.keeper.leadership();
        if !leadership.held {
            let why = leadership.obstacle.unwrap_or_default();
            return Err(NotRevoked::NotLeading(why));
        }
        let read = self.asked_in.load(Ordering::Relaxed) == leadership.epoch;
        // Who only tries tells nobody, so that nothing is lifted by it.
        if !read && !self.hands.dry_run {
            return Err(NotRevoked::NotRead);
        }
        let order = change.as_str();
        let (list, now) = (Arc::clone(&self.list), self.hands.clock.unix());
        let changed = spawn_blocking(move || list.change(change, leadership.epoch, now)).await;
        let list = match changed {
            Ok(changed) => changed.map_err(NotRevoked::Change)?,
            Err(_) => {
                let why = "the controller is ending".to_owned();
                return Err(NotRevoked::NotLeading(why));
            }
        };
        let whom: Vec<Whom> = fleet
            .relays
            .values()
            .filter_map(|relay| Some((relay.id.clone(), relay.admin?)))
            .collect();
        let relays = whom.len();
        let told = self.tell(&list, whom).await;
        let body = json!({
            "order": order,
            "epoch": list.epoch,
            "version": list.version,
            "users": list.users.len(),
            "key_ids": list.key_ids.len(),
            "told": told,
            "relays": relays,
        });
        // A revocation that is not in the trail is better than none; the failure is counted and in the log.
        let _ = self.hands.write_down("revocation", body).await;
        tracing::info!(
            order,
            version = list.version,
            users = list.users.len(),
            key_ids = list.key_ids.len(),
            told,
            relays,
            "revocations changed"
        );
        Ok(Delivered {
            stamp: list.stamp(),
            told,
            relays,
            survives_restart: self.list.survives_restart(),
        })
    }

    /// Once a round: what relays know that this controller does not, and then the list to those that have another.
    pub(super) async fn follow(&self, fleet: &Fleet) {
        if !fleet.leadership.held || self.hands.dry_run {
            return;
        }
        let heard: Vec<(Whom, ListVersion)> = fleet
            .relays
            .values()
            .filter_map(|relay| {
                let stamp = relay.report.as_ref()?.revocations?;
                Some(((relay.id.clone(), relay.admin?), stamp))
            })
            .collect();
        let ours = self.list.stamp();
        // Most often all that are ahead have the same list, and one of them says it. One that says nothing, or nonsense, leaves it
        // to the next.
        let mut ahead: Vec<&(Whom, ListVersion)> =
            heard.iter().filter(|(_, stamp)| *stamp > ours).collect();
        ahead.sort_by_key(|(_, stamp)| std::cmp::Reverse(*stamp));
        for (whom, stamp) in ahead.into_iter().take(MOST_ASKED) {
            if *stamp > self.list.stamp() {
                self.learn(whom, fleet.leadership.epoch).await;
            }
        }
        // Where none of them has been heard yet, none has been asked.
        let mut relays = fleet.relays.values();
        if fleet.relays.is_empty() || relays.any(|relay| relay.report.is_some()) {
            self.asked_in
                .store(fleet.leadership.epoch, Ordering::Relaxed);
        }
        let list = self.list.list();
        let behind: Vec<Whom> = heard
            .into_iter()
            .filter(|(_, stamp)| *stamp < list.stamp())
            .map(|(whom, _)| whom)
            .collect();
        if !behind.is_empty() {
            let (told, relays) = (self.tell(&list, behind.clone()).await, behind.len());
            tracing::info!(
                told,
                relays,
                version = list.version,
                "relays are told of revocations"
            );
        }
    }

    async fn learn(&self, (id, admin): &Whom, epoch: u64) {
        let theirs = match self.hands.revocations(id, *admin).await {
            Ok(theirs) => theirs,
            Err(error) => {
                tracing::warn!(relay = %id, %error, "its revocations are newer than ours, and cannot be read");
                return;
            }
        };
        let (list, now) = (Arc::clone(&self.list), self.hands.clock.unix());
        let entries = theirs.len();
        let taken = spawn_blocking(move || list.take_over(&theirs, epoch, now)).await;
        match taken {
            Ok(Ok(true)) => {
                tracing::warn!(relay = %id, entries, "revocations of another controller are taken over");
                let body = json!({ "order": "take-over", "relay": id, "entries": entries });
                let _ = self.hands.write_down("revocation", body).await;
            }
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::warn!(relay = %id, %error, "its revocations cannot be taken over");
            }
        }
    }

    /// Tells all of them at once. How many have the list in force.
    async fn tell(&self, list: &RevocationList, whom: Vec<Whom>) -> usize {
        let list = Arc::new(list.clone());
        let mut asked = JoinSet::new();
        for (id, admin) in whom {
            let (hands, list) = (self.hands.clone(), Arc::clone(&list));
            asked.spawn(async move {
                let answer = hands.revoke(&id, admin, &list).await;
                (id, answer)
            });
        }
        let mut told = 0;
        while let Some(joined) = asked.join_next().await {
            match joined {
                Ok((_, Ok(()))) => told += 1,
                Ok((_, Err(RelayError::DryRun))) | Err(_) => {}
                Ok((id, Err(error))) => {
                    tracing::warn!(relay = %id, %error, "it is not told of revocations yet");
                }
            }
        }
        told
    }
}
