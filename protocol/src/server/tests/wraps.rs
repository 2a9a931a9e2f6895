//! What counts, and what is numbered, goes on past the largest number that 32 and 64 bits hold.
//!
//! Ports, sockets and allocations are numbered by what is free, and have no number that grows.

use core::time::Duration;

use super::sim::{Choices, Outcome, Sim, addr, channel_message};
use crate::forward::{Framing, PeerVerdict, Traffic};
use crate::server::{Authentication, Refusal};
use crate::time::Instant;

/// Just before 32 bits, and just before 64 bits, are full.
const BRINKS: [u64; 2] = [(1 << 32) - 2, u64::MAX - 1];

/// G-12: serials begin again after the last, and an allocation is still ended by its own alone.
#[test]
fn serials_pass_their_wrap() {
    for brink in BRINKS {
        let mut sim = Sim::new();
        sim.server.next_serial = brink;
        for nth in 0..4_u8 {
            let mut client = sim.client(nth + 1);
            sim.allocate(&mut client);
            let view = sim.server.allocations().next().unwrap();
            let (id, serial) = (view.allocation, view.serial);
            assert_eq!(serial, brink.wrapping_add(nth.into()));
            assert!(!sim.server.end(sim.now, id, serial.wrapping_sub(1)));
            assert!(sim.server.end(sim.now, id, serial));
            sim.pump();
        }
    }
}

/// G-12: tallies begin again at zero, and nobody is answered otherwise for it.
#[test]
fn tallies_pass_their_wrap() {
    for brink in BRINKS {
        let mut sim = Sim::with(Choices {
            per_user: 0,
            ..Choices::default()
        });
        sim.server.tallies.authentications = [brink; Authentication::ALL.len()];
        sim.server.tallies.refusals = [brink; Refusal::ALL.len()];
        for nth in 0..4_u8 {
            let mut client = sim.client(nth + 1);
            let answer = sim.request(&mut client, crate::wire::Method::Allocate, |w| {
                w.requested_transport(17);
            });
            assert_eq!(answer.code(), Some(486));
            let next = brink.wrapping_add(u64::from(nth) + 1);
            let tallies = sim.server.tallies();
            assert_eq!(tallies.refusals[Refusal::UserQuota.index()], next);
            let proved = Authentication::Success.index();
            assert_eq!(tallies.authentications[proved], next);
        }
    }
}

/// G-12: counts of payloads and bytes pass their wrap in both directions; nothing is lost, and a call that carries something is active.
#[test]
fn traffic_passes_its_wrap() {
    for brink in BRINKS {
        let mut sim = Sim::new();
        let mut client = sim.client(1);
        let at = sim.allocate(&mut client);
        let peer = addr("8.8.8.8:5000");
        assert_eq!(sim.bind(&mut client, 0x4000, peer), None);
        let id = sim.server.allocations().next().unwrap().allocation;
        let full = Traffic {
            to_peer_packets: brink,
            to_peer_bytes: brink,
            to_client_packets: brink,
            to_client_bytes: brink,
        };
        sim.table.begin_traffic_at(id, full);
        for nth in 1..=4 {
            let outcome = sim.deliver(client.five_tuple, &channel_message(0x4000, &[1; 100]));
            assert!(matches!(outcome, Outcome::ToPeer(_)), "{outcome:?}");
            let verdict = sim.peer_sends(peer, at);
            let PeerVerdict::ToClient { framing, .. } = verdict else {
                panic!("dropped: {verdict:?}");
            };
            assert!(matches!(framing, Framing::Channel(_)));
            let traffic = sim.table.traffic(id).unwrap();
            let expected = Traffic {
                to_peer_packets: brink.wrapping_add(nth),
                to_peer_bytes: brink.wrapping_add(nth * 100),
                to_client_packets: brink.wrapping_add(nth),
                to_client_bytes: brink.wrapping_add(nth * 100),
            };
            assert_eq!(traffic, expected);
            assert!(sim.table.is_active(id));
            assert_eq!(sim.table.sweep_activity_of(0, 1).active, 1);
        }
    }
}

/// G-12: a monotonic clock that passes 32 bits of nanoseconds, or has come close to its own end, changes nothing for a call.
#[test]
fn the_clock_passes_what_32_bits_hold() {
    let second = 1_000_000_000;
    for start in [
        (1 << 32) - second,
        (1 << 63) - second,
        u64::MAX - 5000 * second,
    ] {
        let mut sim = Sim::new();
        sim.now.instant = Instant::from_nanos(start);
        let mut client = sim.client(1);
        sim.allocate(&mut client);
        assert_eq!(sim.permit(&mut client, &[addr("8.8.8.8:5000")]), None);
        sim.advance(Duration::from_secs(299));
        assert_eq!(sim.server.load().permissions, 1);
        sim.advance(Duration::from_secs(1));
        assert_eq!(sim.server.load().permissions, 0);
        assert_eq!(sim.server.load().allocations, 1);
        sim.advance(Duration::from_secs(400));
        sim.assert_nothing_left();
    }
}
