//! Launching: additive, into an allowed zone, once for each token.
//!
//! `LaunchInstances` does all of that by itself. Where the group or the API cannot do it, the desired capacity is raised, which
//! does none of it: the zone is the group's choice, so that every zone of the group has to be an allowed one; and the write is
//! absolute, so that it is reckoned from a fresh description, never downward, and what a token has raised is remembered.

use aws_sdk_autoscaling::operation::launch_instances::LaunchInstancesOutput;
use aws_sdk_autoscaling::types::RetryStrategy;
use sha2::{Digest, Sha256};

use super::call::plain;
use super::memory::Raise;
use super::{Again, Aws, Books, Fault, Meaning};
use crate::config::AwsLaunch;
use crate::fleet::{InstanceId, LaunchToken, ZoneId};
use crate::provider::{LaunchOrder, ProviderError};

/// Instances that one call launches.
const MOST_AT_ONCE: u32 = 100;
/// Pages of scaling activities that are searched for a raise.
const PAGES_OF_ACTIVITIES: u32 = 5;

impl Aws {
    pub(super) async fn launch_allowed(
        &self,
        order: &LaunchOrder,
    ) -> Result<Vec<InstanceId>, ProviderError> {
        // The plan has asked already, and so has the configuration. Here is the last place that can.
        if !self.allowed.contains(&order.zone) {
            return Err(ProviderError::Refused(format!(
                "{} is not an allowed zone; nothing is launched there unless sovereignty.allowed-zone-ids names it",
                order.zone
            )));
        }
        if order.count == 0 || order.count > MOST_AT_ONCE {
            return Err(ProviderError::Refused(format!(
                "{} instances at once: one launch is of 1 to {MOST_AT_ONCE}",
                order.count
            )));
        }
        let raised = self.memory().raise(&order.token).is_some();
        match self.settings.launch {
            // A token that has been raised once is never launched in the other way as well.
            AwsLaunch::Automatic if !raised => match self.launch_there(order).await {
                Err(fault) if cannot_launch_there(&fault) => Ok(self.raise(order).await?),
                answer => answer.map_err(ProviderError::from)?,
            },
            AwsLaunch::LaunchInstances => self.launch_there(order).await?,
            AwsLaunch::Automatic | AwsLaunch::DesiredCapacity => Ok(self.raise(order).await?),
        }
    }

    /// `LaunchInstances`. The outer error is the call's, the inner one what the API says of the launch.
    async fn launch_there(
        &self,
        order: &LaunchOrder,
    ) -> Result<Result<Vec<InstanceId>, ProviderError>, Fault> {
        let books = self.describe().await?;
        let by_name = if books.gives_zone_ids {
            None
        } else {
            Some(self.zones.name(&order.zone).ok_or_else(|| {
                Fault::new(
                    Meaning::Refused,
                    format!(
                        "the API gives no zone ids here, and provider.aws.zone-ids has no name for {}; add it: \
                         aws ec2 describe-availability-zones names both",
                        order.zone
                    ),
                )
            })?)
        };
        let count = i32::try_from(order.count).unwrap_or(i32::MAX);
        let call = || {
            let call = self
                .client
                .launch_instances()
                .auto_scaling_group_name(&self.settings.auto_scaling_group)
                .requested_capacity(count)
                .client_token(client_token(&order.token))
                // Whatever comes later comes from a plan.
                .retry_strategy(RetryStrategy::None);
            match by_name {
                Some(name) => call.availability_zones(name),
                None => call.availability_zone_ids(order.zone.as_str()),
            }
            .send()
        };
        let answer = self
            .calls
            .call("LaunchInstances", Again::Same, call)
            .await?;
        let answer = read(&answer, order);
        if let Ok(ids) = &answer {
            let at = self.clock.instant();
            self.memory()
                .has_launched(&order.token, ids.iter().cloned(), at);
        }
        Ok(answer)
    }

