//! `[provider]` and the section of its kind.
//!
//! Responsible for what each provider needs to be told, and for zones that could never be launched in. Not for asking the
//! provider anything (`taciturn doctor` does).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::access::socket_address;
use super::document::Document;
use super::written::{self, AwsLaunchWord, Human, ProviderWord};
use super::{Aws, AwsAddress, AwsLaunch, Exec, Local, Provider, StaticRelay, zones};
use crate::durations::words;
use crate::fleet::{InstanceId, ZoneId};

const SECTIONS: [(ProviderWord, &str); 4] = [
    (ProviderWord::Local, "local"),
    (ProviderWord::Aws, "aws"),
    (ProviderWord::Static, "static"),
    (ProviderWord::Exec, "exec"),
];

/// The provider; `None` after an error.
pub(super) fn provider(
    document: &Document<'_>,
    written: &written::Provider,
    allowed: &BTreeSet<ZoneId>,
) -> Option<Provider> {
    let Some(kind) = written.kind else {
        if !document.has("provider.kind") {
            document.refuse(
                "provider.kind",
                "is missing: nothing says who has the machines; write kind = \"aws\", \"local\", \"static\" or \"exec\"",
            );
        }
        return None;
    };
    for (other, name) in SECTIONS {
        let key = format!("provider.{name}");
        if other != kind && document.has(&key) {
            document.refuse(
                &key,
                "is of another kind than provider.kind says; take the section away, or change the kind",
            );
        }
    }
    match kind {
        ProviderWord::Local => local(document, written.local.as_ref(), allowed),
        ProviderWord::Aws => aws(document, written.aws.as_ref(), allowed),
        ProviderWord::Static => fixed(document, written.fixed.as_ref(), allowed),
        ProviderWord::Exec => exec(document, written.exec.as_ref()),
    }
}

fn local(
    document: &Document<'_>,
    written: Option<&written::Local>,
    allowed: &BTreeSet<ZoneId>,
) -> Option<Provider> {
    let empty = written::Local::default();
    let written = written.unwrap_or(&empty);
    let default = ["local-a", "local-b", "local-c"]
        .map(str::to_owned)
        .to_vec();
    let names = written.zones.as_ref().unwrap_or(&default);
    let mut list = Vec::new();
    for (index, text) in names.iter().enumerate() {
        let key = format!("provider.local.zones[{index}]");
        match zones::zone(text) {
            Ok(zone) if list.contains(&zone) => {
                document.refuse(&key, "stands in the list twice; take it out once");
            }
            Ok(zone) => list.push(zone),
            Err(words) => document.refuse(&key, words),
        }
    }
    if names.is_empty() || names.len() > 200 {
        document.refuse(
            "provider.local.zones",
            "must name 1 to 200 zones, as each has a number in its relays' addresses; write e.g. zones = [\"local-a\"]",
        );
    }
    judge_zones(document, "provider.local.zones", &list, allowed);
    let network = written.network.as_deref().unwrap_or("127.0");
    let network = two_bytes(network).or_else(|| {
        document.refuse(
            "provider.local.network",
            "must be the first two numbers of addresses within 127.0.0.0/8, which never leave this machine; write e.g. \
             \"127.0\"",
        );
        None
    });
    let relay_config = written.relay_config.clone().unwrap_or_default();
    judge_relay_config(document, &relay_config);
    let per_zone = written.per_zone.unwrap_or(8);
    if !(1..=254).contains(&per_zone) {
        document.refuse(
            "provider.local.per-zone",
            "must be 1 to 254, as each relay has a number in its address; write e.g. 8",
        );
    }
    if written.metadata_port == Some(0) {
        document.refuse(
            "provider.local.metadata-port",
            "is no port; write the one where the metadata is told, or leave the key out",
        );
    }
    let path = |text: &Option<String>| text.as_deref().map(|name| document.resolve(name));
    Some(Provider::Local(Local {
        zones: list,
        network: network?,
        program: path(&written.program),
        directory: path(&written.directory),
        relay_config,
        boot_time: duration(
            document,
            "provider.local.boot-time",
            written.boot_time,
            0,
            0..=600,
        ),
        image: written.image.clone().unwrap_or_else(|| "local".to_owned()),
        per_zone,
        metadata_port: written.metadata_port,
    }))
}

