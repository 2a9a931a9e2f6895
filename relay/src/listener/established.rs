//! An established connection on its way from the listener to a worker.
//!
//! Responsible for carrying all of it across, bytes included. Not responsible for using it.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::ServerConnection;
use taciturn_protocol::address::Transport;

use super::sources::SourceSlot;

/// A connection whose client has shown that it speaks TURN, and TLS where that is asked for.
#[derive(Debug)]
pub struct Established {
    /// The socket, non-blocking, registered with no poller.
    pub stream: TcpStream,
    /// The TLS connection after its handshake. It may hold records to write and decrypted bytes to read.
    pub tls: Option<Box<ServerConnection>>,
    /// Bytes of the stream that were read already; decrypted, when `tls` is there. They come before everything else.
    pub early: Vec<u8>,
    /// [`Transport::Tcp`] or [`Transport::Tls`].
    pub transport: Transport,
    /// The client's address.
    pub client: SocketAddr,
    /// The relay's own address that the client connected to.
    pub server: SocketAddr,
    /// The connection's place among the allowed ones.
    pub slot: ConnectionSlot,
}

/// One of the connections that the relay allows at a time. Dropping it makes room for another.
#[derive(Debug)]
pub struct ConnectionSlot {
    taken: Arc<AtomicU64>,
    source: Option<SourceSlot>,
}

impl ConnectionSlot {
    /// Takes a slot, unless `most` are taken.
    pub(super) fn take(taken: &Arc<AtomicU64>, most: u64) -> Option<Self> {
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < most).then_some(count + 1)
            })
            .ok()
            .map(|_| Self {
                taken: Arc::clone(taken),
                source: None,
            })
    }

    /// Keeps the connection's place among those of its source for as long.
    pub(super) fn counted_for(mut self, source: SourceSlot) -> Self {
        self.source = Some(source);
        self
    }

    /// A slot that counts for nobody: for connections that no listener has accepted, such as those of a test.
    pub fn uncounted() -> Self {
        Self {
            taken: Arc::new(AtomicU64::new(1)),
            source: None,
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
