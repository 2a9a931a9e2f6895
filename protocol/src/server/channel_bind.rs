//! ChannelBind (RFC 8656 §12): a number that stands for a peer.

use core::time::Duration;

use super::allocation::ChannelBinding;
use super::authenticate::{Authorised, Denied};
use super::effect::Effect;
use super::expiry::Expiring;
use super::reply::{ErrorCode, Reply};
use super::{Refusal, Server, Verdict, peers};
use crate::address::{ChannelNumber, Family, PeerAddr};
use crate::forward::{AllocationId, Destination, Route};
use crate::time::Now;
use crate::wire::Class;

/// RFC 8656 §12: 600 s.
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

impl Server {
    pub(super) fn channel_bind(
        &mut self,
        now: Now,
        id: AllocationId,
        request: &Authorised<'_>,
        reply: &mut Reply,
    ) -> Verdict {
        match self.judge_channel(id, request) {
            Ok((number, peer, destination)) => {
                self.bind_channel(now, id, number, peer, destination);
                reply.answer(request.echo(), Class::Success, request.seal(), |_| {})
            }
            Err(denied) => self.deny(request, denied, reply),
        }
    }

    /// The checks in the order 400, 443, 403, 508 (T-60 to T-63). A refresh passes the peer policy again (T-62).
    fn judge_channel(
        &self,
        id: AllocationId,
        request: &Authorised<'_>,
    ) -> Result<(ChannelNumber, PeerAddr, Destination), Denied> {
        let allocation = &self.allocations[id.0 as usize];
        let attributes = request.attributes();
        let (Some(Ok(number)), Some(Ok(peer))) =
            (attributes.channel_number(), attributes.xor_peer_address())
        else {
            return Err(ErrorCode::BadRequest.into());
        };
        let peer = PeerAddr(peer);
        let number =
            ChannelNumber::new(number, self.settings.channels).ok_or(ErrorCode::BadRequest)?;
        let same = |held: &&ChannelBinding| held.number == number || held.peer == peer;
        let held = allocation.channels.iter().find(same);
        if held.is_some_and(|held| held.number != number || held.peer != peer) {
            return Err(ErrorCode::BadRequest.into());
        }
        if !allocation.has(Family::of(&peer.0)) {
            return Err(ErrorCode::PeerAddressFamilyMismatch.into());
        }
        let client = allocation.client.client.0.ip();
        if peers::is_tunnelled(client) {
            return Err(Refusal::ForbiddenClient.into());
        }
        if allocation.is_own(peer) {
            return Err(Refusal::ForbiddenPeer.into());
        }
        let destination = self
            .settings
            .peers
            .judge_with_port_for(peer, allocation.synthetic)
            .map_err(|_| Refusal::ForbiddenPeer)?;
        let limits = &self.settings.limits;
        let full = held.is_none() && allocation.channels.len() >= limits.channels_per_allocation;
        let permitted = allocation
            .permissions
            .iter()
            .any(|permission| permission.peer == peer.0.ip());
        let no_permission_left =
            !permitted && allocation.permissions.len() >= limits.permissions_per_allocation;
        if full {
            return Err(Refusal::Channels.into());
        }
        if no_permission_left {
            return Err(Refusal::Permissions.into());
        }
        Ok((number, peer, destination))
    }

    /// Binds or refreshes the channel, and the permission that goes with it.
    fn bind_channel(
        &mut self,
        now: Now,
        id: AllocationId,
        number: ChannelNumber,
        peer: PeerAddr,
        destination: Destination,
    ) {
        self.permit(now, id, peer.0.ip(), destination);
        let Some(allocation) = self.allocations.get_mut(id.0 as usize) else {
            return;
        };
        let expires_at = now.instant + CHANNEL_LIFETIME;
        let what = Expiring::Channel(id, number);
        if let Some(held) = allocation
            .channels
            .iter_mut()
            .find(|held| held.number == number)
        {
            self.deadlines.change(held.expires_at, expires_at, what);
            held.expires_at = expires_at;
            return;
        }
        allocation.channels.push(ChannelBinding {
            number,
            peer,
            expires_at,
        });
        self.census.channel_added(allocation.synthetic);
        self.deadlines.set(expires_at, what);
        self.effects.push_back(Effect::AddRoute(Route::Channel {
            allocation: id,
            number,
            peer,
        }));
    }
}
