//! CreatePermission (RFC 8656 §10): which peers may send to the client, and be sent to.

use core::net::IpAddr;
use core::time::Duration;

use super::allocation::Permission;
use super::authenticate::{Authorised, Denied};
use super::effect::Effect;
use super::expiry::Expiring;
use super::reply::{ErrorCode, Reply};
use super::{Refusal, Server, Verdict};
use crate::address::Family;
use crate::forward::{AllocationId, Destination, Route};
use crate::time::Now;
use crate::wire::Class;

/// RFC 8656 §9: exactly 300 s. A shorter life would cut the media of clients that refresh every four minutes.
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

impl Server {
    pub(super) fn create_permission(
        &mut self,
        now: Now,
        id: AllocationId,
        request: &Authorised<'_>,
        reply: &mut Reply,
    ) -> Verdict {
        if let Err(denied) = self.judge_peers(id, request) {
            return self.deny(request, denied, reply);
        }
        let synthetic = self.allocations[id.0 as usize].synthetic;
        // All were found good, so all are installed; one bad one would have prevented all (T-43).
        for peer in request.attributes().xor_peer_addresses().flatten() {
            if let Ok(destination) = self.settings.peers.judge_for(peer.ip(), synthetic) {
                self.permit(now, id, peer.ip(), destination);
            }
        }
        reply.answer(request.echo(), Class::Success, request.seal(), |_| {})
    }

    /// The checks in the order 400, 443, 403, 508 (T-42), over all peers of the request.
    fn judge_peers(&self, id: AllocationId, request: &Authorised<'_>) -> Result<(), Denied> {
        let allocation = &self.allocations[id.0 as usize];
        let peers = || request.attributes().xor_peer_addresses();
        if peers().next().is_none() || peers().any(|peer| peer.is_err()) {
            return Err(ErrorCode::BadRequest.into());
        }
        if peers()
            .flatten()
            .any(|peer| !allocation.has(Family::of(&peer)))
        {
            return Err(ErrorCode::PeerAddressFamilyMismatch.into());
        }
        let policy = &self.settings.peers;
        if peers()
            .flatten()
            .any(|peer| policy.judge_for(peer.ip(), allocation.synthetic).is_err())
        {
            return Err(Refusal::ForbiddenPeer.into());
        }
        let is_new = |peer: IpAddr| allocation.permissions.iter().all(|held| held.peer != peer);
        // A peer that is named twice counts twice here: generous to nobody but the table.
        let new = peers().flatten().filter(|peer| is_new(peer.ip())).count();
        // What is held already may be refreshed although the limit has fallen below it.
        if new > 0
            && allocation.permissions.len() + new > self.settings.limits.permissions_per_allocation
        {
            return Err(Refusal::Permissions.into());
        }
        Ok(())
    }

    /// Installs a permission, or makes it last 300 s from now.
    pub(super) fn permit(
        &mut self,
        now: Now,
        id: AllocationId,
        peer: IpAddr,
        destination: Destination,
    ) {
        let Some(allocation) = self.allocations.get_mut(id.0 as usize) else {
            return;
        };
        let expires_at = now.instant + PERMISSION_LIFETIME;
        let what = Expiring::Permission(id, peer);
        if let Some(held) = allocation
            .permissions
            .iter_mut()
            .find(|held| held.peer == peer)
        {
            self.deadlines.change(held.expires_at, expires_at, what);
            held.expires_at = expires_at;
            if held.destination == destination {
                return;
            }
            held.destination = destination;
        } else {
            allocation.permissions.push(Permission {
                peer,
                destination,
                expires_at,
            });
            self.census.permission_added(allocation.synthetic);
            self.deadlines.set(expires_at, what);
        }
        self.effects.push_back(Effect::AddRoute(Route::Permission {
            allocation: id,
            peer,
            destination,
        }));
    }
}
