//! Which addresses a client may reach, however they are written.
//!
//! Responsible for: the policy agrees with the tables of the design read one prefix at a time, and an IPv4 address that is
//! refused is refused in every IPv6 form that carries it, whatever the operator allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use taciturn_protocol::address::PeerAddr;
use taciturn_protocol::forward::Destination;
use taciturn_protocol::server::{Forbidden, OwnAddresses, PeerPolicy, PeerRules};

use crate::bytes::Bytes;

/// Closed whatever the operator allows.
const NEVER: &[&str] = &[
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "168.63.129.16/32",
    "192.0.0.0/24",
    "100.100.100.200/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2002::/16",
    "5f00::/16",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "fd00:ec2::/32",
    "fd20:ce::/32",
];

/// Closed unless the operator allows it. Of IPv6, all that is not global unicast (2000::/3) is too.
const DENIED: &[&str] = &[
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "198.18.0.0/15",
    "192.88.99.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.175.48.0/24",
    "fc00::/7",
    "2001:db8::/32",
    "3fff::/20",
    "2620:4f:8000::/48",
];

/// What the operator of this relay allows, closes, and uses to reach IPv4 from IPv6.
const ALLOW: &[&str] = &["10.1.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "fd00::/8"];
const DENY: &[&str] = &["8.8.8.0/24", "2606:4700::/32"];
const NAT64: &[&str] = &["2a00:1234::/32", "2a01:4:5:6::/64", "2a02:1:2:3:4:5::/96"];

const RELAYED: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const INTERFACE: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 35);
const BROADCAST: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 255);
const LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(INTERFACE), 3478);

static POLICY: LazyLock<PeerPolicy> = LazyLock::new(|| {
    let nets = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| text.parse().expect("a net"))
            .collect()
    };
    PeerPolicy::new(
        PeerRules {
            allow: nets(ALLOW),
            deny: nets(DENY),
            nat64_prefixes: NAT64
                .iter()
                .map(|text| text.parse().expect("a prefix"))
                .collect(),
            ..PeerRules::default()
        },
        OwnAddresses {
            relayed: vec![RELAYED.into()],
            interfaces: vec![RELAYED.into(), INTERFACE.into()],
            broadcasts: vec![BROADCAST.into()],
            sockets: vec![LISTENER],
        },
    )
});

/// An address of either family, and an IPv4 address in one of its spellings.
pub fn address(input: &[u8]) {
    let mut input = Bytes(input);
    let form = input.u8();
    let port = input.u16();
    let v4 = Ipv4Addr::from(input.array::<4>());
    let v6 = Ipv6Addr::from(input.array::<16>());
    agrees(IpAddr::V4(v4));
    agrees(IpAddr::V6(v6));

    let hidden = spelled(form, v4, v6);
    agrees(IpAddr::V6(hidden));
    let plain = POLICY.judge(IpAddr::V4(v4));
    if plain != Ok(Destination::Network) {
        let judged = POLICY.judge(IpAddr::V6(hidden));
        assert!(judged.is_err(), "{v4} is reached as {hidden}");
    }

    for ip in [IpAddr::V4(v4), IpAddr::V6(v6), IpAddr::V6(hidden)] {
        let peer = PeerAddr(SocketAddr::new(ip, port));
        match (POLICY.judge(ip), POLICY.judge_with_port(peer)) {
            (Ok(wanted), Ok(judged)) => {
                assert_eq!(judged, wanted);
                assert!(port == 443 || port > 1023, "port {port}");
                assert!(POLICY.port_rules().allow(peer.0));
            }
            (Ok(_), Err(refused)) => assert_eq!(refused, Forbidden::Port),
            (Err(wanted), judged) => assert_eq!(judged, Err(wanted)),
        }
    }
}

