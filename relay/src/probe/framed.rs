//! A TCP or TLS stream as the datagrams that webrtc-rs's client expects.
//!
//! Responsible for framing, and for telling a relay from others that answer on its port. Not responsible for connecting.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::wire::stream::{self, Step};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use webrtc_util::Conn;

use super::failure::Failure;
use super::notes::Notes;
use crate::self_check::SelfCheckSource;

type Result<T> = std::result::Result<T, webrtc_util::Error>;

/// A framed stream (RFC 8489 §6.2.2, RFC 8656 §12.5).
pub(super) struct FramedConn<S> {
    reader: Mutex<Reader<S>>,
    writer: Mutex<WriteHalf<S>>,
    server: SocketAddr,
    notes: Arc<Notes>,
    /// Kept as long as the connection is open.
    _announced: Vec<SelfCheckSource>,
}

struct Reader<S> {
    half: ReadHalf<S>,
    buffered: Vec<u8>,
    /// Whether a frame has come: only then may one be ChannelData.
    begun: bool,
}

impl<S: AsyncRead + AsyncWrite> FramedConn<S> {
    pub(super) fn new(
        stream: S,
        server: SocketAddr,
        announced: Vec<SelfCheckSource>,
        notes: Arc<Notes>,
    ) -> Self {
        let (half, writer) = tokio::io::split(stream);
        Self {
            reader: Mutex::new(Reader {
                half,
                buffered: Vec::new(),
                begun: false,
            }),
            writer: Mutex::new(writer),
            server,
            notes,
            _announced: announced,
        }
    }

    /// Ends it for a reason that the caller will read.
    fn ended(&self, why: Failure, error: io::Error) -> webrtc_util::Error {
        self.notes.end(why);
        error.into()
    }
}

impl<S: AsyncRead + AsyncWrite + Send> FramedConn<S> {
    async fn next_frame(&self, buffer: &mut [u8]) -> Result<usize> {
        let mut reader = self.reader.lock().await;
        loop {
            if !reader.begun
                && let Some(why) = foreign(&reader.buffered)
            {
                return Err(self.ended(why, io::ErrorKind::InvalidData.into()));
            }
            let step = stream::next_frame(&reader.buffered, ChannelRange::Rfc8656)
                .map_err(|error| self.ended(Failure::NotRelay, io::Error::other(error)))?;
            if let Step::Frame { len, total, .. } = step {
                let room = buffer
                    .get_mut(..len)
                    .ok_or_else(|| io::Error::other("frame longer than the buffer"))?;
                room.copy_from_slice(&reader.buffered[..len]);
                reader.buffered.drain(..total);
                reader.begun = true;
                self.notes.read(room, None);
                return Ok(len);
            }
            let Reader { half, buffered, .. } = &mut *reader;
            match half.read_buf(buffered).await {
                Ok(0) => {
                    return Err(self.ended(Failure::Closed, io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(_) => {}
                Err(error) => return Err(self.ended(Failure::Closed, error)),
            }
        }
    }
}

/// Who answers, when the first bytes are not those of a relay.
fn foreign(first: &[u8]) -> Option<Failure> {
    // A STUN message begins with two zero bits, and the first thing to come is one.
    let byte = *first.first()?;
    if b"HTTP/".starts_with(&first[..first.len().min(5)]) {
        // The letter alone does not tell yet; nothing of a relay begins with it either.
        return (first.len() >= 5).then_some(Failure::Http);
    }
    (byte & 0xC0 != 0).then_some(Failure::NotRelay)
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Send + Sync + 'static> Conn for FramedConn<S> {
    async fn connect(&self, _: SocketAddr) -> Result<()> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        self.recv_from(buffer).await.map(|(length, _)| length)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        tokio::select! {
            length = self.next_frame(buffer) => Ok((length?, self.server)),
            () = self.notes.closed() => Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
        }
    }

    async fn send(&self, message: &[u8]) -> Result<usize> {
        let Some(leaving) = self.notes.leaving(message) else {
            return Ok(message.len());
        };
        let mut writer = self.writer.lock().await;
        let padding = &[0; 3][..leaving.len().next_multiple_of(4) - leaving.len()];
        let frame = [&leaving, padding].concat();
        let written = async {
            writer.write_all(&frame).await?;
            writer.flush().await
        };
        match written.await {
            Ok(()) => Ok(message.len()),
            Err(error) => Err(self.ended(Failure::Closed, error)),
        }
    }

    async fn send_to(&self, message: &[u8], _: SocketAddr) -> Result<usize> {
        self.send(message).await
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        // The client asks for its own address only to know the family.
        Ok(super::connect::any_of(&self.server))
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.server)
    }

    async fn close(&self) -> Result<()> {
        self.writer.lock().await.shutdown().await?;
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_answer_and_a_tls_alert_are_no_relay() {
        assert_eq!(foreign(b"HTTP/1.1 400 Bad Request"), Some(Failure::Http));
        assert_eq!(foreign(b"HTT"), None, "too early to tell");
        assert_eq!(foreign(b"SSH-2.0-x"), Some(Failure::NotRelay));
        assert_eq!(foreign(b""), None);
        assert_eq!(foreign(&[0x01, 0x13, 0, 0]), None, "an error response");
    }
}
