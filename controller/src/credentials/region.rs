//! Which region a zone is in, by the zone's id.
//!
//! Responsible for the two ways in which a region is written: as the zone ids have it (`apse2`), and by its name
//! (`ap-southeast-2`). Not responsible for which zones are allowed (`config`, `policy`): a region never decides that.

/// The part of a zone's id that all zones of its region have: `apse2` of `apse2-az1`, `local` of `local-a`.
pub(super) fn of_zone(zone: &str) -> &str {
    let (before, last) = zone.rsplit_once('-').unwrap_or((zone, ""));
    let is_aws = last
        .strip_prefix("az")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    if is_aws {
        // A Local Zone has its place in between: apse2-akl1-az1.
        before.split_once('-').map_or(before, |(region, _)| region)
    } else {
        before
    }
}

/// The name of an AWS region by its part of zone ids; `None`: it is none, as far as is known.
pub(super) fn name(code: &str) -> Option<String> {
    let number = code.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let letters = code.strip_suffix(number)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (area, rest) = letters.split_at_checked(2)?;
    let (area, rest) = match rest.strip_prefix('g') {
        Some(rest) if area == "us" => ("us-gov", rest),
        _ => (area, rest),
    };
    let direction = match rest {
        "n" => "north",
        "s" => "south",
        "e" => "east",
        "w" => "west",
        "c" => "central",
        "ne" => "northeast",
        "nw" => "northwest",
        "se" => "southeast",
        "sw" => "southwest",
        _ => return None,
    };
    Some(format!("{area}-{direction}-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zones_region_is_known_by_code_and_by_name() {
        for (zone, code, called) in [
            ("apse2-az1", "apse2", Some("ap-southeast-2")),
            ("apse4-az3", "apse4", Some("ap-southeast-4")),
            ("apse2-akl1-az1", "apse2", Some("ap-southeast-2")),
            ("use1-az6", "use1", Some("us-east-1")),
            ("euc1-az2", "euc1", Some("eu-central-1")),
            ("cac1-az4", "cac1", Some("ca-central-1")),
            ("ilc1-az1", "ilc1", Some("il-central-1")),
            ("usgw1-az1", "usgw1", Some("us-gov-west-1")),
            ("local-a", "local", None),
            ("rack-7", "rack", None),
            ("wellington", "wellington", None),
            ("-az1", "", None),
            ("x-az", "x", None),
        ] {
            assert_eq!(of_zone(zone), code, "{zone}");
            assert_eq!(name(code).as_deref(), called, "{code}");
        }
        for odd in ["ap2se", "apse", "ü2", "apse२", "2", "ap"] {
            assert_eq!(name(odd), None, "{odd}");
        }
    }
}
