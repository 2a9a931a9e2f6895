//! Allocate: RFC 8656 §7, step by step.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::sim::{
    Choices, Client, Outcome, RELAYED_V4, RELAYED_V6, Sim, addr, credentials, five_tuple,
};
use crate::address::Transport;
use crate::server::{Alternate, Drain, EndCause, Event, Limits};
use crate::wire::{Integrity, Method, Writer, attribute};

fn allocate_with(
    sim: &mut Sim,
    client: &mut Client,
    attributes: impl Fn(&mut Writer<'_>),
) -> super::sim::Answer {
    sim.request(client, Method::Allocate, |w| {
        w.requested_transport(17);
        attributes(w);
    })
}

/// T-27, T-25, T-18, S-15: a success carries the relayed address, in the range, IPv4 by default, the lifetime, the mapped
/// address and a signature.
#[test]
fn a_success_carries_all_that_the_client_needs() {
    let mut sim = Sim::new();
    for (number, client) in [(1, "198.51.100.1:4000"), (2, "[2001:db8::77]:4000")] {
        let mut client = Client {
            five_tuple: five_tuple(Transport::Udp, client),
            ..sim.client(number)
        };
        let answer = allocate_with(&mut sim, &mut client, |_| {});
        assert_eq!(answer.code(), None);
        let [relayed] = answer.relayed()[..] else {
            panic!("one relayed address")
        };
        assert_eq!(relayed.ip(), RELAYED_V4);
        assert!((50_000..=50_999).contains(&relayed.port()));
        assert_eq!(answer.lifetime(), 600);
        assert_eq!(
            answer.attributes().xor_mapped_address(),
            Some(Ok(client.five_tuple.client.0))
        );
        assert!(answer.framed().verify(client.key().as_bytes()).is_some());
        assert!(
            answer.attributes().first(attribute::SOFTWARE).is_none(),
            "T-08"
        );
    }
}

/// T-28: no success leaves before the relayed socket exists; no port left is 508 and leaks nothing.
#[test]
fn no_port_left_is_insufficient_capacity() {
    let mut sim = Sim::with(Choices {
        ports: 50_000..=50_002,
        ..Choices::default()
    });
    let mut ports = BTreeSet::new();
    for number in 1..=3 {
        let mut client = sim.client(number);
        ports.insert(sim.allocate(&mut client).port());
    }
    assert_eq!(ports.len(), 3);
    for number in 4..=200 {
        let mut client = sim.client(number);
        assert_eq!(
            allocate_with(&mut sim, &mut client, |_| {}).code(),
            Some(508)
        );
    }
    assert_eq!(sim.sockets.len(), 3);
    sim.advance(Duration::from_secs(700));
    sim.assert_nothing_left();
}

/// T-28, G-19: out of file descriptors is 508 at once; the relay recovers when there are some again.
#[test]
fn an_exhausted_host_is_insufficient_capacity() {
    let mut sim = Sim::new();
    sim.exhausted = true;
    let mut client = sim.client(1);
    assert_eq!(
        allocate_with(&mut sim, &mut client, |_| {}).code(),
        Some(508)
    );
    assert_eq!(sim.asked.len(), 1, "no other port would do");
    sim.exhausted = false;
    sim.allocate(&mut client);
}

/// T-28: a port that somebody else on the host holds is passed over.
#[test]
fn a_port_in_use_by_another_program_is_passed_over() {
    let mut sim = Sim::with(Choices {
        ports: 50_000..=50_007,
        ..Choices::default()
    });
    sim.in_use = (50_000..=50_006).collect();
    let mut client = sim.client(1);
    assert_eq!(sim.allocate(&mut client).port(), 50_007);
    sim.in_use.insert(50_007);
    let mut second = sim.client(2);
    assert_eq!(
        allocate_with(&mut sim, &mut second, |_| {}).code(),
        Some(508)
    );
}

/// T-10, S-16: a retransmitted Allocate gets the first success again, with the same address, for 40 s over UDP; it makes
/// no second allocation. After that, or over TCP, and for any other Allocate, 437.
#[test]
fn a_retransmission_is_answered_again() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    client.nonce = nonce(&mut sim, &client);
    let id = sim.transaction();
    let bytes = client.sign(Method::Allocate, id, |w| w.requested_transport(17));
    let first = sim.deliver(client.five_tuple, &bytes).answer();
    assert_eq!(first.code(), None);
    sim.advance(Duration::from_secs(39));
    let again = sim.deliver(client.five_tuple, &bytes).answer();
    assert_eq!(again.relayed(), first.relayed());
    assert_eq!(again.lifetime(), 561);
    assert_eq!(sim.server.load().allocations, 1);
    sim.advance(Duration::from_secs(2));
    assert_eq!(
        sim.deliver(client.five_tuple, &bytes).answer().code(),
        Some(437)
    );
    assert_eq!(
        allocate_with(&mut sim, &mut client, |_| {}).code(),
        Some(437)
    );

    let mut tcp = sim.client(2).over(Transport::Tcp);
    tcp.nonce = nonce(&mut sim, &tcp);
    let id = sim.transaction();
    let bytes = tcp.sign(Method::Allocate, id, |w| w.requested_transport(17));
    assert_eq!(sim.deliver(tcp.five_tuple, &bytes).answer().code(), None);
    assert_eq!(
        sim.deliver(tcp.five_tuple, &bytes).answer().code(),
        Some(437)
    );
}

