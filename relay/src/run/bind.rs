//! Binding every socket of the relay, before anything is served.
//!
//! Responsible for listeners and the admin socket. A listener whose socket the supervisor has bound gets that one
//! (`inherited`). Not responsible for relayed sockets, which come and go.

use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tracing::warn;

use crate::config::{AdminAddress, Config, ListenerTransport};
use crate::listener::{ListenTransport, Listener};
use crate::net::{Steering, SteeringKey, UdpOptions, UdpSocket};
use crate::worker::{Apart, ListenerSockets};

use super::inherited::Inherited;
use super::{BoundListener, StartError, build};

/// What a burst of datagrams may wait in, either way: while a worker is in a round, and while the interface is busy, as
/// the media for all clients of a worker leaves through one socket. The kernel may grant less.
pub(super) const LISTENER_BUFFER: usize = 4 << 20;
/// What a burst of requests may wait in: about 2,500, at what the kernel takes for a small datagram, and twice what is asked
/// for. More would be answered later than their clients wait. Answers leave with the media.
const REQUEST_BUFFER: usize = 1 << 20;
/// What the media of those who crowd others out may wait in. They wait for what the others leave; a longer queue would not
/// lose less.
const APART_BUFFER: usize = 1 << 20;
/// Connections that wait to be accepted.
pub(super) const BACKLOG: i32 = 1024;
/// Who may speak to the admin API over its Unix socket: the relay's user and group.
const ADMIN_MODE: u32 = 0o660;

/// The relay's sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// For each worker, its UDP listeners in the order of the configuration.
    pub(crate) udp: Vec<Vec<ListenerSockets>>,
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
    Unix(UnixListener, SocketFile),
}

/// The name of a Unix socket, removed when this goes: whoever connects to one that is left behind is told that nobody
/// listens, and not that there is no relay.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The next start replaces what cannot be removed.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl AdminSocket {
    pub(crate) const fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(..) => None,
        }
    }
}

/// Binds everything that the configuration names, except what has been inherited.
pub(crate) fn all(
    config: &Config,
    workers: usize,
    mut inherited: Inherited,
) -> Result<Sockets, StartError> {
    let steering = SteeringKey::new(&build::random()?);
    let mut udp: Vec<Vec<ListenerSockets>> = (0..workers).map(|_| Vec::new()).collect();
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
            None => {
                let inherited = inherited.udp(listener.address, &mut udp).map_err(failed)?;
                if inherited > 0 {
                    listener.address
                } else {
                    bind_udp(listener.address, &steering, &mut udp).map_err(failed)?
                }
            }
            Some(stream) => {
                let mut sockets = inherited.tcp(listener.address).map_err(failed)?;
                if sockets.is_empty() {
                    sockets.push(bind_tcp(listener.address).map_err(failed)?);
                }
                let mut address = listener.address;
                for socket in sockets {
                    address = socket.local_addr().map_err(failed)?;
                    tcp.push(Listener {
                        transport: stream,
                        socket,
                    });
                }
                address
            }
        };
        listeners.push(BoundListener { transport, address });
    }
    inherited.none_left()?;
    Ok(Sockets {
        udp,
        tcp,
        listeners,
        admin: bind_admin(&config.admin.address)?,
    })
}

/// The smallest buffers among the UDP listeners' sockets for media, in bytes as the kernel's limits are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) receive: usize,
    pub(crate) send: usize,
}

impl Granted {
    /// What each of them should be.
    pub(crate) const WANTED: usize = LISTENER_BUFFER;

    /// What the kernel granted; `None` without sockets.
    pub(crate) fn of(udp: &[Vec<ListenerSockets>]) -> Option<Self> {
        // The kernel tells twice what it was asked for, which is what it sets aside.
        udp.iter()
            .flatten()
            .map(|sockets| {
                let socket = SockRef::from(&sockets.data);
                Self {
                    receive: socket.recv_buffer_size().unwrap_or(0) / 2,
                    send: socket.send_buffer_size().unwrap_or(0) / 2,
                }
            })
            .reduce(|a, b| Self {
                receive: a.receive.min(b.receive),
                send: a.send.min(b.send),
            })
    }

    /// Whether both are as large as they should be.
    pub(crate) const fn is_enough(self) -> bool {
        self.receive >= LISTENER_BUFFER && self.send >= LISTENER_BUFFER
    }
}

/// Three sockets a worker on one address: for media, for requests, and for the media of those who crowd others out. The first
/// picks the port, when the kernel is to pick it.
///
/// What comes before the kernel has been told how to choose may reach another worker than its client's, where it is
/// answered or dropped like a stranger's: nobody can have an allocation yet, as that takes a nonce of this start.
fn bind_udp(
    configured: SocketAddr,
    steering: &SteeringKey,
    workers: &mut [Vec<ListenerSockets>],
) -> io::Result<SocketAddr> {
    let data = UdpOptions {
        receive_buffer: Some(LISTENER_BUFFER),
        send_buffer: Some(LISTENER_BUFFER),
        ..UdpOptions::listener()
    };
    let control = UdpOptions {
        receive_buffer: Some(REQUEST_BUFFER),
        ..UdpOptions::listener()
    };
    let apart = UdpOptions {
        receive_buffer: Some(APART_BUFFER),
        ..UdpOptions::listener()
    };
    // SO_REUSEPORT would let a second relay of the same user share the address unnoticed, each getting a share of the
    // clients; so the first bind is made without it, to find that out. The kernel numbers the sockets as they are bound.
    let alone = UdpOptions {
        reuse_port: false,
        ..data
    };
    let first = UdpSocket::bind(configured, &alone)?;
    first.share_port()?;
    let address = first.local_addr();
    let mut group = vec![first];
    for (kind, options) in [&data, &control, &apart].into_iter().enumerate() {
        while group.len() < (kind + 1) * workers.len() {
            group.push(UdpSocket::bind(address, options)?);
        }
    }
    let steered = Steering::begin(&group, steering);
    share_out(group, steered, workers);
    Ok(address)
}

