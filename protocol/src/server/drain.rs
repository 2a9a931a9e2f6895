//! Draining and shedding: no new allocations, everything else as before (RFC 8489 §10 for the redirection).
//!
//! Not responsible for deadlines and for measuring load, which are the relay's, nor for choosing alternates, which is the
//! operator's or the controller's.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::authenticate::Authorised;
use super::reply::{ErrorCode, Reply, Seal};
use super::{Refusal, Server, Verdict};
use crate::address::{Family, FiveTuple, Transport};
use crate::wire::Class;

/// Where a draining relay sends new clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Healthy relays, best first, in front of those that are known anyhow ([`Server::alternates`]). Where none fits, new
    /// allocations are answered with 508.
    pub alternates: Vec<Alternate>,
}

/// Another relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternate {
    /// Its listener.
    pub server: SocketAddr,
    /// The transport that the listener speaks; a client is only sent to a listener of its own transport.
    pub transport: Transport,
    /// The name in its certificate (RFC 8489 §14.16). Over TLS nobody is sent to an alternate without one, as no
    /// certificate is for an address.
    pub domain: Option<String>,
}

impl Server {
    /// Why this server takes no new allocation now, if so. Its own self-check goes on, so that it can be seen to work.
    pub(super) fn takes_none(&self, request: &Authorised<'_>) -> Option<Refusal> {
        if request.synthetic {
            None
        } else if self.drain.is_some() {
            Some(Refusal::Drain)
        } else {
            self.is_shedding.then_some(Refusal::Overload)
        }
    }

    /// Answers a new Allocate that is not taken: 300 with an alternate of the family that the request came over, then one
    /// of the other family; 508 when there is none. Never 403, which clients take as final.
    pub(super) fn send_elsewhere(
        &mut self,
        from: FiveTuple,
        request: &Authorised<'_>,
        refusal: Refusal,
        reply: &mut Reply,
    ) -> Verdict {
        self.count_refusal(refusal, request.synthetic);
        let own = Family::of(&from.client.0);
        // RFC 8489 §10: ALTERNATE-DOMAIN only over TLS and with MESSAGE-INTEGRITY-SHA256.
        let can_name =
            matches!(request.seal(), Seal::Sha256(_)) && from.transport == Transport::Tls;
        let of_drain = self.drain.iter().flat_map(|drain| &drain.alternates);
        let fitting = || {
            of_drain
                .clone()
                .chain(&self.alternates)
                .filter(|alternate| {
                    let is_reachable = from.transport != Transport::Tls
                        || (can_name && alternate.domain.is_some());
                    alternate.transport == from.transport && is_reachable
                })
        };
        let Some(first) = fitting().find(|a| Family::of(&a.server) == own) else {
            return request.error(refusal.code(), reply);
        };
        let domain = first.domain.as_deref().filter(|_| can_name);
        // Of the other family only a second address of a relay by the same name: there is one ALTERNATE-DOMAIN.
        let second = fitting()
            .find(|a| Family::of(&a.server) != own && (!can_name || a.domain.as_deref() == domain));
        reply.answer(request.echo(), Class::Error, request.seal(), |w| {
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
}
