//! UDP sockets as a relay uses them: never blocking, never fragmented on purpose or by accident, never closed by an error.
//!
//! Responsible for a socket's options, for receiving batches, for single sends and for the error queue. Not responsible for
//! queued sends (`flush`), nor for which socket is used for what.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    address::RawAddr,
    buffer::ReceiveBatch,
    faults::{Operation, Seam},
    flush::{control, is_pending},
    outcome::SendFailure,
    sys,
    transmit::Destination,
};

/// Position of the drop counter in `SO_MEMINFO`.
const MEMINFO_DROPS: usize = 8;
/// How often one receive is repeated after errors that belong to earlier sends. A stranger can cause more by sending ICMP
/// messages fast; the rest is reported, and the next round of the event loop goes on.
const RECEIVE_ATTEMPTS: usize = 4;
/// Entries of the error queue that one call passes over because they are no ICMP errors.
const FOREIGN_ERRORS: usize = 64;

const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// What a socket is asked for. Options that the kernel does not know are left out, except those a relay cannot do without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpOptions {
    /// Several sockets on one address, among which the kernel spreads the clients (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Bytes of the kernel's receive buffer; `None` leaves the system's default. Beyond the system's limit only with `CAP_NET_ADMIN`.
    pub receive_buffer: Option<usize>,
    /// Bytes of the kernel's send buffer, likewise.
    pub send_buffer: Option<usize>,
    /// Tell which address a datagram was sent to; needed on a wildcard address.
    pub packet_info: bool,
    /// Tell DSCP and ECN of received datagrams.
    pub traffic_class: bool,
    /// Receive trains of datagrams in one buffer (`UDP_GRO`).
    pub gro: bool,
    /// Keep ICMP errors, with the destination that they are about (`IP_RECVERR`).
    pub error_queue: bool,
}

impl UdpOptions {
    /// A socket that clients send to: shared port, packet info, traffic class, trains.
    pub const fn listener() -> Self {
        Self {
            reuse_port: true,
            receive_buffer: None,
            send_buffer: None,
            packet_info: true,
            traffic_class: true,
            gro: true,
            error_queue: false,
        }
    }

    /// A socket that peers send to: traffic class, trains, ICMP errors.
    pub const fn relayed() -> Self {
        Self {
            reuse_port: false,
            receive_buffer: None,
            send_buffer: None,
            packet_info: false,
            traffic_class: true,
            gro: true,
            error_queue: true,
        }
    }
}

/// An ICMP error about a datagram that this socket sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Where that datagram was going (the inner destination; RFC 8656 §11.5), port 0 if unknown.
    pub peer: SocketAddr,
    /// ICMP type, of the ICMP version that belongs to the peer's family.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// For IPv4 "fragmentation needed" and IPv6 "packet too big" the MTU in bytes, otherwise 0.
    pub mtu: u32,
}

/// A bound UDP socket. May be used from any thread; a relay uses it from one.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
    pub(super) trains: Trains,
    pub(super) faults: Seam,
}

impl UdpSocket {
    /// Binds a socket. An IPv6 socket takes IPv6 only.
    ///
    /// Datagrams leave without DF (RFC 8656 §12: 0 unless asked otherwise, see [`UdpSocket::send_dont_fragment`]).
    ///
    /// # Errors
    ///
    /// What `socket`, `bind` and the indispensable options report, `EADDRINUSE` and `EMFILE` among them.
    pub fn bind(addr: SocketAddr, options: &UdpOptions) -> io::Result<Self> {
        let faults = Seam::installed();
        faults.check(Operation::Bind)?;
        let kind = Type::DGRAM.nonblocking();
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        // Each call that is spared here is spared for every allocation.
        let local = match addr.port() {
            0 => bound_address(&socket)?,
            _ => addr,
        };
        Self::configure(socket, local, options, faults)
    }

