//! Allocate, in the order of RFC 8656 §7.2. Authentication is behind us.
//!
//! Not responsible for binding sockets (`pending`).

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::allocation::Relayed;
use super::authenticate::{Authorised, refuse_unknown};
use super::pending::{Pending, WantedSocket};
use super::port_pool::Wanted;
use super::reply::{Echo, ErrorCode, Reply, Seal};
use super::{QuotaExceeded, RETRANSMISSION_WINDOW, Refusal, Server, Verdict, peers};
use crate::address::{Family, FiveTuple, Transport};
use crate::credentials::UserName;
use crate::time::Now;
use crate::wire::{Attributes, Class, attribute};

/// UDP, the only transport between relay and peers that is offered (RFC 8656 §18.8).
const UDP: u8 = 17;

/// Allocations that the relay's own self-check may hold at once on one worker: a few checks that overlap, not a way round
/// the quota for whoever should learn its key.
const SYNTHETIC_MAX: usize = 16;

/// RFC 8656 §3.2: the default lifetime, and the least.
pub(super) const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

/// What a valid Allocate asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// A relayed address of one family.
    One(WantedSocket),
    /// An IPv4 and, in addition, an IPv6 relayed address.
    Both,
    /// The port that this token reserves.
    Reserved([u8; 8]),
}

impl Server {
    pub(super) fn allocate(
        &mut self,
        now: Now,
        from: FiveTuple,
        request: &Authorised<'_>,
        reply: &mut Reply,
    ) -> Verdict {
        if let Some(verdict) = self.repeat_or_mismatch(now, from, request, reply) {
            return verdict;
        }
        if let Some(refusal) = self.takes_none(request) {
            return self.send_elsewhere(from, request, refusal, reply);
        }
        // RFC 8656 §21.4: a tunnelled client could make relay and tunnel feed each other.
        if peers::is_tunnelled(from.client.0.ip()) {
            return self.deny(request, Refusal::ForbiddenClient, reply);
        }
        let attributes = request.attributes();
        let asked = match self.asked(from, attributes) {
            Ok(asked) => asked,
            Err(Refused::Code(code)) => return request.error(code, reply),
            Err(Refused::DontFragment) => {
                return refuse_unknown(
                    request.echo(),
                    request.seal(),
                    &[attribute::DONT_FRAGMENT],
                    reply,
                );
            }
        };
        if let Some(refusal) = self.holds_too_much(request) {
            return self.deny(request, refusal, reply);
        }
        let lifetime = self.granted_lifetime(attributes);
        // A reservation of this worker gives its place back when it is taken, and so makes room for its allocation.
        let taken = match asked {
            Asked::Reserved(token) if token[0] == self.settings.worker => {
                self.take_reservation(token, &request.user)
            }
            Asked::Reserved(_) | Asked::One(_) | Asked::Both => None,
        };
        // Before any socket is opened (T-22).
        let places = match asked {
            _ if request.synthetic => 0,
            Asked::One(socket) if socket.port == Wanted::Pair => 2,
            Asked::One(_) | Asked::Both | Asked::Reserved(_) => 1,
        };
        if let Err(exceeded) = self.reserve_places(&request.user, places) {
            if let Some(relayed) = taken {
                self.close_socket(now, relayed.id, relayed.port, None);
            }
            let refusal = match exceeded {
                QuotaExceeded::User => Refusal::UserQuota,
                QuotaExceeded::Total => Refusal::TotalQuota,
            };
            return self.deny(request, refusal, reply);
        }
        let granted = Granted {
            asked,
            lifetime,
            places,
            taken,
        };
        self.begin(now, from, request, granted, reply)
    }

    /// Whether this user's share of what is not counted by the quota is used up.
    fn holds_too_much(&self, request: &Authorised<'_>) -> Option<Refusal> {
        if request.synthetic {
            return (self.synthetic_held(&request.user) >= SYNTHETIC_MAX)
                .then_some(Refusal::UserQuota);
        }
        // Allocating and deleting in turn holds one place, and would still use up every port.
        self.wears_out_ports(&request.user)
            .then_some(Refusal::PortsAtRest)
    }

    /// Allocations and reserved ports of the relay's own self-check, those under way included.
    fn synthetic_held(&self, user: &UserName) -> usize {
        let pending = self.pending.iter().filter(|(_, p)| p.synthetic).count();
        self.users.holds(user) as usize + pending
    }

