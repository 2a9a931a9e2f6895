//! What users and allocations may have relayed, and which of them relay anything.

use core::time::Duration;

use super::sim::{Client, Outcome, Sim, addr};
use crate::forward::{Activity, Bandwidth, DropReason, PeerVerdict};

const PEER: &str = "8.8.8.8:5000";

fn limit(sim: &mut Sim, per_user: u64, per_allocation: u64) {
    sim.table.limit_bandwidth(Bandwidth {
        bits_per_second_per_user: per_user,
        bits_per_second_per_allocation: per_allocation,
    });
}

/// How many of a hundred payloads of this size are relayed at once.
fn relayed(sim: &mut Sim, client: &Client, bytes: usize) -> usize {
    let payload = alloc::vec![0; bytes];
    (0..100)
        .filter(|_| matches!(sim.channel(client, 0x4000, &payload), Outcome::ToPeer(_)))
        .count()
}

/// T-81, A-17: an allocation's payload beyond its own limit is dropped in both directions, and takes nothing from its
/// user's other calls; what the user's limit refuses is not charged to the allocation.
#[test]
fn an_allocations_bandwidth_is_limited() {
    let mut sim = Sim::new();
    let mut clients = [sim.client(1), sim.client(2)];
    let at = clients.each_mut().map(|client| sim.allocate(client));
    for client in &mut clients {
        assert_eq!(sim.bind(client, 0x4000, addr(PEER)), None);
    }
    let refused = |sim: &mut Sim, number: usize, reason| {
        assert_eq!(
            sim.channel(&clients[number], 0x4000, &[0; 100]),
            Outcome::Dropped(reason)
        );
        assert_eq!(
            sim.send(&clients[number], addr(PEER), &[0; 100]),
            Outcome::Dropped(reason)
        );
        let from_peer = sim.peer_sends(addr(PEER), at[number]);
        assert_eq!(from_peer, PeerVerdict::Drop(reason));
    };
    // 1000 bytes a second for one and 1500 for both, a second's worth at once.
    limit(&mut sim, 12_000, 8_000);
    assert_eq!(relayed(&mut sim, &clients[0], 100), 11);
    refused(&mut sim, 0, DropReason::AllocationBandwidth);
    assert_eq!(relayed(&mut sim, &clients[1], 100), 5, "the user's rest");
    refused(&mut sim, 1, DropReason::Bandwidth);
    // Ten seconds later the user has a second's worth again, and the second allocation all of its own.
    sim.advance(Duration::from_secs(10));
    assert_eq!(relayed(&mut sim, &clients[1], 100), 11);
    refused(&mut sim, 1, DropReason::AllocationBandwidth);
    for client in &mut clients {
        assert_eq!(sim.refresh(client, None).code(), None, "never metered");
    }
}

/// ten times its limit, for a minute, leaves an allocation its limit and its neighbour everything.
#[test]
fn a_greedy_allocation_costs_its_neighbour_nothing() {
    let mut sim = Sim::new();
    limit(&mut sim, 0, 800_000);
    let mut clients = [sim.client(1), sim.client(2)];
    for client in &mut clients {
        sim.allocate(client);
        assert_eq!(sim.bind(client, 0x4000, addr(PEER)), None);
    }
    let mut passed = [0; 2];
    for _ in 0..600 {
        sim.advance(Duration::from_millis(100));
        // A hundred payloads of 1000 bytes in 100 ms are 8 Mbit/s; one is a tenth of the limit.
        passed[0] += relayed(&mut sim, &clients[0], 1000);
        if let Outcome::ToPeer(_) = sim.channel(&clients[1], 0x4000, &[0; 1000]) {
            passed[1] += 1;
        }
    }
    // A minute at the limit, and the second's worth that a silent allocation may send at once.
    assert!((6000..=6101).contains(&passed[0]), "{passed:?}");
    assert_eq!(passed[1], 600);
}

/// T-81: another limit holds from the next payload on, and what was spent under the one before it is forgotten.
#[test]
fn a_bandwidth_limit_can_change() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    assert_eq!(sim.bind(&mut client, 0x4000, addr(PEER)), None);
    assert_eq!(relayed(&mut sim, &client, 1000), 100);
    for (user, allocation) in [(80, 0), (0, 80)] {
        limit(&mut sim, user, allocation);
        // 1000 bytes at 80 bit/s are paid for in 100 s.
        assert_eq!(relayed(&mut sim, &client, 1000), 1);
        limit(&mut sim, user, allocation);
        assert_eq!(relayed(&mut sim, &client, 1000), 0, "nothing is forgotten");
        limit(&mut sim, user * 1000, allocation * 1000);
        assert_eq!(relayed(&mut sim, &client, 1000), 11);
        limit(&mut sim, 0, 0);
        assert_eq!(relayed(&mut sim, &client, 1000), 100);
    }
}

/// An allocation is active when it carried a payload since the last sweep, whichever way; dropped ones do not count.
#[test]
fn activity_is_swept() {
    let mut sim = Sim::new();
    let mut clients = [sim.client(1), sim.client(2), sim.client(3)];
    let at = clients.each_mut().map(|client| sim.allocate(client));
    for client in &mut clients[..2] {
        assert_eq!(sim.bind(client, 0x4000, addr(PEER)), None);
    }
    let swept = |sim: &mut Sim| {
        let Activity { active, idle } = sim.table.sweep_activity();
        (active, idle)
    };
    assert_eq!(swept(&mut sim), (0, 3));
    sim.channel(&clients[0], 0x4000, b"x");
    sim.channel(&clients[0], 0x4000, b"x");
    sim.peer_sends(addr(PEER), at[1]);
    sim.send(&clients[2], addr(PEER), b"no permission");
    assert_eq!(swept(&mut sim), (2, 1));
    assert_eq!(swept(&mut sim), (0, 3));
    sim.refresh(&mut clients[0], Some(0));
    assert_eq!(swept(&mut sim), (0, 2));
}
