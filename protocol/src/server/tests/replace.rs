//! A server that is given something else while calls go on.

use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::sim::{Choices, Client, Outcome, SECRET, Sim, addr, credentials, directory, write};
use crate::credentials::{NonceKey, Nonces};
use crate::forward::{ClientVerdict, Destination, DropReason, PortSet};
use crate::server::{Limits, Revoked, default_denied_ports};
use crate::wire::{Class, Method};

const OTHER_SECRET: &[u8] = b"another secret, of as many bytes or more";
const PEER: &str = "8.8.8.8:5000";
const FAR: &str = "9.9.9.9:5000";

fn revoked(permissions: usize, channels: usize) -> Revoked {
    Revoked {
        permissions,
        channels,
    }
}

fn is_relayed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::ToPeer(_))
}

#[test]
fn two_servers_answers_are_added() {
    assert_eq!(revoked(1, 2).plus(revoked(30, 40)), revoked(31, 42));
}

/// what a new peer policy forbids ends at once, permission and channel, both ways; the rest of the same allocation
/// goes on, and nothing of what ended is left behind.
#[test]
fn a_new_policy_ends_what_it_forbids_and_nothing_else() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let relayed = sim.allocate(&mut client);
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    assert_eq!(sim.bind(&mut client, 0x4001, addr(FAR)), None);
    assert_eq!(sim.permit(&mut client, &[addr("8.8.4.4:1")]), None);

    let routes = sim.routes;
    let outcome = sim.replace_policy(|rules, _| {
        rules.deny = vec!["8.8.0.0/16".parse().unwrap()];
    });
    assert_eq!(outcome, revoked(2, 1));
    assert_eq!(sim.routes, routes, "what stays is not told anew");
    assert_eq!(
        sim.channel(&client, 0x4000, b"x"),
        Outcome::Dropped(DropReason::UnboundChannel)
    );
    for gone in [PEER, "8.8.4.4:5000"] {
        assert_eq!(
            sim.send(&client, addr(gone), b"x"),
            Outcome::Dropped(DropReason::NoPermission)
        );
        let from = sim.peer_sends(addr(gone), relayed);
        assert_eq!(
            from,
            crate::forward::PeerVerdict::Drop(DropReason::PeerNotPermitted)
        );
    }
    assert!(is_relayed(&sim.channel(&client, 0x4001, b"x")));
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), Some(403));
    assert_eq!(sim.refresh(&mut client, None).code(), None);
    let load = sim.server.load();
    assert_eq!(
        (load.allocations, load.permissions, load.channels),
        (1, 1, 1)
    );

    // Opened again it is as if nobody had asked before.
    assert_eq!(
        sim.replace_policy(|rules, _| rules.deny.clear()),
        revoked(0, 0)
    );
    assert!(!is_relayed(&sim.send(&client, addr(PEER), b"x")));
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    assert!(is_relayed(&sim.channel(&client, 0x4000, b"x")));
    sim.advance(Duration::from_secs(700));
    sim.assert_nothing_left();
}

/// A-15, T-44, T-64: what is permitted again after it was forbidden lives its full time: no deadline of before is left.
#[test]
fn what_is_permitted_again_lives_its_full_time() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    sim.refresh(&mut client, Some(3600));
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    sim.advance(Duration::from_secs(100));
    let closed = vec!["8.8.8.8/32".parse().unwrap()];
    assert_eq!(
        sim.replace_policy(|rules, _| rules.deny = closed),
        revoked(1, 1)
    );
    assert_eq!(
        sim.server.residue()[0],
        1,
        "the allocation's deadline alone"
    );
    sim.replace_policy(|rules, _| rules.deny.clear());
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    sim.advance(Duration::from_secs(299));
    assert!(is_relayed(&sim.channel(&client, 0x4000, b"x")));
    assert_eq!(sim.permit(&mut client, &[addr(PEER)]), None);
    sim.advance(Duration::from_secs(299));
    assert!(is_relayed(&sim.channel(&client, 0x4000, b"x")));
}

/// an address that the host gets later is out of reach from then on, as a peer that is permitted already too.
#[test]
fn an_address_that_becomes_the_hosts_own_is_closed() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    let outcome = sim.replace_policy(|_, own| own.interfaces.push(addr(PEER).ip()));
    assert_eq!(outcome, revoked(1, 1));
    assert_eq!(sim.permit(&mut client, &[addr(PEER)]), Some(403));
}

