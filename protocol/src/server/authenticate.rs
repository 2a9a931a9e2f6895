//! The long-term credential mechanism, in the order of RFC 8489 §9.2.4.
//!
//! `Framed -> Authorised`: a handler gets an [`Authorised`] request, whose attributes are those that the integrity
//! check covered. Not responsible for the format of credentials and nonces ([`crate::credentials`]).

use super::failures::Guess;
use super::reply::{Echo, ErrorCode, Reply, Seal};
use super::tallies::{Authentication, Refusal};
use super::{Server, Verdict};
use crate::address::FiveTuple;
use crate::credentials::{
    Expiry, Features, LongTermKey, Nonces, OFFERED_ALGORITHMS, PasswordAlgorithm, UserName, strip,
};
use crate::forward::{AllocationId, DropReason};
use crate::time::Now;
use crate::wire::{Attributes, Class, Framed, Integrity, IntegrityChecked, Method, Name};

/// How many unknown attributes a 420 lists. A request with more of them is not helped by the rest.
pub(super) const MAX_UNKNOWN: usize = 32;

/// Odd, so that every number comes once before any comes again.
const NONCE_STEP: u32 = 0x9E37_79B9;

/// A request whose sender has proved who it is. Only what the proof covers can be read.
#[derive(Debug)]
pub(super) struct Authorised<'m> {
    request: IntegrityChecked<'m>,
    pub(super) user: UserName,
    pub(super) key: LongTermKey,
    /// The sender is the relay's own self-check.
    pub(super) synthetic: bool,
    sha256: bool,
}

impl<'m> Authorised<'m> {
    pub(super) fn attributes(&self) -> Attributes<'m> {
        self.request.attributes()
    }

    pub(super) fn echo(&self) -> Echo {
        Echo {
            method: self.request.method(),
            id: self.request.transaction_id(),
            fingerprint: self.request.has_fingerprint(),
        }
    }

    /// Every answer from here on is signed, errors included: a client drops what is not (S-30).
    pub(super) fn seal(&self) -> Seal<'_> {
        if self.sha256 {
            Seal::Sha256(&self.key)
        } else {
            Seal::Sha1(&self.key)
        }
    }

    pub(super) fn error(&self, code: ErrorCode, reply: &mut Reply) -> Verdict {
        reply.error(self.echo(), self.seal(), code)
    }
}

/// Why a request is refused whose sender has proved who it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denied {
    /// It is not well formed, or does not fit what it is about.
    Form(ErrorCode),
    /// A limit or a policy says so.
    By(Refusal),
}

impl From<ErrorCode> for Denied {
    fn from(code: ErrorCode) -> Self {
        Self::Form(code)
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::By(refusal)
    }
}

/// Why a request is not authorised.
#[derive(Clone, Copy, Debug)]
enum Unproven {
    /// 401 with a challenge: no proof yet.
    Absent,
    /// 401 with a challenge: a wrong proof or an unknown name, all alike.
    Wrong,
    /// 400: the credential attributes contradict each other.
    BadRequest,
    /// 438 with a challenge: the proof is right, the nonce is not.
    StaleNonce,
    /// Silence: wrong proofs of this name came from this source, and it has to wait.
    HeldOff,
}

impl Server {
    pub(super) fn authenticated_request(
        &mut self,
        now: Now,
        from: FiveTuple,
        framed: &Framed<'_>,
        reply: &mut Reply,
    ) -> Verdict {
        let echo = Echo::of(framed);
        // A forged request must not cost more than its source may be answered.
        if !self.is_worth_verifying(now, from) {
            self.tallies.authentication(Authentication::Silenced);
            return Verdict::Drop(DropReason::UnauthenticatedRate);
        }
        let request = match self.authorise(now, from, framed) {
            Ok(request) => request,
            Err(Unproven::HeldOff) => {
                self.tallies.authentication(Authentication::HeldOff);
                return Verdict::Drop(DropReason::HeldOff);
            }
            Err(unproven) => return self.challenge(now, from, framed, unproven, reply),
        };
        if framed.method() == Method::Allocate {
            self.proved(now, from, framed);
        }
        reply.mark(request.synthetic);
        let allocation = self.allocation_of(&from);
        let is_anothers = framed.method() != Method::Allocate
            && allocation.is_some_and(|id| self.allocations[id.0 as usize].user != request.user);
        if is_anothers {
            self.tallies.authentication(Authentication::WrongUser);
        } else if !request.synthetic {
            self.tallies.authentication(Authentication::Success);
        }
        let mut unknown = [0_u16; MAX_UNKNOWN];
        let count = request.attributes().unknown_required(&mut unknown);
        if count > 0 {
            return refuse_unknown(echo, request.seal(), &unknown[..count], reply);
        }
        if framed.method() == Method::Allocate {
            return self.allocate(now, from, &request, reply);
        }
        let Some(allocation) = allocation else {
            return request.error(ErrorCode::AllocationMismatch, reply);
        };
        if is_anothers {
            return request.error(ErrorCode::WrongCredentials, reply);
        }
        match framed.method() {
            Method::Refresh => self.refresh(now, allocation, &request, reply),
            Method::CreatePermission => self.create_permission(now, allocation, &request, reply),
            Method::ChannelBind => self.channel_bind(now, allocation, &request, reply),
            Method::Binding | Method::Allocate | Method::Send | Method::Data => {
                Verdict::Drop(DropReason::UnexpectedMessage)
            }
        }
    }

