//! The socket layer on real sockets, over loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod icmp;
mod refusals;
mod steering;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use super::{
    Destination, Epoll, EventFd, Events, IcmpError, Interest, Lane, ReceiveBatch, SendBatch,
    SendFailure, SendOutcome, UdpOptions, UdpSocket,
    faults::{Faults, Operation},
};

const LOCALHOST: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];
const PATIENCE: Duration = Duration::from_secs(5);

fn bound(addr: &str, options: &UdpOptions) -> UdpSocket {
    UdpSocket::bind(addr.parse().unwrap(), options).unwrap()
}

fn relayed(addr: &str) -> UdpSocket {
    bound(addr, &UdpOptions::relayed())
}

/// Waits until the socket has something to read (or an error), and says what.
fn ready(socket: &impl AsFd) -> (bool, bool) {
    let epoll = Epoll::new().unwrap();
    epoll.add(socket, 1, Interest::Read).unwrap();
    let mut events = Events::with_capacity(1);
    epoll.wait(&mut events, Some(PATIENCE)).unwrap();
    events
        .iter()
        .next()
        .map_or((false, false), |event| (event.readable, event.error))
}

type Owned = (SocketAddr, Option<IpAddr>, u8, Vec<u8>);

/// Receives until `count` datagrams are there.
fn receive(socket: &UdpSocket, count: usize) -> Vec<Owned> {
    let mut batch = ReceiveBatch::new();
    let mut all = Vec::new();
    while all.len() < count {
        assert!(
            ready(socket).0,
            "only {} of {count} datagrams came",
            all.len()
        );
        let filled = socket.receive(&mut batch, usize::MAX).unwrap();
        all.extend(batch.datagrams(filled).map(|datagram| {
            assert!(!datagram.truncated);
            (
                datagram.from,
                datagram.to,
                datagram.traffic_class,
                datagram.bytes.to_vec(),
            )
        }));
        batch.clear();
    }
    assert_eq!(all.len(), count);
    all
}

fn send_all(socket: &UdpSocket, to: &Destination, datagrams: &[Vec<u8>]) -> SendOutcome {
    let mut send = SendBatch::new();
    for datagram in datagrams {
        send.push_copy(Lane(1), to, &[datagram]);
    }
    send.flush(&ReceiveBatch::with_shape(1, 1), |_| Some(socket))
}

fn numbered(sizes: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    sizes
        .into_iter()
        .enumerate()
        .map(|(number, size)| vec![u8::try_from(number % 251).unwrap(); size])
        .collect()
}

fn bytes_of(received: &[Owned]) -> Vec<Vec<u8>> {
    received
        .iter()
        .map(|(_, _, _, bytes)| bytes.clone())
        .collect()
}

#[test]
fn a_train_arrives_whole_in_order_and_with_its_source() {
    for addr in LOCALHOST {
        let (from, to) = (relayed(addr), relayed(addr));
        let mut sizes = vec![172; 63];
        sizes.push(80);
        let datagrams = numbered(sizes);
        let outcome = send_all(&from, &Destination::new(to.local_addr()), &datagrams);
        assert_eq!(
            (outcome.datagrams, outcome.trains, outcome.calls),
            (64, 1, 1)
        );
        assert_eq!(outcome.bytes, 63 * 172 + 80);
        let received = receive(&to, 64);
        assert_eq!(bytes_of(&received), datagrams);
        assert!(
            received
                .iter()
                .all(|(source, ..)| *source == from.local_addr())
        );
    }
}

