//! The API's connections, bounded in number and in time.
//!
//! Responsible for what one program can hold of ours: a connection on which nobody who is known asks anything ends a minute
//! after it began, whether it sends a byte a second or nothing, and every other one in the end; there are so many and no more
//! ([`Limits`]), and so many from one host beyond this one, so that a stranger cannot keep everybody else out. TLS handshakes
//! count, and have less time. Not responsible for what is said on a connection.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::Access;
use super::peer::Peer;
use super::refused::Refused;

/// What connections may be there, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Of these, from one address beyond this host, or from one /64: an IPv6 host picks its addresses from that.
    pub of_one: usize,
    /// Of these, from loopback: from programs of this host, and from a proxy on it.
    pub of_this_host: usize,
    /// How long one may last on which nobody who is known has asked anything, since it began or since the last question.
    /// Longer than any scrape.
    pub patience: Duration,
    /// How long one may last at all. Clients that keep connections open make new ones; where it is more than `patience`,
    /// they are told in time.
    pub lifetime: Duration,
}

impl Limits {
    /// For an API that a scraper, a controller and an operator use: there is room to spare.
    pub const FEW: Self = Self {
        connections: 32,
        of_one: 8,
        of_this_host: 32,
        patience: Duration::from_secs(60),
        lifetime: Duration::from_secs(60),
    };
    /// For one that many signalling servers and dashboards use, some of them behind one address.
    pub const MANY: Self = Self {
        connections: 256,
        of_one: 32,
        of_this_host: 224,
        patience: Duration::from_secs(60),
        lifetime: Duration::from_secs(600),
    };
    /// For browsers of strangers, each of which opens several, many of them behind one address or a proxy.
    pub const VISITORS: Self = Self {
        connections: 256,
        of_one: 64,
        of_this_host: 256,
        patience: Duration::from_secs(60),
        lifetime: Duration::from_secs(60),
    };
}

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
    limits: Limits,
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
    /// Bounds the connections of this listener to [`Limits::FEW`].
    pub fn new(listener: Listener, access: Arc<Access>) -> Self {
        Self::within(Limits::FEW, listener, access)
    }

    /// Bounds the connections of this listener.
    pub fn within(limits: Limits, listener: Listener, access: Arc<Access>) -> Self {
        Self {
            door: Door {
                listener,
                limits,
                slots: Arc::new(Semaphore::new(limits.connections)),
                sources: Sources::default(),
            },
            access,
            handshakes: JoinSet::new(),
        }
    }
}

