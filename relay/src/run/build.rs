//! From the configuration to servers, routes and workers.
//!
//! Responsible for translating settings and for seeding every generator from the system. Not responsible for order.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::SecureRandom;
use taciturn_plane::PreparedAccess;
use taciturn_protocol::credentials::{Directory, NonceKey, Nonces, Revocations, StaticUser};
use taciturn_protocol::forward::{Bandwidth, PortSet, RouteTable};
use taciturn_protocol::server::{
    Drain, Limits, LocalQuota, PeerPolicy, PeerRules, RelayedIp, Replacement, Server, Settings,
};

use crate::admin::{self, AccessError};
use crate::clock::{self, Clock};
use crate::config::{self, Config, TlsProfile};
use crate::counters::Counters;
use crate::events::EventLog;
use crate::listener::FrontLimits;
use crate::listener::certificate::Certificate;
use crate::listener::tls::{PreparedTls, Profile};
use crate::probe::Login;
use crate::quota::SharedQuota;
use crate::relayed::RelayedAddresses;
use crate::self_check::{self, SelfCheckSources};
use crate::stream::StreamLimits;
use crate::worker::{Inbox, ListenerSockets, Outbox, Owners, Parts, Terms, Worker};

use super::{StartError, pinning};

/// What all workers are made from.
pub(crate) struct Shared<'a> {
    pub(crate) config: &'a Config,
    pub(crate) addresses: &'a RelayedAddresses,
    pub(crate) policy: &'a PeerPolicy,
    pub(crate) outboxes: &'a [Outbox],
    pub(crate) counters: &'a [Arc<Counters>],
    pub(crate) quota: &'a SharedQuota,
    /// For nonces when the configuration names none.
    pub(crate) nonce_key: &'a NonceKey,
    pub(crate) events: &'a Arc<EventLog>,
    /// The drain that the relay starts with.
    pub(crate) drain: Option<Drain>,
    /// What was revoked before the relay started.
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) clock: Clock,
    pub(crate) self_check_sources: SelfCheckSources,
    pub(crate) self_check_user: Option<StaticUser>,
}

/// The relay as its own client.
pub(crate) struct OwnClient {
    pub(crate) user: StaticUser,
    pub(crate) login: Login,
    pub(crate) interval: Duration,
}

/// Makes the user by whom the relay checks itself; none when it does not.
pub(crate) fn own_client(config: &Config) -> Result<Option<OwnClient>, StartError> {
    let Some(interval) = config.self_check.interval else {
        return Ok(None);
    };
    let (user, login) =
        self_check::own_user(&config.realm, &random()?).map_err(|_| StartError::Random)?;
    Ok(Some(OwnClient {
        user,
        login,
        interval,
    }))
}

/// What workers share, made once.
pub(crate) struct Built<'a> {
    shared: &'a Shared<'a>,
    terms: Terms,
    owners: Arc<Owners>,
}

/// Makes what all workers share.
pub(crate) fn workers<'a>(shared: &'a Shared<'a>) -> Built<'a> {
    let mut terms = terms(shared.config, shared.policy, shared.nonce_key);
    if let Some(user) = &shared.self_check_user {
        let directory = terms.server.directory;
        terms.server.directory = directory.with_self_check(user.clone());
    }
    let revocations = Arc::clone(&shared.revocations);
    terms.server.directory.revoke(revocations);
    Built {
        shared,
        terms,
        owners: Arc::new(Owners::new(shared.addresses)),
    }
}

/// What workers work by, and can be given anew while they run.
pub(crate) fn terms(config: &Config, policy: &PeerPolicy, nonce_key: &NonceKey) -> Terms {
    let limits = &config.limits;
    let directory = Directory::new(
        config.realm.clone(),
        config.secrets.clone(),
        config.users.clone(),
        config.credentials.max_ttl,
    );
    let nonces = Nonces::new(
        config.nonce.key.as_ref().unwrap_or(nonce_key).clone(),
        config.nonce.previous_key.clone(),
        config.nonce.lifetime,
    );
    Terms {
        server: Replacement {
            directory,
            nonces,
            peers: policy.clone(),
            limits: Limits {
                permissions_per_allocation: limits.permissions_per_allocation as usize,
                channels_per_allocation: limits.channels_per_allocation as usize,
                unauthenticated_per_second: limits.unauthenticated_per_second,
                max_lifetime: limits.max_lifetime,
                allocation_max_age: limits.allocation_max_age,
                ..Limits::default()
            },
        },
        bandwidth: Bandwidth {
            bits_per_second_per_user: limits.bits_per_second_per_user,
            bits_per_second_per_allocation: limits.bits_per_second_per_allocation,
        },
        streams: StreamLimits {
            idle: limits.idle_timeout,
            media_bytes: limits.queue_bytes,
            media_age: limits.queue_age,
            channels: config.channel_numbers,
            ..StreamLimits::default()
        },
        busy_poll: config.busy_poll,
        coalesce: coalesce(config),
    }
}

/// How long datagrams may gather: not at all where a pause would last for milliseconds.
fn coalesce(config: &Config) -> Duration {
    if config.coalesce.is_zero() || clock::wakes_on_time() {
        return config.coalesce;
    }
    tracing::warn!("this system's timers are too coarse for coalesce, which stays off");
    Duration::ZERO
}