    /// Takes all these places, or none.
    fn reserve_places(&mut self, user: &UserName, places: u32) -> Result<(), QuotaExceeded> {
        for taken in 0..places {
            if let Err(exceeded) = self.quota.reserve(user) {
                (0..taken).for_each(|_| self.quota.release(user));
                return Err(exceeded);
            }
        }
        Ok(())
    }

    /// §7.2 step 2: a 5-tuple holds one allocation. The request that made it is answered as before (T-10).
    fn repeat_or_mismatch(
        &self,
        now: Now,
        from: FiveTuple,
        request: &Authorised<'_>,
        reply: &mut Reply,
    ) -> Option<Verdict> {
        if let Some(&pending) = self.pending_by_client.get(&from) {
            let same = self
                .pending
                .get(pending)
                .is_some_and(|pending| pending.echo.id == request.echo().id);
            return Some(if same {
                Verdict::Wait
            } else {
                request.error(ErrorCode::AllocationMismatch, reply)
            });
        }
        let held = &self.allocations[self.allocation_of(&from)?.0 as usize];
        let repeated = from.transport == Transport::Udp
            && held.transaction == request.echo().id
            && held.user == request.user
            && now.instant.saturating_since(held.created) <= RETRANSMISSION_WINDOW;
        if repeated {
            let sha256 = matches!(request.seal(), Seal::Sha256(_));
            return Some(self.answer_allocate(now, from, request.echo(), sha256, reply));
        }
        Some(request.error(ErrorCode::AllocationMismatch, reply))
    }

    /// §7.2 steps 3 to 9: what is asked for, if it can be granted at all.
    fn asked(&self, from: FiveTuple, attributes: Attributes<'_>) -> Result<Asked, Refused> {
        if attributes
            .lifetime()
            .is_some_and(|lifetime| lifetime.is_err())
        {
            return Err(ErrorCode::BadRequest.into());
        }
        match attributes.requested_transport() {
            None | Some(Err(_)) => return Err(ErrorCode::BadRequest.into()),
            Some(Ok(UDP)) => {}
            Some(Ok(_)) => return Err(ErrorCode::UnsupportedTransport.into()),
        }
        let bad_request = |_| Refused::from(ErrorCode::BadRequest);
        let token = attributes
            .reservation_token()
            .transpose()
            .map_err(bad_request)?;
        let even_port = attributes.even_port().transpose().map_err(bad_request)?;
        let family = attributes
            .requested_family()
            .transpose()
            .map_err(bad_request)?;
        let additional = attributes
            .additional_family()
            .transpose()
            .map_err(bad_request)?;
        if let Some(token) = token {
            if even_port.is_some() || family.is_some() || additional.is_some() {
                return Err(ErrorCode::BadRequest.into());
            }
            return Ok(Asked::Reserved(token));
        }
        let refuses_v6 = cannot_carry_df(from, attributes);
        if let Some(additional) = additional {
            // Only IPv6 can be additional, and a pair cannot be reserved with it.
            let alone =
                family.is_none() && additional == Family::V6.number() && even_port != Some(true);
            return match alone {
                false => Err(ErrorCode::BadRequest.into()),
                true if refuses_v6 => Err(Refused::DontFragment),
                true => Ok(Asked::Both),
            };
        }
        let family = match family {
            Some(number) => {
                Family::from_number(number).ok_or(ErrorCode::AddressFamilyNotSupported)?
            }
            None => Family::V4,
        };
        if !self.serves(family) {
            return Err(ErrorCode::AddressFamilyNotSupported.into());
        }
        if refuses_v6 && family == Family::V6 {
            return Err(Refused::DontFragment);
        }
        let port = match even_port {
            None => Wanted::Any,
            Some(false) => Wanted::Even,
            Some(true) => Wanted::Pair,
        };
        Ok(Asked::One(WantedSocket { family, port }))
    }

