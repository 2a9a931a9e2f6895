//! Start-up and shut-down order, on one page.
//!
//! ```text
//!  start:  signals -> addresses -> all sockets -> servers -> workers -> front (TCP, TLS) -> admin -> Ready
//!  stop:   front -> workers -> admin and the control runtimes
//! ```
//!
//! Every socket of every worker is bound before the first packet is served: the kernel spreads datagrams over the sockets
//! of one address, so a socket that came later would take over other workers' clients.
//!
//! Responsible for order, and for errors that name the key to change. Not responsible for reading the configuration
//! (`config`) nor for anything that happens once the relay is up.

pub(crate) mod bind;
pub(crate) mod build;
pub(crate) mod inherited;
mod instance;
pub(crate) mod resources;
mod signals;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use taciturn_protocol::server::PeerPolicy;
use taciturn_protocol::status::Phase;
use tokio::runtime::Runtime;
use tracing::{info, warn};

use crate::admin::{self, Access, AccessError, Admin, AdminListener, Bounded};
use crate::clock::Clock;
use crate::config::{Config, ListenerTransport};
use crate::counters::{Counters, Totals};
use crate::drain::{DrainControl, DrainParts};
use crate::events::{self, EventLog, Figures, LevelSwitch};
use crate::listener::certificate::CertificateError;
use crate::listener::tls::{TlsError, TlsSettings};
use crate::listener::{Established, Front, Listener, ServeError};
use crate::load::{LoadSampler, LoadSettings, LoadSources};
use crate::metadata::{self, MetadataClient, MetadataRequests};
use crate::metrics::{self, Metrics};
use crate::own_addresses::OwnSockets;
use crate::phase::{SharedPhase, ShownPhase};
use crate::pseudonyms::NoRandom;
use crate::readiness::SharedReadiness;
use crate::relayed::{self, RelayedAddresses, RelayedError};
use crate::reload::{self, Reload, Trigger, Watching};
use crate::self_check::{self, Findings, SelfCheck, SelfCheckSources};
use crate::supervisor::{Supervisor, Watch};
use crate::worker::{Inbox, Message, Outbox, Worker};

use bind::{AdminSocket, Granted, SocketFile, Sockets};
use inherited::Inherited;
use instance::Place;
use signals::Signals;

pub use instance::InstanceError;

pub use inherited::InheritedError;