/// 0 B … 65,507 B, in one batch, each datagram as it was sent.
#[test]
fn datagrams_of_every_size_arrive_as_they_were_sent() {
    for addr in LOCALHOST {
        for gro in [false, true] {
            let from = relayed(addr);
            let options = UdpOptions {
                gro,
                receive_buffer: Some(1 << 22),
                ..UdpOptions::relayed()
            };
            let to = bound(addr, &options);
            let sizes = [
                0, 0, 1, 1, 172, 172, 171, 172, 1200, 1200, 1201, 0, 65_507, 65_507, 32_000,
                32_000, 32_000, 5,
            ];
            let datagrams = numbered(sizes);
            let outcome = send_all(&from, &Destination::new(to.local_addr()), &datagrams);
            assert_eq!(outcome.datagrams, 18, "{outcome:?}");
            assert_eq!(bytes_of(&receive(&to, 18)), datagrams);
        }
    }
}

#[test]
fn more_than_a_train_or_a_call_takes_is_split() {
    let (from, to) = (
        relayed("127.0.0.1:0"),
        bound(
            "127.0.0.1:0",
            &UdpOptions {
                receive_buffer: Some(1 << 22),
                ..UdpOptions::relayed()
            },
        ),
    );
    let destination = Destination::new(to.local_addr());
    let long = numbered(vec![100; 200]);
    let outcome = send_all(&from, &destination, &long);
    assert_eq!(
        (outcome.datagrams, outcome.trains, outcome.calls),
        (200, 4, 1)
    );
    assert_eq!(bytes_of(&receive(&to, 200)), long);
    let rising = numbered(100..300);
    let outcome = send_all(&from, &destination, &rising);
    assert_eq!(
        (outcome.datagrams, outcome.trains, outcome.calls),
        (200, 0, 4)
    );
    assert_eq!(bytes_of(&receive(&to, 200)), rising);
}

#[test]
fn received_payloads_are_forwarded_from_where_they_lie() {
    let client = relayed("127.0.0.1:0");
    let listener = bound("127.0.0.1:0", &UdpOptions::listener());
    let peers = [relayed("127.0.0.1:0"), relayed("127.0.0.1:0")];
    let relays = [relayed("127.0.0.1:0"), relayed("127.0.0.1:0")];
    let framed: Vec<Vec<u8>> = (0..40_u8)
        .map(|n| [vec![0x40, n % 2, 0, 100], vec![n; 100]].concat())
        .collect();
    send_all(&client, &Destination::new(listener.local_addr()), &framed);

    let (mut batch, mut send) = (ReceiveBatch::new(), SendBatch::new());
    let mut seen = 0;
    while seen < 40 {
        ready(&listener);
        let filled = listener.receive(&mut batch, usize::MAX).unwrap();
        for datagram in batch.datagrams(filled) {
            assert_eq!(datagram.to, Some(listener.local_addr().ip()));
            let lane = usize::from(datagram.bytes[1]);
            let to = Destination::new(peers[lane].local_addr());
            send.push(
                Lane(datagram.bytes[1].into()),
                &to,
                &[],
                datagram.part(4..104).unwrap(),
                0,
            );
            seen += 1;
        }
    }
    let outcome = send.flush(&batch, |lane| relays.get(lane.0 as usize));
    assert_eq!(
        (outcome.datagrams, outcome.trains, outcome.calls),
        (40, 2, 2)
    );
    batch.clear();

    for (lane, peer) in peers.iter().enumerate() {
        let received = receive(peer, 20);
        assert!(
            received
                .iter()
                .all(|(source, ..)| *source == relays[lane].local_addr())
        );
        let expected: Vec<Vec<u8>> = framed
            .iter()
            .skip(lane)
            .step_by(2)
            .map(|frame| frame[4..].to_vec())
            .collect();
        assert_eq!(bytes_of(&received), expected);
        // And back: a train from the peer, a header and padding round each, without touching the neighbours.
        send_all(
            peer,
            &Destination::new(relays[lane].local_addr()),
            &numbered(vec![99; 10]),
        );
        ready(&relays[lane]);
        let filled = relays[lane].receive(&mut batch, 16).unwrap();
        for datagram in batch.datagrams(filled) {
            let to = Destination {
                source: Some(listener.local_addr().ip()),
                ..Destination::new(client.local_addr())
            };
            send.push(
                Lane(9),
                &to,
                &[u8::try_from(lane).unwrap(); 36],
                datagram.payload(),
                1,
            );
        }
    }
    let outcome = send.flush(&batch, |_| Some(&listener));
    assert_eq!(
        (outcome.datagrams, outcome.trains, outcome.calls),
        (20, 1, 1)
    );
    for (number, (source, _, _, bytes)) in receive(&client, 20).into_iter().enumerate() {
        let (lane, payload) = (
            u8::try_from(number / 10).unwrap(),
            u8::try_from(number % 10).unwrap(),
        );
        assert_eq!(source, listener.local_addr());
        assert_eq!(bytes, [vec![lane; 36], vec![payload; 99], vec![0]].concat());
    }
}

