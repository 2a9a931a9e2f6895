//! A connection over a real loopback socket, on a clock that the test turns.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod framing;
mod sending;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, ServerConnection};
use taciturn_protocol::address::Transport;
use taciturn_protocol::time::Instant;
use taciturn_protocol::wire::FirstByte;

use super::{CloseReason, Connection, Scratch, StreamLimits};
use crate::listener::fixtures;
use crate::listener::{ConnectionSlot, Established};

/// A client and the relay's end of its connection.
struct Pair {
    client: TcpStream,
    /// The client's TLS, when the connection has it.
    client_tls: Option<ClientConnection>,
    connection: Connection,
    scratch: Scratch,
    now: Instant,
}

/// One message as the worker sees it.
type Message = (FirstByte, Vec<u8>);

impl Pair {
    fn tcp(limits: StreamLimits) -> Self {
        let (client, stream) = sockets();
        Self::new(client, stream, None, None, limits)
    }

    fn tls(limits: StreamLimits) -> Self {
        let (mut client, mut stream) = sockets();
        let certificate = fixtures::certificate("turn.example.org");
        let settings = fixtures::settings(std::slice::from_ref(&certificate));
        let mut client_tls = fixtures::client(
            &fixtures::client_config(&[&certificate]),
            "turn.example.org",
        );
        let mut server_tls = ServerConnection::new(settings.current()).unwrap();
        stream.set_nonblocking(false).unwrap();
        let shaking = std::thread::spawn(move || {
            server_tls.complete_io(&mut stream).unwrap();
            (stream, server_tls)
        });
        client_tls.set_buffer_limit(None);
        client_tls.complete_io(&mut client).unwrap();
        let (stream, server_tls) = shaking.join().unwrap();
        stream.set_nonblocking(true).unwrap();
        Self::new(
            client,
            stream,
            Some(client_tls),
            Some(Box::new(server_tls)),
            limits,
        )
    }

    fn new(
        client: TcpStream,
        stream: TcpStream,
        client_tls: Option<ClientConnection>,
        tls: Option<Box<ServerConnection>>,
        limits: StreamLimits,
    ) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let transport = if tls.is_some() {
            Transport::Tls
        } else {
            Transport::Tcp
        };
        let established = Established {
            client: stream.peer_addr().unwrap(),
            server: stream.local_addr().unwrap(),
            stream,
            tls,
            early: Vec::new(),
            transport,
            slot: ConnectionSlot::uncounted(),
        };
        let connection = Connection::new(established, limits, now);
        Self {
            client,
            client_tls,
            connection,
            scratch: Scratch::new(),
            now,
        }
    }

    /// The client sends these bytes; over TLS as one record, as far as it fits.
    fn client_sends(&mut self, bytes: &[u8]) {
        match &mut self.client_tls {
            None => self.client.write_all(bytes).unwrap(),
            Some(tls) => {
                tls.writer().write_all(bytes).unwrap();
                while tls.wants_write() {
                    tls.write_tls(&mut self.client).unwrap();
                }
            }
        }
    }

    /// The messages of one readable event, which is waited for.
    fn receive(&mut self) -> Result<Vec<Message>, CloseReason> {
        wait_readable(&self.connection);
        self.receive_now()
    }

    fn receive_now(&mut self) -> Result<Vec<Message>, CloseReason> {
        let mut messages = Vec::new();
        let mut batch = self.connection.receive(self.now, &mut self.scratch)?;
        while let Some((kind, frame)) = batch.next_frame()? {
            messages.push((kind, frame.to_vec()));
        }
        self.connection.keep_rest(self.now, batch)?;
        Ok(messages)
    }

    /// Receives until `count` messages have come.
    fn receive_all(&mut self, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.extend(self.receive().unwrap());
        }
        messages
    }

    /// What the client can read before the socket stays silent for a while.
    fn client_reads(&mut self, into: &mut Vec<u8>) {
        self.client
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = self.client.read(&mut piece) {
            let Some(tls) = &mut self.client_tls else {
                into.extend_from_slice(&piece[..count]);
                continue;
            };
            let mut records = &piece[..count];
            while !records.is_empty() {
                tls.read_tls(&mut records).unwrap();
                tls.process_new_packets().unwrap();
                let mut plain = [0; 4096];
                while let Ok(count @ 1..) = tls.reader().read(&mut plain) {
                    into.extend_from_slice(&plain[..count]);
                }
            }
        }
    }

    /// Reads this many bytes off a connection without TLS.
    fn client_reads_now(&mut self, into: &mut Vec<u8>, count: usize) {
        into.resize(count, 0);
        self.client.read_exact(into).unwrap();
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now + by;
    }
}

/// A client whose connection the relay has closed.
struct Reading {
    client: TcpStream,
    client_tls: Option<ClientConnection>,
}

impl Reading {
    /// Reads to the end, which has to be an orderly one: rustls reports an end without close_notify as an error.
    fn read_all(&mut self, into: &mut Vec<u8>) {
        match &mut self.client_tls {
            None => self.client.read_to_end(into).unwrap(),
            Some(tls) => rustls::Stream::new(tls, &mut self.client)
                .read_to_end(into)
                .unwrap(),
        };
    }
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    (client, stream)
}

/// Waits until the kernel has something for the connection, without taking it.
fn wait_readable(connection: &Connection) {
    let probe = connection.stream.try_clone().unwrap();
    for _ in 0..5_000 {
        if probe.peek(&mut [0]).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    panic!("nothing came within a second");
}

/// A STUN request with `body` bytes of attributes, which need not make sense here.
fn stun(body: u16) -> Vec<u8> {
    let mut message = vec![0x00, 0x01];
    message.extend_from_slice(&body.to_be_bytes());
    message.extend_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
    message.extend_from_slice(&[7; 12]);
    message.resize(message.len() + usize::from(body), 0xAA);
    message
}

/// A ChannelData message without padding.
fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = number.to_be_bytes().to_vec();
    message.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    message.extend_from_slice(payload);
    message
}

fn padded(mut message: Vec<u8>) -> Vec<u8> {
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

/// An established connection goes from the control runtime to a worker.
#[test]
fn a_connection_can_be_handed_to_a_worker() {
    fn is_send<T: Send>() {}
    is_send::<Established>();
    is_send::<Connection>();
}