/// a port that is closed takes the channels to it away, and Send indications to it; the permission, which
/// names no port, stays.
#[test]
fn a_port_that_is_closed_takes_its_channels() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    assert_eq!(sim.bind(&mut client, 0x4001, addr("8.8.8.8:5001")), None);
    let outcome = sim.replace_policy(|rules, _| {
        let mut closed = default_denied_ports().to_vec();
        closed.push(5000..=5000);
        rules.denied_ports = PortSet::from_ranges(&closed);
    });
    assert_eq!(outcome, revoked(0, 1));
    assert_eq!(
        sim.send(&client, addr(PEER), b"x"),
        Outcome::Dropped(DropReason::ForbiddenPeer)
    );
    assert!(is_relayed(&sim.channel(&client, 0x4001, b"x")));
    assert!(is_relayed(&sim.send(&client, addr("8.8.8.8:5001"), b"x")));
}

/// a permitted address that becomes one of the relay's own is handed over inside from then on, and no longer when
/// it is not the relay's any more.
#[test]
fn a_destination_that_changes_is_routed_anew() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    let peer = addr("8.8.8.8:50001");
    assert_eq!(sim.bind(&mut client, 0x4000, peer), None);
    let destination = |sim: &mut Sim, client: &Client| {
        let message = super::sim::channel_message(0x4000, b"x");
        match sim
            .table
            .from_client(sim.now.instant, &client.five_tuple, &message)
        {
            ClientVerdict::ToPeer { destination, .. } => Some(destination),
            ClientVerdict::Control | ClientVerdict::Drop(_) => None,
        }
    };
    assert_eq!(destination(&mut sim, &client), Some(Destination::Network));
    let outcome = sim.replace_policy(|_, own| own.relayed.push(peer.ip()));
    assert_eq!(outcome, revoked(0, 0));
    assert_eq!(
        destination(&mut sim, &client),
        Some(Destination::OwnRelayed)
    );
    sim.replace_policy(|_, own| own.relayed.retain(|own| *own != peer.ip()));
    assert_eq!(destination(&mut sim, &client), Some(Destination::Network));
}

/// A replacement that changes nothing has no effect at all, however often it comes.
#[test]
fn the_same_again_changes_nothing() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    let before: Vec<_> = sim.server.snapshot(sim.now).collect();
    for _ in 0..3 {
        let outcome = sim.server.replace(sim.now, sim.replacement.clone());
        assert_eq!(outcome, revoked(0, 0));
        assert_eq!(sim.server.poll_effect(), None);
    }
    assert_eq!(sim.server.snapshot(sim.now).collect::<Vec<_>>(), before);
    assert_eq!(sim.refresh(&mut client, None).code(), None);
}

/// limits that fall below what is held cut nothing; they refuse what is new, until enough has ended.
#[test]
fn smaller_limits_cut_nothing() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    let peers: Vec<SocketAddr> = (1..=3_u16)
        .map(|n| SocketAddr::new([8, 8, 4, n.to_be_bytes()[1]].into(), 5000))
        .collect();
    for (number, &peer) in (0x4000..).zip(&peers) {
        assert_eq!(sim.bind(&mut client, number, peer), None);
    }
    sim.replace(|replacement| {
        replacement.limits = Limits {
            permissions_per_allocation: 2,
            channels_per_allocation: 1,
            max_lifetime: Duration::from_secs(700),
            unauthenticated_per_second: 0,
            ..Limits::default()
        };
    });
    let load = sim.server.load();
    assert_eq!((load.permissions, load.channels), (3, 3));
    for (number, &peer) in (0x4000..).zip(&peers) {
        assert_eq!(sim.bind(&mut client, number, peer), None, "a refresh");
        assert!(is_relayed(&sim.channel(&client, number, b"x")));
    }
    assert_eq!(sim.permit(&mut client, &peers), None, "a refresh");
    assert_eq!(sim.permit(&mut client, &[addr(PEER)]), Some(508));
    assert_eq!(sim.bind(&mut client, 0x4003, peers[0]), Some(400));
    assert_eq!(sim.bind(&mut client, 0x4003, addr(PEER)), Some(508));
    assert_eq!(sim.refresh(&mut client, Some(3600)).lifetime(), 700);
    sim.advance(Duration::from_secs(601));
    client.nonce.clear();
    assert_eq!(sim.bind(&mut client, 0x4003, addr(PEER)), None);
}

