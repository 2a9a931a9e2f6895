//! Refresh (RFC 8656 §8.2): a longer life, or the end.

use super::allocate::seconds;
use super::authenticate::Authorised;
use super::effect::EndCause;
use super::expiry::Expiring;
use super::reply::{ErrorCode, Reply};
use super::{Server, Verdict};
use crate::address::Family;
use crate::forward::AllocationId;
use crate::time::Now;
use crate::wire::Class;

impl Server {
    pub(super) fn refresh(
        &mut self,
        now: Now,
        id: AllocationId,
        request: &Authorised<'_>,
        reply: &mut Reply,
    ) -> Verdict {
        let attributes = request.attributes();
        let family = match attributes.requested_family() {
            None => None,
            Some(Err(_)) => return request.error(ErrorCode::BadRequest, reply),
            // T-31: another family than the allocation's, or none at all.
            Some(Ok(number)) => match Family::from_number(number) {
                Some(family) if self.allocations[id.0 as usize].has(family) => Some(family),
                Some(_) | None => {
                    return request.error(ErrorCode::PeerAddressFamilyMismatch, reply);
                }
            },
        };
        let ends = match attributes.lifetime() {
            Some(Err(_)) => return request.error(ErrorCode::BadRequest, reply),
            Some(Ok(lifetime)) => lifetime == 0,
            None => false,
        };
        let granted = if ends {
            self.end_now(now, id, family);
            0
        } else {
            let lifetime = self.granted_lifetime(attributes);
            let expires_at = now.instant + lifetime;
            let allocation = &mut self.allocations[id.0 as usize];
            for relayed in allocation.relayed.iter_mut().flatten() {
                let own = Family::of(&relayed.bound);
                if family.is_none_or(|family| family == own) {
                    self.deadlines.change(
                        relayed.expires_at,
                        expires_at,
                        Expiring::Relayed(id, own),
                    );
                    relayed.expires_at = expires_at;
                }
            }
            seconds(lifetime)
        };
        let software = self.settings.software.as_deref();
        reply.answer(request.echo(), Class::Success, request.seal(), |w| {
            w.lifetime(granted);
            if let Some(software) = software {
                w.software(software);
            }
        })
    }

    /// T-82: of a dual allocation a family may end alone; the allocation ends with its last.
    fn end_now(&mut self, now: Now, id: AllocationId, family: Option<Family>) {
        let allocation = &self.allocations[id.0 as usize];
        match family {
            Some(family) if allocation.relayed[family.other().index()].is_some() => {
                self.remove_relayed(now, id, family)
            }
            Some(_) | None => self.end_allocation(now, id, EndCause::Client),
        }
    }
}
