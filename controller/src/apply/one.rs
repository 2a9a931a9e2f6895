//! One action, from the look before it to what is written down after it.
//!
//! Responsible for one function for each act, and for what an answer means as an [`Outcome`]. Not responsible for the order
//! of several (`hands`), nor for what speaks against an end (`end`).

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use taciturn_protocol::time::UnixTime;

use super::end::{LastLook, listed, may_end};
use super::hands::Hands;
use crate::fleet::{LaunchToken, Relay, ZoneId};
use crate::observe::{DrainOrder, RelayError};
use crate::policy::{Act, Action, Outcome};
use crate::provider::{Ended, LaunchOrder, Listing, ProviderError};

/// One action, with all that it needs.
pub(super) struct One {
    pub(super) action: Action,
    /// What it is done to; `None`: no relay, or one that is not known.
    pub(super) relay: Option<Relay>,
    /// The deadline that the relay was given.
    pub(super) ordered: Option<UnixTime>,
    /// In which it was decided.
    pub(super) epoch: u64,
    /// How many relays there were then.
    pub(super) known: usize,
    /// A list of this moment, for an end.
    pub(super) fresh: Option<Arc<Result<Listing, ProviderError>>>,
    pub(super) hands: Hands,
}

/// Why an action does not come to its point.
enum Stopped {
    /// It has this outcome without it.
    Outcome(Outcome),
    /// It may not be begun now.
    NotBegun(String),
}

impl One {
    /// `None`: it was not begun.
    pub(super) async fn carry_out(self) -> Option<Outcome> {
        let outcome = match self.checked().await {
            Ok(()) => self.act().await,
            Err(stopped) => Err(stopped),
        };
        match outcome {
            Ok(outcome) | Err(Stopped::Outcome(outcome)) => {
                self.report("outcome", json!({"outcome": outcome})).await;
                Some(outcome)
            }
            Err(Stopped::NotBegun(why)) => {
                tracing::warn!(act = self.action.act.as_str(), %why, "not begun");
                self.report("refusal", json!({"why": why})).await;
                None
            }
        }
    }

    /// Everything that is looked at before the point of no return; the lease is the last of it.
    async fn checked(&self) -> Result<(), Stopped> {
        let gate = || {
            let begin = self.hands.may_begin(self.epoch);
            begin.map_err(Stopped::NotBegun)
        };
        gate()?;
        match &self.action.act {
            Act::Launch { zone, count, .. } => self.may_launch(zone, *count)?,
            Act::Terminate { .. } => {
                self.may_terminate()?;
                self.last_look(false).await?;
            }
            Act::Finish { .. } => self.last_look(true).await?,
            Act::Undrain { .. } => self.may_serve()?,
            Act::Withhold { .. } | Act::Restore { .. } | Act::Drain { .. } | Act::Extend { .. } => {
            }
        }
        if let Err(why) = self.record("intent", json!({})).await
            && takes_away(&self.action.act)
        {
            return Err(Stopped::Outcome(Outcome::Failed {
                words: format!("the audit trail cannot be written, so nothing is removed: {why}"),
            }));
        }
        gate()
    }

    async fn act(&self) -> Result<Outcome, Stopped> {
        let hands = &self.hands;
        Ok(match &self.action.act {
            Act::Launch { zone, count, token } => self.launch(zone, *count, token).await,
            Act::Withhold { .. } | Act::Restore { .. } if hands.dry_run => Outcome::DryRun,
            // The plan's list of those who are offered is what does it.
            Act::Withhold { .. } | Act::Restore { .. } => done(),
            Act::Drain { relay, deadline } => {
                let order = DrainOrder {
                    deadline: *deadline,
                    reason: self.action.words.clone(),
                    epoch: self.epoch,
                };
                let call = hands.relays.drain(relay, self.admin()?, &order);
                of_relay(hands.tell("drain", call).await)
            }
            Act::Undrain { relay } => {
                let call = hands.relays.undrain(relay, self.admin()?, self.epoch);
                of_relay(hands.tell("undrain", call).await)
            }
            Act::Terminate { relay } => {
                match hands
                    .ask("terminate", hands.provider.terminate(relay))
                    .await
                {
                    Ok(Ended::Ending) => done(),
                    Ok(Ended::Already) => Outcome::Nothing,
                    Err(error) => of_provider(error),
                }
            }
            Act::Extend { relay } => {
                match hands.ask("extend", hands.provider.extend(relay)).await {
                    Ok(()) => done(),
                    Err(error) => of_provider(error),
                }
            }
            Act::Finish { relay } => {
                match hands.ask("finish", hands.provider.finish(relay)).await {
                    Ok(()) => done(),
                    Err(error) => of_provider(error),
                }
            }
        })
    }

    async fn launch(&self, zone: &ZoneId, count: u32, token: &LaunchToken) -> Outcome {
        let order = LaunchOrder {
            zone: zone.clone(),
            count,
            token: token.clone(),
        };
        let call = self.hands.provider.launch(&order);
        match self.hands.ask("launch", call).await {
            Ok(instances) => Outcome::Done { instances },
            Err(error) => of_provider(error),
        }
    }