    fn begin(
        &mut self,
        now: Now,
        from: FiveTuple,
        request: &Authorised<'_>,
        granted: Granted,
        reply: &mut Reply,
    ) -> Verdict {
        let attributes = request.attributes();
        let (wanted, refused_family) = self.sockets_for(&granted.asked, attributes);
        let bound = granted.taken.map(|relayed| Relayed {
            expires_at: now.instant + granted.lifetime,
            ..relayed
        });
        let index = self.pending.insert(Pending {
            client: from,
            echo: request.echo(),
            user: request.user.clone(),
            key: request.key.clone(),
            synthetic: request.synthetic,
            sha256: matches!(request.seal(), Seal::Sha256(_)),
            lifetime: granted.lifetime,
            places: granted.places,
            wanted,
            bound: bound.into_iter().collect(),
            reserved: None,
            refused_family,
            refusal: Refusal::Reservation,
            binding: None,
            claim: None,
            refuses_v6: cannot_carry_df(from, attributes),
            attempts: 0,
        });
        self.pending_by_client.insert(from, index);
        if let Asked::Reserved(token) = granted.asked
            && token[0] != self.settings.worker
        {
            self.claim_elsewhere(now, index, token, &request.user);
            return Verdict::Wait;
        }
        match self.bind_next(now, index, reply) {
            Some(_) => Verdict::Reply,
            None => Verdict::Wait,
        }
    }

    fn sockets_for(
        &self,
        asked: &Asked,
        attributes: Attributes<'_>,
    ) -> (Vec<WantedSocket>, Option<(Family, u16)>) {
        match asked {
            Asked::One(socket) => (vec![*socket], None),
            Asked::Reserved(_) => (Vec::new(), None),
            Asked::Both => {
                let even = matches!(attributes.even_port(), Some(Ok(_)));
                let port = if even { Wanted::Even } else { Wanted::Any };
                let both = [Family::V4, Family::V6];
                let missing = both.into_iter().find(|&family| !self.serves(family));
                let served = both.into_iter().filter(|&family| self.serves(family));
                (
                    served.map(|family| WantedSocket { family, port }).collect(),
                    missing.map(|family| (family, ErrorCode::AddressFamilyNotSupported.number())),
                )
            }
        }
    }

    /// T-26: what the client asks for, but not below the default nor above the greatest.
    pub(super) fn granted_lifetime(&self, attributes: Attributes<'_>) -> Duration {
        let asked = match attributes.lifetime() {
            Some(Ok(seconds)) => Duration::from_secs(seconds.into()),
            Some(Err(_)) | None => DEFAULT_LIFETIME,
        };
        asked
            .min(self.settings.limits.max_lifetime)
            .max(DEFAULT_LIFETIME)
    }

    /// The success response (T-27), for the request and for its retransmissions.
    pub(super) fn answer_allocate(
        &self,
        now: Now,
        from: FiveTuple,
        echo: Echo,
        sha256: bool,
        reply: &mut Reply,
    ) -> Verdict {
        let Some(id) = self.allocation_of(&from) else {
            return Verdict::Wait;
        };
        let held = &self.allocations[id.0 as usize];
        let seal = if sha256 {
            Seal::Sha256(&held.key)
        } else {
            Seal::Sha1(&held.key)
        };
        let remaining = held
            .relayed
            .iter()
            .flatten()
            .map(|r| r.expires_at.saturating_since(now.instant))
            .min();
        reply.answer(echo, Class::Success, seal, |w| {
            for relayed in held.relayed.iter().flatten() {
                w.xor_relayed_address(relayed.advertised.0);
            }
            if let Some((family, code)) = held.refused_family {
                w.address_error_code(family.number(), code, "");
            }
            w.lifetime(seconds(remaining.unwrap_or_default()));
            if let Some(token) = held.token {
                w.reservation_token(token);
            }
            w.xor_mapped_address(from.client.0);
            if let Some(software) = &self.settings.software {
                w.software(software);
            }
        })
    }
}

/// What an Allocate has been granted.
struct Granted {
    asked: Asked,
    lifetime: Duration,
    /// Places of the quota that are held for it.
    places: u32,
    /// The reserved socket that its token stood for.
    taken: Option<Relayed>,
}

/// RFC 8656 §3.7: DONT-FRAGMENT cannot be honoured from IPv4 to IPv6 where the incoming DF bit cannot be read.
fn cannot_carry_df(from: FiveTuple, attributes: Attributes<'_>) -> bool {
    attributes.dont_fragment()
        && from.transport == Transport::Udp
        && Family::of(&from.client.0) == Family::V4
}

/// Whole seconds on the wire.
pub(super) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Why an Allocate cannot be granted.
enum Refused {
    Code(ErrorCode),
    /// T-80: answered with 420 that names DONT-FRAGMENT.
    DontFragment,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}
