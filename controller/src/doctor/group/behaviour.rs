//! Whether the group does anything by itself to machines that carry calls, and launches the same kind every time.
//!
//! Responsible for protection, suspended processes, hooks, health checks and the launch template.

use std::time::Duration;

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, DeletionProtection, LaunchTemplateSpecification, LifecycleHook,
    LifecycleState,
};

use super::Described;
use crate::config::ControllerConfig;
use crate::doctor::Finding;
use crate::doctor::fixes::{Fixes, quoted};
use crate::provider::aws::{Settings, plain, template};

const CHECK: &str = "behaviour";
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";
const LAUNCHING: &str = "autoscaling:EC2_INSTANCE_LAUNCHING";
/// The longest that AWS allows, so that a hung controller costs no call.
const HEARTBEAT: i32 = 7200;

pub(super) fn judge(
    config: &ControllerConfig,
    settings: &Settings,
    described: &Described,
    fixes: Fixes<'_>,
) -> Vec<Finding> {
    let group = &described.group;
    let mut findings = protection(group, fixes);
    findings.extend(processes(group, fixes));
    if let Some(hooks) = &described.hooks {
        findings.extend(termination(config, settings, hooks, fixes));
        findings.extend(launching(settings, hooks, fixes));
    }
    findings.extend(template_of(group, fixes));
    findings.extend(purchase(group, fixes));
    findings.extend(replacement(group, fixes));
    findings.extend(aside(group, fixes));
    findings
}

fn protection(group: &AutoScalingGroup, fixes: Fixes<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if group.new_instances_protected_from_scale_in() != Some(true) {
        findings.push(Finding::bad(
            CHECK,
            "new instances are not protected from scale-in: whoever lowers the desired capacity ends relays with calls on them",
            fixes.update("--new-instances-protected-from-scale-in"),
        ));
    }
    let open: Vec<&str> = group
        .instances()
        .iter()
        .filter(|it| it.lifecycle_state() == Some(&LifecycleState::InService))
        .filter(|it| it.protected_from_scale_in() == Some(false))
        .filter_map(|it| it.instance_id())
        .collect();
    if !open.is_empty() {
        let ids: Vec<String> = open.iter().take(50).map(|id| quoted(id)).collect();
        findings.push(Finding::bad(
            CHECK,
            format!("{} instances are not protected from scale-in", open.len()),
            fixes.group(
                "set-instance-protection",
                &format!("--protected-from-scale-in --instance-ids {}", ids.join(" ")),
            ),
        ));
    }
    if !matches!(
        group.deletion_protection(),
        Some(DeletionProtection::PreventAllDeletion | DeletionProtection::PreventForceDeletion)
    ) {
        findings.push(Finding::doubtful(
            CHECK,
            "the group can be deleted with everything in it",
            fixes.update("--deletion-protection prevent-force-deletion"),
        ));
    }
    findings
}

fn processes(group: &AutoScalingGroup, fixes: Fixes<'_>) -> Vec<Finding> {
    let suspended = |name: &str| {
        let mut processes = group.suspended_processes().iter();
        processes.any(|it| it.process_name() == Some(name))
    };
    let mut findings = Vec::new();
    if !suspended("AZRebalance") {
        findings.push(Finding::bad(
            CHECK,
            "AZRebalance is not suspended: the group ends relays in one zone to launch in another, whatever they carry",
            fixes.group("suspend-processes", "--scaling-processes AZRebalance"),
        ));
    }
    for (process, means) in [
        ("Launch", "nothing is launched"),
        ("Terminate", "nothing that is ended goes away"),
    ] {
        if suspended(process) {
            findings.push(Finding::bad(
                CHECK,
                format!("{process} is suspended: {means}"),
                fixes.group(
                    "resume-processes",
                    &format!("--scaling-processes {process}"),
                ),
            ));
        }
    }
    findings
}

fn termination(
    config: &ControllerConfig,
    settings: &Settings,
    hooks: &[LifecycleHook],
    fixes: Fixes<'_>,
) -> Vec<Finding> {
    let name = settings.termination_hook.as_str();
    let put = fixes.group(
        "put-lifecycle-hook",
        &format!(
            "--lifecycle-hook-name {} --lifecycle-transition {TERMINATING} --heartbeat-timeout {HEARTBEAT} \
             --default-result CONTINUE",
            quoted(name)
        ),
    );
    let mut findings = Vec::new();
    let mine = |hook: &&LifecycleHook| hook.lifecycle_hook_name() == Some(name);
    let Some(hook) = hooks.iter().find(mine) else {
        findings.push(Finding::bad(
            CHECK,
            format!("there is no hook \"{name}\": an instance that anything else ends is gone at once, with its calls"),
            put,
        ));
        return findings;
    };
    if hook.lifecycle_transition() != Some(TERMINATING) {
        findings.push(Finding::bad(
            CHECK,
            format!(
                "the hook \"{name}\" is for {}, not for ends",
                plain(hook.lifecycle_transition().unwrap_or("nothing"))
            ),
            put.clone(),
        ));
    }
    let timeout = hook.heartbeat_timeout().unwrap_or(0);
    let lasts = Duration::from_secs(u64::try_from(timeout).unwrap_or(0));
    if lasts < config.policy.extend_period {
        findings.push(Finding::bad(
            CHECK,
            format!(
                "the hook \"{name}\" waits {timeout} s for a word, and the controller gives one every {} s",
                config.policy.extend_period.as_secs()
            ),
            put.clone(),
        ));
    } else if lasts < config.policy.drain_deadline {
        findings.push(Finding::doubtful(
            CHECK,
            format!(
                "the hook \"{name}\" waits {timeout} s: a controller that is away for longer costs the calls of a drain of {} s",
                config.policy.drain_deadline.as_secs()
            ),
            put.clone(),
        ));
    }
    if hook.default_result() != Some("CONTINUE") {
        findings.push(Finding::doubtful(
            CHECK,
            format!(
                "the default result of the hook \"{name}\" is {}: other hooks of the same end would not be waited for",
                plain(hook.default_result().unwrap_or("ABANDON"))
            ),
            put,
        ));
    }
    let others = hooks
        .iter()
        .filter(|hook| hook.lifecycle_transition() == Some(TERMINATING))
        .filter_map(|hook| hook.lifecycle_hook_name())
        .filter(|other| *other != name);
    for other in others {
        findings.push(Finding::doubtful(
            CHECK,
            format!("another hook holds ends too (\"{}\"): an instance is gone when both have let it go", plain(other)),
            fixes.group("delete-lifecycle-hook", &format!("--lifecycle-hook-name {}", quoted(other))),
        ));
    }
    findings
}

