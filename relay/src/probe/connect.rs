//! From a target to something that carries messages to and fro: UDP, TCP or TLS, straight or through a proxy.
//!
//! Responsible for connections, and for saying why there is none. Not responsible for what is said over them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use taciturn_protocol::address::Transport;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use webrtc_util::Conn;

use super::datagrams::DatagramConn;
use super::failure::{Failure, shown};
use super::framed::FramedConn;
use super::notes::Notes;
use super::trust::Verifier;
use super::{Route, Target, proxy};

pub(super) type Connection = Arc<dyn Conn + Send + Sync>;

/// A connection to the target; each step gets as long as `patience`.
pub(super) async fn connect(
    target: &Target,
    notes: &Arc<Notes>,
    patience: Duration,
) -> Result<Connection, Failure> {
    let server = target.route.first_hop();
    let notes = Arc::clone(notes);
    match target.transport {
        Transport::Udp => DatagramConn::new(server, notes)
            .map(|conn| Arc::new(conn) as Connection)
            .map_err(|error| Failure::Local(error.to_string())),
        Transport::Tcp => {
            let stream = reach(&target.route, patience).await?;
            Ok(Arc::new(FramedConn::new(stream, server, notes)))
        }
        Transport::Tls => {
            let (config, verifier) = Verifier::client(&target.trust)?;
            let name = ServerName::try_from(target.server_name.clone())
                .map_err(|error| Failure::Local(format!("not a server name: {error}")))?;
            let stream = reach(&target.route, patience).await?;
            let handshake = TlsConnector::from(config).connect(name, stream);
            let stream = timeout(patience, handshake)
                .await
                .map_err(|_| Failure::TlsRefused("no answer".to_owned()))?
                .map_err(|error| verifier.refused().unwrap_or_else(|| tls(&error)))?;
            Ok(Arc::new(FramedConn::new(stream, server, notes)))
        }
    }
}

/// A TCP connection, through the proxy if there is one.
async fn reach(route: &Route, patience: Duration) -> Result<TcpStream, Failure> {
    let connected = timeout(patience, TcpStream::connect(route.first_hop())).await;
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
    Ok(stream)
}

fn tcp(error: &io::Error) -> Failure {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Failure::Refused,
        Kind::TimedOut => Failure::Silent,
        Kind::ConnectionReset | Kind::ConnectionAborted => Failure::Closed,
        Kind::NetworkUnreachable | Kind::HostUnreachable | Kind::NetworkDown => {
            Failure::Unreachable(error.kind().to_string())
        }
        _ => Failure::Local(shown(&error.to_string())),
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
