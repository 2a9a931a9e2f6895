//! The accept loops: who is let in, and how many at a time.
//!
//! Responsible for admission, for socket options and for handing connections on. Not responsible for what a
//! connection says (`opening`).

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{SockRef, TcpKeepalive};
use taciturn_protocol::address::Transport;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::counters::{FrontCounters, Refusal};
use super::established::{ConnectionSlot, Established};
use super::half_open::{HalfOpen, HalfOpenPlace, HalfOpenPolicy};
use super::opening::{Opened, Terms};
use super::sources::Sources;
use super::tls::TlsSettings;
use crate::self_check::SelfCheckSources;

/// Where established connections go. Called on the control runtime; it must not block.
pub type Deliver = Arc<dyn Fn(Established) + Send + Sync>;

/// A silent connection is probed after this time, and given up after a few more of [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The kernel gives a connection up when sent bytes stay unacknowledged for this long, instead of after 15 minutes.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Bytes that the kernel holds and has not sent yet. What waits longer waits in our queue, where old media can still be
/// dropped; what is in flight is not limited, so that distance costs no throughput. At 500 kbit/s, a slow video call, this
/// much is half a second: as old as media may get in the queue.
const UNSENT_MAX: u32 = 32 * 1024;

/// First and longest pause after `accept` has failed for want of descriptors or memory: without one, a full descriptor
/// table would turn the accept loop into a busy loop.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenTransport {
    /// TURN over TCP.
    Tcp,
    /// TURN over TLS, and the HTTPS health answer.
    Tls,
    /// All of it on one port, told apart by the first bytes.
    Auto,
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    /// What is spoken on it.
    pub transport: ListenTransport,
    /// The bound and listening socket.
    pub socket: TcpListener,
}

/// What connections may cost before they are established, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct FrontLimits {
    /// Connections at a time, half open or with a worker. Further ones are closed at once.
    pub connections: u64,
    /// The same for one source, a /32 or a /64; 0 lifts the limit.
    pub connections_per_source: u32,
    /// Connections at a time that are not established yet.
    pub half_open: usize,
    /// What happens beyond `half_open`.
    pub half_open_policy: HalfOpenPolicy,
    /// First bytes and TLS handshake have to be complete within this time.
    pub handshake: Duration,
    /// The first message has to begin this long after the TLS handshake.
    pub first_message: Duration,
    /// Longest ClientHello, in bytes as received.
    pub client_hello_bytes: usize,
}

impl Default for FrontLimits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_source: 10_000,
            half_open: 2048,
            half_open_policy: HalfOpenPolicy::DropOldest,
            handshake: Duration::from_secs(5),
            first_message: Duration::from_secs(10),
            client_hello_bytes: 16 * 1024,
        }
    }
}

/// Why a listener cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener speaks TLS and there are no TLS settings.
    #[error("a listener with TLS needs a certificate")]
    NoTls,
    /// The socket could not be registered with the runtime.
    #[error("the listening socket cannot be used")]
    Socket(#[source] io::Error),
}

/// The limits in force. A replacement is for the connections that come after it.
pub type SharedFrontLimits = Arc<ArcSwap<FrontLimits>>;

/// All TCP and TLS listeners of a relay.
pub struct Front {
    shared: Arc<Shared>,
    accepting: Mutex<Vec<AbortHandle>>,
}

struct Shared {
    limits: SharedFrontLimits,
    tls: Option<Arc<TlsSettings>>,
    deliver: Deliver,
    counters: Arc<FrontCounters>,
    /// What the relay's own self-check causes, which is in no figure of users.
    own_counters: FrontCounters,
    own_sources: SelfCheckSources,
    half_open: Arc<HalfOpen>,
    sources: Arc<Sources>,
}

impl Shared {
    /// Where what this client does is counted.
    fn counters_for(&self, client: &SocketAddr) -> &FrontCounters {
        if self.own_sources.contains(client) {
            &self.own_counters
        } else {
            &self.counters
        }
    }
}

impl Front {
    /// A front without listeners. What comes from `own_sources` is served and limited as everybody, and not counted.
    pub fn new(
        limits: FrontLimits,
        tls: Option<Arc<TlsSettings>>,
        own_sources: SelfCheckSources,
        deliver: Deliver,
    ) -> Self {
        let counters = Arc::new(FrontCounters::default());
        let half_open = Arc::new(HalfOpen::new(Arc::clone(&counters)));
        let shared = Arc::new(Shared {
            limits: Arc::new(ArcSwap::from_pointee(limits)),
            tls,
            deliver,
            counters,
            own_counters: FrontCounters::default(),
            own_sources,
            half_open,
            sources: Arc::new(Sources::new()),
        });
        Self {
            shared,
            accepting: Mutex::default(),
        }
    }