/// T-10: a retransmission is answered before the quota is asked.
#[test]
fn a_retransmission_needs_no_quota() {
    let mut sim = Sim::with(Choices {
        per_user: 1,
        ..Choices::default()
    });
    let mut client = sim.client(1);
    client.nonce = nonce(&mut sim, &client);
    let id = sim.transaction();
    let bytes = client.sign(Method::Allocate, id, |w| w.requested_transport(17));
    assert_eq!(sim.deliver(client.five_tuple, &bytes).answer().code(), None);
    assert_eq!(sim.deliver(client.five_tuple, &bytes).answer().code(), None);
}

/// T-11, T-12, C-01: no REQUESTED-TRANSPORT, or a malformed one, is 400; any protocol but UDP is 442, TCP included as TCP
/// allocations are off.
#[test]
fn only_udp_is_relayed() {
    let mut sim = Sim::new();
    let mut client = sim.client(1).over(Transport::Tcp);
    assert_eq!(
        sim.request(&mut client, Method::Allocate, |_| {}).code(),
        Some(400)
    );
    let lifetime = allocate_with(&mut sim, &mut client, |w| {
        w.raw(attribute::LIFETIME, &[0; 3])
    });
    assert_eq!(lifetime.code(), Some(400));
    let short = sim.request(&mut client, Method::Allocate, |w| {
        w.raw(attribute::REQUESTED_TRANSPORT, &[17])
    });
    assert_eq!(short.code(), Some(400));
    for protocol in [0, 6, 16, 18, 200, 255] {
        let answer = sim.request(&mut client, Method::Allocate, |w| {
            w.requested_transport(protocol)
        });
        assert_eq!(answer.code(), Some(442), "{protocol}");
    }
}

/// T-85: the reserved parts of REQUESTED-TRANSPORT and the family attributes may hold anything.
#[test]
fn reserved_parts_are_ignored() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let answer = sim.request(&mut client, Method::Allocate, |w| {
        w.raw(attribute::REQUESTED_TRANSPORT, &[17, 9, 9, 9]);
        w.raw(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 9, 9, 9]);
        w.raw(attribute::EVEN_PORT, &[0x7f]);
    });
    assert_eq!(answer.code(), None);
    assert_eq!(answer.relayed()[0].ip(), RELAYED_V6);
}

/// T-14, T-16, T-19, T-20, T-17: contradictions between attributes, in the order of §7.2.
#[test]
fn contradictory_attributes_are_refused() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let mut code = |attributes: &dyn Fn(&mut Writer<'_>)| {
        allocate_with(&mut sim, &mut client, attributes).code()
    };
    assert_eq!(
        code(&|w| {
            w.reservation_token([1; 8]);
            w.even_port(false)
        }),
        Some(400)
    );
    assert_eq!(
        code(&|w| {
            w.reservation_token([1; 8]);
            w.requested_family(1)
        }),
        Some(400)
    );
    assert_eq!(
        code(&|w| {
            w.reservation_token([1; 8]);
            w.additional_family(2)
        }),
        Some(400)
    );
    assert_eq!(
        code(&|w| {
            w.requested_family(1);
            w.additional_family(2)
        }),
        Some(400)
    );
    assert_eq!(
        code(&|w| {
            w.even_port(true);
            w.additional_family(2)
        }),
        Some(400)
    );
    for family in [0, 1, 3, 255] {
        assert_eq!(
            code(&|w| w.additional_family(family)),
            Some(400),
            "{family}"
        );
    }
    for family in [0, 3, 255] {
        assert_eq!(code(&|w| w.requested_family(family)), Some(440), "{family}");
    }
    assert_eq!(
        code(&|w| w.raw(attribute::REQUESTED_ADDRESS_FAMILY, &[1])),
        Some(400)
    );
    assert_eq!(
        code(&|w| w.raw(attribute::RESERVATION_TOKEN, &[1; 7])),
        Some(400)
    );
    assert_eq!(code(&|w| w.raw(attribute::EVEN_PORT, &[0; 2])), Some(400));
    sim.assert_nothing_left();
}

