//! Groups of sockets among which the kernel chooses as it was told, over loopback.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket as Plain},
    sync::Arc,
};

use socket2::SockRef;

use super::{LOCALHOST, bound, receive};
use crate::net::{
    Epoll, Events, Interest, Steering, SteeringKey, UdpOptions, UdpSocket,
    faults::{Faults, Operation},
    sys,
};

fn key(number: u8) -> SteeringKey {
    let mut byte = number;
    SteeringKey::new(&[(); SteeringKey::BYTES].map(|()| {
        byte = byte.wrapping_mul(167).wrapping_add(number | 1);
        byte
    }))
}

fn group(address: &str, sockets: usize) -> Vec<UdpSocket> {
    let alone = UdpOptions {
        reuse_port: false,
        ..UdpOptions::listener()
    };
    let first = bound(address, &alone);
    first.share_port().unwrap();
    let address = first.local_addr();
    let more = (1..sockets).map(|_| UdpSocket::bind(address, &UdpOptions::listener()).unwrap());
    [first].into_iter().chain(more).collect()
}

/// Steers it with nobody set apart.
fn steer(group: &[UdpSocket], key: &SteeringKey) -> Steering {
    Steering::begin(group, key).unwrap()
}

/// On which of the sockets the next datagram comes, which must say `expected`.
fn arrives(group: &[UdpSocket], expected: &[u8]) -> usize {
    let epoll = Epoll::new().unwrap();
    for (index, socket) in group.iter().enumerate() {
        epoll.add(socket, index as u64, Interest::Read).unwrap();
    }
    let mut events = Events::with_capacity(group.len());
    epoll.wait(&mut events, Some(super::PATIENCE)).unwrap();
    let tokens: Vec<_> = events.iter().map(|event| event.token).collect();
    let [index] = tokens[..] else {
        panic!("one socket has something to read, not {tokens:?}");
    };
    let index = usize::try_from(index).unwrap();
    assert_eq!(receive(&group[index], 1)[0].3, expected);
    index
}

