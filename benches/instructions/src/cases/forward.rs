//! The forwarding table: where packets go, and which go nowhere.

use std::net::SocketAddr;

use taciturn_protocol::address::{ChannelNumber, ChannelRange, FiveTuple, PeerAddr, RelayedAddr};
use taciturn_protocol::forward::{
    AllocationId, Bandwidth, ClientVerdict, Destination, DropReason, Framing, MeterId, PeerVerdict,
    PortRules, PortSet, RelayedId, Route, RouteTable,
};
use taciturn_protocol::server::default_denied_ports;
use taciturn_protocol::time::Instant;
use taciturn_protocol::wire::{Class, Method};

use super::messages::{
    CHANNEL, PAYLOAD, channel_message, client, message, peer, send_indication, transaction,
};
use crate::count::Counter;

const STEPS: u32 = 2000;
const NOW: Instant = Instant::from_nanos(1_000_000_000);
/// Peers of an allocation by channel, and by permission alone, stand this far apart in number.
const APART: u32 = 1 << 20;

/// Runs the cases.
pub(super) fn run(counter: &mut Counter) -> anyhow::Result<()> {
    for (routes, limited) in [(1, false), (1, true), (10_000, false), (10_000, true)] {
        let limits = if limited { ", limited" } else { "" };
        let label = format!("{routes} allocations{limits}");
        carried(counter, &label, &mut table(routes, limited), routes)?;
    }
    dropped(counter, &mut table(10_000, false))?;
    crowded(counter)
}

/// One allocation for each number, each with a peer by channel and a peer by permission alone.
fn table(allocations: u32, limited: bool) -> RouteTable {
    let rules = PortRules {
        denied: PortSet::from_ranges(default_denied_ports()),
        own_sockets: Vec::new(),
    };
    let mut table = RouteTable::new([1, 2, 3, 4], rules, ChannelRange::Rfc8656);
    if limited {
        table.limit_bandwidth(Bandwidth {
            bits_per_second_per_user: 1_000_000_000,
            bits_per_second_per_allocation: 1_000_000_000,
        });
    }
    for number in 0..allocations {
        allocation(&mut table, number);
        permission(&mut table, number, peer(number));
        channel(&mut table, number, CHANNEL, peer(number));
        permission(&mut table, number, peer(number + APART));
    }
    table
}

fn allocation(table: &mut RouteTable, number: u32) {
    let port = u16::try_from(40_000 + number).expect("few allocations");
    let bound = SocketAddr::from(([203, 0, 113, 1], port));
    table.add(&Route::Relayed {
        allocation: AllocationId(number),
        client: client(number),
        meter: MeterId(number),
        synthetic: false,
        relayed: RelayedId(number),
        bound,
        advertised: RelayedAddr(bound),
    });
}

fn permission(table: &mut RouteTable, number: u32, peer: PeerAddr) {
    table.add(&Route::Permission {
        allocation: AllocationId(number),
        peer: peer.0.ip(),
        destination: Destination::Network,
    });
}

fn channel(table: &mut RouteTable, number: u32, channel: u16, peer: PeerAddr) {
    table.add(&Route::Channel {
        allocation: AllocationId(number),
        number: ChannelNumber::new(channel, ChannelRange::Rfc8656).expect("a channel number"),
        peer,
    });
}

/// Numbers of allocations, spread so that neighbours in time are none in the table.
fn spread(allocations: u32) -> impl Iterator<Item = u32> {
    (0..STEPS).map(move |step| step.wrapping_mul(7919) % allocations)
}

fn carried(
    counter: &mut Counter,
    label: &str,
    table: &mut RouteTable,
    allocations: u32,
) -> anyhow::Result<()> {
    let from_clients: Vec<(FiveTuple, Vec<u8>)> = spread(allocations)
        .map(|number| (client(number), channel_message(CHANNEL)))
        .collect();
    let name = format!("forward: from client, ChannelData, {label}");
    counter.each(&name, &from_clients, |(client, bytes)| {
        is_carried(&table.from_client(NOW, client, bytes))
    })?;
    let from_clients: Vec<(FiveTuple, Vec<u8>)> = spread(allocations)
        .map(|number| (client(number), send_indication(peer(number + APART).0)))
        .collect();
    let name = format!("forward: from client, Send indication, {label}");
    counter.each(&name, &from_clients, |(client, bytes)| {
        is_carried(&table.from_client(NOW, client, bytes))
    })?;
    let from_peers: Vec<(RelayedId, PeerAddr)> = spread(allocations)
        .map(|number| (RelayedId(number), peer(number)))
        .collect();
    let name = format!("forward: from peer, ChannelData, {label}");
    counter.each(&name, &from_peers, |(relayed, peer)| {
        is_framed(&table.from_peer(NOW, *relayed, *peer, PAYLOAD), true)
    })?;
    let from_peers: Vec<(RelayedId, PeerAddr)> = spread(allocations)
        .map(|number| (RelayedId(number), peer(number + APART)))
        .collect();
    let name = format!("forward: from peer, Data indication, {label}");
    counter.each(&name, &from_peers, |(relayed, peer)| {
        is_framed(&table.from_peer(NOW, *relayed, *peer, PAYLOAD), false)
    })
}