/// T-17, T-18: a family that the relay does not have is 440, IPv4 by default.
#[test]
fn a_family_that_is_not_served_is_refused() {
    let mut only_v6 = Sim::with(Choices {
        relayed: vec![RELAYED_V6],
        ..Choices::default()
    });
    let mut client = only_v6.client(1);
    assert_eq!(
        allocate_with(&mut only_v6, &mut client, |_| {}).code(),
        Some(440)
    );
    assert_eq!(
        allocate_with(&mut only_v6, &mut client, |w| w.requested_family(2)).code(),
        None
    );
    let mut only_v4 = Sim::with(Choices {
        relayed: vec![RELAYED_V4],
        ..Choices::default()
    });
    assert_eq!(
        allocate_with(&mut only_v4, &mut only_v6.client(2), |w| w
            .requested_family(2))
        .code(),
        Some(440)
    );
}

/// T-21: ADDITIONAL-ADDRESS-FAMILY: two addresses; or one and the reason for the other; or 508.
#[test]
fn an_additional_family_gives_what_there_is() {
    let mut sim = Sim::with(Choices {
        ports: 50_000..=50_001,
        ..Choices::default()
    });
    let mut client = sim.client(1);
    let answer = allocate_with(&mut sim, &mut client, |w| w.additional_family(2));
    let ips: Vec<_> = answer
        .relayed()
        .iter()
        .map(core::net::SocketAddr::ip)
        .collect();
    assert_eq!(ips, [RELAYED_V4, RELAYED_V6]);
    assert_eq!(answer.attributes().address_error_code(), None);
    assert!(answer.0.len() < 548 - 28, "S-43");

    // One IPv6 port is left, and no IPv4 port.
    let mut second = sim.client(2);
    sim.allocate(&mut second);
    let mut third = sim.client(3);
    let answer = allocate_with(&mut sim, &mut third, |w| w.additional_family(2));
    assert_eq!(answer.relayed().len(), 1);
    assert_eq!(answer.relayed()[0].ip(), RELAYED_V6);
    assert_eq!(answer.attributes().address_error_code(), Some(Ok((1, 508))));
    let mut fourth = sim.client(4);
    assert_eq!(
        allocate_with(&mut sim, &mut fourth, |w| w.additional_family(2)).code(),
        Some(508)
    );

    let mut only_v6 = Sim::with(Choices {
        relayed: vec![RELAYED_V6],
        ..Choices::default()
    });
    let mut client = only_v6.client(1);
    let answer = allocate_with(&mut only_v6, &mut client, |w| w.additional_family(2));
    assert_eq!(answer.relayed()[0].ip(), RELAYED_V6);
    assert_eq!(answer.attributes().address_error_code(), Some(Ok((1, 440))));
}

/// T-13, T-80: DONT-FRAGMENT is honoured, but not from an IPv4 client over UDP that asks for an IPv6 relayed address.
#[test]
fn dont_fragment_is_refused_where_it_cannot_be_carried() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let answer = allocate_with(&mut sim, &mut client, |w| {
        w.dont_fragment();
        w.requested_family(2);
    });
    assert_eq!(answer.code(), Some(420));
    let listed: Vec<u16> = answer.attributes().unknown_attributes().unwrap().collect();
    assert_eq!(listed, [attribute::DONT_FRAGMENT]);
    assert_eq!(
        allocate_with(&mut sim, &mut client, |w| w.dont_fragment()).code(),
        None
    );
    let mut dual = sim.client(3);
    let answer = allocate_with(&mut sim, &mut dual, |w| {
        w.dont_fragment();
        w.additional_family(2);
    });
    assert_eq!(answer.code(), Some(420));
    let pair = allocate_with(&mut sim, &mut dual, |w| {
        w.requested_family(2);
        w.even_port(true);
    });
    let mut by_token = sim.client(4);
    let answer = allocate_with(&mut sim, &mut by_token, |w| {
        w.dont_fragment();
        w.reservation_token(pair.token());
    });
    assert_eq!(answer.code(), Some(420));
    let mut v6 = Client {
        five_tuple: five_tuple(Transport::Udp, "[2001:db8::77]:4000"),
        ..sim.client(2)
    };
    let answer = allocate_with(&mut sim, &mut v6, |w| {
        w.dont_fragment();
        w.requested_family(2);
    });
    assert_eq!(answer.code(), None);
}

