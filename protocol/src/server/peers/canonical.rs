//! IPv4 addresses that hide inside IPv6 addresses.
//!
//! Responsible for reading every known embedding once, so that a refused IPv4 address has no other spelling. Not
//! responsible for judging what it finds. Most of these prefixes are never-ranges already; reading them here too means
//! that a slip in that list opens nothing.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

/// Every IPv4 address that `address` may stand for: mapped, compatible, translated (SIIT), NAT64 by well-known, local
/// or operator prefix, 6to4, Teredo (server, and client as obfuscated), ISATAP.
pub(super) fn embedded_ipv4(address: IpAddr, nat64: &[Ipv6Net]) -> impl Iterator<Item = Ipv4Addr> {
    let v6 = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6),
    };
    let fixed = v6.map_or([None; 4], fixed_places);
    let operator = v6
        .into_iter()
        .flat_map(move |v6| nat64.iter().filter_map(move |net| by_prefix(v6, net)));
    fixed.into_iter().flatten().chain(operator)
}

fn fixed_places(address: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let s = address.segments();
    let low = Ipv4Addr::from_bits(u32::from(s[6]) << 16 | u32::from(s[7]));
    let high = Ipv4Addr::from_bits(u32::from(s[1]) << 16 | u32::from(s[2]));
    let teredo_server = Ipv4Addr::from_bits(u32::from(s[2]) << 16 | u32::from(s[3]));
    match s {
        // Mapped, compatible, translated: the last 32 bits.
        [0, 0, 0, 0, 0, 0 | 0xFFFF, _, _] | [0, 0, 0, 0, 0xFFFF, 0, _, _] => {
            [Some(low), None, None, None]
        }
        // NAT64, well-known and local-use prefixes (RFC 6052 §2.2 with /96).
        [0x64, 0xFF9B, ..] => [Some(low), None, None, None],
        // 6to4: the site's address follows the prefix.
        [0x2002, ..] => [Some(high), None, None, None],
        // Teredo: the server in clear, the client's address inverted (RFC 4380 §4).
        [0x2001, 0, ..] => [
            Some(teredo_server),
            Some(Ipv4Addr::from_bits(!low.to_bits())),
            None,
            None,
        ],
        // ISATAP: interface identifier 00-00-5E-FE or 02-00-5E-FE before the address (RFC 5214 §6.1).
        [_, _, _, _, 0x0000 | 0x0200, 0x5EFE, _, _] => [Some(low), None, None, None],
        _ => [None; 4],
    }
}

/// RFC 6052 §2.2: where the IPv4 address lies depends on the prefix's length; bits 64-71 are skipped.
fn by_prefix(address: Ipv6Addr, prefix: &Ipv6Net) -> Option<Ipv4Addr> {
    if !prefix.contains(&address) {
        return None;
    }
    let octets = address.octets();
    let places: [usize; 4] = match prefix.prefix_len() {
        32 => [4, 5, 6, 7],
        40 => [5, 6, 7, 9],
        48 => [6, 7, 9, 10],
        56 => [7, 9, 10, 11],
        64 => [9, 10, 11, 12],
        96 => [12, 13, 14, 15],
        _ => return None,
    };
    Some(Ipv4Addr::from(places.map(|place| octets[place])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const HIDDEN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 33);

    fn found(address: &str, nat64: &[Ipv6Net]) -> Vec<Ipv4Addr> {
        let address = address.parse().expect("an address that is written here");
        embedded_ipv4(address, nat64).collect()
    }

    /// every place where an IPv4 address can hide is read, whatever the ranges before this say of the prefix. The hidden
    /// address is 192.0.2.33.
    #[test]
    fn an_address_is_found_wherever_it_hides() {
        let cases = [
            ("mapped", "::ffff:c000:221"),
            ("compatible", "::c000:221"),
            ("translated", "::ffff:0:c000:221"),
            ("NAT64", "64:ff9b::c000:221"),
            ("NAT64, local use", "64:ff9b:1::c000:221"),
            ("6to4", "2002:c000:221::1"),
            ("Teredo, server", "2001:0:c000:221:0:0:f7f7:f7f7"),
            ("Teredo, client", "2001:0:808:808:0:0:3fff:fdde"),
            ("ISATAP", "2606:4700::5efe:c000:221"),
            ("ISATAP, global", "2606:4700::200:5efe:c000:221"),
        ];
        for (what, address) in cases {
            assert!(found(address, &[]).contains(&HIDDEN), "{what}: {address}");
        }
        for address in ["192.0.2.33", "2606:4700::c000:221", "2002:1:2::c000:221"] {
            assert!(!found(address, &[]).contains(&HIDDEN), "{address}");
        }
    }

    /// under the operator's own NAT64 prefix, of whatever length (the examples of RFC 6052 §2.4).
    #[test]
    fn an_address_is_found_under_a_prefix_of_every_length() {
        let cases = [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ];
        for (prefix, address) in cases {
            let prefix = prefix.parse().expect("a prefix that is written here");
            assert_eq!(found(address, &[prefix]), [HIDDEN], "{prefix}");
            // Another network's, and a length that RFC 6052 does not have.
            assert!(found("2001:db9:122:344::192.0.2.33", &[prefix]).is_empty());
        }
        let odd = ["2001:db8::/33".parse().expect("written here")];
        assert!(found("2001:db8:c000:221::", &odd).is_empty());
    }
}
