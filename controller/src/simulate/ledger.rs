//! What happened in a simulated fleet, counted and written down as it happened.
//!
//! Responsible for being complete: figures and tests read nothing else. Not responsible for judging (`score`).

use std::collections::BTreeMap;

use crate::fleet::InstanceId;
use crate::policy::{AlarmKind, Outcome};

/// Counts and entries of one simulation. Times are its seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Calls of the trace that have begun.
    pub(super) called: u64,
    /// Calls that no relay admitted.
    pub(super) blocked: u64,
    /// Calls that came back after they had been cut.
    pub(super) redialled: u64,
    /// Live calls that were cut by whoever keeps the fleet.
    pub(super) cut: u64,
    /// Those of them that were cut before their relay's drain had a deadline that was over.
    pub(super) cut_early: u64,
    /// Live calls that mishaps cut.
    pub(super) lost: u64,
    /// Live calls now.
    pub(super) live: u64,
    /// Most live calls.
    pub(super) peak: u64,
    /// Time that instances existed, from launch to end, in sum.
    pub(super) relay_seconds: u64,
    /// Most instances at a time.
    pub(super) most_relays: u32,
    /// What was done to the fleet, in order.
    pub(super) deeds: Vec<Deed>,
    /// What was decided, in order: one line for each action.
    pub(super) decisions: Vec<String>,
    /// Brakes and alarms of each round in which they changed.
    pub(super) notes: Vec<Note>,
}

/// One order and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deed {
    pub(super) at: u64,
    /// The epoch of who gave it; 0 for those who have none.
    pub(super) epoch: u64,
    /// The word of the act.
    pub(super) act: &'static str,
    /// To which relay; a launch names those that came.
    pub(super) relays: Vec<InstanceId>,
    /// Whether it happened in the world, whatever the answer was.
    pub(super) happened: bool,
    /// Calls that were live on the relay.
    pub(super) live: u32,
    /// A drain's deadline, in seconds since 1970; 0 for all else.
    pub(super) deadline: u64,
}

/// What held a plan back, and what it wanted people to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) at: u64,
    pub(super) brakes: Vec<&'static str>,
    pub(super) alarms: Vec<AlarmKind>,
}

impl Ledger {
    pub(super) fn admitted(&mut self) {
        self.live += 1;
        self.peak = self.peak.max(self.live);
    }

    pub(super) fn deed(&mut self, deed: Deed) {
        self.deeds.push(deed);
    }

    pub(super) fn note(&mut self, note: Note) {
        let same = |last: &Note| last.brakes == note.brakes && last.alarms == note.alarms;
        if !self.notes.last().is_some_and(same) {
            self.notes.push(note);
        }
    }

    /// Orders of this kind that happened.
    pub(super) fn done(&self, act: &str) -> impl Iterator<Item = &Deed> {
        let act = act.to_owned();
        self.deeds
            .iter()
            .filter(move |deed| deed.act == act && deed.happened)
    }

    /// How often the fleet's direction changed between growing and shrinking, by day from the start.
    pub(super) fn turns_by_day(&self) -> BTreeMap<u64, u32> {
        let mut turns = BTreeMap::new();
        let mut grows = None;
        for deed in self.deeds.iter().filter(|deed| deed.happened) {
            let now = match deed.act {
                "launch" | "undrain" => true,
                // An end without a drain before it; with one, it is the drain that counts.
                "drain" | "kill" => false,
                _ => continue,
            };
            if grows.is_some_and(|before| before != now) {
                *turns.entry(deed.at / 86_400).or_insert(0) += 1;
            }
            grows = Some(now);
        }
        turns
    }
}

/// The word for what came of an action, in decision logs.
pub(super) const fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Nothing => "nothing to do",
        Outcome::NoCapacity { .. } => "no capacity",
        Outcome::Refused { .. } => "refused",
        Outcome::Failed { .. } => "failed",
        Outcome::Unknown { .. } => "unknown",
        Outcome::OlderEpoch { .. } => "older epoch",
        Outcome::DryRun => "dry run",
    }
}