/// truncated receive (MSG_TRUNC) is marked, never passed on as if it were whole.
#[test]
fn a_datagram_longer_than_the_buffer_is_marked() {
    let (from, to) = (
        relayed("127.0.0.1:0"),
        bound("127.0.0.1:0", &UdpOptions::default()),
    );
    send_all(
        &from,
        &Destination::new(to.local_addr()),
        &numbered([101, 100]),
    );
    let mut batch = ReceiveBatch::with_shape(4, 100);
    ready(&to);
    let filled = to.receive(&mut batch, 4).unwrap();
    let marks: Vec<_> = batch
        .datagrams(filled)
        .map(|datagram| (datagram.truncated, datagram.bytes.len()))
        .collect();
    assert_eq!(marks, [(true, 100), (false, 100)]);
}

#[test]
fn a_batch_takes_from_several_sockets_until_it_is_full() {
    let (from, one, two) = (
        relayed("127.0.0.1:0"),
        relayed("127.0.0.1:0"),
        relayed("127.0.0.1:0"),
    );
    for to in [&one, &two] {
        send_all(
            &from,
            &Destination::new(to.local_addr()),
            &numbered([10, 20, 30]),
        );
        ready(to);
    }
    let mut batch = ReceiveBatch::with_shape(4, 65_536);
    assert_eq!(one.receive(&mut batch, 2).unwrap(), 0..2);
    assert_eq!(two.receive(&mut batch, 16).unwrap(), 2..4);
    assert_eq!(one.receive(&mut batch, 16).unwrap(), 4..4);
    assert_eq!(batch.room(), 0);
    let lengths: Vec<usize> = batch
        .datagrams(0..4)
        .map(|datagram| datagram.bytes.len())
        .collect();
    assert_eq!(lengths, [10, 20, 10, 20]);
    batch.clear();
    assert_eq!(one.receive(&mut batch, 16).unwrap(), 0..1);
    assert_eq!(
        one.receive(&mut batch, 16).unwrap(),
        1..1,
        "nothing more is waiting, and that is no error"
    );
}

/// T-66: ECN copied both ways (UDP–UDP); DSCP copied.
#[test]
fn the_traffic_class_is_received_and_sent() {
    for addr in LOCALHOST {
        let (from, to) = (relayed(addr), relayed(addr));
        for class in [0, 0x01, 0x03, 0xB8, 0xBA] {
            let destination = Destination {
                traffic_class: class,
                ..Destination::new(to.local_addr())
            };
            send_all(&from, &destination, &numbered([50, 50]));
            assert!(
                receive(&to, 2).iter().all(|(_, _, seen, _)| *seen == class),
                "{addr} {class:#x}"
            );
        }
    }
}

/// S-15: sent from the address and port it was received on.
#[test]
fn a_wildcard_socket_answers_from_the_address_it_was_asked_at() {
    let listener = bound("0.0.0.0:0", &UdpOptions::listener());
    let client = relayed("127.0.0.1:0");
    for address in ["127.0.0.1", "127.0.0.7", "127.9.9.9"] {
        let to = SocketAddr::new(address.parse().unwrap(), listener.local_addr().port());
        send_all(&client, &Destination::new(to), &numbered([20]));
        let (from, asked, ..) = receive(&listener, 1)[0];
        assert_eq!(asked, Some(to.ip()));
        for count in [1, 3] {
            let destination = Destination {
                source: asked,
                ..Destination::new(from)
            };
            send_all(&listener, &destination, &numbered(vec![30; count]));
            assert!(
                receive(&client, count)
                    .iter()
                    .all(|(source, ..)| *source == to)
            );
        }
    }
}