/// `v4` inside of an IPv6 address, in one of the forms that there are; where a form leaves bits open they are those of `rest`.
fn spelled(form: u8, v4: Ipv4Addr, rest: Ipv6Addr) -> Ipv6Addr {
    let (bits, rest) = (u128::from(v4.to_bits()), rest.to_bits());
    let low = |width: u32| rest & ((1 << width) - 1);
    let at = |prefix: &str| prefix.parse::<Ipv6Addr>().expect("a prefix").to_bits();
    Ipv6Addr::from_bits(match form % 12 {
        0 => bits,                                                       // compatible
        1 => at("::ffff:0:0") | bits,                                    // mapped
        2 => at("::ffff:0:0:0") | bits,                                  // translated
        3 => at("64:ff9b::") | bits,                                     // NAT64, well-known
        4 => at("64:ff9b:1::") | low(80) & !0xFFFF_FFFF | bits,          // NAT64, local use
        5 => at("2002::") | bits << 80 | low(80),                        // 6to4
        6 => at("2001::") | bits << 64 | low(64),                        // Teredo, its server
        7 => at("2001::") | low(96) & !0xFFFF_FFFF | bits ^ 0xFFFF_FFFF, // Teredo, its client
        8 => rest & !0xFFFF_FFFF_FFFF_FFFF | 0x5EFE << 32 | bits,        // ISATAP
        9 => at("2a00:1234::") | bits << 64 | low(64),                   // the operator's, 32 bits
        10 => at("2a01:4:5:6::") | bits << 24 | low(24), // the operator's, 64 bits, eight left out
        _ => at("2a02:1:2:3:4:5::") | bits,              // the operator's, 96 bits
    })
}

fn agrees(ip: IpAddr) {
    let judged = POLICY.judge(ip);
    let wanted = plain(ip);
    let embedded = || embedded(ip).any(|v4| v4 == RELAYED || plain(v4.into()).is_err());
    if ip == IpAddr::V4(RELAYED) {
        assert_eq!(judged, Ok(Destination::OwnRelayed));
    } else if wanted.is_ok() && embedded() {
        assert_eq!(judged, Err(Forbidden::Embedded), "{ip}");
    } else {
        assert_eq!(judged, wanted.map(|()| Destination::Network), "{ip}");
    }
}

/// The order of evaluation for an address that is what it seems.
fn plain(ip: IpAddr) -> Result<(), Forbidden> {
    let v4 = |own: Ipv4Addr| ip == IpAddr::V4(own);
    if TABLES.never.iter().any(|net| net.has(ip)) {
        Err(Forbidden::Never)
    } else if v4(RELAYED) || v4(INTERFACE) || v4(BROADCAST) {
        Err(Forbidden::Own)
    } else if TABLES.deny.iter().any(|net| net.has(ip)) {
        Err(Forbidden::Operator)
    } else if TABLES.allow.iter().any(|net| net.has(ip)) {
        Ok(())
    } else if TABLES.denied.iter().any(|net| net.has(ip)) || is_not_global(ip) {
        Err(Forbidden::Default)
    } else {
        Ok(())
    }
}

fn is_not_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.octets()[0] >> 5 != 1,
    }
}

/// The IPv4 addresses that may be in an IPv6 address whose plain form is not refused already: ISATAP and the operator's.
fn embedded(ip: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let octets = match ip {
        IpAddr::V4(_) => [0; 16],
        IpAddr::V6(v6) => v6.octets(),
    };
    let isatap = octets[8] & !2 == 0 && octets[9..12] == [0, 0x5E, 0xFE];
    let starts = |prefix: &[u8]| octets.starts_with(prefix);
    let places = [
        (isatap, [12, 13, 14, 15]),
        (starts(&[0x2a, 0, 0x12, 0x34]), [4, 5, 6, 7]),
        (starts(&[0x2a, 1, 0, 4, 0, 5, 0, 6]), [9, 10, 11, 12]),
        (
            starts(&[0x2a, 2, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5]),
            [12, 13, 14, 15],
        ),
    ];
    places
        .into_iter()
        .filter(move |_| ip.is_ipv6())
        .filter(|(is, _)| *is)
        .map(move |(_, places)| Ipv4Addr::from(places.map(|place| octets[place])))
}

/// A prefix, as the number that its bits make.
struct Net {
    first: IpAddr,
    bits: u32,
}

struct Tables {
    never: Vec<Net>,
    denied: Vec<Net>,
    allow: Vec<Net>,
    deny: Vec<Net>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let nets = |texts: &[&str]| texts.iter().map(|text| Net::of(text)).collect();
    Tables {
        never: nets(NEVER),
        denied: nets(DENIED),
        allow: nets(ALLOW),
        deny: nets(DENY),
    }
});

impl Net {
    fn of(text: &str) -> Self {
        let (first, bits) = text.split_once('/').expect("a prefix has a length");
        Self {
            first: first.parse().expect("an address"),
            bits: bits.parse().expect("a number of bits"),
        }
    }

    fn has(&self, ip: IpAddr) -> bool {
        match (self.first, ip) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                (first.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                (first.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}
