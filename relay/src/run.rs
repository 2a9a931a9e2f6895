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

mod assemble;
pub(crate) mod bind;
pub(crate) mod build;
mod error;
mod ground;
pub(crate) mod inherited;
mod instance;
mod pinning;
pub(crate) mod resources;
mod runtimes;
mod signals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use taciturn_plane::{Bounded, Listener as AdminListener};
use taciturn_protocol::status::Phase;
use tracing::{info, warn};

use crate::admin::{self, Admin};
use crate::clock::Clock;
use crate::config::{Config, ListenerTransport};
use crate::counters::Totals;
use crate::events::{self, EventLog, Figures, LevelSwitch};
use crate::listener::{Front, Listener};
use crate::load::Sampling;
use crate::metadata::{self, MetadataClient};
use crate::relayed::RelayedAddresses;
use crate::reload::{Reload, Trigger, Watching};
use crate::self_check::SelfCheck;
use crate::supervisor::{Supervisor, Watch};
use crate::worker::{Message, Outbox, Worker};

use assemble::{Assembled, assemble};
use bind::{AdminSocket, SocketFile};
use ground::Ground;
use inherited::Inherited;
use runtimes::Runtimes;
use signals::Signals;

pub use error::StartError;
pub use inherited::InheritedError;
pub use instance::InstanceError;

pub(crate) use assemble::load_settings;
pub(crate) use runtimes::ADMIN_NICENESS;

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
        let mut ground = Ground::prepare(&config, inherited)?;
        let config = Arc::new(config);
        let Assembled {
            workers,
            front,
            admin,
            reload,
            sampling,
            self_check,
        } = assemble(&config, &mut ground, &events, clock)?;
        let drain = Arc::clone(&admin.drain);
        let mut relay = Self {
            admin_address: ground.admin.tcp_address(),
            admin_file: None,
            admin,
            front,
            events,
            reload,
            workers: Vec::with_capacity(workers.len()),
            runtimes: Some(Runtimes::start()?),
            listeners: ground.listeners,
            outboxes: ground.outboxes,
            supervisor,
            watch: None,
        };
        // From here on an error drops `relay`, which stops what has been started.
        relay.spawn(workers)?;
        relay.serve(ground.tcp, ground.admin)?;
        relay.tend(sampling, self_check);
        let phase = drain.launched();
        relay.follow(ground.metadata);
        relay.report(&config, &ground.addresses, phase);
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

    /// Looks at the relay from now on: at its load, and by its own client.
    fn tend(&self, sampling: Sampling, self_check: Option<SelfCheck>) {
        let Some(runtimes) = &self.runtimes else {
            return;
        };
        runtimes.admin.spawn(sampling.run());
        if let Some(self_check) = self_check {
            runtimes.admin.spawn(self_check.run());
        }
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
        let zone = self.admin.zone_id.as_deref();
        for range in &config.peers.allow {
            warn!(zone, %range, "peers in a range that is denied by default are allowed");
        }
        for range in &config.peers.only {
            warn!(zone, %range, "peers are listed: those in this range may be reached, denied by default or not");
        }
        info!(
            phase = phase.as_str(),
            workers = self.workers.len(),
            realm = config.realm.as_str(),
            zone,
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
        runtimes.end();
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
