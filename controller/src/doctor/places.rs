//! Where zones are: the country of a zone id, as far as it is known here.
//!
//! Responsible for the zones that are taken for others most easily: Local Zones, which share their region's name and not always
//! its country. Not responsible for what is allowed, and never a reason to allow something: a zone that is not in these lists
//! is a zone of which nothing is known.

/// How zone ids of a region begin, its name, and its country.
const REGIONS: [(&str, &str, &str); 36] = [
    ("afs1", "af-south-1", "South Africa"),
    ("ape1", "ap-east-1", "Hong Kong"),
    ("ape2", "ap-east-2", "Taiwan"),
    ("apne1", "ap-northeast-1", "Japan"),
    ("apne2", "ap-northeast-2", "South Korea"),
    ("apne3", "ap-northeast-3", "Japan"),
    ("aps1", "ap-south-1", "India"),
    ("aps2", "ap-south-2", "India"),
    ("apse1", "ap-southeast-1", "Singapore"),
    ("apse2", "ap-southeast-2", "Australia"),
    ("apse3", "ap-southeast-3", "Indonesia"),
    ("apse4", "ap-southeast-4", "Australia"),
    ("apse5", "ap-southeast-5", "Malaysia"),
    ("apse6", "ap-southeast-6", "New Zealand"),
    ("apse7", "ap-southeast-7", "Thailand"),
    ("cac1", "ca-central-1", "Canada"),
    ("caw1", "ca-west-1", "Canada"),
    ("cnn1", "cn-north-1", "China"),
    ("cnnw1", "cn-northwest-1", "China"),
    ("euc1", "eu-central-1", "Germany"),
    ("euc2", "eu-central-2", "Switzerland"),
    ("eun1", "eu-north-1", "Sweden"),
    ("eus1", "eu-south-1", "Italy"),
    ("eus2", "eu-south-2", "Spain"),
    ("euw1", "eu-west-1", "Ireland"),
    ("euw2", "eu-west-2", "United Kingdom"),
    ("euw3", "eu-west-3", "France"),
    ("ilc1", "il-central-1", "Israel"),
    ("mec1", "me-central-1", "United Arab Emirates"),
    ("mes1", "me-south-1", "Bahrain"),
    ("mxc1", "mx-central-1", "Mexico"),
    ("sae1", "sa-east-1", "Brazil"),
    ("use1", "us-east-1", "United States"),
    ("use2", "us-east-2", "United States"),
    ("usw1", "us-west-1", "United States"),
    ("usw2", "us-west-2", "United States"),
];

/// Local Zones by how their ids begin, the city and its country. Those of the United States' regions that are in the United
/// States are left out.
const LOCAL: [(&str, &str, &str); 18] = [
    ("apse2-akl1", "Auckland", "New Zealand"),
    ("apse2-per1", "Perth", "Australia"),
    ("apne1-tpe1", "Taipei", "Taiwan"),
    ("aps1-ccu1", "Kolkata", "India"),
    ("aps1-del1", "Delhi", "India"),
    ("apse1-bkk1", "Bangkok", "Thailand"),
    ("apse1-mnl1", "Manila", "Philippines"),
    ("afs1-los1", "Lagos", "Nigeria"),
    ("euc1-ham1", "Hamburg", "Germany"),
    ("euc1-waw1", "Warsaw", "Poland"),
    ("eun1-cph1", "Copenhagen", "Denmark"),
    ("eun1-hel1", "Helsinki", "Finland"),
    ("mes1-mct1", "Muscat", "Oman"),
    ("use1-bue1", "Buenos Aires", "Argentina"),
    ("use1-lim1", "Lima", "Peru"),
    ("use1-qro1", "Querétaro", "Mexico"),
    ("use1-scl1", "Santiago", "Chile"),
    ("caw1-yto1", "Toronto", "Canada"),
];

/// Where a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Of its region, or of its city.
    pub(super) name: &'static str,
    pub(super) country: &'static str,
    /// It is a Local Zone.
    pub(super) local: bool,
}

/// Where the zone with this id is; `None`: not known here.
pub(super) fn of_zone(zone: &str) -> Option<Place> {
    let (region, rest) = zone.split_once('-')?;
    if rest.contains('-') {
        let (group, _) = zone.rsplit_once('-')?;
        let known = LOCAL.iter().find(|(prefix, ..)| *prefix == group);
        return known.map(|(_, name, country)| Place {
            name,
            country,
            local: true,
        });
    }
    let known = REGIONS.iter().find(|(prefix, ..)| *prefix == region);
    known.map(|(_, name, country)| Place {
        name,
        country,
        local: false,
    })
}

/// The country of a region; `None`: not known here.
pub(super) fn of_region(region: &str) -> Option<&'static str> {
    let known = REGIONS.iter().find(|(_, name, _)| *name == region);
    known.map(|(_, _, country)| *country)
}

/// Local Zones of a region that are in another country than it is: how their ids begin, and where they are.
pub(super) fn abroad(region: &str) -> Vec<(&'static str, Place)> {
    let Some((begins, _, home)) = REGIONS.iter().find(|(_, name, _)| *name == region) else {
        return Vec::new();
    };
    let of_region = |(prefix, ..): &&(&str, &str, &str)| prefix.split('-').next() == Some(begins);
    let local = LOCAL.iter().filter(of_region);
    local
        .filter(|(_, _, country)| country != home)
        .map(|(prefix, name, country)| {
            let place = Place {
                name,
                country,
                local: true,
            };
            (*prefix, place)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sovereignty: a Local Zone inside an allowed region may be in another country.
    #[test]
    fn zones_of_one_region_lie_in_two_countries() {
        let country = |zone| of_zone(zone).map(|place| place.country);
        assert_eq!(country("apse2-az1"), Some("Australia"));
        assert_eq!(country("apse2-akl1-az1"), Some("New Zealand"));
        assert_eq!(country("apse2-per1-az1"), Some("Australia"));
        assert_eq!(country("apse6-az1"), Some("New Zealand"));
        assert_eq!(
            country("apse2-xyz1-az1"),
            None,
            "not the region's by default"
        );
        assert_eq!(country("local-a"), None);
        let abroad = abroad("ap-southeast-2");
        assert_eq!(abroad.len(), 1);
        assert_eq!(abroad[0].0, "apse2-akl1");
    }
}