/// H-05, H-03: a secret that is rotated away cuts no call: Refresh, CreatePermission and ChannelBind of a live allocation
/// go on by the allocation's own key. Nothing else is good any more by that secret, and a wrong password no better.
#[test]
fn a_secret_that_is_gone_ends_no_allocation() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    let mut late = sim.client(2);
    sim.allocate(&mut client);
    sim.replace(|replacement| replacement.directory = directory(&[OTHER_SECRET], &[]));

    for _ in 0..20 {
        sim.advance(Duration::from_secs(240));
        client.nonce.clear();
        assert_eq!(sim.refresh(&mut client, None).code(), None);
        assert_eq!(sim.permit(&mut client, &[addr(FAR)]), None);
        assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
        assert!(is_relayed(&sim.channel(&client, 0x4000, b"x")));
    }
    let refused = |sim: &mut Sim, client: &mut Client, method| {
        sim.request(client, method, |w| w.requested_transport(17))
            .code()
    };
    for method in [Method::Allocate, Method::Refresh] {
        assert_eq!(refused(&mut sim, &mut late, method), Some(401));
    }
    assert_eq!(refused(&mut sim, &mut client, Method::Allocate), Some(401));
    let password = client.password.clone();
    client.password.push('x');
    assert_eq!(refused(&mut sim, &mut client, Method::Refresh), Some(401));
    client.password = password;
    assert_eq!(sim.refresh(&mut client, Some(0)).code(), None);
    assert_eq!(refused(&mut sim, &mut client, Method::Refresh), Some(401));
}

