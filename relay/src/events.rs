//! The log: one event for each change of state of an allocation or of the relay.
//!
//! Responsible for how events read. Not responsible for per-packet facts, which are counters. No address of a client or
//! peer, user name, secret or payload is ever logged; an allocation is named by its worker and number alone.

use taciturn_protocol::forward::{AllocationId, Traffic};
use taciturn_protocol::server::Event;
use tracing::debug;

/// Logs what a server reported.
pub fn record(worker: u8, event: &Event) {
    match event {
        Event::AllocationCreated {
            allocation,
            client,
            family,
            dual,
            ..
        } => debug!(
            worker,
            allocation = allocation.0,
            transport = client.transport.as_str(),
            family = family.as_str(),
            dual,
            "allocation created"
        ),
        Event::AllocationEnded {
            allocation,
            client,
            cause,
            age,
            ..
        } => debug!(
            worker,
            allocation = allocation.0,
            transport = client.transport.as_str(),
            cause = cause.as_str(),
            seconds = age.as_secs(),
            "allocation ended"
        ),
    }
}

/// Logs what an allocation has carried, as it ends.
pub fn allocation_traffic(worker: u8, allocation: AllocationId, traffic: &Traffic) {
    debug!(
        worker,
        allocation = allocation.0,
        to_peer_packets = traffic.to_peer_packets,
        to_peer_bytes = traffic.to_peer_bytes,
        to_client_packets = traffic.to_client_packets,
        to_client_bytes = traffic.to_client_bytes,
        "allocation carried"
    );
}
