//! Other hands: changes of the group that this controller did not make.
//!
//! Scaling rules, chaos matrix: they are noticed and lived with, or nothing is removed until somebody has looked; they are
//! never "corrected". Not responsible for the alarm's words to people (`alarms`).

use super::view::View;
use crate::fleet::{Group, History};

/// What the figures of the group tell beside what this controller did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What somebody else did, in words.
    pub(crate) foreign: Option<String>,
    /// Own raises that the figures now show.
    pub(crate) raised: u32,
    /// Own reductions that they now show.
    pub(crate) lowered: u32,
}

/// The latest change by another hand: one that shows now, or one from before.
pub(crate) fn change(view: &View<'_>) -> Option<String> {
    let now = match known(view) {
        true => read(&view.fleet.history, &view.fleet.group).foreign,
        false => None,
    };
    let before = view.fleet.history.hand.as_ref();
    now.or_else(|| before.map(|hand| hand.words.clone()))
}

/// Whether the figures are as of now.
pub(crate) fn known(view: &View<'_>) -> bool {
    let listing = &view.fleet.listing;
    listing.fault.is_none() && listing.complete_for.is_some()
}

/// What changed since the figures were last looked at.
pub(crate) fn read(history: &History, group: &Group) -> Reading {
    let mut reading = Reading::default();
    let mut words = Vec::new();
    if let Some((before, now)) = history.desired.zip(group.desired) {
        let own = |raise: bool| -> u32 {
            let changes = history.own_changes.iter().map(|(_, change)| *change);
            changes
                .filter(|change| (*change > 0) == raise)
                .fold(0, |sum, change| sum.saturating_add(change.unsigned_abs()))
        };
        let change = now.abs_diff(before);
        let ours = own(now > before).min(change);
        if now > before {
            reading.raised = ours;
        } else {
            reading.lowered = ours;
        }
        if change > ours {
            words.push(format!("the desired number from {before} to {now}"));
        }
    }
    if let Some((min, max)) = history.bounds {
        for (name, before, now) in [("minimum", min, group.min), ("maximum", max, group.max)] {
            match (before, now) {
                (Some(before), Some(now)) if before != now => {
                    words.push(format!("the {name} from {before} to {now}"));
                }
                _ => {}
            }
        }
    }
    reading.foreign = (!words.is_empty()).then(|| words.join(", "));
    reading
}