/// S-26: a name that is gone is answered as one that never was, by name and on the 5-tuple of its own allocation
/// too: the same attributes, the same size, nothing but another nonce.
#[test]
fn a_name_that_is_gone_is_answered_as_one_that_never_was() {
    let users = [("carol", "correct horse"), ("david", "battery staple")];
    let mut sim = Sim::with(Choices {
        static_user: Some(users[0]),
        ..Choices::default()
    });
    let mut carol = Client::new(1, &(users[0].0.into(), users[0].1.into()));
    sim.allocate(&mut carol);
    // Somebody stored is left, so that USERHASH is offered as before.
    sim.replace(|replacement| replacement.directory = directory(&[OTHER_SECRET], &users[1..]));
    let (minted, password) = credentials("alice", Duration::from_secs(3600));
    let tried = [
        (1, "carol", "wrong", Method::Refresh),
        (1, "nobody", "wrong", Method::Refresh),
        (1, "carol", users[0].1, Method::Allocate),
        (2, "carol", users[0].1, Method::Allocate),
        (2, "nobody", "wrong", Method::Allocate),
        (2, "david", "wrong", Method::Allocate),
        (2, &minted, &password, Method::Allocate),
    ];
    let answers: Vec<Vec<u8>> = tried
        .into_iter()
        .map(|(number, name, password, method)| {
            let mut client = Client::new(number, &(name.into(), password.into()));
            let answer = sim.request(&mut client, method, |w| w.requested_transport(17));
            assert_eq!(answer.code(), Some(401), "{name}");
            assert_eq!(answer.framed().integrity(), crate::wire::Integrity::Absent);
            let nonce = answer.attributes().nonce().unwrap().to_vec();
            // Without the header, which repeats the request's, and the nonce.
            let mut body = answer.0[20..].to_vec();
            let at = body.windows(nonce.len()).position(|window| window == nonce);
            body.drain(at.unwrap()..at.unwrap() + nonce.len());
            body
        })
        .collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

/// H-03, S-33: a stored user that is gone keeps a live allocation until its greatest age, by name and by USERHASH; a new
/// greatest age that is smaller is for allocations to come.
#[test]
fn a_user_that_is_gone_keeps_a_live_allocation_until_its_greatest_age() {
    let user = ("carol", "correct horse");
    let limits = |hours: u64| Limits {
        allocation_max_age: Duration::from_secs(hours * 3600),
        unauthenticated_per_second: 0,
        ..Limits::default()
    };
    let mut sim = Sim::with(Choices {
        static_user: Some(user),
        limits: limits(4),
        ..Choices::default()
    });
    let mut client = Client::new(1, &(user.0.into(), user.1.into()));
    sim.allocate(&mut client);
    sim.replace(|replacement| {
        replacement.directory = directory(&[SECRET], &[]);
        replacement.limits = limits(1);
    });
    let by_hash = |sim: &mut Sim, client: &Client| {
        let id = sim.transaction();
        let userhash: [u8; 32] = {
            use sha2::Digest as _;
            sha2::Sha256::digest([user.0, ":", super::sim::REALM].concat()).into()
        };
        let bytes = write(Class::Request, Method::Refresh, id, |w| {
            w.userhash(&userhash);
            w.realm(&client.realm);
            w.nonce(&client.nonce);
            w.message_integrity(client.key().as_bytes());
        });
        sim.deliver(client.five_tuple, &bytes).answer().code()
    };
    for minutes in (9..4 * 60).step_by(9) {
        sim.advance(Duration::from_secs(9 * 60));
        client.nonce.clear();
        assert_eq!(sim.refresh(&mut client, None).code(), None, "{minutes}");
        assert_eq!(by_hash(&mut sim, &client), None, "{minutes}");
    }
    sim.advance(Duration::from_secs(9 * 60));
    client.nonce.clear();
    assert_eq!(sim.refresh(&mut client, None).code(), Some(401));
    assert_eq!(by_hash(&mut sim, &client), Some(401));
    sim.advance(Duration::from_secs(700));
    sim.assert_nothing_left();
}

/// H-03, H-05: nor does a key that is gone serve an allocation any longer, though the name has not ended: of a secret that was
/// rotated away, and of a password that was changed. Whoever has the new one goes on.
#[test]
fn a_key_that_is_gone_serves_until_the_greatest_age() {
    let carol = ("carol", "correct horse");
    let changed = ("carol", "battery staple");
    let alice = credentials("alice", Duration::from_secs(86_400));
    let hash = crate::credentials::HmacHash::Sha256;
    let minted_anew = crate::credentials::password_for(OTHER_SECRET, hash, alice.0.as_bytes());
    for (name, before, after) in [
        (&*alice.0, &*alice.1, &*minted_anew),
        (carol.0, carol.1, changed.1),
    ] {
        let mut sim = Sim::with(Choices {
            static_user: Some(carol),
            limits: Limits {
                allocation_max_age: Duration::from_secs(3600),
                unauthenticated_per_second: 0,
                ..Limits::default()
            },
            ..Choices::default()
        });
        let mut client = Client::new(1, &(name.into(), before.into()));
        sim.allocate(&mut client);
        sim.replace(|replacement| replacement.directory = directory(&[OTHER_SECRET], &[changed]));
        let mut codes = Vec::new();
        // The last two: at an hour to the second, and a second later.
        for seconds in [540, 540, 540, 540, 540, 540, 360, 1] {
            sim.advance(Duration::from_secs(seconds));
            client.nonce.clear();
            codes.push(sim.refresh(&mut client, None).code());
        }
        assert_eq!(codes[..7], [None; 7], "{name}");
        assert_eq!(codes[7], Some(401), "{name}");
        client.password = after.into();
        assert_eq!(sim.refresh(&mut client, None).code(), None, "{name}");
    }
}

/// H-03: a greater greatest age is for the allocations that live, too.
#[test]
fn a_greater_greatest_age_is_for_all() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let mut sim = Sim::with(Choices {
        limits: Limits {
            allocation_max_age: hours(1),
            unauthenticated_per_second: 0,
            ..Limits::default()
        },
        ..Choices::default()
    });
    let mut client = Client::new(1, &credentials("alice", Duration::from_secs(60)));
    sim.allocate(&mut client);
    for max_age in [2, 1] {
        sim.replace(|replacement| replacement.limits.allocation_max_age = hours(max_age));
    }
    let mut last = None;
    for minutes in (9..240).step_by(9) {
        sim.advance(Duration::from_secs(9 * 60));
        client.nonce.clear();
        if sim.refresh(&mut client, None).code().is_some() {
            break;
        }
        last = Some(minutes);
    }
    assert_eq!(last, Some(117), "the last before two hours");
}

/// H-05: a new secret is good from the next message on, beside the old one for as long as that is there.
#[test]
fn a_new_secret_is_good_at_once() {
    let mut sim = Sim::new();
    let both: &[&[u8]] = &[OTHER_SECRET, SECRET];
    sim.replace(|replacement| replacement.directory = directory(both, &[]));
    let mut old = sim.client(1);
    sim.allocate(&mut old);
    let (name, _) = credentials("bob", Duration::from_secs(3600));
    let hash = crate::credentials::HmacHash::Sha256;
    let password = crate::credentials::password_for(OTHER_SECRET, hash, name.as_bytes());
    let mut new = Client::new(2, &(name, password));
    sim.allocate(&mut new);
}

