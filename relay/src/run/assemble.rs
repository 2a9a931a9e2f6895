//! From the ground to the relay's parts, none of which runs yet.
//!
//! Responsible for which part knows which other. Not responsible for making workers (`build`), nor for the order in which
//! anything begins (`run`).

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use taciturn_plane::Access;
use taciturn_protocol::address::Family;
use taciturn_protocol::server::PeerPolicy;

use crate::admin::{self, Admin, Endpoints};
use crate::clock::Clock;
use crate::config::Config;
use crate::counters::Totals;
use crate::drain::{DrainControl, DrainParts};
use crate::events::EventLog;
use crate::listener::tls::TlsSettings;
use crate::listener::{Established, Front};
use crate::load::{LoadSampler, LoadSettings, LoadSources, Sampling};
use crate::metrics::{self, Metrics};
use crate::phase::{SharedPhase, ShownPhase};
use crate::readiness::SharedReadiness;
use crate::relayed::RelayedAddresses;
use crate::reload::{self, Reload};
use crate::revocations::RevocationControl;
use crate::self_check::{self, Findings, SelfCheck, SelfCheckSources};
use crate::worker::{Outbox, Worker};

use super::StartError;
use super::build;
use super::ground::Ground;

/// The parts.
pub(super) struct Assembled {
    pub(super) workers: Vec<Worker>,
    pub(super) front: Front,
    pub(super) admin: Arc<Admin>,
    pub(super) reload: Arc<Reload>,
    pub(super) sampling: Sampling,
    pub(super) self_check: Option<SelfCheck>,
}

/// Where the relay is in its life, and what that depends on.
struct Life {
    phase: Arc<SharedPhase>,
    totals: Totals,
    readiness: Arc<SharedReadiness>,
    drain: Arc<DrainControl>,
}

/// Makes all parts. The sockets and inboxes of the workers are taken from `ground`.
pub(super) fn assemble(
    config: &Arc<Config>,
    ground: &mut Ground,
    events: &Arc<EventLog>,
    clock: Clock,
) -> Result<Assembled, StartError> {
    let life = Life::begin(config, ground, clock);
    let policy = PeerPolicy::new(build::peer_rules(config), ground.own.clone());
    let revocations = Arc::new(RevocationControl::open(
        config.state_directory.as_deref(),
        ground.outboxes.clone(),
        clock,
    ));
    let self_check_sources = SelfCheckSources::default();
    let (quota, nonce_key) = (build::quota(config)?, build::nonce_key()?);
    let own_client = build::own_client(config)?;
    let shared = build::Shared {
        self_check_user: own_client.as_ref().map(|client| client.user.clone()),
        config,
        addresses: &ground.addresses,
        policy: &policy,
        outboxes: &ground.outboxes,
        counters: &ground.counters,
        events,
        drain: life.drain.at_start(),
        revocations: revocations.in_force(),
        clock,
        quota: &quota,
        nonce_key: &nonce_key,
        self_check_sources: self_check_sources.clone(),
    };
    let workers = build::workers(&shared).prepare(
        std::mem::take(&mut ground.slices),
        std::mem::take(&mut ground.udp),
        std::mem::take(&mut ground.inboxes),
    )?;
    let tls = config.tls.as_ref().map(|tls| build::tls(tls, clock));
    let tls = tls.transpose()?.map(|tls| Arc::new(TlsSettings::from(tls)));
    let access = Arc::new(Access::new(build::access(config)?));
    let front = Front::new(
        build::front_limits(&config.limits),
        tls,
        self_check_sources.clone(),
        deliver(ground.outboxes.clone()),
    );
    let (load, sampling) = LoadSampler::new(
        load_settings(config, &ground.addresses),
        LoadSources {
            clock,
            totals: life.totals.clone(),
            outboxes: ground.outboxes.clone(),
            readiness: Arc::clone(&life.readiness),
        },
    );
    let findings: Arc<Findings> = Arc::default();
    let self_check = own_client.map(|client| {
        SelfCheck::new(self_check::Parts {
            listeners: ground.listeners.clone(),
            pairs: ground.addresses.pairs().to_vec(),
            login: client.login,
            interval: client.interval,
            sources: self_check_sources,
            tls: front.tls().cloned(),
            readiness: Arc::clone(&life.readiness),
            findings: Arc::clone(&findings),
            clock,
        })
    });
    let parts = reload::Parts {
        clock,
        sockets: ground.sockets.clone(),
        outboxes: ground.outboxes.clone(),
        quota,
        front_limits: Arc::clone(front.limits()),
        tls: front.tls().cloned(),
        load: Arc::clone(&load),
        drain: Arc::clone(&life.drain),
        access: Arc::clone(&access),
        events: Arc::clone(events),
        nonce_key,
    };
    let reload = Arc::new(Reload::new(Arc::clone(config), ground.own.clone(), parts));
    reload::tell_alternates(&ground.outboxes, config);
    let mut sources = life.figures();
    sources.extend::<[Box<dyn metrics::Source>; 8]>([
        Box::new(Arc::clone(front.counters())),
        Box::new(Arc::clone(&load)),
        Box::new(Arc::clone(events)),
        Box::new(Arc::clone(&ground.requests)),
        Box::new(Arc::clone(reload.reloads())),
        Box::new(findings),
        Box::new(Arc::clone(&revocations)),
        Box::new(admin::Refusals(Arc::clone(&access))),
    ]);
    if let Some(tls) = front.tls() {
        sources.push(Box::new(Arc::clone(tls)));
    }
    let admin = Arc::new(Admin {
        readiness: life.readiness,
        load,
        totals: life.totals,
        metrics: Metrics::new(sources)?,
        outboxes: ground.outboxes.clone(),
        reload: Arc::clone(&reload),
        zone_id: ground.zone_id.clone(),
        boot_id: build::boot_id()?,
        clock,
        drain: life.drain,
        revocations,
        events: Arc::clone(events),
        access,
        endpoints: Endpoints::of(&ground.listeners, &ground.addresses),
        tls: front.tls().cloned(),
    });
    Ok(Assembled {
        workers,
        front,
        admin,
        reload,
        sampling,
        self_check,
    })
}