    /// Sovereignty, once more: no plan launches elsewhere, and if one did, it would not happen.
    fn may_launch(&self, zone: &ZoneId, count: u32) -> Result<(), Stopped> {
        if !self.hands.policy.allowed_zones.contains(zone) {
            return Err(Stopped::Outcome(Outcome::Refused {
                words: format!("{zone} is not one of the allowed zones; nothing is launched there"),
            }));
        }
        if count == 0 {
            return Err(Stopped::Outcome(Outcome::Nothing));
        }
        Ok(())
    }

    /// Whoever asks for it: what is offshore takes no new calls again.
    fn may_serve(&self) -> Result<(), Stopped> {
        let relay = self.known()?;
        let own = (relay.report.as_ref()).and_then(|report| report.zone_id.as_ref());
        let zones = [Some(&relay.zone), own].into_iter().flatten();
        let mut offshore = zones.filter(|zone| !self.hands.policy.allowed_zones.contains(*zone));
        match offshore.next() {
            None => Ok(()),
            Some(zone) => Err(Stopped::Outcome(Outcome::Refused {
                words: format!(
                    "it is in {zone}, which is not one of the allowed zones; it goes on draining"
                ),
            })),
        }
    }

    fn may_terminate(&self) -> Result<(), Stopped> {
        let relay = self.known()?;
        if relay.terminate_asked {
            return Err(Stopped::Outcome(Outcome::Nothing));
        }
        let Some(fresh) = &self.fresh else {
            return Err(Stopped::NotBegun(
                "nobody looked at the list again".to_owned(),
            ));
        };
        listed(fresh, relay, self.known).map_err(Stopped::Outcome)
    }

    async fn last_look(&self, ends_anyway: bool) -> Result<(), Stopped> {
        let relay = self.known()?;
        let (status, stun) = match relay.admin {
            Some(admin) => {
                let status = self.hands.status(&relay.id, admin).await;
                let stun = match &status {
                    Ok(_) => None,
                    Err(_) => self.hands.stun(&relay.id, admin).await,
                };
                (status, stun)
            }
            None => {
                let words = "its address is not known".to_owned();
                (Err(RelayError::Unreachable(words)), None)
            }
        };
        let look = LastLook {
            relay,
            status: &status,
            stun,
            reason: self.action.reason,
            ends_anyway,
            ordered: self.ordered,
            end_idle: self.hands.policy.end_idle_drains,
            now: self.hands.clock.unix(),
        };
        may_end(&look).map_err(|words| Stopped::Outcome(Outcome::Failed { words }))
    }

    fn known(&self) -> Result<&Relay, Stopped> {
        self.relay.as_ref().ok_or_else(|| {
            Stopped::Outcome(Outcome::Refused {
                words: "the relay is not one of this fleet".to_owned(),
            })
        })
    }

    fn admin(&self) -> Result<SocketAddr, Stopped> {
        self.known()?.admin.ok_or_else(|| {
            Stopped::Outcome(Outcome::Failed {
                words: "the address of its admin API is not known".to_owned(),
            })
        })
    }

    /// The same, where a failure changes nothing any more; the log and a counter have it.
    async fn report(&self, kind: &'static str, more: serde_json::Value) {
        let _ = self.record(kind, more).await;
    }

    /// Writes down the action with what is said of it. A dry run does nothing, and has nothing to write down but its
    /// decisions.
    async fn record(&self, kind: &'static str, more: serde_json::Value) -> Result<(), String> {
        if self.hands.dry_run {
            return Ok(());
        }
        let mut body = json!({"epoch": self.epoch, "action": self.action});
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        self.hands.write_down(kind, body).await
    }
}

/// Whether fewer clients can be served after it.
const fn takes_away(act: &Act) -> bool {
    match act {
        Act::Drain { .. } | Act::Terminate { .. } | Act::Finish { .. } => true,
        Act::Launch { .. }
        | Act::Withhold { .. }
        | Act::Restore { .. }
        | Act::Undrain { .. }
        | Act::Extend { .. } => false,
    }
}

const fn done() -> Outcome {
    Outcome::Done {
        instances: Vec::new(),
    }
}

fn of_provider(error: ProviderError) -> Outcome {
    let words = error.to_string();
    match error {
        ProviderError::NoCapacity(_) => Outcome::NoCapacity { words },
        ProviderError::Refused(_) | ProviderError::Unsupported(_) => Outcome::Refused { words },
        ProviderError::Throttled(_) | ProviderError::Failed(_) => Outcome::Failed { words },
        ProviderError::Unknown(_) => Outcome::Unknown { words },
        ProviderError::DryRun => Outcome::DryRun,
    }
}

fn of_relay(answer: Result<(), RelayError>) -> Outcome {
    let Err(error) = answer else {
        return done();
    };
    let words = error.to_string();
    match error {
        RelayError::Unreachable(_) | RelayError::NotNow(_) => Outcome::Failed { words },
        RelayError::Unknown(_) => Outcome::Unknown { words },
        RelayError::OlderEpoch { seen } => Outcome::OlderEpoch { seen },
        RelayError::Refused(_) => Outcome::Refused { words },
        RelayError::DryRun => Outcome::DryRun,
    }
}