    /// `SetDesiredCapacity`, upward.
    async fn raise(&self, order: &LaunchOrder) -> Result<Vec<InstanceId>, Fault> {
        let _one = self.reckoning.lock().await;
        let books = self.describe().await?;
        let (desired, max) = self.may_raise(&books)?;
        let ids = books.ids();
        let now = self.clock.instant();
        let before = self.memory().raise(&order.token).cloned();
        let raise = match before.clone() {
            Some(before) => {
                let due = self.memory().due(&before);
                if before.done || desired >= due || self.activity_of(&before).await? {
                    let done = Raise {
                        done: true,
                        ..before
                    };
                    return Ok(self.raised(&order.token, done, &books));
                }
                Raise {
                    from: desired,
                    to: due,
                    ..before
                }
            }
            None => {
                // A capacity that is below what is there would end some of it, whoever wrote it.
                let from = desired
                    .max(self.memory().desired_at_least(now))
                    .max(books.counted());
                Raise {
                    from,
                    to: from.saturating_add(order.count),
                    count: order.count,
                    before: ids,
                    lowered: self.memory().lowered,
                    done: false,
                    at: now,
                }
            }
        };
        if raise.to > max {
            return Err(Fault::new(
                Meaning::Refused,
                format!(
                    "{} instances are more than the group's MaxSize ({max}); raise MaxSize, or lower the policy's maximum",
                    raise.to
                ),
            ));
        }
        // What is asked for is remembered first: an answer that is lost does not take it back.
        self.memory().has_raised(&order.token, raise.clone());
        match self.set_desired(raise.to).await {
            Ok(()) => {
                let done = Raise {
                    done: true,
                    ..raise
                };
                Ok(self.raised(&order.token, done, &books))
            }
            Err(fault) => {
                if fault.meaning != Meaning::Lost {
                    // This try has not happened. One before it, whose answer was lost, may have.
                    match before {
                        Some(before) => self.memory().has_raised(&order.token, before),
                        None => self.memory().has_not_raised(&order.token),
                    }
                }
                Err(fault)
            }
        }
    }

    async fn set_desired(&self, to: u32) -> Result<(), Fault> {
        let to = i32::try_from(to).unwrap_or(i32::MAX);
        let call = || {
            self.client
                .set_desired_capacity()
                .auto_scaling_group_name(&self.settings.auto_scaling_group)
                .desired_capacity(to)
                .honor_cooldown(false)
                .send()
        };
        self.calls
            .call("SetDesiredCapacity", Again::Once, call)
            .await
            .map(|_| ())
    }

    /// Whether the group is one whose capacity may be raised: its desired capacity and its maximum.
    fn may_raise(&self, books: &Books) -> Result<(u32, u32), Fault> {
        if let Some(gap) = books.gaps.first() {
            return Err(Fault::new(
                Meaning::Failed,
                format!(
                    "the desired capacity is not raised from a description that is not whole: {gap}"
                ),
            ));
        }
        let offshore: Vec<&str> = books
            .group
            .zones
            .difference(&self.allowed)
            .map(ZoneId::as_str)
            .collect();
        if !offshore.is_empty() || books.group.zones.is_empty() {
            return Err(Fault::new(
                Meaning::Refused,
                format!(
                    "a raised desired capacity launches in any zone of the group, and [{}] is not allowed; take its subnet from \
                     the group, or name its zone in provider.aws.zone-ids and sovereignty.allowed-zone-ids",
                    offshore.join(", ")
                ),
            ));
        }
        books
            .group
            .desired
            .zip(books.group.max)
            .ok_or_else(|| Fault::new(Meaning::Failed, "the group's capacity is not known"))
    }

    /// A raise is known to have happened; what came of it so far.
    fn raised(&self, token: &LaunchToken, raise: Raise, books: &Books) -> Vec<InstanceId> {
        let mut memory = self.memory();
        memory.has_raised(token, raise);
        memory.arrived(&books.ids());
        let launched = memory.launched();
        launched.get(token).cloned().unwrap_or_default()
    }