/// Why a relay could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Relayed addresses or ports.
    #[error(transparent)]
    Relayed(#[from] RelayedError),
    /// A listener's address cannot be bound.
    #[error(
        "[[listener]] {transport} {address} cannot be bound; is another program using it, or a privilege missing, as for a port \
         below 1024 without its socket unit?"
    )]
    Listen {
        /// What is spoken there.
        transport: &'static str,
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A socket that the supervisor has handed over.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    /// The admin address cannot be bound.
    #[error("[admin] address {address} cannot be bound; is another relay using it?")]
    Admin {
        /// The configured address.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificate or its key.
    #[error("[tls] certificate and key cannot be used")]
    Certificate(#[from] CertificateError),
    /// TLS as a whole.
    #[error("[tls] cannot be set up")]
    Tls(#[from] TlsError),
    /// Who may ask the admin API.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A TCP listener that the control runtime refused.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The system refused something that every program needs.
    #[error("{what}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system has no randomness to give.
    #[error("the system gives no random bytes")]
    Random,
    /// The same, for the pseudonyms in the log.
    #[error(transparent)]
    Pseudonyms(#[from] NoRandom),
    /// The instance metadata says that the relay should not run here, or says nothing.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The metrics contradict each other, which is a fault of this program.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

impl StartError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// A listener as it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundListener {
    /// What is spoken there.
    pub transport: ListenerTransport,
    /// The address; where the configuration says port 0, the port that the kernel picked.
    pub address: SocketAddr,
}

/// A running relay. Dropping it stops it.
#[derive(Debug)]
pub struct Relay {
    listeners: Vec<BoundListener>,
    admin_address: Option<SocketAddr>,
    admin_file: Option<SocketFile>,
    admin: Arc<Admin>,
    front: Front,
    events: Arc<EventLog>,
    reload: Arc<Reload>,
    outboxes: Vec<Outbox>,
    workers: Vec<JoinHandle<()>>,
    runtimes: Option<Runtimes>,
    supervisor: Supervisor,
    watch: Option<Watch>,
}

/// Everything that is not packets.
#[derive(Debug)]
struct Runtimes {
    /// Handshakes.
    front: Runtime,
    /// The admin API, which answers while handshakes flood.
    admin: Runtime,
}

/// What a process gives the relay that it exists for.
struct Surroundings {
    supervisor: Supervisor,
    /// Sockets that the supervisor has opened.
    inherited: Inherited,
    /// Of the log that the process has opened.
    level: LevelSwitch,
}

impl Surroundings {
    /// For a relay that is a part of something else.
    fn none() -> Self {
        Self {
            supervisor: Supervisor::absent(),
            inherited: Inherited::default(),
            level: LevelSwitch::fixed(),
        }
    }
}

/// What control threads add to the process's niceness: packets go first, and then those who ask how the relay is.
const FRONT_NICENESS: i32 = 10;
pub(crate) const ADMIN_NICENESS: i32 = 5;

/// How long the end of the handshakes is waited for at a stop. Each is a millisecond of arithmetic.
const FRONT_TIME: Duration = Duration::from_secs(1);

impl Relay {
    /// Starts a relay and returns once it serves.
    ///
    /// # Errors
    /// What stands in the way, naming the key of the configuration to look at. Nothing keeps running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_under(config, Surroundings::none())
    }

    /// The same for a relay that is this process's purpose: it tells its supervisor how it is.
    fn start_under(config: Config, surroundings: Surroundings) -> Result<Self, StartError> {
        let Surroundings {
            supervisor,
            inherited,
            level,
        } = surroundings;
        let clock = Clock::start();
        let events = Arc::new(EventLog::new(&config.log, level, clock)?);
        let workers = worker_count(&config);
        let requests = Arc::new(MetadataRequests::default());
        let Place {
            zone_id,
            addresses,
            metadata,
        } = instance::find(
            &config,
            RelayedAddresses::resolve(&config.relayed.addresses)?,
            &requests,
        )?;
        let slices = relayed::slices(&config.relayed.ports, workers)?;

        let Sockets {
            udp,
            tcp,
            listeners,
            admin: admin_socket,
        } = bind::all(&config, workers, inherited)?;
        resources::check(&config, &addresses, Granted::of(&udp));
        let sockets = listeners.iter().map(|listener| listener.address);
        let sockets = OwnSockets {
            relayed: addresses.clone(),
            sockets: sockets.chain(admin_socket.tcp_address()).collect(),
        };
        let own = sockets
            .collect()
            .map_err(StartError::system("the interfaces cannot be read"))?;
        let policy = PeerPolicy::new(build::peer_rules(&config), own.clone());

        let counters: Vec<Arc<Counters>> = (0..workers).map(|_| Arc::default()).collect();
        let (inboxes, outboxes) = inboxes(workers)?;
        let self_check_sources = SelfCheckSources::default();
        let phase = Arc::new(SharedPhase::launching());
        let totals = Totals::new(counters.clone());
        let drain = Arc::new(DrainControl::new(DrainParts {
            phase: Arc::clone(&phase),
            totals: totals.clone(),
            outboxes: outboxes.clone(),
            clock,
            stop_after: config.drain.stop_after,
            state_directory: config.state_directory.as_deref(),
        }));
        let (quota, nonce_key) = (build::quota(&config)?, build::nonce_key()?);
        let own_client = build::own_client(&config)?;
        let shared = build::Shared {
            self_check_user: own_client.as_ref().map(|client| client.user.clone()),
            config: &config,
            addresses: &addresses,
            policy: &policy,
            outboxes: &outboxes,
            counters: &counters,
            events: &events,
            drain: drain.at_start(),
            clock,
            quota: &quota,
            nonce_key: &nonce_key,
            self_check_sources: self_check_sources.clone(),
        };
        let prepared = build::workers(&shared).prepare(slices, udp, inboxes)?;
        let tls = config.tls.as_ref().map(|tls| build::tls(tls, clock));
        let tls = tls.transpose()?.map(|tls| Arc::new(TlsSettings::from(tls)));
        let front_limits = build::front_limits(&config.limits);
        let access = Arc::new(Access::new(build::access(&config)?));
        let runtimes = Runtimes::start()?;
        let front = Front::new(
            front_limits,
            tls,
            self_check_sources.clone(),
            deliver(outboxes.clone()),
        );
        let readiness = Arc::new(SharedReadiness::new(Arc::clone(&phase), totals.clone()));
        let (load, sampling) = LoadSampler::new(
            load_settings(&config, &addresses),
            LoadSources {
                clock,
                totals: totals.clone(),
                outboxes: outboxes.clone(),
                readiness: Arc::clone(&readiness),
            },
        );
        runtimes.admin.spawn(sampling.run());
        let findings: Arc<Findings> = Arc::default();
        let self_check = own_client.map(|client| {
            SelfCheck::new(self_check::Parts {
                listeners: listeners.clone(),
                pairs: addresses.pairs().to_vec(),
                login: client.login,
                interval: client.interval,
                sources: self_check_sources,
                tls: front.tls().cloned(),
                readiness: Arc::clone(&readiness),
                findings: Arc::clone(&findings),
                clock,
            })
        });
        let config = Arc::new(config);
        let parts = reload::Parts {
            clock,
            sockets,
            outboxes: outboxes.clone(),
            quota,
            front_limits: Arc::clone(front.limits()),
            tls: front.tls().cloned(),
            load: Arc::clone(&load),
            drain: Arc::clone(&drain),
            access: Arc::clone(&access),
            events: Arc::clone(&events),
            nonce_key,
        };
        let reload = Arc::new(Reload::new(Arc::clone(&config), own, parts));
        reload::tell_alternates(&outboxes, &config);
        let mut sources: Vec<Box<dyn metrics::Source>> = vec![
            Box::new(metrics::Build),
            Box::new(totals.clone()),
            Box::new(Arc::clone(front.counters())),
            Box::new(ShownPhase {
                phase: Arc::clone(&phase),
                totals: totals.clone(),
            }),
            Box::new(Arc::clone(&readiness)),
            Box::new(Arc::clone(&load)),
            Box::new(Arc::clone(&events)),
            Box::new(requests),
            Box::new(Arc::clone(reload.reloads())),
            Box::new(Arc::clone(&drain)),
            Box::new(findings),
        ];
        if let Some(tls) = front.tls() {
            sources.push(Box::new(Arc::clone(tls)));
        }
        let metrics = Metrics::new(sources)?;
        let admin = Arc::new(Admin {
            readiness,
            load,
            totals,
            metrics,
            outboxes: outboxes.clone(),
            reload: Arc::clone(&reload),
            zone_id,
            boot_id: build::boot_id()?,
            clock,
            drain: Arc::clone(&drain),
            events: Arc::clone(&events),
            access,
        });
        let mut relay = Self {
            listeners,
            admin_address: admin_socket.tcp_address(),
            admin_file: None,
            admin,
            front,
            events,
            reload,
            outboxes,
            workers: Vec::with_capacity(workers),
            runtimes: Some(runtimes),
            supervisor,
            watch: None,
        };
        // From here on an error drops `relay`, which stops what has been started.
        relay.spawn(prepared)?;
        relay.serve(tcp, admin_socket)?;
        if let (Some(runtimes), Some(self_check)) = (&relay.runtimes, self_check) {
            runtimes.admin.spawn(self_check.run());
        }
        let phase = drain.launched();
        relay.follow(metadata);
        relay.report(&config, &addresses, phase);
        relay.supervisor.status(&drain.status_line());
        relay.supervisor.ready();
        relay.watch = relay
            .supervisor
            .watch(&relay.outboxes)
            .map_err(StartError::system("the watchdog thread cannot be started"))?;
        Ok(relay)
    }

    fn spawn(&mut self, workers: Vec<Worker>) -> Result<(), StartError> {
        for worker in workers {
            self.workers.push(
                worker
                    .spawn()
                    .map_err(StartError::system("a worker thread cannot be started"))?,
            );
        }
        Ok(())
    }

    fn serve(&mut self, tcp: Vec<Listener>, admin: AdminSocket) -> Result<(), StartError> {
        let Some(runtimes) = &self.runtimes else {
            return Ok(());
        };
        let inside = runtimes.front.enter();
        for listener in tcp {
            self.front.serve(listener)?;
        }
        drop(inside);
        let _inside = runtimes.admin.enter();
        runtimes.admin.spawn(events::watch(
            Arc::clone(&self.events),
            Figures {
                totals: self.admin.totals.clone(),
                front: Arc::clone(self.front.counters()),
            },
        ));
        let listener = match admin {
            AdminSocket::Tcp(socket, _) => {
                tokio::net::TcpListener::from_std(socket).map(AdminListener::Tcp)
            }
            AdminSocket::Unix(socket, file) => {
                self.admin_file = Some(file);
                tokio::net::UnixListener::from_std(socket).map(AdminListener::Unix)
            }
        };
        let listener = listener.map_err(StartError::system("the admin socket cannot be used"))?;
        let listener = Bounded::new(listener, Arc::clone(&self.admin.access));
        let router = admin::router(Arc::clone(&self.admin));
        runtimes.admin.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                warn!(%error, "the admin API has ended");
            }
        });
        let drain = Arc::clone(&self.admin.drain);
        runtimes.admin.spawn(drain.watch(self.supervisor.clone()));
        Ok(())
    }

    /// Follows what is to become of the instance, once a drain can begin.
    fn follow(&self, metadata: Option<MetadataClient>) {
        if let (Some(metadata), Some(runtimes)) = (metadata, &self.runtimes) {
            let drain = Arc::clone(&self.admin.drain);
            runtimes.admin.spawn(metadata::watch(metadata, drain));
        }
    }

    fn report(&self, config: &Config, addresses: &RelayedAddresses, phase: Phase) {
        for listener in &self.listeners {
            info!(transport = listener.transport.as_str(), address = %listener.address, "listening");
        }
        for pair in addresses.pairs() {
            info!(
                bind = %pair.bind,
                advertise = %pair.advertise,
                ports = %format_args!("{}-{}", config.relayed.ports.start(), config.relayed.ports.end()),
                "relaying"
            );
        }
        for (zone, range) in config
            .peers
            .allow
            .iter()
            .map(|range| (self.admin.zone_id.as_deref(), range))
        {
            warn!(zone, %range, "peers in a range that is denied by default are allowed");
        }
        info!(
            phase = phase.as_str(),
            workers = self.workers.len(),
            realm = config.realm.as_str(),
            zone = self.admin.zone_id.as_deref(),
            boot_id = self.admin.boot_id,
            "phase changed"
        );
    }

    /// The listeners, with the ports that they have.
    pub fn listeners(&self) -> &[BoundListener] {
        &self.listeners
    }

    /// Where the admin API listens, when over TCP.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// What all workers have counted.
    pub fn totals(&self) -> &Totals {
        &self.admin.totals
    }

    /// What the TCP and TLS listeners have counted.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// Stops: no new connections, then no more packets. Live allocations end with it.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        let Some(runtimes) = self.runtimes.take() else {
            return;
        };
        self.supervisor.stopping();
        drop(self.watch.take());
        self.front.stop();
        for outbox in &self.outboxes {
            outbox.send(Message::Stop);
        }
        for worker in self.workers.drain(..) {
            // A worker that panicked has ended the process.
            let _ = worker.join();
        }
        self.events.flush();
        // Nothing that still runs there owns anything that would be lost, but the listeners' addresses are only free once
        // their tasks are gone. Inside another runtime there is no waiting.
        if tokio::runtime::Handle::try_current().is_err() {
            runtimes.front.shutdown_timeout(FRONT_TIME);
        } else {
            runtimes.front.shutdown_background();
        }
        runtimes.admin.shutdown_background();
        drop(self.admin_file.take());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Runs a relay until SIGTERM or SIGINT has drained it, or until its time for that is over. It