fn judge_relay_config(document: &Document<'_>, text: &str) {
    let key = "provider.local.relay-config";
    match text.parse::<toml::Table>() {
        Err(error) => document.refuse(key, format!("is not TOML: {}; mend it", error.message())),
        Ok(table) => {
            let ours = [
                "state-directory",
                "secret",
                "sovereignty",
                "metadata",
                "admin",
            ];
            for own in ours.into_iter().filter(|own| table.contains_key(*own)) {
                document.refuse(
                    key,
                    format!("has {own}, which the controller writes for each relay; leave it out"),
                );
            }
        }
    }
}

fn two_bytes(text: &str) -> Option<[u8; 2]> {
    let address: Ipv4Addr = format!("{text}.0.0").parse().ok()?;
    let [first, second, _, _] = address.octets();
    address.is_loopback().then_some([first, second])
}

fn aws(
    document: &Document<'_>,
    written: Option<&written::Aws>,
    allowed: &BTreeSet<ZoneId>,
) -> Option<Provider> {
    let Some(written) = written else {
        document.refuse(
            "provider.aws",
            "is missing; write [provider.aws] with auto-scaling-group, region and termination-hook",
        );
        return None;
    };
    let group = required(
        document,
        "provider.aws.auto-scaling-group",
        written.auto_scaling_group.as_deref(),
        "write the name of the Auto Scaling group",
    );
    let region = required(
        document,
        "provider.aws.region",
        written.region.as_deref(),
        "write the group's region, e.g. region = \"ap-southeast-2\"",
    );
    let hook = required(
        document,
        "provider.aws.termination-hook",
        written.termination_hook.as_deref(),
        "write the name of the group's hook for termination: without one AWS ends relays in the middle of calls",
    );
    if let Some(region) = &region {
        judge_region(document, "provider.aws.region", region, allowed);
    }
    let address = match written.address.as_deref() {
        None | Some("resource-name-dns") => Some(AwsAddress::ResourceNameDns),
        Some(name) if name.matches("{id}").count() == 1 && !name.contains([' ', '/', ':']) => {
            Some(AwsAddress::Name(name.to_owned()))
        }
        Some(_) => {
            document.refuse(
                "provider.aws.address",
                "must be \"resource-name-dns\", or a DNS name in which {id} stands for the instance id; write e.g. \
                 \"{id}.relays.example.internal\"",
            );
            None
        }
    };
    let mut zone_ids = BTreeMap::new();
    for (name, id) in &written.zone_ids {
        match zones::zone(id) {
            Ok(zone) => {
                zone_ids.insert(name.clone(), zone);
            }
            Err(words) => document.refuse(&format!("provider.aws.zone-ids.{name}"), words),
        }
    }
    if !zone_ids.is_empty()
        && !allowed.is_empty()
        && !zone_ids.values().any(|id| allowed.contains(id))
    {
        document.refuse(
            "provider.aws.zone-ids",
            "has none of sovereignty.allowed-zone-ids, so that nothing could be launched; write the names of the allowed \
             zones in this account, each with its id",
        );
    }
    let attempt = duration(
        document,
        "provider.aws.attempt-timeout",
        written.attempt_timeout,
        5,
        1..=60,
    );
    let operation = duration(
        document,
        "provider.aws.operation-timeout",
        written.operation_timeout,
        15,
        1..=120,
    );
    if attempt > operation {
        document.refuse(
            "provider.aws.attempt-timeout",
            format!(
                "is longer than operation-timeout ({}), which holds all attempts; write a shorter time",
                words(operation)
            ),
        );
    }
    Some(Provider::Aws(Aws {
        auto_scaling_group: group?,
        region: region?,
        termination_hook: hook?,
        attempt_timeout: attempt,
        operation_timeout: operation,
        launch: match written.launch {
            None | Some(AwsLaunchWord::Automatic) => AwsLaunch::Automatic,
            Some(AwsLaunchWord::LaunchInstances) => AwsLaunch::LaunchInstances,
            Some(AwsLaunchWord::DesiredCapacity) => AwsLaunch::DesiredCapacity,
        },
        address: address?,
        zone_ids,
    }))
}