    fn authorise<'m>(
        &self,
        now: Now,
        from: FiveTuple,
        framed: &Framed<'m>,
    ) -> Result<Authorised<'m>, Unproven> {
        if framed.integrity() == Integrity::Absent {
            return Err(Unproven::Absent);
        }
        let sent = framed.credentials();
        let (Some(name), Some(realm), Some(nonce)) = (sent.name, sent.realm, sent.nonce) else {
            return Err(Unproven::BadRequest);
        };
        if sent.oversized {
            return Err(Unproven::BadRequest);
        }
        let algorithm = chosen_algorithm(nonce, sent.algorithm, sent.algorithms)?;
        if !self.failures.is_quiet(now.instant) && self.is_held_off(now, from, name, nonce) {
            return Err(Unproven::HeldOff);
        }
        let live = self.live_allocation(now, from, name, framed.method());
        let by_stored_key = live.and_then(|id| {
            let held = &self.allocations[id.0 as usize];
            let ours = strip(realm) == self.settings.directory.realm().as_str().as_bytes();
            if held.key.algorithm() != algorithm || !ours {
                return None;
            }
            let request = framed.verify(held.key.as_bytes())?;
            Some((request, held.user.clone(), held.key.clone(), held.synthetic))
        });
        let (request, user, key, synthetic) = match by_stored_key {
            Some(verified) => verified,
            None => {
                let expiry = if live.is_some() {
                    Expiry::Lapsed
                } else {
                    Expiry::Enforced
                };
                let verified = self
                    .settings
                    .directory
                    .verify(framed, name, algorithm, now.unix, expiry)
                    .map_err(|_| Unproven::Wrong)?;
                (
                    verified.request,
                    verified.user,
                    verified.key,
                    verified.synthetic,
                )
            }
        };
        // Last, so that a wrong password and a stale nonce together are a wrong password (S-29).
        self.settings
            .nonces
            .check(nonce, from.client.0, now.unix)
            .map_err(|_| Unproven::StaleNonce)?;
        Ok(Authorised {
            request,
            user,
            key,
            synthetic,
            sha256: sent.algorithm.is_some() || sent.algorithms.is_some(),
        })
    }

    /// The sender's live allocation, when the request is about one that it may go on using although its credentials
    /// have ended (H-03): expired, revoked, or gone from the directory by a reload. The same user, until the allocation's
    /// greatest age; later it takes credentials that a new allocation could be made with. The allocation's own key is proof
    /// enough until then, as no secret may be left that could make it.
    fn live_allocation(
        &self,
        now: Now,
        from: FiveTuple,
        name: Name<'_>,
        method: Method,
    ) -> Option<AllocationId> {
        let id = self.allocation_of(&from)?;
        let held = &self.allocations[id.0 as usize];
        (method != Method::Allocate
            && now.instant <= held.refreshable_until
            && self.settings.directory.is_name_of(name, &held.user))
        .then_some(id)
    }

    /// Whether the source has failed to prove this name too often to be looked at now. Whoever holds an allocation of that
    /// name on this 5-tuple goes on with it.
    fn is_held_off(&self, now: Now, from: FiveTuple, name: Name<'_>, nonce: &[u8]) -> bool {
        let directory = &self.settings.directory;
        let is_owner = self
            .allocation_of(&from)
            .is_some_and(|id| directory.is_name_of(name, &self.allocations[id.0 as usize].user));
        let guess = self.guess(now, from, name, nonce);
        !is_owner && self.failures.must_wait(&guess, now.instant)
    }

    /// A stream's source cannot be forged; a datagram's is where the nonce was sent to.
    fn guess<'m>(&self, now: Now, from: FiveTuple, name: Name<'m>, nonce: &[u8]) -> Guess<'m> {
        let nonces = &self.settings.nonces;
        let client = from.client.0;
        Guess {
            source: client.ip(),
            // As the directory reads it: one user has many spellings otherwise, each with guesses of its own.
            name: match name {
                Name::Username(received) => Name::Username(strip(received)),
                Name::Userhash(_) => name,
            },
            proven_source: from.transport.is_stream()
                || nonces.check(nonce, client, now.unix).is_ok(),
        }
    }

    /// Takes note of a wrong proof.
    fn failed(&mut self, now: Now, from: FiveTuple, framed: &Framed<'_>) {
        let sent = framed.credentials();
        if let (Some(name), Some(nonce)) = (sent.name, sent.nonce)
            && self.settings.limits.unauthenticated_per_second > 0
        {
            let guess = self.guess(now, from, name, nonce);
            self.failures.failed(&guess, now.instant);
        }
    }

    /// Takes note of a right proof, by which somebody begins here. Not of those within a call: they would clear the way for
    /// guesses every few minutes.
    fn proved(&mut self, now: Now, from: FiveTuple, framed: &Framed<'_>) {
        let sent = framed.credentials();
        if let (Some(name), Some(nonce)) = (sent.name, sent.nonce)
            && self.failures.has_any(now.instant)
        {
            let guess = self.guess(now, from, name, nonce);
            self.failures.succeeded(&guess);
        }
    }

    /// Refuses a request of a proven user, and counts what refused it.
    pub(super) fn deny(
        &mut self,
        request: &Authorised<'_>,
        denied: impl Into<Denied>,
        reply: &mut Reply,
    ) -> Verdict {
        let code = match denied.into() {
            Denied::Form(code) => code,
            Denied::By(refusal) => {
                self.count_refusal(refusal, request.synthetic);
                refusal.code()
            }
        };
        request.error(code, reply)
    }

    /// Counts a refusal, unless it is the relay's own self-check that was refused.
    pub(super) const fn count_refusal(&mut self, refusal: Refusal, synthetic: bool) {
        if !synthetic {
            self.tallies.refusal(refusal);
        }
    }

    fn challenge(
        &mut self,
        now: Now,
        from: FiveTuple,
        framed: &Framed<'_>,
        unproven: Unproven,
        reply: &mut Reply,
    ) -> Verdict {
        if !self.may_answer_unauthenticated(now, from) {
            self.tallies.authentication(Authentication::Silenced);
            return Verdict::Drop(DropReason::UnauthenticatedRate);
        }
        let echo = Echo::of(framed);
        let (outcome, code) = match unproven {
            Unproven::BadRequest => {
                self.tallies.authentication(Authentication::Malformed);
                return reply.error(echo, Seal::None, ErrorCode::BadRequest);
            }
            Unproven::Absent => (Authentication::Challenged, ErrorCode::Unauthenticated),
            // Whoever has to wait is never here.
            Unproven::Wrong | Unproven::HeldOff => {
                self.failed(now, from, framed);
                (Authentication::WrongCredentials, ErrorCode::Unauthenticated)
            }
            Unproven::StaleNonce => (Authentication::StaleNonce, ErrorCode::StaleNonce),
        };
        self.tallies.authentication(outcome);
        self.nonce_number = self.nonce_number.wrapping_add(NONCE_STEP);
        let directory = &self.settings.directory;
        let features = Features {
            password_algorithms: true,
            username_anonymity: directory.offers_userhash(),
        };
        let nonce = self
            .settings
            .nonces
            .mint(now.unix, from.client.0, features, self.nonce_number);
        reply.answer(echo, Class::Error, Seal::None, |w| {
            w.error_code(code.number(), code.reason());
            w.realm(directory.realm().as_str().as_bytes());
            w.nonce(nonce.as_bytes());
            w.password_algorithms(&OFFERED_ALGORITHMS.map(PasswordAlgorithm::number));
        })
    }
}

