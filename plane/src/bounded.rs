//! The API's connections, bounded in number and in time.
//!
//! Responsible for what one program can hold of ours: a connection ends a minute after it began, whether it sends a
//! byte a second or nothing, and there are at most so many as [`Bounds`] say, from everywhere and from one host beyond
//! this one, so that a stranger cannot keep everybody else out. TLS handshakes count, and have less time. Not responsible
//! for what is said on a connection.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::Access;
use super::refused::Refused;

/// How many connections there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From everywhere.
    pub connections: usize,
    /// From one address beyond this host, or from one /64: an IPv6 host picks its addresses from that.
    pub of_one: usize,
}

impl Bounds {
    /// A scraper, a controller, an operator, and room to spare.
    pub const PROGRAMS: Self = Self {
        connections: 32,
        of_one: 8,
    };
    /// Browsers of strangers, each of which opens several, many of them behind one address.
    pub const VISITORS: Self = Self {
        connections: 256,
        of_one: 64,
    };
}

/// How long a connection may last. Longer than any scrape, and clients that keep connections open make new ones.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Where the API accepts.
#[derive(Debug)]
pub enum Listener {
    /// HTTP over TCP, and over TLS where [`Access`] has a certificate.
    Tcp(TcpListener),
    /// HTTP over a Unix socket.
    Unix(UnixListener),
}

/// A listener whose connections are bounded.
#[derive(Debug)]
pub struct Bounded {
    door: Door,
    access: Arc<Access>,
    handshakes: JoinSet<Option<Timed>>,
}

/// Where connections come in, as long as there are seats.
#[derive(Debug)]
struct Door {
    listener: Listener,
    slots: Arc<Semaphore>,
    sources: Sources,
}

/// One connection's part of the bounds, given back when it is dropped.
#[derive(Debug)]
struct Seat {
    _slot: OwnedSemaphorePermit,
    _source: Option<SourceSeat>,
}

impl Bounded {
    /// Bounds the connections of this listener, for programs.
    pub fn new(listener: Listener, access: Arc<Access>) -> Self {
        Self::within(Bounds::PROGRAMS, listener, access)
    }

    /// Bounds the connections of this listener.
    pub fn within(bounds: Bounds, listener: Listener, access: Arc<Access>) -> Self {
        Self {
            door: Door {
                listener,
                slots: Arc::new(Semaphore::new(bounds.connections)),
                sources: Sources::new(bounds.of_one),
            },
            access,
            handshakes: JoinSet::new(),
        }
    }
}

impl Door {
    /// The next connection that has a seat. What this awaits can be dropped at any time without losing one.
    async fn next(&self) -> io::Result<(Box<dyn Stream>, Seat)> {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            // The semaphore is never closed; should it be, nothing more is accepted.
            return std::future::pending().await;
        };
        let (stream, source): (Box<dyn Stream>, _) = match &self.listener {
            Listener::Tcp(listener) => loop {
                let (stream, from) = listener.accept().await?;
                // One too many is closed at once, and says so by that.
                if let Ok(seat) = self.sources.admit(from.ip()) {
                    break (Box::new(stream), seat);
                }
            },
            Listener::Unix(listener) => (Box::new(listener.accept().await?.0), None),
        };
        let seat = Seat {
            _slot: slot,
            _source: source,
        };
        Ok((stream, seat))
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Timed;
    type Addr = ();

