//! Ending: by id, after a fresh look, once; and the words to the hook that waits for it.
//!
//! Each decrement is of the group, not of the instance: the same call for an instance that is ending already takes one more
//! away. So nothing is ended that does not serve, and no end is asked for again while its answer may still be on its way.

use aws_sdk_autoscaling::types::AutoScalingInstanceDetails;

use super::call::plain;
use super::memory::LAG;
use super::{Again, Aws, Ended, Fault, Meaning, books};
use crate::fleet::{InstanceId, Lifecycle};
use crate::provider::ProviderError;

/// What the API says where no hook waits.
const NO_ACTION: &str = "no active lifecycle action";

impl Aws {
    pub(super) async fn end(&self, id: &InstanceId) -> Result<Ended, ProviderError> {
        let _one = self.reckoning.lock().await;
        let asked = self.memory().end(id);
        if let Some((at, answered)) = asked {
            if answered {
                return Ok(Ended::Already);
            }
            let since = self.clock.instant().saturating_since(at);
            if since < LAG && self.serves(id).await? {
                return Err(ProviderError::Unknown(format!(
                    "the end of {id} was asked for {} s ago without an answer, and does not show yet; it is asked for again \
                     when a minute is over",
                    since.as_secs()
                )));
            }
        }
        if !self.serves(id).await? {
            return Ok(Ended::Already);
        }
        self.memory().has_ended(id, self.clock.instant(), false);
        let call = || {
            self.client
                .terminate_instance_in_auto_scaling_group()
                .instance_id(id.as_str())
                .should_decrement_desired_capacity(true)
                .send()
        };
        let answer = self
            .calls
            .call("TerminateInstanceInAutoScalingGroup", Again::Once, call)
            .await;
        match answer {
            Ok(_) => {
                let mut memory = self.memory();
                memory.has_ended(id, self.clock.instant(), true);
                memory.lowered = memory.lowered.saturating_add(1);
                Ok(Ended::Ending)
            }
            Err(fault) => {
                if fault.meaning != Meaning::Lost {
                    self.memory().has_not_ended(id);
                }
                if fault.meaning == Meaning::Refused && fault.says("not found") {
                    return Ok(Ended::Already);
                }
                Err(fault.into())
            }
        }
    }

    /// Whether `id` is there to be ended; `false`: it is ending, or gone.
    async fn serves(&self, id: &InstanceId) -> Result<bool, Fault> {
        let Some((word, state)) = self.state(id).await? else {
            return Ok(false);
        };
        match state {
            Lifecycle::Pending | Lifecycle::InService => Ok(true),
            Lifecycle::TerminatingWait | Lifecycle::Terminating | Lifecycle::Unlisted => Ok(false),
            Lifecycle::SetAside => Err(Fault::new(
                Meaning::Refused,
                format!(
                    "{id} is {word}: somebody has set it aside; whoever did ends it, or returns it: aws autoscaling exit-standby"
                ),
            )),
        }
    }

    /// The state of `id` now, in the API's word and ours; `None`: there is no such instance in any group.
    async fn state(&self, id: &InstanceId) -> Result<Option<(String, Lifecycle)>, Fault> {
        let described = self.details(std::slice::from_ref(id)).await?;
        let Some(it) = described
            .iter()
            .find(|it| it.instance_id() == Some(id.as_str()))
        else {
            return Ok(None);
        };
        let group = it.auto_scaling_group_name().unwrap_or_default();
        if group != self.settings.auto_scaling_group {
            return Err(Fault::new(
                Meaning::Refused,
                format!(
                    "{id} belongs to the group \"{}\", which is not ours",
                    plain(group)
                ),
            ));
        }
        let word = plain(it.lifecycle_state().unwrap_or_default());
        let state = books::lifecycle(&word).ok_or_else(|| {
            Fault::new(
                Meaning::Failed,
                format!("{id} is in the state \"{word}\", which is not known here"),
            )
        })?;
        Ok(Some((word, state)))
    }

    /// Instances by their ids, at most 50. Those that are in no group are left out.
    pub(super) async fn details(
        &self,
        ids: &[InstanceId],
    ) -> Result<Vec<AutoScalingInstanceDetails>, Fault> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..super::MOST_PAGES {
            let call = || {
                let ids = ids.iter().map(|id| id.as_str().to_owned()).collect();
                self.client
                    .describe_auto_scaling_instances()
                    .set_instance_ids(Some(ids))
                    .set_next_token(next.clone())
                    .send()
            };
            let answer = self
                .calls
                .call("DescribeAutoScalingInstances", Again::Reads, call)
                .await?;
            let Some(page) = answer.auto_scaling_instances else {
                break;
            };
            found.extend(page);
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(Fault::new(
            Meaning::Failed,
            "DescribeAutoScalingInstances: the answer is not whole",
        ))
    }

    pub(super) async fn heartbeat(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let hook = self.settings.termination_hook.as_str();
        let call = || {
            self.client
                .record_lifecycle_action_heartbeat()
                .auto_scaling_group_name(&self.settings.auto_scaling_group)
                .lifecycle_hook_name(hook)
                .instance_id(id.as_str())
                .send()
        };
        self.calls
            .call("RecordLifecycleActionHeartbeat", Again::Same, call)
            .await
            .map(|_| ())
            .map_err(ProviderError::from)
    }

    pub(super) async fn complete(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let hook = self.settings.termination_hook.as_str();
        let call = || {
            self.client
                .complete_lifecycle_action()
                .auto_scaling_group_name(&self.settings.auto_scaling_group)
                .lifecycle_hook_name(hook)
                .instance_id(id.as_str())
                .lifecycle_action_result("CONTINUE")
                .send()
        };
        let answer = self
            .calls
            .call("CompleteLifecycleAction", Again::Same, call)
            .await;
        match answer {
            Ok(_) => Ok(()),
            // It was told so before, or its time ran out: either way nothing waits any more.
            Err(fault) if fault.meaning == Meaning::Refused && fault.says(NO_ACTION) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }
}
