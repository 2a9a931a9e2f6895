//! ICMP errors and DF as the network sees them. Both need raw sockets, so these tests run in a namespace of their own.

use std::{
    env,
    io::Read,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    process::Command,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{PATIENCE, numbered, receive, relayed, send_all};
use crate::net::{Destination, IcmpError};

const INSIDE: &str = "TACITURN_TEST_NAMESPACE";

/// Runs the named test again in a network namespace with nothing but loopback; true when this is that run.
pub(super) fn in_a_namespace(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn v4(addr: SocketAddr) -> SocketAddrV4 {
    match addr {
        SocketAddr::V4(v4) => v4,
        SocketAddr::V6(_) => panic!("these tests use ipv4"),
    }
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

/// An ICMP error about a datagram from `sender` to `receiver`.
fn icmp_error(
    kind: u8,
    code: u8,
    mtu: u16,
    sender: SocketAddrV4,
    receiver: SocketAddrV4,
) -> Vec<u8> {
    let mut inner = vec![0x45, 0, 0, 128, 0, 1, 0x40, 0, 64, 17, 0, 0];
    inner.extend(sender.ip().octets());
    inner.extend(receiver.ip().octets());
    let sum = checksum(&inner);
    inner[10..12].copy_from_slice(&sum);
    inner.extend(
        [
            sender.port().to_be_bytes(),
            receiver.port().to_be_bytes(),
            [0, 108],
            [0, 0],
        ]
        .concat(),
    );
    let mut message = [
        vec![kind, code, 0, 0, 0, 0],
        mtu.to_be_bytes().to_vec(),
        inner,
    ]
    .concat();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum);
    message
}

/// T-53: ICMP types 3 and 11 are reported with type, code, and the MTU for 3/4, although the socket leaves DF 0 (RFC 8656 §11.5).
#[test]
fn routers_errors_are_reported_and_a_forged_mtu_changes_nothing() {
    if !in_a_namespace(
        "net::tests::icmp::routers_errors_are_reported_and_a_forged_mtu_changes_nothing",
    ) {
        return;
    }
    let (from, to) = (relayed("127.0.0.1:0"), relayed("127.0.0.2:0"));
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    for (kind, code, mtu, reported) in
        [(3, 4, 600, 600), (3, 1, 0, 0), (3, 13, 0, 0), (11, 0, 0, 0)]
    {
        let message = icmp_error(kind, code, mtu, v4(from.local_addr()), v4(to.local_addr()));
        raw.send_to(
            &message,
            &SockAddr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)),
        )
        .unwrap();
        let expected = IcmpError {
            peer: to.local_addr(),
            kind,
            code,
            mtu: reported,
        };
        assert_eq!(from.receive_error().unwrap(), Some(expected));
        assert_eq!(from.receive_error().unwrap(), None);
        let outcome = send_all(
            &from,
            &Destination::new(to.local_addr()),
            &numbered([1000, 1000, 1000]),
        );
        assert_eq!(
            (
                outcome.datagrams,
                outcome.trains,
                outcome.failures().count()
            ),
            (3, 1, 0)
        );
        assert_eq!(receive(&to, 3).len(), 3);
    }
}

/// T-67: DF per DONT-FRAGMENT on Send; in all other cases DF 0, in the header as the network sees it.
#[test]
fn df_is_set_for_the_one_datagram_that_asks() {
    if !in_a_namespace("net::tests::icmp::df_is_set_for_the_one_datagram_that_asks") {
        return;
    }
    let mut wire = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).unwrap();
    wire.set_read_timeout(Some(PATIENCE)).unwrap();
    let (from, to) = (relayed("127.0.0.1:0"), relayed("127.0.0.1:0"));
    let destination = Destination::new(to.local_addr());
    from.send_to(&destination, &[b"without"]).unwrap();
    from.send_dont_fragment(&destination, &[b"with"]).unwrap();
    send_all(&from, &destination, &numbered([9]));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut packet = [0; 100];
        assert!(wire.read(&mut packet).unwrap() > 28);
        seen.push(packet[6] & 0x40 != 0);
    }
    assert_eq!(seen, [false, true, false]);
}

/// T-67: with DF 0 a datagram longer than the interface's MTU is fragmented, in a train or not.
#[test]
fn segments_longer_than_the_mtu_are_taken_out_of_the_train_and_fragmented() {
    if !in_a_namespace(
        "net::tests::icmp::segments_longer_than_the_mtu_are_taken_out_of_the_train_and_fragmented",
    ) {
        return;
    }
    assert!(
        Command::new("ip")
            .args(["link", "set", "lo", "mtu", "1400"])
            .status()
            .unwrap()
            .success()
    );
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let (from, to) = (relayed(addr), relayed(addr));
        let destination = Destination::new(to.local_addr());
        let datagrams = numbered([2000, 2000, 2000, 1000, 900, 900, 900]);
        let first = send_all(&from, &destination, &datagrams);
        assert_eq!(
            (first.datagrams, first.trains, first.failures().count()),
            (7, 1, 0),
            "{addr}"
        );
        let second = send_all(&from, &destination, &datagrams);
        assert_eq!(
            (second.datagrams, second.trains, second.calls),
            (7, 2, 1),
            "{addr}: the limit is remembered"
        );
        let received = receive(&to, 14);
        assert!(
            received
                .iter()
                .zip(datagrams.iter().cycle())
                .all(|((.., bytes), sent)| bytes == sent)
        );
    }
}