/// Gives each worker its part of the group; where the kernel was not to be steered, its socket, and the others are closed.
fn share_out(
    mut group: Vec<UdpSocket>,
    steered: io::Result<Steering>,
    workers: &mut [Vec<ListenerSockets>],
) {
    let mut control = group.split_off(workers.len());
    let apart = control.split_off(workers.len());
    match steered {
        Ok(steering) => {
            let list = Arc::default();
            let group = group.into_iter().zip(control).zip(apart);
            for (sockets, ((data, control), apart)) in workers.iter_mut().zip(group) {
                sockets.push(ListenerSockets {
                    data,
                    control: Some(control),
                    apart: Some(Apart::new(apart, steering, Arc::clone(&list))),
                });
            }
        }
        Err(error) => {
            warn!(
                address = group.first().map(|socket| tracing::field::display(socket.local_addr())),
                %error,
                "the kernel does not steer what clients send into queues of their own, so that a flood of media can \
                 delay requests and cost other calls their media"
            );
            drop((control, apart));
            for (sockets, data) in workers.iter_mut().zip(group) {
                sockets.push(ListenerSockets::single(data));
            }
        }
    }
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
            let (socket, file) = bind_unix(path).map_err(failed)?;
            Ok(AdminSocket::Unix(socket, file))
        }
    }
}

/// A socket file that a relay left behind when it was killed is replaced; one that somebody answers on is not.
fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    // Only a refusal says that nobody is there. A full backlog or a missing permission is somebody's.
    if is_socket
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile(path.to_path_buf());
    // Whatever the umask is, and before anybody can connect.
    std::fs::set_permissions(path, Permissions::from_mode(ADMIN_MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), file))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn socket_name(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("taciturn-{test}-{}.sock", std::process::id()))
    }

    #[test]
    fn an_admin_socket_is_closed_to_others_and_goes_with_its_relay() {
        let path = socket_name("mode");
        let (listener, file) = bind_unix(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let path = socket_name("dead");
        let (listener, file) = bind_unix(&path).unwrap();
        assert_eq!(
            bind_unix(&path).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(path.exists());
        drop(listener);
        // A name without a listener, as after a kill.
        assert!(path.exists());
        let (_listener, again) = bind_unix(&path).unwrap();
        drop(again);
        drop(file);

        // A socket of another kind answers no stream, and is not ours to remove.
        let _other = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        assert!(bind_unix(&path).is_err());
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
    }

    fn key() -> SteeringKey {
        SteeringKey::new(&[7; SteeringKey::BYTES])
    }

    fn no_workers(count: usize) -> Vec<Vec<ListenerSockets>> {
        (0..count).map(|_| Vec::new()).collect()
    }

    #[test]
    fn listeners_have_large_buffers_both_ways() {
        let mut workers = no_workers(1);
        bind_udp(([127, 0, 0, 1], 0).into(), &key(), &mut workers).unwrap();
        let socket = SockRef::from(&workers[0][0].data);
        let fresh = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let fresh = SockRef::from(&fresh);
        assert!(socket.send_buffer_size().unwrap() >= fresh.send_buffer_size().unwrap());
        let granted = Granted::of(&workers).unwrap();
        assert_eq!(granted.send, socket.send_buffer_size().unwrap() / 2);
    }

    #[test]
    fn each_worker_has_three_sockets_and_nobody_else_the_address() {
        for workers in [1, 3] {
            let mut bound = no_workers(workers);
            let address = bind_udp(([127, 0, 0, 1], 0).into(), &key(), &mut bound).unwrap();
            for sockets in &bound {
                let control = sockets[0].control.as_ref().unwrap();
                assert_eq!(sockets[0].data.local_addr(), address);
                assert_eq!(control.local_addr(), address);
                assert!(sockets[0].apart.is_some());
            }
            let again = bind_udp(address, &key(), &mut no_workers(1)).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        }
    }

    /// A kernel without the option, or without leave to use it, spreads the clients by itself, as it does unasked.
    #[test]
    fn an_unwilling_kernel_leaves_each_worker_one_socket() {
        let options = UdpOptions::listener();
        let first = UdpSocket::bind(([127, 0, 0, 1], 0).into(), &options).unwrap();
        let address = first.local_addr();
        let more = (1..9).map(|_| UdpSocket::bind(address, &options).unwrap());
        let group = [first].into_iter().chain(more).collect();
        let mut workers = no_workers(3);
        share_out(group, Err(io::ErrorKind::Unsupported.into()), &mut workers);
        for sockets in &workers {
            assert!(sockets[0].control.is_none() && sockets[0].apart.is_none());
            assert_eq!(sockets[0].data.local_addr(), address);
        }
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut came = 0;
        let mut batch = crate::net::ReceiveBatch::with_shape(64, 64);
        for _ in 0..50 {
            client.send_to(b"anything", address).unwrap();
        }
        for sockets in &workers {
            came += sockets[0].data.receive(&mut batch, 64).unwrap().len();
        }
        assert_eq!(came, 50);
    }

    /// Whoever is there first, of the same user and willing to share, is found out.
    #[test]
    fn a_shared_port_of_somebody_else_is_not_joined() {
        let theirs = UdpSocket::bind(([127, 0, 0, 1], 0).into(), &UdpOptions::listener()).unwrap();
        let error = bind_udp(theirs.local_addr(), &key(), &mut no_workers(2)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