    /// Accepts connections on `listener` from now on, in the background. To be called within a tokio runtime.
    ///
    /// # Errors
    /// When TLS is asked for and not set up, or the socket is unusable.
    pub fn serve(&self, listener: Listener) -> Result<(), ServeError> {
        if listener.transport != ListenTransport::Tcp && self.shared.tls.is_none() {
            return Err(ServeError::NoTls);
        }
        listener
            .socket
            .set_nonblocking(true)
            .map_err(ServeError::Socket)?;
        let socket =
            tokio::net::TcpListener::from_std(listener.socket).map_err(ServeError::Socket)?;
        let task = tokio::spawn(accept(Arc::clone(&self.shared), listener.transport, socket));
        self.accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task.abort_handle());
        Ok(())
    }

    /// The limits in force, to be replaced.
    pub fn limits(&self) -> &SharedFrontLimits {
        &self.shared.limits
    }

    /// The TLS settings in force, to be replaced; `None` when no listener speaks TLS.
    pub fn tls(&self) -> Option<&Arc<TlsSettings>> {
        self.shared.tls.as_ref()
    }

    /// What the listeners have seen.
    pub fn counters(&self) -> &Arc<FrontCounters> {
        &self.shared.counters
    }

    /// Closes the listening sockets and every connection that is not established. What a worker has stays.
    pub fn stop(&self) {
        for task in self
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            task.abort();
        }
        self.shared.half_open.abort_all();
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

async fn accept(shared: Arc<Shared>, transport: ListenTransport, socket: tokio::net::TcpListener) {
    let mut pause = PAUSE_FIRST;
    loop {
        match socket.accept().await {
            Ok((stream, client)) => {
                pause = PAUSE_FIRST;
                let counters = shared.counters_for(&client);
                counters.count_accepted();
                if let Err(refusal) = admit(&shared, transport, stream, client) {
                    counters.count_refused(refusal);
                }
            }
            // The client was gone before we came to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => {
                shared.counters.count_accept_error();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_LONGEST);
            }
        }
    }
}

fn admit(
    shared: &Arc<Shared>,
    transport: ListenTransport,
    stream: TcpStream,
    client: SocketAddr,
) -> Result<(), Refusal> {
    let limits = shared.limits.load();
    let slot = ConnectionSlot::take(&shared.counters.connections, limits.connections)
        .ok_or(Refusal::ConnectionCap)?;
    let slot = match limits.connections_per_source {
        0 => slot,
        // The self-check is more than one connection from one address. No stranger has that address and port while it
        // has them.
        _ if shared.own_sources.contains(&client) => slot,
        most => slot.counted_for(
            shared
                .sources
                .take(client.ip(), most)
                .ok_or(Refusal::SourceCap)?,
        ),
    };
    let (place, displaced) = shared
        .half_open
        .enter(limits.half_open, limits.half_open_policy)
        .ok_or(Refusal::HalfOpenCap)?;
    if displaced {
        shared.counters.count_refused(Refusal::HalfOpenOldest);
    }
    let id = place.id;
    let task = tokio::spawn(open(
        Arc::clone(shared),
        transport,
        stream,
        client,
        slot,
        place,
    ));
    shared.half_open.set_task(id, task.abort_handle());
    Ok(())
}

async fn open(
    shared: Arc<Shared>,
    transport: ListenTransport,
    stream: TcpStream,
    client: SocketAddr,
    slot: ConnectionSlot,
    place: HalfOpenPlace,
) {
    set_options(&stream);
    let limits = shared.limits.load_full();
    let counters = shared.counters_for(&client);
    let terms = Terms {
        transport,
        limits: &limits,
        tls: shared.tls.as_deref(),
        counters,
    };
    let opened = terms.open(stream).await;
    drop(place);
    let (stream, tls, early) = match opened {
        Ok(Opened::Turn { stream, early }) => (stream, None, early),
        Ok(Opened::TurnOverTls { stream, tls, early }) => (stream, Some(tls), early),
        Ok(Opened::Health) => return,
        Err(refusal) => return counters.count_refused(refusal),
    };
    // Both fail only when the connection or the runtime is gone.
    let Ok(server) = stream.local_addr() else {
        return;
    };
    let Ok(stream) = stream.into_std() else {
        return;
    };
    let transport = if tls.is_some() {
        Transport::Tls
    } else {
        Transport::Tcp
    };
    counters.count_established(transport);
    (shared.deliver)(Established {
        stream,
        tls,
        early,
        transport,
        client,
        server,
        slot,
    });
}

/// None of these is worth losing a call for: a kernel that refuses one serves the connection without it.
fn set_options(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    let _ = socket.set_tcp_notsent_lowat(UNSENT_MAX);
}
