//! The deny list in all its encodings.

#![expect(
    clippy::unwrap_used,
    reason = "a failed parse of a literal is the test's own mistake"
)]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;

use super::*;
use core::net::{Ipv4Addr, Ipv6Addr};

fn policy(rules: PeerRules) -> PeerPolicy {
    PeerPolicy::new(
        rules,
        OwnAddresses {
            relayed: vec!["10.1.0.5".parse().unwrap(), "13.54.7.7".parse().unwrap()],
            interfaces: vec![
                "10.1.0.5".parse().unwrap(),
                "52.62.1.9".parse().unwrap(),
                "2406:da1c::9".parse().unwrap(),
            ],
            broadcasts: vec!["13.54.7.255".parse().unwrap()],
            sockets: vec!["52.62.1.9:3478".parse().unwrap()],
        },
    )
}

/// The nine encodings of A-05 beside the plain one.
fn encodings(v4: Ipv4Addr) -> [Ipv6Addr; 9] {
    let [a, b, c, d] = v4.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    [
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xFFFF, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xFFFF, 0, high, low),
        Ipv6Addr::new(0x64, 0xFF9B, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xFF9B, 1, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0),
        Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low),
        Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0x0200, 0x5EFE, high, low),
    ]
}

const FORBIDDEN: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.0.10",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "198.19.255.255",
    "192.88.99.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.175.48.1",
    "52.62.1.9",
    "13.54.7.255",
];

/// every forbidden IPv4 target is refused plainly and in all nine encodings.
#[test]
fn forbidden_targets_are_refused_in_every_encoding() {
    let policy = policy(PeerRules {
        nat64_prefixes: vec!["2606:9a00::/96".parse().unwrap()],
        ..PeerRules::default()
    });
    for text in FORBIDDEN {
        let v4: Ipv4Addr = text.parse().unwrap();
        assert!(policy.judge(IpAddr::V4(v4)).is_err(), "{v4}");
        for v6 in encodings(v4) {
            assert!(policy.judge(IpAddr::V6(v6)).is_err(), "{v4} as {v6}");
        }
        let operator: Ipv6Addr = format!("2606:9a00::{v4}").parse().unwrap();
        assert_eq!(
            policy.judge(IpAddr::V6(operator)),
            Err(Forbidden::Embedded),
            "{v4} as {operator}"
        );
    }
}

/// T-83: every forbidden IPv6 target is refused.
#[test]
fn forbidden_ipv6_targets_are_refused() {
    let policy = policy(PeerRules::default());
    for text in [
        "::",
        "::1",
        "::7f00:1",
        "100::1",
        "100:0:0:1::1",
        "2001::1",
        "2001:2::1",
        "2001:10::1",
        "2002:808:808::1",
        "5f00::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fc00::1",
        "fdff::1",
        "2001:db8::1",
        "3fff::1",
        "2620:4f:8000::1",
        "4000::1",
        "1::1",
        "e000::1",
        "2406:da1c::9",
    ] {
        let peer: IpAddr = text.parse().unwrap();
        assert!(policy.judge(peer).is_err(), "{text}");
    }
}

/// allow-listing the ranges around cloud metadata does not open the metadata addresses.
#[test]
fn never_ranges_stay_closed_whatever_is_allowed() {
    let rules = PeerRules {
        allow: [
            "0.0.0.0/0",
            "::/0",
            "169.254.0.0/16",
            "100.64.0.0/10",
            "fc00::/7",
        ]
        .map(|n| n.parse().unwrap())
        .to_vec(),
        ..PeerRules::default()
    };
    let policy = policy(rules);
    for text in [
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "192.0.0.192",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd20:ce::254",
        "127.0.0.1",
        "::1",
        "::ffff:10.0.0.1",
        "2002:a00:1::",
        "fe80::1",
    ] {
        assert_eq!(
            policy.judge(text.parse().unwrap()),
            Err(Forbidden::Never),
            "{text}"
        );
    }
    for text in ["10.9.9.9", "192.168.4.4", "100.64.3.3", "fd12::1"] {
        assert_eq!(
            policy.judge(text.parse().unwrap()),
            Ok(Destination::Network),
            "{text}"
        );
    }
}

/// ordinary public addresses pass, so that the refusals above mean something.
#[test]
fn public_addresses_pass() {
    let policy = policy(PeerRules::default());
    for text in [
        "8.8.8.8",
        "1.1.1.1",
        "13.54.7.8",
        "172.15.0.1",
        "172.32.0.1",
        "100.63.1.1",
        "2606:4700::1111",
    ] {
        assert_eq!(
            policy.judge(text.parse().unwrap()),
            Ok(Destination::Network),
            "{text}"
        );
    }
}

