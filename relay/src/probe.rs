//! A real client tries a relay: it allocates twice through one listener and relays payloads between the two.
//!
//! What it proves is what a call needs: authentication, relayed addresses, permissions, and payloads through both
//! allocations in both directions. The client is webrtc-rs's, so the relay is not its own judge.
//!
//! Not responsible for deciding what to do about a failure, nor for printing.

mod framed;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use taciturn_protocol::address::Transport;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use turn::client::{Client, ClientConfig as TurnConfig};
use webrtc_util::Conn;

use crate::clock::Clock;
use framed::FramedConn;

/// Longest wait for any one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is tried.
#[derive(Clone, Debug)]
pub struct Target {
    /// How the client reaches the relay.
    pub transport: Transport,
    /// The listener.
    pub server: SocketAddr,
    /// The name that its certificate must have, for TLS.
    pub server_name: String,
    /// The authorities that may have signed the certificate, for TLS.
    pub roots: Arc<RootCertStore>,
}

/// With which credentials.
#[derive(Clone)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The realm that the relay is expected to ask for.
    pub realm: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Payloads sent to the other allocation and awaited back.
    pub sent: u32,
    /// Payloads that came back whole.
    pub received: u32,
    /// Median time there and back: twice through the relay each way. `None` when nothing came back.
    pub round_trip: Option<Duration>,
}

/// Why a path does not work. The message is for people who run networks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// No connection to the listener.
    #[error("no connection to the relay")]
    Connect(#[source] std::io::Error),
    /// The connection was not made in time.
    #[error("the relay does not answer: the path is blocked, or nothing listens there")]
    Silent,
    /// The name in the target is no name.
    #[error("not a server name that a certificate could have")]
    ServerName(#[source] InvalidDnsNameError),
    /// The TLS handshake failed.
    #[error(
        "the TLS handshake failed: the certificate is not trusted, or something in between intercepts TLS"
    )]
    Tls(#[source] std::io::Error),
    /// The relay refused, or the client could not follow it.
    #[error("the relay refused: {0}")]
    Turn(String),
    /// Allocations were granted, but nothing came through.
    #[error("allocations are granted, but no payload comes through")]
    NothingRelayed,
}

/// Tries a path with `count` payloads of `size` bytes (at least 4).
///
/// # Errors
/// The first step that did not work.
pub async fn check(
    target: &Target,
    login: &Login,
    count: u32,
    size: usize,
) -> Result<Report, ProbeError> {
    let near = Caller::allocate(target, login).await?;
    let far = match Caller::allocate(target, login).await {
        Ok(far) => far,
        Err(error) => {
            near.hang_up().await;
            return Err(error);
        }
    };
    let outcome = relay_between(&near, &far, count, size.max(4)).await;
    near.hang_up().await;
    far.hang_up().await;
    outcome
}

/// One client with its allocation.
struct Caller {
    client: Client,
    relayed: Box<dyn Conn + Send + Sync>,
    address: SocketAddr,
}

impl Caller {
    async fn allocate(target: &Target, login: &Login) -> Result<Self, ProbeError> {
        let conn = timeout(PATIENCE, connect(target))
            .await
            .map_err(|_| ProbeError::Silent)??;
        let client = Client::new(TurnConfig {
            stun_serv_addr: target.server.to_string(),
            turn_serv_addr: target.server.to_string(),
            username: login.username.clone(),
            password: login.password.clone(),
            realm: login.realm.clone(),
            software: String::new(),
            rto_in_ms: 0,
            conn,
            vnet: None,
        })
        .await
        .map_err(refused)?;
        client.listen().await.map_err(refused)?;
        let relayed = timeout(PATIENCE, client.allocate())
            .await
            .map_err(|_| ProbeError::Silent)?
            .map_err(refused)?;
        let address = relayed.local_addr().map_err(refused)?;
        Ok(Self {
            client,
            relayed: Box::new(relayed),
            address,
        })
    }

    /// Gives the allocation back. A relay that is gone has nothing to give back to.
    async fn hang_up(&self) {
        let _ = timeout(PATIENCE, self.relayed.close()).await;
        let _ = timeout(PATIENCE, self.client.close()).await;
    }
}

async fn relay_between(
    near: &Caller,
    far: &Caller,
    count: u32,
    size: usize,
) -> Result<Report, ProbeError> {
    // Whoever sends first opens only its own side: this one is lost, and its permission stays.
    far.relayed
        .send_to(b"open", near.address)
        .await
        .map_err(refused)?;
    let clock = Clock::start();
    let mut times = Vec::new();
    for number in 0..count {
        let mut payload = vec![0xA5; size];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        let sent_at = clock.now().instant;
        near.relayed
            .send_to(&payload, far.address)
            .await
            .map_err(refused)?;
        if !echoed(far, near, &payload).await? {
            continue;
        }
        times.push(clock.now().instant.saturating_since(sent_at));
    }
    times.sort_unstable();
    let received = u32::try_from(times.len()).unwrap_or(u32::MAX);
    if received == 0 {
        return Err(ProbeError::NothingRelayed);
    }
    Ok(Report {
        sent: count,
        received,
        round_trip: times.get(times.len() / 2).copied(),
    })
}

/// Whether `payload` arrives at `far`, and from there back at `near`, byte for byte and from the right address.
async fn echoed(far: &Caller, near: &Caller, payload: &[u8]) -> Result<bool, ProbeError> {
    if !arrives(far, near.address, payload).await? {
        return Ok(false);
    }
    far.relayed
        .send_to(payload, near.address)
        .await
        .map_err(refused)?;
    arrives(near, far.address, payload).await
}

async fn arrives(at: &Caller, from: SocketAddr, payload: &[u8]) -> Result<bool, ProbeError> {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(read) = timeout(Duration::from_secs(1), at.relayed.recv_from(&mut buffer)).await
        else {
            return Ok(false);
        };
        let (length, sender) = read.map_err(refused)?;
        // Late copies of earlier payloads are passed over.
        if sender == from && buffer.get(..length) == Some(payload) {
            return Ok(true);
        }
    }
}

async fn connect(target: &Target) -> Result<Arc<dyn Conn + Send + Sync>, ProbeError> {
    match target.transport {
        Transport::Udp => {
            let any = match target.server {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let socket = UdpSocket::bind(any).await.map_err(ProbeError::Connect)?;
            Ok(Arc::new(socket))
        }
        Transport::Tcp => {
            let stream = TcpStream::connect(target.server)
                .await
                .map_err(ProbeError::Connect)?;
            Ok(Arc::new(FramedConn::new(stream, target.server)))
        }
        Transport::Tls => {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| ProbeError::Tls(std::io::Error::other(error)))?
                .with_root_certificates(Arc::clone(&target.roots))
                .with_no_client_auth();
            let name =
                ServerName::try_from(target.server_name.clone()).map_err(ProbeError::ServerName)?;
            let stream = TcpStream::connect(target.server)
                .await
                .map_err(ProbeError::Connect)?;
            let stream = TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await
                .map_err(ProbeError::Tls)?;
            Ok(Arc::new(FramedConn::new(stream, target.server)))
        }
    }
}

fn refused(error: impl std::fmt::Display) -> ProbeError {
    ProbeError::Turn(error.to_string())
}
