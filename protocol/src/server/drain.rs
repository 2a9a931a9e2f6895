//! Draining: no new allocations, everything else as before (RFC 8489 §10 for the redirection).
//!
//! Not responsible for deadlines, which are the relay's, nor for choosing alternates, which is the controller's.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Verdict;
use super::reply::{Echo, ErrorCode, Reply, Seal};
use crate::address::{Family, FiveTuple, Transport};
use crate::wire::Class;

/// Where a draining relay sends new clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Healthy relays, best first. Empty: new allocations are answered with 508.
    pub alternates: Vec<Alternate>,
}

/// Another relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternate {
    /// Its listener.
    pub server: SocketAddr,
    /// The transport that the listener speaks; a client is only sent to a listener of its own transport.
    pub transport: Transport,
    /// The name in its certificate, when it is another than this relay's (RFC 8489 §14.16).
    pub domain: Option<String>,
}

/// Answers a new Allocate while draining: 300 with an alternate of the family that the request came over, then one of
/// the other family; 508 when there is none. Never 403, which clients take as final.
pub(super) fn refuse(
    drain: &Drain,
    from: FiveTuple,
    echo: Echo,
    seal: Seal<'_>,
    reply: &mut Reply,
) -> Verdict {
    let own = Family::of(&from.client.0);
    let same_transport = || {
        drain
            .alternates
            .iter()
            .filter(|a| a.transport == from.transport)
    };
    let Some(first) = same_transport().find(|a| Family::of(&a.server) == own) else {
        return reply.error(echo, seal, ErrorCode::InsufficientCapacity);
    };
    let second = same_transport().find(|a| Family::of(&a.server) != own);
    // RFC 8489 §10: ALTERNATE-DOMAIN only over TLS and with MESSAGE-INTEGRITY-SHA256.
    let domain = match seal {
        Seal::Sha256(_) if from.transport == Transport::Tls => first.domain.as_deref(),
        Seal::None | Seal::Sha1(_) | Seal::Sha256(_) => None,
    };
    reply.answer(echo, Class::Error, seal, |w| {
        w.error_code(
            ErrorCode::TryAlternate.number(),
            ErrorCode::TryAlternate.reason(),
        );
        w.alternate_server(first.server);
        if let Some(second) = second {
            w.alternate_server(second.server);
        }
        if let Some(domain) = domain {
            w.alternate_domain(domain);
        }
    })
}
