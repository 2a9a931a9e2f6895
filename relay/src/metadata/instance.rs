//! What does not change while an instance runs: its zone, its name, its public addresses.
//!
//! Responsible for judging what is read. Not responsible for comparing it with the configuration (`run`).

use std::net::Ipv4Addr;

use super::{MetadataClient, MetadataError};

/// Network interfaces that are looked at. The largest instances have fifteen.
const MOST_INTERFACES: usize = 32;
/// Public addresses that are looked at on one of them. The largest have fifty.
const MOST_ADDRESSES: usize = 64;
/// The longest zone id or instance id.
const LONGEST_ID: usize = 64;

/// An instance, as the metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The zone that it is in, the same in every account, such as `apse2-az1`.
    pub zone_id: String,
    /// Its name, such as `i-0123456789abcdef0`.
    pub instance_id: String,
    /// Where its private IPv4 addresses are seen from outside. IPv6 addresses are public as they are.
    pub public_addresses: Vec<PublicAddress>,
}

/// A private address and the public one that the network translates it to, one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    /// What the host knows.
    pub private: Ipv4Addr,
    /// What everybody else knows.
    pub public: Ipv4Addr,
}

impl Instance {
    /// Reads everything.
    ///
    /// # Errors
    /// Something that every instance has is missing or malformed, or the endpoint does not answer.
    pub async fn read(metadata: &MetadataClient) -> Result<Self, MetadataError> {
        Ok(Self {
            zone_id: id(metadata, "placement/availability-zone-id", "the zone id").await?,
            instance_id: id(metadata, "instance-id", "the instance id").await?,
            public_addresses: public_addresses(metadata).await?,
        })
    }

    /// Where this address is seen from outside.
    pub fn public_of(&self, private: Ipv4Addr) -> Option<Ipv4Addr> {
        self.public_addresses
            .iter()
            .find(|address| address.private == private)
            .map(|address| address.public)
    }
}

async fn id(
    metadata: &MetadataClient,
    path: &str,
    what: &'static str,
) -> Result<String, MetadataError> {
    let id = metadata
        .read(path, what)
        .await?
        .ok_or(MetadataError::Missing(what))?;
    let is_one = (1..=LONGEST_ID).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if is_one {
        Ok(id)
    } else {
        Err(MetadataError::Value(what))
    }
}

/// Those of every interface, and what is only told of the primary address.
async fn public_addresses(metadata: &MetadataClient) -> Result<Vec<PublicAddress>, MetadataError> {
    const INTERFACES: &str = "network interfaces";
    const ADDRESSES: &str = "public addresses";
    let mut found = Vec::new();
    let interfaces = metadata
        .read("network/interfaces/macs/", INTERFACES)
        .await?;
    for mac in interfaces.unwrap_or_default().lines().take(MOST_INTERFACES) {
        let mac = mac.trim_end_matches('/');
        if !is_mac(mac) {
            return Err(MetadataError::Value(INTERFACES));
        }
        let path = format!("network/interfaces/macs/{mac}/ipv4-associations/");
        let listed = metadata.read(&path, ADDRESSES).await?.unwrap_or_default();
        for public in listed.lines().take(MOST_ADDRESSES) {
            let public = address(public, ADDRESSES)?;
            let private = metadata.read(&format!("{path}{public}"), ADDRESSES).await?;
            // It may have been taken away in between.
            let Some(private) = private else { continue };
            for private in private.lines().take(MOST_ADDRESSES) {
                let private = address(private, ADDRESSES)?;
                found.push(PublicAddress { private, public });
            }
        }
    }
    let primary = metadata.read("local-ipv4", "the primary address").await?;
    let public = metadata.read("public-ipv4", "the public address").await?;
    if let (Some(primary), Some(public)) = (primary, public) {
        let private = address(&primary, "the primary address")?;
        let public = address(&public, "the public address")?;
        if !found.iter().any(|known| known.private == private) {
            found.push(PublicAddress { private, public });
        }
    }
    Ok(found)
}

fn address(text: &str, what: &'static str) -> Result<Ipv4Addr, MetadataError> {
    text.trim()
        .parse()
        .ok()
        .filter(|address: &Ipv4Addr| {
            !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
        })
        .ok_or(MetadataError::Value(what))
}

/// Six pairs of hexadecimal digits with colons between them: it becomes part of a path.
fn is_mac(text: &str) -> bool {
    text.len() == 17
        && text.split(':').count() == 6
        && text
            .split(':')
            .all(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mac_address_becomes_part_of_a_path() {
        assert!(is_mac("0a:1B:2c:3d:4e:5f"));
        for wrong in [
            "",
            "0a:1b:2c:3d:4e",
            "0a:1b:2c:3d:4e:5f:60",
            "0a:1b:2c:3d:4e:5",
            "../../../../../..",
            "0a:1b:2c:3d:4e5f:",
            "0g:1b:2c:3d:4e:5f",
        ] {
            assert!(!is_mac(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_address_that_nobody_can_have_is_none() {
        assert_eq!(
            address("203.0.113.7\n", "x").ok(),
            Some(Ipv4Addr::new(203, 0, 113, 7))
        );
        for wrong in [
            "",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "203.0.113",
            "::1",
        ] {
            assert!(address(wrong, "x").is_err(), "{wrong}");
        }
    }
}
