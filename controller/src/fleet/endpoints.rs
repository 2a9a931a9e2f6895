//! Where clients reach a relay, as the relay itself says.
//!
//! Responsible for the form: an address that can be connected to, a port that is one, a name that can stand in a URL.
//! What a relay says is read by `observe::report`, which keeps nothing else. Not responsible for URLs (`credentials`).

use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

/// Addresses, listeners and names; all of them empty when the relay is too old to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    /// Public addresses, in the relay's order; each listener is reached on each of them.
    pub addresses: Vec<IpAddr>,
    /// What is spoken on which port, in the relay's order.
    pub listeners: Vec<Listening>,
    /// DNS names in the certificate that the relay shows, in lower case; one may begin with `*.`.
    pub tls_names: Vec<String>,
}

/// One listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listening {
    /// What is spoken there.
    pub transport: Transport,
    /// On which port.
    pub port: NonZeroU16,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// Both TCP and TLS over TCP, told apart by their first bytes.
    Auto,
}

impl Transport {
    /// Whether UDP is spoken.
    pub const fn speaks_udp(self) -> bool {
        matches!(self, Self::Udp)
    }

    /// Whether TCP is spoken, without TLS.
    pub const fn speaks_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Auto)
    }

    /// Whether TLS is spoken.
    pub const fn speaks_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Auto)
    }
}

impl Endpoints {
    /// Whether a client that connects to this name over TLS finds it in the certificate. `*.` stands for one label
    /// (RFC 9525 §6.3).
    pub fn certifies(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.tls_names
            .iter()
            .any(|name| match name.strip_prefix("*.") {
                Some(parent) => host
                    .split_once('.')
                    .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
                None => *name == host,
            })
    }
}

/// Whether a client on another host could be sent there: what stands for no host, for many, or for whoever has it on the
/// client's own link, is none.
pub fn is_address(address: &IpAddr) -> bool {
    // 0.0.0.0/8, 169.254.0.0/16 and 240.0.0.0/4, with what is sent to all in it (RFC 6890).
    let nowhere = matches!(address, IpAddr::V4(v4) if v4.is_link_local() || matches!(v4.octets(), [0 | 240.., ..]));
    let zone_needed = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some());
    !(address.is_unspecified() || address.is_multicast() || nowhere || zone_needed)
}

/// Whether a text is a DNS name in lower case as it can stand in a URL, `*.` before it or not: labels of letters, digits
/// and hyphens, which do not begin or end with a hyphen; the last is not a number, as that would be an address.
pub fn is_dns_name(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(numeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let endpoints = Endpoints {
            tls_names: vec![
                "*.turn.example.org".to_owned(),
                "relay.example.net".to_owned(),
            ],
            ..Endpoints::default()
        };
        for good in [
            "a.turn.example.org",
            "A.Turn.example.org",
            "relay.example.net",
        ] {
            assert!(endpoints.certifies(good), "{good}");
        }
        for wrong in [
            "turn.example.org",
            ".turn.example.org",
            "a.b.turn.example.org",
            "x.relay.example.net",
            "192.0.2.1",
            "",
        ] {
            assert!(!endpoints.certifies(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_name_cannot_carry_anything_else_into_a_url() {
        for good in ["a", "relay-1.example.org", "*.example.org", "1.example.org"] {
            assert!(is_dns_name(good), "{good}");
        }
        for wrong in [
            "", ".", "a.", ".a", "-a.org", "a-.org", "a b", "a/b", "a?b", "a:1", "a@b", "A.org",
            "a_b", "*", "*.*.org", "a.*.org", "10.0.0.1", "ä.org", "a\n",
        ] {
            assert!(!is_dns_name(wrong), "{wrong:?}");
        }
        assert!(!is_dns_name(&"a".repeat(64)));
        assert!(!is_dns_name(&["abcdefg"; 40].join(".")));
    }
}