/// T-22: a user's quota is 486, before a socket is opened; the total is 508.
#[test]
fn quotas_are_kept() {
    let mut sim = Sim::with(Choices {
        per_user: 2,
        total: 3,
        ..Choices::default()
    });
    for number in 1..=2 {
        let mut client = sim.client(number);
        sim.allocate(&mut client);
    }
    let asked = sim.asked.len();
    // The same user with another credential.
    let mut third = Client::new(3, &credentials("alice", Duration::from_secs(7200)));
    assert_eq!(
        allocate_with(&mut sim, &mut third, |_| {}).code(),
        Some(486)
    );
    assert_eq!(sim.asked.len(), asked);
    let mut bob = Client::new(4, &credentials("bob", Duration::from_secs(3600)));
    sim.allocate(&mut bob);
    let mut carol = Client::new(5, &credentials("carol", Duration::from_secs(3600)));
    assert_eq!(
        allocate_with(&mut sim, &mut carol, |_| {}).code(),
        Some(508)
    );
    assert_eq!(sim.refresh(&mut bob, Some(0)).code(), None);
    sim.allocate(&mut carol);
}

/// A-08, T-33: whoever allocates and deletes in turn cannot wear out the ports that others need: their rest counts.
#[test]
fn a_user_cannot_wear_out_the_ports() {
    let mut sim = Sim::with(Choices {
        relayed: vec![RELAYED_V4],
        ports: 50_000..=50_079,
        ..Choices::default()
    });
    let mut greedy = sim.client(1);
    let mut granted = 0;
    for _ in 0..100 {
        let answer = allocate_with(&mut sim, &mut greedy, |_| {});
        match answer.code() {
            None => granted += 1,
            code => assert_eq!(code, Some(486)),
        }
        if answer.code().is_none() {
            assert_eq!(sim.refresh(&mut greedy, Some(0)).code(), None);
        }
    }
    assert_eq!(granted, 10, "an eighth");
    let mut other = Client::new(2, &credentials("bob", Duration::from_secs(3600)));
    sim.allocate(&mut other);
    sim.advance(Duration::from_secs(61));
    sim.allocate(&mut greedy);
    sim.advance(Duration::from_secs(700));
    sim.assert_nothing_left();
}

/// T-26, T-30: the lifetime is what was asked for within 600 s and 3600 s.
#[test]
fn lifetimes_are_kept_within_bounds() {
    for (asked, granted) in [
        (0, 600),
        (1, 600),
        (599, 600),
        (601, 601),
        (3600, 3600),
        (3601, 3600),
        (u32::MAX, 3600),
    ] {
        let mut sim = Sim::new();
        let mut client = sim.client(1);
        assert_eq!(
            allocate_with(&mut sim, &mut client, |w| w.lifetime(asked)).lifetime(),
            granted,
            "{asked}"
        );
    }
    let limits = Limits {
        max_lifetime: Duration::from_secs(1800),
        ..Limits::default()
    };
    let mut sim = Sim::with(Choices {
        limits,
        ..Choices::default()
    });
    let mut client = sim.client(1);
    assert_eq!(
        allocate_with(&mut sim, &mut client, |w| w.lifetime(3600)).lifetime(),
        1800
    );
}

/// T-33, T-84: an allocation ends when its lifetime does, with everything that belongs to it; its port comes back after
/// the quarantine.
#[test]
fn an_allocation_ends_with_its_lifetime() {
    let mut sim = Sim::with(Choices {
        ports: 50_000..=50_000,
        ..Choices::default()
    });
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    sim.bind(&mut client, 0x4000, addr("8.8.8.8:5000"));
    sim.advance(Duration::from_millis(599_900));
    assert_eq!(sim.server.load().allocations, 1);
    sim.advance(Duration::from_millis(200));
    assert_eq!(sim.server.load().allocations, 0);
    assert_eq!(
        sim.ended().iter().map(|e| e.1).collect::<Vec<_>>(),
        [EndCause::Expired]
    );
    let mut second = sim.client(2);
    assert_eq!(
        allocate_with(&mut sim, &mut second, |_| {}).code(),
        Some(508),
        "in quarantine"
    );
    sim.advance(Duration::from_secs(60));
    sim.assert_nothing_left();
    second.nonce.clear();
    sim.allocate(&mut second);
}

/// T-83: a client behind Teredo or 6to4 is refused.
#[test]
fn tunnelled_clients_are_refused() {
    let mut sim = Sim::new();
    for client in ["[2002:808:808::1]:4000", "[2001::1]:4000"] {
        let mut client = Client {
            five_tuple: five_tuple(Transport::Udp, client),
            ..sim.client(1)
        };
        assert_eq!(
            allocate_with(&mut sim, &mut client, |_| {}).code(),
            Some(403)
        );
    }
}

