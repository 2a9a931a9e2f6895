//! Whether the group's bounds leave the controller room, and nobody else changes its size.
//!
//! Responsible for MinSize, MaxSize and everything that writes the desired capacity. Not responsible for the policy's numbers.

use super::Described;
use crate::doctor::Finding;
use crate::doctor::fixes::{Fixes, quoted};
use crate::policy::Policy;

const CHECK: &str = "capacity";

pub(super) fn judge(policy: &Policy, described: &Described, fixes: Fixes<'_>) -> Vec<Finding> {
    let mut findings = bounds(policy, described, fixes);
    for policy in &described.policies {
        findings.push(Finding::bad(
            CHECK,
            format!("the scaling policy \"{policy}\" changes the size of the group beside the controller, and lets it choose who ends"),
            fixes.group("delete-policy", &format!("--policy-name {}", quoted(policy))),
        ));
    }
    for action in &described.scheduled {
        findings.push(Finding::bad(
            CHECK,
            format!("the scheduled action \"{action}\" changes the size of the group beside the controller"),
            format!(
                "write it as [[policy.schedule]], and: {}",
                fixes.group(
                    "delete-scheduled-action",
                    &format!("--scheduled-action-name {}", quoted(action))
                )
            ),
        ));
    }
    if described.refreshing {
        findings.push(Finding::bad(
            CHECK,
            "an instance refresh replaces all instances, whatever they carry; nothing is drained meanwhile",
            format!(
                "let the controller replace them (policy.replace-images = true), and: {}",
                fixes.group("cancel-instance-refresh", "")
            ),
        ));
    }
    if described.group.warm_pool_configuration().is_some() {
        findings.push(Finding::bad(
            CHECK,
            "the group has a warm pool: machines that are neither launched nor ended by the controller's word",
            fixes.group("delete-warm-pool", ""),
        ));
    }
    findings
}

fn bounds(policy: &Policy, described: &Described, fixes: Fixes<'_>) -> Vec<Finding> {
    let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    let (min, max) = (
        number(described.group.min_size),
        number(described.group.max_size),
    );
    let mut findings = Vec::new();
    let needed = policy.max.saturating_add(policy.surge);
    if let Some(max) = max.filter(|max| *max < needed) {
        findings.push(Finding::bad(
            CHECK,
            format!(
                "MaxSize is {max}; the policy may have {} relays, and {} more while others drain",
                policy.max, policy.surge
            ),
            fixes.update(&format!("--max-size {needed}")),
        ));
    }
    match min {
        Some(min) if min > policy.min => findings.push(Finding::bad(
            CHECK,
            format!("MinSize is {min} and the policy's minimum {}: relays could not be ended down to it", policy.min),
            fixes.update(&format!("--min-size {}", policy.min.saturating_sub(1))),
        )),
        Some(min) if min == policy.min && min > 0 => findings.push(Finding::doubtful(
            CHECK,
            format!("MinSize is {min}, as is the policy's minimum: at it a relay that is broken could not be ended"),
            fixes.update(&format!("--min-size {}", min - 1)),
        )),
        Some(_) | None => {}
    }
    findings
}
