//! New clients that are sent elsewhere, while what lives goes on: drain and shedding.

use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::sim::{Answer, Client, Outcome, Sim, addr, credentials, five_tuple};
use crate::address::Transport;
use crate::credentials::PasswordAlgorithm;
use crate::server::{Alternate, Drain, Refusal};
use crate::wire::{Integrity, Method, attribute};

const PEER: &str = "8.8.8.8:5000";

fn alternate(transport: Transport, server: &str) -> Alternate {
    Alternate {
        server: addr(server),
        transport,
        domain: None,
    }
}

/// One relay of both families over UDP and over TCP.
fn neighbours() -> Vec<Alternate> {
    vec![
        alternate(Transport::Udp, "13.54.7.9:3478"),
        alternate(Transport::Udp, "[2406:da1c::9]:3478"),
        alternate(Transport::Tcp, "13.54.7.9:443"),
        alternate(Transport::Tcp, "[2406:da1c::9]:443"),
    ]
}

fn try_to_allocate(sim: &mut Sim, client: &mut Client) -> Answer {
    sim.request(client, Method::Allocate, |w| w.requested_transport(17))
}

fn servers(answer: &Answer) -> Vec<SocketAddr> {
    let servers = answer.attributes().alternate_servers();
    servers.map(Result::unwrap).collect()
}

/// A client of this number, transport and family.
fn newcomer(number: u8, transport: Transport, from: &str) -> Client {
    let mut client = Client::new(number, &credentials("bob", Duration::from_secs(3600)));
    client.five_tuple = five_tuple(transport, from);
    client
}

/// Everything that a live allocation does.
fn assert_goes_on(sim: &mut Sim, client: &mut Client) {
    client.nonce.clear();
    assert_eq!(sim.refresh(client, Some(1200)).lifetime(), 1200);
    assert_eq!(sim.permit(client, &[addr("9.9.9.9:1")]), None);
    assert_eq!(sim.bind(client, 0x4000, addr(PEER)), None);
    assert!(matches!(
        sim.channel(client, 0x4000, b"x"),
        Outcome::ToPeer(_)
    ));
}

/// T-29, S-36: draining or shedding, a new Allocate gets 300 with an alternate of its own transport, first of its own
/// family and then of the other, signed; over TLS 508, as no certificate is for an address.
#[test]
fn a_new_client_is_sent_to_its_own_family_and_transport() {
    let orders: [fn(&mut Sim); 3] = [
        |sim| {
            let alternates = neighbours();
            sim.server.drain(Some(Drain { alternates }));
        },
        |sim| {
            sim.server.alternates(neighbours());
            sim.server.drain(Some(Drain::default()));
        },
        |sim| {
            sim.server.alternates(neighbours());
            sim.server.shed(true);
        },
    ];
    for order in orders {
        let mut sim = Sim::new();
        order(&mut sim);
        let cases = [
            (Transport::Udp, "198.51.100.9:4000", [0, 1]),
            (Transport::Udp, "[2001:db8::9]:4000", [1, 0]),
            (Transport::Tcp, "198.51.100.9:4000", [2, 3]),
            (Transport::Tcp, "[2001:db8::9]:4000", [3, 2]),
        ];
        for (transport, from, expected) in cases {
            let mut client = newcomer(9, transport, from);
            let answer = try_to_allocate(&mut sim, &mut client);
            assert_eq!(answer.code(), Some(300));
            let expected = expected.map(|index: usize| neighbours()[index].server);
            assert_eq!(servers(&answer), expected);
            assert_eq!(answer.framed().integrity(), Integrity::Sha1);
            assert!(answer.framed().verify(client.key().as_bytes()).is_some());
            let domain = answer.attributes().first(attribute::ALTERNATE_DOMAIN);
            assert!(domain.is_none());
        }
        let mut tls = newcomer(9, Transport::Tls, "198.51.100.9:4000");
        let answer = try_to_allocate(&mut sim, &mut tls);
        assert_eq!(answer.code(), Some(508));
        assert_eq!(servers(&answer), []);
        assert_eq!(sim.server.load().allocations, 0);
    }
}

/// T-29: without an alternate of the client's own family the answer is 508, whatever else is known.
#[test]
fn another_family_alone_is_no_alternate() {
    let mut sim = Sim::new();
    sim.server.drain(Some(Drain::default()));
    let mut client = newcomer(9, Transport::Udp, "198.51.100.9:4000");
    let unfit = [
        vec![],
        vec![alternate(Transport::Udp, "[2406:da1c::9]:3478")],
        vec![alternate(Transport::Tcp, "13.54.7.9:443")],
    ];
    for alternates in unfit {
        sim.server.alternates(alternates);
        let answer = try_to_allocate(&mut sim, &mut client);
        assert_eq!(answer.code(), Some(508));
        assert_eq!(servers(&answer), []);
    }
}

