//! Ports held for a second allocation (EVEN-PORT with R, RESERVATION-TOKEN; RFC 8656 §7.2).
//!
//! A reservation holds the bound socket, so that the port cannot be lost to anybody. The allocation that claims it may
//! arrive at another worker; then the socket moves there, and its port comes back when it is closed.

use core::time::Duration;

use rand_core::RngCore;

use super::Server;
use super::allocation::Relayed;
use super::effect::{Effect, RelayedPort};
use super::expiry::Expiring;
use super::pending::SocketUse;
use super::reply::Reply;
use crate::address::{FiveTuple, RelayedAddr};
use crate::credentials::UserName;
use crate::forward::{MeterId, RelayedId};
use crate::time::{Instant, Now};

/// RFC 8656 §7.2: at least 30 s.
pub(super) const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);

/// How long another worker's answer is waited for; it comes within a round, or never.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);

/// A bound socket that waits for its token.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) relayed: Relayed,
    pub(super) user: UserName,
    pub(super) meter: MeterId,
    /// The relay's own self-check's, which holds no place of the quota.
    pub(super) synthetic: bool,
    pub(super) expires_at: Instant,
}

impl Server {
    /// Holds a bound socket for whoever shows the token that is returned (RFC 8656 §7.2).
    pub(super) fn reserve(
        &mut self,
        now: Now,
        reserved: Relayed,
        user: &UserName,
        synthetic: bool,
    ) -> [u8; 8] {
        let mut token = [0; 8];
        self.random.fill_bytes(&mut token);
        // Names the worker that holds the socket, so that any worker can ask for it; tells nothing else.
        token[0] = self.settings.worker;
        if let Some(use_of) = self.sockets.get_mut(reserved.id.0 as usize) {
            *use_of = SocketUse::Reserved;
        }
        let expires_at = now.instant + RESERVATION_LIFETIME;
        self.deadlines.set(expires_at, Expiring::Reservation(token));
        self.reservations.insert(
            token,
            Reservation {
                relayed: reserved,
                user: user.clone(),
                meter: self.users.take(user),
                synthetic,
                expires_at,
            },
        );
        token
    }

    pub(super) fn reservation_expired(&mut self, now: Now, token: [u8; 8]) {
        if let Some(reservation) = self.reservations.remove(&token) {
            let Relayed { id, port, .. } = reservation.relayed;
            if reservation.synthetic {
                self.close_synthetic(now, id, port);
            } else {
                self.quota.release(&reservation.user);
                self.close_socket(now, id, port, Some(reservation.meter));
            }
            self.users.give_back(reservation.meter);
        }
    }

    /// Takes the socket of a reservation, when the token is known and the same user made it. Single use.
    pub(super) fn take_reservation(&mut self, token: [u8; 8], user: &UserName) -> Option<Relayed> {
        if self.reservations.get(&token)?.user != *user {
            return None;
        }
        let reservation = self.reservations.remove(&token)?;
        if !reservation.synthetic {
            self.quota.release(&reservation.user);
        }
        self.users.give_back(reservation.meter);
        self.deadlines
            .stop(reservation.expires_at, Expiring::Reservation(token));
        Some(reservation.relayed)
    }

    /// Gives a reserved socket away to another worker: its name here, which is free from now on, and its port. The
    /// caller moves the open socket.
    pub fn release_reservation(
        &mut self,
        token: [u8; 8],
        user: &UserName,
    ) -> Option<(RelayedId, RelayedPort)> {
        let relayed = self.take_reservation(token, user)?;
        self.sockets.try_remove(relayed.id.0 as usize);
        Some((relayed.id, relayed.port))
    }

    /// Takes the answer to an [`Effect::ClaimReservation`]: the port, whose open socket now goes by `relayed` here, or
    /// `None`. When it completes a request, the answer stands in `reply` and goes to the 5-tuple that is returned; when
    /// the request is gone, the socket is given back by [`Effect::UnbindRelayed`].
    pub fn reservation_claimed(
        &mut self,
        now: Now,
        relayed: RelayedId,
        outcome: Option<RelayedPort>,
        reply: &mut Reply,
    ) -> Option<FiveTuple> {
        let pending = match self.sockets.get(relayed.0 as usize) {
            Some(&SocketUse::Pending(index)) => Some(index),
            Some(SocketUse::AbandonedClaim) => None,
            Some(SocketUse::Live(_) | SocketUse::Reserved | SocketUse::Abandoned(_)) | None => {
                return None;
            }
        };
        let Some(index) = pending else {
            match outcome {
                Some(port) => self.close_socket(now, relayed, port, None),
                None => drop(self.sockets.try_remove(relayed.0 as usize)),
            }
            return None;
        };
        let (_, until) = self
            .pending
            .get_mut(index)?
            .claim
            .take_if(|(claim, _)| *claim == relayed)?;
        self.deadlines.stop(until, Expiring::Claim(relayed));
        match outcome.and_then(|port| Some((port, self.addresses_of(port)?))) {
            Some((port, (bound, advertised))) => {
                let pending = self.pending.get_mut(index)?;
                pending.bound.push(Relayed {
                    id: relayed,
                    port,
                    bound,
                    advertised: RelayedAddr(advertised),
                    expires_at: now.instant + pending.lifetime,
                });
            }
            None => drop(self.sockets.try_remove(relayed.0 as usize)),
        }
        self.bind_next(now, index, reply)
    }

    /// Asks the worker that made the token for its socket.
    pub(super) fn claim_elsewhere(
        &mut self,
        now: Now,
        index: usize,
        token: [u8; 8],
        user: &UserName,
    ) {
        let Ok(key) = u32::try_from(self.sockets.insert(SocketUse::Pending(index))) else {
            return;
        };
        let relayed = RelayedId(key);
        let until = now.instant + CLAIM_PATIENCE;
        if let Some(pending) = self.pending.get_mut(index) {
            pending.claim = Some((relayed, until));
            self.deadlines.set(until, Expiring::Claim(relayed));
        }
        self.effects.push_back(Effect::ClaimReservation {
            relayed,
            owner: token[0],
            token,
            user: user.clone(),
        });
    }
}
