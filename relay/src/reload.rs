//! Reload: a new configuration for a relay that runs, whole or not at all.
//!
//! ```text
//!  file change, SIGHUP --> watching --> files: read, compare --> Reload::apply --> workers, front, TLS, quota, log, load
//!  interfaces change  --> watching --> Reload::follow_interfaces --> workers
//! ```
//!
//! Everything that can fail is done before anything is changed, so that a refusal leaves the relay as it was. What a
//! running relay cannot take over is refused by name. Responsible for that order, and for showing how it went (`outcome`).
//! Not responsible for judging a configuration (`config`), nor for what its values do.

mod files;
mod limited;
mod outcome;
mod restart;
mod watching;

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use taciturn_plane::Access;
use taciturn_protocol::credentials::NonceKey;
use taciturn_protocol::server::{OwnAddresses, PeerPolicy};
use tracing::{info, warn};

use crate::admin::Capacity;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::drain::DrainControl;
use crate::events::EventLog;
use crate::listener::SharedFrontLimits;
use crate::listener::tls::TlsSettings;
use crate::load::LoadSampler;
use crate::own_addresses::OwnSockets;
use crate::quota::SharedQuota;
use crate::run::{build, load_settings, resources};
use crate::worker::{Message, Outbox};

pub use outcome::{Outcome, Reloads};

pub(crate) use watching::{Trigger, Watching};

/// What a reload is applied to.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) sockets: OwnSockets,
    pub(crate) outboxes: Vec<Outbox>,
    pub(crate) quota: SharedQuota,
    pub(crate) front_limits: SharedFrontLimits,
    /// `None` when no listener speaks TLS.
    pub(crate) tls: Option<Arc<TlsSettings>>,
    pub(crate) load: Arc<LoadSampler>,
    pub(crate) drain: Arc<DrainControl>,
    pub(crate) access: Arc<Access>,
    pub(crate) events: Arc<EventLog>,
    /// For nonces when the configuration names no key.
    pub(crate) nonce_key: NonceKey,
}

/// The configuration in force, and how another takes its place.
#[derive(Debug)]
pub(crate) struct Reload {
    current: ArcSwap<Config>,
    parts: Parts,
    /// The relay's own addresses as the policy in force has them. Held while anything is replaced: one after another.
    own: Mutex<OwnAddresses>,
    reloads: Arc<Reloads>,
}

impl Reload {
    /// `config` is in force, with a policy that knows these addresses.
    pub(crate) fn new(config: Arc<Config>, own: OwnAddresses, parts: Parts) -> Self {
        let reloads = Arc::new(Reloads::new(parts.clock.unix()));
        Self {
            current: ArcSwap::new(config),
            parts,
            own: Mutex::new(own),
            reloads,
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// What the relay can hold by the configuration in force.
    pub(crate) fn capacity(&self) -> Capacity {
        let config = self.config();
        Capacity {
            allocations: config.limits.allocations as usize,
            ports: config.relayed.ports.len() * self.parts.sockets.relayed.pairs().len(),
            connections: config.limits.connections as usize,
            workers: self.parts.outboxes.len(),
        }
    }

    /// How reloads went, as metrics.
    pub(crate) fn reloads(&self) -> &Arc<Reloads> {
        &self.reloads
    }

    /// Puts `config` in the place of the one in force.
    ///
    /// # Errors
    /// Everything that stands against it; nothing has been changed then.
    pub(crate) fn apply(&self, config: Config) -> Result<(), Vec<ConfigError>> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = &self.parts;
        let mut errors = restart::differences(&self.current.load(), &config);
        let tls = config.tls.as_ref();
        let tls = match tls.map(|tls| build::tls(tls, parts.clock)).transpose() {
            Ok(tls) => tls,
            Err(error) => {
                errors.push(unusable(&config, "tls", &error));
                None
            }
        };
        let access = build::access(&config)
            .inspect_err(|error| errors.push(unusable(&config, "admin", error)))
            .ok();
        // The last that can fail is the first to be in force.
        if errors.is_empty()
            && let Err(error) = parts.events.apply(&config.log)
        {
            errors.push(unusable(&config, "log", &error));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        *own = self.own_addresses().unwrap_or_else(|| own.clone());
        self.replace_terms(&config, &own);
        let limits = &config.limits;
        parts
            .quota
            .limit(limits.allocations_per_user, limits.allocations);
        parts
            .front_limits
            .store(Arc::new(build::front_limits(limits)));
        if let (Some(settings), Some(prepared)) = (&parts.tls, tls) {
            settings.install(prepared);
        }
        if let Some(access) = access {
            parts.access.install(access);
        }
        parts.drain.set_stop_after(config.drain.stop_after);
        parts
            .load
            .replace(load_settings(&config, &parts.sockets.relayed));
        tell_alternates(&parts.outboxes, &config);
        let before = self.current.swap(Arc::new(config));
        let now = self.current.load();
        if now.limits != before.limits {
            resources::check(&now, &parts.sockets.relayed, None);
        }
        for range in &now.peers.allow {
            if !before.peers.allow.contains(range) {
                warn!(%range, "peers in a range that is denied by default are allowed");
            }
        }
        for range in &now.peers.only {
            if !before.peers.only.contains(range) {
                warn!(%range, "peers are listed: those in this range may be reached, denied by default or not");
            }
        }
        if now.peers.only.is_empty() && !before.peers.only.is_empty() {
            warn!("peers are no longer listed: all that are not denied may be reached");
        }
        Ok(())
    }

    /// Looks at the interfaces again: what the host has been given since, no client may reach (A-15).
    pub(crate) fn follow_interfaces(&self) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = self.own_addresses().filter(|found| *found != *own) else {
            return;
        };
        info!(
            interfaces = found.interfaces.len(),
            before = own.interfaces.len(),
            "the host's addresses have changed: peers are judged again"
        );
        *own = found;
        self.replace_terms(&self.current.load(), &own);
    }

    /// The relay's own addresses as of now; `None` when they cannot be read, so that those that are known stay.
    fn own_addresses(&self) -> Option<OwnAddresses> {
        self.parts
            .sockets
            .collect()
            .inspect_err(|error| warn!(%error, "the interfaces cannot be read"))
            .ok()
    }

    fn replace_terms(&self, config: &Config, own: &OwnAddresses) {
        let policy = PeerPolicy::new(build::peer_rules(config), own.clone());
        let terms = build::terms(config, &policy, &self.parts.nonce_key);
        for outbox in &self.parts.outboxes {
            outbox.send(Message::Replace(Box::new(terms.clone())));
        }
    }
}

/// Tells the workers where clients can be sent instead.
pub(crate) fn tell_alternates(outboxes: &[Outbox], config: &Config) {
    let alternates: Arc<[_]> = config.drain.alternates.as_slice().into();
    for outbox in outboxes {
        outbox.send(Message::Alternates(Arc::clone(&alternates)));
    }
}

/// What could not be prepared, in the form of what is wrong with a configuration.
fn unusable(config: &Config, key: &str, error: &dyn Error) -> ConfigError {
    let mut problem = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        problem = format!("{problem}: {error}");
        source = error.source();
    }
    ConfigError {
        file: config.files.first().cloned().unwrap_or_default(),
        line: 0,
        column: 0,
        key: key.to_owned(),
        value: None,
        problem,
        remedy: "mend it; the relay then reads it again".to_owned(),
    }
}