    /// Whether the group's history says that `raise` has happened.
    async fn activity_of(&self, raise: &Raise) -> Result<bool, Fault> {
        let words = format!("from {} to {}", raise.from, raise.to);
        let since = self.clock.instant().saturating_since(raise.at).as_secs();
        let begun_after = self
            .clock
            .unix()
            .as_secs()
            .saturating_sub(since.saturating_add(60));
        let mut next: Option<String> = None;
        for _ in 0..PAGES_OF_ACTIVITIES {
            let call = || {
                self.client
                    .describe_scaling_activities()
                    .auto_scaling_group_name(&self.settings.auto_scaling_group)
                    .set_next_token(next.clone())
                    .send()
            };
            let answer = self
                .calls
                .call("DescribeScalingActivities", Again::Reads, call)
                .await?;
            for activity in answer.activities() {
                // One of long ago was another raise between the same figures.
                let begun = activity.start_time().map(|at| at.secs());
                let recent = begun
                    .and_then(|begun| u64::try_from(begun).ok())
                    .is_none_or(|begun| begun >= begun_after);
                if recent && activity.cause().is_some_and(|cause| cause.contains(&words)) {
                    return Ok(true);
                }
            }
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        Ok(false)
    }
}

/// Whether the API says that it, or the group, has no such way to launch. Nothing has been launched then.
fn cannot_launch_there(fault: &Fault) -> bool {
    match fault.meaning {
        Meaning::NoSuchOperation => true,
        Meaning::Refused => {
            fault.code.starts_with("Validation")
                && (fault.says("not supported")
                    || fault.says("launch configuration")
                    || fault.says("does not support"))
        }
        Meaning::Throttled | Meaning::Failed | Meaning::Lost => false,
    }
}

/// What came of a launch that was answered: instances, or the first of the errors.
fn read(
    answer: &LaunchInstancesOutput,
    order: &LaunchOrder,
) -> Result<Vec<InstanceId>, ProviderError> {
    let ids = answer
        .instances()
        .iter()
        .flat_map(|collection| collection.instance_ids());
    let ids: Result<Vec<InstanceId>, _> = ids.map(|id| InstanceId::try_from(id.as_str())).collect();
    let ids = ids.map_err(|why| {
        ProviderError::Unknown(format!("LaunchInstances: an id in the answer {why}"))
    })?;
    if !ids.is_empty() {
        // Fewer than were asked for is no failure: the next plan sees what is missing.
        return Ok(ids);
    }
    let Some(error) = answer.errors().first() else {
        return Err(ProviderError::Unknown(
            "LaunchInstances: the answer has neither instances nor an error".to_owned(),
        ));
    };
    let code = plain(error.error_code().unwrap_or_default());
    let words = format!(
        "{} in {}: {code}: {}",
        order.count,
        order.zone,
        plain(error.error_message().unwrap_or_default())
    );
    Err(match code.as_str() {
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientCapacityOnOutpost"
        | "InsufficientFreeAddressesInSubnet"
        | "UnfulfillableCapacity"
        | "Unsupported" => ProviderError::NoCapacity(words),
        "InstanceLimitExceeded" | "VcpuLimitExceeded" | "MaxSpotInstanceCountExceeded" => {
            ProviderError::Refused(format!("{words}; ask AWS for a higher quota"))
        }
        "UnauthorizedOperation" | "AccessDenied" => ProviderError::Refused(format!(
            "{words}; the service-linked role of Auto Scaling may not use this launch template: its image, key or role"
        )),
        "RequestLimitExceeded" | "Throttling" => ProviderError::Throttled(words),
        code if code.starts_with("Invalid") => ProviderError::Refused(format!(
            "{words}; correct the launch template, and name its new version in the group"
        )),
        _ => ProviderError::Failed(words),
    })
}

/// The token as the API takes it: at most 64 letters, digits, hyphens, underscores and slashes.
fn client_token(token: &LaunchToken) -> String {
    let text = token.as_str();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
    if text.len() <= 64 && text.chars().all(fits) {
        return text.to_owned();
    }
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_the_api_would_refuse_becomes_another_and_stays_the_same() {
        let token = |text: String| LaunchToken::try_from(text).expect("a token");
        assert_eq!(client_token(&token("fleet-1-2".to_owned())), "fleet-1-2");
        let long = token("x".repeat(100));
        assert_eq!(client_token(&long).len(), 64);
        assert_eq!(client_token(&long), client_token(&long.clone()));
        for text in ["fleet:1:2", "fleet.1.2"] {
            let odd = client_token(&token(text.to_owned()));
            assert!(odd.chars().all(|c| c.is_ascii_alphanumeric()), "{odd}");
        }
        assert_ne!(client_token(&long), client_token(&token("y".repeat(100))));
    }
}
