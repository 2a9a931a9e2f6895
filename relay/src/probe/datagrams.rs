//! A UDP socket of the client, which sends with a DSCP and tells the DSCP of what comes back.
//!
//! Responsible for one server and nobody else: datagrams of others are passed over. Not responsible for what they mean.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::Interest;
use tokio::sync::Mutex;
use webrtc_util::Conn;

use super::Announce;
use super::failure::Failure;
use super::notes::Notes;
use crate::net::{Destination, ReceiveBatch, SendFailure, UdpOptions, UdpSocket};
use crate::self_check::SelfCheckSource;

type Result<T> = std::result::Result<T, webrtc_util::Error>;

/// Expedited Forwarding, as audio in calls is marked (RFC 8837 §5), with no ECN.
pub(super) const TRAFFIC_CLASS: u8 = super::DSCP << 2;
/// The longest datagram that is read: payloads are shorter.
const LONGEST: usize = 4096;

/// Datagrams to and from one server.
pub(super) struct DatagramConn {
    socket: UdpSocket,
    /// The same socket once more, to wait for it.
    waiting: tokio::net::UdpSocket,
    batch: Mutex<ReceiveBatch>,
    server: SocketAddr,
    notes: Arc<Notes>,
    /// Kept as long as the socket is open.
    _announced: Vec<SelfCheckSource>,
}

impl DatagramConn {
    /// A socket at `local` for `server`.
    pub(super) fn new(
        local: SocketAddr,
        server: SocketAddr,
        announce: Option<&Announce>,
        notes: Arc<Notes>,
    ) -> io::Result<Self> {
        let options = UdpOptions {
            traffic_class: true,
            error_queue: true,
            ..UdpOptions::default()
        };
        let socket = UdpSocket::bind(local, &options)?;
        let announced = announce.map_or_else(Vec::new, |to| to.enter(socket.local_addr()));
        let twin = socket.as_fd().try_clone_to_owned()?;
        Ok(Self {
            socket,
            waiting: tokio::net::UdpSocket::from_std(twin.into())?,
            batch: Mutex::new(ReceiveBatch::with_shape(1, LONGEST)),
            server,
            notes,
            _announced: announced,
        })
    }

    async fn next_datagram(&self, buffer: &mut [u8]) -> Result<usize> {
        let mut batch = self.batch.lock().await;
        loop {
            tokio::select! {
                ready = self.waiting.ready(Interest::READABLE) => ready?,
                // An ICMP error makes a socket ready too, though not for reading.
                ready = self.waiting.ready(Interest::ERROR) => ready?,
            };
            let noted = self.waiting.try_io(Interest::ERROR, || self.note_errors());
            if let Err(error) = noted
                && error.kind() != io::ErrorKind::WouldBlock
            {
                return Err(error.into());
            }
            let received = self
                .waiting
                .try_io(Interest::READABLE, || self.receive(&mut batch));
            let filled = match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                received => received?,
            };
            for datagram in batch.datagrams(filled) {
                let room = buffer.get_mut(..datagram.bytes.len());
                if let (Some(room), true) =
                    (room, datagram.from == self.server && !datagram.truncated)
                {
                    room.copy_from_slice(datagram.bytes);
                    self.notes
                        .read(room, Some((datagram.traffic_class, TRAFFIC_CLASS)));
                    return Ok(datagram.bytes.len());
                }
            }
        }
    }

    /// Notes every ICMP error that waits; an error of its own tells that there is no more.
    fn note_errors(&self) -> io::Result<()> {
        while let Some(error) = self.socket.receive_error()? {
            if error.peer == self.server {
                self.notes.icmp(meaning(error.peer, error.kind, error.code));
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<Range<usize>> {
        batch.clear();
        let filled = self.socket.receive(batch, 1)?;
        if filled.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(filled)
    }
}

/// What an ICMP error says (RFC 792, RFC 4443).
fn meaning(peer: SocketAddr, kind: u8, code: u8) -> Failure {
    let prohibited = || Failure::Unreachable("administratively prohibited".to_owned());
    match (peer.is_ipv4(), kind, code) {
        (true, 3, 3) | (false, 1, 4) => Failure::Refused,
        (true, 3, 9 | 10 | 13) | (false, 1, 1 | 5 | 6) => prohibited(),
        (true, 3, _) | (false, 1, _) => Failure::Unreachable("no route to the relay".to_owned()),
        _ => Failure::Unreachable(format!("icmp type {kind} code {code}")),
    }
}

#[async_trait]
impl Conn for DatagramConn {
    async fn connect(&self, _: SocketAddr) -> Result<()> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        self.recv_from(buffer).await.map(|(length, _)| length)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        tokio::select! {
            length = self.next_datagram(buffer) => Ok((length?, self.server)),
            () = self.notes.closed() => Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
        }
    }

    async fn send(&self, message: &[u8]) -> Result<usize> {
        let Some(leaving) = self.notes.leaving(message) else {
            return Ok(message.len());
        };
        let destination = Destination {
            traffic_class: TRAFFIC_CLASS,
            ..Destination::new(self.server)
        };
        match self.socket.send_to(&destination, &[&leaving]) {
            Ok(()) => Ok(message.len()),
            // What a full buffer costs is a loss like any other.
            Err(SendFailure::WouldBlock) => Ok(message.len()),
            Err(failure) => {
                self.notes.icmp(Failure::Unreachable(format!(
                    "this machine cannot send there ({})",
                    failure.as_str()
                )));
                Err(io::Error::other(failure.as_str()).into())
            }
        }
    }

    async fn send_to(&self, message: &[u8], _: SocketAddr) -> Result<usize> {
        self.send(message).await
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr())
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.server)
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}