/// T-53: an ICMP error is reported with the inner destination, type and code.
#[test]
fn a_closed_port_is_reported_with_the_destination_that_refused() {
    for (addr, kind, code) in [("127.0.0.1:0", 3, 3), ("[::1]:0", 1, 4)] {
        let closed = relayed(addr).local_addr();
        let from = relayed(addr);
        assert_eq!(from.receive_error().unwrap(), None);
        send_all(&from, &Destination::new(closed), &numbered([10]));
        assert!(ready(&from).1, "the error shows as an event");
        let expected = IcmpError {
            peer: closed,
            kind,
            code,
            mtu: 0,
        };
        assert_eq!(from.receive_error().unwrap(), Some(expected));
        assert_eq!(from.receive_error().unwrap(), None);
    }
}

/// G-20: ECONNREFUSED on send and recv costs neither the next datagram out nor the next one in.
#[test]
fn a_refused_datagram_does_not_cost_the_next() {
    for addr in LOCALHOST {
        let closed = relayed(addr).local_addr();
        let (from, to) = (relayed(addr), relayed(addr));
        for _ in 0..20 {
            send_all(&from, &Destination::new(closed), &numbered([10]));
            ready(&from);
            let outcome = send_all(
                &from,
                &Destination::new(to.local_addr()),
                &numbered([20, 20]),
            );
            assert_eq!((outcome.datagrams, outcome.failures().count()), (2, 0));
            assert_eq!(receive(&to, 2).len(), 2);

            send_all(&from, &Destination::new(closed), &numbered([10]));
            ready(&from);
            send_all(&to, &Destination::new(from.local_addr()), &numbered([30]));
            let mut batch = ReceiveBatch::with_shape(4, 2048);
            let mut seen = 0;
            while seen == 0 {
                ready(&from);
                seen = from.receive(&mut batch, 4).unwrap().len();
            }
            while from.receive_error().unwrap().is_some() {}
        }
    }
}

#[test]
fn what_cannot_be_sent_is_counted_and_the_rest_is_sent() {
    let (from, to) = (relayed("127.0.0.1:0"), relayed("127.0.0.1:0"));
    let good = Destination::new(to.local_addr());
    let mut send = SendBatch::new();
    send.push_copy(Lane(0), &good, &[&[1]]);
    send.push_copy(Lane(0), &good, &[&vec![2; 65_508]]);
    send.push_copy(
        Lane(0),
        &Destination::new("[::1]:9".parse().unwrap()),
        &[&[3]],
    );
    send.push_copy(
        Lane(0),
        &Destination::new("255.255.255.255:9".parse().unwrap()),
        &[&[4]],
    );
    send.push_copy(Lane(5), &good, &[&[5]]);
    send.push_copy(Lane(0), &good, &[&[6]]);
    let outcome = send.flush(&ReceiveBatch::with_shape(1, 1), |lane| {
        (lane.0 == 0).then_some(&from)
    });
    let failures: BTreeMap<&str, u64> = outcome
        .failures()
        .map(|(failure, count, _)| (failure.as_str(), count))
        .collect();
    let expected = [
        ("too_large", 1),
        ("invalid", 1),
        ("denied", 1),
        ("unbound", 1),
    ];
    assert_eq!(failures, BTreeMap::from(expected));
    assert_eq!(outcome.datagrams, 2);
    assert_eq!(bytes_of(&receive(&to, 2)), [[1], [6]]);
    assert!(send.is_empty());
}