    async fn accept(&mut self) -> (Timed, ()) {
        loop {
            let accepted = tokio::select! {
                Some(done) = self.handshakes.join_next() => Err(done),
                accepted = self.door.next() => Ok(accepted),
            };
            match accepted {
                Err(done) => {
                    if let Ok(Some(stream)) = done {
                        return (stream, ());
                    }
                }
                Ok(Ok((stream, seat))) => match self.access.tls() {
                    None => return (Timed::new(stream, seat), ()),
                    Some(tls) => {
                        let handshake = TlsAcceptor::from(tls).accept(stream);
                        let access = Arc::clone(&self.access);
                        self.handshakes.spawn(async move {
                            let Ok(Ok(stream)) = timeout(HANDSHAKE, handshake).await else {
                                access.refuse(Refused::Handshake);
                                return None;
                            };
                            Some(Timed::new(Box::new(stream), seat))
                        });
                    }
                },
                // Out of descriptors, or the client has gone already: wait a little, so as not to spin.
                Ok(Err(_)) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What the gate knows of the other end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// The DNS names in its certificate; `None`: it has shown none.
    names: Option<Arc<[Box<str>]>>,
}

impl Peer {
    pub(super) fn names(&self) -> Option<&[Box<str>]> {
        self.names.as_deref()
    }
}

/// How many connections each address beyond this host has. Never longer than there are connections.
#[derive(Clone, Debug)]
struct Sources {
    most: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection of an address that is counted.
#[derive(Debug)]
struct SourceSeat {
    sources: Sources,
    address: IpAddr,
}

impl Sources {
    fn new(most: usize) -> Self {
        Self {
            most,
            counts: Arc::default(),
        }
    }

    /// A seat, none where none is counted, or an error when the address has all that it may have.
    fn admit(&self, address: IpAddr) -> Result<Option<SourceSeat>, ()> {
        if address.is_loopback() {
            return Ok(None);
        }
        let address = source_of(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return Err(());
        }
        *count += 1;
        Ok(Some(SourceSeat {
            sources: self.clone(),
            address,
        }))
    }
}

/// The address, or the first of its /64.
fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

impl Drop for SourceSeat {
    fn drop(&mut self) {
        let mut counts = self
            .sources
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// TCP, TLS or Unix.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that fails whatever is asked of it once its time is over: TLS takes what is written into a buffer of its
/// own, so that with a peer that does not read it is the flush, or the farewell, that never comes to an end.
pub struct Timed {
    stream: Box<dyn Stream>,
    deadline: Pin<Box<Sleep>>,
    _seat: Seat,
}

impl std::fmt::Debug for Timed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timed").finish_non_exhaustive()
    }
}

impl Timed {
    fn new(stream: Box<dyn Stream>, seat: Seat) -> Self {
        Self {
            stream,
            deadline: Box::pin(sleep_until(Instant::now() + LIFETIME)),
            _seat: seat,
        }
    }

    fn in_time(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(task) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.in_time(task)?;
        Pin::new(&mut this.stream).poll_read(task, into)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.in_time(task)?;
        Pin::new(&mut this.stream).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.in_time(task)?;
        Pin::new(&mut this.stream).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.in_time(task)?;
        Pin::new(&mut this.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;

    /// As TLS is to a peer that asks and never reads: bytes are taken, and never leave.
    struct Clogged;

    impl AsyncRead for Clogged {
        fn poll_read(
            self: Pin<&mut Self>,
            _task: &mut Context<'_>,
            _into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Clogged {
        fn poll_write(
            self: Pin<&mut Self>,
            _task: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _task: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _task: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    /// whoever asks and never reads the answers keeps a seat for as long as anybody else, and no longer.
    #[tokio::test]
    async fn a_peer_that_never_reads_gives_its_seat_back() {
        let seat = Seat {
            _slot: Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap(),
            _source: None,
        };
        let mut connection = Timed::new(Box::new(Clogged), seat);
        let mut task = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut connection).poll_flush(&mut task).is_pending());
        connection.deadline = Box::pin(sleep_until(Instant::now()));
        let flushed = poll_fn(|task| Pin::new(&mut connection).poll_flush(task)).await;
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_farewell_that_nobody_takes_has_an_end() {
        let seat = Seat {
            _slot: Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap(),
            _source: None,
        };
        let mut connection = Timed::new(Box::new(Clogged), seat);
        connection.deadline = Box::pin(sleep_until(Instant::now()));
        let closed = poll_fn(|task| Pin::new(&mut connection).poll_shutdown(task)).await;
        assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn one_address_beyond_this_host_cannot_take_every_connection() {
        let most = Bounds::PROGRAMS.of_one;
        let sources = Sources::new(most);
        let stranger = IpAddr::from([192, 0, 2, 1]);
        let mut seats: Vec<_> = (0..most).map(|_| sources.admit(stranger)).collect();
        assert!(seats.iter().all(Result::is_ok));
        assert!(sources.admit(stranger).is_err());
        assert!(sources.admit(IpAddr::from([192, 0, 2, 2])).is_ok());
        assert!(matches!(
            sources.admit(IpAddr::from([127, 0, 0, 1])),
            Ok(None)
        ));
        drop(seats.pop());
        assert!(sources.admit(stranger).is_ok());

        // Nor can one that has many addresses.
        let host =
            |number: u16| IpAddr::from([0x2001, 0xdb8, 1, 2, number, number, number, number]);
        seats.extend((0..).take(most).map(|number| sources.admit(host(number))));
        assert!(seats.iter().all(Result::is_ok));
        assert!(sources.admit(host(99)).is_err());
        assert!(sources.admit("2001:db8:1:3::1".parse().unwrap()).is_ok());
        assert!(matches!(
            sources.admit(IpAddr::from(Ipv6Addr::LOCALHOST)),
            Ok(None)
        ));
        drop(seats);
        let counts = sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(counts.is_empty());
    }
}
