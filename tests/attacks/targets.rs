//! Every address that no client may reach through a relay, row by row, and every dress that an IPv4 address has in IPv6.
//!
//! Written down here once more, from the registries and not from the product's own lists, so that a slip there is seen.
//! Not responsible for trying them (`forbidden`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Closed whatever an operator allows.
pub(crate) const NEVER: [&str; 25] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "168.63.129.16/32",
    "192.0.0.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
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
    // The one address of a cloud's metadata inside a range that may be opened.
    "100.100.100.200/32",
];

/// Closed unless an operator allows it.
pub(crate) const DENIED: [&str; 21] = [
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
    // Outside of 2000::/3, the only global unicast space.
    "200::/7",
    "1000::/4",
    "4000::/3",
    "a000::/3",
    "e000::/4",
];

/// Where clouds tell an instance who it is and what it may do, and their agents and clocks beside that.
pub(crate) const METADATA: [&str; 13] = [
    "169.254.169.254",
    "169.254.169.253",
    "169.254.169.123",
    "169.254.170.2",
    "169.254.170.23",
    "168.63.129.16",
    "192.0.0.192",
    "100.100.100.200",
    "fd00:ec2::254",
    "fd00:ec2::253",
    "fd00:ec2::123",
    "fd00:ec2::23",
    "fd20:ce::254",
];

/// What else is worth an attacker's while in those ranges.
const KNOWN: [&str; 12] = [
    "127.0.0.1",
    "127.0.0.53",
    "172.17.0.1",
    "192.168.1.1",
    "192.0.0.170",
    "192.0.0.10",
    "239.255.255.250",
    "255.255.255.255",
    "2001:2::1",
    "fe80::1",
    "ff02::1",
    "ff0e::fb",
];

/// Open to everybody, as the addresses of two parties' networks are; the last two are next to ranges that are closed.
pub(crate) const PUBLIC: [&str; 6] = [
    "1.1.1.1",
    "101.33.7.9",
    "2400:cb00::7",
    "2a01:77::1",
    "172.32.0.0",
    "2001:200::1",
];

/// The operator's own NAT64 prefixes in these tests: one of each length that there may be.
pub(crate) const NAT64: [&str; 6] = [
    "2a01:64::/32",
    "2a02:64::/40",
    "2a03:64::/48",
    "2a04:64::/56",
    "2a05:64::/64",
    "2a06:64::/96",
];

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits().into(), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// The first and the last address of a range, one in the middle, and one at an odd place.
fn samples(range: &str) -> Vec<IpAddr> {
    let (first, length) = range.split_once('/').unwrap();
    let first: IpAddr = first.parse().unwrap();
    let (from, width) = bits(first);
    let free = width - length.parse::<u32>().unwrap();
    let size = 1_u128
        .checked_shl(free)
        .map_or(u128::MAX, |count| count - 1);
    let odd = 0x5A5A_3C01_1234_5678_9ABC_DEF0_0F1E_2D4B & size;
    let mut found: Vec<_> = [0, size, size / 2, odd]
        .into_iter()
        .map(|offset| match first {
            IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(from + offset).unwrap()).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(from + offset).into(),
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What is tried of these ranges and addresses, each once.
fn tried<'a>(ranges: &[&str], addresses: impl IntoIterator<Item = &'a &'a str>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = ranges.iter().flat_map(|range| samples(range)).collect();
    found.extend(
        addresses
            .into_iter()
            .map(|text| text.parse::<IpAddr>().unwrap()),
    );
    found.sort_unstable();
    found.dedup();
    found
}

/// Targets that no configuration opens.
pub(crate) fn never() -> Vec<IpAddr> {
    tried(
        &NEVER,
        KNOWN
            .iter()
            .filter(|text| **text != "172.17.0.1" && **text != "192.168.1.1")
            .chain(&METADATA),
    )
}

/// Targets that are closed as a relay comes.
pub(crate) fn denied() -> Vec<IpAddr> {
    tried(&DENIED, &["172.17.0.1", "192.168.1.1"])
}

/// An IPv4 address in every IPv6 dress that some host or router may take off again.
pub(crate) fn dressed(address: Ipv4Addr) -> Vec<(&'static str, Ipv6Addr)> {
    let bits = address.to_bits();
    let [high, low] = [bits >> 16, bits & 0xFFFF].map(|half| u16::try_from(half).unwrap());
    let fixed: [(_, [u16; 8]); 10] = [
        ("mapped", [0, 0, 0, 0, 0, 0xFFFF, high, low]),
        ("compatible", [0, 0, 0, 0, 0, 0, high, low]),
        ("translated", [0, 0, 0, 0, 0xFFFF, 0, high, low]),
        ("NAT64", [0x64, 0xFF9B, 0, 0, 0, 0, high, low]),
        ("local NAT64", [0x64, 0xFF9B, 1, 0, 0, 0, high, low]),
        ("6to4", [0x2002, high, low, 0, 0, 0, 0, 1]),
        ("Teredo server", [0x2001, 0, high, low, 0, 0, 0, 0]),
        (
            "Teredo client",
            [0x2001, 0, 0x4136, 0xE378, 0x8000, 0x63BF, !high, !low],
        ),
        ("ISATAP", [0x2A01, 0x77, 0, 0, 0x0200, 0x5EFE, high, low]),
        ("private ISATAP", [0x2A01, 0x77, 0, 0, 0, 0x5EFE, high, low]),
    ];
    let fixed = fixed.map(|(name, segments)| (name, Ipv6Addr::from(segments)));
    fixed
        .into_iter()
        .chain(NAT64.map(|prefix| ("the operator's NAT64", by_prefix(address, prefix))))
        .collect()
}

/// RFC 6052 §2.2: the address follows the prefix, and leaves out the bits 64 to 71.
fn by_prefix(address: Ipv4Addr, prefix: &str) -> Ipv6Addr {
    let (prefix, length) = prefix.split_once('/').unwrap();
    let mut octets = prefix.parse::<Ipv6Addr>().unwrap().octets();
    let from = length.parse::<usize>().unwrap() / 8;
    let places = (from..16).filter(|place| *place != 8);
    for (place, octet) in places.zip(address.octets()) {
        octets[place] = octet;
    }
    octets.into()
}

/// Each of these addresses, and beside those of IPv4 all their dresses.
pub(crate) fn in_every_dress(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let dresses = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(v4) => Some(dressed(*v4)),
        IpAddr::V6(_) => None,
    });
    let mut found = addresses.to_vec();
    found.extend(dresses.flatten().map(|(_, address)| IpAddr::from(address)));
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether this is a dress in which no address of a peer comes, so that none is open: nobody but a tunnel's end would take it
/// off. What remains are ISATAP and the operator's NAT64, which are as open as the address within.
pub(crate) fn only_tunnels_understand(address: IpAddr) -> bool {
    let IpAddr::V6(v6) = address else {
        return false;
    };
    let closed = NEVER.iter().filter(|range| range.contains(':'));
    closed.into_iter().any(|range| {
        let (first, length) = range.split_once('/').unwrap();
        let first = first.parse::<Ipv6Addr>().unwrap().to_bits();
        let shift = 128 - length.parse::<u32>().unwrap();
        first.unbounded_shr(shift) == v6.to_bits().unbounded_shr(shift)
    })
}
