//! A client's path to the server: a UDP socket, a TCP stream or TLS over one.
//!
//! Responsible for non-blocking bytes in and whole messages out, and for batching both. Knows message boundaries on a stream,
//! but not what a message means.

pub(crate) use crate::datagram::{Burst, DATAGRAM_MAX, passing};

use crate::datagram::Datagrams;
use crate::stun;
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const STREAM_BUFFER: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a client talks to the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// Datagrams.
    Udp,
    /// A plain stream.
    Tcp,
    /// A stream under TLS.
    Tls,
}

/// The trust and the name that TLS clients use.
#[derive(Clone, Debug)]
pub(crate) struct TlsTrust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsTrust {
    /// Trusts the certificates in a PEM file, for a server of this name.
    pub(crate) fn from_pem_file(path: &Path, name: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(path)
            .with_context(|| format!("cannot read certificates from {}", path.display()))?;
        for certificate in certificates {
            roots
                .add(certificate.context("not a certificate")?)
                .context("cannot trust this certificate")?;
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).context("not a server name")?;
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }
}

/// A client's connection to the server.
#[derive(Debug)]
pub(crate) enum Link {
    /// A connected UDP socket.
    Datagram(Datagrams),
    /// TCP, with or without TLS.
    Stream(Box<Stream>),
}

impl Link {
    /// Connects, and finishes the TLS handshake where there is one.
    pub(crate) fn connect(
        transport: Transport,
        server: SocketAddr,
        trust: Option<&TlsTrust>,
    ) -> Result<Self> {
        if transport == Transport::Udp {
            let any: SocketAddr = if server.is_ipv4() {
                ([0, 0, 0, 0], 0).into()
            } else {
                ([0_u16; 8], 0).into()
            };
            let socket = Datagrams::bind(any).context("cannot bind a client socket")?;
            socket
                .connect(server)
                .with_context(|| format!("cannot connect a UDP socket to {server}"))?;
            return Ok(Self::Datagram(socket));
        }
        let tcp = TcpStream::connect_timeout(&server, CONNECT_TIMEOUT)
            .with_context(|| format!("cannot connect to {server}"))?;
        tcp.set_nodelay(true)?;
        let tls = match transport {
            Transport::Udp | Transport::Tcp => None,
            Transport::Tls => Some(handshake(&tcp, trust.context("TLS needs --ca")?)?),
        };
        tcp.set_nonblocking(true)?;
        Ok(Self::Stream(Box::new(Stream {
            tcp,
            tls,
            incoming: vec![0; STREAM_BUFFER],
            filled: 0,
            outgoing: Vec::new(),
            written: 0,
        })))
    }

    /// Sends the messages; returns how many were taken. A stream takes all or, while earlier ones wait, none.
    pub(crate) fn send(&mut self, burst: &Burst) -> io::Result<usize> {
        match self {
            Self::Datagram(socket) => socket.send(None, burst),
            Self::Stream(stream) => stream.send(burst),
        }
    }

    /// Bursts as trains of datagrams of this length, and trains taken as they come; see [`Datagrams::use_trains`].
    pub(crate) fn use_trains(&mut self, datagram_len: Option<usize>) -> Result<()> {
        match self {
            Self::Datagram(socket) => socket
                .use_trains(datagram_len)
                .context("the kernel knows no trains"),
            Self::Stream(_) => bail!("a stream has no datagrams to join"),
        }
    }

    /// Pushes out what a full socket held back. Returns whether everything has left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Datagram(_) => Ok(true),
            Self::Stream(stream) => stream.flush(),
        }
    }

    /// Gives up to about `limit` received messages to `on_message`; returns as soon as nothing more is waiting.
    pub(crate) fn receive(
        &mut self,
        limit: usize,
        scratch: &mut [u8],
        mut on_message: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.receive(on_message),
            Self::Datagram(socket) => {
                socket.receive(limit, scratch, |message, _| on_message(message))
            }
        }
    }

    /// Waits until something can be read, at most `timeout`.
    pub(crate) fn wait_readable(&self, timeout: Duration) -> Result<()> {
        let timeout = Timespec::try_from(timeout).context("timeout too long")?;
        poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&timeout))
            .context("cannot wait for the server")?;
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagram(socket) => socket.as_fd(),
            Self::Stream(stream) => stream.tcp.as_fd(),
        }
    }
}

