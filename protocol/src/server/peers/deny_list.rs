//! The default deny list: the IANA special-purpose registries and the metadata addresses of the clouds, in two tiers.
//!
//! Not responsible for the relay's own addresses, which are found at run time.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

struct V4Range(Ipv4Addr, u8);
struct V6Range(Ipv6Addr, u8);

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> V4Range {
    V4Range(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(s: [u16; 8], bits: u8) -> V6Range {
    V6Range(
        Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]),
        bits,
    )
}

/// Refused whatever the operator allows.
const NEVER_V4: &[V4Range] = &[
    v4(0, 0, 0, 0, 8),          // this network; Linux routes 0.0.0.0 to loopback
    v4(127, 0, 0, 0, 8),        // loopback
    v4(169, 254, 0, 0, 16),     // link-local: cloud metadata, DNS and time
    v4(168, 63, 129, 16, 32),   // a cloud's host agent behind a public-looking address
    v4(192, 0, 0, 0, 24), // protocol assignments: a cloud's metadata, DS-Lite, NAT64 discovery, TURN anycast
    v4(100, 100, 100, 200, 32), // a cloud's metadata inside the shared range, pinned so that allowing it cannot open it
    v4(224, 0, 0, 0, 4),        // multicast
    v4(240, 0, 0, 0, 4),        // reserved, limited broadcast
];

/// Refused unless the operator allows it.
const DENIED_V4: &[V4Range] = &[
    v4(10, 0, 0, 0, 8),      // private
    v4(172, 16, 0, 0, 12),   // private
    v4(192, 168, 0, 0, 16),  // private
    v4(100, 64, 0, 0, 10),   // shared by carrier NATs; overlays; pods
    v4(192, 0, 2, 0, 24),    // documentation
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
    v4(198, 18, 0, 0, 15),   // benchmarking
    v4(192, 88, 99, 0, 24),  // 6to4 anycast: tunnel loop
    v4(192, 31, 196, 0, 24), // AS112
    v4(192, 52, 193, 0, 24), // AMT
    v4(192, 175, 48, 0, 24), // AS112
];

const NEVER_V6: &[V6Range] = &[
    v6([0; 8], 96), // unspecified, loopback and IPv4-compatible addresses
    v6([0, 0, 0, 0, 0, 0xFFFF, 0, 0], 96), // IPv4-mapped
    v6([0, 0, 0, 0, 0xFFFF, 0, 0, 0], 96), // IPv4-translated
    v6([0x64, 0xFF9B, 0, 0, 0, 0, 0, 0], 96), // NAT64, well-known prefix
    v6([0x64, 0xFF9B, 1, 0, 0, 0, 0, 0], 48), // NAT64, local use
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), // discard only
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), // dummy prefix
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments: Teredo, ORCHID, benchmarking
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4
    v6([0x5F00, 0, 0, 0, 0, 0, 0, 0], 16), // segment routing
    v6([0xFE80, 0, 0, 0, 0, 0, 0, 0], 10), // link-local
    v6([0xFEC0, 0, 0, 0, 0, 0, 0, 0], 10), // site-local, deprecated
    v6([0xFF00, 0, 0, 0, 0, 0, 0, 0], 8), // multicast
    v6([0xFD00, 0x0EC2, 0, 0, 0, 0, 0, 0], 32), // a cloud's metadata, pinned inside the unique-local range
    v6([0xFD20, 0x00CE, 0, 0, 0, 0, 0, 0], 32), // another's
];

const DENIED_V6: &[V6Range] = &[
    v6([0xFC00, 0, 0, 0, 0, 0, 0, 0], 7),          // unique-local
    v6([0x2001, 0x0DB8, 0, 0, 0, 0, 0, 0], 32),    // documentation
    v6([0x3FFF, 0, 0, 0, 0, 0, 0, 0], 20),         // documentation
    v6([0x2620, 0x4F, 0x8000, 0, 0, 0, 0, 0], 48), // AS112
];

/// 2000::/3, the only global unicast IPv6 space.
const GLOBAL_V6: V6Range = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Whether no configuration may open this address.
pub(super) fn never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => NEVER_V4.iter().any(|range| range.contains(v4)),
        IpAddr::V6(v6) => NEVER_V6.iter().any(|range| range.contains(v6)),
    }
}

/// Whether this address is closed unless the operator opens it.
pub(super) fn denied(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => DENIED_V4.iter().any(|range| range.contains(v4)),
        IpAddr::V6(v6) => {
            !GLOBAL_V6.contains(v6) || DENIED_V6.iter().any(|range| range.contains(v6))
        }
    }
}

/// Peer ports that reflect or amplify, or that no media uses: below 1024 but for 443, and the well-known amplifiers
/// above (SSDP, WS-Discovery, mDNS, CoAP, memcached, remote desktop, cameras).
pub const fn default_denied_ports() -> &'static [RangeInclusive<u16>] {
    &[
        0..=442,
        444..=1023,
        1900..=1900,
        3283..=3283,
        3702..=3702,
        5353..=5353,
        5683..=5683,
        10_001..=10_001,
        11_211..=11_211,
        37_810..=37_810,
    ]
}

impl V4Range {
    fn contains(&self, address: Ipv4Addr) -> bool {
        let shift = 32 - u32::from(self.1);
        self.0.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
    }
}

impl V6Range {
    fn contains(&self, address: Ipv6Addr) -> bool {
        let shift = 128 - u32::from(self.1);
        self.0.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
    }
}
