//! From the configuration to the parts of a controller, none of which acts yet.
//!
//! Not responsible for the order in which anything begins (`run`).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};
use taciturn_plane::{Listener, TlsError};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};

use super::doors::{Doors, Prepared};
use super::{Address, Bound, Options};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::{self, ApiAddress, ControllerConfig, LiveCredentials};
use crate::credentials::{self, Desk};
use crate::lease::{self, Keeper, Lease, NoLease, PlaceError, Terms};
use crate::observe::{ClientError, DryRunRelays, RelayClient, Relays};
use crate::provider;
use crate::reconcile::{Controller, Handle, Parts, Reread, Settings};
use crate::revocations::Revocations;
use crate::self_test::KeyError;

/// Why a controller could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is nowhere to keep anything.
    #[error(
        "state-directory: is missing, and systemd has made none ($STATE_DIRECTORY); write state-directory = \
         \"/var/lib/taciturn-controller\""
    )]
    NoStateDirectory,
    /// The state directory cannot be made or used.
    #[error(
        "state-directory = \"{0}\": cannot be used; name a directory that the controller's user may write"
    )]
    StateDirectory(PathBuf, #[source] io::Error),
    /// Another process has it.
    #[error(
        "state-directory = \"{0}\": another controller runs there; give each its own, and let them share a lease \
         ([lease] file) instead"
    )]
    NotAlone(PathBuf),
    /// The audit trail cannot be opened: nothing is done that could not be written down.
    #[error("the audit trail {0} cannot be opened")]
    Audit(PathBuf, #[source] io::Error),
    /// The API cannot listen.
    #[error(
        "[api] address = \"{0}\" cannot be listened on; write an address of this machine that nothing listens on, or a socket \
         in a directory that is there"
    )]
    Listen(String, #[source] io::Error),
    /// The API's certificates cannot be used.
    #[error("[api] TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The self-test's own listener cannot listen.
    #[error(
        "[self-test] address = \"{0}\" cannot be listened on; write an address of this machine that nothing listens on"
    )]
    SelfTestListen(SocketAddr, #[source] io::Error),
    /// Its certificate cannot be used.
    #[error("[self-test] TLS cannot be set up")]
    SelfTestTls(#[source] TlsError),
    /// There is no key for its tickets.
    #[error("the key of the self-test's tickets cannot be used")]
    SelfTestKey(#[from] KeyError),
    /// The secret of the local provider's relays, which is minted with where no other is configured, cannot be used.
    #[error(
        "the secret of this machine's relays, {0}, cannot be used; end them and take it away, and a new one is made"
    )]
    LocalSecret(PathBuf, #[source] io::Error),
    /// What relays are asked with cannot be used.
    #[error("[relays] cannot be used")]
    Relays(#[from] ClientError),
    /// Credentials cannot be minted as configured.
    #[error("[credentials] {0}")]
    Credentials(String),
    /// The provider cannot be used.
    #[error("[provider] {0}")]
    Provider(String),
    /// The lease cannot be used.
    #[error("[lease] cannot be used")]
    Lease(#[from] PlaceError),
    /// A fault of this program.
    #[error("metrics cannot be shown")]
    Metrics(#[from] taciturn_plane::metrics::MetricsError),
    /// The system refuses something that it always gives.
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
    /// A fault of this program: the loop ended badly.
    #[error("the loop has ended by a fault of this program; the log has it")]
    Loop,
}

impl StartError {
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::System(what, error)
    }
}

/// The state directory, made where it is not there.
pub(super) fn state_directory(config: &ControllerConfig) -> Result<PathBuf, StartError> {
    let directory = config
        .state_directory
        .clone()
        .ok_or(StartError::NoStateDirectory)?;
    made(&directory).map_err(|error| StartError::StateDirectory(directory.clone(), error))?;
    Ok(directory)
}

/// Where the relays that outlive the controller are kept: those of the local provider, which are processes of this machine.
pub(super) fn survivors(config: &ControllerConfig, state_directory: &Path) -> Option<PathBuf> {
    let config::Provider::Local(local) = &config.provider else {
        return None;
    };
    let relays = local
        .directory
        .clone()
        .unwrap_or_else(|| state_directory.join("relays"));
    Some(relays.join("instances"))
}

/// What keeps a second process out of the state directory: two would write over each other's audit trail.
#[derive(Debug)]
pub(super) struct Alone(#[expect(dead_code, reason = "held for its lock")] File);

/// Where this process keeps what it writes. A dry run has a directory of its own, so that it can be tried beside the
/// controller that acts.
pub(super) fn own_directory(state: &Path, dry_run: bool) -> Result<(PathBuf, Alone), StartError> {
    let directory = if dry_run {
        state.join("dry-run")
    } else {
        state.to_path_buf()
    };
    let unusable = |error| StartError::StateDirectory(directory.clone(), error);
    made(&directory).map_err(unusable)?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join("controller.lock"))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok((directory, Alone(lock))),
        Err(TryLockError::WouldBlock) => Err(StartError::NotAlone(directory)),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn made(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// The audit trail, which says first by which files this controller runs.
pub(super) fn audit(
    config: &ControllerConfig,
    directory: &Path,
    clock: Clock,
) -> Result<Audit, StartError> {
    let path = directory.join("audit.jsonl");
    let opened = Audit::open(&path, &config.fleet, clock).and_then(|audit| {
        audit
            .append("configuration", &in_force(config))
            .map_err(io::Error::other)?;
        Ok(audit)
    });
    opened.map_err(|error| StartError::Audit(path, error))
}

/// A configuration as the audit trail tells of it: its files by their hashes, and the policy in full.
fn in_force(config: &ControllerConfig) -> Value {
    json!({
        "taken": true,
        "files": files(config),
        "provider": config.provider.as_str(),
        "allowed_zones": config.allowed_zones,
        "policy": config.policy,
    })
}

fn files(config: &ControllerConfig) -> Vec<Value> {
    let files = config.files.iter().map(|(path, digest)| {
        json!({ "file": path.display().to_string(), "sha256": crate::audit::hex(digest) })
    });
    files.collect()
}

/// What a reload may change, key by key: the policy's numbers, and of whom and what is minted with the names alone.
fn terms(config: &ControllerConfig) -> Map<String, Value> {
    let mut terms = json!(config.policy)
        .as_object()
        .cloned()
        .unwrap_or_default();
    terms.insert("allowed-zone-ids".to_owned(), json!(config.allowed_zones));
    if let Some(credentials) = &config.credentials {
        let subjects: Vec<&str> = credentials
            .subjects
            .iter()
            .map(|subject| &*subject.name)
            .collect();
        let secrets: Vec<&str> = credentials
            .secrets
            .iter()
            .map(|secret| &*secret.id)
            .collect();
        terms.insert("credentials.subject".to_owned(), json!(subjects));
        terms.insert("credentials.secret".to_owned(), json!(secrets));
    }
    terms
}

/// What is different of it.
fn changes(before: &Map<String, Value>, after: &Map<String, Value>) -> Value {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| {
            let change = json!({ "before": before.get(name), "after": after.get(name) });
            (name.clone(), change)
        });
    Value::Object(changed.collect())
}

/// An error with its reasons.
fn in_full(error: StartError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(why) = source {
        words.push_str(": ");
        words.push_str(&why.to_string());
        source = why.source();
    }
    words
}

/// Where credentials are minted; without settings everybody is refused there.
pub(super) fn desk(live: &LiveCredentials) -> Result<Desk, StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(io::Error::other)
        .map_err(StartError::system("the system has no randomness"))?;
    let settings = credentials::Settings::of(live.load().as_deref());
    Ok(Desk::new(settings.map_err(StartError::Credentials)?, seed))
}

pub(super) fn runtime(name: &str) -> Result<Runtime, StartError> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(format!("taciturn-{name}"))
        .enable_all()
        .build()
        .map_err(StartError::system("threads cannot be started"))
}

/// Listens; a socket that a controller before this one has left is taken away.
pub(super) async fn listen(address: &ApiAddress) -> Result<Bound, StartError> {
    let refused = |error| StartError::Listen(Address::from(address).to_string(), error);
    match address {
        ApiAddress::Tcp(wanted) => {
            let listener = TcpListener::bind(wanted).await.map_err(refused)?;
            let address = listener.local_addr().map_err(refused)?;
            Ok((Address::Tcp(address), Listener::Tcp(listener)))
        }
        ApiAddress::Unix(path) => {
            let socket =
                fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
            // One that still answers belongs to a controller that runs.
            if socket && tokio::net::UnixStream::connect(path).await.is_err() {
                fs::remove_file(path).map_err(refused)?;
            }
            let listener = UnixListener::bind(path).map_err(refused)?;
            Ok((Address::Unix(path.clone()), Listener::Unix(listener)))
        }
    }
}

/// The loop, its handle, and what a reload changes besides.
pub(super) async fn controller(
    config: ControllerConfig,
    options: &Options,
    own_directory: &Path,
    audit: Arc<Audit>,
    revocations: Arc<Revocations>,
    clock: Clock,
) -> Result<(Controller, Handle, Arc<Doors>), StartError> {
    let state_directory = state_directory(&config)?;
    let provider = provider::open(&config, &state_directory, clock, options.dry_run)
        .await
        .map_err(StartError::Provider)?;
    // After the provider, which has made the secret of its own relays where there was none.
    let doors = Arc::new(Doors::new(Prepared::of(&config)?));
    let client = RelayClient::new(&config.relays)?;
    let relays: Arc<dyn Relays> = if options.dry_run {
        Arc::new(DryRunRelays(client))
    } else {
        Arc::new(client)
    };
    let provider_timeout = config.provider_timeout();
    let terms = Terms {
        ttl: config.lease.ttl,
        renew: config.lease.renew,
        longest: provider_timeout.max(config.relays.timeout),
    };
    let holder = config.lease.holder.clone().unwrap_or_else(host_and_process);
    let lease: Arc<dyn Lease> = if options.dry_run {
        // Otherwise a trial would take the lease from the controller that acts.
        Arc::new(NoLease::default())
    } else {
        lease::open(&config.lease.kind).await?
    };
    let keeper = Arc::new(Keeper::new(lease, &holder, terms, clock));
    let settings = Settings {
        interval: config.interval,
        dry_run: options.dry_run,
        state_directory: Some(own_directory.to_path_buf()),
        provider_timeout,
        relay_timeout: config.relays.timeout,
    };
    let policy = config.policy.clone();
    let sink = Arc::clone(&audit) as _;
    let reread = reread(config, options.config.clone(), audit, Arc::clone(&doors));
    let (controller, handle) = Controller::new(Parts {
        provider,
        relays,
        keeper,
        audit: sink,
        clock,
        policy,
        revocations,
        reread: Some(reread),
        settings,
    });
    Ok((controller, handle, doors))
}

/// Reads the configuration again. What a running controller cannot take over is refused by its name.
fn reread(
    running: ControllerConfig,
    file: PathBuf,
    audit: Arc<Audit>,
    doors: Arc<Doors>,
) -> Reread {
    let in_force_now = Mutex::new(terms(&running));
    Box::new(move || {
        let read = config::load(&file).map_err(|errors| errors.to_string())?;
        let changed = running.needs_restart(&read);
        if !changed.is_empty() {
            return Err(format!(
                "{} cannot be changed while the controller runs; restart it, which ends no call, or change it back",
                changed.join(", ")
            ));
        }
        let prepared = Prepared::of(&read).map_err(in_full)?;
        for warning in &read.warnings {
            tracing::warn!("{warning}");
        }
        doors.install(prepared);
        let mut before = in_force_now.lock().unwrap_or_else(PoisonError::into_inner);
        // The loop tells of the policy; this, of the files that it came from and of what is different. What cannot be written
        // waits, and is counted.
        let after = terms(&read);
        let body = json!({ "files": files(&read), "changed": changes(&before, &after) });
        let _ = audit.append("configuration-read", &body);
        *before = after;
        Ok(read.policy)
    })
}

/// How people call this controller in the lease.
fn host_and_process() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    format!("{host}:{}", std::process::id())
}
