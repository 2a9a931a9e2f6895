//! What can change while a server runs: who may allocate, whom clients may reach, and the limits.
//!
//! A replacement holds from the next message on. What clients hold already is kept: an allocation stays with its port,
//! its deadlines and its place in the quota, whatever the new limits say, and goes on by its own key though its user is
//! gone from the directory. Only what the new peer policy forbids ends at once. Not responsible for reading a
//! configuration, nor for the forwarding table's rules, which its owner replaces
//! ([`crate::forward::RouteTable::replace_rules`]).

use super::Server;
use super::allocation::Permission;
use super::effect::Effect;
use super::expiry::Expiring;
use super::peers::PeerPolicy;
use super::settings::Limits;
use crate::credentials::{Directory, Nonces};
use crate::forward::{AllocationId, Route};
use crate::time::Now;

/// What a server can be given anew.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// Who may allocate, in the same realm as before. Where it names no self-check user, the one before it stays.
    pub directory: Directory,
    /// Keys and lifetime of nonces. Nonces under the key before it are good for as long as they would have been.
    pub nonces: Nonces,
    /// Whom clients may reach.
    pub peers: PeerPolicy,
    /// Bounds. A bound below what is held refuses more and takes nothing away.
    pub limits: Limits,
}

/// What a new peer policy has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Permissions.
    pub permissions: usize,
    /// Channel bindings.
    pub channels: usize,
}

impl Revoked {
    /// The sum of two servers' answers.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            permissions: self.permissions + other.permissions,
            channels: self.channels + other.channels,
        }
    }
}

impl Server {
    /// Takes a replacement, and says what the new policy has ended. Drain [`Server::poll_effect`] afterwards: routes that
    /// are forbidden now are removed, and those whose destination has changed are added again.
    pub fn replace(&mut self, now: Now, replacement: Replacement) -> Revoked {
        let Replacement {
            directory,
            nonces,
            peers,
            limits,
        } = replacement;
        let settings = &mut self.settings;
        settings.directory = directory.succeeding(&settings.directory);
        settings.nonces = nonces.succeeding(&settings.nonces, now.unix);
        let max_age = settings.limits.allocation_max_age;
        settings.limits = limits;
        self.budget.change(limits.unauthenticated_per_second);
        // What was wrong may be right by now: a secret was missing.
        self.failures.forget();
        // A smaller greatest age is for allocations to come; a greater one is a favour to all.
        if limits.allocation_max_age > max_age {
            for (_, held) in &mut self.allocations {
                let until = held.created + limits.allocation_max_age;
                held.refreshable_until = held.refreshable_until.max(until);
            }
        }
        // Most reloads leave the policy as it is, and judging every permission again is the dear part.
        if peers == self.settings.peers {
            return Revoked::default();
        }
        self.settings.peers = peers;
        self.judge_again()
    }

    /// Judges all that was permitted by the policy that is in force now.
    fn judge_again(&mut self) -> Revoked {
        let (policy, effects) = (&self.settings.peers, &mut self.effects);
        let (deadlines, census) = (&mut self.deadlines, &mut self.census);
        let mut revoked = Revoked::default();
        for (key, held) in &mut self.allocations {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "allocations are bounded by ports, far below 2^32"
            )]
            let id = AllocationId(key as u32);
            let before = (held.channels.len(), held.permissions.len());
            held.channels.retain(|channel| {
                let stays = policy
                    .judge_with_port_for(channel.peer, held.synthetic)
                    .is_ok();
                if !stays {
                    deadlines.stop(channel.expires_at, Expiring::Channel(id, channel.number));
                    effects.push_back(Effect::RemoveRoute(Route::Channel {
                        allocation: id,
                        number: channel.number,
                        peer: channel.peer,
                    }));
                    revoked.channels += 1;
                }
                stays
            });
            held.permissions.retain_mut(|permission| {
                let judged = policy.judge_for(permission.peer, held.synthetic);
                let Permission {
                    peer,
                    destination,
                    expires_at,
                } = *permission;
                let route = |destination| Route::Permission {
                    allocation: id,
                    peer,
                    destination,
                };
                match judged {
                    Ok(same) if same == destination => {}
                    Ok(other) => {
                        permission.destination = other;
                        effects.push_back(Effect::AddRoute(route(other)));
                    }
                    Err(_) => {
                        deadlines.stop(expires_at, Expiring::Permission(id, peer));
                        effects.push_back(Effect::RemoveRoute(route(destination)));
                        revoked.permissions += 1;
                    }
                }
                judged.is_ok()
            });
            let (channels, permissions) = before;
            census.channels_gone(held.synthetic, channels - held.channels.len());
            census.permissions_gone(held.synthetic, permissions - held.permissions.len());
        }
        revoked
    }
}
