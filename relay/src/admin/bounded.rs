//! The admin API's connections, bounded in number and in time.
//!
//! Responsible for what one local program can hold of the relay: a connection ends a minute after it began, whether it
//! sends a byte a second or nothing, and there are at most [`CONNECTIONS`]. Not responsible for what is said on it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Connections at a time: a scraper, a controller, an operator, and room to spare.
const CONNECTIONS: usize = 32;
/// How long a connection may last. Longer than any scrape, and clients that keep connections open make new ones.
const LIFETIME: Duration = Duration::from_secs(60);

/// Where the admin API accepts.
#[derive(Debug)]
pub enum AdminListener {
    /// HTTP over TCP, on loopback.
    Tcp(TcpListener),
    /// HTTP over a Unix socket.
    Unix(UnixListener),
}

/// A listener whose connections are bounded.
#[derive(Debug)]
pub struct Bounded {
    listener: AdminListener,
    slots: Arc<Semaphore>,
}

impl Bounded {
    /// Bounds the connections of this listener.
    pub fn new(listener: AdminListener) -> Self {
        Self {
            listener,
            slots: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }

    async fn accept_one(&self) -> io::Result<Box<dyn Stream>> {
        match &self.listener {
            AdminListener::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            AdminListener::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Timed;
    type Addr = ();

    async fn accept(&mut self) -> (Timed, ()) {
        loop {
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
                // The semaphore is never closed; should it be, nothing more is accepted.
                std::future::pending::<()>().await;
                continue;
            };
            match self.accept_one().await {
                Ok(stream) => {
                    let deadline = Box::pin(sleep_until(Instant::now() + LIFETIME));
                    return (
                        Timed {
                            stream,
                            deadline,
                            _slot: slot,
                        },
                        (),
                    );
                }
                // Out of descriptors, or the client has gone already: wait a little, so as not to spin.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// TCP or Unix.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that fails all reads and writes once its time is over.
pub struct Timed {
    stream: Box<dyn Stream>,
    deadline: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Timed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timed").finish_non_exhaustive()
    }
}

impl Timed {
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
        Pin::new(&mut self.get_mut().stream).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(task)
    }
}