#[test]
fn a_payload_that_was_received_over_is_dropped_not_sent() {
    let (from, to) = (relayed("127.0.0.1:0"), relayed("127.0.0.1:0"));
    let mut batch = ReceiveBatch::with_shape(1, 2048);
    send_all(&from, &Destination::new(to.local_addr()), &numbered([10]));
    ready(&to);
    let filled = to.receive(&mut batch, 1).unwrap();
    let payload = batch.datagrams(filled).next().unwrap().payload();
    let mut send = SendBatch::new();
    send.push(
        Lane(0),
        &Destination::new(to.local_addr()),
        b"head",
        payload,
        0,
    );
    send.push_copy(Lane(0), &Destination::new(to.local_addr()), &[b"mine"]);
    batch.clear();
    let outcome = send.flush(&batch, |_| Some(&from));
    assert_eq!(
        (outcome.datagrams, outcome.failed(SendFailure::Stale)),
        (1, 1)
    );
    assert_eq!(bytes_of(&receive(&to, 1)), [b"mine"]);
}

fn afflicted() -> (UdpSocket, Arc<Faults>) {
    let mut socket = relayed("127.0.0.1:0");
    let faults = Faults::new();
    socket.inject(Arc::clone(&faults));
    (socket, faults)
}

/// G-20: ENOBUFS/EAGAIN/EPERM/ENETUNREACH/ECONNREFUSED/EMSGSIZE on send (fault-injected 1 %, 100 %): drop and counter, and the
/// socket works on.
#[test]
fn every_send_error_is_a_counted_drop() {
    let to = relayed("127.0.0.1:0");
    let destination = Destination::new(to.local_addr());
    let kinds = [
        (libc::ENOBUFS, SendFailure::NoBuffers),
        (libc::EAGAIN, SendFailure::WouldBlock),
        (libc::EPERM, SendFailure::Denied),
        (libc::ENETUNREACH, SendFailure::Unreachable),
        (libc::EHOSTUNREACH, SendFailure::Unreachable),
        (libc::ECONNREFUSED, SendFailure::Refused),
        (libc::EMSGSIZE, SendFailure::TooLarge),
        (libc::EINVAL, SendFailure::Invalid),
        (libc::EIO, SendFailure::Other),
    ];
    for (errno, failure) in kinds {
        let (from, faults) = afflicted();
        for operation in [Operation::Send, Operation::SendTrain] {
            faults.set(operation, errno, 1000);
        }
        // Different sizes, so that no train forms; then a train; then a single send.
        let outcome = send_all(&from, &destination, &numbered([1, 2, 3]));
        assert_eq!(
            (outcome.datagrams, outcome.failed(failure)),
            (0, 3),
            "{errno}"
        );
        let outcome = send_all(&from, &destination, &numbered([9, 9, 9]));
        assert_eq!(
            (outcome.datagrams, outcome.failed(failure)),
            (0, 3),
            "{errno}"
        );
        assert_eq!(from.send_to(&destination, &[b"x"]), Err(failure));

        for operation in [Operation::Send, Operation::SendTrain] {
            faults.set(operation, errno, 10);
        }
        let mut total = SendOutcome::default();
        for _ in 0..500 {
            total.add(&send_all(&from, &destination, &numbered([1, 2])));
            receive_what_is_there(&to);
        }
        assert_eq!(
            total.datagrams + total.failures().map(|(_, count, _)| count).sum::<u64>(),
            1000,
            "{errno}"
        );
        assert!(total.datagrams >= 980, "{errno}: {total:?}");
        faults.set(Operation::Send, 0, 0);
        faults.set(Operation::SendTrain, 0, 0);
        assert_eq!(
            send_all(&from, &destination, &numbered([7, 7])).datagrams,
            2
        );
        assert_eq!(receive(&to, 2).len(), 2);
    }
}

fn receive_what_is_there(socket: &UdpSocket) {
    let mut batch = ReceiveBatch::with_shape(8, 2048);
    socket.receive(&mut batch, 8).unwrap();
}

