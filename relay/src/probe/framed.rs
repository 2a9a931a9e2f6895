//! A TCP or TLS stream as the datagrams that webrtc-rs's client expects.
//!
//! Not responsible for connecting.

use std::any::Any;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::wire::stream::{self, Step};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use webrtc_util::Conn;

type Result<T> = std::result::Result<T, webrtc_util::Error>;

/// A framed stream (RFC 8489 §6.2.2, RFC 8656 §12.5).
pub(super) struct FramedConn<S> {
    reader: Mutex<Reader<S>>,
    writer: Mutex<WriteHalf<S>>,
    server: SocketAddr,
}

struct Reader<S> {
    half: ReadHalf<S>,
    buffered: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite> FramedConn<S> {
    pub(super) fn new(stream: S, server: SocketAddr) -> Self {
        let (half, writer) = tokio::io::split(stream);
        Self {
            reader: Mutex::new(Reader {
                half,
                buffered: Vec::new(),
            }),
            writer: Mutex::new(writer),
            server,
        }
    }
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
        let mut reader = self.reader.lock().await;
        loop {
            let step = stream::next_frame(&reader.buffered, ChannelRange::Rfc8656)
                .map_err(io::Error::other)?;
            if let Step::Frame { len, total, .. } = step {
                let room = buffer
                    .get_mut(..len)
                    .ok_or_else(|| io::Error::other("frame longer than the buffer"))?;
                room.copy_from_slice(&reader.buffered[..len]);
                reader.buffered.drain(..total);
                return Ok((len, self.server));
            }
            let Reader { half, buffered } = &mut *reader;
            if half.read_buf(buffered).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    async fn send(&self, message: &[u8]) -> Result<usize> {
        let mut writer = self.writer.lock().await;
        writer.write_all(message).await?;
        writer
            .write_all(&[0; 3][..message.len().next_multiple_of(4) - message.len()])
            .await?;
        writer.flush().await?;
        Ok(message.len())
    }

    async fn send_to(&self, message: &[u8], _: SocketAddr) -> Result<usize> {
        self.send(message).await
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        // The client asks for its own address only to name the connection.
        Ok(SocketAddr::from(([0, 0, 0, 0], 0)))
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