/// Refuses what is no region, and warns of one that has none of the allowed zones.
pub(super) fn judge_region(
    document: &Document<'_>,
    key: &str,
    region: &str,
    allowed: &BTreeSet<ZoneId>,
) {
    if !zones::is_region(region) {
        document.refuse(
            key,
            "is not the name of an AWS region; write e.g. \"ap-southeast-2\"",
        );
        return;
    }
    let Some(prefix) = zones::prefix(region) else {
        return;
    };
    let within = |zone: &ZoneId| {
        zone.as_str()
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.starts_with('-'))
    };
    if !allowed.is_empty() && !allowed.iter().any(within) {
        document.warn(
            key,
            format!(
                "has none of sovereignty.allowed-zone-ids, whose ids would begin with {prefix}-; check the region, or allow its \
                 zones"
            ),
        );
    }
}

fn fixed(
    document: &Document<'_>,
    written: Option<&written::Static>,
    allowed: &BTreeSet<ZoneId>,
) -> Option<Provider> {
    let relays = written.map_or(&[][..], |written| &written.relay);
    if relays.is_empty() {
        document.refuse(
            "provider.static.relay",
            "is missing: there is no relay to look after; write [[provider.static.relay]] with id, zone-id and admin, once \
             for each",
        );
        return None;
    }
    let mut list: Vec<StaticRelay> = Vec::new();
    for (index, relay) in relays.iter().enumerate() {
        let key = |name: &str| format!("provider.static.relay[{index}].{name}");
        let id = required(
            document,
            &key("id"),
            relay.id.as_deref(),
            "write a name for the relay",
        )
        .and_then(|text| {
            InstanceId::try_from(text)
                .map_err(|error| {
                    document.refuse(&key("id"), format!("{error}; write a plain name"))
                })
                .ok()
        });
        let zone = required(
            document,
            &key("zone-id"),
            relay.zone_id.as_deref(),
            "write the id of the zone that it is in",
        )
        .and_then(|text| {
            zones::zone(&text)
                .map_err(|words| document.refuse(&key("zone-id"), words))
                .ok()
        });
        let admin = required(
            document,
            &key("admin"),
            relay.admin.as_deref(),
            "write the address and port of its admin API",
        )
        .and_then(|text| {
            socket_address(&text)
                .map_err(|words| document.refuse(&key("admin"), words))
                .ok()
        });
        if let Some(zone) = &zone
            && !allowed.is_empty()
            && !allowed.contains(zone)
        {
            document.refuse(
                &key("zone-id"),
                "is not one of sovereignty.allowed-zone-ids, so that the relay would never be offered and at once be drained; \
                 take the relay out, or allow its zone",
            );
        }
        let (Some(id), Some(zone), Some(admin)) = (id, zone, admin) else {
            continue;
        };
        if list.iter().any(|other| other.id == id) {
            document.refuse(&key("id"), "is the id of another relay; give each its own");
        }
        if list.iter().any(|other| other.admin == admin) {
            document.refuse(
                &key("admin"),
                "is the address of another relay; give each its own",
            );
        }
        list.push(StaticRelay { id, zone, admin });
    }
    Some(Provider::Static(list))
}