impl Life {
    fn begin(config: &Config, ground: &Ground, clock: Clock) -> Self {
        let phase = Arc::new(SharedPhase::launching());
        let totals = Totals::new(ground.counters.clone());
        let drain = DrainControl::new(DrainParts {
            phase: Arc::clone(&phase),
            totals: totals.clone(),
            outboxes: ground.outboxes.clone(),
            clock,
            stop_after: config.drain.stop_after,
            state_directory: config.state_directory.as_deref(),
        });
        Self {
            readiness: Arc::new(SharedReadiness::new(Arc::clone(&phase), totals.clone())),
            drain: Arc::new(drain),
            phase,
            totals,
        }
    }

    fn figures(&self) -> Vec<Box<dyn metrics::Source>> {
        vec![
            Box::new(metrics::Build),
            Box::new(self.totals.clone()),
            Box::new(ShownPhase {
                phase: Arc::clone(&self.phase),
                totals: self.totals.clone(),
            }),
            Box::new(Arc::clone(&self.readiness)),
            Box::new(Arc::clone(&self.drain)),
        ]
    }
}

pub(crate) fn load_settings(config: &Config, addresses: &RelayedAddresses) -> LoadSettings {
    LoadSettings {
        allocations: config.limits.allocations.into(),
        ports: [Family::V4, Family::V6].map(|family| {
            let pairs = addresses.pairs().iter();
            let of_family = pairs.filter(|pair| Family::of_ip(&pair.bind) == family);
            (config.relayed.ports.len() * of_family.count()) as u64
        }),
        packets_per_second: NonZeroU64::new(config.capacity.packets_per_second),
        bits_per_second: NonZeroU64::new(config.capacity.bits_per_second),
        busiest_core: config.overload.busiest_core,
    }
}

/// Each new connection goes to the worker that has the fewest, ties in turn.
fn deliver(outboxes: Vec<Outbox>) -> Arc<dyn Fn(Established) + Send + Sync> {
    let turn = AtomicUsize::new(0);
    Arc::new(move |established| {
        let first = turn.fetch_add(1, Ordering::Relaxed);
        let fewest = (0..outboxes.len())
            .filter_map(|step| outboxes.get(first.wrapping_add(step) % outboxes.len()))
            .min_by_key(|outbox| outbox.connections());
        if let Some(outbox) = fewest {
            outbox.adopt(established);
        }
    })
}
