//! Whether the Auto Scaling group is set up so that it ends nothing by itself, and in places that are allowed.
//!
//! Responsible for asking, and for judging what was answered. Each rule is here because a group that breaks it has ended
//! machines that carried something, or has refused to end one that did not. Not responsible for relays (`relays`).

mod behaviour;
mod capacity;
mod zones;

use aws_config::SdkConfig;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleHook};

use super::Finding;
use super::fixes::Fixes;
use crate::config::{Aws, ControllerConfig};
use crate::provider::aws::{self, Again, Calls, Fault, Settings};

const CHECK: &str = "group";

/// What the API says of the group.
#[derive(Debug)]
struct Described {
    group: AutoScalingGroup,
    /// `None`: they could not be asked for.
    hooks: Option<Vec<LifecycleHook>>,
    policies: Vec<String>,
    scheduled: Vec<String>,
    refreshing: bool,
}

pub(super) async fn examine(config: &ControllerConfig, written: &Aws) -> Vec<Finding> {
    let sdk = aws::sdk_config(&written.region).await;
    examine_over(&sdk, config, written).await
}

/// The same over credentials and an endpoint that are given.
async fn examine_over(sdk: &SdkConfig, config: &ControllerConfig, written: &Aws) -> Vec<Finding> {
    let settings = Settings::from(written);
    let client = aws::client(sdk, &settings);
    let calls = Calls::new(&settings);
    let mut findings = Vec::new();
    let described = match described(&client, &calls, &settings, &mut findings).await {
        Ok(described) => described,
        Err(fault) => {
            findings.push(refused("credentials", &fault));
            return findings;
        }
    };
    findings.push(Finding::good(
        "credentials",
        format!(
            "{} in {} can be described",
            settings.auto_scaling_group, settings.region
        ),
    ));
    let fixes = Fixes {
        group: &settings.auto_scaling_group,
        region: &settings.region,
    };
    let judged = judge(config, &settings, &described, fixes);
    if judged.is_empty() {
        findings.push(Finding::good(
            CHECK,
            "it is set up as a controller needs it",
        ));
    }
    findings.extend(judged);
    findings
}

/// Everything that is wrong with the group.
fn judge(
    config: &ControllerConfig,
    settings: &Settings,
    described: &Described,
    fixes: Fixes<'_>,
) -> Vec<Finding> {
    let mut findings = zones::judge(config, settings, &described.group, fixes);
    findings.extend(capacity::judge(&config.policy, described, fixes));
    findings.extend(behaviour::judge(config, settings, described, fixes));
    findings
}

/// Asks everything. What is refused beside the group itself is a finding of its own, and counts as nothing found.
async fn described(
    client: &Client,
    calls: &Calls,
    settings: &Settings,
    findings: &mut Vec<Finding>,
) -> Result<Described, Fault> {
    let name = settings.auto_scaling_group.as_str();
    let (pages, end) = aws::group_pages(client, calls, name).await?;
    if let Err(words) = end {
        return Err(Fault::new(aws::Meaning::Failed, words));
    }
    let mine = |group: &AutoScalingGroup| group.auto_scaling_group_name() == Some(name);
    let mut pages = pages.into_iter().filter(mine);
    let Some(mut group) = pages.next() else {
        return Err(Fault::new(
            aws::Meaning::Refused,
            format!(
                "there is no Auto Scaling group \"{name}\" in {}; correct provider.aws.auto-scaling-group or provider.aws.region",
                settings.region
            ),
        ));
    };
    for page in pages {
        let instances = group.instances.get_or_insert_default();
        instances.extend(page.instances.unwrap_or_default());
    }
    let mut asked = |answer: Result<Vec<String>, Fault>| {
        answer.unwrap_or_else(|fault| {
            findings.push(refused("permissions", &fault));
            Vec::new()
        })
    };
    let policies = asked(policies(client, calls, name).await);
    let scheduled = asked(scheduled(client, calls, name).await);
    let refreshing = asked(refreshes(client, calls, name).await);
    let hooks = hooks(client, calls, name).await;
    let hooks = hooks.map_err(|fault| findings.push(refused("permissions", &fault)));
    Ok(Described {
        group,
        hooks: hooks.ok(),
        policies,
        scheduled,
        refreshing: !refreshing.is_empty(),
    })
}

async fn hooks(client: &Client, calls: &Calls, name: &str) -> Result<Vec<LifecycleHook>, Fault> {
    let call = || {
        client
            .describe_lifecycle_hooks()
            .auto_scaling_group_name(name)
            .send()
    };
    let answer = calls
        .call("DescribeLifecycleHooks", Again::Reads, call)
        .await?;
    Ok(answer.lifecycle_hooks.unwrap_or_default())
}

/// Names of the group's scaling policies; the first page is enough to know that there are some.
async fn policies(client: &Client, calls: &Calls, name: &str) -> Result<Vec<String>, Fault> {
    let call = || {
        client
            .describe_policies()
            .auto_scaling_group_name(name)
            .send()
    };
    let answer = calls.call("DescribePolicies", Again::Reads, call).await?;
    let names = answer.scaling_policies().iter();
    let names = names.filter_map(|it| it.policy_name().map(str::to_owned));
    Ok(names.collect())
}

async fn scheduled(client: &Client, calls: &Calls, name: &str) -> Result<Vec<String>, Fault> {
    let call = || {
        client
            .describe_scheduled_actions()
            .auto_scaling_group_name(name)
            .send()
    };
    let answer = calls
        .call("DescribeScheduledActions", Again::Reads, call)
        .await?;
    let names = answer.scheduled_update_group_actions().iter();
    let names = names.filter_map(|it| it.scheduled_action_name().map(str::to_owned));
    Ok(names.collect())
}

/// States of refreshes that are not over.
async fn refreshes(client: &Client, calls: &Calls, name: &str) -> Result<Vec<String>, Fault> {
    let call = || {
        client
            .describe_instance_refreshes()
            .auto_scaling_group_name(name)
            .max_records(5)
            .send()
    };
    let answer = calls
        .call("DescribeInstanceRefreshes", Again::Reads, call)
        .await?;
    let active = answer.instance_refreshes().iter();
    let active = active.filter(|it| aws::refreshes(it.status()));
    Ok(active
        .map(|it| it.status().map_or("", |status| status.as_str()).to_owned())
        .collect())
}

/// What a fault says after its last semicolon is what mends it.
fn refused(check: &'static str, fault: &Fault) -> Finding {
    match fault.words.split_once("; ") {
        Some((what, remedy)) => Finding::bad(check, what, remedy),
        None => Finding::bad(
            check,
            fault.words.clone(),
            "see that this machine reaches the API: its route, a proxy, AWS_ENDPOINT_URL",
        ),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