/// S-36: over TLS only a client that checks MESSAGE-INTEGRITY-SHA256 is sent elsewhere, and only to an alternate whose
/// name is known: ALTERNATE-DOMAIN is then what its certificate is for.
#[test]
fn over_tls_an_alternate_needs_a_name() {
    let mut sim = Sim::new();
    let named = |server, domain: &str| Alternate {
        domain: Some(domain.into()),
        ..alternate(Transport::Tls, server)
    };
    sim.server.drain(Some(Drain {
        alternates: vec![
            alternate(Transport::Tls, "13.54.7.8:443"),
            named("13.54.7.9:443", "relay-9.example.org"),
            named("[2406:da1c::a]:443", "relay-10.example.org"),
            named("[2406:da1c::9]:443", "relay-9.example.org"),
        ],
    }));
    let mut client = newcomer(9, Transport::Tls, "198.51.100.9:4000");
    assert_eq!(try_to_allocate(&mut sim, &mut client).code(), Some(508));
    client.algorithm = Some(PasswordAlgorithm::Sha256);
    let answer = try_to_allocate(&mut sim, &mut client);
    assert_eq!(answer.code(), Some(300));
    let expected = [addr("13.54.7.9:443"), addr("[2406:da1c::9]:443")];
    assert_eq!(servers(&answer), expected, "one name, two addresses");
    assert_eq!(
        answer.attributes().first(attribute::ALTERNATE_DOMAIN),
        Some(&b"relay-9.example.org"[..])
    );
}

/// T-29: the alternates that come with a drain go before those that are known anyhow.
#[test]
fn a_drains_own_alternates_come_first() {
    let mut sim = Sim::new();
    sim.server.alternates(neighbours());
    let alternates = vec![alternate(Transport::Udp, "13.54.7.77:3478")];
    sim.server.drain(Some(Drain { alternates }));
    let mut client = newcomer(9, Transport::Udp, "198.51.100.9:4000");
    let expected = [addr("13.54.7.77:3478"), addr("[2406:da1c::9]:3478")];
    assert_eq!(servers(&try_to_allocate(&mut sim, &mut client)), expected);
    sim.server.drain(Some(Drain::default()));
    let expected = [addr("13.54.7.9:3478"), addr("[2406:da1c::9]:3478")];
    assert_eq!(servers(&try_to_allocate(&mut sim, &mut client)), expected);
}

/// T-29, T-10: what lives goes on for as long as it likes, the retransmission of an answered Allocate included; nobody is
/// told anything before a proof.
#[test]
fn what_lives_goes_on_while_draining_and_shedding() {
    let mut sim = Sim::new();
    let mut old = sim.client(1);
    old.nonce = super::allocate::nonce(&mut sim, &old);
    let id = sim.transaction();
    let bytes = old.sign(Method::Allocate, id, |w| w.requested_transport(17));
    let first = sim.deliver(old.five_tuple, &bytes).answer();
    assert_eq!(first.code(), None);
    sim.server.drain(Some(Drain::default()));
    sim.server.shed(true);
    let again = sim.deliver(old.five_tuple, &bytes).answer();
    assert_eq!(again.relayed(), first.relayed());

    let mut stranger = sim.client(5);
    stranger.password.push('x');
    assert_eq!(try_to_allocate(&mut sim, &mut stranger).code(), Some(401));
    let mut new = sim.client(2);
    for _ in 0..12 {
        assert_goes_on(&mut sim, &mut old);
        new.nonce.clear();
        assert_eq!(try_to_allocate(&mut sim, &mut new).code(), Some(508));
        sim.advance(Duration::from_secs(240));
    }
    assert_goes_on(&mut sim, &mut old);
    sim.refresh(&mut old, Some(0));
    assert_eq!(sim.server.load().allocations, 0);
    old.nonce.clear();
    assert_eq!(try_to_allocate(&mut sim, &mut old).code(), Some(508));
}

/// T-29: a drain that is undone leaves no trace: new allocations are made as before. Shedding ends by itself likewise, and
/// the one does not end the other.
#[test]
fn a_drain_can_be_undone() {
    let mut sim = Sim::new();
    let mut old = sim.client(1);
    sim.allocate(&mut old);
    let mut new = sim.client(2);
    for _ in 0..3 {
        sim.server.drain(Some(Drain::default()));
        assert!(sim.server.is_draining());
        sim.server.shed(true);
        assert_eq!(try_to_allocate(&mut sim, &mut new).code(), Some(508));
        sim.server.shed(false);
        assert_eq!(try_to_allocate(&mut sim, &mut new).code(), Some(508));
        sim.server.shed(true);
        sim.server.drain(None);
        assert!(!sim.server.is_draining());
        assert_eq!(try_to_allocate(&mut sim, &mut new).code(), Some(508));
        sim.server.shed(false);
        sim.allocate(&mut new);
        assert_goes_on(&mut sim, &mut old);
        sim.refresh(&mut new, Some(0));
    }
    let refusals = sim.server.tallies().refusals;
    assert_eq!(refusals[Refusal::Drain.index()], 6);
    assert_eq!(refusals[Refusal::Overload.index()], 3);
}