/// A STUN message of this type, with a cookie and as many bytes behind the header.
fn stun(kind: u16, more: usize) -> Vec<u8> {
    let mut message = vec![0; 20 + more];
    message[..2].copy_from_slice(&kind.to_be_bytes());
    message[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
    message
}

fn control() -> Vec<Vec<u8>> {
    // Binding, Allocate, Refresh, CreatePermission, ChannelBind, an indication, an answer, an unknown method.
    [1, 3, 4, 8, 9, 0x0011, 0x0101, 0x3fff]
        .map(|kind| stun(kind, usize::from(kind % 7) * 4))
        .into()
}

fn data() -> Vec<Vec<u8>> {
    let mut wrong_cookie = stun(4, 0);
    wrong_cookie[7] ^= 1;
    let mut channel = stun(0x4000, 40);
    channel[2..4].copy_from_slice(&56_u16.to_be_bytes());
    let mut all = vec![channel, stun(0x0016, 40), stun(0x8001, 0), wrong_cookie];
    // Cut anywhere, a header is none.
    all.extend((0..20).map(|length| stun(4, 0)[..length].to_vec()));
    all
}

/// Only source addresses and ports differ among clients, so the pair is the same whatever is sent and however often.
#[test]
fn a_client_has_one_worker_and_its_requests_their_own_socket() {
    for address in LOCALHOST {
        for pairs in [1, 3] {
            let group = group(address, 3 * pairs);
            steer(&group, &key(1));
            for _ in 0..12 {
                let client = Plain::bind(address).unwrap();
                client.connect(group[0].local_addr()).unwrap();
                client.send(&control()[0]).unwrap();
                let chosen = arrives(&group, &control()[0]);
                assert!((pairs..2 * pairs).contains(&chosen));
                for message in control() {
                    client.send(&message).unwrap();
                    assert_eq!(arrives(&group, &message), chosen, "{message:02x?}");
                }
                for message in data() {
                    client.send(&message).unwrap();
                    assert_eq!(arrives(&group, &message), chosen - pairs, "{message:02x?}");
                }
            }
        }
    }
}

/// The pairs of one client after another, by port.
fn spread(group: &[UdpSocket], clients: &[Plain]) -> Vec<usize> {
    clients
        .iter()
        .map(|client| {
            client.send_to(b"", group[0].local_addr()).unwrap();
            arrives(group, b"")
        })
        .collect()
}

#[test]
fn clients_are_spread_evenly_and_under_another_key_otherwise() {
    for address in LOCALHOST {
        let group = group(address, 12);
        let clients: Vec<_> = (0..400).map(|_| Plain::bind(address).unwrap()).collect();
        let mut seen = Vec::new();
        for number in 1..4 {
            steer(&group, &key(number));
            let chosen = spread(&group, &clients);
            assert_eq!(spread(&group, &clients), chosen);
            let mut counts = BTreeMap::new();
            for pair in &chosen {
                *counts.entry(*pair).or_insert(0) += 1;
            }
            assert!(counts.keys().eq(&[0, 1, 2, 3]), "{counts:?}");
            // Six standard deviations.
            assert!(
                counts.values().all(|count| (48..=152).contains(count)),
                "{counts:?}"
            );
            assert!(!seen.contains(&chosen));
            seen.push(chosen);
        }
    }
}

/// 127.0.0.0/8 has addresses enough for many clients on one port.
#[test]
fn clients_of_one_port_are_spread_by_their_addresses() {
    let group = group("127.0.0.1:0", 6);
    steer(&group, &key(5));
    let port = Plain::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let clients: Vec<_> = (0..200)
        .filter_map(|host| Plain::bind(SocketAddr::from(([127, 0, 3, host], port))).ok())
        .collect();
    assert!(clients.len() > 150);
    let first = spread(&group, &clients)
        .iter()
        .filter(|pair| **pair == 0)
        .count();
    assert!(
        (clients.len() / 4..clients.len() * 3 / 4).contains(&first),
        "{first}"
    );
}

/// An IPv4 header with options is longer, and the port behind it is still found; one behind IPv6 extension headers is not,
/// and such a client's pair follows from its address.
#[test]
fn longer_headers_part_nobody_from_their_pair() {
    for (address, level, name, option) in [
        (
            "127.0.0.1:0",
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            vec![1, 1, 1, 0],
        ),
        (
            "[::1]:0",
            libc::IPPROTO_IPV6,
            libc::IPV6_DSTOPTS,
            vec![0, 0, 1, 4, 0, 0, 0, 0],
        ),
    ] {
        let group = group(address, 9);
        let steering = steer(&group, &key(9));
        let mut behind_options = Vec::new();
        let mut plain = Vec::new();
        for _ in 0..40 {
            let client = Plain::bind(address).unwrap();
            client.connect(group[0].local_addr()).unwrap();
            client.send(b"data").unwrap();
            plain.push(arrives(&group, b"data"));
            sys::set_bytes(&client, level, name, &option).unwrap();
            client.send(b"data").unwrap();
            let pair = arrives(&group, b"data");
            client.send(&stun(4, 0)).unwrap();
            assert_eq!(arrives(&group, &stun(4, 0)), pair + 3);
            behind_options.push(pair);
            // Neither hides who is set apart.
            steering
                .set_apart(&group[0], &[client.local_addr().unwrap()])
                .unwrap();
            client.send(b"data").unwrap();
            assert_eq!(arrives(&group, b"data"), pair + 6);
            steering.set_apart(&group[0], &[]).unwrap();
        }
        if level == libc::IPPROTO_IP {
            assert_eq!(behind_options, plain);
        } else {
            behind_options.dedup();
            assert_eq!(behind_options.len(), 1);
        }
    }
}

/// A wildcard's group is one, whichever of the host's addresses is spoken to.
#[test]
fn a_wildcard_is_one_group_for_all_addresses() {
    let group = group("0.0.0.0:0", 9);
    steer(&group, &key(3));
    let port = group[0].local_addr().port();
    for _ in 0..10 {
        let client = Plain::bind("127.0.0.1:0").unwrap();
        let mut pairs = Vec::new();
        for host in [1, 2, 3] {
            let to = SocketAddr::from(([127, 0, 0, host], port));
            client.send_to(b"data", to).unwrap();
            pairs.push(arrives(&group, b"data"));
            client.send_to(&stun(3, 8), to).unwrap();
            pairs.push(arrives(&group, &stun(3, 8)) - 3);
        }
        pairs.dedup();
        assert_eq!(pairs.len(), 1);
    }
}

/// Whoever comes to the address later, as another program of the same user may, gets none of the clients.
#[test]
fn a_late_comer_to_the_port_gets_nothing() {
    let group = group("127.0.0.1:0", 6);
    steer(&group, &key(2));
    let late = UdpSocket::bind(group[0].local_addr(), &UdpOptions::listener()).unwrap();
    let clients: Vec<_> = (0..60)
        .map(|_| Plain::bind("127.0.0.1:0").unwrap())
        .collect();
    let chosen = spread(&group, &clients);
    assert!(chosen.contains(&0) && chosen.contains(&1));
    let late = SockRef::from(&late);
    assert_eq!(
        late.recv(&mut [std::mem::MaybeUninit::uninit(); 8])
            .unwrap_err()
            .kind(),
        ErrorKind::WouldBlock
    );
}

/// Of whoever is set apart the media come elsewhere, at the same worker, and the requests where they came before; of all others
/// nothing changes.
#[test]
fn media_of_flows_that_are_set_apart_have_their_own_socket() {
    for address in LOCALHOST {
        for workers in [1, 3] {
            let group = group(address, 3 * workers);
            let steering = steer(&group, &key(4));
            let clients: Vec<_> = (0..20).map(|_| Plain::bind(address).unwrap()).collect();
            let before = spread(&group, &clients);
            let sources: Vec<_> = clients
                .iter()
                .map(|client| client.local_addr().unwrap())
                .collect();
            // None, one, as many as are ever set apart, and none again. Any socket of the group may be told.
            for (apart, member) in [(0..0, 0), (3..4, 2), (0..16, 1), (4..20, 0), (0..0, 1)] {
                steering
                    .set_apart(&group[member], &sources[apart.clone()])
                    .unwrap();
                for (number, (client, worker)) in clients.iter().zip(&before).enumerate() {
                    let beyond = if apart.contains(&number) {
                        2 * workers
                    } else {
                        0
                    };
                    for message in [&data()[0], &data()[1], &Vec::new()] {
                        client.send_to(message, group[0].local_addr()).unwrap();
                        assert_eq!(arrives(&group, message), worker + beyond, "{number}");
                    }
                    client.send_to(&stun(4, 0), group[0].local_addr()).unwrap();
                    assert_eq!(arrives(&group, &stun(4, 0)), worker + workers, "{number}");
                }
            }
        }
    }
}

#[test]
fn flows_are_told_apart_by_address_and_port_under_any_key() {
    for number in 1..4 {
        let steering = steer(&group("127.0.0.1:0", 3), &key(number));
        let mut flows: Vec<u32> = (1..=250_u8)
            .flat_map(|host| (0..40).map(move |port| ([127, 0, 0, host], 1000 + port)))
            .map(|source| steering.flow(&source.into()))
            .collect();
        flows.sort_unstable();
        flows.dedup();
        // Of 10,000 two meet in one of a hundred keys.
        assert!(flows.len() >= 9_999, "{}", flows.len());
    }
}

#[test]
fn a_kernel_that_will_not_set_apart_goes_on_as_before() {
    let mut group = group("127.0.0.1:0", 3);
    let steering = steer(&group, &key(6));
    let client = Plain::bind("127.0.0.1:0").unwrap();
    let source = client.local_addr().unwrap();
    steering.set_apart(&group[1], &[source]).unwrap();
    let faults = Faults::new();
    faults.set(Operation::Steer, libc::ENOMEM, 1000);
    group[0].inject(Arc::clone(&faults));
    let error = steering.set_apart(&group[0], &[]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
    let error = steering.set_apart(&group[1], &[source; 201]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    client.send_to(b"data", group[0].local_addr()).unwrap();
    assert_eq!(arrives(&group, b"data"), 2);
}

#[test]
fn what_is_no_group_of_three_sockets_a_worker_is_refused() {
    for sockets in [0, 1, 2, 4] {
        let group = if sockets == 0 {
            Vec::new()
        } else {
            group("127.0.0.1:0", sockets)
        };
        let error = Steering::begin(&group, &key(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{sockets}");
    }
    let mut refused = group("127.0.0.1:0", 3);
    let faults = Faults::new();
    faults.set(Operation::Steer, libc::ENOPROTOOPT, 1000);
    refused[0].inject(Arc::clone(&faults));
    let error = Steering::begin(&refused, &key(1)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT));
    assert_eq!(faults.injected(Operation::Steer), 1);
}
