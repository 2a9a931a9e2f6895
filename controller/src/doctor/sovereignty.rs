//! Whether the allowed zones are where they are meant to be.
//!
//! Responsible for naming countries. Not responsible for where relays are (`group`, `relays`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, places};
use crate::config::{ControllerConfig, LeaseKind, Provider};

const CHECK: &str = "sovereignty";

pub(super) fn examine(config: &ControllerConfig) -> Vec<Finding> {
    let mut countries: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for zone in &config.allowed_zones {
        match places::of_zone(zone.as_str()) {
            Some(place) => countries
                .entry(place.country)
                .or_default()
                .push(zone.as_str()),
            None => unknown.push(zone.as_str()),
        }
    }
    let mut findings = vec![spread(&countries)];
    let Provider::Aws(aws) = &config.provider else {
        // Zones of other providers have names of their own.
        return if countries.is_empty() {
            Vec::new()
        } else {
            findings
        };
    };
    if !unknown.is_empty() {
        findings.push(Finding::doubtful(
            CHECK,
            format!(
                "it is not known here in which country [{}] is",
                unknown.join(", ")
            ),
            "look for them in: aws ec2 describe-availability-zones --all-availability-zones",
        ));
    }
    findings.extend(abroad(config, &aws.region));
    findings.extend(lease(config, &countries));
    findings
}

fn spread(countries: &BTreeMap<&str, Vec<&str>>) -> Finding {
    let each: Vec<String> = countries
        .iter()
        .map(|(country, zones)| format!("{country}: {}", zones.join(", ")))
        .collect();
    if countries.len() > 1 {
        return Finding::bad(
            CHECK,
            format!(
                "the allowed zones lie in more than one country ({})",
                each.join("; ")
            ),
            "take those of other countries out of sovereignty.allowed-zone-ids",
        );
    }
    Finding::good(CHECK, format!("allowed zones: {}", each.join("; ")))
}

/// Names the Local Zones abroad that share the region's name: that they are left out is what the list is for.
fn abroad(config: &ControllerConfig, region: &str) -> Vec<Finding> {
    let places = places::abroad(region);
    let is_allowed = |begins: &str| {
        let of_group = |zone: &str| {
            zone.rsplit_once('-')
                .is_some_and(|(group, _)| group == begins)
        };
        config
            .allowed_zones
            .iter()
            .any(|zone| of_group(zone.as_str()))
    };
    places
        .into_iter()
        .filter(|(begins, _)| !is_allowed(begins))
        .map(|(begins, place)| {
            Finding::good(
                CHECK,
                format!(
                    "{begins}-az1 ({}, {}) is a Local Zone of {region}, and is not allowed",
                    place.name, place.country
                ),
            )
        })
        .collect()
}

/// The record of the lease names hosts: it belongs where the relays are.
fn lease(config: &ControllerConfig, countries: &BTreeMap<&str, Vec<&str>>) -> Option<Finding> {
    let LeaseKind::S3 { region, .. } = &config.lease.kind else {
        return None;
    };
    let allowed: BTreeSet<&str> = countries.keys().copied().collect();
    match places::of_region(region) {
        Some(country) if allowed.contains(country) => None,
        country => Some(Finding::bad(
            CHECK,
            format!(
                "the lease is kept in {region} ({}), where no allowed zone is",
                country.unwrap_or("a country that is not known here")
            ),
            "lease.region: a bucket in a region of the allowed zones",
        )),
    }
}
