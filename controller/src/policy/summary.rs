//! A plan in one sentence.
//!
//! Not responsible for its actions' own words.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::plan::AlarmKind;

pub(crate) fn summary(draft: &Draft<'_>) -> String {
    let need = &draft.reckoning.need;
    let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
    for action in &draft.actions {
        *counts.entry(action.act.as_str()).or_default() += 1;
    }
    let done: Vec<String> = (counts.iter())
        .map(|(act, count)| format!("{act} ({count})"))
        .collect();
    let brakes: Vec<&str> = draft.brakes.on.iter().map(|brake| brake.as_str()).collect();
    let figures = format!("{} needed, {} here or on their way", need.need, need.have);
    match (done.is_empty(), brakes.is_empty()) {
        (false, true) => format!("{figures}: {}", done.join(", ")),
        (false, false) => format!(
            "{figures}: {}; nothing is removed because of {}",
            done.join(", "),
            brakes.join(", ")
        ),
        (true, false) if !draft.brakes.acts => {
            format!(
                "{figures}: nothing is done because of {}",
                brakes.join(", ")
            )
        }
        (true, false) if draft.reckoning.missing() > 0 => format!(
            "{figures}: {}; nothing is removed because of {}",
            waits(draft),
            brakes.join(", ")
        ),
        (true, false) => format!(
            "{figures}: nothing is removed because of {}",
            brakes.join(", ")
        ),
        (true, true) if !draft.chosen.is_empty() => {
            format!("{figures}: one is looked at again before it goes")
        }
        (true, true) if draft.reckoning.missing() > 0 => {
            format!("{figures}: {}", waits(draft))
        }
        (true, true) if need.have > need.need => format!(
            "{figures}: nothing to do, as up to {} were needed in the window",
            need.held
        ),
        (true, true) => format!("{figures}: nothing to do"),
    }
}

/// Why what is missing is not launched in this round.
fn waits(draft: &Draft<'_>) -> &'static str {
    let mut alarms = draft.alarms.iter();
    match alarms.any(|alarm| alarm.kind == AlarmKind::CannotLaunch) {
        true => "more cannot be launched now, see the alarms",
        false => "the next launch waits for its turn, one step at a time",
    }
}