/// follows the files of its configuration, and reads them again on SIGHUP. `level`
/// sets the level of the log that the caller has opened.
///
/// # Errors
/// Why it could not start.
pub fn run(config: Config, level: LevelSwitch) -> Result<(), StartError> {
    let surroundings = Surroundings {
        // Before this process opens more, as the supervisor names them by number.
        inherited: Inherited::take()?,
        supervisor: Supervisor::of_environment(),
        level,
    };
    let signals = Signals::catch().map_err(StartError::system("signals cannot be received"))?;
    let relay = Relay::start_under(config, surroundings)?;
    let watching = Watching::start(Arc::clone(&relay.reload), relay.supervisor.clone())
        .map_err(StartError::system("the reload thread cannot be started"))?;
    let triggers = watching.triggers();
    let ending = signals.wait_for_end(&relay.admin.drain, &relay.supervisor, || {
        // Fails only when the thread has ended, as it does at a stop.
        let _ = triggers.send(Trigger::Hangup);
    });
    drop(watching);
    let cut = relay.totals().allocations();
    if cut == 0 {
        info!(why = ending.as_str(), cut, "stopping");
    } else {
        warn!(why = ending.as_str(), cut, "stopping with allocations left");
    }
    relay.stop();
    info!("stopped");
    Ok(())
}