fn dropped(counter: &mut Counter, table: &mut RouteTable) -> anyhow::Result<()> {
    let allocations = 10_000;
    let refused = |bytes: Vec<u8>, clients: u32| -> Vec<(FiveTuple, Vec<u8>)> {
        let numbers = spread(allocations).map(|number| client(number + clients));
        numbers.map(|client| (client, bytes.clone())).collect()
    };
    let binding = message(Class::Request, Method::Binding, transaction(5), |_| {});
    let stranger = send_indication(peer(3 * APART).0);
    let cases = [
        (
            "unknown client",
            refused(channel_message(CHANNEL), APART),
            Some(DropReason::NoAllocation),
        ),
        (
            "unbound channel",
            refused(channel_message(0x4FFF), 0),
            Some(DropReason::UnboundChannel),
        ),
        (
            "no permission",
            refused(stranger, 0),
            Some(DropReason::NoPermission),
        ),
        (
            "first byte of nothing",
            refused(vec![0xFF; 100], 0),
            Some(DropReason::UnknownProtocol),
        ),
        ("a request, for the server", refused(binding, 0), None),
    ];
    for (what, inputs, expected) in cases {
        let name = format!("forward: from client, {what}");
        counter.each(&name, &inputs, |(client, bytes)| {
            match (table.from_client(NOW, client, bytes), expected) {
                (ClientVerdict::Drop(reason), Some(expected)) => reason == expected,
                (verdict, _) => expected.is_none() && verdict == ClientVerdict::Control,
            }
        })?;
    }
    let strangers: Vec<(RelayedId, PeerAddr)> = spread(allocations)
        .map(|number| (RelayedId(number), peer(number + 3 * APART)))
        .collect();
    counter.each(
        "forward: from peer, not permitted",
        &strangers,
        |(relayed, peer)| {
            table.from_peer(NOW, *relayed, *peer, PAYLOAD)
                == PeerVerdict::Drop(DropReason::PeerNotPermitted)
        },
    )
}

/// An allocation with as many channels and permissions as the default limits allow, and the last of each.
fn crowded(counter: &mut Counter) -> anyhow::Result<()> {
    let mut table = table(0, false);
    allocation(&mut table, 0);
    for number in 0..64 {
        permission(&mut table, 0, peer(number));
    }
    for number in 0..32 {
        channel(&mut table, 0, CHANNEL + number, peer(u32::from(number)));
    }
    let steps = STEPS as usize;
    let last = (client(0), channel_message(CHANNEL + 31));
    counter.each(
        "forward: from client, last of 32 channels",
        &vec![last; steps],
        |input| is_carried(&table.from_client(NOW, &input.0, &input.1)),
    )?;
    let last = (client(0), send_indication(peer(63).0));
    counter.each(
        "forward: from client, last of 64 permissions",
        &vec![last; steps],
        |input| is_carried(&table.from_client(NOW, &input.0, &input.1)),
    )?;
    let last = vec![(RelayedId(0), peer(31)); steps];
    counter.each(
        "forward: from peer, last of 32 channels",
        &last,
        |(relayed, peer)| is_framed(&table.from_peer(NOW, *relayed, *peer, PAYLOAD), true),
    )?;
    let last = vec![(RelayedId(0), peer(63)); steps];
    counter.each(
        "forward: from peer, last of 64 permissions",
        &last,
        |(relayed, peer)| is_framed(&table.from_peer(NOW, *relayed, *peer, PAYLOAD), false),
    )
}

fn is_carried(verdict: &ClientVerdict) -> bool {
    matches!(verdict, ClientVerdict::ToPeer { payload, .. } if payload.len() == PAYLOAD)
}

fn is_framed(verdict: &PeerVerdict, by_channel: bool) -> bool {
    match verdict {
        PeerVerdict::ToClient { framing, .. } => {
            matches!(framing, Framing::Channel(_)) == by_channel
        }
        PeerVerdict::Drop(_) => false,
    }
}
