//! A relay's URLs, in the order in which firewalls let them through.
//!
//! Responsible for their text (RFC 7065) and order: UDP 3478, UDP 443, TCP 443, TLS 443, then whatever else the relay listens
//! on. Not responsible for which relays are named.

use std::net::IpAddr;

use crate::fleet::{InstanceId, ZoneId};

/// How a client reaches a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TURN over UDP.
    Udp,
    /// TURN over TCP.
    Tcp,
    /// TURN over TLS.
    Tls,
}

/// One way to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// How.
    pub transport: Transport,
    /// The port.
    pub port: u16,
}

/// How relays are called in URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or address, in which `{address}`, `{address-dashed}`, `{id}` and `{zone}` stand for the relay's.
    pub form: String,
    /// URLs of TLS are given even where the host is an address, because the relays' certificates have it.
    pub tls_by_address: bool,
}

impl Host {
    /// The host in a relay's URLs and whether it is a name; `None`: its address is asked for and not known.
    fn of(&self, id: &InstanceId, zone: &ZoneId, addresses: &[IpAddr]) -> Option<(String, bool)> {
        // One: every URL more is time that each call needs to begin. A name is what has both families.
        let address = addresses
            .iter()
            .find(|address| address.is_ipv4())
            .or_else(|| addresses.first());
        if address.is_none() && self.form.contains("{address") {
            return None;
        }
        let address = address.map(IpAddr::to_string).unwrap_or_default();
        let host = self
            .form
            .replace("{address-dashed}", &address.replace(['.', ':'], "-"))
            .replace("{address}", &address)
            .replace("{id}", id.as_str())
            .replace("{zone}", zone.as_str());
        Some(match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) => (format!("[{v6}]"), false),
            Ok(IpAddr::V4(_)) => (host, false),
            Err(_) => (host, true),
        })
    }
}

/// The URLs of a relay; empty where nothing of it is known. `certified`: the names in its certificate, empty where they are
/// not known.
pub fn urls(
    host: &Host,
    id: &InstanceId,
    zone: &ZoneId,
    addresses: &[IpAddr],
    endpoints: &[Endpoint],
    certified: &[String],
) -> Vec<String> {
    let Some((name, is_name)) = host.of(id, zone, addresses) else {
        return Vec::new();
    };
    let mut paths: Vec<(u8, u16, Transport)> = endpoints
        .iter()
        .map(|path| (rank(*path), path.port, path.transport))
        .filter(|(_, _, transport)| {
            let proven = if is_name {
                certified.is_empty() || certified.iter().any(|own| covers(own, &name))
            } else {
                host.tls_by_address
            };
            *transport != Transport::Tls || proven
        })
        .collect();
    paths.sort_unstable();
    paths.dedup();
    let url = |(_, port, transport): (u8, u16, Transport)| match transport {
        Transport::Udp => format!("turn:{name}:{port}?transport=udp"),
        Transport::Tcp => format!("turn:{name}:{port}?transport=tcp"),
        Transport::Tls => format!("turns:{name}:{port}?transport=tcp"),
    };
    paths.into_iter().map(url).collect()
}

const fn rank(path: Endpoint) -> u8 {
    match (path.transport, path.port) {
        (Transport::Udp, 3478) => 0,
        (Transport::Udp, 443) => 1,
        (Transport::Tcp, 443) => 2,
        (Transport::Tls, 443) => 3,
        (Transport::Udp, _) => 4,
        (Transport::Tcp, _) => 5,
        (Transport::Tls, _) => 6,
    }
}

/// Whether a name of a certificate stands for this one (RFC 9525 §6.3): a `*` is the whole first label, and one label.
fn covers(certified: &str, name: &str) -> bool {
    match certified.strip_prefix("*.") {
        None => certified.eq_ignore_ascii_case(name),
        Some(parent) => name
            .split_once('.')
            .is_some_and(|(first, rest)| !first.is_empty() && rest.eq_ignore_ascii_case(parent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Transport, u16); 8] = [
        (Transport::Tls, 5349),
        (Transport::Tls, 443),
        (Transport::Tcp, 3478),
        (Transport::Tcp, 443),
        (Transport::Udp, 443),
        (Transport::Udp, 3478),
        (Transport::Udp, 3478),
        (Transport::Udp, 80),
    ];

    fn of(form: &str, tls_by_address: bool, addresses: &[&str], certified: &[&str]) -> Vec<String> {
        let host = Host {
            form: form.to_owned(),
            tls_by_address,
        };
        let endpoints = ALL.map(|(transport, port)| Endpoint { transport, port });
        let addresses: Vec<IpAddr> = addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        let certified: Vec<String> = certified.iter().map(|&name| name.to_owned()).collect();
        urls(
            &host,
            &InstanceId::try_from("i-7").expect("a name"),
            &ZoneId::try_from("apse2-az1").expect("a name"),
            &addresses,
            &endpoints,
            &certified,
        )
    }

    #[test]
    fn urls_stand_in_the_order_in_which_firewalls_let_them_through() {
        assert_eq!(
            of("{id}.{zone}.example.org", false, &[], &[]),
            [
                "turn:i-7.apse2-az1.example.org:3478?transport=udp",
                "turn:i-7.apse2-az1.example.org:443?transport=udp",
                "turn:i-7.apse2-az1.example.org:443?transport=tcp",
                "turns:i-7.apse2-az1.example.org:443?transport=tcp",
                "turn:i-7.apse2-az1.example.org:80?transport=udp",
                "turn:i-7.apse2-az1.example.org:3478?transport=tcp",
                "turns:i-7.apse2-az1.example.org:5349?transport=tcp",
            ]
        );
    }

    #[test]
    fn an_address_is_no_name_for_tls_unless_it_is_said_to_be() {
        let plain = of("{address}", false, &["2001:db8::7", "192.0.2.7"], &[]);
        assert_eq!(plain[0], "turn:192.0.2.7:3478?transport=udp");
        assert!(plain.iter().all(|url| url.starts_with("turn:")));
        let certain = of("{address}", true, &["2001:db8::7"], &[]);
        assert_eq!(certain[3], "turns:[2001:db8::7]:443?transport=tcp");
        let dashed = of("r-{address-dashed}.example.org", false, &["192.0.2.7"], &[]);
        assert_eq!(dashed[3], "turns:r-192-0-2-7.example.org:443?transport=tcp");
        assert!(of("{address}", true, &[], &[]).is_empty());
        assert!(of("{address-dashed}.example.org", true, &[], &[]).is_empty());
    }

    /// A client would refuse the certificate, and the call would wait for that.
    #[test]
    fn a_name_that_the_certificate_does_not_have_gets_no_tls() {
        let with = |certified: &[&str]| of("{id}.example.org", false, &[], certified).len();
        assert_eq!(with(&["*.example.org"]), 7);
        assert_eq!(with(&["other.example", "I-7.EXAMPLE.org"]), 7);
        for wrong in ["*.example", "example.org", "*.i-7.example.org", "*"] {
            assert_eq!(with(&[wrong]), 5, "{wrong}");
        }
    }
}
