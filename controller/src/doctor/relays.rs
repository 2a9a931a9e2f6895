//! Whether the relays that are there can be reached, and are where they may be, by their own word.
//!
//! Responsible for every provider alike: a list, and one question to each relay. Not responsible for how a group should be
//! set up (`group`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Finding, clocks};
use crate::clock::Clock;
use crate::config::{ControllerConfig, Provider};
use crate::fleet::{Lifecycle, Report, ZoneId};
use crate::observe::{RelayClient, Relays};
use crate::provider::{self, Instance};

const CHECK: &str = "relays";

pub(super) async fn examine(config: &ControllerConfig, clock: Clock) -> Vec<Finding> {
    let kind = config.provider.as_str();
    // Dry: whatever the provider does when it is opened, it only lists here.
    let directory = config.state_directory.clone();
    let directory = directory.unwrap_or_else(|| PathBuf::from("."));
    let opened = match opened(config, &directory, clock).await {
        Ok(opened) => opened,
        Err(finding) => return vec![finding],
    };
    let listing = match opened.list().await {
        Ok(listing) => listing,
        // The group's own findings say the same, with the remedy.
        Err(_) if matches!(config.provider, Provider::Aws(_)) => return Vec::new(),
        Err(error) => {
            return vec![Finding::bad(
                CHECK,
                format!("the provider {kind} does not list: {error}"),
                format!("correct the section [provider.{kind}]"),
            )];
        }
    };
    let mut findings = Vec::new();
    if !listing.complete {
        findings.push(Finding::bad(
            CHECK,
            format!("the list of the provider {kind} is not complete"),
            "a controller does nothing on such a list; see the log of the provider for what is missing in it",
        ));
    }
    let client = match RelayClient::new(&config.relays) {
        Ok(client) => Arc::new(client),
        Err(error) => {
            findings.push(Finding::bad(
                CHECK,
                error.to_string(),
                "correct the section [relays]",
            ));
            return findings;
        }
    };
    let mut asked = JoinSet::new();
    for instance in listing.instances {
        let client = Arc::clone(&client);
        asked.spawn(async move {
            let answer = match instance.admin {
                Some(admin) if instance.lifecycle == Lifecycle::InService => Some(
                    client
                        .status(&instance.id, admin)
                        .await
                        .map_err(|error| error.to_string()),
                ),
                Some(_) | None => None,
            };
            (instance, answer)
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    let reachable = answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Some(Ok(_))));
    let reachable = reachable.count();
    let all = answers.len();
    for (instance, answer) in answers {
        findings.extend(place(config, &instance));
        findings.extend(said(config, clock, &instance, answer));
    }
    if findings.is_empty() {
        findings.push(Finding::good(
            CHECK,
            format!("{all} relays are listed, {reachable} answer, each in an allowed zone"),
        ));
    }
    findings
}

async fn opened(
    config: &ControllerConfig,
    directory: &Path,
    clock: Clock,
) -> Result<Arc<dyn provider::Provider>, Finding> {
    provider::open(config, directory, clock, true)
        .await
        .map_err(|words| {
            let kind = config.provider.as_str();
            Finding::bad(
                CHECK,
                words,
                format!("correct the section [provider.{kind}]"),
            )
        })
}

/// Whether the provider has it in an allowed zone.
fn place(config: &ControllerConfig, instance: &Instance) -> Option<Finding> {
    (!config.allowed_zones.contains(&instance.zone)).then(|| {
        Finding::bad(
            CHECK,
            format!(
                "{} is in {}, which is not allowed",
                instance.id, instance.zone
            ),
            "a controller offers it to nobody and drains it; find out who launched it there",
        )
    })
}

/// What its answer means.
fn said(
    config: &ControllerConfig,
    clock: Clock,
    instance: &Instance,
    answer: Option<Result<Report, String>>,
) -> Vec<Finding> {
    let id = &instance.id;
    match answer {
        None if instance.lifecycle != Lifecycle::InService => Vec::new(),
        None => vec![Finding::bad(
            CHECK,
            format!("the address of {id} cannot be found"),
            match &config.provider {
                Provider::Aws(_) => {
                    "provider.aws.address; for \"resource-name-dns\" the launch template has to ask for it: \
                                     PrivateDnsNameOptions {HostnameType=resource-name,EnableResourceNameDnsARecord=true}"
                }
                Provider::Local(_) | Provider::Static(_) | Provider::Exec(_) => {
                    "the provider's list has to name it (admin)"
                }
            },
        )],
        Some(Err(words)) => {
            let admin = instance.admin.map(|admin| admin.to_string());
            vec![Finding::bad(
                CHECK,
                format!(
                    "{id} does not answer at {}: {words}",
                    admin.unwrap_or_default()
                ),
                format!(
                    "let this machine reach port {} of the relays (security group), and compare [relays] here with [admin] there",
                    config.relays.admin_port
                ),
            )]
        }
        Some(Ok(report)) => {
            let mut findings = Vec::new();
            findings.extend(zone(id.as_str(), &instance.zone, report.zone_id.as_ref()));
            findings.extend(clocks::apart(id.as_str(), clock.unix(), report.time));
            findings
        }
    }
}

/// Whether relay and provider agree on where it is.
fn zone(id: &str, listed: &ZoneId, reported: Option<&ZoneId>) -> Option<Finding> {
    match reported {
        Some(zone) if zone == listed => None,
        Some(zone) => Some(Finding::bad(
            CHECK,
            format!("{id} says that it is in {zone}, and the provider says {listed}"),
            "one of the two is wrong: compare with the zone id in the instance's metadata, and provider.aws.zone-ids with this \
             account's names",
        )),
        None => Some(Finding::doubtful(
            CHECK,
            format!(
                "{id} does not know in which zone it is, so it cannot hold itself to the allowed ones"
            ),
            "let it read the instance's metadata, or write zone-id into its configuration",
        )),
    }
}