/// The quota of all workers.
pub(crate) fn quota(config: &Config) -> Result<SharedQuota, StartError> {
    let limits = &config.limits;
    let quota = LocalQuota::new(limits.allocations_per_user, limits.allocations, seed()?);
    Ok(SharedQuota::new(quota))
}

/// A nonce key that only this start has.
pub(crate) fn nonce_key() -> Result<NonceKey, StartError> {
    Ok(NonceKey::new(random()?))
}

impl Built<'_> {
    /// Makes the workers, each with its slice of the ports, its sockets and its inbox.
    pub(crate) fn prepare(
        self,
        slices: Vec<RangeInclusive<u16>>,
        udp: Vec<Vec<ListenerSockets>>,
        inboxes: Vec<Inbox>,
    ) -> Result<Vec<Worker>, StartError> {
        let cpus = pinning::cpus(self.shared.config, slices.len());
        let parts = slices
            .into_iter()
            .zip(udp)
            .zip(inboxes)
            .zip(self.shared.counters)
            .zip(cpus)
            .enumerate();
        parts
            .map(|(number, ((((ports, listeners), inbox), counters), cpu))| {
                let worker = u8::try_from(number).unwrap_or(u8::MAX);
                let quota = Box::new(self.shared.quota.clone());
                let mut routes = RouteTable::new(
                    seed()?,
                    self.shared.policy.port_rules(),
                    self.shared.config.channel_numbers,
                );
                routes.limit_bandwidth(self.terms.bandwidth);
                let mut server = Server::new(self.settings(worker, ports), quota, random()?);
                server.drain(self.shared.drain.clone());
                let parts = Parts {
                    worker,
                    cpu,
                    listeners,
                    server,
                    routes,
                    inbox,
                    outboxes: self.shared.outboxes.to_vec(),
                    owners: Arc::clone(&self.owners),
                    counters: Arc::clone(counters),
                    events: Arc::clone(self.shared.events),
                    dscp: self.shared.config.dscp,
                    stream_limits: self.terms.streams,
                    busy_poll: self.terms.busy_poll,
                    coalesce: self.terms.coalesce,
                    clock: self.shared.clock,
                    self_check_sources: self.shared.self_check_sources.clone(),
                };
                Worker::new(parts).map_err(StartError::system(
                    "a worker's sockets cannot be waited for",
                ))
            })
            .collect()
    }

    fn settings(&self, worker: u8, ports: RangeInclusive<u16>) -> Settings {
        let config = self.shared.config;
        let pairs = self.shared.addresses.pairs().iter();
        let Replacement {
            directory,
            nonces,
            peers,
            limits,
        } = self.terms.server.clone();
        Settings {
            directory,
            nonces,
            peers,
            limits,
            channels: config.channel_numbers,
            software: config.software.clone(),
            relayed: pairs
                .map(|pair| RelayedIp {
                    bind: pair.bind,
                    advertised: pair.advertise,
                })
                .collect(),
            ports,
            worker,
        }
    }
}

/// The operator's peer rules.
pub(crate) fn peer_rules(config: &Config) -> PeerRules {
    PeerRules {
        allow: config.peers.allow.clone(),
        deny: config.peers.deny.clone(),
        only: config.peers.only.clone(),
        denied_ports: PortSet::from_ranges(&config.peers.denied_ports),
        allow_loopback: config.peers.allow_loopback,
        nat64_prefixes: config.peers.nat64_prefixes.clone(),
        relayed_ports: config.relayed.ports.clone(),
    }
}

/// Limits of the TCP and TLS listeners.
pub(crate) fn front_limits(limits: &config::Limits) -> FrontLimits {
    FrontLimits {
        connections: u64::from(limits.connections),
        connections_per_source: limits.connections_per_source,
        half_open: limits.half_open as usize,
        handshake: limits.handshake_timeout,
        ..FrontLimits::default()
    }
}

/// Matches the certificate with its key and sets up TLS; what an operator should know of the certificate is logged.
pub(crate) fn tls(tls: &config::Tls, clock: Clock) -> Result<PreparedTls, StartError> {
    let certificate = Certificate::new(tls.certificates.clone(), &tls.key)?;
    for warning in certificate.warnings(clock.unix()) {
        tracing::warn!(%warning, "certificate");
    }
    Ok(PreparedTls::new(profile(tls), vec![certificate])?)
}

/// Who may ask the admin API. TLS there follows the listeners' profile.
pub(crate) fn access(config: &Config) -> Result<PreparedAccess, AccessError> {
    let profile = config.tls.as_ref().map(profile).unwrap_or_default();
    admin::prepare(&config.admin, profile)
}

const fn profile(tls: &config::Tls) -> Profile {
    match tls.profile {
        TlsProfile::Modern => Profile::Modern,
        TlsProfile::Ism => Profile::Ism,
        TlsProfile::Compat => Profile::Compat,
    }
}

/// A random name for this start.
pub(crate) fn boot_id() -> Result<String, StartError> {
    let bytes: [u8; 32] = random()?;
    Ok(bytes
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Bytes from the system's generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let provider: &dyn SecureRandom = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    let mut bytes = [0; N];
    provider.fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(bytes)
}

/// The same, as the keys of a hash table.
fn seed() -> Result<[u64; 4], StartError> {
    let bytes: [u8; 32] = random()?;
    let mut seed = [0; 4];
    for (word, chunk) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    Ok(seed)
}