fn launching(settings: &Settings, hooks: &[LifecycleHook], fixes: Fixes<'_>) -> Vec<Finding> {
    let there: Vec<&str> = hooks
        .iter()
        .filter(|hook| hook.lifecycle_transition() == Some(LAUNCHING))
        .filter_map(|hook| hook.lifecycle_hook_name())
        .collect();
    let mut findings = Vec::new();
    for name in there {
        if name != settings.termination_hook {
            findings.push(Finding::doubtful(
                CHECK,
                format!(
                    "the hook \"{}\" holds launches, and somebody else has to let them go",
                    plain(name)
                ),
                fixes.group(
                    "delete-lifecycle-hook",
                    &format!("--lifecycle-hook-name {}", quoted(name)),
                ),
            ));
        }
    }
    findings
}

fn template_of(group: &AutoScalingGroup, fixes: Fixes<'_>) -> Option<Finding> {
    let pin = |id: &str| {
        let update = format!(
            "--launch-template LaunchTemplateId={},Version=N",
            quoted(id)
        );
        format!(
            "with the number of the version that was tried: {}",
            fixes.update(&update)
        )
    };
    let Some(template) = template(group) else {
        return Some(Finding::bad(
            CHECK,
            "the group has no launch template, and LaunchInstances needs one",
            pin("lt-..."),
        ));
    };
    let name = LaunchTemplateSpecification::launch_template_id(template)
        .or_else(|| template.launch_template_name())
        .unwrap_or_default();
    let version = template.version().unwrap_or("$Default");
    version.starts_with('$').then(|| {
        Finding::bad(
            CHECK,
            format!(
                "the launch template's version is {}: what is launched changes without a word here",
                plain(version)
            ),
            pin(name),
        )
    })
}

fn purchase(group: &AutoScalingGroup, fixes: Fixes<'_>) -> Vec<Finding> {
    let Some(mixed) = group.mixed_instances_policy() else {
        return Vec::new();
    };
    let remedy = || fixes.update("--launch-template LaunchTemplateId=lt-...,Version=N");
    let mut findings = Vec::new();
    let on_demand = mixed
        .instances_distribution()
        .and_then(|it| it.on_demand_percentage_above_base_capacity())
        .unwrap_or(100);
    if on_demand < 100 {
        findings.push(Finding::bad(
            CHECK,
            format!(
                "{} % of the group is spot capacity, which goes away after two minutes' notice",
                100 - on_demand
            ),
            remedy(),
        ));
    }
    let overrides = mixed.launch_template().map_or(0, |it| it.overrides().len());
    if overrides > 1 {
        findings.push(Finding::bad(
            CHECK,
            format!(
                "the group chooses among {overrides} instance types, which LaunchInstances cannot"
            ),
            remedy(),
        ));
    }
    findings
}

/// Everything that replaces machines which work.
fn replacement(group: &AutoScalingGroup, fixes: Fixes<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let health = group.health_check_type().unwrap_or("EC2");
    if health != "EC2" {
        findings.push(Finding::bad(
            CHECK,
            format!(
                "health checks are of {}: one that fails ends a relay with its calls",
                plain(health)
            ),
            fixes.update("--health-check-type EC2"),
        ));
    }
    if group.capacity_rebalance() == Some(true) {
        findings.push(Finding::bad(
            CHECK,
            "capacity rebalancing replaces machines that work",
            fixes.update("--no-capacity-rebalance"),
        ));
    }
    if let Some(seconds) = group.max_instance_lifetime().filter(|seconds| *seconds > 0) {
        findings.push(Finding::bad(
            CHECK,
            format!("instances are replaced after {seconds} s, whatever they carry"),
            fixes.update("--max-instance-lifetime 0"),
        ));
    }
    findings
}

fn aside(group: &AutoScalingGroup, fixes: Fixes<'_>) -> Option<Finding> {
    let aside: Vec<String> = group
        .instances()
        .iter()
        .filter(|it| it.lifecycle_state() == Some(&LifecycleState::Standby))
        .filter_map(|it| it.instance_id().map(quoted))
        .collect();
    (!aside.is_empty()).then(|| {
        Finding::doubtful(
            CHECK,
            format!("somebody has set instances aside: {}", aside.join(" ")),
            fixes.group(
                "exit-standby",
                &format!("--instance-ids {}", aside.join(" ")),
            ),
        )
    })
}
