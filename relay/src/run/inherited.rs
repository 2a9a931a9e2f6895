//! Sockets that a supervisor has bound for the relay (socket activation), so that port 443 needs no privilege here.
//!
//! Responsible for checking that they can be what `[[listener]]` says, for handing them out by transport and address, and
//! for naming those that nobody asked for. Not responsible for taking them from the environment (`net`), nor for sockets
//! that the relay binds itself (`bind`).
//!
//! A TCP socket serves a "tcp", a "tls" or an "auto" listener: what is spoken there is the configuration's to say. Several
//! UDP sockets may have one address (`ReusePort=yes`), and the workers share them out; the kernel spreads the clients over
//! the sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use socket2::{SockRef, Socket, Type};
use tracing::{info, warn};

use crate::net::{self, InheritedFd, UdpOptions, UdpSocket};

use crate::worker::ListenerSockets;

use super::bind::{BACKLOG, LISTENER_BUFFER};

/// Why a socket that was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InheritedError {
    /// The environment contradicts itself or the process's descriptors.
    #[error(
        "LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES do not describe the sockets that this process inherits"
    )]
    Environment(#[source] io::Error),
    /// It is a pipe, a file, a Unix socket or the like.
    #[error("the inherited {name} is no UDP or TCP socket; remove it from the socket unit")]
    NotIp {
        /// The socket's name.
        name: String,
    },
    /// It takes IPv4 as well, and would show its clients under addresses that are none of theirs.
    #[error(
        "the inherited {name} on {address} takes both IPv4 and IPv6; set BindIPv6Only=ipv6-only in the socket unit, and \
         name the IPv4 address too"
    )]
    DualStack {
        /// The socket's name.
        name: String,
        /// Where it is bound.
        address: SocketAddr,
    },
    /// A connection, and no socket that accepts them.
    #[error(
        "the inherited {name} on {address} is one connection and no listening socket; set Accept=no in the socket unit"
    )]
    Connection {
        /// The socket's name.
        name: String,
        /// Where it is bound.
        address: SocketAddr,
    },
    /// No listener is configured there.
    #[error(
        "the inherited {name} on {transport} {address} matches no [[listener]]; add one with exactly this address, or \
         remove the socket from the socket unit"
    )]
    Unmatched {
        /// The socket's name.
        name: String,
        /// `udp` or `tcp`.
        transport: &'static str,
        /// Where it is bound.
        address: SocketAddr,
    },
}

/// The sockets that have not been handed out.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<InheritedSocket>,
}

#[derive(Debug)]
struct InheritedSocket {
    socket: Socket,
    name: String,
    stream: bool,
    address: SocketAddr,
}

impl Inherited {
    /// Those that this process was started with.
    pub(crate) fn take() -> Result<Self, InheritedError> {
        Self::of(net::inherited_fds().map_err(InheritedError::Environment)?)
    }

    fn of(fds: Vec<InheritedFd>) -> Result<Self, InheritedError> {
        let sockets = fds.into_iter().map(InheritedSocket::of);
        Ok(Self {
            sockets: sockets.collect::<Result<_, _>>()?,
        })
    }

    /// The TCP sockets of this address, which listen.
    pub(crate) fn tcp(&mut self, address: SocketAddr) -> io::Result<Vec<TcpListener>> {
        let sockets = self.matching(address, true);
        sockets
            .into_iter()
            .map(|socket| {
                // As `bind` has them, whatever the supervisor chose.
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                Ok(socket.into())
            })
            .collect()
    }

    /// Shares the UDP sockets of this address out among the workers, and returns how many there are. With fewer than there
    /// are workers some have no client there, and with more some have two: every client is served either way.
    ///
    /// Requests and media share a queue there: for steering them apart (`net::steer`) one would have to know in which order
    /// the supervisor bound the sockets, and to have three times their number.
    pub(crate) fn udp(
        &mut self,
        address: SocketAddr,
        workers: &mut [Vec<ListenerSockets>],
    ) -> io::Result<usize> {
        let sockets = self.matching(address, false);
        let count = sockets.len();
        if count > 0 && count < workers.len() {
            warn!(
                transport = "udp",
                %address,
                sockets = count,
                workers = workers.len(),
                "fewer inherited sockets than workers, so that the others get no clients there; give the socket unit \
                 ReusePort=yes and a line ListenDatagram= for each worker"
            );
        }
        for (number, socket) in sockets.into_iter().enumerate() {
            let options = buffers(&socket);
            let turn = number % workers.len().max(1);
            if let Some(worker) = workers.get_mut(turn) {
                let socket = UdpSocket::from_fd(OwnedFd::from(socket), &options)?;
                worker.push(ListenerSockets::single(socket));
            }
        }
        Ok(count)
    }

    /// An error when a socket has found no listener: its clients would wait for ever.
    pub(crate) fn none_left(self) -> Result<(), InheritedError> {
        match self.sockets.into_iter().next() {
            None => Ok(()),
            Some(left) => Err(InheritedError::Unmatched {
                transport: if left.stream { "tcp" } else { "udp" },
                address: left.address,
                name: left.name,
            }),
        }
    }

    fn matching(&mut self, address: SocketAddr, stream: bool) -> Vec<Socket> {
        let matches = |each: &mut InheritedSocket| each.address == address && each.stream == stream;
        let matching: Vec<_> = self.sockets.extract_if(.., matches).collect();
        if let Some(first) = matching.first() {
            let transport = if stream { "tcp" } else { "udp" };
            info!(name = first.name, transport, %address, sockets = matching.len(), "inherited");
        }
        matching.into_iter().map(|each| each.socket).collect()
    }
}