    /// Lets sockets that are bound from now on with [`UdpOptions::reuse_port`] share this one's port, in a group that begins
    /// with it. As it was bound alone, nobody else's can have come before.
    ///
    /// # Errors
    ///
    /// When the system knows no shared ports.
    pub fn share_port(&self) -> io::Result<()> {
        sys::set_int(self.borrow(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
    }

    /// Takes over a socket that somebody else bound (socket activation).
    ///
    /// # Errors
    ///
    /// When it is no bound IP socket, or an indispensable option is refused.
    pub fn from_fd(fd: OwnedFd, options: &UdpOptions) -> io::Result<Self> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        let local = bound_address(&socket)?;
        Self::configure(socket, local, options, Seam::installed())
    }

    /// The address that the socket is bound to.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Receives what is waiting into the free buffers of `batch`, at most `limit` of them; returns which were filled.
    ///
    /// An empty range means that nothing is waiting or that the batch is full. Fewer than `limit` means that the socket is
    /// empty now. A pending ICMP error is passed over; it never costs a datagram.
    ///
    /// # Errors
    ///
    /// Any other error of `recvmmsg`, which the caller counts; the socket stays usable.
    pub fn receive(&self, batch: &mut ReceiveBatch, limit: usize) -> io::Result<Range<usize>> {
        if limit == 0 || batch.room() == 0 {
            return Ok(batch.fill(0));
        }
        let mut attempts = RECEIVE_ATTEMPTS;
        loop {
            attempts -= 1;
            let outcome = self
                .faults
                .check(Operation::Receive)
                .and_then(|()| sys::receive_many(self.borrow(), batch.free(limit)));
            match outcome {
                Ok(count) => return Ok(batch.fill(count)),
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                    return Ok(batch.fill(0));
                }
                Err(error) if attempts > 0 && is_pending(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one datagram made of at most four parts, at once.
    ///
    /// # Errors
    ///
    /// Why the kernel did not take it; the datagram is lost, the socket stays usable.
    pub fn send_to(&self, destination: &Destination, parts: &[&[u8]]) -> Result<(), SendFailure> {
        let name = RawAddr::from_socket_addr(&destination.to);
        let control = control(destination, 0);
        let attempt = || {
            self.faults.check(Operation::Send)?;
            sys::send_one(self.borrow(), &name, parts, &control)
        };
        match attempt() {
            Err(error) if is_pending(&error) => attempt(),
            outcome => outcome,
        }
        .map_err(|error| SendFailure::of(&error))
    }

    /// Sends one datagram with DF set, whatever the path's MTU is thought to be (RFC 8656 §14.9). Over IPv6 it is refused
    /// when it does not fit the path, instead of being fragmented here.
    ///
    /// Three system calls; what is queued in a [`SendBatch`](super::SendBatch) is not affected.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::send_to`]; [`SendFailure::TooLarge`] when the interface or the path does not take it in one piece.
    pub fn send_dont_fragment(
        &self,
        destination: &Destination,
        parts: &[&[u8]],
    ) -> Result<(), SendFailure> {
        self.set_dont_fragment(true)
            .map_err(|error| SendFailure::of(&error))?;
        let outcome = self.send_to(destination, parts);
        // It was settable a moment ago and the socket is ours: this cannot fail, and if it did, the datagram was still sent.
        let _ = self.set_dont_fragment(false);
        outcome
    }

    /// Takes the next ICMP error off the error queue; `None` when it is empty. Call it until then: as long as the queue holds
    /// something, [`Epoll`](super::Epoll) reports an error.
    ///
    /// # Errors
    ///
    /// Any other error of `recvmsg`.
    pub fn receive_error(&self) -> io::Result<Option<IcmpError>> {
        for _ in 0..FOREIGN_ERRORS {
            let (name, error) = match sys::receive_error(self.borrow()) {
                Ok(entry) => entry,
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return Ok(None),
                Err(error) => return Err(error),
            };
            let (Some(peer), Some(error)) = (name.to_socket_addr(), error) else {
                continue;
            };
            // Errors that this host raised by itself are the outcome of a send already.
            if !matches!(error.origin, ORIGIN_ICMP | ORIGIN_ICMP6) {
                continue;
            }
            let too_big = match peer.ip() {
                IpAddr::V4(_) => (error.kind, error.code) == (3, 4),
                IpAddr::V6(_) => error.kind == 2,
            };
            let mtu = if too_big { error.detail } else { 0 };
            return Ok(Some(IcmpError {
                peer,
                kind: error.kind,
                code: error.code,
                mtu,
            }));
        }
        Ok(None)
    }

    /// How many datagrams the kernel has dropped because the socket's receive buffer was full, since it was bound;
    /// `None` when the system does not tell.
    pub fn kernel_drops(&self) -> Option<u64> {
        let words =
            sys::words::<{ MEMINFO_DROPS + 1 }>(self.borrow(), libc::SOL_SOCKET, libc::SO_MEMINFO)
                .ok()?;
        Some(u64::from(words[MEMINFO_DROPS]))
    }

    /// Makes calls on this socket fail as `faults` says.
    #[cfg(any(test, feature = "fault-injection"))]
    pub fn inject(&mut self, faults: std::sync::Arc<super::faults::Faults>) {
        self.faults = Seam::of(faults);
    }

    pub(super) fn borrow(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn configure(
        socket: Socket,
        local: SocketAddr,
        options: &UdpOptions,
        faults: Seam,
    ) -> io::Result<Self> {
        let this = Self {
            fd: socket.into(),
            local,
            trains: Trains::of_this_kernel(),
            faults,
        };
        this.set_dont_fragment(false)?;
        let fd = this.borrow();
        let v4 = local.is_ipv4();
        if options.packet_info {
            let (level, name) = if v4 {
                (libc::IPPROTO_IP, libc::IP_PKTINFO)
            } else {
                (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
            };
            sys::set_int(fd, level, name, 1)?;
        }
        if options.error_queue {
            let (level, name) = if v4 {
                (libc::IPPROTO_IP, libc::IP_RECVERR)
            } else {
                (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            };
            sys::set_int(fd, level, name, 1)?;
        }
        if options.traffic_class {
            let (level, name) = if v4 {
                (libc::IPPROTO_IP, libc::IP_RECVTOS)
            } else {
                (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS)
            };
            sys::set_int(fd, level, name, 1)?;
        }
        // Old kernels lack the options below; the relay is slower without them, not wrong.
        if options.gro {
            let _ = sys::set_int(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        if !segments(fd) {
            this.trains.forbid();
        }
        set_buffer(
            fd,
            libc::SO_RCVBUFFORCE,
            libc::SO_RCVBUF,
            options.receive_buffer,
        );
        set_buffer(
            fd,
            libc::SO_SNDBUFFORCE,
            libc::SO_SNDBUF,
            options.send_buffer,
        );
        Ok(this)
    }

    /// Sets how datagrams leave from now on: with DF, or without.
    fn set_dont_fragment(&self, set: bool) -> io::Result<()> {
        let fd = self.borrow();
        if self.local.is_ipv4() {
            // OMIT rather than DONT: both clear DF, but only OMIT also reports "fragmentation needed" to the error queue
            // (RFC 8656 §11.5 wants it relayed), which usually arrives after the one send with DF is over; and it keeps a
            // forged one from shrinking what this socket sends. PROBE rather than DO: DF means that the network decides,
            // not this host's memory of earlier ICMP messages.
            let mode = if set {
                libc::IP_PMTUDISC_PROBE
            } else {
                libc::IP_PMTUDISC_OMIT
            };
            return sys::set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode);
        }
        if !set {
            // Routers do not fragment IPv6, so the path's MTU must be learnt and respected: DONT, not OMIT.
            sys::set_int(
                fd,
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_DONT,
            )?;
        }
        sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, i32::from(set))
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.borrow()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn bound_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an ip socket"))
}

/// Whether this kernel knows segmented sends. The first socket asks for all.
fn segments(fd: BorrowedFd<'_>) -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| sys::words::<1>(fd, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok())
}

/// Asks for a buffer size, beyond the system's limit where that is permitted, otherwise up to it. Best effort: the kernel
/// clamps in silence, and a smaller buffer is no reason not to serve.
fn set_buffer(fd: BorrowedFd<'_>, force: i32, polite: i32, bytes: Option<usize>) {
    let Some(bytes) = bytes else { return };
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    if sys::set_int(fd, libc::SOL_SOCKET, force, bytes).is_err() {
        let _ = sys::set_int(fd, libc::SOL_SOCKET, polite, bytes);
    }
}

/// Which segment sizes may leave as trains on a socket, learnt from refusals.
#[derive(Debug)]
pub(super) struct Trains {
    /// Longest segment that may be in a train; 0 when the kernel or the interface cannot segment at all.
    limit: AtomicU32,
    /// Segments that the limit has kept out of trains since it was set.
    declined: AtomicU32,
}

impl Trains {
    /// After this many segments the limit is forgotten: routes change.
    const FORGET_AFTER: u32 = 4096;

    const fn of_this_kernel() -> Self {
        Self {
            limit: AtomicU32::new(u32::MAX),
            declined: AtomicU32::new(0),
        }
    }

    fn forbid(&self) {
        self.limit.store(0, Ordering::Relaxed);
    }

    /// Whether segments of this size may leave together.
    pub(super) fn allow(&self, segment: usize) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        if segment <= limit as usize {
            return true;
        }
        if limit == 0 || self.declined.fetch_add(1, Ordering::Relaxed) < Self::FORGET_AFTER {
            return false;
        }
        self.declined.store(0, Ordering::Relaxed);
        self.limit.store(u32::MAX, Ordering::Relaxed);
        true
    }

    /// Notes that a train was refused; returns whether its datagrams may still go one by one.
    pub(super) fn refused(&self, segment: usize, error: &io::Error) -> bool {
        match error.raw_os_error().unwrap_or(0) {
            // No checksum offload on the route's interface, or a kernel that takes the option but not its use.
            libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT => self.forbid(),
            // A segment that does not fit the interface's MTU; alone it would be fragmented.
            libc::EINVAL | libc::EMSGSIZE => {
                let limit = u32::try_from(segment.saturating_sub(1)).unwrap_or(u32::MAX);
                self.limit.fetch_min(limit, Ordering::Relaxed);
                self.declined.store(0, Ordering::Relaxed);
            }
            _ => return false,
        }
        true
    }
}
