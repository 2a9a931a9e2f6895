//! Errors that this kernel really gives, in a namespace whose routes are the test's own.

use std::process::Command;

use super::icmp::in_a_namespace;
use super::{afflicted, numbered, receive, relayed, send_all};
use crate::net::{Destination, SendFailure};

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

/// G-20: no route, a route that refuses, a datagram that does not fit: each is one drop with its reason, and the next datagram leaves.
#[test]
fn what_the_kernel_really_refuses_is_a_counted_drop() {
    if !in_a_namespace("net::tests::refusals::what_the_kernel_really_refuses_is_a_counted_drop") {
        return;
    }
    ip("link set lo mtu 1280");
    ip("route add prohibit 192.0.2.0/24");
    ip("route add unreachable 198.51.100.0/24");
    let (from, to) = (relayed("0.0.0.0:0"), relayed("127.0.0.1:0"));
    let good = Destination::new(to.local_addr());
    for (address, failure) in [
        ("203.0.113.1:9", SendFailure::Unreachable),
        ("192.0.2.1:9", SendFailure::Denied),
        ("198.51.100.1:9", SendFailure::Unreachable),
        ("[::1]:9", SendFailure::Invalid),
    ] {
        let bad = Destination::new(address.parse().unwrap());
        // Alone, and as a train.
        for sizes in [vec![10], vec![20, 20, 20]] {
            let outcome = send_all(&from, &bad, &numbered(sizes.clone()));
            let refused = sizes.len() as u64;
            assert_eq!(
                (outcome.datagrams, outcome.failed(failure)),
                (0, refused),
                "{address}"
            );
            assert!(outcome.calls <= 2 * (refused + 1), "{address}");
        }
        assert_eq!(
            from.send_dont_fragment(&bad, &[b"whole"]),
            Err(failure),
            "{address}"
        );
        assert_eq!(send_all(&from, &good, &numbered([30, 30])).datagrams, 2);
        assert_eq!(receive(&to, 2).len(), 2);
    }
}

/// G-20: a datagram longer than the interface takes is refused with DF and fragmented without, and so are those of a train.
#[test]
fn what_does_not_fit_the_interface_is_refused_only_with_df() {
    if !in_a_namespace(
        "net::tests::refusals::what_does_not_fit_the_interface_is_refused_only_with_df",
    ) {
        return;
    }
    ip("link set lo mtu 1280");
    let ((from, _), to) = (afflicted(), relayed("127.0.0.1:0"));
    let good = Destination::new(to.local_addr());
    let whole = [7; 2000];
    for _ in 0..3 {
        assert_eq!(
            from.send_dont_fragment(&good, &[&whole]),
            Err(SendFailure::TooLarge)
        );
        let outcome = send_all(&from, &good, &numbered([1500, 1500, 900]));
        assert_eq!((outcome.datagrams, outcome.has_failures()), (3, false));
        let came = receive(&to, 3);
        let lengths: Vec<usize> = came.iter().map(|(.., bytes)| bytes.len()).collect();
        assert_eq!(lengths, [1500, 1500, 900]);
    }
}
