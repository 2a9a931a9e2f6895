//! Whether the instance is to be terminated, and the drain that follows.
//!
//! Responsible for asking every few seconds and for telling a change from an answer that did not come: an error neither
//! begins a drain nor ends one. Not responsible for how a relay drains (`drain`).

use core::time::Duration;
use std::sync::Arc;

use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{MetadataClient, MetadataError, client};
use crate::drain::{DrainControl, DrainRefused, DrainSource};

/// Between two looks. An instance is ended minutes after it was decided.
const INTERVAL: Duration = Duration::from_secs(5);

/// What the metadata says is to become of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It stays in its group.
    InService,
    /// Its group ends it.
    Terminated,
    /// Its capacity is taken back.
    Interrupted,
    /// Something else, or nothing: it is in no group, or on its way into one.
    Unknown,
}

impl Fate {
    async fn read(metadata: &MetadataClient) -> Result<Self, MetadataError> {
        // Without a group there is none, and without an interruption neither.
        let state = metadata
            .read("autoscaling/target-lifecycle-state", "the lifecycle state")
            .await?;
        let interruption = metadata
            .read("spot/instance-action", "an interruption")
            .await?;
        Ok(match (state.as_deref().map(str::trim), interruption) {
            (Some("Terminated"), _) => Self::Terminated,
            (_, Some(announced)) => {
                interruption_of(&announced).ok_or(MetadataError::Value("an interruption"))?
            }
            (Some("InService"), None) => Self::InService,
            (Some(_) | None, None) => Self::Unknown,
        })
    }

    /// Why there is a drain, in words; `None`: there is to be none because of this.
    const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Terminated => Some(
                "the instance is being terminated: the metadata's target-lifecycle-state is Terminated",
            ),
            Self::Interrupted => Some(
                "the instance is being interrupted: the metadata announces a spot instance-action",
            ),
            Self::InService | Self::Unknown => None,
        }
    }
}

/// An announcement such as `{"action": "terminate", "time": "2026-11-22T08:00:00Z"}`.
fn interruption_of(announced: &str) -> Option<Fate> {
    #[derive(Deserialize)]
    struct Announced {
        action: String,
    }
    let announced: Announced = serde_json::from_str(announced).ok()?;
    ["terminate", "stop", "hibernate"]
        .contains(&announced.action.as_str())
        .then_some(Fate::Interrupted)
}

/// What is to be done about a fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Begin(&'static str),
    Withdraw,
}

/// The fate as it was last acted on. Only a change is acted on, so that an operator who undoes a drain is not overruled
/// five seconds later.
#[derive(Debug, Default)]
struct Lifecycle {
    ends: Option<bool>,
}

impl Lifecycle {
    fn observe(&mut self, fate: Fate) -> Option<Action> {
        let action = match fate {
            Fate::Terminated | Fate::Interrupted => Action::Begin(fate.reason()?),
            Fate::InService => Action::Withdraw,
            Fate::Unknown => return None,
        };
        let ends = matches!(action, Action::Begin(_));
        (self.ends.replace(ends) != Some(ends)).then_some(action)
    }
}

/// Follows the instance's fate for as long as the runtime lives.
pub(crate) async fn watch(metadata: MetadataClient, drain: Arc<DrainControl>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lifecycle = Lifecycle::default();
    let mut failing = false;
    loop {
        ticks.tick().await;
        match Fate::read(&metadata).await {
            Ok(fate) => {
                if failing {
                    info!("the instance metadata answers again");
                }
                failing = false;
                if let Some(action) = lifecycle.observe(fate) {
                    let drain = Arc::clone(&drain);
                    // An order is written to the disk, which may take its time.
                    let done = spawn_blocking(move || act(action, &drain)).await;
                    if done.is_ok_and(|done| done.is_err()) {
                        // Tried again at the next look.
                        lifecycle = Lifecycle::default();
                    }
                }
            }
            Err(error) => {
                if !failing {
                    warn!(
                        %error,
                        source = client::source(&error),
                        "the instance metadata cannot be read: whether the instance is to end is not known"
                    );
                }
                failing = true;
            }
        }
    }
}

fn act(action: Action, drain: &DrainControl) -> Result<(), DrainRefused> {
    match action {
        Action::Withdraw => drain.withdraw(DrainSource::Metadata),
        // One that goes on after a restart keeps its deadline.
        Action::Begin(_) if drain.is_ordered_by(DrainSource::Metadata) => {}
        Action::Begin(reason) => {
            drain
                .begin_now(DrainSource::Metadata, reason)
                .inspect_err(|error| {
                    warn!(%error, "a drain because of the instance metadata cannot begin yet");
                })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_acted_on() {
        let mut lifecycle = Lifecycle::default();
        let mut acts = |fate| lifecycle.observe(fate);
        assert_eq!(acts(Fate::Unknown), None);
        assert_eq!(acts(Fate::InService), Some(Action::Withdraw));
        assert_eq!(acts(Fate::InService), None);
        assert!(matches!(acts(Fate::Terminated), Some(Action::Begin(_))));
        assert_eq!(
            acts(Fate::Terminated),
            None,
            "an operator may have undone it"
        );
        assert_eq!(acts(Fate::Interrupted), None);
        assert_eq!(acts(Fate::Unknown), None, "nothing said is no change");
        assert_eq!(acts(Fate::InService), Some(Action::Withdraw));
        assert!(matches!(acts(Fate::Interrupted), Some(Action::Begin(_))));
    }

    #[test]
    fn an_announcement_is_one_of_those_that_there_are() {
        for action in ["terminate", "stop", "hibernate"] {
            let announced =
                format!("{{\"action\": \"{action}\", \"time\": \"2026-11-22T08:00:00Z\"}}");
            assert_eq!(interruption_of(&announced), Some(Fate::Interrupted));
        }
        for other in [
            "",
            "terminate",
            "{}",
            "{\"action\": 1}",
            "{\"action\": \"\"}",
            "<html>",
        ] {
            assert_eq!(interruption_of(other), None, "{other}");
        }
    }
}
