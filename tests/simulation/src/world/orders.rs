//! Carries out what the operator orders, at the relay and in the reference alike.
//!
//! Not responsible for what the relay makes of it (`relay`).

use std::net::SocketAddr;

use super::World;
use crate::oracle::{Broken, Invariant};
use crate::relay::{ADVERTISED, Relay, Step};
use crate::storm::{self, Order};

impl World {
    pub(super) fn order(&mut self, order: &Order) -> Result<(), Broken> {
        let wall = self.now().unix.as_secs();
        match *order {
            Order::Drain(drains) => {
                self.drains = drains;
                self.relay.drain(drains);
                self.oracle.reference.rules.drains = drains;
            }
            Order::Shed(sheds) => {
                self.sheds = sheds;
                self.relay.shed(sheds);
                self.oracle.reference.rules.sheds = sheds;
            }
            Order::Alternates(knows_another) => {
                self.relay.configuration.knows_another = knows_another;
                self.relay.alternates();
                self.oracle.reference.rules.knows_another = knows_another;
            }
            Order::Policy {
                closed,
                closes_port,
                opens_private,
            } => {
                let (ips, port) = storm::closed(closed, closes_port);
                let configuration = &mut self.relay.configuration;
                configuration.closed.clone_from(&ips);
                configuration.closed_port = port;
                configuration.opens_private = opens_private;
                let rules = &mut self.oracle.reference.rules;
                rules.closed = ips;
                rules.closed_ports = storm::CLOSED_PORTS.into_iter().chain(port).collect();
                rules.opens_private = opens_private;
                return self.reload();
            }
            Order::Secret { keeps_last } => {
                self.secret = self.secret.wrapping_add(1);
                let last = self.relay.configuration.secrets.first().copied();
                let secrets = [self.secret].into_iter().chain(last.filter(|_| keeps_last));
                let secrets: Vec<u8> = secrets.collect();
                self.oracle.reference.rules.secrets.clone_from(&secrets);
                self.relay.configuration.secrets = secrets;
                return self.reload();
            }
            Order::NonceKey { keeps_last } => {
                self.new_nonce_key(keeps_last);
                return self.reload();
            }
            Order::Limit(limit) => {
                self.relay.configuration.limit = limit;
                self.oracle.reference.rules.limit = limit;
                return self.reload();
            }
            Order::Revoke {
                user,
                secret,
                seconds,
            } => {
                let until = wall + seconds;
                let configuration = &mut self.relay.configuration;
                configuration.revoked_users = user.map(|user| (user, until)).into_iter().collect();
                let secret = secret.then_some((self.secret, until));
                configuration.revoked_secrets = secret.into_iter().collect();
                self.revoke();
            }
            Order::Lift => {
                self.relay.configuration.revoked_users.clear();
                self.relay.configuration.revoked_secrets.clear();
                self.revoke();
            }
            Order::Clock(skew) => self.skew = skew,
            Order::Restart { keeps_keys } => return self.restart(keeps_keys),
            Order::End { nth, is_stale } => {
                let (ended, step) = self.relay.end(self.now(), nth, is_stale);
                if let Some(client) = ended {
                    self.oracle.reference.end(client);
                }
                if is_stale && ended.is_some() {
                    return self.fails(Invariant::Answer, "a stale serial ended a call".into());
                }
                self.oracle.silent(&step)?;
                return self.after(step);
            }
            Order::Exhausted(is_exhausted) => self.relay.is_exhausted = is_exhausted,
            Order::InUse(count) => {
                let ports = self.relay.configuration.ports.clone().step_by(2);
                let in_use = ports.map(|port| SocketAddr::new(ADVERTISED[0], port));
                self.relay.in_use = in_use.take(count).collect();
            }
        }
        Ok(())
    }

    /// The nonces of the key before stay good for their lifetime, whether it is kept or not.
    fn new_nonce_key(&mut self, keeps_last: bool) {
        let wall = self.now().unix.as_secs();
        let rules = &mut self.oracle.reference.rules;
        let last = self.nonce_key;
        self.nonce_key += 1;
        let configured = [self.nonce_key]
            .into_iter()
            .chain(keeps_last.then_some(last));
        self.relay.configuration.nonce_keys = configured.collect();
        let until = (!keeps_last).then_some(wall + rules.nonce_lifetime);
        // Of those that are passed on from reload to reload there is one.
        rules
            .nonce_keys
            .retain(|(_, until)| keeps_last && until.is_some());
        rules
            .nonce_keys
            .splice(0..0, [(self.nonce_key, None), (last, until)]);
    }

    fn reload(&mut self) -> Result<(), Broken> {
        let now = self.now();
        let (revoked, step) = self.relay.reload(now);
        self.oracle.reference.reload();
        let ended = self.oracle.reference.judge_again();
        self.oracle.silent(&step)?;
        if (revoked.permissions, revoked.channels) != ended {
            let what = format!("{revoked:?} where {ended:?} are forbidden now");
            return self.fails(Invariant::Denied, what);
        }
        self.after(step)
    }

    fn revoke(&mut self) {
        self.relay.revoke();
        let configuration = &self.relay.configuration;
        let rules = &mut self.oracle.reference.rules;
        rules.revoked_users.clone_from(&configuration.revoked_users);
        rules
            .revoked_secrets
            .clone_from(&configuration.revoked_secrets);
    }

    /// The relay's process ends and another begins, which knows the configuration and nothing else.
    fn restart(&mut self, keeps_keys: bool) -> Result<(), Broken> {
        self.figures.restarts += 1;
        if !keeps_keys {
            self.new_nonce_key(false);
            let rules = &mut self.oracle.reference.rules;
            rules.nonce_keys.truncate(1);
        } else {
            // What was only passed on from reload to reload is not in the configuration.
            let rules = &mut self.oracle.reference.rules;
            rules.nonce_keys.retain(|(_, until)| until.is_none());
        }
        let rules = &mut self.oracle.reference.rules;
        (rules.drains, rules.sheds) = (false, false);
        (self.drains, self.sheds) = (false, false);
        self.oracle.restart();
        let configuration = self.relay.configuration.clone();
        let (in_use, is_exhausted) = (
            std::mem::take(&mut self.relay.in_use),
            self.relay.is_exhausted,
        );
        self.relay = Relay::new(configuration, self.dice.next(), self.fault);
        (self.relay.in_use, self.relay.is_exhausted) = (in_use, is_exhausted);
        for number in 0..self.clients.len() {
            if self.clients[number].transport.is_stream() {
                self.network.rebind(number);
                self.clients[number].disconnected(self.at);
            }
        }
        self.after(Step::default())
    }
}
