//! A relay's URLs, in the order in which firewalls let them through.
//!
//! Responsible for their text (RFC 7065) and order: UDP 3478, UDP 443, TCP 443, TLS 443, then whatever else the relay listens
//! on. Not responsible for which relays are named.

use std::net::IpAddr;

use crate::fleet::{Endpoints, InstanceId, ZoneId, is_dns_name};

/// How a client reaches a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Path {
    Udp,
    Tcp,
    Tls,
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
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) => Some((format!("[{v6}]"), false)),
            Ok(IpAddr::V4(_)) => Some((host, false)),
            // An id may have characters that would end a host and begin something else.
            Err(_) => is_dns_name(&host.to_ascii_lowercase()).then_some((host, true)),
        }
    }
}

/// The URLs of a relay; empty where clients cannot be told how to reach it.
pub fn urls(host: &Host, id: &InstanceId, zone: &ZoneId, endpoints: &Endpoints) -> Vec<String> {
    let Some((name, is_name)) = host.of(id, zone, &endpoints.addresses) else {
        return Vec::new();
    };
    // A client would refuse a certificate of another name, and its call would wait for that.
    let tls = if is_name {
        endpoints.tls_names.is_empty() || endpoints.certifies(&name)
    } else {
        host.tls_by_address
    };
    let mut paths: Vec<(u8, u16, Path)> = Vec::new();
    for listening in &endpoints.listeners {
        let port = listening.port.get();
        let spoken = [
            (listening.transport.speaks_udp(), Path::Udp),
            (listening.transport.speaks_tcp(), Path::Tcp),
            (listening.transport.speaks_tls() && tls, Path::Tls),
        ];
        for (_, path) in spoken.into_iter().filter(|(spoken, _)| *spoken) {
            paths.push((rank(path, port), port, path));
        }
    }
    paths.sort_unstable();
    paths.dedup();
    let url = |(_, port, path): (u8, u16, Path)| match path {
        Path::Udp => format!("turn:{name}:{port}?transport=udp"),
        Path::Tcp => format!("turn:{name}:{port}?transport=tcp"),
        Path::Tls => format!("turns:{name}:{port}?transport=tcp"),
    };
    paths.into_iter().map(url).collect()
}

const fn rank(path: Path, port: u16) -> u8 {
    match (path, port) {
        (Path::Udp, 3478) => 0,
        (Path::Udp, 443) => 1,
        (Path::Tcp, 443) => 2,
        (Path::Tls, 443) => 3,
        (Path::Udp, _) => 4,
        (Path::Tcp, _) => 5,
        (Path::Tls, _) => 6,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::fleet::{Listening, Transport};

    const ALL: [(Transport, u16); 8] = [
        (Transport::Tls, 5349),
        (Transport::Auto, 443),
        (Transport::Tls, 443),
        (Transport::Tcp, 3478),
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
        let listener = |(transport, port)| Listening {
            transport,
            port: NonZeroU16::new(port).expect("a port"),
        };
        let endpoints = Endpoints {
            addresses: addresses
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect(),
            listeners: ALL.map(listener).to_vec(),
            tls_names: certified.iter().map(|&name| name.to_owned()).collect(),
        };
        let id = InstanceId::try_from("i-7").expect("a name");
        let zone = ZoneId::try_from("apse2-az1").expect("a name");
        urls(&host, &id, &zone, &endpoints)
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
        assert_eq!(with(&["other.example", "i-7.example.org"]), 7);
        for wrong in ["*.example", "example.org", "*.i-7.example.org", "*"] {
            assert_eq!(with(&[wrong]), 5, "{wrong}");
        }
    }

    /// an id that is no part of a host's name does not become part of a URL.
    #[test]
    fn an_id_leads_no_url_elsewhere() {
        let host = Host {
            form: "{id}.example.org".to_owned(),
            tls_by_address: false,
        };
        let endpoints = Endpoints {
            addresses: vec!["192.0.2.7".parse().expect("an address")],
            listeners: vec![Listening {
                transport: Transport::Udp,
                port: NonZeroU16::MIN,
            }],
            tls_names: Vec::new(),
        };
        let zone = ZoneId::try_from("apse2-az1").expect("a name");
        for (id, count) in [
            ("i-7", 1),
            ("I-7", 1),
            ("evil.test:1/", 0),
            ("a_b", 0),
            ("-", 0),
        ] {
            let id = InstanceId::try_from(id).expect("a name");
            assert_eq!(urls(&host, &id, &zone, &endpoints).len(), count, "{id}");
        }
    }
}