/// the relay's relayed addresses are peers inside; a channel to them must name a relayed port; its other
/// addresses are refused.
#[test]
fn own_addresses_are_refused_except_relayed_ones() {
    let policy = policy(PeerRules::default());
    for text in ["10.1.0.5", "13.54.7.7"] {
        assert_eq!(
            policy.judge(text.parse().unwrap()),
            Ok(Destination::OwnRelayed)
        );
        let peer = |port| PeerAddr(SocketAddr::new(text.parse().unwrap(), port));
        assert_eq!(
            policy.judge_with_port(peer(50_000)),
            Ok(Destination::OwnRelayed)
        );
        assert_eq!(policy.judge_with_port(peer(3478)), Err(Forbidden::Port));
        assert_eq!(policy.judge_with_port(peer(9641)), Err(Forbidden::Port));
    }
    assert_eq!(
        policy.judge("52.62.1.9".parse().unwrap()),
        Err(Forbidden::Own)
    );
    // The mapped spelling of a relayed address is not that address.
    assert!(policy.judge("::ffff:13.54.7.7".parse().unwrap()).is_err());
}

/// the address of a listener is the host's own, whatever its port and whether or not an interface has it; a listener
/// on every address makes no other address the host's.
#[test]
fn the_address_of_a_listener_is_no_peer() {
    let own = OwnAddresses {
        sockets: vec![
            "52.62.1.9:3478".parse().unwrap(),
            "[2406:da1c::9]:3478".parse().unwrap(),
            "0.0.0.0:443".parse().unwrap(),
        ],
        ..OwnAddresses::default()
    };
    let policy = PeerPolicy::new(PeerRules::default(), own);
    for (peer, expected) in [
        ("52.62.1.9", Err(Forbidden::Own)),
        ("2406:da1c::9", Err(Forbidden::Own)),
        ("52.62.1.10", Ok(Destination::Network)),
        ("2406:da1c::a", Ok(Destination::Network)),
    ] {
        assert_eq!(policy.judge(peer.parse().unwrap()), expected, "{peer}");
    }
}

/// reflecting ports are closed on every address; 443 and ordinary ports are open.
#[test]
fn reflecting_ports_are_closed() {
    let policy = policy(PeerRules::default());
    let judge =
        |port| policy.judge_with_port(PeerAddr(SocketAddr::new("8.8.8.8".parse().unwrap(), port)));
    for port in [
        0, 53, 123, 389, 442, 444, 1023, 1900, 3702, 5353, 5683, 11_211, 3283, 10_001, 37_810,
    ] {
        assert_eq!(judge(port), Err(Forbidden::Port), "{port}");
    }
    for port in [443, 1024, 3478, 10_000, 50_000] {
        assert_eq!(judge(port), Ok(Destination::Network), "{port}");
    }
}

/// loopback opens only by its own switch, only spelled plainly, and never the relay's own sockets.
#[test]
fn loopback_opens_only_by_its_switch() {
    let own = OwnAddresses {
        relayed: vec!["127.0.0.1".parse().unwrap()],
        interfaces: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        broadcasts: vec![],
        sockets: vec![
            "127.0.0.1:3478".parse().unwrap(),
            "127.0.0.1:9641".parse().unwrap(),
        ],
    };
    let closed = PeerPolicy::new(PeerRules::default(), OwnAddresses::default());
    assert_eq!(
        closed.judge("127.0.0.1".parse().unwrap()),
        Err(Forbidden::Never)
    );
    let open = PeerPolicy::new(
        PeerRules {
            allow_loopback: true,
            ..PeerRules::default()
        },
        own,
    );
    assert_eq!(
        open.judge("127.0.0.1".parse().unwrap()),
        Ok(Destination::OwnRelayedOrHost)
    );
    assert_eq!(
        open.judge("127.0.0.2".parse().unwrap()),
        Ok(Destination::Network)
    );
    assert_eq!(open.judge("::1".parse().unwrap()), Ok(Destination::Network));
    assert!(open.judge("::ffff:127.0.0.1".parse().unwrap()).is_err());
    assert!(open.judge("0.0.0.0".parse().unwrap()).is_err());
    assert!(open.judge("10.0.0.1".parse().unwrap()).is_err());
    for port in [3478, 9641] {
        let peer = PeerAddr(SocketAddr::new("127.0.0.1".parse().unwrap(), port));
        assert_eq!(open.judge_with_port(peer), Err(Forbidden::Port));
    }
}