/// The time by which connections are judged.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Serves these routes on a bounded listener, for ever. The gate before them ([`super::guarded_for`]) knows then who is at the
/// other end of each connection: without this, certificates name nobody.
///
/// # Errors
/// None at present; the form is that of the server within.
pub async fn serve(listener: Bounded, routes: Router) -> io::Result<()> {
    axum::serve(
        listener,
        routes.into_make_service_with_connect_info::<Peer>(),
    )
    .await
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().peer.clone()
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
                if let Ok(seat) = self.sources.admit(from.ip(), &self.limits) {
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
                    None => {
                        let peer = Peer::new(now(), None, self.door.limits);
                        return (Timed::new(stream, seat, peer), ());
                    }
                    Some(tls) => {
                        let handshake = TlsAcceptor::from(tls).accept(stream);
                        let access = Arc::clone(&self.access);
                        let limits = self.door.limits;
                        self.handshakes.spawn(async move {
                            let Ok(Ok(stream)) = timeout(HANDSHAKE, handshake).await else {
                                access.refuse(Refused::Handshake);
                                return None;
                            };
                            let shown = stream.get_ref().1.peer_certificates();
                            let own = shown.and_then(|chain| chain.first());
                            let peer = Peer::new(now(), own, limits);
                            Some(Timed::new(Box::new(stream), seat, peer))
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

/// How many connections each address beyond this host has. Never longer than there are connections.
#[derive(Clone, Debug, Default)]
struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection of an address that is counted.
#[derive(Debug)]
struct SourceSeat {
    sources: Sources,
    address: IpAddr,
}

impl Sources {
    /// A seat, none where none is counted, or an error when the address has all that it may have.
    fn admit(&self, address: IpAddr, limits: &Limits) -> Result<Option<SourceSeat>, ()> {
        let address = source_of(address);
        let most = if address.is_loopback() {
            limits.of_this_host
        } else {
            limits.of_one
        };
        if most >= limits.connections {
            return Ok(None);
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return Err(());
        }
        *count += 1;
        Ok(Some(SourceSeat {
            sources: self.clone(),
            address,
        }))
    }
}

/// The address, or the first of its /64; one for all of loopback.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        loopback if loopback.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

impl Drop for SourceSeat {
    fn drop(&mut self) {
        let mut counts = self
            .sources
            .0
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

/// How HTTP/2 begins (RFC 9113 §3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a peer begins as HTTP/2 does. The server within would speak it wherever any part of the program wants it for its
/// own questions, and then one seat would hold hundreds of requests at a time.
#[derive(Debug, Default)]
struct Opening {
    /// So many bytes of [`HTTP_2`] have come; `None`: something else has.
    alike: Option<usize>,
    begun: bool,
}

impl Opening {
    /// Takes the next bytes in. Whether it is HTTP/2.
    fn is_http_2(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() || (self.begun && self.alike.is_none()) {
            return false;
        }
        let rest = HTTP_2
            .get(self.alike.unwrap_or_default()..)
            .unwrap_or_default();
        self.begun = true;
        let length = bytes.len().min(rest.len());
        self.alike = (bytes.get(..length) == rest.get(..length))
            .then_some(HTTP_2.len() - rest.len() + length);
        self.alike == Some(HTTP_2.len())
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
    peer: Peer,
    opening: Opening,
    _seat: Seat,
}

impl std::fmt::Debug for Timed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timed").finish_non_exhaustive()
    }
}

impl Timed {
    fn new(stream: Box<dyn Stream>, seat: Seat, peer: Peer) -> Self {
        Self {
            stream,
            deadline: Box::pin(sleep_until(peer.life.end())),
            peer,
            opening: Opening::default(),
            _seat: seat,
        }
    }

    fn in_time(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        while self.deadline.as_mut().poll(task).is_ready() {
            let end = self.peer.life.end();
            if end <= self.deadline.deadline() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.deadline.as_mut().reset(end);
        }
        Ok(())
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
        let before = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(task, into))?;
        let came = into.filled().get(before..).unwrap_or_default();
        if this.opening.is_http_2(came) {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
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

    /// A connection that may last for this long.
    async fn clogged(patience: Duration) -> Timed {
        let limits = Limits {
            patience,
            ..Limits::FEW
        };
        let seat = Seat {
            _slot: Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap(),
            _source: None,
        };
        Timed::new(Box::new(Clogged), seat, Peer::new(now(), None, limits))
    }

    /// whoever asks and never reads the answers keeps a seat for as long as anybody else, and no longer.
    #[tokio::test]
    async fn a_peer_that_never_reads_gives_its_seat_back() {
        let mut task = Context::from_waker(Waker::noop());
        let mut connection = clogged(Duration::from_secs(60)).await;
        assert!(Pin::new(&mut connection).poll_flush(&mut task).is_pending());
        let mut connection = clogged(Duration::from_millis(20)).await;
        let flushed = poll_fn(|task| Pin::new(&mut connection).poll_flush(task)).await;
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    /// whoever is known and asks is waited for anew, and in the end not any more.
    #[tokio::test]
    async fn a_peer_that_asks_is_waited_for_anew() {
        let mut task = Context::from_waker(Waker::noop());
        let mut connection = clogged(Duration::from_millis(20)).await;
        let first = connection.deadline.deadline();
        connection.peer.life.asks(first + Duration::from_secs(30));
        sleep_until(first).await;
        assert!(Pin::new(&mut connection).poll_flush(&mut task).is_pending());
        assert!(connection.deadline.deadline() > first);
    }

    /// what begins as HTTP/2 is known however it comes, and nothing else is taken for it.
    #[test]
    fn http_2_is_known_by_its_first_bytes() {
        for size in 1..=HTTP_2.len() + 1 {
            let mut opening = Opening::default();
            let text = [HTTP_2, b"\0\0\0"].concat();
            assert!(
                text.chunks(size).any(|chunk| opening.is_http_2(chunk)),
                "{size}"
            );
        }
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "PRI * HTTP/1.1\r\n\r\n",
            "PPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            for size in [1, 3, 64] {
                let mut opening = Opening::default();
                let then = [text.as_bytes(), HTTP_2].concat();
                assert!(
                    !then.chunks(size).any(|chunk| opening.is_http_2(chunk)),
                    "{text}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_farewell_that_nobody_takes_has_an_end() {
        let mut connection = clogged(Duration::ZERO).await;
        let closed = poll_fn(|task| Pin::new(&mut connection).poll_shutdown(task)).await;
        assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn one_address_beyond_this_host_cannot_take_every_connection() {
        let (sources, limits) = (Sources::default(), Limits::FEW);
        let admit = |address| sources.admit(address, &limits);
        let stranger = IpAddr::from([192, 0, 2, 1]);
        let mut seats: Vec<_> = (0..limits.of_one).map(|_| admit(stranger)).collect();
        assert!(seats.iter().all(Result::is_ok));
        assert!(admit(stranger).is_err());
        assert!(admit(IpAddr::from([192, 0, 2, 2])).is_ok());
        assert!(matches!(admit(IpAddr::from([127, 0, 0, 1])), Ok(None)));
        drop(seats.pop());
        assert!(admit(stranger).is_ok());

        // Nor can one that has many addresses.
        let host =
            |number: u16| IpAddr::from([0x2001, 0xdb8, 1, 2, number, number, number, number]);
        seats.extend((0..).take(limits.of_one).map(|number| admit(host(number))));
        assert!(seats.iter().all(Result::is_ok));
        assert!(admit(host(99)).is_err());
        assert!(admit("2001:db8:1:3::1".parse().unwrap()).is_ok());
        assert!(matches!(admit(IpAddr::from(Ipv6Addr::LOCALHOST)), Ok(None)));
        drop(seats);
        let counts = sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(counts.is_empty());
    }

    /// nor can a program on this host, where there are many seats and a proxy or a user of it is not trusted with all.
    #[test]
    fn this_host_leaves_seats_to_others_where_there_are_many() {
        let (sources, limits) = (Sources::default(), Limits::MANY);
        let admit = |address: &str| sources.admit(address.parse().unwrap(), &limits);
        let own = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"];
        let seats: Vec<_> = (0..limits.of_this_host)
            .map(|number| admit(own[number % own.len()]).unwrap())
            .collect();
        assert!(own.into_iter().all(|address| admit(address).is_err()));
        assert!(admit("192.0.2.1").is_ok());
        drop(seats);
        assert!(admit("::1").is_ok());
    }

    #[test]
    fn an_ipv4_host_is_the_same_whichever_socket_it_comes_to() {
        let (sources, limits) = (Sources::default(), Limits::FEW);
        let admit = |address: &str| sources.admit(address.parse().unwrap(), &limits);
        let seats: Vec<_> = (0..limits.of_one)
            .map(|_| admit("::ffff:192.0.2.1").unwrap())
            .collect();
        assert!(admit("192.0.2.1").is_err());
        assert!(admit("::ffff:192.0.2.2").is_ok());
        drop(seats);
    }
}
