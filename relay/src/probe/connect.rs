//! From a target to something that carries messages to and fro: UDP, TCP or TLS, straight or through a proxy.
//!
//! Responsible for connections, and for saying why there is none. Not responsible for what is said over them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use taciturn_protocol::address::Transport;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use webrtc_util::Conn;

use super::datagrams::DatagramConn;
use super::failure::{Failure, shown};
use super::framed::FramedConn;
use super::notes::Notes;
use super::trust::Verifier;
use super::{Route, Target, proxy};
use crate::self_check::SelfCheckSource;

pub(super) type Connection = Arc<dyn Conn + Send + Sync>;

/// A connection to the target; each step gets as long as `patience`.
pub(super) async fn connect(
    target: &Target,
    notes: &Arc<Notes>,
    patience: Duration,
) -> Result<Connection, Failure> {
    let server = target.route.first_hop();
    let notes = Arc::clone(notes);
    let announce = target.announce.as_ref();
    let local = match announce {
        None => any_of(&server),
        // The relay is to know the socket before it hears from it, so the kernel has to say first from where it will send.
        Some(_) => source_for(&server).map_err(|error| Failure::Unreachable(error.to_string()))?,
    };
    match target.transport {
        Transport::Udp => DatagramConn::new(local, server, announce, notes)
            .map(|conn| Arc::new(conn) as Connection)
            .map_err(|error| Failure::Local(error.to_string())),
        Transport::Tcp => {
            let (stream, announced) = reach(target, local, patience).await?;
            Ok(Arc::new(FramedConn::new(stream, server, announced, notes)))
        }
        Transport::Tls => {
            let (config, verifier) = Verifier::client(&target.trust)?;
            let name = ServerName::try_from(target.server_name.clone())
                .map_err(|error| Failure::Local(format!("not a server name: {error}")))?;
            let (stream, announced) = reach(target, local, patience).await?;
            let handshake = TlsConnector::from(config).connect(name, stream);
            let stream = timeout(patience, handshake)
                .await
                .map_err(|_| Failure::TlsRefused("no answer".to_owned()))?
                .map_err(|error| verifier.refused().unwrap_or_else(|| tls(&error)))?;
            Ok(Arc::new(FramedConn::new(stream, server, announced, notes)))
        }
    }
}

/// The address from which this machine would send to `server`, any port.
fn source_for(server: &SocketAddr) -> io::Result<SocketAddr> {
    let socket = std::net::UdpSocket::bind(any_of(server))?;
    // Connecting a UDP socket sends nothing: it only makes the kernel choose.
    socket.connect(server)?;
    Ok(SocketAddr::new(socket.local_addr()?.ip(), 0))
}

/// A TCP connection, through the proxy if there is one.
async fn reach(
    target: &Target,
    local: SocketAddr,
    patience: Duration,
) -> Result<(TcpStream, Vec<SelfCheckSource>), Failure> {
    let route = &target.route;
    let here = |error: io::Error| Failure::Local(shown(&error.to_string()));
    let socket = match local {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(here)?;
    let announced = match &target.announce {
        None => Vec::new(),
        Some(announce) => {
            socket.bind(local).map_err(here)?;
            announce.enter(socket.local_addr().map_err(here)?)
        }
    };
    let connected = timeout(patience, socket.connect(route.first_hop())).await;
    let refused = match route {
        Route::Direct(_) => |error: &io::Error| tcp(error),
        Route::Proxy { .. } => {
            |error: &io::Error| Failure::ProxyUnreachable(error.kind().to_string())
        }
    };
    let mut stream = connected
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| refused(&error))?;
    // Messages are small and each waits for its answer.
    let _ = stream.set_nodelay(true);
    if let Route::Proxy { authority, .. } = route {
        timeout(patience, proxy::tunnel(&mut stream, authority))
            .await
            .map_err(|_| Failure::ProxyUnreachable("it does not answer".to_owned()))??;
    }
    Ok((stream, announced))
}

fn tcp(error: &io::Error) -> Failure {
    use io::ErrorKind as Kind;
    let kind = error.kind();
    if kind == Kind::ConnectionRefused {
        Failure::Refused
    } else if kind == Kind::TimedOut {
        Failure::Silent
    } else if matches!(kind, Kind::ConnectionReset | Kind::ConnectionAborted) {
        Failure::Closed
    } else if matches!(
        kind,
        Kind::NetworkUnreachable | Kind::HostUnreachable | Kind::NetworkDown
    ) {
        Failure::Unreachable(kind.to_string())
    } else {
        Failure::Local(shown(&error.to_string()))
    }
}

/// Why a handshake failed that did not fail for the certificate.
fn tls(error: &io::Error) -> Failure {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => Failure::NotTls,
        Some(rustls::Error::AlertReceived(alert)) => {
            Failure::TlsRefused(format!("alert {alert:?}"))
        }
        Some(other) => Failure::TlsRefused(shown(&other.to_string())),
        None => Failure::TlsRefused(error.kind().to_string()),
    }
}

/// The wildcard address of the same family, any port.
pub(super) fn any_of(server: &SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
