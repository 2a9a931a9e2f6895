//! Binding (RFC 8489 §12): what is my address?
//!
//! Never authenticated: USERNAME and MESSAGE-INTEGRITY on it are ignored.

use super::reply::{Echo, Reply, Seal};
use super::{Server, Verdict};
use crate::address::FiveTuple;
use crate::forward::DropReason;
use crate::time::Now;
use crate::wire::{Class, Framed};

impl Server {
    pub(super) fn binding(
        &mut self,
        now: Now,
        from: FiveTuple,
        request: &Framed<'_>,
        reply: &mut Reply,
    ) -> Verdict {
        if !self.may_answer_unauthenticated(now, from) {
            return Verdict::Drop(DropReason::UnauthenticatedRate);
        }
        let echo = Echo::of(request);
        let mut unknown = [0_u16; super::authenticate::MAX_UNKNOWN];
        let count = request.unauthenticated().unknown_required(&mut unknown);
        if count > 0 {
            return super::authenticate::refuse_unknown(echo, Seal::None, &unknown[..count], reply);
        }
        reply.answer(echo, Class::Success, Seal::None, |w| {
            w.xor_mapped_address(from.client.0)
        })
    }
}