fn handshake(tcp: &TcpStream, trust: &TlsTrust) -> Result<ClientConnection> {
    tcp.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let mut tls = ClientConnection::new(trust.config.clone(), trust.name.clone())
        .context("cannot begin TLS")?;
    // Whole bursts may wait here while the socket is full; the flow's window bounds them.
    tls.set_buffer_limit(None);
    while tls.is_handshaking() {
        let (read, written) = tls
            .complete_io(&mut &*tcp)
            .context("TLS handshake failed")?;
        if read == 0 && written == 0 {
            bail!("connection closed during the TLS handshake");
        }
    }
    Ok(tls)
}

/// A TCP connection with what was read but not yet cut into messages, and what was not yet written.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<ClientConnection>,
    incoming: Vec<u8>,
    filled: usize,
    outgoing: Vec<u8>,
    written: usize,
}

impl Stream {
    fn send(&mut self, burst: &Burst) -> io::Result<usize> {
        if !self.flush()? {
            return Ok(0);
        }
        for frame in burst.frames() {
            let padding = &[0_u8; 3][..frame.len().next_multiple_of(4) - frame.len()];
            match &mut self.tls {
                None => {
                    self.outgoing.extend_from_slice(frame);
                    self.outgoing.extend_from_slice(padding);
                }
                // One record a message, as clients that write a packet at a time produce.
                Some(tls) => {
                    let mut record = [0_u8; DATAGRAM_MAX];
                    let len = frame.len() + padding.len();
                    record[..frame.len()].copy_from_slice(frame);
                    tls.writer().write_all(&record[..len])?;
                }
            }
        }
        self.flush()?;
        Ok(burst.len())
    }

    fn flush(&mut self) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.tcp) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            return Ok(true);
        }
        while self.written < self.outgoing.len() {
            match self.tcp.write(&self.outgoing[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(true)
    }

    fn receive(&mut self, mut on_message: impl FnMut(&[u8])) -> io::Result<()> {
        match &mut self.tls {
            None => match self.tcp.read(&mut self.incoming[self.filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            },
            Some(tls) => {
                match tls.read_tls(&mut self.tcp) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
                tls.process_new_packets().map_err(io::Error::other)?;
                loop {
                    match tls.reader().read(&mut self.incoming[self.filled..]) {
                        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                        Ok(count) => self.filled += count,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                    cut(&mut self.incoming, &mut self.filled, &mut on_message)?;
                }
            }
        }
        cut(&mut self.incoming, &mut self.filled, on_message)
    }
}

/// Gives each whole message at the front of `incoming[..filled]` to `on_message` and moves the rest to the front.
fn cut(
    incoming: &mut [u8],
    filled: &mut usize,
    mut on_message: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut at = 0;
    while let Some((total, message)) = stun::frame_len(&incoming[at..*filled])
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "stream lost its message boundaries"))?
    {
        on_message(&incoming[at..at + message]);
        at += total;
    }
    incoming.copy_within(at..*filled, 0);
    *filled -= at;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_messages_and_the_rest_is_kept() {
        let mut incoming = b"\x40\x00\x00\x01a\0\0\0\x40\x01\x00\x04bcde\x40\x02\x00".to_vec();
        let mut filled = incoming.len();
        let mut messages = Vec::new();
        cut(&mut incoming, &mut filled, |message| {
            messages.push(message.to_vec())
        })
        .expect("sound stream");
        assert_eq!(
            messages,
            [
                b"\x40\x00\x00\x01a".to_vec(),
                b"\x40\x01\x00\x04bcde".to_vec()
            ]
        );
        assert_eq!(&incoming[..filled], b"\x40\x02\x00");
    }

    #[test]
    fn bytes_that_start_no_message_end_the_stream() {
        let mut incoming = b"\xffgarbage".to_vec();
        let mut filled = incoming.len();
        assert!(cut(&mut incoming, &mut filled, |_| {}).is_err());
    }
}