impl InheritedSocket {
    fn of(inherited: InheritedFd) -> Result<Self, InheritedError> {
        let InheritedFd { fd, name } = inherited;
        let socket = Socket::from(fd);
        let address = socket
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket());
        let (Some(address), Ok(kind)) = (address, socket.r#type()) else {
            return Err(InheritedError::NotIp { name });
        };
        let stream = kind == Type::STREAM;
        if !stream && kind != Type::DGRAM {
            return Err(InheritedError::NotIp { name });
        }
        if address.is_ipv6() && !socket.only_v6().unwrap_or(false) {
            return Err(InheritedError::DualStack { name, address });
        }
        if stream && !socket.is_listener().unwrap_or(false) {
            return Err(InheritedError::Connection { name, address });
        }
        Ok(Self {
            socket,
            name,
            stream,
            address,
        })
    }
}

/// What a listener's socket is asked for, except that a buffer is left as it is where the kernel would grant less: a
/// supervisor may force large ones (`ReceiveBuffer=`), and this process may not.
fn buffers(socket: &Socket) -> UdpOptions {
    let wanted = UdpOptions {
        receive_buffer: Some(LISTENER_BUFFER),
        send_buffer: Some(LISTENER_BUFFER),
        ..UdpOptions::listener()
    };
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let Ok(granted) = UdpSocket::bind(loopback, &wanted) else {
        return wanted;
    };
    let granted = SockRef::from(&granted);
    let is_more = |granted: io::Result<usize>, present: io::Result<usize>| matches!((granted, present), (Ok(granted), Ok(present)) if granted > present);
    let receive = is_more(granted.recv_buffer_size(), socket.recv_buffer_size());
    let send = is_more(granted.send_buffer_size(), socket.send_buffer_size());
    UdpOptions {
        receive_buffer: wanted.receive_buffer.filter(|_| receive),
        send_buffer: wanted.send_buffer.filter(|_| send),
        ..wanted
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::UdpSocket as StdUdpSocket;
    use std::os::unix::net::UnixDatagram;

    use socket2::{Domain, Protocol};

    use super::*;

    fn handed(fd: impl Into<OwnedFd>) -> InheritedFd {
        InheritedFd {
            fd: fd.into(),
            name: "web.socket (descriptor 3)".to_owned(),
        }
    }

    fn shared_port(address: SocketAddr) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket
    }

    fn refusal(fd: impl Into<OwnedFd>) -> String {
        Inherited::of(vec![handed(fd)]).unwrap_err().to_string()
    }

    #[test]
    fn sockets_are_matched_by_transport_and_address() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = StdUdpSocket::bind(address).unwrap();
        let mut inherited = Inherited::of(vec![handed(tcp), handed(udp)]).unwrap();
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], address.port()));
        let mut workers = vec![Vec::new()];
        assert!(inherited.tcp(elsewhere).unwrap().is_empty());
        assert_eq!(inherited.udp(elsewhere, &mut workers).unwrap(), 0);
        let taken = inherited.tcp(address).unwrap();
        assert_eq!(taken[0].local_addr().unwrap(), address);
        // Nobody waits for a connection that has gone again.
        assert_eq!(
            taken[0].accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let left = inherited.none_left().unwrap_err().to_string();
        assert!(left.contains(&format!("udp {address}")), "{left}");
        assert!(left.contains("web.socket (descriptor 3)"), "{left}");
    }

    #[test]
    fn workers_share_the_sockets_of_an_address_whatever_their_number() {
        for (sockets, workers, shares) in [
            (1, 2, vec![1, 0]),
            (2, 2, vec![1, 1]),
            (5, 2, vec![3, 2]),
            (1, 1, vec![1]),
        ] {
            let first = shared_port("127.0.0.1:0".parse().unwrap());
            let address = first.local_addr().unwrap().as_socket().unwrap();
            let more = (1..sockets).map(|_| handed(shared_port(address)));
            let handed = [handed(first)].into_iter().chain(more).collect();
            let mut inherited = Inherited::of(handed).unwrap();
            let mut udp: Vec<Vec<ListenerSockets>> = (0..workers).map(|_| Vec::new()).collect();
            assert_eq!(inherited.udp(address, &mut udp).unwrap(), sockets);
            let shared: Vec<usize> = udp.iter().map(Vec::len).collect();
            assert_eq!(shared, shares);
            inherited.none_left().unwrap();
        }
    }

    #[test]
    fn what_can_be_no_listener_is_refused_with_the_remedy() {
        let (one, _other) = UnixDatagram::pair().unwrap();
        assert!(refusal(one).contains("no UDP or TCP socket"));
        let (pipe, _end) = io::pipe().unwrap();
        assert!(refusal(pipe).contains("no UDP or TCP socket"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(refusal(connection).contains("Accept=no"));
        // The standard library leaves an IPv6 socket as the system's default has it.
        let both = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        both.set_only_v6(false).unwrap();
        both.bind(&SocketAddr::from(([0u16; 8], 0)).into()).unwrap();
        assert!(refusal(both).contains("BindIPv6Only=ipv6-only"));
    }

    #[test]
    fn a_buffer_is_never_made_smaller() {
        let socket = shared_port("127.0.0.1:0".parse().unwrap());
        socket.set_recv_buffer_size(LISTENER_BUFFER).unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let before = socket.recv_buffer_size().unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut inherited = Inherited::of(vec![handed(socket)]).unwrap();
        let mut workers = vec![Vec::new()];
        inherited.udp(address, &mut workers).unwrap();
        let socket = SockRef::from(&workers[0][0].data);
        assert!(socket.recv_buffer_size().unwrap() >= before);
        assert!(socket.send_buffer_size().unwrap() > 2 * 4096);
    }
}