/// 420 with the attributes that were not understood (RFC 8489 §6.3.1).
pub(super) fn refuse_unknown(
    echo: Echo,
    seal: Seal<'_>,
    unknown: &[u16],
    reply: &mut Reply,
) -> Verdict {
    reply.answer(echo, Class::Error, seal, |w| {
        w.error_code(
            ErrorCode::UnknownAttribute.number(),
            ErrorCode::UnknownAttribute.reason(),
        );
        w.unknown_attributes(unknown);
    })
}

/// Which algorithm made the client's key (S-24, S-25). The nonce's feature bit is read as it was sent; whether the
/// nonce is ours is judged after the proof.
fn chosen_algorithm(
    nonce: &[u8],
    algorithm: Option<&[u8]>,
    algorithms: Option<&[u8]>,
) -> Result<PasswordAlgorithm, Unproven> {
    let offered =
        Nonces::features_as_sent(nonce).is_some_and(|features| features.password_algorithms);
    match (offered, algorithm, algorithms) {
        (_, None, None) => Ok(PasswordAlgorithm::Md5),
        (true, Some(chosen), Some(list)) => {
            if !PasswordAlgorithm::list_matches(list, &OFFERED_ALGORITHMS) {
                return Err(Unproven::BadRequest);
            }
            PasswordAlgorithm::from_attribute(chosen)
                .filter(|chosen| OFFERED_ALGORITHMS.contains(chosen))
                .ok_or(Unproven::BadRequest)
        }
        (true, _, _) => Err(Unproven::BadRequest),
        // Without the bit nothing was offered; the nonce is not ours, and will be found stale.
        (false, _, _) => Ok(PasswordAlgorithm::Md5),
    }
}
