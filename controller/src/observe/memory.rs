//! What the picture keeps of what was done: launches that no list shows yet, relays that were withheld, ends that were asked
//! for.
//!
//! Not responsible for what the policy keeps of it ([`crate::policy::remember`]), which is called from here.

use taciturn_protocol::time::Now;

use super::Picture;
use super::picture::EndAsked;
use crate::fleet::Fleet;
use crate::policy::{Act, Action, Outcome, Plan, Policy};

impl Picture {
    /// What became of a plan that was made of `fleet`, as far as it was tried. Ends the round.
    pub fn remember(
        &mut self,
        now: Now,
        fleet: &Fleet,
        plan: &Plan,
        outcomes: &[(Action, Outcome)],
        policy: &Policy,
    ) {
        crate::policy::remember(&mut self.history, fleet, plan, outcomes, policy, now);
        for (action, outcome) in outcomes {
            self.note(now, &action.act, outcome);
        }
        self.rounded(now);
    }

    fn note(&mut self, now: Now, act: &Act, outcome: &Outcome) {
        if let Act::Launch { zone, .. } = act {
            if let Outcome::Done { instances } = outcome {
                for id in instances {
                    self.launched(now.instant, id, zone);
                }
            }
            return;
        }
        let Some(relay) = act.relay().and_then(|id| self.relays.get_mut(id)) else {
            return;
        };
        if let Outcome::OlderEpoch { seen } = outcome {
            relay.epoch_seen = relay.epoch_seen.max(*seen);
        }
        let happened = matches!(outcome, Outcome::Done { .. } | Outcome::Nothing);
        match act {
            Act::Withhold { .. } if happened => {
                relay.withheld_at.get_or_insert(now.instant);
            }
            Act::Restore { .. } | Act::Undrain { .. } if happened => relay.withheld_at = None,
            Act::Terminate { .. } if happened || matches!(outcome, Outcome::Unknown { .. }) => {
                relay.end_asked.get_or_insert(EndAsked {
                    at: now.instant,
                    confirmed: happened,
                });
            }
            Act::Launch { .. }
            | Act::Withhold { .. }
            | Act::Restore { .. }
            | Act::Drain { .. }
            | Act::Undrain { .. }
            | Act::Terminate { .. }
            | Act::Extend { .. }
            | Act::Finish { .. } => {}
        }
    }
}