/// T-29, S-36, T-10: while draining a new Allocate is sent to an alternate of its family and transport, signed, or refused with 508; what lives goes on.
#[test]
fn a_draining_relay_sends_new_clients_elsewhere() {
    let mut sim = Sim::new();
    let mut old = sim.client(1);
    sim.allocate(&mut old);
    sim.server.drain(Some(Drain::default()));
    let mut new = sim.client(2);
    assert_eq!(allocate_with(&mut sim, &mut new, |_| {}).code(), Some(508));
    let alternate = |server: &str, transport, domain: Option<&str>| Alternate {
        server: addr(server),
        transport,
        domain: domain.map(Into::into),
    };
    sim.server.drain(Some(Drain {
        alternates: vec![
            alternate("[2406:da1c::2]:3478", Transport::Udp, None),
            alternate("13.54.7.9:3478", Transport::Udp, None),
            alternate("13.54.7.9:443", Transport::Tls, Some("relay-9.example.org")),
        ],
    }));
    let answer = allocate_with(&mut sim, &mut new, |_| {});
    assert_eq!(answer.code(), Some(300));
    let servers: Vec<_> = answer
        .attributes()
        .alternate_servers()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        servers,
        [addr("13.54.7.9:3478"), addr("[2406:da1c::2]:3478")]
    );
    assert_eq!(answer.framed().integrity(), Integrity::Sha1);
    assert!(answer.framed().verify(new.key().as_bytes()).is_some());
    assert!(
        answer
            .attributes()
            .first(attribute::ALTERNATE_DOMAIN)
            .is_none()
    );

    let mut tls = sim.client(3).over(Transport::Tls);
    tls.algorithm = Some(crate::credentials::PasswordAlgorithm::Sha256);
    let answer = allocate_with(&mut sim, &mut tls, |_| {});
    assert_eq!(answer.code(), Some(300));
    assert_eq!(
        answer.attributes().first(attribute::ALTERNATE_DOMAIN),
        Some(&b"relay-9.example.org"[..])
    );
    let mut tcp = sim.client(4).over(Transport::Tcp);
    assert_eq!(allocate_with(&mut sim, &mut tcp, |_| {}).code(), Some(508));

    assert_eq!(sim.refresh(&mut old, Some(1200)).lifetime(), 1200);
    assert_eq!(sim.bind(&mut old, 0x4000, addr("8.8.8.8:5000")), None);
    let mut stranger = sim.client(5);
    stranger.password.push('x');
    assert_eq!(
        allocate_with(&mut sim, &mut stranger, |_| {}).code(),
        Some(401),
        "no redirection without proof"
    );
    sim.server.drain(None);
    sim.allocate(&mut new);
}

/// T-84: a closed connection takes its allocation with it, as its 5-tuple can never come back.
#[test]
fn a_closed_connection_ends_its_allocation() {
    let mut sim = Sim::new();
    let mut client = sim.client(1).over(Transport::Tls);
    sim.allocate(&mut client);
    sim.server.connection_closed(sim.now, client.five_tuple);
    sim.pump();
    assert_eq!(
        sim.ended().iter().map(|e| e.1).collect::<Vec<_>>(),
        [EndCause::Disconnected]
    );
    sim.advance(Duration::from_secs(61));
    sim.assert_nothing_left();
}

/// T-03, T-07, T-27: events tell of begin and end without names; data before an allocation is met with silence.
#[test]
fn data_without_an_allocation_is_dropped() {
    let mut sim = Sim::new();
    let client = sim.client(1);
    assert!(matches!(
        sim.send(&client, addr("8.8.8.8:5000"), b"x"),
        Outcome::Dropped(_)
    ));
    assert!(matches!(
        sim.channel(&client, 0x4000, b"x"),
        Outcome::Dropped(_)
    ));
    let mut client = client;
    sim.allocate(&mut client);
    assert!(matches!(
        sim.events[..],
        [Event::AllocationCreated { dual: false, .. }]
    ));
}

pub(super) fn nonce(sim: &mut Sim, client: &Client) -> Vec<u8> {
    let id = sim.transaction();
    let bytes = super::sim::write(crate::wire::Class::Request, Method::Allocate, id, |w| {
        w.requested_transport(17);
    });
    sim.deliver(client.five_tuple, &bytes)
        .answer()
        .attributes()
        .nonce()
        .unwrap()
        .to_vec()
}
