//! ICMP errors about what was relayed, told to the client (RFC 8656 §11.5).
//!
//! An ICMP error changes nothing here: it is forged too easily. It becomes a Data indication for the one allocation
//! whose relayed address it quotes, at a bounded rate.

use core::net::SocketAddr;
use core::time::Duration;

use rand_core::RngCore;

use super::pending::SocketUse;
use super::reply::{Echo, Reply, Seal};
use super::{Server, Verdict};
use crate::address::FiveTuple;
use crate::forward::RelayedId;
use crate::time::Now;
use crate::wire::{Class, Icmp, Method, TransactionId};

/// One indication for each allocation in this time.
const INTERVAL: Duration = Duration::from_millis(100);

/// An ICMP error as the host reports it for a relayed socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Where the payload that caused it was going: the inner destination. Port 0 when unknown.
    pub peer: SocketAddr,
    /// ICMP or ICMPv6 type.
    pub kind: u8,
    /// ICMP or ICMPv6 code.
    pub code: u8,
    /// The next hop's MTU, where the error carries one.
    pub mtu: u32,
}

impl Server {
    /// Takes an ICMP error about something sent from a relayed socket. When the client is to know, the indication
    /// stands in `reply` and goes to the 5-tuple that is returned.
    pub fn handle_icmp(
        &mut self,
        now: Now,
        relayed: RelayedId,
        error: IcmpError,
        reply: &mut Reply,
    ) -> Option<FiveTuple> {
        let Some(&SocketUse::Live(id)) = self.sockets.get(relayed.0 as usize) else {
            return None;
        };
        let icmp = passed_on(&error)?;
        let allocation = self.allocations.get_mut(id.0 as usize)?;
        // Looked up by the inner destination; who sent the error is not asked (T-53).
        if !allocation
            .permissions
            .iter()
            .any(|permission| permission.peer == error.peer.ip())
        {
            return None;
        }
        if now.instant < allocation.next_icmp {
            return None;
        }
        allocation.next_icmp = now.instant + INTERVAL;
        let client = allocation.client;
        reply.mark(allocation.synthetic);
        let mut transaction = [0; 12];
        self.random.fill_bytes(&mut transaction);
        let echo = Echo {
            method: Method::Data,
            id: TransactionId(transaction),
            fingerprint: false,
        };
        let verdict = reply.answer(echo, Class::Indication, Seal::None, |w| {
            w.xor_peer_address(error.peer);
            w.icmp(icmp);
        });
        (verdict == Verdict::Reply).then_some(client)
    }
}

/// Only destination unreachable and time exceeded (v4), and destination unreachable, packet too big and time exceeded
/// (v6); the data field carries an MTU where the error has one and is zero otherwise.
fn passed_on(error: &IcmpError) -> Option<Icmp> {
    let has_mtu = match (error.peer, error.kind) {
        (SocketAddr::V4(_), 3) => error.code == 4,
        (SocketAddr::V4(_), 11) | (SocketAddr::V6(_), 1 | 3) => false,
        (SocketAddr::V6(_), 2) => true,
        (SocketAddr::V4(_) | SocketAddr::V6(_), _) => return None,
    };
    Some(Icmp {
        kind: error.kind,
        code: error.code,
        data: if has_mtu { error.mtu } else { 0 },
    })
}