/// the operator's deny list closes public addresses, and comes before the allow list.
#[test]
fn the_operators_deny_list_closes() {
    let rules = PeerRules {
        deny: vec!["8.8.0.0/16".parse().unwrap()],
        allow: vec!["8.8.8.0/24".parse().unwrap()],
        ..PeerRules::default()
    };
    assert_eq!(
        policy(rules).judge("8.8.8.8".parse().unwrap()),
        Err(Forbidden::Operator)
    );
}

/// a relay for one SFU reaches nobody else, public or not, and what is closed for good stays closed.
#[test]
fn where_peers_are_listed_nobody_else_is_one() {
    let rules = PeerRules {
        only: ["10.20.30.0/28", "203.1.113.5/32", "169.254.0.0/16"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        deny: vec!["10.20.30.7/32".parse().unwrap()],
        allow_loopback: true,
        ..PeerRules::default()
    };
    let policy = policy(rules);
    for (peer, judged) in [
        ("10.20.30.1", Ok(Destination::Network)),
        ("203.1.113.5", Ok(Destination::Network)),
        ("10.20.30.7", Err(Forbidden::Operator)),
        ("10.20.30.16", Err(Forbidden::Operator)),
        ("8.8.8.8", Err(Forbidden::Operator)),
        ("2606:4700::1111", Err(Forbidden::Operator)),
        ("169.254.169.254", Err(Forbidden::Never)),
        ("127.0.0.1", Err(Forbidden::Never)),
        ("64:ff9b::808:808", Err(Forbidden::Never)),
        ("::ffff:10.20.30.1", Err(Forbidden::Never)),
    ] {
        assert_eq!(policy.judge(peer.parse().unwrap()), judged, "{peer}");
    }
}

/// a relay for one SFU does not lead from one of its clients to another, unless its own address is listed too;
/// its check of itself, which has no other peer, goes on.
#[test]
fn where_peers_are_listed_own_relayed_addresses_are_none() {
    let rules = |only: &[&str]| PeerRules {
        only: only.iter().map(|net| net.parse().unwrap()).collect(),
        ..PeerRules::default()
    };
    let relayed: [IpAddr; 2] = ["10.1.0.5", "13.54.7.7"].map(|text| text.parse().unwrap());
    let at = |ip| PeerAddr(SocketAddr::new(ip, 50_000));
    let closed = policy(rules(&["10.20.30.0/28"]));
    for ip in relayed {
        assert_eq!(closed.judge(ip), Err(Forbidden::Operator), "{ip}");
        assert_eq!(closed.judge_with_port(at(ip)), Err(Forbidden::Operator));
        assert_eq!(closed.judge_for(ip, true), Ok(Destination::OwnRelayed));
        assert_eq!(
            closed.judge_with_port_for(at(ip), true),
            Ok(Destination::OwnRelayed)
        );
    }
    let sfu = "10.20.30.1".parse().unwrap();
    assert_eq!(closed.judge(sfu), Ok(Destination::Network));
    // Nothing else opens for the check of itself.
    for other in ["52.62.1.9", "8.8.8.8", "169.254.169.254"] {
        let other = other.parse().unwrap();
        assert_eq!(closed.judge_for(other, true), closed.judge(other));
    }
    // Each of the two addresses by itself: what is bound is not what is advertised.
    let listed = policy(rules(&["10.20.30.0/28", "13.54.7.7/32"]));
    assert_eq!(listed.judge(relayed[0]), Err(Forbidden::Operator));
    assert_eq!(listed.judge(relayed[1]), Ok(Destination::OwnRelayed));
    assert_eq!(
        listed.judge_with_port(at(relayed[1])),
        Ok(Destination::OwnRelayed)
    );
    let demo = PeerPolicy::new(
        PeerRules {
            allow_loopback: true,
            ..rules(&["127.0.0.2/32"])
        },
        OwnAddresses {
            relayed: vec!["127.0.0.1".parse().unwrap()],
            ..OwnAddresses::default()
        },
    );
    for (peer, judged) in [
        ("127.0.0.1", Err(Forbidden::Operator)),
        ("127.0.0.2", Ok(Destination::Network)),
    ] {
        assert_eq!(demo.judge(peer.parse().unwrap()), judged, "{peer}");
    }
}

/// The words of the reasons are distinct.
#[test]
fn reasons_have_distinct_words() {
    let words = [
        Forbidden::Never,
        Forbidden::Embedded,
        Forbidden::Own,
        Forbidden::Operator,
        Forbidden::Default,
        Forbidden::Port,
    ]
    .map(|r| r.as_str().to_string());
    let unique: alloc::collections::BTreeSet<String> = words.iter().cloned().collect();
    assert_eq!(unique.len(), words.len());
}