#[test]
fn a_kernel_that_refuses_trains_gets_datagrams() {
    let to = relayed("127.0.0.1:0");
    let destination = Destination::new(to.local_addr());
    for (errno, trains_later) in [(libc::EIO, 0), (libc::EINVAL, 1), (libc::EMSGSIZE, 1)] {
        let (from, faults) = afflicted();
        faults.set(Operation::SendTrain, errno, 1000);
        let outcome = send_all(&from, &destination, &numbered([100, 100, 50]));
        assert_eq!(
            (
                outcome.datagrams,
                outcome.trains,
                outcome.failures().count()
            ),
            (3, 0, 0)
        );
        assert_eq!(
            receive(&to, 3)
                .iter()
                .map(|(.., bytes)| bytes.len())
                .collect::<Vec<_>>(),
            [100, 100, 50]
        );
        faults.set(Operation::SendTrain, 0, 0);
        // Segments as long as the refused ones stay apart; shorter ones may be tried unless trains are impossible.
        assert_eq!(
            send_all(&from, &destination, &numbered([100, 100])).trains,
            0
        );
        assert_eq!(
            send_all(&from, &destination, &numbered([60, 60])).trains,
            trains_later
        );
        assert_eq!(receive(&to, 4).len(), 4);
    }
}

#[test]
fn a_refused_size_is_tried_again_after_a_while() {
    let to = relayed("127.0.0.1:0");
    let destination = Destination::new(to.local_addr());
    let (from, faults) = afflicted();
    faults.set(Operation::SendTrain, libc::EMSGSIZE, 1000);
    send_all(&from, &destination, &numbered([100, 100]));
    faults.set(Operation::SendTrain, 0, 0);
    let mut trains = 0;
    for _ in 0..5000 {
        trains += send_all(&from, &destination, &numbered([100, 100])).trains;
        receive_what_is_there(&to);
    }
    assert!((1..=1000).contains(&trains), "{trains}");
}

/// G-20: ENOBUFS/EAGAIN/EPERM/ENETUNREACH/ECONNREFUSED on recv (fault-injected 1 %, 100 %): an error or nothing, and no datagram lost.
#[test]
fn every_receive_error_leaves_the_datagram_for_later() {
    let from = relayed("127.0.0.1:0");
    for errno in [
        libc::ENOBUFS,
        libc::EAGAIN,
        libc::EPERM,
        libc::ENETUNREACH,
        libc::ECONNREFUSED,
        libc::ENOMEM,
    ] {
        let (to, faults) = afflicted();
        send_all(&from, &Destination::new(to.local_addr()), &numbered([10]));
        ready(&to);
        faults.set(Operation::Receive, errno, 1000);
        let mut batch = ReceiveBatch::with_shape(2, 2048);
        match to.receive(&mut batch, 2) {
            Ok(filled) => assert!(filled.is_empty() && errno == libc::EAGAIN),
            Err(error) => assert_eq!(error.raw_os_error(), Some(errno)),
        }
        assert!(faults.injected(Operation::Receive) > 0);
        faults.set(Operation::Receive, errno, 10);
        for _ in 0..10 {
            assert!(to.receive(&mut batch, 0).unwrap().is_empty());
        }
        assert_eq!(receive(&to, 1).len(), 1);
    }
}

