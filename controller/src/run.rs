//! The controller as a process: start-up and shut-down order on one page.
//!
//! Responsible for which part knows which other, for signals, and for what systemd is told. Not responsible for what any of
//! them does.
//!
//! The loop runs on a runtime of its own, so that no burst of requests to the API keeps a round waiting.

mod doors;
mod self_test;
mod start;
mod supervisor;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use taciturn_plane::{Bounded, Limits, Listener, serve};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::api::{self, Api, Rounds};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::{ApiAddress, ControllerConfig, LiveCredentials};
use crate::credentials::{Desk, Settings};
use crate::metrics;
use crate::reconcile::{Controller, Handle, Published};
use crate::revocations::{Judge, Revocations};

pub use start::StartError;
use supervisor::Supervisor;

/// What the command line adds to the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration's file, for reloads.
    pub config: PathBuf,
    /// Nothing is launched, drained or ended.
    pub dry_run: bool,
}

/// Runs a controller until it is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// Why it could not start; the system is then left as it was.
pub fn run(config: ControllerConfig, options: Options) -> Result<(), StartError> {
    let supervisor = Supervisor::of_environment();
    let clock = Clock::start();
    let state_directory = start::state_directory(&config)?;
    let (directory, _alone) = start::own_directory(&state_directory, options.dry_run)?;
    let audit = Arc::new(start::audit(&config, &directory, clock)?);
    let survivors = (!options.dry_run)
        .then(|| start::survivors(&config, &state_directory))
        .flatten();
    let rounds = start::runtime("rounds")?;
    let plane = start::runtime("plane")?;
    let (address, listener) = plane.block_on(start::listen(&config.api.address))?;
    let page = plane.block_on(self_test::page(&config, &directory))?;
    let revocations = Arc::new(Revocations::open(Some(&directory)));
    let (controller, handle, doors) = rounds.block_on(start::controller(
        config,
        &options,
        &directory,
        Arc::clone(&audit),
        Arc::clone(&revocations),
        clock,
    ))?;
    let shown: Arc<dyn Rounds> = Arc::new(handle.clone());
    let credentials = Arc::clone(&doors.credentials);
    let access = Arc::clone(&doors.api);
    let desk = Arc::new(start::desk(&credentials)?);
    desk.obey(Box::new(Judge(Arc::clone(&revocations))));
    plane.spawn(see(
        Arc::clone(&desk),
        Arc::clone(&credentials),
        handle.published(),
    ));
    let test_desk = page.desk(&desk, clock);
    if let Some(own) = page.listener {
        info!(address = %own.address, "the self-test is served on a listener of its own");
        plane.spawn(own.serve(test_desk.clone(), Arc::clone(&doors.self_test)));
    }
    let api = Arc::new(Api {
        self_test: test_desk,
        credentials: Arc::clone(&credentials),
        metrics: metrics::all(
            &shown,
            &audit,
            &access,
            &doors.expiries,
            &desk,
            &revocations,
            clock,
        )?,
        revocations,
        rounds: shown,
        audit: Arc::clone(&audit),
        access: Arc::clone(&access),
        clock,
        desk: Arc::clone(&desk),
    });
    let router = api::router(api);
    plane.spawn(async move {
        let listener = Bounded::within(Limits::MANY, listener, access);
        if let Err(error) = serve(listener, router).await {
            warn!(%error, "the API has ended");
        }
    });
    let head = audit.state().head;
    info!(
        %address,
        dry_run = options.dry_run,
        audit_seq = head.seq,
        audit_head = head.hash,
        "the controller has started"
    );
    let published = handle.published();
    rounds.block_on(until_stopped(controller, handle, &supervisor, &audit))?;
    let relays = published.borrow().snapshot.fleet.relays.len();
    if let Some(instances) = survivors.filter(|_| relays > 0) {
        info!(
            relays,
            "the relays of this machine go on without the controller; whoever wants them gone as well, with the calls on them: \
             pkill -f 'relay --config {}/'",
            // Their command lines name it without links.
            instances.canonicalize().unwrap_or(instances).display()
        );
    }
    let head = audit.state().head;
    info!(
        audit_seq = head.seq,
        audit_head = head.hash,
        "the controller has ended"
    );
    Ok(())
}

async fn until_stopped(
    controller: Controller,
    handle: Handle,
    supervisor: &Supervisor,
    audit: &Audit,
) -> Result<(), StartError> {
    let listen = |kind| signal(kind).map_err(StartError::system("signals cannot be listened to"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let mut published = handle.published();
    let mut running = tokio::spawn(controller.run());
    supervisor.ready();
    loop {
        tokio::select! {
            ended = &mut running => {
                return ended.map_err(|_| StartError::Loop);
            }
            _ = terminate.recv() => stop(&handle, supervisor),
            _ = interrupt.recv() => stop(&handle, supervisor),
            _ = hang_up.recv() => {
                supervisor.reloading();
                handle.reload();
                // Whether it was taken is in the log, the audit trail and the status; the process is ready either way.
                supervisor.ready();
            }
            Ok(()) = published.changed() => {
                let latest = Arc::clone(&published.borrow_and_update());
                supervisor.round(&latest);
                // What a full disk has kept waiting is tried once a round, whether or not there is more to write.
                let _ = audit.retry();
            }
        }
    }
}

/// Shows each round to the desk that mints credentials, and other settings as soon as there are any: a reload is followed by
/// a round.
async fn see(
    desk: Arc<Desk>,
    live: Arc<LiveCredentials>,
    mut published: watch::Receiver<Arc<Published>>,
) {
    let mut in_force = live.load_full();
    while published.changed().await.is_ok() {
        let latest = Arc::clone(&published.borrow_and_update());
        let now = live.load_full();
        let other = in_force.as_ref().map(Arc::as_ptr) != now.as_ref().map(Arc::as_ptr);
        if other || desk.lacks_secret() {
            match Settings::of(now.as_deref()) {
                Ok(settings) => desk.configure(settings),
                Err(words) => warn!(%words, "credentials are minted as before"),
            }
            in_force = now;
        }
        desk.see(latest);
    }
}

fn stop(handle: &Handle, supervisor: &Supervisor) {
    info!("asked to stop");
    supervisor.stopping();
    handle.stop();
}

/// Where the API listens, in words.
#[derive(Clone, Debug)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listener and the address that it has in the end.
type Bound = (Address, Listener);

impl From<&ApiAddress> for Address {
    fn from(address: &ApiAddress) -> Self {
        match address {
            ApiAddress::Tcp(address) => Self::Tcp(*address),
            ApiAddress::Unix(path) => Self::Unix(path.clone()),
        }
    }
}