/// S-37: a nonce under the key before the last replacement is good for its lifetime, whether or not the new keys know it,
/// and however often the same is loaded again; then it is stale.
#[test]
fn nonces_survive_a_new_key() {
    let lifetime = Duration::from_secs(600);
    let keys = |key: u8, previous: Option<u8>| {
        Nonces::new(
            NonceKey::new([key; 32]),
            previous.map(|key| NonceKey::new([key; 32])),
            lifetime,
        )
    };
    for previous in [None, Some(9)] {
        let mut sim = Sim::new();
        let mut client = sim.client(1);
        sim.allocate(&mut client);
        sim.replace(|replacement| replacement.nonces = keys(7, previous));
        sim.replace(|replacement| replacement.limits.channels_per_allocation += 1);
        sim.advance(Duration::from_secs(500));
        assert_eq!(sim.refresh(&mut client, None).code(), None);
        let mut new = sim.client(2);
        sim.allocate(&mut new);
        sim.advance(Duration::from_secs(101));
        assert_eq!(sim.refresh(&mut client, None).code(), Some(438));
        assert_eq!(sim.refresh(&mut new, None).code(), None);
    }
}

/// S-37: an outgoing key that nothing was minted under for longer than a lifetime proves nothing any more.
#[test]
fn an_outgoing_nonce_key_ends() {
    let mut sim = Sim::new();
    let forger = Nonces::new(NonceKey::new([9; 32]), None, Duration::from_secs(600));
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    sim.replace(|replacement| {
        let key = NonceKey::new([7; 32]);
        replacement.nonces = Nonces::new(key, None, Duration::from_secs(600));
    });
    let features = Nonces::features_as_sent(&client.nonce).unwrap();
    let mut forged = |sim: &mut Sim| {
        let from = client.five_tuple.client.0;
        client.nonce = forger
            .mint(sim.now.unix, from, features, 1)
            .as_bytes()
            .to_vec();
        sim.refresh(&mut client, None).code()
    };
    sim.advance(Duration::from_secs(599));
    assert_eq!(forged(&mut sim), None);
    sim.advance(Duration::from_secs(2));
    assert_eq!(forged(&mut sim), Some(438));
}

/// another rate of unauthenticated answers holds from the next message on, up and down.
#[test]
fn the_rate_of_unauthenticated_answers_can_change() {
    let mut sim = Sim::new();
    let client = sim.client(1);
    let answered = |sim: &mut Sim, count: u32| {
        (0..count)
            .filter(|_| {
                let id = sim.transaction();
                let bytes = write(Class::Request, Method::Binding, id, |_| {});
                matches!(sim.deliver(client.five_tuple, &bytes), Outcome::Answer(_))
            })
            .count()
    };
    let rate = |sim: &mut Sim, per_second| {
        sim.replace(|replacement| replacement.limits.unauthenticated_per_second = per_second);
    };
    assert_eq!(answered(&mut sim, 200), 200);
    rate(&mut sim, 1);
    assert_eq!(answered(&mut sim, 200), 20);
    rate(&mut sim, 50);
    assert_eq!(answered(&mut sim, 200), 20);
    let in_a_second: usize = (0..10)
        .map(|_| {
            sim.advance(Duration::from_millis(100));
            answered(&mut sim, 200)
        })
        .sum();
    assert_eq!(in_a_second, 50);
    rate(&mut sim, 0);
    assert_eq!(answered(&mut sim, 200), 200);
}

/// An allocation that is being made while the server is given something else is completed as it was begun.
#[test]
fn an_allocation_under_way_is_not_disturbed() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    client.nonce = super::allocate::nonce(&mut sim, &client);
    let id = sim.transaction();
    let bytes = client.sign(Method::Allocate, id, |w| w.requested_transport(17));
    let verdict = sim
        .server
        .handle_message(sim.now, client.five_tuple, &bytes, &mut sim.reply);
    assert_eq!(verdict, crate::server::Verdict::Wait);
    sim.replacement.directory = directory(&[OTHER_SECRET], &[]);
    let revoked_now = sim.server.replace(sim.now, sim.replacement.clone());
    assert_eq!(revoked_now, revoked(0, 0));
    let (to, answer) = sim.pump().unwrap();
    assert_eq!(to, client.five_tuple);
    let answer = super::sim::Answer(answer);
    assert_eq!(answer.code(), None);
    assert!(answer.framed().verify(client.key().as_bytes()).is_some());
}