/// T-67: DF per DONT-FRAGMENT on Send; in all other cases DF 0.
#[test]
fn a_datagram_that_must_not_be_fragmented_is_sent_and_the_mode_does_not_stick() {
    for addr in LOCALHOST {
        let (from, to) = (relayed(addr), relayed(addr));
        let destination = Destination::new(to.local_addr());
        from.send_dont_fragment(&destination, &[b"he", b"ad", b"payload"])
            .unwrap();
        from.send_to(&destination, &[b"plain"]).unwrap();
        assert_eq!(
            bytes_of(&receive(&to, 2)),
            [b"headpayload".to_vec(), b"plain".to_vec()]
        );
        let mode = |level, name| {
            super::sys::words::<1>(from.as_fd(), level, name).unwrap()[0].cast_signed()
        };
        if from.local_addr().is_ipv4() {
            assert_eq!(
                mode(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
                libc::IP_PMTUDISC_OMIT
            );
        } else {
            assert_eq!(mode(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG), 0);
        }
    }
}

#[test]
fn a_datagram_with_df_keeps_its_place() {
    let (from, to) = (relayed("127.0.0.1:0"), relayed("127.0.0.1:0"));
    let destination = Destination::new(to.local_addr());
    let mut batch = SendBatch::new();
    batch.push_copy(Lane(0), &destination, &[b"1"]);
    batch.push_copy(Lane(0), &destination, &[b"2"]);
    batch.push_dont_fragment(Lane(0), &destination, b"3");
    batch.push_copy(Lane(0), &destination, &[b"4"]);
    batch.push_dont_fragment(Lane(0), &destination, b"5");
    let outcome = batch.flush(&ReceiveBatch::with_shape(1, 64), |_| Some(&from));
    assert_eq!((outcome.datagrams, outcome.bytes), (5, 5));
    assert_eq!(
        bytes_of(&receive(&to, 5)).concat(),
        b"12345",
        "in the order in which they were queued"
    );
}

#[test]
fn a_full_receive_buffer_is_counted_by_the_kernel() {
    let options = UdpOptions {
        receive_buffer: Some(4096),
        ..UdpOptions::relayed()
    };
    let (from, to) = (relayed("127.0.0.1:0"), bound("127.0.0.1:0", &options));
    assert_eq!(to.kernel_drops(), Some(0));
    for _ in 0..50 {
        send_all(
            &from,
            &Destination::new(to.local_addr()),
            &numbered([1000, 999]),
        );
    }
    assert!(to.kernel_drops().is_some_and(|drops| drops > 0));
}

#[test]
fn several_listeners_share_a_port_only_when_asked() {
    let first = bound("127.0.0.1:0", &UdpOptions::listener());
    let again = UdpSocket::bind(first.local_addr(), &UdpOptions::listener()).unwrap();
    assert_eq!(again.local_addr(), first.local_addr());
    let error = UdpSocket::bind(first.local_addr(), &UdpOptions::relayed()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_socket_bound_elsewhere_is_taken_over() {
    let theirs = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = theirs.local_addr().unwrap();
    let ours = UdpSocket::from_fd(theirs.into(), &UdpOptions::listener()).unwrap();
    assert_eq!(ours.local_addr(), addr);
    let mut batch = ReceiveBatch::with_shape(1, 100);
    assert!(
        ours.receive(&mut batch, 1).unwrap().is_empty(),
        "it does not block"
    );
}

#[test]
fn an_event_fd_wakes_a_waiting_thread_once() {
    let epoll = Epoll::new().unwrap();
    let wake = Arc::new(EventFd::new().unwrap());
    epoll.add(&*wake, 42, Interest::Read).unwrap();
    let mut events = Events::with_capacity(4);
    epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(events.is_empty() && !events.is_full());
    let waker = Arc::clone(&wake);
    let thread = std::thread::spawn(move || {
        waker.wake();
        waker.wake();
    });
    epoll.wait(&mut events, Some(PATIENCE)).unwrap();
    thread.join().unwrap();
    assert_eq!(
        events
            .iter()
            .map(|event| (event.token, event.readable))
            .collect::<Vec<_>>(),
        [(42, true)]
    );
    wake.clear();
    epoll
        .wait(&mut events, Some(Duration::from_micros(1)))
        .unwrap();
    assert!(events.is_empty());
    epoll.modify(&*wake, 43, Interest::Write).unwrap();
    epoll.wait(&mut events, Some(PATIENCE)).unwrap();
    assert_eq!(
        events
            .iter()
            .map(|event| (event.token, event.writable))
            .collect::<Vec<_>>(),
        [(43, true)]
    );
    epoll.delete(&*wake).unwrap();
    epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(events.is_empty());
}
