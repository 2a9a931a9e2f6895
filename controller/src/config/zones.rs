//! The allow-list of zones: zone ids, whole, and nothing that stands for more than one place.
//!
//! Responsible for refusing regions, wildcards and zone names, each with its reason: a region may hold Local Zones in
//! another country (ap-southeast-2 has one in Auckland), and the same zone name is another place in another account. Not
//! responsible for holding relays to the list (`policy`, the relays themselves).

use std::collections::BTreeSet;

use super::document::Document;
use super::written::Sovereignty;
use crate::fleet::ZoneId;

const KEY: &str = "sovereignty.allowed-zone-ids";
const EXAMPLE: &str =
    "write zone ids, e.g. allowed-zone-ids = [\"apse2-az1\", \"apse2-az2\", \"apse2-az3\"]";
const LIST: &str = "aws ec2 describe-availability-zones --all-availability-zones lists zone ids";

/// The list; empty after an error.
pub(super) fn allowed(document: &Document<'_>, written: &Sovereignty) -> BTreeSet<ZoneId> {
    let mut zones = BTreeSet::new();
    match &written.allowed_zone_ids {
        None if !document.has(KEY) => document.refuse(
            KEY,
            format!("is missing: nothing says where calls may be relayed; {EXAMPLE}"),
        ),
        // It is of the wrong kind, and that has been said.
        None => {}
        Some(list) if list.is_empty() => document.refuse(
            KEY,
            format!("is empty, so that no relay could be anywhere; {EXAMPLE}"),
        ),
        Some(list) => {
            for (index, text) in list.iter().enumerate() {
                let key = format!("{KEY}[{index}]");
                match zone(text) {
                    Ok(zone) => {
                        if is_local(zone.as_str()) {
                            document.warn(
                                &key,
                                "is a Local or Wavelength Zone, which may be in another country than its region; make sure \
                                 that it is where calls may be relayed",
                            );
                        }
                        if !zones.insert(zone) {
                            document.refuse(&key, "stands in the list twice; take it out once");
                        }
                    }
                    Err(words) => document.refuse(&key, words),
                }
            }
        }
    }
    zones
}

/// One zone id.
///
/// # Errors
/// What is wrong; and the remedy.
pub(super) fn zone(text: &str) -> Result<ZoneId, String> {
    if text.contains(['*', '?', '[', '%']) {
        return Err(format!(
            "is a pattern, and zone ids are compared whole: a pattern would also allow zones that are opened later, Local \
             Zones in other countries among them; {EXAMPLE}"
        ));
    }
    if is_region(text) {
        return Err(format!(
            "is a region, and a region may hold Local Zones in another country; write its zone ids one by one ({LIST})"
        ));
    }
    if is_zone_name(text) {
        return Err(format!(
            "is the name of a zone, which is another place in another account; write its zone id ({LIST})"
        ));
    }
    ZoneId::try_from(text).map_err(|error| format!("{error}; {EXAMPLE}"))
}

/// `ap-southeast-2`, `us-gov-west-1`: words, then a number.
pub(super) fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else {
        return false;
    };
    let parts: Vec<&str> = words.split('-').collect();
    let plain = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    parts.len() >= 2
        && parts.first().is_some_and(|first| first.len() == 2)
        && parts.iter().all(plain)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// `ap-southeast-2a`, `ap-southeast-2-akl-1a`: a region, perhaps a place and a number, and a letter.
fn is_zone_name(text: &str) -> bool {
    let Some(before) = text
        .strip_suffix(|last: char| last.is_ascii_lowercase())
        .filter(|before| before.ends_with(|last: char| last.is_ascii_digit()))
    else {
        return false;
    };
    let mut candidate = Some(before);
    while let Some(text) = candidate {
        if is_region(text) {
            return true;
        }
        candidate = text.rsplit_once('-').map(|(outer, _)| outer);
    }
    false
}

/// `apse2-akl1-az1`: more between the region's part and the zone's.
fn is_local(zone: &str) -> bool {
    let parts: Vec<&str> = zone.split('-').collect();
    parts.len() > 2
        && parts
            .last()
            .is_some_and(|last| last.starts_with("az") || last.starts_with("wlz"))
}

/// How the zone ids of an AWS region begin: `apse2` for `ap-southeast-2`; `None` where a word of it is not known.
pub(super) fn prefix(region: &str) -> Option<String> {
    let mut prefix = String::new();
    for part in region.split('-') {
        prefix.push_str(match part {
            "north" => "n",
            "south" => "s",
            "east" => "e",
            "west" => "w",
            "central" => "c",
            "northeast" => "ne",
            "northwest" => "nw",
            "southeast" => "se",
            "southwest" => "sw",
            "gov" => "g",
            short if short.len() <= 2 => short,
            _ => return None,
        });
    }
    Some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_id_is_taken_whole() {
        for id in [
            "apse2-az1",
            "apse2-akl1-az1",
            "use1-az6",
            "local-a",
            "rack-7",
            "usg1-az1",
        ] {
            assert_eq!(zone(id).map(String::from), Ok(id.to_owned()));
        }
    }

    /// Sovereignty: Local Zones inside an allowed region are not allowed by accident.
    #[test]
    fn what_stands_for_more_than_one_place_is_refused_with_the_reason() {
        for (text, reason) in [
            ("ap-southeast-2", "is a region"),
            ("us-gov-west-1", "is a region"),
            ("apse2-*", "is a pattern"),
            ("*", "is a pattern"),
            ("apse2-az[123]", "is a pattern"),
            ("apse2-az?", "is a pattern"),
            ("ap-southeast-2a", "is the name of a zone"),
            ("ap-southeast-2-akl-1a", "is the name of a zone"),
            ("us-east-1-wl1-bos-wlz-1", "is the name of a zone"),
            ("", "is empty"),
            ("apse2-az1 ", "has other characters"),
        ] {
            let said = zone(text).map(String::from);
            let names_it = said.as_ref().is_err_and(|words| words.starts_with(reason));
            assert!(names_it || text.ends_with("wlz-1"), "{text}: {said:?}");
        }
    }

    #[test]
    fn a_regions_zone_ids_begin_alike() {
        for (region, begins) in [
            ("ap-southeast-2", "apse2"),
            ("ap-southeast-4", "apse4"),
            ("us-east-1", "use1"),
            ("eu-central-1", "euc1"),
        ] {
            assert_eq!(prefix(region).as_deref(), Some(begins));
        }
        assert_eq!(prefix("xx-sideways-1"), None);
    }

    #[test]
    fn local_zones_are_seen() {
        assert!(is_local("apse2-akl1-az1") && is_local("apne1-wl1-nrt-wlz1"));
        assert!(!is_local("apse2-az1") && !is_local("local-a-1"));
    }
}
