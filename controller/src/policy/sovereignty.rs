//! Offshore: a relay in a zone that is not allowed carries no new call, and somebody is called.
//!
//! Scaling rules, sovereignty: it is never offered, and is drained whatever other brake holds, but for those that put in
//! doubt whether it is there and whether this controller may act. Its end is left to people, who have to find out how it
//! came there. Not responsible for where relays are launched (`supply`).

use super::draft::Draft;
use super::plan::{Act, AlarmKind, Reason};
use super::unfinished;
use super::view::{Seen, Standing};

pub(crate) fn sovereignty(draft: &mut Draft<'_>) {
    if draft.view.policy.allowed_zones.is_empty() {
        return;
    }
    let offshore: Vec<Seen<'_>> = (draft.view.relays.iter())
        .filter(|seen| seen.offshore && seen.standing != Standing::Gone)
        .cloned()
        .collect();
    for seen in offshore {
        let zone = match seen.report().and_then(|report| report.zone_id.as_ref()) {
            Some(own) if *own != seen.relay.zone => format!("{} by its own word", own),
            _ => seen.relay.zone.to_string(),
        };
        let words = format!(
            "{} is in {zone}, which is not allowed; it gets no new calls and is drained, and this controller does not end it: end it by \
             hand when it is empty, and find out who started it there",
            seen.id
        );
        draft.alarm(AlarmKind::Sovereignty, Some(seen.id), words);
        let drains = !matches!(seen.standing, Standing::Aside | Standing::Draining);
        if draft.brakes.clears_offshore && drains && unfinished::may_ask(draft, &seen) {
            let act = Act::Drain {
                relay: seen.id.clone(),
                deadline: unfinished::deadline(draft, &seen),
            };
            draft.act(
                act,
                Reason::Sovereignty,
                format!("it is in {zone}, which is not allowed"),
            );
        }
    }
}
