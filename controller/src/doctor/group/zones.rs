//! Whether the group can launch in allowed zones alone.
//!
//! Responsible for every zone of the group, by its id. Not responsible for which ones are allowed.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::AutoScalingGroup;

use crate::config::ControllerConfig;
use crate::doctor::fixes::Fixes;
use crate::doctor::{Finding, places};
use crate::fleet::ZoneId;
use crate::provider::aws::Settings;

const CHECK: &str = "zones";

pub(super) fn judge(
    config: &ControllerConfig,
    settings: &Settings,
    group: &AutoScalingGroup,
    fixes: Fixes<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut zones: BTreeSet<ZoneId> = BTreeSet::new();
    let said = said(group);
    let ids = group.availability_zone_ids();
    if ids.is_empty() {
        for name in group.availability_zones() {
            let said = said
                .get(name.as_str())
                .and_then(|id| ZoneId::try_from(*id).ok());
            match said.or_else(|| settings.zone_ids.get(name).cloned()) {
                Some(id) => {
                    zones.insert(id);
                }
                None => findings.push(unmapped(name, fixes)),
            }
        }
    } else {
        zones.extend(
            ids.iter()
                .filter_map(|id| ZoneId::try_from(id.as_str()).ok()),
        );
    }
    if zones.is_empty() && findings.is_empty() {
        findings.push(Finding::bad(
            CHECK,
            "the group has no zones",
            fixes.update("--vpc-zone-identifier SUBNET,SUBNET,SUBNET"),
        ));
    }
    // What is not mapped may be any of them.
    if findings.is_empty() {
        findings.extend(unused(config, &zones, fixes));
    }
    findings.extend(contradictions(settings, &said, fixes));
    findings.extend(offshore(config, &zones, fixes));
    findings.extend(instances(config, settings, group));
    findings
}

fn unmapped(name: &str, fixes: Fixes<'_>) -> Finding {
    Finding::bad(
        CHECK,
        format!(
            "the API gives no id for the zone {name}, and a name is another place in another account"
        ),
        format!(
            "provider.aws.zone-ids = {{ \"{name}\" = \"...\" }}; {} lists both",
            fixes.zones()
        ),
    )
}

/// Zones where a relay would be offshore.
fn offshore(config: &ControllerConfig, zones: &BTreeSet<ZoneId>, fixes: Fixes<'_>) -> Vec<Finding> {
    let offshore = zones.difference(&config.allowed_zones);
    offshore
        .map(|zone| {
            let place = places::of_zone(zone.as_str());
            let place = place.map_or_else(
                || "whose country is not known here".to_owned(),
                |place| {
                    let kind = if place.local { "a Local Zone in" } else { "of" };
                    format!("{kind} {}, {}", place.name, place.country)
                },
            );
            Finding::bad(
                CHECK,
                format!("the group can launch in {zone} ({place}), which is not allowed"),
                format!(
                    "with subnets of allowed zones alone: {}",
                    fixes.update("--vpc-zone-identifier SUBNET,SUBNET,SUBNET")
                ),
            )
        })
        .collect()
}

/// Zones that a plan would choose and the group cannot launch in.
fn unused(
    config: &ControllerConfig,
    zones: &BTreeSet<ZoneId>,
    fixes: Fixes<'_>,
) -> Option<Finding> {
    let unused: Vec<&str> = config
        .allowed_zones
        .difference(zones)
        .map(ZoneId::as_str)
        .collect();
    (!unused.is_empty()).then(|| {
        Finding::doubtful(
            CHECK,
            format!(
                "the group has no subnet in the allowed zones [{}]",
                unused.join(", ")
            ),
            format!(
                "take them out of sovereignty.allowed-zone-ids; or with a subnet of each: {}",
                fixes.update("--vpc-zone-identifier SUBNET,SUBNET,SUBNET")
            ),
        )
    })
}

/// Ids of zones by their names, as instances say them.
fn said(group: &AutoScalingGroup) -> BTreeMap<&str, &str> {
    let instances = group.instances().iter();
    instances
        .filter_map(|it| it.availability_zone().zip(it.availability_zone_id()))
        .collect()
}

/// Configured ids that the API contradicts.
fn contradictions(
    settings: &Settings,
    known: &BTreeMap<&str, &str>,
    fixes: Fixes<'_>,
) -> Vec<Finding> {
    let wrong = settings.zone_ids.iter().filter_map(|(name, id)| {
        let said = known
            .get(name.as_str())
            .filter(|said| **said != id.as_str())?;
        Some(Finding::bad(
            CHECK,
            format!("provider.aws.zone-ids says that {name} is {id}, and the API says {said}"),
            format!(
                "provider.aws.zone-ids.{name} = \"{said}\"; {} lists both",
                fixes.zones()
            ),
        ))
    });
    wrong.collect()
}

/// Instances that are offshore already.
fn instances(
    config: &ControllerConfig,
    settings: &Settings,
    group: &AutoScalingGroup,
) -> Vec<Finding> {
    let zone = |it: &aws_sdk_autoscaling::types::Instance| {
        let by_id = it
            .availability_zone_id()
            .and_then(|id| ZoneId::try_from(id).ok());
        by_id.or_else(|| settings.zone_ids.get(it.availability_zone()?).cloned())
    };
    let offshore = group.instances().iter().filter_map(|it| {
        let zone = zone(it)?;
        (!config.allowed_zones.contains(&zone)).then(|| {
            Finding::bad(
                CHECK,
                format!(
                    "{} is in {zone}, which is not allowed",
                    it.instance_id().unwrap_or_default()
                ),
                "a controller offers it to nobody and drains it; find out who launched it there",
            )
        })
    });
    offshore.collect()
}
