//! Binding every socket of the relay, before anything is served.
//!
//! Responsible for listeners and the admin socket. Not responsible for relayed sockets, which come and go.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{AdminAddress, Config, ListenerTransport};
use crate::listener::{ListenTransport, Listener};
use crate::net::{UdpOptions, UdpSocket};

use super::{BoundListener, StartError};

/// What a burst of datagrams may wait in while a worker is in a round; the kernel may grant less.
const LISTENER_BUFFER: usize = 4 << 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The relay's sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// For each worker, its UDP listeners in the order of the configuration.
    pub(crate) udp: Vec<Vec<UdpSocket>>,
    /// TCP, TLS and auto listeners.
    pub(crate) tcp: Vec<Listener>,
    /// All listeners as they are bound.
    pub(crate) listeners: Vec<BoundListener>,
    /// The admin API's.
    pub(crate) admin: AdminSocket,
}

/// The admin API's socket.
#[derive(Debug)]
pub(crate) enum AdminSocket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

impl AdminSocket {
    pub(crate) const fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(..) => None,
        }
    }

    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix(_, path) => Some(path.clone()),
        }
    }
}

/// Binds everything that the configuration names.
pub(crate) fn all(config: &Config, workers: usize) -> Result<Sockets, StartError> {
    let mut udp: Vec<Vec<UdpSocket>> = (0..workers).map(|_| Vec::new()).collect();
    let mut tcp = Vec::new();
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let transport = listener.transport;
        let failed = |source| StartError::Listen {
            transport: transport.as_str(),
            address: listener.address,
            source,
        };
        let stream = match transport {
            ListenerTransport::Udp => None,
            ListenerTransport::Tcp => Some(ListenTransport::Tcp),
            ListenerTransport::Tls => Some(ListenTransport::Tls),
            ListenerTransport::Auto => Some(ListenTransport::Auto),
        };
        let address = match stream {
            None => bind_udp(listener.address, &mut udp).map_err(failed)?,
            Some(stream) => {
                let socket = bind_tcp(listener.address).map_err(failed)?;
                let address = socket.local_addr().map_err(failed)?;
                tcp.push(Listener {
                    transport: stream,
                    socket,
                });
                address
            }
        };
        listeners.push(BoundListener { transport, address });
    }
    Ok(Sockets {
        udp,
        tcp,
        listeners,
        admin: bind_admin(&config.admin.address)?,
    })
}

/// One socket a worker on one address. The first picks the port, when the kernel is to pick it.
fn bind_udp(configured: SocketAddr, workers: &mut [Vec<UdpSocket>]) -> io::Result<SocketAddr> {
    // SO_REUSEPORT would let a second relay of the same user share the address unnoticed, each getting a share of the
    // clients; so the first bind is made without it, to find that out.
    if configured.port() != 0 {
        drop(UdpSocket::bind(
            configured,
            &UdpOptions {
                reuse_port: false,
                ..UdpOptions::listener()
            },
        )?);
    }
    let options = UdpOptions {
        receive_buffer: Some(LISTENER_BUFFER),
        ..UdpOptions::listener()
    };
    let mut address = configured;
    for sockets in workers {
        let socket = UdpSocket::bind(address, &options)?;
        address = socket.local_addr();
        sockets.push(socket);
    }
    Ok(address)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // 0.0.0.0 and [::] are two listeners, and an IPv4 client is never seen under an IPv4-mapped address.
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_admin(address: &AdminAddress) -> Result<AdminSocket, StartError> {
    match address {
        AdminAddress::Tcp(address) => {
            let failed = |source| StartError::Admin {
                address: address.to_string(),
                source,
            };
            let socket = bind_tcp(*address).map_err(failed)?;
            let bound = socket.local_addr().map_err(failed)?;
            Ok(AdminSocket::Tcp(socket, bound))
        }
        AdminAddress::Unix(path) => {
            let failed = |source| StartError::Admin {
                address: format!("unix:{}", path.display()),
                source,
            };
            let socket = bind_unix(path).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            Ok(AdminSocket::Unix(socket, path.clone()))
        }
    }
}

/// A socket file that a relay left behind when it was killed is replaced; one that somebody answers on is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}