fn exec(document: &Document<'_>, written: Option<&written::Exec>) -> Option<Provider> {
    let Some(written) = written else {
        document.refuse(
            "provider.exec",
            "is missing; write [provider.exec] with list, launch and terminate",
        );
        return None;
    };
    let remedy = "write the program by its full path, then its arguments, e.g. [\"/usr/local/bin/fleet\", \"list\"]";
    if written.list.is_empty() {
        document.refuse(
            "provider.exec.list",
            format!("is missing: nothing says what exists; {remedy}"),
        );
    }
    for (name, command) in [
        ("list", &written.list),
        ("launch", &written.launch),
        ("terminate", &written.terminate),
        ("extend", &written.extend),
        ("finish", &written.finish),
    ] {
        let key = format!("provider.exec.{name}");
        match command.first() {
            Some(program) if !program.starts_with('/') => document.refuse(
                &key,
                format!("names its program without its full path, so that $PATH would decide what is run; {remedy}"),
            ),
            Some(_) if command.iter().any(|word| word.contains('\0')) => {
                document.refuse(&key, format!("has a NUL in it; {remedy}"));
            }
            Some(_) | None => {}
        }
    }
    if written.extend.is_empty() != written.finish.is_empty() {
        document.refuse(
            "provider.exec.extend",
            "and finish come together: a hook that waits is either given time or let go; write both, or neither",
        );
    }
    if written.launch.is_empty() != written.terminate.is_empty() {
        document.warn(
            "provider.exec.launch",
            "and terminate belong together: a fleet that can only grow, or only shrink, ends at its limit; write both, or \
             neither",
        );
    }
    Some(Provider::Exec(Exec {
        list: written.list.clone(),
        launch: written.launch.clone(),
        terminate: written.terminate.clone(),
        extend: written.extend.clone(),
        finish: written.finish.clone(),
        timeout: duration(
            document,
            "provider.exec.timeout",
            written.timeout,
            15,
            1..=120,
        ),
    }))
}

/// Zones that relays would be launched in, of which some are not allowed.
fn judge_zones(document: &Document<'_>, key: &str, zones: &[ZoneId], allowed: &BTreeSet<ZoneId>) {
    if allowed.is_empty() || zones.is_empty() {
        return;
    }
    if !zones.iter().any(|zone| allowed.contains(zone)) {
        document.refuse(
            key,
            "has none of sovereignty.allowed-zone-ids, so that nothing could be launched; write the same zones in both",
        );
        return;
    }
    for (index, zone) in zones.iter().enumerate() {
        if !allowed.contains(zone) {
            document.warn(
                &format!("{key}[{index}]"),
                "is not one of sovereignty.allowed-zone-ids: nothing is launched there, and what is there is drained; allow it, \
                 or take it out",
            );
        }
    }
}

/// A text that must be there and not be empty.
pub(super) fn required(
    document: &Document<'_>,
    key: &str,
    written: Option<&str>,
    remedy: &str,
) -> Option<String> {
    match written {
        Some(text) if text.trim().is_empty() => {
            document.refuse(key, format!("is empty; {remedy}"));
            None
        }
        Some(text) => Some(text.to_owned()),
        None => {
            // What is of the wrong kind has been said.
            if !document.has(key) {
                document.refuse(key, format!("is missing; {remedy}"));
            }
            None
        }
    }
}

/// A duration within `seconds`, or its default.
pub(super) fn duration(
    document: &Document<'_>,
    key: &str,
    written: Option<Human>,
    default: u64,
    seconds: std::ops::RangeInclusive<u64>,
) -> Duration {
    let (least, most) = (
        Duration::from_secs(*seconds.start()),
        Duration::from_secs(*seconds.end()),
    );
    let value = written.map_or_else(|| Duration::from_secs(default), |written| written.0);
    if !(least..=most).contains(&value) {
        document.refuse(
            key,
            format!(
                "must be within {} to {}; write e.g. {:?}",
                words(least),
                words(most),
                words(Duration::from_secs(default))
            ),
        );
    }
    value
}

/// A path as written, or none.
pub(super) fn file(document: &Document<'_>, written: Option<&str>) -> Option<PathBuf> {
    written.map(|name| document.resolve(name))
}
