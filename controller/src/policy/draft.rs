//! A plan while it is made: what the rules have looked at, and what they have decided so far.
//!
//! Not responsible for any decision.

use super::brakes::Brakes;
use super::need::Reckoning;
use super::plan::{Act, Action, Alarm, AlarmKind, Reason};
use super::view::View;
use crate::fleet::InstanceId;

/// What the rules read and add to.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) view: View<'a>,
    pub(crate) brakes: Brakes,
    pub(crate) reckoning: Reckoning,
    pub(crate) actions: Vec<Action>,
    pub(crate) alarms: Vec<Alarm>,
    pub(crate) chosen: Vec<InstanceId>,
}

impl Draft<'_> {
    pub(crate) fn act(&mut self, act: Act, reason: Reason, words: String) {
        self.actions.push(Action { act, reason, words });
    }

    pub(crate) fn alarm(&mut self, kind: AlarmKind, relay: Option<&InstanceId>, words: String) {
        self.alarms.push(Alarm {
            kind,
            relay: relay.cloned(),
            words,
        });
    }

    /// Something is done to the relay in this round already: one thing at a time.
    pub(crate) fn is_dealt_with(&self, relay: &InstanceId) -> bool {
        let mut actions = self.actions.iter();
        actions.any(|action| action.act.relay() == Some(relay))
    }

    /// How many ends this round asks of the provider.
    pub(crate) fn ends(&self) -> u32 {
        let ends = |action: &&Action| matches!(action.act, Act::Terminate { .. });
        u32::try_from(self.actions.iter().filter(ends).count()).unwrap_or(u32::MAX)
    }
}
