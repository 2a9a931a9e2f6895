//! What this run of the controller remembers of its own calls, so that none of them happens twice.
//!
//! The API is eventually consistent: a call that was answered may not show in a description for some seconds. Responsible for
//! bridging that, and for launches whose outcome is not known. Not a source of truth: it is empty after a restart, and the
//! tokens of a new epoch are other ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use taciturn_protocol::time::Instant;

use crate::fleet::{InstanceId, LaunchToken};

/// Launches and ends that are remembered.
const MOST: usize = 512;
/// How long a description may lag behind what was answered.
pub(super) const LAG: Duration = Duration::from_secs(60);

/// A raise of the desired capacity that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Raise {
    /// From what.
    pub(super) from: u32,
    /// To what.
    pub(super) to: u32,
    /// How many instances.
    pub(super) count: u32,
    /// Those that were there before.
    pub(super) before: BTreeSet<InstanceId>,
    /// Decrements of this controller before it.
    pub(super) lowered: u32,
    /// It is known to have happened.
    pub(super) done: bool,
    pub(super) at: Instant,
}

/// A launch that was answered.
#[derive(Clone, Debug)]
struct Launched {
    token: LaunchToken,
    ids: BTreeSet<InstanceId>,
    /// When it was answered first.
    at: Instant,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Launches, the oldest first.
    launched: VecDeque<Launched>,
    raises: BTreeMap<LaunchToken, Raise>,
    /// Instances whose end was asked for, and whether that was answered.
    ended: BTreeMap<InstanceId, (Instant, bool)>,
    /// Decrements that were answered.
    pub(super) lowered: u32,
}

impl Memory {
    /// Takes in the answer to a launch.
    pub(super) fn has_launched(
        &mut self,
        token: &LaunchToken,
        ids: impl IntoIterator<Item = InstanceId>,
        at: Instant,
    ) {
        let known = self.launched.iter_mut().find(|it| it.token == *token);
        match known {
            Some(known) => known.ids.extend(ids),
            None => {
                self.launched.push_back(Launched {
                    token: token.clone(),
                    ids: ids.into_iter().collect(),
                    at,
                });
                if self.launched.len() > MOST {
                    self.launched.pop_front();
                }
            }
        }
    }

    /// Launches that are known to have happened.
    pub(super) fn launched(&self) -> BTreeMap<LaunchToken, Vec<InstanceId>> {
        let entries = self.launched.iter();
        entries
            .map(|it| (it.token.clone(), it.ids.iter().cloned().collect()))
            .collect()
    }

    /// What was launched lately and is not in `listed`: it exists all the same.
    pub(super) fn missing(&self, listed: &BTreeSet<InstanceId>, now: Instant) -> Vec<InstanceId> {
        let recent = |it: &&Launched| now.saturating_since(it.at) < LAG;
        let ids = self.launched.iter().filter(recent).flat_map(|it| &it.ids);
        let missing = ids.filter(|id| !listed.contains(*id) && !self.ended.contains_key(*id));
        missing.cloned().collect()
    }

    pub(super) fn raise(&self, token: &LaunchToken) -> Option<&Raise> {
        self.raises.get(token)
    }

    pub(super) fn has_raised(&mut self, token: &LaunchToken, raise: Raise) {
        self.raises.insert(token.clone(), raise);
        while self.raises.len() > MOST {
            let oldest = self.raises.iter().min_by_key(|(_, raise)| raise.at);
            let Some(oldest) = oldest.map(|(token, _)| token.clone()) else {
                break;
            };
            self.raises.remove(&oldest);
        }
    }

    pub(super) fn has_not_raised(&mut self, token: &LaunchToken) {
        self.raises.remove(token);
    }

    /// The desired capacity that raises and decrements of the last moments lead to: a description may not show it yet.
    pub(super) fn desired_at_least(&self, now: Instant) -> u32 {
        let recent = |raise: &&Raise| raise.done && now.saturating_since(raise.at) < LAG;
        let raises = self.raises.values().filter(recent);
        raises
            .map(|raise| self.due(raise))
            .max()
            .unwrap_or_default()
    }

    /// What the desired capacity is after `raise`, with what this controller has taken away since.
    pub(super) fn due(&self, raise: &Raise) -> u32 {
        let since = self.lowered.saturating_sub(raise.lowered);
        raise.to.saturating_sub(since)
    }

    /// Gives instances that nobody has launched by name to the raises that wait for some, the oldest first.
    pub(super) fn arrived(&mut self, listed: &BTreeSet<InstanceId>) {
        let mut taken: BTreeSet<InstanceId> = self
            .launched
            .iter()
            .flat_map(|it| it.ids.iter().cloned())
            .collect();
        let mut raises: Vec<(LaunchToken, Raise)> = self
            .raises
            .iter()
            .map(|(token, raise)| (token.clone(), raise.clone()))
            .collect();
        raises.sort_by_key(|(_, raise)| raise.at);
        for (token, raise) in raises {
            let mine = self.launched.iter().find(|it| it.token == token);
            let have = mine.map_or(0, |it| it.ids.len());
            let want = usize::try_from(raise.count).unwrap_or(usize::MAX);
            let new = listed
                .iter()
                .filter(|id| !raise.before.contains(*id) && !taken.contains(*id));
            let ids: Vec<InstanceId> = new.take(want.saturating_sub(have)).cloned().collect();
            if ids.is_empty() {
                continue;
            }
            taken.extend(ids.iter().cloned());
            self.has_launched(&token, ids, raise.at);
        }
    }

    /// When the end of `id` was asked for, and whether that was answered.
    pub(super) fn end(&self, id: &InstanceId) -> Option<(Instant, bool)> {
        self.ended.get(id).copied()
    }

    pub(super) fn has_ended(&mut self, id: &InstanceId, at: Instant, answered: bool) {
        self.ended.insert(id.clone(), (at, answered));
        while self.ended.len() > MOST {
            let oldest = self.ended.iter().min_by_key(|(_, (at, _))| *at);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else {
                break;
            };
            self.ended.remove(&oldest);
        }
    }

    /// The end of `id` was refused: it has not happened.
    pub(super) fn has_not_ended(&mut self, id: &InstanceId) {
        self.ended.remove(id);
    }
}