pub(crate) fn load_settings(config: &Config, addresses: &RelayedAddresses) -> LoadSettings {
    LoadSettings {
        allocations: config.limits.allocations.into(),
        ports: (config.relayed.ports.len() * addresses.pairs().len()) as u64,
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

fn inboxes(workers: usize) -> Result<(Vec<Inbox>, Vec<Outbox>), StartError> {
    let pairs = (0..workers)
        .map(|_| Inbox::new())
        .collect::<io::Result<Vec<_>>>();
    Ok(pairs
        .map_err(StartError::system("an event descriptor cannot be made"))?
        .into_iter()
        .unzip())
}

impl Runtimes {
    /// Two threads for handshakes, each of which is a millisecond of arithmetic, and one for the admin API.
    fn start() -> Result<Self, StartError> {
        Ok(Self {
            front: runtime("control", 2, FRONT_NICENESS)?,
            admin: runtime("admin", 1, ADMIN_NICENESS)?,
        })
    }
}

fn runtime(name: &str, threads: usize, niceness: i32) -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .on_thread_start(move || {
            // On Linux this is the calling thread's alone. Being nicer needs no privilege; without it, all goes on.
            let _ = rustix::process::nice(niceness);
        })
        .enable_all()
        .build()
        .map_err(StartError::system("a control runtime cannot be started"))
}

/// One worker per core, unless the configuration says otherwise. A worker's number is a byte, 255 stands for nobody.
fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    config
        .workers
        .map_or_else(cores, std::num::NonZeroUsize::get)
        .clamp(1, 255)
}
